"""Pre-training without labels (article: "Unsupervised transfer learning", Figs. 9 and 10).

The hidden layers of a network are pre-trained as denoising autoencoders on all samples of a cohort that are
not in the test fold, whatever their status and type. The network is then fine-tuned on n labelled samples
of one type and compared, on the type's test samples, with a network trained from scratch on the same n
samples (the baseline) and with the classical methods. All types share a fold, so one autoencoder serves them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from gexlib import statistics
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check_two_classes
from gexlib.errors import InputError
from gexlib.experiments import transfers
from gexlib.experiments.base import TUNED, Learners, as_list, cell_problem, check, check_learners, samples
from gexlib.experiments.transfers import Transfer
from gexlib.models import MLP
from gexlib.results import Cell, canonical
from gexlib.splits import PatientKFold
from gexlib.tasks import platform, seed_of, targets
from gexlib.transfer import LOSSES, SCHEMES, Denoising, new_network, pretrain_denoising

PROTOCOL = 1
UNLABELLED = "unlabelled"
#: How samples can be pre-trained on; the first of each list of `Parameters` is the main way.
WAYS = {"scheme": "schemes", "noise": "noise", "loss": "loss"}
SCHEME_LABELS = {"layers": "layer by layer", "whole": "whole encoder"}


@dataclass(frozen=True)
class Parameters(Learners):
    """What a notebook may set, beside `Learners`.

    Attributes
    ----------
    cohort : str or list of str
        One cohort or several.
    targets : list of str
        Cancer types or tissues; empty: all that have both classes.
    n : list of int
        Labelled samples to fine-tune on (article: up to 500); a size beyond the training part of a target is
        left out for it.
    frozen : list of int
        Numbers of frozen layers F (article's figures: 0).
    frozen_targets : list of str
        Targets on which F > 0 is run; empty: all.
    schemes, noise, loss : list
        Of `gexlib.transfer.Denoising`. The first of each is the main way to pre-train (article's figures:
        "layers"); each further one is run with the first of the other two.
    way_targets : list of str
        Targets on which the further ones are run; empty: all.
    denoising : dict
        Other arguments of `gexlib.transfer.Denoising` that differ from the defaults.
    folds, repeats : int
        Cross-validation of the whole cohort, and how often with new folds.
    split : str
        "random" (by patient where patients repeat), "patient" or "study".
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    targets: list[str] = field(default_factory=list)
    n: list[int] = field(default_factory=lambda: [8, 16, 32])
    frozen: list[int] = field(default_factory=lambda: [0])
    frozen_targets: list[str] = field(default_factory=list)
    schemes: list[str] = field(default_factory=lambda: ["layers"])
    noise: list[float] = field(default_factory=lambda: [0.1])
    loss: list[str] = field(default_factory=lambda: ["squared"])
    way_targets: list[str] = field(default_factory=list)
    denoising: dict = field(default_factory=dict)
    folds: int = 10
    repeats: int = 1
    split: str = "random"


def _ways(p: Parameters) -> list[dict]:
    """List the ways to pre-train: the main one, in the order of `ways_of`, then each further value by itself."""
    order = {"scheme": SCHEMES.index, "noise": float, "loss": list(LOSSES).index}
    values = {way: sorted(getattr(p, name), key=order[way]) for way, name in WAYS.items()}
    main = {way: first for way, (first, *_) in values.items()}
    return [main, *({**main, way: value} for way, (_, *more) in values.items() for value in more)]


def _check(p: Parameters) -> None:
    """Refuse what no cell could be made of."""
    check_learners(p)
    depth = len(new_network(1, 2, p.network).hidden)
    for name, least in (("folds", 2), ("repeats", 1)):
        if getattr(p, name) < least:
            raise InputError(f"{name}={getattr(p, name)}: it must be {least} or more.")
    for name, allowed in (("schemes", SCHEMES), ("loss", LOSSES), ("frozen", range(depth + 1)), ("noise", None)):
        values = getattr(p, name)
        unknown = [value for value in values if allowed is not None and value not in allowed]
        if unknown:
            raise InputError(f"{name}: '{unknown[0]}' is not known; use any of {', '.join(map(str, allowed))}.")
        if not values:
            raise InputError(f"{name}=[]: name at least one.")
    for way, name in WAYS.items():
        if way in p.denoising:
            raise InputError(f"denoising: '{way}' has a parameter of its own; set {name}=[{p.denoising[way]!r}].")
    check(Denoising, p.denoising, "denoising")
    for way in _ways(p):
        Denoising(**p.denoising, **way)


@lru_cache(maxsize=8)
def split_whole(
    cohort: str, digest: str, split: str, n_folds: int, repeat: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split a whole cohort into folds that serve all targets: a list of (train, test), as rows of the cohort.

    Patients (split by study: studies) stay on one side; each target's cancer and normal samples are spread
    evenly over the folds as far as that allows. The folds depend on the cohort, not on the targets asked for.
    """
    opened = samples(cohort, digest)
    half = platform(opened)
    whole = cell_problem(cohort, digest, f"{half}/pan", split)
    kind = np.zeros(len(whole.rows), int)  # 0: of no target
    for number, target in enumerate(targets(opened)):
        own = cell_problem(cohort, digest, f"{half}/{target}", split)
        kind[np.searchsorted(whole.rows, own.rows)] = 1 + 2 * number + own.y
    if n_folds > np.bincount(kind).max():
        raise InputError(f"folds={n_folds}: no class of a target of {cohort} has as many samples; use fewer folds.")
    splitter = PatientKFold(n_folds, shuffle=True, random_state=seed_of(seed, "whole", repeat))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # `cells` looks at the targets
        pairs = list(splitter.split(kind, kind, whole.groups))
    return [(whole.rows[train], whole.rows[test]) for train, test in pairs]


def _smallest(cohort: str, digest: str, target: str, p: Parameters) -> int:
    """Count a target's training samples in the fold that has fewest; refuse folds that lack one of its classes."""
    own = cell_problem(cohort, digest, f"{platform(samples(cohort, digest))}/{target}", p.split)
    sizes = []
    for repeat in range(p.repeats):
        for fold, (_, test) in enumerate(split_whole(cohort, digest, p.split, p.folds, repeat, p.seed)):
            tested = np.isin(own.rows, test)
            for part, side in ((tested, "test"), (~tested, "training")):
                missing = [name for k, name in enumerate(own.classes) if not (own.y[part] == k).any()]
                if missing:
                    raise InputError(
                        f"target {target} of {cohort}: fold {fold} of repeat {repeat} has no {missing[0]} sample on "
                        f"its {side} side; use fewer folds, another split, or name the targets without it."
                    )
            sizes.append((~tested).sum())
    return int(min(sizes))


def cells(parameters: Parameters) -> list[Cell]:
    """List the cells: for every target and n the baseline, the classical methods, and a cell a way and F.

    Raises
    ------
    InputError
        A target that a cohort lacks or whose classes do not fill the folds, a size beyond every target's
        training part, a way of pre-training that is not known.
    """
    p = parameters
    _check(p)
    found, known, largest = [], set(), 0
    for name in as_list(p.cohort):
        cohort = open_cohort(name)
        check_two_classes(cohort)
        name, digest, here = cohort.uns["name"], cohort.uns["digest"], targets(cohort)
        known |= set(here)
        wanted = [target for target in here if target in p.targets or not p.targets]
        smallest = {target: _smallest(name, digest, target, p) for target in wanted}
        largest = max([largest, *smallest.values()])
        for repeat in range(p.repeats):
            for fold in range(p.folds):
                for target in wanted:
                    common = {
                        "cohort": name, "target": target, "split": p.split, "folds": p.folds, "repeat": repeat,
                        "fold": fold, "seed": p.seed,
                    }  # fmt: skip
                    sizes = [n for n in p.n if n <= smallest[target]]
                    found += [Cell("unsupervised", cell, digest, PROTOCOL) for cell in _arms(p, common, sizes)]
    for name in ("targets", "frozen_targets", "way_targets"):
        missing = [target for target in getattr(p, name) if target not in known]
        if missing:
            raise InputError(f"{name}: '{missing[0]}' is not in {p.cohort}; it has {', '.join(sorted(known))}.")
    for n in p.n:
        if not 4 <= n <= largest:
            raise InputError(f"n={n}: the targets have up to {largest} samples to train on; use 4 to {largest}.")
    return found


def _arms(p: Parameters, common: dict, sizes: Sequence[int]) -> Iterator[dict]:
    """Yield the parameters of the cells of one target's fold; baselines and classical methods know no way."""
    networks = {"network": p.network, "training": p.training, "scaler": "source"}
    target = common["target"]
    ways = _ways(p) if target in p.way_targets or not p.way_targets else _ways(p)[:1]
    depths = [f for f in p.frozen if f == 0 or target in p.frozen_targets or not p.frozen_targets]
    for n in sizes:
        yield {**common, **networks, "n": n, "arm": "baseline"}
        if p.methods:
            classical = {name: getattr(p, name) for name in TUNED}
            yield {**common, **classical, "methods": p.methods, "n": n, "arm": "classical", "ties": "mean"}
        for way in ways:
            for frozen in depths:
                more = {**way, "denoising": p.denoising, "frozen": frozen}
                yield {**common, **networks, **more, "n": n, "arm": "fine_tuned"}


def group(cell: Cell) -> str:
    """Return the group of a cell: all cells of a fold that share an autoencoder, or that need none."""
    p = cell.parameters
    axes = ("cohort", "split", "folds", "repeat", "fold", "seed", *WAYS)
    return "|".join(str(p.get(axis)) for axis in axes)


def _way_key(p: dict) -> str:
    """Name a network and the way in which it was pre-trained."""
    return canonical([p["network"], p["denoising"], *(p[way] for way in WAYS)])


class Fold:
    """A fold of a cohort: its unlabelled samples, their scaler, and the networks pre-trained on them.

    Parameters
    ----------
    cell : Cell
        Any cell of the fold.
    """

    def __init__(self, cell: Cell):
        p = cell.parameters
        self.key = p["cohort"], cell.cohort_digest
        self.axes = p["seed"], p["repeat"], p["fold"]
        self.X, half = samples(*self.key).X, platform(samples(*self.key))
        self.whole = cell_problem(*self.key, f"{half}/pan", p["split"])
        folds = split_whole(*self.key, p["split"], p["folds"], p["repeat"], p["seed"])
        train, self.tested = folds[p["fold"]]
        self.unlabelled = self.whole.take(np.searchsorted(self.whole.rows, train))
        self.scaler = StandardScaler().fit(self.X[train])
        self.seed = seed_of(*self.axes, UNLABELLED)
        self._transfers: dict[str, FromUnlabelled] = {}
        self._networks: dict[str, tuple[MLP, list[dict]]] = {}

    def transfer(self, target: str, split: str) -> FromUnlabelled:
        """Return the samples of a target in this fold; those of the last one are kept, since cells come by target."""
        if target not in self._transfers:
            self._transfers.clear()
            own = cell_problem(*self.key, f"{platform(samples(*self.key))}/{target}", split)
            self._transfers[target] = FromUnlabelled(self, target, own)
        return self._transfers[target]

    def pretrained(self, p: dict) -> tuple[MLP, list[dict]]:
        """Pre-train a network in a cell's way, once for all targets, n and F: it and its history."""
        key = _way_key(p)
        if key not in self._networks:
            denoising = Denoising(**p["denoising"], **{way: p[way] for way in WAYS})
            model = new_network(self.X.shape[1], 2, p["network"], self.seed)
            X = self.scaler.transform(self.X[self.unlabelled.rows])
            self._networks[key] = pretrain_denoising(model, X, denoising, self.unlabelled.groups, self.seed)
        return self._networks[key]


class FromUnlabelled(Transfer):
    """A target's samples in a fold; its source network has learned from the fold's unlabelled samples."""

    def __init__(self, fold: Fold, target: str, own):
        tested = np.isin(own.rows, fold.tested)
        seed, repeat, number = fold.axes
        super().__init__(
            fold.X, {UNLABELLED: fold.unlabelled}, own.take(np.flatnonzero(~tested)), own.take(np.flatnonzero(tested)),
            fold.whole, fold.seed, seed_of(seed, target, repeat, number, "target"),
        )  # fmt: skip
        self.fold = fold

    def scaler(self, kind: str, source: str, chosen) -> StandardScaler:
        """Return the scaler of the unlabelled samples, which all arms share."""
        return self.fold.scaler

    def source_model(self, p: dict, source: str) -> MLP:
        """Put the pre-trained hidden layers under a new output layer: the one that the baseline starts from."""
        key = _way_key(p)
        if key not in self._networks:
            model = new_network(self.X.shape[1], 2, p["network"], self.target_seed)
            model.hidden.load_state_dict(self.fold.pretrained(p)[0].hidden.state_dict())
            self._networks[key] = model
        return self._networks[key]


def reconstruction(history: list[dict]) -> dict:
    """Sum up how pre-training went, in the losses of `gexlib.transfer.pretrain_denoising` on held-out samples.

    Returns
    -------
    dict
        ``reconstruction_start`` and ``reconstruction``: of the genes (the first layer's or the whole's
        autoencoder) before training and at its best; ``reconstruction_worst``: the best loss of the layer
        whose best is worst; ``reconstruction_epochs``: epochs run, all layers together.
    """
    table = pd.DataFrame(history)
    loss = table["validation_loss" if "validation_loss" in table else "loss"]
    best = loss.groupby(table["layer"]).min()
    return {
        "reconstruction_start": float(loss.iloc[0]),
        "reconstruction": float(best.iloc[0]),
        "reconstruction_worst": float(best.max()),
        "reconstruction_epochs": int((table["epoch"] > 0).sum()),
    }


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Run the cells of one fold and way; the network is pre-trained when a cell first needs it."""
    fold = None
    for cell in cells:
        fold = fold or Fold(cell)
        p = cell.parameters
        axes = {name: p.get(name) for name in ("target", "repeat", "fold", *WAYS)}
        if p["arm"] == "fine_tuned":
            axes |= reconstruction(fold.pretrained(p)[1])
        rows = fold.transfer(p["target"], p["split"]).rows(
            cell, UNLABELLED, source=UNLABELLED, n_source=len(fold.unlabelled.rows), **axes
        )
        yield cell, rows


def pretraining(rows: pd.DataFrame) -> pd.Series:
    """Name each row's way of pre-training: the scheme, and noise and loss where they are not the first; "" if none."""
    text = rows["scheme"].map(SCHEME_LABELS).fillna("")
    noise = rows["noise"].astype(float)
    text += (", noise " + noise.map("{:g}".format).astype(str)).where(noise > noise.min(), "")
    first = next((loss for loss in LOSSES if (rows["loss"] == loss).any()), None)
    text += (", loss: " + rows["loss"].fillna("")).where(rows["loss"] != first, "")
    return text.where(rows["arm"] == "fine_tuned", "")


def ways_of(rows: pd.DataFrame) -> list[str]:
    """Name the ways in the rows, the article's first: layer by layer, squared error, least noise."""
    tuned = rows[rows["arm"] == "fine_tuned"]
    tuned = tuned.assign(
        pretraining=pretraining(tuned),
        scheme=tuned["scheme"].map(SCHEMES.index),
        loss=tuned["loss"].map(list(LOSSES).index),
    )
    return list(tuned.sort_values(["scheme", "loss", "noise"])["pretraining"].unique())


def main_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that the article's figures show: the first of `ways_of`, the fewest frozen layers."""
    return transfers.main_lines(rows[pretraining(rows).isin(["", *ways_of(rows)[:1]])])


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Figs. 9 and 10 as a table: every arm at every target and n, and its difference to the baseline.

    Column ``pretraining`` names the way; each is compared with the same baselines and adjusted by itself.
    """
    ways = pretraining(rows)
    tables = []
    for way in ways_of(rows) or [""]:
        table = statistics.compare_arms(rows[ways.isin(["", way])], metric)
        table.insert(0, "pretraining", np.where(table["arm"] == "fine_tuned", way, ""))
        tables.append(table if not tables else table[table["arm"] == "fine_tuned"])
    return pd.concat(tables, ignore_index=True)


def gains(rows: pd.DataFrame, metrics: Sequence[str] = ("accuracy", "roc_auc")) -> pd.DataFrame:
    """Return the fine-tuned lines of `summarise` for several metrics, with a column ``metric``."""
    table = pd.concat([summarise(rows, metric).assign(metric=metric) for metric in metrics], ignore_index=True)
    return table[table["arm"] == "fine_tuned"].reset_index(drop=True)


def losses(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate how well the autoencoders reconstruct, one row a cohort and way, means over folds.

    Returns
    -------
    DataFrame
        cohort, pretraining, ``autoencoders`` (their number), ``n_source`` (unlabelled samples) and the values
        of `reconstruction`.
    """
    tuned = rows[rows["arm"] == "fine_tuned"]
    tuned = tuned.assign(pretraining=pretraining(tuned))
    values = ["n_source", *(name for name in tuned if name.startswith("reconstruction"))]
    single = tuned.drop_duplicates(["cohort", "pretraining", "repeat", "fold"])
    by = single.groupby(["cohort", "pretraining"])
    means = by[values].mean().astype(float)
    means.insert(0, "autoencoders", by.size())
    return means.reset_index().sort_values(
        ["cohort", "pretraining"], key=lambda c: c.map(ways_of(rows).index) if c.name == "pretraining" else c
    )
