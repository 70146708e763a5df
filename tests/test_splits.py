"""Folds are scikit-learn's, found faster."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from gexlib.splits import PatientKFold


def both(folds, y, groups, seed):
    """Test sides of both splitters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        kinds = [kind(folds, shuffle=True, random_state=seed) for kind in (StratifiedGroupKFold, PatientKFold)]
        return [[test for _, test in kind.split(y, y, groups)] for kind in kinds]


@settings(max_examples=60)
@given(
    folds=st.integers(2, 10), n=st.integers(20, 300), classes=st.integers(1, 5), rare=st.booleans(),
    of_patient=st.integers(1, 5), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_folds_are_those_of_scikit_learn(folds, n, classes, rare, of_patient, seed):
    random = np.random.default_rng(seed)
    y = (random.random(n) < 0.08).astype(int) if rare else random.integers(0, classes, n)
    groups = np.arange(n) if of_patient == 1 else random.integers(0, max(folds, n // of_patient), n)
    if min(len(np.unique(groups)), np.bincount(y).max()) < folds:
        return
    for theirs, ours in zip(*both(folds, y, groups, seed), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_scikit_learn_still_has_the_method_that_is_replaced(monkeypatch):
    """Else folds are right but slow, and nobody would notice."""
    assert hasattr(StratifiedGroupKFold, "_find_best_fold")
    called = []
    faster = PatientKFold._find_best_fold
    monkeypatch.setattr(PatientKFold, "_find_best_fold", lambda *a, **k: (called.append(1), faster(*a, **k))[1])
    y = np.arange(40) % 2
    both(4, y, np.arange(40), 0)
    assert len(called) == 40


@pytest.mark.parametrize("kind", [StratifiedGroupKFold, PatientKFold])
def test_too_many_folds_are_refused_alike(kind):
    with pytest.raises(ValueError, match="greater than the number of"):
        list(kind(5).split(np.zeros(20), np.arange(20) % 2, np.arange(20) % 3))
