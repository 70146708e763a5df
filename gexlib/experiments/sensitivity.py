"""How much a network's hyper-parameters matter (article: "Sensitivity analysis", Fig. 2, Table 3).

Hyper-parameters are drawn at random, a network is trained for each draw. The outer test samples, those of
the comparison's first split, are never touched by the search: the training side is split again, 80 % to
fit and to stop early, 20 % (the validation samples) to score once. Then the best draws are trained again
on the whole training side with several seeds and scored on the test samples, beside the recommended
default: the best of many draws on a few hundred samples is partly luck, and this shows how much.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

from gexlib import statistics
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check_two_classes
from gexlib.errors import InputError
from gexlib.experiments.base import as_list, cell_problem, cell_sides, check, rows_of, samples
from gexlib.metrics import METRICS
from gexlib.results import Cell
from gexlib.search import Space, draw, settings, smooth
from gexlib.tasks import Problem, carried, holdout, problem, seed_of
from gexlib.training import Training, predict_proba
from gexlib.transfer import train_network

PROTOCOL = 1
DEEP = (10, 20)  # hidden layers of the residual networks (article)
DRAWN = tuple(Space.__dataclass_fields__)
LOGARITHMIC = ("learning_rate", "batch_size")
CONTINUOUS = ("neurons", "dropout", *LOGARITHMIC)


@dataclass(frozen=True)
class Parameters:
    """What a notebook may set.

    Attributes
    ----------
    cohort : str or list of str
        One cohort or several.
    tasks : list of str
        Empty: pan-cancer status, and cancer type where the cohort has types.
    draws : int
        Random settings a task. More draws keep the first ones.
    residual : int
        Further settings with 10 to 20 hidden layers, each trained with and without residual connections.
    best : int
        How many of the best settings are trained again and scored on the test samples.
    seeds : int
        Networks trained for each of them, and for the default.
    split : str
        "random" (by patient where patients repeat), "patient" or "study".
    space : dict
        Fields of `gexlib.search.Space` that differ from its defaults.
    training : dict
        What all draws share: arguments of `gexlib.training.Training` that are not drawn.
    seed : int
        Of everything random.
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    tasks: list[str] = field(default_factory=list)
    draws: int = 1000
    residual: int = 50
    best: int = 20
    seeds: int = 10
    split: str = "random"
    space: dict = field(default_factory=dict)
    training: dict = field(default_factory=lambda: {"epochs": 50, "patience": 5})
    seed: int = 0


def cells(parameters: Parameters) -> list[Cell]:
    """List one cell a cohort, task and draw; a residual draw has two.

    Raises
    ------
    InputError
        A space from which nothing can be drawn, training that names a drawn value, a negative number, a task
        that a cohort cannot carry or split.
    """
    p = parameters
    _check(p)
    found, known = [], set()
    for name in as_list(p.cohort):
        cohort = open_cohort(name)
        check_two_classes(cohort)
        known |= set(carried(cohort))
        pan = [task for task in carried(cohort) if task.endswith(("/pan", "/type"))]
        for task in [t for t in p.tasks if t in carried(cohort)] if p.tasks else pan:
            common = {"cohort": cohort.uns["name"], "task": task, "split": p.split, "seed": p.seed}
            search_sides(problem(cohort, task, p.split), p.seed)  # refuses what cannot be split
            common |= {"space": p.space, "training": p.training}
            for arm, count in (("draw", p.draws), ("residual", p.residual), ("plain_deep", p.residual)):
                for number in range(count):
                    own = {"arm": arm, "draw": number}
                    found.append(Cell("sensitivity", {**common, **own}, cohort.uns["digest"], PROTOCOL))
    missing = [task for task in p.tasks if task not in known]
    if missing:
        raise InputError(f"tasks: '{missing[0]}' is not carried by {p.cohort}; it carries {', '.join(sorted(known))}.")
    # a run that stops early then has the same number of draws of every task
    return sorted(found, key=lambda cell: cell.parameters["draw"])


def _check(p: Parameters) -> None:
    """Refuse wrong parameters before anything runs."""
    for name, least in (("draws", 1), ("residual", 0), ("best", 0), ("seeds", 0)):
        if getattr(p, name) < least:
            raise InputError(f"{name}={getattr(p, name)}: it must be {least} or more.")
    space = check(Space, p.space, "space")
    check(Training, p.training, "training")
    twice = {*settings(draw(space, 0))[1], "l1", "l2"} & set(p.training)
    if twice:
        raise InputError(f"training: {min(twice)} is drawn; set what it is drawn from in space.")
    for optimiser in space.optimiser:
        Training(optimiser=optimiser)


def follow(parameters: Parameters, rows: pd.DataFrame) -> list[Cell]:
    """List the cells of the second round: each task's best draws and the default, one a network seed.

    The best have the highest accuracy on the validation samples, ties by log loss. A cell carries its
    hyper-parameters, so that it can be computed alone.
    """
    p, found = parameters, []
    for (name, digest, task), part in rows.groupby(["cohort", "cohort_digest", "task"], sort=False):
        common = {"cohort": name, "task": task, "split": p.split, "seed": p.seed}
        chosen = [{"arm": "default", "draw": None, "drawn": {}, "training": {}}]
        for row in ranked(part).head(p.best).to_dict("records"):
            chosen.append({"arm": "best", "draw": int(row["repeat"]), "drawn": _drawn(row), "training": p.training})
        for number in range(p.seeds if len(chosen) > 1 else 0):
            for own in chosen:
                found.append(Cell("sensitivity", {**common, **own, "network_seed": number}, digest, PROTOCOL))
    return sorted(found, key=lambda cell: cell.parameters["network_seed"])


def group(cell: Cell) -> str:
    """Return the group of a cell: its own key, since draws share nothing but the samples."""
    return cell.key


def search_sides(whole: Problem, seed: int) -> tuple[Problem, Problem, Problem]:
    """Split a task once: samples to fit a draw on, to score it on (validation), and to test the best on.

    The test samples are those of the comparison's first split. A patient's samples stay on one side.
    """
    seed = seed_of(seed, whole.task, 0)
    train, test = (whole.take(side) for side in holdout(whole, seed))
    fitted, validation = (train.take(side) for side in holdout(train, seed_of(seed, "validation")))
    return fitted, validation, test


@lru_cache(maxsize=8)
def _search_sides(cohort: str, digest: str, task: str, split: str, seed: int) -> tuple[Problem, Problem, Problem]:
    return search_sides(cell_problem(cohort, digest, task, split), seed)


@contextmanager
def denormals_flushed():
    """Count numbers below 1e-38 as 0 inside the block: networks that die produce them, and they cost triple time."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Train each setting's network, score it, yield the rows.

    Training that diverges is a result: the network predicts with the weights that were best before, and
    where it never had finite ones it predicts every class alike.
    """
    for cell in cells:
        p = cell.parameters
        of_task = p["cohort"], cell.cohort_digest, p["task"], p["split"]
        again = p["arm"] in ("best", "default")
        if again:
            train, test = cell_sides(*of_task, seed_of(p["seed"], p["task"], 0))
            drawn, seed = p["drawn"], seed_of(p["seed"], p["task"], "network", p["network_seed"])
            axes = {"scored_on": "test", "network_seed": p["network_seed"]}
        else:
            train, test, _ = _search_sides(*of_task, p["seed"])
            deep = p["arm"] != "draw"
            space = Space(**{**p["space"], **({"layers": DEEP} if deep else {})})
            # settings are the same for every task; both nets of a residual draw share all but the connections
            kind = "deep" if deep else "draw"
            drawn = draw(space, seed_of(p["seed"], kind, p["draw"]))
            seed = seed_of(p["seed"], p["task"], kind, p["draw"])
            axes = {"scored_on": "validation", "network_seed": 0}
        network, training = settings(drawn) if drawn else ({}, {})
        if p["arm"] == "residual":
            network["residual"] = True
        X = samples(p["cohort"], cell.cohort_digest).X
        scaler = StandardScaler().fit(X[train.rows])
        scaled, n_classes = scaler.transform(X[train.rows]), len(train.classes)
        training = Training(**{**p["training"], **training})
        with denormals_flushed():
            model, history = train_network(scaled, train.y, n_classes, training, network, train.groups, seed)
        probabilities = predict_proba(model, scaler.transform(X[test.rows]))
        finite = bool(np.isfinite(probabilities).all())
        if not finite:  # finite weights, but too large to multiply
            probabilities = np.full_like(probabilities, 1 / n_classes)
        diverged = "diverged" in history[-1] or not finite
        axes |= {"method": "nn_drawn" if drawn else "nn_default", "arm": p["arm"], "repeat": p["draw"]}
        axes |= {**dict.fromkeys(DRAWN), **drawn, "epochs": len(history), "diverged": diverged}
        yield cell, rows_of(cell, train, test, probabilities, probabilities, **axes)


# What the rows say


def draws(rows: pd.DataFrame, arms: Sequence[str] = ("draw",)) -> pd.DataFrame:
    """Return one row a draw: the hyper-parameters, diverged, epochs, and a column a metric.

    Raises
    ------
    InputError
        The rows hold the same draw twice, as those of two searches with other seeds do.
    """
    part = rows[rows["arm"].isin(arms)]
    axes = ["cohort", "task", "arm", "repeat"]
    if part.duplicated([*axes, "metric"]).any():
        raise InputError("The table holds a draw twice: keep the rows of one search (one seed, space and split).")
    more = part.drop_duplicates(axes).set_index(axes)[[*DRAWN, "epochs", "diverged", "simulated", "cell"]]
    values = part.pivot(index=axes, columns="metric", values="value").reindex(columns=list(METRICS))
    return more.join(values).reset_index()


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the draws, the best first: highest validation accuracy, ties by log loss, then by number."""
    return draws(rows).sort_values(["accuracy", "log_loss", "repeat"], ascending=[False, True, True], kind="stable")


def _drawn(row: dict) -> dict:
    """Hyper-parameters of one draw as plain values, from a row of a table."""
    kinds = {"layers": int, "neurons": int, "batch_size": int, "batch_norm": bool, "optimiser": str, "penalty": str}
    return {name: kinds.get(name, float)(row[name]) for name in DRAWN}


def searched(part: pd.DataFrame) -> tuple[Space, dict]:
    """Space and shared training of the draws, from the cells that they came from."""
    found = {json.dumps([p["space"], p["training"]]) for p in (json.loads(text)[1] for text in part["cell"].unique())}
    if len(found) > 1:
        raise InputError("The table holds draws from several spaces: keep the rows of one search.")
    space, training = json.loads(found.pop())
    return Space(**space), training


def winner(rows: pd.DataFrame, task: str) -> dict:
    """Return the setting that the search chose for a task, by the validation samples alone.

    Returns
    -------
    dict
        ``network`` and ``training``: arguments of `gexlib.models.MLP` and of `gexlib.training.Training`.

    Raises
    ------
    InputError
        No draws of the task, or draws on several cohorts.
    """
    best = ranked(rows[rows["task"] == task])
    if best["cohort"].nunique() != 1:
        raise InputError(f"task '{task}': the table has {best['cohort'].nunique()} cohorts with draws; give one.")
    network, training = settings(_drawn(best.iloc[0].to_dict()))
    return {"network": network, "training": {**searched(best)[1], **training}}


def summarise(rows: pd.DataFrame, best: int = 20) -> pd.DataFrame:
    """Table 3: what was searched, the best draw's value, and what the best draws hold, a row each and task."""
    out = []
    for (cohort, task), part in ranked(rows).groupby(["cohort", "task"]):
        space, top = searched(part)[0], part.head(best)
        for name in DRAWN:
            out.append(
                {
                    "cohort": cohort,
                    "task": task,
                    "hyper_parameter": name,
                    "searched": _range(name, getattr(space, name)),
                    "best": _text(top[name].iloc[0]),
                    "among_best": _held(name, top[name]),
                    "n_best": len(top),
                    "n_draws": len(part),
                }
            )
    table = pd.DataFrame(out)
    order = table["hyper_parameter"].map(DRAWN.index)
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _text(value) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:.3g}"


def _range(name: str, values: Sequence) -> str:
    if name in ("layers", *CONTINUOUS):
        logarithmic = ", logarithmic" if name in LOGARITHMIC else ""
        return f"{_text(values[0])} to {_text(values[1])}{logarithmic}"
    return ", ".join(map(_text, values))


def _held(name: str, values: pd.Series) -> str:
    if name in ("layers", *CONTINUOUS):
        return f"{_text(values.min())} to {_text(values.max())}"
    return ", ".join(
        f"{_text(value)} ({count})" for value, count in values.value_counts(sort=False).sort_index().items()
    )


def tuning_gain(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """How much tuning buys over the recommended default, a row a cohort and task.

    Returns
    -------
    DataFrame
        ``validation``: the best draw on the validation samples that chose it, hence too high;
        ``test``: the same setting trained on all training samples, mean over network seeds, on test samples;
        ``test_best``: mean of all settings trained again; ``test_default``: the default with the same seeds;
        ``difference``: test minus default, paired by seed, with its 95 % interval and p (``p_raw``). The interval
        is about network seeds: all are scored on one and the same test set.
    """
    out, top = [], ranked(rows)
    tested = rows[(rows["scored_on"] == "test") & (rows["metric"] == metric)]
    for (cohort, task), part in tested.groupby(["cohort", "task"]):
        first = top[(top["cohort"] == cohort) & (top["task"] == task)].iloc[0]
        best = part[part["arm"] == "best"]
        own, default = (
            part.set_index("network_seed")["value"]
            for part in (best[best["repeat"] == first["repeat"]], part[part["arm"] == "default"])
        )
        pairs = pd.concat([own, default], axis=1, keys=["own", "default"])
        out.append(
            {
                "cohort": cohort,
                "task": task,
                "draw": int(first["repeat"]),
                "n_draws": int(((top["cohort"] == cohort) & (top["task"] == task)).sum()),
                "validation": first[metric],
                "test": own.mean(),
                "test_best": best.groupby("repeat")["value"].mean().mean(),
                "n_best": best["repeat"].nunique(),
                "test_default": default.mean(),
                **statistics.paired(pairs["own"], pairs["default"])._asdict(),
            }
        )
    columns = ["cohort", "task", "draw", "n_draws", "validation", "test", "test_best", "n_best", "test_default"]
    return pd.DataFrame(out, columns=[*columns, *statistics.Paired._fields])


def residual_gain(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Deep networks with and without residual connections: means, difference paired by draw, its tests."""
    out = []
    for (cohort, task), part in draws(rows, ("residual", "plain_deep")).groupby(["cohort", "task"]):
        if part["arm"].nunique() < 2:  # a run that was cut short
            continue
        pairs = part.pivot(index="repeat", columns="arm", values=metric).dropna()
        share = part.groupby("arm")["diverged"].mean()
        out.append(
            {
                "cohort": cohort,
                "task": task,
                "plain": pairs["plain_deep"].mean(),
                "residual": pairs["residual"].mean(),
                "plain_diverged": float(share["plain_deep"]),
                "residual_diverged": float(share["residual"]),
                **statistics.paired(pairs["residual"], pairs["plain_deep"])._asdict(),
                "p_equivalent": statistics.equivalence(pairs["residual"], pairs["plain_deep"]),
            }
        )
    columns = ["cohort", "task", "plain", "residual", "plain_diverged", "residual_diverged"]
    return pd.DataFrame(out, columns=[*columns, *statistics.Paired._fields, "p_equivalent"])


def trends(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Lowest and highest level of Fig. 2, a row a task and hyper-parameter.

    The level is the median of a box, or the LOESS curve for hyper-parameters on a continuous scale. Ranges
    over few draws a box are wide by chance alone.
    """
    out = []
    for (cohort, task), part in draws(rows).groupby(["cohort", "task"]):
        for name in DRAWN:
            if name in CONTINUOUS:
                x, level = smooth(part[name], part[metric], name in LOGARITHMIC)
            else:
                level = part.groupby(name)[metric].median()
                x, level = level.index.to_numpy(), level.to_numpy()
            if len(level):
                low, high = np.argmin(level), np.argmax(level)
                out.append(
                    {
                        "cohort": cohort,
                        "task": task,
                        "hyper_parameter": name,
                        "lowest": level[low],
                        "at_lowest": _text(x[low]),
                        "highest": level[high],
                        "at_highest": _text(x[high]),
                        "range": level[high] - level[low],
                    }
                )
    return pd.DataFrame(out)
