"""Where a study stands, and why: what is done, running, failed or missing, and what changed since it was computed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import pandas as pd

from gexlib import provenance, results
from gexlib.cohorts import is_at_hand
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS, Section
from gexlib.experiments.base import as_list
from gexlib.results import Cell, canonical
from gexlib.runner import run_cells
from gexlib.store import DONE, Store

RECENT = timedelta(minutes=10)  # over which the rate is taken
#: States of a cell. An unverified one is in the record and was computed by other code: it counts as done in a run.
STATES = ("done", "unverified", "failed", "running", "missing")


@dataclass
class Standing:
    """Where the cells of a section stand.

    Attributes
    ----------
    states : dict of Cell to str
        One of `STATES`.
    absent : list of str
        Cohorts that are not on this machine: cells that need them cannot be listed.
    from_record : int
        Cells, verified or not, that are in the record and not in the store.
    outdated : int
        Of those missing, cells that other code computed.
    per_minute : float
        Cells that ended in the last ten minutes, a minute.
    """

    section: Section
    states: dict[Cell, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    from_record: int = 0
    outdated: int = 0
    per_minute: float = 0.0

    @property
    def minutes_left(self) -> float | None:
        """At this rate; None where nothing is left or nothing runs."""
        count = Counter(self.states.values())
        left = count["running"] + count["missing"]
        return left / self.per_minute if left and self.per_minute else None


def standing(section: Section, parameters: object, store: Store) -> Standing:
    """Find where the cells of a section stand; nothing is computed or built."""
    named = [getattr(parameters, name, []) for name in ("cohort", "sweep")]
    if absent := [name for names in named for name in as_list(names) if not is_at_hand(name)]:
        return Standing(section, absent=absent)
    cells = list(dict.fromkeys(section.module.cells(parameters)))
    found = standing_of(section, cells, store)
    follow = getattr(section.module, "follow", None)
    if follow is None or set(found.states.values()) - {"done", "unverified"}:
        return found
    done = run_cells(section, cells, budget=0, store=store, record=results.record(section.experiment)[0])
    return standing_of(section, [*cells, *follow(parameters, done.rows)], store)


def standing_of(section: Section, cells: list[Cell], store: Store) -> Standing:
    """Find where these cells stand; no rows are read."""
    found = Standing(section)
    experiment, mark = section.experiment, provenance.fingerprint(section.experiment)
    entries = store.entries(experiment)
    record = results.record(experiment)[0]
    recorded = verified(record)
    running = {key for claim in store.claims(experiment) for key in claim.keys}
    now = datetime.now(UTC)
    recent, since = 0, now
    for cell in cells:
        kept = entries.get(cell.key, {})
        entry = kept.get(mark)
        if entry and (date := _date(entry.date)) > now - RECENT:
            recent, since = recent + 1, min(since, date)
        if entry and entry.state == DONE:
            state = "done"
        elif cell.key in recorded:
            state = "done" if recorded[cell.key] else "unverified"
            found.from_record += 1
        elif cell.key in running:
            state = "running"
        elif entry:
            state = "failed"
        else:
            state = "missing"
            found.outdated += bool(kept)
        found.states[cell] = state
    found.per_minute = recent / max((now - since).total_seconds() / 60, 1 / 60) if recent > 1 else 0.0
    return found


def verified(record: pd.DataFrame) -> dict[str, bool]:
    """Whether each recorded cell was computed, or verified on its cohort, by the code as it stands."""
    if record.empty:
        return {}
    experiment = record["experiment"].iloc[0]
    mark = provenance.fingerprint(experiment)
    stamps = results.stamps(experiment, mark)
    known = {cohort for cohorts in stamps for cohort in cohorts}
    cells = record.drop_duplicates("key")
    sound = (cells["fingerprint"] == mark) | (() in stamps) | cells["cohort"].isin(known)
    return dict(zip(cells["key"], sound, strict=True))


def table(standings: list[Standing]) -> pd.DataFrame:
    """Return a table of sections: cells by state, rate, time left."""
    lines = []
    for each in standings:
        count = Counter(each.states.values())
        left = each.minutes_left
        counts = {"cells": len(each.states), **{state: count[state] for state in STATES}}
        lines.append(
            {"section": each.section.name}
            | {name: "?" if each.absent else f"{number:,}" for name, number in counts.items()}
            | {"cells/min": f"{each.per_minute:.1f}" if left else "", "time left": _duration(left)}
        )
    return pd.DataFrame(lines)


def notes(standings: list[Standing], store: Store) -> Iterator[str]:
    """Yield what the table does not say, in sentences."""
    if lent := [f"{each.section.name} {each.from_record:,}" for each in standings if each.from_record]:
        yield f"Cells from the record, results/, that are not in the store: {', '.join(lent)}."
    for each in standings:
        name, experiment = each.section.name, each.section.experiment
        if each.absent:
            yield f"{name}: {each.absent[0]} is not on this machine yet, so its cells cannot be listed."
        if each.outdated:
            yield f"{name}: {each.outdated:,} of the missing cells were computed by other code; gexlib why {name}"
        files, size = store.files(experiment)
        if files > 50:
            yield f"{name}: its store has {files:,} files, {size / 2**20:,.0f} MiB; gexlib collect packs them."
    yield from store.damage.values()


# Why


@dataclass(frozen=True)
class Reason:
    """Why a cell stands where it stands: its state, in words, and an example."""

    state: str
    words: str


class Reasons:
    """Finds out why cells of an experiment stand where they stand, from all that store and record know."""

    def __init__(self, experiment: str, store: Store):
        self.experiment, self.store = experiment, store
        self.mark = provenance.fingerprint(experiment)
        self.record = results.record(experiment)[0]
        first = self.record.drop_duplicates("key").set_index("key")
        self._recorded = first[["fingerprint", "versions", "commit", "date", "cell"]].to_dict("index")
        self._alike: dict[str, list[Cell]] = defaultdict(list)  # by parameters alone
        self._values: dict[str, set[str]] = defaultdict(set)  # of each parameter, in any cell kept
        for cell in {*(cell for cell, _ in store.cells(experiment)), *map(Cell.from_json, first["cell"])}:
            self._alike[canonical(cell.parameters)].append(cell)
            for name, value in cell.parameters.items():
                self._values[name].add(canonical(value))

    def of(self, cell: Cell, state: str) -> Reason:
        """Return the reason for a cell's state."""
        kept = self.store.entries(self.experiment).get(cell.key, {})
        if state == "running":
            return Reason(state, "claimed by a run that lives")
        if state == "failed":
            error = next(error for _, error in self.store.failures([cell], self.mark))
            return Reason(state, f"{error['type']}: {error['message']}")
        if cell.key in self._recorded and self.mark not in kept:
            line = self._recorded[cell.key]
            since = self._since(line["fingerprint"], line["commit"])
            if state == "done":
                return Reason(state, f"in the record, {'verified; ' + since if since else 'computed by this code'}")
            return Reason(state, f"in the record, not verified; {since}")
        if state == "done":
            return Reason(state, "computed by this code")
        if kept:
            newest = max(kept.values(), key=lambda entry: entry.date)
            return Reason(state, f"computed by other code on {newest.date[:10]}; {self._since(newest.fingerprint)}")
        return Reason(state, self._never(cell))

    def _since(self, fingerprint: str, commit: str = "") -> str:
        """Say what changed in the code since a fingerprint; "" where nothing did."""
        if fingerprint == self.mark:
            return ""
        return _changed(self.experiment, self.store, fingerprint, commit)

    def _never(self, cell: Cell) -> str:
        """Say why a cell was never computed: what sets it apart from every cell kept."""
        for other in self._alike.get(canonical(cell.parameters), []):
            if other.cohort_digest != cell.cohort_digest:
                return (
                    f"cohort {cell.parameters.get('cohort')} has other content now: {other.cohort_digest} then, "
                    f"{cell.cohort_digest} now"
                )
            return f"PROTOCOL is {cell.protocol} now, {other.protocol} then: the meaning of the numbers changed"
        if not self._alike:
            return "nothing of this experiment was computed yet"
        new = [
            f"{name}={canonical(value)}"
            for name, value in cell.parameters.items()
            if canonical(value) not in self._values.get(name, ())
        ]
        return f"never computed: no cell kept has {' or '.join(new)}" if new else "never computed in this combination"

    def nearest(self, cell: Cell) -> list[str]:
        """Return the parameters in which the most similar cell kept differs, each with both values."""
        best: list[str] | None = None
        for others in self._alike.values():
            theirs = others[0].parameters
            apart = [
                f"{name}: {_shown(cell.parameters, name)}, kept {_shown(theirs, name)}"
                for name in sorted({*cell.parameters, *theirs})
                if _shown(cell.parameters, name) != _shown(theirs, name)
            ]
            if best is None or len(apart) < len(best):
                best = apart
        return best or []


@cache
def changes_since(experiment: str, store: Store, fingerprint: str, commit: str) -> list[str] | None:
    """Return which definitions changed between a fingerprint and the code as it stands; None where nobody knows."""
    before = store.code(experiment, fingerprint)
    if before is None and commit:
        before = provenance.parts_at(commit, experiment)
    return None if before is None else provenance.changes(before, provenance.parts(experiment))


def _changed(experiment: str, store: Store, fingerprint: str, commit: str) -> str:
    """Say what changed since a fingerprint."""
    changed = changes_since(experiment, store, fingerprint, commit)
    if changed is None:
        return f"its code, {fingerprint}, is not known here, so what changed cannot be told"
    shown = ", ".join(changed[:6]) + (f" and {len(changed) - 6} more" if len(changed) > 6 else "")
    return f"since then {shown}" if changed else "the same code, named otherwise by an earlier version"


def _shown(parameters: dict, name: str) -> str:
    return canonical(parameters[name]) if name in parameters else "not set"


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _duration(minutes: float | None) -> str:
    if minutes is None:
        return ""
    if minutes < 1:
        return "under 1 min"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def why(found: Standing, store: Store) -> Iterator[str]:
    """Yield why a section's cells stand where they stand: how many, in which state, why, and one of them."""
    reasons = Reasons(found.section.experiment, store)
    groups: dict[Reason, list[Cell]] = defaultdict(list)
    for cell, state in found.states.items():
        groups[reasons.of(cell, state)].append(cell)
    for reason, cells in sorted(groups.items(), key=lambda group: (STATES.index(group[0].state), -len(group[1]))):
        yield f"{len(cells):,} {reason.state}: {reason.words}; such as {cells[0].key[:12]}"


def find(key: str, store: Store, listings: Callable[[], list[Standing]]) -> tuple[Cell, str]:
    """Find a cell by the first digits of its key: among those kept and recorded, else among those of a profile.

    Raises
    ------
    InputError
        No cell's key begins so, or several do.
    """
    found: dict[Cell, str] = {}
    for experiment in dict.fromkeys(section.experiment for section in SECTIONS.values()):
        mark, record = provenance.fingerprint(experiment), results.record(experiment)[0]
        sound = verified(record)
        for text in record.loc[record["key"].str.startswith(key), "cell"].unique() if len(record) else ():
            cell = Cell.from_json(text)
            found[cell] = "done" if sound[cell.key] else "unverified"
        if any(name.startswith(key) for name in store.entries(experiment)):
            for cell in [cell for cell, _ in store.cells(experiment) if cell.key.startswith(key)]:
                entry = store.entry(cell, mark)
                found[cell] = ("done" if entry.state == DONE else "failed") if entry else found.get(cell, "missing")
    if not found:
        of_profile = (pair for standing in listings() for pair in standing.states.items())
        found = {cell: state for cell, state in of_profile if cell.key.startswith(key)}
    if not found:
        raise InputError(f"no cell's key begins with '{key}': `gexlib why SECTION` names some; or give its --profile.")
    if len(found) > 1:
        raise InputError(f"{len(found)} cells have keys that begin with '{key}': give more of its digits.")
    return next(iter(found.items()))


def explain(cell: Cell, state: str, store: Store) -> Iterator[str]:
    """Yield, line by line, all that is known of a cell: what it is, where it stands and why."""
    why = Reasons(cell.experiment, store)
    yield f"{cell.key}: {state}, {why.of(cell, state).words}"
    yield f"  {cell.experiment}, cohort digest {cell.cohort_digest}, protocol {cell.protocol}"
    yield f"  parameters: {canonical(cell.parameters)}"
    for mark, entry in sorted(store.entries(cell.experiment).get(cell.key, {}).items(), key=lambda kept: kept[1].date):
        this = "this code" if mark == why.mark else f"other code ({mark})"
        yield (
            f"  store: {entry.state} on {entry.date} in {entry.seconds:.1f} s by {this}, "
            f"{store.folder / cell.experiment / entry.file}"
        )
    recorded = why.record[why.record["key"] == cell.key].head(1)
    for line in recorded.itertuples():
        yield f"  record: computed on {line.date} in {line.seconds:.1f} s, commit {line.commit}, {line.versions}"
        if other := _other_versions(line.versions):
            yield f"  versions: {', '.join(other)}"
    if rows := store.read(cell, why.mark):
        if other := _other_versions(rows[0]["versions"]):
            yield f"  versions: {', '.join(other)}"
        yield f"  rows: {len(rows)}, first {rows[0]['metric']} = {rows[0]['value']}"
    if state == "missing" and not store.entries(cell.experiment).get(cell.key):
        for apart in why.nearest(cell):
            yield f"  nearest cell kept differs in {apart}"
    for _, error in store.failures([cell], why.mark):
        yield error["traceback"].rstrip()


def _other_versions(then: str) -> list[str]:
    """Name the libraries that have other versions now."""
    now = dict(word.rsplit(" ", 1) for word in provenance.versions().split("; "))
    before = dict(word.rsplit(" ", 1) for word in then.split("; "))
    return [f"{name} {before.get(name, 'none')} then, {now[name]} now" for name in now if before.get(name) != now[name]]
