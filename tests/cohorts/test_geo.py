"""Series of GEO, in a small file of their form."""

import gzip

import numpy as np
import pytest
from typer.testing import CliRunner

from gexlib import cohorts
from gexlib.cli import app
from gexlib.cohorts import geo, store
from gexlib.errors import InputError
from tests.cohorts import sources
from tests.cohorts.conftest import send

SERIES = sources.SERIES
MAPS = [
    "disease=status",
    "disease:adenocarcinoma=cancer",
    "disease:none=normal",
    "disease:unclear=",
    "source_name=tissue",
]


@pytest.fixture
def folder(home, tmp_path, monkeypatch):
    """Return a function that puts a series where GEXLIB_DATA points, and its platform unless told."""
    monkeypatch.setenv("GEXLIB_DATA", str(tmp_path / "data"))

    def put(series=SERIES, platform=sources.ANNOTATION, name="GSE4321_series_matrix.txt.gz"):
        for file, content in ((f"GSE4321/{name}", series), ("GPL570/GPL570.annot.gz", platform)):
            (tmp_path / "data" / file).parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                (tmp_path / "data" / file).write_bytes(gzip.compress(content))
        for digests in (home / "digests").glob("*.json"):
            digests.unlink()

    return put


def refused(message, name="GSE4321", **how):
    with pytest.raises(InputError, match=message) as caught:
        cohorts.fetch_cohort(name, **({"maps": MAPS} | how))
    assert "\n" not in str(caught.value) and store.stored() == []


def test_a_series(folder):
    folder()
    cohort = cohorts.fetch_cohort("GSE4321", maps=MAPS)
    assert list(cohort.obs_names) == ["GSM1", "GSM2", "GSM4", "GSM5"]
    assert list(cohort.var_names) == ["1007_s_at", "117_at", "121_at"]  # 1053_at has a missing value
    np.testing.assert_array_equal(cohort.X[:, 0], np.float32([7.1, 7.2, 7.4, 7.5]))
    assert cohort.var["symbol"].tolist() == ["DDR1 /// MIR4640", "HSPA6", "PAX8"]
    assert cohort.obs["status"].tolist() == ["cancer", "cancer", "normal", "normal"]
    assert cohort.obs["sex"].tolist() == ["F", "M", "F", ""] and set(cohort.obs["tissue"]) == {"lung"}
    assert cohort.obs["title"].tolist() == ["t1", "t2", "n1", "n2"] and set(cohort.obs["platform"]) == {"GPL570"}
    assert cohort.uns["source"] == "GEO GSE4321: Lung tumours and normal lung"
    assert (
        cohort.uns["imported"]["file"] == "GSE4321_series_matrix.txt.gz" and len(cohort.uns["imported"]["sha256"]) == 64
    )
    assert cohort.uns["imported"]["dropped"] == [
        "1 rows of the matrix with missing values",
        "3 of 3 probe sets have a gene symbol; 1 of them several",
        "1 sample whose disease was mapped to nothing",
    ]
    assert (
        cohorts.open_cohort("GSE4321").n_obs == 4
        and cohorts.fetch_cohort("GSE4321", maps=MAPS, store_as="lung").n_obs == 4
    )


def test_a_series_takes_no_other_cohorts_name(folder, make_cohort):
    folder()
    assert cohorts.fetch_cohort("GSE4321", maps=MAPS, store_as="lung").n_obs == 4
    assert cohorts.fetch_cohort("GSE4321", maps=MAPS, store_as="lung").n_obs == 4  # the same file again
    store.save(make_cohort(name="mine"))
    with pytest.raises(InputError, match="--as mine: there is a cohort of this name; use another name, or add --force"):
        cohorts.fetch_cohort("GSE4321", maps=MAPS, store_as="mine")
    assert store.open_stored("mine").n_obs == 12
    assert cohorts.fetch_cohort("GSE4321", maps=MAPS, store_as="mine", force=True).n_obs == 4


def test_what_fetch_says_of_a_series(folder):
    folder()
    words = [word for given in MAPS for word in ("--map", given)]
    shown = CliRunner().invoke(app, ["fetch", "gse4321", *words], catch_exceptions=False).output
    assert "GSE4321: 4 samples x 3 genes" in shown and "guessed: logarithms (values up to " in shown
    assert "left out: 1 sample whose disease was mapped to nothing" in shown


SAME = {
    "CRLF": SERIES.replace(b"\n", b"\r\n"),
    "no quotes": SERIES.replace(b'"', b""),
    "ISO-8859-1": SERIES.replace(b"t1", "tümör".encode("latin-1")),
    "a probe set twice": SERIES.replace(
        b"!series_matrix_table_end", b'"117_at"\t1\t1\t1\t1\t1\n!series_matrix_table_end'
    ),
    "no first cell": SERIES.replace(b'"ID_REF"\t', b""),
    "tabs at line ends": SERIES.replace(b'5"\n"', b'5"\t\n"').replace(b"7.5\n", b"7.5\t\n"),
    "words below": SERIES + b"!more\twords\n",
}


@pytest.mark.parametrize("form", SAME)
def test_forms_that_mean_the_same(folder, form):
    folder()
    expected = cohorts.fetch_cohort("GSE4321", maps=MAPS)
    folder(SAME[form])
    cohort = cohorts.fetch_cohort("GSE4321", maps=MAPS)
    np.testing.assert_array_equal(cohort.X, expected.X)
    assert cohort.obs.drop(columns="title").equals(expected.obs.drop(columns="title"))


def test_phenotypes_are_mapped_by_the_user(folder):
    folder()
    asked = "--map disease=status --map disease:adenocarcinoma=... --map disease:none=... --map disease:unclear=..."
    refused(f"GSE4321 has no status .*disease has `adenocarcinoma` .2., .* for the first: {asked}", maps=[])
    refused("there is no column diagnosis", maps=["diagnosis=status"])


def test_damage_is_named(folder):
    for series, message in (
        (SERIES.replace(b"_table_begin", b"_begin"), "has no line !series_matrix_table_begin"),
        (SERIES.replace(b"!series_matrix_table_end", b""), "has no line !series_matrix_table_end, so it is cut off"),
        (SERIES[: SERIES.index(b'"1007')], "has no rows"),
        (SERIES[: SERIES.index(b'"1007')] + b"!series_matrix_table_end\n", "holds no values, as"),
        (SERIES.replace(b"!Sample_geo", b"!Sample_no"), "names no samples"),
        (SERIES.replace(b'"GSM1"\t"GSM2"', b'"GSM1"\t"GSM1"', 1), "names no samples, or one twice"),
        (SERIES.replace(b'\t"t1"', b"", 1), "describes 5 samples but has 4 values of title"),
        (SERIES.replace(b'"ID_REF"\t"GSM1"', b'"ID_REF"\t"GSM9"'), "describes no sample GSM9"),
        (SERIES.replace(b"7.2", b"many"), "`many` for gene 1007_s_at, sample GSM2"),
        (SERIES.replace(b"\t7.2", b""), "header for 5 columns|has 5 cells in row 1"),
    ):
        folder(series)
        refused(message)
    for platform, message in (
        (sources.ANNOTATION.replace(b"_begin", b""), "has no line !platform_table_begin"),
        (
            sources.ANNOTATION.replace(b"!platform_table_end\n", b""),
            "has no line !platform_table_end, so it is cut off",
        ),
        (sources.ANNOTATION.replace(b"Gene symbol", b"Sequence"), "has no gene symbols but id, gene title"),
    ):
        folder(platform=platform)
        refused(message)


def test_a_platform_without_annotation(folder, tmp_path):
    folder(platform=None)
    cohort = cohorts.fetch_cohort("GSE4321", maps=MAPS)
    assert "symbol" not in cohort.var
    assert (
        "The annotation of the platform could not be had: genes have no symbols." in cohort.uns["imported"]["dropped"]
    )


def test_a_series_on_several_platforms(folder):
    folder(name="GSE4321-GPL570_series_matrix.txt.gz")
    refused("no matrix GSE4321_series_matrix.txt.gz where GEXLIB_DATA points, .*: see .* as with --platform GPL570")
    refused("--platform ../x: name one as GEO does", platform="../x")
    assert cohorts.fetch_cohort("GSE4321", maps=MAPS, platform="GPL570").n_obs == 4


def test_from_the_network(home, serve, tmp_path, monkeypatch):
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    there = tmp_path / "ftp"
    for file, content in (
        ("series/GSE4nnn/GSE4321/matrix/GSE4321_series_matrix.txt.gz", SERIES),
        ("platforms/GPLnnn/GPL570/annot/GPL570.annot.gz", sources.ANNOTATION),
    ):
        (there / file).parent.mkdir(parents=True)
        (there / file).write_bytes(gzip.compress(content))
    server = serve(there)
    monkeypatch.setattr(geo, "FTP", f"{server.url}/")
    cohort = cohorts.fetch_cohort("GSE4321", maps=MAPS)
    assert len(server.asked) == 2 and cohort.uns["imported"]["url"].startswith(f"{server.url}/series/GSE4nnn/")
    server.answers["/platforms/GPLnnn/GPL570/annot/GPL570.annot.gz"] = send(b"<html>no</html>")
    (home / "downloads" / "GPL570" / "GPL570.annot.gz").unlink()
    with pytest.raises(InputError, match="GPL570.annot.gz could not be fetched, what came back was: an HTML page"):
        cohorts.fetch_cohort("GSE4321", maps=MAPS)


def test_accessions():
    assert geo.is_accession("GSE2034") and not any(
        map(geo.is_accession, ("GSE", "gse1", "GSE0", "GSE1/../x", "GPL570"))
    )
    assert [geo._folder(name) for name in ("GSE1", "GSE999", "GSE1000", "GSE68848", "GPL96", "GPL10558")] == [
        "GSEnnn", "GSEnnn", "GSE1nnn", "GSE68nnn", "GPLnnn", "GPL10nnn",
    ]  # fmt: skip
