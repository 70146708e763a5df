"""The tuned methods against plain scikit-learn, SciPy, XGBoost and the network itself."""

import warnings

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from scipy.stats import f_oneway, ttest_ind
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

from gexlib import baselines
from gexlib.baselines import (
    FALLBACK,
    GRIDS,
    METHODS,
    NETWORK,
    F_statistics,
    Products,
    Tuning,
    candidates,
    fold_statistics,
    inner_folds,
    inner_splits,
    largest_grid,
    scores,
    tune,
)
from gexlib.errors import InputError
from gexlib.search import Space
from gexlib.training import MLPClassifier

#: One value a hyper-parameter, none of them a library's default.
POINT = {
    "xgboost": {"max_depth": 3, "learning_rate": 0.2},
    "lasso": {"estimator__C": 0.3},
    "random_forest": {"max_features": 0.5},
    "svm_linear": {"C": 0.05},
    "svm_rbf": {"C": 2.0, "gamma": 0.02},
}
SEED = 5


def data(n=60, genes=30, classes=2, seed=0, share=0.3, strength=2.0):
    """Return samples in natural units with uneven classes, which differ in every third gene."""
    random = np.random.default_rng(seed)
    y = np.sort(np.r_[np.repeat(np.arange(classes), 4), (random.random(n - 4 * classes) < share) * (classes - 1)])
    y = random.permutation(y)
    effect = random.normal(size=(classes, genes)) * (np.arange(genes) % 3 == 0)
    return 8 + 2 * random.normal(size=(n, genes)) + strength * effect[y], y


@pytest.fixture
def point(monkeypatch):
    """Leave one choice in every grid."""
    for method, values in POINT.items():
        monkeypatch.setitem(GRIDS, method, {name: [value] for name, value in values.items()})


def plain(method, class_weight, trees=15, rounds=12):
    """Return the bare classifier of a method, written as a user of the library would."""
    values = {name.split("__")[-1]: value for name, value in POINT[method].items()}
    match method:
        case "xgboost":
            return XGBClassifier(n_estimators=rounds, tree_method="hist", n_jobs=1, random_state=SEED, **values)
        case "lasso":
            return LogisticRegression(
                l1_ratio=1.0, solver="liblinear", class_weight=class_weight, random_state=SEED, **values
            )
        case "random_forest":
            return RandomForestClassifier(n_estimators=trees, class_weight=class_weight, random_state=SEED, **values)
    return SVC(kernel=method.removeprefix("svm_"), class_weight=class_weight, **values)


def best_genes(X, y, k):
    """Columns of the k genes with the largest test statistic, in the order of the columns."""
    parts = [X[y == label] for label in np.unique(y)]
    test = np.abs(ttest_ind(*parts, equal_var=True).statistic) if len(parts) == 2 else f_oneway(*parts).statistic
    return np.sort(np.argsort(-test)[:k])


def plain_scores(method, X, y, X_new, k, class_weight):
    """Scale, rank genes, fit, score: (n, K), without gexlib."""
    scaler = StandardScaler().fit(X)
    genes = best_genes(scaler.transform(X), y, k)
    X, X_new = scaler.transform(X)[:, genes], scaler.transform(X_new)[:, genes]
    model = plain(method, class_weight)
    if method == "xgboost":
        counts = np.bincount(y)
        weights = (len(y) / (len(counts) * counts))[y] if class_weight else np.ones(len(y))
        return model.fit(X, y, sample_weight=weights).predict_proba(X_new)
    if method == "lasso" and len(np.unique(y)) > 2:
        of_class = [model.fit(X, y == label).predict_proba(X_new)[:, 1] for label in np.unique(y)]
        return np.column_stack(of_class) / np.sum(of_class, axis=0)[:, None]
    model.fit(X, y)
    if method.startswith("svm"):
        distance = model.decision_function(X_new)
        return distance if distance.ndim > 1 else np.column_stack([-distance, distance])
    return model.predict_proba(X_new)


# ------------------------------------------------------------------------------------ the whole method


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("class_weight", ["balanced", "none"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_scaling_selection_and_its_classifier(method, class_weight, classes, point):
    X, y = data(60, classes=classes)
    X_new, _ = data(40, classes=classes, seed=1)
    tuning = Tuning(genes=(7,), inner_folds=2, trees=15, rounds=12, class_weight=class_weight)
    tuned = tune(method, X, y, tuning=tuning, seed=SEED)
    found, probabilities = scores(tuned.pipeline, X_new)
    other = {"balanced": "none", "none": "balanced"}[class_weight]
    weight = {"balanced": "balanced", "none": None}
    expected = plain_scores(method, X, y, X_new, 7, weight[class_weight])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert np.abs(expected - plain_scores(method, X, y, X_new, 7, weight[other])).max() > 1e-3
    assert found.shape == (40, classes)
    if method.startswith("svm"):
        assert probabilities is None
    else:
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (tuned.pipeline.predict(X_new) == found.argmax(axis=1)).mean() > 0.95  # ties of SVM votes
    values = {name.split("__")[-1]: value for name, value in POINT[method].items()}
    assert tuned.chosen == {"genes": 7, **values}
    assert tuned.inner_folds == 2


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("k", [1, 5, 29])
def test_genes_selected_are_those_of_the_largest_statistic(k, classes, point):
    X, y = data(50, classes=classes, seed=3)
    tuned = tune("svm_linear", X, y, tuning=Tuning(genes=(k,), inner_folds=2))
    selected = tuned.pipeline.named_steps["select"].get_support(indices=True)
    np.testing.assert_array_equal(selected, best_genes(X, y, k))
    assert not np.array_equal(selected, np.arange(k))


def test_lasso_solves_the_l1_problem(point):
    """Optimality, whatever the solver: C |gradient| is 1 at weights that are not 0, at most 1 elsewhere."""
    X, y = data(60)
    tuned = tune("lasso", X, y, tuning=Tuning(genes=(30,), inner_folds=2))
    weights = tuned.pipeline.named_steps["classify"].estimators_[0].coef_[0]
    Z = tuned.pipeline[:-1].transform(X)
    residual = y - tuned.pipeline.predict_proba(X)[:, 1]
    alpha = len(y) / (2 * np.bincount(y))
    gradient = POINT["lasso"]["estimator__C"] * Z.T @ (alpha[y] * residual)
    assert 3 < (weights != 0).sum() < 27
    np.testing.assert_allclose(gradient[weights != 0], np.sign(weights[weights != 0]), atol=0.02)
    assert np.abs(gradient[weights == 0]).max() < 1.02


def test_scores_do_not_depend_on_the_other_new_samples(point):
    X, y = data(60)
    X_new, _ = data(20, seed=1)
    for method in METHODS:
        pipeline = tune(method, X, y, tuning=Tuning(genes=(7,), inner_folds=2, trees=10)).pipeline
        alone = np.vstack([scores(pipeline, X_new[[i]])[0] for i in range(20)])
        np.testing.assert_allclose(alone, scores(pipeline, X_new)[0], rtol=1e-6, atol=1e-9)


def test_same_seed_same_result_and_random_state_of_the_caller_left_alone(point):
    X, y = data(60)
    before = np.random.get_state()[1].copy()
    tuning = Tuning(genes=(7,), inner_folds=2, trees=10)
    for method in METHODS:
        first, second = (scores(tune(method, X, y, tuning=tuning, seed=1).pipeline, X)[0] for _ in range(2))
        np.testing.assert_array_equal(first, second)
    first, second = (scores(tune("random_forest", X, y, tuning=tuning, seed=s).pipeline, X)[0] for s in (1, 2))
    assert not np.array_equal(first, second)
    assert np.array_equal(before, np.random.get_state()[1])


# -------------------------------------------------------------------------------------------- tuning


CHOICES = {
    "svm_linear": {"C": [1e-4, 0.05]},
    "lasso": {"C": [0.05, 1.0]},
    "random_forest": {"max_features": [0.1, 0.9]},
    "xgboost": {"max_depth": [1, 4]},
}


@pytest.mark.parametrize("class_weight", ["balanced", "none"])
@pytest.mark.parametrize("method", CHOICES)
def test_inner_cross_validation_is_that_of_a_plain_loop(method, class_weight, monkeypatch):
    ((name, values),) = CHOICES[method].items()
    grid_name = "estimator__C" if method == "lasso" else name
    monkeypatch.setitem(GRIDS, method, {grid_name: values})
    tuning = Tuning(genes=(2, 20), inner_folds=3, trees=8, rounds=6, class_weight=class_weight)
    weight = None if class_weight == "none" else "balanced"
    score = accuracy_score if class_weight == "none" else balanced_accuracy_score
    choices = set()
    for seed in range(3):
        X, y = data(45, seed=seed, strength=1.2)
        groups = np.arange(45) // 2
        folds = StratifiedGroupKFold(3, shuffle=True, random_state=SEED)
        tried = {}
        for k in (2, 20):
            for value in values:
                monkeypatch.setitem(
                    POINT, method, {name: value} | ({"learning_rate": 0.3} if method == "xgboost" else {})
                )
                of_folds = []
                for train, test in folds.split(X, y, groups):
                    scaler = StandardScaler().fit(X[train])
                    Z = scaler.transform(X)
                    genes = best_genes(Z[train], y[train], k)
                    model = plain(method, weight, trees=8, rounds=6)
                    more = {}
                    if method == "xgboost":
                        counts = np.bincount(y)
                        more["sample_weight"] = (45 / (2 * counts))[y[train]] if weight else None
                    model.fit(Z[train][:, genes], y[train], **more)
                    of_folds.append(score(y[test], model.predict(Z[test][:, genes])))
                tried[k, value] = np.mean(of_folds)
        tuned = tune(method, X, y, groups, tuning, SEED)
        assert tuned.inner_score == pytest.approx(max(tried.values()), abs=1e-12)
        assert tried[tuned.chosen["genes"], tuned.chosen[name]] == pytest.approx(max(tried.values()), abs=1e-12)
        assert len(set(tried.values())) > 1
        choices.add(tuple(tuned.chosen.values()))
        assert tuned.pipeline.named_steps["select"].k == tuned.chosen["genes"]
    assert len(choices) > 1  # so that one fixed choice would not do


def test_grid_small_is_the_first_and_the_last_value(monkeypatch):
    X, y = data(60)
    monkeypatch.setitem(GRIDS, "svm_linear", {"C": [1e-9, 0.1, 1e-10]})  # only the middle one learns
    assert tune("svm_linear", X, y, tuning=Tuning(genes=(9,), inner_folds=3)).chosen["C"] == 0.1
    assert tune("svm_linear", X, y, tuning=Tuning(genes=(9,), inner_folds=3, grid="small")).chosen["C"] != 0.1


@pytest.mark.parametrize("method", METHODS)
def test_grids_and_fallbacks_are_parameters_of_the_classifier(method):
    known = set(baselines.classifier(method, Tuning(), None, 0).get_params())
    assert set(GRIDS[method]) == set(FALLBACK[method])
    assert set(GRIDS[method]) <= known
    assert all(FALLBACK[method][name] in values for name, values in GRIDS[method].items())


def test_more_genes_than_there_are_means_all_of_them(point):
    X, y = data(40, genes=10)
    assert tune("svm_linear", X, y, tuning=Tuning(genes=(50, 1000), inner_folds=2)).chosen["genes"] == 10


# ------------------------------------------------------------------------------ inner folds and groups


def test_inner_folds_are_bounded_by_the_groups_of_the_smallest_class():
    y = np.array([0] * 12 + [1] * 5)
    assert inner_folds(y, np.arange(17), 10) == 5
    assert inner_folds(y, np.arange(17), 3) == 3
    assert inner_folds(y, np.r_[np.arange(12), [20, 20, 20, 21, 21]], 10) == 2
    assert inner_folds(y, np.r_[np.arange(12), [20] * 5], 10) == 0
    assert inner_folds(np.array([0, 0, 1]), np.arange(3), 10) == 0
    assert inner_folds(y, np.arange(17), 1) == 0


def test_inner_splits_are_stratified_and_keep_groups_together():
    random = np.random.default_rng(0)
    for seed in range(60):
        y = np.sort(random.choice(3, 50, p=[0.6, 0.25, 0.15]))
        groups = random.integers(0, 15, 50)
        for train, test in inner_splits(y, groups, 10, seed):
            assert sorted([*train, *test]) == list(range(50))
            assert not set(groups[train]) & set(groups[test])
            assert set(y[train]) == {0, 1, 2}


def test_fewer_inner_folds_where_a_class_would_be_missing_in_training(point, monkeypatch):
    """Grouped folds are only roughly stratified: here three folds put all of class 1 on one test side."""

    class Lopsided(StratifiedGroupKFold):
        def split(self, X, y, groups):
            if self.n_splits == 2:
                yield from super().split(X, y, groups)
                return
            for fold in range(self.n_splits):
                test = (y == 1) if fold == 0 else (np.arange(len(y)) % self.n_splits == fold) & (y == 0)
                yield np.flatnonzero(~test), np.flatnonzero(test)

    y = np.repeat([0, 1], [30, 5])
    assert len(inner_splits(y, np.arange(35), 3, 0)) == 3
    monkeypatch.setattr(baselines, "PatientKFold", Lopsided)
    assert len(inner_splits(y, np.arange(35), 3, 0)) == 2
    X = np.random.default_rng(0).normal(size=(35, 8))
    assert tune("xgboost", X, y, tuning=Tuning(genes=(4,), inner_folds=3, rounds=3)).inner_folds == 2


@pytest.mark.parametrize(
    ("y", "groups"),
    [([0] * 9 + [1], None), ([0] * 6 + [1] * 4, [*range(6), 9, 9, 9, 9])],
    ids=["one sample of a class", "one patient of a class"],
)
@pytest.mark.parametrize("method", METHODS)
def test_fixed_values_where_no_inner_fold_is_possible(method, y, groups):
    X, y = np.random.default_rng(0).normal(size=(10, 20)), np.array(y)
    groups = None if groups is None else np.array(groups)
    tuned = tune(method, X, y, groups, Tuning(genes=(12, 4), trees=5, rounds=5))
    values = {name.split("__")[-1]: value for name, value in FALLBACK[method].items()}
    assert tuned.chosen == {"genes": 4, **values}
    assert tuned.inner_folds == 0
    assert np.isnan(tuned.inner_score)
    fitted = tuned.pipeline.named_steps["classify"].get_params()
    assert {name: fitted[name] for name in FALLBACK[method]} == FALLBACK[method]
    assert tuned.pipeline.named_steps["select"].get_support().sum() == 4
    assert scores(tuned.pipeline, X)[0].shape == (10, 2)


def test_nothing_is_fitted_outside_the_training_folds(monkeypatch, point):
    """The first gene names the sample: what scaler, selection and classifier see is written down."""
    n = 48
    X, y = data(n)
    X[:, 0] = np.arange(n)
    groups = np.repeat(np.arange(n // 2), 2)
    seen = {"scaler": [], "selection": [], "classifier": []}

    def name_first(X, y, trains):
        seen["selection"] += [frozenset(X[train, 0].astype(int)) for train in trains]
        return np.tile(np.r_[np.inf, np.zeros(X.shape[1] - 1)], (len(trains), 1))

    class Scaler(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            seen["scaler"].append(frozenset(X[:, 0].astype(int)))
            return super().fit(X, y, sample_weight)

        def transform(self, X, copy=None):
            scaled = super().transform(X, copy)
            scaled[:, 0] = X[:, 0]  # the name goes on unscaled
            return scaled

    def statistic(X, y):
        seen["selection"].append(frozenset(X[:, 0].astype(int)))
        return np.r_[np.inf, np.zeros(X.shape[1] - 1)], None

    class Spy(DummyClassifier):
        def fit(self, X, y, sample_weight=None):
            seen["classifier"].append(frozenset(X[:, 0].astype(int)))
            return super().fit(X, y)

    monkeypatch.setattr(baselines, "StandardScaler", Scaler)
    monkeypatch.setattr(baselines, "fold_statistics", name_first)
    monkeypatch.setattr(baselines, "F_statistics", statistic)
    monkeypatch.setattr(baselines, "classifier", lambda *_: Spy())
    monkeypatch.setitem(GRIDS, "svm_linear", {"strategy": ["prior", "most_frequent"]})
    tuned = tune("svm_linear", X, y, groups, Tuning(genes=(3, 6), inner_folds=4), SEED)
    assert tuned.inner_folds == 4
    allowed = {frozenset(train) for train, _ in inner_splits(y, groups, 4, SEED)}
    # four folds, in each two numbers of genes, of each two strategies; the refit
    for part, in_folds in {"scaler": 4 * 2, "selection": 4, "classifier": 4 * 2 * 2}.items():
        fits = seen[part]
        assert len(fits) == in_folds + 1, part
        assert fits[-1] == frozenset(range(n))
        assert set(fits[:-1]) == allowed
    for train in allowed:
        assert not {i // 2 for i in train} & {i // 2 for i in set(range(n)) - train}  # no patient on both sides


@settings(max_examples=60)
@for_all(
    seed=st.integers(0, 10**6), classes=st.integers(2, 4), genes=st.integers(1, 40), dtype=st.sampled_from(["f4", "f8"])
)
def test_statistics_of_all_folds_are_those_of_each_alone(seed, classes, genes, dtype):
    """The reference is scikit-learn's; a gene constant on a side comes last, one constant in each class first."""
    random = np.random.default_rng(seed)
    X, y = data(40, genes, classes, seed)
    X = (X + random.choice([0, 1e3])).astype(dtype)
    trains = [random.permutation(40)[: random.integers(25, 40)] for _ in range(3)]
    trains = [train for train in trains if set(y[train]) == set(range(classes))]
    found = fold_statistics(X, y, trains, block=16)
    for F, train in zip(found, trains, strict=True):
        centred = X[train] - X.mean(axis=0, dtype=float)  # the reference loses digits far from 0
        np.testing.assert_allclose(F, f_classif(centred, y[train])[0], rtol=1e-6, atol=1e-9)
    if not trains:
        return
    X[trains[0], 0] = y[trains[0]]
    X[trains[0], -1] = 7.7
    F = fold_statistics(X, y, trains[:1])[0]
    assert F[-1] == -1 and (genes == 1 or F[0] == np.inf)


@pytest.mark.parametrize("values", ["continuous", "binary"])
@pytest.mark.parametrize("shift", [1.0, 1e7])
def test_samples_outside_a_fold_do_not_change_its_ranking(values, shift):
    """Not even by rounding: genes of equal statistic, many where values are few, keep their order."""
    random = np.random.default_rng(0)
    for seed in range(20):
        X, y = data(24, 60, seed=seed)
        X = (X > np.median(X)).astype(float) if values == "binary" else X
        train = np.sort(random.permutation(24)[:16])
        if set(y[train]) != {0, 1}:
            continue
        orders = []
        for change in (0, shift):
            X[np.setdiff1d(np.arange(24), train)] += change * random.normal(size=(8, 60))
            orders.append(np.argsort(fold_statistics(X, y, [train, np.arange(24)])[0], kind="stable"))
        np.testing.assert_array_equal(*orders)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_refit_selects_the_genes_that_the_folds_would(dtype, point):
    """Genes constant in each class separate the classes: they come first in both."""
    for seed in range(5):
        X, y = data(60, 40, seed=seed)
        X = X.astype(dtype)
        X[:, [3, 17, 31]] = 0.1 + 0.7 * y[:, None]
        tuned = tune("svm_linear", X, y, tuning=Tuning(genes=(3,), inner_folds=3))
        selected = tuned.pipeline.named_steps["select"].get_support(indices=True)
        assert list(selected) == [3, 17, 31] and tuned.inner_score == 1
        assert list(np.sort(np.argsort(F_statistics(X, y), kind="stable")[-3:])) == [3, 17, 31]


@pytest.mark.parametrize("gamma", ["scale", 0.01])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_machines_on_shared_products_are_those_on_the_samples(kernel, gamma):
    X, y = data(60, classes=3)
    A, B = X[:40], X[40:]
    products = Products(A, B)
    for C in (0.01, 1.0):
        bare = SVC(kernel=kernel, gamma=gamma, C=C, class_weight="balanced")
        model, of_train, of_test = products.kernel_of(bare)
        expected = bare.fit(A, y[:40]).decision_function(B)
        found = model.fit(of_train, y[:40]).decision_function(of_test)
        np.testing.assert_allclose(found, expected, atol=1e-3)  # the solver's own tolerance


# ------------------------------------------------------------------------------- awkward genes, errors


def test_a_constant_gene_is_not_selected_and_a_perfect_one_is(point):
    random = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    X = random.normal(size=(40, 6))
    X[:, 2] = 5.0
    X[:, 4] = y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tuned = tune("svm_linear", X, y, tuning=Tuning(genes=(1, 5), inner_folds=4))
        pipeline = tune("svm_linear", X, y, tuning=Tuning(genes=(5,), inner_folds=4)).pipeline
    assert tuned.inner_score == 1
    assert list(np.flatnonzero(~pipeline.named_steps["select"].get_support())) == [2]
    fit = tune("svm_linear", X, y, tuning=Tuning(genes=(1,), inner_folds=4)).pipeline
    assert list(np.flatnonzero(fit.named_steps["select"].get_support())) == [4]


@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_inner_folds_with_one_class_give_no_warning(class_weight, point):
    """Few patients with both statuses: a test fold may hold one class."""
    random = np.random.default_rng(0)
    one_class = 0
    for seed in range(10):
        y = np.repeat([0, 1], 4)
        groups = random.permutation(6)[random.integers(0, 6, 8)]
        folds = inner_splits(y, groups, 4, seed)
        one_class += any(len(set(y[test])) == 1 for _, test in folds)
        tuned = tune(
            "svm_linear",
            random.normal(size=(8, 5)),
            y,
            groups,
            Tuning(genes=(3,), class_weight=class_weight),
            seed,
        )
        assert 0 <= tuned.inner_score <= 1 or not folds
    assert one_class > 0


def test_errors_are_sentences():
    X, y = data(20)
    with pytest.raises(InputError, match="method 'svm' is not known: use one of xgboost, lasso"):
        tune("svm", X, y)
    with pytest.raises(InputError, match="grid 'tiny'"):
        Tuning(grid="tiny")
    with pytest.raises(InputError, match="class_weight 'inverse'"):
        Tuning(class_weight="inverse")
    for genes in ((), (0, 5)):
        with pytest.raises(InputError, match="genes="):
            Tuning(genes=genes)
    for name, value in (("inner_folds", 1), ("trees", 0), ("rounds", -1), ("settings", 0)):
        with pytest.raises(InputError, match=f"{name}={value}: it must be . or more"):
            Tuning(**{name: value})


# ----------------------------------------------------------------------------------------- the network

FEW = {"epochs": 12, "fixed_epochs": 12}
GOOD = {"hidden": [12], "learning_rate": 0.02, "batch_size": 16}
POOR = {"hidden": [3], "learning_rate": 1e-6, "batch_size": 32}
WILD = {"hidden": [5], "learning_rate": 1e30, "batch_size": 16}  # its training diverges


def given(monkeypatch, *tried, fallback=(4,)):
    """Let the network be tried with these settings."""
    tried = [{f"classify__{name}": value for name, value in one.items()} for one in tried]
    monkeypatch.setattr(baselines, "candidates", lambda *_: (tried, {"classify__hidden": fallback}))


@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_the_networks_inner_cross_validation_is_that_of_a_plain_loop(class_weight):
    X, y = data(60, strength=1.0)
    groups = np.arange(60) // 2
    space = Space(layers=(1, 2), neurons=(4, 30), learning_rate=(1e-3, 0.1), batch_size=(16, 32))
    tuning = Tuning(inner_folds=3, class_weight=class_weight, settings=4, space=space, training=FEW)
    tuned = tune(NETWORK, X, y, groups, tuning, SEED)
    score = accuracy_score if class_weight == "none" else balanced_accuracy_score
    tried, _ = candidates(NETWORK, 30, tuning, SEED)
    assert len(tried) == 4
    means = []
    for setting in tried:
        setting = {key.removeprefix("classify__"): value for key, value in setting.items()}
        network = {**FEW, **setting, "class_weight": class_weight, "random_state": SEED}
        of_folds = []
        for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=SEED).split(X, y, groups):
            scaler = StandardScaler().fit(X[train])
            model = MLPClassifier(**network).fit(scaler.transform(X[train]), y[train], groups[train])
            of_folds.append(score(y[test], model.predict(scaler.transform(X[test]))))
        means.append(np.mean(of_folds))
        if tuned.chosen == setting:
            scaler = StandardScaler().fit(X)
            again = MLPClassifier(**network).fit(scaler.transform(X), y, groups)
            np.testing.assert_allclose(scores(tuned.pipeline, X)[0], again.predict_proba(scaler.transform(X)))
            assert means[-1] == max(means)
    assert tuned.inner_score == pytest.approx(max(means)) and len(set(means)) > 1
    assert tuned.inner_folds == 3 and "genes" not in tuned.chosen


def test_settings_are_drawn_one_seed_each_and_within_the_budget():
    few, many = (candidates(NETWORK, 30, Tuning(settings=k), SEED)[0] for k in (3, 6))
    assert many[:3] == few and len({str(one) for one in many}) == 6
    assert candidates(NETWORK, 30, Tuning(settings=3), SEED + 1)[0] != few
    assert largest_grid(Tuning()) == 3 * 4 * 2 and largest_grid(Tuning(genes=(5,), grid="small")) == 4
    assert largest_grid(Tuning()) == max(len(candidates(m, 5000, Tuning(), 0)[0]) for m in METHODS)


def test_a_setting_that_diverges_loses_and_stops_nothing(monkeypatch):
    X, y = data(60)
    tuning = Tuning(inner_folds=3, training=FEW)
    for tried in ((WILD, POOR), (POOR, WILD)):
        given(monkeypatch, *tried)
        tuned = tune(NETWORK, X, y, tuning=tuning)
        assert tuned.chosen == POOR and tuned.inner_folds == 3
    given(monkeypatch, WILD, POOR, GOOD)
    assert tune(NETWORK, X, y, tuning=tuning).chosen == GOOD
    given(monkeypatch, WILD, WILD)
    tuned = tune(NETWORK, X, y, tuning=tuning)
    assert tuned.chosen == {"hidden": (4,)} and tuned.inner_folds == 0 and np.isnan(tuned.inner_score)


def test_the_next_best_stands_in_for_one_that_diverges_on_all_samples(monkeypatch):
    X, y = data(60)
    given(monkeypatch, GOOD, POOR)
    fit = MLPClassifier.fit

    def touchy(model, X, y, groups=None):
        if len(X) == 60 and model.hidden == GOOD["hidden"]:
            raise InputError("training diverged")
        return fit(model, X, y, groups)

    monkeypatch.setattr(MLPClassifier, "fit", touchy)
    assert tune(NETWORK, X, y, tuning=Tuning(inner_folds=3, training=FEW)).chosen == POOR


def test_a_setting_that_diverges_in_the_folds_only_is_not_taken(monkeypatch):
    X, y = data(60)
    given(monkeypatch, GOOD)
    fit = MLPClassifier.fit

    def touchy(model, X, y, groups=None):
        if len(X) < 60:
            raise InputError("training diverged")
        return fit(model, X, y, groups)

    monkeypatch.setattr(MLPClassifier, "fit", touchy)
    assert tune(NETWORK, X, y, tuning=Tuning(inner_folds=3, training=FEW)).chosen == {"hidden": (4,)}


def test_other_errors_are_not_taken_for_divergence(monkeypatch):
    X, y = data(60)
    given(monkeypatch, GOOD)
    monkeypatch.setattr(MLPClassifier, "fit", lambda *_, **__: 1 + "")
    with pytest.raises(TypeError):
        tune(NETWORK, X, y, tuning=Tuning(inner_folds=3, training=FEW))


def test_the_network_without_inner_folds_is_the_default_one():
    X, y = np.random.default_rng(0).normal(size=(10, 20)), np.array([0] * 9 + [1])
    tuned = tune(NETWORK, X, y, tuning=Tuning(training=FEW))
    assert tuned.chosen == {"hidden": (500, 200, 100, 50)} and tuned.inner_folds == 0
    assert tuned.pipeline.named_steps["classify"].hidden == MLPClassifier().hidden


# --------------------------------------------------------------------------------------------- canary


def test_shuffled_labels_give_chance_inside_and_outside_the_inner_folds(point):
    """600 noisy genes, ten selected: a selection that saw the held-out samples would score about 0.9.

    Ten shuffles, 60 held-out samples inside and 60 outside: a standard error of 0.02 each.
    """
    random = np.random.default_rng(0)
    X, y = random.normal(size=(120, 600)), np.resize([0, 1], 120)
    tuning = Tuning(genes=(10,), inner_folds=5)
    inside, outside = [], []
    for seed in range(10):
        labels = random.permutation(y)
        tuned = tune("svm_linear", X[:60], labels[:60], tuning=tuning, seed=seed)
        inside.append(tuned.inner_score)
        outside.append(np.mean(scores(tuned.pipeline, X[60:])[0].argmax(axis=1) == labels[60:]))
    bound = 4 * np.sqrt(0.25 / 600)
    assert abs(np.mean(inside) - 0.5) < bound
    assert abs(np.mean(outside) - 0.5) < bound
    X[:, :10] += 2 * y[:, None]
    assert tune("svm_linear", X[:60], y[:60], tuning=tuning).inner_score > 0.85
