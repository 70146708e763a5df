"""Cohorts by name: samples with gene expression and labels, one form whatever they come from.

Examples
--------
>>> from gexlib.cohorts import open_cohort
>>> cohort = open_cohort("simulated-tcga:smoke")
>>> cohort.obs["status"].value_counts()  # doctest: +SKIP
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gexlib.cohorts import fetch, joint, store, tcga
from gexlib.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["describe", "fetch_cohort", "import_cohort", "names", "open_cohort"]

_SIMULATED = "simulated-"
_PRESETS = tuple(
    f"{_SIMULATED}{kind}:{preset}" for kind in ("microarray", "tcga") for preset in ("smoke", "demo", "paper")
)
_READERS = {"tcga-pairs": tcga.read_pairs, "tcga-hypoxia": tcga.read_hypoxia}
#: Cohorts of the study's own reruns that have no public address: how a copy of the file becomes one.
IMPORTS = {
    name: f"gexlib cohort import {name}.h5ad --as {name} --where study_has_both=True"
    for name in ("u133-genes", "u133-studies")
}


def names() -> list[str]:
    """Return the names that `open_cohort` knows: presets, public cohorts, and what else is in the store."""
    return list(dict.fromkeys((*_PRESETS, *fetch.SOURCES, *store.stored())))


def open_cohort(name: str) -> "AnnData":
    """Open a cohort, its matrix memory-mapped.

    Parameters
    ----------
    name : str
        A simulated cohort (``simulated-tcga:demo``, ``simulated-microarray:samples=300,genes=200``), a public
        one that was fetched (``tcga-pairs``), the name under which a cohort of your own was stored, or several
        of these joined (``tcga-pairs+u133-genes``, see `gexlib.cohorts.joint`).

    Returns
    -------
    AnnData
        The cohort of `gexlib.cohorts.schema`; ``X`` is a read-only memory map, float32, shape (n_samples,
        n_genes). A simulated or joint cohort is built when it is first opened, and again when the simulator or
        a part has changed.

    Raises
    ------
    InputError
        The name is unknown, the cohort was not fetched yet, or its stored copy is damaged.
    """
    if joint.is_joint(name):
        return joint.open_joint(name, open_cohort)
    if name.startswith(_SIMULATED):
        return _open_simulated(name)
    if store.is_stored(name):
        return store.open_stored(name)
    if name in IMPORTS:
        raise InputError(_by_import(name))
    if name not in fetch.SOURCES:
        piece = "; in a list, put quotes around a name that has commas" if "=" in name else ""
        raise InputError(f"there is no cohort {name}: choose from {', '.join(names())}{piece}")
    files = fetch.at_hand(name)
    if files is None:
        raise InputError(f"cohort {name} is not on this machine yet: run `gexlib fetch {name}`")
    return _read_and_store(name, files)


def fetch_cohort(name: str, only: Iterable[str] | None = None) -> "AnnData":
    """Fetch a public cohort, check it and store it, in the place of an earlier copy.

    Parameters
    ----------
    name : str
        A cohort of `gexlib.cohorts.fetch.SOURCES`.
    only : iterable of str, optional
        The files to use, such as ``["BRCA", "STAD"]``; all that can be had where it is not given.

    Returns
    -------
    AnnData
        As `open_cohort` returns it. ``uns["notes"]`` says what is missing.

    Raises
    ------
    InputError
        A file cannot be had or is not the right one, or the store cannot be written to.
    """
    if name.startswith(_SIMULATED):
        raise InputError(f"cohort {name} is simulated: nothing is fetched, it is built when it is first used")
    if name in IMPORTS:
        raise InputError(_by_import(name))
    return _read_and_store(name, fetch.fetch(name, only))


def import_cohort(path: Path | str, name: str, **how) -> "AnnData":
    """Store a cohort of your own under a name, in the place of an earlier one.

    Parameters
    ----------
    path : path
        An ``.h5ad`` file or a table of expression.
    name : str
        Letters, digits, ``-`` and ``_``, beginning with a letter; not that of a cohort of the project.
    **how
        What `gexlib.cohorts.own.read` takes: ``samples``, ``maps``, ``where``, ``scale``, ``source``, ``notes``.

    Returns
    -------
    AnnData
        As `open_cohort` returns it. ``uns["imported"]["dropped"]`` says what was left out and why.

    Raises
    ------
    InputError
        The name is taken or unfit, a file cannot be used, or the store cannot be written to. Nothing is stored.
    """
    from gexlib.cohorts import own

    taken = name.lower() in fetch.SOURCES or name.lower().startswith(_SIMULATED)
    if taken or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        why = "belongs to a cohort of the project" if taken else "is no name"
        raise InputError(f"--as {name}: this {why}; use another of letters, digits, - and _ that begins with a letter")
    store.save(own.read(path, name, **how), name)
    return store.open_stored(name)


def describe(name: str) -> dict:
    """Return what a reader wants to know of a cohort before using it.

    Parameters
    ----------
    name : str
        A cohort that `open_cohort` can open.

    Returns
    -------
    dict
        ``name``, ``samples``, ``genes``, ``patients`` (0 where they are not known), ``scale``, ``source``,
        ``simulated``, ``digest``, ``notes``; ``status``: dict of samples by class; and, where they are known,
        ``origin``, ``tissue``, ``cancer_type``: DataFrame of samples, a row a label, a column a class.

    Raises
    ------
    InputError
        As `open_cohort`.
    """
    import pandas as pd

    from gexlib.cohorts.schema import STATUS

    cohort = open_cohort(name)
    obs = cohort.obs
    summary = {
        "name": cohort.uns["name"],
        "samples": cohort.n_obs,
        "genes": cohort.n_vars,
        "patients": int(obs.loc[obs["patient"] != "", "patient"].nunique()),
        "status": {status: int((obs["status"] == status).sum()) for status in STATUS},
    }
    for column in ("origin", "tissue", "cancer_type"):
        known = obs[obs[column] != ""]
        if len(known):
            counts = pd.crosstab(known[column], known["status"])
            summary[column] = counts.reindex(columns=pd.Index(STATUS, name="status"), fill_value=0)
    return summary | {key: cohort.uns[key] for key in ("scale", "source", "simulated", "digest", "notes")}


def _by_import(name: str) -> str:
    return (
        f"cohort {name} has no public address and was not imported yet: get a copy of {name}.h5ad and run "
        f"`{IMPORTS[name]}`"
    )


def _read_and_store(name: str, files: fetch.Fetched) -> "AnnData":
    store.save(_READERS[name](files.paths), name)
    return store.open_stored(name)


def _open_simulated(name: str) -> "AnnData":
    from gexlib.cohorts.simulate import Simulation, simulate

    simulation = Simulation.from_name(name)
    name = simulation.name
    stale = False  # built by another simulator or calibration
    if store.is_stored(name):
        cohort = store.open_stored(name)
        stale = cohort.uns["digest"] != simulation.digest
        if not stale:
            return cohort
    with store.create(name, simulation.samples, simulation.genes, replace=stale) as draft:
        draft.finish(simulate(simulation, draft.X))
    return store.open_stored(name)


def is_at_hand(name: str) -> bool:
    """Whether a cohort, or every part of a joint one, is stored on this machine: opening it builds nothing."""
    if joint.is_joint(name):
        return all(is_at_hand(part) for part in name.split("+"))
    if name.startswith(_SIMULATED):
        from gexlib.cohorts.simulate import Simulation

        name = Simulation.from_name(name).name
    return store.is_stored(name)
