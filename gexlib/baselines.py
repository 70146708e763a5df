"""Methods tuned on their training samples alone (article, "Comparison").

The classical methods stand behind a t-test gene selection. Each is a scikit-learn pipeline: scale, select
genes, classify. The number of genes and the method's hyper-parameters are tuned together in an inner
cross-validation; nothing is fitted outside its training folds. The network (`NETWORK`) is tuned in the same
folds over settings drawn at random, and sees all genes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import ParameterGrid
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from xgboost import XGBClassifier

from gexlib.errors import InputError
from gexlib.rehearsal import only_noted
from gexlib.search import Space, draw
from gexlib.search import settings as settings_of
from gexlib.splits import PatientKFold
from gexlib.tasks import seed_of
from gexlib.training import MLPClassifier

METHODS = ("xgboost", "lasso", "random_forest", "svm_linear", "svm_rbf")
NETWORK = "nn_inner"


@dataclass(frozen=True)
class Tuning:
    """How the methods are tuned. All values are ours; the article names the procedure only.

    Attributes
    ----------
    genes : sequence of int
        Numbers of genes tried by the selection; the article's values are not printed.
    inner_folds : int
        At most; fewer where the smallest class has fewer groups (article: 10).
    trees : int
        Of the random forest.
    rounds : int
        Of XGBoost.
    grid : {"full", "small"}
        Hyper-parameters tried, see `GRIDS`.
    class_weight : {"balanced", "none"}
        "balanced" weighs samples inversely to their class and tunes for balanced accuracy; "none"
        leaves samples alone and tunes for accuracy.
    settings : int
        Of the network: drawn and tried.
    space : Space
        Of the network: what its settings are drawn from.
    training : dict
        Of the network: arguments of `gexlib.training.Training` that differ from the defaults. A drawn
        value comes first.
    """

    genes: Sequence[int] = (50, 200, 1000)
    inner_folds: int = 10
    trees: int = 200
    rounds: int = 100
    grid: str = "full"
    class_weight: str = "balanced"
    settings: int = 12
    space: Space = Space()
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        """Refuse values that no tuning can use."""
        if self.grid not in ("full", "small"):
            raise InputError(f"grid '{self.grid}' is not known: use full or small.")
        if self.class_weight not in ("balanced", "none"):
            raise InputError(f"class_weight '{self.class_weight}' is not known: use balanced or none.")
        if not self.genes or min(self.genes) < 1:
            raise InputError(f"genes={list(self.genes)}: name at least one number of genes, each 1 or more.")
        for name, least in (("inner_folds", 2), ("trees", 1), ("rounds", 1), ("settings", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}={getattr(self, name)}: it must be {least} or more.")


#: Hyper-parameters tried a method; "small" is the first and the last value of each list.
GRIDS = {
    "xgboost": {"max_depth": [2, 6], "learning_rate": [0.1, 0.3]},
    "lasso": {"estimator__C": [0.01, 0.1, 1.0, 10.0]},
    "random_forest": {"max_features": ["sqrt", 0.2]},
    "svm_linear": {"C": [1e-3, 1e-2, 1e-1, 1.0]},
    "svm_rbf": {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 1e-3]},
}

#: Where no inner cross-validation is possible (a class with one sample or one group).
FALLBACK = {
    "xgboost": {"max_depth": 2, "learning_rate": 0.3},
    "lasso": {"estimator__C": 1.0},
    "random_forest": {"max_features": "sqrt"},
    "svm_linear": {"C": 1e-2},
    "svm_rbf": {"C": 1.0, "gamma": "scale"},
    NETWORK: {"hidden": (500, 200, 100, 50)},
}


def grid(method: str, tuning: Tuning) -> dict[str, list]:
    """Values tried of a classical method's own hyper-parameters."""
    if tuning.grid == "full":
        return GRIDS[method]
    return {name: [values[0], values[-1]] for name, values in GRIDS[method].items()}


def largest_grid(tuning: Tuning) -> int:
    """Count the settings that the most tuned classical method tries: the budget of the network."""
    return max(len(set(tuning.genes)) * prod(map(len, grid(method, tuning).values())) for method in METHODS)


def classifier(method: str, tuning: Tuning, class_weight: str | None, seed: int) -> BaseEstimator:
    """Return the bare classifier of a method, before tuning.

    LASSO is L1 logistic regression, one class against the rest, solved by liblinear. XGBoost takes its
    class weights as sample weights in `tune`.
    """
    match method:
        case "xgboost":
            return XGBClassifier(n_estimators=tuning.rounds, tree_method="hist", n_jobs=1, random_state=seed)
        case "lasso":
            logistic = LogisticRegression(
                l1_ratio=1.0, solver="liblinear", class_weight=class_weight, random_state=seed
            )
            return OneVsRestClassifier(logistic)
        case "random_forest":
            return RandomForestClassifier(tuning.trees, class_weight=class_weight, random_state=seed, n_jobs=1)
        case "svm_linear":
            return SVC(kernel="linear", class_weight=class_weight)
        case "svm_rbf":
            return SVC(kernel="rbf", class_weight=class_weight)
        case "nn_inner":
            training = {**tuning.training, "class_weight": class_weight}
            return MLPClassifier(**training, random_state=seed)
    raise InputError(f"method '{method}' is not known: use one of {', '.join(METHODS)}.")


def candidates(method: str, n_genes: int, tuning: Tuning, seed: int) -> tuple[list[dict], dict]:
    """List the parameters that a method's pipeline is tried with, and those without inner cross-validation."""
    fallback = {f"classify__{name}": value for name, value in FALLBACK[method].items()}
    if method == NETWORK:
        # one seed a setting: more settings hold the fewer
        drawn = [settings_of(draw(tuning.space, seed_of(seed, "setting", i))) for i in range(tuning.settings)]
        return [{f"classify__{k}": v for k, v in {**net, **train}.items()} for net, train in drawn], fallback
    genes = sorted({min(k, n_genes) for k in tuning.genes})
    own = {f"classify__{name}": values for name, values in grid(method, tuning).items()}
    return list(ParameterGrid({"select__k": genes, **own})), {"select__k": genes[0], **fallback}


@dataclass(frozen=True)
class Tuned:
    """A tuned and refitted method.

    Attributes
    ----------
    pipeline : Pipeline
        Fitted on all training samples with the chosen parameters.
    chosen : dict
        Number of genes (`genes`; not of the network) and hyper-parameters.
    inner_folds : int
        Folds used; 0 where fixed defaults were taken.
    inner_score : float
        Mean score of the chosen parameters over the inner folds; NaN without folds.
    """

    pipeline: Pipeline
    chosen: dict = field(default_factory=dict)
    inner_folds: int = 0
    inner_score: float = float("nan")


def inner_folds(y: np.ndarray, groups: np.ndarray, at_most: int) -> int:
    """Count the inner folds possible: groups in the smallest class, at most `at_most`; 0 below two."""
    possible = min(at_most, *(len(np.unique(groups[y == k])) for k in np.unique(y)))
    return possible if possible >= 2 else 0


def inner_splits(y: np.ndarray, groups: np.ndarray, at_most: int, seed: int) -> list:
    """Split into inner folds: (train, test) pairs, as many as possible with every class in each train."""
    for n_folds in range(inner_folds(y, groups, at_most), 1, -1):
        splitter = PatientKFold(n_folds, shuffle=True, random_state=seed)
        splits = list(splitter.split(y, y, groups))
        if all(len(np.unique(y[train])) == len(np.unique(y)) for train, _ in splits):
            return splits
    return []


def tune(
    method: str,
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None = None,
    tuning: Tuning = Tuning(),
    seed: int = 0,
) -> Tuned:
    """Choose a method's hyper-parameters, with them the number of genes, by inner CV and refit on all samples.

    A setting of the network whose training diverges in any fold loses to all that do not.

    Parameters
    ----------
    method : str
        One of `METHODS`, or `NETWORK`.
    X : array, shape (n_samples, n_genes)
        Unscaled expression of the training samples only.
    y : array of int, shape (n_samples,)
        Class numbers 0..K-1, all present.
    groups : array, shape (n_samples,), optional
        Patients (or studies): one is never on both sides of an inner fold.
    tuning : Tuning
        Grids and folds.
    seed : int
        Of the inner folds and of the method's own randomness.
    """
    groups = np.arange(len(y)) if groups is None else groups
    weight = None if tuning.class_weight == "none" else "balanced"
    bare = classifier(method, tuning, weight, seed)
    steps = [("scale", StandardScaler()), ("classify", bare)]
    if method != NETWORK:
        steps.insert(1, ("select", SelectKBest(F_statistics)))  # two classes: F = t^2, pooled variance
    pipeline = Pipeline(steps)
    of_samples = {}  # what the classifier is told of each sample, beside its class
    if method == "xgboost":
        of_samples = {"sample_weight": compute_sample_weight(weight, y)}
    if method == NETWORK:
        of_samples = {"groups": groups}  # early stopping, too, keeps patients on one side
    tried, fallback = candidates(method, X.shape[1], tuning, seed)
    possible = inner_folds(y, groups, tuning.inner_folds)
    work = {"method": method, "n": len(y), "folds": possible, "tried": tried, "tuning": tuning}
    if method != NETWORK and only_noted("tuning", n_classes=len(np.unique(y)), **work):
        return Tuned(Pipeline([("classify", DummyClassifier())]).fit(X, y), {}, possible, 0.0)
    splits = inner_splits(y, groups, tuning.inner_folds, seed)
    metric = accuracy_score if weight is None else balanced_accuracy_score

    def refitted(candidate: dict) -> Pipeline:
        told = {f"classify__{name}": values for name, values in of_samples.items()}
        return clone(pipeline).set_params(**candidate).fit(X, y, **told)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # liblinear's cap of iterations, weak penalties
        # a fold's test side may hold one class, balanced accuracy is then the recall of that class
        warnings.filterwarnings("ignore", "y_pred contains classes|A single label was found", UserWarning)
        scored = inner_scores(bare, X, y, splits, tried, of_samples, metric) if splits else []
        for i in np.argsort(-np.array(scored), kind="stable"):  # the first of equals
            if scored[i] == -np.inf:
                break
            try:
                return Tuned(refitted(tried[i]), _named(tried[i]), len(splits), float(scored[i]))
            except InputError:  # on all samples it diverged, so the next best
                continue
        return Tuned(refitted(fallback), _named(fallback))


def inner_scores(
    bare: BaseEstimator,
    X: np.ndarray,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    tried: Sequence[dict],
    of_samples: dict[str, np.ndarray],
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> np.ndarray:
    """Mean score of each candidate over the inner folds, shape (n_candidates,); -inf where its training diverged.

    What candidates have in common is done once: the statistics of all folds, the scaling and the products of samples
    of each fold and number of genes. The scores are those of a cross-validation of each candidate's pipeline.
    """
    numbers = sorted({candidate.get("select__k", X.shape[1]) for candidate in tried})
    ranked = None
    if "select__k" in tried[0]:
        ranked = [np.argsort(F, kind="stable") for F in fold_statistics(X, y, [train for train, _ in splits])]
    scored = np.zeros((len(tried), len(splits)))
    for fold, (train, test) in enumerate(splits):
        told = {name: values[train] for name, values in of_samples.items()}
        for k in numbers:
            genes = np.arange(k) if ranked is None else np.sort(ranked[fold][-k:])
            scaler = StandardScaler()
            sides = scaler.fit_transform(X[np.ix_(train, genes)]), scaler.transform(X[np.ix_(test, genes)])
            products = Products(*sides) if isinstance(bare, SVC) else None
            for i, candidate in enumerate(tried):
                if candidate.get("select__k", k) != k or np.isneginf(scored[i]).any():
                    continue
                own = {name.removeprefix("classify__"): v for name, v in candidate.items() if name != "select__k"}
                model = clone(bare).set_params(**own)
                A, B = sides
                if products:
                    model, A, B = products.kernel_of(model)
                try:
                    scored[i, fold] = metric(y[test], model.fit(A, y[train], **told).predict(B))
                except InputError:  # the network's training diverged
                    scored[i, fold] = -np.inf
    return scored.mean(axis=1)


class Products:
    """Scalar products of one fold's samples, from which the kernels of all support vector machines follow.

    Parameters
    ----------
    A, B : array, shapes (n_train, n_genes) and (n_test, n_genes)
        Scaled expression of the genes selected.
    """

    def __init__(self, A: np.ndarray, B: np.ndarray):
        A, B = A.astype(np.float64), B.astype(np.float64)
        self.scale = 1 / (A.shape[1] * A.var()) if A.var() else 1.0  # as scikit-learn's gamma="scale"
        self.squares = (A**2).sum(axis=1)
        self.sides = [(side @ A.T, (side**2).sum(axis=1)[:, None]) for side in (A, B)]

    def kernel_of(self, model: SVC) -> tuple[SVC, np.ndarray, np.ndarray]:
        """Return the machine on kernels that are given to it, and those of the training and the test side."""
        gamma = self.scale if model.gamma == "scale" else model.gamma

        def kernel(products: np.ndarray, squares: np.ndarray) -> np.ndarray:
            if model.kernel == "linear":
                return products
            return np.exp(-gamma * np.maximum(squares + self.squares - 2 * products, 0))

        train, test = (kernel(*side) for side in self.sides)
        return clone(model).set_params(kernel="precomputed"), train, test


def F_statistics(X: np.ndarray, y: np.ndarray) -> np.ndarray:  # noqa: N802  (the statistic's name)
    """F statistic of each gene on all samples, shape (n_genes,), see `fold_statistics`."""
    return fold_statistics(X, y, [np.arange(len(y))])[0]


def fold_statistics(X: np.ndarray, y: np.ndarray, trains: Sequence[np.ndarray], block: int = 8192) -> np.ndarray:
    """F statistics of all genes on the training side of all folds, shape (n_folds, n_genes).

    The sums of each fold and class come from two matrix products in place of a pass over the samples a fold. With two
    classes F is the square of the t-statistic with pooled variance. A gene that is constant on the side has -1, so that
    it is never selected before others, one that is constant in each class infinity. Values have eight digits: genes
    that are equally good are then equal, and samples outside a side decide nothing by their rounding.
    """
    classes = np.unique(y)
    sides = np.zeros((len(trains), len(classes), len(y)))
    for side, train in zip(sides, trains, strict=True):
        side[:, train] = y[train] == classes[:, None]
    counts = sides.sum(axis=2)[:, :, None]  # [n_folds, n_classes, 1]
    n = counts.sum(axis=1)
    statistics = np.empty((len(trains), X.shape[1]))
    for start in range(0, X.shape[1], block):
        part = X[:, start : start + block].astype(np.float64)
        part -= part.mean(axis=0)  # an origin near the values: sums of squares keep their digits
        sums, squares = sides @ part, sides.sum(axis=1) @ part**2
        F = _F(sums, squares, counts, n)
        for fold, train in enumerate(trains):
            spread = squares[fold] - sums[fold].sum(axis=0) ** 2 / n[fold]
            far = np.flatnonzero(spread <= 1e-3 * squares[fold])  # genes whose values here are far from that origin
            own = part[np.ix_(train, far)]
            own -= own.mean(axis=0)
            one = [fold]
            F[one, far] = _F(sides[one][:, :, train] @ own, (own**2).sum(axis=0)[None], counts[one], n[one])
        statistics[:, start : start + block] = F
    return statistics


def _F(sums: np.ndarray, squares: np.ndarray, counts: np.ndarray, n: np.ndarray) -> np.ndarray:  # noqa: N802
    """F from the sums a class [n_folds, n_classes, n_genes] and the sum of squares [n_folds, n_genes] of each fold."""
    total = squares - sums.sum(axis=1) ** 2 / n
    between = (sums**2 / counts).sum(axis=1) - sums.sum(axis=1) ** 2 / n
    between = np.where(between > 1e-10 * total, between, 0)
    within = np.where(total - between > 1e-12 * squares, total - between, 0)
    n_classes = sums.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        F = (between / (n_classes - 1)) / (within / (n - n_classes))
        return np.where(total > 1e-12 * squares, _rounded(F), -1)


def _rounded(values: np.ndarray, digits: int = 8) -> np.ndarray:
    """Round to so many significant digits."""
    size = 10.0 ** (np.floor(np.log10(np.abs(values))) - digits + 1)
    return np.where(np.isfinite(size) & (size > 0), np.round(values / size) * size, values)


def _named(candidate: dict) -> dict:
    """Parameters of a pipeline under their readers' names, the number of genes first."""
    own = {key.rsplit("__", 1)[1]: value for key, value in candidate.items() if key != "select__k"}
    return {"genes": candidate["select__k"], **own} if "select__k" in candidate else own


def scores(pipeline: Pipeline, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores to rank samples by, shape (n_samples, K), and probabilities of the same shape or None.

    Support vector machines give no probabilities: their scores are distances to the margin.
    """
    if hasattr(pipeline, "predict_proba"):
        probabilities = pipeline.predict_proba(X)
        return probabilities, probabilities
    distance = pipeline.decision_function(X)
    return (np.column_stack([-distance, distance]) if distance.ndim == 1 else distance), None
