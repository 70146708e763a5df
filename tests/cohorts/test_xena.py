"""TCGA from UCSC Xena, in small files of its form."""

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gexlib import cohorts
from gexlib.cohorts import fetch, store, xena
from gexlib.errors import InputError
from gexlib.tasks import carried
from tests.cohorts import sources

TWO = ["BRCA", "LUAD"]


@pytest.fixture
def folder(put):
    """Return a function that puts files where GEXLIB_DATA points."""
    return lambda files, cohort="tcga": put(files, cohort)


def refused(message, **how):
    with pytest.raises(InputError, match=message) as caught:
        cohorts.fetch_cohort("tcga", **how)
    assert "\n" not in str(caught.value) and store.stored() == []


def expected(*parts) -> np.ndarray:
    return np.concatenate([part.to_numpy(np.float32).T for part in parts])


def test_projects_of_the_gdc_hub(folder):
    folder(sources.gdc())
    cohort = cohorts.fetch_cohort("tcga", projects=TWO)
    brca, luad = sources.tpm(sources.BRCA[:-1], 3), sources.tpm(sources.LUAD, 4)
    brca = sources.tpm(sources.BRCA, 3)[sources.BRCA[:-1]]  # the last is a control, sample type 20
    np.testing.assert_array_equal(cohort.X, expected(brca, luad))
    assert list(cohort.obs_names) == [*brca, *luad]
    assert list(cohort.var_names) == [
        "ENSG00000000003", "ENSG00000000005", "ENSG00000002586", "ENSG00000002586_PAR_Y", "ENSG00000141510",
    ]  # fmt: skip
    assert cohort.var["symbol"].tolist() == sources.SYMBOLS
    first = cohort.obs.iloc[0]
    assert first[["status", "cancer_type", "tissue", "study", "patient", "sample_type", "vial", "origin"]].tolist() == [
        "cancer", "BRCA", "breast", "A7", "TCGA-A7-A0C0", "01", "A", "patient",
    ]  # fmt: skip
    assert cohort.obs.groupby(["cancer_type", "status"]).size().to_dict() == {
        ("BRCA", "cancer"): 6, ("BRCA", "normal"): 5, ("LUAD", "cancer"): 6, ("LUAD", "normal"): 6,
    }  # fmt: skip
    assert carried(cohort) == ["tcga/pan", "tcga/type", "tcga/BRCA", "tcga/LUAD"]
    assert cohort.uns["report"] == [
        "TCGA-BRCA.star_tpm.tsv.gz: 1 samples that are neither tumour nor normal tissue of TCGA",
        "5 of 5 genes have a symbol",
    ]
    assert any(note.startswith("1 tumours are no primary ones") for note in cohort.uns["notes"])


def test_one_project_and_its_release(home, serve, tmp_path, monkeypatch):
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    (tmp_path / "hub").mkdir()
    for name, content in sources.gdc().items():
        (tmp_path / "hub" / name).write_bytes(content)
    server = serve(tmp_path / "hub")
    monkeypatch.setattr(xena, "_GDC", f"{server.url}/")
    cohort = cohorts.fetch_cohort("tcga", projects=["LUAD"], store_as="luad")
    assert server.asked == ["/TCGA-LUAD.star_tpm.tsv.gz", "/gencode.v36.annotation.gtf.gene.probemap"]
    released = cohort.uns["files"]["TCGA-LUAD.star_tpm.tsv.gz"]["last_modified"]
    assert released.endswith("GMT") and released in cohort.uns["source"] and "GDC hub, STAR" in cohort.uns["source"]
    assert cohort.uns["name"] == "luad" and cohort.n_obs == len(sources.LUAD)


def test_toil(folder):
    folder(sources.toil(), "tcga-toil")
    cohort = cohorts.fetch_cohort("tcga", projects=TWO, hub="toil")
    samples = [barcode[:15] for barcode in sources.BRCA + sources.LUAD]
    values = sources.tpm([*samples, "TCGA-AB-2802-03"], 5)[samples].drop(columns="TCGA-A7-A0C9-20")
    np.testing.assert_allclose(cohort.X, expected(values), atol=2e-3)  # 0.001 is more than the smallest TPM
    assert cohort.uns["name"] == "tcga-toil" and cohort.uns["scale"] == "log2(TPM + 1), from log2(TPM + 0.001)"
    assert set(cohort.obs["cancer_type"]) == set(TWO) and set(cohort.obs["vial"]) == {""}
    assert cohort.X.min() >= 0
    assert cohorts.fetch_cohort("tcga-toil", projects=TWO).uns["digest"] == cohort.uns["digest"]


def test_samples_without_a_project_are_counted(folder):
    phenotype = gzip.decompress(sources.toil()[xena.PHENOTYPE])
    for name, label in (("(blank)", b""), ("-", b"-"), ("chordoma", b"chordoma")):
        changed = phenotype.replace(b"breast invasive carcinoma", label, 2)
        folder(sources.toil() | {xena.PHENOTYPE: gzip.compress(changed)}, "tcga-toil")
        cohort = cohorts.fetch_cohort("tcga-toil", projects=["BRCA"])
        assert cohort.n_obs == len(sources.BRCA) - 3
        assert f"{xena.PHENOTYPE}: 2 samples of no known project: {name}" in cohort.uns["report"]


def test_text_that_is_not_ascii(folder):
    files = sources.gdc()
    folder(files)
    digest = cohorts.fetch_cohort("tcga", projects=TWO).uns["digest"]
    genes = xena.GENES["gdc"]
    folder(files | {genes: files[genes].replace(b"chrX", "chrÄ".encode("latin-1")).replace(b"\n", b"\r\n")})
    assert cohorts.fetch_cohort("tcga", projects=TWO).uns["digest"] == digest


def test_table_2(folder):
    folder(sources.gdc())
    assert xena.table(cohorts.fetch_cohort("tcga", projects=TWO)).to_dict("index") == {
        "BRCA": {"cancer": 6, "normal": 5, "samples": 11},
        "LUAD": {"cancer": 6, "normal": 6, "samples": 12},
        "all": {"cancer": 12, "normal": 11, "samples": 23},
    }


TEXT = sources.tsv(sources.tpm(sources.BRCA, 3), index_label="Ensembl_ID")
SAME = {
    "CRLF": TEXT.replace(b"\n", b"\r\n"),
    "no first cell": TEXT.removeprefix(b"Ensembl_ID\t"),
    "genes twice": TEXT + TEXT.split(b"\n")[1] + b"\n",
    "an extra column": sources.tsv(sources.tpm(sources.BRCA, 3).assign(note="words"), index_label="Ensembl_ID"),
    "a sample twice": sources.tsv(
        pd.concat([sources.tpm(sources.BRCA, 3), sources.tpm(sources.BRCA, 9).iloc[:, :2]], axis=1), index_label="id"
    ),
}


@pytest.mark.parametrize("form", SAME)
def test_forms_that_mean_the_same(folder, form):
    folder(sources.gdc())
    digest = cohorts.fetch_cohort("tcga", projects=TWO).uns["digest"]
    folder(sources.gdc(SAME[form]))
    assert cohorts.fetch_cohort("tcga", projects=TWO).uns["digest"] == digest


def test_genes_that_not_all_files_have(folder):
    folder(sources.gdc(sources.tsv(sources.tpm(sources.BRCA, 3).iloc[[4, 0]], index_label="Ensembl_ID")))
    cohort = cohorts.fetch_cohort("tcga", projects=TWO)
    assert list(cohort.var_names) == ["ENSG00000141510", "ENSG00000000003"]
    assert "3 genes that not all files have" in cohort.uns["report"]
    np.testing.assert_array_equal(cohort.X[-1], sources.tpm(sources.LUAD, 4).iloc[[4, 0], -1].to_numpy(np.float32))


def test_several_versions_of_a_gene(folder):
    newer = sources.tpm(sources.BRCA, 3).rename(index={"ENSG00000000005.6": "ENSG00000000003.16"})
    files = sources.gdc(sources.tsv(newer, index_label="Ensembl_ID"))
    folder(files)
    cohort = cohorts.fetch_cohort("tcga", projects=["BRCA"])
    assert list(cohort.var_names)[:2] == ["ENSG00000000003", "ENSG00000002586"]
    assert "1 genes that stand in several versions; the first is kept" in cohort.uns["report"]


def test_damage_is_named(folder):
    whole, probemap, brca = sources.gdc(), xena.GENES["gdc"], "TCGA-BRCA.star_tpm.tsv.gz"
    for name, content, message in (
        (brca, whole[brca][:-40], "star_tpm.tsv.gz is cut off or damaged"),
        (brca, b"<html>", "star_tpm.tsv.gz is an HTML page"),
        (brca, b"words", "star_tpm.tsv.gz is no .gz file"),
        (brca, gzip.compress(TEXT.replace(b"TCGA", b"TCGB")), "has none of the samples wanted among its 12"),
        (brca, gzip.compress(TEXT.replace(b"ENSG", b"ENSX")), "the files of BRCA, LUAD share no gene"),
        (probemap, b"a\tb\n1\t2\n", "probemap begins with a, b instead of id, gene"),
        (probemap, whole[probemap][:-3], "has 5 cells in row 6|has . cells"),
    ):
        folder(whole | {name: content})
        refused(message, projects=TWO)
    place = folder(whole)
    (place / "TCGA-LUAD.star_tpm.tsv.gz").unlink()
    refused("TCGA-LUAD.star_tpm.tsv.gz is missing where GEXLIB_DATA points", projects=TWO)
    toil = folder(sources.toil() | {xena.PHENOTYPE: gzip.compress(b"sample\tx\nTCGA-A7-A0C0-01\t1\n")}, "tcga-toil")
    refused("has no column _primary_disease but sample, x", projects=TWO, hub="toil")
    assert toil.is_dir()


def test_what_there_is_not(home):
    refused("--projects LUNG: there is no such project of TCGA; choose from ACC, BLCA", projects=["LUNG", "BRCA"])
    refused("--hub gtex: there is gdc and toil", hub="gtex")
    with pytest.raises(InputError, match="tcga-toil is not on this machine yet: run `gexlib fetch tcga --hub toil`"):
        cohorts.open_cohort("tcga-toil")
    assert len(xena.DISEASES) == 33 and set(xena.PROJECTS) <= set(xena.DISEASES.values())
    assert fetch.Source is type(xena.source(xena.PROJECTS)) and len(xena.source(xena.PROJECTS).files) == 12


@given(
    site=st.text("ABCDEFG0123456789", min_size=2, max_size=2), person=st.text("ABC0189", min_size=4, max_size=4),
    kind=st.integers(1, 29), length=st.integers(0, 4),
)  # fmt: skip
def test_barcodes(site, person, kind, length):
    fields = ["TCGA", site, person, f"{kind:02}" + "B" * (length > 0), "11R", "A00Z", "07"]
    barcode = "-".join(fields[: 4 + max(0, length - 1)])
    (row,) = xena.barcodes([barcode]).itertuples()
    assert row.status == ("cancer" if kind < 10 else "normal" if kind < 20 else "")
    assert (row.patient, row.study, row.sample_type) == (f"TCGA-{site}-{person}", site, f"{kind:02}")
    assert (row.vial, row.plate, row.centre) == ("B" * (length > 0), "A00Z" * (length > 2), "07" * (length > 3))
    assert xena.barcodes([barcode + "-x", barcode[1:], ""])["status"].tolist() == [""] * 3


def test_a_logarithm_beyond_all_numbers_becomes_infinite_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert xena._to_one(np.float32([[2000, -9.9658]])).tolist() == [[np.inf, 0]]
