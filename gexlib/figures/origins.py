"""Figures of transfer between two domains, cell lines and patients or two platforms (Table 5, Fig. 4)."""

from itertools import product

import numpy as np
import pandas as pd
import seaborn

from gexlib.figures.look import (
    FROZEN_COLOURS,
    INK,
    METRIC_LABELS,
    RC,
    SKY,
    draw_curves,
    grid,
    legend,
    named,
    need,
    size_axis,
    style,
    window,
)
from gexlib.statistics import ARM_AXES, select

ARROW = " \u2192 "
_PAIR = ["cohort", "split", "target", "n", "scaler", "repeat", "fold"]  # what a baseline shares with what it is for
_MARKERS = "ov^D<"


def _directions(table):
    """Split a table into (title, panel) by source and target; what else differs is in the title."""
    keys = [key for key in ("cohort", "split", "scaler", "stopping") if key in table and table[key].nunique() > 1]
    panels = []
    for key, panel in table.groupby([*keys, "source", "target"]):
        *more, source, target = map(named, key)
        panels.append((", ".join([f"{source}{ARROW}{target}", *more]), panel))
    return panels


def _gains(rows, metric):
    """Return one row a fine-tuned network: its F, n, direction and gain over the baseline of the same repeat."""
    values = select(rows, metric, ARM_AXES)
    baseline = values[values["arm"] == "baseline"].rename(columns={"value": "baseline"})
    tuned = values[values["arm"] == "fine_tuned"].merge(baseline[[*_PAIR, "baseline"]], on=_PAIR)
    return tuned.assign(gain=tuned["value"] - tuned["baseline"], metric=metric)


def _label(depth):
    return f"{depth} layer frozen" if depth == 1 else f"{depth} layers frozen"


@style()
def gain_boxes(rows, metric=("accuracy", "roc_auc")):
    """Draw the gain of pre-training over the repeats against n, one curve a number of frozen layers (Fig. 4).

    Curves join the means; a box has the quartiles, its whiskers reach to the least and the largest gain. Gains at
    one n share their baselines.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the arms baseline and fine_tuned, one scaler and one rule of stopping.
    metric : str or sequence of str
        Metrics that stand beside each other; those without rows are left out.
    """
    rows = need(rows, ["source", "target", "arm", "metric"], "gains")
    metrics = [metric] if isinstance(metric, str) else list(metric)
    metrics = [m for m in metrics if (rows["metric"] == m).any()] or metrics[:1]
    table = need(pd.concat([_gains(rows, m) for m in metrics]), [], "gains")
    panels = [
        (title + f", {METRIC_LABELS.get(m, m)}" * (len(metrics) > 1), panel[panel["metric"] == m])
        for (title, panel), m in product(_directions(table), metrics)
    ]
    label = f"{METRIC_LABELS.get(metrics[0], metrics[0])} gain" if len(metrics) == 1 else "Gain"
    figure, axes = grid(panels, rows, "Target samples", label, 2, height=2.6, sharey=True)
    sizes = np.unique(table["n"].to_numpy(float))
    least = np.diff(np.log(sizes)).min() if len(sizes) > 1 else np.log(2)
    depths = sorted(set(table["frozen"]))
    step = np.exp(min(0.8 * least / len(depths), 0.15))  # boxes of one n side by side, those of the next apart
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axhline(0, color=INK, lw=1)
        for i, depth in enumerate(depths):
            by_size = panel[panel["frozen"] == depth].groupby("n")["gain"]
            values = {int(n): gains.to_numpy(float) for n, gains in by_size}
            colour = FROZEN_COLOURS[depth % 5]
            at = np.array(list(values), float) * step ** (i - (len(depths) - 1) / 2)
            _boxes(axis, at, list(values.values()), step, colour)
            means = [gains.mean() for gains in values.values()]
            axis.plot(at, means, color=colour, marker=_MARKERS[depth % 5], ms=4, lw=1.2, label=_label(depth), zorder=3)
        size_axis(axis, panel["n"])
    return legend(figure)


def _boxes(axis, at, values, step, colour):
    """Draw one box a size at places on a logarithmic axis."""
    line = {"color": colour, "lw": 0.8}
    axis.boxplot(
        values, positions=at, widths=0.8 * at * np.log(step), manage_ticks=False, whis=(0, 100), showfliers=False,
        boxprops=line, whiskerprops=line, capprops=line, medianprops={**line, "lw": 1.6},
    )  # fmt: skip


@style()
def origin_matrix(table, metric="accuracy"):
    """Draw Table 5 as a matrix: domain trained on by domain tested on, with the means and their intervals.

    Parameters
    ----------
    table : DataFrame
        Columns source, target, and the metric with ``_low`` and ``_high``; cohorts have panels of their own.
    """
    table = need(table, ["cohort", "source", "target", metric], "the matrix of domains")
    panels = list(table.groupby("cohort", sort=False))
    shown = [(cohort if len(panels) > 1 else METRIC_LABELS.get(metric, metric), part) for cohort, part in panels]
    figure, axes = grid(shown, table, "Tested on", "Trained on", columns=2, height=2.4)
    for axis, (_, part) in zip(axes, shown, strict=True):
        names = sorted(set(part["source"]) | set(part["target"]))
        texts = part.assign(text=[_cell(*values) for values in zip(*(part[c] for c in _interval(metric)), strict=True)])
        wide, texts = (
            frame.pivot(index="source", columns="target", values=column).reindex(index=names, columns=names)
            for frame, column in ((part, metric), (texts, "text"))
        )
        words = [named(name) for name in names]
        seaborn.heatmap(
            wide.astype(float), annot=texts.fillna(""), fmt="", cmap=seaborn.light_palette(SKY, as_cmap=True),
            vmin=min(0.5, np.nanmin(wide)), vmax=1, ax=axis, cbar=False, xticklabels=words, yticklabels=words,
            annot_kws={"color": "black"},
        )  # fmt: skip
        axis.grid(visible=False)
        axis.tick_params(length=0, colors=INK)
        axis.set(xlabel="Tested on", ylabel="Trained on" if axis is axes[0] else "")
    return figure


def _interval(metric):
    return metric, f"{metric}_low", f"{metric}_high"


def _cell(mean, low, high):
    """Return the text of a cell: a mean and, where there are several repeats, its interval."""
    return f"{mean:.3f}" + f"\n({low:.3f} to {high:.3f})" * bool(np.isfinite(low))


@style()
def epochs_curves(table):
    """Draw how many epochs fine-tuning takes more or less than training from scratch, by n and F.

    Parameters
    ----------
    table : DataFrame
        Columns source, target, n, frozen, scaler, stopping, and the paired ``difference`` in epochs with
        ``difference_low`` and ``difference_high``.
    """
    what = ("difference", "difference_low", "difference_high")
    table = need(table, ["source", "target", "n", "frozen", *what], "epochs")
    panels = _directions(table)
    figure, axes = grid(panels, table, "Target samples", "Epochs, minus baseline", 2, height=2.4, sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axhline(0, color=INK, lw=1)
        curves = []
        for depth in sorted(set(panel["frozen"])):
            look = _label(depth), FROZEN_COLOURS[depth % 5], _MARKERS[depth % 5], "-"
            curves.append((panel[panel["frozen"] == depth], look))
        draw_curves(axis, curves, what)
        size_axis(axis, panel["n"])
        axis.set_xlim(panel["n"].min() / 1.3, panel["n"].max() * 1.3)
    axes[0].set_ylim(window(axes[0].get_ylim(), table, what))
    return legend(figure)


@style()
def sweep_curves(table):
    """Draw the gain against what tissues share in the simulation, one curve a shift, one panel a direction and n.

    Parameters
    ----------
    table : DataFrame
        Columns sharing, shift, source, target, n, and ``gain`` with ``gain_low`` and ``gain_high``.
    """
    what = ("gain", "gain_low", "gain_high")
    table = need(table, ["sharing", "shift", "source", "target", "n", *what], "the sweep")
    several = table["n"].nunique() > 1
    panels = [
        (title + f", n = {n}" * several, panel)
        for title, part in _directions(table.drop(columns="cohort", errors="ignore"))
        for n, panel in part.groupby("n")
    ]
    figure, axes = grid(panels, table[["n"]], "Sharing of the cancer program", "Gain", 2, 2.4, sharey=True)
    figure.suptitle("simulated cohorts", x=0.01, ha="left", style="italic")
    colours, shifts = RC["axes.prop_cycle"].by_key()["color"], sorted(set(table["shift"]))
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axhline(0, color=INK, lw=1)
        for i, shift in enumerate(shifts):
            part = panel[panel["shift"] == shift].sort_values("sharing")
            gain, low, high = (part[column].to_numpy(float) for column in what)
            at = part["sharing"].to_numpy(float) + 0.015 * (i - (len(shifts) - 1) / 2)
            look = {"color": colours[i % len(colours)], "marker": _MARKERS[i % 5], "elinewidth": 0.9}
            axis.errorbar(at, gain, np.nan_to_num([gain - low, high - gain]), label=f"shift {shift:g}", **look)
        axis.set_xticks(sorted(set(table["sharing"])))
    axes[0].set_ylim(window(axes[0].get_ylim(), table, what))
    return legend(figure)
