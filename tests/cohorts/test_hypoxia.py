import gzip

import numpy as np
import pandas as pd
import pytest
import rdata

from gexlib import cohorts
from gexlib.cohorts import fetch, tcga
from gexlib.errors import InputError
from gexlib.tasks import TCGA_TYPES, carried

GENES = ["ENSG1", "ENSG2", "ENSG3"]
BARCODES = [  # study, barcode; the last stands twice
    ("BRCA", "TCGA-A7-A0CE-01A-11R-A00Z-07"),
    ("BRCA", "TCGA-A7-A0CE-11A-11R-A00Z-07"),
    ("SKCM", "TCGA-D3-A1Q1-06A-21R-A18T-07"),
    ("DLBC", "TCGA-FA-8693-01A-11R-2404-07"),
    ("LUAD", "TCGA-44-2656-01A-02R-0946-07"),
    ("LUAD", "TCGA-44-2656-01A-02R-A278-07"),
    ("UCEC", "TCGA-BG-A220-01A-11R-A16W-31"),
    ("UCEC", "TCGA-BG-A220-01A-11R-A16W-31"),
]


def frame(n_genes=3):
    """Return a data frame as the file holds it."""
    studies, ids = map(list, zip(*BARCODES, strict=True))
    values = np.arange(8 * n_genes, dtype=float).reshape(8, -1) ** 3
    values[-1] = values[-2]
    table = pd.DataFrame({"tcga_id": ids, "study": studies})
    table["is_normal"] = table["tcga_id"].str[13:15] == "11"
    table["libsize_75percent"] = 0.5
    return table.join(pd.DataFrame(values, columns=[f"ENSG{i + 1}" for i in range(n_genes)]))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a data frame as R would, announced as the small cohort that it is."""
    monkeypatch.setattr(tcga, "HYPOXIA_SHAPE", (7, 3))

    def write(table):
        path = tmp_path / "tcga_expr_df.RData"
        rdata.write_rda(path, {"tcga_expr_df": table})
        return path

    return write


def test_labels_values_and_repeats(write):
    table = frame()
    cohort = tcga.read_hypoxia([write(table)])
    assert cohort.obs_names.tolist() == [barcode for _, barcode in BARCODES[:7]]
    assert cohort.var_names.tolist() == GENES
    np.testing.assert_allclose(cohort.X, np.log1p(table[GENES].to_numpy()[:7]) / np.log(2), atol=5.01e-5)
    obs = cohort.obs
    assert obs["status"].tolist() == ["cancer", "normal", *["cancer"] * 5]
    assert obs["cancer_type"].tolist() == [study for study, _ in BARCODES[:7]]
    assert obs["tissue"].tolist() == ["breast", "breast", "skin", "", "lung", "lung", "uterus"]
    assert obs["patient"].tolist()[:3] == ["TCGA-A7-A0CE", "TCGA-A7-A0CE", "TCGA-D3-A1Q1"]
    assert obs["study"].tolist() == ["A7", "A7", "D3", "FA", "44", "44", "BG"]
    assert obs["sample_type"].tolist() == ["01", "11", "06", "01", "01", "01", "01"]
    assert obs["plate"].tolist()[4:6] == ["0946", "A278"] and obs["centre"].iloc[6] == "31"
    assert set(obs["origin"]) == {"patient"} and cohort.uns["simulated"] is False
    notes = " ".join(cohort.uns["notes"])
    assert "85.7% of the aliquots are tumours" in notes and "patients of tcga-pairs are here too" in notes
    assert "2 of 5 patients gave several aliquots" in notes and "2 aliquots share patient and sample type" in notes
    assert "1 tumours are no primary ones, 1 of them metastases (1 of SKCM)" in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="is_normal"), "cannot be read as one R table .*its first columns are tcga_id, study"),
        (lambda t: t.drop(columns="ENSG3"), "does not hold the 7 aliquots x 3 genes .* but 7 x 2: delete it"),
        (lambda t: t.iloc[:5], "does not hold the 7 aliquots .* but 5 x 3"),
        (lambda t: t.assign(is_normal=~t["is_normal"]), "barcodes that agree with is_normal"),
        (lambda t: t.assign(ENSG2=np.nan), "NaN"),
        (lambda t: t.assign(ENSG2="high"), "cannot be read as one R table"),
        (lambda t: t.assign(tcga_id=t["tcga_id"].str[:12]), "does not hold|cannot be read"),
        (lambda t: t.assign(ENSG1=[*range(8)]), "does not hold .* but 8 x 3"),
    ],
)
def test_other_tables(write, change, message):
    with pytest.raises(InputError, match=message) as caught:
        tcga.read_hypoxia([write(change(frame()))])
    assert "\n" not in str(caught.value)


def test_damaged_and_other_files(write, tmp_path):
    path = write(frame())
    body = path.read_bytes()
    for damaged in (b"", b"RDX3\nnot one", body[: len(body) // 2], gzip.compress(b"RDX3\n" + bytes(100))):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read as one R table .*: delete it and fetch again"):
            tcga.read_hypoxia([path])
    for paths in ([], [tmp_path / "BRCA.RData"], [path, path]):
        with pytest.raises(InputError, match=r"is one file, tcga_expr_df.RData, not .*: run `gexlib fetch tcga-hyp"):
            tcga.read_hypoxia(paths)


def test_organs_are_those_of_the_pairs():
    assert {kind: tcga.ORGANS[kind] for kind in tcga.PAIRS} == {kind: organ for kind, (organ, _) in tcga.PAIRS.items()}
    assert len(tcga.ORGANS) == 30  # of 32 studies: DLBC and PCPG are of no one organ


def test_before_it_is_fetched(home, monkeypatch):
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    assert "tcga-hypoxia" in cohorts.names() and list(fetch.SOURCES["tcga-hypoxia"].files) == [tcga.HYPOXIA_FILE]
    with pytest.raises(InputError, match="run `gexlib fetch tcga-hypoxia`"):
        cohorts.open_cohort("tcga-hypoxia")


def test_the_real_file(home, real_data, monkeypatch):
    if not (real_data / "tcga-hypoxia" / tcga.HYPOXIA_FILE).is_file():
        pytest.skip("GEXLIB_DATA does not hold tcga-hypoxia")
    monkeypatch.setenv("GEXLIB_DATA", str(real_data))
    cohort = cohorts.fetch_cohort("tcga-hypoxia")
    assert cohort.shape == (9437, 50) and cohort.obs["cancer_type"].nunique() == 32
    assert (cohort.obs["status"] == "cancer").mean() == pytest.approx(0.927, abs=5e-4)
    counts = pd.crosstab(cohort.obs["cancer_type"], cohort.obs["status"])["normal"]
    expected = {"BRCA": 109, "KIRC": 72, "LUAD": 59, "THCA": 56, "PRAD": 51, "LUSC": 47, "HNSC": 42, "UCEC": 21}
    assert counts[list(expected)].to_dict() == expected
    assert {f"tcga/{kind}" for kind in (*TCGA_TYPES, "pan", "type")} <= set(carried(cohort))
    assert cohort.obs.groupby("patient")["cancer_type"].nunique().max() == 1
    assert cohort.X.min() == 0 and 20 < cohort.X.max() < 25
    assert (cohort.obs["tissue"] == "").sum() == (cohort.obs["cancer_type"].isin(["DLBC", "PCPG"])).sum()
