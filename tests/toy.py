"""An experiment for tests of store and runner: a cell says what becomes of it."""

import os
import signal
import time
from collections.abc import Iterable, Iterator

from gexlib.experiments import Section
from gexlib.results import Cell

PROTOCOL = 1
SECTION = Section("tests.toy", "")


def toys(n: int = 6, group: int = 2, digest: str = "d", **parameters) -> list[Cell]:
    """Make n cells, so many a group, with parameters that all share; `special` has those of single ones."""
    special = parameters.pop("special", {})
    return [
        Cell("tests.toy", {"number": i, "group": i // group, **parameters, **special.get(i, {})}, digest, PROTOCOL)
        for i in range(n)
    ]


def group(cell: Cell) -> str:
    return str(cell.parameters["group"])


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    for cell in cells:
        p = cell.parameters
        time.sleep(p.get("seconds", 0))
        if log := p.get("log"):
            with open(log, "a") as file:
                file.write(f"{p['number']}\n")
        if p.get("raises"):
            raise {"memory": MemoryError, "value": ValueError}[p["raises"]](f"cell {p['number']}")
        if p.get("dies") == "always" or (p.get("dies") and not os.path.exists(p["dies"])):
            if p["dies"] != "always":
                open(p["dies"], "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        yield cell, [{"experiment": "tests.toy", "metric": "accuracy", "value": float(p["number"]), "n": p["number"]}]
