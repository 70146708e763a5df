"""Networks against classical methods (article: "Comparison", Table 4, Fig. 3, and its supplement).

Repeated stratified splits, grouped by patient where patients repeat: 80 % train, 20 % test. A split is
a pair of the paired t-test. All methods see the same training samples and the same test samples. A method
is one function and one line in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler
from statsmodels.stats import weightstats

from gexlib import baselines, statistics
from gexlib.baselines import Tuning
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check_two_classes
from gexlib.errors import InputError
from gexlib.experiments.base import (
    TUNED,
    Learners,
    as_list,
    cell_sides,
    check,
    check_learners,
    rows_of,
    samples,
    tuning,
)
from gexlib.metrics import METRICS
from gexlib.results import Cell
from gexlib.search import Space
from gexlib.tasks import STUDY_TASKS, Problem, carried, seed_of, subset
from gexlib.training import Training, predict_proba
from gexlib.transfer import new_network, train_network

if TYPE_CHECKING:
    from anndata import AnnData

PROTOCOL = 1
NETWORK = "nn_default"  # hyper-parameters fixed beforehand, not tuned on this cohort


@dataclass(frozen=True)
class Parameters(Learners):
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
        Training-set sizes of the learning curves; the full training set always comes on top. A size that
        does not fit into every split of a task is left out for it.
    repeats : int
        Splits.
    split : str or list of str
        "random" (by patient where patients repeat), "patient" or "study", or several. Of several, one that
        a task cannot carry is left out for it.
    class_weight : list of str
        "balanced", "none" or both, for networks and classical methods alike.
    genes, inner_folds, trees, grid
        Of the classical methods, see `gexlib.baselines.Tuning`. `inner_folds` is of ``nn_inner`` too.
    network, training : dict
        Of ``nn_default``: arguments of `gexlib.models.MLP` and `gexlib.training.Training` that differ from
        the defaults. `training` is of ``nn_inner`` too, where no drawn value takes its place.
    paper : dict
        Of ``nn_paper``, by task: {"network": {...}, "training": {...}} as chosen once on a full training set
        (article: from the sensitivity analysis). A task without an entry has no such network. It is run on the
        first split alone, and of several kinds of split on the first that the task can carry: the search has
        seen the training side of that split, and test samples of every other one. Search with the same seed
        and kind of split.
    settings, space
        Of ``nn_inner``: how many settings are drawn and tried inside the training samples, at most as many as
        a classical method's largest grid, and the fields of `gexlib.search.Space` that differ.
    seed : int
        Of everything random.
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    tasks: list[str] = field(default_factory=list)
    n: list[int] = field(default_factory=list)
    repeats: int = 10
    split: str | list[str] = "random"
    class_weight: list[str] = field(default_factory=lambda: ["balanced"])
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    genes: list[int] = field(default_factory=lambda: [50, 200, 1000])
    inner_folds: int = 10
    trees: int = 200
    grid: str = "full"
    paper: dict[str, dict] = field(default_factory=dict)
    settings: int = 12
    space: dict = field(default_factory=dict)


# Methods. Each is given the training samples X (n, n_genes), unscaled, with their labels and patients in
# `train`, the test samples X_test, its cell's parameters p and the split's seed. It returns scores to rank
# the test samples by, (n_test, n_classes), probabilities or None, and further columns of its rows.

Prediction = tuple[np.ndarray, np.ndarray | None, dict]


def fixed_network(X: np.ndarray, train: Problem, X_test: np.ndarray, p: dict, seed: int) -> Prediction:
    """Train a network with the hyper-parameters that its cell names."""
    scaler = StandardScaler().fit(X)
    training = Training(**{**p["training"], "class_weight": p["class_weight"]})
    model, history = train_network(
        scaler.transform(X), train.y, len(train.classes), training, p["network"], train.groups, seed
    )
    probabilities = predict_proba(model, scaler.transform(X_test))
    return probabilities, probabilities, {"epochs": len(history)}


def tuned(X: np.ndarray, train: Problem, X_test: np.ndarray, p: dict, seed: int) -> Prediction:
    """Tune a method inside its training samples: one of `gexlib.baselines`."""
    best = baselines.tune(p["method"], X, train.y, train.groups, _tuning(p, p["class_weight"]), seed)
    chosen = ", ".join(f"{name}={value}" for name, value in best.chosen.items())
    return *baselines.scores(best.pipeline, X_test), {"chosen": chosen, "inner_folds": best.inner_folds}


def majority(X: np.ndarray, train: Problem, X_test: np.ndarray, p: dict, seed: int) -> Prediction:
    """Give every test sample the classes' shares of the training samples."""
    shares = np.bincount(train.y, minlength=len(train.classes)) / len(train.y)
    probabilities = np.tile(shares, (len(X_test), 1))
    return probabilities, probabilities, {}


def _tuning(p: dict, class_weight: str) -> Tuning:
    """How a tuned method's parameters tune it."""
    if "settings" in p:
        names = ("inner_folds", "settings", "training")
        space = Space(**p["space"])
        return Tuning(**{name: p[name] for name in names}, space=space, class_weight=class_weight)
    return tuning(p, class_weight)


class Method(NamedTuple):
    """A method of the comparison: its function, the `Parameters` it reads, whether class weights change it."""

    predict: Callable[[np.ndarray, Problem, np.ndarray, dict, int], Prediction]
    reads: tuple[str, ...] = ()
    weighted: bool = True


#: Every method, by the name it has in `Parameters`, rows and figures.
METHODS = {
    NETWORK: Method(fixed_network, ("network", "training")),
    "nn_paper": Method(fixed_network, ("paper",)),
    "nn_inner": Method(tuned, ("inner_folds", "training", "settings", "space")),
    "xgboost": Method(tuned, TUNED),
    "lasso": Method(tuned, TUNED),
    "random_forest": Method(tuned, TUNED),
    "svm_linear": Method(tuned, TUNED),
    "svm_rbf": Method(tuned, TUNED),
    "majority": Method(majority, weighted=False),
}


def cells(parameters: Parameters) -> list[Cell]:
    """List one cell a cohort, task, split, size, repeat, method and class weight.

    Raises
    ------
    InputError
        An unknown method, a task that no cohort can carry, a split or a size that fits no task, a value
        that a method cannot use.
    """
    p = parameters
    _check(p)
    found, known, splits, unfit, refused = [], set(), set(), dict.fromkeys(p.n), {}
    for name in as_list(p.cohort):
        cohort = open_cohort(name)
        check_two_classes(cohort)
        known |= set(carried(cohort))
        pan = [task for task in carried(cohort) if task.endswith(("/pan", "/type"))]
        for task in [t for t in p.tasks if t in carried(cohort)] if p.tasks else pan:
            for k, (split, trains) in enumerate(_training_sides(p, cohort, task, refused)):
                splits.add(split)
                here = replace(p, paper={}) if k else p  # its search has seen test samples of the other kinds
                smallest = min(trains, key=lambda train: len(train.y))
                sizes = [n for n in p.n if all(_fits(n, train.y) for train in trains)]
                for n in unfit.keys() & set(sizes):
                    del unfit[n]
                for n in unfit:  # remembered with the task that has most samples
                    unfit[n] = max(unfit[n] or (smallest, name), (smallest, name), key=lambda pair: len(pair[0].y))
                common = {"cohort": cohort.uns["name"], "task": task, "split": split, "seed": p.seed}
                for axes in _axes(here, task, sizes):
                    found.append(Cell("comparison", {**common, **axes}, cohort.uns["digest"], PROTOCOL))
    missing = [task for task in p.tasks if task not in known]
    if missing:
        raise InputError(f"tasks: '{missing[0]}' is not carried by {p.cohort}; it carries {', '.join(sorted(known))}.")
    for task in p.paper:
        if task not in known | set(STUDY_TASKS):
            raise InputError(f"paper: task '{task}' is not known; use names such as {', '.join(sorted(known))}.")
    for split in as_list(p.split):
        if split in refused and split not in splits:
            raise refused[split]
    for n, (train, name) in unfit.items():
        raise InputError(
            f"n={n}: the training set of {train.task} in {name} has {len(train.y)} samples, which are always run, "
            f"and {2 * len(train.classes)} hold two of each class; choose between."
        )
    # a run that stops early then has the same number of splits of every task
    return sorted(found, key=lambda cell: cell.parameters["repeat"])


def _check(p: Parameters) -> None:
    """Refuse parameters that no method could use."""
    check_learners(p, list(METHODS))
    if p.repeats < 1:
        raise InputError(f"repeats={p.repeats}: give at least 1 split.")
    for task, own in p.paper.items():
        if set(own) - {"network", "training"}:
            raise InputError(f"paper: '{task}' holds {', '.join(own)}; it takes network and training.")
        check(Training, own.get("training", {}), f"paper, {task}")
        new_network(1, 2, own.get("network"))
    space = check(Space, p.space, "space")
    for optimiser in space.optimiser:
        check(Training, {"optimiser": optimiser}, "space")
    for weight in p.class_weight:
        _tuning(vars(p), weight)
    budget = baselines.largest_grid(tuning(vars(p)))
    if "nn_inner" in p.methods and p.settings > budget:
        raise InputError(
            f"settings={p.settings}: the classical methods try {budget} settings at most (genes, grid), and nn_inner "
            "has their budget; use fewer settings or more genes."
        )


def _training_sides(
    p: Parameters, cohort: AnnData, task: str, refused: dict[str, InputError]
) -> Iterator[tuple[str, list[Problem]]]:
    """Yield each kind of split that a task can carry with its training sides, one a repeat."""
    asked, done = as_list(p.split), set()
    for split in asked:
        try:
            trains = [
                cell_sides(cohort.uns["name"], cohort.uns["digest"], task, split, seed_of(p.seed, task, repeat))[0]
                for repeat in range(p.repeats)
            ]
        except InputError as error:
            if len(asked) == 1:
                raise
            refused[split] = error
            continue
        if trains[0].split not in done:  # "random" and "patient" are one where patients repeat
            done.add(trains[0].split)
            yield split, trains


def _fits(n: int, y: np.ndarray) -> bool:
    """Whether n samples are a subset of a training side with two of each class."""
    return 2 * len(np.unique(y)) <= n < len(y)


def _axes(p: Parameters, task: str, sizes: list[int]) -> Iterator[dict]:
    """Yield what tells the cells of one task and kind of split apart, and what decides their methods."""
    for repeat in range(p.repeats):
        for n in [*sizes, None]:
            for name in p.methods:
                method = METHODS[name]
                own = {parameter: getattr(p, parameter) for parameter in method.reads}
                if "paper" in own:  # such a cell holds its own task's entry only, under the names of nn_default
                    if repeat or task not in p.paper:  # test samples of later splits were in the search
                        continue
                    own = {"network": {}, "training": {}, **own["paper"][task]}
                for weight in p.class_weight if method.weighted else p.class_weight[:1]:
                    yield {"repeat": repeat, "n": n, "method": name, "class_weight": weight, **own}


def group(cell: Cell) -> str:
    """Return the group of a cell: its own key, since methods share nothing but the samples."""
    return cell.key


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Train each method on its training samples, predict the test samples, yield the rows."""
    for cell in cells:
        p = cell.parameters
        seed = seed_of(p["seed"], p["task"], p["repeat"])
        train, test = cell_sides(p["cohort"], cell.cohort_digest, p["task"], p["split"], seed)
        if p["n"] is not None:
            train = train.take(subset(train.y, p["n"], seed))
        X = samples(p["cohort"], cell.cohort_digest).X
        scores, probabilities, more = METHODS[p["method"]].predict(X[train.rows], train, X[test.rows], p, seed)
        axes = {
            "method": p["method"],
            "arm": p["class_weight"],
            "repeat": p["repeat"],
            "full": p["n"] is None,
        }
        yield cell, rows_of(cell, train, test, scores, probabilities, **axes, **more)


def full(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the full training set."""
    return rows[rows["full"].eq(True).fillna(False).astype(bool)] if len(rows) else rows


def of_tasks(rows: pd.DataFrame, tasks: list[str] | None = None, split: str | list[str] = "random") -> pd.DataFrame:
    """Rows of some tasks (none named: the pan-cancer ones) in some kinds of split, whichever section ran them."""
    by_study = rows["split"] == "study"
    asked = set(as_list(split))
    kind = (by_study & ("study" in asked)) | (~by_study & bool(asked - {"study"}))
    return rows[kind & (rows["task"].isin(tasks) if tasks else _pan(rows))]


def specific(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the specific cancers, full training set, split at random or by patient."""
    return full(rows[~_pan(rows) & (rows["split"] != "study")])


def by_split(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the tasks that were split by study and otherwise too, full training set."""
    rows = full(rows)
    kinds = rows["split"].eq("study").groupby([rows["cohort"], rows["task"]])
    return rows[kinds.transform("nunique").eq(2)] if len(rows) else rows


def _pan(rows: pd.DataFrame) -> pd.Series:
    return rows["task"].astype(str).str.endswith(("/pan", "/type"))


def with_rows(run, rows: pd.DataFrame):
    """Return a run (`gexlib.runner.Run`) with some of its rows only, so that its strip speaks of these."""
    seconds = rows.groupby("key")["seconds"].first()
    left = run.cells - run.done
    return replace(run, rows=rows, cells=len(seconds) + left, done=len(seconds), seconds=float(seconds.sum()))


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Table 4: each method on the full training set, with differences to the network and their tests.

    Where the network is not among the methods, the first of them takes its place. ``p_bh`` is adjusted over the methods
    of one task. The majority vote is a floor and not a competitor: it is no test of that family.
    """
    rows = full(rows)
    by_study = rows["split"] == "study"  # apart: the corrected test needs the sizes of one kind of split
    parts = [part for part in (rows[~by_study], rows[by_study]) if len(part)]
    methods = list(dict.fromkeys(rows["method"]))
    reference = NETWORK if NETWORK in methods or not methods else methods[0]
    tables = [statistics.compare_methods(part, metric, reference) for part in parts or [rows]]
    table = pd.concat(tables, ignore_index=True)
    return _adjusted(table, ["cohort", "task", "split", "arm", "n"])


def _adjusted(table: pd.DataFrame, family: list) -> pd.DataFrame:
    """Adjust the p-values of each family of tests, without the majority vote."""
    tests = table["p_raw"].where(table["method"] != "majority")
    family = [table[name] if isinstance(name, str) else name for name in family]
    return table.assign(p_bh=tests.groupby(family).transform(statistics.adjust))


def over_tasks(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Return `summarise`, its p-values adjusted over all tasks and methods of one cohort together."""
    table = summarise(rows, metric)
    return _adjusted(table, ["cohort", table["split"] == "study", "arm"])


def split_gap(rows: pd.DataFrame, metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Set splits by study beside random ones.

    Few studies that hold both classes allow few splits by study, however often one is drawn. Those whose sides have
    the same numbers of cancer and normal samples are taken for one, and their scores averaged.

    Parameters
    ----------
    rows : DataFrame
        What `by_split` returns.
    metric : str

    Returns
    -------
    DataFrame
        One row a cohort, task, class weight and method: ``random`` and ``study`` (means over splits),
        ``study_splits`` (that differ), difference (study minus random), difference_low, difference_high: Welch's
        95 % interval, since test samples differ and nothing is paired. NaN with fewer than two splits of a kind.
    """
    rows = rows[rows["metric"] == metric]
    out = []
    for key, same in rows.groupby(["cohort", "task", "arm", "method"]):
        by_study = same["split"] == "study"
        random = same.loc[~by_study, "value"].dropna().to_numpy()
        sizes = ["n_cancer", "n_normal", "n_test"]
        study = same[by_study].groupby(sizes, dropna=False)["value"].mean().dropna().to_numpy()
        low = high = np.nan
        if min(len(random), len(study)) > 1:
            low, high = (study.mean() - random.mean(),) * 2
            if np.ptp(random) or np.ptp(study):
                both = weightstats.CompareMeans.from_data(study, random)
                low, high = both.tconfint_diff(usevar="unequal")
        if len(random) and len(study):
            means = (random.mean(), study.mean(), study.mean() - random.mean())
            out.append((*key, *means, len(study), low, high))
    columns = "cohort task arm method random study difference study_splits difference_low difference_high".split()
    return pd.DataFrame(out, columns=columns)


def one_weight(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one class weight: "balanced" where it was run, else the first."""
    weights = list(dict.fromkeys(rows["arm"]))
    return rows[rows["arm"] == ("balanced" if "balanced" in weights else next(iter(weights), ""))]


def weight_gap(rows: pd.DataFrame, metrics: Sequence[str] = ("accuracy", "balanced_accuracy")) -> pd.DataFrame:
    """Set balanced class weights beside none, on the splits and samples that have both.

    Returns
    -------
    DataFrame
        One row a cohort, task, kind of split, n, method and metric: ``none`` and ``balanced`` (means over splits)
        and the columns of `gexlib.statistics.paired`, balanced minus none.
    """
    out = []
    rows = rows[rows["metric"].isin(metrics)]
    axes = ["cohort", "task", "split", "n", "method", "metric"]
    for key, same in rows.groupby(axes):
        pairs = same.pivot(index="repeat", columns="arm", values="value")
        if {"none", "balanced"} <= set(pairs) and len(pairs := pairs.dropna()):
            means = pairs["none"].mean(), pairs["balanced"].mean()
            out.append((*key, *means, *statistics.paired(pairs["balanced"], pairs["none"])))
    return pd.DataFrame(out, columns=[*axes, "none", "balanced", *statistics.Paired._fields])


def all_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over splits of every metric on the full training set, a row a task, class weight and method.

    Kinds of split, where there are several, are kept apart.
    """
    rows = full(rows)
    several = rows["split"].eq("study").nunique() > 1
    axes = ["cohort", "task", *["split"] * several, "arm", "method"]
    table = rows.pivot_table(index=axes, columns="metric", values="value", aggfunc="mean", observed=True)
    return table[[metric for metric in METRICS if metric in table]].reset_index()
