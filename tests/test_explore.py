"""What the explorer draws from, beside the record itself."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from gexlib import explore, results


@pytest.fixture(scope="module")
def summary():
    return explore.summary()


def test_every_recorded_score_is_counted_once(summary):
    recorded, _ = results.record("pan_to_specific")
    arms = recorded["arm"].isin(["baseline", "fine_tuned", "zero_shot"]) | (recorded["method"] == "best_classical")
    expected = recorded[arms & recorded["metric"].isin(explore.METRICS)]["value"].notna().sum()
    assert summary.loc[summary["section"] == "pan-to-specific", "repetitions"].sum() == expected


def test_means_and_intervals_are_those_of_the_rows(summary):
    rows, _ = results.record("pan_to_specific", "tcga-hypoxia")
    rows = rows[
        (rows["arm"] == "baseline") & (rows["target"] == "HNSC") & (rows["n"] == 25) & (rows["metric"] == "accuracy")
    ]
    own = summary.query(
        "section == 'pan-to-specific' and cohort == 'tcga-hypoxia' and subject == 'HNSC' and n == 25 and "
        "metric == 'accuracy' and series == 'Baseline (from scratch)'"
    )
    (line,) = own.to_dict("records")
    values = rows["value"].to_numpy()
    half = 2.2621571627 * values.std(ddof=1) / np.sqrt(10)
    assert (line["mean"], line["low"], line["high"]) == pytest.approx(
        (values.mean(), values.mean() - half, values.mean() + half)
    )
    assert line["repetitions"] == len(values) == 10 and line["file"] == "pan_to_specific-tcga-hypoxia.parquet"


def test_no_series_holds_one_size_twice(summary):
    axes = ["section", "cohort", "subject", "series", "metric", "n"]
    assert not summary.duplicated(axes).any()


def test_draws_are_all_there():
    drawn, (recorded, _) = explore.draws(), results.record("sensitivity")
    assert len(drawn) == recorded.loc[recorded["arm"] == "draw", "key"].nunique()


def test_a_table_is_packed_without_loss():
    table = pd.DataFrame({"word": ["b", "a", None], "number": [1.0, np.nan, 0.123456789], "flag": [True, False, True]})
    packed = json.loads(json.dumps(explore.packed(table), allow_nan=False))
    assert [packed["word"]["words"][code] for code in packed["word"]["codes"]] == ["b", "a", ""]
    assert packed["number"] == [1.0, None, 0.12346] and packed["flag"] == [1, 0, 1]


def test_the_page_holds_its_data_and_names_local_scripts():
    page = explore.page()
    (text,) = re.findall(r'<script type="application/json" id="explorer-data">(.*?)</script>', page, re.DOTALL)
    assert set(json.loads(text)) == {"summary", "draws"} and len(text) < 1e6
    scripts = re.findall(r'src="([^"]+)"', page)
    assert scripts and all(source.startswith("../../_static/") for source in scripts)
    root = results.project_root() / "book" / "_static"
    assert all((root / source.removeprefix("../../_static/")).is_file() for source in scripts)
