"""A network to take away: pre-trained on one cohort, fine-tuned on another, used on a third.

`gexlib.takeaway.file` keeps it in one file that holds all that a prediction needs, and no code; `gexlib.takeaway.card`
says what it was trained on, how good it was on patients that it had not seen, and what it is not good for.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.proportion import proportion_confint

from gexlib import provenance
from gexlib.baselines import METHODS, Tuning, scores, tune
from gexlib.cohorts import genes, own, schema
from gexlib.errors import InputError
from gexlib.experiments.base import check
from gexlib.metrics import evaluate
from gexlib.models import MLP
from gexlib.tasks import Problem, holdout, nested_order, platform, problem, seed_of
from gexlib.training import Training, predict_proba
from gexlib.transfer import fine_tune, new_network, train_network

if TYPE_CHECKING:
    from anndata import AnnData

FORMAT = 1
NETWORK = tuple(name for name in inspect.signature(MLP).parameters if name not in ("n_genes", "n_classes"))
SCALERS = ("source", "target")
COUNTED = re.compile(r"(?!GSM)[A-Za-z]{0,10}[ _.-]?\d{1,4}")  # an id that only counts; GEO's samples are known as such


@dataclass
class TakeAway:
    """A trained network with all that a prediction needs.

    Attributes
    ----------
    model : MLP
        In evaluation mode.
    var : DataFrame
        Its genes, in the order of its inputs, with the columns that `gexlib.cohorts.genes` matches by.
    mean, scale : array of float64, shape (n_genes,)
        Of the scaler.
    seen : array of uint64
        Fingerprints of the ids and patients of all samples that it, or a network that it comes from, was trained on.
    about : dict
        Plain values: task, classes, cohorts (that of the pre-training first), metrics, versions.
    origin : str
        SHA-256 of the file that it was read from, "" of a new one.
    """

    model: MLP
    var: pd.DataFrame
    mean: np.ndarray
    scale: np.ndarray
    seen: np.ndarray
    about: dict
    origin: str = ""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return self.about["classes"]

    def scaled(self, cohort: AnnData) -> tuple[np.ndarray, genes.Match]:
        """Return a cohort's samples as the network takes them, and how genes were matched."""
        match = genes.match(self.var, cohort.var)
        return self._scale(match.apply(cohort.X, self.mean)), match

    def _scale(self, X: np.ndarray) -> np.ndarray:
        scaled = np.empty(X.shape, np.float32)
        for start, block in schema.row_blocks(X):  # in doubles, some samples at a time
            scaled[start : start + len(block)] = (block - self.mean) / self.scale
        return scaled

    def predict_proba(self, cohort: AnnData) -> np.ndarray:
        """Return the probability of each class for each sample of a cohort, shape (n_samples, n_classes)."""
        return predict_proba(self.model, self.scaled(cohort)[0])

    def unseen(self, cohort: AnnData) -> np.ndarray:
        """Return which samples share neither id nor patient with those trained on, shape (n_samples,)."""
        ids, patients = _fingerprints(cohort)
        return ~(np.isin(ids, self.seen) | (np.isin(patients, self.seen) & (cohort.obs["patient"] != "").to_numpy()))


def _fingerprints(cohort: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers that stand for the ids and the patients of samples.

    Ids that only count, such as 7, s7 or P-007, are told apart by the source of their cohort; others mean the same
    sample or patient wherever they stand.
    """
    source = cohort.uns["source"]

    def number(kind: str, text: str) -> int:
        scope = f"{source}:" if COUNTED.fullmatch(text) else ""
        return int.from_bytes(hashlib.sha256(f"{kind}:{scope}{text}".encode()).digest()[:8], "little")

    return tuple(
        np.array([number(kind, text) for text in texts], dtype=np.uint64)
        for kind, texts in (("sample", cohort.obs_names), ("patient", cohort.obs["patient"]))
    )


def _seen(cohort: AnnData) -> np.ndarray:
    ids, patients = _fingerprints(cohort)
    return np.unique(np.concatenate([ids, patients[(cohort.obs["patient"] != "").to_numpy()]]))


def arguments(changes: dict) -> tuple[dict, dict]:
    """Sort parameters into those of the network and those of its training, checked.

    Raises
    ------
    InputError
        A name is neither, or a value is of the wrong type or size.
    """
    network = {name: value for name, value in changes.items() if name in NETWORK}
    training = {name: value for name, value in changes.items() if name not in NETWORK}
    known = [*NETWORK, *(field.name for field in fields(Training))]
    if unknown := [name for name in training if name not in known]:
        raise InputError(f"-p {unknown[0]}: there is no such parameter; use {', '.join(known)}.")
    check(Training, training, "-p")
    with torch.device("meta"):  # shapes only: nothing is allocated
        new_network(1, 2, network)
    return network, training


def pretrain(
    cohort: AnnData, where: Sequence[str] = (), task: str = "", changes: dict | None = None, seed: int = 0
) -> TakeAway:
    """Train a network on four fifths of a cohort's patients and test it on the others.

    Parameters
    ----------
    cohort : AnnData
        As `gexlib.cohorts.open_cohort` returns it.
    where : sequence of str
        Samples to use, see `gexlib.cohorts.own.select`.
    task : str
        Such as "tcga/pan" (the default, or "microarray/pan"), "tcga/type", "microarray/lung".
    changes : dict, optional
        Arguments of `gexlib.models.MLP` and `gexlib.training.Training` that differ from the defaults.
    seed : int
        Of the split, the initial weights and the batches.

    Raises
    ------
    InputError
        No sample is left, they cannot carry the task, or a parameter is wrong.
    """
    network, training = arguments(changes or {})
    part = cohort[own.select(cohort.obs, where)] if where else cohort
    p = problem(part, task or f"{platform(cohort)}/pan")
    train, test = holdout(p, seed_of(seed, "holdout"))
    X = np.asarray(part.X[p.rows])
    scaler = StandardScaler().fit(X[train])
    taken = TakeAway(
        new_network(1, 2), _var(part), scaler.mean_, scaler.scale_, _seen(part[p.rows[train]]),
        _about(p, network, training, [_facts(part, where, p, train, seed=seed)]),
    )  # fmt: skip
    scaled = taken._scale(X)
    taken.model, _ = train_network(
        scaled[train],
        p.y[train],
        len(p.classes),
        Training(**training),
        network,
        p.groups[train],
        seed_of(seed, "network"),
    )
    tested = p.take(test)
    _measured(taken, [_network("network", tested, taken.model, scaled[test])])
    return taken


def finetune(
    source: TakeAway,
    cohort: AnnData,
    where: Sequence[str] = (),
    n: int | None = None,
    frozen: int = 0,
    scaler: str = "source",
    compare: bool = True,
    changes: dict | None = None,
    seed: int = 0,
    tuning: Tuning = Tuning(),
) -> TakeAway:
    """Train a copy of a network on some samples of another cohort and test it on the rest.

    Parameters
    ----------
    source : TakeAway
        Left unchanged.
    cohort, where
        Samples with the source's classes. Those whose id or patient the source was trained on are left out.
    n : int, optional
        Samples to train on, whole patients only, so at most that many; four fifths of the patients where it is not
        given. All other samples are tested on.
    frozen : int
        Hidden layers that stay as they are (article: F).
    scaler : {"source", "target"}
        The source's own, or one fitted on the n samples, as for another platform.
    compare : bool
        Whether to set beside it, on the same samples: the source as it is, a network of the same form trained from
        scratch (the baseline of the article), and the classical methods, tuned on the n samples.
    changes : dict, optional
        Arguments of `gexlib.training.Training` that differ from the source's.
    seed : int
        Of the choice of samples and the training.
    tuning : Tuning
        Of the classical methods.

    Returns
    -------
    TakeAway
        ``about["metrics"]`` holds a row a method, the fine-tuned network first. The classical methods that inner
        cross-validation prefers are marked ``preferred``: to choose the best on the test samples would flatter it.

    Raises
    ------
    InputError
        The classes differ, no gene matches, or n leaves a side without one of the classes.
    """
    if scaler not in SCALERS:
        raise InputError(f"--scaler {scaler}: use {' or '.join(SCALERS)}.")
    network, new = arguments(changes or {})
    if network:
        raise InputError(f"-p {next(iter(network))}: the form of the network is the source's; leave it out.")
    training = {**source.about["training"], **new}
    part = cohort[own.select(cohort.obs, where)] if where else cohort
    fresh = source.unseen(part)
    if not fresh.any():
        raise InputError(f"the network was trained on all these samples of {cohort.uns['name']}: use others.")
    part = part if fresh.all() else part[fresh]
    kind = source.about["task"].partition("/")[2]
    p = problem(part, f"{platform(part)}/{'type' if kind == 'type' else 'pan'}")
    if list(p.classes) != source.classes:
        raise InputError(
            f"the network tells {', '.join(source.classes)} apart, the samples are {', '.join(p.classes)}: use samples "
            "of the same classes."
        )
    train, test = holdout(p, seed_of(seed, "holdout")) if n is None else whole_patients(p, n, seed_of(seed, "subset"))
    match = genes.match(source.var, part.var)
    X = match.apply(np.asarray(part.X[p.rows]), source.mean)
    mean, scale = source.mean, source.scale
    if scaler == "target":
        fitted = StandardScaler().fit(X[train])
        mean, scale = fitted.mean_, fitted.scale_
    left_out = int((~fresh).sum())
    facts = _facts(
        part,
        where,
        p,
        train,
        seed=seed,
        frozen=frozen,
        scaler=scaler,
        genes=match.said,
        came_from=source.origin,
        seen_before=left_out,
    )
    taken = TakeAway(
        source.model, source.var, mean, scale,
        np.union1d(source.seen, _seen(part[p.rows[train]])),
        _about(p, source.about["network"], training, [*source.about["cohorts"], facts]),
    )  # fmt: skip
    scaled, weights = taken._scale(X), seed_of(seed, "network")
    learned = (scaled[train], p.y[train])
    groups = p.groups[train]
    taken.model, _ = fine_tune(source.model, *learned, Training(**training), frozen, groups, weights)
    tested = p.take(test)
    rows = [_network("fine-tuned", tested, taken.model, scaled[test])]
    if compare:
        rows.append(_network("source as it is", tested, source.model, source._scale(X[test])))
        baseline, _ = train_network(
            *learned, len(p.classes), Training(**training), source.about["network"], groups, weights
        )
        rows.append(_network("baseline", tested, baseline, scaled[test]))
        found = match.found  # a gene that is not given tells nothing apart
        rows += _classical(X[np.ix_(train, found)], p.take(train), X[np.ix_(test, found)], tested, tuning, seed)
    _measured(taken, rows)
    return taken


def whole_patients(p: Problem, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose n samples or, where whole patients do not make n, a few less; return (chosen, others).

    Raises
    ------
    InputError
        The chosen have fewer than two samples of a class, or the others lack one.
    """
    chosen: list[int] = []
    order = nested_order(p.y, seed)
    for group in dict.fromkeys(p.groups[order]):
        members = np.flatnonzero(p.groups == group)
        if len(chosen) + len(members) <= n:
            chosen += members.tolist()
    train = np.array(sorted(chosen), dtype=int)
    test = np.setdiff1d(np.arange(len(p.y)), train)
    classes = len(p.classes)
    if min(np.bincount(p.y[train], minlength=classes)) < 2 or min(np.bincount(p.y[test], minlength=classes)) < 1:
        raise InputError(
            f"--n {n}: of {len(p.y)} samples this leaves {len(train)} to train on and {len(test)} to test, whole "
            "patients each; both need all classes, and training two samples of each."
        )
    return train, test


def _classical(
    X: np.ndarray, learned: Problem, X_test: np.ndarray, tested: Problem, tuning: Tuning, seed: int
) -> list[dict]:
    """Measure the classical methods; mark those that inner cross-validation prefers, several where they are equal."""
    rows = []
    for method in METHODS:
        tuned = tune(method, X, learned.y, learned.groups, tuning, seed_of(seed, method))
        row = _measure(method, tested, *scores(tuned.pipeline, X_test))
        rows.append(row | {"inner": None if np.isnan(tuned.inner_score) else tuned.inner_score})
    best = max((row["inner"] for row in rows if row["inner"] is not None), default=None)
    return [row | {"preferred": True} if best is not None and row["inner"] == best else row for row in rows]


def _measure(method: str, p: Problem, found: np.ndarray, probabilities: np.ndarray | None) -> dict:
    """Measure a method on test samples.

    The 95 % interval of the accuracy is Wilson's, with as many independent samples as there are patients: the samples
    of a patient count as one, which makes it rather too wide than too narrow.
    """
    values = evaluate(p.y, found, probabilities)
    patients = len(np.unique(p.groups))
    low, high = proportion_confint(values["accuracy"] * patients, patients, method="wilson")
    return {"method": method, "n": len(p.y), "patients": patients, **values, "low": float(low), "high": float(high)}


def _network(method: str, p: Problem, model: MLP, X: np.ndarray) -> dict:
    """Measure a network."""
    probabilities = predict_proba(model, X)
    return _measure(method, p, probabilities, probabilities)


def _measured(taken: TakeAway, rows: list[dict]) -> None:
    first = rows[0]["accuracy"]
    taken.about["metrics"] = [row | {"difference": row["accuracy"] - first} for row in rows]


def _var(cohort: AnnData) -> pd.DataFrame:
    return cohort.var[[column for column in ("symbol", "ensembl") if column in cohort.var]].copy()


def _facts(cohort: AnnData, where: Sequence[str], p: Problem, train: np.ndarray, **more) -> dict:
    """Say which samples of a cohort were trained on."""
    counts = np.bincount(p.y[train], minlength=len(p.classes))
    return {
        **{key: cohort.uns[key] for key in ("name", "digest", "source", "scale", "simulated")},
        "notes": list(cohort.uns["notes"]), "where": list(where), "n": len(train),
        "patients": len(np.unique(p.groups[train])),
        "classes": dict(zip(p.classes, map(int, counts), strict=True)), **more,
    }  # fmt: skip


def _about(p: Problem, network: dict, training: dict, cohorts: list[dict]) -> dict:
    revision, changed = provenance.commit()
    made = {"date": provenance.now(), "versions": provenance.versions(), "commit": revision, "dirty": changed}
    return {
        "format": FORMAT, "task": p.task, "classes": list(p.classes), "network": network, "training": training,
        "cohorts": cohorts, "metrics": [], "made": made,
    }  # fmt: skip


def another_scale(scale: str, cohort: AnnData) -> str:
    """Say that a network was trained on values of another scale than a cohort's."""
    return f"the network was trained on values of another scale ({scale}; here {cohort.uns['scale']})"


def predict(
    taken: TakeAway, cohort: AnnData, where: Sequence[str] = (), unseen: bool = True
) -> tuple[pd.DataFrame, dict, list[str]]:
    """Predict samples of a cohort.

    Parameters
    ----------
    taken : TakeAway
        The network.
    cohort, where
        The samples.
    unseen : bool
        Whether to leave out samples whose id or patient the network was trained on.

    Returns
    -------
    (DataFrame, dict, list of str)
        A row a sample: ``sample``, ``patient``, the probability of each class, ``predicted`` and ``label``, "" where it
        is not known; the metrics where all labels are known and of its classes, else empty; and what a reader must
        know.

    Raises
    ------
    InputError
        No sample is left, or no gene matches.
    """
    part = cohort[own.select(cohort.obs, where)] if where else cohort
    fresh = taken.unseen(part)
    known = int((~fresh).sum())
    notes = []
    if unseen and known:
        notes.append(f"{known:,} of {part.n_obs:,} samples left out: the network was trained on them or their patients")
        if not fresh.any():
            raise InputError(
                "no sample is left: the network was trained on all of them or their patients; use other samples, or "
                "--all."
            )
        part = part[fresh]
    elif known:
        notes.append(
            f"{known:,} of {part.n_obs:,} samples were trained on: the metrics are not those of unseen patients"
        )
    X, match = taken.scaled(part)
    notes.append(match.said)
    if (scale := taken.about["cohorts"][-1]["scale"]) != part.uns["scale"]:
        notes.append(another_scale(scale, part))
    probabilities = predict_proba(taken.model, X)
    of_type = taken.about["task"].endswith("/type")
    labels = part.obs["cancer_type" if of_type else "status"].to_numpy(str)
    names = np.array(taken.classes)
    table = pd.DataFrame({"sample": part.obs_names, "patient": part.obs["patient"].to_numpy(str)})
    table[list(names)] = probabilities
    table["predicted"], table["label"] = names[probabilities.argmax(axis=1)], labels
    if not np.isin(labels, names).all():
        return table, {}, notes
    y = np.array([taken.classes.index(label) for label in labels])
    patient = np.where(table["patient"] == "", table["sample"], table["patient"])
    p = Problem("", np.arange(len(y)), y, tuple(names), np.unique(patient, return_inverse=True)[1], "patient")
    return table, _measure("network", p, probabilities, probabilities), notes
