"""The article's numbers and claims beside what was found here.

``book/published.csv`` holds what the article's text states. A rule turns the tidy rows of a section into
a finding for one such row; a rule is only asked about cohorts that its row admits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from gexlib.baselines import METHODS
from gexlib.experiments import cancer_to_cancer, comparison, pan_to_specific, section, sensitivity, unsupervised
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
    if kind in GAINS and name in set(rows["target"]):
        return _target(GAINS[kind](rows), name)
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


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _pan_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain in accuracy with F = 0 at every target and n."""
    table = compare_arms(pan_to_specific.main_lines(rows), "accuracy")
    return table[table["arm"] == "fine_tuned"]


def _unsupervised_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain of the article's way of pre-training, F = 0, at every target and n."""
    table = unsupervised.summarise(unsupervised.main_lines(rows))
    return table[table["arm"] == "fine_tuned"]


GAINS = {"pan-to-specific": _pan_gains, "unsupervised": _unsupervised_gains}


def _target(gains: pd.DataFrame, target: str) -> str:
    """Gain at each n of one target, with the interval at the smallest."""
    part = gains[gains["target"] == target].sort_values("n")
    first = part.iloc[0]
    interval = f"{_points(first['difference_low'])} to {_points(first['difference_high'])}"
    rest = ", ".join(f"{n}: {_points(d)}" for n, d in zip(part["n"][1:], part["difference"][1:], strict=True))
    return f"gain at n = {first['n']}: {_points(first['difference'])} points ({interval})" + (
        rest and f"; at n = {rest}"
    )


def _by_size(rows: pd.DataFrame) -> str:
    """Mean gain over the targets that have every size, by n."""
    table = _pan_gains(rows).pivot_table(index="target", columns="n", values="difference").dropna()
    means = ", ".join(f"n = {n}: {_points(d)}" for n, d in table.mean().items())
    return f"mean gain over {len(table)} targets, points: {means}" if len(table) else ""


def _count(table: pd.DataFrame, sign: int) -> str:
    """Say in how many rows of a table of gains the gain has a sign, surely: before and after adjustment."""
    raw = (table["p_raw"] < 0.05) & (np.sign(table["difference"]) == sign)
    return f"{raw.sum()} of {len(table)} (adjusted {(raw & (table['p_bh'] < 0.05)).sum()})"


def _never_above(rows: pd.DataFrame) -> str:
    table = _unsupervised_gains(rows)
    return (
        f"above the baseline, p < 0.05: {_count(table, 1)} of targets and sizes; below: {_count(table, -1)}; "
        f"gains from {_points(table['difference'].min())} to {_points(table['difference'].max())} points"
    )


def _pairs(sign: int) -> Callable[[pd.DataFrame], str]:
    """Rule: in how many pairs of different cancers transfer helps (1) or harms (-1), and how far it goes."""

    def rule(rows: pd.DataFrame) -> str:
        table = cancer_to_cancer.gains(rows)
        table = table[table["source"] != table["target"]]
        if table.empty:
            return ""
        far = table["difference"].max() if sign > 0 else table["difference"].min()
        equal = (table["p_equivalent"] < 0.05).sum()
        return (
            f"{'helps' if sign > 0 else 'harms'}, p < 0.05: {_count(table, sign)} pairs and sizes, the "
            f"{'largest gain' if sign > 0 else 'largest loss'} {_points(far)} points; equal within one point: {equal}"
        )

    return rule


def _diagonal(rows: pd.DataFrame) -> str:
    table = cancer_to_cancer.diagonal(rows)
    means = ", ".join(f"n = {n}: {_points(d)}" for n, d in table.groupby("n")["difference"].mean().items())
    return f"mean gain, points: {means}; above the baseline, p < 0.05: {_count(table, 1)}" if len(table) else ""


def _trend(name: str, task: str | None = None) -> Callable[[pd.DataFrame], str]:
    """Rule: lowest and highest level of accuracy over the values of one hyper-parameter."""

    def rule(rows: pd.DataFrame) -> str:
        table = sensitivity.trends(rows)
        table = table[(table["hyper_parameter"] == name) & table["task"].isin([task] if task else table["task"])]
        return ", ".join(
            f"{row.task} highest at {row.at_highest} ({_percent(row.highest)}), lowest at {row.at_lowest} "
            f"({_percent(row.lowest)}), range {100 * row.range:.1f} points"
            for row in table.itertuples()
        )

    return rule


def _medians(what: str, parts: dict[str, Callable[[pd.DataFrame], pd.Series]]) -> Callable[[pd.DataFrame], str]:
    """Rule: median accuracy of some groups of draws, a task at a time."""

    def rule(rows: pd.DataFrame) -> str:
        found = []
        for task, part in sensitivity.draws(rows).groupby("task"):
            medians = {name: part.loc[chosen(part), "accuracy"].median() for name, chosen in parts.items()}
            found.append(f"{task} " + ", ".join(f"{name} {_percent(m)}" for name, m in medians.items() if m == m))
        return f"{what}: " + "; ".join(found)

    return rule


def _optimisers(what: str, value: Callable[[pd.DataFrame], str]) -> Callable[[pd.DataFrame], str]:
    """Rule: something said of each optimiser's draws, a task at a time."""

    def rule(rows: pd.DataFrame) -> str:
        found = [
            f"{task} " + ", ".join(f"{name} {value(own)}" for name, own in part.groupby("optimiser"))
            for task, part in sensitivity.draws(rows).groupby("task")
        ]
        return f"{what}: " + "; ".join(found)

    return rule


def _learning_rate_of_best(part: pd.DataFrame) -> str:
    best = part.nlargest(max(1, len(part) // 10), "accuracy")
    return f"{best['learning_rate'].median():.2g}"


def _failed(part: pd.DataFrame) -> str:
    """Share of draws that rank no better than a coin, or diverged."""
    return _percent((part["diverged"].astype(bool) | (part["roc_auc"].fillna(0.5) < 0.6)).mean()) + " %"


def _residual(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{row.task} with minus without: {_points(row.difference)} points ({_points(row.difference_low)} to "
        f"{_points(row.difference_high)}, {row.n_pairs} pairs)"
        for row in sensitivity.residual_gain(rows).itertuples()
    )


def _rank(name: str) -> Callable[[pd.DataFrame], str]:
    """Rule: rank correlation of a hyper-parameter with accuracy."""

    def rule(rows: pd.DataFrame) -> str:
        found = [
            f"{task} {part[name].corr(part['accuracy'], method='spearman'):+.2f}"
            for task, part in sensitivity.draws(rows).groupby("task")
        ]
        return "rank correlation with accuracy: " + ", ".join(found)

    return rule


def _specific(rows: pd.DataFrame) -> str:
    """In how many single-cancer tasks and methods a method differs from the network."""
    rows = comparison.specific(rows)
    if rows.empty:
        return ""
    table = comparison.over_tasks(rows)
    table = table[table["method"] != comparison.NETWORK]
    differ = (table["p_bh"] < 0.05).sum()
    return (
        f"{differ} of {len(table)} methods and tasks differ from the network (adjusted p < 0.05)" if len(table) else ""
    )


def _weight(part: pd.DataFrame, kind: str, least: float, most: float) -> pd.Series:
    return (part["penalty"] == kind) & part["penalty_weight"].between(least, most)


RULES: dict[str, Callable[[pd.DataFrame], str]] = {
    "comparison/nn-first": _place(comparison.NETWORK),
    "comparison/tcga-type": _place(comparison.NETWORK, "tcga/type"),
    "comparison/tcga-status": _status,
    "comparison/lasso": _place("lasso"),
    "comparison/small-n": _against_classical(0, 300),
    "comparison/middle-n": _against_classical(300, 3001),
    "comparison/large-n": _against_classical(3001, np.inf),
    "comparison/specific": _specific,
    "pan-to-specific/smaller-n-more-gain": _by_size,
    "cancer-to-cancer/diagonal": _diagonal,
    "cancer-to-cancer/others": _pairs(1),
    "cancer-to-cancer/harm": _pairs(-1),
    "unsupervised/never-above": _never_above,
    "sensitivity/layers-range": _trend("layers"),
    "sensitivity/neurons-range": _trend("neurons"),
    "sensitivity/small-networks": _trend("neurons", "tcga/type"),
    "sensitivity/deep-decline": _medians(
        "median accuracy",
        {"up to 5 layers": lambda d: d["layers"] <= 5, "6 or more": lambda d: d["layers"] > 5},
    ),
    "sensitivity/residual": _residual,
    "sensitivity/tcga-status-layers": _trend("layers", "tcga/pan"),
    "sensitivity/optimisers": _optimisers("best accuracy", lambda part: _percent(part["accuracy"].max())),
    "sensitivity/learning-rate": _optimisers("median learning rate of the best tenth", _learning_rate_of_best),
    "sensitivity/sgd-stable": _optimisers("share of draws that failed", _failed),
    "sensitivity/batch-norm": _medians(
        "median accuracy",
        {"with": lambda d: d["batch_norm"].astype(bool), "without": lambda d: ~d["batch_norm"].astype(bool)},
    ),
    "sensitivity/batch-size": _rank("batch_size"),
    "sensitivity/regularisation-small": _medians(
        "median accuracy",
        {
            "dropout below 0.1": lambda d: d["dropout"] < 0.1,
            "0.1 to 0.3": lambda d: d["dropout"].between(0.1, 0.3),
            "no L1": lambda d: _weight(d, "l1", 0, 0),
            "L1 up to 1e-5": lambda d: _weight(d, "l1", 1e-7, 1e-5),
        },
    ),
    "sensitivity/regularisation-large": _medians(
        "median accuracy",
        {
            "dropout below 0.3": lambda d: d["dropout"] < 0.3,
            "above 0.6": lambda d: d["dropout"] > 0.6,
            "L1 up to 1e-5": lambda d: _weight(d, "l1", 0, 1e-5),
            "L1 1e-2": lambda d: _weight(d, "l1", 1e-2, 1),
        },
    ),
    "sensitivity/l2": _medians(
        "median accuracy",
        {
            f"{kind.upper()} {weight:g}": (lambda d, k=kind, w=weight: _weight(d, k, w, w))
            for weight in (1e-6, 1e-4, 1e-2)
            for kind in ("l1", "l2")
        },
    ),
}
