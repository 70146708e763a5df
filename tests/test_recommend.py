"""Advice beside means and tests made by hand."""

import pandas as pd
import pytest
from scipy import stats

from gexlib import recommend, results
from gexlib.runner import Run
from tests.ledger import rows


@pytest.fixture
def recorded(monkeypatch):
    """Set the rows that count as the record."""
    tables = {}
    empty = results.table([])
    monkeypatch.setattr(recommend.notebook, "recorded", lambda name: Run(tables.get(name, empty), 0, 0, 0))
    return tables


def test_the_network_is_set_beside_the_best_classical_method(recorded):
    levels = {"nn_default": 0.9, "svm_rbf": 0.93, "lasso": 0.925, "majority": 0.99}
    table = rows.comparison(lambda method, n: levels.get(method, 0.8) - 0.1 * (n == 100) * (method == "svm_rbf"))
    recorded["comparison"] = table.assign(metric="balanced_accuracy")
    found = recommend.methods().set_index("n")
    assert found.loc[6000, "best"] == "Gaussian SVM" and found.loc[100, "best"] == "LASSO"
    own, best = (
        table[(table["method"] == m) & (table["n"] == 6000)]["value"].to_numpy() for m in ("nn_default", "svm_rbf")
    )
    expected = stats.ttest_rel(own, best).confidence_interval()
    assert found.loc[6000, "difference"] == pytest.approx((own - best).mean())
    assert found.loc[6000, ["low", "high"]].tolist() == pytest.approx([expected.low, expected.high])
    assert found.loc[6000, "close"] == 2


def test_gains_are_means_over_targets_without_the_diagonal(recorded):
    gain = {("BRCA", "THCA"): 0.02, ("THCA", "BRCA"): 0.06, ("BRCA", "BRCA"): 0.5, ("THCA", "THCA"): 0.5}
    table = rows.transfer(lambda s, t, n, f: gain[s, t] - 0.3 * (f > 0), list(gain), "cancer_to_cancer")
    recorded["cancer-to-cancer"] = table.assign(metric="balanced_accuracy")
    found = recommend.transfer().set_index(["what", "n"])
    line = found.loc[("pre-trained network minus network", 8)]
    assert line["difference"] == pytest.approx(0.04, abs=0.002) and line["targets"] == 2
    assert line["low"] < 0 < line["high"]
    assert set(found.index.get_level_values(0)) == {"pre-trained network minus network"}  # no other arm was run


def test_what_sees_no_target_sample_is_set_beside_every_size(recorded):
    table = rows.transfer(lambda s, t, n, f: 0.01, [("pan", "BRCA"), ("pan", "THCA")])
    zero = table[(table["arm"] == "fine_tuned") & (table["n"] == 8)].assign(arm="zero_shot", n=0, value=0.5, frozen=0)
    recorded["pan-to-specific"] = pd.concat([table, zero], ignore_index=True).assign(metric="balanced_accuracy")
    found = recommend.transfer().set_index(["what", "n"]).loc["source network as it is minus network"]
    assert list(found.index) == [8, 32] and found["difference"].between(-0.35, -0.25).all()


def test_a_table_for_readers():
    table = pd.DataFrame(
        {
            "section": "unsupervised", "cohort": "a", "n": [8, 16], "what": "x", "difference": [0.01, -0.02],
            "low": [0.0, -0.03], "high": [0.02, -0.01], "targets": 7,
        }
    )  # fmt: skip
    found = recommend.by_n(table, "unsupervised")
    assert found.to_dict("records") == [
        {"cohort": "a", "what": "x", "n = 8": "+1.0 (+0.0 to +2.0)", "n = 16": "-2.0 (-3.0 to -1.0)"}
    ]
