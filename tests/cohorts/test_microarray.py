"""E-MTAB-3732 and Deep GONet's copy, in small files of their form."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gexlib import cohorts
from gexlib.cli import app
from gexlib.cohorts import fetch, microarray, schema, store
from gexlib.errors import InputError
from gexlib.tasks import MICROARRAY_TISSUES, carried
from tests.cohorts import sources
from tests.cohorts.conftest import send

KEPT = sources.ARRAYS[:28]  # lung and breast


@pytest.fixture
def folder(put, monkeypatch):
    """Return a function that puts files where GEXLIB_DATA points; a tissue needs more than ten samples."""
    monkeypatch.setattr(microarray, "MORE_THAN", 10)
    return lambda files, cohort="microarray": put(files, cohort)


def refused(message, name="microarray", **how):
    with pytest.raises(InputError, match=message) as caught:
        cohorts.fetch_cohort(name, **how)
    assert "\n" not in str(caught.value) and store.stored() == []


def test_the_cohort(folder):
    folder(sources.microarray())
    cohort = cohorts.fetch_cohort("microarray")
    assert list(cohort.obs_names) == KEPT and list(cohort.var_names) == sources.PROBES
    np.testing.assert_array_equal(cohort.X, sources.INTENSITIES[KEPT].to_numpy(np.float32).T)
    obs = cohort.obs
    assert obs["status"].value_counts().to_dict() == {"cancer": 20, "normal": 8}
    assert obs["tissue"].tolist() == ["lung"] * 14 + ["breast"] * 14
    assert obs.index[obs["origin"] == "cell_line"].tolist() == [*KEPT[12:14], *KEPT[26:28]]
    assert set(obs["origin"]) == set(schema.ORIGIN)
    assert obs["study"].tolist() == [f"GSE{100 + i // 8}" for i in range(28)]
    assert obs["patient"].tolist() == [f"p{i // 2}" for i in range(28)]
    assert obs["disease"].iloc[-1] == "Invasive_Ductal  Carcinoma"
    assert cohort.var["symbol"].tolist() == ["DDR1 /// MIR4640", "RFC2", "HSPA6", "PAX8", ""]
    assert carried(cohort) == ["microarray/pan"]
    assert cohorts.open_cohort("microarray").uns["digest"] == cohort.uns["digest"]


def test_what_is_left_out_is_said(folder):
    folder(sources.microarray())
    assert cohorts.fetch_cohort("microarray").uns["report"] == [
        "6 samples by their disease: 3 state none, 2 one that is not in our table, 1 one that is neither",
        "disease not in our table: asthma (2)",
        "3 samples by their organism part: 2 state none, 1 one that is not in our table, 0 one that is neither",
        "organism part not in our table: unheard-of organ (1)",
        "9 of 40 samples of the SDRF without status or tissue",
        "9 of 40 samples of the matrix that have no usable line in the SDRF",
        "0 samples whose lines in the SDRF contradict each other",
        "3 samples of tissues with 10 samples or fewer: skin (3)",
        "4 of 5 probe sets have a gene symbol; 1 of them several",
    ]


def test_table_1(folder):
    folder(sources.microarray())
    table = microarray.table(cohorts.fetch_cohort("microarray"))
    assert table.to_dict("index") == {
        "lung": {"cancer": 10, "normal": 4, "patient": 12, "cell_line": 2, "samples": 14},
        "breast": {"cancer": 10, "normal": 4, "patient": 12, "cell_line": 2, "samples": 14},
        "all": {"cancer": 20, "normal": 8, "patient": 24, "cell_line": 4, "samples": 28},
    }


def changed_sdrf(change) -> dict[str, bytes]:
    return sources.microarray(sdrf_text=change(sources.tsv(sources.sdrf(), index=False)))


def changed_matrix(change) -> dict[str, bytes]:
    return sources.microarray(matrix_text=change(sources.matrix()))


SAME = {
    "CRLF": changed_sdrf(lambda text: text.replace(b"\n", b"\r\n")),
    "CRLF in the matrix": changed_matrix(lambda text: text.replace(b"\n", b"\r\n")),
    "ISO-8859-1": changed_sdrf(lambda text: text.replace(b"Homo sapiens", "Mädchen".encode("latin-1"))),
    "no first cell": changed_sdrf(lambda text: text.removeprefix(b"Source Name\t")),
    "no first cell in the matrix": changed_matrix(lambda text: text.removeprefix(b"CompositeSequence Identifier\t")),
    "another first cell in the matrix": sources.microarray(matrix_text=sources.matrix(header="probe")),
    "samples twice": changed_sdrf(lambda text: text + text.split(b"\n", 1)[1]),
    "probe sets twice": sources.microarray(
        matrix_text=sources.matrix(pd.concat([sources.INTENSITIES, sources.INTENSITIES.iloc[:2] + 1]))
    ),
    "an extra column": sources.microarray(
        matrix_text=sources.matrix(sources.INTENSITIES.assign(extra="words")[["extra", *sources.ARRAYS]])
    ),
    "a sample twice in the matrix": sources.microarray(
        matrix_text=sources.matrix(pd.concat([sources.INTENSITIES, sources.INTENSITIES.iloc[:, :1] + 1], axis=1))
    ),
    "names as R writes them": sources.microarray(
        matrix_text=sources.matrix(sources.INTENSITIES.rename(columns=lambda name: name.replace(" ", ".")))
    ),
    "spaces in the header": changed_sdrf(lambda text: text.replace(b"Characteristics[", b"Characteristics [")),
    "quotes": changed_sdrf(lambda text: b'"' + text.replace(b"\t", b'"\t"').replace(b"\n", b'"\n"')[:-1]),
}


@pytest.mark.parametrize("form", SAME)
def test_forms_that_mean_the_same(folder, form):
    folder(sources.microarray())
    expected = cohorts.fetch_cohort("microarray")
    folder(SAME[form])
    cohort = cohorts.fetch_cohort("microarray")
    np.testing.assert_array_equal(cohort.X, expected.X)
    pd.testing.assert_frame_equal(cohort.obs.reset_index(drop=True), expected.obs.reset_index(drop=True))


def test_names_of_arrays_may_stand_elsewhere(folder):
    table = sources.sdrf().rename(columns={"Source Name": "Array Data File"})
    table["Array Data File"] += ".CEL"
    table.insert(0, "Source Name", [f"source {i}" for i in range(len(table))])
    folder(sources.microarray(sdrf_text=sources.tsv(table, index=False)))
    assert list(cohorts.fetch_cohort("microarray").obs_names) == KEPT


def test_lines_that_contradict_each_other(folder):
    table = sources.sdrf()
    twice = table.iloc[:2].assign(**{"Characteristics[disease]": "melanoma"})
    folder(sources.microarray(sdrf_text=sources.tsv(pd.concat([table, twice]), index=False)))
    cohort = cohorts.fetch_cohort("microarray")
    assert list(cohort.obs_names) == KEPT[2:]
    assert "2 samples whose lines in the SDRF contradict each other" in cohort.uns["report"]


def test_without_columns_that_may_be_missing(folder):
    kept = ["Source Name", "Characteristics[organism part]", "Characteristics[disease]"]
    files = sources.microarray(sdrf_text=sources.tsv(sources.sdrf()[kept], index=False))
    del files["GPL570.annot.gz"]
    folder(files)
    cohort = cohorts.fetch_cohort("microarray")
    assert set(cohort.obs["origin"]) == set(cohort.obs["study"]) == set(cohort.obs["patient"]) == {""}
    assert "symbol" not in cohort.var and "Patients are not known" in " ".join(cohort.uns["notes"])
    assert "The annotation of the platform could not be had: genes have no symbols." in cohort.uns["report"]


def test_damage_is_named(folder):
    whole = sources.microarray()
    packed = whole["E-MTAB-3732.processed.1.zip"]
    for name, content, message in (
        ("E-MTAB-3732.processed.1.zip", packed[: len(packed) // 2], "processed.1.zip is cut off or damaged"),
        ("E-MTAB-3732.processed.1.zip", b"<html>no</html>", "processed.1.zip is an HTML page"),
        ("E-MTAB-3732.processed.1.zip", b"words", "processed.1.zip is no .zip file"),
        ("E-MTAB-3732.processed.1.zip", sources.zipped("../" + sources.MEMBER, b"x"), "holds the unsafe name"),
        ("E-MTAB-3732.processed.1.zip", sources.zipped("a.txt", b"x", **{"b.txt": b"y"}), "holds a.txt, b.txt and no"),
        ("E-MTAB-3732.processed.1.zip", sources.zipped("a.txt", b"x\ty\n"), "has no rows"),
        ("E-MTAB-3732.sdrf.txt", b"<!DOCTYPE html><p>", "sdrf.txt is an HTML page"),
        ("E-MTAB-3732.sdrf.txt", b"", "sdrf.txt is empty"),
        (
            "E-MTAB-3732.sdrf.txt",
            b"Source Name\tx\nSample 1\ty\n",
            "has no column Characteristics.disease. among its 2",
        ),
        ("E-MTAB-3732.sdrf.txt", whole["E-MTAB-3732.sdrf.txt"][:-60], "has . cells in row 41 and 9 columns"),
        (
            "E-MTAB-3732.sdrf.txt",
            whole["E-MTAB-3732.sdrf.txt"].replace(b"Sample", b"Probe"),
            "leave no tissue with more",
        ),
        ("GPL570.annot.gz", whole["GPL570.annot.gz"][:-30], "GPL570.annot.gz is cut off or damaged"),
    ):
        folder(whole | {name: content})
        refused(message)
    place = folder(whole)
    (place / "E-MTAB-3732.sdrf.txt").unlink()
    refused("E-MTAB-3732.sdrf.txt is missing where GEXLIB_DATA points")


def test_mappings_of_your_own(folder, tmp_path):
    folder(sources.microarray())
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "disease.csv").write_text("# ours\nterm,label,why\nasthma,normal,\n*carcinoma*,cancer,\n")
    cohort = cohorts.fetch_cohort("microarray", mappings=mine, store_as="asthma")
    assert cohort.obs["status"].value_counts().to_dict() == {"cancer": 10, "normal": 2}
    assert cohort.uns["name"] == "asthma" and store.stored() == ["asthma"]
    for text, message in (
        ("term,label,why\nx,tumour,\n", "the term `x` has the label `tumour`; use cancer or normal"),
        ("term,label,why\n,cancer,\n", "the term `` has the label `cancer`"),
        ("a,b\n1,2\n", "is no mapping"),
        ('term,label\n"x,cancer\n', "is no mapping"),
    ):
        (mine / "disease.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            cohorts.fetch_cohort("microarray", mappings=mine, store_as="asthma")
    with pytest.raises(InputError, match="--mappings /no/such is no folder"):
        cohorts.fetch_cohort("microarray", mappings="/no/such", store_as="asthma")


@pytest.mark.parametrize("name", ["disease", "organism_part", "origin"])
def test_every_line_of_our_mappings_counts(name):
    rules = microarray.mapping(name)
    for i, rule in enumerate(rules):
        shortest, longer = (rule.term.replace("*", filler) for filler in ("", "x y"))
        earlier = [other for other in rules[:i] if other.column == rule.column]
        hidden = [e.term for e in earlier if fnmatchcase(shortest, e.term) and fnmatchcase(longer, e.term)]
        assert not hidden, f"{rule.term} is never reached: {hidden[0]} comes before it"
    if name == "organism_part":
        assert set(MICROARRAY_TISSUES) <= {rule.label for rule in rules}


@pytest.mark.parametrize(
    "term, label",
    [("breast carcinoma", "cancer"), ("acute myeloid leukemia", "cancer"), ("acute lymphoblastic leukaemia", "cancer"),
     ("non-small cell lung carcinoma", "cancer"), ("glioblastoma multiforme", "cancer"), ("Normal", "normal"),
     ("multiple myeloma", "cancer"), ("malignant melanoma", "cancer"), ("colorectal adenocarcinoma", "cancer"),
     ("ductal carcinoma in situ", ""), ("colorectal adenoma", ""), ("uterine leiomyoma", ""), ("meningioma", ""),
     ("myelodysplastic syndrome", ""), ("asthma", ""), ("type 2 diabetes", ""), ("Alzheimer's disease", "")],
)  # fmt: skip
def test_what_diseases_mean(term, label):
    assert microarray.labelled([microarray.said(term)], microarray.mapping("disease"))[0] == [label]


def test_deep_gonet(folder):
    folder(sources.deep_gonet(), "deep-gonet")
    cohort = cohorts.fetch_cohort("deep-gonet")
    np.testing.assert_array_equal(cohort.X, sources.DEEP)
    assert cohort.obs["status"].tolist() == ["cancer" if y else "normal" for y in sources.DEEP_Y]
    assert cohort.obs["part"].tolist() == ["train"] * 6 + ["test"] * 3 and carried(cohort) == ["microarray/pan"]


@pytest.mark.parametrize("form", ["float64", "by column", "one column a class", "in blocks", "column of labels"])
def test_forms_of_deep_gonet(folder, monkeypatch, form):
    monkeypatch.setattr("gexlib.cohorts.tables.BLOCK", 60)
    x, y = sources.DEEP[:6], sources.DEEP_Y[:6]
    x = {"float64": x.astype(float), "by column": np.asfortranarray(x)}.get(form, x)
    y = {"one column a class": np.column_stack([1 - y, y]), "column of labels": y[:, None]}.get(form, y)
    folder(sources.deep_gonet() | {"X_train.npz": sources.npz(x, y)}, "deep-gonet")
    np.testing.assert_array_equal(cohorts.fetch_cohort("deep-gonet").X, sources.DEEP)


def test_damage_of_deep_gonet(folder):
    whole = sources.deep_gonet()
    x, y = sources.DEEP[:6], sources.DEEP_Y[:6]
    pickled = np.array([{"a": 1}] * 6, dtype=object)
    short = io.BytesIO()
    with zipfile.ZipFile(short, "w") as archive:
        archive.writestr("x.npy", npy(x)[:-8])
        archive.writestr("y.npy", npy(y))
    unsafe = sources.zipped("../x.npy", npy(x), **{"y.npy": npy(y)})
    for content, message in (
        (sources.npz(pickled, y), "holds object of shape .6,. instead of numbers"),
        (sources.npz(x, pickled), "holds object of shape"),
        (sources.npz(x[:5], y), "holds x of shape .5, 7. and 6 labels"),
        (sources.npz(x[:, :5], y), "holds x of shape .* has 5 columns"),
        (sources.npz(x[:, 0], y), "holds x of shape .6,."),
        (sources.npz(x, 1 - y), "holds y that is not 1 for cancer, the larger class"),
        (sources.npz(x, y + 1), "holds y that is not 1 for cancer"),
        (sources.npz(x, np.tile(y, (3, 1)).T), "holds y of shape .6, 3."),
        (sources.npz(x * np.float32(np.nan), y), "NaN or infinite"),
        (sources.npz(x.astype(float) * 1e300, y), "NaN or infinite"),
        (short.getvalue(), "ends before its last value"),
        (unsafe, "holds the unsafe name"),
        (whole["X_train.npz"][:-40], "is cut off or damaged"),
        (sources.zipped("x.npy", b"words", **{"y.npy": npy(y)}), "holds no plain array"),
        (sources.zipped("z.npy", npy(x)), "holds z.npy and no x.npy|holds no plain|holds y of shape"),
    ):
        folder(whole | {"X_train.npz": content}, "deep-gonet")
        refused(message, "deep-gonet")


def npy(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def test_options_of_other_cohorts(home):
    refused("--hub --mappings: cohort deep-gonet knows no such option", "deep-gonet", hub="toil", mappings="x")
    refused("--projects: cohort microarray knows no such option", "microarray", projects=["BRCA"])
    refused("no cohort tcga-toil2 to fetch: there is tcga-pairs, .*tcga-toil, and any series of GEO", "tcga-toil2")
    refused("--as tcga: this belongs to a cohort of the project", "microarray", store_as="tcga")


def test_sources_are_asked_in_order(home, serve, tmp_path, monkeypatch):
    """The first location answers with a page, as it does for a missing file; the second has them all."""
    monkeypatch.setattr(microarray, "MORE_THAN", 10)
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    for name, content in sources.microarray().items():
        (tmp_path / "second").mkdir(exist_ok=True)
        (tmp_path / "second" / name).write_bytes(content)
    first, second = serve(tmp_path / "nothing"), serve(tmp_path / "second")
    for file in sources.microarray():
        first.answers[f"/{file}"] = send(b"<html></html>")
    assert fetch.SOURCES["microarray"].locations[0].startswith("https://ftp.ebi.ac.uk/")
    source = fetch.Source((f"{first.url}/", f"{second.url}/"), fetch.SOURCES["microarray"].files)
    monkeypatch.setitem(fetch.SOURCES, "microarray", source)
    cohort = cohorts.fetch_cohort("microarray")
    assert cohort.n_obs == len(KEPT) and cohort.uns["files"]["E-MTAB-3732.sdrf.txt"]["url"].startswith(second.url)


def test_two_processes_fetch_one_cohort_at_once(folder):
    folder(sources.microarray())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cohorts.fetch_cohort("microarray").uns["digest"], range(4)))
    assert len(set(found)) == 1 and store.stored() == ["microarray"]


def test_the_command_prints_the_table_and_what_differs_from_the_article(folder):
    folder(sources.microarray())
    shown = CliRunner().invoke(app, ["fetch", "microarray"], catch_exceptions=False).output
    assert "left out: disease not in our table: asthma (2)" in shown
    assert "As in Table 1 of the article:" in shown and "lung" in shown
    stated = (
        "The article has 16,709 samples, here 28 (-16,681); about 3 cancer samples for each normal one, here 2.50; "
    )
    assert stated + "11 tissues, here 2." in shown
    folder(sources.gdc(), "tcga")
    shown = CliRunner().invoke(app, ["fetch", "tcga", "--projects", "brca, LUAD"], catch_exceptions=False).output
    assert (
        "Table 2" in shown
        and "6,450 samples, here 23 (-6,427); 92.7 % cancer, here 52.2 %; 11 projects, here 2." in shown
    )
