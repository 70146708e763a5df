"""From one cancer to another: what each arm is given, on real evaluations of small cohorts; the tables."""

from collections import defaultdict
from dataclasses import replace
from itertools import groupby, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import cancer_to_cancer as pairs
from gexlib.experiments import pan_to_specific as pan
from gexlib.results import table

TINY = {
    "network": {"hidden": [12, 6]},
    "training": {"epochs": 3, "fixed_epochs": 3},
    "genes": [10], "inner_folds": 2, "trees": 5,
}  # fmt: skip
SCALERS = ["source", "subset", "all"]
SIZES = [8]


@pytest.fixture(scope="module", params=["simulated-microarray:smoke", "travellers"])
def seen(request, watched, travellers):
    """All arms: three sources on one target; every pair of two types that have patients in common."""
    parameters = pairs.Parameters(
        cohort=request.param, targets=["blood"] if "microarray" in request.param else [], n=SIZES, frozen=[0, 1],
        folds=2, scaler=SCALERS, methods=["lasso"], pooled=["random_forest"], **TINY,
    )  # fmt: skip
    return watched(pairs, parameters)


def by_fold(seen):
    found = defaultdict(list)
    for s in seen:
        found[pairs.group(s.cell)].append(s)
    return found


def obs_of(seen) -> pd.DataFrame:
    """Samples of the cohort, with the cancer or tissue of each under ``site``."""
    obs = open_cohort(seen[0].cohort).obs
    return obs.assign(site=obs["tissue"] if "microarray" in seen[0].cohort else obs["cancer_type"])


def source_steps(seen):
    """Yield the cells in which a source network was trained, with that step."""
    for s in seen:
        if s.arm in ("zero_shot", "fine_tuned"):
            yield from ((s, step) for step in s.of("train"))


def sources_of(obs, members):
    """Samples that each source may have, given the test fold."""
    patients = set(obs.loc[sorted(members[0].tested), "patient"]) - {""}
    free = obs[~obs.index.isin(members[0].tested) & ~obs["patient"].isin(patients)]
    return free, {site: set(part.index) for site, part in free.groupby("site", observed=True)}


def test_a_source_holds_its_own_cancer_only_without_patients_of_the_test_fold(seen):
    obs, dropped = obs_of(seen), 0
    for members in by_fold(seen).values():
        target = members[0].target
        _, allowed = sources_of(obs, members)
        networks = defaultdict(list)
        for s, step in source_steps(members):
            networks[s.source].append(set(step.ids))
        assert len(networks) == (3 if "microarray" in members[0].cohort else 2) and target in networks
        for source, trained in networks.items():
            # one for the scaler "source", one for "all", one of its own scale for "subset"
            assert trained == [allowed[source]] * 3
            dropped += (obs["site"] == source).sum() - len(trained[0]) if source != target else 0
        counted = {row["source"]: row["n_source"] for s in members for row in s.rows if s.source}
        assert counted == {source: len(allowed[source]) for source in networks}
    assert (dropped > 0) == (seen[0].cohort == "travellers")


def test_the_diagonal_is_trained_on_the_training_side_of_its_fold(seen):
    obs = obs_of(seen)
    for members in by_fold(seen).values():
        own = set(obs.index[obs["site"] == members[0].target])
        diagonal = [step for s, step in source_steps(members) if s.source == s.target]
        assert len(diagonal) == 3
        for step in diagonal:
            assert set(step.ids) == own - members[0].tested
            assert not set(obs.loc[list(step.ids), "patient"]) & set(obs.loc[list(members[0].tested), "patient"])
        subset = next(s for s in members if s.arm == "baseline").learner.ids
        assert set(subset) < set(diagonal[0].ids)


def test_no_test_sample_and_no_test_patient_is_in_anything_that_learns(seen):
    patient = obs_of(seen)["patient"]
    for members in by_fold(seen).values():
        tested = members[0].tested
        assert all(s.tested == tested for s in members)
        steps = [(s, step) for s in members for step in s.learning]
        assert {step.name for _, step in steps} == {"scale", "select", "tune", "train", "fine-tune"}
        for s, step in steps:
            if step.name == "scale" and s.scaler == "all":
                continue
            if step.name == "scale" and s.arm in ("classical", "pooled"):
                continue  # inside the tuned pipeline, on samples of the step "tune"
            assert not set(step.ids) & tested, (s.arm, s.scaler, step.name)
            assert not set(patient[list(step.ids)]) & set(patient[list(tested)]) - {""}, (s.arm, step.name)


def test_all_sources_share_one_baseline_its_samples_its_scaler_and_its_seed(seen):
    for members in by_fold(seen).values():
        free, allowed = sources_of(obs_of(seen), members)
        others = set(free.index[free["site"] != members[0].target])
        for n, scaler in product(SIZES, SCALERS):
            here = [s for s in members if s.n == n and s.scaler == scaler]
            (baseline,) = [s for s in here if s.arm == "baseline"]
            tuned = [s for s in here if s.arm == "fine_tuned"]
            assert "source" not in baseline.cell.parameters and {r["source"] for r in baseline.rows} == {None}
            assert sorted((s.source, s.frozen) for s in tuned) == sorted(product({s.source for s in tuned}, [0, 1]))
            first = baseline.learner
            expected = {
                "source": others, "all": others | allowed[members[0].target] | baseline.tested,
                "subset": set(first.ids),
            }[scaler]  # fmt: skip
            assert set(first.more["scaled_on"]) == expected
            for s in tuned:
                assert s.learner.ids == first.ids and len(first.ids) == n
                for name in ("y", "groups", "seed", "validation"):
                    assert s.learner.more[name] == first.more[name], name
                for step in (s.learner, *s.of("predict")):
                    assert set(step.more["scaled_on"]) == expected
        classical = [s for s in members if s.arm == "classical"]
        assert sorted(s.n for s in classical) == SIZES and not any(s.source for s in classical)


def test_a_source_network_is_scaled_like_the_target_or_on_its_own_samples(seen):
    obs = obs_of(seen)
    for members in by_fold(seen).values():
        free, allowed = sources_of(obs, members)
        others = set(free.index[free["site"] != members[0].target])
        trained = list(source_steps(members))
        assert {s.scaler for s, _ in trained} == {"source", "subset", "all"}
        for s, step in trained:
            own = members[0].target
            expected = {"source": others, "all": others | allowed[own] | s.tested}.get(s.scaler, allowed[s.source])
            assert set(step.more["scaled_on"]) == expected, s.scaler


def test_zero_shot_is_the_untouched_network_of_each_source(seen):
    for members in by_fold(seen).values():
        zero = {s.source: s.of("predict")[0].more["model"] for s in members if s.arm == "zero_shot"}
        assert len(set(map(id, zero.values()))) == len(zero) == len({s.source for s in members if s.source})
        tuned = [s for s in members if s.arm == "fine_tuned" and s.scaler == "source"]
        assert all(s.learner.more["source"] is zero[s.source] for s in tuned)


def test_pooled_methods_get_their_source_and_the_n_samples(seen):
    patient = obs_of(seen)["patient"]
    for members in by_fold(seen).values():
        _, allowed = sources_of(obs_of(seen), members)
        subset = {s.n: set(s.learner.ids) for s in members if s.arm == "baseline"}
        pooled = [s for s in members if s.arm == "pooled"]
        assert {(s.source, s.n) for s in pooled} == set(product({s.source for s in members} - {None}, SIZES))
        for s in pooled:
            step = s.learner
            assert set(step.ids) == allowed[s.source] | subset[s.n]
            group_of = defaultdict(set)
            for name, group in zip(step.ids, step.more["groups"], strict=True):
                group_of[patient[name] or name].add(group)
            assert all(len(found) == 1 for found in group_of.values())


# Beside pan-cancer transfer


SMOKE = pairs.Parameters(cohort="simulated-tcga:smoke", n=[8], folds=2, methods=["lasso"], **TINY)


def arms(parameters, *names) -> set[str]:
    return {cell.key for cell in pairs.cells(parameters) if cell.parameters["arm"] in names}


def test_baselines_and_classical_methods_are_those_of_pan_cancer_transfer():
    def frame(module, parameters):
        cells = sorted(module.cells(parameters), key=module.group)
        cells = [cell for cell in cells if cell.parameters["arm"] in ("baseline", "classical")]
        return table(r for _, g in groupby(cells, module.group) for _, rows in module.evaluate(g) for r in rows)

    shared = {name: getattr(SMOKE, name) for name in pan.Parameters.__dataclass_fields__}
    here, there = frame(pairs, SMOKE), frame(pan, pan.Parameters(**shared))
    axes = ["target", "arm", "method", "n", "fold", "metric"]
    assert len(here) and here[axes].equals(there[axes])
    assert here["value"].to_numpy() == pytest.approx(there["value"].to_numpy())
    assert set(here["source"]) == {None} and set(there["source"]) == {"pan"}


def test_baselines_and_classical_methods_do_not_depend_on_the_sources():
    one = replace(SMOKE, sources=["HNSC"])
    assert arms(one, "baseline", "classical") == arms(SMOKE, "baseline", "classical")
    for name in ("fine_tuned", "zero_shot"):
        assert arms(one, name) < arms(SMOKE, name)
    cells = pairs.cells(replace(SMOKE, pooled=["lasso"], n=[8, 10]))
    count = pd.Series([cell.parameters["arm"] for cell in cells]).value_counts().to_dict()
    # 2 targets in 2 folds: 2 sizes, and 2 sources where an arm has one
    assert count == {"baseline": 8, "classical": 8, "fine_tuned": 16, "pooled": 16, "zero_shot": 8}


# Refused before anything runs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ["BRCA", "XYZ"]}, "sources: 'XYZ' is not in simulated-tcga:smoke; it has BRCA, HNSC"),
        ({"targets": ["XYZ"]}, "targets: 'XYZ' is not in"),
        ({"frozen": [3]}, "frozen: '3' is not known"),
        ({"n": [500]}, "n=500: the training folds"),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        pairs.cells(replace(SMOKE, **change))


def test_a_cohort_without_any_of_the_sources_is_refused():
    both = replace(SMOKE, cohort=["simulated-tcga:smoke", "simulated-microarray:smoke"], sources=["BRCA"])
    with pytest.raises(InputError, match="sources: simulated-microarray:smoke has none of them; name one of blood"):
        pairs.cells(both)


def test_a_source_of_one_class_without_the_test_patients_is_refused(variant):
    """Every normal of the source is from a patient of the target, and all these are in one test fold."""

    def tie(obs):
        labels = obs["patient"].to_numpy(copy=True)
        normal = np.flatnonzero((obs["cancer_type"] == "HNSC") & (obs["status"] == "normal"))
        labels[normal] = labels[np.flatnonzero(obs["cancer_type"] == "BRCA")[0]] = "everywhere"
        return obs.assign(patient=labels)

    cohort = variant("tied", "simulated-tcga:smoke", tie)
    parameters = replace(SMOKE, cohort=cohort, targets=["BRCA"])
    with pytest.raises(InputError, match="source HNSC: without the patients of a test fold of BRCA it has one class"):
        pairs.cells(parameters)
    assert pairs.cells(replace(parameters, sources=["BRCA"]))


def test_a_single_cancer_has_nothing_to_fit_the_shared_scaler_on(variant):
    cohort = variant("alone", "simulated-tcga:smoke", lambda obs: obs[obs["cancer_type"] == "BRCA"])
    parameters = replace(SMOKE, cohort=cohort, methods=[])
    with pytest.raises(InputError, match="target BRCA: alone has no other samples to fit the scaler on"):
        pairs.cells(parameters)
    cells = pairs.cells(replace(parameters, scaler=["subset"]))
    fold = [cell for cell in cells if cell.parameters["fold"] == 0]
    assert all(rows for _, rows in pairs.evaluate(fold))


# Tables, on rows made by hand

FOLDS = 6
GAINS = {("BRCA", "HNSC"): 0.04, ("KIRC", "HNSC"): 0.10, ("HNSC", "HNSC"): 0.3, ("BRCA", "KIRC"): -0.05}


def hand_made(metric="accuracy", sign=1) -> pd.DataFrame:
    """Rows of three sources and three targets; pairs that `GAINS` does not name gain nothing but noise."""
    random, rows = np.random.default_rng(3), []
    types = ("BRCA", "HNSC", "KIRC")
    for target, n, fold in product(types, (8, 32), range(FOLDS)):
        common = {
            "cohort": "tcga-pairs", "simulated": False, "split": "patient", "target": target, "n": n, "repeat": 0,
            "fold": fold, "metric": metric, "method": "nn_default",
        }  # fmt: skip
        base = random.normal(0.7, 0.05)
        for scaler in ("source", "subset"):
            here = {**common, "scaler": scaler}
            rows.append({**here, "arm": "baseline", "source": None, "frozen": None, "value": base})
            for source, frozen in product(types, (0, 2)):
                gain = sign * GAINS.get((source, target), 0.0) * (8 / n) + random.normal(0, 0.02)
                gain = gain if scaler == "source" and frozen == 0 else 0.5  # must not be looked at
                more = {"arm": "fine_tuned", "source": source, "frozen": frozen, "value": base + gain}
                rows.append({**here, **more, "source_seed": 1})
    return pd.DataFrame(rows).astype({"frozen": "Int64", "source_seed": "Int64"})


def gain_of(rows, source, target, n) -> np.ndarray:
    """Gains fold by fold, of the main line."""
    here = rows[(rows["target"] == target) & (rows["n"] == n) & (rows["scaler"] == "source")]
    tuned = here[(here["source"] == source) & here["frozen"].eq(0).fillna(False)].set_index("fold")["value"]
    return (tuned - here[here["arm"] == "baseline"].set_index("fold")["value"]).to_numpy()


def test_the_matrix_holds_gains_raw_stars_and_adjusted_marks():
    rows = hand_made()
    matrix = pairs.gain_matrix(rows)
    assert list(matrix.index) == [("tcga-pairs", 8, s) for s in ("BRCA", "HNSC", "KIRC")]  # the fewest samples
    types, p = ("BRCA", "HNSC", "KIRC"), {}
    for n, source, target in product((8, 32), types, types):
        p[n, source, target] = stats.ttest_1samp(gain_of(rows, source, target, n), 0).pvalue
    counted = [key for key in p if key[1] != key[2]]  # one family: every pair at every n, no diagonal
    adjusted = dict(zip(counted, multipletests([p[key] for key in counted], method="fdr_bh")[1], strict=True))
    for source, target in product(types, types):
        at = ("tcga-pairs", 8, source)
        assert matrix.loc[at, ("gain", target)] == pytest.approx(gain_of(rows, source, target, 8).mean())
        raw = p[8, source, target]
        assert matrix.loc[at, ("stars", target)] == ("**" if raw < 0.01 else "*" if raw < 0.05 else "")
        mark = "\u2020" if adjusted.get((8, source, target), 1) < 0.05 else ""
        assert matrix.loc[at, ("adjusted", target)] == mark
    assert matrix.loc[("tcga-pairs", 8, "HNSC"), ("stars", "HNSC")] == "**"  # the diagonal: starred, never adjusted
    assert set(matrix["adjusted"].to_numpy().ravel()) == {"", "\u2020"}
    assert pairs.gain_matrix(rows, 32)["gain"].loc[("tcga-pairs", 32, "KIRC"), "HNSC"] == pytest.approx(
        gain_of(rows, "KIRC", "HNSC", 32).mean()
    )
    with pytest.raises(InputError, match="n=9: no pair was run at this size; use one of 8, 32"):
        pairs.gain_matrix(rows, 9)


def test_the_best_source_is_another_cancer_and_helps_if_it_survives():
    rows = hand_made()
    best = pairs.best_source(rows).set_index(["target", "n"])
    assert len(best) == 6 and best.loc[("HNSC", 8), "source"] == "KIRC"
    assert best.loc[("HNSC", 8), "helps"] == "yes"
    for (target, n), row in best.iterrows():
        others = {s: gain_of(rows, s, target, n).mean() for s in ("BRCA", "HNSC", "KIRC") if s != target}
        assert row["source"] == max(others, key=others.get) and row["difference"] == pytest.approx(max(others.values()))
        assert row["helps"] == ("yes" if row["difference"] > 0 and row["p_bh"] < 0.05 else "no")
    assert set(best["helps"]) == {"yes", "no"}
    only = rows[(rows["source"] != "HNSC") & (rows["target"] == "KIRC") & (rows["source"] != "KIRC")]
    harm = pairs.best_source(only[only["n"] == 8]).squeeze()
    assert harm["p_bh"] < 0.05 and harm["difference"] < 0 and harm["helps"] == "no"


def test_a_lower_log_loss_is_the_better_source():
    best = pairs.best_source(hand_made("log_loss", sign=-1), "log_loss").set_index(["target", "n"])
    assert best.loc[("HNSC", 8), "source"] == "KIRC" and best.loc[("HNSC", 8), "difference"] < 0
    assert best.loc[("HNSC", 8), "helps"] == "yes"


def test_the_diagonal_stands_apart_and_in_no_family():
    rows = hand_made()
    own = pairs.diagonal(rows)
    assert (own["source"] == own["target"]).all() and len(own) == 6
    assert own["p_bh"].isna().all() and own["p_raw"].notna().all()
    whole = pairs.summarise(pairs.main_lines(rows))
    assert whole.equals(pairs.summarise(pairs.main_lines(rows.sample(frac=1, random_state=0))))


# The canary, and that it can die

HONEST = {
    "n": [32], "folds": 3, "methods": ["lasso"], "pooled": ["lasso"], "genes": [20],
    "inner_folds": 2, "network": {"hidden": [32]}, "training": {"epochs": 25, "fixed_epochs": 40},
}  # fmt: skip


def means(watched, cohort, targets) -> dict:
    parameters = pairs.Parameters(cohort=cohort, targets=targets, **HONEST)
    frame = table(row for s in watched(pairs, parameters) for row in s.rows)
    frame = pairs.main_lines(frame)
    frame = frame[frame["metric"].isin(["balanced_accuracy", "roc_auc"])]
    own = np.where(frame["source"] == frame["target"], "diagonal", "")
    return frame.assign(own=own).groupby(["arm", "own", "metric"])["value"].mean().to_dict()


def test_shuffled_labels_give_chance_and_true_ones_do_not(watched, canary):
    shuffled, true = means(watched, canary, ["blood", "brain"]), means(watched, "simulated-microarray:smoke", ["brain"])
    assert set(shuffled) == set(true) and len(true) == 2 * (2 + 3 * 2)
    for line, value in shuffled.items():
        assert abs(value - 0.5) < 0.1, (line, value)
        assert true[line] > 0.65, (line, true[line])
