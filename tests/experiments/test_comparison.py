"""The comparison: every method on the same samples, none of them tested on what it learned from."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import comparison
from gexlib.metrics import METRICS
from gexlib.results import COLUMNS, table
from gexlib.statistics import paired

TINY = {
    "network": {"hidden": [12, 6]},
    "training": {"epochs": 3, "fixed_epochs": 3},
    "genes": [10], "inner_folds": 2, "trees": 5, "grid": "small",
}  # fmt: skip
SIZES = [12, 48]


@pytest.fixture(scope="module", params=["simulated-tcga:smoke", "simulated-microarray:smoke"])
def seen(request, watched):
    """All methods: pairs of one patient and cancer types on one cohort, single samples on the other."""
    tcga = "tcga" in request.param
    parameters = comparison.Parameters(
        cohort=request.param,
        tasks=["tcga/pan", "tcga/type"] if tcga else ["microarray/blood"],
        methods=list(comparison.METHODS) if tcga else ["nn_default", "xgboost", "svm_rbf", "majority"],
        n=SIZES, repeats=2, class_weight=["balanced"] if tcga else ["none", "balanced"], **TINY,
    )  # fmt: skip
    return watched(comparison, parameters)


def obs_of(seen) -> pd.DataFrame:
    return open_cohort(seen[0].cohort).obs


def truth(seen, task, ids) -> list[int]:
    """Class numbers as the article has them: normal 0, cancer 1; types by name."""
    obs = obs_of(seen).loc[list(ids)]
    if task == "tcga/type":
        return list(pd.Categorical(obs["cancer_type"], ["BRCA", "HNSC"]).codes)
    return list((obs["status"] == "cancer").astype(int))


def test_every_method_of_a_split_is_trained_and_tested_on_the_same_samples(seen):
    splits = defaultdict(list)
    for s in seen:
        if s.method != "majority":
            splits[s.task, s.repeat, s.n].append((s.learner.ids, frozenset(s.tested), s.learner.more["seed"]))
    methods = {s.method for s in seen} - {"majority"}
    weights = {s.class_weight for s in seen}
    for cells in splits.values():
        assert len(cells) == len(methods) * len(weights)
        assert len(set(cells)) == 1
    tests = defaultdict(set)
    for (task, repeat, _), cells in splits.items():
        tests[task, repeat].add(cells[0][1])
    assert all(len(found) == 1 for found in tests.values()), "the test set depends on n"


def test_no_test_sample_is_in_a_scaler_selection_or_training_set(seen):
    patient = obs_of(seen)["patient"]
    for s in seen:
        if s.method == "majority":
            assert not s.steps  # it is given labels and counts only
            continue
        wanted = {"scale", "train"} if s.method == "nn_default" else {"scale", "select", "tune"}
        assert {step.name for step in s.learning} == wanted
        for step in s.learning:
            assert not set(step.ids) & s.tested
            assert not set(patient[list(step.ids)]) & set(patient[sorted(s.tested)])
            assert set(step.ids) <= set(s.learner.ids)


def test_the_network_stops_on_patients_that_it_is_not_trained_on(seen):
    patient, stopped = obs_of(seen)["patient"], 0
    for s in seen:
        if s.method == "nn_default":
            split = s.learner.more["validation"]
            assert (split is None) == (s.n == 12)
            if split:
                inside, outside = (set(patient[[s.learner.ids[i] for i in side]]) for side in split)
                assert inside and outside and not inside & outside
                stopped += 1
    assert stopped


def test_labels_and_scaler_are_those_of_the_training_samples(seen):
    for s in seen:
        if s.method == "majority":
            continue
        assert list(s.learner.more["y"]) == truth(seen, s.task, s.learner.ids)
        if s.method == "nn_default":
            (predicted,) = s.of("predict")
            assert set(s.learner.more["scaled_on"]) == set(predicted.more["scaled_on"]) == set(s.learner.ids)
            assert predicted.more["model"] is s.learner.more["model"]
        elif s.learner.more["tuned"].inner_folds:
            inner = [step for step in s.of("scale") if len(step.ids) < len(s.learner.ids)]
            assert inner, "the scaler was not fitted inside the inner folds"


def test_splits_are_a_fifth_stratified_and_cover_the_task(seen):
    obs = obs_of(seen)
    for s in seen:
        if s.method == "majority" or s.n is not None:
            continue
        whole = set(s.learner.ids) | s.tested
        if s.task.endswith("pan"):
            assert whole == set(obs.index)
        elif s.task.endswith("type"):
            assert whole == set(obs.index[obs["status"] == "cancer"])
        else:
            assert whole == set(obs.index[obs["tissue"] == "blood"])
        assert len(s.tested) == pytest.approx(len(whole) / 5, abs=3)
        share = np.mean(truth(seen, s.task, whole))
        assert np.mean(truth(seen, s.task, s.tested)) == pytest.approx(share, abs=0.1)


def test_subsets_are_nested_in_the_full_training_set(seen):
    trained = {(s.task, s.repeat, s.n): set(s.learner.ids) for s in seen if s.method == "nn_default"}
    for task, repeat in {key[:2] for key in trained}:
        small, large, full = (trained[task, repeat, n] for n in (*SIZES, None))
        assert small < large < full
        assert (len(small), len(large)) == tuple(SIZES)


def test_seeds_and_splits_vary_with_repeat_and_task(seen):
    seeds, tests = defaultdict(set), defaultdict(set)
    for s in seen:
        if s.method != "majority":
            seeds[s.task, s.repeat].add(s.learner.more["seed"])
            tests[s.task, s.repeat].add(frozenset(s.tested))
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)
    assert len(set.union(*tests.values())) == len(tests)


def test_rows_carry_every_column_with_its_value(seen):
    frame = table(row for s in seen for row in s.rows)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert frame[["source", "target", "frozen", "fold", "source_seed"]].isna().all(axis=None)
    assert frame["value"].notna().all()
    trained = {(s.task, s.repeat, s.n): s for s in seen if s.method == "nn_default"}
    status = obs_of(seen)["status"]
    for s in seen:
        ids, test = (getattr(trained[s.task, s.repeat, s.n], name) for name in ("learner", "tested"))
        expected = {
            "experiment": "comparison", "cohort": s.cohort, "cohort_digest": s.cell.cohort_digest,
            "simulated": True, "task": s.task, "method": s.method, "arm": s.class_weight, "n": len(ids.ids),
            "n_cancer": int((status[list(ids.ids)] == "cancer").sum()),
            "n_normal": int((status[list(ids.ids)] == "normal").sum()), "n_test": len(test),
            "repeat": s.repeat, "full": s.n is None, "protocol": comparison.PROTOCOL,
            "split": "patient" if s.task == "tcga/pan" else "random",
        }  # fmt: skip
        for row in s.rows:
            assert expected.items() <= row.items()
        without = {"log_loss"} if s.method.startswith("svm") else set()
        assert [row["metric"] for row in s.rows] == [metric for metric in METRICS if metric not in without]
        extra = {"nn_default": {"epochs"}, "majority": set()}.get(s.method, {"chosen", "inner_folds"})
        assert extra <= set(s.rows[0])


def test_the_majority_is_right_on_the_share_of_the_commoner_class(seen):
    for s in seen:
        if s.method == "majority":
            got = {row["metric"]: row["value"] for row in s.rows}
            test = next(o.tested for o in seen if (o.task, o.repeat) == (s.task, s.repeat) and o.steps)
            y = truth(seen, s.task, test)
            assert got["accuracy"] == pytest.approx(max(np.mean(y), 1 - np.mean(y)))
            assert got["balanced_accuracy"] == got["roc_auc"] == pytest.approx(0.5)


def test_table_4_and_all_metrics(seen):
    frame = table(row for s in seen for row in s.rows)
    tasks, arms = frame["task"].unique(), frame["arm"].unique()
    shown = comparison.summarise(frame)
    lines = frame[["task", "arm", "method"]].drop_duplicates()
    assert len(shown) == len(lines)  # the full training set only: no line a size
    assert shown.loc[shown["method"] == "nn_default", "difference"].isna().all()
    assert shown["n_values"].eq(2).all()
    full = frame[frame["full"].astype(bool) & (frame["metric"] == "accuracy")]
    for row in shown[shown["method"] == "xgboost"].itertuples():
        same = full[(full["task"] == row.task) & (full["arm"] == row.arm)].sort_values("repeat")
        own, network = (same.loc[same["method"] == m, "value"].to_numpy() for m in ("xgboost", "nn_default"))
        assert row.mean == pytest.approx(own.mean())
        assert row.difference == pytest.approx((own - network).mean())
        assert row.p_raw == pytest.approx(paired(own, network).p_raw, nan_ok=True)
    every = comparison.all_metrics(frame)
    assert list(every.columns) == ["cohort", "task", "arm", "method", *METRICS]
    assert len(every) == len(lines) and len(every) >= len(tasks) * len(arms)
    svm = every[every["method"] == "svm_rbf"]
    assert svm["log_loss"].isna().all() and svm["roc_auc"].notna().all()
    one = every[(every["method"] == "nn_default") & (every["task"] == tasks[0]) & (every["arm"] == arms[0])]
    same = frame[
        (frame["method"] == "nn_default") & (frame["task"] == tasks[0]) & (frame["arm"] == arms[0])
        & frame["full"].astype(bool) & (frame["metric"] == "mcc")
    ]  # fmt: skip
    assert one["mcc"].item() == pytest.approx(same["value"].mean())


# Lists of cells, nothing evaluated

SMOKE = comparison.Parameters(cohort="simulated-tcga:smoke", methods=["nn_default", "lasso"], repeats=2, **TINY)


def keys(parameters, method=None) -> set[str]:
    return {cell.key for cell in comparison.cells(parameters) if method in (None, cell.parameters["method"])}


def test_a_longer_list_holds_the_shorter_one():
    assert len(keys(SMOKE)) == 2 * 2 * 2  # tasks, repeats, methods
    for change in ({"n": [20]}, {"repeats": 3}, {"methods": list(comparison.METHODS)},
                   {"class_weight": ["none", "balanced"]}, {"tasks": ["tcga/type", "tcga/pan", "tcga/BRCA"]},
                   {"cohort": ["simulated-tcga:smoke", "simulated-microarray:smoke"]}):  # fmt: skip
        assert keys(SMOKE) < keys(replace(SMOKE, **change)), change


def test_cells_of_a_method_change_with_its_own_settings_only():
    for method, own, others in (
        ("nn_default", {"training": {"epochs": 4}}, {"genes": [7], "trees": 9, "inner_folds": 3, "grid": "full"}),
        ("lasso", {"genes": [7]}, {"training": {"epochs": 4}, "network": {"hidden": [3]}}),
    ):
        assert keys(SMOKE, method) == keys(replace(SMOKE, **others), method)
        assert not keys(SMOKE, method) & keys(replace(SMOKE, **own), method)
        assert not keys(SMOKE, method) & keys(replace(SMOKE, seed=1), method)


def test_early_cells_are_of_the_first_repeats():
    """A run that stops early has the same number of splits of every task and method."""
    repeats = [cell.parameters["repeat"] for cell in comparison.cells(replace(SMOKE, repeats=3))]
    assert repeats == sorted(repeats)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["knn"]}, "methods: 'knn' is not known; use any of nn_default, xgboost"),
        ({"tasks": ["tcga/pan", "tcga/LUAD"]}, "tasks: 'tcga/LUAD' is not carried by simulated-tcga:smoke"),
        ({"n": [1]}, "n=1: the training set of tcga/pan in simulated-tcga:smoke has 128 samples"),
        ({"n": [20, 500]}, "n=500: the training set of tcga/pan in simulated-tcga:smoke has 128 samples"),
        ({"class_weight": ["heavy"]}, "class_weight 'heavy' is not known"),
        ({"split": "plate"}, "split 'plate' is not known"),
        ({"split": "study"}, "5 folds need as many studies in each class"),
        ({"training": {"epochs": "many"}}, "epochs='many' should be of type int"),
        ({"network": {"layers": 3}}, "network=.*layers"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(change, message):
    with pytest.raises(InputError, match=message):
        comparison.cells(replace(SMOKE, **change))


def test_a_task_of_one_of_two_cohorts_is_enough():
    both = replace(SMOKE, cohort=["simulated-tcga:smoke", "simulated-microarray:smoke"], tasks=["microarray/brain"])
    assert {cell.parameters["cohort"] for cell in comparison.cells(both)} == {"simulated-microarray:smoke"}


# The canary, and that it can die

HONEST = {
    "tasks": ["microarray/pan"], "methods": ["nn_default", "lasso"], "repeats": 6, "genes": [20],
    "inner_folds": 2, "grid": "small", "network": {"hidden": [32]}, "training": {"epochs": 20},
}  # fmt: skip


def means(watched, cohort) -> dict:
    frame = table(row for s in watched(comparison, comparison.Parameters(cohort=cohort, **HONEST)) for row in s.rows)
    frame = frame[frame["metric"].isin(["balanced_accuracy", "roc_auc"])]
    return frame.groupby(["method", "metric"])["value"].mean().to_dict()


def test_shuffled_labels_give_chance_and_true_ones_do_not(watched, canary):
    shuffled, true = means(watched, canary), means(watched, "simulated-microarray:smoke")
    assert set(shuffled) == set(true) and len(true) == 4
    for line, value in shuffled.items():
        assert abs(value - 0.5) < 0.1, (line, value)
        assert true[line] > 0.7, (line, true[line])
