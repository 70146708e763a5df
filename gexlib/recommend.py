"""What the record says to somebody with n samples: which method, and whether to pre-train.

Every network is set against the best classical method on the same samples, since that is what would be used without it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from gexlib import notebook, statistics
from gexlib.baselines import METHODS
from gexlib.experiments import comparison
from gexlib.experiments.transfers import NETWORK, main_lines
from gexlib.experiments.unsupervised import main_lines as encoder_lines
from gexlib.figures import METHOD_LABELS

LINES = {"pan-to-specific": main_lines, "cancer-to-cancer": main_lines, "unsupervised": encoder_lines}


def methods(metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Set the default network beside the best classical method at every training size of the pan-cancer tasks.

    Parameters
    ----------
    metric : str
        Balanced accuracy by default: where most samples are cancer, accuracy rewards the majority vote.

    Returns
    -------
    DataFrame
        One row a cohort, task and n: ``best`` (classical method with the highest mean) and its ``classical`` mean, the
        ``network``'s, ``difference`` (network minus best) with its 95 % interval ``low``, ``high`` over splits, and
        ``close`` (how many of all methods are within one point of the highest mean).
    """
    rows = comparison.of_tasks(notebook.recorded("comparison").rows)
    rows = rows[(rows["arm"] == "balanced") & rows["method"].isin([NETWORK, *METHODS])]
    out = []
    for key, part in statistics.compare_methods(rows, metric, NETWORK).groupby(["cohort", "task", "n"]):
        by = part.set_index("method")
        classical = by.drop(NETWORK, errors="ignore")
        if NETWORK not in by.index or classical.empty:
            continue
        best = classical.loc[classical["mean"].idxmax()]
        low, high = -best["difference_high"], -best["difference_low"]
        close = int((by["mean"] > by["mean"].max() - 0.01).sum())
        means = best["mean"], by.loc[NETWORK, "mean"], -best["difference"]
        out.append((*key, METHOD_LABELS[best.name], *means, low, high, close))
    columns = ["cohort", "task", "n", "best", "classical", "network", "difference", "low", "high", "close"]
    return pd.DataFrame(out, columns=columns).sort_values(["cohort", "task", "n"], ignore_index=True)


def transfer(metric: str = "balanced_accuracy") -> pd.DataFrame:
    """Say what pre-training gains on average over the targets, at every n.

    Returns
    -------
    DataFrame
        One row a section, cohort, n and ``what`` is compared: ``difference`` (mean over targets, and over sources where
        there are several), ``low``, ``high`` (95 % t interval over targets), ``targets``.
    """
    out = []
    for name, lines in LINES.items():
        rows = notebook.recorded(name).rows
        for cohort, part in rows.groupby("cohort"):
            for n, what, differences in _differences(lines(part), metric):
                low, high = statistics.mean_interval(differences)
                out.append((name, cohort, n, what, differences.mean(), low, high, len(differences)))
    return pd.DataFrame(out, columns=["section", "cohort", "n", "what", "difference", "low", "high", "targets"])


def _differences(rows: pd.DataFrame, metric: str) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield what is compared at each n, with one difference a target."""
    rows = rows[(rows["metric"] == metric) & (rows["source"] != rows["target"])]
    means = rows.groupby(["arm", "target", "n"])["value"].mean()
    arms = means.unstack("arm").reset_index()
    zero = arms[arms["n"] == 0].set_index("target").get("zero_shot")
    pairs = {
        "pre-trained network minus network": ("fine_tuned", "baseline"),
        "pre-trained network minus best classical": ("fine_tuned", "classical"),
        "network minus best classical": ("baseline", "classical"),
        "classical on source and target minus on target": ("pooled", "classical"),
        "source network as it is minus network": ("zero_shot", "baseline"),
    }
    for n, part in arms[arms["n"] > 0].groupby("n"):
        part = part.set_index("target")
        if zero is not None:
            part = part.assign(zero_shot=zero)
        for what, (first, second) in pairs.items():
            if {first, second} <= set(part):
                difference = (part[first] - part[second]).dropna().to_numpy()
                if len(difference):
                    yield int(n), what, difference


def by_n(table: pd.DataFrame, section: str) -> pd.DataFrame:
    """Arrange `transfer` for readers: a row a cohort and comparison, a column an n, points with their interval."""
    own = table[table["section"] == section]
    points = [
        f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})" for row in own.itertuples()
    ]
    wide = own.assign(points=points, n=own["n"].map("n = {}".format))
    order = own[["cohort", "what"]].drop_duplicates()
    wide = wide.pivot(index=["cohort", "what"], columns="n", values="points")
    sizes = sorted(wide.columns, key=lambda name: int(name.split()[-1]))
    return order.merge(wide[sizes].reset_index(), on=["cohort", "what"]).fillna("")
