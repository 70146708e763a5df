"""From pan-cancer to one cancer (article: "From pan-cancer to specific cancer", Figs. 5 and 6).

A source network learns cancer against normal on every type but the target; it is fine-tuned on n samples
of the target and compared, on the target's test fold, with a network trained from scratch on the same n
samples (the baseline), with the source network as it is (zero-shot) and with the classical methods tuned
on the same n samples.
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
from gexlib.models import MLP
from gexlib.results import Cell, canonical
from gexlib.tasks import Problem, folds, platform, problem, seed_of, subset, targets
from gexlib.training import Training, predict_proba
from gexlib.transfer import fine_tune, new_network, train_network

PROTOCOL = 1
NETWORK = "nn_default"
SCALERS = ("source", "subset", "all")


@dataclass(frozen=True)
class Parameters:
    """What a notebook may set.

    Attributes
    ----------
    cohort : str or list of str
        One cohort or several.
    targets : list of str
        Cancer types or tissues; empty: all that have both classes.
    n : list of int
        Target samples to fine-tune on. A size beyond the training folds of one target is left out for it.
    frozen : list of int
        Numbers of frozen layers F; the article shows 0.
    folds, repeats : int
        Cross-validation of the target, and how often with new folds (article: 10 folds).
    split : str
        "random" (by patient where patients repeat), "patient" or "study".
    scaler : list of str
        What the genes are standardised on, for both arms alike: "source" (the source's training
        samples), "subset" (the n target samples), "all" (test samples too: measures the leak).
    methods : list of str
        Classical methods tuned on the same n samples; empty: none.
    genes, inner_folds, trees, grid
        Of the classical methods, see `gexlib.baselines.Tuning`.
    network, training : dict
        Arguments of `gexlib.models.MLP` and `gexlib.training.Training` that differ from the defaults.
    seed : int
        Of everything random.
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    targets: list[str] = field(default_factory=list)
    n: list[int] = field(default_factory=lambda: [8, 16, 32])
    frozen: list[int] = field(default_factory=lambda: [0])
    folds: int = 10
    repeats: int = 1
    split: str = "random"
    scaler: list[str] = field(default_factory=lambda: ["source"])
    methods: list[str] = field(default_factory=lambda: list(baselines.METHODS))
    genes: list[int] = field(default_factory=lambda: [50, 200])
    inner_folds: int = 5
    trees: int = 100
    grid: str = "small"
    network: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    seed: int = 0


def cells(parameters: Parameters) -> list[Cell]:
    """List the cells: zero-shot once a fold; baseline, fine-tuned (a cell a F) and classical for every n.

    Raises
    ------
    InputError
        A target that a cohort lacks, more folds than patients, a size beyond every target's training folds.
    """
    p = parameters
    check(Training, p.training, "training")
    new_network(1, 2, p.network)  # refuses wrong arguments before anything runs
    depth = len(p.network.get("hidden", MLP.__init__.__defaults__[0]))
    for name, value, allowed in (
        ("scaler", p.scaler, SCALERS),
        ("methods", p.methods, baselines.METHODS),
        ("frozen", p.frozen, range(depth + 1)),
    ):
        unknown = [v for v in value if v not in allowed]
        if unknown:
            raise InputError(f"{name}: '{unknown[0]}' is not known; use any of {', '.join(map(str, allowed))}.")
    tuning(vars(p))
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
            for cell in _target_cells(p, cohort.uns["name"], target, [n for n in p.n if n <= smallest]):
                found.append(Cell("pan_to_specific", cell, cohort.uns["digest"], PROTOCOL))
    missing = [target for target in p.targets if target not in known]
    if missing:
        raise InputError(f"targets: '{missing[0]}' is not in {p.cohort}; it has {', '.join(sorted(known)) or 'none'}.")
    for n in p.n:
        if not 4 <= n <= largest:
            raise InputError(
                f"n={n}: the training folds of the targets hold up to {largest} samples; use 4 to {largest}."
            )
    return found


def _target_cells(p: Parameters, cohort: str, target: str, sizes: list[int]) -> Iterator[dict]:
    """Yield the parameters of one target's cells."""
    networks = {"network": p.network, "training": p.training}
    classical = {"methods": p.methods, **{name: getattr(p, name) for name in TUNED}}
    for repeat in range(p.repeats):
        for fold in range(p.folds):
            common = {
                "cohort": cohort, "target": target, "split": p.split, "folds": p.folds, "repeat": repeat,
                "fold": fold, "seed": p.seed,
            }  # fmt: skip
            if "source" in p.scaler:
                yield {**common, **networks, "arm": "zero_shot", "scaler": "source"}
            for n in sizes:
                for scaler in p.scaler:
                    here = {**common, **networks, "n": n, "scaler": scaler}
                    yield {**here, "arm": "baseline"}
                    for frozen in p.frozen:
                        yield {**here, "arm": "fine_tuned", "frozen": frozen}
                if p.methods:
                    yield {**common, **classical, "n": n, "arm": "classical"}


def group(cell: Cell) -> str:
    """Return the group of a cell: all that share a target's fold share its source network."""
    p = cell.parameters
    return "|".join(str(p[axis]) for axis in ("cohort", "target", "split", "folds", "repeat", "fold", "seed"))


class Fold:
    """The samples and the source networks of one target's fold, made when first asked for."""

    def __init__(self, cell: Cell):
        p = cell.parameters
        cohort = samples(p["cohort"], cell.cohort_digest)
        half = platform(cohort)
        own = cell_problem(p["cohort"], cell.cohort_digest, f"{half}/{p['target']}", p["split"])
        pan = cell_problem(p["cohort"], cell.cohort_digest, f"{half}/pan", p["split"])
        data_seed = seed_of(p["seed"], p["target"], p["repeat"])
        in_train, in_test = folds(own, p["folds"], data_seed)[p["fold"]]
        self.X = cohort.X
        self.train, self.test = own.take(in_train), own.take(in_test)
        # no sample of the target is in the source, nor any of a test patient (split by study: of a test study)
        shared = np.isin(pan.rows, own.rows)
        for label in ("patient", "study") if p["split"] == "study" else ("patient",):
            labels = cohort.obs[label].to_numpy()
            shared |= np.isin(labels[pan.rows], list(set(labels[self.test.rows]) - {""}))
        self.source = pan.take(np.flatnonzero(~shared))
        if len(np.unique(self.source.y)) < 2:
            raise InputError(f"target {p['target']}: without it {p['cohort']} has one class only, so no source.")
        self.seed = seed_of(p["seed"], p["target"], p["repeat"], p["fold"])
        self._sources: dict[str, MLP] = {}

    def scaler(self, kind: str, chosen: Problem) -> StandardScaler:
        """Fit a scaler on the source, on the n target samples, or (the leak) on these and all of the target."""
        rows = {
            "source": self.source.rows,
            "subset": chosen.rows,
            "all": np.concatenate([self.source.rows, self.train.rows, self.test.rows]),
        }[kind]
        return StandardScaler().fit(self.X[rows])

    def source_model(self, p: dict, scaler: StandardScaler) -> MLP:
        """Train the source network, once for every scaler that changes its input and every way of training."""
        kind = p["scaler"] if p["scaler"] == "all" else "source"
        key = canonical([kind, p["network"], p["training"]])
        if key not in self._sources:
            scaler = scaler if kind == p["scaler"] else self.scaler("source", self.train)
            self._sources[key], _ = train_network(
                scaler.transform(self.X[self.source.rows]), self.source.y, 2, Training(**p["training"]),
                p["network"], self.source.groups, self.seed,
            )  # fmt: skip
        return self._sources[key]


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Run the cells of one fold of one target; the source network is trained when a cell first needs it."""
    fold = None
    for cell in cells:
        fold = fold or Fold(cell)
        p = cell.parameters
        n = p.get("n")
        seed = seed_of(p["seed"], p["target"], p["repeat"], p["fold"], "target")
        train = fold.train.take(subset(fold.train.y, n, seed)) if n else fold.train.take(np.arange(0))
        axes = {
            "target": p["target"], "source": "pan", "arm": p["arm"], "frozen": p.get("frozen"),
            "repeat": p["repeat"], "fold": p["fold"], "scaler": p.get("scaler"), "n_source": len(fold.source.rows),
            "source_seed": fold.seed if p["arm"] in ("fine_tuned", "zero_shot") else None,
        }  # fmt: skip
        if p["arm"] == "classical":
            yield cell, list(_classical_rows(cell, fold, train, axes))
            continue
        scaler = fold.scaler(p["scaler"], train)
        training = Training(**p["training"])
        X = scaler.transform(fold.X[train.rows]) if n else None
        match p["arm"]:
            case "zero_shot":
                model, history = fold.source_model(p, scaler), []
            case "baseline":
                model, history = train_network(X, train.y, 2, training, p["network"], train.groups, seed)
            case "fine_tuned":
                source = fold.source_model(p, scaler)
                model, history = fine_tune(source, X, train.y, training, p["frozen"], train.groups, seed)
        probabilities = predict_proba(model, scaler.transform(fold.X[fold.test.rows]))
        stopping = bool(history) and "validation_loss" in history[0]
        more = {"method": NETWORK, "epochs": len(history) or None, "early_stopping": stopping}
        yield cell, rows_of(cell, train, fold.test, probabilities, probabilities, **axes, **more)


def _classical_rows(cell: Cell, fold: Fold, train: Problem, axes: dict) -> Iterator[dict]:
    """Tune every classical method on the n samples; `best_classical` is the one with the best inner score."""
    p = cell.parameters
    best = None
    for method in p["methods"]:
        tuned = baselines.tune(method, fold.X[train.rows], train.y, train.groups, tuning(p), fold.seed)
        chosen = ", ".join(f"{name}={value}" for name, value in tuned.chosen.items())
        more = {"method": method, "chosen": chosen, "inner_folds": tuned.inner_folds}
        scores, probabilities = baselines.scores(tuned.pipeline, fold.X[fold.test.rows])
        rows = rows_of(cell, train, fold.test, scores, probabilities, **axes, **more)
        yield from rows
        if best is None or tuned.inner_score > best[0]:
            best = tuned.inner_score, rows
    for row in best[1]:
        yield {**row, "method": "best_classical", "chosen": f"{row['method']}: {row['chosen']}"}


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Figs. 5 and 6 as a table: every arm at every target and n, and its difference to the baseline."""
    return statistics.compare_arms(rows, metric)


def main_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that the figures of the article show: scaler "source", the fewest frozen layers, the best classical."""
    frozen = rows["frozen"].fillna(rows["frozen"].min()) == rows["frozen"].min()
    classical = (rows["arm"] != "classical") | (rows["method"] == "best_classical")
    return rows[frozen & classical & rows["scaler"].fillna("source").eq("source")]
