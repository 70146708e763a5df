"""The figures say what their tables say, in one look, and leave nothing behind."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gexlib import figures
from gexlib.errors import InputError
from gexlib.figures import look
from gexlib.statistics import compare_arms, compare_methods

METHODS = ["nn_default", "lasso", "svm_rbf"]


def comparison_rows(tasks=("tcga/pan", "tcga/type"), n_values=(25, 100, 400), methods=METHODS, repeats=4):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            dict(
                cohort="simulated-tcga:smoke",
                simulated=True,
                task=task,
                split="random",
                arm="balanced",
                n=n,
                method=method,
                repeat=repeat,
                fold=pd.NA,
                metric="accuracy",
                value=0.55 + 0.03 * methods.index(method) + 0.0004 * n + rng.normal(0, 0.01),
            )
            for task, n, method, repeat in itertools.product(tasks, n_values, methods, range(repeats))
        ]
    )


def transfer_rows(targets=("tcga/BRCA", "tcga/LUAD", "tcga/THCA"), n_values=(25, 100), frozen=(0,), folds=5):
    rng = np.random.default_rng(1)
    rows = []
    for i, target in enumerate(targets):
        for n, fold, metric in itertools.product(n_values, range(folds), ("accuracy", "roc_auc")):
            base = 0.7 + 0.0005 * n + rng.normal(0, 0.02)
            gain = (0.08, 0.0, -0.08)[i % 3]
            arms = [
                ("baseline", pd.NA, "nn_default", "", base),
                ("zero_shot", pd.NA, "nn_default", "pan", 0.65),
            ]
            arms += [("fine_tuned", f, "nn_default", "pan", base + gain + rng.normal(0, 0.02)) for f in frozen]
            arms += [("classical", pd.NA, m, "", base + d) for m, d in (("lasso", 0.01), ("svm_rbf", -0.02))]
            for arm, f, method, source, value in arms:
                rows.append(
                    dict(
                        cohort="tcga-pairs",
                        simulated=False,
                        split="random",
                        source=source,
                        target=target,
                        n=n,
                        arm=arm,
                        frozen=f,
                        method=method,
                        repeat=0,
                        fold=fold,
                        source_seed=0,
                        metric=metric,
                        value=value,
                    )
                )
    return pd.DataFrame(rows).astype({"frozen": "Int64"})


def scores(samples=60):
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.normal(size=(samples, 2)), columns=["pc1", "pc2"])
    return table.assign(
        status=np.resize(["cancer", "cancer", "normal"], samples),
        tissue=np.resize(["breast", "bone marrow", ""], samples),
        origin=np.resize(["patient", "cell_line"], samples),
        cohort="simulated-microarray:smoke",
    )


def counts():
    return pd.DataFrame(
        [("breast", "cancer", 30), ("breast", "normal", 10), ("lung", "cancer", 20)],
        columns=["tissue", "status", "count"],
    )


def simulation():
    at = [0.1, 0.5, 0.9]
    curves = [dict(statistic="gene mean", at=a, real=5 * a, simulated=5.1 * a) for a in at]
    return pd.DataFrame(curves + [dict(statistic="share of variance", real=0.2, simulated=0.25)])


def every_figure():
    yield figures.experiment_map()
    yield figures.pca(scores(), explained=(0.25, 0.1))
    yield figures.class_balance(counts())
    yield figures.simulation_check(simulation())
    yield figures.learning_curves(comparison_rows())
    yield figures.method_bars(compare_methods(comparison_rows(), "accuracy", "nn_default"))
    yield figures.transfer_curves(transfer_rows())
    yield figures.gain_curves(transfer_rows(frozen=(0, 2)))


def words(figure):
    """Every text that is drawn."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def curves(axis):
    """Label -> line of every error-bar curve."""
    return {box.get_label(): box.lines[0] for box in axis.containers}


def contrast(one, other):
    """Contrast ratio of WCAG 2 of two colours."""

    def luminance(colour):
        part = np.array(mpl.colors.to_rgb(colour))
        return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", ["#FFFFFF", "#121212"])
def test_colours_read_on_both_pages(page):
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast(figures.INK, page) > 4.29  # 4.33 is the most that any colour has on both
    used = [*figures.METHOD_COLOURS.values(), *figures.ARM_COLOURS.values(), *figures.FROZEN_COLOURS]
    assert all(contrast(colour, page) >= 3 for colour in used)


def test_methods_and_arms_can_be_told_apart_without_colour():
    methods = [kind[2:] for kind in look.METHODS.values()]
    arms = [kind[2:] for kind in look.ARMS.values()]
    assert len(set(methods)) == len(methods) and len(set(arms)) == len(arms)
    assert set(METHODS) | {"xgboost", "random_forest", "svm_linear", "majority"} <= set(figures.METHOD_LABELS)


def test_every_figure_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    drawn = list(every_figure())
    assert dict(mpl.rcParams) == before and plt.get_fignums() == []
    for figure in drawn:
        figure.draw_without_rendering()  # late ticks, made outside the style, must have its colour
        assert figure.get_facecolor()[3] == 0 and all(axis.get_facecolor()[3] == 0 for axis in figure.axes)
        for text in figure.findobj(mpl.text.Text):
            assert not text.get_text() or min(contrast(text.get_color(), p) for p in ("white", "#121212")) > 3
            assert not text.get_text() or text.get_size() >= 8
        for axis in figure.axes:
            lines = [line for tick in axis.xaxis.get_major_ticks() for line in (tick.tick1line, tick.gridline)]
            assert {mpl.colors.to_hex(line.get_color()) for line in lines} <= {figures.INK}


def test_legends_stay_inside_the_figure():
    methods = list(figures.METHOD_LABELS)
    for draw, rows in (
        (figures.learning_curves, comparison_rows(tasks=("tcga/pan",), methods=methods)),
        (figures.learning_curves, comparison_rows(methods=methods)),
        (figures.transfer_curves, transfer_rows(targets=("tcga/BRCA",), frozen=range(5))),
        (figures.transfer_curves, transfer_rows(frozen=range(5))),
    ):
        figure = draw(rows)
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0
        assert box.y1 < min(axis.get_tightbbox().y0 for axis in figure.axes)


def test_style_is_a_context():
    with figures.style():
        assert mpl.rcParams["text.color"] == figures.INK and mpl.rcParams["svg.fonttype"] == "none"
    assert mpl.rcParams["text.color"] != figures.INK


def test_map_shows_every_section_at_700_pixels():
    figure = figures.experiment_map()
    text = " ".join(words(figure))
    sections = "Sensitivity,Comparison,Cell lines and patients,Pan-cancer to specific,One cancer to another"
    for name in [*sections.split(","), "Unsupervised transfer", "Microarray", "TCGA", "11 tasks", "8 tasks"]:
        assert name in text
    assert figure.get_size_inches()[0] * 96 < 700  # pixels of a page: text keeps its size of 9 points
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_learning_curves_are_the_means_of_the_table():
    rows = comparison_rows()
    figure = figures.learning_curves(rows.sample(frac=1, random_state=0), "accuracy")
    assert titles(figure) == ["pan-cancer status", "cancer type"]
    assert legend(figure) == [figures.METHOD_LABELS[m] for m in METHODS]
    assert "simulated-tcga:smoke (simulated); n = 25, 100, 400; 4 repeats" in words(figure)
    for task, axis in zip(("tcga/pan", "tcga/type"), figure.axes, strict=True):
        assert axis.get_xscale() == "log" and list(axis.get_xticks()) == [25, 100, 400]
        for method in METHODS:
            values = rows[(rows["task"] == task) & (rows["method"] == method)].groupby("n")["value"]
            box = next(b for b in axis.containers if b.get_label() == figures.METHOD_LABELS[method])
            assert box.lines[0].get_ydata() == pytest.approx(values.mean().to_numpy())
            assert box.lines[0].get_xdata() == pytest.approx([25, 100, 400], rel=0.05)
            half = stats.t.ppf(0.975, 3) * values.sem().to_numpy()
            drawn = [(top - bottom) / 2 for (_, bottom), (_, top) in box.lines[2][0].get_segments()]
            assert drawn == pytest.approx(half)
            assert box.lines[0].get_color() == figures.METHOD_COLOURS[method]


def test_class_weights_and_cohorts_get_their_own_panels():
    rows = comparison_rows(tasks=("tcga/pan",))
    figure = figures.learning_curves(pd.concat([rows, rows.assign(arm="none")]))
    assert set(titles(figure)) == {f"pan-cancer status, class weights {weights}" for weights in ("balanced", "none")}
    both = pd.concat([rows, rows.assign(cohort="tcga-hypoxia", simulated=False)])
    assert any(
        w.startswith("simulated-tcga:smoke (simulated), tcga-hypoxia; n = ")
        for w in words(figures.learning_curves(both))
    )


def test_one_repeat_of_one_method_is_drawn_without_bars():
    figure = figures.learning_curves(comparison_rows(methods=["nn_wide"], repeats=1, n_values=(50,)))
    line = curves(figure.axes[0])["nn_wide"]  # a method without a fixed look is drawn under its own name
    assert len(line.get_ydata()) == 1


def test_method_bars_give_mean_interval_and_star():
    table = compare_methods(comparison_rows(n_values=(400,)), "accuracy", "nn_default")
    figure = figures.method_bars(table)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][::-1] == [
        "Neural network (default)",
        "LASSO",
        "Gaussian SVM",
    ]
    panel = table[table["task"] == "tcga/pan"]
    assert sorted(box.lines[0].get_xdata()[0] for box in figure.axes[0].containers) == sorted(panel["mean"])
    expected = {f"{row.mean:.3f}{' *' if row.p_bh < 0.05 else ''}" for row in panel.itertuples()}
    assert {text.get_text() for text in figure.axes[0].texts} == expected and any("*" in e for e in expected)


def test_transfer_curves_are_the_means_of_the_table():
    rows = transfer_rows()
    figure = figures.transfer_curves(rows, "accuracy")
    table = compare_arms(rows, "accuracy")
    assert titles(figure) == ["BRCA", "LUAD", "THCA"]
    assert set(legend(figure)) == set(figures.ARM_LABELS.values()) - {figures.ARM_LABELS["pooled"]}  # not in the rows
    for target, axis in zip(("tcga/BRCA", "tcga/LUAD", "tcga/THCA"), figure.axes, strict=True):
        panel, drawn = table[table["target"] == target], curves(axis)
        for arm in ("baseline", "fine_tuned"):
            means = panel[panel["arm"] == arm]["mean"].to_numpy()
            assert drawn[figures.ARM_LABELS[arm]].get_ydata() == pytest.approx(means)
        best = panel[panel["method"] == "lasso"]["mean"].to_numpy()  # lasso is always 0.03 above the SVM
        assert drawn[figures.ARM_LABELS["classical"]].get_ydata() == pytest.approx(best)
        dashed = next(line for line in axis.lines if line.get_label() == figures.ARM_LABELS["zero_shot"])
        assert dashed.get_ydata() == pytest.approx([0.65, 0.65]) and dashed.get_linestyle() == "--"


def test_stars_have_the_colour_of_the_better_network():
    rows = transfer_rows()
    figure = figures.transfer_curves(rows, "accuracy")
    table = compare_arms(rows, "accuracy").query("arm == 'fine_tuned'")
    for target, axis in zip(("tcga/BRCA", "tcga/LUAD", "tcga/THCA"), figure.axes, strict=True):
        panel = table[table["target"] == target]
        stars = {(t.get_position()[0], t.get_text(), t.get_color()) for t in axis.texts if t.get_text()}
        colours = figures.ARM_COLOURS
        assert stars == {(r.n, r.stars, colours[r.winner]) for r in panel.itertuples() if r.stars}
    winners = set(table["winner"])
    assert {"baseline", "fine_tuned"} <= winners  # the example holds both


def test_best_classical_rows_are_used_where_they_exist_and_log_loss_is_best_when_low():
    rows = transfer_rows(targets=("tcga/BRCA",))
    chosen = rows[rows["method"] == "svm_rbf"].assign(method="best_classical", value=0.5)
    figure = figures.transfer_curves(pd.concat([rows, chosen]), "accuracy")
    assert curves(figure.axes[0])[figures.ARM_LABELS["classical"]].get_ydata() == pytest.approx([0.5, 0.5])
    loss = rows[rows["metric"] == "accuracy"].assign(metric="log_loss")
    low = loss[loss["method"] == "svm_rbf"].groupby("n")["value"].mean()
    figure = figures.transfer_curves(loss, "log_loss")
    assert curves(figure.axes[0])[figures.ARM_LABELS["classical"]].get_ydata() == pytest.approx(low)


def test_partial_transfer_tables_are_drawn():
    rows = transfer_rows(frozen=(0, 2, 4))
    figure = figures.transfer_curves(rows[rows["arm"] == "fine_tuned"], "accuracy")
    assert legend(figure) == [f"Pre-trained, fine-tuned, F = {f}" for f in (0, 2, 4)]
    assert not any(set(word) == {"*"} for word in words(figure))
    figure = figures.transfer_curves(rows[rows["arm"] == "baseline"], "accuracy")
    assert legend(figure) == [figures.ARM_LABELS["baseline"]]
    gap = rows[~((rows["target"] == "tcga/LUAD") & (rows["n"] == 100))]
    axis = figures.transfer_curves(gap, "accuracy").axes[1]
    assert len(curves(axis)[figures.ARM_LABELS["baseline"]].get_ydata()) == 1


def test_gain_curves_show_accuracy_beside_auc_for_every_depth():
    rows = transfer_rows(frozen=(0, 2))
    figure = figures.gain_curves(rows)
    names = [f"{t}, {m}" for t in ("BRCA", "LUAD", "THCA") for m in ("Accuracy", "ROC AUC")]
    assert titles(figure) == names
    table = compare_arms(rows, "roc_auc").query("target == 'tcga/LUAD' and arm == 'fine_tuned'")
    drawn = curves(figure.axes[3])
    assert list(drawn) == ["0 layers frozen", "2 layers frozen"]
    for depth in (0, 2):
        gain = table[table["frozen"] == depth]["difference"].to_numpy()
        assert drawn[f"{depth} layers frozen"].get_ydata() == pytest.approx(gain)
    only = figures.gain_curves(rows[rows["metric"] == "accuracy"])
    assert titles(only) == ["BRCA", "LUAD", "THCA"]
    assert "Accuracy gain" in words(only)


def test_a_source_that_is_a_target_is_named():
    rows = transfer_rows(targets=("patient", "cell_line"))
    other = {"patient": "cell_line", "cell_line": "patient"}
    rows["source"] = np.where(rows["source"] == "", "", rows["target"].map(other))
    figure = figures.gain_curves(rows, "accuracy")
    assert set(titles(figure)) == {"cell line \u2192 patient", "patient \u2192 cell line"}
    figure = figures.transfer_curves(rows, "accuracy")
    assert all(len(curves(axis)) == 3 for axis in figure.axes)  # the shared baseline is in both panels


def test_pca_panels_legends_and_explained_variance():
    table = scores()
    figure = figures.pca(table, "tissue", explained=(0.25, 0.1))
    assert titles(figure) == ["Status", "Tissue"]
    assert figure.axes[0].get_xlabel() == "First component (25.0% of variance)"
    assert figure.axes[0].get_ylabel() == "Second component (10.0% of variance)"
    (points,) = figure.axes[1].collections
    assert np.asarray(points.get_offsets()) == pytest.approx(table[["pc1", "pc2"]].to_numpy())
    legend = figure.axes[1].get_legend()
    assert {text.get_text() for text in legend.get_texts()} == {"breast", "bone marrow", "not known"}
    colours = {tuple(colour) for colour in points.get_facecolors()}
    assert len(colours) == 3
    status = {c.get_label() for c in figure.axes[0].collections}
    assert status == {f"{s}, {o}" for s in ("cancer", "normal") for o in ("patient", "cell line")}
    figure = figures.pca(table.drop(columns=["origin", "cohort"]))
    assert {c.get_label() for c in figure.axes[0].collections} == {"cancer", "normal"}
    assert figure.axes[0].get_xlabel() == "First component"


def test_class_balance_stacks_the_counts():
    (axis,) = figures.class_balance(counts()).axes
    widths = {box.get_label(): [bar.get_width() for bar in box] for box in axis.containers}
    assert widths == {
        "cancer": [20, 30],
        "normal": [0, 10],
    }  # smallest tissue first, a class without samples is 0
    assert [bar.get_x() for bar in axis.containers[1]] == [20, 30]
    assert [text.get_text().strip() for text in axis.texts] == ["0% normal", "25% normal"]


def test_simulation_check_separates_curves_from_numbers():
    figure = figures.simulation_check(simulation())
    assert titles(figure) == ["gene mean", "simulated / real"]
    real, simulated = figure.axes[0].lines
    assert real.get_ydata() == pytest.approx([0.5, 2.5, 4.5])
    assert simulated.get_ydata() == pytest.approx([0.51, 2.55, 4.59])
    assert figure.axes[1].lines[1].get_xdata() == pytest.approx([1.25])
    assert legend(figure) == ["real", "simulated"]
    single = figures.simulation_check(simulation().dropna(subset="real").iloc[3:].drop(columns="at"))
    assert len(single.axes) == 1 and legend(single) == ["real", "simulated"]


def test_two_cohorts_are_never_mixed():
    both = [counts().assign(cohort=c, count=counts()["count"] * k) for k, c in ((1, "a"), (2, "b"))]
    figure = figures.class_balance(pd.concat(both))
    assert titles(figure) == ["a", "b"]
    assert [bar.get_width() for bar in figure.axes[1].containers[0]] == [40, 60]
    both = [scores().assign(cohort=c) for c in ("a", "b")]
    figure = figures.pca(pd.concat(both), explained={"b": (0.5, 0.25)})
    assert titles(figure) == ["a: status", "a: tissue", "b: status", "b: tissue"]
    labels = [axis.get_xlabel() for axis in figure.axes]
    assert labels == ["First component"] * 2 + ["First component (50.0% of variance)"] * 2
    n = len(scores())
    assert [sum(len(c.get_offsets()) for c in axis.collections) for axis in figure.axes] == [n] * 4
    both = [simulation().assign(cohort=c, simulated=k) for k, c in ((1, "a"), (2, "b"))]
    figure = figures.simulation_check(pd.concat(both))
    assert titles(figure) == ["gene mean, a", "gene mean, b", "simulated / real, a", "simulated / real, b"]
    assert figure.axes[1].lines[1].get_ydata() == pytest.approx([2, 2, 2])
    halves = [comparison_rows(tasks=(t,)).assign(cohort=c) for t, c in (("tcga/pan", "a"), ("microarray/pan", "b"))]
    figure = figures.learning_curves(pd.concat(halves))
    assert sorted(titles(figure)) == ["Microarray: pan-cancer status", "TCGA: pan-cancer status"]


def test_scalers_are_drawn_apart():
    rows = transfer_rows(targets=("tcga/BRCA", "tcga/LUAD"))
    rows["scaler"] = np.where(rows["arm"] == "classical", None, "source")
    subset = rows[rows["arm"].isin(["baseline", "fine_tuned"]) & (rows["n"] == 25)].assign(scaler="subset")
    figure = figures.gain_curves(pd.concat([subset, rows]), "accuracy")
    assert legend(figure) == ["0 layers frozen, scaler: source", "0 layers frozen, scaler: subset"]
    assert titles(figure) == ["BRCA", "LUAD"]
    figure = figures.transfer_curves(pd.concat([rows, subset]), "accuracy")
    assert titles(figure) == [f"{t}, scaler: {s}" for t in ("BRCA", "LUAD") for s in ("source", "subset")]
    assert figures.ARM_LABELS["classical"] in curves(figure.axes[0])


def test_wide_intervals_do_not_flatten_the_means():
    rows = transfer_rows(targets=("tcga/BRCA",), folds=2)  # t intervals of two values: many times the mean
    for figure, what in ((figures.transfer_curves(rows), "mean"), (figures.gain_curves(rows), "difference")):
        for axis, metric in zip(figure.axes, ("accuracy", "roc_auc"), strict=False):
            low, high = axis.get_ylim()
            table = compare_arms(rows, metric)
            means = table[what] if what == "mean" else table[table["arm"] == "fine_tuned"][what]
            assert low < means.min() and means.max() < high and high - low < 1
            assert what == "difference" or high < 1.15  # there is no accuracy of 1.2; stars have their room
    narrow = figures.learning_curves(comparison_rows())
    for axis in narrow.axes:
        low, high = axis.get_ylim()
        ends = np.concatenate([s for box in axis.containers for s in box.lines[2][0].get_segments()])[:, 1]
        assert low < ends.min() and ends.max() < high


@pytest.mark.parametrize(
    "draw",
    [
        figures.pca,
        figures.class_balance,
        figures.simulation_check,
        figures.learning_curves,
        figures.method_bars,
        figures.transfer_curves,
        figures.gain_curves,
    ],
)
def test_an_empty_table_is_one_sentence(draw):
    with pytest.raises(InputError, match=r"^The table for .*\.$") as caught:
        draw(pd.DataFrame())
    assert "\n" not in str(caught.value)


def test_rows_without_fine_tuning_have_no_gain():
    rows = transfer_rows()
    with pytest.raises(InputError, match="gain curves has no rows"):
        figures.gain_curves(rows[rows["arm"] == "baseline"])
    with pytest.raises(InputError, match="'baseline' has no rows"):
        figures.gain_curves(rows[rows["arm"] == "fine_tuned"])


def test_every_figure_says_what_it_was_drawn_from():
    figure = figures.learning_curves(comparison_rows())
    assert figure.get_suptitle() == "simulated-tcga:smoke (simulated); n = 25, 100, 400; 4 repeats"
    figure = figures.transfer_curves(transfer_rows(n_values=range(1000, 11000, 1000)))
    assert figure.get_suptitle() == "tcga-pairs; n = 1,000 to 10,000, 10 sizes; 1 repeat of 5 folds"


def test_save_writes_the_same_bytes_with_text_as_text(tmp_path):
    rows = transfer_rows(targets=("tcga/BRCA",))
    saved = figures.save(figures.transfer_curves(rows), tmp_path / "new" / "fig.5")
    again = figures.save(figures.transfer_curves(rows), tmp_path / "again")
    assert [path.name for path in saved] == ["fig.5.svg", "fig.5.png"]
    assert saved[0].read_bytes() == again[0].read_bytes()
    svg = saved[0].read_text()
    assert "<text" in svg and "Baseline (from scratch)" in svg and "<dc:date>" not in svg
    assert saved[1].read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in saved[0].parent.iterdir()} == {"fig.5.svg", "fig.5.png"}


def test_save_leaves_the_old_file_when_drawing_fails(tmp_path):
    figure = figures.class_balance(counts())
    svg, _ = figures.save(figure, tmp_path / "kept")
    old = svg.read_bytes()
    figure.axes[0].text(0, 0, "$\\nosuchcommand$")
    with pytest.raises(ValueError, match="nosuchcommand"):
        figures.save(figure, tmp_path / "kept")
    assert svg.read_bytes() == old and len(list(tmp_path.iterdir())) == 2
