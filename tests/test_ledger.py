import re

import numpy as np
import pandas as pd
import pytest

from gexlib import ledger
from gexlib.experiments import SECTIONS
from gexlib.results import canonical, table
from gexlib.search import Space, draw
from gexlib.statistics import compare_methods


def comparison_rows(
    network: float, lasso: float, svm: float, task="tcga/pan", cohort="tcga-pairs", arm="balanced", split="patient",
    name="nn_default", repeats=4,
) -> pd.DataFrame:  # fmt: skip
    random = np.random.default_rng(0)
    return table(
        {
            "experiment": "comparison", "cohort": cohort, "cohort_digest": "d", "simulated": False, "task": task,
            "method": method, "arm": arm, "n": n, "n_test": 100, "repeat": repeat, "split": split,
            "metric": "accuracy", "value": level + 0.01 * repeat + 1e-4 * random.random(),
            "full": n == 400, "key": f"{task}{arm}{split}{method}{n}{repeat}",
        }
        for method, level in {name: network, "lasso": lasso, "svm_rbf": svm, "majority": 0.5}.items()
        for n in (100, 400)
        for repeat in range(repeats)
    )  # fmt: skip


def transfer_rows(gain: dict[int, float], target="BRCA") -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = []
    for n, difference in gain.items():
        for fold in range(5):
            base = 0.8 + 0.02 * random.random()
            for arm, value in (("baseline", base), ("fine_tuned", base + difference + 0.001 * random.random())):
                rows.append({
                    "experiment": "pan_to_specific", "cohort": "tcga-pairs", "cohort_digest": "d", "simulated": False,
                    "task": f"tcga/{target}", "method": "nn_default", "arm": arm, "source": "pan", "target": target,
                    "n": n, "frozen": 0 if arm == "fine_tuned" else None, "repeat": 0, "fold": fold, "split": "patient",
                    "metric": "accuracy", "value": value, "scaler": "source", "key": f"{target}{n}{fold}{arm}",
                })  # fmt: skip
    return table(rows)


def here(name: str, rows: pd.DataFrame) -> dict[str, str]:
    found = ledger.beside(name, rows)
    assert len(found) == len(ledger.published(name))
    return dict(zip(ledger.published(name)["id"], found["here"], strict=True))


def test_places_of_network_and_lasso():
    found = here("comparison", comparison_rows(0.90, 0.80, 0.95))
    assert found["comparison/nn-first"].startswith("tcga-pairs: tcga/pan default network place 2 of 3, 91.")
    assert "Gaussian SVM 96." in found["comparison/nn-first"]
    lasso = found["comparison/lasso"]
    assert lasso.startswith("tcga-pairs: tcga/pan LASSO, beside the default network, place 3 of 3, 81.")


def test_equal_means_share_a_place():
    rows = comparison_rows(0.90, 0.90, 0.80)
    network, lasso = (rows["method"] == name for name in ("nn_default", "lasso"))
    rows.loc[lasso, "value"] = rows.loc[network, "value"].to_numpy()
    found = here("comparison", rows)
    assert "place 1 of 3" in found["comparison/nn-first"] and "place 1 of 3" in found["comparison/lasso"]
    assert "n = 100 below 0 of 2 (best +0.0 points)" in found["comparison/small-n"]


def test_one_network_at_a_time_on_its_own_splits():
    """The tuned once first, then the tuned inside; a classical method is averaged over that network's splits."""
    default = comparison_rows(0.90, 0.80, 0.95)
    inner = comparison_rows(0.99, 0, 0, name="nn_inner").query("method == 'nn_inner'")
    paper = comparison_rows(0.70, 0, 0, name="nn_paper", repeats=1).query("method == 'nn_paper'")
    found = here("comparison", pd.concat([default, inner], ignore_index=True))
    assert "tcga/pan network tuned inside place 1 of 3, 100.5 (Gaussian SVM 96.5)" in found["comparison/nn-first"]
    assert "others minus network tuned inside -19.0 to -4.0" in found["comparison/tcga-status"]
    found = here("comparison", pd.concat([default, inner, paper], ignore_index=True))
    first = "tcga/pan network tuned once on one split place 3 of 3, 70.0 (Gaussian SVM 95.0)"
    assert first in found["comparison/nn-first"]
    assert "tcga/pan network tuned once on one split: n = 100 below 2 of 2" in found["comparison/small-n"]
    assert "network tuned inside" in found["comparison/tcga-status"]  # one split has no test
    for name in ("nn_paper", "nn_inner", "nn_default"):
        alone = here("comparison", comparison_rows(0.9, 0.8, 0.8, name=name))
        assert f"{ledger.NETWORKS[name]} place 1 of 3" in alone["comparison/nn-first"]
    assert (
        here("comparison", comparison_rows(0.9, 0.8, 0.8, name="nn_wide"))["comparison/nn-first"] == "not in the record"
    )


def test_methods_above_the_network_at_small_and_middle_sizes():
    found = here("comparison", comparison_rows(0.90, 0.80, 0.93))
    assert found["comparison/small-n"] == (
        "tcga-pairs: tcga/pan default network: n = 100 below 1 of 2 (best +3.0 points)"
    )
    assert "n = 400" in found["comparison/middle-n"] and "n = 400" not in found["comparison/small-n"]
    assert found["comparison/large-n"] == "not in the record"
    outlier = here("comparison", comparison_rows(0.90, 0.10, 0.93))  # a mean would say that the network is ahead
    assert outlier["comparison/small-n"] == found["comparison/small-n"]


def test_methods_that_differ_and_that_are_equal_are_counted():
    rows = comparison_rows(0.90, 0.80, 0.90)
    status = here("comparison", rows)["comparison/tcga-status"]
    assert "1 of 2 methods differ" in status and "1 of 2 are equal within one point" in status
    network, svm = (rows["method"] == name for name in ("nn_default", "svm_rbf"))
    rows.loc[svm, "value"] = rows.loc[network, "value"].to_numpy()  # nothing is known about the spread
    assert "0 of 1 are equal within one point" in here("comparison", rows)["comparison/tcga-status"]


def test_equality_within_a_point_has_the_correction_for_overlapping_splits():
    rows = comparison_rows(0.90, 0.80, 0.90)
    full = (rows["method"] == "svm_rbf") & rows["full"]
    rows.loc[full, "value"] += 0.0075 * np.array([1, -1, 1, -1])
    table = compare_methods(rows[rows["full"].astype(bool)].drop(columns="full"), "accuracy", "nn_default")
    assert table.set_index("method").loc["svm_rbf", "p_equivalent"] < 0.06
    rows.loc[full, "value"] -= 0.0005 * np.array([1, -1, 1, -1])
    plain = compare_methods(rows[rows["full"].astype(bool)].drop(columns="full"), "accuracy", "nn_default")
    assert plain.set_index("method").loc["svm_rbf", "p_equivalent"] < 0.05
    assert "0 of 2 are equal within one point" in here("comparison", rows)["comparison/tcga-status"]


def test_rules_pick_their_own_rows():
    """Other class weights, splits by study and single cancers change no rule on the pan-cancer tasks."""
    plain = comparison_rows(0.90, 0.80, 0.95)
    others = [
        comparison_rows(0.1, 0.9, 0.2, arm="none"),
        comparison_rows(0.1, 0.9, 0.2, split="study"),
        comparison_rows(0.90, 0.80, 0.90, task="tcga/BRCA"),
        comparison_rows(0.90, 0.80, 0.90, task="tcga/BRCA", arm="none"),
    ]
    alone, all_rows = here("comparison", plain), here("comparison", pd.concat([*others, plain], ignore_index=True))
    specific = all_rows.pop("comparison/specific")
    assert alone.pop("comparison/specific") == "not in the record"
    assert alone == all_rows
    # LASSO differs, the Gaussian SVM does not, the majority vote is none of them
    assert specific == "tcga-pairs: 1 of 2 methods and tasks differ from the default network (adjusted p < 0.05)"
    only = here("comparison", comparison_rows(0.90, 0.80, 0.95, arm="none"))
    assert "place 2 of 3" in only["comparison/nn-first"]


def test_the_lead_over_the_best_classical_method_at_large_sizes():
    rows = comparison_rows(0.90, 0.85, 0.93, cohort="tcga-hypoxia")
    large = rows.assign(n=rows["n"] * 20)
    found = here("comparison", large)
    leads = re.findall(r"n = (\d+): ([+-]\d\.\d)", found["comparison/gap"])
    assert [int(n) for n, _ in leads] == sorted(n for n in set(large["n"]) if n > 3000)
    assert {lead for _, lead in leads} == {"-3.0"}


def test_gain_at_the_largest_size():
    rows = transfer_rows({8: 0.1, 32: -0.02}).assign(cohort="tcga-hypoxia", target="HNSC")
    found = here("pan-to-specific", rows)
    assert re.match(r"tcga-hypoxia: gain at n = 32: -[12]\.\d points", found["pan-to-specific/HNSC-large-n"])
    assert found["pan-to-specific/UCEC-large-n"] == "not in the record"


def test_gain_of_a_target_at_each_size():
    found = here("pan-to-specific", transfer_rows({8: 0.1, 32: -0.02}))
    assert found["pan-to-specific/BRCA"].startswith("tcga-pairs: gain at n = 8: +10.")
    assert "32: -1.9" in found["pan-to-specific/BRCA"] or "32: -2.0" in found["pan-to-specific/BRCA"]
    assert found["pan-to-specific/HNSC"] == "not in the record"
    assert "mean gain over 1 targets" in found["pan-to-specific/smaller-n-more-gain"]


@pytest.mark.parametrize("cohort", ["simulated-tcga:demo", "own"])
def test_only_admitted_cohorts_speak(cohort):
    found = here("comparison", comparison_rows(0.9, 0.8, 0.7, cohort=cohort))
    assert set(found.values()) == {"needs other samples", "not in the record"}
    assert found["comparison/nn-first"] == "not in the record"  # the real cohorts could speak


def test_every_rule_belongs_to_a_published_statement():
    known = pd.concat([ledger.published(name) for name in SECTIONS])
    assert set(ledger.RULES) <= set(known["id"])
    analogues = {"tcga-pairs", "tcga-hypoxia"}
    assert all(analogues & set(row.cohorts.split(";")) for row in known.itertuples() if row.id in ledger.RULES)


def pair_rows(gains: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Rows of one cancer to another: every pair's gain at n = 8, baselines shared."""
    rows = []
    for target in {target for _, target in gains}:
        base = transfer_rows({8: 0.0}, target)
        rows.append(base[base["arm"] == "baseline"])
    for (source, target), gain in gains.items():
        pair = transfer_rows({8: gain}, target)
        rows.append(pair[pair["arm"] == "fine_tuned"].assign(source=source))
    return pd.concat(rows, ignore_index=True)


def test_pairs_are_counted_without_the_diagonal():
    gains = {("BRCA", "BRCA"): 0.2, ("BRCA", "THCA"): 0.1, ("THCA", "BRCA"): -0.05, ("THCA", "THCA"): 0.3}
    found = here("cancer-to-cancer", pair_rows(gains))
    assert "helps, p < 0.05: 1 of 2 (adjusted 1) pairs" in found["cancer-to-cancer/others"]
    assert "largest gain +10." in found["cancer-to-cancer/others"]
    assert "harms, p < 0.05: 1 of 2 (adjusted 1) pairs" in found["cancer-to-cancer/harm"]
    assert "largest loss -5." in found["cancer-to-cancer/harm"] or "largest loss -4." in found["cancer-to-cancer/harm"]
    assert "n = 8: +25." in found["cancer-to-cancer/diagonal"]
    assert found["cancer-to-cancer/UCEC-to-THCA"] == "not in the record"


def test_a_pair_has_its_gains_and_intervals():
    """The article's pairs need a cohort with UCEC, and the pair among its rows."""
    rows = pair_rows({("UCEC", "THCA"): 0.1, ("THCA", "UCEC"): 0.0, ("UCEC", "BRCA"): -0.2})
    more = rows.assign(n=16)
    tuned = more["arm"] == "fine_tuned"
    more.loc[tuned, "value"] -= 0.1
    found = here("cancer-to-cancer", pd.concat([rows, more], ignore_index=True).assign(cohort="tcga-hypoxia"))
    number = r"[+-]\d\.\d"
    assert re.fullmatch(
        rf"tcga-hypoxia: gain at n = 8: \+10\.\d points \(\+\d+\.\d to \+10\.\d\), "
        rf"n = 16: {number} points \({number} to {number}\)",
        found["cancer-to-cancer/UCEC-to-THCA"],
    )
    assert found["cancer-to-cancer/UCEC-to-LUSC"] == "not in the record"
    one = rows[rows["fold"] == 0].assign(cohort="tcga-hypoxia")  # one pair of values has no interval
    assert re.fullmatch(
        r"tcga-hypoxia: gain at n = 8: \+10\.\d points", here("cancer-to-cancer", one)["cancer-to-cancer/UCEC-to-THCA"]
    )


def test_what_was_not_tested_is_not_counted():
    one = pair_rows({("BRCA", "THCA"): 0.1, ("THCA", "BRCA"): -0.05}).query("fold == 0 or target == 'THCA'")
    found = here("cancer-to-cancer", one)
    assert "helps, p < 0.05: 1 of 1 (adjusted 1) pairs" in found["cancer-to-cancer/others"]
    assert found["cancer-to-cancer/others"].endswith("equal within one point: 0 of 1")


def test_unsupervised_gains_by_target():
    rows = transfer_rows({8: -0.1, 16: 0.0}).assign(source="unlabelled", scheme=None, noise=None, loss=None)
    tuned = rows["arm"] == "fine_tuned"
    rows.loc[tuned, ["scheme", "noise", "loss"]] = ["layers", 0.1, "squared"]
    found = here("unsupervised", rows.assign(experiment="unsupervised"))
    assert found["unsupervised/BRCA"].startswith("tcga-pairs: gain at n = 8: -")
    assert "; at n = 16: +0." in found["unsupervised/BRCA"]
    assert "above the baseline, p < 0.05: " in found["unsupervised/never-above"]
    assert "below: 1 of 2" in found["unsupervised/never-above"]


def draw_rows(accuracy) -> pd.DataFrame:
    """Rows of a random search of 90 draws, `accuracy` given the hyper-parameters."""
    rows = []
    for number in range(90):
        drawn = draw(Space(), number)
        cell = canonical(["sensitivity", {"space": {}, "training": {}, "seed": 0}, "d", 1])
        for metric in ("accuracy", "roc_auc", "log_loss"):
            rows.append({
                "experiment": "sensitivity", "cohort": "tcga-pairs", "cohort_digest": "d", "simulated": False,
                "task": "tcga/pan", "method": "nn_drawn", "arm": "draw", "n": 100, "n_test": 100, "repeat": number,
                "split": "patient", "metric": metric, "value": accuracy(drawn), "scored_on": "validation",
                "network_seed": 0, "epochs": 9, "diverged": False, "key": str(number), "cell": cell, **drawn,
            })  # fmt: skip
    return table(rows)


def test_medians_and_ranks_of_the_draws():
    found = here("sensitivity", draw_rows(lambda d: 0.7 + 0.1 * d["batch_norm"] - 1e-4 * d["batch_size"]))
    assert re.search(r"with 7\d\.\d, without 6\d\.\d", found["sensitivity/batch-norm"])
    assert float(found["sensitivity/batch-size"].split()[-1]) < -0.3
    assert found["sensitivity/small-networks"] == "not in the record"  # no draw of type
    found = here(
        "sensitivity", draw_rows(lambda d: 0.55 if d["optimiser"] == "adam" else 0.9 - 0.1 * (d["layers"] > 5))
    )
    assert "up to 5 layers 90.0, 6 or more 80.0" in found["sensitivity/deep-decline"]
    best = found["sensitivity/optimisers"]
    assert "best validation accuracy (the largest of k draws, too high): " in best
    assert re.search(r"adam 55\.0 \(k = \d+\), rmsprop 90\.0 \(k = \d+\), sgd 90\.0 \(k = \d+\)", best)
    assert sum(map(int, re.findall(r"k = (\d+)", best))) == 90
    assert "adam 100.0 %, rmsprop 0.0 %, sgd 0.0 %" in found["sensitivity/sgd-stable"]
    assert re.search(r"highest at [1-5] \(90\.0\), lowest at ", found["sensitivity/layers-range"])
