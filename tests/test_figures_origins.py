"""Figures of transfer between two domains say what their tables say."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gexlib import figures
from gexlib.errors import InputError

OTHER = {"patient": "cell_line", "cell_line": "patient"}
DIRECTIONS = ["cell line \u2192 patient", "patient \u2192 cell line"]


def rows(n_values=(25, 50, 100), frozen=(0, 1, 4), repeats=4, targets=("patient", "cell_line")):
    random, found = np.random.default_rng(0), []
    for target, n, repeat, metric in itertools.product(targets, n_values, range(repeats), ("accuracy", "roc_auc")):
        common = dict(
            cohort="simulated-microarray:smoke", simulated=True, split="random", source=OTHER[target], target=target,
            n=n, method="nn_default", scaler="source", stopping="patience", repeat=repeat, metric=metric,
        )  # fmt: skip
        base = 0.7 + random.normal(0, 0.02)
        found.append({**common, "arm": "baseline", "value": base})
        for f in frozen:
            gain = 0.1 - 0.04 * f + random.normal(0, 0.02) + 0.02 * (metric == "roc_auc")
            found.append({**common, "arm": "fine_tuned", "frozen": f, "value": base + gain})
    return pd.DataFrame(found).astype({"frozen": "Int64"})


def matrix(cohort="simulated-microarray:smoke"):
    values = {"cell_line": (0.99, 0.66), "patient": (0.59, 0.94)}
    return pd.DataFrame(
        [
            dict(cohort=cohort, source=s, target=t, accuracy=v, accuracy_low=v - 0.01, accuracy_high=v + 0.01)
            for s, both in values.items()
            for t, v in zip(OTHER, both[::-1], strict=True)
        ]
    )


def differences(column, **axes):
    random = np.random.default_rng(1)
    table = pd.DataFrame(itertools.product(*axes.values()), columns=list(axes))
    table["source"], table[column] = table["target"].map(OTHER), random.normal(size=len(table))
    low, high = (f"{column}_low", f"{column}_high")
    return table.assign(**{low: table[column] - 0.1, high: table[column] + 0.1}, cohort="simulated-microarray:smoke")


def epochs(n=(50, 100)):
    return differences("difference", target=("patient", "cell_line"), n=n, frozen=(0, 1))


def sweep(n=(25,)):
    return differences("gain", target=("patient", "cell_line"), n=n, sharing=(0.0, 0.5, 1.0), shift=(0.5, 2.0))


DRAWN = {
    figures.gain_boxes: rows, figures.origin_matrix: matrix, figures.epochs_curves: epochs, figures.sweep_curves: sweep
}  # fmt: skip


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def test_boxes_hold_the_gains_of_the_repeats_and_curves_join_their_means():
    table = rows()
    figure = figures.gain_boxes(table.sample(frac=1, random_state=0))
    assert titles(figure) == [f"{d}, {m}" for d in DIRECTIONS for m in ("Accuracy", "ROC AUC")]
    assert legend(figure) == ["0 layers frozen", "1 layer frozen", "4 layers frozen"]
    texts = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert any(text.startswith("simulated-microarray:smoke (simulated); n = ") for text in texts)
    wide = table.pivot_table(index=["target", "metric", "n", "repeat"], columns=["arm", "frozen"], values="value",
                             dropna=False)  # fmt: skip
    base = table[table["arm"] == "baseline"].set_index(["target", "metric", "n", "repeat"])["value"]
    places = itertools.product(("patient", "cell_line"), ("accuracy", "roc_auc"))
    for axis, (target, metric) in zip(figure.axes, places, strict=True):
        lines = {line.get_label(): line for line in axis.lines}
        for depth, label in zip((0, 1, 4), legend(figure), strict=True):
            gain = (wide["fine_tuned", depth] - base).loc[target, metric]
            assert lines[label].get_ydata() == pytest.approx(gain.groupby("n").mean().to_numpy())
            assert lines[label].get_color() == figures.FROZEN_COLOURS[depth]
            boxes = [line for line in axis.lines if line.get_color() == figures.FROZEN_COLOURS[depth]]
            corners = np.concatenate([line.get_ydata() for line in boxes])
            assert corners.min() == pytest.approx(gain.min()) and corners.max() == pytest.approx(gain.max())
            medians = gain.groupby("n").median()
            assert all(np.isclose(corners, median).any() for median in medians)
        assert list(axis.get_xticks()) == [25, 50, 100]
    spots = np.sort([x for line in figure.axes[0].lines[1:] if "frozen" in line.get_label() for x in line.get_xdata()])
    assert (np.diff(spots.reshape(3, 3)) > 0).all() and (
        spots.reshape(3, 3)[:-1, -1] < spots.reshape(3, 3)[1:, 0]
    ).all()


def test_one_direction_one_metric_and_one_size_are_enough():
    figure = figures.gain_boxes(rows((25,), (0,), targets=("patient",)), "accuracy")
    assert titles(figure) == [DIRECTIONS[0]] and figure.axes[0].get_ylabel() == "Accuracy gain"
    other = rows().assign(cohort="a+b", simulated=False)
    assert titles(figures.gain_boxes(pd.concat([rows(), other]), "accuracy"))[1] == f"{DIRECTIONS[1]}, a+b"
    with pytest.raises(InputError, match=r"\(stopping differs\)"):
        figures.gain_boxes(pd.concat([rows(), rows().assign(stopping="first")]))
    with pytest.raises(InputError, match="table for gains has no rows"):
        figures.gain_boxes(rows()[lambda t: t["arm"] == "baseline"])


def test_the_matrix_writes_each_mean_where_it_belongs():
    figure = figures.origin_matrix(matrix())
    (axis,) = figure.axes
    assert axis.get_xlabel() == "Tested on" and axis.get_ylabel() == "Trained on"
    columns, lines = ([t.get_text() for t in get()] for get in (axis.get_xticklabels, axis.get_yticklabels))
    assert columns == lines == ["cell line", "patient"]
    assert [text.get_text() for text in axis.texts] == [
        "0.990\n(0.980 to 1.000)", "0.660\n(0.650 to 0.670)", "0.590\n(0.580 to 0.600)", "0.940\n(0.930 to 0.950)",
    ]  # fmt: skip
    alone = matrix().assign(accuracy_low=np.nan, accuracy_high=np.nan)
    assert figures.origin_matrix(alone).axes[0].texts[0].get_text() == "0.990"
    assert titles(figures.origin_matrix(pd.concat([matrix(), matrix("a+b")]))) == ["simulated-microarray:smoke", "a+b"]


def curves(axis):
    return {box.get_label(): box.lines[0] for box in axis.containers}


def test_epochs_and_sweep_draw_their_tables():
    table = epochs()
    figure = figures.epochs_curves(table)
    assert titles(figure) == DIRECTIONS and legend(figure) == ["0 layers frozen", "1 layer frozen"]
    part = table[(table["target"] == "patient") & (table["frozen"] == 1)]
    assert curves(figure.axes[0])["1 layer frozen"].get_ydata() == pytest.approx(part["difference"].to_numpy())
    table = sweep()
    figure = figures.sweep_curves(table)
    assert titles(figure) == DIRECTIONS and legend(figure) == ["shift 0.5", "shift 2"]
    part = table[(table["target"] == "patient") & (table["shift"] == 2)]
    assert curves(figure.axes[0])["shift 2"].get_ydata() == pytest.approx(part["gain"].to_numpy())
    assert list(figure.axes[0].get_xticks()) == [0, 0.5, 1]
    assert titles(figures.sweep_curves(sweep((25, 100))))[:2] == [f"{DIRECTIONS[0]}, n = {n}" for n in (25, 100)]


@pytest.mark.parametrize(("draw", "table"), DRAWN.items(), ids=lambda x: x.__name__)
def test_each_keeps_the_look_and_leaves_matplotlib_alone(draw, table):
    before = dict(mpl.rcParams)
    figure = draw(table())
    figure.draw_without_rendering()
    assert dict(mpl.rcParams) == before and plt.get_fignums() == []
    assert figure.get_facecolor()[3] == 0
    for text in figure.findobj(mpl.text.Text):
        inked = text.get_color() == figures.INK or draw is figures.origin_matrix and text in figure.axes[0].texts
        assert not text.get_text() or (inked and text.get_size() >= 8)
    with pytest.raises(InputError, match=r"^The table for .*\.$"):
        draw(pd.DataFrame())
