"""The supplement: its rows are picked, tested and drawn as the page says."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gexlib import figures, notebook, profiles
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS, comparison, section
from gexlib.results import Cell, table
from gexlib.runner import Run
from gexlib.statistics import adjust, paired

METHODS = ["nn_default", "lasso", "svm_linear", "majority"]
SMOKE = comparison.Parameters(
    cohort=["simulated-tcga:smoke", "simulated-microarray:smoke"], tasks=["tcga/BRCA", "microarray/pan"],
    methods=["nn_default", "lasso"], repeats=2, split=["random", "study"], genes=[10], inner_folds=2, grid="small",
    network={"hidden": [8]}, training={"epochs": 2, "fixed_epochs": 2},
)  # fmt: skip


def made(tasks=("microarray/pan", "microarray/lung", "tcga/BRCA"), repeats=5, seed=0) -> pd.DataFrame:
    """Rows as the store gives them: every task at random, at two sizes, the first by study too."""
    random = np.random.default_rng(seed)
    rows = []
    for task in tasks:
        kinds = ("random", "study") if task == tasks[0] else ("patient",)
        for split in kinds:
            for method in METHODS:
                for n in (40, 200):
                    for repeat in range(repeats):
                        size = n + (split == "study") * 7
                        cell = Cell("comparison", {"task": task, "m": method, "n": n, "r": repeat, "s": split}, "d", 1)
                        for metric in ("accuracy", "balanced_accuracy"):
                            value = 0.9 - 0.03 * METHODS.index(method) - 0.2 * (split == "study")
                            rows.append(
                                {
                                    "experiment": "comparison",
                                    "cohort": "simulated-x:smoke",
                                    "simulated": True,
                                    "task": task,
                                    "method": method,
                                    "arm": "balanced",
                                    "n": size,
                                    "n_test": 50 + repeat * (split == "study"),
                                    "repeat": repeat,
                                    "split": split,
                                    "full": n == 200,
                                    "metric": metric,
                                    "value": value + random.normal(0, 0.02),
                                    "seconds": 2.0,
                                    "key": cell.key,
                                    "cell": cell.json,
                                    "commit": "abc",
                                    "dirty": False,
                                    "date": "2026-11-22T10:00:00Z",
                                    "cohort_digest": "d",
                                    "fingerprint": "f",
                                    "protocol": 1,
                                }  # fmt: skip
                            )
    return table(rows)


@pytest.fixture(scope="module")
def rows():
    return made()


def test_the_supplement_is_the_comparison_on_another_page():
    found = section("09_supplement")
    assert found is section("supplement") and found.module is comparison and found.experiment == "comparison"
    assert section("comparison").notebook == "03_comparison"
    first = next(s for s in SECTIONS.values() if s.experiment == "comparison")
    assert first.name == "comparison"


def test_it_runs_and_cells_of_both_kinds_share_no_test_study(watched):
    """Both kinds of split on one cohort; by study no study is on both sides."""
    parameters = comparison.Parameters(**{**vars(SMOKE), "cohort": "simulated-microarray:smoke", "tasks": []})
    from gexlib.cohorts import open_cohort

    seen = watched(comparison, parameters)
    study = open_cohort("simulated-microarray:smoke").obs["study"]
    shared = {"random": 0, "study": 0}
    for s in seen:
        shared[s.split] += len(set(study[list(s.learner.ids)]) & set(study[sorted(s.tested)]))
        assert {row["split"] for row in s.rows} == {s.split}
    assert shared["study"] == 0 < shared["random"]
    gap = comparison.split_gap(comparison.by_split(table(row for s in seen for row in s.rows)))
    assert list(gap["method"]) == ["lasso", "nn_default"] and gap.notna().all(axis=None)


def test_each_part_has_its_rows(rows):
    def kinds(part):
        return set(zip(part["task"], part["split"], part["full"], strict=True))

    assert kinds(comparison.specific(rows)) == {("microarray/lung", "patient", True), ("tcga/BRCA", "patient", True)}
    assert kinds(comparison.by_split(rows)) == {("microarray/pan", "random", True), ("microarray/pan", "study", True)}
    assert kinds(comparison.of_tasks(rows)) == {("microarray/pan", "random", full) for full in (False, True)}
    assert kinds(comparison.of_tasks(rows, split="study")) == {("microarray/pan", "study", f) for f in (False, True)}
    both = comparison.of_tasks(rows, ["microarray/pan", "tcga/BRCA"], ["random", "study"])
    assert {kind[:2] for kind in kinds(both)} == {
        ("microarray/pan", "random"), ("microarray/pan", "study"), ("tcga/BRCA", "patient"),
    }  # fmt: skip


def test_no_rows_are_no_rows():
    empty = table([])
    for pick in (comparison.specific, comparison.by_split, comparison.of_tasks, comparison.full):
        assert pick(empty).empty
    shown = notebook.provenance_html(comparison.with_rows(Run(empty, 0, 0, 0), comparison.specific(empty)))
    assert "Nothing is recorded here yet" in shown


def test_a_part_of_a_run_speaks_of_its_own_cells(rows):
    run = Run(rows, rows["key"].nunique() + 3, rows["key"].nunique(), 0, seconds=99.0)
    part = comparison.with_rows(run, comparison.specific(rows))
    assert part.done == 2 * 4 * 5 and part.cells == part.done + 3  # tasks, methods, repeats
    assert part.seconds == pytest.approx(2.0 * part.done)


def test_the_pages_words_on_nothing_recorded_are_true():
    """A part that no record holds shows its strip alone; here, without raising, for whatever is recorded."""
    record = notebook.recorded("supplement")
    for pick in (comparison.specific, comparison.by_split):
        part = comparison.with_rows(record, pick(record.rows))
        assert bool(part.done) == bool(len(part.rows))
        assert ("Nothing is recorded" in notebook.provenance_html(part)) == (part.done == 0)


def test_p_values_are_adjusted_over_all_tasks_and_methods_but_the_majority(rows):
    found = comparison.over_tasks(comparison.specific(rows))
    plain = comparison.summarise(comparison.specific(rows))
    tested = found["method"].isin(["lasso", "svm_linear"])
    assert tested.sum() == 4
    np.testing.assert_allclose(found.loc[tested, "p_bh"], adjust(plain.loc[tested, "p_raw"]))
    assert not np.allclose(found.loc[tested, "p_bh"], plain.loc[tested, "p_bh"])  # there: within one task
    assert found.loc[~tested, "p_bh"].isna().all()
    pd.testing.assert_frame_equal(found.drop(columns="p_bh"), plain.drop(columns="p_bh"))


def test_a_comparison_has_one_adjusted_p_value_with_and_without_the_majority(rows):
    with_it, without = comparison.summarise(rows), comparison.summarise(rows[rows["method"] != "majority"])
    majority = with_it["method"] == "majority"
    assert majority.any() and with_it.loc[majority, "p_bh"].isna().all()
    pd.testing.assert_frame_equal(with_it[~majority].reset_index(drop=True), without)


def test_equality_within_a_point_is_corrected_on_full_training_sets(rows):
    found = comparison.summarise(rows, "balanced_accuracy").query("task == 'tcga/BRCA' and method == 'lasso'").squeeze()
    own = rows[rows["full"].astype(bool) & (rows["task"] == "tcga/BRCA") & (rows["metric"] == "balanced_accuracy")]
    own = own.pivot(index="repeat", columns="method", values="value")
    d = (own["lasso"] - own["nn_default"]).to_numpy(float)
    error = np.sqrt(d.var(ddof=1) * (1 / 5 + 50 / 200))
    ends = stats.t.sf((d.mean() + 0.01) / error, 4), stats.t.cdf((d.mean() - 0.01) / error, 4)
    assert found["p_equivalent"] == pytest.approx(max(ends))
    assert found["p_corrected"] == pytest.approx(2 * stats.t.sf(abs(d.mean()) / error, 4))


def test_the_page_says_how_its_record_is_tuned():
    comparison_, own = (profiles.load("record")[name] for name in ("comparison", "supplement"))
    assert (own["grid"], own["inner_folds"]) == ("small", 5)
    assert (comparison_["grid"], comparison_["inner_folds"]) == ("full", 10)


def test_kinds_of_split_are_compared_apart(rows):
    table_4 = comparison.summarise(rows)
    pan = table_4[(table_4["task"] == "microarray/pan") & (table_4["method"] == "lasso")].set_index("split")
    assert set(pan.index) == {"random", "study"} and list(pan["n"]) == [200, 207]
    assert pan["p_corrected"].notna().all()  # each with the sizes of its own splits
    full = rows[(rows["metric"] == "accuracy") & rows["full"].astype(bool) & (rows["task"] == "microarray/pan")]
    for split, row in pan.iterrows():
        own = full[full["split"] == split].sort_values("repeat")
        one, network = (own.loc[own["method"] == m, "value"].to_numpy() for m in ("lasso", "nn_default"))
        assert row["difference"] == pytest.approx((one - network).mean())
        assert row["p_raw"] == pytest.approx(paired(one, network).p_raw)


def test_means_of_all_metrics_do_not_mix_kinds_of_split(rows):
    found = comparison.all_metrics(rows)
    assert list(found.columns[:5]) == ["cohort", "task", "split", "arm", "method"]
    pan = found[(found["task"] == "microarray/pan") & (found["method"] == "lasso")].set_index("split")["accuracy"]
    assert pan["random"] - pan["study"] == pytest.approx(0.2, abs=0.05)
    assert "split" not in comparison.all_metrics(comparison.specific(rows))


def test_the_gap_between_kinds_of_split_is_welchs(rows):
    gap = comparison.split_gap(comparison.by_split(rows))
    assert list(gap["method"]) == sorted(METHODS) and set(gap["task"]) == {"microarray/pan"}
    own = rows[(rows["metric"] == "balanced_accuracy") & (rows["method"] == "lasso") & rows["full"].astype(bool)]
    own = own[own["task"] == "microarray/pan"]
    study, random = (own.loc[own["split"] == kind, "value"] for kind in ("study", "random"))
    row = gap.set_index("method").loc["lasso"]
    interval = stats.ttest_ind(study, random, equal_var=False).confidence_interval()
    assert row["difference"] == pytest.approx(study.mean() - random.mean()) and row["difference"] < -0.1
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(interval))


def test_a_split_by_study_that_is_drawn_again_counts_once(rows):
    again = rows.assign(n_test=rows["n_test"].where(rows["repeat"] > 1, 50))  # the first two are one
    gap = comparison.split_gap(comparison.by_split(again)).set_index("method").loc["lasso"]
    own = again[(again["metric"] == "balanced_accuracy") & (again["method"] == "lasso") & again["full"].astype(bool)]
    own = own[own["task"] == "microarray/pan"]
    random = own.loc[own["split"] == "random", "value"]
    study = own[own["split"] == "study"].sort_values("repeat")["value"].to_numpy()
    interval = stats.ttest_ind([study[:2].mean(), *study[2:]], random, equal_var=False).confidence_interval()
    assert gap["study_splits"] == len(study) - 1
    assert (gap["difference_low"], gap["difference_high"]) == pytest.approx(tuple(interval))
    one = comparison.split_gap(comparison.by_split(rows.assign(n_test=50)))
    assert (one["study_splits"] == 1).all() and one[["difference_low", "difference_high"]].isna().all(axis=None)


def test_one_split_of_a_kind_has_no_interval_and_equal_ones_a_point(rows):
    one = comparison.split_gap(comparison.by_split(rows[rows["repeat"] == 0]))
    assert one["difference"].notna().all() and one[["difference_low", "difference_high"]].isna().all(axis=None)
    flat = rows.assign(value=0.5)
    gap = comparison.split_gap(comparison.by_split(flat))
    assert (gap[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_class_weights_are_compared_on_the_same_splits(rows):
    """Only pairs count: a split that lacks one of the two is left out."""
    one = rows[(rows["method"] == "lasso") & (rows["task"] == "microarray/pan") & (rows["split"] == "random")]
    assert comparison.weight_gap(one).empty
    none = one[one["repeat"] > 0].assign(arm="none", value=one["value"] - 0.1 - 0.01 * one["repeat"])
    both = pd.concat([one, none])
    assert [set(comparison.one_weight(some)["arm"]) for some in (both, none)] == [{"balanced"}, {"none"}]
    gap = comparison.weight_gap(both)
    assert set(gap["metric"]) == {"accuracy", "balanced_accuracy"}
    for _, row in gap.iterrows():
        own = one[(one["metric"] == row["metric"]) & (one["n"] == row["n"]) & (one["repeat"] > 0)]
        expected = paired(0.1 + 0.01 * own["repeat"], np.zeros(len(own)))
        assert row["balanced"] - row["none"] == pytest.approx(row["difference"]) == pytest.approx(expected.difference)
        assert row["n_pairs"] == len(own) and row["p_raw"] == pytest.approx(expected.p_raw)


# Figures


def axis_of(figure, title):
    return next(axis for axis in figure.axes if axis.get_title(loc="left") == title)


def test_dots_stand_at_the_means_of_their_task(rows):
    single = comparison.specific(rows)
    figure = figures.task_dots(single)
    first = figure.axes[0]  # they share their lines
    ticks = {text.get_text(): place for place, text in zip(first.get_yticks(), first.get_yticklabels(), strict=True)}
    assert list(ticks) == ["TCGA: BRCA", "Microarray: lung"]  # the first on top
    for metric, title in (("accuracy", "Accuracy"), ("balanced_accuracy", "Balanced accuracy")):
        axis = axis_of(figure, title)
        means = single[single["metric"] == metric].groupby(["method", "task"])["value"].mean()
        for method in METHODS[:3]:
            dots = [box.lines[0].get_xydata()[0] for box in axis.containers
                    if box.get_label() == figures.METHOD_LABELS[method]]  # fmt: skip
            assert len(dots) == 2
            for task, label in (("microarray/lung", "Microarray: lung"), ("tcga/BRCA", "TCGA: BRCA")):
                (x,) = [x for x, y in dots if abs(y - ticks[label]) < 0.5]
                assert x == pytest.approx(means[method, task])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [figures.METHOD_LABELS[m] for m in METHODS[:3]]  # the majority is in the table


def test_both_kinds_of_split_and_their_difference_are_drawn(rows):
    studies = comparison.by_split(rows)
    gap = comparison.split_gap(studies)
    figure = figures.split_dots(gap, rows=studies)
    left, right = figure.axes
    ticks = [text.get_text() for text in left.get_yticklabels()]
    assert ticks == [figures.METHOD_LABELS[m] for m in METHODS][::-1]
    drawn = {line.get_label(): np.asarray(line.get_xydata(), dtype=float) for line in left.lines}
    at = [ticks.index(figures.METHOD_LABELS[method]) for method in gap["method"]]
    for label, column in (("Random splits (by patient)", "random"), ("Splits by study", "study")):
        np.testing.assert_allclose(drawn[label], np.column_stack([gap[column], at]))
    (bars,) = right.containers
    np.testing.assert_allclose(bars.lines[0].get_xdata().astype(float), gap["difference"])
    ends = np.array([segment[:, 0] for segment in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, gap[["difference_low", "difference_high"]])
    assert "simulated" in figure.get_suptitle() and right.get_xlabel() == "By study minus random"


def test_figures_take_every_method_and_many_tasks():
    methods = list(comparison.METHODS)
    rows = made(tasks=[f"tcga/T{i}" for i in range(19)], repeats=2)
    rows = pd.concat([rows[rows["method"] == "lasso"].assign(method=m) for m in methods])
    single = comparison.specific(rows)
    for figure in (
        figures.task_dots(single),
        figures.learning_curves(rows[rows["task"] == "tcga/T1"]),
        figures.split_dots(comparison.split_gap(comparison.by_split(rows)), rows=rows),
        figures.method_bars(comparison.summarise(single[single["task"] == "tcga/T1"])),
    ):
        figure.draw_without_rendering()
        for text in figure.findobj(mpl.text.Text):
            assert not text.get_text() or text.get_size() >= 8
        for box in figure.legends:
            extent = box.get_window_extent()
            assert 0 <= extent.x0 and extent.x1 <= figure.bbox.x1 and 0 <= extent.y0
            assert extent.y1 < min(axis.get_tightbbox().y0 for axis in figure.axes)


def test_figures_refuse_tables_without_rows(rows):
    for draw, nothing in ((figures.task_dots, rows[:0]), (figures.split_dots, comparison.split_gap(rows[:0]))):
        with pytest.raises(InputError, match="has no rows"):
            draw(nothing)
