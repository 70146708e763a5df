"""The figures of one cancer to another say what their tables say."""

from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from gexlib import figures
from gexlib.errors import InputError
from gexlib.experiments.cancer_to_cancer import gain_matrix
from gexlib.figures import pairs
from gexlib.figures.look import BLUE, SKY, VERMILION
from gexlib.statistics import compare_arms

TYPES = ("BRCA", "HNSC", "KIRC")


def rows_of(cohort="tcga-pairs", sources=TYPES, targets=TYPES, sizes=(8, 16, 32), frozen=(0,), folds=6):
    """Pairs that gain, lose or stay, and on the diagonal a large gain."""
    random, rows = np.random.default_rng(7), []
    for target, n, fold, metric in product(targets, sizes, range(folds), ("accuracy", "roc_auc")):
        common = {
            "cohort": cohort, "simulated": cohort.startswith("simulated"), "split": "patient", "target": target, "n": n,
            "repeat": 0, "fold": fold, "metric": metric, "method": "nn_default", "scaler": "source",
        }  # fmt: skip
        base = random.normal(0.7, 0.02)
        rows.append({**common, "arm": "baseline", "source": None, "frozen": None, "value": base})
        for source, f in product(sources, frozen):
            gain = 0.2 if source == target else {"BRCA": 0.05, "HNSC": -0.05}.get(source, 0.0) + 0.01 * f
            more = {"arm": "fine_tuned", "source": source, "frozen": f, "value": base + gain + random.normal(0, 0.02)}
            rows.append({**common, **more})
    return pd.DataFrame(rows).astype({"frozen": "Int64"})


def panels(figure) -> list:
    return [axis for axis in figure.axes if axis.get_visible()]


def words(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def by_pair(figure, sources=TYPES, targets=TYPES) -> dict:
    return dict(zip(product(sources, targets), panels(figure), strict=True))


def drawn(axis):
    (box,) = axis.containers
    return box


# The grid


def test_a_row_is_a_source_and_a_column_a_target():
    rows = rows_of()
    figure = figures.pair_grid(rows)
    table = compare_arms(rows, "accuracy").query("arm == 'fine_tuned'")
    for (source, target), axis in by_pair(figure).items():
        part = table[(table["source"] == source) & (table["target"] == target)].sort_values("n")
        line, bars = drawn(axis).lines[0], drawn(axis).lines[2][0].get_segments()
        assert line.get_xdata() == pytest.approx([8, 16, 32])
        assert line.get_ydata() == pytest.approx(part["difference"].to_numpy())
        assert [bar[0][1] for bar in bars] == pytest.approx(part["difference_low"].to_numpy())
        assert [bar[1][1] for bar in bars] == pytest.approx(part["difference_high"].to_numpy())
        assert any(np.allclose(other.get_ydata(), 0) for other in axis.lines)  # the zero line
    auc = by_pair(figures.pair_grid(rows, "roc_auc"))["BRCA", "KIRC"]
    expected = compare_arms(rows, "roc_auc").query("arm == 'fine_tuned' and source == 'BRCA' and target == 'KIRC'")
    assert drawn(auc).lines[0].get_ydata() == pytest.approx(expected.sort_values("n")["difference"].to_numpy())


def test_labels_are_on_the_outer_edge_only_and_all_panels_share_their_axes():
    figure = figures.pair_grid(rows_of())
    figure.canvas.draw()
    shared = {(*axis.get_xlim(), *axis.get_ylim()) for axis in panels(figure)}
    assert len(shared) == 1
    for i, axis in enumerate(panels(figure)):
        row, column = divmod(i, 3)
        assert axis.get_title() == (TYPES[column] if row == 0 else "")
        assert axis.get_ylabel() == (TYPES[row] if column == 0 else "")
        assert any(label.get_visible() and label.get_text() for label in axis.get_xticklabels()) == (row == 2)
        assert any(label.get_visible() and label.get_text() for label in axis.get_yticklabels()) == (column == 0)
        assert list(axis.get_xticks()) == [8, 16, 32]
    assert {
        "tcga-pairs; n = 8, 16, 32; 1 repeat of 6 folds",
        "Target samples (column: target)",
        "Accuracy gain (row: source)",
    } <= set(words(figure))


def test_the_diagonal_is_tinted():
    for (source, target), axis in by_pair(figures.pair_grid(rows_of())).items():
        assert (axis.get_facecolor()[3] > 0) == (source == target)


def test_stars_are_the_raw_ones_in_the_colour_of_the_better_network():
    rows = rows_of()
    table = compare_arms(rows, "accuracy").query("arm == 'fine_tuned'")
    found = set()
    for (source, target), axis in by_pair(figures.pair_grid(rows)).items():
        part = table[(table["source"] == source) & (table["target"] == target)]
        stars = {(t.get_position()[0], t.get_text(), t.get_color()) for t in axis.texts if t.get_text()}
        colour = {"baseline": BLUE, "fine_tuned": VERMILION}
        assert stars == {(row.n, row.stars, colour[row.winner]) for row in part.itertuples() if row.stars}
        found |= {colour for *_, colour in stars}
    assert found == {BLUE, VERMILION}


def test_a_grid_of_eight_fits_a_page_and_no_text_runs_into_another():
    types = ("BRCA", "HNSC", "KIRC", "LUAD", "LUSC", "PRAD", "THCA", "UCEC")
    figure = figures.pair_grid(rows_of(sources=types, targets=types, sizes=(4, 8, 16, 32, 64), folds=2))
    width, height = figure.get_size_inches()
    assert width == 7.2 and height < 9.5 and len(panels(figure)) == 64
    figure.canvas.draw()
    for axis in panels(figure)[-8:]:
        boxes = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_text()]
        assert len(boxes) == 3
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))
    for axis in panels(figure)[::8]:
        assert axis.yaxis.label.get_window_extent().height < axis.get_window_extent().height * 1.15


def test_two_cohorts_stand_below_each_other_and_are_never_mixed():
    tissues = ("brain", "bone_marrow")
    rows = pd.concat([rows_of(targets=TYPES[:1]), rows_of("simulated-microarray:demo", tissues, tissues)])
    figure = figures.pair_grid(rows)
    assert len(panels(figure)) == 2 * 2 + 3 * 1
    assert [axis.get_title() for axis in panels(figure) if axis.get_title()] == ["bone marrow", "brain", "BRCA"]
    names = [axis.get_ylabel() for axis in panels(figure) if axis.get_ylabel()]
    assert names == ["bone marrow", "brain", *TYPES]
    assert any(word.startswith("tcga-pairs, simulated-microarray:demo (simulated)") for word in words(figure))
    maps = figures.gain_heatmap(gain_matrix(rows)).axes[:-1]
    assert [axis.get_title(loc="left") for axis in maps] == [
        "simulated-microarray:demo (simulated), n = 8",
        "tcga-pairs, n = 8",
    ]
    assert [len(axis.get_xticks()) for axis in maps] == [2, 1]


def test_several_numbers_of_frozen_layers_have_a_legend():
    figure = figures.pair_grid(rows_of(frozen=(0, 2)))
    assert all(len(axis.containers) == 2 for axis in panels(figure))
    (box,) = figure.legends
    assert [text.get_text() for text in box.get_texts()] == ["0 layers frozen", "2 layers frozen"]
    assert not figures.pair_grid(rows_of()).legends


def test_one_size_and_a_missing_pair_are_drawn():
    rows = rows_of(sizes=(25,))
    rows = rows[~((rows["source"] == "KIRC") & (rows["target"] == "BRCA"))]
    figure = figures.pair_grid(rows)
    assert not by_pair(figure)["KIRC", "BRCA"].containers and by_pair(figure)["BRCA", "KIRC"].containers
    axis = figures.gain_heatmap(gain_matrix(rows)).axes[0]
    assert len([text for text in axis.texts if text.get_text()]) == 8


# The map


def cells_of(axis) -> dict:
    """(source, target) -> text."""
    names = [label.get_text() for label in axis.get_xticklabels()], [t.get_text() for t in axis.get_yticklabels()]
    found = {}
    for text in axis.texts:
        x, y = text.get_position()
        found[names[1][int(y)], names[0][int(x)]] = text
    return found


def test_a_cell_says_gain_stars_and_whether_it_survives():
    matrix = gain_matrix(rows_of())
    axis, bar = figures.gain_heatmap(matrix).axes
    shown = {pair: text.get_text() for pair, text in cells_of(axis).items()}
    assert len(shown) == 9
    for (source, target), text in shown.items():
        row = matrix.loc[("tcga-pairs", 8, source)]
        number, _, marks = text.partition("\n")
        assert float(number.replace("\u2212", "-")) == pytest.approx(row["gain", target], abs=0.0006)
        assert marks == f"{row['stars', target]} {row['adjusted', target]}".strip()
    assert "**" in shown["HNSC", "HNSC"] and "\u2020" not in shown["HNSC", "HNSC"]
    assert any("\u2020" in text for text in shown.values())
    assert bar.get_ylabel() == "Accuracy gain"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Target", "Source")


def test_the_diagonal_is_outlined():
    axis = figures.gain_heatmap(gain_matrix(rows_of())).axes[0]
    boxes = {(int(box.get_x()), int(box.get_y())) for box in axis.patches}
    assert boxes == {(0, 0), (1, 1), (2, 2)} and not any(box.get_fill() for box in axis.patches)


def test_the_colours_are_centred_on_no_gain_and_one_scale_for_all():
    rows = pd.concat([rows_of(), rows_of("other", TYPES[:2], TYPES[:2])])
    maps = [axis.collections[0] for axis in figures.gain_heatmap(gain_matrix(rows)).axes[:-1]]
    assert len({mesh.get_clim() for mesh in maps}) == 1
    low, high = maps[0].get_clim()
    assert -low == high == pytest.approx(gain_matrix(rows)["gain"].abs().max(axis=None))
    colours = [mpl.colors.to_hex(maps[0].cmap(value)).upper() for value in (0.0, 1.0)]
    assert colours == [SKY, VERMILION]
    quiet = rows_of().assign(value=0.7)
    assert figures.gain_heatmap(gain_matrix(quiet)).axes[0].collections[0].get_clim() == (-0.05, 0.05)


def test_the_text_can_be_read_on_every_colour():
    def luminance(colour):
        part = np.array(mpl.colors.to_rgb(colour))
        return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    axis = figures.gain_heatmap(gain_matrix(rows_of())).axes[0]
    (ink,) = {text.get_color() for text in axis.texts}
    for value in np.linspace(0, 1, 21):
        assert (luminance(pairs.DIVERGING(value)) + 0.05) / (luminance(ink) + 0.05) > 4.5


# What cannot be drawn


def test_empty_tables_are_one_sentence():
    with pytest.raises(InputError, match=r"^The table for a grid of pairs .*\.$"):
        figures.pair_grid(pd.DataFrame())
    rows = rows_of()
    with pytest.raises(InputError, match="a grid of pairs has no rows"):
        figures.pair_grid(rows[rows["arm"] == "baseline"])
    for table in (pd.DataFrame(), rows):
        with pytest.raises(InputError, match="The table for a map of gains has no pairs"):
            figures.gain_heatmap(table)


def test_figures_leave_nothing_behind_and_are_the_same_bytes(tmp_path):
    rows = rows_of(sizes=(8,))
    for draw in (figures.pair_grid, lambda rows: figures.gain_heatmap(gain_matrix(rows))):
        before = dict(mpl.rcParams)
        first, again = (figures.save(draw(rows), tmp_path / name)[0].read_bytes() for name in ("one", "two"))
        assert first == again and dict(mpl.rcParams) == before
        assert mpl.pyplot.get_fignums() == []
