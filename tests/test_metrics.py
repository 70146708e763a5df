"""The metrics against scikit-learn and against formulas written out by hand."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    matthews_corrcoef,
    roc_auc_score,
)

from gexlib.metrics import METRICS, evaluate


def predictions(classes, n=80, seed=0):
    """Labels, and probabilities that agree with them in part."""
    random = np.random.default_rng(seed)
    y = np.r_[
        np.arange(classes), random.choice(classes, n - classes, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    ]
    scores = random.normal(size=(n, classes)) + 1.2 * np.eye(classes)[y]
    return y, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def test_names():
    assert METRICS == ("accuracy", "balanced_accuracy", "roc_auc", "mcc", "log_loss")


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_metrics_are_those_of_scikit_learn(classes):
    y, p = predictions(classes)
    predicted = p.argmax(axis=1)
    found = evaluate(y, p, p)
    assert tuple(found) == METRICS
    assert all(type(value) is float for value in found.values())
    auc = roc_auc_score(y, p[:, 1]) if classes == 2 else roc_auc_score(y, p, multi_class="ovr", average="macro")
    expected = {
        "accuracy": accuracy_score(y, predicted),
        "balanced_accuracy": balanced_accuracy_score(y, predicted),
        "roc_auc": auc,
        "mcc": matthews_corrcoef(y, predicted),
        "log_loss": log_loss(y, p),
    }
    assert found == pytest.approx(expected, rel=1e-12)
    assert len({round(value, 6) for value in found.values()}) == 5  # so that none stands for another


def test_two_classes_by_hand():
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    of_cancer = np.array([0.1, 0.4, 0.8, 0.3, 0.6, 0.7, 0.9, 0.95])
    found = evaluate(y, np.column_stack([1 - of_cancer, of_cancer]), np.column_stack([1 - of_cancer, of_cancer]))
    # normal: 2 of 3 right; cancer: 4 of 5 right
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["mcc"] == pytest.approx((4 * 2 - 1 * 1) / np.sqrt(5 * 5 * 3 * 3))
    # of 15 pairs, cancer ranks above normal in 5 + 4 (beside 0.4) + 2 (beside 0.8)
    assert found["roc_auc"] == pytest.approx(11 / 15)
    right = np.where(y == 1, of_cancer, 1 - of_cancer)
    assert found["log_loss"] == pytest.approx(-np.log(right).mean())


def test_auc_ranks_by_the_class_called_cancer():
    y = np.array([0, 0, 1, 1])
    good = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    assert evaluate(y, good, good)["roc_auc"] == 1
    assert evaluate(y, good[:, ::-1], None)["roc_auc"] == 0


def test_scores_that_are_no_probabilities_give_no_log_loss():
    y, p = predictions(2)
    distance = np.log(p[:, 1] / p[:, 0])
    found = evaluate(y, np.column_stack([-distance, distance]), None)
    expected = evaluate(y, p, p)
    assert "log_loss" not in found
    assert found == pytest.approx({name: value for name, value in expected.items() if name != "log_loss"})


def test_scores_rank_and_probabilities_are_taken_for_the_log_loss_alone():
    y, p = predictions(3)
    found = evaluate(y, p, np.full_like(p, 1 / 3))
    assert found["log_loss"] == pytest.approx(np.log(3))
    assert found["accuracy"] == evaluate(y, p, p)["accuracy"] > 0.5


def test_a_class_without_test_samples_is_left_out():
    """Four classes, of which the test samples hold three; the fourth is predicted now and then."""
    y, p = predictions(4, seed=2)
    y, p = y[y != 2], p[y != 2]
    predicted = p.argmax(axis=1)
    assert (predicted == 2).any()
    found = evaluate(y, p, p)
    assert found["balanced_accuracy"] == pytest.approx(np.mean([(predicted[y == k] == k).mean() for k in (0, 1, 3)]))
    assert found["roc_auc"] == pytest.approx(np.mean([roc_auc_score(y == k, p[:, k]) for k in (0, 1, 3)]))
    assert found["log_loss"] == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean())
    assert found["accuracy"] == accuracy_score(y, predicted)
    assert found["mcc"] == matthews_corrcoef(y, predicted)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("constant", [True, False])
def test_test_samples_of_one_class_have_no_auc(label, constant):
    y, p = predictions(2)
    y = np.full_like(y, label)
    p = np.tile(np.eye(2)[label] * 0.8 + 0.1, (len(y), 1)) if constant else p
    found = evaluate(y, p, p)
    assert set(found) == set(METRICS) - {"roc_auc"}
    assert found["mcc"] == 0
    assert found["accuracy"] == found["balanced_accuracy"] == (1 if constant else (p.argmax(axis=1) == label).mean())


def test_majority_vote():
    """One prediction for all: half of the classes right on average, no order, no correlation."""
    y = np.repeat([0, 1], [10, 30])
    p = np.tile([0.25, 0.75], (40, 1))
    found = evaluate(y, p, p)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    expected = {"accuracy": 0.75, "balanced_accuracy": 0.5, "roc_auc": 0.5, "mcc": 0.0, "log_loss": entropy}
    assert found == pytest.approx(expected)


def test_probabilities_in_single_precision_give_no_warning():
    y, p = predictions(3)
    assert evaluate(y, p.astype(np.float32), p.astype(np.float32)) == pytest.approx(evaluate(y, p, p), rel=1e-5)
