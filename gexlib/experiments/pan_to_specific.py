"""From pan-cancer to one cancer (article: "From pan-cancer to specific cancer", Figs. 5 and 6).

A source network learns cancer against normal on every type but the target; it is fine-tuned on n samples
of the target and compared, on the target's test fold, with a network trained from scratch on the same n
samples (the baseline), with the source network as it is (zero-shot) and with the classical methods, tuned
on the same n samples or on these and the source together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gexlib import statistics
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check_two_classes
from gexlib.errors import InputError
from gexlib.experiments.base import as_list, cell_problem, samples
from gexlib.experiments.transfers import Transfer, TransferParameters, arm_cells, check_transfer
from gexlib.experiments.transfers import main_lines as main_lines
from gexlib.results import Cell
from gexlib.tasks import folds, platform, problem, seed_of, targets

PROTOCOL = 1
PAN = "pan"


@dataclass(frozen=True)
class Parameters(TransferParameters):
    """What a notebook may set, beside `TransferParameters`.

    Attributes
    ----------
    targets : list of str
        Cancer types or tissues; empty: all that have both classes. A size n beyond the training folds of
        one target is left out for it.
    folds, repeats : int
        Cross-validation of the target, and how often with new folds (article: 10 folds).
    split : str
        "random" (by patient where patients repeat), "patient" or "study".
    """

    targets: list[str] = field(default_factory=list)
    folds: int = 10
    repeats: int = 1
    split: str = "random"


def cells(parameters: Parameters) -> list[Cell]:
    """List the cells: zero-shot once a fold; baseline, fine-tuned (a cell a F) and classical for every n.

    Raises
    ------
    InputError
        A target that a cohort lacks, more folds than patients, a size beyond every target's training folds.
    """
    return cells_of("pan_to_specific", PROTOCOL, parameters, lambda known, target: (None,))


def cells_of(experiment: str, protocol: int, p: Parameters, sources_of) -> list[Cell]:
    """List the cells of every target's folds; ``sources_of(targets, target)`` names the sources of one."""
    check_transfer(p)
    for name in ("folds", "repeats"):
        if getattr(p, name) < (least := 2 if name == "folds" else 1):
            raise InputError(f"{name}={getattr(p, name)}: it must be {least} or more.")
    found, known, largest = [], set(), 0
    for name in as_list(p.cohort):
        cohort = open_cohort(name)
        check_two_classes(cohort)
        here = targets(cohort)
        known |= set(here)
        for target in [t for t in here if t in p.targets or not p.targets]:
            own = problem(cohort, f"{platform(cohort)}/{target}", p.split)
            smallest = min(
                len(train)
                for repeat in range(p.repeats)
                for train, _ in folds(own, p.folds, seed_of(p.seed, target, repeat))
            )
            largest = max(largest, smallest)
            for repeat in range(p.repeats):
                for fold in range(p.folds):
                    common = {
                        "cohort": cohort.uns["name"], "target": target, "split": p.split, "folds": p.folds,
                        "repeat": repeat, "fold": fold, "seed": p.seed,
                    }  # fmt: skip
                    sizes = [n for n in p.n if n <= smallest]
                    for cell in arm_cells(p, common, sizes, sources_of(here, target)):
                        found.append(Cell(experiment, cell, cohort.uns["digest"], protocol))
    missing = [target for target in p.targets if target not in known]
    if missing:
        raise InputError(f"targets: '{missing[0]}' is not in {p.cohort}; it has {', '.join(sorted(known)) or 'none'}.")
    for n in p.n:
        if not 4 <= n <= largest:
            raise InputError(
                f"n={n}: the training folds of the targets hold up to {largest} samples; use 4 to {largest}."
            )
    # a run that stops early then has the same folds of every target
    return sorted(found, key=lambda cell: (cell.parameters["repeat"], cell.parameters["fold"]))


def group(cell: Cell) -> str:
    """Return the group of a cell: all that share a target's fold share its source networks."""
    p = cell.parameters
    return "|".join(str(p[axis]) for axis in ("cohort", "target", "split", "folds", "repeat", "fold", "seed"))


def fold_of(cell: Cell, kind: type[Transfer] = Transfer) -> Transfer:
    """Set up the fold of a cell: its target's samples, and the samples of every possible source.

    The source `PAN` is every sample that is not of the target. No source has a sample of a test patient
    (split by study: of a test study).
    """
    p = cell.parameters
    cohort = samples(p["cohort"], cell.cohort_digest)
    half = platform(cohort)
    own = cell_problem(p["cohort"], cell.cohort_digest, f"{half}/{p['target']}", p["split"])
    pan = cell_problem(p["cohort"], cell.cohort_digest, f"{half}/pan", p["split"])
    in_train, in_test = folds(own, p["folds"], seed_of(p["seed"], p["target"], p["repeat"]))[p["fold"]]
    train, test = own.take(in_train), own.take(in_test)
    tested = np.isin(pan.rows, test.rows)
    for label in ("patient", "study") if p["split"] == "study" else ("patient",):
        labels = cohort.obs[label].to_numpy()
        tested |= np.isin(labels[pan.rows], list(set(labels[test.rows]) - {""}))
    sources = {PAN: pan.take(np.flatnonzero(~tested & ~np.isin(pan.rows, own.rows)))}
    for name in targets(cohort):
        of_source = cell_problem(p["cohort"], cell.cohort_digest, f"{half}/{name}", p["split"]).rows
        sources[name] = pan.take(np.flatnonzero(~tested & np.isin(pan.rows, of_source)))
    seed = seed_of(p["seed"], p["target"], p["repeat"], p["fold"])
    target_seed = seed_of(p["seed"], p["target"], p["repeat"], p["fold"], "target")
    return kind(cohort.X, sources, train, test, pan, seed, target_seed)


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Run the cells of one fold of one target; the source network is trained when a cell first needs it."""
    fold = None
    for cell in cells:
        fold = fold or fold_of(cell)
        p = cell.parameters
        source = fold.sources[PAN]
        if len(np.unique(source.y)) < 2:
            raise InputError(f"target {p['target']}: without it {p['cohort']} has one class only, so no source.")
        axes = {name: p[name] for name in ("target", "repeat", "fold")}
        yield cell, fold.rows(cell, PAN, source=PAN, n_source=len(source.rows), **axes)


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Figs. 5 and 6 as a table: every arm at every target and n, and its difference to the baseline."""
    return statistics.compare_arms(rows, metric)
