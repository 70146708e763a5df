"""One look for every figure: colours, labels, panels, axes, legends, captions, files.

Colours are the colour-blind-safe set of Okabe and Ito (2008), its two lightest darkened so that every line
has a contrast of 3:1 on white and on the book's dark page; markers and dashes differ too, for grey print.
Text is one grey that reads on both pages, backgrounds are transparent.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from gexlib.errors import InputError
from gexlib.files import atomic_path
from gexlib.statistics import LOWER_IS_BETTER

# No grey has more than 4.33:1 on white and on #121212 at once; this one has 4.30:1 or more on both.
INK = "#797979"
VERMILION, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
SKY, ORANGE = "#3A9BD0", "#BF8400"  # darkened from #56B4E9 and #E69F00

METHODS = {  # label, colour, marker, dashes
    "nn_default": ("Neural network (default)", VERMILION, "o", "-"),
    "nn_paper": ("Neural network (tuned once)", VERMILION, "P", "-."),
    "nn_inner": ("Neural network (tuned inside)", VERMILION, "X", ":"),
    "xgboost": ("XGBoost", BLUE, "s", "--"),
    "lasso": ("LASSO", GREEN, "^", "-"),
    "random_forest": ("Random forest", PURPLE, "v", "-."),
    "svm_linear": ("Linear SVM", SKY, "D", "--"),
    "svm_rbf": ("Gaussian SVM", ORANGE, "<", "-."),
    "majority": ("Majority vote", INK, "", ":"),
}
METHOD_LABELS = {method: look[0] for method, look in METHODS.items()}
METHOD_COLOURS = {method: look[1] for method, look in METHODS.items()}
ARMS = {
    "zero_shot": ("Pre-trained, not fine-tuned", INK, "", "--"),
    "classical": ("Best classical method", INK, "D", ":"),
    "pooled": ("Best classical, source and target pooled", GREEN, "^", ":"),
    "baseline": ("Baseline (from scratch)", BLUE, "s", "-"),
    "fine_tuned": ("Pre-trained, fine-tuned", VERMILION, "o", "-"),
}
ARM_LABELS = {arm: look[0] for arm, look in ARMS.items()}
ARM_COLOURS = {arm: look[1] for arm, look in ARMS.items()}
FROZEN_COLOURS = [VERMILION, ORANGE, PURPLE, SKY, GREEN]  # F = 0 .. 4
STATUS_COLOURS = {"cancer": VERMILION, "normal": BLUE}
METRIC_LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "ROC AUC",
    "mcc": "Matthews correlation",
    "log_loss": "Log loss",
}
_INKED = "text.color xtick.color ytick.color grid.color axes.edgecolor axes.labelcolor axes.titlecolor"
RC = {
    **dict.fromkeys(_INKED.split(), INK),
    **dict.fromkeys(["figure.facecolor", "axes.facecolor", "savefig.facecolor"], "none"),
    **dict.fromkeys(["font.size", "axes.titlesize", "figure.titlesize", "legend.fontsize"], 9),
    **dict.fromkeys(["axes.spines.right", "axes.spines.top", "legend.frameon"], False),
    **{"axes.grid": True, "grid.alpha": 0.25, "grid.linewidth": 0.6},
    **{"lines.linewidth": 1.6, "lines.markersize": 5, "errorbar.capsize": 2},
    "axes.prop_cycle": mpl.cycler(color=[VERMILION, BLUE, GREEN, PURPLE, SKY, ORANGE, INK]),
    "font.family": "sans-serif",
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and scaled
    "svg.hashsalt": "gexlib",
}


def style():
    """Return a context manager, ``with style(): ...``, that draws in the look of the book."""
    return mpl.rc_context(RC)


def named(text):
    """Return the reader's words for a task, target or tissue."""
    platform, slash, name = str(text).rpartition("/")
    if not slash:
        return name.replace("_", " ")
    name = {"pan": "pan-cancer status", "type": "cancer type"}.get(name, name.replace("_", " "))
    return f"{'TCGA' if platform == 'tcga' else platform.capitalize()}: {name}"


def cohorts_of(rows):
    """Return the names of the cohorts, each simulated one marked as such."""
    if "cohort" not in rows:
        return ""
    marked = set(rows[rows["simulated"].astype(bool)]["cohort"]) if "simulated" in rows else set()
    names = pd.unique(rows["cohort"].dropna())
    return ", ".join(f"{c} (simulated)" if c in marked or c.startswith("simulated") else c for c in names)


def drawn_from(rows):
    """Say what a figure was drawn from: cohorts and, where the rows have them, sizes, repeats and folds."""
    parts = [cohorts_of(rows)]
    if {"metric", "n", "repeat"} <= set(rows):
        sizes = [f"{int(n):,}" for n in np.unique(rows["n"].dropna()) if n > 0]
        parts.append(
            "n = " + (", ".join(sizes) if len(sizes) < 9 else f"{sizes[0]} to {sizes[-1]}, {len(sizes)} sizes")
        )
        repeats, folds = rows["repeat"].nunique(), rows["fold"].nunique() if "fold" in rows else 0
        parts.append(f"{repeats} repeat{'s' * (repeats != 1)}" + f" of {folds} folds" * (folds > 0))
    return "; ".join(part for part in parts if part)


def need(table, columns, what):
    """Return the table when it has rows and the columns that are drawn."""
    table = pd.DataFrame(table)
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        lack = f"no column {', '.join(missing)}" if missing else "no rows"
        raise InputError(f"The table for {what} has {lack}: run its section first or give another table.")
    return table


def split_panels(table, keys):
    """Split a table into (title, panel); a title has the first key and those that tell panels apart."""
    found = list(table.groupby(keys, dropna=False, sort=False))
    shown = [0]
    for i in range(1, len(keys)):
        before, with_i = ({tuple(key[j] for j in use) for key, _ in found} for use in (shown, [*shown, i]))
        shown += [i] * (len(with_i) > len(before))
    prefix = {"arm": "class weights ", "split": "split: ", "scaler": "scaler: ", "n": "n = "}
    panels = [(", ".join(prefix.get(keys[i], "") + named(key[i]) for i in shown), panel) for key, panel in found]
    if len({title.partition(": ")[0] for title, _ in panels}) == 1 < len(panels):
        panels = [(title.partition(": ")[2] or title, panel) for title, panel in panels]
    return panels


def grid(panels, rows, x, y, columns=3, height=2.2, **shared):
    """Return a figure and one axis a panel, with titles, labels and the cohort that was computed on."""
    n = len(panels)
    columns = min(n, 2 if n == 4 else columns)
    lines = -(-n // columns)
    figure = Figure(figsize=(7.2 if columns > 1 else 5.2, height * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, **shared).ravel()
    for i, axis in enumerate(axes):
        if i >= n:
            axis.remove()
            continue
        axis.set_title(panels[i][0], loc="left")
        axis.set_xlabel(x if i // columns == lines - 1 else "")
        axis.set_ylabel(y if i % columns == 0 else "")
        axis.tick_params(colors=INK, grid_color=INK, grid_alpha=0.25)  # also of ticks made when drawn
    figure.suptitle(drawn_from(rows), x=0.01, ha="left", style="italic")
    return figure, list(axes[:n])


def legend(figure):
    """Put one legend of all labels below the panels and make room for it."""
    pairs = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in figure.axes]
    handles = {label: handle for pair in pairs for handle, label in pair}
    if handles:
        columns = 2 if len(handles) == 4 or figure.get_figwidth() < 6 else 3
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
        figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(handles) // columns))
    return figure


def draw_curves(axis, curves, what=("mean", "low", "high")):
    """Draw (table, look) pairs: means and intervals against n, moved aside so that no bar hides another."""
    for i, (table, (label, colour, marker, dashes)) in enumerate(curves):
        table = table.dropna(subset=[what[0], "n"]).sort_values("n")
        if table.empty:
            continue
        n = table["n"].to_numpy(float) * 1.025 ** (i - (len(curves) - 1) / 2)
        mean, low, high = (table[column].to_numpy(float) for column in what)
        bars = np.nan_to_num([mean - low, high - mean])
        axis.errorbar(n, mean, bars, label=label, color=colour, marker=marker, ls=dashes, elinewidth=0.9)


def size_axis(axis, n):
    """Put the sizes that were run on a logarithmic axis, without ticks that would collide."""
    n = np.unique(n.dropna().to_numpy(float))
    n, ticks = n[n > 0], []
    for size in n:
        if not ticks or np.log(size / ticks[-1]) > 0.17 * np.log(n[-1] / n[0]):
            ticks.append(size)
    axis.set_xscale("log")
    axis.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter())


def window(limits, table, what=("mean", "low", "high"), most=np.inf):
    """Return axis limits that hold all means: an interval of two or three values may run out of them."""
    mean, low, high = (table[column].dropna() for column in what)
    room = max(0.6 * np.ptp(mean), 0.05) if len(mean) else 0
    bottom = limits[0] if low.empty else max(limits[0], mean.min() - room)
    return bottom, min(limits[1] if high.empty else min(limits[1], mean.max() + room), most)


def highest(metric):
    """Return where an axis of the metric may end: every metric but the log loss is at most 1."""
    return np.inf if metric in LOWER_IS_BETTER else 1.02


def method_look(method):
    """Return a method's label, colour, marker and dashes."""
    return METHODS.get(method, (method, INK, "x", "-"))


def ordered(methods):
    """Sort methods as the study lists them."""
    return sorted(set(methods), key=[*METHODS, *sorted(set(methods))].index)


def save(figure, path_stem):
    """Write ``path_stem``.svg and ``path_stem``.png, each whole or not at all, and return their paths.

    The SVG holds no date and no random identifier: the same table gives the same bytes.
    """
    paths = [Path(f"{path_stem}.svg"), Path(f"{path_stem}.png")]
    with style():
        for path, metadata in zip(paths, ({"Date": None}, {"Software": None}), strict=True):
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    return paths
