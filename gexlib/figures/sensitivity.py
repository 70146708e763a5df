"""Figures of the sensitivity analysis: every hyper-parameter (Fig. 2), importance, residual connections."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from gexlib.figures.look import (
    BLUE,
    GREEN,
    INK,
    METRIC_LABELS,
    SKY,
    VERMILION,
    grid,
    legend,
    named,
    need,
    split_panels,
    style,
)
from gexlib.search import smooth

OPTIMISERS = {  # label, colour, marker
    "sgd": ("SGD with momentum", VERMILION, "o"),
    "rmsprop": ("RMSprop", BLUE, "s"),
    "adam": ("Adam", GREEN, "^"),
}
ROWS = ("layers", "neurons", "optimiser", "learning_rate", "batch_size", "dropout", "penalty_weight")
READABLE = 0.2  # out-of-bag R^2 below which a panel warns
PAIRS = 3  # interactions drawn
LABELS = {
    "layers": "Hidden layers",
    "neurons": "Neurons a layer",
    "optimiser": "Optimiser",
    "batch_norm": "Batch norm",
    "learning_rate": "Learning rate",
    "batch_size": "Batch size",
    "dropout": "Dropout",
    "penalty": "L1 or L2",
    "penalty_weight": "Penalty weight",
}


@style()
def sensitivity_grid(rows, metric="accuracy"):
    """Draw a metric against every hyper-parameter, seven rows, a column a task with its number of draws (Fig. 2).

    Box plots for hidden layers, optimiser with and without batch norm, and the weight of L1 and L2; every draw
    and its LOESS curve for the others. Whiskers reach 1.5 times the height of the box; draws beyond are dots.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of the sensitivity section; the arm "draw" is drawn.
    metric : str
        Of the validation samples.
    """
    rows = need(rows, ["task", "arm", "metric", *ROWS], "the sensitivity grid")
    rows = need(rows[(rows["arm"] == "draw") & (rows["metric"] == metric)], [], "the sensitivity grid")
    tasks = split_panels(rows, ["task", "cohort"])
    panels = [
        (f"{title}\n{len(part):,} draws" if name == ROWS[0] else "", (name, part))
        for name in ROWS
        for title, part in tasks
    ]
    look = {"columns": len(tasks), "height": 1.55, "sharey": "col"}
    figure, axes = grid(panels, rows.drop(columns="repeat"), "", METRIC_LABELS.get(metric, metric), **look)
    for axis, (_, (name, part)) in zip(axes, panels, strict=True):
        axis.set_xlabel(LABELS[name])
        if name == "layers":
            levels = sorted(part[name].unique())
            _boxes(axis, [(INK, part[part[name] == n]["value"], n) for n in levels])
            axis.set_xticks(levels, [str(int(n)) for n in levels])
        elif name == "optimiser":
            _optimisers(axis, part)
        elif name == "penalty_weight":
            _penalties(axis, part)
        else:
            _scatter(axis, part, name)
    return legend(figure)


def _boxes(axis, boxes, width=0.6):
    """Draw (colour, values, position) as boxes with outliers as dots."""
    for colour, values, at in boxes:
        line = {"color": colour, "linewidth": 1.2}
        dots = {
            "marker": ".",
            "markersize": 3,
            "markeredgecolor": colour,
            "alpha": 0.5,
            "rasterized": len(values) > 500,
        }
        axis.boxplot(
            [values], positions=[at], widths=width, boxprops=line, whiskerprops=line, capprops=line,
            medianprops={**line, "linewidth": 2.2}, flierprops=dots, manage_ticks=False,
        )  # fmt: skip
    axis.grid(visible=False, axis="x")


def _optimisers(axis, part):
    """Boxes of each optimiser, without batch norm (grey) and with it (in colour)."""
    names = [name for name in OPTIMISERS if (part["optimiser"] == name).any()]
    boxes = []
    for i, name in enumerate(names):
        for norm, colour, aside in ((False, INK, -0.2), (True, SKY, 0.2)):
            values = part[(part["optimiser"] == name) & (part["batch_norm"].astype(bool) == norm)]["value"]
            boxes.append((colour, values, i + aside))
    _boxes(axis, [box for box in boxes if len(box[1])], width=0.3)
    short = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam"}
    axis.set_xticks(range(len(names)), [short[name] for name in names])
    axis.set_xlabel("Optimiser (blue: batch norm)")


def _penalties(axis, part):
    """Boxes of each weight, for L1 and for L2."""
    weights, boxes = sorted(part["penalty_weight"].unique()), []
    for i, weight in enumerate(weights):
        for kind, colour, aside in (("l1", INK, -0.2), ("l2", SKY, 0.2)):
            values = part[(part["penalty_weight"] == weight) & (part["penalty"] == kind)]["value"]
            boxes.append((colour, values, i + aside))
    _boxes(axis, [box for box in boxes if len(box[1])], width=0.3)
    axis.set_xticks(range(len(weights)), [_power(weight) for weight in weights])
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlabel("Penalty (grey: L1, blue: L2)")


def _power(weight):
    """Write a weight as short as possible: 0, a power of ten, or a number."""
    exponent = np.log10(weight) if weight > 0 else 0.5
    if abs(exponent - round(exponent)) < 1e-9:
        return f"$10^{{{round(exponent)}}}$"
    return f"{weight:g}"


def _scatter(axis, part, name):
    """Scatter every draw and its LOESS curve; the learning rate has one of each for every optimiser."""
    logarithmic = name in ("learning_rate", "batch_size")
    look = {"s": 9, "alpha": 0.5, "linewidths": 0, "rasterized": len(part) > 500}
    if name == "learning_rate":
        groups = [(part[part["optimiser"] == key], *OPTIMISERS[key]) for key in OPTIMISERS]
    else:
        groups = [(part, "", INK, "o")]
    for points, label, colour, marker in groups:
        if len(points):
            axis.scatter(points[name].astype(float), points["value"], color=colour, marker=marker, label=label, **look)
            line = {"color": colour if label else BLUE, "lw": 2, "label": "" if label else "LOESS"}
            axis.plot(*smooth(points[name], points["value"], logarithmic), **line)
    if name == "batch_size":
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
    elif logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())


@style()
def importance_bars(table):
    """Draw how much of the variance each hyper-parameter explains, one panel a task.

    Parameters
    ----------
    table : DataFrame
        What `gexlib.importance.importance` returns. Full bars are the share of the hyper-parameter
        alone, outlines add all its interactions; below them the largest interactions of two.
    """
    table = need(table, ["task", "term", "order", "share", "total", "r2", "n_draws"], "the importance")
    panels = split_panels(table, ["task", "cohort"])
    most = max((panel["order"] == 1).sum() for _, panel in panels) + PAIRS
    columns = min(len(panels), 2)
    figure, axes = grid(panels, table, "Share of the variance", "", columns, 0.22 * most + 0.6, sharex=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        singles, pairs = panel[panel["order"] == 1], panel[panel["order"] == 2]
        singles, pairs = singles.sort_values("total", ascending=False), pairs.nlargest(PAIRS, "share")
        at = np.arange(len(singles) + len(pairs))
        bar = {"height": 0.7, "zorder": 2}
        first, second = at[: len(singles)], at[len(singles) :]
        axis.barh(first, singles["total"], fc="none", ec=BLUE, label="with all its interactions", **bar)
        axis.barh(first, singles["share"].clip(lower=0), color=BLUE, label="alone", **bar)
        axis.barh(second, pairs["share"], color=VERMILION, label="interaction of two", **bar)
        terms = [*singles["term"], *pairs["term"]]
        axis.set_yticks(
            at, [" \u00d7 ".join(LABELS.get(t, named(t)) for t in text.split(" \u00d7 ")) for text in terms]
        )
        axis.tick_params(axis="y", labelsize=8)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        r2 = panel["r2"].iloc[0]
        text = f"{panel['n_draws'].iloc[0]:,} draws" + (f"\nout-of-bag R\u00b2 {r2:.2f}" if pd.notna(r2) else "")
        text += "\n(too low to read)" if r2 < READABLE else ""
        axis.text(0.98, 0.03, text, transform=axis.transAxes, ha="right", va="bottom", size=8)
    return legend(figure)


@style()
def residual_pairs(rows, metric="accuracy"):
    """Draw each deep setting with residual connections against the same without, one panel a task.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the arms residual and plain_deep (10 to 20 hidden layers). Above the diagonal the
        connections help. Open markers: without batch norm.
    metric : str
        Of the validation samples.
    """
    rows = need(rows, ["task", "arm", "metric", "optimiser", "batch_norm", "repeat"], "residual connections")
    rows = rows[rows["arm"].isin(["residual", "plain_deep"]) & (rows["metric"] == metric)]
    rows = need(rows, [], "residual connections")
    panels = split_panels(rows, ["task", "cohort"])
    label = METRIC_LABELS.get(metric, metric)
    look = {"columns": min(len(panels), 3), "height": 2.6, "sharex": True, "sharey": True}
    figure, axes = grid(panels, rows.drop(columns="repeat"), f"{label}, plain", f"{label}, residual", **look)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        more = panel.drop_duplicates("repeat").set_index("repeat")[["optimiser", "batch_norm"]]
        both = panel.pivot(index="repeat", columns="arm", values="value").reindex(columns=["plain_deep", "residual"])
        pairs = more.join(both).dropna()
        for key, (name, colour, marker) in OPTIMISERS.items():
            for norm, fill, text in ((True, colour, ""), (False, "none", ", no batch norm")):
                own = pairs[(pairs["optimiser"] == key) & (pairs["batch_norm"].astype(bool) == norm)]
                if len(own):
                    dot = {"marker": marker, "ec": colour, "fc": fill, "s": 22, "lw": 1, "label": name + text}
                    axis.scatter(own["plain_deep"], own["residual"], zorder=3, **dot)
        axis.axline((0.5, 0.5), slope=1, color=INK, lw=1, ls="--")
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(4))
    ends = rows["value"].agg(["min", "max"]).to_numpy() + [-0.02, 0.02]
    axes[0].set(xlim=ends, ylim=ends)  # shared by all panels
    return legend(figure)
