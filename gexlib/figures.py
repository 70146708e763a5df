"""The figures of the book, all from tidy tables and all in one look.

A figure never trains and never reads a file: it takes a table and returns a matplotlib ``Figure`` that
belongs to no pyplot state. Colours are the colour-blind-safe set of Okabe and Ito (2008), its two lightest
darkened so that every line has a contrast of 3:1 on white and on the book's dark page; markers and dashes
differ too, for grey print. Text is one grey that reads on both pages, backgrounds are transparent.
"""

from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from gexlib.errors import InputError
from gexlib.files import atomic_path
from gexlib.statistics import ARM_AXES, LOWER_IS_BETTER, compare_arms, summarise

# No grey has more than 4.33:1 on white and on #121212 at once; this one has 4.30:1 or more on both.
INK = "#797979"
VERMILION, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
SKY, ORANGE = "#3A9BD0", "#BF8400"  # darkened from #56B4E9 and #E69F00

_METHODS = {  # label, colour, marker, dashes
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
METHOD_LABELS = {method: look[0] for method, look in _METHODS.items()}
METHOD_COLOURS = {method: look[1] for method, look in _METHODS.items()}
_ARMS = {
    "zero_shot": ("Pre-trained, not fine-tuned", INK, "", "--"),
    "classical": ("Best classical method", INK, "D", ":"),
    "baseline": ("Baseline (from scratch)", BLUE, "s", "-"),
    "fine_tuned": ("Pre-trained, fine-tuned", VERMILION, "o", "-"),
}
ARM_LABELS = {arm: look[0] for arm, look in _ARMS.items()}
ARM_COLOURS = {arm: look[1] for arm, look in _ARMS.items()}
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


def _name(text):
    """Return the reader's words for a task, target or tissue."""
    platform, slash, name = str(text).rpartition("/")
    if not slash:
        return name.replace("_", " ")
    name = {"pan": "pan-cancer status", "type": "cancer type"}.get(name, name.replace("_", " "))
    return f"{'TCGA' if platform == 'tcga' else platform.capitalize()}: {name}"


def _cohorts(rows):
    """Return the names of the cohorts, each simulated one marked as such."""
    if "cohort" not in rows:
        return ""
    marked = set(rows[rows["simulated"].astype(bool)]["cohort"]) if "simulated" in rows else set()
    names = pd.unique(rows["cohort"].dropna())
    return ", ".join(f"{c} (simulated)" if c in marked or c.startswith("simulated") else c for c in names)


def _need(table, columns, what):
    """Return the table when it has rows and the columns that are drawn."""
    table = pd.DataFrame(table)
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        lack = f"no column {', '.join(missing)}" if missing else "no rows"
        raise InputError(f"The table for {what} has {lack}: run its section first or give another table.")
    return table


def _panels(table, keys):
    """Split a table into (title, panel); a title has the first key and those that tell panels apart."""
    found = list(table.groupby(keys, dropna=False, sort=False))
    shown = [0]
    for i in range(1, len(keys)):
        before, with_i = ({tuple(key[j] for j in use) for key, _ in found} for use in (shown, [*shown, i]))
        shown += [i] * (len(with_i) > len(before))
    prefix = {"arm": "class weights ", "split": "split: ", "scaler": "scaler: ", "n": "n = "}
    panels = [(", ".join(prefix.get(keys[i], "") + _name(key[i]) for i in shown), panel) for key, panel in found]
    if len({title.partition(": ")[0] for title, _ in panels}) == 1 < len(panels):
        panels = [(title.partition(": ")[2] or title, panel) for title, panel in panels]
    return panels


def _target_panels(table, *more):
    """Split a transfer table by target, and by source where a source is itself a target."""
    panels = _panels(table, ["target", "cohort", "split", *more])
    if not set(table["source"]) & set(table["target"]):
        return panels
    return [
        (f"{_name(source)} \u2192 {title}" if source else title, panel[panel["source"].isin(["", source])])
        for title, panel in panels
        for source in [s for s in pd.unique(panel["source"]) if s] or [""]
    ]


def _grid(panels, rows, x, y, columns=3, height=2.2, **shared):
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
    figure.suptitle(_cohorts(rows), x=0.01, ha="left", style="italic")
    return figure, list(axes[:n])


def _legend(figure):
    pairs = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in figure.axes]
    handles = {label: handle for pair in pairs for handle, label in pair}
    if handles:
        columns = 2 if len(handles) == 4 or figure.get_figwidth() < 6 else 3
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
        figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(handles) // columns))
    return figure


def _curves(axis, curves, what=("mean", "low", "high")):
    """Draw (table, look) pairs: means and intervals against n, moved aside so that no bar hides another."""
    for i, (table, (label, colour, marker, dashes)) in enumerate(curves):
        table = table.dropna(subset=[what[0], "n"]).sort_values("n")
        if table.empty:
            continue
        n = table["n"].to_numpy(float) * 1.025 ** (i - (len(curves) - 1) / 2)
        mean, low, high = (table[column].to_numpy(float) for column in what)
        bars = np.nan_to_num([mean - low, high - mean])
        axis.errorbar(n, mean, bars, label=label, color=colour, marker=marker, ls=dashes, elinewidth=0.9)


def _sizes(axis, n):
    """Put the sizes that were run on a logarithmic axis, without ticks that would collide."""
    n = np.unique(n.dropna().to_numpy(float))
    n, ticks = n[n > 0], []
    for size in n:
        if not ticks or np.log(size / ticks[-1]) > 0.17 * np.log(n[-1] / n[0]):
            ticks.append(size)
    axis.set_xscale("log")
    axis.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter())


def _window(limits, table, what=("mean", "low", "high"), most=np.inf):
    """Return axis limits that hold all means: an interval of two or three values may run out of them."""
    mean, low, high = (table[column].dropna() for column in what)
    room = max(0.6 * np.ptp(mean), 0.05) if len(mean) else 0
    bottom = limits[0] if low.empty else max(limits[0], mean.min() - room)
    return bottom, min(limits[1] if high.empty else min(limits[1], mean.max() + room), most)


def _most(metric):
    """Return where an axis of the metric may end: every metric but the log loss is at most 1."""
    return np.inf if metric in LOWER_IS_BETTER else 1.02


def _method_look(method):
    return _METHODS.get(method, (method, INK, "x", "-"))


def _frozen_curves(tuned, label):
    """Return one (table, look) for each number of frozen layers, smallest first, and scaler."""
    depths, curves = tuned["frozen"].fillna(0).astype(int), []
    for f, _, scaler in sorted(set(zip(depths, tuned["scaler"] != "source", tuned["scaler"], strict=True))):
        name = label.format(f) + f", scaler: {scaler}" * (tuned["scaler"].nunique() > 1)
        dashes = {"subset": ":", "all": "--"}.get(scaler, "-")
        look = name, FROZEN_COLOURS[f % 5], "ov^D<"[f % 5], dashes
        curves.append((tuned[(depths == f) & (tuned["scaler"] == scaler)], look))
    return curves


@style()
def experiment_map():
    """Draw the plan of the study (Fig. 1): datasets, their 22 tasks, and which section uses which task."""
    figure = Figure(figsize=(7.2, 4.9), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0, 100), ylim=(-2, 69))
    axis.axis("off")
    tasks = {45: "pan-cancer\nstatus", 57: "status in\na tissue", 71: "pan-cancer\nstatus"}
    tasks |= {82.5: "cancer\ntype", 93.5: "status in\na type"}
    counts = dict(zip(tasks, ("1 task", "11 tasks", "1 task", "1 task", "8 tasks"), strict=True))
    colour = {x: BLUE if x < 60 else VERMILION for x in tasks}
    for x, width, name, ink in ((39, 24, "Microarray", BLUE), (65, 34.5, "TCGA, RNA-seq", VERMILION)):
        shape = "round,pad=0,rounding_size=1"
        axis.add_patch(FancyBboxPatch((x, 62), width, 6, boxstyle=shape, fc="none", ec=ink, lw=1.6))
        axis.text(x + width / 2, 64.9, name, ha="center", va="center", weight="bold", color=ink)
    for x, name in tasks.items():
        axis.plot([x, x], [62, 60], color=colour[x], lw=1.2)
        axis.text(x, 59.3, name, ha="center", va="top")
        axis.text(x, 53, counts[x], ha="center", va="top", weight="bold")
        axis.plot([x, x], [48.5, 5], color=colour[x], lw=1.2, alpha=0.4)
    sections = [  # name, question, tasks it measures, (source of pre-training, target)
        ("Sensitivity", "which settings move accuracy", (45, 71, 82.5), ()),
        ("Comparison", "against five classical methods", tuple(tasks), ()),
        ("Cell lines and patients", "from one origin to the other", (45,), ((45, 45),)),
        ("Pan-cancer to specific", "from all other tissues to one", (57, 93.5), ((45, 57), (71, 93.5))),
        ("One cancer to another", "every pair of tissues or types", (57, 93.5), ((57, 57), (93.5, 93.5))),
        ("Unsupervised transfer", "from unlabelled to one tissue", (57, 93.5), ((45, 57), (71, 93.5))),
    ]
    for i, (name, question, measured, transfers) in enumerate(sections):
        y = 45 - 7.4 * i
        axis.text(6, y + 1.4, name, va="center", weight="bold")
        axis.text(6, y - 1.6, question, va="center")
        axis.scatter(measured, [y] * len(measured), s=49, color=[colour[x] for x in measured], zorder=3)
        for source, target in transfers:
            axis.plot(source, y, "o", ms=13, mfc="none", mew=1.6, color=colour[source])
            if source != target:
                arrow = {"arrowstyle": "-|>", "color": colour[source], "lw": 1.4, "shrinkA": 8, "shrinkB": 5}
                axis.annotate("", (target, y), (source, y), arrowprops=arrow)
    axis.plot([4, 3, 3, 4], [33.5, 33.5, 12, 12], color=INK, lw=1)
    axis.text(1.2, 22.7, "supervised transfer", rotation=90, ha="center", va="center")
    axis.plot(42, 0, "o", ms=7, color=INK)
    axis.text(44, 0, "measured", va="center")
    axis.plot(60, 0, "o", ms=13, mfc="none", mew=1.6, color=INK)
    axis.text(62.5, 0, "pre-trained on, then transferred", va="center")
    return figure


@style()
def pca(scores, hue="tissue", explained=None):
    """Scatter the first two principal components, by status and origin, and by tissue or type.

    Parameters
    ----------
    scores : DataFrame
        One row a sample: pc1, pc2, status, the column ``hue``, and where known origin and cohort. Each cohort
        has two panels of its own.
    hue : str
        Column of the second panel: "tissue", "cancer_type", or "site" for either.
    explained : pair of float or dict, optional
        Shares of variance in 0..1, of several cohorts by name; default ``scores.attrs["explained"]`` if set.
    """
    scores = _need(scores, ["pc1", "pc2", "status", hue], "principal components")
    explained = scores.attrs.get("explained", {}) if explained is None else explained
    cohorts = scores["cohort"] if "cohort" in scores else pd.Series("", index=scores.index)
    by_cohort = list(scores.groupby(cohorts, sort=False))
    if not isinstance(explained, dict):
        explained = {by_cohort[0][0]: explained} if len(by_cohort) == 1 else {}
    titles = ("status", "tissue or type" if hue == "site" else _name(hue))
    panels = [
        (f"{cohort}: {title}" if len(by_cohort) > 1 else title.capitalize(), (cohort, part, kind))
        for cohort, part in by_cohort
        for kind, title in enumerate(titles)
    ]
    figure, axes = _grid(panels, scores, "", "", columns=2, height=3.9, sharex="row", sharey="row")
    look = {"s": 13, "alpha": 0.65, "rasterized": len(scores) > 2000}  # a vector for every sample is too much
    for axis, (_, (cohort, part, kind)) in zip(axes, panels, strict=True):
        if kind:
            _scatter_by_site(axis, part, hue, **look)
        for points, dot in () if kind else _by_status(part):
            axis.scatter(points["pc1"], points["pc2"], **dot, **look)
        shares = [f" ({share:.1%} of variance)" for share in explained.get(cohort, ())] or ["", ""]
        axis.set_xlabel(f"First component{shares[0]}")
        axis.set_ylabel("" if kind else f"Second component{shares[1]}")
        place = {"loc": "upper left", "bbox_to_anchor": (-0.1, -0.13), "ncols": 2 + kind}
        axis.legend(**place, columnspacing=0.8, handletextpad=0.1)
    return figure


def _by_status(scores):
    """Yield the points of each status and origin, and how they are drawn."""
    origins = scores["origin"].fillna("") if "origin" in scores else pd.Series("", index=scores.index)
    for (status, origin), points in scores.groupby([scores["status"], origins]):
        ink = STATUS_COLOURS.get(status, INK)
        name = f"{status}, {_name(origin)}" if origin and origins.nunique() > 1 else status
        face, marker = "none" if origin == "cell_line" else ink, "^" if status == "normal" else "o"
        yield points, {"label": name, "ec": ink, "fc": face, "lw": 0.8, "marker": marker}


def _scatter_by_site(axis, scores, hue, **look):
    """Scatter the samples by tissue or type, each with a colour and a marker of its own."""
    names = scores[hue].fillna("").replace("", "not known").map(_name).rename("site")
    order, colours = sorted(names.unique()), RC["axes.prop_cycle"].by_key()["color"]
    seaborn.scatterplot(
        x=scores["pc1"], y=scores["pc2"], hue=names, style=names, hue_order=order, style_order=order,
        palette=[colours[i % len(colours)] for i in range(len(order))],
        markers=["osv^DP<X>*p"[i % 11] for i in range(len(order))], lw=0, ax=axis, **look,
    )  # fmt: skip


@style()
def class_balance(counts, by="tissue"):
    """Draw how many cancer and normal samples each tissue or type has, as stacked bars.

    Parameters
    ----------
    counts : DataFrame
        The columns ``by``, status ("cancer" or "normal"), count, and cohort, which has its own panel.
    by : str
        "tissue", "cancer_type", or "site" for either.
    """
    counts = _need(counts, [by, "status", "count"], "class counts")
    cohorts = counts["cohort"] if "cohort" in counts else pd.Series("", index=counts.index)
    panels = list(counts.groupby(cohorts, sort=False))
    panels = [(cohort if len(panels) > 1 else "", part) for cohort, part in panels]
    rows = max(part[by].nunique() for _, part in panels)
    figure, axes = _grid(panels, counts, "Samples", "", columns=2, height=0.24 * rows + 0.6)
    for axis, (_, part) in zip(axes, panels, strict=True):
        wide = part.pivot_table(index=by, columns="status", values="count", aggfunc="sum", fill_value=0)
        wide = wide.reindex(columns=list(STATUS_COLOURS), fill_value=0)
        wide = wide.loc[wide.sum(axis=1).sort_values().index]
        left, names = np.zeros(len(wide)), [_name(name) for name in wide.index]
        for status, ink in STATUS_COLOURS.items():
            fill = {"fc": ink} if status == "cancer" else {"fc": "none", "hatch": "////"}
            axis.barh(names, wide[status], left=left, label=status, ec=ink, height=0.7, zorder=2, **fill)
            left = left + wide[status].to_numpy()
        for y, (total, normal) in enumerate(zip(left, wide["normal"], strict=True)):
            axis.text(total, y, f"  {normal / max(total, 1):.0%} normal", va="center", size=8)
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.2 if len(panels) == 1 else 0.4)
    return _legend(figure)


@style()
def simulation_check(comparison):
    """Compare a simulated cohort with the real one that it was calibrated on, one panel a statistic.

    Parameters
    ----------
    comparison : DataFrame
        Columns statistic, real, simulated, and ``at`` (a quantile or an index) for statistics that are
        curves. Statistics of one number share the last panel, as simulated / real. Cohorts are drawn apart.
    """
    table = _need(comparison, ["statistic", "real", "simulated"], "the check of the simulation")
    table = table.assign(**{c: table[c] if c in table else d for c, d in (("at", np.nan), ("cohort", ""))})
    order = {name: i for i, name in enumerate(pd.unique(table["statistic"]))}
    table = table.sort_values(["statistic", "cohort", "at"], key=lambda c: c.map(order) if c.name == "statistic" else c)
    curve = table.groupby(["statistic", "cohort"])["at"].transform("count") > 1
    panels = _panels(table[curve], ["statistic", "cohort"])
    several = table["cohort"].nunique() > 1
    for cohort, single in table[~curve].groupby("cohort", sort=False):
        panels.append(("simulated / real" + f", {cohort}" * several, single.assign(at=np.nan)))
    columns = 2 if several or not curve.all() else 3
    figure, axes = _grid(panels, comparison, "Quantile or index", "", columns=columns, height=1.9)
    for axis, (_, part) in zip(axes, panels, strict=True):
        if part["at"].notna().any():
            axis.plot(part["at"], part["real"], "o-", color=BLUE, label="real", ms=4)
            axis.plot(part["at"], part["simulated"], "^--", color=VERMILION, label="simulated", ms=4)
            continue
        ratio = part["simulated"] / part["real"].where(part["real"] != 0)
        labels = ("", "") if curve.any() else ("real", "simulated")  # else the curves have said it
        axis.plot(np.ones(len(part)), range(len(part)), "|", ms=12, mew=2, color=BLUE, label=labels[0])
        axis.plot(ratio, range(len(part)), "^", color=VERMILION, label=labels[1])
        low, high = np.nanmin([*ratio, 0.95]), np.nanmax([*ratio, 1.05])
        for y, name in enumerate(part["statistic"]):
            axis.text(0.01, y, _name(name), transform=axis.get_yaxis_transform(), va="center", size=8)
        left = min(0.023 * part["statistic"].str.len().max(), 0.7)  # the share of the width that names take
        ticks = [tick for tick in MaxNLocator(4 if left < 0.5 else 2).tick_values(low, high) if tick >= low]
        axis.set(xlabel="", xticks=ticks, yticks=[], ylim=(-0.7, len(part) - 0.3))
        axis.set_xlim(low - left / (1 - left) * 1.2 * (high - low), high + 0.1 * (high - low))
    return _legend(figure)


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
    rows = _need(rows, ["task", "method", "metric"], "learning curves")
    rows = rows[rows["method"] != "majority"]  # given in the tables: its line would squeeze the others
    table = summarise(rows, metric, ["task", "cohort", "split", "arm", "n", "method"], unit)
    panels = _panels(table, ["task", "cohort", "split", "arm"])
    label = METRIC_LABELS.get(metric, metric)
    figure, axes = _grid(panels, rows, "Training samples", label, height=2.6, sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        _curves(axis, [(panel[panel["method"] == m], _method_look(m)) for m in _ordered(table["method"])])
        _sizes(axis, panel["n"])
    axes[0].set_ylim(_window(axes[0].get_ylim(), table, most=_most(metric)))
    return _legend(figure)


def _ordered(methods):
    return sorted(set(methods), key=[*_METHODS, *sorted(set(methods))].index)


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
    table = _need(table, ["task", "method", "n", "mean", "low", "high", "p_bh"], "the methods")
    panels = _panels(table, [key for key in ("task", "cohort", "split", "arm", "n") if key in table])
    methods = _ordered(table["method"])[::-1]
    look = {"columns": 2, "height": 0.22 * len(methods) + 0.6, "sharey": True}
    figure, axes = _grid(panels, table, METRIC_LABELS.get(metric, metric), "", **look)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        for row in panel.itertuples():
            y, bars = methods.index(row.method), np.nan_to_num([[row.mean - row.low], [row.high - row.mean]])
            _, colour, marker, _ = _method_look(row.method)
            if marker:
                axis.errorbar(row.mean, y, xerr=bars, color=colour, marker=marker)
            text = f"{row.mean:.3f}{' *' * (row.p_bh < 0.05)}"
            axis.text(1.02, y, text, transform=axis.get_yaxis_transform(), va="center", size=8)
        axis.set_yticks(range(len(methods)), [_method_look(method)[0] for method in methods])
        axis.set_ylim(-0.6, len(methods) - 0.4)
        axis.set_xlim(_window(axis.get_xlim(), panel[panel["method"] != "majority"], most=_most(metric)))
    return figure


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
    rows = _need(rows, ["target", "arm", "metric"], "transfer curves")
    against = (rows["arm"] == "baseline").any()
    table = compare_arms(rows, metric, unit=unit) if against else summarise(rows, metric, ARM_AXES, unit)
    panels = _target_panels(table, "scaler")
    figure, axes = _grid(panels, rows, "Target samples", METRIC_LABELS.get(metric, metric), sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        zero, classical, baseline, tuned = (panel[panel["arm"] == arm] for arm in _ARMS)
        if len(zero):
            label, colour, _, dashes = _ARMS["zero_shot"]
            axis.axhline(zero["mean"].mean(), color=colour, ls=dashes, label=label)
        if (classical["method"] == "best_classical").any():
            classical = classical[classical["method"] == "best_classical"]
        classical = classical.sort_values("mean", ascending=metric in LOWER_IS_BETTER).drop_duplicates("n")
        several = table["frozen"].nunique() > 1
        curves = _frozen_curves(tuned, ARM_LABELS["fine_tuned"] + ", F = {}" * several)
        _curves(axis, [(classical, _ARMS["classical"]), (baseline, _ARMS["baseline"]), *curves])
        last, place = 0, {"transform": axis.get_xaxis_transform(), "ha": "center", "va": "center"}
        for row in curves[0][0].sort_values("n").itertuples() if curves and against else ():
            colour, close = BLUE if row.winner == "baseline" else curves[0][1][1], row.n < 1.2 * last
            axis.text(row.n, 0.95 - 0.07 * close, row.stars, color=colour, weight="bold", size=11, **place)
            last = 0 if close else row.n
        _sizes(axis, panel["n"])
    low, high = _window(axes[0].get_ylim(), table, most=_most(metric))
    axes[0].set_ylim(low, high + 0.12 * (high - low))  # shared; room for the stars
    return _legend(figure)


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
    rows = _need(rows, ["target", "arm", "metric"], "gain curves")
    rows = rows[rows["arm"].isin(["baseline", "fine_tuned"])]
    metrics = [metric] if isinstance(metric, str) else list(metric)
    metrics = [m for m in metrics if (rows["metric"] == m).any()] or metrics[:1]
    table = pd.concat([compare_arms(rows, m, unit=unit).assign(metric=m) for m in metrics])
    table = _need(table[table["arm"] == "fine_tuned"], [], "gain curves")
    panels = [
        (title + f", {METRIC_LABELS.get(m, m)}" * (len(metrics) > 1), panel[panel["metric"] == m])
        for (title, panel), m in product(_target_panels(table), metrics)
    ]
    label = f"{METRIC_LABELS.get(metrics[0], metrics[0])} gain" if len(metrics) == 1 else "Gain"
    columns, what = 2 * len(metrics), ("difference", "difference_low", "difference_high")
    figure, axes = _grid(panels, rows, "Target samples", label, columns if columns == 4 else 3, sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axhline(0, color=INK, lw=1)
        _curves(axis, _frozen_curves(panel, "{} layers frozen"), what)
        _sizes(axis, panel["n"])
    axes[0].set_ylim(_window(axes[0].get_ylim(), table, what))
    return _legend(figure)


def caption(rows, what, unit=None):
    """Return one sentence for below a figure: what it shows, cohort, sizes, repeats and folds, bars.

    Parameters
    ----------
    rows : DataFrame
        The tidy rows that the figure was drawn from.
    what : str
        How the sentence begins.
    unit : {"fold", "repeat"}, optional
        What the figure was drawn with; default "fold" where the rows have folds.
    """
    rows = _need(rows, ["cohort", "n", "repeat"], "a caption")
    sizes = [f"{int(n):,}" for n in np.unique(rows["n"].dropna()) if n > 0]
    sizes = ", ".join(sizes) if len(sizes) < 9 else f"{sizes[0]} to {sizes[-1]} ({len(sizes)} sizes)"
    repeats, folds = rows["repeat"].nunique(), rows["fold"].nunique() if "fold" in rows else 0
    runs = f"{repeats} repeat{'s' * (repeats != 1)}" + f" of {folds} folds" * (folds > 0)
    unit = unit or ("fold" if folds else "repeat")
    bars = f"bars are 95 % t intervals of the mean over {unit}s"
    return f"{what}; cohort {_cohorts(rows)}; n = {sizes}; {runs}; {bars}."


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
