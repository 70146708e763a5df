"""Genes of one cohort found in another: by their ids, by symbol, or by Ensembl id.

``var`` is indexed by whatever a cohort calls its genes; its columns ``symbol`` and ``ensembl``, where it has them, say
what else they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from gexlib.cohorts import schema
from gexlib.errors import InputError, few

if TYPE_CHECKING:
    import pandas as pd

SPACES = {"id": "id", "symbol": "symbol", "ensembl": "Ensembl id"}
SEVERAL = "///"  # between the symbols of a probe set that measures several genes


@dataclass(frozen=True)
class Match:
    """How values of one cohort's genes become values of another's.

    Attributes
    ----------
    space : str
        What the genes were found by, a key of `SPACES`.
    weights : sparse array, shape (n_given, n_wanted)
        Each wanted gene is the mean of the given ones of its name, such as the probe sets of a symbol.
    """

    space: str
    weights: sparse.csc_array

    @property
    def found(self) -> np.ndarray:
        """Which wanted genes there are, shape (n_wanted,)."""
        return np.diff(self.weights.indptr) > 0

    @property
    def said(self) -> str:
        """The match in one sentence."""
        n, wanted = int(self.found.sum()), len(self.found)
        missing = f"; the other {wanted - n:,} stand at the mean of the source's training samples" if n < wanted else ""
        few = "; fewer than half: expect little of it" if 2 * n < wanted else ""
        return f"{n:,} of {wanted:,} genes match, by {SPACES[self.space]}{missing}{few}"

    def apply(self, X: np.ndarray, fill: np.ndarray) -> np.ndarray:
        """Return samples over the wanted genes.

        Parameters
        ----------
        X : array, shape (n_samples, n_given)
            In memory or memory-mapped.
        fill : array, shape (n_wanted,)
            Stands where a gene is not given.

        Returns
        -------
        array of float32, shape (n_samples, n_wanted)
        """
        result = np.empty((X.shape[0], self.weights.shape[1]), np.float32)
        absent = ~self.found
        for start, block in schema.row_blocks(X):
            rows = slice(start, start + len(block))
            result[rows] = block @ self.weights
            result[rows, absent] = fill[absent]
        return result


def kind(ids: pd.Index) -> str:
    """Say what most ids of genes are: symbols, Ensembl ids or probe sets."""
    import pandas as pd

    plain = pd.Series(list(map(str, ids)))
    forms = {
        "Ensembl ids": r"ENS[A-Z]*G\d+(\.\d+)?(_PAR_Y)?",
        "probe sets": r"(AFFX|\w).*_at",
        "symbols": r"[A-Z][A-Za-z0-9.-]*",
    }
    shares = {name: plain.str.fullmatch(form).mean() for name, form in forms.items()}
    return next((name for name, share in shares.items() if share > 0.5), "ids of another kind")


def names(var: pd.DataFrame, space: str) -> np.ndarray:
    """Return what the genes are called in a space, in one spelling; "" where that is not known or not one gene."""
    import pandas as pd

    column = var[space] if space in var else var.index
    if space == "ensembl" and space not in var:
        column = var.index.where(var.index.astype(str).str.startswith("ENS"), "")
    plain = pd.Series(np.asarray(column, dtype=object)).astype(str).str.strip().str.upper()
    plain = plain.str.replace(r"^(ENS[A-Z]*\d+)\.\d+", r"\1", regex=True)  # the version of an Ensembl id
    return plain.where(
        ~plain.str.contains(SEVERAL, regex=False) & ~plain.isin(map(str.upper, schema.BLANK)), ""
    ).to_numpy()


def match(wanted: pd.DataFrame, given: pd.DataFrame) -> Match:
    """Find the genes of one cohort in another, in the space where most are found.

    Parameters
    ----------
    wanted, given : DataFrame
        ``var`` of the cohort whose genes are wanted, and of the one that has the samples.

    Raises
    ------
    InputError
        None is found.
    """
    import pandas as pd

    called = {space: (names(wanted, space), names(given, space)) for space in SPACES}
    found = {space: pd.Index(mine).isin(theirs) & (mine != "") for space, (mine, theirs) in called.items()}
    space = max(SPACES, key=lambda space: found[space].sum())  # the first of equals
    if not found[space].any():
        raise InputError(
            f"no gene matches: {few(wanted.index)} are wanted, {few(given.index)} given; use a cohort with the same "
            "kind of ids, or with a column symbol or ensembl in var"
        )
    return _match(space, *called[space])


def _match(space: str, wanted: np.ndarray, given: np.ndarray) -> Match:
    import pandas as pd

    left = pd.DataFrame({"name": wanted, "column": np.arange(len(wanted))})
    right = pd.DataFrame({"name": given, "row": np.arange(len(given))})
    pairs = left[left["name"] != ""].merge(right, on="name")
    share = 1 / pairs.groupby("column")["row"].transform("size")
    shape = (len(given), len(wanted))
    return Match(space, sparse.csc_array((share.astype(np.float32), (pairs["row"], pairs["column"])), shape=shape))


def shared(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return the names of genes that all cohorts know, in the space where they share most, in the first's order.

    Parameters
    ----------
    tables : sequence of DataFrame
        ``var`` of each cohort.
    """
    best: list[str] = []
    for space in SPACES:
        common = set.intersection(*(set(names(var, space)) for var in tables)) - {""}
        if len(common) > len(best):
            best = [name for name in dict.fromkeys(names(tables[0], space)) if name in common]
    return best
