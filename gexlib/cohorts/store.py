"""Cohorts on disk, memory-mapped, so that all worker processes share one copy.

A cohort is a folder of four files under ``GEXLIB_HOME/cohorts``: ``X.npy`` (float32, rows contiguous),
``obs.parquet``, ``var.parquet`` and ``uns.json``. A folder is built beside its place and moved there when it
is whole.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gexlib.cohorts import schema
from gexlib.errors import InputError
from gexlib.files import home, writing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_ABANDONED = 7 * 24 * 3600  # seconds after which an unfinished folder is that of a killed process


def folder_of(name: str) -> Path:
    """Return the folder in which the cohort of this name is kept, whether it is there or not.

    Parameters
    ----------
    name : str
        The cohort's name, such as ``simulated-tcga:demo``. Characters that some file systems refuse are
        replaced, and a short digest keeps such names apart.

    Returns
    -------
    Path
        A folder under ``GEXLIB_HOME/cohorts``.
    """
    slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.")[:80]
    if slug != name or not slug:  # no name is no folder above
        slug = f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return home() / "cohorts" / slug


class Draft:
    """A cohort that is being built on disk.

    Attributes
    ----------
    X : memmap, shape (n_samples, n_genes)
        The float32 matrix to fill, zero at first.
    """

    def __init__(self, name: str, folder: Path, n_samples: int, n_genes: int):
        self.name, self.folder, self.finished = name, folder, False
        self.X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n_samples, n_genes))
        _reserve(folder / "X.npy", self.X.nbytes)

    def finish(self, adata: "AnnData") -> None:
        """Check the cohort and write it.

        Parameters
        ----------
        adata : AnnData
            The labels, genes and notes; its matrix may be this draft's own ``X`` or another, which is copied.

        Raises
        ------
        InputError
            The cohort breaks the contract of `gexlib.cohorts.schema`.
        """
        self._write(schema.check(adata))

    def _write(self, adata: "AnnData") -> None:
        """Write a checked cohort."""
        if adata.shape != self.X.shape:
            raise InputError(f"cohort {self.name} was announced as {self.X.shape} but is {adata.shape}")
        if adata.X.ctypes.data != self.X.ctypes.data or adata.X.strides != self.X.strides:
            for start, block in schema.row_blocks(adata.X):
                self.X[start : start + len(block)] = block
        self.X.flush()
        adata.uns["name"] = self.name
        try:
            uns = json.dumps(dict(adata.uns), indent=1, default=_plain)
        except TypeError as error:
            raise InputError(f"cohort {self.name} has an entry in uns that is not plain text ({error})") from error
        adata.obs.to_parquet(self.folder / "obs.parquet")
        adata.var.to_parquet(self.folder / "var.parquet")
        (self.folder / "uns.json").write_text(uns, encoding="utf-8")
        self.finished = True


@contextmanager
def create(name: str, n_samples: int, n_genes: int, *, replace: bool = False) -> Iterator[Draft]:
    """Build a cohort on disk whose matrix need not fit into memory.

    Parameters
    ----------
    name : str
        The cohort's name.
    n_samples, n_genes : int
        The matrix's shape.
    replace : bool
        Whether to put the new cohort in the place of one that is stored. If not, and another process was
        faster, this copy is dropped.

    Yields
    ------
    Draft
        Fill ``draft.X``, then call ``draft.finish(adata)``. Nothing is kept without it, or when the body
        raises.

    Raises
    ------
    InputError
        ``GEXLIB_HOME`` is read-only or full.
    """
    target = folder_of(name)
    building = target.with_name(f".building-{uuid.uuid4().hex[:12]}")
    with writing(home()):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        building.mkdir()
        try:
            draft = Draft(name, building, n_samples, n_genes)
            yield draft
            if not draft.finished:
                raise RuntimeError(f"cohort {name} was not finished: call draft.finish(adata)")
            _move(building, target, replace)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def save(adata: "AnnData", name: str | None = None, *, replace: bool = True) -> None:
    """Check a cohort that is in memory and store it.

    Parameters
    ----------
    adata : AnnData
        The cohort.
    name : str, optional
        Its name; ``adata.uns["name"]`` where none is given.
    replace : bool
        Whether a stored cohort of this name gives way.

    Raises
    ------
    InputError
        The cohort breaks the contract, has no name, or ``GEXLIB_HOME`` cannot be written to.
    """
    name = name or adata.uns.get("name")
    if not name:
        raise InputError('the cohort has no name: give one, or set uns["name"]')
    adata = schema.check(adata)  # before any space is taken
    with create(name, *adata.shape, replace=replace) as draft:
        draft._write(adata)


def is_stored(name: str) -> bool:
    """Return whether the store has a folder for this cohort, damaged or not."""
    return folder_of(name).is_dir()


def open_stored(name: str) -> "AnnData":
    """Open a stored cohort without reading its matrix.

    Parameters
    ----------
    name : str
        The cohort's name.

    Returns
    -------
    AnnData
        ``X`` is a read-only memory map of float32, shape (n_samples, n_genes).

    Raises
    ------
    InputError
        The cohort is not in the store, or its folder is damaged.
    """
    from anndata import AnnData

    folder = folder_of(name)
    if not folder.is_dir():
        raise InputError(f"cohort {name} is not in the store {folder.parent}: run `gexlib fetch {name}`")
    try:
        uns = json.loads((folder / "uns.json").read_text(encoding="utf-8"))
        obs, var = (read_frame(folder / f"{part}.parquet") for part in ("obs", "var"))
        X = np.load(folder / "X.npy", mmap_mode="r", allow_pickle=False)
        if X.dtype != np.float32 or X.shape != (len(obs), len(var)):
            raise ValueError(f"X.npy is {X.dtype} {X.shape}, the labels are {(len(obs), len(var))}")
        if uns["name"] != name or not uns["digest"]:
            raise ValueError(f"it says it holds {uns['name']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the stored cohort {name} is damaged ({what}): delete folder {folder} and fetch again, or run "
            "again where it is simulated"
        ) from error
    return AnnData(X=X, obs=obs, var=var, uns=uns)


def read_frame(path: Path) -> "pd.DataFrame":
    """Read a Parquet table in this thread alone.

    `pandas.read_parquet` hands a Python file to the threads of pyarrow. One that lets go of it while the
    interpreter shuts down aborts the process (apache/arrow, issue 34314).
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return file.read(use_threads=False).to_pandas(use_threads=False)


def stored() -> list[str]:
    """Return the names of the cohorts in the store, in alphabetical order; damaged ones are left out."""
    names = []
    for path in (home() / "cohorts").glob("[!.]*/uns.json"):
        try:
            name = json.loads(path.read_text(encoding="utf-8"))["name"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        names.append(name)
    return sorted(names)


def _reserve(path: Path, n_bytes: int) -> None:
    """Claim the space of a memory map now: a full disk would kill the process when a page is written."""
    with writing(path.parent):
        if shutil.disk_usage(path.parent).free < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _move(building: Path, target: Path, replace: bool) -> None:
    """Put a finished folder into its place, or leave it where another process was faster."""
    for _ in range(100):
        try:
            building.rename(target)  # fails where the target is a folder with files in it
            return
        except OSError:
            if not target.is_dir():
                raise
        if not replace:
            return
        old = target.with_name(f".old-{uuid.uuid4().hex[:12]}")
        try:
            target.rename(old)  # open memory maps of the old cohort stay valid
        except FileNotFoundError:
            continue  # another process has just moved it
        shutil.rmtree(old, ignore_errors=True)
    raise OSError(f"other processes keep replacing {target}")


def _sweep(parent: Path) -> None:
    """Delete the folders that killed processes left unfinished."""
    for pattern in (".building-*", ".old-*"):
        for folder in parent.glob(pattern):
            try:
                abandoned = time.time() - folder.stat().st_mtime > _ABANDONED
            except FileNotFoundError:
                continue
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _plain(value):
    """Return a NumPy value as JSON knows it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
