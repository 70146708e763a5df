"""Figures of supervised transfer: accuracy and gain against the target samples (Figs. 4 to 8)."""

from itertools import product
from textwrap import fill

import pandas as pd

from gexlib.figures.look import (
    ARM_LABELS,
    ARMS,
    BLUE,
    FROZEN_COLOURS,
    INK,
    METRIC_LABELS,
    draw_curves,
    grid,
    highest,
    legend,
    named,
    need,
    size_axis,
    split_panels,
    style,
    window,
)
from gexlib.statistics import ARM_AXES, LOWER_IS_BETTER, compare_arms, summarise


def target_panels(table, *more):
    """Split a transfer table by target, and by source where a source is itself a target."""
    panels = split_panels(table, ["target", "cohort", "split", *more])
    if not set(table["source"]) & set(table["target"]):
        return panels
    return [
        (f"{named(source)} \u2192 {title}" if source else title, panel[panel["source"].isin(["", source])])
        for title, panel in panels
        for source in [s for s in pd.unique(panel["source"]) if s] or [""]
    ]


def frozen_curves(tuned, label):
    """Return one (table, look) for each number of frozen layers, smallest first, and scaler."""
    depths, curves = tuned["frozen"].fillna(0).astype(int), []
    for f, _, scaler in sorted(set(zip(depths, tuned["scaler"] != "source", tuned["scaler"], strict=True))):
        name = label.format(f) + f", scaler: {scaler}" * (tuned["scaler"].nunique() > 1)
        dashes = {"subset": ":", "all": "--"}.get(scaler, "-")
        look = name, FROZEN_COLOURS[f % 5], "ov^D<"[f % 5], dashes
        curves.append((tuned[(depths == f) & (tuned["scaler"] == scaler)], look))
    return curves


def _best(classical, metric):
    """Return one row an n: `best_classical`, or where rows have none the method with the best mean."""
    if (classical["method"] == "best_classical").any():
        classical = classical[classical["method"] == "best_classical"]
    return classical.sort_values("mean", ascending=metric in LOWER_IS_BETTER).drop_duplicates("n")


@style()
def transfer_curves(rows, metric="accuracy", unit="fold"):
    """Draw a metric against the target samples with and without pre-training, by target (Figs. 5, 6).

    Stars are those of `statistics.compare_arms` for the smallest number of frozen layers, in the colour of
    the better network. Of several classical methods the best mean at each n is drawn, which favours them.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the arms baseline, fine_tuned, zero_shot, classical, or some of them.
    metric, unit : str
        Bars are 95 % t intervals of the mean over the units, "fold" or "repeat". Long ones leave the panel.
    """
    rows = need(rows, ["target", "arm", "metric"], "transfer curves")
    against = (rows["arm"] == "baseline").any()
    table = compare_arms(rows, metric, unit=unit) if against else summarise(rows, metric, ARM_AXES, unit)
    panels = target_panels(table, "scaler")
    figure, axes = grid(panels, rows, "Target samples", METRIC_LABELS.get(metric, metric), sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        zero, classical, pooled, baseline, tuned = (panel[panel["arm"] == arm] for arm in ARMS)
        if len(zero):
            label, colour, _, dashes = ARMS["zero_shot"]
            axis.axhline(zero["mean"].mean(), color=colour, ls=dashes, label=label)
        classical, pooled = (_best(part, metric) for part in (classical, pooled))
        several = table["frozen"].nunique() > 1
        curves = frozen_curves(tuned, ARM_LABELS["fine_tuned"] + ", F = {}" * several)
        drawn = {"classical": classical, "pooled": pooled, "baseline": baseline}
        draw_curves(axis, [*((part, ARMS[arm]) for arm, part in drawn.items()), *curves])
        last, place = 0, {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "center"}
        for row in curves[0][0].sort_values("n").itertuples() if curves and against else ():
            colour, close = BLUE if row.winner == "baseline" else curves[0][1][1], row.n < 1.2 * last
            axis.text(row.n, 0.95 - 0.07 * close, row.stars, color=colour, weight="bold", size=11, **place)
            last = 0 if close else row.n
        size_axis(axis, panel["n"])
    low, high = window(axes[0].get_ylim(), table, most=highest(metric))
    axes[0].set_ylim(low, high + 0.12 * (high - low))  # shared; room for the stars
    return legend(figure)


@style()
def gain_curves(rows, metric=("accuracy", "roc_auc"), unit="fold"):
    """Draw the gain of pre-training against n, one panel a target and metric, one curve a number of layers.

    The gain is fine-tuned minus baseline on the same samples. Curves of one panel share their baselines.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the arms baseline and fine_tuned.
    metric : str or sequence of str
        Metrics that stand beside each other; those without rows are left out.
    unit : {"fold", "repeat"}
        Bars are 95 % t intervals of the mean paired difference over these. Long ones leave the panel.
    """
    rows = need(rows, ["target", "arm", "metric"], "gain curves")
    rows = rows[rows["arm"].isin(["baseline", "fine_tuned"])]
    metrics = [metric] if isinstance(metric, str) else list(metric)
    metrics = [m for m in metrics if (rows["metric"] == m).any()] or metrics[:1]
    table = pd.concat([compare_arms(rows, m, unit=unit).assign(metric=m) for m in metrics])
    table = need(table[table["arm"] == "fine_tuned"], [], "gain curves")
    panels = [
        (fill(title + f", {METRIC_LABELS.get(m, m)}" * (len(metrics) > 1), 22), panel[panel["metric"] == m])
        for (title, panel), m in product(target_panels(table), metrics)
    ]
    label = f"{METRIC_LABELS.get(metrics[0], metrics[0])} gain" if len(metrics) == 1 else "Gain"
    columns, what = 2 * len(metrics), ("difference", "difference_low", "difference_high")
    figure, axes = grid(panels, rows, "Target samples", label, columns if columns == 4 else 3, sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axhline(0, color=INK, lw=1)
        draw_curves(axis, frozen_curves(panel, "{} layers frozen"), what)
        size_axis(axis, panel["n"])
    axes[0].set_ylim(window(axes[0].get_ylim(), table, what))
    return legend(figure)
