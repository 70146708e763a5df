import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from gexlib.cohorts import schema
from gexlib.cohorts.schema import _trial  # before it is replaced
from gexlib.errors import InputError

LABEL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)


@st.composite
def cohorts(draw):
    """Small AnnData that `check` accepts, with labels as untidy as users' are."""
    n_samples, n_genes = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    floats = st.floats(-1e6, 1e6, width=32)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    X = draw(hnp.arrays(dtype, (n_samples, n_genes), elements=floats))
    several = {"min_size": n_samples, "max_size": n_samples}
    tissue = draw(st.lists(st.none() | st.just("-") | st.just(np.nan) | LABEL, **several))
    obs = {
        "status": draw(st.lists(st.sampled_from(["cancer", "normal"]), **several)),
        "origin": draw(st.lists(st.sampled_from(["patient", "cell_line", "", " ", "-"]), **several)),
        "tissue": pd.Series(tissue, dtype=object).astype(draw(st.sampled_from(["object", "category"]))).array,
        "age": draw(st.lists(st.integers(0, 99), **several)),
    }
    return AnnData(
        X=X,
        obs=pd.DataFrame(obs, index=[f"s{i}" for i in range(n_samples)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]),
        uns={"name": "made"},
    )


def same(a, b):
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(a.var, b.var)
    np.testing.assert_array_equal(a.X, b.X)
    assert dict(a.uns) == dict(b.uns)
    return True


@given(cohorts())
@settings(max_examples=60)
def test_check_gives_the_one_form_and_is_idempotent(adata):
    before = adata.obs.copy()
    checked = schema.check(adata)
    assert checked.X.dtype == np.float32
    assert set(schema.LABELS) <= set(checked.obs)
    for column in schema.LABELS:
        labels = checked.obs[column].tolist()
        assert all(type(label) is str and label == label.strip() and label != "-" for label in labels)
    assert checked.obs["age"].tolist() == before["age"].tolist()
    pd.testing.assert_frame_equal(adata.obs, before)  # the argument is left alone
    assert same(schema.check(checked), checked)


@given(cohorts(), st.data())
@settings(max_examples=60)
def test_digest_follows_content_only(adata, data):
    adata = schema.check(adata)
    first = schema.digest(adata)
    assert len(first) == 16 and int(first, 16) >= 0

    turned = adata.copy()
    turned.obs = adata.obs[adata.obs.columns[::-1]]
    categories = sorted(set(adata.obs["tissue"]), key=lambda label: data.draw(st.integers(), label=label))
    turned.obs["tissue"] = pd.Categorical(adata.obs["tissue"], categories=categories)
    turned.X = np.asfortranarray(adata.X)
    assert schema.digest(turned) == first

    row = data.draw(st.integers(0, adata.n_obs - 1))
    gene = data.draw(st.integers(0, adata.n_vars - 1))
    value = adata.copy()
    value.X[row, gene] += np.float32(1e6)
    relabelled = adata.copy()
    relabelled.obs.loc[relabelled.obs_names[row], "study"] = "another"
    flipped = adata.copy()
    flipped.obs["status"] = flipped.obs["status"].map({"cancer": "normal", "normal": "cancer"})
    renamed_sample = AnnData(adata.X, adata.obs.rename(index={f"s{row}": "other"}), adata.var)
    renamed_gene = AnnData(adata.X, adata.obs, adata.var.rename(index={f"g{gene}": "other"}))
    for changed in (value, relabelled, flipped, renamed_sample, renamed_gene):
        assert schema.digest(changed) != first


def test_digest_does_not_confuse_a_moved_boundary(make_cohort):
    one = schema.check(make_cohort(tissue=["ab"] * 12, study=["c"] * 12))
    other = schema.check(make_cohort(tissue=["a"] * 12, study=["bc"] * 12))
    assert schema.digest(one) != schema.digest(other)


def test_digest_by_blocks_is_that_of_the_whole(make_cohort, monkeypatch):
    adata = schema.check(make_cohort(n_samples=50, n_genes=7))
    monkeypatch.setattr(schema, "_BLOCK_BYTES", 3 * 7 * 4)
    assert [start for start, _ in schema.row_blocks(adata.X)] == list(range(0, 50, 3))
    assert schema.digest(adata) == adata.uns["digest"]


def test_digest_of_a_simulated_cohort_is_the_one_it_brings(make_cohort):
    adata = make_cohort()
    adata.uns |= {"simulated": True, "digest": "0123456789abcdef"}
    assert schema.check(adata).uns["digest"] == "0123456789abcdef"
    adata.uns["simulated"] = False
    assert schema.check(adata).uns["digest"] != "0123456789abcdef"


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csc_array, lambda X: X.astype(np.float64)])
def test_sparse_and_double_matrices_become_dense_float32(make_cohort, convert):
    adata = make_cohort()
    expected = schema.check(adata)
    adata.X = convert(adata.X)
    assert same(schema.check(adata), expected)
    assert type(schema.check(adata).X) is np.ndarray


def test_counts_become_float32(make_cohort):
    adata = make_cohort()
    adata.X = np.arange(60).reshape(12, 5)
    X = schema.check(adata).X
    assert X.dtype == np.float32 and X[2, 1] == 11


def test_a_float32_matrix_is_not_copied(make_cohort):
    adata = make_cohort()
    assert np.shares_memory(schema.check(adata).X, adata.X)


def test_a_view_is_checked_as_the_part_it_is(make_cohort):
    adata = make_cohort()
    checked = schema.check(adata[2:6, ["g3", "g1"]])
    assert checked.shape == (4, 2) and checked.obs_names.tolist() == ["s2", "s3", "s4", "s5"]
    np.testing.assert_array_equal(checked.X, adata.X[2:6][:, [3, 1]])


def refuse(adata, *words):
    with pytest.raises(InputError) as caught:
        schema.check(adata)
    for word in ("small", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_status(make_cohort):
    adata = make_cohort()
    del adata.obs["status"]
    refuse(adata, "no `status` column", "tissue, patient", "add one")


def test_unknown_status(make_cohort):
    refuse(make_cohort(status=["cancer", "Tumour"] * 6), "6 samples whose status", "`Tumour`", "s1", "rename")


def test_blank_status(make_cohort):
    refuse(make_cohort(status=["cancer", None] * 6), "6 samples whose status", "(blank)")


def test_unknown_origin(make_cohort):
    refuse(make_cohort(origin=["patient", "xenograft"] * 6), "origin", "`cell_line`", "`xenograft`")


def test_values_that_are_not_finite(make_cohort, monkeypatch):
    adata = make_cohort()
    adata.X[7, 3] = np.nan
    adata.X[9, 0] = -np.inf
    refuse(adata, "2 values", "sample s7", "gene g3")
    monkeypatch.setattr(schema, "_BLOCK_BYTES", 1)  # a row a block
    refuse(adata, "2 values", "sample s7", "gene g3")


def test_a_double_too_large_for_float32_is_found(make_cohort):
    adata = make_cohort()
    adata.X = adata.X.astype(np.float64)
    adata.X[4, 2] = 1e300
    refuse(adata, "1 values", "sample s4", "gene g2")


def test_text_in_the_matrix(make_cohort):
    adata = make_cohort()
    adata = AnnData(obs=adata.obs, var=adata.var, uns=adata.uns, X=np.full((12, 5), "high", dtype=object))
    refuse(adata, "not numeric", "high")


def test_repeated_genes_and_samples(make_cohort):
    adata = make_cohort()
    adata.var_names = ["TP53", "EGFR", "TP53 ", "EGFR", "KRAS"]
    refuse(adata, "2 repeated genes", "TP53, EGFR")
    adata.var_names = list("abcde")
    adata.obs_names = ["x", "x", *map(str, range(10))]
    refuse(adata, "1 repeated sample ids", "such as x")


def test_blank_gene(make_cohort):
    adata = make_cohort()
    adata.var_names = ["a", "", "c", "d", "e"]
    refuse(adata, "1 genes that are blank", "place 2")


def test_two_columns_of_one_name(make_cohort):
    adata = make_cohort()
    adata.obs = pd.concat([adata.obs, adata.obs[["tissue"]]], axis=1)
    refuse(adata, "more than one column `tissue`")


@pytest.mark.parametrize("rows, genes", [(0, 5), (12, 0)])
def test_empty(make_cohort, rows, genes):
    refuse(make_cohort()[:rows, :genes], "empty", f"{rows} samples x {genes} genes")


def test_no_matrix(make_cohort):
    adata = make_cohort()
    adata.X = None
    refuse(adata, "empty")


def test_one_class_is_a_cohort_but_no_task(make_cohort):
    adata = schema.check(make_cohort(status=["cancer"] * 12))
    with pytest.raises(InputError, match="small has no normal sample among its 12"):
        schema.check_two_classes(adata)
    schema.check_two_classes(schema.check(make_cohort()))


@pytest.mark.parametrize(
    "code, message",
    [
        ("import time; time.sleep(9)", "reading it does not end within"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
    ],
)
def test_files_that_hang_or_crash_the_library(make_cohort, tmp_path, monkeypatch, code, message):
    """HDF5 does both on some damaged files, so a process of its own reads a file first."""
    monkeypatch.setattr(schema, "_trial", _trial)
    make_cohort().write_h5ad(tmp_path / "small.h5ad")
    assert schema.read_h5ad(tmp_path / "small.h5ad").n_obs == 12
    monkeypatch.setattr(schema, "_READ", code)
    monkeypatch.setattr(schema, "PATIENCE", 0.5)
    with pytest.raises(InputError, match=f"small.h5ad cannot be read as .h5ad .*{message}.*save it again with anndata"):
        schema.read_h5ad(tmp_path / "small.h5ad")
