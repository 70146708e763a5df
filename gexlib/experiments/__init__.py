"""One module a section of the study.

An experiment module offers

- ``PROTOCOL``: an integer, raised by hand when the meaning of its numbers changes;
- ``Parameters``: a frozen dataclass, what a notebook's ``parameters`` cell may set;
- ``cells(parameters) -> list[Cell]``: the units of work;
- ``group(cell) -> str``: cells of one group share work (samples, a source network);
- ``evaluate(cells) -> iterator of (cell, rows)``: runs the cells of one group;
- ``summarise(rows) -> DataFrame``: the section's table;
- optionally ``follow(parameters, rows) -> list[Cell]``: further cells, chosen from the rows of the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from gexlib.errors import InputError


@dataclass(frozen=True)
class Section:
    """A section of the study: its name on the command line, its notebook, its experiment module."""

    name: str
    notebook: str
    experiment_of: str = ""  # the section whose experiment this one shows, where it has none of its own

    @property
    def experiment(self) -> str:
        """Name of the experiment's module and of its rows."""
        return (self.experiment_of or self.name).replace("-", "_")

    @property
    def module(self) -> ModuleType:
        """The experiment's module."""
        return module_of(self.experiment)


def module_of(experiment: str) -> ModuleType:
    """Return an experiment's module; a name with a dot in it is that of a module outside gexlib, one of your own."""
    return import_module(experiment if "." in experiment else f"gexlib.experiments.{experiment}")


SECTIONS = {
    section.name: section
    for section in (
        Section("data", "01_data"),
        Section("sensitivity", "02_sensitivity"),
        Section("comparison", "03_comparison"),
        Section("cell-lines-and-patients", "04_cell_lines_and_patients"),
        Section("pan-to-specific", "05_pan_to_specific"),
        Section("cancer-to-cancer", "06_cancer_to_cancer"),
        Section("unsupervised", "07_unsupervised"),
        Section("supplement", "09_supplement", "comparison"),
    )
}

#: Pages over the record of all sections, which run nothing.
PAGES = {
    page.name: page
    for page in (
        Section("verdicts", "08_verdicts"),
        Section("explore", "10_explore"),
        Section("recommendations", "11_recommendations"),
    )
}


def section(name: str) -> Section:
    """Return the section of that name: ``pan-to-specific``, ``pan_to_specific`` or ``05_pan_to_specific``."""
    for candidate in SECTIONS.values():
        if name in (candidate.name, candidate.experiment, candidate.notebook):
            return candidate
    raise InputError(f"section '{name}' is not known: use one of {', '.join(SECTIONS)}.")
