"""Tasks, labels, groups and the contracts of every split."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from gexlib import tasks
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check
from gexlib.errors import InputError
from gexlib.tasks import (
    STUDY_TASKS,
    Problem,
    carried,
    folds,
    holdout,
    nested_order,
    platform,
    problem,
    seed_of,
    subset,
    targets,
)


def cohort(**columns):
    """Make a checked cohort of two genes; a column is a list of labels, one a sample."""
    n = len(columns["status"])
    obs = pd.DataFrame(columns, index=[f"s{i}" for i in range(n)])
    X = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    return check(AnnData(X=X, obs=obs, var=pd.DataFrame(index=["g0", "g1"]), uns={"name": "small"}))


@pytest.fixture
def tcga():
    """Twelve BRCA, ten KIRC and three LUAD samples; one of each status in turn; two samples a patient."""
    return cohort(
        status=np.resize(["cancer", "normal"], 25),
        cancer_type=["BRCA"] * 12 + ["KIRC"] * 10 + ["LUAD"] * 3,
        patient=[f"p{i // 2}" for i in range(25)],
        study=["A"] * 5 + ["B"] * 7 + ["C"] * 6 + ["D"] * 7,
    )


@pytest.fixture
def microarray():
    """Twelve lung and ten breast samples, without cancer types, patients or studies."""
    return cohort(status=np.resize(["cancer", "normal"], 22), tissue=["lung"] * 12 + ["breast"] * 10)


# --------------------------------------------------------------------------------------------- tasks


def test_the_22_tasks():
    microarray = "blood bone_marrow brain breast colon kidney liver lung ovary prostate skin".split()
    tcga = "BRCA HNSC KIRC LUAD LUSC PRAD THCA UCEC".split()
    expected = ["microarray/pan", *(f"microarray/{t}" for t in microarray)]
    expected += ["tcga/pan", "tcga/type", *(f"tcga/{t}" for t in tcga)]
    assert list(STUDY_TASKS) == expected
    assert len(set(STUDY_TASKS)) == 22


def test_simulated_cohorts_carry_exactly_the_tasks_of_the_study():
    names = ("simulated-microarray:samples=900,genes=60,tissues=11", "simulated-tcga:samples=900,genes=60,tissues=8")
    found = [task for name in names for task in carried(open_cohort(name))]
    assert found == list(STUDY_TASKS)


def test_a_cohort_carries_what_its_labels_allow(tcga, microarray):
    assert (platform(tcga), platform(microarray)) == ("tcga", "microarray")
    assert targets(tcga) == ["BRCA", "KIRC"]  # LUAD has fewer than five samples of a class
    assert carried(tcga) == ["tcga/pan", "tcga/type", "tcga/BRCA", "tcga/KIRC"]
    assert carried(microarray) == ["microarray/pan", "microarray/breast", "microarray/lung"]


def test_a_target_needs_five_samples_of_each_class():
    status = ["cancer"] * 5 + ["normal"] * 5 + ["cancer"] * 9 + ["normal"] * 4
    assert targets(cohort(status=status, tissue=["lung"] * 10 + ["skin"] * 13)) == ["lung"]


def test_samples_without_a_type_make_no_second_type():
    status = ["cancer"] * 6 + ["normal"] * 6
    one_type = cohort(status=status, cancer_type=["BRCA"] * 4 + [""] * 2 + ["BRCA"] * 6)
    assert carried(one_type) == ["tcga/pan"]


@pytest.mark.parametrize("task", ["tcga/pan", "tcga/BRCA"])
def test_status_tasks_call_cancer_one_and_normal_zero(task, tcga):
    found = problem(tcga, task)
    assert found.classes == ("normal", "cancer")
    status = tcga.obs["status"].to_numpy()[found.rows]
    assert list(found.y) == [int(s == "cancer") for s in status]
    assert len(set(found.y)) == 2


def test_rows_of_a_task(tcga, microarray):
    assert list(problem(tcga, "tcga/pan").rows) == list(range(25))
    assert list(problem(tcga, "tcga/KIRC").rows) == list(range(12, 22))
    assert list(problem(microarray, "microarray/breast").rows) == list(range(12, 22))


def test_type_task_tells_the_types_of_cancer_samples_apart(tcga):
    found = problem(tcga, "tcga/type")
    assert found.classes == ("BRCA", "KIRC", "LUAD")
    assert (tcga.obs["status"].to_numpy()[found.rows] == "cancer").all()
    assert len(found.rows) == (tcga.obs["status"] == "cancer").sum()
    assert [found.classes[k] for k in found.y] == list(tcga.obs["cancer_type"].to_numpy()[found.rows])


def test_type_task_leaves_out_cancers_without_a_type():
    types = ["BRCA", "KIRC", ""] * 4
    found = problem(cohort(status=["cancer"] * 12, cancer_type=types), "tcga/type")
    assert found.classes == ("BRCA", "KIRC")
    assert list(found.rows) == [i for i in range(12) if types[i]]


def test_part_of_a_problem(tcga):
    whole = problem(tcga, "tcga/KIRC")
    part = whole.take(np.array([1, 4, 5]))
    assert list(part.rows) == [13, 16, 17]
    for name in ("y", "groups"):
        assert list(getattr(part, name)) == list(getattr(whole, name)[[1, 4, 5]])
    assert (part.task, part.classes, part.split) == (whole.task, whole.classes, whole.split)


@pytest.mark.parametrize("task", ["tcga/LUAD", "tcga/brca", "microarray/pan", "BRCA", ""])
def test_a_task_that_the_cohort_cannot_carry_is_a_sentence(task, tcga):
    with pytest.raises(InputError, match=f"task '{task}': small cannot carry it.* tcga/pan, tcga/type, tcga/BRCA"):
        problem(tcga, task)


def test_a_cohort_of_one_class_carries_no_task():
    one_class = cohort(status=["cancer"] * 12, tissue=["lung"] * 12)
    assert carried(one_class) == []
    with pytest.raises(InputError, match="no task, since all samples have one status"):
        problem(one_class, "microarray/pan")


# -------------------------------------------------------------------------------------------- groups


def same_partition(groups, labels):
    """Whether two labellings put the same samples together."""
    return len(set(groups)) == len(set(labels)) == len(set(zip(groups, labels, strict=True)))


@pytest.mark.parametrize("split", ["random", "patient"])
def test_a_patient_is_a_group_even_where_the_split_is_called_random(split, tcga):
    found = problem(tcga, "tcga/pan", split)
    assert same_partition(found.groups, tcga.obs["patient"])
    assert found.split == "patient"


@pytest.mark.parametrize("split", ["random", "patient"])
def test_without_repeated_patients_the_split_is_random(split, microarray):
    found = problem(microarray, "microarray/pan", split)
    assert len(set(found.groups)) == 22
    assert found.split == "random"


def test_samples_without_a_patient_are_not_one_group():
    patients = ["p1", "p1", "", ""] * 3
    found = problem(cohort(status=["cancer", "normal"] * 6, patient=patients, tissue=["lung"] * 12), "microarray/pan")
    assert same_partition(found.groups, [p or f"alone {i}" for i, p in enumerate(patients)])


def test_split_by_study_keeps_studies_together(tcga):
    # p2 is in A and B, so that these are one group; p8 (samples 16, 17) is in C alone, p11 and p12 in D
    found = problem(tcga, "tcga/pan", "study")
    assert found.split == "study"
    assert same_partition(found.groups, ["A or B"] * 12 + ["C"] * 6 + ["D"] * 7)


def test_patients_tie_a_chain_of_studies():
    found = problem(
        cohort(
            status=["cancer", "normal"] * 5,
            tissue=["lung"] * 10,
            study=["A", "B", "B", "C", "C", "D", "E", "", "", "E"],
            patient=["1", "1", "2", "2", "3", "4", "5", "6", "6", ""],
        ),
        "microarray/pan",
        "study",
    )
    assert same_partition(found.groups, ["ABC"] * 5 + ["D", "E", "6", "6", "E"])


def test_a_patient_named_like_a_study_does_not_tie_it():
    found = problem(
        cohort(
            status=["cancer", "normal"] * 5,
            tissue=["lung"] * 10,
            study=["1"] * 5 + ["2"] * 5,
            patient=["2", "3", "4", "5", "6", "7", "8", "9", "10", "11"],
        ),
        "microarray/pan",
        "study",
    )
    assert same_partition(found.groups, ["1"] * 5 + ["2"] * 5)


def test_split_errors_are_sentences(tcga, microarray):
    with pytest.raises(InputError, match="split 'plate' is not known: use one of random, patient, study"):
        problem(tcga, "tcga/pan", "plate")
    with pytest.raises(InputError, match="split 'study': small has no study labels"):
        problem(microarray, "microarray/pan", "study")


# --------------------------------------------------------------------------------------------- folds


@st.composite
def problems(draw):
    """Problems with 2 to 4 classes and samples alone, in pairs across classes, or in larger groups."""
    classes = draw(st.integers(2, 4))
    counts = draw(st.lists(st.integers(2, 40), min_size=classes, max_size=classes))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = random.permutation(np.repeat(np.arange(classes), counts))
    kind = draw(st.sampled_from(["alone", "pairs", "large"]))
    n = len(y)
    groups = np.arange(n) if kind == "alone" else random.integers(0, n // 2 if kind == "pairs" else 8, n)
    split = "random" if kind == "alone" else "patient"
    return Problem("tcga/test", np.arange(n) + 100, y, tuple("abcd"[:classes]), groups, split)


@settings(max_examples=120)
@given(problems(), st.integers(2, 6), st.integers(0, 2**31 - 1))
def test_folds_contract(case, n_folds, seed):
    available = min(len(set(case.groups[case.y == k])) for k in range(len(case.classes)))
    if available < n_folds:
        with pytest.raises(InputError, match=f"{n_folds} folds need as many .* the smallest class has {available}"):
            folds(case, n_folds, seed)
        return
    try:
        pairs = folds(case, n_folds, seed)
    except InputError as error:  # groups can make folds that lack a class, single samples never
        assert "a fold lacks a class" in str(error)
        assert case.split == "patient"
        return
    n = len(case.y)
    assert len(pairs) == n_folds
    assert sorted(np.concatenate([test for _, test in pairs])) == list(range(n))  # each sample is tested once
    for train, test in pairs:
        assert sorted([*train, *test]) == list(range(n))
        assert not set(case.groups[train]) & set(case.groups[test])
        assert set(case.y[train]) == set(range(len(case.classes)))
        assert len(set(case.y[test])) >= 2
    if case.split == "random":
        for k in range(len(case.classes)):
            in_test = [(case.y[test] == k).sum() for _, test in pairs]
            assert min(in_test) >= 1
            assert max(in_test) - min(in_test) <= 1  # stratified
    again = folds(case, n_folds, seed)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(pairs, again, strict=True))


def test_folds_are_random_in_the_seed(microarray):
    whole = problem(microarray, "microarray/pan")
    assert len({tuple(folds(whole, 5, seed)[0][1]) for seed in range(8)}) == 8


def test_folds_of_paired_patients_are_stratified():
    """Tumour and normal of 30 patients: every fold has as many of both."""
    y, groups = np.tile([0, 1], 30), np.repeat(np.arange(30), 2)
    case = Problem("tcga/pan", np.arange(60), y, ("normal", "cancer"), groups, "patient")
    for _, test in folds(case, 10, 3):
        assert sorted(y[test]) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(("split", "what"), [("random", "samples"), ("patient", "patients"), ("study", "studies")])
def test_too_many_folds_is_a_sentence(split, what):
    case = Problem("tcga/X", np.arange(12), np.repeat([0, 1], [8, 4]), ("normal", "cancer"), np.arange(12), split)
    with pytest.raises(InputError, match=f"task tcga/X: 5 folds need as many {what} in each class.* has 4; use fewer"):
        folds(case, 5, 0)
    assert len(folds(case, 4, 0)) == 4


@pytest.mark.parametrize("test", [[0, 1], [2, 3, 4]], ids=["test side", "training side"])
def test_a_fold_that_lacks_a_class_is_a_sentence(test, monkeypatch):
    """Groups can force such folds; here the splitter makes one."""

    class Splitter:
        def __init__(self, *_, **__):
            pass

        def split(self, *_):
            yield np.setdiff1d(np.arange(5), test), np.array(test)

    case = Problem("tcga/pan", np.arange(5), np.array([0, 0, 0, 1, 1]), ("normal", "cancer"), np.arange(5), "study")
    monkeypatch.setattr(tasks, "PatientKFold", Splitter)
    with pytest.raises(InputError, match="task tcga/pan, split 'study': a fold lacks a class; use fewer folds"):
        folds(case, 2, 0)


def test_studies_of_one_status_each_can_be_split():
    y = np.repeat([0, 0, 1, 1], 5)
    case = Problem("tcga/pan", np.arange(20), y, ("normal", "cancer"), np.repeat(np.arange(4), 5), "study")
    for _, test in folds(case, 2, 0):
        assert np.bincount(y[test]).tolist() == [5, 5]


@settings(max_examples=60)
@given(problems(), st.integers(0, 2**31 - 1))
def test_holdout_contract(case, seed):
    try:
        train, test = holdout(case, seed)
    except InputError:
        groups = min(len(set(case.groups[case.y == k])) for k in range(len(case.classes)))
        assert groups < 5 or case.split == "patient"
        return
    assert sorted([*train, *test]) == list(range(len(case.y)))
    assert not set(case.groups[train]) & set(case.groups[test])
    assert set(case.y[train]) == set(case.y)
    if case.split == "random":
        assert set(case.y[test]) == set(case.y)
        for k in set(case.y):
            assert abs((case.y[test] == k).sum() - (case.y == k).sum() / 5) <= 1
    assert np.array_equal(test, holdout(case, seed)[1])


# ------------------------------------------------------------------------------------------- subsets


def labels(draw, classes):
    counts = draw(st.lists(st.integers(2, 60), min_size=classes, max_size=classes))
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).permutation(np.repeat(np.arange(classes), counts))


@settings(max_examples=150)
@given(st.data(), st.integers(2, 4), st.integers(0, 2**31 - 1))
def test_subset_contract(data, classes, seed):
    y = labels(data.draw, classes)
    shares = np.bincount(y) / len(y)
    smaller = np.array([], int)
    for n in range(2 * classes, len(y) + 1):
        chosen = subset(y, n, seed)
        assert np.array_equal(chosen, subset(y, n, seed))
        assert len(set(chosen)) == n
        assert set(smaller) < set(chosen)  # nested
        counts = np.bincount(y[chosen], minlength=classes)
        assert counts.min() >= 2
        # in proportion, within one sample (two classes; up to two with more) beyond the floor of two a class
        lowest = np.argmin(shares)
        if classes == 2:
            assert abs(counts[lowest] - max(2, n * shares[lowest])) <= 1 + 1e-9
        if (n * shares >= 4).all():
            assert np.abs(counts - n * shares).max() <= (1 if classes == 2 else 2) + 1e-9
        smaller = chosen
    assert np.array_equal(chosen, np.arange(len(y)))


def test_subsets_are_random_in_the_seed_and_give_every_sample_a_chance():
    y = np.repeat([0, 1], [20, 10])
    drawn = [subset(y, 9, seed) for seed in range(300)]
    counts = np.bincount(np.concatenate(drawn), minlength=30)
    # of 9 samples 6 and 3 are expected of the classes, so that every sample is drawn in 90 of 300 cases
    assert np.abs(counts - 90).max() < 4.5 * np.sqrt(300 * 0.3 * 0.7)


@pytest.mark.parametrize("n", [3, 31, 0, -1])
def test_a_subset_that_is_too_small_or_too_large_is_a_sentence(n):
    with pytest.raises(InputError, match=f"n={n}: the pool has 30 samples, and 4 hold two of each class"):
        subset(np.repeat([0, 1], [20, 10]), n, 0, "the pool")


def test_nested_order_begins_with_two_of_each_class():
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [80, 4, 2]))
    orders = [nested_order(y, seed) for seed in range(20)]
    for order in orders:
        assert sorted(order) == list(range(86))
        assert sorted(y[order[:6]]) == [0, 0, 1, 1, 2, 2]
    assert len({tuple(y[order[:6]]) for order in orders}) > 1  # in random order


# --------------------------------------------------------------------------------------------- seeds


def test_seeds_depend_on_every_axis_and_on_nothing_else():
    assert seed_of(0, "tcga/pan", 3) == 324979767  # the first 31 bits of SHA-256, on every machine
    axes = [(s, t, r) for s in range(3) for t in ("tcga/pan", "tcga/BRCA") for r in range(50)]
    seeds = [seed_of(*a) for a in axes]
    assert len(set(seeds)) == len(axes)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of(1, 23) != seed_of(12, 3)
