"""The recorded results as one small table that a page's script can draw from.

The page that reads it is ``notebooks/10_explore.ipynb``, the script ``book/_static/explorer/explorer.js``.
"""

from __future__ import annotations

import json

import pandas as pd

from gexlib import results
from gexlib.experiments import cell_lines_and_patients as origins
from gexlib.experiments import sensitivity, unsupervised
from gexlib.figures import ARM_LABELS, METHOD_LABELS
from gexlib.statistics import mean_interval

SCRIPTS = ("explorer/d3.min.js", "explorer/plot.umd.min.js", "explorer/explorer.js")
METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "mcc")
_AXES = ["section", "cohort", "subject", "series", "metric", "n", "file"]


def summary() -> pd.DataFrame:
    """Return means over repetitions of everything recorded but the draws of the sensitivity study.

    Returns
    -------
    DataFrame
        One row a section, cohort, ``subject`` (task, target or source and target), ``series`` (method, or arm with its
        F, scaler and rule of stopping where they are not the main ones), metric and n: ``mean``, ``low``, ``high``
        (95 % t interval, NaN with one repetition), ``repetitions``, ``file`` (in results/) it comes from.
    """
    parts = []
    for experiment, named in (
        ("comparison", _of_comparison),
        ("cell_lines_and_patients", _of_origins),
        ("pan_to_specific", _of_transfer),
        ("cancer_to_cancer", _of_transfer),
        ("unsupervised", _of_encoders),
    ):
        for file, rows, _ in results.recorded_files(experiment):
            rows = rows[rows["metric"].isin(METRICS)]
            part = named(rows).assign(section=experiment.replace("_", "-"), file=file)
            parts.append(part[[*_AXES, "value"]])
    rows = pd.concat(parts, ignore_index=True).dropna(subset="value")
    by = rows.groupby(_AXES, observed=True)["value"]
    table = by.agg(mean="mean", repetitions="size").reset_index()
    intervals = by.agg(lambda values: mean_interval(values)).tolist()
    table[["low", "high"]] = pd.DataFrame(intervals, index=table.index)
    return table


def _of_comparison(rows: pd.DataFrame) -> pd.DataFrame:
    weight = rows["arm"].map(lambda arm: "" if arm == "balanced" else f", class weights: {arm}")
    split = rows["split"].map(lambda split: ", split by study" if split == "study" else "")
    full = rows["full"].eq(True).fillna(False).astype(bool)
    n = rows["n"].astype(float)
    middle = n[full].groupby([rows["task"], rows["split"]]).transform("median")  # as many samples as grouping left
    return rows.assign(
        subject=rows["task"],
        series=rows["method"].map(lambda m: METHOD_LABELS.get(m, m)) + weight + split,
        n=n.where(~full, middle).round().astype(int),
    )


def _of_transfer(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows["arm"].isin(["baseline", "fine_tuned", "zero_shot"]) | (rows["method"] == "best_classical")]
    frozen = rows["frozen"].map(lambda f: "" if pd.isna(f) else f", F = {int(f)}")
    pair = rows["source"].fillna("").astype(str)
    target = rows["target"].astype(str)
    source = pair.where(rows["arm"].isin(["fine_tuned", "zero_shot", "pooled"]), "")
    of_pairs = (rows["experiment"] == "cancer_to_cancer") & (source != "")
    series = rows["arm"].map(ARM_LABELS).fillna(rows["arm"]) + frozen + (", from " + source).where(of_pairs, "")
    return rows.assign(subject=target, series=series, n=rows["n"].fillna(0).astype(int))


def _of_origins(rows: pd.DataFrame) -> pd.DataFrame:
    rows = origins.fig4(rows)
    named = _of_transfer(rows)
    return named.assign(subject="to " + named["target"].str.replace("_", " "))


def _of_encoders(rows: pd.DataFrame) -> pd.DataFrame:
    named = _of_transfer(rows)
    way = unsupervised.pretraining(named)
    return named.assign(series=named["series"] + (", " + way).where(way != "", ""))


def draws() -> pd.DataFrame:
    """Return the draws of the sensitivity study: cohort, task, hyper-parameters, accuracy, epochs, file."""
    parts = []
    for file, rows, _ in results.recorded_files("sensitivity"):
        parts.append(sensitivity.draws(rows).assign(file=file))
    table = pd.concat(parts, ignore_index=True)
    return table[["cohort", "task", *sensitivity.DRAWN, "accuracy", "epochs", "file"]]


def packed(table: pd.DataFrame) -> dict:
    """Return a table as columns for JSON: words as places in a list of them, numbers with five digits."""
    columns = {}
    for name in table:
        column = table[name]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            codes, words = pd.factorize(column.astype("string").fillna("").astype(object))
            columns[name] = {"words": list(words), "codes": codes.tolist()}
        elif pd.api.types.is_bool_dtype(column):
            columns[name] = column.astype(int).tolist()
        else:
            columns[name] = [None if pd.isna(v) else float(f"{v:.5g}") for v in column.astype(float)]
    return columns


def page() -> str:
    """Return the explorer as HTML: its data, the scripts, and the place that they fill."""
    data = {"summary": packed(summary()), "draws": packed(draws())}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    scripts = "".join(f'<script src="../../_static/{name}"></script>' for name in SCRIPTS)
    return (
        '<div id="explorer"><noscript>The explorer needs JavaScript; every figure of the book is drawn without it.'
        f'</noscript></div>\n<script type="application/json" id="explorer-data">{text}</script>\n{scripts}'
    )
