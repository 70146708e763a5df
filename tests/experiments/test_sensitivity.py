"""The search: what a draw is given, what is chosen from it, and what its rows are made to say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import sensitivity
from gexlib.metrics import METRICS
from gexlib.models import MLP
from gexlib.results import COLUMNS, Cell, table
from gexlib.search import Space, draw, settings
from gexlib.tasks import holdout, problem, seed_of
from gexlib.training import Training

SPACE = {"layers": [1, 3], "neurons": [5, 12], "batch_size": [16, 64]}
TINY = sensitivity.Parameters(
    cohort="simulated-tcga:smoke", draws=3, residual=1, best=2, seeds=2, space=SPACE,
    training={"epochs": 3, "patience": 2},
)  # fmt: skip


def tidy(seen) -> pd.DataFrame:
    """Rows as the runner returns them."""
    return table({**row, "key": s.cell.key, "cell": s.cell.json} for s in seen for row in s.rows)


@pytest.fixture(scope="module", params=["simulated-tcga:smoke", "simulated-microarray:smoke"])
def seen(request, watched):
    """Both rounds, on pairs of one patient and on single samples."""
    parameters = replace(TINY, cohort=request.param)
    first = watched(sensitivity, parameters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "cells", lambda p: sensitivity.follow(p, tidy(first)))
        return first + watched(sensitivity, parameters, lambda cell: cell.parameters["task"].endswith("/pan"))


def outer(seen, task):
    """Return the ids of the test samples: those of the comparison's first split."""
    cohort = open_cohort(seen[0].cohort)
    whole = problem(cohort, task, "random")
    train, test = holdout(whole, seed_of(0, task, 0))
    return [set(cohort.obs_names[whole.rows[side]]) for side in (train, test)]


def test_the_search_never_touches_a_test_sample(seen):
    patient = open_cohort(seen[0].cohort).obs["patient"]
    searched = [s for s in seen if s.arm in ("draw", "residual", "plain_deep")]
    assert {s.arm for s in searched} == {"draw", "residual", "plain_deep"}
    for s in searched:
        train, test = outer(seen, s.task)
        touched = {name for step in s.steps for name in step.ids}
        assert touched == train and not touched & test
        assert not (set(patient[sorted(touched)]) & set(patient[sorted(test)])) - {""}


def test_samples_to_fit_to_stop_and_to_score_on_share_no_patient(seen):
    patient = open_cohort(seen[0].cohort).obs["patient"]
    patient = patient.where(patient != "", patient.index)
    for s in seen:
        split = s.learner.more["validation"]
        sides = [{s.learner.ids[i] for i in side} for side in split] + [s.tested]
        people = [set(patient[sorted(side)]) for side in sides]
        assert all(people) and not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
        assert {step.name for step in s.learning} == {"scale", "train"}
        assert all(set(step.ids) == set(s.learner.ids) for step in s.learning)


def test_all_draws_of_a_task_share_one_split(seen):
    for task in {s.task for s in seen}:
        searched = [s for s in seen if s.task == task and s.arm in ("draw", "residual", "plain_deep")]
        assert len({(s.learner.ids, frozenset(s.tested)) for s in searched}) == 1
        assert len(searched[0].tested) == pytest.approx(len(outer(seen, task)[0]) / 5, abs=3)


def test_the_best_are_trained_on_all_training_samples_beside_the_default_with_the_same_seeds(seen):
    for task in {s.task for s in seen if s.arm == "best"}:
        train, test = outer(seen, task)
        again = [s for s in seen if s.task == task and s.arm in ("best", "default")]
        assert len(again) == (2 + 1) * 2
        assert all(set(s.learner.ids) == train and s.tested == test for s in again)
        seeds = {s.network_seed: set() for s in again}
        for s in again:
            seeds[s.network_seed].add(s.learner.more["seed"])
        assert all(len(found) == 1 for found in seeds.values()) and seeds[0] != seeds[1]
        default = next(s for s in again if s.arm == "default")
        assert [layer.linear.out_features for layer in default.learner.more["model"].hidden] == [500, 200, 100, 50]


def test_a_network_is_the_one_that_its_row_states(seen):
    for s in seen:
        row, model = s.rows[0], s.learner.more["model"]
        if s.arm == "default":
            assert row["method"] == "nn_default" and row["neurons"] is None
            continue
        widths = [layer.linear.out_features for layer in model.hidden]
        assert widths == [row["neurons"]] * row["layers"] and row["method"] == "nn_drawn"
        deep = s.arm in ("residual", "plain_deep")
        assert (10 <= len(widths) <= 20) == deep and (deep or 1 <= len(widths) <= 3)
        assert all(layer.residual == (s.arm == "residual") for layer in model.hidden[1:])
        if s.arm == "best":
            assert {name: row[name] for name in sensitivity.DRAWN} == s.drawn


def test_residual_networks_are_paired_with_the_same_setting_and_seed(seen):
    for task in {s.task for s in seen}:
        pair = {s.arm: s for s in seen if s.task == task and s.arm in ("residual", "plain_deep")}
        one, other = pair["residual"], pair["plain_deep"]
        assert one.learner.more["seed"] == other.learner.more["seed"]
        assert [one.rows[0][name] for name in sensitivity.DRAWN] == [other.rows[0][name] for name in sensitivity.DRAWN]


def test_rows_are_complete(seen):
    frame = tidy(seen)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert frame["value"].notna().all() and set(frame["metric"]) == set(METRICS)
    for s in seen:
        again = s.arm in ("best", "default")
        assert {row["scored_on"] for row in s.rows} == {"test" if again else "validation"}
        assert {row["repeat"] for row in s.rows} == {s.draw}
        assert {row["n"] for row in s.rows} == {len(s.learner.ids)}
    assert set(frame["epochs"]) <= {1, 2, 3} | set(frame[frame["arm"] == "default"]["epochs"])


def test_each_cell_stands_for_itself(seen, watched):
    """A cell read back from its text gives the same rows, alone and in this order or another."""
    for arm in ("draw", "best"):
        s = [s for s in seen if s.arm == arm][-1]
        ((_, rows),) = sensitivity.evaluate([Cell.from_json(s.cell.json)])
        assert rows == s.rows


def test_cells_count_and_keep_their_keys_when_the_search_grows():
    few, many = sensitivity.cells(TINY), sensitivity.cells(replace(TINY, draws=40, residual=5, best=9, seeds=7))
    assert len(few) == 2 * (3 + 2 * 1) and len(many) == 2 * (40 + 2 * 5)
    assert len(set(many)) == len(many) and set(few) <= set(many)
    order = [cell.parameters["draw"] for cell in many]
    assert order == sorted(order), "a run cut short should have as many draws of every task"
    for change in ({"seed": 1}, {"space": {}}, {"training": {}}):
        assert not set(few) & set(sensitivity.cells(replace(TINY, **change))), change


def test_draws_differ_and_do_not_depend_on_the_task(seen):
    found = {}
    for s in seen:
        if s.arm == "draw":
            found.setdefault(s.draw, set()).add(tuple(s.rows[0][name] for name in sensitivity.DRAWN))
    assert len(found) == 3 and all(len(settings) == 1 for settings in found.values())
    assert len(set.union(*found.values())) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"depth": [1, 2]}}, "space: parameter 'depth' is not known"),
        ({"space": {"layers": [4, 2]}}, "layers=.*give the least and the most"),
        ({"space": {"layers": 3}}, "space: parameter layers=3 should be"),
        ({"space": {"optimiser": ["sgd", "lion"]}}, "optimiser 'lion' is not known"),
        ({"training": {"learning_rate": 0.1}}, "training: learning_rate is drawn; set .* in space"),
        ({"training": {"l2": 0.1}}, "training: l2 is drawn"),
        ({"training": {"epochs": 0}}, "epochs is 0"),
        ({"draws": 0}, "draws=0: it must be 1 or more"),
        ({"seeds": -1}, "seeds=-1: it must be 0 or more"),
        ({"tasks": ["tcga/pan", "microarray/pan"]}, "tasks: 'microarray/pan' is not carried by simulated-tcga:smoke"),
        ({"split": "plate"}, "split 'plate' is not known"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(change, message):
    with pytest.raises(InputError, match=message):
        sensitivity.cells(replace(TINY, **change))


@pytest.mark.parametrize("huge", [False, True])
def test_a_network_that_diverges_is_a_row_at_chance(huge, monkeypatch):
    """Weights that end as NaN; and finite ones, so large that what they predict is not."""
    space = {"learning_rate": [1e6, 1e7], "optimiser": ["sgd"], "layers": [3, 3], "batch_norm": [False]}
    if huge:
        space = {"learning_rate": [0.01, 0.01]}
        monkeypatch.setattr(sensitivity, "predict_proba", lambda model, X: np.full((len(X), 2), np.nan))
    parameters = replace(TINY, tasks=["tcga/type"], draws=2, residual=0, space={**SPACE, **space})
    for _, rows in sensitivity.evaluate(sensitivity.cells(parameters)):
        assert {row["diverged"] for row in rows} == {True}
        values = {row["metric"]: row["value"] for row in rows}
        assert values["balanced_accuracy"] == 0.5 and values["log_loss"] == pytest.approx(np.log(2))
    assert not torch_flushes()


def torch_flushes() -> bool:
    """Whether numbers below 1e-38 count as 0 in this process."""
    import torch

    return bool((torch.tensor([1e-39]) * 1.0 == 0).item())


# What is chosen. Rows made by hand: hyper-parameters are drawn, accuracies are given.


def made(accuracy, task="tcga/pan", cohort="a", space=(), arm="draw", metrics=("accuracy", "log_loss")):
    """Rows of a search in which draw i got `accuracy(drawn, i)`, of each metric."""
    space = {**dict(space)}
    rows = []
    for i in range(len(accuracy) if isinstance(accuracy, list) else 400):
        drawn = draw(Space(**space), i)
        value = accuracy[i] if isinstance(accuracy, list) else accuracy(drawn)
        cell = Cell("sensitivity", {"cohort": cohort, "task": task, "arm": arm, "draw": i, "space": space,
                    "training": {"epochs": 7}, "seed": 0}, "digest", 1)  # fmt: skip
        common = {"experiment": "sensitivity", "cohort": cohort, "cohort_digest": "digest", "simulated": True,
                  "task": task, "arm": arm, "repeat": i, "epochs": 5, "diverged": False, "scored_on": "validation",
                  "network_seed": 0, "key": cell.key, "cell": cell.json, "n": 100, **drawn}  # fmt: skip
        for metric in metrics:
            own = value if isinstance(value, tuple) else (value, 1 - value)
            rows.append({**common, "metric": metric, "value": own[metrics.index(metric)]})
    return table(rows)


def second_round(rows, scores, task="tcga/pan"):
    """Test rows of the second round: scores[arm or draw number] is a list, one a seed."""
    out = []
    for name, values in scores.items():
        for number, value in enumerate(values):
            out.append({"experiment": "sensitivity", "cohort": "a", "cohort_digest": "digest", "simulated": True,
                        "task": task, "arm": name if name == "default" else "best", "metric": "accuracy",
                        "repeat": None if name == "default" else name, "value": value, "scored_on": "test",
                        "network_seed": number})  # fmt: skip
    return pd.concat([rows, table(out)], ignore_index=True)


def test_the_best_are_chosen_on_the_validation_samples_not_on_the_test_samples():
    rows = made([(0.8, 0.5), (0.95, 0.4), (0.7, 0.1), (0.95, 0.2), (0.9, 0.3)])
    # draw 2 is the best of all on the test samples, where nobody may look
    rows = second_round(rows, {2: [1.0, 1.0], 3: [0.8, 0.82], 1: [0.9, 0.9], "default": [0.85, 0.85]})
    parameters = replace(TINY, best=3, seeds=2)
    chosen = [cell.parameters for cell in sensitivity.follow(parameters, rows)]
    assert [p["draw"] for p in chosen] == [None, 3, 1, 4] * 2  # accuracy, then log loss
    assert [p["network_seed"] for p in chosen] == [0] * 4 + [1] * 4
    best = draw(Space(), 3)
    network, training = settings(best)
    assert chosen[1]["drawn"] == best and chosen[1]["training"] == TINY.training
    assert chosen[0]["drawn"] == {} == chosen[0]["training"]
    found = sensitivity.winner(rows, "tcga/pan")
    assert found == {"network": network, "training": {"epochs": 7, **training}}
    MLP(5, 2, **found["network"]), Training(**found["training"])
    row = sensitivity.tuning_gain(rows).iloc[0]
    assert row["draw"] == 3 and row["validation"] == 0.95 and row["test"] == pytest.approx(0.81)
    assert row["test_default"] == 0.85 and row["difference"] == pytest.approx(-0.04)
    assert row["test_best"] == pytest.approx((1.0 + 0.81 + 0.9) / 3) and row["n_pairs"] == 2


def test_the_second_round_keeps_its_cells_and_may_be_empty():
    rows = made([0.8, 0.9, 0.7])
    few, many = (set(sensitivity.follow(replace(TINY, best=b, seeds=s), rows)) for b, s in ((1, 2), (9, 3)))
    assert len(few) == 2 * 2 and len(many) == 4 * 3 and few <= many
    assert sensitivity.follow(replace(TINY, best=0), rows) == []
    assert sensitivity.follow(replace(TINY, seeds=0), rows) == []
    assert list(sensitivity.tuning_gain(rows)) and sensitivity.tuning_gain(rows).empty  # its table has its columns
    deep = made([0.99, 0.98], arm="residual")
    assert sensitivity.follow(TINY, deep) == []
    both = pd.concat([rows, deep], ignore_index=True)
    assert set(sensitivity.follow(TINY, both)) == set(sensitivity.follow(TINY, rows))


def test_the_winner_of_an_unclear_table_is_refused():
    rows = made([0.8, 0.9])
    with pytest.raises(InputError, match="task 'tcga/type': the table has 0 cohorts"):
        sensitivity.winner(rows, "tcga/type")
    with pytest.raises(InputError, match="the table has 2 cohorts"):
        sensitivity.winner(pd.concat([rows, made([0.7], cohort="b")]), "tcga/pan")
    with pytest.raises(InputError, match="holds a draw twice"):
        sensitivity.winner(pd.concat([rows, rows]), "tcga/pan")


def test_table_3_gives_what_was_searched_and_what_the_best_hold():
    rows = made([0.5, 0.9, 0.8, 0.85], space={"layers": [2, 4]})
    found = sensitivity.summarise(rows, best=2).set_index("hyper_parameter")
    assert list(found.index) == list(sensitivity.DRAWN)
    first, second = draw(Space(layers=[2, 4]), 1), draw(Space(layers=[2, 4]), 3)
    assert found.loc["layers", "searched"] == "2 to 4"
    assert found.loc["learning_rate", "searched"] == "1e-05 to 1, logarithmic"
    assert found.loc["optimiser", "searched"] == "sgd, rmsprop, adam"
    assert found.loc["neurons", "best"] == str(first["neurons"])
    ends = sorted([first["neurons"], second["neurons"]])
    assert found.loc["neurons", "among_best"] == f"{ends[0]} to {ends[1]}"
    assert found["n_best"].eq(2).all() and found["n_draws"].eq(4).all()


def test_residual_connections_are_compared_draw_by_draw():
    rows = pd.concat([made([0.6, 0.7, 0.8], arm="plain_deep"), made([0.7, 0.75, 0.95], arm="residual")])
    (row,) = sensitivity.residual_gain(rows).to_dict("records")
    assert (row["plain"], row["residual"]) == pytest.approx((0.7, 0.8))
    assert row["difference"] == pytest.approx(0.1) and row["n_pairs"] == 3
    assert sensitivity.residual_gain(made([0.6, 0.7], arm="residual")).empty  # cut short


def test_trends_are_the_range_of_boxes_and_curves():
    rows = made(lambda d: 0.9 - 0.02 * d["layers"] + 0.1 * np.log10(d["learning_rate"]) / 5, space={"layers": [1, 5]})
    found = sensitivity.trends(rows).set_index("hyper_parameter")
    assert found.loc["layers", "at_highest"] == "1" and found.loc["layers", "at_lowest"] == "5"
    assert found.loc["layers", "range"] == pytest.approx(0.08, abs=0.03)
    assert found.loc["learning_rate", "range"] == pytest.approx(0.1, abs=0.03)
    assert found.loc["dropout", "range"] < 0.03


# The canary, and that it can die


def test_the_best_draw_on_shuffled_labels_is_at_chance_on_the_test_samples(watched, canary):
    """The best of many is above chance on the samples that chose it, and on no others."""
    space = {"layers": [1, 2], "neurons": [10, 30], "learning_rate": [1e-3, 1e-1], "dropout": [0.0, 0.3]}
    common = {
        "tasks": ["microarray/pan"], "residual": 0, "best": 2, "seeds": 2,
        "space": {**space, "batch_size": [32, 64]}, "training": {"epochs": 8, "patience": 4},
    }  # fmt: skip

    def run(cells):
        return [
            {**row, "key": cell.key, "cell": cell.json} for cell, rows in sensitivity.evaluate(cells) for row in rows
        ]

    scores = {}
    for cohort, draws in ((canary, 8), ("simulated-microarray:smoke", 4)):
        parameters = replace(TINY, cohort=cohort, draws=draws, **common)
        first = run(sensitivity.cells(parameters))
        again = [c for c in sensitivity.follow(parameters, table(first)) if c.parameters["arm"] == "best"]
        frame = table(first + run(again))
        frame = frame[frame["metric"] == "balanced_accuracy"]
        scores[cohort] = {
            "best draw": frame[frame["arm"] == "draw"]["value"].max(),
            "test": frame[frame["arm"] == "best"]["value"].mean(),
        }
    assert abs(scores[canary]["test"] - 0.5) < 0.12, scores
    assert scores[canary]["best draw"] > scores[canary]["test"] + 0.03, scores
    assert scores["simulated-microarray:smoke"]["test"] > 0.7, scores
