"""The article's numbers and claims beside what was found here, with a verdict on each.

``book/published.csv`` holds what the article's text states. A rule (`gexlib.ledger.rules`) measures the quantities that
such a statement speaks of, and `gexlib.ledger.evidence` decides. A statement is only held against cohorts that its row
admits, and against simulated ones, whose evidence is kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gexlib import results
from gexlib.experiments import SECTIONS, section
from gexlib.ledger.claims import Claim, claims
from gexlib.ledger.evidence import FAILS, HOLDS, OPEN, Estimate, Region, outcome, weakest
from gexlib.ledger.rules import DESIGN, REPETITIONS, RULES, Rule

__all__ = ["SIGNS", "VERDICTS", "beside", "ledger", "page", "verdicts"]

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
CONSISTENT, INCONSISTENT = "consistent", "inconsistent"
INCONCLUSIVE, NOT_TESTABLE = "inconclusive", "not testable here"
#: From the best news for the article to none; the first two on its own samples only.
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONSISTENT, INCONSISTENT, INCONCLUSIVE, NOT_TESTABLE)
#: Cohorts with this prefix hold the article's own samples; no other name can bring "reproduced".
OWN = "article-"
#: The article's sources as they are fetched, and the cohort of the article that they stand for.
_FETCHED = {"microarray": "article-microarray", "tcga": "article-tcga", "tcga-toil": "article-tcga"}
_NEEDS = {  # statements that need rows of a second section
    "pan-to-specific/less-than-origins": "cell-lines-and-patients",
}


def verdicts(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Hold the statements about a section against rows, a cohort at a time.

    Parameters
    ----------
    name : str
        The section.
    rows : DataFrame
        Its tidy rows; those of a second section too where a statement is about both.

    Returns
    -------
    DataFrame
        One row a statement and cohort that can speak to it: ``id``, ``cohort``, ``simulated``, ``quantity`` (what was
        measured), ``found`` (in words), ``value``, ``low``, ``high`` (95 % interval of the quantity that the verdict
        hangs on), ``unit``, ``repeats`` and what they are (``repetition``), ``needed`` (how many would decide with a
        power of 80 %; infinite where only more samples would; NaN where decided or unknown) and ``verdict``.
    """
    out = []
    chosen = [claim for claim in claims().values() if claim.section == section(name).name and claim.id in RULES]
    for (cohort, simulated), part in rows.groupby(["cohort", "simulated"]):
        own = part[part["experiment"] == section(name).experiment]
        for claim in chosen if len(own) else ():
            if _admits(claim, cohort, bool(simulated)):
                rule = RULES[claim.id]
                if estimates := rule.measure(part if claim.id in _NEEDS else own, claim):
                    of = {"id": claim.id, "cohort": cohort, "simulated": bool(simulated)}
                    out.append({**of, **_decide(claim, rule, cohort, estimates)})
    columns = "id cohort simulated quantity found value low high unit repeats repetition needed verdict".split()
    return pd.DataFrame(out, columns=columns)


def _admits(claim: Claim, cohort: str, simulated: bool) -> bool:
    """Tell whether a cohort may speak to a statement; a simulated one to anything but a value.

    The article's sources as `gexlib fetch` reads them speak to what its own samples do, as analogues: which of the
    samples the article took is not published.
    """
    return claim.type != "value" if simulated else bool({cohort, _FETCHED.get(cohort)} & set(claim.cohorts))


def _decide(claim: Claim, rule: Rule, cohort: str, estimates: list[Estimate]) -> dict:
    region = rule.region(claim)
    kind = outcome(estimates, region, rule.share)
    hangs_on = weakest(estimates, region, rule.share)
    low, high = hangs_on.interval()
    own = cohort.startswith(OWN)
    verdict = {
        HOLDS: REPRODUCED if own else CONSISTENT, FAILS: NOT_REPRODUCED if own else INCONSISTENT, OPEN: INCONCLUSIVE
    }[kind]  # fmt: skip
    return {
        "quantity": rule.quantity, "found": _found(estimates, region, rule, hangs_on), "value": hangs_on.value,
        "low": low, "high": high, "unit": rule.unit, "repeats": hangs_on.repeats,
        "repetition": rule.repetition or REPETITIONS[claim.section],
        "needed": _needed(estimates, region, rule.share, hangs_on) if kind == OPEN else np.nan, "verdict": verdict,
    }  # fmt: skip


def _needed(estimates: list[Estimate], region: Region, share: float, hangs_on: Estimate) -> float:
    """Return the repeats that would decide: of the one that may fail the statement, else of all that are open."""
    if share < 1 or region.fails(hangs_on.value, hangs_on.value):
        return hangs_on.needed(region)
    # where one has no spread nobody knows, which NaN says
    return float(np.max([estimate.needed(region) for estimate in estimates if estimate.outcome(region) == OPEN]))


def _found(estimates: list[Estimate], region: Region, rule: Rule, hangs_on: Estimate) -> str:
    """Say what was found: how many quantities lie where they should, and the one that the verdict hangs on."""
    number = _written(hangs_on, rule.unit)
    if len(estimates) == 1:
        return f"{hangs_on.what}: {number}"
    kinds = [estimate.outcome(region, len(estimates) if rule.share == 1 else 1) for estimate in estimates]
    counts = f"{kinds.count(HOLDS)} of {len(kinds)} as stated, {kinds.count(FAILS)} not, {kinds.count(OPEN)} open"
    return f"{counts}; {'least sure' if rule.share == 1 else 'at the threshold'}: {hangs_on.what}: {number}"


def _written(estimate: Estimate, unit: str) -> str:
    """Write a quantity with its interval."""
    digits = {"points": "+.1f", "percent": ".2f", "epochs": "+.1f"}.get(unit, ".3g" if unit == "p" else "+.2f")
    low, high = estimate.interval()
    interval = f" ({low:{digits}} to {high:{digits}})" if np.isfinite(high - low) else " (no interval)"
    interval = "" if estimate.exact else interval
    return f"{estimate.value:{digits}} {unit}{interval}"


def rows_for(name: str) -> pd.DataFrame:
    """Return the recorded rows that a section's statements are about."""
    more = {
        _NEEDS[claim.id] for claim in claims().values() if claim.section == section(name).name and claim.id in _NEEDS
    }
    return pd.concat([results.record(section(each).experiment)[0] for each in (name, *sorted(more))], ignore_index=True)


def overall(found: Sequence[str]) -> str:
    """Return one verdict for those of several cohorts: the decided one, inconclusive where cohorts disagree."""
    decided = {verdict for verdict in found if verdict != INCONCLUSIVE}
    own = decided & {REPRODUCED, NOT_REPRODUCED}
    decided = own or decided
    if not found:
        return NOT_TESTABLE
    return decided.pop() if len(decided) == 1 else INCONCLUSIVE


def ledger(names: Sequence[str] = ()) -> pd.DataFrame:
    """Return every statement of the article with its verdict on the committed record.

    Parameters
    ----------
    names : sequence of str
        Sections; empty: all.

    Returns
    -------
    DataFrame
        One row a statement: ``id``, ``section``, ``statement``, ``article``, ``verdict``, ``quantity`` (what is
        measured; "" where nothing is), ``evidence`` (cohort and finding, one after the other), ``why`` (why there is
        none, or what would decide), ``simulated`` (verdict and finding on simulated cohorts, kept apart) and ``where``
        it stands in the article.
    """
    wanted = {section(name).name for name in names} or {claim.section for claim in claims().values()}
    sections = [name for name in SECTIONS if name in wanted and SECTIONS[name].experiment_of == ""]
    tables = [verdicts(name, rows_for(name)) for name in sections]
    found = pd.concat(tables, ignore_index=True) if tables else verdicts("data", results.table([]))
    out = []
    for claim in claims().values():
        if claim.section not in wanted:
            continue
        own = found[found["id"] == claim.id]
        real, simulated = own[~own["simulated"].astype(bool)], own[own["simulated"].astype(bool)]
        verdict = overall(list(real["verdict"]))
        out.append(
            {
                "id": claim.id, "section": claim.section, "statement": claim.statement, "article": _article(claim),
                "verdict": verdict, "quantity": RULES[claim.id].quantity if claim.id in RULES else "",
                "evidence": _evidence(real), "why": _why(claim, real, verdict),
                "simulated": _evidence(simulated, verdicts=True), "where": claim.where,
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def _article(claim: Claim) -> str:
    return f"{claim.text} {claim.unit}".strip() if claim.text else claim.type


def _evidence(found: pd.DataFrame, verdicts: bool = False) -> str:
    """Say what was found on each cohort."""
    several = verdicts or found["verdict"].nunique() > 1
    return "; ".join(f"{row.cohort}: {f'{row.verdict}, ' * several}{row.found}" for row in found.itertuples())


def _why(claim: Claim, found: pd.DataFrame, verdict: str) -> str:
    """Say why nothing is known, or how much more would decide."""
    if claim.id in DESIGN:
        return "set by the authors"
    if found.empty:
        at_hand = any(not cohort.startswith(OWN) for cohort in claim.cohorts)
        return "not in the record" if at_hand else "needs the article's own samples"
    if verdict != INCONCLUSIVE:
        return ""
    open_ones = found[found["verdict"] == INCONCLUSIVE]
    if open_ones.empty:
        return "the cohorts disagree"
    return "; ".join(f"{row.cohort}: {_more(row)}" for row in open_ones.itertuples())


def _more(row) -> str:
    """Say how many repeats would decide."""
    if np.isnan(row.needed):
        return f"where all {row.repetition} are equal nothing is known of how they vary"
    if np.isinf(row.needed):
        return f"no number of {row.repetition} would decide it, more samples may"
    return f"about {row.needed:,.0f} {row.repetition} would decide it, {row.repeats:,} are there"


def beside(name: str, record: pd.DataFrame, run: pd.DataFrame | None = None) -> pd.DataFrame:
    """Set each statement of the article about a section beside the findings of the record and of a run.

    Returns
    -------
    DataFrame
        ``statement``, ``article`` (value and unit), ``record`` and, with a run, ``this run`` (cohort, verdict, finding)
        and ``differs`` ("yes" where both have a verdict and not the same). A statement that nothing can speak to says
        why.
    """
    sources = {"record": record} | ({} if run is None else {"this run": run})
    found = {source: verdicts(name, rows) for source, rows in sources.items()}
    out = []
    for claim in claims().values():
        if claim.section == section(name).name:
            own = {source: table[table["id"] == claim.id] for source, table in found.items()}
            said = {s: _evidence(t, verdicts=True) or _why(claim, t, NOT_TESTABLE) for s, t in own.items()}
            kinds = {overall(list(t["verdict"])) for t in own.values() if len(t)}
            said |= {"differs": "yes" if len(kinds) > 1 else ""} if len(sources) > 1 else {}
            out.append({"statement": claim.statement, "article": _article(claim), **said})
    return pd.DataFrame(out)


#: A sign before a verdict, for eyes that run down a column.
SIGNS = {
    REPRODUCED: "\u2713", CONSISTENT: "\u2713", NOT_REPRODUCED: "\u2717", INCONSISTENT: "\u2717", INCONCLUSIVE: "?",
    NOT_TESTABLE: "\u2013",
}  # fmt: skip


def page(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the part of a `ledger` that is about a section, for readers: what was found, or why nothing.

    Evidence from simulated data has a column of its own, where there is any.
    """
    own = table[table["section"] == name]
    some = (own["evidence"] != "") | (own["simulated"] != "")
    found = own["evidence"] + ("; " + own["why"]).where((own["evidence"] != "") & (own["why"] != ""), "")
    found = found.where(found != "", own["why"])
    shown = {
        "statement": own["statement"] + " (" + own["id"] + ")",
        "article": own["article"],
        "verdict": own["verdict"].map(SIGNS) + " " + own["verdict"],
        "measured": own["quantity"].where(some, ""),
        "found": found,
    }
    if own["simulated"].any():
        shown["on simulated data"] = own["simulated"]
    return pd.DataFrame(shown)
