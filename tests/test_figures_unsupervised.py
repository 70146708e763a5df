"""The figures of transfer without labels: what is drawn, from which numbers, on both pages."""

import itertools

import numpy as np
import pandas as pd
import pytest

from gexlib import figures
from gexlib.errors import InputError
from gexlib.figures.look import BLUE, INK, VERMILION


def table(targets=("BRCA", "LUAD"), ways=("layer by layer", "whole encoder"), frozen=(0, 2), metrics=("accuracy",)):
    rows = []
    for i, (metric, way, depth, target, n) in enumerate(itertools.product(metrics, ways, frozen, targets, (8, 16, 32))):
        gain = 0.01 * i - 0.05
        rows.append(
            {
                "cohort": "simulated-tcga:smoke", "split": "random", "target": target, "n": n, "pretraining": way,
                "frozen": depth, "metric": metric, "difference": gain, "difference_low": gain - 0.02,
                "difference_high": gain + 0.02,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).astype({"frozen": "Int64"})


def curves(axis):
    return {container.get_label(): container.lines[0] for container in axis.containers}


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_gains_are_those_of_the_table_one_colour_a_way_and_dashes_by_frozen_layers():
    given = table()
    figure = figures.gain_by_target(given)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["BRCA", "LUAD"]
    for axis in figure.axes:
        found = curves(axis)
        assert len(found) == 4
        for name, line in found.items():
            way, _, depth = name.partition(", F = ")
            part = given.query("pretraining == @way and target == @axis.get_title(loc='left')")
            part = part[part["frozen"] == int(depth)]
            np.testing.assert_allclose(line.get_ydata(), part["difference"])
            np.testing.assert_allclose(line.get_xdata(), part["n"], rtol=0.05)
        looks = {name: (line.get_color(), line.get_linestyle()) for name, line in found.items()}
        assert len(set(looks.values())) == 4
        for way in ("layer by layer", "whole encoder"):
            assert looks[f"{way}, F = 0"][0] == looks[f"{way}, F = 2"][0]
        assert {axis.get_ylim() for axis in figure.axes} == {axis.get_ylim()}
        assert any(np.all(np.asarray(line.get_ydata()) == 0) for line in axis.lines)  # the baseline
    assert "simulated-tcga:smoke (simulated)" in words(figure)


def test_one_way_and_depth_needs_no_f_and_metrics_stand_side_by_side():
    figure = figures.gain_by_target(table(ways=("layer by layer",), frozen=(0,), metrics=("accuracy", "roc_auc")))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["BRCA, Accuracy", "BRCA, ROC AUC", "LUAD, Accuracy", "LUAD, ROC AUC"]
    assert all(list(curves(axis)) == ["layer by layer"] for axis in figure.axes)


def test_a_target_without_a_way_leaves_its_curve_out():
    given = table()
    figure = figures.gain_by_target(given[(given["target"] == "BRCA") | (given["pretraining"] == "layer by layer")])
    assert [len(curves(axis)) for axis in figure.axes] == [4, 2]
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4


def test_no_gains_are_a_sentence():
    with pytest.raises(InputError, match="gains by target has no rows"):
        figures.gain_by_target(table()[:0])


def test_schemes_show_three_ways_from_source_to_target():
    figure = figures.schemes()
    said = words(figure)
    for word in ("A", "B", "C", "with labels", "whole encoder", "layer by layer", "source", "target", "genes\n+ noise"):
        assert word in said
    (axis,) = figure.axes
    colours = [tuple(np.round(patch.get_facecolor(), 3)) for patch in axis.patches if len(patch.get_xy()) == 5]
    from matplotlib.colors import to_rgba

    count = {ink: colours.count(tuple(np.round(to_rgba(ink), 3))) for ink in (VERMILION, BLUE)}
    # A: 4 above and 4 below; B: 3 and 3; C: one a step and 3 below. New output layers: B and C
    assert count == {VERMILION: 8 + 6 + 6, BLUE: 2}
    assert colours.count((0, 0, 0, 0)) == 3 + 3 + 3  # decoders of B and C, layers held fixed in steps 2 and 3


def test_schemes_stay_inside_the_page_without_overlapping_words_and_are_the_same_each_time(tmp_path):
    figure = figures.schemes()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    page = figure.bbox
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert {text.get_color() for text in figure.axes[0].texts} == {INK}
    one, two = (figures.save(figures.schemes(), tmp_path / name)[0].read_bytes() for name in "ab")
    assert one == two
