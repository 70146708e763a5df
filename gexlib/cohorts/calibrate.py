"""Statistics that a simulated cohort must share with a real one, and their comparison.

``calibration.json`` holds what `calibrate` found in two real cohorts. Everything is measured on patients'
samples. A *kind* is a cancer type or, where there is none, a tissue; a *group* is a kind and a status; a *cell*
is a group and a study. Genes are divided by their standard deviation within cells: variances and effects are in
that unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gexlib.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

PROBABILITIES = np.array([0.001, 0.01, *np.linspace(0.05, 0.95, 19).round(2), 0.99, 0.999])
SD_PROBABILITIES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
COMPONENTS = 50
_MEAN_CLASSES = 10  # gene standard deviations are tabulated by tenths of the gene means
_LEAST_SD = 0.05  # log2 units: genes that hardly move have no standardised effect
_LEAST_SAMPLES = 4  # of each class, for the effect of a kind to be measured
_LEAST_FOR_CONTENT = 20  # the same, for a direction learned on one half of them


def calibrate(adata: AnnData, max_genes: int = 4000) -> dict:
    """Measure what a simulated cohort must resemble.

    Parameters
    ----------
    adata : AnnData
        A cohort on a log2 scale. Cell lines are left out: no real normal cell line is at hand.
    max_genes : int
        Wider cohorts are measured on this many genes, drawn with a fixed seed.

    Returns
    -------
    dict
        Numbers and lists of numbers, four digits each, None where the cohort cannot tell. Lists of quantiles are
        at `PROBABILITIES`, a *shape* is quantiles in units of the root mean square, and *aligned* is the share
        of squared length within the leading `COMPONENTS` components within cells.

        ``gene_mean`` : quantiles, log2 units; ``gene_sd`` : for each tenth of the means, at `SD_PROBABILITIES`.
        ``variance_cancer``, ``variance_normal`` : within cells.
        ``eigenvalues`` : of the correlation within cells, as shares, less the mean of those left out.
        ``study_variance``, ``study_share`` : between studies of a group, unbiased; its share within groups.
        ``tissue_variance``, ``tissue_share``, ``tissue_aligned``, ``tissue_shape`` : between the kinds' normals.
        ``effect_rms``, ``effect_aligned``, ``effect_shape`` : cancer minus normal within studies; the root mean
        square, less sampling noise, for each of ``effect_kinds``.
        ``effect_correlation`` : for each pair of kinds, corrected for sampling noise.
        ``content_cancer``, ``content_normal`` and their shapes : spread of a class along its kind's effect,
        learned on other patients, relative to the effect and times its root mean square.

    Raises
    ------
    InputError
        No study has enough samples of both classes.
    """
    X, obs = _patients(adata, max_genes)
    gene_mean = X.mean(axis=0)
    X -= gene_mean
    number = obs.groupby(["kind", "status", "study"]).ngroup().to_numpy()
    means = _means(X, number)
    free = len(X) - len(means)
    sd = np.sqrt(((X - means[number]) ** 2).sum(axis=0) / max(free, 1))
    moving = sd > _LEAST_SD
    Z, means = X[:, moving] / sd[moving], means[:, moving] / sd[moving]
    residual, genes = Z - means[number], int(moving.sum())
    cells = obs.assign(square=(residual**2).mean(axis=1)).groupby(["kind", "status", "study"], as_index=False)
    cells = cells.agg(n=("square", "size"), square=("square", "sum"))  # in the order of means
    effects, weight, noise = _effects(cells, means)
    if not len(effects):
        raise InputError(
            f"cohort {adata.uns.get('name', 'unnamed')} cannot be calibrated, no kind has {_LEAST_SAMPLES} cancer"
            f" and {_LEAST_SAMPLES} normal samples in shared studies: give it studies with both"
        )

    components, eigenvalues, rest = _components(residual, free)
    energy = (effects**2).mean(axis=1)
    rms = np.sqrt(np.maximum(energy - noise, 0))
    # Sampling noise lies along the components in proportion to their variance.
    along = (effects @ components.T) ** 2 - np.outer(1 / weight, eigenvalues)
    sure = rms**2 > 0.3 * energy  # where most of an effect is noise, no correction makes a correlation of it
    products = effects[sure] @ effects[sure].T / genes / np.outer(rms[sure], rms[sure])
    variance = {status: _variance(rows) for status, rows in cells.groupby("status")}
    study = _study_variance(cells, means)
    tissue, deviations = _tissue_variance(cells, means, study or 0.0)
    found = {
        "samples": len(X),
        "genes": genes,
        "gene_mean": np.quantile(gene_mean, PROBABILITIES),
        "gene_sd": _sd_table(gene_mean, sd),
        "variance_cancer": variance["cancer"],
        "variance_normal": variance["normal"],
        "eigenvalues": np.maximum(eigenvalues / genes - rest, 0),
        "study_variance": study,
        "study_share": None if study is None else study / (1 + study),
        "tissue_variance": tissue,
        "tissue_share": None if tissue is None else tissue / (tissue + (study or 0) + variance["normal"]),
        "tissue_aligned": _share((deviations @ components.T) ** 2, deviations**2),
        "tissue_shape": _shape(deviations),
        "effect_kinds": list(weight.index),
        "effect_rms": rms,
        "effect_aligned": _share(along, genes * rms**2),
        "effect_shape": _shape(effects),
        "effect_correlation": products[np.triu_indices(len(products), 1)],
        **_content(Z, obs),
    }
    return {name: _plain(value) for name, value in found.items()}


def compare(real: AnnData, simulated: AnnData) -> pd.DataFrame:
    """Set the statistics of a real and a simulated cohort side by side.

    Parameters
    ----------
    real, simulated : AnnData
        Two cohorts, measured by `calibrate`.

    Returns
    -------
    DataFrame
        Columns ``statistic``, ``at``, ``real``, ``simulated``, one row a number. ``at`` is the quantile, the
        number of the eigenvalue or the tenth of the gene means (here the median of ``gene_sd``), NaN for a
        statistic of one number. ``gene_mean`` and ``gene_sd`` are in log2 units of each cohort's own scale.
    """
    columns = {"real": curves(calibrate(real)), "simulated": curves(calibrate(simulated))}
    places = columns["simulated"].index.union(columns["real"].index, sort=False)  # keep the order of `calibrate`
    return pd.DataFrame(columns, index=places).rename_axis(["statistic", "at"]).reset_index()


def curves(found: dict) -> pd.Series:
    """Return statistics as points that can be compared whatever the cohorts' sizes.

    Parameters
    ----------
    found : dict
        What `calibrate` returns.

    Returns
    -------
    Series
        Indexed by statistic and place, the ``at`` of `compare`. Statistics that are None are left out.
    """
    places = {}
    for name, value in found.items():
        if name in ("samples", "genes", "effect_kinds") or value is None:
            continue
        if not isinstance(value, list):
            places[name, np.nan] = value
        elif name in ("effect_rms", "effect_correlation"):  # as many as there are kinds, or pairs of them
            places |= {(name, q): np.quantile(value, q) for q in (0, 0.25, 0.5, 0.75, 1) if value}
        elif name == "gene_sd":
            middle = SD_PROBABILITIES.tolist().index(0.5)
            places |= {(name, i): row[middle] for i, row in enumerate(value, 1)}
        else:
            at = np.arange(1, len(value) + 1) if name == "eigenvalues" else PROBABILITIES
            places |= {(name, place): v for place, v in zip(at, value, strict=True)}
    return pd.Series(places, dtype=float)


def _patients(adata: AnnData, max_genes: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the patients' values as doubles and their labels."""
    names = ("status", "study", "patient", "origin")
    obs = pd.DataFrame({name: adata.obs.get(name, "") for name in names}).astype(str).reset_index(drop=True)
    typed = "cancer_type" in adata.obs and (adata.obs["cancer_type"].astype(str) != "").any()
    obs["kind"] = adata.obs["cancer_type" if typed else "tissue"].astype(str).to_numpy()
    genes = np.arange(adata.n_vars)
    if adata.n_vars > max_genes:
        genes = np.sort(np.random.default_rng(0).choice(genes, max_genes, replace=False))
    rows = np.flatnonzero(obs["origin"] != "cell_line")
    return np.asarray(adata.X[rows][:, genes], dtype=np.float64), obs.iloc[rows].reset_index(drop=True)


def _means(X: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the mean row of each group, [groups, genes]."""
    return pd.DataFrame(X).groupby(groups).mean().to_numpy()


def _variance(cells: pd.DataFrame) -> float | None:
    """Return the pooled variance within cells."""
    free = cells["n"].sum() - len(cells)
    return cells["square"].sum() / free if free else None


def _effects(cells: pd.DataFrame, means: np.ndarray) -> tuple[np.ndarray, pd.Series, np.ndarray]:
    """Return cancer minus normal within studies [kinds, genes], weights by kind, and the noise in its square."""
    effects, weights, noise = [], {}, []
    for kind, rows in cells.reset_index().groupby("kind"):
        both = rows.pivot(index="study", columns="status", values=["n", "index"])
        if not {"cancer", "normal"} <= set(rows["status"]):
            continue
        both = both.dropna().astype(int)
        n = both["n"]
        weight = n["cancer"] * n["normal"] / (n["cancer"] + n["normal"])
        if weight.sum() >= _LEAST_SAMPLES / 2:
            differences = means[both["index"]["cancer"]] - means[both["index"]["normal"]]
            effects.append(np.average(differences, axis=0, weights=weight))
            weights[kind] = weight.sum()
            noise.append((_variance(rows) or 1.0) / weight.sum())
    return np.array(effects), pd.Series(weights, dtype=float), np.array(noise)


def _components(residual: np.ndarray, free: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the leading components, the variance along them, and the mean share of those left out."""
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    rank = min(free, residual.shape[1])
    number = min(COMPONENTS, rank)
    with threadpool_limits(1):  # many thin products, in which threads wait for each other
        _, singular, components = randomized_svd(residual, number, n_iter=7, random_state=0)
    left = 1 - (singular**2).sum() / free / residual.shape[1]
    return components, singular**2 / free, left / max(rank - number, 1)


def _study_variance(cells: pd.DataFrame, means: np.ndarray) -> float | None:
    """Return the variance between studies of a group (unbiased analysis of variance, unequal sizes)."""
    between, size = 0.0, 0.0
    for _, rows in cells.groupby(["kind", "status"]):
        n, within = rows["n"].to_numpy(), _variance(rows)
        if len(rows) > 1 and within is not None:
            centred = means[rows.index] - np.average(means[rows.index], axis=0, weights=n)
            between += n @ (centred**2).mean(axis=1) - (len(rows) - 1) * within
            size += n.sum() - (n @ n) / n.sum()
    return max(between / size, 0.0) if size else None


def _tissue_variance(cells: pd.DataFrame, means: np.ndarray, study: float) -> tuple[float | None, np.ndarray]:
    """Return the variance between the kinds' normals beyond studies and noise, and their differences."""
    centres, errors = [], []
    for _, rows in cells[cells["status"] == "normal"].groupby("kind"):
        n = rows["n"].to_numpy()
        if n.sum() >= _LEAST_SAMPLES:
            centres.append(np.average(means[rows.index], axis=0, weights=n))
            errors.append(study * (n @ n) / n.sum() ** 2 + (_variance(rows) or 1.0) / n.sum())
    if len(centres) < 2:
        return None, np.empty((0, means.shape[1]))
    deviations = np.array(centres) - np.mean(centres, axis=0)
    return max((deviations**2).mean() * len(centres) / (len(centres) - 1) - np.mean(errors), 0.0), deviations


def _content(Z: np.ndarray, obs: pd.DataFrame) -> dict:
    """Return how far each class spreads along its kind's effect, learned on the other half of the patients."""
    rng, scores = np.random.default_rng(0), {"cancer": [], "normal": []}
    for _, rows in obs.groupby("kind"):
        if rows["status"].value_counts().reindex(list(scores), fill_value=0).min() < _LEAST_FOR_CONTENT:
            continue
        patient = pd.factorize(rows["patient"].where(rows["patient"] != "", rows.index.astype(str)))[0]
        half = rng.permutation(patient.max() + 1)[patient] % 2
        status = rows["status"].to_numpy()
        centre = {(s, h): Z[rows.index[(status == s) & (half == h)]].mean(axis=0) for s in scores for h in (0, 1)}
        effect = [centre["cancer", h] - centre["normal", h] for h in (0, 1)]
        length = effect[0] @ effect[1]  # noise of the halves is independent: unbiased
        for s in scores:
            along = [(Z[rows.index[(status == s) & (half == h)]] - centre[s, h]) @ effect[1 - h] for h in (0, 1)]
            # Relative to the effect and times its root mean square, the spread hardly depends on the kind.
            scores[s].append(np.concatenate(along) / np.sqrt(length * Z.shape[1]))
    found = {}
    for status, parts in scores.items():
        pooled = np.concatenate(parts) if parts else None
        found[f"content_{status}"] = None if pooled is None else float(np.sqrt((pooled**2).mean()))
        found[f"content_{status}_shape"] = None if pooled is None else _shape(pooled[None])
    return found


def _sd_table(gene_mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Return quantiles of the genes' standard deviations for each tenth of their means."""
    tenths = np.array_split(sd[np.argsort(gene_mean, kind="stable")], _MEAN_CLASSES)
    return np.array([np.quantile(tenth, SD_PROBABILITIES) for tenth in tenths])


def _shape(rows: np.ndarray) -> np.ndarray | None:
    """Return the quantiles of rows, each in units of its root mean square."""
    if not len(rows):
        return None
    return np.quantile(rows / np.sqrt((rows**2).mean(axis=1, keepdims=True)), PROBABILITIES)


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    """Return a share between 0 and 1."""
    return float(np.clip(part.sum() / whole.sum(), 0, 1)) if whole.sum() > 0 else None


def _plain(value):
    """Return JSON values with four significant digits."""
    if isinstance(value, np.ndarray | list):
        return [_plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return float(f"{value:.4g}") if isinstance(value, float) else value
