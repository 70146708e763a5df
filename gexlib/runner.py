"""Run lists of cells: in this process or on worker processes, keeping each cell's rows as it ends.

The runner knows nothing of biology. Cells of a group run together, in the order of the list; what is
already kept is not run again, whichever process wrote it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import joblib
import pandas as pd
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from gexlib import provenance
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS, Section
from gexlib.results import Cell, Store, table

# loky starts a worker anew that has grown, and takes memory that is kept (`keep_memory`) for lost: nothing is
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)


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
        Cells computed just now.
    parameters : dict
        As given.
    profile : str
        Name of the profile, or "none".
    seconds : float
        Computing time behind the rows, over all processes.
    recorded : list of dict
        Metadata of the committed files where the rows come from the record.
    """

    rows: pd.DataFrame
    cells: int
    done: int
    computed: int
    parameters: dict = field(default_factory=dict)
    profile: str = "none"
    seconds: float = 0.0
    recorded: list = field(default_factory=list)

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


def evaluate_group(experiment: str, cells: list[Cell], store: Store, deadline: float | None, runner: int) -> int:
    """Run the cells of one group one after the other and keep their rows; return how many were run.

    Runs in a worker: it gets cells and a folder, never a matrix. No further cell is begun after the
    deadline (seconds since the epoch), nor when the process that runs the section is gone.
    """
    import torch  # here, so that listing what is done needs no torch

    module = next(s for s in SECTIONS.values() if s.experiment == experiment).module
    torch.set_num_threads(1)
    keep_memory()
    done = 0

    def before_deadline() -> Iterable[Cell]:
        for cell in cells:
            orphaned = runner not in (os.getpid(), os.getppid())
            if orphaned or (deadline is not None and time.time() >= deadline):
                return
            yield cell

    with threadpool_limits(1):
        begun = time.perf_counter()
        for cell, rows in module.evaluate(before_deadline()):
            store.write(cell, rows, provenance.stamp(experiment, time.perf_counter() - begun))
            done += 1
            begun = time.perf_counter()
    return done


def run_section(
    section: Section, parameters: object, jobs: int = 1, budget: float | None = None, quiet: bool = False
) -> Run:
    """Run a section's cells and those that follow from their rows.

    Parameters
    ----------
    section : Section
    parameters : object
        The section's ``Parameters``.
    jobs, budget, quiet
        As `run_cells` takes them; the budget is for both rounds.

    Raises
    ------
    InputError
        The parameters leave nothing to compute, or as `run_cells`.
    """
    begun = time.time()
    cells = section.module.cells(parameters)
    if not cells:
        raise InputError(
            f"{section.name}: these parameters leave nothing to compute; look for an empty list or a zero."
        )
    done = run_cells(section, cells, jobs, budget, quiet=quiet)
    follow = getattr(section.module, "follow", None)
    further = follow(parameters, done.rows) if follow and done.done else []
    if not further:
        return done
    left = None if budget is None else max(0.0, budget - (time.time() - begun) / 60)
    both = run_cells(section, [*cells, *further], jobs, left, quiet=quiet)
    return replace(both, computed=done.computed + both.computed)


def run_cells(
    section: Section,
    cells: list[Cell],
    jobs: int = 1,
    budget: float | None = None,
    store: Store | None = None,
    quiet: bool = False,
) -> Run:
    """Run what is missing of a list of cells and return the rows of all that are done.

    Parameters
    ----------
    section : Section
        Whose module evaluates the cells.
    cells : list of Cell
        In the order in which results are wanted.
    jobs : int
        Worker processes of one thread each; 1 runs in this process.
    budget : float, optional
        Minutes; after them the cells at hand end and no other begins. 0 only collects what is there.
    store : Store, optional
        The working store; default: the one under ``GEXLIB_HOME``.
    quiet : bool
        No progress on the terminal.

    Raises
    ------
    InputError
        The system killed a worker.
    """
    store = store or Store()
    cells = list(dict.fromkeys(cells))  # a size or a method named twice is one
    mark = provenance.fingerprint(section.experiment)
    deadline = None if budget is None else time.time() + 60 * budget
    groups: dict[str, list[Cell]] = {}
    missing = 0
    for cell in cells:
        if store.read(cell, mark) is None:
            groups.setdefault(section.module.group(cell), []).append(cell)
            missing += 1
    computed = 0
    if missing and budget != 0:
        work = (
            joblib.delayed(evaluate_group)(section.experiment, g, store, deadline, os.getpid()) for g in groups.values()
        )
        parallel = joblib.Parallel(
            jobs if len(groups) > 1 else 1, return_as="generator_unordered", pre_dispatch="2*n_jobs"
        )
        with tqdm(
            total=len(cells), initial=len(cells) - missing, desc=section.name, unit="cell", file=sys.stderr,
            disable=quiet or not sys.stderr.isatty(), smoothing=0.05, dynamic_ncols=True,
        ) as bar:  # fmt: skip
            try:
                for done in parallel(work):
                    computed += done
                    bar.update(done)
            except TerminatedWorkerError:
                raise InputError(
                    f"{section.name}: a worker process was killed, most likely for want of memory; what was done is "
                    f"kept: run the same command with fewer than {jobs} jobs (--jobs) and it goes on from there."
                ) from None
    rows = [row for cell in cells for row in store.read(cell, mark) or []]
    seconds = {row["key"]: row["seconds"] for row in rows}
    return Run(table(rows), len(cells), len(seconds), computed, seconds=sum(seconds.values()))
