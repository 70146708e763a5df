"""Figures of the comparison: learning curves (Fig. 3), the methods' scores (Table 4), and its supplement."""

import numpy as np
import pandas as pd

from gexlib.figures.look import (
    BLUE,
    INK,
    METRIC_LABELS,
    VERMILION,
    draw_curves,
    grid,
    highest,
    legend,
    method_look,
    need,
    ordered,
    size_axis,
    split_panels,
    style,
    window,
)
from gexlib.statistics import summarise


@style()
def learning_curves(rows, metric="accuracy", unit="repeat"):
    """Draw a metric against the training-set size for every method, one panel a task (Fig. 3).

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of the comparison. Class weights and kinds of split get panels of their own. A method that was
        run on one split has no bar.
    metric, unit : str
        Bars are 95 % t intervals of the mean over the units, "repeat" or "fold". Long ones leave the panel.
    """
    rows = need(rows, ["task", "method", "metric"], "learning curves")
    rows = rows[rows["method"] != "majority"]  # given in the tables: its line would squeeze the others
    table = summarise(rows, metric, ["task", "cohort", "split", "arm", "n", "method"], unit)
    panels = split_panels(table, ["task", "cohort", "split", "arm"])
    label = METRIC_LABELS.get(metric, metric)
    figure, axes = grid(panels, rows, "Training samples", label, height=2.6, sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        draw_curves(axis, [(panel[panel["method"] == m], method_look(m)) for m in ordered(table["method"])])
        size_axis(axis, panel["n"])
    axes[0].set_ylim(window(axes[0].get_ylim(), table, most=highest(metric)))
    return legend(figure)


@style()
def method_bars(table, metric="accuracy"):
    """Draw means and 95 % intervals of the methods (Table 4), one panel a task.

    Parameters
    ----------
    table : DataFrame
        What `statistics.compare_methods` returns. A star marks an adjusted p-value against the reference
        below 0.05. A method with one value has neither bar nor star. The majority vote is given as a number only:
        its dot would squeeze the others.
    metric : str
        The metric of the table, for the axis.
    """
    table = need(table, ["task", "method", "n", "mean", "low", "high", "p_bh"], "the methods")
    panels = split_panels(table, [key for key in ("task", "cohort", "split", "arm", "n") if key in table])
    methods = ordered(table["method"])[::-1]
    look = {"columns": 2, "height": 0.22 * len(methods) + 0.6, "sharey": True}
    figure, axes = grid(panels, table, METRIC_LABELS.get(metric, metric), "", **look)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        for row in panel.itertuples():
            y, bars = methods.index(row.method), np.nan_to_num([[row.mean - row.low], [row.high - row.mean]])
            _, colour, marker, _ = method_look(row.method)
            if marker:
                axis.errorbar(row.mean, y, xerr=bars, color=colour, marker=marker)
            text = f"{row.mean:.3f}{' *' * (row.p_bh < 0.05)}"
            axis.text(1.02, y, text, transform=axis.get_yaxis_transform(), va="center", size=8)
        axis.set_yticks(range(len(methods)), [method_look(method)[0] for method in methods])
        axis.set_ylim(-0.6, len(methods) - 0.4)
        axis.set_xlim(window(axis.get_xlim(), panel[panel["method"] != "majority"], most=highest(metric)))
    return figure


@style()
def task_dots(rows, metrics=("accuracy", "balanced_accuracy"), unit="repeat"):
    """Draw every method's mean on every task, a line a task and a panel a metric (the article's supplement).

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of the comparison. The majority vote is left to the tables: it would squeeze the others.
    metrics : sequence of str
        Those without rows are left out.
    unit : str
        Bars are 95 % t intervals of the mean over the units, "repeat" or "fold". Long ones leave the panel.
    """
    rows = need(rows, ["task", "method", "metric"], "the tasks")
    rows = rows[rows["method"] != "majority"]
    metrics = [metric for metric in metrics if (rows["metric"] == metric).any()] or list(metrics)[:1]
    table = pd.concat(
        [summarise(rows, m, ["task", "cohort", "split", "arm", "method"], unit).assign(metric=m) for m in metrics]
    )
    lines = split_panels(table, ["task", "cohort", "split", "arm"])[::-1]  # the first on top
    methods = ordered(table["method"])
    panels = [(METRIC_LABELS.get(metric, metric), table[table["metric"] == metric]) for metric in metrics]
    height = (0.1 * len(methods) + 0.14) * len(lines) + 0.6
    figure, axes = grid(panels, rows, "Mean over splits", "", height=height, columns=2, sharey=True)
    for axis, metric in zip(axes, metrics, strict=True):
        for y, (_, line) in enumerate(lines):
            of_metric = line[line["metric"] == metric]
            for row in of_metric.sort_values("method", key=lambda names: names.map(methods.index)).itertuples():
                aside = (len(methods) - 1) / 2 - methods.index(row.method)
                bars = np.nan_to_num([[row.mean - row.low], [row.high - row.mean]])
                label, colour, marker, _ = method_look(row.method)
                axis.errorbar(
                    row.mean, y + 0.8 * aside / len(methods), xerr=bars, color=colour, marker=marker, ls="",
                    markersize=4, elinewidth=0.8, capsize=0, label=label,
                )  # fmt: skip
        axis.set_yticks(range(len(lines)), [title for title, _ in lines])
        axis.set_yticks(np.arange(len(lines) - 1) + 0.5, minor=True)
        axis.grid(visible=False, axis="y")
        axis.grid(visible=True, axis="y", which="minor")
        axis.tick_params(axis="y", which="minor", length=0, grid_color=INK, grid_alpha=0.25, grid_linewidth=0.6)
        axis.set_ylim(-0.5, len(lines) - 0.5)
        axis.set_xlim(window(axis.get_xlim(), table[table["metric"] == metric], most=highest(metric)))
    return legend(figure)


@style()
def split_dots(table, metric="balanced_accuracy", rows=None):
    """Draw random splits beside splits by study, and their difference, a row of panels a task.

    Parameters
    ----------
    table : DataFrame
        What `gexlib.experiments.comparison.split_gap` returns.
    metric : str
        The metric of the table, for the axis.
    rows : DataFrame, optional
        Tidy rows behind the table, which say whether their cohort is simulated.
    """
    table = need(table, ["task", "method", "random", "study", "difference"], "the kinds of split")
    methods = ordered(table["method"])[::-1]
    label = METRIC_LABELS.get(metric, metric)
    panels = [
        (title + what, panel)
        for title, panel in split_panels(table, ["task", "cohort", "arm"])
        for what in ("", ": difference")
    ]
    look = {"columns": 2, "height": 0.24 * len(methods) + 0.7, "sharey": True}
    figure, axes = grid(panels, table if rows is None else rows, "", "", **look)
    for i, (axis, (_, panel)) in enumerate(zip(axes, panels, strict=True)):
        y = [methods.index(method) for method in panel["method"]]
        if i % 2 == 0:
            axis.hlines(y, panel["random"], panel["study"], color=INK, lw=1)
            axis.plot(panel["random"], y, ls="", marker="o", color=BLUE, label="Random splits (by patient)")
            axis.plot(panel["study"], y, ls="", marker="D", color=VERMILION, label="Splits by study")
            axis.set_xlabel(label)
        else:
            low = panel["difference"] - panel["difference_low"].fillna(panel["difference"])
            high = panel["difference_high"].fillna(panel["difference"]) - panel["difference"]
            axis.axvline(0, color=INK, lw=1)
            axis.errorbar(panel["difference"], y, xerr=[low, high], ls="", marker="s", color=INK)
            axis.set_xlabel("By study minus random")
            what = ("difference", "difference_low", "difference_high")
            axis.set_xlim(window(axis.get_xlim(), panel, what))
        axis.set_yticks(range(len(methods)), [method_look(method)[0] for method in methods])
        axis.set_ylim(-0.6, len(methods) - 0.4)
    return legend(figure)
