"""How much each hyper-parameter matters: a functional analysis of variance of the draws of a random search.

Computed from the rows of `gexlib.experiments.sensitivity`; nothing is trained on samples here.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from gexlib.experiments.sensitivity import DRAWN, LOGARITHMIC, draws, searched
from gexlib.search import Space

FEWEST_DRAWS = 20  # below, a surrogate of the accuracy says nothing


class Cube:
    """Hyper-parameters mapped to the unit cube, each uniform on 0..1; those with one value are left out."""

    def __init__(self, space: Space):
        self.levels, self.ends = {}, {}
        for name in DRAWN:
            values = list(getattr(space, name))
            if name in ("dropout", *LOGARITHMIC):
                if values[0] < values[1]:
                    self.ends[name] = np.log(values) if name in LOGARITHMIC else np.array(values)
            else:
                whole = name in ("layers", "neurons")
                values = list(range(values[0], values[1] + 1)) if whole else list(dict.fromkeys(values))
                if len(values) > 1:
                    self.levels[name] = {value: i for i, value in enumerate(values)}
        self.names = [name for name in DRAWN if name in self.levels or name in self.ends]

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Return draws as points, shape (n_draws, n_names); values of a list at the middle of their share."""
        columns = []
        for name in self.names:
            if name in self.levels:
                columns.append((table[name].map(self.levels[name]).to_numpy(float) + 0.5) / len(self.levels[name]))
            else:
                values, (least, most) = table[name].to_numpy(float), self.ends[name]
                values = np.log(values) if name in LOGARITHMIC else values
                columns.append((values - least) / (most - least))
        return np.column_stack(columns)

    def snap(self, points: np.ndarray) -> np.ndarray:
        """Move points to where draws can be: the middles of the shares of listed values."""
        points = points.copy()
        for i, name in enumerate(self.names):
            if name in self.levels:
                k = len(self.levels[name])
                points[:, i] = (np.minimum(np.floor(points[:, i] * k), k - 1) + 0.5) / k
        return points


def importance(
    rows: pd.DataFrame,
    metric: str = "accuracy",
    floor: float | None = None,
    pairs: int = 6,
    trees: int = 100,
    points: int = 4096,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of the variance of a metric that each hyper-parameter explains (functional ANOVA).

    A random forest is fitted to the draws of a task, and the variance of its prediction over the space is
    split among hyper-parameters and pairs of them (Hutter, Hoos and Leyton-Brown, ICML 2014) by
    `scipy.stats.sobol_indices`.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows; diverged draws count with the accuracy they got.
    floor : float, optional
        A quantile: lower values count as this one, so that the shares speak of the better draws and not of
        those that fail. None: all as they are.
    pairs : int
        Interactions given: those among the hyper-parameters with the largest total shares.
    trees, points : int
        Trees of the forest; points of the Sobol estimate, a power of 2.
    seed : int
        Of the forest and of the points.

    Returns
    -------
    DataFrame
        One row a cohort, task and term: ``order`` 1 (a hyper-parameter) or 2 (a pair), ``share`` (of the variance, by
        this term alone), ``total`` (with all interactions that the hyper-parameter is in; NaN for pairs), ``r2``
        (of the forest on draws left out of each tree; near 0 or below, the shares mean nothing), ``n_draws``. Tasks
        with fewer than `FEWEST_DRAWS` draws are left out.
    """
    out = []
    for (cohort, task), part in draws(rows).groupby(["cohort", "task"]):
        cube = Cube(searched(part)[0])
        if len(part) < FEWEST_DRAWS or not cube.names:
            continue
        y = part[metric].to_numpy(float)
        y = y if floor is None else np.maximum(y, np.quantile(y, floor))
        common = {"cohort": cohort, "simulated": bool(part["simulated"].iloc[0]), "task": task, "n_draws": len(part)}
        for term in _terms(cube, cube.encode(part), y, pairs, trees, points, seed):
            out.append({**common, **term})
    columns = ["cohort", "simulated", "task", "term", "order", "share", "total", "r2", "n_draws"]
    return pd.DataFrame(out, columns=columns)


def _terms(cube: Cube, X: np.ndarray, y: np.ndarray, pairs: int, trees: int, points: int, seed: int) -> list[dict]:
    """Shares of one task: hyper-parameters by falling total, then pairs by falling share."""
    d = len(cube.names)
    if np.ptp(y) == 0:  # nothing varies, nothing is explained
        return [{"term": name, "order": 1, "share": 0.0, "total": 0.0, "r2": np.nan} for name in cube.names]
    forest = RandomForestRegressor(trees, oob_score=True, min_samples_leaf=2, random_state=seed).fit(X, y)

    def predict(at):
        return forest.predict(cube.snap(at))

    random = np.random.default_rng(seed)
    sampled = stats.sobol_indices(func=lambda x: predict(x.T), n=points, dists=[stats.uniform()] * d, rng=random)
    shares = list(zip(cube.names, sampled.first_order, sampled.total_order, strict=True))
    singles = [
        {"term": name, "order": 1, "share": float(first), "total": float(total), "r2": forest.oob_score_}
        for name, first, total in sorted(shares, key=lambda share: -share[2])
    ]
    others = stats.qmc.Sobol(d, rng=random).random(128)
    variance = predict(stats.qmc.Sobol(d, rng=random).random(points)).var()
    top = sorted(range(d), key=lambda i: -sampled.total_order[i])
    most = next((k for k in range(d + 1) if k * (k - 1) // 2 >= pairs), d)
    doubles = [
        {
            "term": f"{cube.names[i]} \u00d7 {cube.names[j]}",
            "order": 2,
            "share": _interaction(predict, cube, others, i, j) / variance,
            "total": np.nan,
            "r2": forest.oob_score_,
        }
        for i, j in list(combinations(top[:most], 2))[:pairs]
    ]
    return singles + sorted(doubles, key=lambda term: -term["share"])


def _interaction(predict, cube: Cube, others: np.ndarray, i: int, j: int, steps: int = 12) -> float:
    """Variance by the interaction of two inputs: E[f | xi, xj] on a grid, less what each does alone.

    The grid has every listed value of an input once, or `steps` points of a continuous one or of a longer list. Every
    point of it sees the same values of the other inputs, so that what these do cancels.
    """
    sizes = [min(steps, len(cube.levels.get(cube.names[k], range(steps)))) for k in (i, j)]
    middles = [(np.arange(size) + 0.5) / size for size in sizes]
    at = np.tile(others, (sizes[0] * sizes[1], 1))
    grid = np.meshgrid(*middles, indexing="ij")
    at[:, i], at[:, j] = (np.repeat(values.ravel(), len(others)) for values in grid)
    mean = predict(at).reshape(*sizes, len(others)).mean(axis=2)
    alone = mean.mean(axis=0, keepdims=True) + mean.mean(axis=1, keepdims=True) - mean.mean()
    return float(((mean - alone) ** 2).mean())
