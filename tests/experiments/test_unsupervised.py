"""Pre-training without labels: what each arm is given, on real evaluations of small cohorts."""

from collections import defaultdict
from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from gexlib import statistics
from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import unsupervised
from gexlib.gram import over_genes
from gexlib.results import COLUMNS, Cell, read_table, table, write_table
from gexlib.transfer import new_network

TINY = {
    "network": {"hidden": [12, 6]}, "training": {"epochs": 3, "fixed_epochs": 3}, "denoising": {"epochs": 3},
    "genes": [10], "inner_folds": 2, "trees": 5,
}  # fmt: skip
SIZES = [8, 42]  # below and above the 40 samples from which on training stops early
SMOKE = unsupervised.Parameters(cohort="simulated-tcga:smoke", n=[8], folds=2, methods=["lasso"], **TINY)


def groups(seen):
    found = defaultdict(list)
    for s in seen:
        found[unsupervised.group(s.cell)].append(s)
    return found


def folds(seen):
    found = defaultdict(list)
    for s in seen:
        found[s.repeat, s.fold].append(s)
    return found


@pytest.fixture(scope="module", params=["simulated-microarray:smoke", "travellers"])
def watch(request, watched, travellers):
    """All arms, on samples that share no patient and on patients with samples of two types; and each pre-training."""
    own = ["blood", "brain"] if "microarray" in request.param else ["BRCA", "HNSC"]
    parameters = unsupervised.Parameters(
        cohort=request.param, targets=own, n=SIZES, frozen=[0, 1], frozen_targets=own[:1], schemes=["layers", "whole"],
        noise=[0.1, 0.5], loss=["squared", "norm"], way_targets=own[:1],
        folds=3 if "microarray" in request.param else 4, methods=["lasso"], **TINY,
    )  # fmt: skip
    pretrain, calls = unsupervised.pretrain_denoising, []

    def spy(model, X, denoising, groups, seed):
        start = {name: value.clone() for name, value in model.state_dict().items()}
        trained, history = pretrain(model, X, denoising, groups, seed)
        calls.append({"X": X, "way": denoising, "groups": groups, "seed": seed, "start": start, "model": trained})
        return trained, history

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unsupervised, "pretrain_denoising", spy)
        return watched(unsupervised, parameters), calls


@pytest.fixture(scope="module")
def seen(watch):
    return watch[0]


def obs_of(seen) -> pd.DataFrame:
    return open_cohort(seen[0].cohort).obs


def test_folds_test_each_sample_of_a_target_once_and_share_them_among_arms(seen):
    obs = obs_of(seen)
    for target in {s.target for s in seen}:
        own = set(obs.index[(obs["cancer_type"] == target) | (obs["tissue"] == target)])
        tested = []
        for members in folds(seen).values():
            of_target = [s for s in members if s.target == target]
            assert {frozenset(s.tested) for s in of_target} == {frozenset(of_target[0].tested)}
            tested += of_target[0].tested
        assert len(tested) == len(own) and set(tested) == own


def test_repeats_draw_new_folds_subsets_and_seeds():
    parameters = replace(SMOKE, targets=["BRCA"], repeats=2, methods=[])
    baselines = [cell for cell in unsupervised.cells(parameters) if cell.parameters["arm"] == "baseline"]
    found = [unsupervised.Fold(cell) for cell in baselines]
    own = [fold.transfer("BRCA", "random") for fold in found]
    assert len({frozenset(fold.tested) for fold in found}) == 4  # 2 repeats of 2 folds
    assert len({fold.seed for fold in found} | {transfer.target_seed for transfer in own}) == 8
    assert len({tuple(transfer.chosen(8).rows) for transfer in own}) == 4


def test_classes_of_every_target_are_spread_over_the_folds(seen):
    status = obs_of(seen)["status"]
    counts = defaultdict(set)
    for s in seen:
        cancer = (status[sorted(s.tested)] == "cancer").sum()
        counts[s.repeat, s.target].add((cancer, len(s.tested) - cancer))
    for found in counts.values():
        spread = 1 if seen[0].cohort != "travellers" else 6  # patients with samples of two types move together
        assert np.ptp(np.array(sorted(found)), axis=0).max() <= spread and min(map(min, found)) > 0


def test_pre_training_and_scaler_see_every_sample_outside_the_test_fold_and_none_inside(watch):
    seen, calls = watch
    cohort = open_cohort(seen[0].cohort)
    expected, patients = {}, {}
    pairs = unsupervised.split_whole(seen[0].cohort, seen[0].cell.cohort_digest, "random", len(folds(seen)), 0, 0)
    for (repeat, fold), members in folds(seen).items():
        train, test = pairs[fold]
        assert not set(train) & set(test) and len(train) + len(test) == cohort.n_obs
        names = set(cohort.obs_names[train])
        for s in members:
            assert s.tested <= set(cohort.obs_names[test])
            for step in s.learning:
                assert not set(step.ids) & s.tested, (s.arm, step.name)
            if s.arm != "classical":
                assert set(s.learner.more["scaled_on"]) == names
                assert set(s.of("predict")[0].more["scaled_on"]) == names
            assert {row["n_source"] for row in s.rows} == {len(names)}
        X = np.asarray(cohort.X[train])
        expected[repeat, fold] = StandardScaler().fit(X).transform(X)
        labels = cohort.obs["patient"].to_numpy()
        patients[repeat, fold] = labels[train]
        assert not set(labels[train]) & set(labels[test]) - {""}
    assert len(calls) == len(pairs) * 4  # once a fold and way, whatever the targets, sizes and F
    for (repeat, fold), X in expected.items():
        of_fold = [call for call in calls if np.array_equal(call["X"], X)]
        assert len(of_fold) == 4
        ways = {(call["way"].scheme, call["way"].noise, call["way"].loss) for call in of_fold}
        assert ways == {
            ("layers", 0.1, "squared"), ("whole", 0.1, "squared"), ("layers", 0.5, "squared"), ("layers", 0.1, "norm")
        }  # fmt: skip
        assert len({call["seed"] for call in of_fold}) == 1 and {call["way"].epochs for call in of_fold} == {3}
        for call in of_fold:  # patients stay together in the autoencoder's validation set
            together = pd.Series(patients[repeat, fold]).where(lambda p: p != "").groupby(call["groups"]).nunique()
            assert together.max() <= 1
            assert all(torch.equal(call["start"][k], v) for k, v in of_fold[0]["start"].items())


def test_status_plays_no_part_in_pre_training(variant, monkeypatch):
    """Labels permuted, folds kept: the pre-trained network is the same to the last bit."""
    random = np.random.default_rng(3)
    shuffled = variant(
        "shuffled", "simulated-tcga:smoke", lambda obs: obs.assign(status=random.permutation(obs["status"]))
    )
    split = unsupervised.split_whole.__wrapped__
    folds_of = split("simulated-tcga:smoke", open_cohort("simulated-tcga:smoke").uns["digest"], "random", 2, 0, 0)
    monkeypatch.setattr(unsupervised, "split_whole", lambda *axes: folds_of)
    trained, labels = [], []
    for name in ("simulated-tcga:smoke", shuffled):
        cell = unsupervised.cells(replace(SMOKE, cohort=name, targets=["BRCA"], methods=[]))[-1]
        fold = unsupervised.Fold(cell)
        trained.append(fold.pretrained(cell.parameters)[0].state_dict())
        labels.append(fold.unlabelled.y)
    assert not np.array_equal(*labels)
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_baseline_and_fine_tuned_share_samples_labels_scaler_seed_and_validation_set(seen):
    compared = defaultdict(list)
    for s in seen:
        compared[s.repeat, s.fold, s.target, s.n].append(s)
    assert len(compared) == len(folds(seen)) * 2 * 2
    seeds = defaultdict(set)
    for (repeat, fold, target, n), members in compared.items():
        first = next(s for s in members if s.arm == "baseline").learner
        assert len(first.ids) == len(set(first.ids)) == n
        tuned = [s for s in members if s.arm == "fine_tuned"]
        extra = target in ("blood", "BRCA")
        assert len(tuned) == (8 if extra else 1) and len(members) == len(tuned) + 2
        for s in members:
            assert s.learner.ids == first.ids and s.learner.more["y"] == first.more["y"]
            for name in ("seed", "validation", "groups") if s.arm != "classical" else ():
                assert s.learner.more[name] == first.more[name], name
        assert (first.more["validation"] is not None) == (n == SIZES[1])
        seeds[repeat, fold, target].add(first.more["seed"])
        obs = obs_of(seen)
        assert list(first.more["y"]) == list((obs.loc[list(first.ids), "status"] == "cancer").astype(int))
        site = obs.loc[list(first.ids), ["cancer_type", "tissue"]]
        assert (site == target).any(axis=1).all()
    assert all(len(found) == 1 for found in seeds.values()) and len(set.union(*seeds.values())) == 2 * len(folds(seen))


def test_fine_tuning_starts_from_the_encoder_under_the_output_layer_of_the_baseline(watch):
    seen, calls = watch
    genes = open_cohort(seen[0].cohort).n_vars
    for s in seen:
        if s.arm != "fine_tuned":
            continue
        source, model = (over_genes(s.learner.more[name]).state_dict() for name in ("source", "model"))
        fresh = new_network(genes, 2, s.network, s.learner.more["seed"]).state_dict()
        same = [
            call
            for call in calls
            if all(torch.equal(source[k], v) for k, v in call["model"].state_dict().items() if "hidden" in k)
        ]
        assert len(same) == 1
        assert (same[0]["way"].scheme, same[0]["way"].noise, same[0]["way"].loss) == (s.scheme, s.noise, s.loss)
        assert {row["source_seed"] for row in s.rows} == {same[0]["seed"]}
        for name in fresh:
            assert torch.equal(source[name], fresh[name]) == ("output" in name)
        kept = {name.split(".")[1] for name in source if "hidden" in name and torch.equal(source[name], model[name])}
        assert kept == ({"0"} if s.frozen else set())
        assert not torch.equal(source["output.weight"], model["output.weight"])


def test_a_fold_pre_trains_once_for_each_way_and_network():
    whole = replace(SMOKE, schemes=["whole"], methods=[])
    cells = [cell for p in (SMOKE, whole) for cell in unsupervised.cells(p) if cell.parameters["arm"] == "fine_tuned"]
    fold = unsupervised.Fold(cells[0])
    networks = [fold.pretrained(cell.parameters)[0] for cell in (cells[0], cells[-1], cells[0])]
    assert networks[0] is networks[2] and networks[0] is not networks[1]
    other = fold.pretrained({**cells[0].parameters, "network": {"hidden": [5]}})[0]
    assert [len(model.hidden) for model in (networks[0], other)] == [2, 1]


def test_subsets_are_nested_and_hold_two_of_each_class(seen):
    trained = {(s.repeat, s.fold, s.target, s.n): s.learner for s in seen if s.arm == "baseline"}
    for (*axes, n), step in trained.items():
        assert min(step.more["y"].count(k) for k in (0, 1)) >= 2
        if n == SIZES[0]:
            assert set(step.ids) < set(trained[*axes, SIZES[1]].ids)


def test_baselines_and_classical_methods_are_computed_once_whatever_the_ways(seen):
    for members in groups(seen).values():
        arms = {s.arm for s in members}
        assert arms == ({"fine_tuned"} if members[0].scheme else {"baseline", "classical"})
        assert len({(s.scheme, s.noise, s.loss) for s in members}) == 1
    keys = [(s.repeat, s.fold, s.target, s.n) for s in seen if s.arm == "baseline"]
    assert len(keys) == len(set(keys)) == len(folds(seen)) * 2 * 2


def test_rows_carry_every_column_with_its_value(seen):
    status = obs_of(seen)["status"]
    frame = table(row for s in seen for row in s.rows)
    assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
    for s in seen:
        trained = list(s.learner.ids)
        half = "microarray" if "microarray" in s.cohort else "tcga"
        for row in s.rows:
            expected = {
                "experiment": "unsupervised", "cohort": s.cohort, "simulated": True, "arm": s.arm, "n": s.n,
                "source": "unlabelled", "target": s.target, "task": f"{half}/{s.target}", "scheme": s.scheme,
                "n_cancer": int((status[trained] == "cancer").sum()), "n_test": len(s.tested), "noise": s.noise,
                "loss": s.loss, "frozen": s.frozen, "repeat": s.repeat, "fold": s.fold,
                "protocol": unsupervised.PROTOCOL, "split": "random" if half == "microarray" else "patient",
            }  # fmt: skip
            assert expected.items() <= row.items()
            assert ("reconstruction" in row) == (s.arm == "fine_tuned")
            assert np.isfinite(row["value"])
            if s.arm == "fine_tuned":
                assert 0 < row["reconstruction"] < row["reconstruction_start"]
                assert row["reconstruction_epochs"] == (6 if s.scheme == "layers" else 3)
                assert row["reconstruction_worst"] >= row["reconstruction"]
    axes = ["arm", "target", "method", "frozen", "n", "repeat", "fold", "metric", "scheme", "noise", "loss"]
    assert not frame.duplicated(axes).any()


def test_summaries_keep_ways_apart_and_pair_each_with_the_same_baselines(seen, tmp_path):
    frame = table(row for s in seen for row in s.rows)
    with pytest.raises(InputError, match="measures accuracy twice .*loss, noise, .*scheme"):
        statistics.compare_arms(frame, "accuracy")  # never averaged silently
    write_table(frame, tmp_path / "rows.parquet")
    frame, _ = read_table(tmp_path / "rows.parquet")  # as the record is read
    ways = ["layer by layer", "layer by layer, noise 0.5", "layer by layer, loss: norm", "whole encoder"]
    assert unsupervised.ways_of(frame) == ways
    found = unsupervised.summarise(frame)
    assert list(found["pretraining"].unique()) == ["", *ways]
    tuned = found[found["arm"] == "fine_tuned"]
    assert len(tuned) == 2 * (2 * 4 + 1) and (tuned["n_pairs"] == len(folds(seen))).all()
    assert tuned["p_equivalent"].notna().any()
    assert (found["arm"] == "baseline").sum() == 4 and (found["arm"] == "classical").sum() == 8
    for row in tuned.itertuples():
        here = frame.query("metric == 'accuracy' and target == @row.target and n == @row.n")
        way = unsupervised.pretraining(frame).loc[here.index] == row.pretraining
        mine = here[way & (here["frozen"] == row.frozen)].set_index(["repeat", "fold"])["value"]
        base = here[here["arm"] == "baseline"].set_index(["repeat", "fold"])["value"]
        assert row.difference == pytest.approx((mine - base).mean(), abs=1e-12)
    lines = unsupervised.main_lines(frame)
    kept = lines[lines["arm"] == "fine_tuned"][["scheme", "noise", "loss", "frozen"]].drop_duplicates()
    assert kept.to_numpy().tolist() == [["layers", 0.1, "squared", 0]]
    assert set(lines["arm"]) == {"baseline", "fine_tuned", "classical"}
    assert set(lines.loc[lines["arm"] == "classical", "method"]) == {"best_classical"}
    gains = unsupervised.gains(frame)
    assert len(gains) == 2 * len(tuned) and list(gains["metric"].unique()) == ["accuracy", "roc_auc"]
    shown = unsupervised.losses(frame)
    assert list(shown["pretraining"]) == ways and set(shown["autoencoders"]) == {len(folds(seen))}
    assert (shown["reconstruction"] < shown["reconstruction_start"]).all()


def test_one_way_only_is_named_by_its_scheme(seen):
    frame = table(row for s in seen for row in s.rows)
    half = frame[(frame["arm"] != "fine_tuned") | (frame["noise"] == 0.5)]
    assert unsupervised.ways_of(half) == ["layer by layer"]
    assert set(unsupervised.summarise(half[half["arm"] != "fine_tuned"])["arm"]) == {"baseline", "classical"}


def test_without_a_signal_nothing_is_above_chance(canary, watched):
    parameters = replace(SMOKE, cohort=canary, n=[16], schemes=["layers", "whole"], folds=3)
    frame = table(row for s in watched(unsupervised, parameters) for row in s.rows)
    scores = frame[(frame["metric"] == "roc_auc") & (frame["method"] == "nn_default")]
    means = scores.groupby(["arm", scores["scheme"].fillna("")])["value"].agg(["mean", "sem"])
    assert len(means) == 3
    assert ((means["mean"] - 0.5).abs() < np.maximum(4 * means["sem"], 0.05)).all()


# Lists of cells, nothing evaluated


def arms(parameters, *names) -> set[str]:
    return {cell.key for cell in unsupervised.cells(parameters) if cell.parameters["arm"] in names}


def test_cells_do_not_depend_on_what_else_is_in_the_list():
    one = replace(SMOKE, targets=["HNSC"])
    many = replace(SMOKE, n=[8, 12], frozen=[1, 0], schemes=["layers", "whole"], noise=[0.1, 0.5], repeats=2)
    for name in ("baseline", "fine_tuned", "classical"):
        assert arms(one, name) and arms(one, name) < arms(many, name)
    ways = replace(SMOKE, schemes=["whole"], noise=[0.3], loss=["norm"], denoising={})
    assert arms(SMOKE, "baseline", "classical") == arms(ways, "baseline", "classical")
    assert not arms(replace(SMOKE, methods=[]), "classical")


def test_what_changes_numbers_changes_keys():
    for change in (
        {"seed": 1}, {"folds": 3}, {"training": {"epochs": 4}}, {"network": {"hidden": [5]}}, {"n": [9]},
        {"cohort": "simulated-microarray:smoke"}, {"denoising": {}}, {"schemes": ["whole"]}, {"noise": [0.2]},
        {"loss": ["norm"]}, {"frozen": [1]}, {"split": "study"},
    ):  # fmt: skip
        assert not arms(SMOKE, "fine_tuned") & arms(replace(SMOKE, **change), "fine_tuned"), change


def test_slices_limit_frozen_layers_and_ways_to_their_targets():
    p = replace(
        SMOKE, frozen=[0, 1], frozen_targets=["BRCA"], schemes=["layers", "whole"], noise=[0.1, 0.5],
        way_targets=["HNSC"], methods=[],
    )  # fmt: skip
    found = defaultdict(set)
    for cell in unsupervised.cells(p):
        if cell.parameters["arm"] == "fine_tuned":
            found[cell.parameters["target"]].add(tuple(cell.parameters[k] for k in ("scheme", "noise", "frozen")))
    assert found["BRCA"] == {("layers", 0.1, 0), ("layers", 0.1, 1)}
    assert found["HNSC"] == {("layers", 0.1, 0), ("whole", 0.1, 0), ("layers", 0.5, 0)}


def test_folds_do_not_depend_on_the_targets_asked_for(watched):
    """One target alone is split as in company: its cells keep their meaning."""
    kept = [watched(unsupervised, replace(SMOKE, targets=names, methods=[])) for names in (["HNSC"], [])]
    alone, company = ({s.cell.key: s for s in seen} for seen in kept)
    assert set(alone) < set(company)
    for key, s in alone.items():
        assert s.tested == company[key].tested and s.learner.ids == company[key].learner.ids
        assert [r["value"] for r in s.rows] == pytest.approx([r["value"] for r in company[key].rows])


def test_sizes_beyond_a_target_are_left_out_for_it_and_beyond_all_refused(variant):
    def thin(obs):
        small = obs[obs["cancer_type"] == "HNSC"].assign(patient="")
        keep = [small[small["status"] == status].head(k) for status, k in (("cancer", 8), ("normal", 6))]
        return pd.concat([obs[obs["cancer_type"] == "BRCA"], *keep])

    parameters = replace(SMOKE, cohort=variant("thin", "simulated-tcga:smoke", thin), methods=[])
    sizes = defaultdict(set)
    for cell in unsupervised.cells(replace(parameters, n=[4, 7, 8, 40])):
        sizes[cell.parameters["target"]].add(cell.parameters["n"])
    assert sizes == {"BRCA": {4, 7, 8, 40}, "HNSC": {4, 7}}
    with pytest.raises(InputError, match="n=99: the targets have up to 5[01] samples to train on; use 4 to 5[01]"):
        unsupervised.cells(replace(parameters, n=[8, 99]))
    with pytest.raises(InputError, match="target HNSC of thin: fold . of repeat 0 has no normal sample on its test"):
        unsupervised.cells(replace(parameters, folds=7))
    assert unsupervised.cells(replace(parameters, folds=7, targets=["BRCA"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ["BRCA", "XYZ"]}, "targets: 'XYZ' is not in simulated-tcga:smoke; it has BRCA, HNSC"),
        ({"way_targets": ["XYZ"]}, "way_targets: 'XYZ' is not in"),
        ({"frozen_targets": ["XYZ"]}, "frozen_targets: 'XYZ' is not in"),
        ({"frozen": [3]}, "frozen: '3' is not known; use any of 0, 1, 2"),
        ({"frozen": []}, r"frozen=\[\]: name at least one"),
        ({"schemes": ["both"]}, "schemes: 'both' is not known; use any of layers, whole"),
        ({"loss": ["absolute"]}, "loss: 'absolute' is not known; use any of squared, norm"),
        ({"noise": [0.1, -1.0]}, "noise is -1.0: a standard deviation is 0 or more"),
        ({"noise": []}, r"noise=\[\]: name at least one"),
        ({"denoising": {"noise": 0.3}}, r"denoising: 'noise' has a parameter of its own; set noise=\[0.3\]"),
        ({"denoising": {"depth": 3}}, "denoising: parameter 'depth' is not known"),
        ({"denoising": {"epochs": "many"}}, "epochs='many' should be a whole number"),
        ({"network": {"hidden": []}}, "hidden needs at least one layer"),
        ({"methods": ["majority"]}, "methods: 'majority' is not known"),
        ({"folds": 1}, "folds=1: it must be 2 or more"),
        ({"folds": 200}, "folds=200: no class of a target of simulated-tcga:smoke has as many samples"),
        (
            {"folds": 60},
            "target BRCA of simulated-tcga:smoke: fold 0 of repeat 0 has no normal sample on its test side",
        ),
        ({"n": [3]}, "n=3: "),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(change, message):
    with pytest.raises(InputError, match=message):
        unsupervised.cells(replace(SMOKE, **change))


def test_cells_of_another_cohort_of_the_same_name_are_refused():
    cell = unsupervised.cells(SMOKE)[0]
    other = Cell(cell.experiment, cell.parameters, "0123456789abcdef", cell.protocol)
    with pytest.raises(InputError, match="the cell was made for 0123456789abcdef: fetch the same files"):
        list(unsupervised.evaluate([other]))


def test_a_cell_is_evaluated_alike_alone_or_in_company():
    cells = unsupervised.cells(replace(SMOKE, targets=["HNSC"], frozen=[0, 1], methods=[]))
    together = {}
    for _, members in groupby(sorted(cells, key=unsupervised.group), unsupervised.group):
        together |= {cell.key: rows for cell, rows in unsupervised.evaluate(list(members))}
    last = next(c for c in cells if c.parameters["arm"] == "fine_tuned" and c.parameters["frozen"] == 1)
    ((_, rows),) = unsupervised.evaluate([last])
    assert [row["value"] for row in rows] == pytest.approx([row["value"] for row in together[last.key]])
