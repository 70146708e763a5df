import re

import numpy as np
import pandas as pd
import pytest

from gexlib import ledger
from gexlib.experiments import SECTIONS
from gexlib.results import canonical, table
from gexlib.search import Space, draw


def comparison_rows(network: float, lasso: float, svm: float, task="tcga/pan", cohort="tcga-pairs") -> pd.DataFrame:
    random = np.random.default_rng(0)
    return table(
        {
            "experiment": "comparison", "cohort": cohort, "cohort_digest": "d", "simulated": False, "task": task,
            "method": method, "arm": "balanced", "n": n, "n_test": 100, "repeat": repeat, "split": "patient",
            "metric": "accuracy", "value": level + 0.01 * repeat + 1e-4 * random.random(),
            "full": n == 400, "key": f"{method}{n}{repeat}",
        }
        for method, level in {"nn_default": network, "lasso": lasso, "svm_rbf": svm, "majority": 0.5}.items()
        for n in (100, 400)
        for repeat in range(4)
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
    assert found["comparison/nn-first"].startswith("tcga-pairs: tcga/pan place 2 of 3, 91.")
    assert "Gaussian SVM 96." in found["comparison/nn-first"]
    assert found["comparison/lasso"].startswith("tcga-pairs: tcga/pan place 3 of 3, 81.")


def test_differences_at_small_and_middle_sizes():
    found = here("comparison", comparison_rows(0.90, 0.80, 0.80))
    assert "tcga/pan n = 100: +10.0" in found["comparison/small-n"]
    assert "n = 400" in found["comparison/middle-n"] and "n = 400" not in found["comparison/small-n"]
    assert found["comparison/large-n"] == "needs other samples"


def test_methods_that_differ_and_that_are_equal_are_counted():
    found = here("comparison", comparison_rows(0.90, 0.80, 0.90))["comparison/tcga-status"]
    assert "of 2 methods 1 differ" in found


def test_gain_of_a_target_at_each_size():
    found = here("pan-to-specific", transfer_rows({8: 0.1, 32: -0.02}))
    assert found["pan-to-specific/BRCA"].startswith("tcga-pairs: gain at n = 8: +10.")
    assert "32: -1.9" in found["pan-to-specific/BRCA"] or "32: -2.0" in found["pan-to-specific/BRCA"]
    assert found["pan-to-specific/HNSC"] == "needs other samples"
    assert "mean gain over 1 targets" in found["pan-to-specific/smaller-n-more-gain"]


@pytest.mark.parametrize("cohort", ["simulated-tcga:demo", "own"])
def test_only_admitted_cohorts_speak(cohort):
    found = here("comparison", comparison_rows(0.9, 0.8, 0.7, cohort=cohort))
    assert set(found.values()) == {"needs other samples"}


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
    assert found["cancer-to-cancer/UCEC-to-THCA"] == "needs other samples"


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
    assert found["sensitivity/small-networks"] == "needs other samples"  # no draw of type
    found = here(
        "sensitivity", draw_rows(lambda d: 0.55 if d["optimiser"] == "adam" else 0.9 - 0.1 * (d["layers"] > 5))
    )
    assert "up to 5 layers 90.0, 6 or more 80.0" in found["sensitivity/deep-decline"]
    assert "adam 55.0, rmsprop 90.0, sgd 90.0" in found["sensitivity/optimisers"]
    assert "adam 100.0 %, rmsprop 0.0 %, sgd 0.0 %" in found["sensitivity/sgd-stable"]
    assert re.search(r"highest at [1-5] \(90\.0\), lowest at ", found["sensitivity/layers-range"])
