"""Quantities that statements of the article speak of, from the tidy rows of one cohort.

A measure takes rows and the `Claim` and returns estimates; none where the rows cannot say. What takes settings returns
a measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as np
import pandas as pd
from scipy import special

from gexlib.baselines import METHODS
from gexlib.experiments import cancer_to_cancer, cell_lines_and_patients, comparison, data, sensitivity, unsupervised
from gexlib.experiments import pan_to_specific as pan
from gexlib.experiments.transfers import main_lines
from gexlib.figures import METHOD_LABELS
from gexlib.ledger.claims import Claim, claims, stated
from gexlib.ledger.evidence import Estimate
from gexlib.statistics import paired

#: Networks of the comparison, the article's own way first; a measure speaks of the first with two splits or more.
NETWORKS = {
    "nn_paper": "network tuned once",
    "nn_inner": "network tuned inside",
    comparison.NETWORK: "default network",
}
RESAMPLES = 999
Measure = Callable[[pd.DataFrame, Claim], list[Estimate]]


def _remembered(table: Callable) -> Callable:
    """Keep the last table: rules ask for the same one of the same rows, one after the other."""
    last = (None, None)

    @wraps(table)
    def remembered(rows: pd.DataFrame) -> pd.DataFrame:
        nonlocal last
        if last[0] is not rows:
            last = rows, table(rows)
        return last[1]

    return remembered


# Data


def cancer_share(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the share of cancer samples, in percent."""
    counts = data.balance(rows).groupby("status")["count"].sum()
    share = 100 * counts.get("cancer", 0) / counts.sum()
    return [Estimate("all samples", float(share), np.nan, int(counts.sum()), exact=True)]


# Sensitivity: a repetition is a draw, all scored on one split


def _resampled(what: str, groups: Sequence[np.ndarray], statistic: Callable) -> list[Estimate]:
    """Bootstrap a statistic of some groups of draws; `statistic` takes arrays whose last axis is the draws."""
    groups = [np.asarray(group, float) for group in groups]
    if not groups or min(map(len, groups)) < 5:
        return []
    random, count = np.random.default_rng(0), sum(map(len, groups))
    drawn = statistic(*(random.choice(group, (RESAMPLES, len(group))) for group in groups))
    spread = float(np.std(drawn) * np.sqrt(count)) or np.nan
    return [Estimate(what, float(statistic(*groups)), spread, count, resamples=drawn)]


def _by_task(rows: pd.DataFrame, tasks: str = "") -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the draws of each task whose name ends so."""
    yield from ((task, part) for task, part in sensitivity.draws(rows).groupby("task") if task.endswith(tasks))


def _median_gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return 100 * (np.median(first, -1) - np.median(second, -1))


Draws = Callable[[pd.DataFrame], pd.Series]


def medians(pairs: dict[str, tuple[Draws, Draws]], tasks: str = "") -> Measure:
    """Measure the median accuracy of some draws minus that of others, in points."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        return [
            estimate
            for task, part in _by_task(rows, tasks)
            for name, (first, second) in pairs.items()
            for estimate in _resampled(
                f"{task}, {name}", [part.loc[chosen(part), "accuracy"].dropna() for chosen in (first, second)],
                _median_gap,
            )
        ]  # fmt: skip

    return measure


def deep_decline(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
    """Measure the median accuracy beyond the statement's number of layers minus that of the others."""
    deep = {"deeper minus not deeper": (lambda d: d["layers"] > claim.value, lambda d: d["layers"] <= claim.value)}
    return medians(deep)(rows, claim)


def batch_norm(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure what batch normalisation adds on the type task, and how much more than on the other tasks."""
    gains = {}
    for task, part in _by_task(rows):
        with_it = part["batch_norm"].astype(bool)
        gains[task] = [part.loc[chosen, "accuracy"].dropna() for chosen in (with_it, ~with_it)]
    found = []
    for task in (task for task in gains if task.endswith("/type")):
        found += _resampled(task, gains[task], _median_gap)
        for other in gains.keys() - {task}:
            found += _resampled(
                f"{task} against {other}", [*gains[task], *gains[other]],
                lambda a, b, c, d: _median_gap(a, b) - _median_gap(c, d),
            )  # fmt: skip
    return found


def best_minus_worst(name: str, boxes: int | None = None) -> Measure:
    """Measure the best minus the worst median of the boxes of Fig. 2, in points.

    The draws with even numbers choose the two boxes, the others measure them: the range of medians of one and the same
    draws is too large. `boxes` of equal numbers of draws are made of a hyper-parameter with many values.
    """

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        found = []
        for task, part in _by_task(rows):
            part = part.dropna(subset="accuracy")
            box = pd.qcut(part[name], boxes, labels=False) if boxes else part[name]
            choose, score = (part["repeat"] % 2 == half for half in (0, 1))
            medians = part.loc[choose, "accuracy"].groupby(box).median()
            if len(medians) > 1:
                ends = [part.loc[score & (box == end), "accuracy"] for end in (medians.idxmax(), medians.idxmin())]
                found += _resampled(task, ends, _median_gap)
        return found

    return measure


def residual(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure residual connections minus none, draw by draw."""
    return [_gain(row.task, row._asdict()) for row in sensitivity.residual_gain(rows).itertuples()]


def optimisers(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Level that one draw in twenty passes, of every two optimisers."""
    found = []
    for task, part in _by_task(rows):
        own = {name: group["accuracy"].dropna() for name, group in part.groupby("optimiser")}
        for i, first in enumerate(own):
            for second in list(own)[i + 1 :]:
                found += _resampled(f"{task}, {first} minus {second}", [own[first], own[second]], _best_gap)
    return found


def _best_gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return 100 * (np.quantile(first, 0.95, -1) - np.quantile(second, 0.95, -1))


def against_sgd(value: Callable[[pd.DataFrame], np.ndarray], gap: Callable) -> Measure:
    """Measure something of the draws of SGD against those of each other optimiser."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        found = []
        for task, part in _by_task(rows):
            own = {name: value(group) for name, group in part.groupby("optimiser")}
            for other in set(own) - {"sgd"}:
                found += _resampled(f"{task}, {other}", [own.get("sgd", np.array([])), own[other]], gap)
        return sorted(found, key=lambda estimate: estimate.what)

    return measure


def rates_of_best(part: pd.DataFrame) -> np.ndarray:
    """Powers of ten of the learning rates of the best tenth."""
    return np.log10(part.nlargest(max(1, len(part) // 10), "accuracy")["learning_rate"].to_numpy(float))


def failed(part: pd.DataFrame) -> np.ndarray:
    """Which draws rank no better than a coin, or diverged; with one of each kind more, so that shares of 0 and 1 vary.

    The added draws are those of Agresti and Caffo (The American Statistician 54, 2000).
    """
    return np.append(part["diverged"].astype(bool) | (part["roc_auc"].fillna(0.5) < 0.6), [0, 1]).astype(float)


def batch_size(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Rank correlation; its standard error is that of Bonett and Wright (Psychometrika 65, 2000)."""
    found = []
    for task, part in _by_task(rows):
        r = part["batch_size"].corr(part["accuracy"], method="spearman")
        found.append(Estimate(task, float(r), float(np.sqrt((1 + r**2 / 2) * len(part) / (len(part) - 3))), len(part)))
    return found


def weighted(kind: str, least: float, most: float) -> Draws:
    """Choose draws of a penalty whose weight is in a range."""
    return lambda d: (d["penalty"] == kind) & d["penalty_weight"].between(least, most)


# Comparison: a repetition is a split


@dataclass(frozen=True)
class Size:
    """Accuracy, in points, of one network and the classical methods at one training size of a task."""

    task: str
    n: int
    full: bool
    network: str
    scores: pd.DataFrame  # a row a split, a column a method
    overlap: float  # n_test/n_train on the full training set, else 0

    def minus(self, what: str, first: pd.Series, second: pd.Series) -> Estimate:
        """Return a difference of two columns."""
        return Estimate.of(f"{self.task}, n = {self.n}, {what}", first - second, self.overlap)

    @property
    def classical(self) -> pd.DataFrame:
        """Return the columns of the classical methods."""
        return self.scores.drop(columns=self.network)


@_remembered
def _sizes(rows: pd.DataFrame) -> list[Size]:
    """Return every training size of every task that was not split by study, with one class weight."""
    rows = comparison.one_weight(rows[(rows["metric"] == "accuracy") & (rows["split"] != "study")])
    found = []
    for task, part in rows.groupby("task"):
        runs = part.groupby("method")["repeat"].nunique()
        network = next((name for name in NETWORKS if runs.get(name, 0) >= 2), None)
        if network is None:
            continue
        part = part[part["method"].isin([network, *METHODS])]
        is_full = part["full"].eq(True).fillna(False).astype(bool)
        sizes = part["n"].astype(float)  # of the full set the median: grouped splits do not all leave as many samples
        sizes = sizes.where(~is_full, sizes[is_full].median())
        for (n, full), same in part.groupby([sizes, is_full]):
            scores = 100 * same.pivot(index="repeat", columns="method", values="value")
            if network in scores and len(scores.columns) > 1:
                overlap = float((same["n_test"] / same["n"]).median()) if full else 0.0
                found.append(Size(task, round(n), bool(full), network, scores, overlap))
    return found


def is_pan(task: str) -> bool:
    """Tell whether a task is over all tissues or types."""
    return task.endswith(("/pan", "/type"))


def leads(of: str | None, tasks: Callable[[str], bool], sign: int = 1) -> Measure:
    """Measure a method (None: the network) minus each other on the full training set of some tasks."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        found = []
        for size in _sizes(rows):
            own = of or size.network
            if size.full and tasks(size.task) and own in size.scores:
                for other in size.scores.columns.drop(own):
                    pair = (own, other) if sign > 0 else (other, own)
                    what = " minus ".join(NETWORKS.get(name) or METHOD_LABELS[name] for name in pair)
                    found.append(size.minus(what, size.scores[pair[0]], size.scores[pair[1]]))
        return found

    return measure


def behind_at(bounds: Callable[[Claim], tuple[float, float]]) -> Measure:
    """Measure the network minus the median classical method, split by split, at the sizes in a range.

    The median, since one poor method would turn a mean, and the best would be chosen by the scores it is tested on.
    """

    def measure(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
        least, most = bounds(claim)
        return [
            size.minus(f"{NETWORKS[size.network]}", size.scores[size.network], size.classical.median(axis=1))
            for size in _sizes(rows)
            if is_pan(size.task) and least <= size.n < most
        ]

    return measure


def best_at(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
    """Measure the network minus each classical method at every size above the statement's."""
    return [
        size.minus(f"minus {METHOD_LABELS[other]}", size.scores[size.network], size.scores[other])
        for size in _sizes(rows)
        if is_pan(size.task) and size.n > claim.value
        for other in size.classical
    ]


def growing_lead(above: Callable[[Claim], float]) -> Measure:
    """Measure how far the network's lead over the median classical method grows above a size, split by split."""

    def measure(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
        found = []
        tasks = dict.fromkeys(size.task for size in _sizes(rows) if is_pan(size.task))
        for task in tasks:
            sizes = [size for size in _sizes(rows) if size.task == task and size.n >= above(claim)]
            if len(sizes) > 1:
                first, last = (s.scores[s.network] - s.classical.median(axis=1) for s in (sizes[0], sizes[-1]))
                what = f"{task}, n = {sizes[-1].n} against {sizes[0].n}"
                found.append(Estimate.of(what, last - first, sizes[-1].overlap))
        return found

    return measure


def level(task: str, method: str | None) -> Measure:
    """Measure the accuracy of a method (None: the network; "": each method) on the full training set of a task."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        found = []
        for size in _sizes(rows):
            if size.full and size.task.startswith(task) and is_pan(size.task):
                names = [method or size.network] if method != "" else list(size.scores)
                found += [
                    Estimate.of(f"{size.task}, {NETWORKS.get(n) or METHOD_LABELS[n]}", size.scores[n], size.overlap)
                    for n in names
                    if n in size.scores
                ]
        return found

    return measure


def p_values(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the p-value of the article's own test, the plain paired one, against each method."""
    return [
        Estimate(f"{size.task}, {METHOD_LABELS[other]}", test.p_raw, np.nan, test.n_pairs, exact=True)
        for size in _sizes(rows)
        if size.full and size.task == "microarray/pan"
        for other in size.classical
        if np.isfinite((test := paired(size.scores[size.network], size.scores[other])).p_raw)
    ]


# Transfer: a repetition is a fold, or a repeat where each draws samples and source anew


def _gain(what: str, row: dict, scale: float = 100) -> Estimate:
    """Return the difference of a table of paired tests, in points."""
    k, half = int(row["n_pairs"]), (row["difference_high"] - row["difference_low"]) / 2
    spread = half / special.stdtrit(k - 1, 0.975) * np.sqrt(k) if k > 1 else np.nan
    return Estimate(what, scale * row["difference"], scale * spread if spread > 1e-12 else np.nan, k)


@_remembered
def pan_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the gain with F = 0 at every target and n."""
    table = pan.summarise(main_lines(rows))
    return table[table["arm"] == "fine_tuned"]


@_remembered
def pair_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the gain of each source on each target, at every n."""
    return cancer_to_cancer.gains(rows)


@_remembered
def encoder_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the gain of the article's way of pre-training, F = 0, at every target and n."""
    table = unsupervised.summarise(unsupervised.main_lines(rows))
    return table[table["arm"] == "fine_tuned"]


@_remembered
def frozen_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the gains with frozen layers, every way of pre-training."""
    table = unsupervised.summarise(rows)
    return table[(table["arm"] == "fine_tuned") & (table["frozen"] > 0)]


def _at(n: pd.Series, which: str) -> pd.Series:
    """Choose all sizes, the smallest or the largest."""
    return {"all": n == n, "smallest": n == n.min(), "largest": n == n.max()}[which]


def of_target(gains: Callable, which: str) -> Measure:
    """Measure the gain on the statement's target, which its id begins with."""

    def measure(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
        table = gains(rows)
        names = claim.subject, claim.subject.removesuffix("-large-n"), claim.subject.replace("-", " ")
        own = table[table["target"].isin(names)]
        return [_gain(f"n = {row['n']}", row) for row in own[_at(own["n"], which)].to_dict("records")]

    return measure


def of_pair(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
    """Measure the gain of the source and target that the statement's id names, at the fewest samples."""
    source, _, target = claim.subject.replace("bone-marrow", "bone marrow").partition("-to-")
    table = pair_gains(rows)
    own = table[(table["source"] == source) & (table["target"] == target)]
    return [_gain(f"n = {row['n']}", row) for row in own[_at(own["n"], "smallest")].to_dict("records")]


def of_all(gains: Callable, chosen: Callable[[pd.DataFrame], pd.Series]) -> Measure:
    """Measure every gain of a table that is chosen."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        table = gains(rows)
        return [
            _gain(f"{row['source']} to {row['target']}, n = {row['n']}", row)
            for row in table[chosen(table)].to_dict("records")
        ]

    return measure


def other_pairs(table: pd.DataFrame) -> pd.Series:
    """Choose pairs of different cancers, less those that the article names."""
    named = [claim.subject.partition("-to-")[::2] for claim in claims().values() if "-to-" in claim.subject]
    pairs = list(zip(table["source"], table["target"], strict=True))
    return pd.Series([s != t and (s, t) not in named for s, t in pairs], index=table.index, dtype=bool)


def over_targets(gains: Callable, chosen: Callable[[pd.DataFrame], pd.Series], each: str) -> Measure:
    """Measure mean gains over targets, which are the repetitions here."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        table = gains(rows)
        table = table[chosen(table)]
        by = table.groupby([each, "target"])["difference"].mean()
        return [Estimate.of(f"{each} = {key}", 100 * part) for key, part in by.groupby(level=0)]

    return measure


def smaller_n(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the gain at the largest n minus that at the smallest; targets are the repetitions."""
    gains = pan_gains(rows).pivot_table(index="target", columns="n", values="difference").dropna()
    if gains.shape[1] < 2 or gains.empty:
        return []
    what = f"n = {gains.columns.max()} against {gains.columns.min()}"
    return [Estimate.of(what, 100 * (gains[gains.columns.max()] - gains[gains.columns.min()]))]


# Between origins: a repetition is a repeat, which has samples and a source network of its own

PATIENT, CELL_LINE = "patient", "cell_line"


@_remembered
def _fig4(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of Fig. 4 that hold accuracy."""
    rows = cell_lines_and_patients.fig4(rows)
    return rows[rows["metric"] == "accuracy"]


@_remembered
def _origin_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Arrange the gains of Fig. 4 in points: a row a target, n and repeat, a column an F."""
    rows, axes = _fig4(rows), ["target", "n", "repeat"]
    baseline = rows[rows["arm"] == "baseline"].groupby(axes)["value"].mean()
    tuned = rows[rows["arm"] == "fine_tuned"].groupby([*axes, "frozen"])["value"].mean().unstack("frozen")
    return 100 * tuned.sub(baseline, axis=0)


def gains_to(targets: Sequence[str], sizes: Callable[[str, int], bool]) -> Measure:
    """Measure the gain with F = 0 towards some domains at the sizes chosen by (target, n)."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        gains = _origin_gains(rows)
        return [
            Estimate.of(f"to {target}, n = {n}", part)
            for (target, n), part in (gains[0].groupby(level=[0, 1]) if 0 in gains else ())
            if target in targets and sizes(target, n)
        ]

    return measure


def helps_below(target: str) -> float:
    """Return the number of samples below which the article says that pre-training helps."""
    return stated(f"cell-lines-and-patients/to-{target.replace('_', '-')}s-helps")


def largest_gain(target: str) -> Measure:
    """Measure the largest of the mean gains over n, as a share of 1 as the article prints it."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        gains = _origin_gains(rows)
        means = gains.loc[target, 0].groupby(level=0).mean() if 0 in gains and target in gains.index else []
        if not len(means):
            return []
        largest = gains.loc[(target, means.idxmax()), 0] / 100
        return [Estimate.of(f"n = {means.idxmax()}", largest, extreme_of=len(means))]

    return measure


def _by_repeat(gains: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over the sizes, a row a target and repeat."""
    return gains.groupby(level=["target", "repeat"]).mean()


def better_direction(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the gain to cell lines minus that to patients, means over n."""
    gains = _by_repeat(_origin_gains(rows))
    if not {PATIENT, CELL_LINE} <= set(gains.index.get_level_values(0)) or 0 not in gains:
        return []
    return [Estimate.of("mean over n, F = 0", gains.loc[CELL_LINE, 0] - gains.loc[PATIENT, 0])]


def frozen_order(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure F = 0 minus F = 1 and F = 1 minus each larger F, means over n."""
    gains = _by_repeat(_origin_gains(rows))
    pairs = [(0, 1), *((1, more) for more in gains.columns if more > 1)]
    return [
        Estimate.of(f"to {target}, F = {less} minus F = {more}", part[less] - part[more])
        for target, part in gains.groupby(level=0)
        for less, more in pairs
        if {less, more} <= set(gains)
    ]


def frozen_harm(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the lowest mean gain over n of each curve with frozen layers."""
    gains, found = _origin_gains(rows), []
    for frozen in [depth for depth in gains.columns if depth > 0]:
        for target, part in gains[frozen].dropna().groupby(level=0):
            means = part.groupby(level="n").mean()
            lowest, what = part.xs(means.idxmin(), level="n"), f"to {target}, F = {frozen}, n = {means.idxmin()}"
            found.append(Estimate.of(what, lowest, extreme_of=len(means)))
    return found


def accuracy_at_fewest(target: str, arm: str) -> Measure:
    """Measure an arm's accuracy at the fewest target samples, F = 0."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        rows = _fig4(rows)
        rows = rows[(rows["arm"] == arm) & (rows["target"] == target) & (rows["frozen"].fillna(0) == 0)]
        rows = rows[rows["n"] == rows["n"].min()]
        return [Estimate.of(f"n = {rows['n'].iloc[0]}", 100 * rows["value"])] if len(rows) else []

    return measure


def _untouched(rows: pd.DataFrame, source: str, target: str) -> pd.Series:
    """Return the accuracy, in points by repeat, of a domain's network as it is on a domain's test samples."""
    rows = cell_lines_and_patients.headline(rows)
    arm = cell_lines_and_patients.OWN if source == target else "zero_shot"
    rows = rows[(rows["arm"] == arm) & (rows["metric"] == "accuracy")]
    rows = rows[(rows["source"] == source) & (rows["target"] == target)]
    return 100 * rows.groupby("repeat")["value"].mean()


def table5(source: str, target: str) -> Measure:
    """Measure the accuracy of one domain's network on the test samples of a domain."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        values = _untouched(rows, source, target)
        return [Estimate.of(f"{source} on {target}", values)] if len(values) else []

    return measure


def easier(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure each domain's own network on it: cell lines minus patients."""
    gap = _untouched(rows, CELL_LINE, CELL_LINE) - _untouched(rows, PATIENT, PATIENT)
    return [Estimate.of("own networks", gap)] if len(gap) else []


def majority(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the baseline minus the share of the larger class, at the fewest target samples."""
    rows = _fig4(rows)
    rows = rows[rows["arm"] == "baseline"]
    rows = rows[rows["n"] == rows["n"].min()]
    larger = rows["test_cancer"].where(rows["test_cancer"] > 0.5, 1 - rows["test_cancer"])
    gap = 100 * (rows["value"] - larger)
    return [Estimate.of(f"to {target}, n = {rows['n'].min()}", part) for target, part in gap.groupby(rows["target"])]


def epochs(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the epochs of fine-tuning, F = 0, minus those of the baseline."""
    table = cell_lines_and_patients.epochs(cell_lines_and_patients.fig4(rows))
    table = table[table["frozen"] == 0]
    return [_gain(f"to {row['target']}, n = {row['n']}", row, scale=1) for row in table.to_dict("records")]


def less_than_origins(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the mean gain between origins minus that from all cancers to one, at the fewest samples of each."""
    own, other = (rows[rows["experiment"] == name] for name in ("pan_to_specific", "cell_lines_and_patients"))
    if own.empty or other.empty:
        return []
    gains = pan_gains(own)
    gains = 100 * gains.loc[_at(gains["n"], "smallest"), "difference"].to_numpy()
    between = _origin_gains(other)[0]
    between = between.xs(between.index.get_level_values("n").min(), level="n").to_numpy()
    if min(len(gains), len(between)) < 2:
        return []
    parts = gains.var(ddof=1) / len(gains), between.var(ddof=1) / len(between)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(gains) - 1) + parts[1] ** 2 / (len(between) - 1))  # Welch's
    spread = np.sqrt(sum(parts) * (freedom + 1))
    return [Estimate("fewest samples", float(between.mean() - gains.mean()), float(spread), int(freedom) + 1)]
