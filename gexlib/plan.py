"""What a profile costs: its cells rehearsed, the work found there priced by what a step of training takes here.

The rehearsal lists a section's cells on cohorts with the profile's samples and few genes, and runs a sample of them
with the learning left out (`gexlib.rehearsal`): how many networks there are, on how many samples, and what they share
is then what the experiments themselves do. Prices are measured here: what an update and a sample cost a weight, what
fits of the classical methods take.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from gexlib import baselines, results
from gexlib.checks import plain_steps
from gexlib.cohorts import open_cohort
from gexlib.cohorts.simulate import Simulation
from gexlib.experiments import Section
from gexlib.experiments.base import as_list, check
from gexlib.gram import gram, pays
from gexlib.models import MLP
from gexlib.rehearsal import rehearsal
from gexlib.results import Cell
from gexlib.runner import keep_memory
from gexlib.training import OPTIMISERS, Training, likely_epochs, weighted_cross_entropy

NARROW = 200  # genes of the cohorts that are rehearsed on
ROW_BYTES = 2500  # of a cell's rows in the store
EPOCHS = 0.3  # share of the most epochs after which training stops early, where the record knows nothing
STATE = {"sgd": 1, "rmsprop": 2, "adam": 2}  # numbers that an optimiser keeps of a weight
GIBIBYTE = 2**30
COUNTS = ["cells", "networks", "autoencoders", "tunings"]  # columns of the plan
LEAST = 5  # groups of cells rehearsed


@dataclass(frozen=True)
class Prices:
    """Seconds of the parts that training and tuning are made of, measured on one thread or one GPU.

    Attributes
    ----------
    layer : float
        Of a layer in a step, whatever its size.
    update : dict of str to float
        Of a weight in a step, by optimiser.
    sample : float
        Of a weight and a sample in a step: forth and back.
    product : float
        Of a gene of a scalar product of two samples.
    fits : dict of str to (float, float)
        Of a fit of a classical method to two classes: whatever the size, and a value of X; of support vector machines,
        which are handed kernels, a value of the kernel.
    """

    layer: float
    update: dict[str, float]
    sample: float
    product: float
    fits: dict[str, tuple[float, float]]


def measure(device: str = "cpu") -> Prices:
    """Measure the prices here, in well under a minute.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where networks would be trained.
    """
    keep_memory()
    place, threads = torch.device(device), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            layer = sum(_step(10, (8,) * 8, 16, "sgd", place, 60)) / 9
            genes, hidden = 20_000, 500
            weights, passes, updates = genes * hidden, {}, {}
            for size in (8, 136):
                found = {name: _step(genes, (hidden,), size, name, place, 6) for name in OPTIMISERS}
                passes[size] = min(seconds for seconds, _ in found.values())
                updates |= {name: min(seconds, updates.get(name, seconds)) for name, (_, seconds) in found.items()}
            sample = max(passes[136] - passes[8], 0) / 128 / weights
            once = max((passes[8] - 2 * layer) / weights - 8 * sample, 0)
            update = {name: once + seconds / weights for name, seconds in updates.items()}
            X = torch.randn(400, genes)
            product = _best(lambda: gram(X, X, place)) / (400 * 400 * genes)
            fits = {method: _fit(method) for method in baselines.METHODS}
            return Prices(layer, update, sample, product, fits)
    finally:
        torch.set_num_threads(threads)


def _best(function, times: int = 3) -> float:
    """Seconds of a call, the best of a few."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _step(genes: int, hidden: tuple, size: int, optimiser: str, place: torch.device, steps: int) -> tuple[float, float]:
    """Seconds of a training step's two passes, forth and back, and of its update."""
    model = MLP(genes, 2, hidden).to(place)
    made = OPTIMISERS[optimiser](model.parameters(), Training())
    X, y = torch.randn(size, genes, device=place), torch.arange(size, device=place) % 2
    alpha = torch.ones(2, device=place)

    def passes() -> None:
        made.zero_grad()
        weighted_cross_entropy(model(X), y, alpha).backward()
        if place.type == "cuda":
            torch.cuda.synchronize()

    def update() -> None:
        made.step()
        if place.type == "cuda":
            torch.cuda.synchronize()

    taken = [(_best(passes, 1), _best(update, 1)) for _ in range(steps + 2)]
    forth_and_back, moved = zip(*taken[2:], strict=True)  # the first make the optimiser's state
    return min(forth_and_back), min(moved)


def _fit(method: str) -> tuple[float, float]:
    """Seconds of a fit on few and on many samples, as `Prices.fits`: the mean of the grid's ends."""
    tuning = baselines.Tuning(trees=100)
    ends = [dict(zip(baselines.GRIDS[method], chosen, strict=True)) for chosen in _ends(baselines.GRIDS[method])]
    points = []
    for n, genes in ((60, 50), (500, 200)):
        random = np.random.default_rng(0)
        y = np.arange(n) % 2
        X = random.normal(size=(n, genes)) + 0.3 * y[:, None]
        models = [baselines.classifier(method, tuning, "balanced", 0).set_params(**end) for end in ends]
        seconds = np.mean([_best(lambda model=model, X=X, y=y: model.fit(X, y), 2) for model in models])
        points.append((n * n if method.startswith("svm") else n * genes, seconds))
    (few, fast), (many, slow) = points
    value = max(slow - fast, 0) / (many - few)
    return max(fast - few * value, 0.0), value


def _ends(grid: dict[str, list]) -> list[tuple]:
    """First and last values of a method's grid."""
    return [tuple(values[at] for values in grid.values()) for at in (0, -1)]


@dataclass(frozen=True)
class Work:
    """Something to be learned: its kind, the genes of the real cohort, what the rehearsal noted of it."""

    kind: str
    genes: int
    noted: dict

    @property
    def weights(self) -> list[int]:
        """Weights of each layer, over all genes; of an autoencoder those of encoder and decoder."""
        both = 2 if self.kind == "autoencoder" else 1
        return [both * n_in * n_out for n_in, n_out in pairwise([self.genes, *self.noted["widths"]])]

    @property
    def in_sample_space(self) -> bool:
        """Whether the first layer would be trained in sample space (see `gexlib.gram`)."""
        if self.kind != "network" or self.noted["frozen"] or len(self.noted["widths"]) < 2 or plain_steps():
            return False
        training = self.noted["training"]
        epochs = likely_epochs(training, self.noted["held_out"])
        exact = training.optimiser == "sgd" and not training.l1
        return exact and pays(self.noted["n"], self.genes, self.noted["widths"][0], epochs)

    def seconds(self, prices: Prices, share: float) -> float:
        """Seconds expected where training that stops early takes this share of its most epochs."""
        if self.kind == "tuning":
            return self._tuning(prices)
        training, n, frozen = self.noted["training"], self.noted["n"], self.noted.get("frozen", 0)
        stops = self.kind == "autoencoder" or self.noted["held_out"]
        epochs = share * training.epochs if stops else training.fixed_epochs
        moving, once = self.weights[frozen:], n * sum(self.weights[:frozen]) * prices.sample / 3
        if self.in_sample_space:
            neurons = self.noted["widths"][0]
            moving[0] = n * neurons
            once += prices.product * self.genes * n * (n + 2 * neurons)
        size = min(training.batch_size, n)
        step = len(moving) * prices.layer + sum(moving) * (prices.update[training.optimiser] + size * prices.sample)
        return once + epochs * ceil(n / size) * step

    def _tuning(self, prices: Prices) -> float:
        """Seconds of the fits of an inner cross-validation and of the refit on all samples."""
        method, n, tried, folds = (self.noted[name] for name in ("method", "n", "tried", "folds"))
        always, value = prices.fits[method]
        inner = n * (folds - 1) / folds if folds else n

        def fit(samples: float, genes: float) -> float:
            trees = self.noted["tuning"].trees / 100 if method == "random_forest" else 1
            return trees * (always + value * (samples**2 if method.startswith("svm") else samples * genes))

        genes = np.mean([candidate["select__k"] for candidate in tried])
        classes = self.noted["n_classes"]
        machines = 1 if classes == 2 else classes
        if method.startswith("svm") and classes > 2:
            machines = (classes - 1) / classes * 2  # one against one, each on its two classes
        if method == "random_forest":
            machines = 1
        numbers = len({candidate["select__k"] for candidate in tried})
        kernels = folds * numbers * inner**2 * genes * prices.product if method.startswith("svm") else 0
        return machines * (len(tried) * folds * fit(inner, genes) + fit(n, genes)) + kernels

    @property
    def gibibytes(self) -> float:
        """Memory at its largest, beside the cohort, which is mapped: samples, weights and what moves them."""
        n = self.noted["n"]
        if self.kind == "tuning":
            return 3 * 8 * n * max(candidate["select__k"] for candidate in self.noted["tried"]) / GIBIBYTE
        copies = 2 if self.in_sample_space else 3 + STATE[self.noted["training"].optimiser]
        return 4 * (copies * sum(self.weights) + 2 * n * (self.genes + n)) / GIBIBYTE


@dataclass(frozen=True)
class Rehearsed:
    """A section's cells, and its pieces of work with how often the whole section has each."""

    cells: int
    work: list[tuple[Work, float]]

    def count(self, kind: str) -> int:
        """Pieces of work of a kind: "network", "autoencoder" or "tuning"."""
        return round(sum(times for work, times in self.work if work.kind == kind))

    def hours(self, prices: Prices, share: float, kinds: Iterable[str]) -> float:
        """Hours on one thread or one GPU of all work of some kinds."""
        return sum(times * work.seconds(prices, share) for work, times in self.work if work.kind in kinds) / 3600


def narrow(name: str) -> tuple[str, int]:
    """Return a cohort of the same samples with few genes, where it is simulated, and the genes it has itself."""
    if not name.startswith("simulated-"):
        return name, open_cohort(name).n_vars
    full = Simulation.from_name(name)
    return dataclasses.replace(full, genes=min(full.genes, NARROW)).name, full.genes


def rehearse(section: Section, parameters: dict, seconds: float = 10) -> Rehearsed:
    """Run some of a section's cells with the learning left out.

    Repeats and folds cost alike: one of each is rehearsed and counted for all. Of what is left groups of cells, which
    share what they learn with no other, are drawn until the time is over.

    Parameters
    ----------
    section : Section
    parameters : dict
        As `gexlib.profiles.parameters` gives them.
    seconds : float
        Time for it, beside that of listing the cells; at least `LEAST` groups are drawn.
    """
    genes: dict[str, int] = {}
    changed = dict(parameters)
    for name in {"cohort", "sweep"} & set(parameters):
        narrowed = [narrow(cohort) for cohort in as_list(parameters[name])]
        genes |= dict(narrowed)
        changed[name] = [cohort for cohort, _ in narrowed]
    repeats = changed.get("repeats", 1)
    if "repeats" in changed:
        changed["repeats"] = 1
    checked = check(section.module.Parameters, changed, section.name)
    cells, follow = section.module.cells(checked), getattr(section.module, "follow", None)
    work, rows = _rehearsed(section.module, cells, genes, seconds)
    total = len(cells)
    if follow:
        further = follow(checked, results.table(rows))
        work += _rehearsed(section.module, further, genes, seconds / 4)[0]
        total += len(further)
    return Rehearsed(repeats * total, [(one, repeats * times) for one, times in work])


def _rehearsed(module, cells: list[Cell], genes: dict, seconds: float) -> tuple[list[tuple[Work, float]], list[dict]]:
    """Rehearse groups of cells: each piece of work with how often all cells have it, and the rows that came out."""
    known: dict[str, list[Cell]] = {}
    for cell in cells:
        if not cell.parameters.get("fold"):
            known.setdefault(module.group(cell), []).append(cell)
    work, rows, done, begun = [], [], 0, time.monotonic()
    for i, name in enumerate(np.random.default_rng(0).permutation(sorted(known))):
        if i >= LEAST and time.monotonic() - begun > seconds:
            break
        group = known[name]
        done += len(group)
        of_cohort = genes[group[0].parameters["cohort"]]
        with rehearsal() as noted:
            rows += [row for _, found in module.evaluate(group) for row in found]
        work += [Work(one.pop("kind"), of_cohort, one) for one in noted]
    return [(one, len(cells) / done) for one in work], rows


def share_of_epochs(experiment: str) -> float:
    """Share of the most epochs after which training stopped early in the record, `EPOCHS` without any."""
    rows, _ = results.record(experiment)
    if "epochs" not in rows:
        return EPOCHS
    stopped = rows[rows["epochs"].notna()].drop_duplicates("key")
    if "early_stopping" in stopped:
        stopped = stopped[stopped["early_stopping"].eq(True).fillna(False).astype(bool)]
    most = [
        Cell.from_json(cell).parameters.get("training", {}).get("epochs", Training.epochs) for cell in stopped["cell"]
    ]
    return float((stopped["epochs"].astype(float) / most).mean()) if most else EPOCHS


def cohort_gibibytes(parameters: dict) -> dict[str, float]:
    """Disk that each cohort of a section takes in the cache."""
    found = {}
    for name in as_list(parameters["cohort"]):
        if name.startswith("simulated-"):
            full = Simulation.from_name(name)
            found[name] = 4 * full.samples * full.genes / GIBIBYTE
        else:
            cohort = open_cohort(name)
            found[name] = 4 * cohort.n_obs * cohort.n_vars / GIBIBYTE
    return found


def line(section: Section, parameters: dict, prices: Prices, seconds: float = 10) -> dict:
    """Return a section's line of the plan: numbers of its cells and their work, hours on one thread or GPU, GiB."""
    found = rehearse(section, parameters, seconds)
    share = share_of_epochs(section.experiment)
    cohorts = cohort_gibibytes(parameters)
    return {
        "section": section.name,
        "cells": found.cells,
        "networks": found.count("network"),
        "autoencoders": found.count("autoencoder"),
        "tunings": found.count("tuning"),
        "network hours": found.hours(prices, share, ("network", "autoencoder")),
        "tuning hours": found.hours(prices, share, ("tuning",)),
        "memory": max([work.gibibytes for work, _ in found.work], default=0.0),
        "cohorts": cohorts,
        "rows": found.cells * ROW_BYTES / GIBIBYTE,
    }


def table(lines: list[dict], cores: int, gpus: int = 0) -> pd.DataFrame:
    """Return the plan as a table: with ``gpus`` networks are trained there, else on the cores like all else.

    Days are those of all workers at work all the time. Memory is that of each worker, with all cohorts' pages in it.
    """
    frame = pd.DataFrame(lines)
    mapped = frame["cohorts"].map(lambda sizes: max(sizes.values(), default=0.0))
    every = {name: size for sizes in frame["cohorts"] for name, size in sizes.items()}
    shown = frame[["section", *COUNTS, "network hours", "tuning hours"]].copy()
    shown["days"] = (frame["network hours"] / (gpus or cores) + frame["tuning hours"] / cores) / 24
    shown["memory a worker, GiB"] = frame["memory"] + mapped
    shown["disk, GiB"] = frame["rows"] + frame["cohorts"].map(lambda sizes: sum(sizes.values()))
    whole = {name: shown[name].sum() for name in shown.columns[1:]}
    whole["memory a worker, GiB"] = shown["memory a worker, GiB"].max()
    whole["disk, GiB"] = frame["rows"].sum() + sum(every.values())
    return pd.concat([shown, pd.DataFrame([{"section": "all", **whole}])], ignore_index=True)
