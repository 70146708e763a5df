"""The committed record: it is whole, and what the chapters say of it in words still holds."""

import pytest

from gexlib import notebook
from gexlib.experiments import SECTIONS, comparison, pan_to_specific
from gexlib.results import COLUMNS, Cell
from gexlib.statistics import compare_arms

HELPED, UNCHANGED = ("BRCA", "HNSC", "LUSC", "THCA"), ("KIRC", "LUAD", "PRAD")  # article, Fig. 6


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda s: s.name)
def test_the_record_is_whole_and_traceable(section):
    run = notebook.recorded(section.name)
    rows = run.rows
    assert run.done and set(COLUMNS) <= set(rows)
    assert run.done == sum(r["done"] for r in run.recorded)
    assert rows[["cohort_digest", "fingerprint", "versions", "commit", "date", "key", "value"]].notna().all().all()
    assert not rows["dirty"].any(), "a record is made from committed code"
    keys = rows.drop_duplicates("key")
    assert all(Cell.from_json(text).key == key for text, key in zip(keys["cell"], keys["key"], strict=True))
    assert set(rows["protocol"]) == {section.module.PROTOCOL}


@pytest.fixture(scope="module")
def transfer():
    return notebook.recorded("pan-to-specific").rows


def arm(rows, metric, name, **axes):
    table = compare_arms(rows, metric)
    table = table[table["arm"] == name]
    for axis, value in axes.items():
        table = table[table[axis] == value]
    return table


@pytest.mark.parametrize("target", [*HELPED, *UNCHANGED])
def test_pre_training_neither_helps_nor_harms_on_pairs(transfer, target):
    table = arm(transfer, "accuracy", "fine_tuned", frozen=0, target=target)
    assert len(table) == 4 and (table["p_raw"] > 0.05).all() and (table["p_bh"] > 0.05).all()


def test_eight_samples_are_almost_as_good_as_sixty_four(transfer):
    by_n = arm(transfer, "accuracy", "baseline").groupby("n")["mean"].mean()
    assert 0 < by_n[64] - by_n[8] < 0.05


def test_zero_shot_ranks_well_where_its_threshold_is_wrong(transfer):
    ranks = arm(transfer, "roc_auc", "zero_shot").set_index("target")["mean"]
    hits = arm(transfer, "accuracy", "zero_shot").set_index("target")["mean"]
    assert (ranks > 0.9).all() and (ranks - hits > 0.1).sum() >= 3


def test_two_frozen_layers_do_not_help(transfer):
    table = arm(transfer, "accuracy", "fine_tuned", frozen=2)
    assert table.groupby("n")["difference"].mean().max() < 0.01


def test_the_lines_of_the_figures_hold_every_target(transfer):
    lines = pan_to_specific.main_lines(transfer)
    assert set(lines["target"]) == {*HELPED, *UNCHANGED, "STAD"}
    assert set(lines["arm"]) == {"baseline", "fine_tuned", "zero_shot", "classical"}


@pytest.fixture(scope="module")
def methods():
    rows = notebook.recorded("comparison").rows
    return rows[rows["method"] != "majority"]


@pytest.mark.parametrize("task", ["tcga/pan", "tcga/type"])
def test_no_method_differs_from_the_network_after_adjustment(methods, task):
    table = comparison.summarise(methods[methods["task"] == task])
    others = table[table["method"] != comparison.NETWORK]
    assert len(others) == 5 and (others["p_bh"] > 0.05).all()


def test_the_network_is_not_first_and_lasso_not_last(methods):
    table = comparison.summarise(methods)
    for task, place in {"tcga/pan": (2, 5), "tcga/type": (5, 6)}.items():
        part = table[table["task"] == task].sort_values("mean", ascending=False)
        order = list(part["method"])
        assert place[0] <= order.index(comparison.NETWORK) + 1 <= place[1]
        assert order[-1] != "lasso"
    assert {order[0], order[1]} == {"svm_linear", "lasso"}  # of type: the linear methods lead


def test_at_fifty_samples_xgboost_falls_off(methods):
    small = methods[(methods["n"] == 50) & (methods["metric"] == "accuracy")]
    means = small.groupby(["task", "method"])["value"].mean().unstack()
    assert (means.idxmin(axis=1) == "xgboost").all()
