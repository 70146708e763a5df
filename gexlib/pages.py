"""Notebooks as pages: executed by papermill for the book, refreshed for nbval, copied to start a study of one's own."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbclient
import nbformat
import papermill
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_core.utils import ensure_event_loop, run_sync
from nbclient.exceptions import DeadKernelError

from gexlib import provenance, results
from gexlib.errors import InputError
from gexlib.experiments import Section
from gexlib.files import atomic_path, project_root
from gexlib.notebook import BUDGET, FROM_RECORD, PROFILE

THIS_RUN = "this-run"  # tag of cells that show what a run found
QUIET = ["--log-level=ERROR"]  # of kernels: their warnings are about the machine's network


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


class Kernel(AsyncKernelManager):
    """A kernel for one notebook after the other."""

    def client(self, **settings) -> AsyncKernelClient:
        """Connect to it, and remember: nbclient does not end what it opens where the kernel is not its own."""
        self.clients = [*getattr(self, "clients", []), super().client(**settings)]
        return self.clients[-1]

    def end(self) -> None:
        """Stop it, with all connections and the event loop of this thread."""
        for client in getattr(self, "clients", []):
            client.stop_channels()
        if self.has_kernel:
            run_sync(self.shutdown_kernel)(now=True)
        ensure_event_loop().close()


def execute_all(pages: Sequence[Page], folder: Path, jobs: int = 1) -> list[bool]:
    """Execute notebooks side by side, on one kernel a job; see `execute`."""
    waiting = deque(enumerate(pages))
    fresh = [False] * len(pages)

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


def execute(page: Page, folder: Path, kernel: Kernel) -> bool:
    """Run a notebook by papermill into a folder; False where a copy of the same content stands there.

    The kernel is started where it does not run yet. Of the notebook it executed before, what that imported stays, and
    nothing else.

    Raises
    ------
    InputError
        The notebook failed; the message names the cell's error, the copy with the traceback is kept. Or its
        kernel died.
    """
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
    skipped = False
    for cell in cells:
        if THIS_RUN not in cell.metadata.get("tags", []):
            yield cell
        elif not skipped:
            skipped = True
            yield nbformat.v4.new_markdown_cell("This page was made from the record: what the run found stands above.")


def refresh(chosen: Section) -> None:
    """Run a section's notebook with its own defaults and store the outputs that nbval compares.

    Tables, figures and dates differ between machines: their outputs are not stored.
    """
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
