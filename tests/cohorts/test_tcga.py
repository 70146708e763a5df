import math

import numpy as np
import pandas as pd
import pytest
import rdata
from hypothesis import given
from hypothesis import strategies as st

from gexlib import cohorts
from gexlib.cohorts import fetch, tcga
from gexlib.errors import InputError

ORGANS = {
    **{"BRCA": "breast", "COAD": "colon", "HNSC": "head_and_neck", "KIRC": "kidney", "KIRP": "kidney"},
    **{
        "LIHC": "liver",
        "LUAD": "lung",
        "LUSC": "lung",
        "PRAD": "prostate",
        "STAD": "stomach",
        "THCA": "thyroid",
    },
}
COUNTS = [113, 40, 43, 72, 32, 50, 58, 51, 52, 32, 59]  # pairs, in the same order


@pytest.fixture(scope="module")
def present(real_data):
    """Return the types whose files are at hand, in alphabetical order."""
    return sorted(path.stem for path in (real_data / "tcga-pairs").glob("*.RData"))


@pytest.fixture(scope="module")
def pairs(real_data, present):
    return tcga.read_pairs(real_data / "tcga-pairs" / f"{kind}.RData" for kind in present)


def raw(real_data, kind):
    """Return a file as R holds it: genes x barcodes."""
    array = rdata.read_rda(real_data / "tcga-pairs" / f"{kind}.RData")[kind]
    return pd.DataFrame(np.asarray(array), *(array.coords[dim].to_numpy() for dim in array.dims))


def test_the_list_is_that_of_the_source():
    assert [f"{kind}.RData" for kind in tcga.PAIRS] == list(fetch.SOURCES["tcga-pairs"].files)
    assert {kind: organ for kind, (organ, _) in tcga.PAIRS.items()} == ORGANS
    assert [pairs for _, pairs in tcga.PAIRS.values()] == COUNTS
    assert 2 * sum(COUNTS) == 1204


def test_every_patient_is_a_pair(pairs, present):
    obs = pairs.obs
    counts = obs.groupby("cancer_type")["patient"].nunique()
    assert counts.to_dict() == {kind: n for kind, n in zip(ORGANS, COUNTS, strict=True) if kind in present}
    assert (pd.crosstab(obs["patient"], obs["status"]) == 1).all(axis=None)
    assert obs.groupby("patient")["cancer_type"].nunique().max() == 1
    assert (obs["tissue"] == obs["cancer_type"].map(ORGANS)).all()
    assert (obs["origin"] == "patient").all()


def test_labels_are_the_fields_of_the_barcode(pairs):
    fields = pairs.obs_names.str.split("-", expand=True).to_frame(index=False)
    obs = pairs.obs.reset_index(drop=True)
    assert (fields[0] == "TCGA").all() and pairs.obs_names.is_unique
    assert (obs["study"] == fields[1]).all() and (obs["patient"] == "TCGA-" + fields[1] + "-" + fields[2]).all()
    assert (obs["plate"] == fields[5]).all() and (obs["centre"] == fields[6]).all()
    assert set(zip(fields[3].str[:2], obs["status"], strict=True)) == {("01", "cancer"), ("11", "normal")}


def test_values_are_those_of_the_files(pairs, real_data, present):
    for kind in present:
        table = raw(real_data, kind)
        rows = pairs[pairs.obs["cancer_type"] == kind]
        assert rows.obs_names.tolist() == [barcode.replace(".", "-") for barcode in table.columns]
        expected = table.loc[pairs.var_names].to_numpy().T
        if kind in ("COAD", "STAD"):
            zero = np.isnan(expected)
            expected = np.log(np.power(2.0, np.where(zero, -np.inf, expected)) + 0.25) / math.log(2)
            np.testing.assert_allclose(rows.X, expected, atol=0.00501)
            assert (rows.X[zero] == -2).all()
        else:
            np.testing.assert_array_equal(rows.X, expected.astype(np.float32))
    np.testing.assert_array_equal(pairs.X, np.round(pairs.X.astype(float), 2).astype(np.float32))


def test_all_types_are_on_one_scale(pairs):
    assert pairs.X.min() == -2 and 15 < pairs.X.max() < 25
    medians = [np.median(pairs.X[pairs.obs["cancer_type"] == kind]) for kind in pairs.obs["cancer_type"].unique()]
    assert max(medians) - min(medians) < 1


def test_stad_converted_one_value_at_a_time(real_data, present):
    if "STAD" not in present:
        pytest.skip("STAD.RData is not in GEXLIB_DATA")
    stad = tcga.read_pairs([real_data / "tcga-pairs" / "STAD.RData"])
    table = raw(real_data, "STAD")
    for gene, barcode in np.random.default_rng(0).integers(0, table.shape, (300, 2)):
        value = table.iat[gene, barcode]
        rsem = 0 if math.isnan(value) else 2**value
        got = stad[table.columns[barcode].replace(".", "-"), table.index[gene]].X.item()
        assert got == np.float32(round(math.log2(rsem + 0.25), 2))
    assert set(stad.obs["centre"]) == {"13", "31"}
    assert stad.n_vars == len(table)


@given(st.integers(-1200, 2200).map(lambda hundredths: hundredths / 100))
def test_no_value_is_near_enough_to_a_tie_to_round_differently(value):
    hundredths = 100 * math.log2(2**value + 0.25)
    assert abs(hundredths - math.floor(hundredths) - 0.5) > 1e-6
    assert tcga.to_common_scale(np.array([value])).item() == round(hundredths / 100, 2)


def test_zero_counts_and_no_negative_zero():
    got = tcga.to_common_scale(np.array([np.nan, -0.42, -11.1]))
    assert got.tolist() == [-2, 0, -2] and not np.signbit(got[1])


def test_genes_are_those_that_the_files_share(pairs, real_data, present):
    shared = set.intersection(*(set(raw(real_data, kind).index) for kind in present))
    assert pairs.var_names.tolist() == sorted(shared)
    assert pairs.n_vars >= tcga.GENES_IN_ALL_FILES
    if len(present) == 11:
        assert pairs.n_vars == tcga.GENES_IN_ALL_FILES


def test_notes_name_what_is_missing(real_data, present, pairs):
    few = present[:2]
    cohort = tcga.read_pairs(real_data / "tcga-pairs" / f"{kind}.RData" for kind in few)
    missing = [kind for kind in ORGANS if kind not in few]
    notes = " ".join(cohort.uns["notes"])
    assert f"Missing cancer types: {', '.join(missing)}; 2 of 11" in notes
    assert f"The {cohort.n_vars:,} genes" in notes and "3,556" in notes
    assert cohort.n_obs == 2 * sum(COUNTS[list(ORGANS).index(kind)] for kind in few)
    assert set(cohort.obs["cancer_type"]) == set(few)
    assert cohort.uns["digest"] != pairs.uns["digest"]
    assert ("Missing" in " ".join(pairs.uns["notes"])) == (len(present) < 11)


def test_the_order_of_the_files_does_not_count(real_data, present, pairs):
    paths = [real_data / "tcga-pairs" / f"{kind}.RData" for kind in present]
    assert tcga.read_pairs(paths[::-1]).uns["digest"] == pairs.uns["digest"]


def test_fetch_open_describe(home, real_data, present, pairs, monkeypatch):
    monkeypatch.setenv("GEXLIB_DATA", str(real_data))
    fetched = cohorts.fetch_cohort("tcga-pairs")
    assert isinstance(fetched.X, np.memmap) and fetched.uns["digest"] == pairs.uns["digest"]
    summary = cohorts.describe("tcga-pairs")
    half = pairs.n_obs // 2
    assert summary["samples"] == 2 * half and summary["patients"] == half
    assert summary["status"] == {"cancer": half, "normal": half}
    assert summary["origin"].to_dict("index") == {"patient": {"cancer": half, "normal": half}}
    assert summary["scale"] == "log2(RSEM + 0.25)" and summary["simulated"] is False
    pairs_of = {kind: n for kind, n in zip(ORGANS, COUNTS, strict=True) if kind in present}
    assert summary["cancer_type"]["normal"].to_dict() == pairs_of
    lung = sum(n for kind, n in pairs_of.items() if ORGANS[kind] == "lung")
    assert summary["tissue"]["cancer"].get("lung", 0) == lung
    only = cohorts.fetch_cohort("tcga-pairs", only=present[:1])
    assert set(only.obs["cancer_type"]) == {present[0]}


def write(folder, kind, n_pairs, fill=1.0, genes=("A", "B"), normal="11A"):
    """Write a data frame of pairs as R would."""
    patients = [f"TCGA.{kind}.{i:04d}" for i in range(n_pairs)]
    barcodes = [f"{patient}.{sample}.01R.A001.07" for patient in patients for sample in ("01A", normal)]
    table = pd.DataFrame(np.full((len(genes), len(barcodes)), fill), index=list(genes), columns=barcodes)
    path = folder / f"{kind}.RData"
    rdata.write_rda(path, {kind: table})
    return path


def test_a_data_frame_is_read_as_a_matrix_is(tmp_path):
    colon = write(tmp_path, "COAD", 40, fill=np.nan, genes="ABC")
    liver = write(tmp_path, "LIHC", 50, fill=3.25, genes="CBD")
    cohort = tcga.read_pairs([liver, colon])
    assert cohort.var_names.tolist() == ["B", "C"]
    assert cohort.obs["cancer_type"].tolist() == ["COAD"] * 80 + ["LIHC"] * 100
    assert np.unique(cohort.X[:80]).tolist() == [-2] and np.unique(cohort.X[80:]).tolist() == [3.25]


def test_missing_values_elsewhere_are_an_error(tmp_path):
    with pytest.raises(InputError, match="cohort tcga-pairs has 200 values that are NaN"):
        tcga.read_pairs([write(tmp_path, "LIHC", 50, fill=np.nan)])


def test_other_pairs_than_the_type_has(tmp_path):
    with pytest.raises(InputError, match="does not hold the 50 pairs .* 98 samples of 49 patients"):
        tcga.read_pairs([write(tmp_path, "LIHC", 49)])
    with pytest.raises(InputError, match="does not hold the 50 pairs"):
        tcga.read_pairs([write(tmp_path, "LIHC", 50, normal="02A")])


def test_files_that_are_none_of_the_eleven(tmp_path):
    with pytest.raises(InputError, match="SARC.RData is no file of tcga-pairs"):
        tcga.read_pairs([tmp_path / "SARC.RData"])
    with pytest.raises(InputError, match="run `gexlib fetch tcga-pairs`"):
        tcga.read_pairs([])
    (tmp_path / "LIHC.RData").write_bytes(b"RDX3\nnot one")
    with pytest.raises(InputError, match="LIHC.RData is not one R table|cannot be read as one R table"):
        tcga.read_pairs([tmp_path / "LIHC.RData"])
