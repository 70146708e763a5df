"""Verdicts on the committed record, in words, and beside a run."""

import pandas as pd
import pytest

from gexlib import ledger, results
from gexlib.experiments import SECTIONS
from gexlib.ledger.claims import claims
from gexlib.ledger.rules import DESIGN, RULES
from tests.ledger import rows


@pytest.fixture(scope="module")
def table():
    return ledger.ledger()


def test_one_verdict_for_every_published_statement(table):
    assert list(table["id"]) == list(claims())
    assert set(table["verdict"]) <= set(ledger.VERDICTS)


def test_nothing_is_reproduced_without_the_articles_own_samples(table):
    assert not table["verdict"].isin(["reproduced", "not reproduced"]).any()


def test_what_is_not_decided_says_why(table):
    undecided = table["verdict"].isin(["inconclusive", "not testable here"])
    assert (table.loc[undecided, "why"] != "").all() and (table.loc[~undecided, "why"] == "").all()
    assert (table.loc[table["verdict"] == "inconclusive", "why"].str.contains("would decide|equal|disagree")).all()
    chosen = table["why"] == "set by the authors"
    assert set(table.loc[chosen, "id"]) == DESIGN


def test_evidence_names_cohort_and_interval_and_simulated_data_stand_apart(table):
    testable = table[table["verdict"] != "not testable here"]
    assert testable["evidence"].str.contains(r"tcga-\w+: .*(?: to |no interval|percent)").all()
    assert not table["evidence"].str.contains("simulated").any()
    simulated = table[table["simulated"] != ""]
    assert len(simulated) and simulated["simulated"].str.startswith("simulated-").all()
    assert (simulated["verdict"] == "not testable here").all()  # it decides nothing


def test_sections_may_be_chosen(table):
    own = ledger.ledger(["comparison"])
    assert own.equals(table[table["section"] == "comparison"].reset_index(drop=True))


def test_a_section_for_readers(table):
    page = ledger.page(table, "unsupervised")
    assert len(page) == (table["section"] == "unsupervised").sum()
    assert page["verdict"].str.match(r"[✓✗?–] \w").all() and (page["found"] != "").all()


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "not testable here"),
        (["inconclusive"], "inconclusive"),
        (["inconclusive", "consistent"], "consistent"),
        (["consistent", "inconsistent"], "inconclusive"),
        (["inconsistent", "inconsistent"], "inconsistent"),
        (["inconsistent", "reproduced"], "reproduced"),
        (["consistent", "not reproduced"], "not reproduced"),
    ],
)
def test_one_verdict_of_several_cohorts(verdicts, expected):
    assert ledger.overall(verdicts) == expected


def test_only_admitted_cohorts_speak_and_simulated_ones_to_no_value():
    table = rows.comparison(lambda method, n: 0.9 + 0.03 * (method == "nn_default"))
    assert ledger.verdicts("comparison", table.assign(cohort="mine")).empty
    simulated = ledger.verdicts("comparison", table.assign(cohort="simulated-tcga:demo", simulated=True))
    assert simulated["simulated"].all() and not simulated["verdict"].str.contains("reproduced").any()
    assert not {claims()[identifier].type for identifier in simulated["id"]} & {"value"}


def test_the_articles_sources_as_fetched_speak_as_analogues():
    levels = {"nn_default": 0.96}
    made = rows.comparison(lambda m, n: levels.get(m, 0.9), task="microarray/pan", cohort="article-microarray")
    own, fetched = (
        ledger.verdicts("comparison", made.assign(cohort=name)) for name in ("article-microarray", "microarray")
    )
    assert own["id"].tolist() == fetched["id"].tolist() and len(own)
    assert own["verdict"].str.contains("reproduced").any()
    assert not fetched["verdict"].str.contains("reproduced").any()


def test_a_run_is_set_beside_the_record_and_differences_are_marked():
    behind = rows.comparison(lambda method, n: 0.9 - 0.03 * (method == "nn_default"))
    ahead = rows.comparison(lambda method, n: 0.9 + 0.03 * (method == "nn_default"))
    found = ledger.beside("comparison", behind, ahead).set_index("statement")
    first = found.loc[claims()["comparison/nn-first"].statement]
    assert "tcga-hypoxia: inconsistent" in first["record"] and "tcga-hypoxia: consistent" in first["this run"]
    assert first["differs"] == "yes"
    assert found.loc[claims()["comparison/inner-folds"].statement, "differs"] == ""
    assert not ledger.beside("comparison", ahead, ahead)["differs"].any()
    assert "this run" not in ledger.beside("comparison", ahead)


def test_rows_of_nothing_say_why():
    for name in SECTIONS:
        found = ledger.beside(name, results.table([]))
        assert found.empty == (not any(claim.section == name for claim in claims().values()))
        assert (found.get("record", pd.Series(dtype=str)) != "").all()


def test_the_article_cannot_be_quoted_wrongly(table):
    """What the ledger prints as the article's is what published.csv holds."""
    for line in table.itertuples():
        claim = claims()[line.id]
        assert line.article == (f"{claim.text} {claim.unit}".strip() if claim.text else claim.type)
        assert (line.statement, line.where) == (claim.statement, claim.where)
    assert {identifier.partition("/")[0] for identifier in RULES} < set(table["section"])
