"""The article's statements, as ``book/published.csv`` holds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pandas as pd

from gexlib.errors import InputError
from gexlib.files import project_root


@dataclass(frozen=True)
class Claim:
    """A statement of the article, a row of ``book/published.csv``; value and margin are NaN where it has none."""

    id: str
    section: str
    statement: str
    type: str
    value: float
    text: str
    unit: str
    margin: float
    cohorts: tuple[str, ...]
    where: str

    @property
    def subject(self) -> str:
        """What of the section it is about: a target, a pair, a name."""
        return self.id.partition("/")[2]


@cache
def claims() -> dict[str, Claim]:
    """Return all statements by id.

    Raises
    ------
    InputError
        The file is not there.
    """
    path = project_root() / "book" / "published.csv"
    if not path.is_file():
        raise InputError(f"{path} is not there; restore it, as with git, or run this inside a clone of the project.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = table[["value", "margin"]].apply(pd.to_numeric, errors="coerce")
    return {
        row.id: Claim(
            row.id, row.section, row.statement, row.type, numbers["value"][i], row.value, row.unit,
            numbers["margin"][i], tuple(row.cohorts.split(";")), row.where,
        )
        for i, row in enumerate(table.itertuples())
    }  # fmt: skip


def stated(identifier: str) -> float:
    """Return a statement's number."""
    return claims()[identifier].value
