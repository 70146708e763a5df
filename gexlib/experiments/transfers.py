"""Supervised transfer on one fold of a target: what its sections share (article, "Supervised transfer learning").

An arm is one way to predict the target's test samples:

- ``baseline``: a network trained from scratch on n samples of the target;
- ``fine_tuned``: the source's network, its first F layers frozen, the rest trained on the same n samples;
- ``zero_shot``: the source's network as it is;
- ``classical``: every classical method tuned on the same n samples, and the best of them by inner score;
- ``pooled``: classical methods tuned on the source's samples and the n samples together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.preprocessing import StandardScaler

from gexlib import baselines
from gexlib.errors import InputError
from gexlib.experiments.base import TUNED, Learners, check_learners, rows_of, tuning
from gexlib.gram import Pool, pays, why_not
from gexlib.models import MLP
from gexlib.results import Cell, canonical
from gexlib.tasks import Problem, subset
from gexlib.training import Training, predict_proba, resolve_device
from gexlib.transfer import fine_tune, new_network, train_network

NETWORK = "nn_default"
ARMS = ("baseline", "fine_tuned", "zero_shot", "classical", "pooled")
SCALERS = ("source", "subset", "all", "domain")
#: Of several scalers the first of these is the main one: figures show it, pooled methods are labelled with it.
MAIN_SCALERS = ("domain", "source", "subset", "all")


@dataclass(frozen=True)
class TransferParameters(Learners):
    """What every section of supervised transfer lets a notebook set.

    Attributes
    ----------
    cohort : str or list of str
        One cohort or several.
    n : list of int
        Target samples to fine-tune on.
    frozen : list of int
        Numbers of frozen layers F.
    scaler : list of str
        What the genes are standardised on, for compared arms alike: "source" (the source's training
        samples), "subset" (the n target samples), "domain" (source and target each on all its own training
        samples: for two platforms, transductive), "all" (test samples too: measures the leak).
    pooled : list of str
        Classical methods tuned on source and n samples together; empty: none.
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    n: list[int] = field(default_factory=lambda: [8, 16, 32])
    frozen: list[int] = field(default_factory=lambda: [0])
    scaler: list[str] = field(default_factory=lambda: ["source"])
    pooled: list[str] = field(default_factory=list)


def check_transfer(p: TransferParameters) -> None:
    """Refuse what no cell could be made of: networks, methods, scalers, frozen layers."""
    check_learners(p)
    depth = len(p.network.get("hidden", MLP.__init__.__defaults__[0]))
    for name, value, allowed in (
        ("scaler", p.scaler, SCALERS),
        ("pooled", p.pooled, baselines.METHODS),
        ("frozen", p.frozen, range(depth + 1)),
    ):
        unknown = [v for v in value if v not in allowed]
        if unknown:
            raise InputError(f"{name}: '{unknown[0]}' is not known; use any of {', '.join(map(str, allowed))}.")


def arm_cells(
    p: TransferParameters, common: dict, sizes: Sequence[int], sources: Sequence[str | None] = (None,)
) -> Iterator[dict]:
    """Yield the parameters of a fold's cells, every arm at every size.

    Parameters
    ----------
    p : TransferParameters
    common : dict
        What all cells of the fold have: cohort, target, repeat, fold, seed ...
    sizes : sequence of int
        Of `n`, those that the fold can give.
    sources : sequence of str
        Cells that have a source name it; None: there is one only, and no cell names it. The baseline and the
        classical methods have none: they are computed once, whatever the source.
    """
    networks = {"network": p.network, "training": p.training}
    classical = {name: getattr(p, name) for name in TUNED}
    named = [{} if source is None else {"source": source} for source in sources]
    main = next((scaler for scaler in MAIN_SCALERS if scaler in p.scaler), "source")
    if main in ("domain", "source") and main in p.scaler:  # as an untouched source network was trained
        yield from ({**common, **source, **networks, "arm": "zero_shot", "scaler": main} for source in named)
    for n in sizes:
        for scaler in p.scaler:
            here = {**common, **networks, "n": n, "scaler": scaler}
            yield {**here, "arm": "baseline"}
            for source in named:
                for frozen in p.frozen:
                    yield {**here, **source, "arm": "fine_tuned", "frozen": frozen}
        if p.methods:
            yield {**common, **classical, "methods": p.methods, "n": n, "arm": "classical", "ties": "mean"}
        if p.pooled:
            more = {"methods": p.pooled, "n": n, "arm": "pooled", "ties": "mean", "scaler": main}
            yield from ({**common, **source, **classical, **more} for source in named)


class Transfer:
    """The samples of one fold, and the networks trained on its sources, each when first asked for.

    Parameters
    ----------
    X : array, shape (n_samples, n_genes)
        Of the whole cohort.
    sources : dict of str to Problem
        Samples of each source; none is a test sample nor shares a patient with one.
    train, test : Problem
        The target's training samples, of which subsets are taken, and its test samples.
    pan : Problem
        The status of all samples: its groups keep a patient's samples together where sources and target are
        pooled.
    source_seed, target_seed : int
        Of the source networks (and of the classical methods), of subsets and of the networks on the target.
    """

    def __init__(
        self,
        X: np.ndarray,
        sources: dict[str, Problem],
        train: Problem,
        test: Problem,
        pan: Problem,
        source_seed: int,
        target_seed: int,
    ):
        self.X, self.sources, self.train, self.test, self.pan = X, sources, train, test, pan
        self.source_seed, self.target_seed = source_seed, target_seed
        self._networks: dict[str, MLP] = {}
        self._scalers: dict[bytes, StandardScaler] = {}  # by the rows that they were fitted on
        # a scaler's rows, their pool, the networks inside, each with the one outside: while it lives its id is its own
        self._pools: dict[tuple, tuple[np.ndarray, Pool, dict[int, tuple[MLP, MLP]]]] = {}

    def scaled_on(self, source: str) -> str:
        """Name the source whose samples the scaler is fitted on: a network's own."""
        return source

    def scaler(self, kind: str, source: str, chosen: Problem) -> StandardScaler:
        """Fit the scaler of the target's samples; "all", the leak, has seen source and target, test samples too."""
        fitted_on = self.sources[self.scaled_on(source)].rows
        rows = {
            "source": fitted_on,
            "subset": chosen.rows,
            "domain": self.train.rows,
            "all": np.concatenate([fitted_on, self.train.rows, self.test.rows]),
        }[kind]
        if (key := rows.tobytes()) not in self._scalers:
            self._scalers[key] = StandardScaler().fit(self.X[rows])
        return self._scalers[key]

    def source_model(self, p: dict, source: str) -> MLP:
        """Train a source's network, once for every scaler that changes its input and every way of training."""
        kind = "all" if p["scaler"] == "all" else "source"
        key = canonical([source, kind, p["network"], p["training"]])
        if key not in self._networks:
            samples, scaler = self.sources[source], self.scaler(kind, source, self.train)
            self._networks[key], _ = train_network(
                scaler.transform(self.X[samples.rows]), samples.y, 2, Training(**p["training"]),
                p["network"], samples.groups, self.source_seed,
            )  # fmt: skip
        return self._networks[key]

    def untrained(self, p: dict) -> MLP:
        """Return the network that baselines of every n start from."""
        key = canonical([p["network"]])
        if key not in self._networks:
            self._networks[key] = new_network(self.X.shape[1], 2, p["network"], self.target_seed)
        return self._networks[key]

    def chosen(self, n: int | None) -> Problem:
        """Take the n target samples of a cell, nested over n; none where the cell has no n."""
        return self.train.take(subset(self.train.y, n, self.target_seed) if n else np.arange(0))

    def samples(self, p: dict, start: MLP, source: str, chosen: Problem) -> tuple[MLP, np.ndarray, np.ndarray]:
        """Return a network, training and test samples as it takes them: profiles, or rows of a pool.

        Wherever training in sample space is exact and pays (`gexlib.gram`), the target's samples are one pool for all
        networks, n and F that share a scaler: twice n of them and the test samples, since subsets are nested and the
        sizes of a fold rise.
        """
        training, n = Training(**p["training"]), len(chosen.rows)
        shared = p["scaler"] != "subset" and p["arm"] != "zero_shot"
        exact = shared and not why_not(start, training)
        if not exact or not pays(n, self.X.shape[1], start.hidden[0].linear.out_features, training.fixed_epochs):
            scaler = self.scaler(p["scaler"], source, chosen)
            X = scaler.transform(self.X[chosen.rows]) if n else None
            return start, X, scaler.transform(self.X[self.test.rows])
        kind = p["scaler"], None if p["scaler"] == "domain" else self.scaled_on(source)
        if kind not in self._pools or not np.isin(chosen.rows, self._pools[kind][0]).all():
            rows = np.concatenate([self.chosen(min(2 * n, len(self.train.rows))).rows, self.test.rows])
            scaled = self.scaler(p["scaler"], source, chosen).transform(self.X[rows])
            self._pools[kind] = rows, Pool(scaled, next(start.parameters()).dtype, resolve_device()), {}
        rows, pool, inside = self._pools[kind]
        if id(start) not in inside:
            inside[id(start)] = start, pool.enter(start)
        order = np.argsort(rows)
        trained = order[np.searchsorted(rows, chosen.rows, sorter=order)]
        return inside[id(start)][1], trained, np.arange(len(rows) - len(self.test.rows), len(rows))

    def rows(self, cell: Cell, source: str, /, **axes) -> list[dict]:
        """Run a cell's arm and return its rows; `axes` are columns that the arm does not decide."""
        p = cell.parameters
        train = self.chosen(p.get("n"))
        axes = {
            "arm": p["arm"], "frozen": p.get("frozen"), "scaler": p.get("scaler"),
            "source_seed": self.source_seed if p["arm"] in ("fine_tuned", "zero_shot") else None, **axes,
        }  # fmt: skip
        if p["arm"] in ("classical", "pooled"):
            return list(self._classical(cell, source, train, axes))
        start = self.untrained(p) if p["arm"] == "baseline" else self.source_model(p, source)
        model, X, X_test = self.samples(p, start, source, train)
        history = []
        if p["arm"] != "zero_shot":
            training, frozen = Training(**p["training"]), p.get("frozen", 0)
            model, history = fine_tune(model, X, train.y, training, frozen, train.groups, self.target_seed)
        probabilities = predict_proba(model, X_test)
        stopping = bool(history) and "validation_loss" in history[0]
        more = {"method": NETWORK, "epochs": len(history) or None, "early_stopping": stopping}
        return rows_of(cell, train, self.test, probabilities, probabilities, **axes, **more)

    def _classical(self, cell: Cell, source: str, train: Problem, axes: dict) -> Iterator[dict]:
        """Tune each classical method; `best_classical` is the best of them, see `_best`."""
        p = cell.parameters
        X, y, groups, X_test = self.X[train.rows], train.y, train.groups, self.X[self.test.rows]
        if p["arm"] == "pooled":
            X, y, groups, X_test = self._pool(p["scaler"], source, train)
        tried = []
        for method in p["methods"]:
            tuned = baselines.tune(method, X, y, groups, tuning(p), self.source_seed)
            chosen = ", ".join(f"{name}={value}" for name, value in tuned.chosen.items())
            more = {"method": method, "chosen": chosen, "inner_folds": tuned.inner_folds}
            more["inner_score"] = tuned.inner_score if tuned.inner_folds else None
            scores, probabilities = baselines.scores(tuned.pipeline, X_test)
            tried.append(rows_of(cell, train, self.test, scores, probabilities, **axes, **more))
            yield from tried[-1]
        yield from _best(tried)

    def _pool(self, kind: str, source: str, train: Problem) -> tuple[np.ndarray, ...]:
        """Put the source's and the n samples together: X, y, groups, X_test, each platform on its own scale."""
        rows = [self.sources[source].rows, train.rows, self.test.rows]
        X = [self.X[part] for part in rows]
        if kind == "domain":
            own = StandardScaler().fit(X[0]), StandardScaler().fit(self.X[self.train.rows])
            X = [own[0].transform(X[0]), own[1].transform(X[1]), own[1].transform(X[2])]
        at = np.concatenate([np.searchsorted(self.pan.rows, part) for part in rows[:2]])
        return np.concatenate(X[:2]), self.pan.y[at], self.pan.groups[at], X[2]


def _best(tried: list[list[dict]]) -> Iterator[dict]:
    """Rows of `best_classical`: the method with the highest inner score, or the mean of those that share it.

    Scores of few inner samples tie often; the order in which methods are named must not decide.
    """
    scores = [rows[0]["inner_score"] for rows in tried]
    highest = max((score for score in scores if score is not None), default=None)
    best = [rows for rows, score in zip(tried, scores, strict=True) if score == highest]
    names = ", ".join(rows[0]["method"] for rows in best)
    by_metric = [{row["metric"]: row for row in rows} for rows in best]
    for metric, row in by_metric[0].items():
        if all(metric in rows for rows in by_metric):  # support vector machines have no log loss
            value = float(np.mean([rows[metric]["value"] for rows in by_metric]))
            yield {**row, "method": "best_classical", "chosen": names, "value": value}


def main_lines(rows):
    """Rows that the article's figures show: the main scaler, the fewest frozen layers, the best classical method."""
    frozen = rows["frozen"].fillna(rows["frozen"].min()) == rows["frozen"].min()
    classical = ~rows["arm"].isin(["classical", "pooled"]) | (rows["method"] == "best_classical")
    present = set(rows.loc[rows["arm"] != "pooled", "scaler"].dropna())
    main = next((scaler for scaler in MAIN_SCALERS if scaler in present), "source")
    return rows[frozen & classical & rows["scaler"].fillna(main).eq(main)]
