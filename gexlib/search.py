"""Random draws of a network's hyper-parameters (article, "Sensitivity analysis", Table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.nonparametric.smoothers_lowess import lowess

from gexlib.errors import InputError


@dataclass(frozen=True)
class Space:
    """What is drawn from, uniformly. The article's ranges are not available: every range is ours.

    Attributes
    ----------
    layers : (int, int)
        Least and most hidden layers (article: 1 to 10, and 10 to 20 with residual connections).
    neurons : (int, int)
        Least and most neurons, the same in every hidden layer.
    batch_norm : sequence of bool
    dropout : (float, float)
    optimiser : sequence of str
    learning_rate : (float, float)
        Uniform in its logarithm.
    penalty : sequence of {"l1", "l2"}
    penalty_weight : sequence of float
        Values of its weight, 0 for none.
    batch_size : (int, int)
        Uniform in its logarithm.
    """

    layers: Sequence[int] = (1, 10)
    neurons: Sequence[int] = (10, 500)
    batch_norm: Sequence[bool] = (False, True)
    dropout: Sequence[float] = (0.0, 0.8)
    optimiser: Sequence[str] = ("sgd", "rmsprop", "adam")
    learning_rate: Sequence[float] = (1e-5, 1.0)
    penalty: Sequence[str] = ("l1", "l2")
    penalty_weight: Sequence[float] = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    batch_size: Sequence[int] = (8, 256)

    def __post_init__(self):
        """Refuse ranges from which nothing can be drawn."""
        for name in ("layers", "neurons", "dropout", "learning_rate", "batch_size"):
            values = getattr(self, name)
            if len(values) != 2 or not values[0] <= values[1] < float("inf"):
                raise InputError(f"{name}={list(values)}: give the least and the most, for example [1, 10].")
        for name in ("batch_norm", "optimiser", "penalty", "penalty_weight"):
            if not len(getattr(self, name)):
                raise InputError(f"{name} is empty: name at least one value.")
        if min(self.layers[0], self.neurons[0], self.batch_size[0]) < 1 or not 0 < self.learning_rate[0]:
            raise InputError("layers, neurons and batch_size start at 1, learning_rate above 0.")
        if not (0 <= self.dropout[0] and self.dropout[1] < 1):
            raise InputError(f"dropout={list(self.dropout)}: a share from 0 to below 1.")
        if set(self.penalty) - {"l1", "l2"}:
            raise InputError(f"penalty={list(self.penalty)}: use l1, l2 or both.")
        if not all(0 <= weight < float("inf") for weight in self.penalty_weight):
            raise InputError(f"penalty_weight={list(self.penalty_weight)}: weights are 0 or more.")


def draw(space: Space, seed: int) -> dict:
    """Draw one value of every hyper-parameter: a dict with the names of `Space`."""
    random = np.random.default_rng(seed)

    def between(least, most):
        return float(np.exp(random.uniform(np.log(least), np.log(most))))

    def rounded(text, ends):  # a short number for tables, still inside its range
        return min(max(float(text), float(ends[0])), float(ends[1]))

    return {
        "layers": int(random.integers(space.layers[0], space.layers[1], endpoint=True)),
        "neurons": int(random.integers(space.neurons[0], space.neurons[1], endpoint=True)),
        "batch_norm": bool(random.choice(space.batch_norm)),
        "dropout": rounded(f"{random.uniform(*space.dropout):.4f}", space.dropout),
        "optimiser": str(random.choice(space.optimiser)),
        "learning_rate": rounded(f"{between(*space.learning_rate):.4g}", space.learning_rate),
        "penalty": str(random.choice(space.penalty)),
        "penalty_weight": float(random.choice(space.penalty_weight)),
        "batch_size": round(between(*space.batch_size)),
    }


def settings(drawn: dict) -> tuple[dict, dict]:
    """Turn a draw into arguments of `gexlib.models.MLP` and of `gexlib.training.Training`."""
    network = {
        "hidden": [drawn["neurons"]] * drawn["layers"],
        "batch_norm": drawn["batch_norm"],
        "dropout": drawn["dropout"],
    }
    training = {name: drawn[name] for name in ("optimiser", "learning_rate", "batch_size")}
    return network, {**training, drawn["penalty"]: drawn["penalty_weight"]}


def smooth(x: Sequence, y: Sequence, logarithmic: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the LOESS curve of y over x (Fig. 2): where it was computed and its values.

    A local line holds three draws in ten, at least 20. Not robust, since the draws that fail are a result. Empty
    with fewer than six draws or four values of x, too few for a curve.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 6 or len(np.unique(x)) < 4:
        return np.array([]), np.array([])
    scaled = np.log(x) if logarithmic else x
    at, first = np.unique(scaled, return_index=True)
    at, first = (values[:: max(1, len(at) // 200)] for values in (at, first))
    most = np.unique(x, return_counts=True)[1].max()  # a local line needs more than one value of x
    with np.errstate(all="ignore"):
        curve = lowess(y, scaled, frac=min(1.0, max(0.3, 20 / len(x), 2 * most / len(x))), it=0, xvals=at)
    known = np.isfinite(curve)
    return x[first][known], curve[known]
