"""The tests and tables of gexlib.statistics against scipy, statsmodels and formulas worked by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from gexlib.errors import InputError
from gexlib.statistics import (
    adjust,
    bootstrap_interval,
    compare_arms,
    compare_methods,
    corrected_resampled_t,
    equivalence,
    mcnemar,
    mean_interval,
    paired,
)

RNG = np.random.default_rng(20220704)
A, B = RNG.normal(0.9, 0.03, 10), RNG.normal(0.88, 0.03, 10)


def comparison_rows(n_values=(50, 400), methods=("nn_default", "lasso", "svm_rbf"), repeats=6):
    rng = np.random.default_rng(1)
    cells = itertools.product(("tcga/pan", "tcga/type"), n_values, methods, range(repeats))
    return pd.DataFrame(
        [
            dict(
                experiment="comparison",
                cohort="simulated-tcga:smoke",
                task=task,
                split="random",
                arm="balanced",
                n=n,
                method=method,
                repeat=repeat,
                fold=pd.NA,
                metric="accuracy",
                value=0.8 + 0.02 * methods.index(method) + 0.0001 * n + rng.normal(0, 0.01),
            )
            for task, n, method, repeat in cells
        ]
    )


def transfer_rows(targets=("tcga/BRCA", "tcga/LUAD"), n_values=(25, 100), repeats=3, folds=4, gain=0.05):
    rng = np.random.default_rng(2)
    rows = []
    for target, n, repeat, fold in itertools.product(targets, n_values, range(repeats), range(folds)):
        base = 0.7 + 0.0005 * n + rng.normal(0, 0.03)
        arms = [("baseline", pd.NA, base, ""), ("zero_shot", pd.NA, 0.6 + rng.normal(0, 0.02), "pan")]
        arms += [("fine_tuned", f, base + gain / (1 + f) + rng.normal(0, 0.02), "pan") for f in (0, 2)]
        for arm, frozen, value, source in arms:
            rows.append(
                dict(
                    cohort="tcga-pairs",
                    split="random",
                    source=source,
                    target=target,
                    n=n,
                    arm=arm,
                    frozen=frozen,
                    method="nn_default",
                    repeat=repeat,
                    fold=fold,
                    source_seed=0,
                    metric="accuracy",
                    value=value,
                )
            )
    return pd.DataFrame(rows).astype({"frozen": "Int64"})


def test_paired_is_scipys_paired_t_test():
    expected = stats.ttest_rel(A, B)
    result = paired(A, B)
    assert result.p_raw == pytest.approx(expected.pvalue)
    assert result[1:3] == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert result.difference == pytest.approx(A.mean() - B.mean())
    assert result.n_pairs == 10


def test_paired_leaves_out_incomplete_pairs():
    a = A.copy()
    a[[2, 5]] = np.nan
    kept = np.isfinite(a)
    assert paired(a, B) == pytest.approx(paired(a[kept], B[kept]))
    assert paired(a, B).n_pairs == 8


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_equal_differences_have_no_p_value_to_boast_of(shift):
    a = np.array([0.8, 0.9, 0.7, 0.6])
    result = paired(a + shift, a)  # 0.8 + 0.1 - 0.8 is not exactly 0.1: rounding must not look like a spread
    assert result.p_raw == 1
    assert result[:3] == pytest.approx((shift, shift, shift))


def test_too_few_pairs_give_nan_not_an_error():
    one = paired([0.9], [0.8])
    assert one.difference == pytest.approx(0.1) and np.isnan(one.p_raw) and one.n_pairs == 1
    assert np.isnan(paired([], []).difference)
    assert np.isnan(equivalence([0.9], [0.8]))
    assert np.isnan(mean_interval([0.5])).all() and np.isnan(bootstrap_interval([0.5], 0)).all()


def test_unequal_lengths_are_refused():
    with pytest.raises(InputError, match="3 and 2"):
        paired([1, 2, 3], [1, 2])


def test_mean_interval_is_the_t_interval():
    half = stats.t.ppf(0.975, 9) * A.std(ddof=1) / np.sqrt(10)
    assert mean_interval(A) == pytest.approx((A.mean() - half, A.mean() + half))
    assert mean_interval([*A, np.nan]) == pytest.approx(mean_interval(A))


def test_bootstrap_interval_is_seeded_and_near_the_t_interval():
    values = RNG.normal(0.8, 0.05, 200)
    low, high = bootstrap_interval(values, 3)
    assert (low, high) == bootstrap_interval(values, 3) != bootstrap_interval(values, 4)
    assert (low, high) == pytest.approx(mean_interval(values), abs=0.001)
    assert bootstrap_interval([0.7, 0.7, 0.7], 0) == pytest.approx((0.7, 0.7))


def test_corrected_resampled_t_by_hand():
    d = np.array([0.02, 0.01, 0.03, 0.00, 0.02])  # mean 0.016, variance 0.00013
    t = 0.016 / np.sqrt((1 / 5 + 0.25) * 0.00013)
    result = corrected_resampled_t(d, n_train=800, n_test=200)
    assert result.p_raw == pytest.approx(2 * (1 - stats.t.cdf(t, 4)))
    assert result.p_raw > paired(d, np.zeros(5)).p_raw
    assert result.difference_low < paired(d, np.zeros(5)).difference_low
    with pytest.raises(InputError, match="empty side"):
        corrected_resampled_t(d, 0, 200)


def test_equivalence_is_statsmodels_tost():
    a, b = A, A + RNG.normal(0, 0.004, 10)
    assert equivalence(a, b) == pytest.approx(ttost_paired(a, b, -0.01, 0.01)[0])
    assert equivalence(a, b, 0.05) < equivalence(a, b, 0.01)


def test_equal_differences_show_no_equivalence():
    assert np.isnan(equivalence(A, A)) and np.isnan(equivalence(A + 0.005, A)) and np.isnan(equivalence(A, A + 0.005))
    assert equivalence(A + 0.02, A) == equivalence(A, A + 0.02) == 1
    assert np.isnan(equivalence(A, A, extra=0.25)) and equivalence(A + 0.02, A, extra=0.25) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_corrected_equivalence_by_hand(sign):
    d = sign * np.array([0.002, 0.001, 0.003, 0.000, 0.002])  # mean 0.0016, variance 1.3e-6
    error = np.sqrt((1 / 5 + 200 / 800) * 1.3e-6)
    above = 1 - stats.t.cdf((sign * 0.0016 + 0.01) / error, 4)  # is it above -0.01
    below = stats.t.cdf((sign * 0.0016 - 0.01) / error, 4)  # is it below 0.01
    assert equivalence(d, np.zeros(5), extra=0.25) == pytest.approx(max(above, below))
    assert equivalence(d, np.zeros(5), extra=0.25) > equivalence(d, np.zeros(5))


def test_mcnemar_is_the_binomial_test_of_discordant_samples():
    a = np.r_[np.ones(40), np.ones(9), np.zeros(2), np.zeros(5)].astype(bool)
    b = np.r_[np.ones(40), np.zeros(9), np.ones(2), np.zeros(5)].astype(bool)
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar(a, a) == 1
    many = np.r_[np.ones(40), np.zeros(20)].astype(bool)  # 40 against 20: chi2 with continuity correction
    assert mcnemar(many, ~many) == pytest.approx(stats.chi2.sf((40 - 20 - 1) ** 2 / 60, 1))
    with pytest.raises(InputError, match="same test samples"):
        mcnemar(a, many)


def test_adjust_is_benjamini_hochberg_and_skips_nan():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    tested = np.isfinite(p)
    adjusted = adjust(p)
    assert adjusted[tested] == pytest.approx(multipletests(p[tested], method="fdr_bh")[1])
    assert np.isnan(adjusted[1])
    assert np.isnan(adjust([np.nan, np.nan])).all() and adjust([]).size == 0


def test_compare_methods_pairs_over_repeats():
    rows = comparison_rows()
    table = compare_methods(rows.sample(frac=1, random_state=0), "accuracy", "nn_default")
    assert len(table) == 2 * 2 * 3
    cell = (rows["task"] == "tcga/pan") & (rows["n"] == 50)
    nn, svm = (rows[cell & (rows["method"] == m)]["value"].to_numpy(float) for m in ("nn_default", "svm_rbf"))
    row = table.query("task == 'tcga/pan' and n == 50 and method == 'svm_rbf'").squeeze()
    assert row["mean"] == pytest.approx(svm.mean()) and row["sd"] == pytest.approx(svm.std(ddof=1))
    assert (row["low"], row["high"]) == pytest.approx(mean_interval(svm))
    assert row["p_raw"] == pytest.approx(stats.ttest_rel(svm, nn).pvalue)
    assert row["difference"] == pytest.approx((svm - nn).mean())
    assert row["n_pairs"] == row["n_values"] == 6
    family = table.query("task == 'tcga/pan' and n == 50 and method != 'nn_default'")
    assert family["p_bh"].to_numpy() == pytest.approx(multipletests(family["p_raw"], method="fdr_bh")[1])
    reference = table[table["method"] == "nn_default"]
    assert reference[["difference", "p_raw", "p_bh"]].isna().all(None) and (reference["n_pairs"] == 0).all()


def test_corrected_p_only_at_the_full_training_size():
    sizes = {("simulated-tcga:smoke", "tcga/pan"): (400, 100)}
    table = compare_methods(comparison_rows(), "accuracy", "nn_default", full_sizes=sizes)
    has = table[table["p_corrected"].notna()]
    assert set(zip(has["task"], has["n"], strict=True)) == {("tcga/pan", 400)} and len(has) == 2
    assert (has["p_corrected"] > has["p_raw"]).all()
    plain = compare_methods(comparison_rows(), "accuracy", "nn_default")
    assert "p_corrected" in plain and plain["p_corrected"].isna().all()
    same = np.isclose(table["p_equivalent"], plain["p_equivalent"], equal_nan=True)
    assert list(table.index[~same]) == list(has.index)  # corrected in the same places only
    lasso = has[has["method"] == "lasso"].squeeze()
    rows = (
        comparison_rows()
        .query("task == 'tcga/pan' and n == 400")
        .pivot(index="repeat", columns="method", values="value")
    )
    d = (rows["lasso"] - rows["nn_default"]).to_numpy(float)
    error = np.sqrt(d.var(ddof=1) * (1 / 6 + 100 / 400))
    assert lasso["p_equivalent"] == pytest.approx(
        max(stats.t.sf((d.mean() + 0.01) / error, 5), stats.t.cdf((d.mean() - 0.01) / error, 5))
    )


def test_incomplete_pairs_and_one_split():
    rows = comparison_rows()
    gap = (rows["method"] == "nn_default") & (rows["n"] == 50) & (rows["repeat"] < 2)
    table = compare_methods(rows[~gap], "accuracy", "nn_default").query("n == 50 and method == 'lasso'")
    assert (table["n_pairs"] == 4).all() and (table["n_values"] == 6).all()
    once = compare_methods(rows[rows["repeat"] == 0], "accuracy", "nn_default")
    assert once["p_raw"].isna().all() and once["p_bh"].isna().all() and once["mean"].notna().all()
    assert (once.query("method != 'nn_default'")["n_pairs"] == 1).all()


def test_compare_arms_pairs_over_folds_or_repeats():
    rows = transfer_rows()
    pick = (rows["target"] == "tcga/BRCA") & (rows["n"] == 25)
    base = rows[pick & (rows["arm"] == "baseline")].set_index(["repeat", "fold"])["value"]
    tuned = rows[pick & (rows["frozen"] == 2).fillna(False)].set_index(["repeat", "fold"])["value"]
    where = "target == 'tcga/BRCA' and n == 25 and frozen == 2"
    row = compare_arms(rows.sample(frac=1, random_state=0), "accuracy").query(where).squeeze()
    assert row["p_raw"] == pytest.approx(stats.ttest_rel(tuned, base).pvalue) and row["n_pairs"] == 12
    assert row["difference"] == pytest.approx((tuned - base).mean())
    row = compare_arms(rows, "accuracy", unit="repeat").query(where).squeeze()
    by_repeat = [x.groupby("repeat").mean() for x in (tuned, base)]
    assert row["p_raw"] == pytest.approx(stats.ttest_rel(*by_repeat).pvalue) and row["n_pairs"] == 3


def test_compare_arms_family_stars_and_winner():
    table = compare_arms(transfer_rows(), "accuracy")
    tuned = table[(table["arm"] == "fine_tuned") & (table["frozen"] == 0).fillna(False)]
    assert len(tuned) == 4  # two targets at two n are one family
    assert tuned["p_bh"].to_numpy() == pytest.approx(multipletests(tuned["p_raw"], method="fdr_bh")[1])
    assert (tuned["stars"] == "**").all() and (tuned["winner"] == "fine_tuned").all()
    zero = table[table["arm"] == "zero_shot"]
    assert (zero["winner"] == "baseline").all() and (zero["difference"] < 0).all()
    assert (table[table["arm"] == "baseline"][["stars", "winner"]] == "").all(None)
    for _, row in table.iterrows():
        assert row["stars"] == ("**" if row["p_raw"] < 0.01 else "*" if row["p_raw"] < 0.05 else "")
        assert bool(row["winner"]) == bool(row["stars"])


def test_a_lower_log_loss_wins():
    table = compare_arms(transfer_rows().assign(metric="log_loss"), "log_loss")
    assert set(table[table["frozen"] == 0]["winner"].dropna()) == {"baseline"}


def test_own_tissue_as_source_is_outside_the_family():
    rows = transfer_rows(targets=("brain", "kidney"))
    tuned = rows["arm"] == "fine_tuned"
    rows = pd.concat([rows[~tuned]] + [rows[tuned].assign(source=s) for s in ("brain", "kidney")])
    table = compare_arms(rows, "accuracy").query("arm == 'fine_tuned' and frozen == 0")
    own = table["source"] == table["target"]
    assert table[own]["p_bh"].isna().all() and table[own]["p_raw"].notna().all() and own.sum() == 4
    others = table[~own]
    assert others["p_bh"].to_numpy() == pytest.approx(multipletests(others["p_raw"], method="fdr_bh")[1])


def test_all_pairs_at_all_n_of_a_cohort_are_one_family_and_other_cohorts_and_arms_another():
    types = ("BRCA", "HNSC", "KIRC")
    rows = transfer_rows(targets=types, gain=0.01)
    tuned = rows["arm"] == "fine_tuned"
    random = np.random.default_rng(4)
    spread = [rows[tuned].assign(source=s) for s in types]
    spread = [part.assign(value=part["value"] + random.normal(0, 0.03, len(part))) for part in spread]
    pooled = [part[part["frozen"] == 0].assign(arm="pooled", method="lasso") for part in spread]
    one = pd.concat([rows[~tuned], *spread, *pooled])
    table = compare_arms(pd.concat([one, one.assign(cohort="other")]), "accuracy")
    for arm, cohort in itertools.product(("fine_tuned", "pooled"), ("tcga-pairs", "other")):
        part = table[(table["arm"] == arm) & (table["cohort"] == cohort) & table["frozen"].fillna(0).eq(0)]
        off = part[part["source"] != part["target"]]
        assert len(part) == 18 and len(off) == 12  # three sources, three targets, two n
        assert off["p_bh"].to_numpy() == pytest.approx(multipletests(off["p_raw"], method="fdr_bh")[1])
        for _, at_one_n in off.groupby("n"):  # a family an n would give other values
            alone = multipletests(at_one_n["p_raw"], method="fdr_bh")[1]
            assert at_one_n["p_bh"].to_numpy() != pytest.approx(alone)


def test_source_networks_are_averaged_but_other_axes_are_refused():
    rows = transfer_rows()
    twice = pd.concat([rows, rows.assign(source_seed=1, value=rows["value"] + 0.02)])
    one, two = compare_arms(rows, "accuracy"), compare_arms(twice, "accuracy")
    assert two["mean"].to_numpy() == pytest.approx(one["mean"].to_numpy() + 0.01)
    assert (two["n_pairs"] == one["n_pairs"]).all()
    with pytest.raises(InputError, match="noise"):
        compare_arms(pd.concat([rows.assign(noise=sd) for sd in (0.1, 0.5)]), "accuracy")
    with pytest.raises(InputError, match="several methods"):
        compare_arms(pd.concat([rows, rows.assign(method="nn_paper")]), "accuracy")


def test_arms_are_paired_under_the_same_scaler():
    rows = transfer_rows()
    classical = rows[rows["arm"] == "baseline"].assign(arm="classical", method="lasso", scaler=None)
    classical["value"] += 0.01
    subset = rows.assign(scaler="subset", value=rows["value"] * 0.5)
    both = pd.concat([rows.assign(scaler="source"), subset, classical])
    table, plain = compare_arms(both, "accuracy"), compare_arms(rows, "accuracy")
    for scaler, factor in (("source", 1), ("subset", 0.5)):
        tuned = table[(table["arm"] == "fine_tuned") & (table["scaler"] == scaler)]
        expected = plain[plain["arm"] == "fine_tuned"]["difference"].to_numpy() * factor
        assert tuned["difference"].to_numpy() == pytest.approx(expected)
    assert table[table["arm"] == "classical"]["difference"].to_numpy() == pytest.approx(0.01)
    assert set(plain["scaler"]) == {""}


def test_full_training_sets_of_uneven_size_are_one_size():
    rows = comparison_rows(n_values=(50, 400)).assign(full=False, n_test=100)
    large = rows["n"] == 400
    rows.loc[large, "full"] = True
    rows.loc[large, "n"] += rows.loc[large, "repeat"] - 2  # 398 .. 403: grouped folds differ by some samples
    table = compare_methods(rows, "accuracy", "nn_default")
    assert sorted(set(table["n"])) == [50, 400] and set(table["n_values"]) == {6}
    lasso = table.query("n == 400 and method == 'lasso' and task == 'tcga/pan'").squeeze()
    pick = rows[large & (rows["task"] == "tcga/pan")].pivot(index="repeat", columns="method", values="value")
    expected = corrected_resampled_t(pick["lasso"] - pick["nn_default"], 400, 100).p_raw
    assert lasso["p_corrected"] == pytest.approx(expected)
    assert table.query("n == 50")["p_corrected"].isna().all()


def test_what_is_missing_is_named():
    rows = comparison_rows()
    with pytest.raises(InputError, match="roc_auc"):
        compare_methods(rows, "roc_auc", "lasso")
    with pytest.raises(InputError, match="repeat"):
        compare_methods(rows.drop(columns="repeat"), "accuracy", "lasso")
    with pytest.raises(InputError, match="metric"):
        compare_methods(pd.DataFrame(), "accuracy", "lasso")
    with pytest.raises(InputError, match="nn_paper"):
        compare_methods(rows, "accuracy", "nn_paper")
    with pytest.raises(InputError, match="warm"):
        compare_arms(transfer_rows(), "accuracy", against="warm")
    with pytest.raises(InputError, match="patient"):
        compare_arms(transfer_rows(), "accuracy", unit="patient")
