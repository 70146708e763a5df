"""Networks against classical methods (article: "Comparison", Table 4, Fig. 3).

Repeated stratified splits, grouped by patient where patients repeat: 80 % train, 20 % test. A split is
a pair of the paired t-test. All methods see the same training samples and the same test samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from gexlib import baselines, statistics
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check_two_classes
from gexlib.errors import InputError
from gexlib.experiments.base import TUNED, as_list, cell_problem, check, rows_of, samples, tuning
from gexlib.metrics import METRICS
from gexlib.results import Cell
from gexlib.tasks import Problem, carried, holdout, problem, seed_of, subset
from gexlib.training import Training, predict_proba
from gexlib.transfer import new_network, train_network

PROTOCOL = 1
NETWORK = "nn_default"  # hyper-parameters fixed beforehand, not tuned on this cohort
METHODS = (NETWORK, *baselines.METHODS, "majority")


@dataclass(frozen=True)
class Parameters:
    """What a notebook may set.

    Attributes
    ----------
    cohort : str or list of str
        One cohort or several.
    tasks : list of str
        Empty: pan-cancer status, and cancer type where the cohort has types.
    methods : list of str
        Any of `METHODS`.
    n : list of int
        Training-set sizes of the learning curves; the full training set always comes on top.
    repeats : int
        Splits.
    split : str
        "random" (by patient where patients repeat), "patient" or "study".
    class_weight : list of str
        "balanced", "none" or both, for networks and classical methods alike.
    genes, inner_folds, trees, grid
        Of the classical methods, see `gexlib.baselines.Tuning`.
    network, training : dict
        Arguments of `gexlib.models.MLP` and `gexlib.training.Training` that differ from the defaults.
    seed : int
        Of everything random.
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    tasks: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    n: list[int] = field(default_factory=list)
    repeats: int = 10
    split: str = "random"
    class_weight: list[str] = field(default_factory=lambda: ["balanced"])
    genes: list[int] = field(default_factory=lambda: [50, 200, 1000])
    inner_folds: int = 10
    trees: int = 200
    grid: str = "full"
    network: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    seed: int = 0


def cells(parameters: Parameters) -> list[Cell]:
    """List one cell a cohort, task, size, repeat, method and class weight.

    Raises
    ------
    InputError
        An unknown method, a task that a cohort cannot carry, a size beyond its training set.
    """
    p = parameters
    check(Training, p.training, "training")
    new_network(1, 2, p.network)  # refuses wrong arguments before anything runs
    unknown = set(p.methods) - set(METHODS)
    if unknown:
        raise InputError(f"methods: '{min(unknown)}' is not known; use any of {', '.join(METHODS)}.")
    for weight in p.class_weight:
        tuning(vars(p), weight)
    found, known = [], set()
    for name in as_list(p.cohort):
        cohort = open_cohort(name)
        check_two_classes(cohort)
        known |= set(carried(cohort))
        pan = [task for task in carried(cohort) if task.endswith(("/pan", "/type"))]
        for task in [t for t in p.tasks if t in carried(cohort)] if p.tasks else pan:
            train, _ = holdout(problem(cohort, task, p.split), 0)
            for n in p.n:
                subset(np.zeros(len(train)), n, 0, f"the training set of {task} in {name}")
            common = {"cohort": cohort.uns["name"], "task": task, "split": p.split, "seed": p.seed}
            classical = {name: getattr(p, name) for name in TUNED}
            networks = {"network": p.network, "training": p.training}
            for repeat in range(p.repeats):
                for n in [*p.n, None]:
                    for method in p.methods:
                        for weight in p.class_weight[:1] if method == "majority" else p.class_weight:
                            own = networks if method == NETWORK else classical if method != "majority" else {}
                            axes = {"repeat": repeat, "n": n, "method": method, "class_weight": weight}
                            found.append(Cell("comparison", {**common, **axes, **own}, cohort.uns["digest"], PROTOCOL))
    missing = [task for task in p.tasks if task not in known]
    if missing:
        raise InputError(f"tasks: '{missing[0]}' is not carried by {p.cohort}; it carries {', '.join(sorted(known))}.")
    # a run that stops early then has the same number of splits of every task
    return sorted(found, key=lambda cell: cell.parameters["repeat"])


def group(cell: Cell) -> str:
    """Return the group of a cell: its own key, since methods share nothing but the samples."""
    return cell.key


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Train each method on its training samples, predict the test samples, yield the rows."""
    for cell in cells:
        p = cell.parameters
        whole = cell_problem(p["cohort"], cell.cohort_digest, p["task"], p["split"])
        seed = seed_of(p["seed"], p["task"], p["repeat"])
        in_train, in_test = holdout(whole, seed)
        train, test = whole.take(in_train), whole.take(in_test)
        if p["n"] is not None:
            train = train.take(subset(train.y, p["n"], seed))
        X = samples(p["cohort"], cell.cohort_digest).X
        scores, probabilities, more = predict(p, X[train.rows], train, X[test.rows], seed)
        axes = {
            "method": p["method"],
            "arm": p["class_weight"],
            "repeat": p["repeat"],
            "full": p["n"] is None,
        }
        yield cell, rows_of(cell, train, test, scores, probabilities, **axes, **more)


def predict(p: dict, X: np.ndarray, train: Problem, X_test: np.ndarray, seed: int):
    """Fit one method and predict: (scores, probabilities or None, further columns)."""
    n_classes = len(train.classes)
    if p["method"] == "majority":
        shares = np.bincount(train.y, minlength=n_classes) / len(train.y)
        probabilities = np.tile(shares, (len(X_test), 1))
        return probabilities, probabilities, {}
    if p["method"] == NETWORK:
        scaler = StandardScaler().fit(X)
        training = Training(**{**p["training"], "class_weight": p["class_weight"]})
        model, history = train_network(
            scaler.transform(X), train.y, n_classes, training, p["network"], train.groups, seed
        )
        probabilities = predict_proba(model, scaler.transform(X_test))
        return probabilities, probabilities, {"epochs": len(history)}
    tuned = baselines.tune(p["method"], X, train.y, train.groups, tuning(p, p["class_weight"]), seed)
    chosen = ", ".join(f"{name}={value}" for name, value in tuned.chosen.items())
    return *baselines.scores(tuned.pipeline, X_test), {"chosen": chosen, "inner_folds": tuned.inner_folds}


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Table 4: each method on the full training set, with differences to the network and their tests."""
    return statistics.compare_methods(rows[rows["full"].astype(bool)], metric, NETWORK)


def all_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over splits of every metric on the full training set, a row a task, class weight and method."""
    axes = ["cohort", "task", "arm", "method"]
    full = rows[rows["full"].astype(bool)]
    table = full.pivot_table(index=axes, columns="metric", values="value", aggfunc="mean", observed=True)
    return table[[metric for metric in METRICS if metric in table]].reset_index()
