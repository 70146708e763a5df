"""What is guessed of a user's cohort, what is not, and that every guess is told."""

import shlex

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gexlib import cohorts
from gexlib.cli import app
from gexlib.cohorts import genes, guess, own, store
from gexlib.errors import InputError

GENES = ["TP53", "EGFR", "MYC", "A1BG"]


def cohort(X=None, n=12, **columns) -> AnnData:
    X = np.random.default_rng(0).normal(8, 2, (n, len(GENES))) if X is None else X
    obs = pd.DataFrame(columns, index=[f"s{i}" for i in range(n)])
    return AnnData(np.asarray(X, np.float32), obs=obs, var=pd.DataFrame(index=GENES))


def fitted(adata, **how):
    return own.fit(adata, "mine", **how)


STATUS = np.resize(["cancer", "normal"], 12)
SPELT = {"cancer": "Primary Tumor", "normal": "solid-tissue normal"}


def test_columns_and_words():
    mine = fitted(
        cohort(
            **{"Sample Type": [SPELT[s] for s in STATUS], "Case ID": [f"p{i // 2}" for i in range(12)], "Organ": "lung",
               "dataset": "A", "batch": 1}
        )
    )  # fmt: skip
    assert mine.obs["status"].tolist() == STATUS.tolist() and set(mine.obs["tissue"]) == {"lung"}
    assert mine.obs["patient"].tolist() == [f"p{i // 2}" for i in range(12)] and set(mine.obs["study"]) == {"A"}
    columns, scale = mine.uns["imported"]["guessed"]
    assert shlex.split(columns)[1::2] == [
        "Sample Type=status", "Sample Type:Primary Tumor=cancer", "Sample Type:solid-tissue normal=normal", 
        "Organ=tissue", "dataset=study", "Case ID=patient",
    ]  # fmt: skip
    assert scale.startswith("logarithms (values up to ") and mine.uns["imported"]["map"] == []


def test_a_guess_can_be_given_as_it_is_told():
    given = cohort(diagnosis=["tumour", "healthy"] * 6, subject=[f"p{i}" for i in range(12)])
    told = fitted(given).uns["imported"]["guessed"][0]
    again = fitted(given, maps=shlex.split(told)[1::2], guesses=False)
    assert again.uns["digest"] == fitted(given).uns["digest"] and again.uns["imported"]["guessed"] == []


def refused(message, adata, **how):
    with pytest.raises(InputError, match=message) as caught:
        fitted(adata, **how)
    assert "\n" not in str(caught.value)


def test_where_unsure_it_asks():
    refused(
        "no status .* for the first: --map diagnosis=status --map diagnosis:benign=... --map diagnosis:tumor=...",
        cohort(diagnosis=["benign", "tumor"] * 6),
    )
    refused(
        "no status", cohort(diagnosis=["tumor", "normal"] * 6, condition=["normal", "tumor"] * 6)
    )  # two that differ
    refused("no status", cohort(diagnosis=["tumor"] * 12))
    refused("the status of 12 samples is not cancer or normal but `case` .6.", cohort(status=["case", "control"] * 6))
    refused("the status of 1 sample is .*blank", cohort(diagnosis=["tumor", "normal"] * 5 + ["tumor", ""]))
    refused("no status", cohort(age=range(12)))
    refused("no status", cohort(diagnosis=STATUS, other=1), guesses=False)


def test_two_columns_that_say_the_same():
    mine = fitted(cohort(diagnosis=["tumor", "normal"] * 6, group=["T", "N"] * 6))
    assert mine.obs["status"].tolist() == STATUS.tolist() and "group" in mine.obs


def test_two_columns_for_one_label_are_left_alone():
    mine = fitted(cohort(status=STATUS, donor="a", subject="b"))
    assert set(mine.obs["patient"]) == {""} and {"donor", "subject"} <= set(mine.obs)


def test_the_user_comes_first():
    given = cohort(diagnosis=["tumor", "normal"] * 6, group=["T", "N"] * 6, donor="a")
    mine = fitted(given, maps=["group=status", "group:T=normal", "group:N=cancer", "donor=study"])
    assert mine.obs["status"].tolist() == STATUS[::-1].tolist() and set(mine.obs["study"]) == {"a"}
    assert set(mine.obs["patient"]) == {""}
    words = fitted(given, maps=["diagnosis=status"])  # its words are guessed
    assert words.obs["status"].tolist() == STATUS.tolist()


COUNTS = np.random.default_rng(1).poisson(300, (12, 4))


def cpm(X):
    return np.log2(X / X.sum(axis=1, keepdims=True) * 1e6 + 1)


@pytest.mark.parametrize(
    "X, kind, expected",
    [(COUNTS, "counts (whole numbers", cpm(COUNTS)),
     (COUNTS + 0.5, "no logarithms (values", np.log2(COUNTS + 0.5 + 1)),
     (COUNTS / 40, "logarithms (values", COUNTS / 40),
     (-COUNTS / 40, "logarithms or scaled values (values", -COUNTS / 40),
     (COUNTS // 30, "counts (whole numbers", cpm(COUNTS // 30))],
)  # fmt: skip
def test_scales(X, kind, expected):
    mine = fitted(cohort(X, status=STATUS))
    (said,) = mine.uns["imported"]["guessed"]
    assert said.startswith(kind) and ("--transform none keeps them" in said) == (kind[0] in "cn")
    np.testing.assert_allclose(mine.X, expected, rtol=1e-5)
    np.testing.assert_array_equal(fitted(cohort(X, status=STATUS), transform="none").X, X.astype(np.float32))
    assert not any("no log2 scale" in note for note in mine.uns["notes"])


def test_a_scale_that_is_stated_is_believed():
    mine = fitted(cohort(COUNTS, status=STATUS), scale="log2(TPM + 1)")
    np.testing.assert_array_equal(mine.X, COUNTS)
    assert any("no log2 scale" in note for note in mine.uns["notes"]) and mine.uns["imported"]["guessed"] == []
    counts = fitted(cohort(COUNTS, status=STATUS), scale="raw counts")
    assert counts.uns["scale"] == "log2(CPM + 1), from raw counts"


def test_transforms_that_cannot_be():
    refused("--transform cpm: mine has values below 0", cohort(-COUNTS, status=STATUS), transform="cpm")
    refused("--transform sqrt: use one of auto, none", cohort(status=STATUS), transform="sqrt")
    empty = np.where(np.arange(12)[:, None] == 3, 0, COUNTS)
    refused("--transform cpm: sample s3 has no counts", cohort(empty, status=STATUS))


def test_samples_in_columns_of_an_h5ad(tmp_path):
    cohort(status=STATUS, donor=[f"p{i}" for i in range(12)]).T.write_h5ad(tmp_path / "turned.h5ad")
    mine = own.read(tmp_path / "turned.h5ad", "mine")
    assert mine.shape == (12, 4) and mine.obs["patient"].tolist() == [f"p{i}" for i in range(12)]
    assert mine.uns["imported"]["guessed"][0] == "samples stand in columns: var has the labels"


def test_names_of_genes():
    adata = cohort(status=STATUS)
    adata.var["Gene Symbol"], adata.var["gene_id"] = ["a", "b", "", "d"], ["ENSG1.2", "ENSG2", "ENSG3", "x"]
    mine = fitted(adata)
    assert mine.var["symbol"].tolist() == ["a", "b", "", "d"] and mine.var["ensembl"].tolist()[0] == "ENSG1.2"
    kinds = {"symbols": GENES, "Ensembl ids": ["ENSG00000141510.18"] * 2, "probe sets": ["1007_s_at", "AFFX-BioB-3_at"],
             "ids of another kind": ["1", "2"]}  # fmt: skip
    assert {genes.kind(pd.Index(ids)): ids for ids in kinds.values()} == kinds


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_synonym_is_as_good(data):
    pick = {label: data.draw(st.sampled_from(words)) for label, words in guess.COLUMNS.items() if label != "origin"}
    spell = data.draw(st.sampled_from([str, str.upper, str.title, lambda text: text.replace("_", " ")]))
    words = {ours: spell(data.draw(st.sampled_from(theirs))) for ours, theirs in guess.WORDS["status"].items()}
    values = {
        "status": [words[s] for s in STATUS],
        "tissue": "lung",
        "cancer_type": "LUAD",
        "study": "A",
        "patient": "p",
    }
    mine = fitted(cohort(**{spell(pick[label]): values[label] for label in pick}))
    assert mine.uns["digest"] == fitted(cohort(**values | {"status": STATUS})).uns["digest"]


def test_the_command_tells_its_guesses(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(COUNTS, [f"s{i}" for i in range(12)], GENES)
    frame.T.to_parquet("counts.parquet")
    pd.DataFrame({"diagnosis": ["tumour", "healthy"] * 6}, frame.index).to_csv("sheet.csv", index_label="id")
    words = ["cohort", "import", "counts.parquet", "--samples", "sheet.csv", "--as", "mine"]
    shown = CliRunner().invoke(app, [*words, "--dry-run"], catch_exceptions=False).output
    assert "nothing was stored" in shown and store.stored() == []
    for line in (
        "guessed: samples stand in columns, as in the sheet",
        "guessed: --map diagnosis=status --map diagnosis:tumour=cancer --map diagnosis:healthy=normal",
        f"guessed: counts (whole numbers up to {COUNTS.max()}), stored as log2(CPM + 1); --transform none keeps them",
        "genes: symbols", "scale: log2(CPM + 1), from values", "status: 6 cancer, 6 normal",
    ):  # fmt: skip
        assert line in shown.splitlines(), shown
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert cohorts.open_cohort("mine").uns["imported"]["guessed"]
    with pytest.raises(InputError, match="no status"):
        CliRunner().invoke(app, [*words, "--no-guess"], catch_exceptions=False)


def test_values_on_no_scale_are_asked_about():
    X = COUNTS * 1.0
    X[2, 1] = -5
    refused(
        "has values from -5 to .*, which are neither counts nor logarithms: .* --transform none",
        cohort(X, status=STATUS),
    )
    assert fitted(cohort(X, status=STATUS), transform="none").X.min() == -5


@pytest.mark.parametrize("name", ["mother", "treatment", "predicted", "history_of_cancer"])
def test_a_column_of_another_name_is_no_status(name):
    columns = {name: ["cancer", "healthy"] * 6, "histotype": ["LUAD", "NAT"] * 6}
    refused(f"has no status .*{name} has `cancer`", cohort(**columns))
