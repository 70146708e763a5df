"""What the notebooks call.

A notebook names its parameters, calls `run` and shows tables and figures. ``gexlib run`` computes the cells
first, with progress on the terminal; the notebook then finds them done.
"""

from __future__ import annotations

import dataclasses
import html
import json
import os
from numbers import Number

import pandas as pd

from gexlib import engines, profiles, provenance, results, status
from gexlib.experiments import Section, section
from gexlib.experiments.base import as_list, check
from gexlib.runner import Run, run_section, settings
from gexlib.store import open_store

#: Settings that ``gexlib run`` hands to the notebooks it executes.
PROFILE, JOBS, BUDGET, FROM_RECORD = "GEXLIB_PROFILE", "GEXLIB_JOBS", "GEXLIB_BUDGET", "GEXLIB_FROM_RECORD"


def run(name: str, **parameters) -> Run:
    """Compute a section with these parameters, or collect what is computed already.

    Parameters
    ----------
    name : str
        Of the section, for example "comparison".
    **parameters
        Fields of the section's ``Parameters``.

    Returns
    -------
    Run
        Its rows are tidy; shown in a notebook it says where they come from.
    """
    chosen = section(name)
    profile = os.environ.get(PROFILE, "none")
    if os.environ.get(FROM_RECORD):
        return dataclasses.replace(
            recorded(name, as_list(parameters["cohort"])), parameters=parameters, profile=profile
        )
    checked = check(chosen.module.Parameters, parameters, chosen.name)
    budget = os.environ.get(BUDGET)
    with engines.opened(engines.local(int(os.environ.get(JOBS, "1"))), settings()) as workers:
        done = run_section(chosen, checked, workers, None if budget is None else float(budget))
    return dataclasses.replace(done, parameters=parameters, profile=profile, changed=_changed(chosen, checked, profile))


def _changed(chosen: Section, parameters: object, profile: str) -> dict:
    """Return the parameters that are not those of the profile; none where the notebook runs with its own."""
    if profile not in profiles.names() or chosen.name not in profiles.load(profile):
        return {}
    before = profiles.parameters(chosen, profile, {})
    return {name: value for name, value in dataclasses.asdict(parameters).items() if value != before[name]}


def recorded(name: str, cohorts: list[str] | None = None) -> Run:
    """Return the committed rows of a section, for some cohorts or for all: nothing is computed."""
    rows, runs = results.record(section(name).experiment)
    if cohorts is not None:
        rows = rows[rows["cohort"].isin(cohorts)].reset_index(drop=True)
        runs = [r for r in runs if set(r.get("cohorts", cohorts)) & set(cohorts)]
    missing = sum(r.get("cells", 0) - r.get("done", 0) for r in runs)
    done = rows["key"].nunique()
    seconds = rows.groupby("key")["seconds"].first().sum()
    return Run(rows, done + missing, done, computed=0, profile="record", seconds=float(seconds), recorded=runs)


def provenance_html(run: Run) -> str:
    """Say in a strip where a run's numbers come from."""
    rows = run.rows
    if rows.empty:
        return '<div class="provenance">Nothing is recorded here yet.</div>'
    facts = {
        "cohort": ", ".join(f"{c} ({d})" for c, d in _pairs(rows, "cohort", "cohort_digest")),
        "profile": run.profile + (f" with {changed}" if (changed := _texts(run.changed)) else ""),
        "seed": ", ".join(sorted({str(json.loads(cell)[1].get("seed", 0)) for cell in rows["cell"].unique()})),
        "commit": ", ".join(f"{c}{' + changes' if dirty else ''}" for c, dirty in _pairs(rows, "commit", "dirty")),
        "date": " to ".join(dict.fromkeys(rows["date"].agg(["min", "max"]).str[:10])),
        "cells": f"{run.done} of {run.cells}" + _how_come(run),
        "computing time": f"{run.seconds / 60:.1f} min on one core",
    }
    if run.recorded:
        facts["code"] = "; ".join(dict.fromkeys(standing(rows)))
    strip = " · ".join(f"<b>{name}</b> {html.escape(value)}" for name, value in facts.items())
    return f'<div class="provenance">{strip}</div>'


def _texts(parameters: dict) -> str:
    return ", ".join(f"{name}={results.canonical(value)}" for name, value in parameters.items())


def _how_come(run: Run) -> str:
    """Say in brackets what a reader must know of a run's cells."""
    words = [] if run.complete else ["incomplete"]
    words += [f"{len(run.failed)} failed"] if run.failed else []
    words += [f"{len(run.from_record)} from the record"] if run.from_record else []
    return f" ({', '.join(words)})" if words else ""


def banner(cohort: str | list[str], record: str = ""):
    """Say above everything else on a page that its cohorts, or some of them, are simulated.

    Parameters
    ----------
    cohort : str or list of str
        What the page computes on.
    record : str
        A section whose whole record the page shows; its simulated cohorts are named without their settings.
    """
    from IPython.display import HTML

    simulated = [name for name in as_list(cohort) if name.startswith("simulated-")]
    if record:
        shown = results.record(section(record).experiment)[0]["cohort"].unique()
        simulated += [name.split(",")[0] for name in shown if name.startswith("simulated-")]
    simulated = dict.fromkeys(simulated)
    names = ", ".join(f"<code>{html.escape(name)}</code>" for name in simulated)
    text = f"Simulated data: what this page shows of {names} describes no patient."
    return HTML(f'<div class="simulated">{text}</div>') if simulated else None


def _pairs(rows: pd.DataFrame, *columns: str):
    return rows[list(columns)].drop_duplicates().sort_values(list(columns)).itertuples(index=False)


def standing(rows: pd.DataFrame) -> list[str]:
    """Whether recorded rows were computed, or verified since, by the code as it stands."""
    experiment = rows["experiment"].iloc[0]
    current = provenance.fingerprint(experiment)
    if set(rows["fingerprint"]) == {current}:
        return ["as recorded"]
    changed = _what_changed(experiment, rows[rows["fingerprint"] != current])
    return [
        f"changed since ({changed}); {stamp['cells']} random cells{' of ' * bool(cohorts)}{', '.join(cohorts)} "
        f"computed again on {stamp['date'][:10]} agree"
        for cohorts, stamp in results.stamps(experiment, current).items()
        if not cohorts or set(cohorts) & set(rows["cohort"])
    ] or [f"changed since ({changed}) and not yet verified"]


def _what_changed(experiment: str, rows: pd.DataFrame) -> str:
    """Name the modules in which definitions changed since rows were computed; `gexlib why` names the definitions."""
    found = {
        each
        for fingerprint, commit in _pairs(rows, "fingerprint", "commit")
        for each in status.changes_since(experiment, open_store(), fingerprint, commit) or ()
    }
    modules = sorted({each.split(".")[0] for each in found})
    return f"{len(found)} definitions of {', '.join(modules)}" if found else "definitions that are not known here"


def show(figure):
    """Return a figure as SVG for the notebook, without date or random identifiers."""
    import io

    from IPython.display import SVG

    from gexlib.figures import style

    text = io.StringIO()
    with style():
        figure.savefig(text, format="svg", metadata={"Date": None})
    return SVG(text.getvalue())


def tabulate(frame: pd.DataFrame, columns: dict[str, str] | None = None, digits: int = 3):
    """Return a table for readers: chosen columns under readable names, numbers rounded, gaps as a dash."""
    from IPython.display import HTML

    frame = frame[list(columns)].rename(columns=columns) if columns else frame

    def texts(column: pd.Series) -> list[str]:
        numbers = pd.to_numeric(column, errors="coerce").dropna()
        counts = len(numbers) and (numbers % 1 == 0).all() and numbers.abs().max() > 1
        whole = pd.api.types.is_integer_dtype(column) or counts
        p_value = str(column.name).startswith("p (")

        def text(value) -> str:
            if pd.isna(value):
                return "–"
            if isinstance(value, bool) or not isinstance(value, Number):
                return str(value)
            if p_value and value < 10**-digits:
                return f"< {10**-digits:g}"
            return f"{value:,.0f}" if whole else f"{value:.{digits}f}"

        return [text(value) for value in column]

    shown = pd.DataFrame({name: texts(frame[name]) for name in frame})
    return HTML(f'<div class="table-scroll">{shown.to_html(index=False, border=0)}</div>')
