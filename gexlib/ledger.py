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

#: The networks of the comparison, the article's own way first; a rule speaks of one of them.
NETWORKS = {
    "nn_paper": "network tuned once",
    "nn_inner": "network tuned inside",
    comparison.NETWORK: "default network",
}


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
        statement that no cohort at hand can speak to says so, and so does one that the rows do not cover.
    """
    table = published(name)
    found = {identifier: [] for identifier in table["id"]}
    for cohort, part in rows.groupby("cohort"):
        for statement in table.itertuples():
            if cohort in statement.cohorts.split(";") and (finding := _finding(statement.id, part)):
                found[statement.id].append(f"{cohort}: {finding}")
    here = ["; ".join(found[identifier]) for identifier in table["id"]]
    return pd.DataFrame(
        {
            "statement": table["statement"],
            "article": (table["value"] + " " + table["unit"]).str.strip().where(table["value"] != "", table["type"]),
            "here": [text or absent for text, absent in zip(here, table["cohorts"].map(_absent), strict=True)],
            "where": table["where"],
        }
    )


def _absent(cohorts: str) -> str:
    """Say, where there is no finding, whether a cohort at hand could give one."""
    at_hand = [cohort for cohort in cohorts.split(";") if not cohort.startswith("article-")]
    return "not in the record" if at_hand else "needs other samples"


def _remembered(table: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Keep the last table: rules ask for the same one of the same rows, one after the other."""
    last = (None, None)

    def remembered(rows: pd.DataFrame) -> pd.DataFrame:
        nonlocal last
        if last[0] is not rows:
            last = rows, table(rows)
        return last[1]

    return remembered


def _finding(identifier: str, rows: pd.DataFrame) -> str:
    """Apply a statement's rule; "" where it has none."""
    kind, _, name = identifier.partition("/")
    if kind in GAINS and name in set(rows["target"]):
        return _target(GAINS[kind](rows), name)
    source, to, target = name.partition("-to-")
    if kind == "cancer-to-cancer" and to:
        return _pair(_pair_gains(rows), source, target)
    return RULES[identifier](rows) if identifier in RULES else ""


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _one_network(rows: pd.DataFrame, splits: int = 1) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Yield each pan-cancer task with one network and the classical methods, on the network's splits.

    Yields
    ------
    task, method, label, rows
        Accuracy alone, one class weight, no splits by study. The network is the first of `NETWORKS` that was
        run on as many splits as asked.
    """
    rows = comparison.of_tasks(rows)  # not those by study
    rows = comparison.one_weight(rows[rows["metric"] == "accuracy"])
    for task, part in rows.groupby("task"):
        runs = part.groupby("method")["repeat"].nunique()
        network = next((name for name in NETWORKS if runs.get(name, 0) >= splits), None)
        if network is None:
            continue
        own = part[part["method"] == network]
        classical = part[part["method"].isin(METHODS) & part["repeat"].isin(own["repeat"])]
        label = NETWORKS[network] + " on one split" * int(runs[network] == 1)
        if len(classical):
            yield task, network, label, pd.concat([own, classical])


def _means(rows: pd.DataFrame) -> Iterator[tuple[int, pd.Series]]:
    """Yield each training size of a task with the mean accuracy of every method."""
    for n, part in summarise(rows, "accuracy", ["cohort", "task", "split", "n", "method"]).groupby("n"):
        yield n, part.set_index("method")["mean"]


def _above(mean: float, others: pd.Series) -> int:
    """How many of the others are higher; equal up to rounding is not higher."""
    return int((others > mean + 1e-9).sum())


def _place(method: str | None, task: str | None = None) -> Callable[[pd.DataFrame], str]:
    """Rule: place of a method (None: the network) on the full training set, its accuracy, that of the first or last.

    The places are those of one network and the classical methods.
    """

    def rule(rows: pd.DataFrame) -> str:
        found = []
        for name, network, label, part in _one_network(comparison.full(rows)):
            ((_, mean),) = _means(part)
            own = method or network
            if own not in mean or task not in (None, name):
                continue
            others = mean.drop(own)
            other = others.idxmin() if method else others.idxmax()
            who = f"{METHOD_LABELS[own]}, beside the {label}," if method else label
            found.append(
                f"{name} {who} place {_above(mean[own], others) + 1} of {len(mean)}, {_percent(mean[own])} "
                f"({METHOD_LABELS[other]} {_percent(mean[other])})"
            )
        return ", ".join(found)

    return rule


def _status(rows: pd.DataFrame) -> str:
    """Differences of the classical methods to the network in the status task, and how many differ or are equal."""
    for task, network, label, part in _one_network(comparison.full(rows), splits=2):  # one split has no test
        if task == "tcga/pan":
            table = compare_methods(part, "accuracy", network)
            others = table[table["method"] != network]
            low, high = 100 * others["difference"].min(), 100 * others["difference"].max()
            return (
                f"others minus {label} {low:+.1f} to {high:+.1f} points; {_below(others['p_bh'])} methods differ "
                f"(adjusted p < 0.05), {_below(others['p_equivalent'])} are equal within one point (two one-sided "
                "tests, corrected for overlapping splits)"
            )
    return ""


def _below(p: pd.Series) -> str:
    """Say how many p-values are below 0.05, of those that there are: without a value there was no test."""
    return f"{(p < 0.05).sum()} of {p.notna().sum()}"


def _at_sizes(
    lowest: float, highest: float, what: str, say: Callable[[float, pd.Series], str]
) -> Callable[[pd.DataFrame], str]:
    """Rule: `say` something of the network's mean and the classical methods' at each training size in a range."""

    def rule(rows: pd.DataFrame) -> str:
        found = []
        for task, network, label, part in _one_network(rows):
            sizes = [
                f"n = {n}{say(mean[network], mean.drop(network))}"
                for n, mean in _means(part)
                if lowest <= n < highest and network in mean and len(mean) > 1
            ]
            if sizes:
                found.append(f"{task} {label}{what}: " + ", ".join(sizes))
        return "; ".join(found)

    return rule


def _below_classical(own: float, others: pd.Series) -> str:
    """Say how many classical methods are above the network.

    In brackets the best of them minus the network: one poor method cannot turn it, as it could a mean.
    """
    return f" below {_above(own, others)} of {len(others)} (best {_points(others.max() - own)} points)"


def _lead(own: float, others: pd.Series) -> str:
    return f": {_points(own - others.max())}"


def _largest(target: str) -> Callable[[pd.DataFrame], str]:
    """Rule: gain of pre-training on a target at its largest n."""

    def rule(rows: pd.DataFrame) -> str:
        gains = _pan_gains(rows)
        part = gains[gains["target"] == target].sort_values("n")
        return f"gain at n = {part.iloc[-1]['n']}: {_gain(part.iloc[-1])}" if len(part) else ""

    return rule


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


@_remembered
def _pan_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain in accuracy with F = 0 at every target and n."""
    table = compare_arms(pan_to_specific.main_lines(rows), "accuracy")
    return table[table["arm"] == "fine_tuned"]


@_remembered
def _unsupervised_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain of the article's way of pre-training, F = 0, at every target and n."""
    table = unsupervised.summarise(unsupervised.main_lines(rows))
    return table[table["arm"] == "fine_tuned"]


@_remembered
def _pair_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain of each source on each target, at every n."""
    return cancer_to_cancer.gains(rows)


GAINS = {"pan-to-specific": _pan_gains, "unsupervised": _unsupervised_gains}


def _target(gains: pd.DataFrame, target: str) -> str:
    """Gain at each n of one target, with the interval at the smallest."""
    part = gains[gains["target"] == target].sort_values("n")
    first = part.iloc[0]
    rest = ", ".join(f"{n}: {_points(d)}" for n, d in zip(part["n"][1:], part["difference"][1:], strict=True))
    return f"gain at n = {first['n']}: {_gain(first)}" + (rest and f"; at n = {rest}")


def _pair(gains: pd.DataFrame, source: str, target: str) -> str:
    """Gain at each n of one source and one target, with the intervals; "" where the pair was not run."""
    part = gains[(gains["source"] == source) & (gains["target"] == target)].sort_values("n")
    each = ", ".join(f"n = {row['n']}: {_gain(row)}" for _, row in part.iterrows())
    return each and f"gain at {each}"


def _gain(row: pd.Series) -> str:
    """Write a gain with its interval, where two pairs or more give one."""
    low, high = row["difference_low"], row["difference_high"]
    return f"{_points(row['difference'])} points" + (f" ({_points(low)} to {_points(high)})" if low == low else "")


def _by_size(rows: pd.DataFrame) -> str:
    """Mean gain over the targets that have every size, by n."""
    table = _pan_gains(rows).pivot_table(index="target", columns="n", values="difference").dropna()
    means = ", ".join(f"n = {n}: {_points(d)}" for n, d in table.mean().items())
    return f"mean gain over {len(table)} targets, points: {means}" if len(table) else ""


def _count(table: pd.DataFrame, sign: int) -> str:
    """Say in how many tests of a table of gains the gain has a sign, surely: before and after adjustment."""
    raw = (table["p_raw"] < 0.05) & (np.sign(table["difference"]) == sign)
    return f"{raw.sum()} of {table['p_raw'].notna().sum()} (adjusted {(raw & (table['p_bh'] < 0.05)).sum()})"


def _never_above(rows: pd.DataFrame) -> str:
    table = _unsupervised_gains(rows)
    return (
        f"above the baseline, p < 0.05: {_count(table, 1)} of targets and sizes; below: {_count(table, -1)}; "
        f"gains from {_points(table['difference'].min())} to {_points(table['difference'].max())} points"
    )


def _frozen_pretrained(rows: pd.DataFrame) -> str:
    """Mean gain over targets and n with frozen layers and, for the same, without, each way of pre-training apart."""
    table = unsupervised.summarise(rows)
    table = table[table["arm"] == "fine_tuned"]
    gains = table.pivot_table(index=["pretraining", "target", "n"], columns="frozen", values="difference").dropna()
    means = gains.groupby("pretraining").mean()
    if means.shape[1] < 2:
        return ""
    return "mean gain, points: " + "; ".join(
        f"{way}, " + ", ".join(f"F = {frozen}: {_points(value)}" for frozen, value in line.items())
        for way, line in means.iterrows()
    )


def _pairs(sign: int) -> Callable[[pd.DataFrame], str]:
    """Rule: in how many pairs of different cancers transfer helps (1) or harms (-1), and how far it goes."""

    def rule(rows: pd.DataFrame) -> str:
        table = _pair_gains(rows)
        table = table[table["source"] != table["target"]]
        if table.empty:
            return ""
        far = table["difference"].max() if sign > 0 else table["difference"].min()
        return (
            f"{'helps' if sign > 0 else 'harms'}, p < 0.05: {_count(table, sign)} pairs and sizes, the "
            f"{'largest gain' if sign > 0 else 'largest loss'} {_points(far)} points; equal within one point: "
            f"{_below(table['p_equivalent'])}"
        )

    return rule


def _diagonal(rows: pd.DataFrame) -> str:
    table = cancer_to_cancer.diagonal(rows)
    means = ", ".join(f"n = {n}: {_points(d)}" for n, d in table.groupby("n")["difference"].mean().items())
    above = (table["p_raw"] < 0.05) & (table["difference"] > 0)  # the diagonal is in no adjustment
    return (
        f"mean gain, points: {means}; above the baseline, p < 0.05: {above.sum()} of {len(table)}" if len(table) else ""
    )


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
    """In how many single-cancer tasks and classical methods a method differs from the default network."""
    rows = comparison.one_weight(comparison.specific(rows))
    if comparison.NETWORK not in set(rows["method"]):
        return ""
    table = comparison.over_tasks(rows)
    tests = table.loc[table["method"].isin(METHODS), "p_bh"].dropna()
    return (
        f"{_below(tests)} methods and tasks differ from the {NETWORKS[comparison.NETWORK]} (adjusted p < 0.05)"
        if len(tests)
        else ""
    )


def _weight(part: pd.DataFrame, kind: str, least: float, most: float) -> pd.Series:
    return (part["penalty"] == kind) & part["penalty_weight"].between(least, most)


RULES: dict[str, Callable[[pd.DataFrame], str]] = {
    "comparison/nn-first": _place(None),
    "comparison/tcga-type": _place(None, "tcga/type"),
    "comparison/tcga-status": _status,
    "comparison/lasso": _place("lasso"),
    "comparison/small-n": _at_sizes(0, 300, "", _below_classical),
    "comparison/middle-n": _at_sizes(300, 3001, "", _below_classical),
    "comparison/large-n": _at_sizes(3001, np.inf, "", _below_classical),
    "comparison/gap": _at_sizes(3001, np.inf, " minus the best classical method, points", _lead),
    "comparison/specific": _specific,
    "pan-to-specific/smaller-n-more-gain": _by_size,
    "pan-to-specific/HNSC-large-n": _largest("HNSC"),
    "pan-to-specific/UCEC-large-n": _largest("UCEC"),
    "cancer-to-cancer/diagonal": _diagonal,
    "cancer-to-cancer/others": _pairs(1),
    "cancer-to-cancer/harm": _pairs(-1),
    "unsupervised/never-above": _never_above,
    "unsupervised/frozen": _frozen_pretrained,
    "sensitivity/layers-range": _trend("layers"),
    "sensitivity/neurons-range": _trend("neurons"),
    "sensitivity/small-networks": _trend("neurons", "tcga/type"),
    "sensitivity/deep-decline": _medians(
        "median accuracy",
        {"up to 5 layers": lambda d: d["layers"] <= 5, "6 or more": lambda d: d["layers"] > 5},
    ),
    "sensitivity/residual": _residual,
    "sensitivity/tcga-status-layers": _trend("layers", "tcga/pan"),
    "sensitivity/optimisers": _optimisers(
        "best validation accuracy (the largest of k draws, too high)",
        lambda part: f"{_percent(part['accuracy'].max())} (k = {len(part)})",
    ),
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
