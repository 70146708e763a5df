import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gexlib.cohorts import simulate as module
from gexlib.cohorts.schema import check
from gexlib.cohorts.simulate import PRESETS, PROJECTS, TISSUES, Simulation, simulate
from gexlib.errors import InputError

NAMES = [f"simulated-{dataset}:{preset}" for dataset in PRESETS for preset in ("smoke", "demo")]


@st.composite
def simulations(draw):
    dataset = draw(st.sampled_from(list(PRESETS)))
    tissues = draw(st.integers(1, 11))
    cells = 4 * tissues if dataset == "microarray" else tissues + min(tissues, 8)
    return Simulation(
        dataset,
        samples=draw(st.integers(4 * cells, 4 * cells + 300)),
        genes=draw(st.integers(50, 120)),
        tissues=tissues,
        seed=draw(st.integers(0, 2**32 - 1)),
        sharing=draw(st.floats(0, 1)),
        shift=draw(st.floats(0, 10)) if dataset == "microarray" else 1.0,
    )


@pytest.fixture(scope="module", params=NAMES)
def preset(request):
    return simulate(Simulation.from_name(request.param))


@given(simulations())
@settings(max_examples=40)
def test_a_cohort_keeps_the_contract(simulation):
    cohort = simulate(simulation)
    assert cohort.shape == (simulation.samples, simulation.genes)
    assert cohort.X.dtype == np.float32
    checked = check(cohort)  # finite, unique ids, known labels
    pd.testing.assert_frame_equal(checked.obs, cohort.obs)
    assert checked.uns["digest"] == simulation.digest == cohort.uns["digest"]
    assert cohort.uns["simulated"] is True
    assert cohort.uns["notes"][0] == "Simulated data: not measurements."
    assert cohort.uns["name"] == simulation.name
    low, high = (2, 16) if simulation.dataset == "microarray" else (0, 25)
    assert low <= cohort.X.min() and cohort.X.max() <= high
    column = "tissue" if simulation.dataset == "microarray" else "cancer_type"
    names = list(TISSUES if simulation.dataset == "microarray" else PROJECTS)
    assert set(cohort.obs[column]) == set(names[: simulation.tissues])
    assert cohort.obs.groupby(["tissue", "cancer_type", "origin", "status"]).size().min() >= 2


@given(simulations())
def test_a_name_names_one_simulation(simulation):
    assert Simulation.from_name(simulation.name) == simulation


@given(simulations(), st.integers(0, 2**31))
@settings(max_examples=10)
def test_a_seed_gives_the_same_values_and_another_seed_others(simulation, other):
    first, again = simulate(simulation), simulate(simulation)
    np.testing.assert_array_equal(first.X, again.X)
    pd.testing.assert_frame_equal(first.obs, again.obs)
    changed = replace(simulation, seed=(simulation.seed + 1 + other) % 2**32)
    assert (simulate(changed).X != first.X).mean() > 0.5
    assert changed.digest != simulation.digest


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("simulated-tcga:demo,seed=0,sharing=0.5,shift=1.0", "simulated-tcga:demo"),
        ("simulated-tcga:demo,seed=2", "simulated-tcga:demo,seed=2"),
        ("simulated-microarray:samples=2000,genes=1000,tissues=11", "simulated-microarray:demo"),
        ("simulated-microarray:smoke,sharing=1", "simulated-microarray:smoke,sharing=1.0"),
        (
            "simulated-tcga:tissues=4,seed=1,genes=200,samples=300",
            "simulated-tcga:samples=300,genes=200,tissues=4,seed=1",
        ),
        ("simulated-tcga:demo,genes=500", "simulated-tcga:samples=1500,genes=500,tissues=11"),
    ],
)
def test_names_are_canonical(given, canonical):
    assert Simulation.from_name(given).name == canonical


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tcga:demo", "begin with simulated-microarray: or simulated-tcga:"),
        ("simulated-geo:demo", "begin with"),
        ("simulated-tcga:", "add samples, genes, tissues"),
        ("simulated-tcga:samples=300,genes=200", "add tissues"),
        ("simulated-tcga:huge", "`huge` should be a preset"),
        ("simulated-tcga:seed=1,demo", "`demo` should be a preset"),
        ("simulated-tcga:demo,speed=1", "`speed=1`"),
        ("simulated-tcga:demo,seed=1.5", "`seed=1.5`"),
        ("simulated-tcga:demo,seed=-1", "seed=-1 is out of range"),
        ("simulated-tcga:demo,sharing=1.1", "sharing=1.1 is out of range"),
        ("simulated-tcga:demo,sharing=nan", "sharing=nan is out of range"),
        ("simulated-microarray:demo,shift=inf", "shift=inf is out of range"),
        ("simulated-tcga:demo,shift=2", "shift moves cell lines"),
        ("simulated-tcga:demo,tissues=12", "tissues=12 is out of range"),
        ("simulated-microarray:demo,samples=175", "give 176 to"),
        ("simulated-tcga:demo,genes=0", "genes=0 is out of range"),
    ],
)
def test_a_bad_name_is_refused_in_one_sentence(name, says):
    with pytest.raises(InputError) as refusal:
        Simulation.from_name(name)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unknown_dataset_is_refused():
    with pytest.raises(InputError, match="choose microarray or tcga"):
        Simulation("geo", 300, 200, 3)


def test_presets_have_their_sizes_and_least_counts(preset):
    obs, smoke = preset.obs, "smoke" in preset.uns["name"]
    microarray = (obs["cancer_type"] == "").all()
    if microarray:
        counts = obs.groupby(["tissue", "origin", "status"]).size().unstack(fill_value=0)
        assert len(counts) == 2 * (3 if smoke else 11)
        assert counts.min(axis=None) >= 12
        assert 2 <= counts["cancer"].sum() / counts["normal"].sum() <= 3.2
    else:
        assert set(obs["origin"]) == {"patient"}
        counts = obs.groupby(["cancer_type", "status"]).size().unstack(fill_value=0)
        with_normals = counts.index[counts["normal"] > 0]
        assert len(counts) == (2 if smoke else 11)
        assert set(counts.index) - set(with_normals) == (set() if smoke else {"LGG", "LIHC", "OV"})
        assert counts.loc[with_normals].min(axis=None) >= (12 if smoke else 30)


def test_the_paper_presets_have_the_articles_counts():
    def counts(name):
        table = module._counts(Simulation.from_name(name))
        assert len({place[:2] for place in table}) == 11
        return np.array(list(table.values())), table

    total, table = counts("simulated-tcga:paper")
    assert total.sum(axis=0).tolist() == [5980, 470]  # 92.7 % cancer
    assert sum(normals > 0 for _, normals in table.values()) == 8
    total, table = counts("simulated-microarray:paper")
    assert total.sum() == 16709
    assert total[:, 0].sum() / total[:, 1].sum() == pytest.approx(3, rel=0.02)
    tissues = pd.Series(total.sum(axis=1)).groupby([place[0] for place in table]).sum()
    assert tissues.min() > 400


def test_studies_lie_within_a_tissue_and_some_hold_one_class(preset):
    obs = preset.obs
    places = obs.groupby("study")[["tissue", "cancer_type", "origin"]].nunique()
    assert (places == 1).all(axis=None)
    classes = obs.groupby("study")["status"].nunique()
    assert set(classes) == {1, 2}
    both = obs[obs["study"].isin(classes.index[classes == 2])]
    kinds = obs.loc[obs["status"] == "normal", ["tissue", "cancer_type", "origin"]].drop_duplicates()
    studies = both.groupby(["tissue", "cancer_type", "origin"])["study"].nunique()
    assert len(studies) == len(kinds) and studies.min() >= 2  # a split by study leaves both classes on each side


def test_patients_repeat_only_as_pairs_of_tcga(preset):
    obs = preset.obs
    repeated = obs[obs.duplicated("patient", keep=False)]
    if (obs["cancer_type"] == "").all():
        assert repeated.empty
        return
    pairs = repeated.groupby("patient")
    assert (pairs.size() == 2).all()
    assert (pairs["status"].nunique() == 2).all()
    assert (pairs[["study", "cancer_type"]].nunique() == 1).all(axis=None)
    assert 0.5 < len(pairs) / (obs["status"] == "normal").sum() < 1


def test_samples_are_in_no_order(preset):
    first = preset.obs.iloc[:40]
    assert first["study"].nunique() > 3
    assert first["status"].nunique() == 2


def test_low_genes_have_zeros_in_rna_seq_only():
    assert (simulate(Simulation.from_name("simulated-tcga:smoke")).X == 0).mean() > 0.005
    assert simulate(Simulation.from_name("simulated-microarray:smoke")).X.min() >= 2


def effects(cohort, column):
    """Return cancer minus normal for each kind, [kinds, genes], in units of the genes' standard deviation."""
    rows = []
    for kind in np.unique(cohort.obs[column]):
        mean = {
            status: cohort.X[(cohort.obs[column] == kind) & (cohort.obs["status"] == status)].mean(axis=0)
            for status in ("cancer", "normal")
        }
        rows.append((mean["cancer"] - mean["normal"]) / cohort.X.std(axis=0))
    return np.array(rows)


def test_sharing_raises_the_correlation_of_effects_between_kinds():
    def correlation(sharing):
        cohort = simulate(Simulation("tcga", 1200, 600, 8, seed=3, sharing=sharing))
        return np.corrcoef(effects(cohort, "cancer_type"))[np.triu_indices(8, 1)].mean()

    found = [correlation(sharing) for sharing in (0, 0.25, 0.5, 0.75, 1)]
    assert np.diff(found).min() > 0.05
    assert abs(found[0]) < 0.2 and found[-1] > 0.8


def test_sharing_leaves_everything_else_as_it_was():
    own, shared = (simulate(Simulation("microarray", 300, 200, 3, sharing=sharing)) for sharing in (0, 1))
    pd.testing.assert_frame_equal(own.obs, shared.obs)
    difference = np.abs(own.X - shared.X).mean(axis=1)
    normal = (own.obs["status"] == "normal").to_numpy()
    assert difference[normal].mean() < 0.5 * difference[~normal].mean()


def test_shift_moves_cell_lines_only_and_the_further_the_larger():
    cohorts = [simulate(Simulation("microarray", 600, 300, 3, shift=shift)) for shift in (0, 0.5, 1, 2)]
    lines = (cohorts[0].obs["origin"] == "cell_line").to_numpy()
    for cohort in cohorts[1:]:
        np.testing.assert_allclose(cohort.X[~lines], cohorts[0].X[~lines], atol=1e-4)
    moved = [np.abs(cohort.X[lines] - cohorts[0].X[lines]).mean() for cohort in cohorts]
    assert np.diff(moved).min() > 0.1

    def distance(cohort):
        return np.linalg.norm(cohort.X[lines].mean(axis=0) - cohort.X[~lines].mean(axis=0))

    assert np.diff([distance(cohort) for cohort in cohorts]).min() > 0


def test_without_shift_there_is_no_effect_of_cell_lines():
    simulation = Simulation("microarray", 300, 200, 3, shift=0)
    obs, genes = module._samples(simulation), module._genes(simulation)
    assert not module._cell_line_shift(simulation, genes, obs)[0].any()
    weights, _ = module._tissue_programs(simulation, genes, obs)
    np.testing.assert_array_equal(weights.sum(axis=1), 1)  # cell lines keep the whole program of their tissue
    weights, _ = module._tissue_programs(replace(simulation, shift=1), genes, obs)
    np.testing.assert_array_equal(weights.sum(axis=1) == 0.5, obs["origin"] == "cell_line")


def test_a_class_is_not_one_gaussian():
    """The subtypes of a kind are apart: two tumours of one subtype are closer than two of different ones."""
    simulation = Simulation("tcga", 400, 1000, 1, seed=5)
    genes, obs = module._genes(simulation), module._samples(simulation)
    weights, programs = module._cancer_programs(simulation, genes, obs)
    tumours = (obs["status"] == "cancer").to_numpy()
    subtype = weights[tumours, 1:].argmax(axis=1)
    assert np.bincount(subtype, minlength=3).min() > 0.1 * tumours.sum()
    assert not weights[~tumours, 1:].any()
    X = simulate(simulation).X[tumours]
    centres = np.array([X[subtype == s].mean(axis=0) for s in range(3)])
    own = np.linalg.norm(X - centres[subtype], axis=1)
    other = np.linalg.norm(X - centres[(subtype + 1) % 3], axis=1)
    assert (own < other).mean() > 0.8
    # The effect is the mean of the tumours: the subtypes' offsets cancel out.
    np.testing.assert_allclose(np.array(module._SUBTYPES) @ programs[1:], 0, atol=1e-4)


def test_values_do_not_depend_on_the_size_of_a_block(monkeypatch):
    simulation = Simulation.from_name("simulated-tcga:smoke,seed=4")
    whole = simulate(simulation).X
    monkeypatch.setattr(module, "_BLOCK_BYTES", 7 * 4 * simulation.genes)  # seven samples at a time
    np.testing.assert_allclose(simulate(simulation).X, whole, atol=1e-4)


def test_a_memory_map_is_filled_within_one_block(tmp_path, monkeypatch):
    simulation = Simulation("microarray", 2000, 4000, 2)  # 32 MB
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2 * 2**20)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (2000, 4000))
    programs = 150 * 4000 * 4
    module.calibration()
    tracemalloc.start()
    cohort = simulate(simulation, X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.shares_memory(cohort.X, X)
    assert peak < 2 * programs + 3 * 2 * 2**20 + 4 * 2**20 < X.nbytes / 2
    del cohort, X
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_allclose(stored[::400], simulate(simulation).X[::400], atol=1e-4)


@pytest.mark.parametrize("X", [np.empty((160, 199), np.float32), np.empty((160, 200))])
def test_a_matrix_that_does_not_fit_is_refused(X):
    with pytest.raises(InputError, match="X does not fit simulated-tcga:smoke"):
        simulate(Simulation.from_name("simulated-tcga:smoke"), X)


def test_the_digest_stands_for_name_simulator_and_calibration(monkeypatch, tmp_path):
    simulation = Simulation.from_name("simulated-tcga:smoke")
    digests = {simulation.digest, replace(simulation, seed=1).digest, replace(simulation, dataset="microarray").digest}
    monkeypatch.setattr(module, "SIMULATOR", module.SIMULATOR + 1)
    digests.add(simulation.digest)
    other = tmp_path / "calibration.json"
    other.write_bytes(module._CALIBRATION.read_bytes() + b" ")
    monkeypatch.setattr(module, "_CALIBRATION", other)
    digests.add(simulation.digest)
    assert len(digests) == 5
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


def test_the_source_names_the_cohort_of_the_calibration():
    for dataset, real in module.CALIBRATED_ON.items():
        cohort = simulate(Simulation.from_name(f"simulated-{dataset}:smoke"))
        assert real in cohort.uns["source"] and cohort.uns["source"].startswith("simulated")
        assert {"source", "digest", "command", "statistics"} <= set(module.calibration()[real])
