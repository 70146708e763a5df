"""Figures of one cancer to another: every source against every target (Figs. 7 and 8)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator

from gexlib.errors import InputError
from gexlib.figures.look import (
    BLUE,
    INK,
    METRIC_LABELS,
    SKY,
    VERMILION,
    cohorts_of,
    draw_curves,
    drawn_from,
    legend,
    named,
    need,
    size_axis,
    style,
    window,
)
from gexlib.figures.transfer import frozen_curves
from gexlib.statistics import compare_arms

GAIN = ("difference", "difference_low", "difference_high")
#: Loss, nothing, gain: opaque and not too dark, so that one dark text can be read on all of it, on either page.
DIVERGING = LinearSegmentedColormap.from_list("gain", [SKY, "#E6E6E6", VERMILION])
DARK = "#101010"  # has a contrast of 4.5:1 or more on every colour of the map
LEAST_RANGE = 0.05  # a colour scale never ends below: noise of a point or two must not glare
SMALL = 7  # points


@style()
def pair_grid(rows, metric="accuracy", unit="fold"):
    """Draw the gain against n of every pair: a row a source, a column a target, all on the same axes.

    Panels in which source and target are the same cancer are tinted. Stars are those of
    `statistics.compare_arms` on the raw p, in the colour of the better network. Panels of one column share
    their baselines.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the arms baseline and fine_tuned. Several cohorts stand below each other.
    metric, unit : str
        Bars are 95 % t intervals of the mean paired difference over the units, "fold" or "repeat". Long ones
        leave the panel.
    """
    rows = need(rows, ["source", "target", "arm", "metric"], "a grid of pairs")
    rows = rows[rows["arm"].isin(["baseline", "fine_tuned"])]
    table = compare_arms(rows, metric, unit=unit)
    table = need(table[table["arm"] == "fine_tuned"], [], "a grid of pairs")
    blocks = [(part, sorted(set(part["source"])), sorted(set(part["target"]))) for _, part in table.groupby("cohort")]
    lines, columns = sum(len(sources) for _, sources, _ in blocks), max(len(targets) for *_, targets in blocks)
    height = min(1.05, max(0.78, 4 / lines))
    figure = Figure(figsize=(7.2 if columns > 3 else 5.2, height * lines + 0.9), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)  # axes that share limits draw slowly
    for axis in axes.flat:
        axis.set_visible(False)
    top = 0
    for part, sources, targets in blocks:
        for i, source in enumerate(sources):
            for j, target in enumerate(targets):
                pair = part[(part["source"] == source) & (part["target"] == target)]
                axis = axes[top + i, j]
                _panel(axis, pair, source == target, part["n"], last=i == len(sources) - 1, first=j == 0)
                axis.set_title(named(target) if i == 0 else "", fontsize=8)
                axis.set_ylabel(named(source) if j == 0 else "", fontsize=8)
        top += len(sources)
    lows, highs = zip(*(axis.get_ylim() for axis in axes.flat if axis.get_visible()), strict=True)
    low, high = window((min(lows), max(highs)), table, GAIN)
    for axis in axes.flat:
        axis.set_ylim(low, high + 0.2 * (high - low))  # room for the stars
        axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    figure.supxlabel("Target samples (column: target)", fontsize=9)
    figure.supylabel(f"{METRIC_LABELS.get(metric, metric)} gain (row: source)", fontsize=9)
    figure.suptitle(drawn_from(rows), x=0.01, ha="left", style="italic")
    return legend(figure) if table.groupby("cohort")[["frozen", "scaler"]].nunique().max(None) > 1 else figure


def _panel(axis, pair, own, sizes, last, first):
    """Draw one pair; ticks are labelled on the outer edge only."""
    axis.set_visible(True)
    axis.tick_params(colors=INK, grid_color=INK, grid_alpha=0.25, labelsize=SMALL, length=2, pad=1)
    axis.tick_params(labelbottom=last, labelleft=first)
    if own:
        axis.set_facecolor((INK, 0.22))
    axis.axhline(0, color=INK, lw=0.8)
    curves = frozen_curves(pair, "{} layers frozen")
    draw_curves(axis, curves, GAIN)
    for box in axis.containers:
        box.lines[0].set(markersize=2.5, linewidth=1.1)
    place = {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "top", "weight": "bold", "size": 8}
    for row in curves[0][0].itertuples() if curves else ():
        colour = BLUE if row.winner == "baseline" else VERMILION
        axis.text(row.n, 0.99, row.stars, color=colour, clip_on=False, **place)
    size_axis(axis, sizes)  # of all pairs, so that panels of one column and row compare
    n = np.unique(sizes.to_numpy(float))
    axis.set_xlim(n[0] / 1.35, n[-1] * 1.35)
    ticks = axis.xaxis.get_majorticklocs()
    if len(ticks) > 3:  # of a panel less than an inch wide
        axis.xaxis.set_major_locator(FixedLocator([ticks[0], ticks[len(ticks) // 2], ticks[-1]]))


@style()
def gain_heatmap(matrix, metric="accuracy"):
    """Draw the mean gain of every pair as a colour: a row a source, a column a target, the diagonal outlined.

    Parameters
    ----------
    matrix : DataFrame
        As `gexlib.experiments.cancer_to_cancer.gain_matrix` gives it: index (cohort, n, source), columns
        (what, target) with what "gain", "stars" and "adjusted". A map is drawn for each cohort and n. Vermilion
        is a higher value with pre-training, blue a lower one; one colour scale for all.
    metric : str
        Of the matrix; names the colour scale.
    """
    known = set(matrix.columns.levels[0]) if matrix.columns.nlevels == 2 else set()
    if matrix.empty or not {"gain", "stars", "adjusted"} <= known:
        raise InputError("The table for a map of gains has no pairs: give it what gain_matrix returns.")
    parts = [(key, part.droplevel([0, 1])) for key, part in matrix.groupby(level=["cohort", "n"])]
    parts = [(key, part.drop(columns=[c for c in part if part["gain", c[1]].isna().all()])) for key, part in parts]
    lines = [len(part) for _, part in parts]
    width = 7.2 if max(part["gain"].shape[1] for _, part in parts) > 3 else 5.2
    most = max(LEAST_RANGE, np.nanmax(np.abs(matrix["gain"].to_numpy(float))))
    figure = Figure(figsize=(width, sum(max(0.42 * k, 1.0) + 0.75 for k in lines) + 0.2), layout="constrained")
    axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=lines).ravel()
    for axis, ((cohort, n), part) in zip(axes, parts, strict=True):
        gain = part["gain"].astype(float)
        marks = (part["stars"].fillna("") + " " + part["adjusted"].fillna("")).map(str.strip)
        texts = gain.map(lambda value: f"{value:+.3f}".replace("-", "\u2212")) + marks.map(
            lambda mark: f"\n{mark}" if mark else ""
        )
        sns.heatmap(
            gain, annot=texts, fmt="", cmap=DIVERGING, vmin=-most, vmax=most, ax=axis, cbar=False,
            annot_kws={"size": SMALL, "color": DARK}, linewidths=0.8, linecolor="none",
        )  # fmt: skip
        for i, source in enumerate(gain.index):
            for j, target in enumerate(gain.columns):
                if source == target:
                    box = (j + 0.04, i + 0.04), 0.92, 0.92
                    axis.add_patch(Rectangle(*box, fill=False, ec=DARK, lw=1.6, ls=(0, (3, 1.5))))
        axis.set_xticks(np.arange(gain.shape[1]) + 0.5, [named(t) for t in gain.columns], rotation=0, fontsize=8)
        axis.set_yticks(np.arange(gain.shape[0]) + 0.5, [named(s) for s in gain.index], rotation=0, fontsize=8)
        axis.tick_params(length=0, colors=INK)
        axis.set(xlabel="Target", ylabel="Source")
        axis.grid(False)
        title = cohorts_of(pd.DataFrame({"cohort": [cohort]}))
        axis.set_title(f"{title}, n = {n}", loc="left", style="italic")
    bar = figure.colorbar(axes[0].collections[0], ax=list(axes), fraction=0.03, aspect=30, pad=0.01)
    bar.set_label(f"{METRIC_LABELS.get(metric, metric)} gain")
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure
