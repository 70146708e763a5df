"""The classical methods of the comparison, behind a t-test gene selection (article, "Comparison").

Each is a scikit-learn pipeline: scale, select genes, classify. The number of genes and the method's
hyper-parameters are tuned together in an inner cross-validation; nothing is fitted outside its
training folds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from xgboost import XGBClassifier

from gexlib.errors import InputError

METHODS = ("xgboost", "lasso", "random_forest", "svm_linear", "svm_rbf")


@dataclass(frozen=True)
class Tuning:
    """How the classical methods are tuned. All values are ours; the article names the procedure only.

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
    """

    genes: Sequence[int] = (50, 200, 1000)
    inner_folds: int = 10
    trees: int = 200
    rounds: int = 100
    grid: str = "full"
    class_weight: str = "balanced"

    def __post_init__(self):
        """Refuse values that no tuning can use."""
        if self.grid not in ("full", "small"):
            raise InputError(f"grid '{self.grid}' is not known: use full or small.")
        if self.class_weight not in ("balanced", "none"):
            raise InputError(f"class_weight '{self.class_weight}' is not known: use balanced or none.")
        if not self.genes or min(self.genes) < 1:
            raise InputError(f"genes={list(self.genes)}: name at least one number of genes, each 1 or more.")


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
}


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
    raise InputError(f"method '{method}' is not known: use one of {', '.join(METHODS)}.")


@dataclass(frozen=True)
class Tuned:
    """A tuned and refitted method.

    Attributes
    ----------
    pipeline : Pipeline
        Fitted on all training samples with the chosen parameters.
    chosen : dict
        Number of genes (`genes`) and hyper-parameters.
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
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
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
    """Choose the number of genes and the hyper-parameters by inner CV and refit on all samples.

    Parameters
    ----------
    method : str
        One of `METHODS`.
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
    genes = sorted({min(k, X.shape[1]) for k in tuning.genes})
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("select", SelectKBest(f_classif, k=genes[0])),  # two classes: F = t^2, pooled variance
            ("classify", classifier(method, tuning, weight, seed)),
        ]
    )
    fit_parameters = {"classify__sample_weight": compute_sample_weight(weight, y)} if method == "xgboost" else {}
    splits = inner_splits(y, groups, tuning.inner_folds, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # liblinear's cap of iterations, weak penalties
        # a gene constant in a fold has no t-statistic and is never selected, one constant in each class an infinite one
        warnings.filterwarnings("ignore", "Features .* are constant", UserWarning)
        warnings.filterwarnings(
            "ignore", "(invalid value|divide by zero) encountered in (true_)?divide", RuntimeWarning
        )
        # a fold's test side may hold one class, balanced accuracy is then the recall of that class
        warnings.filterwarnings("ignore", "y_pred contains classes|A single label was found", UserWarning)
        if not splits:
            pipeline.set_params(**{f"classify__{name}": value for name, value in FALLBACK[method].items()})
            chosen = {name.rsplit("__", 1)[-1]: value for name, value in FALLBACK[method].items()}
            return Tuned(pipeline.fit(X, y, **fit_parameters), {"genes": genes[0], **chosen})
        grid = {f"classify__{name}": values for name, values in GRIDS[method].items()}
        if tuning.grid == "small":
            grid = {name: [values[0], values[-1]] for name, values in grid.items()}
        search = GridSearchCV(
            pipeline,
            {"select__k": genes, **grid},
            scoring="accuracy" if weight is None else "balanced_accuracy",
            cv=splits,
            error_score="raise",
        )
        search.fit(X, y, **fit_parameters)
    chosen = {"genes": search.best_params_["select__k"]}
    chosen |= {k.rsplit("__", 1)[1]: v for k, v in search.best_params_.items() if k.startswith("classify")}
    return Tuned(search.best_estimator_, chosen, len(splits), float(search.best_score_))


def scores(pipeline: Pipeline, X: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores to rank samples by, shape (n_samples, K), and probabilities of the same shape or None.

    Support vector machines give no probabilities: their scores are distances to the margin.
    """
    if hasattr(pipeline, "predict_proba"):
        probabilities = pipeline.predict_proba(X)
        return probabilities, probabilities
    distance = pipeline.decision_function(X)
    return (np.column_stack([-distance, distance]) if distance.ndim == 1 else distance), None
