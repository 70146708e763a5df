"""What all experiments share: checking parameters, opening cohorts, shaping rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar, get_type_hints

import numpy as np

from gexlib.baselines import METHODS, Tuning
from gexlib.checks import check_types
from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.metrics import evaluate
from gexlib.results import Cell
from gexlib.tasks import Problem, holdout, problem
from gexlib.training import Training
from gexlib.transfer import new_network

if TYPE_CHECKING:
    from anndata import AnnData

Checked = TypeVar("Checked")


def check(kind: type[Checked], values: dict, what: str) -> Checked:
    """Make the dataclass `kind` from plain values; `what` names their source in errors.

    Raises
    ------
    InputError
        An unknown name, a value of the wrong type or a negative seed.
    """
    check_types(get_type_hints(kind), values, what)
    if values.get("seed", 0) < 0:
        raise InputError(f"{what}: parameter seed={values['seed']} should be 0 or greater.")
    return kind(**values)


@dataclass(frozen=True)
class Learners:
    """How networks and classical methods are trained: parameters that every section has.

    Attributes
    ----------
    methods : list of str
        Classical methods tuned beside the networks; empty: none.
    genes, inner_folds, trees, grid
        Of the classical methods, see `gexlib.baselines.Tuning`.
    network, training : dict
        Arguments of `gexlib.models.MLP` and `gexlib.training.Training` that differ from the defaults.
    seed : int
        Of everything random.
    """

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    genes: list[int] = field(default_factory=lambda: [50, 200])
    inner_folds: int = 5
    trees: int = 100
    grid: str = "small"
    network: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    seed: int = 0


#: Parameters of the classical methods that every experiment offers.
TUNED = ("genes", "inner_folds", "trees", "grid")


def check_learners(p: Learners, allowed: Sequence[str] = METHODS) -> None:
    """Refuse methods, tuning, networks and ways of training that cannot be used, before anything runs."""
    check(Training, p.training, "training")
    Training(**p.training)
    new_network(1, 2, p.network)
    unknown = [method for method in p.methods if method not in allowed]
    if unknown:
        raise InputError(f"methods: '{unknown[0]}' is not known; use any of {', '.join(allowed)}.")
    tuning(vars(p))


def tuning(parameters: dict, class_weight: str = "balanced") -> Tuning:
    """How an experiment's parameters tune the classical methods."""
    return Tuning(**{name: parameters[name] for name in TUNED}, class_weight=class_weight)


def as_list(value: str | Sequence) -> list:
    """Return one name or several as a list."""
    return [value] if isinstance(value, str) else list(value)


@lru_cache(maxsize=4)
def samples(cohort: str, digest: str) -> AnnData:
    """Open a cohort, its matrix memory-mapped, and make sure that it is the one a cell was made for."""
    opened = open_cohort(cohort)
    if opened.uns["digest"] != digest:
        raise InputError(
            f"cohort {cohort} has digest {opened.uns['digest']}, the cell was made for {digest}: "
            "fetch the same files and run again."
        )
    return opened


@lru_cache(maxsize=32)
def cell_problem(cohort: str, digest: str, task: str, split: str) -> Problem:
    """Return the problem of a task, kept for the next cell of the same worker."""
    return problem(samples(cohort, digest), task, split)


@lru_cache(maxsize=128)
def cell_sides(cohort: str, digest: str, task: str, split: str, seed: int) -> tuple[Problem, Problem]:
    """Return training and test side of a split, kept for the next cells of the same worker."""
    whole = cell_problem(cohort, digest, task, split)
    in_train, in_test = holdout(whole, seed)
    return whole.take(in_train), whole.take(in_test)


def rows_of(
    cell: Cell,
    train: Problem,
    test: Problem,
    scores: np.ndarray,
    probabilities: np.ndarray | None,
    **axes,
) -> list[dict]:
    """Shape the metrics of one prediction into tidy rows.

    Parameters
    ----------
    cell : Cell
        Gives cohort, split and what else its parameters say of the axes.
    train, test : Problem
        The samples trained on (in transfer those of the target) and predicted.
    scores, probabilities
        As `gexlib.metrics.evaluate` takes them.
    **axes
        Columns that the cell's parameters do not name, or that override them.
    """
    cohort = samples(cell.parameters["cohort"], cell.cohort_digest)
    status = cohort.obs["status"].to_numpy()[train.rows]
    common = {
        "experiment": cell.experiment,
        "cohort": cohort.uns["name"],
        "cohort_digest": cell.cohort_digest,
        "simulated": bool(cohort.uns["simulated"]),
        "task": train.task,
        "n": len(train.rows),
        "n_cancer": int((status == "cancer").sum()),
        "n_normal": int((status == "normal").sum()),
        "n_test": len(test.rows),
        "split": test.split,
        "protocol": cell.protocol,
        **axes,
    }
    return [
        {**common, "metric": metric, "value": value}
        for metric, value in evaluate(test.y, scores, probabilities).items()
    ]
