"""The prediction tasks of the study, their labels, and how samples are split.

Article, "Data and experiment design": 22 tasks, 12 on microarrays and 10 on TCGA.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gexlib.errors import InputError
from gexlib.splits import PatientKFold

if TYPE_CHECKING:
    from anndata import AnnData

MICROARRAY_TISSUES = (
    "blood", "bone_marrow", "brain", "breast", "colon", "kidney", "liver", "lung", "ovary", "prostate", "skin",
)  # fmt: skip
TCGA_TYPES = ("BRCA", "HNSC", "KIRC", "LUAD", "LUSC", "PRAD", "THCA", "UCEC")

#: The 22 tasks. A cohort may carry more, such as ``tcga/STAD``.
STUDY_TASKS = (
    "microarray/pan",
    *(f"microarray/{tissue}" for tissue in MICROARRAY_TISSUES),
    "tcga/pan",
    "tcga/type",
    *(f"tcga/{cancer_type}" for cancer_type in TCGA_TYPES),
)

MIN_CLASS = 5  # a status task needs at least so many samples of each class
SPLITS = ("random", "patient", "study")


@dataclass(frozen=True)
class Problem:
    """One prediction task on one cohort.

    Attributes
    ----------
    task : str
        Name, for example "tcga/BRCA".
    rows : array of int, shape (n,)
        Rows of the cohort that take part.
    y : array of int, shape (n,)
        Class numbers; in status tasks normal is 0 and cancer 1.
    classes : tuple of str
        Name of each class number.
    groups : array of int, shape (n,)
        Samples of one group (a patient; in split "study" a study) stay on one side.
    split : str
        The rule behind `groups`: "random" (no two samples share a patient), "patient" or "study".
    """

    task: str
    rows: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray
    split: str

    def take(self, chosen: np.ndarray) -> Problem:
        """Return the problem on some of its samples; `chosen` counts within the problem."""
        return Problem(self.task, self.rows[chosen], self.y[chosen], self.classes, self.groups[chosen], self.split)


def platform(cohort: AnnData) -> str:
    """Name the half of the study a cohort belongs to: "tcga" where samples have cancer types, else "microarray"."""
    return "tcga" if (cohort.obs["cancer_type"] != "").any() else "microarray"


def _site(cohort: AnnData) -> np.ndarray:
    """Name what "a specific cancer" means in this cohort: a cancer type (TCGA) or a tissue."""
    return cohort.obs["cancer_type" if platform(cohort) == "tcga" else "tissue"].to_numpy(str)


def targets(cohort: AnnData) -> list[str]:
    """Cancer types or tissues with at least `MIN_CLASS` cancer and normal samples, sorted by name."""
    site, status = _site(cohort), cohort.obs["status"].to_numpy(str)
    return [
        name
        for name in sorted(set(site) - {""})
        if min(((site == name) & (status == s)).sum() for s in ("cancer", "normal")) >= MIN_CLASS
    ]


def carried(cohort: AnnData) -> list[str]:
    """Names of the tasks that a cohort can carry."""
    half, names = platform(cohort), []
    if cohort.obs["status"].nunique() == 2:
        names.append(f"{half}/pan")
    types = set(cohort.obs.loc[cohort.obs["status"] == "cancer", "cancer_type"]) - {""}
    if half == "tcga" and len(types) > 1:
        names.append("tcga/type")
    return names + [f"{half}/{target}" for target in targets(cohort)]


def problem(cohort: AnnData, task: str, split: str = "patient") -> Problem:
    """Set up a task on a cohort.

    Parameters
    ----------
    cohort : AnnData
        See `gexlib.cohorts.schema`.
    task : str
        "microarray/pan", "tcga/pan", "tcga/type", "tcga/BRCA", "microarray/lung" ...
    split : {"random", "patient", "study"}
        What stays on one side. "random" becomes "patient" wherever patients repeat: a patient's
        samples are never on both sides.

    Raises
    ------
    InputError
        The cohort cannot carry the task, or the split is not known.
    """
    name = cohort.uns.get("name", "the cohort")
    half, _, scope = task.partition("/")
    if task not in carried(cohort):
        raise InputError(
            f"task '{task}': {name} cannot carry it (it needs both classes, {MIN_CLASS} samples each). "
            f"It carries: {', '.join(carried(cohort)) or 'no task, since all samples have one status'}."
        )
    site, status = _site(cohort), cohort.obs["status"].to_numpy(str)
    if scope == "type":
        rows = np.flatnonzero((status == "cancer") & (site != ""))
        classes, y = np.unique(site[rows], return_inverse=True)
    else:
        rows = np.flatnonzero(np.ones(len(site), bool) if scope == "pan" else site == scope)
        classes, y = np.array(["normal", "cancer"]), (status[rows] == "cancer").astype(int)
    groups, split = _groups(cohort, rows, split)
    return Problem(task, rows, y, tuple(map(str, classes)), groups, split)


def _groups(cohort: AnnData, rows: np.ndarray, split: str) -> tuple[np.ndarray, str]:
    """Count the groups that a split keeps together from 0; a sample without a label is its own group."""
    if split not in SPLITS:
        raise InputError(f"split '{split}' is not known: use one of {', '.join(SPLITS)}.")
    obs = cohort.obs.iloc[rows]
    patient = np.where(obs["patient"] == "", "sample " + obs.index, obs["patient"])
    if split == "study":
        if (obs["study"] == "").all():
            raise InputError(f"split 'study': {cohort.uns.get('name')} has no study labels; use random.")
        study = np.where(obs["study"] == "", "sample " + obs.index, obs["study"])
        # a patient seen in two studies ties these studies together; a patient and a study may share a name
        of_patient, of_study = (np.unique(labels, return_inverse=True)[1] for labels in (patient, study))
        of_study += of_patient.max() + 1
        edges = coo_array((np.ones(len(rows)), (of_patient, of_study)), shape=(of_study.max() + 1,) * 2)
        return connected_components(edges, directed=False)[1][of_patient], split
    groups = np.unique(patient, return_inverse=True)[1]
    repeats = len(np.unique(groups)) < len(groups)
    return groups, "patient" if repeats else "random"


def seed_of(*axes) -> int:
    """Seed of a random step: 31 bits from the axes it should vary with, the same on every machine."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, axes)).encode()).digest()[:4], "big") >> 1


def folds(problem: Problem, n_folds: int, seed: int, used: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds that keep groups together: a list of (train, test), counted within the problem.

    Only the first `used` folds are looked at and returned; default: all.

    Raises
    ------
    InputError
        A class has fewer groups than there are folds, a training side lacks a class, or a test side has
        one class only.
    """
    in_class = min(len(np.unique(problem.groups[problem.y == k])) for k in range(len(problem.classes)))
    what = {"study": "studies", "patient": "patients"}.get(problem.split, "samples")
    if in_class < n_folds:
        raise InputError(
            f"task {problem.task}: {n_folds} folds need as many {what} in each class, the smallest class has "
            f"{in_class}; use fewer folds."
        )
    splitter = PatientKFold(n_folds, shuffle=True, random_state=seed)
    pairs = list(splitter.split(problem.y, problem.y, problem.groups))[:used]
    for train, test in pairs:
        if len(np.unique(problem.y[train])) < len(problem.classes) or len(np.unique(problem.y[test])) < 2:
            raise InputError(
                f"task {problem.task}, split '{problem.split}': a fold lacks a class; use fewer folds or another split."
            )
    return pairs


def holdout(problem: Problem, seed: int, parts: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Hold out one part in five: (train, test), stratified, groups together, as the first of `parts` folds."""
    return folds(problem, parts, seed, used=1)[0]


def nested_order(y: np.ndarray, seed: int) -> np.ndarray:
    """Order samples so that every prefix is a subset in proportion, two of each class first.

    Subsets of increasing size are then nested: the first n of one order.
    """
    random = np.random.default_rng(seed)
    position = np.empty(len(y))
    for k in np.unique(y):
        members = random.permutation(np.flatnonzero(y == k))
        position[members] = (np.arange(len(members)) + random.random()) / len(members)
        position[members[:2]] = -1 + random.random(len(members[:2]))
    return np.argsort(position, kind="stable")


def subset(y: np.ndarray, n: int, seed: int, what: str = "the training set") -> np.ndarray:
    """Choose n samples: nested over n, in proportion, at least two of each class.

    Raises
    ------
    InputError
        n is larger than the data or too small for two of each class.
    """
    floor = 2 * len(np.unique(y))
    if not floor <= n <= len(y):
        raise InputError(f"n={n}: {what} has {len(y)} samples, and {floor} hold two of each class; choose between.")
    return np.sort(nested_order(y, seed)[:n])
