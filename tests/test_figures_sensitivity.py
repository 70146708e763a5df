"""The figures of the sensitivity analysis say what their rows say."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gexlib import figures
from gexlib.errors import InputError
from gexlib.experiments.sensitivity import DRAWN
from gexlib.figures.sensitivity import LABELS, OPTIMISERS, ROWS
from gexlib.search import Space, draw, smooth


def rows(draws=60, tasks=("tcga/pan", "tcga/type"), cohort="simulated-tcga:smoke", arms=("draw",)):
    out = []
    for task, i, arm in itertools.product(tasks, range(draws), arms):
        drawn = draw(Space(layers=(1, 3)), i)
        common = {"cohort": cohort, "simulated": True, "task": task, "arm": arm, "repeat": i, **drawn}
        value = 0.5 + 0.1 * drawn["layers"] + 0.05 * (arm == "residual") + 0.01 * (i % 7)
        out += [{**common, "metric": metric, "value": value} for metric in ("accuracy", "log_loss")]
    return pd.DataFrame(out)


def shares(tasks=("tcga/pan", "tcga/type"), r2=0.8):
    singles = [(name, 1, 0.2 / (i + 1), 0.3 / (i + 1)) for i, name in enumerate(DRAWN)]
    pairs = [(f"layers \u00d7 {name}", 2, 0.04 / (i + 1), np.nan) for i, name in enumerate(DRAWN[1:7])]
    return pd.DataFrame(
        [
            {"cohort": "tcga-pairs", "simulated": False, "task": task, "term": term, "order": order, "share": share,
             "total": total, "r2": r2, "n_draws": 1000}
            for task in tasks for term, order, share, total in singles + pairs
        ]
    )  # fmt: skip


def words(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def panel(figure, name, column=0):
    return figure.axes[ROWS.index(name) * 2 + column]


def test_seven_rows_and_a_column_a_task():
    figure = figures.sensitivity_grid(rows())
    assert len(figure.axes) == 7 * 2
    draws = rows().query("arm == 'draw' and metric == 'accuracy'").groupby("task").size()
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        f"pan-cancer status\n{draws['tcga/pan']} draws", f"cancer type\n{draws['tcga/type']} draws", *[""] * 12
    ]  # fmt: skip
    for name in ("layers", "neurons", "learning_rate", "batch_size", "dropout"):
        assert panel(figure, name).get_xlabel() == LABELS[name]
    assert "batch norm" in panel(figure, "optimiser").get_xlabel()
    assert "L1" in panel(figure, "penalty_weight").get_xlabel()
    assert "simulated-tcga:smoke (simulated)" in words(figure)
    assert set(legend(figure)) == {"LOESS", *(look[0] for look in OPTIMISERS.values())}
    assert [axis.get_ylabel() for axis in figure.axes] == ["Accuracy", ""] * 7


def test_boxes_hold_the_draws_of_their_level():
    table = rows()
    figure = figures.sensitivity_grid(table.sample(frac=1, random_state=0))
    table = table[(table["metric"] == "accuracy") & (table["task"] == "tcga/pan")]
    medians = sorted(line.get_ydata()[0] for line in panel(figure, "layers").lines if line.get_linewidth() == 2.2)
    assert medians == pytest.approx(sorted(table.groupby("layers")["value"].median()))
    drawn = [line.get_ydata()[0] for line in panel(figure, "optimiser").lines if line.get_linewidth() == 2.2]
    expected = [table[(table["optimiser"] == o) & (table["batch_norm"] == n)]["value"].median()
                for o in OPTIMISERS for n in (False, True)]  # fmt: skip
    assert drawn == pytest.approx(expected)
    labels = [tick.get_text() for tick in panel(figure, "penalty_weight").get_xticklabels()]
    assert labels == ["0", *(f"$10^{{{power}}}$" for power in (-6, -5, -4, -3, -2))]


@pytest.mark.parametrize("name", ["neurons", "batch_size", "dropout"])
def test_scatters_hold_every_draw_and_the_loess_curve(name):
    table = rows()
    axis = panel(figures.sensitivity_grid(table), name)
    table = table[(table["metric"] == "accuracy") & (table["task"] == "tcga/pan")]
    (points,) = axis.collections
    assert np.asarray(points.get_offsets()) == pytest.approx(table[[name, "value"]].to_numpy(float))
    (curve,) = axis.lines
    x, y = smooth(table[name], table["value"], name == "batch_size")
    assert len(x) > 5
    assert curve.get_xdata() == pytest.approx(x) and curve.get_ydata() == pytest.approx(y)


def test_learning_rates_are_drawn_by_optimiser_on_a_logarithmic_axis():
    table = rows(draws=90)
    axis = panel(figures.sensitivity_grid(table), "learning_rate")
    assert axis.get_xscale() == "log" and len(axis.lines) == 3
    table = table[(table["metric"] == "accuracy") & (table["task"] == "tcga/pan")]
    for points, line, (key, (label, colour, _)) in zip(axis.collections, axis.lines, OPTIMISERS.items(), strict=True):
        own = table[table["optimiser"] == key]
        assert points.get_label() == label and len(points.get_offsets()) == len(own)
        assert mpl.colors.same_color(points.get_facecolor()[0, :3], colour) and line.get_color() == colour
        assert line.get_ydata() == pytest.approx(smooth(own["learning_rate"], own["value"], True)[1])


def test_many_draws_are_not_vectors_and_few_draws_are_drawn():
    many, few = figures.sensitivity_grid(rows(501, ("tcga/pan",))), figures.sensitivity_grid(rows(3))
    assert all(c.get_rasterized() for axis in many.axes for c in axis.collections)
    assert not any(c.get_rasterized() for axis in few.axes for c in axis.collections)
    assert len(few.axes) == 14 and not panel(few, "neurons").lines[0].get_xdata().size  # too few for a curve


def test_cohorts_and_other_arms_are_not_mixed_in():
    both = pd.concat([rows(20, ("tcga/pan",)), rows(20, ("tcga/pan",), cohort="b"), rows(5, arms=("best",))])
    figure = figures.sensitivity_grid(both)
    assert len(figure.axes) == 14
    assert [a.get_title(loc="left") for a in figure.axes[:2]] == [
        "pan-cancer status, simulated-tcga:smoke\n20 draws", "pan-cancer status, b\n20 draws"
    ]  # fmt: skip
    assert len(panel(figure, "neurons").collections[0].get_offsets()) == 20


def test_importance_bars_give_shares_totals_and_the_largest_interactions():
    table = shares()
    figure = figures.importance_bars(table.sample(frac=1, random_state=0))
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["pan-cancer status", "cancer type"]
    totals, alone, pairs = figure.axes[0].containers
    singles = table[(table["task"] == "tcga/pan") & (table["order"] == 1)]
    assert [bar.get_width() for bar in totals] == pytest.approx(singles["total"].to_list())
    assert [bar.get_width() for bar in alone] == pytest.approx(singles["share"].to_list())
    assert [bar.get_width() for bar in pairs] == pytest.approx([0.04, 0.02, 0.04 / 3])
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert (
        labels[0] == "Hidden layers" and labels[9] == f"Hidden layers \u00d7 {LABELS[DRAWN[1]]}" and len(labels) == 12
    )
    assert any("1,000 draws" in word and "0.80" in word and "too low" not in word for word in words(figure))
    assert any("too low to read" in word for word in words(figures.importance_bars(shares(r2=0.1))))


def test_residual_pairs_are_dots_on_either_side_of_the_diagonal():
    table = rows(30, arms=("residual", "plain_deep"))
    figure = figures.residual_pairs(table.sample(frac=1, random_state=0))
    for axis in figure.axes:
        dots = np.concatenate([np.asarray(c.get_offsets()) for c in axis.collections])
        assert len(dots) == 30 and dots[:, 1] - dots[:, 0] == pytest.approx(np.full(30, 0.05))
        low, high = axis.get_xlim()
        assert (low, high) == axis.get_ylim() and low < dots.min() and dots.max() < high
    assert {label.partition(",")[0] for label in legend(figure)} == {look[0] for look in OPTIMISERS.values()}
    alone = figures.residual_pairs(table[table["arm"] == "residual"])  # a run cut short
    assert not any(axis.collections for axis in alone.axes)


@pytest.mark.parametrize(
    ("make", "lacks"),
    [
        (figures.sensitivity_grid, rows(3, arms=("best",))),
        (figures.residual_pairs, rows(3)),
        (figures.importance_bars, shares().head(0)),
    ],
)
def test_a_table_without_its_rows_is_one_sentence(make, lacks):
    for table in (pd.DataFrame(), lacks):
        with pytest.raises(InputError, match=r"^The table for .*\.$"):
            make(table)


def test_figures_keep_the_look_of_the_book():
    before = dict(mpl.rcParams)
    deep = rows(8, arms=("residual", "plain_deep"))
    for figure in (figures.sensitivity_grid(rows()), figures.importance_bars(shares()), figures.residual_pairs(deep)):
        figure.draw_without_rendering()
        assert figure.get_facecolor()[3] == 0 and figure.get_figwidth() <= 7.2
        assert all(text.get_size() >= 8 for text in figure.findobj(mpl.text.Text) if text.get_text())
        box = figure.legends[0].get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0
        assert box.y1 < min(axis.get_tightbbox().y0 for axis in figure.axes)
    assert dict(mpl.rcParams) == before and plt.get_fignums() == []
