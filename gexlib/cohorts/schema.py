"""What a cohort is, checked in one place.

A cohort is an ``AnnData``: ``X`` float32 of shape (n_samples, n_genes), all finite; ``obs`` indexed by unique
sample ids; ``var`` indexed by unique gene or probe-set ids; ``uns`` with ``name``, ``source``, ``scale``,
``simulated``, ``digest`` and ``notes``. A missing label is the empty string.
"""

import hashlib
import json
import mmap
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gexlib.errors import InputError, few, shortened

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

STATUS = ("cancer", "normal")
ORIGIN = ("patient", "cell_line")
LABELS = ("status", "origin", "tissue", "cancer_type", "study", "patient")
BLANK = ("", "-", "nan", "NaN", "NA", "N/A", "None", "<NA>")
_BLOCK_BYTES = 32 * 2**20


def check(adata: "AnnData") -> "AnnData":
    """Return the cohort in its one form, or say what is wrong with it.

    Parameters
    ----------
    adata : AnnData
        Samples in rows. ``obs["status"]`` is required. Integer and double matrices become float32, sparse
        ones dense; blank, ``-`` and missing labels become ``""``; label columns that are missing are added,
        empty.

    Returns
    -------
    AnnData
        A new object. ``X`` is shared with the argument where it was float32 already, a memory map stays one.
        ``uns["digest"]`` is that of the content. Layers, graphs and embeddings are left behind.

    Raises
    ------
    InputError
        The first breach of the contract: no samples or no genes, no usable ``status``, an unknown label, a
        missing or repeated sample id or gene, a value that is not finite.

    Notes
    -----
    A cohort with one class is legal, and so is one without any status, which can only be predicted; a task on it is
    not: see `check_two_classes`.
    """
    from anndata import AnnData

    if adata.isbacked:
        adata = adata.to_memory()
    uns = {"name": "unnamed", "source": "", "scale": "", "simulated": False, "notes": [], **adata.uns}
    uns["simulated"] = bool(uns["simulated"])
    uns["notes"] = [str(note) for note in ([uns["notes"]] if isinstance(uns["notes"], str) else uns["notes"])]
    name = uns["name"]

    if adata.n_obs == 0 or adata.n_vars == 0 or adata.X is None:
        raise InputError(
            f"cohort {name} is empty ({adata.n_obs} samples x {adata.n_vars} genes): give it a matrix with "
            "samples in rows and genes in columns"
        )
    samples = _ids(name, "sample id", adata.obs_names)
    genes = _ids(name, "gene", adata.var_names)
    obs = _labels(name, adata.obs).set_axis(samples, axis=0)
    X = _matrix(name, adata.X)
    _check_finite(name, X, samples, genes)
    checked = AnnData(X=X, obs=obs, var=_plain(name, adata.var).set_axis(genes, axis=0), uns=uns)
    checked.uns["digest"] = digest(checked)
    return checked


def read_h5ad(path: Path | str) -> "AnnData":
    """Read an ``.h5ad`` file as it is, named after the file; `check` says whether it is a cohort.

    Raises
    ------
    InputError
        There is no such file, or it is no ``.h5ad`` file.
    """
    import warnings

    from anndata import read_h5ad

    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}: name an .h5ad file")
    try:
        if (what := _trial(path)) is not None:
            raise ValueError(what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on repeated names; `check` refuses them
            adata = read_h5ad(path)
    except Exception as error:  # h5py and anndata raise many kinds on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as .h5ad ({reason}): save it again with anndata") from error
    adata.uns.setdefault("name", path.stem)
    return adata


def _trial(path: Path) -> str | None:
    """Read a file in a process of its own: HDF5 crashes on some damaged files and never ends on others.

    Returns
    -------
    str or None
        What became of the process where it did not end by itself.
    """
    seconds = PATIENCE + path.stat().st_size / SPEED
    try:
        done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"reading it does not end within {seconds:.0f} s"
    return f"reading it ends with signal {-done.returncode}" if done.returncode < 0 else None


_READ = "import sys, warnings; warnings.simplefilter('ignore'); import anndata; anndata.read_h5ad(sys.argv[1])"
PATIENCE = 60.0  # seconds that reading an .h5ad file may take
SPEED = 10 * 2**20  # bytes a second that it then reads at least


def check_two_classes(adata: "AnnData") -> None:
    """Refuse a cohort, or a part of one, in which only one status occurs.

    Parameters
    ----------
    adata : AnnData
        A checked cohort.

    Raises
    ------
    InputError
        Cancer or normal samples are absent, so nothing can be learned about them.
    """
    missing = [status for status in STATUS if not (adata.obs["status"] == status).any()]
    if missing:
        raise InputError(
            f"cohort {adata.uns.get('name', 'unnamed')} has no {' and no '.join(missing)} sample among its "
            f"{adata.n_obs}: choose a cohort or a tissue with both"
        )


def digest(adata: "AnnData") -> str:
    """Return 16 hexadecimal digits that stand for a cohort's content.

    Parameters
    ----------
    adata : AnnData
        A cohort whose ``X`` is float32, as `check` returns it.

    Returns
    -------
    str
        The beginning of a SHA-256 over the values, the sample and gene ids and the ``obs`` columns. The order
        of the columns and of a column's categories does not count.

    Notes
    -----
    A simulated cohort keeps the digest that its simulator set, made from name and version: its floats differ
    in the last bit between processors though the recipe is the same.
    """
    if adata.uns.get("simulated") and adata.uns.get("digest"):
        return str(adata.uns["digest"])
    total = hashlib.sha256()
    columns = {str(column): adata.obs[column].astype(str).tolist() for column in adata.obs.columns}
    labels = [list(adata.shape), adata.obs_names.tolist(), adata.var_names.tolist(), sorted(columns.items())]
    total.update(json.dumps(labels).encode())
    for _, block in row_blocks(adata.X):
        total.update(np.ascontiguousarray(block, dtype="<f4"))
    return total.hexdigest()[:16]


def row_blocks(X: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, rows) of a matrix of any size, some 32 MiB at a time.

    Parameters
    ----------
    X : ndarray, shape (n_samples, n_genes)
        The matrix, in memory or memory-mapped.

    Yields
    ------
    (int, ndarray)
        The number of the block's first row and a view of the block.
    """
    step = max(1, _BLOCK_BYTES // max(1, X.shape[1] * X.itemsize))
    for start in range(0, X.shape[0], step):
        yield start, X[start : start + step]
        release(X)


def release(X: np.ndarray) -> None:
    """Let go of the memory that holds parts of a memory map; they are read again where they are needed.

    Pages that were looked at count as the process's memory, in the end as much as the whole matrix.
    """
    mapped = getattr(X, "_mmap", None)
    if mapped is not None and X.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _ids(name: str, what: str, index: "pd.Index") -> "pd.Index":
    """Return ids as text, unique and none of them blank."""
    import pandas as pd

    ids = pd.Index([str(i).strip() for i in index], dtype=object)
    blank = index.isna() | (ids == "")
    if blank.any():
        raise InputError(
            f"cohort {name} has {int(blank.sum())} {what}s that are blank, the first in place"
            f" {int(blank.argmax()) + 1}: name them or drop them"
        )
    if not ids.is_unique:
        repeated = ids[ids.duplicated()].unique()
        raise InputError(
            f"cohort {name} has {len(repeated)} repeated {what}s, such as {few(repeated)}: keep "
            "one of each, or average them"
        )
    return ids


def _labels(name: str, obs: "pd.DataFrame") -> "pd.DataFrame":
    """Return obs with text labels, every label column present and the two closed sets respected."""
    if "status" not in obs:
        raise InputError(
            f"cohort {name} has no `status` column, only {', '.join(map(str, obs.columns)) or 'none at all'}:"
            " add one with `cancer` or `normal` for each sample"
        )
    obs = _plain(name, obs)
    for column in LABELS:
        if column not in obs:
            obs[column] = ""
    for column, allowed in (("status", STATUS), ("origin", (*ORIGIN, ""))):
        if column == "status" and (obs[column] == "").all():
            continue  # samples to be predicted
        wrong = obs.loc[~obs[column].isin(allowed), column]
        if len(wrong):
            found = ", ".join(f"`{shortened(label)}`" if label else "(blank)" for label in wrong.unique()[:3])
            raise InputError(
                f"cohort {name} has {len(wrong)} samples whose {column} is not "
                f"{' or '.join(f'`{label}`' for label in allowed if label)} but {found}, the first being "
                f"{shortened(wrong.index[0])}: rename these labels or drop the samples"
            )
    return obs


def _plain(name: str, table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose columns are text, or numbers where they are no labels."""
    table = table.copy()
    table.columns = [str(column) for column in table.columns]
    if not table.columns.is_unique:
        repeated = table.columns[table.columns.duplicated()].unique()
        raise InputError(f"cohort {name} has more than one column `{shortened(repeated[0])}`: keep one")
    for column in table.columns:
        values = table[column]
        if column in LABELS or values.dtype.kind not in "biuf":
            text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
            table[column] = text.where(~text.isin(BLANK), "").astype(object)
    return table


def _matrix(name: str, X) -> np.ndarray:
    """Return X as a dense float32 array, the same object where it is one."""
    if hasattr(X, "toarray"):
        X = X.toarray()
    if not isinstance(X, np.ndarray):
        X = np.asarray(X)
    if X.dtype == np.float32:
        return X
    try:
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is named as such
            return X.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"cohort {name} has a matrix that is not numeric ({error}): give it numbers only") from error


def _check_finite(name: str, X: np.ndarray, samples: "pd.Index", genes: "pd.Index") -> None:
    """Refuse NaN and infinite values, with their number and the place of the first."""
    count, first = 0, None
    for start, block in row_blocks(X):
        bad = ~np.isfinite(block)
        if bad.any():
            count += int(bad.sum())
            if first is None:
                row, column = np.argwhere(bad)[0]
                first = (start + row, column)
    if first is not None:
        raise InputError(
            f"cohort {name} has {count} values that are NaN or infinite, the first in sample "
            f"{shortened(samples[first[0]])}, gene {shortened(genes[first[1]])}: impute them or drop those samples or "
            "genes"
        )
