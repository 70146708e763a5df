"""From one cancer to another (article: "From one cancer to another", Figs. 7 and 8).

A source network learns cancer against normal on one cancer; it is fine-tuned on n samples of another and
compared with a network trained from scratch on the same n samples. Every pair of source and target is tried.
On the diagonal the source is the target itself, its training samples of that fold: an upper reference.

The baseline and the classical methods of a target's fold know no source and are computed once. So that every
source can be held against this one baseline, all arms share one scaler, that of pan-cancer transfer: it is
fitted on the samples of all other cancers, whichever of them is the source. Baselines and classical methods
are therefore those of `gexlib.experiments.pan_to_specific`, number by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gexlib import statistics
from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import pan_to_specific
from gexlib.experiments.base import as_list
from gexlib.experiments.pan_to_specific import PAN, cells_of, fold_of
from gexlib.experiments.pan_to_specific import group as group
from gexlib.experiments.transfers import Transfer, main_lines
from gexlib.results import Cell
from gexlib.tasks import targets

PROTOCOL = 1


@dataclass(frozen=True)
class Parameters(pan_to_specific.Parameters):
    """What a notebook may set, beside the `Parameters` of pan-cancer transfer.

    Attributes
    ----------
    sources : list of str
        Cancer types or tissues to train source networks on; empty: every possible target of the cohort. One
        that is a target too is compared with itself: the diagonal.
    """

    sources: list[str] = field(default_factory=list)


class OneScaler(Transfer):
    """A fold on which all sources share the scaler of the baseline, fitted on every cancer but the target.

    Parameters
    ----------
    As `gexlib.experiments.transfers.Transfer`.
    """

    def scaled_on(self, source: str) -> str:
        """Name all other cancers, whatever the source."""
        return PAN


def _folds_of(cell: Cell) -> dict[str, Transfer]:
    """Set up the fold of a cell by scaler: "subset" and "domain" scale each source on its own samples."""
    one, own = fold_of(cell, OneScaler), fold_of(cell)
    return {"source": one, "all": one, "subset": own, "domain": own}


def cells(parameters: Parameters) -> list[Cell]:
    """List the cells: baseline and classical once for every n of a target's fold, the other arms a source.

    Raises
    ------
    InputError
        As `gexlib.experiments.pan_to_specific.cells`; a source that no cohort has; a cohort without any of the
        sources; a source of one class once the patients of a test fold are left out.
    """
    p = parameters

    def sources_of(known, target=None):
        return [source for source in known if source in p.sources or not p.sources]

    found = cells_of("cancer_to_cancer", PROTOCOL, p, sources_of)
    known = {cohort.uns["name"]: targets(cohort) for cohort in map(open_cohort, as_list(p.cohort))}
    every = set().union(*known.values())
    if missing := [source for source in p.sources if source not in every]:
        raise InputError(f"sources: '{missing[0]}' is not in {p.cohort}; it has {', '.join(sorted(every))}.")
    for name in dict.fromkeys(cell.parameters["cohort"] for cell in found):
        if not sources_of(known[name]):
            raise InputError(f"sources: {name} has none of them; name one of {', '.join(known[name])} or leave it out.")
    for cell in {group(cell): cell for cell in found}.values():
        here = cell.parameters
        fold = fold_of(cell)
        if not len(fold.sources[PAN].rows) and {"source", "all"} & set(p.scaler):
            raise InputError(
                f"target {here['target']}: {here['cohort']} has no other samples to fit the scaler on; "
                "use scaler=[subset]."
            )
        for source in sources_of(known[here["cohort"]]):
            if len(np.unique(fold.sources[source].y)) < 2:
                raise InputError(
                    f"source {source}: without the patients of a test fold of {here['target']} it has one class "
                    "only; leave it out of sources."
                )
    return found


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Run the cells of one fold of one target; a source network is trained when a cell first needs it."""
    by_scaler = None
    for cell in cells:
        by_scaler = by_scaler or _folds_of(cell)
        p = cell.parameters
        fold, source = by_scaler[p.get("scaler", "source")], p.get("source")
        axes = {name: p[name] for name in ("target", "repeat", "fold")}
        n_source = len(fold.sources[source].rows) if source else None
        yield cell, fold.rows(cell, source or PAN, source=source, n_source=n_source, **axes)


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Figs. 7 and 8 as a table: every arm of every pair and n, and its difference to the target's baseline.

    ``p_bh`` is adjusted (Benjamini and Hochberg) over all pairs at all n of one cohort and arm together, one
    family, larger than the pairs at one n. The diagonal is not in it.
    """
    return statistics.compare_arms(rows, metric)


def gains(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return the rows of `summarise` that are gains: fine-tuned minus baseline, the main line of each pair."""
    table = summarise(main_lines(rows), metric)
    return table[table["arm"] == "fine_tuned"].reset_index(drop=True)


def diagonal(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return the gains where source and target are the same cancer: the upper reference, in no average."""
    table = gains(rows, metric)
    return table[table["source"] == table["target"]].reset_index(drop=True)


def best_source(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return for each target and n the other cancer with the highest mean gain.

    The highest of several gains on the same test folds is biased upwards; ``helps`` says whether it is above
    0 with an adjusted p below 0.05, the adjustment being over all pairs that were tried.
    """
    table = gains(rows, metric)
    table = table[table["source"] != table["target"]].dropna(subset="difference")
    lower = metric in statistics.LOWER_IS_BETTER
    table = table.sort_values("difference", ascending=lower, kind="stable")
    table = table.drop_duplicates(["cohort", "split", "target", "n"])
    better = (table["difference"] < 0) if lower else (table["difference"] > 0)
    table = table.assign(helps=np.where(better & (table["p_bh"] < 0.05), "yes", "no"))
    return table.sort_values(["cohort", "split", "target", "n"]).reset_index(drop=True)


def gain_matrix(rows: pd.DataFrame, n: int | None = None, metric: str = "accuracy") -> pd.DataFrame:
    """Arrange the mean gains as sources against targets.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of the section.
    n : int, optional
        Target samples; default: the fewest of the rows.
    metric : str

    Returns
    -------
    DataFrame
        Index (cohort, n, source); columns (what, target), where what is "gain", "stars" (on the raw p, as the
        article prints them: one below 0.05, two below 0.01) and "adjusted" (a dagger where the adjusted p is
        below 0.05; never on the diagonal). ``matrix["gain"]`` is plain numbers.

    Raises
    ------
    InputError
        No pair was run at this n.
    """
    table = gains(rows, metric)
    sizes = sorted(table["n"].unique())
    n = min(sizes, default=None) if n is None else n
    if n not in sizes:
        raise InputError(f"n={n}: no pair was run at this size; use one of {', '.join(map(str, sizes)) or 'none'}.")
    table = table[table["n"] == n].rename(columns={"difference": "gain"})
    table["adjusted"] = np.where(table["p_bh"] < 0.05, "\u2020", "")
    return table.pivot(index=["cohort", "n", "source"], columns="target", values=["gain", "stars", "adjusted"])
