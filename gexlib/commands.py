"""What the commands ``run``, ``verify`` and ``book`` do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from gexlib import engines, profiles, provenance, results, status
from gexlib.checks import ROUNDING
from gexlib.cli import say
from gexlib.errors import InputError
from gexlib.experiments import PAGES, SECTIONS, Section, section
from gexlib.experiments.base import as_list, check
from gexlib.files import project_root
from gexlib.pages import Page, execute_all
from gexlib.runner import Run, run_cells, run_section, settings
from gexlib.store import Store, open_store
from gexlib.training import resolve_device

#: What tells the measurements of one cell apart, beside method and metric.
WITHIN = ("arm", "target", "status", "origin", "sample", "at")
REROUNDED = 8  # runs that show how far rounding carries a cell


def run(
    names: list[str],
    profile: str,
    changes: list[str],
    engine: engines.Engine,
    budget: float | None,
    out: Path | None,
    executed: Path | None = None,
    retry_failed: bool = False,
    log: Path | None = None,
) -> list[Run]:
    """Run sections one after the other: cells, comparison with the record, notebook, rows to a file.

    The executed notebooks go to the folder `executed`; without one, none is run.
    """
    chosen = [section(name) for name in names]
    values = {s.name: profiles.parameters(s, profile, profiles.overrides(changes)) for s in chosen}
    if out is not None:
        _check_parent(out)
        results.check_target(out)
    until = None if budget is None else time.time() + 60 * budget
    runs = []
    with engines.opened(engine, settings()) as workers:
        for each in chosen:
            runs.append(_run(each, values[each.name], profile, workers, until, retry_failed, log))
    if executed:
        _execute(_pages(chosen, profile, values, runs), executed, engine)
    if out is not None:
        rows = pd.concat([r.rows for r in runs if r.done] or [runs[0].rows], ignore_index=True)
        results.write_table(rows, out, _metadata(chosen, profile, values, runs))
        say(f"{len(rows):,} rows in {out}")
    return runs


def _pages(chosen: list[Section], profile: str, values: dict[str, dict], runs: list[Run]) -> list[Page]:
    """Notebooks of the sections of which cells are done."""
    return [
        Page(each, values[each.name], profile, [*done.rows["key"].unique()])
        for each, done in zip(chosen, runs, strict=True)
        if done.done
    ]


def _execute(pages: list[Page], folder: Path, engine: engines.Engine) -> None:
    """Execute notebooks, as many at once as the engine has processes here, saying which were."""
    fresh = execute_all(pages, folder, engine.loky.workers if engine.loky else 1)
    for page, ran in zip(pages, fresh, strict=True):
        path = os.path.relpath(folder / page.chosen.notebook)
        say(f"{page.chosen.name}: {'ran' if ran else 'unchanged:'} {path}.ipynb")


def _run(
    each: Section,
    parameters: dict,
    profile: str,
    workers: engines.Workers,
    until: float | None,
    retry_failed: bool,
    log: Path | None,
) -> Run:
    """Run one section of `run`, saying what comes of it."""
    checked = check(each.module.Parameters, parameters, each.name)
    for note in _notes(each, checked):
        say(f"{each.name}: {note}")
    left = None if until is None else max(0.0, (until - time.time()) / 60)
    begun = time.time()
    done = run_section(each, checked, workers, left, retry_failed=retry_failed, log=log)
    lent = f", {len(done.from_record)} from the record" if done.from_record else ""
    seconds = time.time() - begun
    say(f"{each.name}: {done.done} of {done.cells} cells done{lent}, {done.computed} now in {seconds:.0f} s.")
    for line in (*open_store().damage.values(), *failures(each, done)):
        say(line)
    if done.done + len(done.failed) < done.cells:
        say(f"{each.name}: the budget is spent; the same command goes on from here.")
    here = done.rows[~done.rows["key"].isin(done.from_record)]
    if len(here):
        try:
            say(f"{each.name}: {agreement(here, results.record(each.experiment)[0])}")
        except InputError as error:  # what was computed is not lost for it
            say(f"{each.name}: not compared with the record: {error}")
    return done


def failures(each: Section, done: Run) -> list[str]:
    """Say what failed, a line for each kind of error."""
    kinds: dict[str, list[results.Cell]] = {}
    for cell, error in done.failed.items():
        kinds.setdefault(f"{error['type']}: {error['message']}".splitlines()[0], []).append(cell)
    lines = [
        f"{each.name}: {len(cells)} failed: {kind} (gexlib why {cells[0].key[:12]})" for kind, cells in kinds.items()
    ]
    return [*lines, f"{each.name}: --retry-failed runs what failed again."] if lines else []


def _notes(chosen: Section, parameters) -> list[str]:
    """Sentences that a reader must know: of the cohorts, and of the section's module where it has any."""
    from gexlib.cohorts import open_cohort

    of_cohorts = [f"{name}: {note}" for name in as_list(parameters.cohort) for note in open_cohort(name).uns["notes"]]
    return [*of_cohorts, *getattr(chosen.module, "notes", lambda _: [])(parameters)]


def fetch(
    name: str,
    store_as: str,
    projects: list[str],
    hub: str,
    mappings: Path | None,
    platform: str,
    maps: list[str],
    where: list[str],
    force: bool,
) -> None:
    """Fetch a public cohort and print what came of it: its table as in the article, and what was left out."""
    from gexlib.cohorts import fetch_cohort, microarray, xena

    cohort = fetch_cohort(
        name,
        store_as=store_as,
        projects=projects,
        hub=hub,
        mappings=mappings,
        platform=platform,
        maps=maps,
        where=where,
        force=force,
    )
    uns = cohort.uns
    print(f"{uns['name']}: {cohort.n_obs:,} samples x {cohort.n_vars:,} genes, digest {uns['digest']}")
    for line in uns.get("imported", {}).get("guessed", ()):
        print(f"guessed: {line}")
    for line in uns.get("report", uns.get("imported", {}).get("dropped", ())):
        print(f"left out: {line}")
    table = {"microarray": microarray.table, "tcga": xena.table}.get(name)
    if table is not None:
        counts = table(cohort)
        print(f"\nAs in Table {1 if name == 'microarray' else 2} of the article:\n{counts.to_string()}")
        with suppress(InputError):  # outside a clone of the project, which holds the article's statements
            print(beside_article(name, counts))
    for note in uns["notes"]:
        print(f"- {note}")


def beside_article(name: str, counts: pd.DataFrame) -> str:
    """Say how a fetched cohort differs from what the article's text prints of its own."""
    from gexlib.cohorts import xena
    from gexlib.ledger.claims import stated

    cancer, normal, samples = (int(counts.loc["all", column]) for column in ("cancer", "normal", "samples"))
    if name == "microarray":
        size = stated("data/microarray-train") + stated("data/microarray-test")
        theirs, ours = stated("data/microarray-class-ratio"), cancer / max(normal, 1)
        shares = f"about {theirs:g} cancer samples for each normal one, here {ours:.2f}"
        kinds, what = stated("data/microarray-tissues"), "tissues"
    else:
        size = stated("data/tcga-train") + stated("data/tcga-test-status")
        shares = f"{stated('data/tcga-cancer-share'):g} % cancer, here {100 * cancer / samples:.1f} %"
        kinds, what = len(xena.PROJECTS), "projects"
    return (
        f"The article has {size:,.0f} samples, here {samples:,} ({samples - size:+,.0f}); {shares}; {kinds:.0f} "
        f"{what}, here {len(counts) - 1}."
    )


def pretrain(cohort: str, out: Path, where: list[str], task: str, changes: list[str], seed: int, force: bool) -> None:
    """Train a network to take away, write it and say how good it is."""
    from gexlib import takeaway
    from gexlib.cohorts import open_cohort
    from gexlib.takeaway import file

    file.writable(out, force)
    taken = takeaway.pretrain(open_cohort(cohort), where, task, profiles.overrides(changes), seed)
    _taken(taken, file.save(taken, out, force), out)


def finetune(
    network: Path,
    cohort: str,
    out: Path,
    where: list[str],
    n: int | None,
    frozen: int,
    scaler: str,
    compare: bool,
    changes: list[str],
    seed: int,
    force: bool,
) -> None:
    """Fine-tune a network, write it and say how good it is beside others."""
    from gexlib import takeaway
    from gexlib.cohorts import open_cohort
    from gexlib.takeaway import file

    file.writable(out, force)
    source = file.load(network)
    if compare:
        say("the classical methods are tuned beside it, which takes long on many samples; --no-compare leaves them out")
    target = open_cohort(cohort)
    if scaler == "source" and (scale := source.about["cohorts"][-1]["scale"]) != target.uns["scale"]:
        say(f"{takeaway.another_scale(scale, target)}: --scaler target may serve better")
    taken = takeaway.finetune(source, target, where, n, frozen, scaler, compare, profiles.overrides(changes), seed)
    _taken(taken, file.save(taken, out, force), out)


def _taken(taken, card: Path, out: Path) -> None:
    """Say what a network was trained on and how good it is."""
    from gexlib.takeaway.card import table

    facts, tested = taken.about["cohorts"][-1], taken.about["metrics"][0]
    counts = ", ".join(f"{n:,} {label}" for label, n in facts["classes"].items())
    if facts.get("seen_before"):
        say(f"{facts['seen_before']:,} samples left out: the network was trained on them or their patients")
    if "genes" in facts:
        say(facts["genes"])
    say(f"trained on {facts['n']:,} samples of {facts['patients']:,} patients ({counts})")
    say(f"tested on {tested['n']:,} samples of {tested['patients']:,} other patients; percent, with 95 % intervals:")
    print(table(taken).to_string())
    say(f"{out}, and its card {card}")


def predict(network: Path, cohort: str, where: list[str], out: Path | None, everything: bool, force: bool) -> None:
    """Predict samples with a network, write the predictions and say how good they are."""
    from gexlib import takeaway
    from gexlib.cohorts import open_cohort
    from gexlib.files import atomic_path
    from gexlib.takeaway import file

    if out is not None:
        _check_parent(out)
        if out.suffix != ".csv" or (out.exists() and not force):
            why = "is there already; name another file, or add --force" if out.suffix == ".csv" else "must end in .csv"
            raise InputError(f"--out {out}: this {why}.")
        results.check_target(out)
    table, metrics, notes = takeaway.predict(file.load(network), open_cohort(cohort), where, not everything)
    for note in notes:
        say(note)
    if out is not None:
        with atomic_path(out) as path:
            table.to_csv(path, index=False)
        say(f"{len(table):,} predictions in {out}")
    else:
        print(table.to_string(index=False, float_format="%.4f", max_rows=20))
    if metrics:
        low, high = (f"{100 * metrics[end]:.1f}" for end in ("low", "high"))
        print(
            f"accuracy {100 * metrics['accuracy']:.1f} % [{low}, {high}] on {metrics['n']:,} samples of "
            f"{metrics['patients']:,} patients, balanced accuracy {100 * metrics['balanced_accuracy']:.1f} %"
            + (f", ROC AUC {metrics['roc_auc']:.3f}" if "roc_auc" in metrics else "")
        )


def _check_parent(out: Path) -> None:
    """Refuse a place in a folder that is not there: a typing error would make folders anywhere."""
    parent = Path(out).absolute().parent
    if not parent.exists():
        raise InputError(f"--out {out}: there is no folder {parent}; make it first or name another.")


def _metadata(chosen: list[Section], profile: str, values: dict, runs: list[Run]) -> dict:
    """Run metadata for the Parquet schema."""
    revision, dirty = provenance.commit()
    return {
        "sections": [s.name for s in chosen],
        "profile": profile,
        "parameters": values,
        "cohorts": sorted({c for r in runs for c in r.rows["cohort"].unique()}),
        "cells": sum(r.cells for r in runs),
        "done": sum(r.done for r in runs),
        "complete": all(r.complete for r in runs),
        "core_seconds": round(sum(r.seconds for r in runs)),
        "versions": provenance.versions(),
        "commit": revision,
        "dirty": dirty,
        "code": {s.experiment: {provenance.fingerprint(s.experiment): provenance.parts(s.experiment)} for s in chosen},
        "date": provenance.now(),
        "host": provenance.host(),
    }


def differences(rows: pd.DataFrame, record: pd.DataFrame) -> pd.DataFrame:
    """Measurements that both tables hold, with their values, difference and tolerance.

    Tolerances: one test sample for accuracy, 0.02 for ROC AUC, 0.02 + 10 % for log loss. Parallel sums of
    floating-point numbers are not bit-equal, between processors least of all. Balanced accuracy and MCC
    follow from the predictions that accuracy counts: they must be equal where it is.
    """
    axes = _axes(rows, record)
    both = rows.merge(record[[*axes, "value"]], on=axes, suffixes=("", "_record"))
    both["difference"] = (both["value"] - both["value_record"]).abs()
    one_sample = 1.0001 / both["n_test"].astype(float) if "n_test" in both else np.nan
    hits = both["difference"].where(both["metric"] == "accuracy")
    hits = hits.groupby([both[axis] for axis in axes if axis != "metric"], dropna=False).transform("max")
    both["tolerance"] = np.select(
        [both["metric"] == "accuracy", both["metric"] == "roc_auc", both["metric"] == "log_loss",
         both["metric"].isin(["balanced_accuracy", "mcc"])],
        [one_sample, 0.02, 0.02 + 0.1 * both["value_record"].abs(), np.where(hits < 1e-9, 1e-6, np.inf)],
        1e-3 + 1e-3 * both["value_record"].abs(),
    )  # fmt: skip
    return both


def _axes(*tables: pd.DataFrame) -> list[str]:
    """Columns that name a measurement in all of the tables."""
    return ["key", "method", "metric", *(c for c in WITHIN if all(c in table for table in tables))]


def _apart(both: pd.DataFrame) -> pd.DataFrame:
    """Rows of `differences` that are beyond tolerance, or a number on one side only."""
    gone = both["value"].isna() != both["value_record"].isna()
    return both[gone | (both["difference"] > both["tolerance"])]


def agreement(rows: pd.DataFrame, record: pd.DataFrame) -> str:
    """Say in one sentence how this run agrees with the record."""
    both = differences(rows, record) if len(rows) and len(record) else pd.DataFrame()
    if both.empty:
        return "the record holds none of these cells."
    apart = _apart(both)
    accuracy = both.loc[both["metric"] == "accuracy", "difference"]
    largest = f", largest difference in accuracy {accuracy.max():.4f}" if len(accuracy) else ""
    cells = both["key"].nunique()
    if apart.empty:
        return f"agrees with the record: {cells} cells compared{largest}."
    return f"{apart['key'].nunique()} of {cells} cells compared differ from the record beyond tolerance{largest}."


def _rerounded(chosen: Section, cells: list[results.Cell], folder: Path) -> Iterator[pd.DataFrame]:
    """Rows of cells computed again and again, here, each time with other errors of rounding."""
    for number in range(1, REROUNDED + 1):
        with mock.patch.dict(os.environ, {ROUNDING: str(number)}):
            yield run_cells(chosen, cells, store=Store(folder / f"rounding-{number}")).rows


def _beyond_rounding(apart: pd.DataFrame, runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of `apart` whose recorded value is farther from the values of all runs than these are from each other."""
    axes = _axes(apart, *runs)
    measured = pd.concat(run[[*axes, "value"]] for run in runs).groupby(axes, dropna=False)["value"]
    spread = measured.agg(lowest="min", highest="max", lost=lambda values: values.isna().any()).reset_index()
    apart = apart.merge(spread.astype(apart[axes].dtypes), on=axes)
    slack = (apart["highest"] - apart["lowest"]) + apart["tolerance"]
    inside = apart["value_record"].between(apart["lowest"] - slack, apart["highest"] + slack)
    return apart[~(inside | (apart["value_record"].isna() & apart["lost"]))]


def verify(
    chosen: Section, sample: int, seed: int, workers: engines.Workers, stamp: bool, cohorts: Sequence[str] = ()
) -> bool:
    """Compute random recorded cells again, in an empty store; True where all agree within tolerance.

    `cohorts` are those of which cells are drawn; none names all.

    Cells that differ are computed `REROUNDED` times more from weights moved by errors of rounding
    (`gexlib.checks.ROUNDING`), since another processor rounds otherwise. They agree where the record is no farther
    from those runs than they are from each other, or within tolerance of them.
    """
    record, _ = results.record(chosen.experiment)
    if record.empty:
        raise InputError(f"{chosen.name}: nothing is recorded in results/, so there is nothing to verify.")
    if unknown := set(cohorts) - set(record["cohort"]):
        known = ", ".join(sorted(set(record["cohort"])))
        raise InputError(f"cohort '{min(unknown)}': {chosen.name} has no record on it; use {known}.")
    if cohorts:
        record = record[record["cohort"].isin(cohorts)]
    distinct = record.drop_duplicates("key").sort_values("key")
    drawn = distinct.sample(min(sample, len(distinct)), random_state=seed)
    cells = [results.Cell.from_json(text) for text in drawn["cell"]]
    outdated = [cell for cell in cells if cell.protocol != chosen.module.PROTOCOL]
    if outdated:
        raise InputError(
            f"{chosen.name}: the record was made with protocol {outdated[0].protocol}, the code has "
            f"{chosen.module.PROTOCOL}; record the section again."
        )
    with tempfile.TemporaryDirectory() as folder:
        done = run_cells(chosen, cells, workers, store=Store(Path(folder) / "now"))
        for cell, error in done.failed.items():
            raise InputError(f"{chosen.name}: {cell.json} failed: {error['type']}: {error['message']}")
        wanted = record[record["key"].isin([cell.key for cell in cells])]
        both = differences(done.rows, wanted)
        apart, lost, carried = _apart(both), len(wanted) - len(both), []
        if again := [cell for cell in cells if cell.key in set(apart["key"])]:
            apart = _beyond_rounding(apart, [done.rows, *_rerounded(chosen, again, Path(folder))])
            carried = [cell for cell in again if cell.key not in set(apart["key"])]
            for cell in carried:
                print(f"rounding carries it as far: {cell.json}")
    for row in apart.itertuples():
        print(f"differs: {row.cell} {row.method} {row.metric}: recorded {row.value_record:.4f}, now {row.value:.4f}")
    if lost:
        print(f"{lost} of the {len(wanted)} recorded values of these cells did not come out again.")
    print(f"{chosen.name}: {agreement(done.rows, wanted)}")
    if carried:
        print(f"{len(carried)} of them are no farther from it than errors of rounding carry them.")
    if len(apart) or lost:
        print("Where the numbers now mean something else, raise PROTOCOL and record again; otherwise mend the code.")
    elif stamp:
        note = {"experiment": chosen.experiment, "fingerprint": provenance.fingerprint(chosen.experiment)}
        some = {"cohorts": sorted(cohorts)} if cohorts else {}
        results.add_verification({**note, **some, "cells": len(cells), "date": provenance.now()})
    return apart.empty and not lost


def standings(names: list[str], profile: str, changes: list[str], store: Store) -> list[status.Standing]:
    """Find where the cells of some sections stand; a profile that leaves sections out leaves them out here."""
    blocks = profiles.load(profile)
    chosen = [section(name) for name in names] or [each for each in SECTIONS.values() if each.name in blocks]
    values = [(each, profiles.parameters(each, profile, profiles.overrides(changes))) for each in chosen]
    return [status.standing(each, check(each.module.Parameters, of_it, each.name), store) for each, of_it in values]


def show_status(names: list[str], profile: str, changes: list[str]) -> None:
    """Print where sections stand, as a table, and what it does not say."""
    store = open_store()
    found = standings(names, profile, changes, store)
    print(status.table(found).to_string(index=False))
    for note in status.notes(found, store):
        print(note)


def why(name: str, profile: str, changes: list[str]) -> None:
    """Print why the cells of a section, or one cell, stand where they stand."""
    store = open_store()
    known = {word for each in SECTIONS.values() for word in (each.name, each.experiment, each.notebook)}
    if name in known:
        (found,) = standings([name], profile, changes, store)
        for line in status.why(found, store) if found.states else status.notes([found], store):
            print(line)
        return
    if not re.fullmatch("[0-9a-f]{4,24}", name):
        raise InputError(f"'{name}' is neither a section ({', '.join(SECTIONS)}) nor the first digits of a cell's key.")
    cell, state = status.find(name, store, lambda: standings([], profile, changes, store))
    for line in status.explain(cell, state, store):
        print(line)


def collect() -> None:
    """Pack the store, and say what came of it."""
    store = open_store()
    for experiment in store.experiments():
        before = store.files(experiment)[1]
        files, cells = store.collect(experiment)
        after = store.files(experiment)[1]
        if files:
            sizes = f"{before / 2**20:.1f} to {after / 2**20:.1f} MiB"
            print(f"{experiment}: {cells:,} cells of {files:,} files packed, {sizes}")
        else:
            print(f"{experiment}: nothing to pack")
    for sentence in store.damage.values():
        print(sentence)


def plan(names: list[str], profile: str, changes: list[str], cores: int, gpus: int) -> None:
    """Print the plan of some sections as a table, and what it rests on."""
    from gexlib import plan

    device = resolve_device("cuda" if gpus else "cpu").type
    chosen = [section(name) for name in names]
    values = [profiles.parameters(each, profile, profiles.overrides(changes)) for each in chosen]
    say(f"plan: measuring steps and fits on {'a GPU' if gpus else 'one thread'} ...")
    prices, lines = plan.measure(device), []
    for each, parameters in zip(chosen, values, strict=True):
        say(f"plan: {each.name} ...")
        lines.append(plan.line(each, parameters, prices))
    table = plan.table(lines, cores, gpus)
    shown = dict.fromkeys(plan.COUNTS, "{:,}".format)
    print(table.to_string(index=False, float_format="{:,.2f}".format, formatters=shown))
    days = table["days"].iloc[-1]
    duration = f"{days:,.1f} days" if days >= 2 else f"{24 * days:,.1f} hours"
    where = f"{cores} cores" + (f", networks on {gpus} GPUs" if gpus else "")
    print(f"\nProfile {profile} on {where}: about {duration}, every worker busy all the time.")
    on_gpu = ", network hours of one GPU" if gpus else ""
    print(f"Hours are those of one thread{on_gpu}, from steps and fits measured now.")
    print("Training that stops early is taken to stop as it did in the record.")


def show_ledger(names: list[str], out: Path | None) -> None:
    """Print every statement of the article with its verdict on the record, and write it to a file."""
    from gexlib import ledger

    if out is not None:
        results.check_target(out)
    table = ledger.ledger(names)
    for name, part in table.groupby("section", sort=False):
        print(f"\n{name}")
        for line in part.itertuples():
            print(f"  {ledger.SIGNS[line.verdict]} {line.verdict:17} {line.id.partition('/')[2]}: {line.statement}")
            measured = line.quantity if line.evidence or line.simulated else ""
            said = {"article": line.article, "measured": measured, "here": line.evidence, "why": line.why}
            said["simulated"] = line.simulated
            for what, text in said.items():
                if text:
                    print(textwrap.fill(f"{what}: {text}", 110, initial_indent=" " * 22, subsequent_indent=" " * 24))
    counts = table["verdict"].value_counts()
    print("\n" + ", ".join(f"{counts[verdict]} {verdict}" for verdict in ledger.VERDICTS if verdict in counts))
    if out is not None:
        results.write_table(table, out)


def compare(name: str, profile: str, changes: list[str], engine: engines.Engine) -> bool:
    """Run what is missing of a section and print the article, the record and this run side by side.

    Returns
    -------
    bool
        Whether no recorded cell differs beyond tolerance.
    """
    from gexlib import ledger

    chosen = section(name)
    (done,) = run([name], profile, changes, engine, None, None, None)
    record = results.record(chosen.experiment)[0]
    for line in ledger.beside(chosen.name, record, done.rows).to_dict("records"):
        mark = "  [differs]" if line["differs"] else ""
        print(f"\n{line['statement']}{mark}")
        for what in ("article", "record", "this run"):
            print(textwrap.fill(f"{what:9} {line[what]}", 110, initial_indent="  ", subsequent_indent=" " * 12))
    here = done.rows[~done.rows["key"].isin(done.from_record)]
    print(f"\n{chosen.name}: {agreement(here, record)}")
    both = differences(here, record) if len(here) and len(record) else here
    apart = _apart(both) if len(both) else both
    for row in apart.itertuples():
        print(f"differs: {row.cell} {row.method} {row.metric}: recorded {row.value_record:.4f}, now {row.value:.4f}")
    return apart.empty


def book(profile: str, engine: engines.Engine, out: Path | None, pdf: bool = False) -> tuple[Path, int]:
    """Run every section, or collect the record, and render the book; return its first page and how many cells failed.

    With `pdf` it is printed into one file too. With `out`, pages and executed notebooks go there and the book of the
    project folder stays as it is.
    """
    if out is not None:
        _check_parent(out)
    source = project_root() if out is None else _staged(out)
    folder, failed = source / "book" / "executed", 0
    pages = [Page(page, {}, "record", [], from_record=True) for page in PAGES.values()]
    if profile == "record":
        for each in SECTIONS.values():
            keys = [*results.record(each.experiment)[0]["key"].unique()]
            pages.append(Page(each, profiles.parameters(each, profile, {}), profile, keys, from_record=True))
    else:
        runs = run([*SECTIONS], profile, [], engine, None, None)
        values = {name: profiles.parameters(each, profile, {}) for name, each in SECTIONS.items()}
        pages += _pages([*SECTIONS.values()], profile, values, runs)
        failed = sum(len(done.failed) for done in runs)
    say(f"book: {len(pages)} pages ...")
    _execute(pages, folder, engine)
    page = render(source, pdf)
    if pdf:
        _print(page)
    return page, failed


def _staged(out: Path) -> Path:
    """Copy what the book is written in, without what was executed before."""
    root, source = project_root(), Path(out).absolute()
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns("executed"), dirs_exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, source)
    return source


def _print(page: Path) -> None:
    """Print a built book, its first page given, into ``book.pdf`` beside that."""
    from gexlib import pdf

    out = page.with_name("book.pdf")
    sheets = pdf.write(page.parent, pdf.pages_of(project_root() / "_toc.yml"), out)
    say(f"book: {sheets} sheets, {out.stat().st_size / 2**20:.1f} MiB, {os.path.relpath(out)}")


def render(source: Path, pdf: bool = False) -> Path:
    """Render the book in a folder from what was executed there; warnings are errors.

    With `pdf` its pages offer ``book.pdf``.

    Raises
    ------
    InputError
        jupyter-book is not installed or reports a warning; its output is printed before.
    """
    program = Path(sys.executable).with_name("jupyter-book")
    if not program.is_file():
        raise InputError("jupyter-book is not installed: pip install 'gexlib[book]'.")
    say("book: rendering ...")
    command = [program, "build", source, "--path-output", source, "-W", "-n", "--keep-going", "-q"]
    setting = {"GEXLIB_PDF": "1" if pdf else ""}
    ended = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, cwd=project_root(), env={**os.environ, **setting}
    )
    page = source / "_build" / "html" / "index.html"
    if ended.returncode or not page.is_file():
        print(ended.stdout[-6000:], ended.stderr[-6000:], file=sys.stderr)
        raise InputError("the book was not built; the messages above say which page to mend.")
    for name in ("*svg*.js", "*mml*.js", "*-full*.js"):  # of MathJax, which comes in every shape it has
        for unused in (page.parent / "_static" / "mathjax").glob(name):
            unused.unlink()
    return page
