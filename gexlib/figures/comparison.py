"""Figures of the comparison: learning curves (Fig. 3) and the methods' scores (Table 4)."""

import numpy as np

from gexlib.figures.look import (
    METRIC_LABELS,
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
        Tidy rows of the comparison. Class weights and kinds of split get panels of their own.
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
        below 0.05. The majority vote is given as a number only: its dot would squeeze the others.
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
