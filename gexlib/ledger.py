"""The article's numbers and claims beside what was found here.

``book/published.csv`` holds what the article's text states. A rule turns the tidy rows of a section into
a finding for one such row; a rule is only asked about cohorts that its row admits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from gexlib.baselines import METHODS
from gexlib.experiments import comparison, pan_to_specific, section
from gexlib.figures import METHOD_LABELS
from gexlib.files import project_root
from gexlib.statistics import compare_arms, compare_methods, summarise


def published(name: str) -> pd.DataFrame:
    """Numbers and claims of the article for a section; every column is text."""
    table = pd.read_csv(project_root() / "book" / "published.csv", dtype=str, keep_default_na=False)
    return table[table["section"] == section(name).name].reset_index(drop=True)


def beside(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Set each statement of the article beside the finding on the cohorts of these rows.

    Returns
    -------
    DataFrame
        ``statement``, ``article`` (value and unit), ``here`` and ``where`` it stands in the article. A
        statement that no cohort at hand can speak to says so.
    """
    table = published(name)
    here = [
        "; ".join(
            f"{cohort}: {finding}"
            for cohort, part in rows.groupby("cohort")
            if cohort in statement.cohorts.split(";") and (finding := _finding(statement.id, part))
        )
        for statement in table.itertuples()
    ]
    return pd.DataFrame(
        {
            "statement": table["statement"],
            "article": (table["value"] + " " + table["unit"]).str.strip().where(table["value"] != "", table["type"]),
            "here": [text or "needs other samples" for text in here],
            "where": table["where"],
        }
    )


def _finding(identifier: str, rows: pd.DataFrame) -> str:
    """Apply a statement's rule; "" where it has none."""
    kind, _, name = identifier.partition("/")
    if kind == "pan-to-specific" and name in set(rows["target"]):
        return _target(rows, name)
    return RULES[identifier](rows) if identifier in RULES else ""


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _full(rows: pd.DataFrame, task: str | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each task's table of methods on the full training set, the best first, without the majority vote."""
    full = rows[rows["full"].astype(bool) & (rows["method"] != "majority")]
    table = compare_methods(full, "accuracy", comparison.NETWORK)
    for name, part in table.groupby("task"):
        if task in (None, name):
            yield name, part.sort_values("mean", ascending=False)


def _place(method: str, task: str | None = None) -> Callable[[pd.DataFrame], str]:
    """Rule: place of a method among all, with its accuracy and that of the first (or the last)."""

    def rule(rows: pd.DataFrame) -> str:
        found = []
        for name, part in _full(rows, task):
            order = list(part["method"])
            if method not in order:
                continue
            mean = part.set_index("method")["mean"]
            other = next(m for m in (order if method == comparison.NETWORK else order[::-1]) if m != method)
            place = f"{order.index(method) + 1} of {len(order)}"
            found.append(
                f"{name} place {place}, {_percent(mean[method])} ({METHOD_LABELS[other]} {_percent(mean[other])})"
            )
        return ", ".join(found)

    return rule


def _status(rows: pd.DataFrame) -> str:
    """Differences of the classical methods to the network in the status task, and how many differ."""
    for _, part in _full(rows, "tcga/pan"):
        others = part[part["method"] != comparison.NETWORK]
        if len(others):
            low, high = 100 * others["difference"].min(), 100 * others["difference"].max()
            equal, differ = (others["p_equivalent"] < 0.05).sum(), (others["p_bh"] < 0.05).sum()
            return (
                f"others minus network {low:+.1f} to {high:+.1f} points; of {len(others)} methods {differ} differ "
                f"(adjusted p < 0.05), {equal} are equal within one point (two one-sided tests)"
            )
    return ""


def _against_classical(lowest: float, highest: float) -> Callable[[pd.DataFrame], str]:
    """Rule: the network minus the mean of the classical methods at the training sizes between two bounds."""

    def rule(rows: pd.DataFrame) -> str:
        table = summarise(rows[rows["arm"] == "balanced"], "accuracy", ["task", "n", "method"])
        found = []
        for (task, n), part in table.groupby(["task", "n"]):
            mean = part.set_index("method")["mean"]
            classical = mean[mean.index.isin(METHODS)]
            if lowest <= n < highest and comparison.NETWORK in mean and len(classical):
                found.append(f"{task} n = {n}: {100 * (mean[comparison.NETWORK] - classical.mean()):+.1f}")
        return "network minus the classical mean, points: " + ", ".join(found) if found else ""

    return rule


def _gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain in accuracy with F = 0 at every target and n."""
    table = compare_arms(pan_to_specific.main_lines(rows), "accuracy")
    return table[table["arm"] == "fine_tuned"]


def _target(rows: pd.DataFrame, target: str) -> str:
    """Gain at each n of one target, with the interval at the smallest."""
    part = _gains(rows[rows["target"] == target]).sort_values("n")
    first = part.iloc[0]
    interval = f"{100 * first['difference_low']:+.1f} to {100 * first['difference_high']:+.1f}"
    rest = ", ".join(f"{n}: {100 * d:+.1f}" for n, d in zip(part["n"][1:], part["difference"][1:], strict=True))
    return f"gain at n = {first['n']}: {100 * first['difference']:+.1f} points ({interval}); at n = {rest}"


def _by_size(rows: pd.DataFrame) -> str:
    """Mean gain over the targets that have every size, by n."""
    table = _gains(rows).pivot_table(index="target", columns="n", values="difference").dropna()
    means = ", ".join(f"n = {n}: {100 * d:+.1f}" for n, d in table.mean().items())
    return f"mean gain over {len(table)} targets, points: {means}" if len(table) else ""


RULES: dict[str, Callable[[pd.DataFrame], str]] = {
    "comparison/nn-first": _place(comparison.NETWORK),
    "comparison/tcga-type": _place(comparison.NETWORK, "tcga/type"),
    "comparison/tcga-status": _status,
    "comparison/lasso": _place("lasso"),
    "comparison/small-n": _against_classical(0, 300),
    "comparison/middle-n": _against_classical(300, 3001),
    "comparison/large-n": _against_classical(3001, np.inf),
    "pan-to-specific/smaller-n-more-gain": _by_size,
}
