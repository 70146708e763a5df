"""What the notebooks call, and how papermill runs them.

A notebook names its parameters, calls `run` and shows tables and figures. ``gexlib run`` computes the cells
first, with progress on the terminal; the notebook then finds them done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from gexlib import engines, profiles, provenance, results, status
from gexlib.errors import InputError
from gexlib.experiments import Section, section
from gexlib.experiments.base import as_list, check
from gexlib.files import atomic_path, project_root
from gexlib.runner import Run, run_section, settings
from gexlib.store import open_store

if TYPE_CHECKING:
    from jupyter_client import AsyncKernelManager

#: Settings that ``gexlib run`` hands to the notebooks it executes.
PROFILE, JOBS, BUDGET, FROM_RECORD = "GEXLIB_PROFILE", "GEXLIB_JOBS", "GEXLIB_BUDGET", "GEXLIB_FROM_RECORD"


THIS_RUN = "this-run"  # tag of cells that show what a run found
QUIET = ["--log-level=ERROR"]  # of kernels: their warnings are about the machine's network


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


def notebook_path(chosen: Section) -> Path:
    """Path of a section's notebook."""
    return project_root() / "notebooks" / f"{chosen.notebook}.ipynb"


def _digest(chosen: Section, parameters: dict, profile: str, keys: list[str]) -> str:
    """Digest of all that decides an executed notebook: its source, its parameters, its rows, gexlib, the record."""
    total = hashlib.sha256(json.dumps([parameters, profile, sorted(keys)], sort_keys=True).encode())
    record = sorted(results.record_folder().glob("*"))
    for path in [notebook_path(chosen), *sorted(provenance.PACKAGE.rglob("*.py")), *record]:
        total.update(path.read_bytes())
    total.update("|".join(map(str, provenance.commit())).encode())
    return total.hexdigest()


class Page(NamedTuple):
    """A notebook to execute: of which section, with which parameters, over which cells."""

    chosen: Section
    parameters: dict
    profile: str
    keys: list[str]
    from_record: bool = False  # shows the record alone


def execute_all(pages: Sequence[Page], folder: Path, jobs: int = 1) -> list[bool]:
    """Execute notebooks side by side, on one kernel a job; see `execute`."""
    from jupyter_client import AsyncKernelManager
    from jupyter_core.utils import ensure_event_loop, run_sync

    waiting = deque(enumerate(pages))
    fresh = [False] * len(pages)

    class Kernel(AsyncKernelManager):
        """Ends what nbclient leaves open where the kernel is not its own."""

        def client(self, **settings):
            self.clients = [*getattr(self, "clients", []), super().client(**settings)]
            return self.clients[-1]

        def end(self):
            for client in getattr(self, "clients", []):
                client.stop_channels()
            if self.has_kernel:
                run_sync(self.shutdown_kernel)(now=True)
            ensure_event_loop().close()

    def work() -> None:
        kernel = Kernel(kernel_name="python3")
        try:
            while True:
                try:
                    number, page = waiting.popleft()
                except IndexError:
                    break
                fresh[number] = execute(page, folder, kernel)
        finally:
            waiting.clear()  # where one failed
            kernel.end()

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for ended in [pool.submit(work) for _ in range(min(jobs, len(pages)))]:
                ended.result()
        finally:
            waiting.clear()
    return fresh


def execute(page: Page, folder: Path, kernel: AsyncKernelManager) -> bool:
    """Run a notebook by papermill into a folder; False where a copy of the same content stands there.

    The kernel is started where it does not run yet. Of the notebook it executed before, what that imported stays, and
    nothing else.

    Raises
    ------
    InputError
        The notebook failed; the message names the cell's error, the copy with the traceback is kept. Or its
        kernel died.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    chosen = page.chosen
    target = folder / f"{chosen.notebook}.ipynb"
    digest = _digest(chosen, page.parameters, page.profile, page.keys)
    if target.is_file():
        try:
            if nbformat.read(target, 4).metadata.get("gexlib", {}).get("digest") == digest:
                return False
        except (ValueError, OSError):
            pass  # unreadable: executed again
    with atomic_path(target) as temporary:
        settings = {PROFILE: page.profile, BUDGET: "0", FROM_RECORD: "1" if page.from_record else ""}
        renew = (
            "get_ipython().reset()\n"
            "__import__('warnings').filterwarnings('ignore', 'IProgress not found')\n"  # names a path of this machine
            f"__import__('os').environ.update({settings})"
        )
        try:
            book = nbformat.read(notebook_path(chosen), 4)
            if page.from_record:
                book.cells = [*_without_this_run(book.cells)]
            book.cells.insert(0, nbformat.v4.new_code_cell(renew))
            papermill.execute_notebook(
                book, temporary, page.parameters, kernel_name="python3", progress_bar=False,
                cwd=project_root(), log_output=False, km=kernel, extra_arguments=QUIET,
            )  # fmt: skip
        except papermill.PapermillExecutionError as error:
            failed = target.with_name(f"{chosen.notebook}.failed.ipynb")
            os.replace(temporary, failed)
            raise InputError(
                f"{chosen.notebook}.ipynb failed: {error.ename}: {error.evalue}; the traceback is in {failed}."
            ) from None
        except DeadKernelError:
            raise InputError(
                f"{chosen.notebook}.ipynb failed: its kernel died, most likely for want of memory; "
                "close other programs or choose a smaller profile."
            ) from None
        book = nbformat.read(temporary, 4)
        del book.cells[0]
        book.metadata["gexlib"] = {"digest": digest, "profile": page.profile}
        book.metadata.pop("papermill", None)  # paths and times of this machine
        for cell in book.cells:
            cell.metadata.pop("papermill", None)
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata["tags"].append("hide-input")  # folded on the page
        nbformat.write(book, temporary)
    return True


def _without_this_run(cells: list) -> Iterator:
    """Cells of a page whose run is the record, which the page shows already."""
    from nbformat import v4

    skipped = False
    for cell in cells:
        if THIS_RUN not in cell.metadata.get("tags", []):
            yield cell
        elif not skipped:
            skipped = True
            yield v4.new_markdown_cell("This page was made from the record: what the run found stands above.")


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Inside the block these environment variables are set; after it they are as before."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def refresh(chosen: Section) -> None:
    """Run a section's notebook with its own defaults and store the outputs that nbval compares.

    Tables, figures and dates differ between machines: their outputs are not stored.
    """
    import nbclient
    import nbformat

    path = notebook_path(chosen)
    book = nbformat.read(path, 4)
    nbclient.NotebookClient(book, kernel_name="python3", record_timing=False, extra_arguments=QUIET).execute()
    for cell in book.cells:
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            cell.outputs = []
    book.metadata.language_info = {"name": "python"}
    with atomic_path(path) as temporary:
        nbformat.write(book, temporary)


def start(chosen: Section, path: Path) -> None:
    """Copy a section's notebook to start a study of one's own from: without outputs, saying where it comes from.

    Raises
    ------
    InputError
        The name does not end in .ipynb, the folder is not there, or the file is.
    """
    import nbformat

    if path.suffix != ".ipynb":
        raise InputError(f"{path}: the name of a notebook ends in .ipynb.")
    if path.exists():
        raise InputError(f"{path} is there already; choose another name, nothing is overwritten.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.absolute().parent}; make it first or name another.")
    book = nbformat.read(notebook_path(chosen), 4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    from_where = (
        f"*Started from `{chosen.notebook}.ipynb` at commit {provenance.commit()[0]} on {provenance.now()[:10]}.*"
    )
    book.cells.insert(1, nbformat.v4.new_markdown_cell(from_where))
    with atomic_path(path) as temporary:
        nbformat.write(book, temporary)


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
