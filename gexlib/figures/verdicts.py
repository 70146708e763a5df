"""The ledger at a glance."""

import numpy as np
from matplotlib.figure import Figure

from gexlib.figures.look import BLUE, GREEN, INK, ORANGE, SKY, VERMILION, need, style

COLOURS = {
    "reproduced": GREEN, "not reproduced": VERMILION, "consistent": BLUE, "inconsistent": ORANGE, "inconclusive": SKY,
    "not testable here": INK,
}  # fmt: skip
LABEL = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
HATCHES = {"inconsistent": "////", "not reproduced": "////", "inconclusive": "...."}


def verdict_bars(table):
    """Count the statements of each section by verdict.

    Parameters
    ----------
    table : DataFrame
        What `gexlib.ledger.ledger` returns.

    Returns
    -------
    Figure
    """
    need(table, ["section", "verdict"], "verdict_bars")
    counts = table.groupby(["section", "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts[[verdict for verdict in COLOURS if verdict in counts]].iloc[::-1]
    with style():
        figure = Figure(figsize=(7, 0.6 + 0.32 * len(counts)), layout="constrained")
        axis, left = figure.subplots(), np.zeros(len(counts))
        for verdict in counts:
            axis.barh(
                counts.index, counts[verdict], left=left, color=COLOURS[verdict], label=verdict,
                hatch=HATCHES.get(verdict), edgecolor="white", linewidth=0.5,
            )  # fmt: skip
            for row, (start, count) in enumerate(zip(left, counts[verdict], strict=True)):
                if count:
                    axis.text(start + count / 2, row, str(count), ha="center", va="center", color="#101010", bbox=LABEL)
            left += counts[verdict].to_numpy()
        axis.set(xlabel="statements of the article")
        axis.grid(visible=False, axis="y")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
