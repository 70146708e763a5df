import numpy as np
import pandas as pd
import pytest

from gexlib import ledger
from gexlib.results import table


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
    known = set(ledger.published("comparison")["id"]) | set(ledger.published("pan-to-specific")["id"])
    assert set(ledger.RULES) <= known
