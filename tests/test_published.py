"""The article's numbers: one file, well formed, true to the text where it was looked up by hand."""

from pathlib import Path

import pandas as pd
import pytest

SECTIONS = {
    "study",
    "data",
    "sensitivity",
    "comparison",
    "cell-lines-and-patients",
    "pan-to-specific",
    "cancer-to-cancer",
    "unsupervised",
}
TYPES = {"value", "order", "threshold", "direction", "no difference"}
#: The article's own samples, and the real cohorts on which a claim can be looked at.
COHORTS = {"article-microarray", "article-tcga", "tcga-pairs", "tcga-hypoxia"}

#: Read off the article's text, independently of the file.
LOOKED_UP = {
    "study/tasks": 22,
    "study/networks": 93000,
    "data/microarray-genes": 54675,
    "data/microarray-train": 13000,
    "data/microarray-test": 3709,
    "data/tcga-cancer-share": 92.7,
    "comparison/microarray-nn": 96.18,
    "comparison/microarray-svm-rbf": 94.75,
    "comparison/microarray-p": 0.001,
    "comparison/small-n": 300,
    "comparison/large-n": 3000,
    "cell-lines-and-patients/to-patients-baseline": 64.54,
    "cell-lines-and-patients/to-patients-fine-tuned": 74.18,
    "cell-lines-and-patients/to-cell-lines-baseline": 55.58,
    "cell-lines-and-patients/to-cell-lines-fine-tuned": 80.74,
    "cell-lines-and-patients/to-cell-lines-helps": 400,
    "unsupervised/unlabelled-microarray": 10000,
}
HELPED = {"BRCA", "HNSC", "LUSC", "THCA", "UCEC", "leukemias", "breast", "liver", "lung", "ovary"}
UNCHANGED = {"KIRC", "LUAD", "PRAD", "kidney", "brain", "colon"}
HARMED = {"bone-marrow", "skin"}


@pytest.fixture(scope="module")
def published():
    path = Path(__file__).resolve().parents[1] / "book" / "published.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_columns(published):
    assert list(published) == "id section statement type value unit margin cohorts where".split()


def test_ids_are_unique_and_begin_with_their_section(published):
    assert published["id"].is_unique
    assert (published["id"].str.partition("/")[0] == published["section"]).all()
    assert set(published["section"]) == SECTIONS


def test_types(published):
    assert set(published["type"]) == TYPES


def test_values_fit_their_type(published):
    numeric = published["type"].isin(["value", "threshold"])
    numbers = pd.to_numeric(published.loc[numeric, "value"])
    assert numbers.gt(0).all()
    assert published.loc[numeric, "unit"].ne("").all()
    assert published.loc[published["type"] == "direction", "value"].isin(["up", "down"]).all()
    assert published.loc[published["type"] == "order", "value"].str.contains("[<>]").all()
    assert published.loc[published["type"] == "no difference", "value"].eq("").all()


def test_equality_needs_a_margin(published):
    assert published.loc[published["type"] == "no difference", "margin"].ne("").all()
    margins = pd.to_numeric(published.loc[published["margin"] != "", "margin"])
    assert margins.ge(0).all()


def test_cohorts_are_known(published):
    for cohorts in published["cohorts"]:
        assert set(cohorts.split(";")) <= COHORTS


def test_absolute_accuracies_belong_to_the_articles_own_samples(published):
    accuracy = published["unit"].isin(["percent", "accuracy"]) & published["statement"].str.contains("ccuracy|gain")
    assert accuracy.sum() >= 10
    for cohorts in published.loc[accuracy & (published["type"] == "value"), "cohorts"]:
        assert set(cohorts.split(";")) <= {"article-microarray", "article-tcga"}


def test_every_row_says_what_and_where(published):
    assert published["statement"].str.len().gt(15).all()
    assert published["where"].ne("").all()


@pytest.mark.parametrize(("key", "number"), LOOKED_UP.items())
def test_numbers_looked_up_in_the_text(published, key, number):
    (value,) = published.loc[published["id"] == key, "value"]
    assert float(value) == number


def test_verdicts_on_each_target_of_pan_to_specific(published):
    rows = published[published["section"] == "pan-to-specific"]
    rows = rows[rows["statement"].str.match(r"(Microarray|TCGA), [\w ]+: pre-training (helps|changes|lowers)")]
    verdict = dict(zip(rows["id"].str.partition("/")[2], rows["type"] + " " + rows["value"], strict=True))
    expected = {
        **dict.fromkeys(HELPED, "direction up"),
        **dict.fromkeys(UNCHANGED, "no difference "),
        **dict.fromkeys(HARMED, "direction down"),
    }
    assert verdict == expected
