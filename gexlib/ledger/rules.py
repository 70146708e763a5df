"""What is measured for each statement of the article.

A `Rule` turns the tidy rows of a section into the quantities that a statement speaks of. Where these should lie follows
from the statement's type, value and margin in ``book/published.csv``: no number of the article is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, wraps

import numpy as np
import pandas as pd
from scipy import special

from gexlib.baselines import METHODS
from gexlib.errors import InputError
from gexlib.experiments import cancer_to_cancer, cell_lines_and_patients, comparison, data, sensitivity, unsupervised
from gexlib.experiments import pan_to_specific as pan
from gexlib.experiments.transfers import main_lines
from gexlib.figures import METHOD_LABELS
from gexlib.files import project_root
from gexlib.ledger.evidence import Estimate, Region
from gexlib.statistics import paired

#: Networks of the comparison, the article's own way first; a rule speaks of the first with two splits or more.
NETWORKS = {
    "nn_paper": "network tuned once",
    "nn_inner": "network tuned inside",
    comparison.NETWORK: "default network",
}
RESAMPLES = 999
#: "No difference" within this many points, where a statement has no margin of its own (the protocol's).
MARGIN = 1.0


@dataclass(frozen=True)
class Claim:
    """A statement of the article, a row of ``book/published.csv``; value and margin are NaN where it has none."""

    id: str
    section: str
    statement: str
    type: str
    value: float
    text: str
    unit: str
    margin: float
    cohorts: tuple[str, ...]
    where: str

    @property
    def subject(self) -> str:
        """What of the section it is about: a target, a pair, a name."""
        return self.id.partition("/")[2]


@cache
def claims() -> dict[str, Claim]:
    """Return all statements by id.

    Raises
    ------
    InputError
        The file is not there.
    """
    path = project_root() / "book" / "published.csv"
    if not path.is_file():
        raise InputError(f"{path} is not there; restore it, as with git, or run this inside a clone of the project.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = table[["value", "margin"]].apply(pd.to_numeric, errors="coerce")
    return {
        row.id: Claim(
            row.id, row.section, row.statement, row.type, numbers["value"][i], row.value, row.unit,
            numbers["margin"][i], tuple(row.cohorts.split(";")), row.where,
        )
        for i, row in enumerate(table.itertuples())
    }  # fmt: skip


def stated(identifier: str) -> float:
    """Return a statement's number."""
    return claims()[identifier].value


def by_type(claim: Claim) -> Region:
    """Return where a statement's type puts its quantities."""
    match claim.type, claim.text:
        case "value", _:
            return Region(claim.value - claim.margin, claim.value + claim.margin)
        case "no difference", _:
            return Region(-claim.margin, claim.margin)
        case ("order", _) | ("direction", "up"):
            return Region(low=0)
        case "direction", "down":
            return Region(high=0)
    raise ValueError(f"{claim.id}: a {claim.type} needs a rule that says where its quantities lie")


def above_zero(_: Claim) -> Region:
    """Return the region of what is positive."""
    return Region(low=0)


def below_zero(_: Claim) -> Region:
    """Return the region of what is negative."""
    return Region(high=0)


def never_above(_: Claim) -> Region:
    """Return the region of what is not positive, or equal to 0 within the margin."""
    return Region(high=0, slack=MARGIN)


def below_value(claim: Claim) -> Region:
    """Return the region of what is below the statement's number."""
    return Region(high=claim.value)


def costs_less(claim: Claim) -> Region:
    """Return the region of gains that are losses of less than the statement's number."""
    return Region(low=-claim.value)


Measure = Callable[[pd.DataFrame, Claim], list[Estimate]]


@dataclass(frozen=True)
class Rule:
    """How a statement is decided.

    Attributes
    ----------
    quantity : str
        What is measured, in words; the ledger prints it.
    measure : callable
        (rows of one cohort, claim) -> estimates, in `unit`; none where the rows cannot say.
    region : callable
        claim -> where they should lie.
    share : float
        Of the quantities, how many should (see `evidence.outcome`).
    unit : str
    repetition : str
        What a repetition is where it is not the section's (`REPETITIONS`).
    """

    quantity: str
    measure: Measure
    region: Callable[[Claim], Region] = by_type
    share: float = 1.0
    unit: str = "points"
    repetition: str = ""


#: What the intervals of a section are about.
REPETITIONS = {
    "data": "samples",
    "sensitivity": "draws",
    "comparison": "splits",
    "cell-lines-and-patients": "repeats",
    "pan-to-specific": "folds",
    "cancer-to-cancer": "folds",
    "unsupervised": "folds",
}


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


def _cancer_share(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
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


def _medians(pairs: dict[str, tuple[Draws, Draws]], tasks: str = "") -> Measure:
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


def _deep_decline(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
    deep = {"deeper minus not deeper": (lambda d: d["layers"] > claim.value, lambda d: d["layers"] <= claim.value)}
    return _medians(deep)(rows, claim)


def _batch_norm(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
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


def _range(name: str, boxes: int | None = None) -> Measure:
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


def _residual(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    return [_gain(row.task, row._asdict()) for row in sensitivity.residual_gain(rows).itertuples()]


def _optimisers(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
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


def _against_sgd(value: Callable[[pd.DataFrame], np.ndarray], gap: Callable) -> Measure:
    """Measure something of the draws of SGD against those of each other optimiser."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        found = []
        for task, part in _by_task(rows):
            own = {name: value(group) for name, group in part.groupby("optimiser")}
            for other in set(own) - {"sgd"}:
                found += _resampled(f"{task}, {other}", [own.get("sgd", np.array([])), own[other]], gap)
        return sorted(found, key=lambda estimate: estimate.what)

    return measure


def _rates_of_best(part: pd.DataFrame) -> np.ndarray:
    """Powers of ten of the learning rates of the best tenth."""
    return np.log10(part.nlargest(max(1, len(part) // 10), "accuracy")["learning_rate"].to_numpy(float))


def _failed(part: pd.DataFrame) -> np.ndarray:
    """Which draws rank no better than a coin, or diverged; with one of each kind more, so that shares of 0 and 1 vary.

    The added draws are those of Agresti and Caffo (The American Statistician 54, 2000).
    """
    return np.append(part["diverged"].astype(bool) | (part["roc_auc"].fillna(0.5) < 0.6), [0, 1]).astype(float)


def _batch_size(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Rank correlation; its standard error is that of Bonett and Wright (Psychometrika 65, 2000)."""
    found = []
    for task, part in _by_task(rows):
        r = part["batch_size"].corr(part["accuracy"], method="spearman")
        found.append(Estimate(task, float(r), float(np.sqrt((1 + r**2 / 2) * len(part) / (len(part) - 3))), len(part)))
    return found


def _weighted(kind: str, least: float, most: float) -> Draws:
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


def _is_pan(task: str) -> bool:
    return task.endswith(("/pan", "/type"))


def _leads(of: str | None, tasks: Callable[[str], bool], sign: int = 1) -> Measure:
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


def _behind_at(bounds: Callable[[Claim], tuple[float, float]]) -> Measure:
    """Measure the network minus the median classical method, split by split, at the sizes in a range.

    The median, since one poor method would turn a mean, and the best would be chosen by the scores it is tested on.
    """

    def measure(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
        least, most = bounds(claim)
        return [
            size.minus(f"{NETWORKS[size.network]}", size.scores[size.network], size.classical.median(axis=1))
            for size in _sizes(rows)
            if _is_pan(size.task) and least <= size.n < most
        ]

    return measure


def _best_at(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
    """Measure the network minus each classical method at every size above the statement's."""
    return [
        size.minus(f"minus {METHOD_LABELS[other]}", size.scores[size.network], size.scores[other])
        for size in _sizes(rows)
        if _is_pan(size.task) and size.n > claim.value
        for other in size.classical
    ]


def _growing_lead(above: Callable[[Claim], float]) -> Measure:
    """Measure how far the network's lead over the median classical method grows above a size, split by split."""

    def measure(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
        found = []
        tasks = dict.fromkeys(size.task for size in _sizes(rows) if _is_pan(size.task))
        for task in tasks:
            sizes = [size for size in _sizes(rows) if size.task == task and size.n >= above(claim)]
            if len(sizes) > 1:
                first, last = (s.scores[s.network] - s.classical.median(axis=1) for s in (sizes[0], sizes[-1]))
                what = f"{task}, n = {sizes[-1].n} against {sizes[0].n}"
                found.append(Estimate.of(what, last - first, sizes[-1].overlap))
        return found

    return measure


def _level(task: str, method: str | None) -> Measure:
    """Measure the accuracy of a method (None: the network; "": each method) on the full training set of a task."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        found = []
        for size in _sizes(rows):
            if size.full and size.task.startswith(task) and _is_pan(size.task):
                names = [method or size.network] if method != "" else list(size.scores)
                found += [
                    Estimate.of(f"{size.task}, {NETWORKS.get(n) or METHOD_LABELS[n]}", size.scores[n], size.overlap)
                    for n in names
                    if n in size.scores
                ]
        return found

    return measure


def _p_values(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
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
def _pan_gains(rows: pd.DataFrame) -> pd.DataFrame:
    table = pan.summarise(main_lines(rows))
    return table[table["arm"] == "fine_tuned"]


@_remembered
def _pair_gains(rows: pd.DataFrame) -> pd.DataFrame:
    return cancer_to_cancer.gains(rows)


@_remembered
def _encoder_gains(rows: pd.DataFrame) -> pd.DataFrame:
    table = unsupervised.summarise(unsupervised.main_lines(rows))
    return table[table["arm"] == "fine_tuned"]


@_remembered
def _frozen_gains(rows: pd.DataFrame) -> pd.DataFrame:
    table = unsupervised.summarise(rows)
    return table[(table["arm"] == "fine_tuned") & (table["frozen"] > 0)]


def _at(n: pd.Series, which: str) -> pd.Series:
    """Choose all sizes, the smallest or the largest."""
    return {"all": n == n, "smallest": n == n.min(), "largest": n == n.max()}[which]


def _of_target(gains: Callable, which: str) -> Measure:
    """Measure the gain on the statement's target, which its id begins with."""

    def measure(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
        table = gains(rows)
        names = claim.subject, claim.subject.removesuffix("-large-n"), claim.subject.replace("-", " ")
        own = table[table["target"].isin(names)]
        return [_gain(f"n = {row['n']}", row) for row in own[_at(own["n"], which)].to_dict("records")]

    return measure


def _of_pair(rows: pd.DataFrame, claim: Claim) -> list[Estimate]:
    source, _, target = claim.subject.replace("bone-marrow", "bone marrow").partition("-to-")
    table = _pair_gains(rows)
    own = table[(table["source"] == source) & (table["target"] == target)]
    return [_gain(f"n = {row['n']}", row) for row in own[_at(own["n"], "smallest")].to_dict("records")]


def _of_all(gains: Callable, chosen: Callable[[pd.DataFrame], pd.Series]) -> Measure:
    """Measure every gain of a table that is chosen."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        table = gains(rows)
        return [
            _gain(f"{row['source']} to {row['target']}, n = {row['n']}", row)
            for row in table[chosen(table)].to_dict("records")
        ]

    return measure


def _other_pairs(table: pd.DataFrame) -> pd.Series:
    """Choose pairs of different cancers, less those that the article names."""
    named = [claim.subject.partition("-to-")[::2] for claim in claims().values() if "-to-" in claim.subject]
    pairs = list(zip(table["source"], table["target"], strict=True))
    return pd.Series([s != t and (s, t) not in named for s, t in pairs], index=table.index, dtype=bool)


def _over_targets(gains: Callable, chosen: Callable[[pd.DataFrame], pd.Series], each: str) -> Measure:
    """Measure mean gains over targets, which are the repetitions here."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        table = gains(rows)
        table = table[chosen(table)]
        by = table.groupby([each, "target"])["difference"].mean()
        return [Estimate.of(f"{each} = {key}", 100 * part) for key, part in by.groupby(level=0)]

    return measure


def _smaller_n(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the gain at the largest n minus that at the smallest; targets are the repetitions."""
    gains = _pan_gains(rows).pivot_table(index="target", columns="n", values="difference").dropna()
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


def _gains_to(targets: Sequence[str], sizes: Callable[[str, int], bool]) -> Measure:
    """Measure the gain with F = 0 towards some domains at the sizes chosen by (target, n)."""

    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        gains = _origin_gains(rows)
        return [
            Estimate.of(f"to {target}, n = {n}", part)
            for (target, n), part in (gains[0].groupby(level=[0, 1]) if 0 in gains else ())
            if target in targets and sizes(target, n)
        ]

    return measure


def _helps_below(target: str) -> float:
    """Return the number of samples below which the article says that pre-training helps."""
    return stated(f"cell-lines-and-patients/to-{target.replace('_', '-')}s-helps")


def _largest_gain(target: str) -> Measure:
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


def _better_direction(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    gains = _by_repeat(_origin_gains(rows))
    if not {PATIENT, CELL_LINE} <= set(gains.index.get_level_values(0)) or 0 not in gains:
        return []
    return [Estimate.of("mean over n, F = 0", gains.loc[CELL_LINE, 0] - gains.loc[PATIENT, 0])]


def _frozen_order(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure F = 0 minus F = 1 and F = 1 minus each larger F, means over n."""
    gains = _by_repeat(_origin_gains(rows))
    pairs = [(0, 1), *((1, more) for more in gains.columns if more > 1)]
    return [
        Estimate.of(f"to {target}, F = {less} minus F = {more}", part[less] - part[more])
        for target, part in gains.groupby(level=0)
        for less, more in pairs
        if {less, more} <= set(gains)
    ]


def _frozen_harm(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the lowest mean gain over n of each curve with frozen layers."""
    gains, found = _origin_gains(rows), []
    for frozen in [depth for depth in gains.columns if depth > 0]:
        for target, part in gains[frozen].dropna().groupby(level=0):
            means = part.groupby(level="n").mean()
            lowest, what = part.xs(means.idxmin(), level="n"), f"to {target}, F = {frozen}, n = {means.idxmin()}"
            found.append(Estimate.of(what, lowest, extreme_of=len(means)))
    return found


def _accuracy_at_fewest(target: str, arm: str) -> Measure:
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


def _table5(source: str, target: str) -> Measure:
    def measure(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
        values = _untouched(rows, source, target)
        return [Estimate.of(f"{source} on {target}", values)] if len(values) else []

    return measure


def _easier(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    gap = _untouched(rows, CELL_LINE, CELL_LINE) - _untouched(rows, PATIENT, PATIENT)
    return [Estimate.of("own networks", gap)] if len(gap) else []


def _majority(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the baseline minus the share of the larger class, at the fewest target samples."""
    rows = _fig4(rows)
    rows = rows[rows["arm"] == "baseline"]
    rows = rows[rows["n"] == rows["n"].min()]
    larger = rows["test_cancer"].where(rows["test_cancer"] > 0.5, 1 - rows["test_cancer"])
    gap = 100 * (rows["value"] - larger)
    return [Estimate.of(f"to {target}, n = {rows['n'].min()}", part) for target, part in gap.groupby(rows["target"])]


def _epochs(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the epochs of fine-tuning, F = 0, minus those of the baseline."""
    table = cell_lines_and_patients.epochs(cell_lines_and_patients.fig4(rows))
    table = table[table["frozen"] == 0]
    return [_gain(f"to {row['target']}, n = {row['n']}", row, scale=1) for row in table.to_dict("records")]


def _less_than_origins(rows: pd.DataFrame, _: Claim) -> list[Estimate]:
    """Measure the mean gain between origins minus that from all cancers to one, at the fewest samples of each."""
    own, other = (rows[rows["experiment"] == name] for name in ("pan_to_specific", "cell_lines_and_patients"))
    if own.empty or other.empty:
        return []
    gains = _pan_gains(own)
    gains = 100 * gains.loc[_at(gains["n"], "smallest"), "difference"].to_numpy()
    between = _origin_gains(other)[0]
    between = between.xs(between.index.get_level_values("n").min(), level="n").to_numpy()
    if min(len(gains), len(between)) < 2:
        return []
    parts = gains.var(ddof=1) / len(gains), between.var(ddof=1) / len(between)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(gains) - 1) + parts[1] ** 2 / (len(between) - 1))  # Welch's
    spread = np.sqrt(sum(parts) * (freedom + 1))
    return [Estimate("fewest samples", float(between.mean() - gains.mean()), float(spread), int(freedom) + 1)]


#: What the authors chose or had: nothing that other samples could confirm or contradict.
DESIGN = frozenset(
    """
    study/tasks study/networks
    data/source-arrays data/microarray-genes data/microarray-tissue-size data/microarray-tasks data/microarray-tissues
    data/microarray-class-ratio data/microarray-train data/microarray-test data/tcga-project-size data/tcga-tasks
    data/tcga-without-normals data/tcga-train data/tcga-test-status data/tcga-test-type data/target-smallest
    data/target-largest sensitivity/draws sensitivity/fit-share comparison/inner-folds comparison/specific-smallest
    comparison/specific-largest cell-lines-and-patients/repeats cell-lines-and-patients/cell-lines-n
    cell-lines-and-patients/patients-n cell-lines-and-patients/smallest-n cell-lines-and-patients/largest-n
    cell-lines-and-patients/most-frozen pan-to-specific/folds unsupervised/labelled
    unsupervised/unlabelled-microarray unsupervised/unlabelled-tcga
    """.split()
)

_SMALL, _LARGE = "comparison/small-n", "comparison/large-n"
_FEWEST, _EVERY = "gain at the fewest target samples", "gain at every number of target samples"

RULES: dict[str, Rule] = {
    "data/tcga-cancer-share": Rule("share of cancer samples", _cancer_share, unit="percent"),
    # sensitivity
    "sensitivity/layers-range": Rule(
        "median accuracy of the best number of layers minus the worst, chosen and measured on different draws",
        _range("layers"),
        below_value,
    ),
    "sensitivity/neurons-range": Rule(
        "median accuracy of the best eighth of the numbers of neurons minus the worst, each on draws of its own",
        _range("neurons", boxes=8),
        below_value,
    ),
    "sensitivity/small-networks": Rule(
        "median accuracy of the third of draws with the fewest neurons minus that with the most, type task",
        _medians(
            {
                "small minus large": (
                    lambda d: d["neurons"] <= d["neurons"].quantile(1 / 3),
                    lambda d: d["neurons"] >= d["neurons"].quantile(2 / 3),
                )
            },
            "/type",
        ),
    ),
    "sensitivity/deep-decline": Rule(
        "median accuracy of deeper networks minus that of the others", _deep_decline, below_zero
    ),
    "sensitivity/residual": Rule("accuracy with residual connections minus without, same draws", _residual),
    "sensitivity/tcga-status-layers": Rule(
        "median accuracy with four layers minus that with one, status task",
        _medians({"four minus one": (lambda d: d["layers"] == 4, lambda d: d["layers"] == 1)}, "/pan"),
    ),
    "sensitivity/optimisers": Rule("accuracy that one draw in twenty passes, an optimiser minus another", _optimisers),
    "sensitivity/learning-rate": Rule(
        "learning rate of SGD over that of the other, median of the best tenth of draws",
        _against_sgd(_rates_of_best, lambda sgd, other: np.median(sgd, -1) - np.median(other, -1)),
        unit="powers of ten",
    ),
    "sensitivity/sgd-stable": Rule(
        "share of draws that fail, the other minus SGD",
        _against_sgd(_failed, lambda sgd, other: 100 * (other.mean(-1) - sgd.mean(-1))),
    ),
    "sensitivity/batch-norm": Rule(
        "median accuracy with batch normalisation minus without: type task, and against other tasks", _batch_norm
    ),
    "sensitivity/batch-size": Rule("rank correlation of batch size and accuracy", _batch_size, unit="rank correlation"),
    "sensitivity/regularisation-small": Rule(
        "median accuracy with little regularisation minus next to none",
        _medians(
            {
                "dropout": (lambda d: d["dropout"].between(0.1, 0.3), lambda d: d["dropout"] < 0.1),
                "L1": (_weighted("l1", 1e-7, 1e-5), _weighted("l1", 0, 0)),
            }
        ),
    ),
    "sensitivity/regularisation-large": Rule(
        "median accuracy with strong regularisation minus weak",
        _medians(
            {
                "dropout": (lambda d: d["dropout"] > 0.6, lambda d: d["dropout"] < 0.3),
                "L1": (_weighted("l1", 1e-2, 1), _weighted("l1", 0, 1e-5)),
            }
        ),
    ),
    "sensitivity/l2": Rule(
        "median accuracy with L2 minus L1 of the same weight",
        _medians({f"{w:g}": (_weighted("l2", w, w), _weighted("l1", w, w)) for w in (1e-6, 1e-4, 1e-2)}),
    ),
    # comparison
    "comparison/nn-first": Rule("accuracy of the network minus each other method", _leads(None, _is_pan)),
    "comparison/microarray-nn": Rule("accuracy of the network", _level("microarray/pan", None)),
    "comparison/microarray-svm-rbf": Rule("accuracy of the Gaussian SVM", _level("microarray/pan", "svm_rbf")),
    "comparison/microarray-p": Rule(
        "p-value of the paired test of the network with each method", _p_values, below_value, unit="p"
    ),
    "comparison/tcga-status": Rule(
        "accuracy of the network minus each other method", _leads(None, lambda task: task == "tcga/pan")
    ),
    "comparison/tcga-type": Rule(
        "accuracy of the network minus each other method", _leads(None, lambda task: task == "tcga/type")
    ),
    "comparison/lasso": Rule("accuracy of each other method minus LASSO", _leads("lasso", _is_pan, sign=-1)),
    "comparison/tcga-accuracy": Rule("accuracy of each method", _level("tcga", "")),
    _SMALL: Rule(
        "accuracy of the network minus the median classical method, at each size below",
        _behind_at(lambda claim: (0, claim.value)),
        below_zero,
    ),
    "comparison/middle-n": Rule(
        "accuracy of the network minus the median classical method, at each size between",
        _behind_at(lambda claim: (stated(_SMALL), stated(_LARGE) + 1)),
    ),
    _LARGE: Rule("accuracy of the network minus each classical method, at each size above", _best_at, above_zero),
    "comparison/gap": Rule(
        "lead of the network over the median classical method, largest size minus smallest above",
        _growing_lead(lambda claim: stated(_LARGE)),
    ),
    "comparison/classical-flat": Rule(
        "growth of the network's accuracy minus that of the median classical method, above",
        _growing_lead(lambda claim: claim.value),
        above_zero,
    ),
    "comparison/specific": Rule(
        "accuracy of the network minus each other method, every single-cancer task",
        _leads(None, lambda task: not _is_pan(task)),
    ),
    # between origins
    "cell-lines-and-patients/cell-lines-on-cell-lines": Rule("accuracy", _table5(CELL_LINE, CELL_LINE)),
    "cell-lines-and-patients/cell-lines-on-patients": Rule("accuracy", _table5(CELL_LINE, PATIENT)),
    "cell-lines-and-patients/patients-on-patients": Rule("accuracy", _table5(PATIENT, PATIENT)),
    "cell-lines-and-patients/patients-on-cell-lines": Rule("accuracy", _table5(PATIENT, CELL_LINE)),
    "cell-lines-and-patients/cell-lines-easier": Rule("accuracy on cell lines minus on patients", _easier),
    **{
        f"cell-lines-and-patients/to-{label}-{name}": Rule("accuracy", _accuracy_at_fewest(target, arm))
        for label, target in (("patients", PATIENT), ("cell-lines", CELL_LINE))
        for name, arm in (("baseline", "baseline"), ("fine-tuned", "fine_tuned"))
    },
    **{
        f"cell-lines-and-patients/to-{label}-helps": Rule(
            "gain at each number of target samples below",
            _gains_to([target], lambda target, n: n < _helps_below(target)),
            above_zero,
        )
        for label, target in (("patients", PATIENT), ("cell-lines", CELL_LINE))
    },
    "cell-lines-and-patients/after-threshold": Rule(
        "gain at each number of target samples from there on",
        _gains_to([PATIENT, CELL_LINE], lambda target, n: n >= _helps_below(target)),
    ),
    "cell-lines-and-patients/to-patients-gain": Rule("largest mean gain", _largest_gain(PATIENT), unit="accuracy"),
    "cell-lines-and-patients/to-cell-lines-gain": Rule("largest mean gain", _largest_gain(CELL_LINE), unit="accuracy"),
    "cell-lines-and-patients/better-direction": Rule("gain to cell lines minus gain to patients", _better_direction),
    "cell-lines-and-patients/frozen-order": Rule("gain with fewer frozen layers minus with more", _frozen_order),
    "cell-lines-and-patients/frozen-harm": Rule("lowest gain of each curve with frozen layers", _frozen_harm),
    "cell-lines-and-patients/baseline-majority": Rule(
        "accuracy of the baseline minus the share of the larger class, fewest target samples", _majority
    ),
    "cell-lines-and-patients/epochs": Rule(
        "epochs of fine-tuning minus those of the baseline", _epochs, below_zero, unit="epochs"
    ),
    # from all cancers to one
    **{
        claim.id: Rule(
            _EVERY if claim.type == "no difference" else _FEWEST,
            _of_target(_pan_gains, "all" if claim.type == "no difference" else "smallest"),
        )
        for claim in claims().values()
        if claim.section == "pan-to-specific" and claim.where.startswith("From") and claim.type != "threshold"
    },
    **{
        f"pan-to-specific/{target}-large-n": Rule(
            "gain at the most target samples", _of_target(_pan_gains, "largest"), costs_less
        )
        for target in ("lung", "HNSC", "UCEC")
    },
    "pan-to-specific/smaller-n-more-gain": Rule(
        "mean gain over targets, at the most samples minus at the fewest", _smaller_n, repetition="cancers"
    ),
    "pan-to-specific/less-than-origins": Rule("gain between origins minus gain to one cancer", _less_than_origins),
    # from one cancer to another
    **{
        claim.id: Rule(_FEWEST, _of_pair)
        for claim in claims().values()
        if "-to-" in claim.subject and claim.section == "cancer-to-cancer"
    },
    "cancer-to-cancer/diagonal": Rule(
        "gain where source and target are one cancer, mean over cancers, each size",
        _over_targets(_pair_gains, lambda t: t["source"] == t["target"], "n"),
        repetition="cancers",
    ),
    "cancer-to-cancer/others": Rule(
        "gain of each pair of cancers at each size; most of them", _of_all(_pair_gains, _other_pairs), share=0.5
    ),
    "cancer-to-cancer/harm": Rule(
        "gain of each pair of cancers at each size; 95 % of them",
        _of_all(_pair_gains, lambda t: t["source"] != t["target"]),
        lambda claim: Region(low=-claim.margin),
        share=0.95,
    ),
    # denoising autoencoders
    **{
        claim.id: Rule(
            _EVERY if claim.type == "no difference" else _FEWEST,
            _of_target(_encoder_gains, "all" if claim.type == "no difference" else "smallest"),
        )
        for claim in claims().values()
        if claim.section == "unsupervised" and ", Fig. " in claim.where
    },
    "unsupervised/never-above": Rule(
        "gain on each target at each number of samples", _of_all(_encoder_gains, lambda t: t["n"] > 0), never_above
    ),
    "unsupervised/frozen": Rule(
        "gain with frozen layers, mean over targets and sizes",
        _over_targets(_frozen_gains, lambda t: t["frozen"] > 0, "frozen"),
        repetition="cancers",
    ),
}
