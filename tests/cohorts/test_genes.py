"""Genes of one cohort found in another."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gexlib.cohorts import genes, open_cohort, store
from gexlib.errors import InputError

SYMBOLS = ["TP53", "EGFR", "MYC", "BRCA1", "GAPDH"]


def var(ids, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=list(ids))


def applied(wanted, given, X, fill=None) -> np.ndarray:
    return genes.match(wanted, given).apply(np.asarray(X, np.float32), np.zeros(len(wanted)) if fill is None else fill)


def test_by_symbol_probe_sets_are_averaged():
    given = var(["1_at", "2_at", "3_at", "4_at"], symbol=["egfr", "TP53 /// TP63", "EGFR", "MYC"])
    match = genes.match(var(SYMBOLS), given)
    assert match.space == "symbol" and match.found.tolist() == [False, True, True, False, False]
    assert match.said == (
        "2 of 5 genes match, by symbol; the other 3 stand at the mean of the source's training samples; fewer than "
        "half: expect little of it"
    )
    X = [[1, 2, 4, 8]]
    np.testing.assert_array_equal(match.apply(np.float32(X), np.array([-1, -2, -3, -4, -5])), [[-1, 2.5, 8, -4, -5]])


def test_by_ensembl_id_versions_do_not_count():
    wanted = var(["ENSG01.5", "ENSG02.1", "ENSG02.1_PAR_Y"], symbol=["A", "B", "B"])
    assert applied(wanted, var(["ENSG02", "ENSG01.9"]), [[2, 1]]).tolist() == [[1, 2, 0]]
    assert applied(var(["A", "B"], ensembl=["ENSG01", "ENSG02"]), var(["ENSG02.3", "ENSG01.9"]), [[2, 1]]).tolist() == [
        [1, 2]
    ]
    assert genes.match(wanted, var(["ENSG02", "x"], symbol=["A", "B"])).space == "symbol"  # where most are found


def test_nothing_in_common():
    with pytest.raises(
        InputError, match="no gene matches: TP53, EGFR, MYC and 2 more are wanted, 1_at given; use a cohort with"
    ):
        genes.match(var(SYMBOLS), var(["1_at"]))
    with pytest.raises(InputError, match="no gene matches"):
        genes.match(var(["a", "b"], symbol=["", "-"]), var(["c", "d"], symbol=["", "-"]))


@given(order=st.permutations(range(5)), twice=st.integers(0, 4), lower=st.booleans())
def test_order_case_and_copies_do_not_matter(order, twice, lower):
    X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    given = var([SYMBOLS[i].lower() if lower else SYMBOLS[i] for i in order])
    np.testing.assert_array_equal(applied(var(SYMBOLS), given, X[:, order]), X)
    both = var([f"p{i}" for i in range(6)], symbol=[*given.index, SYMBOLS[twice]])
    copied = applied(var(SYMBOLS), both, np.column_stack([X[:, order], X[:, twice] + 2]))
    np.testing.assert_allclose(copied, X + (np.arange(5) == twice), rtol=1e-5, atol=1e-6)


def test_cohorts_of_different_ids_are_joined_by_symbol(home, make_cohort):
    one = make_cohort(n_samples=40, n_genes=3, name="one", patient=[f"a{i}" for i in range(40)])
    two = make_cohort(n_samples=40, n_genes=4, name="two", seed=1, patient=[f"b{i}" for i in range(40)])
    one.var_names, two.var_names = ["MYC", "TP53", "KRAS"], ["ENSG1", "ENSG2", "ENSG3", "ENSG4"]
    two.var["symbol"] = ["TP53", "MYC", "ALK", "myc"]
    two.obs_names = [f"two{i}" for i in range(40)]
    for cohort in (one, two):
        store.save(cohort)
    joined = open_cohort("one+two")
    assert list(joined.var_names) == ["MYC", "TP53"] and joined.n_obs == 80
    np.testing.assert_array_equal(joined.X[:40], one.X[:, :2])
    np.testing.assert_allclose(joined.X[40:], np.column_stack([two.X[:, [1, 3]].mean(axis=1), two.X[:, 0]]), rtol=1e-6)


def test_the_size_of_real_cohorts():
    wanted = var([f"{i}_at" for i in range(54_675)], symbol=[f"G{i % 20_000}" for i in range(54_675)])
    given = var([f"ENSG{i:011}" for i in range(60_000)], symbol=[f"G{i}" for i in range(60_000)])
    match = genes.match(wanted, given)
    assert match.found.all() and match.apply(np.ones((2, 60_000), np.float32), np.zeros(54_675)).min() == 1
