"""Two or more cohorts as one: the genes they share, and the tissues that each holds with both classes.

For transfer between platforms. The values stay on the scale of their part: an experiment standardises each
platform on its own training samples.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gexlib.cohorts import genes as matching
from gexlib.cohorts import schema, store
from gexlib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

JOINT = 1  # raise when the content of joint cohorts changes
LEAST = 5  # samples of each class that a tissue needs in every part
_KEPT = ("status", "origin", "tissue", "cancer_type", "study", "patient", "platform")
_BLOCK = 1024  # rows copied at a time


def is_joint(name: str) -> bool:
    """Return whether a name is that of a joint cohort, such as ``tcga-pairs+u133-genes``."""
    return "+" in name


def open_joint(name: str, open_part: Callable[[str], AnnData]) -> AnnData:
    """Open a joint cohort; it is built when it is first opened, and again when a part has changed.

    Parameters
    ----------
    name : str
        Names of cohorts with ``+`` between them. Their order is kept.
    open_part : function
        Opens a cohort by its name.

    Returns
    -------
    AnnData
        The genes that all parts have, by id, in the order of the first part, or, where they share no id, by symbol or
        Ensembl id (see `gexlib.cohorts.genes`); the samples of tissues of which
        every part has `LEAST` cancer and `LEAST` normal samples. ``obs["platform"]`` is the name of the part;
        ``obs["cancer_type"]`` is empty, so that tissues are the targets. Sample ids, patients and studies that
        occur in several simulated parts get the part's name in front. ``uns["parts"]`` holds the parts' digests.

    Raises
    ------
    InputError
        A part is not at hand or named twice, the parts share no gene or no tissue, or measured parts share
        samples or patients.
    """
    parts = [open_part(part) for part in name.split("+") if part]
    names = [part.uns["name"] for part in parts]
    if len(parts) != name.count("+") + 1 or len(set(names)) < len(names):
        raise InputError(f"cohort {name}: join two cohorts or more, each once, such as tcga-pairs+u133-genes")
    name = "+".join(names)  # a simulated part may have a shorter name
    recipe = {"joint": JOINT, "parts": {part.uns["name"]: part.uns["digest"] for part in parts}}
    stale = False
    if store.is_stored(name):
        cohort = store.open_stored(name)
        stale = {key: cohort.uns.get(key) for key in recipe} != recipe
        if not stale:
            return cohort
    _join(name, parts, recipe, replace=stale)
    return store.open_stored(name)


def _join(name: str, parts: list[AnnData], recipe: dict, replace: bool) -> None:
    """Build and store a joint cohort."""
    import pandas as pd
    from anndata import AnnData

    genes = parts[0].var_names
    for part in parts[1:]:
        genes = genes[genes.isin(part.var_names)]
    by_id = len(genes) > 0
    if not by_id:
        genes = pd.Index(matching.shared([part.var for part in parts]), dtype=object)
    if not len(genes):
        ids = "; ".join(f"{part.uns['name']}: {', '.join(part.var_names[:3])}" for part in parts)
        raise InputError(f"cohort {name}: its parts share no gene ({ids}); join cohorts whose genes have the same ids")
    found = [_tissues(part.obs) for part in parts]
    tissues = sorted(set.intersection(*found))
    if not tissues:
        has = "; ".join(
            f"{part.uns['name']}: {', '.join(sorted(one)) or 'none'}" for part, one in zip(parts, found, strict=True)
        )
        raise InputError(
            f"cohort {name}: its parts share no tissue of which each has {LEAST} cancer and {LEAST} normal samples "
            f"({has}); join others"
        )
    rows = [np.flatnonzero(part.obs["tissue"].isin(tissues)) for part in parts]
    obs = _labels(name, parts, rows)
    uns = {
        "name": name,
        "source": "; ".join(f"{part.uns['name']}: {part.uns['source']}" for part in parts),
        "scale": "; ".join(f"{part.uns['name']}: {part.uns['scale']}" for part in parts),
        "simulated": any(part.uns["simulated"] for part in parts),
        "notes": _notes(parts, tissues, obs, len(genes)),
        **recipe,
    }
    if uns["simulated"]:  # as those of its parts, the digest stands for the recipe
        uns["digest"] = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    with store.create(name, len(obs), len(genes), replace=replace) as draft:
        at = 0
        for part, mine in zip(parts, rows, strict=True):
            columns = part.var_names.get_indexer(genes)
            found = None if by_id else matching.match(pd.DataFrame(index=genes), part.var)
            for start in range(0, len(mine), _BLOCK):
                block = part.X[mine[start : start + _BLOCK]]
                block = block[:, columns] if found is None else found.apply(block, np.zeros(len(genes)))
                draft.X[at : at + len(block)] = block
                at += len(block)
        draft.finish(AnnData(X=draft.X, obs=obs, var=pd.DataFrame(index=genes), uns=uns))


def _tissues(obs: pd.DataFrame) -> set[str]:
    """Return the tissues with enough samples of both classes."""
    counts = obs[obs["tissue"] != ""].groupby(["tissue", "status"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(schema.STATUS), fill_value=0)
    return set(counts.index[(counts >= LEAST).all(axis=1)])


def _labels(name: str, parts: list[AnnData], rows: list[np.ndarray]) -> pd.DataFrame:
    """Return the samples' labels, a part below the other, with ids that tell the parts apart."""
    import pandas as pd

    frames = []
    for part, mine in zip(parts, rows, strict=True):
        frame = part.obs.iloc[mine].assign(platform=part.uns["name"], cancer_type="")
        frames.append(frame[list(_KEPT)].rename_axis("sample").reset_index())
    measured = [frame for part, frame in zip(parts, frames, strict=True) if not part.uns["simulated"]]
    for column, what in (("sample", "samples"), ("patient", "patients")):
        if shared := _repeated(measured, column):
            raise InputError(
                f"cohort {name}: its parts share {len(shared)} {what}, such as {shared[0]}, which would stand on both "
                "sides; join cohorts of different patients, or give different people different ids"
            )
    for column in ("sample", "patient", "study"):
        if _repeated(frames, column):
            for frame in frames:
                frame[column] = (frame["platform"] + ":" + frame[column]).where(frame[column] != "", "")
    return pd.concat(frames, ignore_index=True).set_index("sample")


def _repeated(frames: list[pd.DataFrame], column: str) -> list[str]:
    """Return the labels that occur in more than one part."""
    seen = Counter(label for frame in frames for label in set(frame[column]) - {""})
    return sorted(label for label, n in seen.items() if n > 1)


def _notes(parts: list[AnnData], tissues: list[str], obs: pd.DataFrame, n_genes: int) -> list[str]:
    """Return what a reader of results on a joint cohort must know."""
    counts = obs["platform"].value_counts()
    sizes = ", ".join(f"{counts[part.uns['name']]:,} of {part.n_obs:,} from {part.uns['name']}" for part in parts)
    return [
        f"Samples of {', '.join(tissues)}: {sizes}; the {n_genes:,} genes that the parts share.",
        "Each part keeps its own scale: standardise each platform on its own training samples before comparing. "
        "For the target this uses unlabelled samples of its training pool (transductive).",
        *(f"{part.uns['name']}: {note}" for part in parts for note in part.uns["notes"]),
    ]
