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

from gexlib.cohorts import fetch, geo, joint, store, tcga
from gexlib.errors import InputError, few
from gexlib.files import home

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["describe", "fetch_cohort", "import_cohort", "names", "open_cohort"]

_SIMULATED = "simulated-"
_PRESETS = tuple(
    f"{_SIMULATED}{kind}:{preset}" for kind in ("microarray", "tcga") for preset in ("smoke", "demo", "paper")
)
_READERS = {"tcga-pairs": tcga.read_pairs, "tcga-hypoxia": tcga.read_hypoxia}
#: How to fetch public cohorts; a series of GEO, whichever, is fetched by its accession.
PUBLIC = {name: f"gexlib fetch {name}" for name in (*fetch.SOURCES, "tcga")} | {
    "tcga-toil": "gexlib fetch tcga --hub toil"
}
#: Cohorts of the study's own reruns that have no public address: how a copy of the file becomes one.
IMPORTS = {
    name: f"gexlib cohort import {name}.h5ad --as {name} --where study_has_both=True"
    for name in ("u133-genes", "u133-studies")
}


def names() -> list[str]:
    """Return the names that `open_cohort` knows: presets, public cohorts, and what else is in the store."""
    return list(dict.fromkeys((*_PRESETS, *PUBLIC, *store.stored())))


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
    if name not in PUBLIC and not geo.is_accession(name):
        piece = "; in a list, put quotes around a name that has commas" if "=" in name else ""
        raise InputError(f"there is no cohort {name}: choose from {', '.join(names())}{piece}")
    files = fetch.at_hand(name) if name in _READERS else None
    if files is None:
        how = PUBLIC.get(name, f"gexlib fetch {name}")
        raise InputError(f"cohort {name} is not on this machine yet: run `{how}`")
    return _read_and_store(name, files)


def fetch_cohort(
    name: str,
    only: Iterable[str] | None = None,
    *,
    store_as: str = "",
    projects: Iterable[str] = (),
    hub: str = "gdc",
    mappings: Path | str | None = None,
    platform: str = "",
    force: bool = False,
    **how,
) -> "AnnData":
    """Fetch a public cohort, check it and store it, in the place of an earlier copy.

    Parameters
    ----------
    name : str
        A cohort of `PUBLIC`, or the accession of a series of GEO, such as ``GSE2034``.
    only : iterable of str, optional
        Of tcga-pairs: the files to use, such as ``["BRCA", "STAD"]``; all that can be had where it is not given.
    store_as : str
        Another name to store it under.
    projects, hub
        Of tcga: see `gexlib.cohorts.xena`; the article's eleven projects where none are given.
    mappings : path, optional
        Of microarray: a folder with tables of your own, see `gexlib.cohorts.microarray.mapping`.
    platform : str
        Of a series: such as ``GPL570``, where it was measured on several.
    force : bool
        Whether ``store_as`` may take the place of a cohort that came from other files.
    **how
        Of a series: what `gexlib.cohorts.own.fit` takes, such as ``maps`` and ``where``.

    Returns
    -------
    AnnData
        As `open_cohort` returns it. ``uns["notes"]`` says what is missing; ``uns["report"]``, where there is one,
        what was left out.

    Raises
    ------
    InputError
        A file cannot be had or is not the right one, an option does not belong to this cohort, or the store cannot
        be written to.
    """
    from gexlib.cohorts import microarray, xena

    projects = list(projects)
    name = name.upper() if geo.is_accession(name.upper()) else name
    name, hub = ("tcga", "toil") if name == "tcga-toil" else (name, hub)
    series = geo.is_accession(name)
    options = {
        "--projects": (projects, name == "tcga"), "--hub": (hub != "gdc", name == "tcga"),
        "--mappings": (mappings is not None, name == "microarray"), "--platform": (platform, series),
        **{f"--{option}": (value, series) for option, value in how.items()},
    }  # fmt: skip
    if foreign := [option for option, (given, ours) in options.items() if given and not ours]:
        raise InputError(f"{' '.join(foreign)}: cohort {name} knows no such option; leave it out")
    stored = store_as or ("tcga-toil" if name == "tcga" and hub == "toil" else name)
    if store_as:
        _refuse_name(store_as)
    if name.startswith(_SIMULATED):
        raise InputError(f"cohort {name} is simulated: nothing is fetched, it is built when it is first used")
    if name in IMPORTS:
        raise InputError(_by_import(name))
    if name not in PUBLIC and not series:
        raise InputError(f"no cohort {name} to fetch: there is {', '.join(PUBLIC)}, and any series of GEO, as GSE19804")
    place, source = name, None  # of the files
    if series:
        source = geo.source(name, platform)
    elif name == "tcga":
        projects = projects or list(xena.PROJECTS)
        place, source = ("tcga-toil" if hub == "toil" else name), xena.source(projects, hub)
    with fetch.locked(home() / "staged" / place):  # who comes second finds what the first has brought
        files = fetch.fetch(place, only, source)
        if store_as and not force:
            _refuse_replacing(store_as, {path.name for path in files.paths})
        if series:
            store.save(_series(name, files, stored, platform, how), stored)
        elif name == "tcga":
            xena.save(files, projects, hub, stored)
        elif name == "microarray":
            microarray.save(files, stored, mappings)
        elif name == "deep-gonet":
            microarray.save_deep_gonet(files, stored)
        else:
            store.save(_READERS[name](files.paths), stored)
        if source or name not in _READERS:
            fetch.confirm(place, files)
    return store.open_stored(stored)


def _series(accession: str, files: fetch.Fetched, name: str, platform: str, how: dict) -> "AnnData":
    """Read a series of GEO."""
    from gexlib.cohorts import own

    if not files.paths:
        raise InputError(
            f"there is no matrix {files.missing[0]} where {fetch.asked(accession)}: see whether the accession is right;"
            " a series measured on several platforms has one for each, so name one of them, as with --platform GPL570"
        )
    adata, dropped = geo.read(files)
    platforms = set(adata.obs.get("platform", ()))
    if len(platforms) == 1 and geo.is_platform(found := platforms.pop()):
        annotation = fetch.fetch(found, source=geo.platform_source(found))
        adata.var = geo.symbols(list(adata.var_names), next(iter(annotation.paths), None), dropped)
        fetch.confirm(found, annotation)
    origin = {"file": files.paths[0].name, **files.origins[files.paths[0].name]}
    return own.fit(adata, name, dropped=dropped, origin=origin, **how)


def import_cohort(path: Path | str, name: str, *, dry_run: bool = False, force: bool = False, **how) -> "AnnData":
    """Store a cohort of your own under a name, in the place of an earlier one from the same file.

    Parameters
    ----------
    path : path
        An ``.h5ad`` file or a table of expression.
    name : str
        Letters, digits, ``-`` and ``_``, beginning with a letter; not that of a cohort of the project.
    dry_run : bool
        Whether to read and check it only.
    force : bool
        Whether it may take the place of a cohort that came from another file.
    **how
        What `gexlib.cohorts.own.read` takes: ``samples``, ``maps``, ``where``, ``scale``, ``source``, ``notes``,
        ``transform``, ``guesses``, ``unlabelled``.

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

    _refuse_name(name)
    if not force:
        _refuse_replacing(name, {Path(path).name})
    cohort = own.read(path, name, **how)
    if dry_run:
        return cohort
    store.save(cohort, name)
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


def _refuse_name(name: str) -> None:
    """Refuse a name for a cohort of the user's that is none, or taken."""
    taken = name.lower() in PUBLIC or name.lower().startswith(_SIMULATED)
    if taken or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,59}", name):
        why = "belongs to a cohort of the project" if taken else "is no name"
        raise InputError(f"--as {name}: this {why}; use another of letters, digits, - and _ that begins with a letter")


def _refuse_replacing(name: str, files: set[str]) -> None:
    """Refuse to store under the name of a cohort that came from other files; a damaged one may give way."""
    if not store.is_stored(name):
        return
    try:
        uns = store.open_stored(name).uns
    except InputError:
        return
    before = {*uns.get("files", ()), uns.get("imported", {}).get("file", "")} - {""}
    if not before & files:
        came = f" from {few(before)}" if before else ""
        raise InputError(f"--as {name}: there is a cohort of this name{came}; use another name, or add --force")


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
