"""The data (article: "Data and experiment design", Tables 1 and 2).

Counts a tissue or cancer type, principal components, and the statistics that a simulated cohort is
calibrated on, beside those of the real cohort.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from gexlib.cohorts import calibrate, open_cohort, simulate
from gexlib.experiments.base import as_list, samples
from gexlib.results import Cell
from gexlib.tasks import platform, seed_of

if TYPE_CHECKING:
    from anndata import AnnData

PROTOCOL = 1
PARTS = ("counts", "components", "statistics")
PCA_SAMPLES = 2000  # at most, drawn at random: enough for two components, and bounded at full size


@dataclass(frozen=True)
class Parameters:
    """What a notebook may set.

    Attributes
    ----------
    cohort : str or list of str
        One cohort or several.
    seed : int
        Of the samples drawn for the principal components.
    """

    cohort: str | list[str] = "simulated-tcga:smoke"
    seed: int = 0


def cells(parameters: Parameters) -> list[Cell]:
    """List three cells a cohort: counts, principal components, statistics."""
    found = []
    for name in as_list(parameters.cohort):
        uns = open_cohort(name).uns
        for part in PARTS:
            values = {"cohort": uns["name"], "part": part, "seed": parameters.seed}
            found.append(Cell("data", values, uns["digest"], PROTOCOL))
    return found


def group(cell: Cell) -> str:
    """Return the group of a cell: its own key."""
    return cell.key


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Measure one part of one cohort a cell."""
    measure = {"counts": counts, "components": components, "statistics": statistics}
    for cell in cells:
        cohort = samples(cell.parameters["cohort"], cell.cohort_digest)
        common = {
            "experiment": "data", "cohort": cohort.uns["name"], "cohort_digest": cell.cohort_digest,
            "simulated": bool(cohort.uns["simulated"]), "task": cell.parameters["part"],
            "n": cohort.n_obs, "n_genes": cohort.n_vars, "protocol": cell.protocol,
        }  # fmt: skip
        yield (
            cell,
            [{**common, **row} for row in measure[cell.parameters["part"]](cohort, cell.parameters["seed"])],
        )


def site_of(cohort: AnnData) -> str:
    """Column that names a sample's kind of cancer: "cancer_type" (TCGA) or "tissue"."""
    return "cancer_type" if platform(cohort) == "tcga" else "tissue"


def counts(cohort: AnnData, seed: int) -> Iterator[dict]:
    """Count samples and patients a tissue or type, status and origin."""
    obs = cohort.obs.assign(target=cohort.obs[site_of(cohort)])
    for (target, status, origin), part in obs.groupby(["target", "status", "origin"], observed=True):
        axes = {"target": target, "status": status, "origin": origin}
        yield {**axes, "metric": "samples", "value": len(part)}
        for metric, column in (("patients", "patient"), ("studies", "study")):
            yield {**axes, "metric": metric, "value": len(set(part[column]) - {""})}


def components(cohort: AnnData, seed: int) -> Iterator[dict]:
    """First two principal components of the samples, genes centred, not scaled."""
    chosen = np.arange(cohort.n_obs)
    if len(chosen) > PCA_SAMPLES:
        random = np.random.default_rng(seed_of(seed, "components"))
        chosen = np.sort(random.choice(chosen, PCA_SAMPLES, replace=False))
    pca = PCA(2, svd_solver="randomized", random_state=0)
    scores = pca.fit_transform(np.asarray(cohort.X[chosen]))
    for axis, share in enumerate(pca.explained_variance_ratio_, 1):
        yield {"metric": f"explained{axis}", "value": float(share)}
    obs = cohort.obs.iloc[chosen]
    for i, (sample, labels) in enumerate(obs.iterrows()):
        axes = {
            "sample": sample,
            "status": labels["status"],
            "origin": labels["origin"],
            "target": labels[site_of(cohort)],
        }
        for axis in (0, 1):
            yield {**axes, "metric": f"pc{axis + 1}", "value": float(scores[i, axis])}


def statistics(cohort: AnnData, seed: int) -> Iterator[dict]:
    """Statistics of the cohort; for a simulated one also those of the cohort it was calibrated on."""
    found = {"here": calibrate.calibrate(cohort)}
    source = simulate.CALIBRATED_ON[platform(cohort)] if cohort.uns["simulated"] else None
    if source:
        found["calibrated on"] = simulate.calibration()[source]["statistics"]
    for arm, measured in found.items():
        for (statistic, at), value in calibrate.curves(measured).dropna().items():
            yield {"metric": statistic, "at": at, "value": value, "arm": arm, "source": source}


def _part(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    return rows[rows["task"] == part]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Tables 1 and 2: samples a tissue or type by status and origin, with totals and the share of cancer."""
    found = _part(rows, "counts")
    found = found[found["metric"] == "samples"]
    table = found.pivot_table(
        index=["cohort", "target"], columns=["status", "origin"], values="value", aggfunc="sum", fill_value=0
    ).astype(int)
    table.columns = [f"{status}, {origin.replace('_', ' ')}" for status, origin in table.columns]
    totals = table.groupby("cohort").sum()
    totals.index = pd.MultiIndex.from_product([totals.index, ["all"]], names=table.index.names)
    table = pd.concat([table, totals]).sort_index(level="cohort", sort_remaining=False)
    cancer = table[[c for c in table if c.startswith("cancer")]].sum(axis=1)
    samples = table.sum(axis=1)
    return table.assign(samples=samples, **{"share of cancer": cancer / samples}).reset_index()


def balance(rows: pd.DataFrame) -> pd.DataFrame:
    """Count samples a tissue or type and status, for `gexlib.figures.class_balance`."""
    found = _part(rows, "counts")
    found = found[found["metric"] == "samples"].rename(columns={"value": "count", "target": "site"})
    return found.groupby(["cohort", "simulated", "site", "status"], as_index=False)["count"].sum()


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Principal components, one row a sample, for `gexlib.figures.pca`; ``attrs["explained"]`` holds the shares."""
    found = _part(rows, "components")
    axes = ["cohort", "simulated", "sample", "status", "origin", "target"]
    table = found[found["metric"].isin(["pc1", "pc2"])].pivot_table(index=axes, columns="metric", values="value")
    table = table.reset_index().rename(columns={"target": "site"})
    shares = found[found["metric"].isin(["explained1", "explained2"])].sort_values("metric")
    table.attrs["explained"] = {cohort: list(part["value"]) for cohort, part in shares.groupby("cohort")}
    return table


def likeness(rows: pd.DataFrame) -> pd.DataFrame:
    """Statistics of a simulated cohort and of the real one behind it, for `gexlib.figures.simulation_check`."""
    found = _part(rows, "statistics")
    found = found.assign(at=found["at"].astype(float))
    keys = ["cohort", "simulated", "metric", "at"]
    here = found[found["arm"] == "here"][[*keys, "value"]].rename(columns={"value": "simulated_value"})
    real = found[found["arm"] == "calibrated on"][[*keys, "value"]].rename(columns={"value": "real"})
    both = here.merge(real, on=keys).rename(columns={"metric": "statistic"})
    return both.drop(columns="simulated").rename(columns={"simulated_value": "simulated"})
