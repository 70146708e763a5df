import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from gexlib.cohorts import simulate as simulator
from gexlib.cohorts import tcga
from gexlib.cohorts.calibrate import PROBABILITIES, calibrate, compare, curves
from gexlib.cohorts.simulate import Simulation, simulate
from gexlib.errors import InputError

GENES = 400


def cohort(*, kinds=6, studies=4, n=24, study=0.5, tissue=1.0, rms=1.0, sharing=0.5, seed=0):
    """Return a cohort of unit noise whose other variances are known, every study with n cancer and n normal samples."""
    rng = np.random.default_rng(seed)
    shared, rows, labels = rng.standard_normal(GENES), [], []
    for kind in range(kinds):
        centre = np.sqrt(tissue) * rng.standard_normal(GENES)
        effect = rms * (np.sqrt(sharing) * shared + np.sqrt(1 - sharing) * rng.standard_normal(GENES))
        for number in range(studies):
            shift = np.sqrt(study) * rng.standard_normal(GENES)
            for status, here in (("cancer", effect), ("normal", 0)):
                rows.append(8 + centre + shift + here + rng.standard_normal((n, GENES)))
                labels += [(status, f"kind{kind}", f"kind{kind} study{number}", "patient")] * n
    obs = pd.DataFrame(labels, columns=["status", "tissue", "study", "origin"]).assign(patient="")
    return AnnData(np.vstack(rows).astype(np.float32), obs.set_axis(obs.index.astype(str)))


@pytest.fixture(scope="module")
def found():
    return calibrate(cohort())


def test_known_variances_are_recovered(found):
    assert found["variance_cancer"] == pytest.approx(1, rel=0.03)
    assert found["variance_normal"] == pytest.approx(1, rel=0.03)
    assert found["study_variance"] == pytest.approx(0.5, rel=0.1)
    assert found["study_share"] == pytest.approx(1 / 3, rel=0.1)
    assert found["tissue_variance"] == pytest.approx(1, rel=0.15)
    assert found["tissue_share"] == pytest.approx(0.4, rel=0.15)
    assert sum(found["eigenvalues"]) < 0.2  # no co-expression, only chance
    assert found["effect_aligned"] < 0.3


def test_known_effects_are_recovered(found):
    assert found["effect_kinds"] == [f"kind{i}" for i in range(6)]
    np.testing.assert_allclose(found["effect_rms"], 1, rtol=0.15)
    assert len(found["effect_correlation"]) == 15
    assert np.mean(found["effect_correlation"]) == pytest.approx(0.5, abs=0.1)
    normal = dict(zip(PROBABILITIES.tolist(), found["effect_shape"], strict=True))
    assert normal[0.05] == pytest.approx(-1.64, abs=0.2) and normal[0.95] == pytest.approx(1.64, abs=0.2)


def test_sampling_noise_is_taken_out():
    """Without any effect or study, little is found though each difference of means is far from zero."""
    few = cohort(studies=2, n=4, study=0, rms=0)
    found = calibrate(few)
    assert max(found["effect_rms"]) < 0.2 < np.sqrt(2 / 8)
    assert found["study_variance"] < 0.05


def test_the_spread_along_the_effect_is_measured():
    """Tumours with more or less of the effect spread along it, by as much as their content varies."""
    base = cohort(rms=1.0, sharing=0, study=0, n=60, studies=2, kinds=2)
    assert calibrate(base)["content_cancer"] == pytest.approx(1 / np.sqrt(GENES), rel=0.3)  # noise alone
    rng = np.random.default_rng(1)
    for kind in base.obs["tissue"].unique():
        kept = (base.obs["tissue"] == kind).to_numpy()
        cancer = kept & (base.obs["status"] == "cancer").to_numpy()
        effect = base.X[cancer].mean(axis=0) - base.X[kept & ~cancer].mean(axis=0)
        base.X[cancer] += 0.4 * rng.standard_normal((cancer.sum(), 1)) * effect
    found = calibrate(base)
    # In units of a standard deviation that the content has raised: sqrt(1 + 0.4^2 / 2) on average.
    assert found["content_cancer"] == pytest.approx(0.4, rel=0.2)
    assert found["content_normal"] < 0.1


def test_cell_lines_are_left_out(found):
    real = cohort()
    lines = real.copy()
    lines.obs["origin"] = "cell_line"
    lines.X = lines.X + 5
    both = AnnData(
        np.vstack([real.X, lines.X]), pd.concat([real.obs, lines.obs]).set_axis(range(2 * len(real))).rename(str)
    )
    assert calibrate(both) == found


def test_cancer_types_are_preferred_to_tissues(found):
    typed = cohort()
    typed.obs["cancer_type"], typed.obs["tissue"] = typed.obs["tissue"], "body"
    assert calibrate(typed) == found


def test_wide_cohorts_are_measured_on_some_genes(found):
    narrow = calibrate(cohort(), max_genes=200)
    assert narrow["genes"] == 200
    assert narrow["study_variance"] == pytest.approx(found["study_variance"], rel=0.2)


def test_what_a_cohort_cannot_tell_is_none():
    one = calibrate(cohort(kinds=1, studies=1))
    assert one["study_variance"] is one["study_share"] is one["tissue_variance"] is one["tissue_shape"] is None
    assert one["effect_correlation"] == []
    assert "tissue_variance" not in curves(one).index.get_level_values(0)


def test_a_cohort_whose_studies_hold_one_class_is_refused():
    confounded = cohort(n=10)
    confounded.obs["study"] = confounded.obs["study"] + confounded.obs["status"]
    with pytest.raises(InputError, match="no kind has 4 cancer and 4 normal samples in shared studies"):
        calibrate(confounded)


def test_a_simulated_cohort_resembles_its_calibration():
    """What the simulator was given comes out of what it made."""
    for dataset, real in simulator.CALIBRATED_ON.items():
        given = simulator.calibration()[real]["statistics"]
        found = calibrate(simulate(Simulation.from_name(f"simulated-{dataset}:demo")))
        for name in ("variance_cancer", "variance_normal", "study_variance", "tissue_variance", "tissue_share"):
            assert found[name] == pytest.approx(given[name], rel=0.3), (dataset, name)
        assert np.mean(found["effect_rms"]) == pytest.approx(np.mean(given["effect_rms"]), rel=0.3)
        assert np.median(found["effect_correlation"]) == pytest.approx(0.5, abs=0.2)  # the default of sharing
        assert sum(found["eigenvalues"]) == pytest.approx(sum(given["eigenvalues"]), rel=0.35)
        if given["content_cancer"]:
            for status in ("cancer", "normal"):
                assert found[f"content_{status}"] == pytest.approx(given[f"content_{status}"], rel=0.35)


def test_a_comparison_is_tidy():
    first, second = (simulate(Simulation.from_name(f"simulated-tcga:smoke,seed={seed}")) for seed in (0, 1))
    table = compare(first, second)
    assert list(table.columns) == ["statistic", "at", "real", "simulated"]
    assert not table.duplicated(["statistic", "at"]).any()
    assert table[["real", "simulated"]].notna().all(axis=None)
    one = table[table["at"].isna()].set_index("statistic")
    assert one.loc["study_variance", "real"] == calibrate(first)["study_variance"]
    assert one.loc["study_variance", "simulated"] == calibrate(second)["study_variance"]
    assert len(table[table["statistic"] == "gene_mean"]) == len(PROBABILITIES)
    same = compare(first, first)
    np.testing.assert_array_equal(same["real"], same["simulated"])


def test_the_result_is_json_of_a_few_hundred_numbers(found):
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert len(text) < 5000


def test_the_committed_statistics_are_those_of_the_real_cohort(real_data):
    files = [
        real_data / "tcga-pairs" / f"{kind}.RData"
        for kind in simulator.calibration()["tcga-pairs"]["statistics"]["effect_kinds"]
    ]
    if not all(file.exists() for file in files):
        pytest.skip("not all files of the calibration are at hand")
    pairs = tcga.read_pairs(files)
    committed = simulator.calibration()["tcga-pairs"]
    assert pairs.uns["digest"] == committed["digest"]
    real, here = curves(committed["statistics"]), curves(calibrate(pairs))
    np.testing.assert_allclose(here.to_numpy(), real.to_numpy(), rtol=2e-3, atol=2e-3)
