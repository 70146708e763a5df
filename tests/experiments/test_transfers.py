"""What sections of supervised transfer share: lists of cells, scalers, the pooled arm, the main lines."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from gexlib import baselines
from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import pan_to_specific, transfers
from gexlib.experiments.transfers import Transfer, TransferParameters, arm_cells, check_transfer, main_lines
from gexlib.gram import pool_of
from gexlib.results import Cell
from gexlib.tasks import Problem
from gexlib.transfer import new_network

COMMON = {"cohort": "any", "target": "HNSC", "fold": 0, "seed": 0}
NETWORKS = {"network": {"hidden": [6]}, "training": {"epochs": 2, "fixed_epochs": 2}}
LEARNERS = {"genes": [10], "inner_folds": 2, "trees": 5, **NETWORKS}


def listed(sizes=(8, 16), sources=(None,), **parameters) -> list[dict]:
    return list(arm_cells(TransferParameters(**{**LEARNERS, **parameters}), COMMON, sizes, sources))


def of(cells, arm) -> list[dict]:
    return [cell for cell in cells if cell["arm"] == arm]


# Lists of cells


def test_every_arm_is_listed_at_every_size_and_zero_shot_once():
    cells = listed(methods=["lasso"], pooled=["svm_linear", "lasso"], frozen=[0, 2], scaler=["source", "subset"])
    count = {arm: len(of(cells, arm)) for arm in transfers.ARMS}
    assert count == {"baseline": 4, "fine_tuned": 8, "zero_shot": 1, "classical": 2, "pooled": 2}
    assert all(COMMON.items() <= cell.items() and "source" not in cell for cell in cells)
    for cell in of(cells, "pooled"):
        assert cell["methods"] == ["svm_linear", "lasso"] and cell["scaler"] == "source" and "network" not in cell
    for cell in of(cells, "classical"):
        assert cell["methods"] == ["lasso"] and "scaler" not in cell and "training" not in cell
    assert all("frozen" not in cell and "genes" not in cell for cell in of(cells, "baseline") + of(cells, "zero_shot"))


def test_arms_without_a_source_are_listed_once_for_all_sources():
    cells = listed(sizes=[8], sources=["BRCA", "KIRC"], methods=["lasso"], pooled=["lasso"])
    named = {arm: [cell.get("source") for cell in of(cells, arm)] for arm in transfers.ARMS}
    both = ["BRCA", "KIRC"]
    assert named == {"baseline": [None], "classical": [None], "fine_tuned": both, "zero_shot": both, "pooled": both}
    assert of(cells, "baseline") == of(listed(sizes=[8], methods=["lasso"]), "baseline")


def test_what_is_not_asked_for_is_not_listed():
    assert {cell["arm"] for cell in listed(methods=[])} == {"zero_shot", "baseline", "fine_tuned"}
    assert not of(listed(scaler=["subset"]), "zero_shot")  # scaled on no sample: nothing to predict with
    assert {cell["scaler"] for cell in of(listed(scaler=["domain", "source"], pooled=["lasso"]), "pooled")} == {
        "domain"
    }
    assert [cell["scaler"] for cell in of(listed(scaler=["domain", "source"]), "zero_shot")] == ["domain"]
    assert [cell["scaler"] for cell in of(listed(scaler=["source", "domain"]), "zero_shot")] == ["domain"]  # any order
    assert {cell["scaler"] for cell in of(listed(scaler=["subset"], pooled=["lasso"]), "pooled")} == {"subset"}
    assert listed(sizes=[], methods=["lasso"], pooled=["lasso"]) == of(listed(methods=[]), "zero_shot")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooled": ["majority"]}, "pooled: 'majority' is not known; use any of "),
        ({"scaler": ["none"]}, "scaler: 'none' is not known; use any of source, subset, all, domain"),
        ({"frozen": [2]}, "frozen: '2' is not known; use any of 0, 1"),
    ],
)
def test_what_no_cell_can_be_made_of_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        check_transfer(TransferParameters(**{**LEARNERS, **change}))


# The pooled arm, on a cohort in which patients have samples of the source and of the target


@pytest.fixture(scope="module")
def pooled(watched, travellers):
    parameters = pan_to_specific.Parameters(
        cohort=travellers, targets=["BRCA"], n=[8, 20], folds=2, methods=["lasso"],
        pooled=["lasso", "random_forest"], **LEARNERS,
    )  # fmt: skip
    seen = watched(pan_to_specific, parameters)
    folds = defaultdict(dict)
    for s in seen:
        folds[s.fold][s.arm, s.n] = s
    return folds


def test_pooled_methods_are_tuned_on_the_source_and_the_n_samples_and_on_no_test_sample(pooled):
    obs = open_cohort("travellers").obs
    for arms in pooled.values():
        tested = arms["pooled", 8].tested
        patients = set(obs.loc[sorted(tested), "patient"]) - {""}
        source = set(obs.index[(obs["cancer_type"] != "BRCA") & ~obs["patient"].isin(patients)])
        for n in (8, 20):
            chosen = arms["baseline", n].learner.ids
            steps = arms["pooled", n].of("tune")
            assert {step.more["method"] for step in steps} == {"lasso", "random_forest"}
            for step in steps:
                assert len(step.ids) == len(set(step.ids)) and set(step.ids) == source | set(chosen)
                assert list(step.more["y"]) == list((obs.loc[list(step.ids), "status"] == "cancer").astype(int))
                assert not patients & set(obs.loc[list(step.ids), "patient"])
            assert not any(set(step.ids) & tested for step in arms["pooled", n].of("scale", "select"))


def test_a_patient_with_samples_on_both_sides_of_the_pool_is_one_group(pooled):
    obs, shared = open_cohort("travellers").obs, 0
    for arms in pooled.values():
        step = arms["pooled", 20].learner
        patient = [obs.loc[name, "patient"] or name for name in step.ids]
        table = pd.DataFrame(
            {"patient": patient, "group": step.more["groups"], "type": obs.loc[[*step.ids], "cancer_type"]}
        )
        assert (table.groupby("patient")["group"].nunique() == 1).all()
        assert (table.groupby("group")["patient"].nunique() == 1).all()
        shared += (table.groupby("patient")["type"].nunique() > 1).sum()
    assert shared  # else the test says nothing


def test_pooled_methods_are_scored_on_the_test_fold_beside_the_other_arms(pooled):
    for arms in pooled.values():
        assert len({frozenset(s.tested) for s in arms.values()}) == 1
        for n in (8, 20):
            rows = pd.DataFrame(arms["pooled", n].rows)
            assert set(rows["method"]) == {"lasso", "random_forest", "best_classical"}
            assert set(rows["n"]) == {n} and set(rows["scaler"]) == {"source"}  # n counts the target's samples
            assert set(rows["n_test"]) == {len(arms["pooled", n].tested)}
            assert rows["chosen"].str.len().gt(0).all() and set(rows["n_cancer"] + rows["n_normal"]) == {n}


# Scalers, on numbers made by hand

RANDOM = np.random.default_rng(5)
SOURCE, TRAIN, TEST = np.arange(0, 30), np.arange(30, 54), np.arange(54, 66)
X = np.concatenate([RANDOM.normal(10, 3, (30, 6)), RANDOM.normal(2, 0.5, (36, 6))]).astype(np.float32)


@pytest.fixture
def transfer():
    """Two platforms: sources measure five times as high as the target."""
    y = np.tile([0, 1], 33)

    def part(rows):
        return Problem("tcga/HNSC", rows, y[rows], ("normal", "cancer"), rows, "random")

    return Transfer(X, {"there": part(SOURCE)}, part(TRAIN), part(TEST), part(np.arange(66)), 1, 2)


def test_each_scaler_has_seen_what_it_says(transfer):
    chosen = transfer.chosen(8)
    assert len(chosen.rows) == 8 and set(chosen.rows) < set(TRAIN)
    seen = {"source": SOURCE, "subset": chosen.rows, "domain": TRAIN, "all": np.arange(66)}
    assert set(seen) == set(transfers.SCALERS)
    for kind, rows in seen.items():
        fitted = transfer.scaler(kind, "there", chosen)
        assert fitted.n_samples_seen_ == len(rows)
        assert fitted.mean_ == pytest.approx(X[rows].mean(axis=0), abs=1e-4)


def test_each_platform_is_on_its_own_scale_where_domains_are_pooled(transfer, monkeypatch):
    given = {}

    def tune(method, X, y, groups, tuning, seed):
        given.update(X=X, y=y, groups=groups, seed=seed)
        return SimpleNamespace(pipeline=None, chosen={}, inner_folds=2, inner_score=1.0)

    def scores(pipeline, X):
        given.update(test=X)
        return np.linspace(0, 1, len(X)), np.linspace(0, 1, len(X))

    def fake_rows(cell, train, test, *args, **more):
        return [{"n": len(train.rows), "metric": "accuracy", "value": 1.0, **more}]

    monkeypatch.setattr(baselines, "tune", tune)
    monkeypatch.setattr(baselines, "scores", scores)
    monkeypatch.setattr(transfers, "rows_of", fake_rows)
    cell = {**COMMON, "arm": "pooled", "methods": ["lasso"], "n": 8}
    cell |= {name: getattr(TransferParameters(**LEARNERS), name) for name in ("genes", "inner_folds", "trees", "grid")}
    chosen = transfer.chosen(8)
    on_source, on_target = StandardScaler().fit(X[SOURCE]), StandardScaler().fit(X[TRAIN])
    (row, best) = transfer.rows(Cell("any", {**cell, "scaler": "domain"}, "", 1), "there")
    assert given["X"][:30] == pytest.approx(on_source.transform(X[SOURCE]))
    assert given["X"][30:] == pytest.approx(on_target.transform(X[chosen.rows]))
    assert given["test"] == pytest.approx(on_target.transform(X[TEST]))
    assert list(given["groups"]) == [*SOURCE, *chosen.rows] and given["seed"] == 1
    assert list(given["y"]) == [i % 2 for i in (*SOURCE, *chosen.rows)]
    assert row["n"] == best["n"] == 8 and best["method"] == "best_classical"
    transfer.rows(Cell("any", {**cell, "scaler": "source"}, "", 1), "there")
    assert given["X"] == pytest.approx(X[[*SOURCE, *chosen.rows]]) and given["test"] == pytest.approx(X[TEST])


def profiles(model, samples):
    """Samples as a network takes them, as profiles: those of a pool's rows where it is inside one."""
    return samples if samples.ndim == 2 else pool_of(model).X.numpy()[samples]


@pytest.mark.parametrize("faster", [True, False])
def test_networks_of_two_domains_are_each_given_their_own_scale(faster, transfer, monkeypatch):
    given, predicted = [], []
    network = new_network(X.shape[1], 2, {"hidden": [6]})
    monkeypatch.setattr(transfers, "pays", lambda *_: faster)
    monkeypatch.setattr(transfers, "train_network", lambda X, *args: (given.append(X), (network, []))[1])
    monkeypatch.setattr(transfers, "fine_tune", lambda m, X, *args: (given.append(profiles(m, X)), (m, []))[1])
    monkeypatch.setattr(transfers, "predict_proba", lambda m, X: predicted.append(profiles(m, X)))
    monkeypatch.setattr(transfers, "rows_of", lambda *args, **more: [])
    cell = {**COMMON, "arm": "fine_tuned", "n": 8, "frozen": 0, "scaler": "domain", "network": {}, "training": {}}
    transfer.rows(Cell("any", cell, "", 1), "there")
    on_target = StandardScaler().fit(X[TRAIN])
    assert given[0] == pytest.approx(StandardScaler().fit_transform(X[SOURCE]))
    assert given[1] == pytest.approx(on_target.transform(X[transfer.chosen(8).rows]), rel=1e-5, abs=1e-5)
    assert predicted[0] == pytest.approx(on_target.transform(X[TEST]), rel=1e-5, abs=1e-5)
    transfer.rows(Cell("any", {**cell, "frozen": 1}, "", 1), "there")
    transfer.rows(Cell("any", {**cell, "training": {"epochs": 9}}, "", 1), "there")
    assert len(given) == 5  # the source once for both F, again for another way of training


def test_rows_are_the_same_inside_a_pool_and_outside(monkeypatch):
    """Float32 on both ways; the history tells which was taken."""
    ways = []
    fine_tune = transfers.fine_tune

    def spied(*args):
        model, history = fine_tune(*args)
        ways.append(history[0]["first_layer"])
        return model, history

    monkeypatch.setattr(transfers, "fine_tune", spied)
    parameters = pan_to_specific.Parameters(
        cohort="simulated-tcga:smoke", targets=["BRCA"], n=[8, 16], frozen=[0, 1], folds=2, methods=[], **NETWORKS
    )
    cells = [cell for cell in pan_to_specific.cells(parameters) if cell.parameters["fold"] == 0]
    found = []
    for faster in (True, False):
        monkeypatch.setattr(transfers, "pays", lambda *_, faster=faster: faster)
        monkeypatch.setattr("gexlib.training.pays", lambda *_, faster=faster: faster)
        rows = [row for _, rows in pan_to_specific.evaluate(cells) for row in rows]
        found.append(pd.DataFrame(rows).set_index(["arm", "frozen", "n", "metric"])["value"])
    half = len(ways) // 2
    assert set(ways[:half]) == {"gram", "plain: the first layer is frozen"} and "gram" not in ways[half:]
    pd.testing.assert_series_equal(*found, rtol=1e-3, atol=1e-4)
    assert found[0].xs("log_loss", level="metric").nunique() > 5


def test_a_pool_holds_the_samples_that_are_needed_and_grows(transfer, monkeypatch):
    monkeypatch.setattr(transfers, "pays", lambda *_: True)
    network = new_network(X.shape[1], 2, {"hidden": [6]})
    cell = {"arm": "baseline", "scaler": "domain", "network": {}, "training": {}}
    sizes = []
    for n in (4, 8, 6, 20):
        chosen = transfer.chosen(n)
        model, trained, tested = transfer.samples(cell, network, "there", chosen)
        scaled = StandardScaler().fit(X[TRAIN])
        assert profiles(model, trained) == pytest.approx(scaled.transform(X[chosen.rows]), rel=1e-5, abs=1e-5)
        assert profiles(model, tested) == pytest.approx(scaled.transform(X[TEST]), rel=1e-5, abs=1e-5)
        sizes.append(len(pool_of(model).X) - len(TEST))
    assert sizes == [8, 8, 8, 24]  # twice as many as asked for, all there are at most


# The lines that figures show


def frame(*lines) -> pd.DataFrame:
    rows = pd.DataFrame(lines, columns=["arm", "frozen", "scaler", "method"])
    return rows.astype({"frozen": "Int64"})


def test_main_lines_are_one_line_an_arm():
    rows = frame(
        ("baseline", None, "source", "nn"), ("baseline", None, "subset", "nn"), ("zero_shot", None, "source", "nn"),
        ("fine_tuned", 0, "source", "nn"), ("fine_tuned", 2, "source", "nn"), ("fine_tuned", 0, "subset", "nn"),
        ("classical", None, None, "lasso"), ("classical", None, None, "best_classical"),
        ("pooled", None, "source", "lasso"), ("pooled", None, "source", "best_classical"),
    )  # fmt: skip
    kept = main_lines(rows)
    assert list(kept.index) == [0, 2, 3, 7, 9]
    assert main_lines(kept).equals(kept)


@pytest.mark.parametrize(
    ("ran", "main"),
    [
        (["source", "subset"], "source"), (["subset"], "subset"), (["all"], "all"), (["all", "subset"], "subset"),
        (["domain"], "domain"), (["source", "domain"], "domain"),
    ],
)  # fmt: skip
def test_the_main_scaler_is_one_that_was_run(ran, main):
    rows = frame(*[(arm, frozen, s, "nn") for s in ran for arm, frozen in (("baseline", None), ("fine_tuned", 1))])
    kept = main_lines(rows)
    assert set(kept["scaler"]) == {main} and len(kept) == 2
