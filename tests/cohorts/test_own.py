"""Import of a user's own cohort: files and column names as people have them, and every mistake they can make."""

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gexlib import cohorts
from gexlib.cohorts import own, schema, store
from gexlib.errors import InputError
from gexlib.tasks import carried

GENES = ["TP53", "EGFR", "MYC", "A1BG"]


def cohort(n=24, **columns) -> AnnData:
    """Make a cohort that needs no mapping; a column that is None is left out."""
    obs = {
        "status": np.resize(["cancer", "normal"], n),
        "tissue": np.resize(["breast", "breast", "colon", "colon"], n),
        "study": np.resize(["A", "A", "B", "B", "C", "C", "C", "C"], n),
        "patient": [f"p{i // 2}" for i in range(n)],
        "batch": np.resize([1, 2, 3], n),
    } | columns
    obs = {column: values for column, values in obs.items() if values is not None}
    X = np.random.default_rng(0).normal(8, 2, (n, len(GENES))).astype(np.float32)
    index = [f"s{i}" for i in range(n)]
    return AnnData(X, obs=pd.DataFrame(obs, index=index), var=pd.DataFrame(index=GENES))


@pytest.fixture
def h5ad(tmp_path):
    def write(name="mine", uns=None, **columns):
        path = tmp_path / f"{name}.h5ad"
        adata = cohort(**columns)
        adata.uns |= uns or {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata.write_h5ad(path)
        return path

    return write


@pytest.fixture
def table(tmp_path):
    """Write a table and its sample sheet; return the two paths."""

    def write(ending="tsv", genes_in_rows=True, change=lambda table, sheet: (table, sheet), **how):
        adata = cohort()
        frame = pd.DataFrame(adata.X, adata.obs_names, adata.var_names)
        values, sheet = change(frame.T if genes_in_rows else frame, adata.obs.copy())
        path, labels = tmp_path / f"table.{ending}", tmp_path / "sheet.tsv"
        if ending == "parquet":
            values.to_parquet(path)
        else:
            values.to_csv(path, sep="," if ending.startswith("csv") else "\t", **{"index_label": "id"} | how)
        sheet.to_csv(labels, sep="\t", index_label="sample")
        return path, labels

    return write


def refused(message, path, name="mine", **how):
    """Assert that an import ends with one sentence and stores nothing."""
    with pytest.raises(InputError, match=message) as caught:
        cohorts.import_cohort(path, name, **how)
    assert "\n" not in str(caught.value) and store.stored() == []


def test_what_fits_needs_no_map(home, h5ad):
    mine = cohorts.import_cohort(h5ad(), "mine")
    expected = cohort()
    np.testing.assert_array_equal(mine.X, expected.X)
    assert isinstance(mine.X, np.memmap) and mine.var_names.tolist() == GENES
    for column in ("status", "tissue", "study", "patient", "batch"):
        assert mine.obs[column].tolist() == expected.obs[column].tolist()
    assert mine.uns["name"] == "mine" and mine.uns["simulated"] is False and mine.uns["scale"] == "not stated"
    assert mine.uns["imported"]["dropped"] == [] and mine.uns["imported"]["file"] == "mine.h5ad"
    assert carried(mine) == ["microarray/pan", "microarray/breast", "microarray/colon"]
    assert cohorts.open_cohort("mine").uns == mine.uns and "mine" in cohorts.names()


def test_only_case_is_forgiven(home, h5ad):
    columns = {"status": None, "tissue": None, "STATUS": ["Cancer", "NORMAL "] * 12, "Tissue": ["Breast", "Colon"] * 12}
    mine = cohorts.import_cohort(h5ad(origin=["Cell line", "patient"] * 12, **columns), "mine")
    assert set(mine.obs["status"]) == {"cancer", "normal"} and set(mine.obs["origin"]) == {"cell_line", "patient"}
    assert set(mine.obs["tissue"]) == {"Breast", "Colon"}  # what is no closed list stays as it is
    assert not {"STATUS", "Tissue"} & set(mine.obs)


names = (
    st.text("abcxyz :=*(-'é", min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda text: text and text not in ("-", "*") and own._label(text) not in ("batch", *own.schema.LABELS))
)


@given(
    columns=st.lists(names, min_size=4, max_size=4, unique_by=lambda text: text.lower()),
    words=st.lists(names, min_size=4, max_size=4, unique=True),
    star=st.booleans(),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mapped_and_unmapped_are_equal(h5ad, columns, words, star):
    """Whatever a user calls columns and values, the map brings the cohort that needed none."""
    # `a:b` cannot be told from the value b of a column `a`, where both are columns
    starts = {name[:i].strip().lower() for name in columns for i, sign in enumerate(name) if sign in ":="}
    assume(not starts & {name.lower() for name in columns})
    plain = own.schema.check(cohort())
    theirs = dict(zip(("status", "tissue", "study", "patient"), columns, strict=True))
    meaning = {
        "status": dict(zip(("cancer", "normal"), words[:2], strict=True)),
        "tissue": dict(zip(("breast", "colon"), words[2:], strict=True)),
    }
    expected = cohort().obs
    given = {
        name: [meaning.get(ours, {}).get(value, value) for value in expected[ours]] for ours, name in theirs.items()
    }
    path = h5ad("theirs", **dict.fromkeys(theirs), **given)
    maps = [f"{name}={ours}" for ours, name in theirs.items()]
    for ours, pairs in meaning.items():
        maps += [f"{theirs[ours]}:{word}={value}" for value, word in pairs.items()]
    if star:
        maps = [text for text in maps if text != f"{theirs['status']}:{words[0]}=cancer"]
        maps.append(f"{theirs['status']}:*=cancer")
    mapped = own.read(path, "mine", maps=maps)
    assert mapped.uns["digest"] == plain.uns["digest"]
    pd.testing.assert_frame_equal(mapped.obs[sorted(mapped.obs)], plain.obs[sorted(plain.obs)], check_names=False)


def test_names_and_values_may_hold_the_signs_of_the_map(home, h5ad):
    column = "characteristics: disease=state"
    path = h5ad(status=None, **{column: ["stage: I=II", "none"] * 12})
    maps = [f"{column}=status", f"{column}:stage: I=II=cancer", f"{column}:none=normal"]
    mine = cohorts.import_cohort(path, "mine", maps=maps, where=[f"{column}=stage: I=II", f"{column}=none"])
    assert mine.obs["status"].tolist() == ["cancer", "normal"] * 12


def test_all_others_blank_and_dropped_values(home, h5ad):
    disease = ["ductal", "lobular", "control", "unclear", None, "control"] * 4
    path = h5ad(status=None, disease=disease)
    maps = ["disease=status", "disease:control=normal", "disease:*=cancer"]
    refused(r"the status of 4 samples is not .* but \(blank\) \(4\); .* --map 'disease:='", path, maps=maps)
    mine = cohorts.import_cohort(path, "mine", maps=[*maps, "disease:unclear=", "disease:="])
    assert mine.obs["status"].value_counts().to_dict() == {"cancer": 8, "normal": 8}
    assert mine.obs_names.tolist() == [f"s{i}" for i in range(24) if i % 6 not in (3, 4)]
    np.testing.assert_array_equal(mine.X, cohort().X[[i for i in range(24) if i % 6 not in (3, 4)]])
    assert mine.uns["imported"]["dropped"] == ["8 samples whose disease was mapped to nothing"]


def test_a_mapped_column_wins_and_the_other_is_kept(home, h5ad):
    path = h5ad(status=["alive", "dead"] * 12, disease=["cancer", "normal"] * 12)
    mine = cohorts.import_cohort(path, "mine", maps=["disease=status"])
    assert set(mine.obs["status"]) == {"cancer", "normal"} and set(mine.obs["status_in_file"]) == {"alive", "dead"}
    path = h5ad(status=["alive", "dead"] * 12, disease=["cancer", "normal"] * 12, status_in_file=["x"] * 24)
    mine = cohorts.import_cohort(path, "mine", maps=["disease=status"])
    assert set(mine.obs["status_in_file"]) == {"x"} and set(mine.obs["status_in_file_in_file"]) == {"alive", "dead"}


def test_where_keeps_some(home, h5ad):
    path = h5ad(both=[True] * 12 + [False] * 12)
    mine = cohorts.import_cohort(path, "mine", where=["both=true", "tissue=breast", "study=A", "study=B"])
    obs = cohort().obs
    expected = obs[(np.arange(24) < 12) & (obs["tissue"] == "breast") & obs["study"].isin(["A", "B"])]
    assert 0 < len(expected) < 12 and mine.obs_names.tolist() == expected.index.tolist()
    (dropped,) = mine.uns["imported"]["dropped"]
    assert dropped.startswith(f"{24 - len(expected)} of 24 samples by --where both=true")


def test_what_the_file_says_and_what_the_user_says(home, h5ad):
    said = {"scale": "log2, quantile-normalised", "notes": ["From two scanners."], "simulated": True, "digest": "x"}
    mine = cohorts.import_cohort(h5ad(uns=said), "mine", notes=["Mind the batch."])
    assert mine.uns["scale"] == said["scale"] and mine.uns["simulated"] is True and mine.uns["digest"] != "x"
    assert mine.uns["notes"][:2] == ["From two scanners.", "Mind the batch."]
    assert "quantile-normalised together, before any split" in mine.uns["notes"][2]
    other = cohorts.import_cohort(h5ad(uns=said), "other", scale="log2(TPM + 1)", source="GEO")
    assert other.uns["scale"] == "log2(TPM + 1)" and other.uns["source"] == "GEO"
    assert not any("quantile" in note for note in other.uns["notes"])


def test_notes_come_from_the_labels(home, h5ad):
    confounded = h5ad(study=["A", "B"] * 12, patient=None)
    notes = " ".join(cohorts.import_cohort(confounded, "mine").uns["notes"])
    assert "24 of 24 samples are from studies with one status only" in notes and "Patients are not known" in notes
    alone = h5ad(study=["A", "A", "B", "B"] * 6)
    notes = " ".join(cohorts.import_cohort(alone, "mine").uns["notes"])
    assert "Study and tissue coincide for breast, colon" in notes and "one status" not in notes
    bare = h5ad(study=None)
    assert any("Studies are not known" in note for note in cohorts.import_cohort(bare, "mine").uns["notes"])


def test_values_on_no_log_scale_are_noted(home, h5ad, tmp_path):
    counts = cohort()
    counts.X *= 100
    counts.write_h5ad(tmp_path / "counts.h5ad")
    notes = cohorts.import_cohort(tmp_path / "counts.h5ad", "mine", transform="none").uns["notes"]
    assert any("no log2 scale" in note for note in notes)
    assert not any("log2" in note for note in cohorts.import_cohort(h5ad(), "other").uns["notes"])


@pytest.mark.parametrize("ending", ["tsv", "csv", "txt", "tsv.gz", "csv.gz", "parquet"])
@pytest.mark.parametrize("genes_in_rows", [True, False])
def test_a_table_is_read_as_the_h5ad_is(h5ad, table, ending, genes_in_rows):
    path, sheet = table(ending, genes_in_rows)
    mine, expected = own.read(path, "mine", samples=sheet), own.read(h5ad(batch=np.resize(["1", "2", "3"], 24)), "mine")
    assert mine.uns["digest"] == expected.uns["digest"]
    assert mine.uns["imported"]["dropped"] == []


def test_tables_as_r_and_spreadsheets_write_them(h5ad, table, tmp_path):
    digest = own.read(h5ad(batch=np.resize(["1", "2", "3"], 24)), "mine").uns["digest"]
    path, sheet = table()
    for file in (path, sheet):  # R: no cell in the corner, and quotes
        first, *rest = file.read_text().splitlines()
        quoted = ["\t".join(f'"{cell}"' for cell in first.split("\t")[1:])]
        quoted += ['"' + line.replace("\t", '"\t', 1) for line in rest]
        file.write_text("\n".join(quoted) + "\n")
    assert own.read(path, "mine", samples=sheet).uns["digest"] == digest
    path, sheet = table()
    for file in (path, sheet):  # a byte order mark, other line ends; and empty lines at the end of the sheet
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    sheet.write_bytes(sheet.read_bytes() + b"\t\t\t\t\t\r\n\r\n")
    assert own.read(path, "mine", samples=sheet).uns["digest"] == digest


def test_ids_that_look_like_numbers_stay_text(table):
    def renamed(values, sheet):
        ids = [f"{i:03d}" for i in range(24)]
        return values.set_axis(["1", "02", "3e5", "NA"]).set_axis(ids, axis=1), sheet.set_axis(ids)

    for genes_in_rows in (True, False):
        path, sheet = table(genes_in_rows=True, change=renamed)
        if not genes_in_rows:
            turned = pd.read_csv(path, sep="\t", dtype=str, index_col=0, keep_default_na=False).T
            turned.to_csv(path, sep="\t")
        mine = own.read(path, "mine", samples=sheet)
        assert mine.obs_names[7] == "007" and mine.var_names.tolist() == ["1", "02", "3e5", "NA"]


def test_samples_on_one_side_only_are_dropped_and_named(home, table):
    def change(values, sheet):
        values = values.drop(columns=["s3", "s4"])
        values.insert(0, "Description", "a gene")
        return values.iloc[:, ::-1], sheet.drop(index="s7")

    path, sheet = table(change=change)
    mine = cohorts.import_cohort(path, "mine", samples=sheet)
    assert mine.obs_names.tolist() == [f"s{i}" for i in reversed(range(24)) if i not in (3, 4, 7)]
    assert mine.obs["patient"].tolist() == [f"p{i // 2}" for i in reversed(range(24)) if i not in (3, 4, 7)]
    np.testing.assert_array_equal(mine.X, cohort()[mine.obs_names].X)
    assert mine.uns["imported"]["dropped"] == [
        "2 columns of the table that the sample sheet does not name (s7, Description)",
        "2 lines of the sample sheet that the table has no values for (s3, s4)",
    ]


def test_mistakes_with_columns(home, h5ad):
    other = {"status": None, "diagnosis": ["tumor", "healthy"] * 12}
    path = h5ad(**other)
    strict = {"guesses": False}
    refused("mine has no status among its columns tissue, study, patient, batch, diagnosis: .*--map", path, **strict)
    # a hint that can be copied must not call the healthy samples cancer
    refused(
        "but `tumor` \\(12\\), `healthy` \\(12\\); .*'diagnosis:tumor=...', where ... is cancer or normal, ",
        path,
        maps=["diagnosis=status"],
        **strict,
    )
    refused("`state` is no label of ours; use one of status, origin", path, maps=["diagnosis=state"])
    refused("--map disease=status: there is no column disease but tissue, study", path, maps=["disease=status"])
    refused("there is no column stage but tissue, ", path, maps=["diagnosis=status", "stage:I=cancer"])
    refused("write COLUMN=LABEL or COLUMN:VALUE=OURS with one of the columns tissue", path, maps=["diagnosis"])
    maps = ["diagnosis=status", "diagnosis:tumour=cancer"]
    refused("no sample has `tumour` but `tumor` \\(12\\), `healthy` \\(12\\)", path, maps=maps)
    maps = ["diagnosis=status", "diagnosis:tumor=malignant"]
    refused("=malignant: status is cancer or normal", path, maps=maps)
    refused("status is mapped from diagnosis already", path, maps=["diagnosis=status", "tissue=status"])
    refused("--map drops every sample", path, maps=["diagnosis=status", "diagnosis:*="])
    refused("could both be status", h5ad(status=None, Status=["cancer"] * 24, STATUS=["cancer"] * 24))
    refused("the origin of 24 samples is not patient or cell_line but `xenograft` \\(24\\)", h5ad(origin="xenograft"))
    refused("the status of 1 sample is .* `\\?` \\(1\\)", h5ad(status=["?"] + ["cancer"] * 23))


def test_where_leaves_some_out(home, h5ad):
    mine = cohorts.import_cohort(h5ad(), "mine", where=["study!=A", "study!=B", "tissue=colon"])
    assert set(mine.obs["study"]) == {"C"} and set(mine.obs["tissue"]) == {"colon"}


def test_mistakes_with_where(home, h5ad):
    refused("--where organ=breast: there is no column organ but status, ", h5ad(), where=["organ=breast"])
    refused("--where tissue: write COLUMN=VALUE with one of the columns status, ", h5ad(), where=["tissue"])
    refused("tissue has no value `lung` but `breast` \\(12\\), `colon` \\(12\\)", h5ad(), where=["tissue=lung"])
    refused("no sample is left of 24", h5ad(), where=["study=A", "patient=p1"])


@pytest.mark.parametrize(
    "name", ["", "a+b", "tcga-pairs", "TCGA-pairs", "simulated-mine", "a b", "../x", "1st", "a.h5ad", "a,b"]
)
def test_names_that_cannot_be_had(home, h5ad, name):
    refused(f"--as {name}: this (is no name|belongs)".replace("+", "\\+"), h5ad(), name=name)


def test_mistakes_with_files(home, h5ad, table, tmp_path):
    path, sheet = table()
    refused("there is no file .*gone.h5ad", tmp_path / "gone.h5ad")
    refused("there is no file .*gone.tsv", tmp_path / "gone.tsv", samples=sheet)
    refused("there is no file .*gone.tsv", path, samples=tmp_path / "gone.tsv")
    refused("holds no labels: add --samples SHEET", path)
    refused("carries its own labels: leave --samples", h5ad(), samples=sheet)
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    refused("x.xlsx cannot be imported: give an .h5ad file or a table", tmp_path / "x.xlsx")
    refused("x.xlsx cannot be read as a table", path, samples=tmp_path / "x.xlsx")
    for body in (b"", b"\xff\xfe\x00\x01", b"a\tb\nc\td\te\tf\ng\th\n", b"only a header\n"):
        (tmp_path / "bad.tsv").write_bytes(body)
        refused("bad.tsv", tmp_path / "bad.tsv", samples=sheet)
        refused("bad.tsv", path, samples=tmp_path / "bad.tsv")
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(path.read_bytes())[:80])
    refused("cut.tsv.gz is cut off or damaged", tmp_path / "cut.tsv.gz", samples=sheet)
    (tmp_path / "broken.h5ad").write_bytes(h5ad().read_bytes()[:2000])
    refused("broken.h5ad cannot be read as .h5ad", tmp_path / "broken.h5ad")
    semicolons = tmp_path / "sheet.csv"
    semicolons.write_text(sheet.read_text().replace("\t", ";"))
    refused("sheet.csv is separated by semicolons", path, samples=semicolons)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, s: (t.rename(columns={"s1": "s0"}), s), "1 repeated sample id, such as s0"),
        (lambda t, s: (t.rename(index={"MYC": "EGFR"}), s), "1 repeated genes, such as EGFR"),
        (lambda t, s: (t, s.rename(index={"s1": "s0"})), "1 repeated sample id, such as s0"),
        (lambda t, s: (t.mask(t == t.iloc[1, 2]), s), "1 values that are NaN .* sample s2, gene EGFR"),
        (lambda t, s: (t.astype(object).mask(t == t.iloc[1, 2], "high"), s), "gene EGFR, sample s2 is `high`"),
        (lambda t, s: (t, s.add_prefix("x").set_axis([f"x{i}" for i in s.index])), "neither its rows nor its columns"),
        (lambda t, s: (t, s.assign(Batch=1).rename(columns={"Batch": "batch"})), "column `batch` stands twice"),
        (lambda t, s: (t, s.drop(columns="status")), "no status among its columns tissue, study"),
    ],
)
def test_mistakes_with_tables(home, table, change, message):
    path, sheet = table(change=change)
    refused(message, path, samples=sheet)


def test_an_import_takes_the_place_of_an_earlier_one_only_when_it_is_whole(home, h5ad):
    before = cohorts.import_cohort(h5ad(), "mine").uns["digest"]
    with pytest.raises(InputError):
        cohorts.import_cohort(h5ad(status=None), "mine")
    assert cohorts.open_cohort("mine").uns["digest"] == before
    assert cohorts.import_cohort(h5ad(), "mine", where=["tissue=colon"]).uns["digest"] != before
    assert cohorts.open_cohort("mine").n_obs == 12


def test_a_cohort_without_a_public_address_says_how_it_comes_in(home):
    for ask in (cohorts.open_cohort, cohorts.fetch_cohort):
        with pytest.raises(InputError, match="`gexlib cohort import u133-genes.h5ad --as u133-genes --where study_has"):
            ask("u133-genes")


def test_the_arrays_of_the_reruns(home, real_data):
    files = {name: real_data / name / f"{name}.h5ad" for name in cohorts.IMPORTS}
    if not all(file.is_file() for file in files.values()):
        pytest.skip("GEXLIB_DATA does not hold u133-genes and u133-studies")
    genes = cohorts.import_cohort(files["u133-genes"], "u133-genes", where=["study_has_both=True"])
    assert genes.shape == (273, 2346)
    assert genes.obs["status"].value_counts().to_dict() == {"cancer": 204, "normal": 69}
    notes = " ".join(genes.uns["notes"])
    assert "before any split" in notes and "coincide for bladder, bone_marrow, colon, kidney, pancreas:" in notes
    assert genes.uns["imported"]["dropped"] == ["436 of 709 samples by --where study_has_both=True"]
    studies = cohorts.import_cohort(files["u133-studies"], "u133-studies")
    assert studies.shape == (478, 22215) and {"batch", "label_note", "study_has_both"} <= set(studies.obs)
    assert any("350 of 478 samples are from studies with one status" in note for note in studies.uns["notes"])


def test_what_was_left_out_is_told_where_no_status_is_found(table):
    path, sheet = table(change=lambda values, sheet: (values, sheet.drop(columns="status").drop(index="s7")))
    with pytest.raises(InputError, match="has no status .*left out before: 1 column .* does not name .s7.$"):
        own.read(path, "mine", samples=sheet)


def test_what_is_no_gene(table):
    def change(values, sheet):
        values.loc["age"], values.loc["Label"] = 50, ["T", "N"] * 12
        values.loc["__no_feature"], values.loc["N_unmapped"] = 1e6, 1e6
        return values, sheet

    path, sheet = table(change=change)
    mine = own.read(path, "mine", samples=sheet)
    assert list(mine.var_names) == GENES and mine.uns["imported"]["dropped"] == [
        "2 labels among the genes (age, Label)",
        "2 summary lines among the genes (__no_feature, N_unmapped)",
    ]
    path, sheet = table(change=lambda values, sheet: (values.set_axis(["TP53", "EGFR", "MYC", "y"]), sheet))
    values = pd.read_csv(path, sep="\t", index_col=0)
    values.loc["y"] = [1.0, 0.0] * 12
    values.to_csv(path, sep="\t")
    with pytest.raises(InputError, match="mine: y has one value in all cancer and another in all normal samples, so"):
        own.read(path, "mine", samples=sheet)


def test_a_value_has_one_meaning(h5ad):
    path = h5ad(status=["T", "N"] * 12)
    with pytest.raises(InputError, match="--map status:T=normal: status:T means cancer already; choose one"):
        own.read(path, "mine", maps=["status:T=cancer", "status:T=normal"])


def test_a_name_is_not_taken_over(home, h5ad):
    before = cohorts.import_cohort(h5ad(), "mine").uns["digest"]
    assert cohorts.import_cohort(h5ad(status=["normal", "cancer"] * 12), "mine").uns["digest"] != before
    with pytest.raises(InputError, match="--as mine: there is a cohort of this name from mine.h5ad; .* or add --force"):
        cohorts.import_cohort(h5ad("other"), "mine")
    assert cohorts.import_cohort(h5ad("other"), "mine", force=True).uns["imported"]["file"] == "other.h5ad"
    with pytest.raises(InputError, match="--as mine: .* from other.h5ad"):
        cohorts._refuse_replacing("mine", {"BRCA.RData"})  # as of fetch --as
    (store.folder_of("mine") / "uns.json").write_text("{}")
    assert cohorts.import_cohort(h5ad(), "mine").uns["digest"] == before


def test_no_name_is_no_cohort(home, h5ad):
    cohorts.import_cohort(h5ad(), "mine")
    with pytest.raises(InputError, match="there is no cohort : choose from"):
        cohorts.open_cohort("")
    refused_name = "a" * 61
    with pytest.raises(InputError, match="this is no name"):
        cohorts.import_cohort(h5ad(), refused_name)


def test_samples_without_a_status(home, h5ad):
    path = h5ad(status=None)
    with pytest.raises(InputError, match="has no status .* only to be predicted need none with --unlabelled"):
        cohorts.import_cohort(path, "new")
    new = cohorts.import_cohort(path, "new", unlabelled=True)
    assert set(new.obs["status"]) == {""} and new.n_obs == 24 and carried(new) == []
    assert new.uns["notes"] == [
        "No sample has a status: this cohort can be predicted, and nothing can be trained or tested on it."
    ]
    with pytest.raises(InputError, match="has no cancer and no normal sample"):
        schema.check_two_classes(new)
    with pytest.raises(InputError, match="--unlabelled: mine has a column status; leave out the option, or the column"):
        own.read(h5ad(), "mine", unlabelled=True)
