"""The comparison: every method on the same samples, none of them tested on what it learned from."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gexlib import baselines, cohorts, figures, notebook
from gexlib.cohorts import fetch, open_cohort
from gexlib.errors import InputError
from gexlib.experiments import comparison
from gexlib.experiments.sensitivity import search_sides
from gexlib.figures import look
from gexlib.metrics import METRICS
from gexlib.results import COLUMNS, record, table
from gexlib.statistics import adjust, paired
from gexlib.tasks import Problem, problem

TINY = {
    "network": {"hidden": [12, 6]},
    "training": {"epochs": 3, "fixed_epochs": 3},
    "genes": [10], "inner_folds": 2, "trees": 5, "grid": "small",
    "settings": 2, "space": {"layers": [1, 2], "neurons": [5, 20], "batch_size": [32, 64]},
}  # fmt: skip
SIZES = [12, 48]
PAPER = {"tcga/pan": {"network": {"hidden": [7]}}, "tcga/type": {"network": {"hidden": [9]}, "training": {"epochs": 2}}}
NETWORKS = ("nn_default", "nn_paper")  # trained with what their cell names
TUNED = ("nn_inner", *baselines.METHODS)


@pytest.fixture(scope="module", params=["simulated-tcga:smoke", "simulated-microarray:smoke"])
def seen(request, watched):
    """All methods: pairs of one patient and cancer types on one cohort, single samples on the other."""
    tcga = "tcga" in request.param
    parameters = comparison.Parameters(
        cohort=request.param,
        tasks=["tcga/pan", "tcga/type"] if tcga else ["microarray/blood"],
        methods=[*NETWORKS, *TUNED, "majority"] if tcga else ["nn_default", "xgboost", "svm_rbf", "majority"],
        n=SIZES, repeats=2, class_weight=["balanced"] if tcga else ["none", "balanced"], paper=PAPER, **TINY,
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
    for (_, repeat, _), cells in splits.items():
        assert len(cells) == len(methods - ({"nn_paper"} if repeat else set())) * len(weights)
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
        wanted = (
            {"scale", "train"}
            if s.method in NETWORKS
            else {"scale", "select", "tune"} - ({"select"} if s.method == "nn_inner" else set())
        )
        assert {step.name for step in s.learning} == wanted
        for step in s.learning:
            assert not set(step.ids) & s.tested
            assert not set(patient[list(step.ids)]) & set(patient[sorted(s.tested)])
            assert set(step.ids) <= set(s.learner.ids)


def test_the_network_stops_on_patients_that_it_is_not_trained_on(seen):
    patient, stopped = obs_of(seen)["patient"], 0
    for s in seen:
        if s.method in NETWORKS:
            assert (s.learner.more["validation"] is None) == (s.n == 12)
        # the tuned network stops early in its inner folds, behind the scaler of each
        for step in s.steps:
            if step.more.get("validation"):
                inside, outside = (set(patient[[step.ids[i] for i in side]]) for side in step.more["validation"])
                assert inside and outside and not inside & outside
                stopped += s.method == "nn_inner"
    assert stopped or "nn_inner" not in {s.method for s in seen}


def test_the_paper_network_is_the_one_of_its_task(seen):
    for s in seen:
        if s.method == "nn_paper":
            hidden = [layer.linear.out_features for layer in s.learner.more["model"].hidden]
            assert hidden == ([7] if s.task == "tcga/pan" else [9])
            assert {"training": {}, **PAPER[s.task]}.items() <= s.cell.parameters.items() and s.paper is None
            if s.task == "tcga/type" and s.n != 12:
                assert s.rows[0]["epochs"] <= 2


def test_the_inner_network_is_tuned_on_the_folds_of_the_others(seen):
    folds = defaultdict(dict)
    for s in seen:
        if s.method in TUNED:
            inner = frozenset(frozenset(step.ids) for step in s.of("scale") if len(step.ids) < len(s.learner.ids))
            folds[s.task, s.repeat, s.n][s.method] = inner
            assert s.rows[0]["inner_folds"] == 2 == len(inner)
            if s.method == "nn_inner":
                assert len(s.of("scale")) <= 2 * 2 + 2  # two settings in two folds, then on all samples
                assert "learning_rate=" in s.rows[0]["chosen"] and "genes" not in s.rows[0]["chosen"]
    assert all(len(set(found.values())) == 1 for found in folds.values())


def test_labels_and_scaler_are_those_of_the_training_samples(seen):
    for s in seen:
        if s.method == "majority":
            continue
        assert list(s.learner.more["y"]) == truth(seen, s.task, s.learner.ids)
        if s.method in NETWORKS:
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
        extra = {"nn_default": {"epochs"}, "nn_paper": {"epochs"}, "majority": set()}.get(
            s.method, {"chosen", "inner_folds"}
        )
        assert extra <= set(s.rows[0])


def test_the_majority_is_right_on_the_share_of_the_commoner_class(seen):
    for s in seen:
        if s.method == "majority":
            got = {row["metric"]: row["value"] for row in s.rows}
            test = next(o.tested for o in seen if (o.task, o.repeat) == (s.task, s.repeat) and o.steps)
            y = truth(seen, s.task, test)
            assert got["accuracy"] == pytest.approx(max(np.mean(y), 1 - np.mean(y)))
            assert got["balanced_accuracy"] == got["roc_auc"] == pytest.approx(0.5)


def test_table_4_without_the_network(seen):
    frame = table(row for s in seen for row in s.rows if s.method != comparison.NETWORK)
    shown, first = comparison.summarise(frame), frame["method"].iloc[0]
    assert shown.loc[shown["method"] == first, "difference"].isna().all() and set(shown["method"]) == {*frame["method"]}


def test_table_4_and_all_metrics(seen):
    frame = table(row for s in seen for row in s.rows)
    tasks, arms = frame["task"].unique(), frame["arm"].unique()
    shown = comparison.summarise(frame)
    lines = frame[["task", "arm", "method"]].drop_duplicates()
    assert len(shown) == len(lines)  # the full training set only: no line a size
    assert shown.loc[shown["method"] == "nn_default", "difference"].isna().all()
    once = shown["method"] == "nn_paper"
    assert shown.loc[~once, "n_values"].eq(2).all() and shown.loc[once, "n_values"].eq(1).all()
    assert shown.loc[once, "difference"].notna().all() and once.any() == ("nn_paper" in set(frame["method"]))
    assert shown.loc[once, ["sd", "low", "high", "p_raw", "p_corrected", "p_equivalent", "p_bh"]].isna().all(axis=None)
    majority = shown["method"] == "majority"
    assert shown.loc[majority, "p_bh"].isna().all() and shown.loc[majority, "p_raw"].notna().all()
    for _, family in shown[~majority].groupby(["task", "arm"]):
        np.testing.assert_allclose(family["p_bh"], adjust(family["p_raw"]))
    for draw in (figures.learning_curves(frame), figures.method_bars(shown), figures.task_dots(comparison.full(frame))):
        draw.draw_without_rendering()
    assert "–" in notebook.tabulate(shown[once], {"mean": "mean", "low": "95 % low", "p_raw": "p (paired t)"}).data or (
        not once.any()
    )
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
    for change in ({"n": [20]}, {"repeats": 3}, {"methods": list(comparison.METHODS)}, {"paper": PAPER},
                   {"split": ["random", "study"], "cohort": ["simulated-tcga:smoke", "simulated-microarray:smoke"]},
                   {"class_weight": ["none", "balanced"]}, {"tasks": ["tcga/type", "tcga/pan", "tcga/BRCA"]},
                   {"cohort": ["simulated-tcga:smoke", "simulated-microarray:smoke"]}):  # fmt: skip
        more = keys(replace(SMOKE, **change))
        assert keys(SMOKE) < more if change != {"paper": PAPER} else keys(SMOKE) == more, change


def test_cells_of_a_method_change_with_its_own_settings_only():
    for method, own, others in (
        ("nn_default", {"training": {"epochs": 4}}, {"genes": [7], "trees": 9, "inner_folds": 3, "grid": "full"}),
        ("lasso", {"genes": [7]}, {"training": {"epochs": 4}, "network": {"hidden": [3]}, "settings": 1}),
        ("nn_inner", {"settings": 1}, {"network": {"hidden": [3]}, "trees": 9, "paper": {}}),
        ("nn_inner", {"space": {"layers": [1, 1]}}, {"genes": [7]}),
        ("nn_paper", {"paper": {"tcga/pan": {}, "tcga/type": {}}}, {"training": {"epochs": 4}, "settings": 1}),
    ):
        base = replace(SMOKE, methods=list(comparison.METHODS), paper=PAPER)
        assert keys(base, method) and keys(base, method) == keys(replace(base, **others), method)
        assert not keys(base, method) & keys(replace(base, **own), method)
        assert not keys(base, method) & keys(replace(base, seed=1), method)


def test_the_paper_network_is_absent_where_no_setting_is_named():
    every = replace(SMOKE, methods=list(comparison.METHODS))
    assert keys(every) and not keys(every, "nn_paper")
    found = comparison.cells(replace(every, paper={"tcga/type": {}}))
    assert {cell.parameters["task"] for cell in found if cell.parameters["method"] == "nn_paper"} == {"tcga/type"}


def test_the_paper_network_is_tested_on_no_sample_that_its_search_has_seen():
    """It is run on the first split of the first kind: elsewhere its search has seen the test samples."""
    both = replace(SMOKE, cohort="simulated-microarray:smoke", methods=["nn_default", "nn_paper"], n=[20], repeats=3,
                   paper={"microarray/pan": {}}, split=["random", "study"])  # fmt: skip
    found = [cell.parameters for cell in comparison.cells(both)]
    paper = [(p["split"], p["repeat"], p["n"]) for p in found if p["method"] == "nn_paper"]
    assert sorted(paper, key=str) == [("random", 0, 20), ("random", 0, None)]
    assert {(p["split"], p["repeat"]) for p in found if p["method"] == "nn_default"} == {
        (split, repeat) for split in both.split for repeat in range(3)
    }
    cell = next(c for c in comparison.cells(both) if c.parameters["method"] == "nn_paper")
    p = cell.parameters
    _, test = comparison.cell_sides(p["cohort"], cell.cohort_digest, p["task"], p["split"],
                               comparison.seed_of(p["seed"], p["task"], p["repeat"]))  # fmt: skip
    search = search_sides(problem(open_cohort(p["cohort"]), p["task"], "random"), p["seed"])
    assert not {*search[0].rows, *search[1].rows} & set(test.rows)


def test_a_kind_of_split_is_left_out_where_a_task_cannot_carry_it():
    both = replace(SMOKE, cohort=["simulated-tcga:smoke", "simulated-microarray:smoke"], split=["random", "study"])
    found = {(c.parameters["task"], c.parameters["split"]) for c in comparison.cells(both)}
    assert found == {(task, "random") for task in ("tcga/pan", "tcga/type", "microarray/pan")} | {
        ("microarray/pan", "study")
    }
    # patients repeat in tcga/pan, so both names mean the same split
    one = comparison.cells(replace(SMOKE, tasks=["tcga/pan"], split=["random", "patient"]))
    assert {c.parameters["split"] for c in one} == {"random"}


def test_a_size_is_left_out_where_a_task_has_no_room():
    found = comparison.cells(replace(SMOKE, n=[100]))  # the training set of tcga/type has 96 samples
    assert {(c.parameters["task"], c.parameters["n"]) for c in found} == {
        ("tcga/pan", 100), ("tcga/pan", None), ("tcga/type", None),
    }  # fmt: skip


def test_every_split_has_room_for_a_size():
    """By patient the training sets differ by a sample or two: the smallest decides, before anything runs."""
    many = replace(SMOKE, tasks=["tcga/pan"], repeats=6)
    trains = [
        comparison.cell_sides(c.parameters["cohort"], c.cohort_digest, "tcga/pan", "random", seed)[0]
        for c in comparison.cells(many)
        for seed in [comparison.seed_of(0, "tcga/pan", c.parameters["repeat"])]
    ]
    least, most = (pick(len(train.y) for train in trains) for pick in (min, max))
    assert least < most
    assert len(keys(replace(many, n=[least - 1]))) == 2 * len(keys(many))
    for n in (least, most):
        with pytest.raises(InputError, match=f"n={n}: the training set of tcga/pan in .* has {least} samples"):
            comparison.cells(replace(many, n=[n]))


def test_the_recorded_cells_are_still_the_same(real_data, monkeypatch):
    monkeypatch.setenv("GEXLIB_DATA", str(real_data))
    rows, runs = record("comparison", "tcga-pairs")
    old = next(run["parameters"]["comparison"] for run in runs if run["file"] == "comparison-tcga-pairs.parquet")
    rows = rows[rows["cell"].map(lambda text: json.loads(text)[1]["method"] in old["methods"])]
    if open_cohort("tcga-pairs").uns["digest"] not in set(rows["cohort_digest"]):
        pytest.skip("the folder holds other files than the record was made from")
    now = keys(comparison.Parameters(**{**old, "repeats": 1}))
    before = {key for key, text in zip(rows["key"], rows["cell"], strict=True) if json.loads(text)[1]["repeat"] == 0}
    assert now <= before and len(now) == 56


def test_no_recorded_method_is_shown_to_be_within_a_point_of_the_network():
    """As the page says; with the correction for splits that overlap."""
    rows, _ = record("comparison", "tcga-pairs")
    tests = comparison.summarise(comparison.of_tasks(rows))["p_equivalent"].dropna()
    assert len(tests) and (tests > 0.05).all()


def test_early_cells_are_of_the_first_repeats():
    """A run that stops early has the same number of splits of every task and method."""
    repeats = [cell.parameters["repeat"] for cell in comparison.cells(replace(SMOKE, repeats=3))]
    assert repeats == sorted(repeats)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["knn"]}, "methods: 'knn' is not known; use any of nn_default, nn_paper"),
        ({"tasks": ["tcga/pan", "tcga/LUAD"]}, "tasks: 'tcga/LUAD' is not carried by simulated-tcga:smoke"),
        ({"n": [1]}, "n=1: the training set of tcga/pan in simulated-tcga:smoke has 128 samples"),
        ({"n": [3]}, "n=3: the training set of .* 4 hold two of each class"),
        ({"n": [-5]}, "n=-5: the training set of tcga/pan"),
        ({"n": [20, 500]}, "n=500: the training set of tcga/pan in simulated-tcga:smoke has 128 samples"),
        ({"class_weight": ["heavy"]}, "class_weight 'heavy' is not known"),
        ({"split": "plate"}, "split 'plate' is not known"),
        ({"split": "study"}, "5 folds need as many studies in each class"),
        ({"split": ["random", "study"]}, "5 folds need as many studies in each class"),
        ({"split": ["random", "plate"]}, "split 'plate' is not known"),
        ({"repeats": 0}, "repeats=0: give at least 1 split"),
        ({"repeats": -1}, "repeats=-1"),
        ({"trees": 0}, "trees=0: it must be 1 or more"),
        ({"inner_folds": 1}, "inner_folds=1: it must be 2 or more"),
        ({"settings": 0}, "settings=0: it must be 1 or more"),
        ({"settings": 5, "methods": ["nn_inner"]}, "settings=5: the classical methods try 4 settings at most"),
        ({"space": {"depth": 3}}, "space: parameter 'depth' is not known"),
        ({"space": {"layers": [3, 1]}}, r"layers=\[3, 1\]"),
        ({"space": {"optimiser": ["lion"]}}, "optimiser 'lion' is not known"),
        ({"paper": {"tcga/pan": {"hidden": [3]}}}, "paper: 'tcga/pan' holds hidden; it takes network and training"),
        ({"paper": {"tcga/pan": {"training": {"epochs": "many"}}}}, "paper, tcga/pan: parameter epochs='many'"),
        ({"paper": {"tcga/pan": {"network": {"layers": 3}}}}, "network: parameter 'layers' is not known"),
        ({"paper": {"tcga/pam": {}}}, "paper: task 'tcga/pam' is not known"),
        ({"training": {"learning_rate": -1}}, "learning_rate is -1"),
        ({"training": {"epochs": "many"}}, "epochs='many' should be a whole number"),
        ({"network": {"layers": 3}}, "network: parameter 'layers' is not known"),
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


# Every method of the table, one of your own too


def exercise(learnable=True, seed=0, n=60, genes=24):
    """A training side, unscaled, test samples and their labels; every third gene differs where there is something."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.resize([0, 0, 1], 2 * n))
    X = 8 + 2 * random.normal(size=(2 * n, genes)) + 3 * learnable * y[:, None] * (np.arange(genes) % 3 == 0)
    train = Problem("tcga/pan", np.arange(n), y[:n], ("normal", "cancer"), np.arange(n) // 2, "patient")
    return X[:n].astype(np.float32), train, X[n:].astype(np.float32), y[n:]


def own(name, class_weight="balanced") -> dict:
    """A cell's parameters as `cells` makes them."""
    enough = {"network": {"hidden": [30]}, "training": {"epochs": 40, "fixed_epochs": 40}}
    parameters = comparison.Parameters(methods=[name], paper={"tcga/pan": enough}, **{**TINY, **enough})
    (found,) = comparison._axes(replace(parameters, class_weight=[class_weight], repeats=1), "tcga/pan", [])
    if name == "nn_inner":  # settings that learn
        found["space"] |= {
            "learning_rate": [0.01, 0.01],
            "optimiser": ["sgd"],
            "dropout": [0, 0],
            "penalty_weight": [0],
        }
    return found


def recall(scores, y):
    return np.mean([(scores[y == k].argmax(axis=1) == k).mean() for k in (0, 1)])


@pytest.mark.parametrize("name", comparison.METHODS)
def test_a_method_keeps_its_promises(name):
    X, train, X_test, y = exercise()
    predict = comparison.METHODS[name].predict
    before, labels = X.copy(), train.y.copy()
    scores, probabilities, more = predict(X, train, X_test, own(name), 3)
    assert scores.shape == (60, 2) and np.isfinite(scores).all() and isinstance(more, dict)
    if probabilities is not None:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(train.y, labels)
    again, alone = (predict(X, train, test, own(name), 3)[0] for test in (X_test, X_test[:1]))
    np.testing.assert_array_equal(scores, again)
    np.testing.assert_allclose(scores[:1], alone, rtol=1e-4, atol=1e-6, err_msg="other test samples matter")
    if name != "majority":
        assert recall(scores, y) > 0.75
        *nothing, y_nothing = exercise(learnable=False)
        assert abs(recall(predict(*nothing, own(name), 3)[0], y_nothing) - 0.5) < 0.25
    weights = predict(X, train, X_test, own(name, "none"), 3)[0]
    assert np.allclose(weights, scores) != comparison.METHODS[name].weighted


def test_every_method_has_a_name_in_the_figures():
    from gexlib.figures import METHOD_LABELS

    assert set(comparison.METHODS) <= set(METHOD_LABELS)


# The page for contributors

PAGE = Path(__file__).resolve().parents[2] / "book" / "contribute.md"


def blocks(language="python") -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE.read_text(), re.M | re.S)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


def test_the_method_on_the_page_is_one_function_and_one_line(watched, monkeypatch):
    function, line, drawn = blocks()[:3]
    assert len(line.splitlines()) == len(drawn.splitlines()) == 1
    seen_as = eval("{" + drawn + "}", vars(look).copy())["naive_bayes"]
    assert seen_as[2:] not in [other[2:] for name, other in look.METHODS.items() if name != "naive_bayes"]
    namespace = vars(comparison).copy()  # the page's code stands in that module
    exec(function, namespace)
    monkeypatch.setattr(comparison, "METHODS", {**comparison.METHODS, **eval("{" + line + "}", namespace)})
    cells = {"methods": ["nn_default", "naive_bayes"], "n": [20], "repeats": 2, "class_weight": ["balanced", "none"]}
    seen = watched(comparison, comparison.Parameters(cohort="simulated-tcga:smoke", **{**TINY, **cells}))
    learned = {(s.task, s.repeat, s.n): set(s.learner.ids) for s in seen if s.method == "nn_default"}
    mine = [s for s in seen if s.method == "naive_bayes"]
    assert len(mine) == 2 * 2 * 2 * 2
    for s in mine:
        assert [set(step.ids) for step in s.learning] == [learned[s.task, s.repeat, s.n]]
        assert {"network", "training", "genes"}.isdisjoint(s.cell.parameters)
    shown = comparison.summarise(table(row for s in seen for row in s.rows))
    assert shown.loc[(shown["method"] == "naive_bayes") & (shown["task"] == "tcga/pan"), "mean"].min() > 0.7
    test_a_method_keeps_its_promises("naive_bayes")


def test_the_cohort_on_the_page_can_be_read(tmp_path):
    module, source, imports, reader = blocks()[3:7]
    pages = {"Source": fetch.Source}
    exec(module, pages)
    there = Path(cohorts.__file__).read_text().splitlines()
    assert "clinic, " in imports and {imports, imports.replace("clinic, ", "")} & set(there)
    random = np.random.default_rng(0)
    values = pd.DataFrame(random.normal(size=(6, 3)), columns=list("abc"), index=[f"s{i}" for i in range(6)])
    values.assign(tumour=[True, False] * 3).to_csv(tmp_path / "expression.tsv", sep="\t", index_label="sample")
    cohort = pages["read_clinic"]([tmp_path / "expression.tsv"])
    assert list(cohort.obs["status"]) == ["cancer", "normal"] * 3 and list(cohort.var_names) == list("abc")
    (entry,) = eval("{" + source + "}", pages).values()
    assert isinstance(entry, fetch.Source) and reader == '"clinic": clinic.read_clinic,'
