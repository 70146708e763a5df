"""The committed record: it is whole, and what the chapters say of it in words still holds."""

import numpy as np
import pytest

from gexlib import notebook, profiles, recommend
from gexlib.experiments import SECTIONS, cancer_to_cancer, comparison, pan_to_specific, sensitivity, unsupervised
from gexlib.experiments import cell_lines_and_patients as origins
from gexlib.importance import importance
from gexlib.results import COLUMNS, Cell
from gexlib.statistics import compare_arms

RNA, ARRAYS, FULL = "tcga-pairs", "u133-genes", "simulated-microarray:paper"
HELPED, UNCHANGED = ("BRCA", "HNSC", "LUSC", "THCA"), ("KIRC", "LUAD", "PRAD")  # article, Fig. 6


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda s: s.name)
def test_the_record_is_whole_and_traceable(section):
    run = notebook.recorded(section.name)
    rows = run.rows
    assert run.done and set(COLUMNS) <= set(rows)
    assert run.done == sum(r["done"] for r in run.recorded)
    assert all("digest" in r for r in run.recorded), "a file without a digest can be altered by hand"
    assert rows[["cohort_digest", "fingerprint", "versions", "commit", "date", "key", "value"]].notna().all().all()
    assert not rows["dirty"].any(), "a record is made from committed code"
    keys = rows.drop_duplicates("key")
    assert all(Cell.from_json(text).key == key for text, key in zip(keys["cell"], keys["key"], strict=True))
    assert set(rows["protocol"]) == {section.module.PROTOCOL}


@pytest.fixture(scope="module")
def transfer():
    return notebook.recorded("pan-to-specific", [RNA]).rows


def arm(rows, metric, name, **axes):
    table = compare_arms(rows, metric)
    table = table[table["arm"] == name]
    for axis, value in axes.items():
        table = table[table[axis] == value]
    return table


@pytest.mark.parametrize("target", [*HELPED, *UNCHANGED])
def test_pre_training_neither_helps_nor_harms_on_pairs(transfer, target):
    table = arm(transfer, "accuracy", "fine_tuned", frozen=0, target=target)
    assert len(table) == 4 and (table["p_raw"] > 0.05).all() and (table["p_bh"] > 0.05).all()


def test_eight_samples_are_almost_as_good_as_sixty_four(transfer):
    by_n = arm(transfer, "accuracy", "baseline").groupby("n")["mean"].mean()
    assert 0 < by_n[64] - by_n[8] < 0.05


def test_zero_shot_ranks_well_where_its_threshold_is_wrong(transfer):
    ranks = arm(transfer, "roc_auc", "zero_shot").set_index("target")["mean"]
    hits = arm(transfer, "accuracy", "zero_shot").set_index("target")["mean"]
    assert (ranks > 0.9).all() and (ranks - hits > 0.1).sum() >= 3


def test_two_frozen_layers_lower_the_accuracy_on_average(transfer):
    table = arm(transfer, "accuracy", "fine_tuned", frozen=2)
    assert (table[table["n"] >= 16].groupby("n")["difference"].mean() < 0).all()


def test_the_lines_of_the_figures_hold_every_target(transfer):
    lines = pan_to_specific.main_lines(transfer)
    assert set(lines["target"]) == {*HELPED, *UNCHANGED, "STAD"}
    assert set(lines["arm"]) == {"baseline", "fine_tuned", "zero_shot", "classical", "pooled"}


def test_source_samples_do_not_help_a_classical_method(transfer):
    table = arm(pan_to_specific.main_lines(transfer), "accuracy", "pooled")
    assert (table.groupby("n")["difference"].mean() < 0).all()


@pytest.fixture(scope="module")
def platforms():
    return origins.headline(notebook.recorded("cell-lines-and-patients").rows, "platform")


def test_one_platform_ranks_the_other_but_misses_the_threshold(platforms):
    table = origins.table5(platforms).set_index(["source", "target"])
    for source, target in ((RNA, ARRAYS), (ARRAYS, RNA)):
        there, home = table.loc[(source, target)], table.loc[(source, source)]
        assert there["roc_auc"] > home["roc_auc"] - 0.03 and there["accuracy"] < home["accuracy"] - 0.1


def frozen_gains(platforms, metric, target):
    table = origins.summarise(origins.fig4(platforms), metric)
    return table[(table["arm"] == "fine_tuned") & (table["target"] == target)].set_index(["n", "frozen"]).sort_index()


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_few_arrays_gain_from_rna_seq_with_two_layers_frozen(platforms, metric):
    table = frozen_gains(platforms, metric, ARRAYS)
    for n in (16, 32):
        assert table.loc[(n, 2), "difference"] > 0 and table.loc[(n, 2), "p_bh"] < 0.05
        assert table.loc[(n, 0), "p_raw"] > 0.05
    assert (table.loc[64, "p_raw"] > 0.05).all()


def test_rna_seq_gains_nothing_from_arrays_and_loses_with_frozen_layers(platforms):
    table = frozen_gains(platforms, "accuracy", RNA)["difference"].unstack()
    p = frozen_gains(platforms, "accuracy", RNA)
    assert not ((p["difference"] > 0) & (p["p_raw"] < 0.05)).any()
    assert (table.mean().diff().dropna() < 0).all()  # the more frozen, the more is lost


@pytest.fixture(scope="module")
def simulated():
    rows = notebook.recorded("cell-lines-and-patients").rows
    return rows[rows["simulated"].astype(bool) & (rows["cohort"] != FULL)]


def gains_between_origins(simulated):
    table = origins.summarise(origins.fig4(origins.headline(simulated, "origin")))
    return table[table["arm"] == "fine_tuned"].set_index(["target", "frozen", "n"]).sort_index()


def test_pre_training_helps_few_samples_more_from_patients_to_cell_lines(simulated):
    table = gains_between_origins(simulated)
    to_lines, to_patients = table.loc[("cell_line", 0)], table.loc[("patient", 0)]
    assert (to_lines["difference"] > to_patients["difference"]).all()
    assert (to_lines.loc[[25, 50, 100], "p_bh"] < 0.05).all() and to_patients.loc[25, "p_bh"] < 0.05
    assert max(to_lines.loc[400, "difference"], to_patients.loc[400, "difference"]) < 0.02


def test_some_frozen_layers_gain_more_than_none(simulated):
    gain = gains_between_origins(simulated)["difference"].unstack("frozen")
    few = gain[gain.index.get_level_values("n") <= 100]
    assert few[[1, 2, 3, 4]].gt(few[0], axis=0).all().all()


def test_the_stopping_rule_makes_a_good_part_of_the_gain(simulated):
    table = origins.arms(origins.headline(simulated, "origin"))
    table = table[(table["n"] == 50) & (table["scaler"] == "source")]
    for _, part in table.groupby("target"):
        gain = part.set_index("stopping")["difference"]
        assert gain["first"] > gain["patience"] > 2 * gain["fixed"] > 0
    baseline = origins.summarise(origins.main_lines(origins.headline(simulated, "origin")))
    baseline = baseline[baseline["arm"] == "baseline"].pivot(index="target", columns="n", values="mean")
    assert (baseline[50] < baseline[25]).all()


def test_the_simulated_gain_follows_sharing_and_shift(simulated):
    table = origins.sweep(simulated)
    near = table[(table["shift"] == 0.5) & (table["n"] == 25)].sort_values("sharing")
    assert near.groupby("target")["gain"].is_monotonic_increasing.all()
    far = table[(table["shift"] == 2) & (table["target"] == "patient")]
    assert len(far) == 6 and (far["p_raw"] > 0.05).all()


@pytest.fixture(scope="module")
def wide():
    return notebook.recorded("cell-lines-and-patients", [FULL]).rows


def test_at_full_width_the_gain_reaches_to_a_thousand_samples(wide):
    table = gains_between_origins(wide)
    assert wide["key"].nunique() == 1000 and set(wide["repeat"]) == set(range(10))
    for target in ("cell_line", "patient"):
        gain = table.loc[(target, 0)]
        assert (gain.loc[:1000, "difference"] > 0.01).all() and (gain.loc[:1000, "p_bh"] < 0.05).all()
        assert (gain.loc[2000:, "difference"].round(2) <= 0.01).all() and (gain.loc[2000:, "p_bh"] > 0.05).all()


def test_at_full_width_one_frozen_layer_gains_more_and_four_lose_with_many_samples(wide):
    table = gains_between_origins(wide)
    gain = table["difference"].unstack("frozen")
    few = gain[gain.index.get_level_values("n") <= 1000]
    assert (few[1] >= few[0]).all()
    four = table.loc[("patient", 4)].loc[2000:]
    assert (four["difference"] < -0.02).all() and (four["p_bh"] < 0.05).all()


def test_at_full_width_the_network_of_patients_does_for_cell_lines_and_not_the_other_way(wide):
    table = origins.table5(wide).set_index(["source", "target"])
    own, other = table.loc[("cell_line", "cell_line")], table.loc[("patient", "cell_line")]
    assert abs(own["accuracy"] - other["accuracy"]) < 0.01
    missed = table.loc[("cell_line", "patient")]
    assert missed["roc_auc"] > 0.9 and missed["balanced_accuracy"] < 0.7
    lines = origins.summarise(origins.main_lines(wide))
    baseline = lines[lines["arm"] == "baseline"].pivot(index="target", columns="n", values="mean")
    assert (baseline[50] < baseline[25]).all()


@pytest.fixture(scope="module")
def methods():
    rows = notebook.recorded("comparison", [RNA]).rows
    return rows[~rows["method"].isin(["majority", "nn_paper", "nn_inner"])]


def test_the_articles_way_does_well_on_all_samples_and_fails_on_few():
    rows = comparison.of_tasks(notebook.recorded("comparison", [RNA]).rows)
    rows = rows[(rows["metric"] == "accuracy") & (rows["repeat"] == 0) & ~rows["method"].isin(["majority", "nn_inner"])]
    status, kind = (
        rows[rows["task"] == f"tcga/{task}"].pivot(index="n", columns="method", values="value")
        for task in ("pan", "type")
    )
    best = status.drop(columns="nn_paper").max(axis=1)
    assert status.loc[768, "nn_paper"] == pytest.approx(0.979, abs=0.001) == best[768]
    assert kind["nn_paper"].iloc[-1] == pytest.approx(kind["lasso"].iloc[-1] - 0.01, abs=0.001)
    assert status.loc[50, "nn_paper"] < 0.51 and best[100] - status.loc[100, "nn_paper"] == pytest.approx(
        0.135, abs=0.01
    )
    assert (best - status[comparison.NETWORK]).max() < 0.04


def test_the_network_tuned_inside_is_level_but_for_fifty_samples():
    rows = comparison.of_tasks(notebook.recorded("comparison", [RNA]).rows)
    rows = rows[(rows["metric"] == "accuracy") & rows["method"].isin(["nn_inner", comparison.NETWORK])]
    pairs = rows.pivot(index=["task", "n", "repeat"], columns="method", values="value").dropna()
    gap = (pairs["nn_inner"] - pairs[comparison.NETWORK]).groupby(["task", "n"]).mean()
    assert gap["tcga/pan", 50] == pytest.approx(-0.027, abs=0.001)
    assert gap["tcga/type", 50] == pytest.approx(-0.187, abs=0.001)
    assert gap.drop(50, level="n").abs().max() < 0.011  # of type the full set has two sizes
    assert pairs.loc[("tcga/type", 50), "nn_inner"].min() == pytest.approx(0.27, abs=0.005)
    full = comparison.summarise(comparison.of_tasks(notebook.recorded("comparison", [RNA]).rows)).set_index("method")
    inner = full.loc["nn_inner"]
    assert inner["mean"].to_numpy() == pytest.approx(0.974, abs=0.0005)
    assert inner["difference"].to_numpy() == pytest.approx(0.003, abs=0.0005)


@pytest.mark.parametrize("task", ["tcga/pan", "tcga/type"])
def test_no_method_differs_from_the_network_after_adjustment(methods, task):
    table = comparison.summarise(methods[methods["task"] == task])
    others = table[table["method"] != comparison.NETWORK]
    assert len(others) == 5 and (others["p_bh"] > 0.05).all()


def test_the_network_is_not_first_and_lasso_not_last(methods):
    table = comparison.summarise(methods)
    for task, place in {"tcga/pan": (2, 5), "tcga/type": (5, 6)}.items():
        part = table[table["task"] == task].sort_values("mean", ascending=False)
        order = list(part["method"])
        assert place[0] <= order.index(comparison.NETWORK) + 1 <= place[1]
        assert order[-1] != "lasso"
    assert {order[0], order[1]} == {"svm_linear", "lasso"}  # of type: the linear methods lead


def test_at_fifty_samples_xgboost_falls_off(methods):
    small = methods[(methods["n"] == 50) & (methods["metric"] == "accuracy")]
    means = small.groupby(["task", "method"])["value"].mean().unstack()
    assert (means.idxmin(axis=1) == "xgboost").all()


@pytest.fixture(scope="module")
def unlabelled():
    return notebook.recorded("unsupervised").rows


LAYERS, WHOLE = "layer by layer", "whole encoder"


@pytest.fixture(scope="module")
def pretrained(unlabelled):
    table = unsupervised.summarise(unlabelled)
    return table[table["arm"] == "fine_tuned"]


def test_autoencoders_learn_to_reconstruct(unlabelled):
    table = unsupervised.losses(unlabelled).set_index("pretraining").loc[LAYERS]
    assert table["reconstruction"] < 0.27 < 1 < table["reconstruction_start"]


def test_pre_training_without_labels_changes_nothing_that_could_be_seen(pretrained):
    table = pretrained[(pretrained["pretraining"] == LAYERS) & (pretrained["frozen"] == 0)]
    assert len(table) == 31 and (table["p_raw"] > 0.05).all()
    assert table.groupby("n")["difference"].mean().abs().max() < 0.01
    assert not (table["p_equivalent"] < 0.05).any()


def test_the_whole_encoder_is_below_the_baseline_on_average(pretrained):
    table = pretrained[(pretrained["pretraining"] == WHOLE) & (pretrained["frozen"] == 0)]
    assert table.groupby("n")["difference"].mean().between(-0.035, -0.02).all()
    below = table[table["p_raw"] < 0.05]
    assert len(below) == 5 and (below["difference"] < 0).all() and (table["p_bh"] > 0.05).all()
    largest = table[table["n"] == 64].set_index("target")["difference"]
    assert largest["PRAD"] < -0.12 and largest.drop("PRAD").mean() > -0.01
    few = table[table["n"] == 8].set_index("target")["difference"]
    assert few[["BRCA", "KIRC", "LUAD"]].between(-0.075, -0.04).all() and abs(few["THCA"]) < 0.01


def test_five_times_the_noise_differs_from_no_baseline(pretrained):
    table = pretrained[(pretrained["pretraining"] == f"{LAYERS}, noise 0.5") & (pretrained["frozen"] == 0)]
    assert len(table) == 31 and (table["p_raw"] > 0.05).all()


def test_frozen_layers_change_little_layer_by_layer(pretrained):
    table = pretrained.pivot_table(index=["pretraining", "target", "n"], columns="frozen", values="difference").dropna()
    assert set(table.index.get_level_values("target")) == {"BRCA", "KIRC"}
    assert abs((table[2] - table[0]).groupby("pretraining").mean()[LAYERS]) < 0.01
    means = table[2].groupby("pretraining").mean()
    assert means[LAYERS] > -0.01 and means[WHOLE] < -0.04


def test_the_best_classical_method_is_level_with_the_baseline_of_unsupervised_transfer(unlabelled):
    table = unsupervised.summarise(unlabelled)
    table = table[table["method"] == "best_classical"]
    assert table.groupby("n")["difference"].mean().abs().max() < 0.006 and (table["p_raw"] > 0.05).all()


@pytest.fixture(scope="module")
def between_cancers():
    return notebook.recorded("cancer-to-cancer", [RNA]).rows


def test_no_other_cancer_helps_and_hardly_one_harms(between_cancers):
    table = cancer_to_cancer.gains(between_cancers)
    others = table[table["source"] != table["target"]]
    assert len(others) == 168 and (others["p_bh"] > 0.05).all()
    starred = others[others["p_raw"] < 0.05]
    assert list(starred[["source", "target", "n"]].itertuples(index=False, name=None)) == [("STAD", "LUAD", 8)]
    assert (starred["difference"] < 0).all() and not (others["p_equivalent"] < 0.05).any()
    cost = others.groupby("n")["difference"].mean()
    assert -0.011 < cost[8] < -0.008 and cost[[16, 32]].between(-0.005, 0).all()


def test_the_diagonal_gains_a_few_points_at_few_samples(between_cancers):
    gain = cancer_to_cancer.diagonal(between_cancers).groupby("n")["difference"].mean()
    assert gain[8] == pytest.approx(0.03, abs=0.005) and gain[16] == pytest.approx(0.01, abs=0.005)
    assert abs(gain[32]) < 0.005
    assert (cancer_to_cancer.diagonal(between_cancers)["p_raw"] > 0.049).all()
    assert (between_cancers["n_test"].min(), between_cancers["n_test"].max()) == (6, 24)


@pytest.fixture(scope="module")
def with_ucec():
    return notebook.recorded("cancer-to-cancer", ["tcga-hypoxia"]).rows


def test_neither_ucec_nor_another_cancer_helps_surely_on_fifty_genes(with_ucec):
    for metric in ("accuracy", "balanced_accuracy", "roc_auc"):
        table = cancer_to_cancer.gains(with_ucec, metric)
        others = table[table["source"] != table["target"]]
        assert len(others) == 168 and (others["p_bh"] > 0.05).all()
    gains = {
        metric: cancer_to_cancer.gains(with_ucec, metric).set_index(["source", "target", "n"]).sort_index()
        for metric in ("accuracy", "balanced_accuracy")
    }
    others = gains["accuracy"].query("source != target")
    starred = others[others["p_raw"] < 0.05]["difference"]
    assert ((starred > 0).sum(), (starred < 0).sum()) == (4, 11)
    thyroid, lung = (gains["accuracy"].loc[("UCEC", target)] for target in ("THCA", "LUSC"))
    few = thyroid.loc[10, ["difference", "difference_low", "difference_high"]].to_numpy(float)
    assert few == pytest.approx((0.036, -0.005, 0.076), abs=0.0005)
    assert abs(thyroid.loc[25, "difference"]) < 0.01 and thyroid.loc[50, "difference"] < -0.03
    assert gains["balanced_accuracy"].loc[("UCEC", "THCA", 10), "difference"] == pytest.approx(0.004, abs=0.0005)
    assert lung["difference"].between(-0.0255, -0.0085).all()
    assert others.query("target == 'UCEC' and n == 50")["difference"].mean() == pytest.approx(0.072, abs=0.0005)
    assert (others.query("target == 'UCEC' and n == 50")["difference"] > 0.05).all()


def test_the_diagonal_has_more_to_gain_where_normal_samples_are_few(with_ucec):
    for metric, least, most, starred in (("accuracy", 0.014, 0.033, 10), ("balanced_accuracy", 0.041, 0.081, 12)):
        table = cancer_to_cancer.diagonal(with_ucec, metric)
        assert len(table) == 24 and table.groupby("n")["difference"].mean().between(least, most).all()
        assert ((table["p_raw"] < 0.05) & (table["difference"] > 0)).sum() == starred


def test_another_cancers_network_ranks_better_than_it_classifies_and_pooling_costs(between_cancers):
    others = between_cancers[between_cancers["source"] != between_cancers["target"]]
    zero = others[others["arm"] == "zero_shot"].groupby("metric")["value"].mean()
    assert zero["accuracy"] == pytest.approx(0.74, abs=0.01) and zero["roc_auc"] == pytest.approx(0.87, abs=0.01)
    table = cancer_to_cancer.summarise(cancer_to_cancer.main_lines(between_cancers))
    by_arm = table[table["method"] == "best_classical"].groupby(["n", "arm"])["mean"].mean().unstack()
    assert (by_arm["pooled"] < by_arm["classical"]).all()


@pytest.fixture(scope="module")
def both_weights():
    rows = comparison.of_tasks(notebook.recorded("supplement", ["tcga-hypoxia"]).rows)
    assert set(rows["task"]) == {"tcga/pan"} and set(rows["arm"]) == {"balanced", "none"}
    return rows


@pytest.fixture(scope="module")
def thousands(both_weights):
    return comparison.one_weight(both_weights)


def test_class_weights_change_the_order_of_methods(both_weights):
    gap = comparison.weight_gap(both_weights, ("accuracy", "balanced_accuracy", "roc_auc"))
    accuracy, balanced, ranks = (
        gap[gap["metric"] == metric].set_index(["n", "method"])
        for metric in ("accuracy", "balanced_accuracy", "roc_auc")
    )
    assert balanced.loc[7549, "difference"].between(0.0195, 0.08).all()
    change = accuracy.loc[7549, "difference"]
    assert change["random_forest"] > 0 and change.drop("random_forest").between(-0.042, -0.006).all()
    weighted, not_weighted = accuracy.loc[7549, "balanced"], accuracy.loc[7549, "none"]
    assert set(weighted.nlargest(2).index) == {"random_forest", comparison.NETWORK}
    assert weighted.nlargest(2).to_numpy() == pytest.approx(0.978, abs=0.0005)
    assert list(not_weighted.nlargest(3).index) == ["svm_rbf", comparison.NETWORK, "xgboost"]
    assert not_weighted.nlargest(2).to_numpy() == pytest.approx((0.986, 0.985), abs=0.0005)
    full = comparison.summarise(both_weights[both_weights["arm"] == "none"]).set_index("method")
    forest = full.loc["random_forest"]
    assert forest["difference"] == pytest.approx(-0.015, abs=0.0005) and forest[["p_bh", "p_corrected"]].max() < 0.001
    assert (balanced.loc[300, "none"] < 0.6705).sum() == 4 and balanced.loc[50, "none"].max() < 0.635
    assert ranks.loc[3000:, "difference"].abs().max() < 0.01


def means(rows, metric):
    return rows[rows["metric"] == metric].groupby(["n", "method"])["value"].mean().unstack()


def test_with_thousands_of_samples_the_network_catches_up_in_accuracy(thousands):
    table = means(thousands, "accuracy")
    network, vote = table[comparison.NETWORK], table["majority"]
    assert (network - vote)[table.index <= 1000].abs().max() < 0.02 and 12 < vote[7000] / (1 - vote[7000]) < 13
    behind = table["random_forest"] - network
    assert behind[[300, 1000, 3000]].between(0.015, 0.035).all() and behind[[7000, 7549]].abs().max() < 0.005
    assert network[table.index >= 1000].is_monotonic_increasing
    linear = table[["lasso", "svm_linear"]].sub(vote, axis=0)
    assert linear.max(axis=None) < 0.01 and linear.min(axis=None) < -0.5
    full = comparison.summarise(thousands).set_index("method")
    assert not (full["p_equivalent"] < 0.05).any()
    assert set(table.loc[[1000, 3000]].idxmax(axis=1)) == {"random_forest"}


def test_in_balanced_accuracy_the_gaussian_machine_leads_and_the_forest_is_last(thousands):
    table = means(thousands, "balanced_accuracy").drop(columns="majority")
    large = table[table.index >= 3000]
    assert (large.idxmax(axis=1) == "svm_rbf").all() and (large.idxmin(axis=1) == "random_forest").all()
    for n in large.index:
        assert set(large.loc[n].nlargest(3).index) == {"svm_rbf", comparison.NETWORK, "xgboost"}
    gaussian = comparison.summarise(thousands, "balanced_accuracy").set_index("method").loc["svm_rbf"]
    assert gaussian["difference"] == pytest.approx(0.014, abs=0.001)
    assert gaussian["p_bh"] < 0.05 < gaussian["p_corrected"]
    ranks = means(thousands, "roc_auc").loc[7000, ["svm_rbf", comparison.NETWORK, "xgboost", "random_forest"]]
    assert ranks.max() - ranks.min() < 0.01


def test_the_forest_misses_normal_samples(thousands):
    accuracy, balanced = means(thousands, "accuracy"), means(thousands, "balanced_accuracy")
    cancer = accuracy["majority"]  # the share of cancer among test samples
    found = accuracy.sub(2 * balanced.mul(cancer, axis=0)).div(1 - 2 * cancer, axis=0)  # recall of normal samples
    assert found.loc[[1000, 3000, 7000], "random_forest"].between(0.59, 0.77).all()
    assert (found.loc[[1000, 3000, 7000], comparison.NETWORK] > 0.895).all()


def test_on_fifty_genes_the_linear_methods_are_behind(thousands):
    for metric in ("accuracy", "balanced_accuracy"):
        table = comparison.summarise(thousands, metric).set_index("method").loc[["lasso", "svm_linear"]]
        assert (table["difference"] < -0.02).all() and (table["p_bh"] < 0.05).all()


@pytest.fixture(scope="module")
def imbalanced():
    return notebook.recorded("pan-to-specific", ["tcga-hypoxia"]).rows


def signs(table, p="p_raw"):
    """Targets and sizes that differ from the baseline, by sign."""
    sure = table[table[p] < 0.05]
    return {
        sign: set(sure.loc[(sure["difference"] > 0) == (sign > 0), ["target", "n"]].itertuples(index=False, name=None))
        for sign in (1, -1)
    }


def test_with_the_articles_imbalance_single_types_gain_or_lose_and_none_surely(imbalanced):
    largest = imbalanced.groupby("target")[["n_cancer", "n_normal"]].max()
    assert "UCEC" in largest.index and (largest["n_cancer"] / largest["n_normal"]).between(5, 11.5).all()
    assert (imbalanced.loc[imbalanced["n"] == 10, "n_normal"] == 2).all()
    table = arm(imbalanced, "accuracy", "fine_tuned", frozen=0)
    assert table.groupby("n")["difference"].mean().abs().max() < 0.01
    assert signs(table) == {
        1: {("HNSC", 10), ("HNSC", 25), ("KIRC", 10), ("KIRC", 25), ("THCA", 10)},
        -1: {("LUAD", 10), ("LUAD", 50), ("LUSC", 25)},
    }
    assert (table["p_bh"] > 0.05).all() and not (table["p_equivalent"] < 0.05)[table["target"] == "PRAD"].any()


def test_which_types_agree_with_the_article_depends_on_the_score(imbalanced):
    accuracy, balanced = (
        arm(imbalanced, metric, "fine_tuned", frozen=0).pivot(index="target", columns="n", values="difference")
        for metric in ("accuracy", "balanced_accuracy")
    )
    assert (accuracy.loc[["BRCA", "LUSC"]] < 0).all(axis=None) and (balanced.loc[["LUSC", "THCA"]] < 0).all(axis=None)
    assert balanced.loc["BRCA", [10, 25]].between(0.045, 0.07).all()
    assert accuracy.loc["HNSC", 250] == pytest.approx(-0.01, abs=0.002)
    assert (accuracy.loc["KIRC"] > 0).all() and (accuracy.loc["LUAD"] < 0).all()


def test_the_gain_of_ucec_is_one_baseline_that_failed(imbalanced):
    rows = imbalanced[(imbalanced["metric"] == "accuracy") & (imbalanced["target"] == "UCEC") & (imbalanced["n"] == 50)]
    folds = rows[rows["frozen"].fillna(0) == 0].pivot_table(index="fold", columns="arm", values="value")
    gain = folds["fine_tuned"] - folds["baseline"]
    assert gain.mean() > 0.08 and folds["baseline"].min() < 0.13 and abs(gain.sort_values()[:-1].mean()) < 0.001


def test_with_the_articles_imbalance_frozen_layers_mostly_lose(imbalanced):
    found = signs(arm(imbalanced, "accuracy", "fine_tuned", frozen=2), "p_bh")
    assert found[1] == {("KIRC", 10)} and len(found[-1]) == 5
    assert {target for target, _ in found[-1]} == {"LUAD", "PRAD"}
    assert (arm(imbalanced, "balanced_accuracy", "fine_tuned", frozen=2)["p_bh"] > 0.05).all()


def test_with_the_articles_imbalance_pooled_classical_methods_are_far_behind(imbalanced):
    table = arm(pan_to_specific.main_lines(imbalanced), "accuracy", "pooled")
    assert table.groupby("n")["difference"].mean().between(-0.115, -0.09).all()
    by_type = table.pivot(index="target", columns="n", values="difference")
    assert (by_type.loc[["LUAD", "THCA"]] < -0.15).all(axis=None)
    assert (by_type.loc[["HNSC", "LUSC"]].abs() < 0.02).all(axis=None)


@pytest.fixture(scope="module")
def supplement():
    return notebook.recorded("supplement").rows


def test_no_method_differs_from_the_network_on_a_single_cancer(supplement):
    rows = comparison.specific(supplement)
    tests = comparison.over_tasks(rows).query("method != 'majority' and p_raw.notna()")
    assert len(tests) == 65 and (tests["p_bh"] > 0.05).all() and (tests["p_equivalent"] < 0.05).sum() == 2
    raw = tests[tests["p_raw"] < 0.05]
    prostate = raw[(raw["task"] == "tcga/PRAD") & (raw["difference"] > 0)]
    assert len(raw) == 6 and set(prostate["method"]) == {"xgboost", "random_forest"}
    assert prostate["difference"].between(0.02, 0.035).all()
    first = {}
    for metric in ("accuracy", "balanced_accuracy"):
        table = comparison.over_tasks(rows, metric).query("cohort == 'tcga-hypoxia' and method != 'majority'")
        wide = table.pivot(index="task", columns="method", values="mean")
        first[metric] = wide.eq(wide.max(axis=1), axis=0)
    forest = first["accuracy"]["random_forest"]
    alone = forest & (first["accuracy"].sum(axis=1) == 1)
    assert alone.sum() == 4 and set(forest.index[forest & ~alone]) == {"tcga/UCEC"}
    assert first["balanced_accuracy"].sum().max() == 2
    assert set(rows.loc[rows["task"] == "microarray/colon", "n_test"]) == {5}


@pytest.fixture(scope="module")
def gaps(supplement):
    def of(metric):
        table = comparison.split_gap(comparison.by_split(supplement), metric)
        return table[table["method"] != "majority"].set_index(["cohort", "task", "method"]).sort_index()

    return {metric: of(metric) for metric in ("balanced_accuracy", "roc_auc")}


def test_new_hospitals_show_no_common_loss(gaps):
    table = gaps["balanced_accuracy"].loc["tcga-hypoxia"]
    by_task = table["difference"].groupby("task").mean()
    assert len(table) == 42 and table["difference"].mean() == pytest.approx(-0.003, abs=0.0005)
    assert by_task["tcga/THCA"] == pytest.approx(0.04, abs=0.005)
    assert by_task["tcga/PRAD"] == pytest.approx(-0.05, abs=0.005)
    splits = table["study_splits"].groupby("task").max()
    assert splits["tcga/pan"] == 5 and splits.drop("tcga/pan").max() == 2
    forest = ("tcga-hypoxia", "tcga/PRAD", "random_forest")
    assert gaps["balanced_accuracy"].loc[forest, "difference"] == pytest.approx(-0.16, abs=0.005)
    assert gaps["roc_auc"].loc[forest, "difference"] == pytest.approx(-0.02, abs=0.006)


def test_on_arrays_no_method_is_safe_in_a_new_study(gaps):
    balanced, ranks = (
        {cohort: gaps[metric].loc[(cohort, "microarray/pan")] for cohort in (ARRAYS, "u133-studies")}
        for metric in ("balanced_accuracy", "roc_auc")
    )
    assert all((table["study_splits"] == 1).all() for table in balanced.values())
    genes, probes = balanced[ARRAYS]["study"], balanced["u133-studies"]["study"]
    assert genes.between(0.49, 0.66).sum() == 4 and probes.between(0.485, 0.66).sum() == 5  # of six
    assert genes[comparison.NETWORK] == pytest.approx(0.92, abs=0.006)
    assert balanced[ARRAYS].loc[comparison.NETWORK, "random"] == pytest.approx(0.93, abs=0.006)
    assert ranks[ARRAYS]["study"].between(0.945, 0.995).all()
    assert ranks["u133-studies"].loc["lasso", "study"] == pytest.approx(0.98, abs=0.005)
    assert ranks["u133-studies"].loc[comparison.NETWORK, "study"] == pytest.approx(0.25, abs=0.01)


TASKS = ["tcga/pan", "tcga/type"]


@pytest.fixture(scope="module")
def searched():
    rows = notebook.recorded("sensitivity", [RNA]).rows
    assert sensitivity.draws(rows).groupby("task").size().to_dict() == dict.fromkeys(TASKS, 1000)
    return rows


def test_on_unbalanced_samples_most_settings_are_no_better_than_the_majority_vote():
    rows = notebook.recorded("sensitivity", ["tcga-hypoxia"]).rows
    draws = sensitivity.draws(rows)
    assert len(draws) == 200 and draws["accuracy"].mode()[0] == pytest.approx(0.927, abs=0.0005)
    by_depth = draws.groupby("layers")["accuracy"].median()
    assert tuple(by_depth.loc[[1, 2]]) == pytest.approx((0.95, 0.94), abs=0.0005) and (by_depth.loc[3:] < 0.9275).all()
    assert (importance(rows, pairs=0, points=64)["r2"] < 0.13).all()
    (gain,) = sensitivity.tuning_gain(rows).to_dict("records")
    found = [gain[name] for name in ("difference", "difference_low", "difference_high")]
    assert found == pytest.approx([-0.004, -0.027, 0.019], abs=0.0005) and gain["n_pairs"] == 5


def test_depth_decides(searched):
    by_depth = sensitivity.draws(searched).groupby(["task", "layers"])["accuracy"].median().unstack("task")
    shallow, deep = by_depth.loc[1:3], by_depth.loc[8:]
    assert (shallow["tcga/pan"] > 0.95).all() and (shallow["tcga/type"] > 0.93).all()
    assert deep["tcga/pan"].between(0.5, 0.61).all() and (deep["tcga/type"] < 0.19).all()
    table = importance(searched)
    alone = table[table["order"] == 1].pivot(index="term", columns="task", values="share")
    assert tuple(alone.loc["layers", TASKS]) == pytest.approx((0.44, 0.54), abs=0.005)
    for task in TASKS:
        assert set(alone[task].nlargest(4).index) == {"layers", "dropout", "learning_rate", "batch_norm"}
    assert (alone.loc[["neurons", "batch_size", "optimiser", "penalty"]] < 0.018).all(axis=None)


def test_skip_connections_rescue_deep_networks_and_batch_normalisation_helps_them(searched):
    gain = sensitivity.residual_gain(searched).set_index("task")
    assert tuple(gain.loc[TASKS, "difference"]) == pytest.approx((0.32, 0.59), abs=0.005)
    assert (gain["residual_diverged"] == 0.08).all()
    draws = sensitivity.draws(searched)
    normed = draws["batch_norm"].astype(bool)
    for _, task in draws.groupby("task"):
        helped = {
            deep: part[normed].median() - part[~normed].median()
            for deep, part in task.groupby(task["layers"] > 5)["accuracy"]
        }
        assert helped[True] > 0.11 > 0.033 > helped[False] > 0


def test_tuning_bought_nothing_that_could_be_seen(searched):
    draws = sensitivity.draws(searched)
    status = draws.loc[draws["task"] == "tcga/pan", "accuracy"]
    assert (status == status.max()).sum() == 8 and status.max() == pytest.approx(0.974, abs=0.0005)
    table = sensitivity.tuning_gain(searched).set_index("task")
    assert tuple(table.loc[TASKS, "difference"]) == pytest.approx((-0.038, -0.002), abs=0.0005)
    assert table.loc["tcga/pan", "difference_high"] < 0
    kind = table.loc["tcga/type"]
    assert (kind["difference_low"], kind["difference_high"]) == pytest.approx((-0.020, 0.016), abs=0.0005)
    of_best = table["test_best"] - table["test_default"]
    assert tuple(of_best[TASKS]) == pytest.approx((-0.006, 0.004), abs=0.0005)
    winner = sensitivity.winner(searched, "tcga/pan")
    assert len(winner["network"]["hidden"]) == 10
    assert winner["training"]["learning_rate"] == pytest.approx(0.3, abs=0.02)


def test_the_batch_size_does_not_show_and_every_optimiser_reaches_the_best(searched):
    for _, part in sensitivity.draws(searched).groupby("task"):
        assert abs(part["batch_size"].corr(part["accuracy"], method="spearman")) < 0.05
        assert np.ptp(part.groupby("optimiser")["accuracy"].max()) < 1.01 / 77  # one validation sample of the type task
        penalty, dropout = part[part["penalty"] == "l1"].groupby("penalty_weight")["accuracy"].median(), part["dropout"]
        assert penalty[0.01] < penalty[[0, 1e-6, 1e-5]].min()
        assert part.loc[dropout > 0.6, "accuracy"].median() < part.loc[dropout < 0.3, "accuracy"].median() - 0.2
        small, medium = (part.loc[dropout.between(*ends), "accuracy"].median() for ends in ((0, 0.1), (0.1, 0.3)))
        assert abs(small - medium) < 0.03


def test_the_network_of_the_search_is_the_one_in_the_comparison(searched):
    paper = profiles.load("record")["comparison"]["paper"]
    assert paper == {task: sensitivity.winner(searched, task) for task in TASKS}


# What to do with n samples


@pytest.fixture(scope="module")
def gains():
    return recommend.transfer().set_index(["section", "cohort", "what", "n"]).sort_index()


PRE = "pre-trained network minus network"


def test_support_vector_machines_are_the_best_classical_methods_at_most_sizes():
    table = recommend.methods()
    assert table["best"].isin(["Linear SVM", "Gaussian SVM"]).mean() > 0.7
    assert not (table["low"] > 0).any()  # the network is surely ahead at none
    behind = table[table["high"] < 0]
    assert set(behind["cohort"]) == {"tcga-hypoxia"} and set(behind["n"]) == {3000, table["n"].max()}
    assert (table["classical"] - table["network"]).loc[table["high"] >= 0].abs().max() < 0.06


def test_few_samples_of_an_imbalanced_cohort_gain_from_all_other_cancers(gains):
    best = gains.loc[("pan-to-specific", "tcga-hypoxia", "pre-trained network minus best classical")]
    assert (best.loc[[10, 25], "low"] > 0).all() and best.loc[[10, 25], "difference"].between(0.04, 0.06).all()
    alone = gains.loc[("pan-to-specific", "tcga-hypoxia", "network minus best classical")]
    assert (alone.loc[[10, 25], "difference"] > 0).all()
    later = gains.loc[("pan-to-specific", "tcga-hypoxia", PRE)]
    assert (later.loc[50:, "low"] < 0).all()
    assert (gains.loc[("pan-to-specific", "tcga-pairs", PRE), "low"] < 0).all()


def test_source_networks_as_they_are_and_pooled_samples_do_not_help(gains):
    for what in ("source network as it is minus network", "classical on source and target minus on target"):
        own = gains.xs(what, level="what")
        assert len(own) and (own["difference"] < 0).all()


def test_neither_single_cancers_nor_autoencoders_gain_on_average(gains):
    assert (gains.loc["cancer-to-cancer"].xs(PRE, level="what")["low"] < 0).all()
    assert (gains.loc["unsupervised"].xs(PRE, level="what")["difference"] < 0).all()
