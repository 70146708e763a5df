"""Run lists of cells: in this process or on workers, each of which keeps a cell's rows in the store as it ends.

The runner knows nothing of biology. Cells of a group run together, in the order of the list; what is
already kept is not run again, whichever process wrote it. A cell that raises is kept as failed, and the rest goes on.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import joblib
import pandas as pd
from threadpoolctl import threadpool_limits

from gexlib import provenance, rehearsal, results
from gexlib.engines import WorkerLost, Workers, local, opened
from gexlib.errors import InputError
from gexlib.experiments import Section, module_of
from gexlib.files import home
from gexlib.progress import Progress
from gexlib.results import Cell, table
from gexlib.store import DONE, Store, open_store

#: Environment variables that decide what a worker does: it gets those of the process that runs the section.
SETTINGS = ("GEXLIB_DATA", "GEXLIB_DEVICE", "GEXLIB_PLAIN", "GEXLIB_ROUNDING")
FUTILE = 20  # cells that fail, and none that does not, after which a run stops: it is not the cells
LAG = 120.0  # seconds that a shared folder may take to show what another machine wrote


@dataclass(frozen=True)
class Run:
    """What a run of a section gave.

    Attributes
    ----------
    rows : DataFrame
        Tidy rows of all cells that are done.
    cells : int
        Cells asked for.
    done : int
        Cells whose rows are there, however they came.
    computed : int
        Cells computed just now, be it by another run at the same time.
    parameters : dict
        As given.
    profile : str
        Name of the profile, or "none".
    changed : dict
        Parameters that are not those of the profile.
    seconds : float
        Computing time behind the rows, over all processes.
    recorded : list of dict
        Metadata of the committed files where the rows come from the record.
    failed : dict
        What raised, by cell: type, message and traceback, with the provenance of the attempt.
    from_record : set of str
        Keys of the cells whose rows are the committed ones: the store did not have them.
    """

    rows: pd.DataFrame
    cells: int
    done: int
    computed: int
    parameters: dict = field(default_factory=dict)
    profile: str = "none"
    changed: dict = field(default_factory=dict)
    seconds: float = 0.0
    recorded: list = field(default_factory=list)
    failed: dict[Cell, dict] = field(default_factory=dict)
    from_record: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Whether every cell is done."""
        return self.done == self.cells

    def _repr_html_(self) -> str:
        from gexlib.notebook import provenance_html

        return provenance_html(self)


M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1  # of malloc.h


def keep_memory(keep: bool = True) -> None:
    """Have the C library keep freed memory for the next tensor in place of giving it back, where it is glibc.

    A training step asks for arrays as large as the weights and frees them. Given back to the system, they come back
    page by page, which at the article's width takes a third of a step or more (``benchmarks/run.py``).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # neither macOS nor musl has it
    if mallopt:
        mallopt(M_MMAP_MAX, 0 if keep else 65_536)  # large arrays too come from the heap,
        mallopt(M_TRIM_THRESHOLD, -1 if keep else 131_072)  # which does not shrink


def settings() -> dict[str, str]:
    """Return the environment variables that workers need to do what this process would do."""
    return {name: os.environ[name] for name in SETTINGS if name in os.environ} | {"GEXLIB_HOME": str(home())}


class Task(NamedTuple):
    """What a worker needs to run the cells of a group: values, a folder, never a matrix.

    Attributes
    ----------
    cells : list of Cell
    group : str
        What the claim of the group is for: this code and these shared samples or networks.
    store : Store
        In the worker it is that process's own, of the same folder.
    fingerprint : str
        Of the code that is to compute the cells.
    begun : str
        When the run began; what failed before may be run again.
    runner : str
        The process that runs the section, by its name in the store.
    deadline : float, optional
        Seconds since the epoch after which no cell is begun.
    alone : bool
        Whether nothing runs beside it: running out of memory is then a failure.
    """

    cells: list[Cell]
    group: str
    store: Store
    fingerprint: str
    begun: str
    runner: str
    deadline: float | None
    alone: bool = False


class Outcome(NamedTuple):
    """How a task ended: keys of the cells that were done or failed, and of those that want more memory.

    All are empty where another run has the group.
    """

    done: Sequence[str] = ()
    failed: Sequence[str] = ()
    heavy: Sequence[str] = ()


def evaluate_group(task: Task) -> Outcome:
    """Run the cells of one group one after the other and keep their rows.

    No further cell is begun after the deadline (seconds since the epoch), nor when the process that runs the section
    is gone. The group is claimed first: where another run has it, nothing is done.

    Raises
    ------
    InputError
        The worker's code is not that of the process that runs the section, or the store cannot be written to.
    """
    experiment, store = task.cells[0].experiment, task.store
    if provenance.fingerprint(experiment) != task.fingerprint:
        raise InputError(
            f"the worker on {socket.gethostname()} has other code of {experiment}: install the same version of gexlib "
            "there and start its workers again."
        )
    if not store.claim(experiment, task.group, [cell.key for cell in task.cells], task.runner):
        return Outcome()
    done, failed, heavy = [], [], []
    module = module_of(experiment)
    if torch := sys.modules.get("torch"):  # not every experiment imports it
        torch.set_num_threads(1)
    keep_memory()

    def may_go_on() -> bool:
        return store.is_alive(task.runner) and (task.deadline is None or time.time() < task.deadline)

    def kept_meanwhile(cell: Cell) -> bool:
        entry = store.entry(cell, task.fingerprint)
        return entry is not None and (entry.state == DONE or entry.date > task.begun)

    try:
        store.refresh(experiment)
        cells = [cell for cell in task.cells if not kept_meanwhile(cell)]
        with threadpool_limits(1), joblib.parallel_config("sequential"):
            for cell, got, seconds, networks in _evaluated(module, cells, may_go_on):
                stamp = provenance.stamp(experiment, seconds)
                if not isinstance(got, Exception):
                    store.write(cell, got, stamp, networks)
                    done.append(cell.key)
                elif _wants_memory(got) and not task.alone:
                    heavy.append(cell.key)
                else:
                    store.write_failure(cell, _error(got), stamp)
                    failed.append(cell.key)
    finally:
        store.release(experiment, task.group)
    return Outcome(done, failed, heavy)


def _evaluated(
    module: ModuleType, cells: list[Cell], may_go_on: Callable[[], bool]
) -> Iterator[tuple[Cell, list[dict] | Exception, float, int]]:
    """Yield each cell with its rows or with what it raised, the seconds it took and the networks it trained."""
    left = list(cells)

    def while_allowed() -> Iterator[Cell]:
        yield from (cell for cell in left.copy() if may_go_on())

    while left and may_go_on():
        before, begun = rehearsal.networks(), time.perf_counter()
        evaluated = module.evaluate(while_allowed())
        while True:
            try:
                cell, got = next(evaluated, (None, None))
            except Exception as error:  # whatever it is: the cell is lost, the others are not
                cell, got = left[0], error
            if cell is None:
                return
            left.remove(cell)
            now = time.perf_counter()
            yield cell, got, now - begun, rehearsal.networks() - before
            before, begun = rehearsal.networks(), time.perf_counter()
            if isinstance(got, Exception):
                break


def _error(error: Exception) -> dict:
    """Return what is kept of an exception."""
    return {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _wants_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out: torch has no type of its own for it on processors."""
    return isinstance(error, MemoryError) or any(
        words in str(error).lower() for words in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )


def run_section(
    section: Section,
    parameters: object,
    workers: Workers | None = None,
    budget: float | None = None,
    **options,
) -> Run:
    """Run a section's cells and those that follow from their rows.

    Parameters
    ----------
    section : Section
    parameters : object
        The section's ``Parameters``.
    workers, budget, **options
        As `run_cells` takes them; the budget is for both rounds.

    Raises
    ------
    InputError
        The parameters leave nothing to compute, or as `run_cells`.
    """
    begun = time.time()
    options = {"record": results.layer(section.experiment), **options}
    cells = section.module.cells(parameters)
    if not cells:
        raise InputError(
            f"{section.name}: these parameters leave nothing to compute; look for an empty list or a zero."
        )
    done = run_cells(section, cells, workers, budget, **options)
    follow = getattr(section.module, "follow", None)
    further = follow(parameters, done.rows) if follow and done.done else []
    if not further:
        return done
    left = None if budget is None else max(0.0, budget - (time.time() - begun) / 60)
    both = run_cells(section, [*cells, *further], workers, left, **options)
    return replace(both, computed=done.computed + both.computed)


def run_cells(
    section: Section,
    cells: list[Cell],
    workers: Workers | None = None,
    budget: float | None = None,
    store: Store | None = None,
    record: pd.DataFrame | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
    log: Path | None = None,
) -> Run:
    """Run what is missing of a list of cells and return the rows of all that are done.

    Cells that another run is computing are waited for, and taken over where it dies.

    Parameters
    ----------
    section : Section
        Whose module evaluates the cells.
    cells : list of Cell
        In the order in which results are wanted.
    workers : Workers, optional
        See `gexlib.engines`; without them the cells run in this process.
    budget : float, optional
        Minutes; after them the cells at hand end and no other begins. 0 only collects what is there.
    store : Store, optional
        The working store; default: the one under ``GEXLIB_HOME``.
    record : DataFrame, optional
        Committed rows; a cell that has some there and none in the store counts as done.
    retry_failed : bool
        Run cells again that failed before with the same code.
    quiet, log
        As `gexlib.progress.Progress` takes them.

    Raises
    ------
    InputError
        The store cannot be written to, no cell can be computed, or workers die before they begin.
    """
    store = store or open_store()
    cells = list(dict.fromkeys(cells))  # a size or a method named twice is one
    mark = provenance.fingerprint(section.experiment)
    store.refresh(section.experiment)
    known = {cell: store.entry(cell, mark) for cell in cells}
    recorded = set(record["key"]) if record is not None else set()
    wanted = [
        cell
        for cell, entry in known.items()
        if (entry is None and cell.key not in recorded) or (entry and entry.state != DONE and retry_failed)
    ]
    computed = 0
    if wanted and budget != 0:
        store.keep_code(section.experiment, mark, provenance.parts(section.experiment))
        here = nullcontext(workers) if workers else opened(local(1), {})
        with here as running, Progress(section.name, store, mark, wanted, len(cells), quiet, log):
            _compute(section, wanted, running, budget, store, mark)
        computed = sum(store.entry(cell, mark) is not None and store.entry(cell, mark).state == DONE for cell in wanted)
    rows = [row for _, of_cell in store.rows(cells, mark) for row in of_cell]
    kept = table(rows)
    here = set(kept["key"])
    if lent := {cell.key for cell in cells} & recorded - here:
        kept = (
            pd.concat([kept, record[record["key"].isin(lent)]], ignore_index=True)
            if here
            else (record[record["key"].isin(lent)].reset_index(drop=True))
        )
    seconds = kept.groupby("key")["seconds"].first().sum() if len(kept) else 0.0
    failed = dict(store.failures(cells, mark))
    return Run(
        kept, len(cells), len(here | lent), computed, seconds=float(seconds), failed=failed, from_record=frozenset(lent)
    )


def _compute(
    section: Section, wanted: list[Cell], workers: Workers, budget: float | None, store: Store, mark: str
) -> None:
    """Compute cells on workers until each has ended, here or in another run."""
    store.live()
    experiment, begun = section.experiment, provenance.now()
    deadline = None if budget is None else time.time() + 60 * budget

    def task(cells: list[Cell], group: str, alone: bool = False) -> Task:
        return Task(cells, group, store, mark, begun, store.writer, deadline, alone)

    done, failed, elsewhere = set(), set(), set()
    left = wanted
    while left:
        groups: dict[str, list[Cell]] = {}
        for cell in left:
            groups.setdefault(f"{mark} {section.module.group(cell)}", []).append(cell)
        tasks = [task(cells, group) for group, cells in groups.items()]
        alone, lost = [], 0
        for index, outcome in workers.run(evaluate_group, tasks):
            if isinstance(outcome, WorkerLost):
                lost += 1
                alone += [(cell, tasks[index].group) for cell in _at_hand(tasks[index])]
                continue
            alone += [(cell, tasks[index].group) for cell in tasks[index].cells if cell.key in outcome.heavy]
            done.update(outcome.done)
            failed.update(outcome.failed)
            if len(failed) >= FUTILE and not done:
                raise InputError(_futile(section.name, wanted, store, mark))
        for cell, group in alone:
            try:
                outcome = workers.alone(evaluate_group, task([cell], group, alone=True))
            except WorkerLost as error:
                store.write_failure(cell, _error(error), provenance.stamp(experiment, 0.0))
                outcome = Outcome(failed=[cell.key])
            done.update(outcome.done)
            failed.update(outcome.failed)
        store.refresh(experiment)
        ended = {
            cell.key
            for cell in left
            if (entry := store.entry(cell, mark)) and (entry.state == DONE or entry.date >= begun)
        }
        elsewhere |= ended - done - failed
        before, ended = len(left), done | failed | elsewhere
        left = [cell for cell in left if cell.key not in ended]
        if deadline is not None and time.time() >= deadline:
            break
        if len(left) == before:
            if lost:
                raise InputError(
                    f"{section.name}: workers die before they begin; look at their output, and that they have memory "
                    "enough to start."
                )
            time.sleep(1)  # another run is at what is left: it is waited for, or taken over where it dies
    _await(wanted, done, store, mark)


def _at_hand(task: Task) -> list[Cell]:
    """Return the cell that a worker had in hand when it died; none where it had not begun."""
    experiment = task.cells[0].experiment
    if not task.store.orphaned(experiment, task.group, task.runner):
        return []
    task.store.refresh(experiment)
    entries = ((cell, task.store.entry(cell, task.fingerprint)) for cell in task.cells)
    return [cell for cell, entry in entries if not entry or entry.date < task.begun][:1]


def _futile(name: str, cells: list[Cell], store: Store, mark: str) -> str:
    store.refresh(cells[0].experiment)
    _, error = next(store.failures(cells, mark))
    return (
        f"{name}: the first {FUTILE} cells all failed, so the run stopped: {error['type']}: {error['message']}; mend "
        "that, then run again with --retry-failed."
    )


def _await(cells: list[Cell], done: set[str], store: Store, mark: str) -> None:
    """Wait until what workers have written can be seen from here: shared folders show it late."""
    until = time.time() + LAG
    while late := [cell for cell in cells if cell.key in done and not store.entry(cell, mark)]:
        if time.time() > until:
            raise InputError(
                f"{len(late)} cells were computed by workers whose store is not the folder {store.folder} seen from "
                "here: set GEXLIB_HOME to a folder that all machines share."
            )
        time.sleep(1)
        store.refresh(cells[0].experiment)
