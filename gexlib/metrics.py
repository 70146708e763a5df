"""How good predictions are: the five metrics of every result row."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    matthews_corrcoef,
    recall_score,
    roc_auc_score,
)

METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "mcc", "log_loss")


def evaluate(y: np.ndarray, scores: np.ndarray, probabilities: np.ndarray | None) -> dict[str, float]:
    """Compare predictions with labels.

    Parameters
    ----------
    y : array of int, shape (n_samples,)
        Class numbers 0..K-1.
    scores : array, shape (n_samples, K)
        The largest is the prediction; each column ranks samples by its class.
    probabilities : array, shape (n_samples, K), or None
        None where a method gives none: there is then no log loss.

    Returns
    -------
    dict
        A value a metric. The ROC AUC of more than two classes is the mean over classes, each against
        the rest. Only classes present in y enter balanced accuracy and ROC AUC.
    """
    predicted = scores.argmax(axis=1)
    result = {
        "accuracy": accuracy_score(y, predicted),
        # the mean recall, as scikit-learn's, without its warning when a class absent from y is predicted
        "balanced_accuracy": recall_score(y, predicted, labels=np.unique(y), average="macro"),
        "mcc": matthews_corrcoef(y, predicted) if len(np.unique(y)) > 1 else 0.0,  # the same, no warning
    }
    present = [k for k in range(scores.shape[1]) if 0 < (y == k).sum() < len(y)]
    if scores.shape[1] == 2:
        present = present[-1:]
    if present:
        result["roc_auc"] = float(np.mean([roc_auc_score(y == k, scores[:, k]) for k in present]))
    if probabilities is not None:
        result["log_loss"] = log_loss(y, probabilities, labels=np.arange(probabilities.shape[1]))
    return {metric: float(result[metric]) for metric in METRICS if metric in result}
