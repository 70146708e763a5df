"""What a functional analysis of variance says of functions whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from gexlib.experiments.sensitivity import DRAWN
from gexlib.importance import importance
from gexlib.results import canonical, table
from gexlib.search import Space, draw


def made(accuracy, space=()):
    """Rows of a search in which draw i got `accuracy(drawn)`, or `accuracy[i]`."""
    space, rows = dict(space), []
    for i in range(len(accuracy) if isinstance(accuracy, list) else 400):
        drawn = draw(Space(**space), i)
        value = accuracy[i] if isinstance(accuracy, list) else accuracy(drawn)
        cell = canonical(["sensitivity", {"draw": i, "space": space, "training": {}}, "digest", 1])
        rows.append({"experiment": "sensitivity", "cohort": "a", "cohort_digest": "digest", "simulated": True,
                     "task": "tcga/pan", "arm": "draw", "repeat": i, "epochs": 5, "diverged": False, "key": str(i),
                     "cell": cell, "n": 100, "metric": "accuracy", "value": value, **drawn})  # fmt: skip
    return table(rows)


def shares(function, **more):
    rows = made(function, space={"neurons": [10, 110]})
    found = importance(rows, trees=40, points=2048, **more)
    assert found["r2"].min() > 0.5
    singles, pairs = (found[found["order"] == order].set_index("term") for order in (1, 2))
    return singles, pairs


def test_importance_of_a_sum_has_no_interactions():
    singles, pairs = shares(lambda d: 2 * d["dropout"] / 0.8 + d["batch_norm"] + 1.5 * (d["optimiser"] == "adam"))
    variance = {"dropout": 4 / 12, "batch_norm": 0.25, "optimiser": 1.5**2 * 2 / 9}
    for name in singles.index:
        share = variance.get(name, 0) / sum(variance.values())
        assert singles.loc[name, "share"] == pytest.approx(share, abs=0.08), name
        assert singles.loc[name, "total"] - singles.loc[name, "share"] < 0.06, name
    assert len(pairs) == 6 and pairs["share"].max() < 0.04
    assert list(singles.index[:1]) == ["optimiser"] and singles["total"].is_monotonic_decreasing


def test_importance_of_a_product_is_an_interaction():
    def function(d):  # each alone explains nothing: the other's sign decides
        return (1 if d["batch_norm"] else -1) * (d["dropout"] - 0.4)

    singles, pairs = shares(function, pairs=3)
    assert singles["share"].max() < 0.2
    assert singles["total"][["batch_norm", "dropout"]].min() > 0.75
    assert singles["total"].drop(["batch_norm", "dropout"]).max() < 0.1
    assert len(pairs) == 3 and set(pairs.index[0].split(" \u00d7 ")) == {"batch_norm", "dropout"}
    assert pairs["share"].iloc[0] > 0.6 and pairs["share"].iloc[1:].max() < 0.05


def test_an_interaction_weighs_every_listed_value_alike():
    singles, pairs = shares(lambda d: (d["layers"] - 5.5) * (d["dropout"] - 0.4), pairs=1)
    assert set(pairs.index[0].split(" \u00d7 ")) == {"layers", "dropout"}
    assert pairs["share"].iloc[0] == pytest.approx(1 - singles["share"].sum(), abs=0.05)


def test_importance_is_seeded_and_sees_the_logarithm():
    def function(d):
        return np.log10(d["learning_rate"])

    one, other = (shares(function)[0] for _ in range(2))
    pd.testing.assert_frame_equal(one, other)
    assert one.loc["learning_rate", "share"] > 0.95 and one["share"].drop("learning_rate").abs().max() < 0.02


def test_a_floor_leaves_out_what_only_tells_failures_apart():
    def function(d):  # small steps fail, in many ways; among the others the batch size decides
        return -5 + d["dropout"] if d["learning_rate"] < 1e-3 else 0.1 * np.log(d["batch_size"])

    whole, better = shares(function)[0], shares(function, floor=0.7)[0]
    assert whole.loc["batch_size", "total"] < 0.05 < 0.5 < better.loc["batch_size", "total"]
    assert better.loc["dropout", "total"] < 0.02


def test_importance_needs_enough_draws_and_something_that_varies():
    assert importance(made([0.5 + 0.01 * i for i in range(19)])).empty
    flat = importance(made([0.9] * 30))
    assert (flat["share"] == 0).all() and len(flat) == len(DRAWN)
    fixed = {name: values[:1] for name, values in vars(Space()).items() if name in ("batch_norm", "optimiser")}
    fixed |= {"layers": [3, 3], "learning_rate": [0.1, 0.1], "dropout": [0.0, 0.0]}
    found = importance(made([0.5 + 0.01 * i for i in range(30)], space=fixed), trees=20, points=256)
    assert set(found[found["order"] == 1]["term"]) == {"neurons", "penalty", "penalty_weight", "batch_size"}
