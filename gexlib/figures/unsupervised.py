"""Figures of transfer without labels: its schemes (Fig. 11) and the gain by target (Figs. 9 and 10)."""

from itertools import product

from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

from gexlib.figures.look import (
    BLUE,
    FROZEN_COLOURS,
    INK,
    METRIC_LABELS,
    VERMILION,
    draw_curves,
    grid,
    legend,
    need,
    size_axis,
    split_panels,
    style,
    window,
)

_HEIGHTS = (11, 7.5, 5, 3, 1.6)  # of the layers as drawn: genes, three hidden layers, status
_KEPT = {"fc": VERMILION, "lw": 0}  # weights that the target's network takes over
_FIXED = {"fc": "none", "ec": VERMILION, "lw": 1.1}
_NEW = {"fc": BLUE, "lw": 0}
_DROPPED = {"fc": "none", "ec": INK, "lw": 0.7, "hatch": "////"}


def _network(axis, x, y, layers, weights):
    """Draw a network: a bar a layer, of the heights numbered `layers`, and between bars their weights."""
    for i, layer in enumerate(layers):
        height, at = _HEIGHTS[layer], x + 4.2 * i
        axis.add_patch(Rectangle((at, y - height / 2), 0.9, height, fc=INK, lw=0))
        if i:
            before = _HEIGHTS[layers[i - 1]]
            corners = [
                (at - 3.1, y - before / 2), (at - 3.1, y + before / 2), (at - 0.2, y + height / 2),
                (at - 0.2, y - height / 2),
            ]  # fmt: skip
            axis.add_patch(Polygon(corners, **weights[i - 1]))


@style()
def schemes():
    """Draw how layers are pre-trained (Fig. 11): with labels, as a whole encoder, or layer by layer."""
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0, 100), ylim=(-3.5, 71))
    axis.axis("off")
    starts = {"A": 5, "B": 35, "C": 72}
    for (letter, x), name in zip(starts.items(), ("with labels", "whole encoder", "layer by layer"), strict=True):
        axis.text(x, 69, letter, weight="bold", va="center")
        axis.text(x + 3, 69, name, va="center")
        _network(axis, x, 6, [0, 1, 2, 3, 4], [_KEPT] * 3 + [_KEPT if letter == "A" else _NEW])
        axis.text(x + 0.5, -0.2, "genes", ha="center", va="top")
        axis.text(x + 17.2, -0.2, "status", ha="center", va="top")
    _network(axis, 5, 43, [0, 1, 2, 3, 4], [_KEPT] * 4)
    _network(axis, 35, 43, [0, 1, 2, 3, 2, 1, 0], [_KEPT] * 3 + [_DROPPED] * 3)
    for step, y, again in ((1, 59.5, "genes"), (2, 41.5, "layer 1"), (3, 27, "layer 2")):
        _network(axis, 72, y, [*range(step + 1), step - 1], [_FIXED] * (step - 1) + [_KEPT, _DROPPED])
        axis.text(69.5, y, str(step), weight="bold", ha="center", va="center")
        axis.text(74.5 + 4.2 * (step + 1), y, again, va="center")
    for x, y, name in (
        (5.5, 36, "genes"), (22.2, 36, "status"), (35.5, 36, "genes\n+ noise"), (60.7, 36, "genes"),
        (72.5, 53, "genes\n+ noise"),
    ):  # fmt: skip
        axis.text(x, y, name, ha="center", va="top")
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    for x, y, text in ((13.8, 36, "copy all"), (48.1, 32, "copy the\nencoder"), (80.8, 20.5, "copy the\nlayers")):
        axis.annotate("", (x, 12), (x, y), arrowprops=arrow)
        axis.text(x + 1.6, 16.5, text, va="center")
    axis.text(0, 43, "source", rotation=90, ha="center", va="center", weight="bold")
    axis.text(0, 6, "target", rotation=90, ha="center", va="center", weight="bold")
    named = {
        "pre-trained": _KEPT, "pre-trained before, held fixed": _FIXED, "decoder, thrown away": _DROPPED,
        "new output layer": _NEW,
    }  # fmt: skip
    figure.legend(
        [Patch(**fill) for fill in named.values()], named.keys(), loc="outside lower center", ncols=4,
        columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    return figure


@style()
def gain_by_target(table):
    """Draw the gain of pre-training without labels against n, one panel a target and metric (Figs. 9, 10).

    The gain is fine-tuned minus baseline on the same samples. Curves of one panel share their baselines.

    Parameters
    ----------
    table : DataFrame
        What `gexlib.experiments.unsupervised.gains` returns: a curve a way of pre-training (colour) and number
        of frozen layers (dashes), with 95 % t intervals of the mean paired difference. Long ones leave the
        panel.
    """
    what = ("difference", "difference_low", "difference_high")
    table = need(table, ["target", "n", "pretraining", "frozen", "metric", *what], "gains by target")
    metrics, ways = (list(table[name].unique()) for name in ("metric", "pretraining"))
    depths = sorted(table["frozen"].unique())
    panels = [
        (title + f", {METRIC_LABELS.get(m, m)}" * (len(metrics) > 1), panel[panel["metric"] == m])
        for (title, panel), m in product(split_panels(table, ["target", "cohort", "split"]), metrics)
    ]
    label = f"{METRIC_LABELS.get(metrics[0], metrics[0])} gain" if len(metrics) == 1 else "Gain"
    figure, axes = grid(panels, table, "Labelled target samples", label, 4 if len(metrics) == 2 else 3, sharey=True)
    for axis, (_, panel) in zip(axes, panels, strict=True):
        axis.axhline(0, color=INK, lw=1)
        curves = []
        for (i, way), (j, frozen) in product(enumerate(ways), enumerate(depths)):
            part = panel[(panel["pretraining"] == way) & (panel["frozen"] == frozen)]
            name = way + f", F = {frozen}" * (len(depths) > 1)
            if len(part):
                dashes = ("-", "--", ":", "-.")[j % 4]
                curves.append((part, (name, FROZEN_COLOURS[i % 5], "osv^D"[i % 5], dashes)))
        draw_curves(axis, curves, what)
        size_axis(axis, panel["n"])
    axes[0].set_ylim(window(axes[0].get_ylim(), table, what))
    return legend(figure)
