"""Joint cohorts: which genes and samples of the parts they hold, beside what is chosen by hand."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from gexlib import cohorts
from gexlib.cohorts import joint, store
from gexlib.errors import InputError
from gexlib.tasks import carried


def part(name, genes, groups, seed=0, prefix=None, **uns) -> None:
    """Store a cohort of (tissue, status, number) groups, a patient a sample."""
    labels = [(tissue, status) for tissue, status, n in groups for _ in range(n)]
    random = np.random.default_rng(seed)
    obs = pd.DataFrame(labels, columns=["tissue", "status"]).sample(frac=1, random_state=seed)
    prefix = name if prefix is None else prefix
    obs["patient"] = [f"{prefix}p{i}" for i in range(len(obs))]
    obs = obs.assign(study="one", cancer_type="X", extra=1).set_axis([f"{prefix}s{i}" for i in range(len(obs))])
    X = random.normal(seed, 1, (len(obs), len(genes))).astype(np.float32)
    uns = {"name": name, "scale": f"scale of {name}", "source": "made", "notes": [f"note of {name}"]} | uns
    store.save(AnnData(X, obs, pd.DataFrame(index=list(genes)), uns), name)


BOTH = [("breast", "cancer", 8), ("breast", "normal", 6), ("colon", "cancer", 9), ("colon", "normal", 5)]


@pytest.fixture
def two(home):
    part("first", "DBAC", [*BOTH, ("lung", "cancer", 9), ("lung", "normal", 9), ("", "normal", 9)])
    few = [("kidney", "cancer", 9), ("kidney", "normal", 9), ("lung", "cancer", 9), ("lung", "normal", 4)]
    part("second", "ABDX", [*BOTH, *few, ("", "cancer", 9), ("", "normal", 9)], seed=1)


def test_shared_genes_and_tissues_with_both_classes(two):
    both = cohorts.open_cohort("first+second")
    assert both.uns["name"] == "first+second" and isinstance(both.X, np.memmap)
    assert both.var_names.tolist() == ["D", "B", "A"]  # in the order of the first
    assert both.n_obs == 56 and set(both.obs["tissue"]) == {"breast", "colon"}
    parts = [cohorts.open_cohort(name) for name in ("first", "second")]
    assert both.obs["platform"].tolist() == ["first"] * 28 + ["second"] * 28
    for one in parts:
        kept = one[one.obs["tissue"].isin(["breast", "colon"])]
        mine = both[both.obs["platform"] == one.uns["name"]]
        np.testing.assert_array_equal(mine.X, kept[:, ["D", "B", "A"]].X)
        assert mine.obs_names.tolist() == kept.obs_names.tolist()
        for column in ("status", "tissue", "patient", "origin"):
            assert mine.obs[column].tolist() == kept.obs[column].tolist()
    assert (both.obs["cancer_type"] == "").all()
    assert carried(both) == ["microarray/pan", "microarray/breast", "microarray/colon"]
    assert set(both.obs["study"]) == {"first:one", "second:one"}  # one name, two studies
    assert both.uns["scale"] == "first: scale of first; second: scale of second"
    assert both.uns["simulated"] is False
    notes = " ".join(both.uns["notes"])
    for word in ("breast, colon: 28 of 55 from first, 28 of 77 from second; the 3 genes", "first: note of first"):
        assert word in notes
    assert "standardise each platform on its own training samples" in notes


def test_the_order_of_the_parts_is_kept(two):
    turned = cohorts.open_cohort("second+first")
    assert turned.var_names.tolist() == ["A", "B", "D"]
    assert turned.obs["platform"].tolist() == ["second"] * 28 + ["first"] * 28
    assert turned.uns["digest"] != cohorts.open_cohort("first+second").uns["digest"]


def test_it_is_built_once_and_again_when_a_part_has_changed(two, monkeypatch):
    before = cohorts.open_cohort("first+second").uns["digest"]
    with monkeypatch.context() as patch:
        patch.setattr(joint, "_join", lambda *_, **__: pytest.fail("it was built again"))
        assert cohorts.open_cohort("first+second").uns["digest"] == before
    part("second", "ABDX", BOTH, seed=2)
    after = cohorts.open_cohort("first+second")
    assert after.uns["digest"] != before and after.uns["parts"]["second"] == cohorts.open_cohort("second").uns["digest"]
    np.testing.assert_array_equal(after.X[28:], cohorts.open_cohort("second")[:, ["D", "B", "A"]].X)
    monkeypatch.setattr(joint, "JOINT", joint.JOINT + 1)
    assert cohorts.open_cohort("first+second").uns["joint"] == joint.JOINT


def test_large_parts_are_copied_in_blocks(two, monkeypatch):
    whole = cohorts.open_cohort("first+second").X.copy()
    monkeypatch.setattr(joint, "_BLOCK", 5)
    monkeypatch.setattr(joint, "JOINT", joint.JOINT + 1)
    np.testing.assert_array_equal(cohorts.open_cohort("first+second").X, whole)


def test_simulated_parts(home):
    names = ["simulated-microarray:smoke", "simulated-microarray:samples=200,genes=150,tissues=2,seed=1"]
    both = cohorts.open_cohort("+".join([*names[:1], names[1] + ",sharing=0.5"]))
    assert both.uns["name"] == "+".join(names)  # that of the parts, which is shorter
    assert both.uns["simulated"] is True and both.n_vars == 150
    counts = both.obs["platform"].value_counts().to_dict()
    assert counts[names[1]] == 200 and list(both.obs["platform"].unique()) == names
    assert both.obs_names.is_unique and not (
        set(both.obs.loc[both.obs["platform"] == names[0], "patient"])
        & set(both.obs.loc[both.obs["platform"] == names[1], "patient"])
    )
    assert both.obs["patient"].str.startswith("simulated-microarray:").all()
    assert cohorts.open_cohort(both.uns["name"]).uns["digest"] == both.uns["digest"]
    assert any("Simulated data: not measurements" in note for note in both.uns["notes"])
    other = cohorts.open_cohort(f"{names[0]}+{names[1][:-1]}2")
    assert other.uns["digest"] != both.uns["digest"]


def refused(name, message):
    with pytest.raises(InputError, match=message) as caught:
        cohorts.open_cohort(name)
    assert "\n" not in str(caught.value) and name not in store.stored()


def test_what_cannot_be_joined(two):
    refused("first+nowhere", "there is no cohort nowhere")
    refused("first+u133-genes", "u133-genes has no public address and was not imported yet")
    for name in ("first+", "+first", "first++second", "first+first"):
        refused(name, "join two cohorts or more, each once")
    part("probes", ["1_at", "2_at"], BOTH)
    refused("first+probes", r"share no gene \(first: D, B, A; probes: 1_at, 2_at\)")
    part("liver", "AB", [("liver", "cancer", 9), ("liver", "normal", 9), ("breast", "cancer", 99)])
    refused("first+liver", r"share no tissue .* \(first: breast, colon, lung; liver: liver\)")
    part("lines", "AB", [("breast", "cancer", 9)])
    refused("first+lines", r"lines: none")


def test_measured_parts_must_not_share_samples_or_patients(two):
    part("again", "ABCD", BOTH, prefix="first")
    refused("first+again", "share [0-9]+ samples, such as firsts")
    store.save(_with(cohorts.open_cohort("again"), [f"new{i}" for i in range(28)]), "again")
    refused("first+again", "share [0-9]+ patients, such as firstp")
    part("made", "ABCD", BOTH, prefix="first", simulated=True)
    assert cohorts.open_cohort("first+made").n_obs == 56  # a name says nothing of simulated patients


def _with(adata, ids):
    adata = adata.to_memory()
    adata.obs_names = ids
    return adata


def test_rna_sequencing_and_arrays(home, real_data, monkeypatch):
    file = real_data / "u133-genes" / "u133-genes.h5ad"
    if not file.is_file():
        pytest.skip("GEXLIB_DATA does not hold u133-genes")
    monkeypatch.setenv("GEXLIB_DATA", str(real_data))
    arrays = cohorts.import_cohort(file, "u133-genes", where=["study_has_both=True"])
    pairs = cohorts.open_cohort("tcga-pairs")
    both = cohorts.open_cohort("tcga-pairs+u133-genes")
    assert set(both.var_names) == set(pairs.var_names) & set(arrays.var_names)
    assert both.n_vars == 712 or pairs.n_vars > 3556  # 712 where all eleven files are at hand
    tissues = {"breast", "kidney", "colon"} & set(pairs.obs["tissue"])
    assert set(both.obs["tissue"]) == tissues
    counts = both.obs.groupby(["platform", "tissue", "status"]).size()
    assert counts["u133-genes", "breast"].to_dict() == {"cancer": 116, "normal": 29}
    assert counts["u133-genes", "kidney"].to_dict() == {"cancer": 9, "normal": 8}
    assert counts["tcga-pairs", "breast"].to_dict() == {"cancer": 113, "normal": 113}
    assert both.obs["patient"].nunique() == len({*pairs.obs.patient[pairs.obs.tissue.isin(tissues)]}) + len(
        {*arrays.obs.patient[arrays.obs.tissue.isin(tissues)]}
    )
