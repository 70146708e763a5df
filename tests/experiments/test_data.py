"""The data section: what it counts, projects and measures, beside counts and projections made by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import data
from gexlib.results import COLUMNS, Cell, table

BOTH = ["simulated-microarray:smoke", "simulated-tcga:smoke"]


@pytest.fixture(scope="module")
def rows():
    return table(
        row for cell in data.cells(data.Parameters(BOTH)) for _, found in data.evaluate([cell]) for row in found
    )


def part(rows, cohort, task, *metrics) -> pd.DataFrame:
    found = rows[(rows["cohort"] == cohort) & (rows["task"] == task)]
    return found[found["metric"].isin(metrics)] if metrics else found


def test_three_cells_a_cohort():
    cells = data.cells(data.Parameters(BOTH))
    assert [(c.parameters["cohort"], c.parameters["part"]) for c in cells] == [
        (cohort, name) for cohort in BOTH for name in ("counts", "components", "statistics")
    ]
    assert {c.cohort_digest for c in cells} == {open_cohort(name).uns["digest"] for name in BOTH}
    assert data.cells(data.Parameters(BOTH[1])) == cells[3:]
    assert len({data.group(c) for c in cells}) == 6


@pytest.mark.parametrize(("cohort", "site"), [(BOTH[0], "tissue"), (BOTH[1], "cancer_type")])
def test_counts_are_those_of_the_labels(rows, cohort, site):
    obs = open_cohort(cohort).obs
    got = part(rows, cohort, "counts").pivot_table(
        index=["target", "status", "origin"], columns="metric", values="value"
    )
    by = obs.groupby([site, "status", "origin"])
    assert got["samples"].to_dict() == by.size().to_dict()
    assert got["patients"].to_dict() == by["patient"].nunique().to_dict()
    assert got["studies"].to_dict() == by["study"].nunique().to_dict()


def test_unknown_patients_and_studies_count_as_none(variant):
    name = variant("bare", BOTH[1], lambda obs: obs.assign(patient="", study=""))
    (counts, *_) = data.cells(data.Parameters(name))
    frame = table(row for _, found in data.evaluate([counts]) for row in found)
    assert (frame.loc[frame["metric"] != "samples", "value"] == 0).all()
    assert frame.loc[frame["metric"] == "samples", "value"].sum() == 160


@pytest.mark.parametrize("cohort", BOTH)
def test_components_are_the_principal_ones(rows, cohort):
    adata = open_cohort(cohort)
    exact = PCA(2, svd_solver="full").fit(np.asarray(adata.X, float))
    expected = exact.transform(np.asarray(adata.X, float))
    found = part(rows, cohort, "components", "pc1", "pc2")
    got = found.pivot_table(index="sample", columns="metric", values="value").loc[adata.obs_names].to_numpy()
    for axis in (0, 1):
        assert abs(np.corrcoef(got[:, axis], expected[:, axis])[0, 1]) > 0.999
        assert got[:, axis].std() == pytest.approx(expected[:, axis].std(), rel=1e-3)
        share = part(rows, cohort, "components", f"explained{axis + 1}")["value"].item()
        assert share == pytest.approx(exact.explained_variance_ratio_[axis], rel=1e-2)
    labels = found.drop_duplicates("sample").set_index("sample").loc[adata.obs_names]
    for column, label in (("status", "status"), ("origin", "origin"), ("target", data.site_of(adata))):
        assert (labels[column] == adata.obs[label]).all()


def test_large_cohorts_are_projected_from_samples_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(data, "PCA_SAMPLES", 50)
    cohort = open_cohort(BOTH[0])

    def drawn(seed):
        return [row["sample"] for row in data.components(cohort, seed) if row["metric"] == "pc1"]

    assert len(drawn(0)) == 50 == len(set(drawn(0)))
    assert drawn(0) == drawn(0) != drawn(1)
    assert set(drawn(0)) <= set(cohort.obs_names)


def test_a_simulated_cohort_is_beside_the_real_one_that_it_is_calibrated_on(rows):
    for cohort, source in zip(BOTH, ("u133-studies", "tcga-pairs"), strict=True):
        found = part(rows, cohort, "statistics")
        assert set(found["arm"]) == {"here", "calibrated on"} and set(found["source"]) == {source}
        assert not found.duplicated(["metric", "at", "arm"]).any() and found["value"].notna().all()
        mean = np.asarray(open_cohort(cohort).X, float)[open_cohort(cohort).obs["origin"] != "cell_line"].mean(axis=0)
        median = found[(found["metric"] == "gene_mean") & (found["arm"] == "here") & (found["at"] == 0.5)]
        assert median["value"].item() == pytest.approx(np.median(mean), rel=0.05)


def test_rows_carry_every_column(rows):
    assert list(rows.columns[: len(COLUMNS)]) == list(COLUMNS)
    for cohort in BOTH:
        adata, found = open_cohort(cohort), rows[rows["cohort"] == cohort]
        for column, value in (
            ("experiment", "data"), ("cohort_digest", adata.uns["digest"]), ("simulated", True),
            ("n", adata.n_obs), ("n_genes", adata.n_vars), ("protocol", data.PROTOCOL),
        ):  # fmt: skip
            assert (found[column] == value).all(), column
        assert set(found["task"]) == set(data.PARTS)
    assert rows[["metric", "value"]].notna().all(axis=None)


def test_tables_1_and_2_add_up(rows):
    shown = data.summarise(rows)
    assert list(shown.columns[:2]) == ["cohort", "target"] and len(shown) == 3 + 1 + 2 + 1
    for cohort, part in shown.groupby("cohort"):
        obs = open_cohort(cohort).obs
        total, kinds = part[part["target"] == "all"].iloc[0], part[part["target"] != "all"]
        assert part["target"].iloc[-1] == "all"
        assert total["samples"] == kinds["samples"].sum() == len(obs)
        assert total["share of cancer"] == pytest.approx((obs["status"] == "cancer").mean())
        for column in [c for c in shown if ", " in c]:
            status, origin = column.split(", ")
            count = ((obs["status"] == status) & (obs["origin"] == origin.replace(" ", "_"))).sum()
            assert total[column] == kinds[column].sum() == count
    assert {"cancer, patient", "normal, patient", "cancer, cell line", "normal, cell line"} < set(shown)


def test_what_the_figures_draw(rows):
    balance = data.balance(rows)
    assert list(balance.columns) == ["cohort", "simulated", "site", "status", "count"]
    assert len(balance) == 5 * 2 and balance["count"].sum() == 460
    scores = data.scores(rows)
    assert len(scores) == 460 and {"pc1", "pc2", "status", "origin", "site"} <= set(scores)
    assert {cohort: len(shares) for cohort, shares in scores.attrs["explained"].items()} == dict.fromkeys(BOTH, 2)
    assert all(1 > first > second > 0 for first, second in scores.attrs["explained"].values())
    likeness = data.likeness(rows)
    assert list(likeness.columns) == ["cohort", "statistic", "at", "simulated", "real"]
    assert set(likeness["cohort"]) == set(BOTH)
    assert likeness[["statistic", "simulated", "real"]].notna().all(axis=None)  # a plain number has no `at`
    # genes of the simulation lie where those of the real cohort do; on TCGA the unit differs (TPM and RSEM)
    means = likeness[(likeness["statistic"] == "gene_mean") & (likeness["cohort"] == BOTH[0])]
    means = means[means["at"].between(0.2, 0.8)]
    assert len(means) > 5 and (means["simulated"] - means["real"]).abs().max() < 0.5


def test_cells_of_another_cohort_of_the_same_name_are_refused():
    cell = data.cells(data.Parameters(BOTH[1]))[0]
    with pytest.raises(InputError, match="the cell was made for 0123456789abcdef"):
        list(data.evaluate([Cell("data", cell.parameters, "0123456789abcdef", cell.protocol)]))
