"""Paired tests, intervals and the comparison tables of the study.

The tests are those of the article (raw paired t-test) and those its design lacks: intervals,
Benjamini-Hochberg adjustment, the corrected resampled t-test, equivalence. They come from scipy and
statsmodels; what is written here is the pairing, and the cases in which a test has nothing to say.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats import contingency_tables

from gexlib.errors import InputError

LOWER_IS_BETTER = {"log_loss"}
#: Columns that name an arm of a transfer experiment; "scaler" is empty where the rows know none.
ARM_AXES = ["cohort", "split", "source", "target", "n", "arm", "frozen", "method", "scaler"]
# Columns that say nothing about which measurement a row is.
_RECORD = set("value metric seconds date key cell commit dirty fingerprint versions n_cancer n_normal".split())


class Paired(NamedTuple):
    """Mean difference of pairs, its 95 % interval, the two-sided p-value and the number of pairs."""

    difference: float
    difference_low: float
    difference_high: float
    p_raw: float
    n_pairs: int


def _differences(a, b=0.0):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if b.ndim and a.shape != b.shape:
        raise InputError(f"The two samples hold {a.size} and {b.size} values: give one of each a pair.")
    return (a - b)[np.isfinite(a - b)]


def _constant(values):
    """Tell whether the values differ by rounding only, as 0.9 - 0.8 and 0.8 - 0.7 do."""
    return np.ptp(values) <= 1e-12 * max(1.0, np.abs(values).max())


def _standard_error(differences, extra):
    """Return the standard error of the mean, from s^2 (1/k + extra); extra is n_test/n_train of splits that overlap."""
    return differences.std(ddof=1) * np.sqrt(1 / len(differences) + extra)


def _t_test(differences, extra=0.0):
    k = len(differences)
    mean = float(differences.mean()) if k else np.nan
    if k < 2:
        return Paired(mean, np.nan, np.nan, np.nan, k)
    if _constant(differences):
        return Paired(mean, mean, mean, 1.0, k)
    error = _standard_error(differences, extra)
    # Student's t without the checks of scipy.stats, which take longer than all else in a table of hundreds of tests
    half = special.stdtrit(k - 1, 0.975) * error
    return Paired(mean, float(mean - half), float(mean + half), float(2 * special.stdtr(k - 1, -abs(mean) / error)), k)


def paired(a, b):
    """Paired t-test of ``a - b``, as the article compares methods and pre-training.

    Parameters
    ----------
    a, b : array-like, shape (n_pairs,)
        Scores of the two arms. A pair with a missing value is left out.

    Returns
    -------
    Paired
        Fewer than two pairs: interval and p are NaN. All differences equal: nothing is known about their
        spread, so p is 1 and the interval is a point.
    """
    return _t_test(_differences(a, b))


def corrected_resampled_t(differences, n_train, n_test):
    """Corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003).

    Splits of one sample share most of their training samples, which makes the plain test too certain: the
    variance of the mean grows from s^2/k to s^2 (1/k + n_test/n_train). For splits of the full sample, not
    for small subsets of it.

    Parameters
    ----------
    differences : array-like, shape (n_splits,)
    n_train, n_test : int
        Samples on the two sides of a split.

    Returns
    -------
    Paired
    """
    if min(n_train, n_test) <= 0:
        raise InputError(f"A split into {n_train} and {n_test} samples has an empty side: give both sizes.")
    return _t_test(_differences(differences), n_test / n_train)


def mean_interval(values):
    """Return the 95 % t interval of the mean, (low, high); NaN with fewer than two values."""
    return _t_test(_differences(values))[1:3]


def bootstrap_interval(values, seed):
    """Return the 95 % bootstrap interval of the mean (BCa, 9,999 draws), (low, high); a point if constant."""
    values = _differences(values)
    if len(values) < 2 or _constant(values):
        return mean_interval(values)
    interval = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(seed)).confidence_interval
    return float(interval.low), float(interval.high)


def equivalence(a, b, margin=0.01, extra=0.0):
    """Return the p-value of two one-sided paired t-tests: if small, the difference is within +-margin.

    "No difference" is claimed by this test, never by a large p of `paired`.

    Parameters
    ----------
    a, b : array-like, shape (n_pairs,)
        Scores of the two arms. A pair with a missing value is left out.
    margin : float
        In the units of the scores: 0.01 is one point of accuracy.
    extra : float
        Added to 1/k in the variance of the mean, as in `corrected_resampled_t`: n_test/n_train for splits of
        the full sample, else 0.

    Returns
    -------
    float
        The larger of the two one-sided p-values. Fewer than two pairs: NaN. All differences equal: nothing is
        known about their spread, so NaN inside the margin (nothing is shown) and 1 outside it.
    """
    differences = _differences(a, b)
    if len(differences) < 2:
        return np.nan
    distance = margin - abs(differences.mean())  # to the nearer bound, whose test has the larger p
    if _constant(differences):
        return np.nan if distance > 0 else 1.0
    return float(special.stdtr(len(differences) - 1, -distance / _standard_error(differences, extra)))


def mcnemar(correct_a, correct_b):
    """Return McNemar's p-value: two classifiers on the same test samples, for one single split.

    ``correct_a`` and ``correct_b`` say of each sample whether it was predicted rightly. The test is exact
    with fewer than 25 discordant samples.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise InputError(f"The classifiers answer {a.size} and {b.size} samples: give the same test samples.")
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    return float(contingency_tables.mcnemar(table, exact=bool(np.sum(a != b) < 25)).pvalue)


def adjust(p):
    """Return Benjamini-Hochberg adjusted p-values; NaN stays NaN and does not count as a test."""
    p = np.asarray(p, dtype=float)
    adjusted, tested = np.full(p.shape, np.nan), np.isfinite(p)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(p[tested])
    return adjusted


def select(rows, metric, groups):
    """Return one value of the metric a group, repeat and fold, averaged over source networks (source_seed).

    Raises InputError when the metric or a column is missing, and when two rows are the same measurement made
    in two ways (a further axis such as the scaler), which must not be averaged silently. Rows marked ``full``
    are one size, the median: grouped splits do not all leave the same number of training samples.
    """
    missing = [c for c in ("metric", "value", "cohort", "n", "repeat") if c not in rows]
    if missing or not (rows["metric"] == metric).any():
        raise InputError(f"The table has no {', '.join(missing) or metric}: give tidy result rows with it.")
    chosen = rows[rows["metric"] == metric].copy()
    for name in [*groups, "fold", "source_seed"]:
        chosen[name] = chosen[name] if name in chosen else pd.NA
        number = name in ("n", "frozen", "fold", "source_seed")
        chosen[name] = chosen[name].astype("Int64") if number else chosen[name].fillna("").astype(str)
    if "full" in chosen:
        full, by = chosen["full"].eq(True).fillna(False).astype(bool), ["cohort", "task", "split"]
        by = [chosen.loc[full, name] for name in by if name in chosen]
        chosen.loc[full, "n"] = chosen.loc[full, "n"].groupby(by).transform("median").round().astype("Int64")
    unit = [*groups, "repeat", "fold"]
    twice = chosen[chosen.duplicated([*unit, "source_seed"], keep=False)]
    if len(twice):
        axes = twice.groupby([*unit, "source_seed"], dropna=False).nunique(dropna=False).max()
        axes = ", ".join(sorted(set(axes.index[axes > 1]) - _RECORD)) or "no column"
        raise InputError(f"The table measures {metric} twice on the same samples ({axes} differs): keep one.")
    return chosen.groupby(unit, dropna=False, as_index=False)["value"].mean()


def _table(values, groups, match, is_reference, unit, full_sizes=None):
    """One row a group: mean and interval, and the difference from the reference rows that share ``match``."""
    if unit not in ("fold", "repeat"):
        raise InputError(f"unit={unit!r} is unknown: choose 'fold' or 'repeat'.")
    reference = values[is_reference].rename(columns={"value": "reference"})
    if reference.duplicated([*match, "repeat", "fold"]).any():
        raise InputError("The reference holds several methods on the same samples: keep one of them.")
    merged = values.merge(reference[[*match, "repeat", "fold", "reference"]], how="left", on=[*match, "repeat", "fold"])
    merged.loc[is_reference.to_numpy(), "reference"] = np.nan  # nothing is compared with itself
    merged["pair"] = merged["value"].where(merged["reference"].notna())
    merged["reference"] = merged["reference"].where(merged["value"].notna())
    if unit == "repeat":
        by = merged.groupby([*groups, "repeat"], dropna=False, as_index=False)
        merged = by[["value", "pair", "reference"]].mean()
    number = merged.groupby(groups, dropna=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    keys = merged[groups].iloc[order[first]].reset_index(drop=True)
    columns = (np.split(merged[name].to_numpy(float)[order], first[1:]) for name in ("value", "pair", "reference"))
    out = []
    for key, own, pair, reference in zip(keys.to_dict("records"), *columns, strict=True):
        own = own[np.isfinite(own)]
        row = {"mean": own.mean() if len(own) else np.nan, "sd": own.std(ddof=1) if len(own) > 1 else np.nan}
        row["n_values"] = len(own)
        row["low"], row["high"] = mean_interval(own)
        row |= paired(pair, reference)._asdict()
        extra = 0.0
        if full_sizes is not None:
            n_train, n_test = full_sizes.get((key["cohort"], key["task"]), (None, None))
            row["p_corrected"] = np.nan
            if n_train == key["n"]:
                extra = n_test / n_train
                row["p_corrected"] = corrected_resampled_t(pair - reference, n_train, n_test).p_raw
        row["p_equivalent"] = equivalence(pair, reference, extra=extra)
        out.append(row)
    return pd.concat([keys, pd.DataFrame(out)], axis=1)


def summarise(rows, metric, groups, unit="repeat"):
    """Return one row a group of the columns ``groups``: mean, sd, n_values, low, high (95 % t interval)."""
    values = select(rows, metric, groups)
    nothing = pd.Series(False, index=values.index)
    return _table(values, groups, groups, nothing, unit)[[*groups, "mean", "sd", "n_values", "low", "high"]]


def compare_methods(rows, metric, reference, unit="repeat", full_sizes=None):
    """Compare every method with the reference on the same repeats (Table 4, Fig. 3).

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of the comparison. Each ``split`` and ``arm`` (class weights) is compared apart.
    metric, reference : str
        A metric of the rows; the method the others are compared with.
    unit : {"repeat", "fold"}
        What a pair is: a repeat (mean of its folds) or every fold.
    full_sizes : dict, optional
        (cohort, task) -> (n_train, n_test) of the full split, where ``p_corrected`` is computed and
        ``p_equivalent`` has the same correction. By default from the columns ``full`` and ``n_test`` where the
        rows have them.

    Returns
    -------
    DataFrame
        One row a (cohort, task, split, arm, n, method): mean, sd, n_values, low, high (95 %), difference
        (method minus reference over complete pairs), difference_low, difference_high, p_raw, n_pairs,
        p_corrected (full training set only, else NaN), p_equivalent (+-0.01; corrected where p_corrected is
        given, plain at smaller n), p_bh (of p_raw) over the methods of one (cohort, ..., n).
    """
    groups = ["cohort", "task", "split", "arm", "n", "method"]
    values = select(rows, metric, groups)
    if reference not in set(values["method"]):
        raise InputError(f"Method {reference!r} has no rows: choose one of {sorted(set(values['method']))}.")
    if full_sizes is None and {"full", "n_test"} <= set(rows):
        full = rows["full"].eq(True).fillna(False).astype(bool) & (rows["metric"] == metric)
        sizes = rows[full].groupby(["cohort", "task"])[["n", "n_test"]].median().round().astype(int)
        full_sizes = dict(zip(sizes.index, sizes.itertuples(index=False, name=None), strict=True))
    table = _table(values, groups, groups[:-1], values["method"] == reference, unit, full_sizes or {})
    table["p_bh"] = table.groupby(groups[:-1], dropna=False)["p_raw"].transform(adjust)
    return table


def compare_arms(rows, metric, against="baseline", unit="fold"):
    """Compare fine-tuned, zero-shot and classical arms with the baseline on the same samples (Figs. 5 to 8).

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of a transfer experiment. Pairs share cohort, split, target, n, scaler, repeat and fold. A
        row without scaler, as of the classical methods, is paired with the baseline of the main one (source).
    metric, against : str
        A metric of the rows; the arm the others are compared with.
    unit : {"fold", "repeat"}
        Folds are the article's pairs. At small n, where subsets and sources were drawn again, the means of
        the repeats are the safer pairs.

    Returns
    -------
    DataFrame
        One row a combination of `ARM_AXES` with the columns of `compare_methods`; p_bh is over all (source,
        target, n) of one cohort, split, arm, frozen, method and scaler, a source that is its own target (the
        upper reference of Figs. 7 and 8) left out; stars on p_raw as the article prints them ("*" below 0.05,
        "**" below 0.01); winner is the better arm if starred, else "".
    """
    values = select(rows, metric, ARM_AXES)
    if against not in set(values["arm"]):
        raise InputError(f"Arm {against!r} has no rows: choose one of {sorted(set(values['arm']))}.")
    scalers = set(values["scaler"]) - {""}
    main = "source" if "source" in scalers else min(scalers, default="")
    values["scaler"] = values["scaler"].replace("", main)
    match = ["cohort", "split", "target", "n", "scaler"]
    table = _table(values, ARM_AXES, match, values["arm"] == against, unit)
    family = [table[c] for c in ("cohort", "split", "arm", "frozen", "method", "scaler")]
    counted = table["p_raw"].where(table["source"] != table["target"])
    table["p_bh"] = counted.groupby(family, dropna=False).transform(adjust)
    table["stars"] = np.select([table["p_raw"] < 0.01, table["p_raw"] < 0.05], ["**", "*"], default="")
    better = (table["difference"] > 0) != (metric in LOWER_IS_BETTER)
    table["winner"] = table["arm"].where(better, against).where(table["stars"] != "", "")
    return table
