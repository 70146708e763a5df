"""From pan-cancer to one cancer: what each arm is given, on real evaluations of small cohorts."""

from collections import defaultdict
from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from gexlib import baselines, statistics
from gexlib.baselines import Tuned
from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import pan_to_specific as pan
from gexlib.gram import over_genes
from gexlib.metrics import METRICS
from gexlib.results import COLUMNS, Cell, table
from gexlib.tasks import folds, problem, seed_of

TINY = {
    "network": {"hidden": [12, 6]},
    "training": {"epochs": 3, "fixed_epochs": 3},
    "genes": [10], "inner_folds": 2, "trees": 5,
}  # fmt: skip
#: Sizes below and above the 40 samples from which on training stops early.
SIZES = [8, 44]


@pytest.fixture(scope="module", params=["simulated-microarray:smoke", "travellers"])
def seen(request, watched, travellers):
    """All arms on one target: samples that share no patient, and patients with samples of two types."""
    target, sizes = ("blood", SIZES) if "microarray" in request.param else ("BRCA", SIZES)
    parameters = pan.Parameters(
        cohort=request.param, targets=[target], n=sizes, frozen=[0, 2], folds=3, repeats=2,
        scaler=["source", "subset", "all"], methods=["lasso", "random_forest"], **TINY,
    )  # fmt: skip
    return watched(pan, parameters)


def groups(seen):
    found = defaultdict(list)
    for s in seen:
        found[pan.group(s.cell)].append(s)
    return found


def obs_of(seen) -> pd.DataFrame:
    return open_cohort(seen[0].cohort).obs


def learned(steps) -> set[str]:
    return {name for step in steps for name in step.ids}


def test_each_cell_of_a_fold_predicts_the_same_samples_and_folds_share_none(seen):
    obs = obs_of(seen)
    own = set(obs.index[(obs["cancer_type"] == seen[0].target) | (obs["tissue"] == seen[0].target)])
    for repeat in (0, 1):
        tested = []
        for members in groups([s for s in seen if s.repeat == repeat]).values():
            assert {frozenset(s.tested) for s in members} == {frozenset(members[0].tested)}
            tested += members[0].tested
        assert len(tested) == len(own) and set(tested) == own  # every sample once, none twice


def test_no_test_sample_is_in_a_source_scaler_selection_or_training_set(seen):
    for members in groups(seen).values():
        steps = [(s, step) for s in members for step in s.learning]
        assert {step.name for _, step in steps} == {"scale", "select", "tune", "train", "fine-tune"}
        leak = [step for s, step in steps if step.name == "scale" and s.scaler == "all"]
        assert leak and all(members[0].tested <= set(step.ids) for step in leak)
        for s, step in steps:
            if step.name == "scale" and s.scaler == "all":
                continue
            assert not set(step.ids) & s.tested, (s.arm, s.scaler, step.name)


def test_no_patient_is_on_both_sides(seen):
    patient = obs_of(seen)["patient"]
    for members in groups(seen).values():
        steps = [step for s in members for step in s.learning if s.scaler != "all" or step.name != "scale"]
        assert not set(patient[sorted(learned(steps))]) & set(patient[sorted(members[0].tested)])
        validation = [step for s in members for step in s.of("train", "fine-tune") if step.more["validation"]]
        assert validation
        for step in validation:
            inside, outside = (set(patient[[step.ids[i] for i in side]]) for side in step.more["validation"])
            assert inside and outside and not inside & outside


def test_the_source_is_every_other_type_without_patients_of_the_test_fold(seen):
    obs = obs_of(seen)
    target = (obs["cancer_type"] == seen[0].target) | (obs["tissue"] == seen[0].target)
    dropped = 0
    for members in groups(seen).values():
        shared = obs["patient"].isin(obs.loc[sorted(members[0].tested), "patient"])
        dropped += (~target & shared).sum()
        expected = set(obs.index[~target & ~shared])
        sources = [step for s in members for step in s.of("train") if not set(step.ids) <= set(obs.index[target])]
        # one for the scalers "source" and "subset", one for "all", whose network sees other inputs
        assert len(sources) == 2 and all(set(step.ids) == expected for step in sources)
        assert {row["n_source"] for s in members for row in s.rows} == {len(expected)}
    assert (dropped > 0) == (seen[0].cohort == "travellers")


def test_split_by_study_a_source_shares_no_study_with_the_test_fold(watched, variant):
    """Studies that hold samples of two types, as on microarrays: only a split by study leaves them out."""

    def share(obs):
        return obs.assign(patient="", study="site " + pd.Series(range(len(obs)), obs.index).mod(8).astype(str))

    cohort = variant("sites", "simulated-tcga:smoke", share)
    study = open_cohort(cohort).obs["study"]
    for split, kept in (("random", False), ("study", True)):
        parameters = replace(SMOKE, cohort=cohort, targets=["HNSC"], split=split, methods=[])
        for members in groups(watched(pan, parameters)).values():
            inside = {name for s in members for step in s.learning for name in step.ids}
            apart = not set(study[sorted(inside)]) & set(study[sorted(members[0].tested)])
            assert apart == kept


def test_baseline_and_fine_tuned_share_samples_labels_scaler_seed_and_validation_set(seen):
    compared = defaultdict(list)
    for s in seen:
        if s.arm in ("baseline", "fine_tuned"):
            compared[pan.group(s.cell), s.n, s.scaler].append(s)
    assert len(compared) == 3 * 2 * 2 * 3
    stops = set()
    for (_, n, scaler), members in compared.items():
        assert sorted((s.arm, s.frozen) for s in members if s.frozen is not None) == [
            ("fine_tuned", 0), ("fine_tuned", 2)
        ]  # fmt: skip
        assert len(members) == 3
        first = members[0].learner
        assert len(first.ids) == n and len(set(first.ids)) == n
        for s in members:
            step, (predicted,) = s.learner, s.of("predict")
            assert step.name == ("train" if s.arm == "baseline" else "fine-tune")
            assert step.ids == first.ids
            assert set(step.more["scaled_on"]) == set(first.more["scaled_on"])
            assert set(predicted.more["scaled_on"]) == set(first.more["scaled_on"])
            assert predicted.more["model"] is step.more["model"]
            for name in ("y", "groups", "seed", "validation"):
                assert step.more[name] == first.more[name], name
        stops.add((n, first.more["validation"] is not None, members[0].rows[0]["early_stopping"]))
        obs = obs_of(seen)
        assert list(first.more["y"]) == list((obs.loc[list(first.ids), "status"] == "cancer").astype(int))
        if scaler == "subset":
            assert set(first.more["scaled_on"]) == set(first.ids)
        if scaler == "source":
            assert not set(first.more["scaled_on"]) & set(first.ids)
    assert stops == {(8, False, False), (44, True, True)}


def test_classical_methods_get_the_samples_of_the_networks_unscaled(seen):
    trained = {(pan.group(s.cell), s.n): s.learner for s in seen if s.arm == "baseline"}
    classical = [s for s in seen if s.arm == "classical"]
    assert len(classical) == 3 * 2 * 2
    for s in classical:
        assert {step.more["method"] for step in s.of("tune")} == {"lasso", "random_forest"}
        for step in s.of("tune"):
            assert step.ids == trained[pan.group(s.cell), s.n].ids
            assert step.more["y"] == trained[pan.group(s.cell), s.n].more["y"]
        assert all(set(step.ids) <= set(s.learner.ids) for step in s.of("scale", "select"))


def test_subsets_are_nested_and_hold_two_of_each_class(seen):
    trained = {(pan.group(s.cell), s.n): s.learner for s in seen if s.arm == "baseline"}
    for (group, n), step in trained.items():
        assert min(step.more["y"].count(k) for k in (0, 1)) >= 2
        if n == SIZES[0]:
            assert set(step.ids) < set(trained[group, SIZES[1]].ids)


def test_seeds_and_samples_vary_with_repeat_and_fold_and_with_nothing_else(seen):
    own, source = defaultdict(set), defaultdict(set)
    for s in seen:
        if s.arm in ("baseline", "fine_tuned"):
            own[s.repeat, s.fold].add(s.learner.more["seed"])
        for row in s.rows:
            source[s.repeat, s.fold].add(row["source_seed"])
    for axis in (own, {key: values - {None} for key, values in source.items()}):
        assert len(axis) == 6 and all(len(seeds) == 1 for seeds in axis.values())
        assert len(set.union(*axis.values())) == 6
    assert not set.union(*own.values()) & (set.union(*source.values()) - {None})
    subsets = {(s.repeat, s.fold): s.learner.ids for s in seen if s.arm == "baseline" and s.n == 8}
    assert len(set(subsets.values())) == 6


def test_source_weights_are_trained_with_the_seed_that_the_rows_name(seen):
    target = set(obs_of(seen).index[(obs_of(seen)[["cancer_type", "tissue"]] == seen[0].target).any(axis=1)])
    for members in groups(seen).values():
        seeds = {step.more["seed"] for s in members for step in s.of("train") if not set(step.ids) <= target}
        named = {row["source_seed"] for s in members for row in s.rows if s.arm in ("zero_shot", "fine_tuned")}
        assert seeds == named and len(named) == 1


def test_zero_shot_is_the_source_network_as_it_is(seen):
    for members in groups(seen).values():
        zero, *more = [s for s in members if s.arm == "zero_shot"]
        assert not more and not zero.of("fine-tune", "tune")
        tuned = next(s for s in members if s.arm == "fine_tuned" and s.scaler == "source")
        assert zero.of("predict")[0].more["model"] is tuned.learner.more["source"]
        assert zero.rows[0]["n"] == 0 and zero.rows[0]["epochs"] is None
        assert zero.rows[0]["n_cancer"] == zero.rows[0]["n_normal"] == 0


def test_fine_tuning_leaves_the_shared_source_alone_and_frozen_layers_as_they_were(seen):
    tuned = [s for s in seen if s.arm == "fine_tuned"]
    for s in tuned:
        source, model = (over_genes(s.learner.more[name]).state_dict() for name in ("source", "model"))
        changed = {name.split(".")[1] for name in source if not source[name].equal(model[name])} - {"weight", "bias"}
        assert changed == ({"0", "1"} if s.frozen == 0 else set())
        assert not source["output.weight"].equal(model["output.weight"])
    one = {id(s.learner.more["source"]) for s in tuned if pan.group(s.cell) == pan.group(tuned[0].cell)}
    assert len(one) == 2  # of the scalers "source" and "subset", and of "all"


def test_rows_carry_every_column_with_its_value(seen):
    obs = obs_of(seen)
    status = obs["status"]
    frame = table(row for s in seen for row in s.rows)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    for s in seen:
        by_method = defaultdict(set)
        for row in s.rows:
            by_method[row["method"]].add(row["metric"])
            trained = list(s.learner.ids) if s.arm != "zero_shot" else []
            expected = {
                "experiment": "pan_to_specific", "cohort": s.cohort, "cohort_digest": s.cell.cohort_digest,
                "simulated": True, "arm": s.arm, "source": "pan", "target": s.target, "n": s.n or 0,
                "n_cancer": int((status[trained] == "cancer").sum()),
                "n_normal": int((status[trained] == "normal").sum()), "n_test": len(s.tested),
                "frozen": s.frozen, "repeat": s.repeat, "fold": s.fold, "scaler": s.scaler,
                "protocol": pan.PROTOCOL, "split": "random" if "microarray" in s.cohort else "patient",
                "task": "microarray/blood" if "microarray" in s.cohort else "tcga/BRCA",
            }  # fmt: skip
            assert expected.items() <= row.items()
            assert (row["source_seed"] is None) == (s.arm in ("baseline", "classical"))
            assert np.isfinite(row["value"])
        if s.arm == "classical":
            assert set(by_method) == {"lasso", "random_forest", "best_classical"}
        else:
            assert by_method == {"nn_default": set(METRICS)}
    assert not frame.duplicated(["arm", "method", "frozen", "scaler", "n", "repeat", "fold", "metric"]).any()


def test_accuracy_is_that_of_the_predictions(seen):
    """One cell of each arm: the value follows from the model that was asked."""
    cohort = open_cohort(seen[0].cohort)
    for arm in ("baseline", "fine_tuned"):
        s = next(s for s in seen if s.arm == arm and s.scaler == "subset")
        (step,) = s.of("predict")
        train, test = (cohort[list(ids)].X for ids in (step.more["scaled_on"], step.ids))
        train, test = np.asarray(train, float), np.asarray(test, float)
        sd = train.std(axis=0)
        scaled = (test - train.mean(axis=0)) / np.where(sd == 0, 1, sd)
        import torch

        with torch.no_grad():
            said = step.more["model"](torch.tensor(scaled, dtype=torch.float32)).argmax(1).numpy()
        truth = (cohort.obs.loc[list(step.ids), "status"] == "cancer").to_numpy()
        accuracy = next(row["value"] for row in s.rows if row["metric"] == "accuracy")
        assert accuracy == pytest.approx((said == truth).mean(), abs=1.01 / len(truth))


def test_summaries_have_a_row_an_arm(seen):
    frame = table(row for s in seen for row in s.rows)
    lines = pan.main_lines(frame)
    assert set(lines["frozen"].dropna()) == {0} and set(lines["scaler"].dropna()) == {"source"}
    assert set(lines.loc[lines["arm"] == "classical", "method"]) == {"best_classical"}
    main = pan.summarise(lines)
    arms = main.groupby("arm").size().to_dict()
    assert arms == {"baseline": 2, "fine_tuned": 2, "classical": 2, "zero_shot": 1}
    assert set(statistics.ARM_AXES) <= set(main)
    fine = main[main["arm"] == "fine_tuned"]
    assert (fine["n_pairs"] == 6).all() and fine["difference"].notna().all()
    baseline = frame[(frame["arm"] == "baseline") & (frame["scaler"] == "source") & (frame["metric"] == "roc_auc")]
    tuned = frame[(frame["arm"] == "fine_tuned") & (frame["frozen"] == 0) & (frame["scaler"] == "source")]
    tuned = tuned[tuned["metric"] == "roc_auc"]
    gain = tuned.groupby("n")["value"].mean() - baseline.groupby("n")["value"].mean()
    shown = pan.summarise(lines, "roc_auc").query("arm == 'fine_tuned'").set_index("n")["difference"]
    np.testing.assert_allclose(shown.loc[SIZES].astype(float), gain.loc[SIZES].astype(float))
    # every arm: 2 sizes x 3 scalers, fine-tuned with 2 F, 3 classical lines, zero-shot once
    assert len(pan.summarise(frame)) == 6 + 12 + 2 * 3 + 1


# Lists of cells, nothing evaluated

SMOKE = pan.Parameters(
    cohort="simulated-tcga:smoke", n=[8], folds=2, scaler=["source"], methods=["lasso"], **TINY
)  # fmt: skip


def arms(parameters, *names) -> set[str]:
    return {cell.key for cell in pan.cells(parameters) if cell.parameters["arm"] in names}


def test_baselines_depend_neither_on_f_nor_on_what_else_is_in_the_list():
    one = replace(SMOKE, targets=["HNSC"], frozen=[0])
    many = replace(SMOKE, n=[8, 12, 16], frozen=[2, 1, 0], scaler=["all", "source", "subset"], repeats=3)
    for names in (("baseline",), ("zero_shot",), ("fine_tuned",), ("classical",)):
        assert arms(one, *names) and arms(one, *names) < arms(many, *names)
    assert arms(SMOKE, "baseline") == arms(replace(SMOKE, frozen=[1, 2]), "baseline")
    assert arms(SMOKE, "baseline", "fine_tuned", "zero_shot") == arms(
        replace(SMOKE, methods=[], trees=7, genes=[3]), "baseline", "fine_tuned", "zero_shot"
    )
    assert not arms(replace(SMOKE, methods=[]), "classical")


def test_what_changes_numbers_changes_keys():
    for change in (
        {"seed": 1}, {"folds": 3}, {"split": "study"}, {"training": {"epochs": 4}}, {"network": {"hidden": [5]}},
        {"cohort": "simulated-microarray:smoke"}, {"n": [9]}, {"scaler": ["subset"]},
    ):  # fmt: skip
        assert not arms(SMOKE, "baseline") & arms(replace(SMOKE, **change), "baseline"), change


def test_a_fold_is_evaluated_alike_alone_or_in_company(watched):
    """Rows of a cell do not depend on the cells before it in its group."""
    parameters = replace(SMOKE, targets=["HNSC"], frozen=[0, 1], methods=[])
    together = {s.cell.key: s for s in watched(pan, parameters, lambda cell: cell.parameters["fold"] == 1)}
    (last,) = [key for key, s in together.items() if s.arm == "fine_tuned" and s.frozen == 1]
    (alone,) = watched(pan, parameters, lambda cell: cell.key == last)
    assert alone.learner.ids == together[last].learner.ids
    assert [row["value"] for row in alone.rows] == pytest.approx([row["value"] for row in together[last].rows])


@pytest.fixture(scope="module")
def lopsided(variant):
    """Return a cohort whose second type is small: 8 and 6 samples."""

    def thin(obs):
        small = obs[obs["cancer_type"] == "HNSC"].assign(patient="")
        keep = [small[small["status"] == status].head(k) for status, k in (("cancer", 8), ("normal", 6))]
        return pd.concat([obs[obs["cancer_type"] == "BRCA"], *keep])

    return variant("lopsided", "simulated-tcga:smoke", thin)


def test_sizes_beyond_a_small_target_are_left_out_for_it_and_beyond_all_refused(lopsided):
    cells = pan.cells(replace(SMOKE, cohort=lopsided, n=[4, 7, 8, 40]))
    sizes = defaultdict(set)
    for cell in cells:
        sizes[cell.parameters["target"]].add(cell.parameters.get("n"))
    assert sizes == {"BRCA": {None, 4, 7, 8, 40}, "HNSC": {None, 4, 7}}
    with pytest.raises(InputError, match=r"n=52: the training folds of the targets hold up to 50 samples"):
        pan.cells(replace(SMOKE, cohort=lopsided, n=[8, 52]))
    with pytest.raises(InputError, match=r"n=8: .* up to 7 samples; use 4 to 7"):
        pan.cells(replace(SMOKE, cohort=lopsided, n=[8], targets=["HNSC"]))
    with pytest.raises(InputError, match="n=3: "):
        pan.cells(replace(SMOKE, n=[3]))


def test_a_size_must_fit_the_folds_of_every_repeat(variant):
    """Patients with many samples: training folds differ in size from repeat to repeat."""
    cohort = variant(
        "families", "simulated-tcga:smoke",
        lambda obs: obs.assign(patient=[f"p{i // 12}" if i % 3 == 0 else "" for i in range(len(obs))]),
    )  # fmt: skip
    parameters = replace(SMOKE, cohort=cohort, targets=["HNSC"], methods=[], repeats=4, n=[8], seed=1)
    with pytest.raises(InputError, match="up to [0-9]+ samples") as refused:
        pan.cells(replace(parameters, n=[100]))
    largest = int(str(refused.value).split("up to ")[1].split()[0])
    own = problem(open_cohort(cohort), "tcga/HNSC")
    sides = [{len(train) for train, _ in folds(own, 2, seed_of(1, "HNSC", repeat))} for repeat in range(4)]
    assert largest == min(map(min, sides)) < min(sides[0])
    cells = pan.cells(replace(parameters, n=[largest]))
    assert sum(len(rows) > 0 for _, group in groupby(cells, pan.group) for _, rows in pan.evaluate(list(group))) == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ["BRCA", "XYZ"]}, "targets: 'XYZ' is not in simulated-tcga:smoke; it has BRCA, HNSC"),
        ({"frozen": [3]}, "frozen: '3' is not known; use any of 0, 1, 2"),
        ({"scaler": ["source", "none"]}, "scaler: 'none' is not known"),
        ({"methods": ["majority"]}, "methods: 'majority' is not known"),
        ({"folds": 30}, "30 folds need as many patients in each class, the smallest class has 20"),
        ({"training": {"momentum": "high"}}, "momentum='high' should be a number"),
        ({"grid": "huge"}, "grid 'huge' is not known"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(change, message):
    with pytest.raises(InputError, match=message):
        pan.cells(replace(SMOKE, **change))


def test_a_target_without_which_one_class_is_left_has_no_source(variant):
    one = variant(
        "one-sided", "simulated-tcga:smoke",
        lambda obs: obs[(obs["cancer_type"] == "BRCA") | (obs["status"] == "cancer")],
    )  # fmt: skip
    cells = pan.cells(replace(SMOKE, cohort=one, methods=[]))
    assert {cell.parameters["target"] for cell in cells} == {"BRCA"}
    with pytest.raises(InputError, match="target BRCA: without it one-sided has one class only"):
        list(pan.evaluate(cells[:1]))


def test_cells_of_another_cohort_of_the_same_name_are_refused():
    cell = pan.cells(SMOKE)[0]
    other = Cell(cell.experiment, cell.parameters, "0123456789abcdef", cell.protocol)
    with pytest.raises(InputError, match="the cell was made for 0123456789abcdef: fetch the same files"):
        list(pan.evaluate([other]))


@pytest.mark.parametrize("lasso", [0.6, 0.9])
def test_best_classical_is_chosen_by_the_inner_score_and_ties_are_averaged(watched, monkeypatch, lasso):
    tune = baselines.tune
    inner = {"lasso": lasso, "random_forest": 0.9, "svm_linear": 0.8}

    def rigged(method, X, y, groups, tuning, seed):
        """Lasso predicts well; the forest always says cancer and claims the best inner score."""
        if method == "lasso":
            return replace(tune(method, X, y, groups, tuning, seed), inner_score=inner[method])
        always = DummyClassifier(strategy="constant", constant=1).fit(X, y)
        return Tuned(always, {"trick": method}, 2, inner[method])

    monkeypatch.setattr(baselines, "tune", rigged)
    parameters = replace(SMOKE, targets=["BRCA"], n=[30], methods=list(inner))
    cells = [cell for cell in pan.cells(parameters) if cell.parameters["arm"] == "classical"]
    for _, rows in pan.evaluate(cells[:1]):
        frame = pd.DataFrame(rows)
    value = frame.pivot_table(index="method", columns="metric", values="value")
    assert value.loc["lasso", "balanced_accuracy"] > 0.7 > value.loc["random_forest", "balanced_accuracy"]
    best = ["random_forest"] if lasso < 0.9 else ["lasso", "random_forest"]
    pd.testing.assert_series_equal(value.loc["best_classical"], value.loc[best].mean(), check_names=False)
    chosen = frame.loc[frame["method"] == "best_classical", "chosen"]
    assert set(chosen) == {", ".join(best)}


# The canary, and that it can die

HONEST = {
    "n": [32], "folds": 4, "repeats": 2, "methods": ["lasso"], "genes": [20], "inner_folds": 3,
    "network": {"hidden": [32]}, "training": {"epochs": 40, "fixed_epochs": 40},
}  # fmt: skip


def means(watched, cohort) -> dict:
    frame = table(row for s in watched(pan, pan.Parameters(cohort=cohort, **HONEST)) for row in s.rows)
    assert set(frame["target"]) == {"blood", "bone_marrow", "brain"}
    frame = pan.main_lines(frame)
    frame = frame[frame["metric"].isin(["balanced_accuracy", "roc_auc"])]
    return frame.groupby(["arm", "metric"])["value"].mean().to_dict()


def test_shuffled_labels_give_chance_and_true_ones_do_not(watched, canary):
    shuffled, true = means(watched, canary), means(watched, "simulated-microarray:smoke")
    assert set(shuffled) == set(true) and len(true) == 8
    for line, value in shuffled.items():
        assert abs(value - 0.5) < 0.1, (line, value)
        assert true[line] > 0.7, (line, true[line])
