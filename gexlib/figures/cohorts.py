"""Figures of the data: the plan of the study (Fig. 1) and what the cohorts hold."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from gexlib.figures.look import (
    BLUE,
    INK,
    RC,
    STATUS_COLOURS,
    VERMILION,
    grid,
    legend,
    named,
    need,
    split_panels,
    style,
)


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
    scores = need(scores, ["pc1", "pc2", "status", hue], "principal components")
    explained = scores.attrs.get("explained", {}) if explained is None else explained
    cohorts = scores["cohort"] if "cohort" in scores else pd.Series("", index=scores.index)
    by_cohort = list(scores.groupby(cohorts, sort=False))
    if not isinstance(explained, dict):
        explained = {by_cohort[0][0]: explained} if len(by_cohort) == 1 else {}
    titles = ("status", "tissue or type" if hue == "site" else named(hue))
    panels = [
        (f"{cohort}: {title}" if len(by_cohort) > 1 else title.capitalize(), (cohort, part, kind))
        for cohort, part in by_cohort
        for kind, title in enumerate(titles)
    ]
    figure, axes = grid(panels, scores, "", "", columns=2, height=3.9, sharex="row", sharey="row")
    look = {"s": 13, "alpha": 0.65, "rasterized": len(scores) > 2000}  # a vector for every sample is too much
    for axis, (_, (cohort, part, kind)) in zip(axes, panels, strict=True):
        if kind:
            _scatter_by_site(axis, part, hue, **look)
        for points, dot in () if kind else _by_status(part):
            axis.scatter(points["pc1"], points["pc2"], **dot, **look)
        shares = [f" ({share:.1%} of variance)" for share in explained.get(cohort, ())] or ["", ""]
        axis.set_xlabel(f"First component{shares[0]}")
        axis.set_ylabel("" if kind else f"Second component{shares[1]}")
        below = axis.transAxes + ScaledTranslation(
            0, -0.4, figure.dpi_scale_trans
        )  # inches, whatever the panel's height
        place = {"loc": "upper left", "bbox_to_anchor": (-0.1, 0), "bbox_transform": below, "ncols": 2 + kind}
        axis.legend(**place, columnspacing=0.8, handletextpad=0.1)
    return figure


def _by_status(scores):
    """Yield the points of each status and origin, and how they are drawn."""
    origins = scores["origin"].fillna("") if "origin" in scores else pd.Series("", index=scores.index)
    for (status, origin), points in scores.groupby([scores["status"], origins]):
        ink = STATUS_COLOURS.get(status, INK)
        name = f"{status}, {named(origin)}" if origin and origins.nunique() > 1 else status
        face, marker = "none" if origin == "cell_line" else ink, "^" if status == "normal" else "o"
        yield points, {"label": name, "ec": ink, "fc": face, "lw": 0.8, "marker": marker}


def _scatter_by_site(axis, scores, hue, **look):
    """Scatter the samples by tissue or type, each with a colour and a marker of its own."""
    names = scores[hue].fillna("").replace("", "not known").map(named).rename("site")
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
    counts = need(counts, [by, "status", "count"], "class counts")
    cohorts = counts["cohort"] if "cohort" in counts else pd.Series("", index=counts.index)
    panels = list(counts.groupby(cohorts, sort=False))
    panels = [(cohort if len(panels) > 1 else "", part) for cohort, part in panels]
    rows = max(part[by].nunique() for _, part in panels)
    figure, axes = grid(panels, counts, "Samples", "", columns=2, height=0.24 * rows + 0.6)
    for axis, (_, part) in zip(axes, panels, strict=True):
        wide = part.pivot_table(index=by, columns="status", values="count", aggfunc="sum", fill_value=0)
        wide = wide.reindex(columns=list(STATUS_COLOURS), fill_value=0)
        wide = wide.loc[wide.sum(axis=1).sort_values().index]
        left, names = np.zeros(len(wide)), [named(name) for name in wide.index]
        for status, ink in STATUS_COLOURS.items():
            fill = {"fc": ink} if status == "cancer" else {"fc": "none", "hatch": "////"}
            axis.barh(names, wide[status], left=left, label=status, ec=ink, height=0.7, zorder=2, **fill)
            left = left + wide[status].to_numpy()
        for y, (total, normal) in enumerate(zip(left, wide["normal"], strict=True)):
            axis.text(total, y, f"  {normal / max(total, 1):.0%} normal", va="center", size=8)
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.2 if len(panels) == 1 else 0.4)
    return legend(figure)


@style()
def simulation_check(comparison):
    """Compare a simulated cohort with the real one that it was calibrated on, one panel a statistic.

    Parameters
    ----------
    comparison : DataFrame
        Columns statistic, real, simulated, and ``at`` (a quantile or an index) for statistics that are
        curves. Statistics of one number share the last panel, as simulated / real. Cohorts are drawn apart.
    """
    table = need(comparison, ["statistic", "real", "simulated"], "the check of the simulation")
    table = table.assign(**{c: table[c] if c in table else d for c, d in (("at", np.nan), ("cohort", ""))})
    order = {name: i for i, name in enumerate(pd.unique(table["statistic"]))}
    table = table.sort_values(["statistic", "cohort", "at"], key=lambda c: c.map(order) if c.name == "statistic" else c)
    curve = table.groupby(["statistic", "cohort"])["at"].transform("count") > 1
    panels = split_panels(table[curve], ["statistic", "cohort"])
    several = table["cohort"].nunique() > 1
    for cohort, single in table[~curve].groupby("cohort", sort=False):
        panels.append(("simulated / real" + f", {cohort}" * several, single.assign(at=np.nan)))
    columns = 2 if several or not curve.all() else 3
    figure, axes = grid(panels, comparison, "Quantile or index", "", columns=columns, height=1.9)
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
            axis.text(0.01, y, named(name), transform=axis.get_yaxis_transform(), va="center", size=8)
        left = min(0.023 * part["statistic"].str.len().max(), 0.7)  # the share of the width that names take
        ticks = [tick for tick in MaxNLocator(4 if left < 0.5 else 2).tick_values(low, high) if tick >= low]
        axis.set(xlabel="", xticks=ticks, yticks=[], ylim=(-0.7, len(part) - 0.3))
        axis.set_xlim(low - left / (1 - left) * 1.2 * (high - low), high + 0.1 * (high - low))
    return legend(figure)
