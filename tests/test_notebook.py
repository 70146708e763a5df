"""What pages show: where rows come from, tables, and notebooks executed only when something changed."""

import re

import numpy as np
import pandas as pd
import pytest

from gexlib import notebook, profiles, provenance, results, status
from gexlib.errors import InputError
from gexlib.experiments import section
from gexlib.results import Cell, table, write_table
from gexlib.runner import Run


def rows_of(cohort="tcga-pairs", digest="00aa11bb22cc33dd", repeats=2, seed=7, **columns) -> pd.DataFrame:
    """Rows of majority votes as a record holds them."""
    rows = []
    for repeat in range(repeats):
        values = {"cohort": cohort, "task": "tcga/pan", "method": "majority", "repeat": repeat, "seed": seed}
        cell = Cell("comparison", values, digest, 1)
        rows += [
            {
                "experiment": "comparison", "cohort": cohort, "cohort_digest": digest, "simulated": False, "n": 40,
                "task": "tcga/pan", "method": "majority", "arm": "balanced", "repeat": repeat, "full": True,
                "split": "patient", "metric": metric, "value": 0.5, "n_test": 10, "protocol": 1, "cell": cell.json,
                "key": cell.key, "fingerprint": provenance.fingerprint("comparison"), "commit": "abcdef1234",
                "dirty": False, "seconds": 90.0, "date": f"2026-11-{20 + repeat}T10:00:00Z", "versions": "v", **columns,
            }
            for metric in ("accuracy", "roc_auc")
        ]  # fmt: skip
    return table(rows)


def keep(project, name, rows, **metadata) -> None:
    known = dict.fromkeys(("cells", "done"), rows["key"].nunique()) | {"cohorts": sorted(rows["cohort"].unique())}
    write_table(rows, project / "results" / f"comparison-{name}.parquet", known | metadata)


def text_of(html: str) -> str:
    return re.sub("<[^>]+>", "", html)


# The strip that says where numbers come from


def test_the_strip_names_cohort_profile_seed_commit_date_and_cells():
    run = Run(rows_of(), cells=2, done=2, computed=0, profile="demo", seconds=180)
    shown = text_of(notebook.provenance_html(run))
    assert shown == (
        "cohort tcga-pairs (00aa11bb22cc33dd) · profile demo · seed 7 · commit abcdef1234 · "
        "date 2026-11-20 to 2026-11-21 · cells 2 of 2 · computing time 3.0 min on one core"
    )
    assert run._repr_html_() == notebook.provenance_html(run)


def test_the_strip_says_what_is_incomplete_changed_or_several():
    rows = pd.concat([rows_of(), rows_of("simulated-tcga:demo", "ffee", seed=3, dirty=True)], ignore_index=True)
    shown = text_of(notebook.provenance_html(Run(rows, cells=9, done=4, computed=0)))
    for words in (
        "cohort simulated-tcga:demo (ffee), tcga-pairs (00aa11bb22cc33dd)", "seed 3, 7", "cells 4 of 9 (incomplete)",
        "commit abcdef1234, abcdef1234 + changes",
    ):  # fmt: skip
        assert words in shown
    assert "incomplete" not in notebook.provenance_html(Run(rows, cells=4, done=4, computed=0))


def test_names_are_escaped_in_the_strip_and_the_banner():
    run = Run(rows_of(cohort="<b>own</b>"), cells=2, done=2, computed=0)
    assert "&lt;b&gt;own" in notebook.provenance_html(run) and "<b>own" not in notebook.provenance_html(run)
    assert "<i>" not in notebook.banner("simulated-<i>").data


def test_an_empty_run_says_so():
    assert "Nothing is recorded here yet." in notebook.provenance_html(Run(table([]), 0, 0, 0))


@pytest.mark.parametrize(
    ("cohort", "named"),
    [
        ("tcga-pairs", None),
        (["tcga-pairs"], None),
        ("simulated-tcga:demo", ["simulated-tcga:demo"]),
        (["tcga-pairs", "simulated-tcga:demo"], ["simulated-tcga:demo"]),
        (["simulated-microarray:demo", "simulated-tcga:demo"], ["simulated-microarray:demo", "simulated-tcga:demo"]),
    ],
)
def test_the_banner_names_simulated_cohorts_and_is_absent_without(cohort, named):
    shown = notebook.banner(cohort)
    if named is None:
        assert shown is None
    else:
        assert re.findall("<code>(.*?)</code>", shown.data) == named
        assert 'class="simulated"' in shown.data and "describes no patient" in shown.data


def test_the_banner_names_the_simulated_cohorts_of_a_record_once(project):
    names = ["simulated-tcga:demo", "simulated-tcga:demo,sharing=0.5", "tcga-pairs"]
    keep(project, "one", pd.concat([rows_of(name) for name in names], ignore_index=True))
    shown = notebook.banner("tcga-pairs", record="comparison")
    assert re.findall("<code>(.*?)</code>", shown.data) == ["simulated-tcga:demo"]


# The record


def test_nothing_recorded_is_an_empty_run(project):
    run = notebook.recorded("comparison")
    assert (run.cells, run.done, run.complete, run.profile) == (0, 0, True, "record")
    assert "Nothing is recorded" in run._repr_html_()


def test_recorded_rows_come_with_their_counts_and_standing(project):
    keep(project, "one", rows_of())
    run = notebook.recorded("comparison")
    assert (run.cells, run.done, run.seconds) == (2, 2, 180.0) and run.complete
    assert [r["file"] for r in run.recorded] == ["comparison-one.parquet"]
    assert "code as recorded" in text_of(run._repr_html_()) and "profile record" in text_of(run._repr_html_())


def test_a_stamp_stands_for_its_cohorts(project):
    rows = rows_of().assign(fingerprint="old")
    keep(project, "one", rows)
    assert notebook.standing(rows) == ["changed since (definitions that are not known here) and not yet verified"]
    stamp = {
        "experiment": "comparison",
        "fingerprint": provenance.fingerprint("comparison"),
        "date": "2026-11-23T00:00",
    }
    for cells, cohorts in ((3, ["tcga-pairs"]), (4, ["tcga-pairs"]), (5, ["elsewhere"])):
        results.add_verification({**stamp, "cells": cells, "cohorts": cohorts})
    (text,) = notebook.standing(rows)
    assert text.endswith("; 4 random cells of tcga-pairs computed again on 2026-11-23 agree")
    results.add_verification({**stamp, "cells": 6})
    assert notebook.standing(rows)[1].endswith("; 6 random cells computed again on 2026-11-23 agree")


def test_the_strip_names_the_modules_that_changed_since(project, monkeypatch):
    before = provenance.parts("comparison")
    now = {**before, "training.fit": "other", "metrics.score": "other"}
    monkeypatch.setattr(provenance, "parts_at", lambda commit, experiment: now)
    status.changes_since.cache_clear()
    keep(project, "one", rows := rows_of().assign(fingerprint="old", commit="0123456789"))
    (text,) = notebook.standing(rows)
    assert text == "changed since (2 definitions of metrics, training) and not yet verified"
    status.changes_since.cache_clear()


def test_the_strip_names_parameters_that_are_not_the_profiles(monkeypatch):
    monkeypatch.setenv("GEXLIB_PROFILE", "smoke")
    parameters = profiles.parameters(section("data"), "smoke", {})
    assert notebook.run("data", **parameters).changed == {}
    other = notebook.run("data", **{**parameters, "seed": 7})
    assert other.changed == {"seed": 7}
    assert "profile smoke with seed=7 ·" in text_of(notebook.provenance_html(other))


def test_an_incomplete_record_says_so(project):
    keep(project, "one", rows_of(), cells=5)
    run = notebook.recorded("comparison")
    assert not run.complete and "cells 2 of 5 (incomplete)" in text_of(run._repr_html_())


def test_a_record_is_narrowed_to_cohorts(project):
    keep(project, "pairs", rows_of())
    keep(project, "simulated", rows_of("simulated-tcga:demo", "ffee", repeats=3))
    assert notebook.recorded("comparison").done == 5
    run = notebook.recorded("comparison", ["tcga-pairs"])
    assert set(run.rows["cohort"]) == {"tcga-pairs"} and (run.done, run.cells) == (2, 2)
    assert [r["file"] for r in run.recorded] == ["comparison-pairs.parquet"]
    assert notebook.recorded("comparison", ["nowhere"]).done == 0


def test_one_cohort_of_a_complete_file_of_two_is_complete(project):
    both = pd.concat([rows_of(), rows_of("simulated-tcga:demo", "ffee", repeats=3)], ignore_index=True)
    keep(project, "both", both)
    run = notebook.recorded("comparison", ["tcga-pairs"])
    assert (run.done, run.cells) == (2, 2) and run.complete
    keep(project, "both", both, cells=8)
    assert not notebook.recorded("comparison", ["tcga-pairs"]).complete


def test_code_changed_since_is_told_with_the_last_verification(project):
    keep(project, "one", rows_of(fingerprint="000000000000"))
    assert "changed since (definitions that are not known here) and not yet verified" in text_of(
        notebook.recorded("comparison")._repr_html_()
    )
    current = provenance.fingerprint("comparison")
    for mark, cells in ((current, 20), (current, 25), ("111111111111", 9)):
        stamp = {"experiment": "comparison", "fingerprint": mark, "cells": cells, "date": "2026-11-22T09:00:00Z"}
        results.add_verification(stamp)
    shown = text_of(notebook.recorded("comparison")._repr_html_())
    assert "; 25 random cells computed again on 2026-11-22 agree" in shown


def test_a_notebook_collects_the_record_when_told_so(project, monkeypatch):
    keep(project, "one", rows_of())
    monkeypatch.setenv(notebook.FROM_RECORD, "1")
    monkeypatch.setenv(notebook.PROFILE, "record")
    run = notebook.run("comparison", cohort="tcga-pairs", repeats=10)
    assert run.done == 2 and run.computed == 0 and run.profile == "record"
    assert run.parameters == {"cohort": "tcga-pairs", "repeats": 10}


def test_a_notebook_computes_or_collects_as_the_settings_say(home, monkeypatch):
    parameters = {"cohort": "simulated-tcga:smoke", "methods": ["majority"], "repeats": 2}
    monkeypatch.setenv(notebook.BUDGET, "0")
    assert notebook.run("comparison", **parameters).done == 0
    monkeypatch.delenv(notebook.BUDGET)
    run = notebook.run("comparison", **parameters)
    assert (run.done, run.computed, run.profile, run.parameters) == (4, 4, "none", parameters)
    monkeypatch.setenv(notebook.BUDGET, "0")
    assert notebook.run("comparison", **parameters).done == 4
    with pytest.raises(InputError, match="comparison: parameter 'banana' is not known"):
        notebook.run("comparison", banana=1)


# Tables for readers


def cells_of(shown) -> list[list[str]]:
    rows = re.findall("<tr.*?>(.*?)</tr>", shown.data, re.DOTALL)
    return [re.findall("<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_tables_choose_rename_round_and_mark_gaps():
    frame = pd.DataFrame(
        {
            "name": ["a<b", None], "n": pd.array([12345, None], "Int64"), "p": [2.5e-9, 0.25], "left": [1, 2],
            "d": [-0.12345, np.nan], "yes": [True, False],
        }
    )  # fmt: skip
    shown = notebook.tabulate(frame, {"n": "samples", "name": "name", "p": "p (BH)", "d": "difference", "yes": "yes"})
    head, first, second = cells_of(shown)
    assert head == ["samples", "name", "p (BH)", "difference", "yes"]
    assert first == ["12,345", "a&lt;b", "&lt; 0.001", "-0.123", "True"]
    assert second == ["–", "–", "0.250", "–", "False"]
    assert 'class="table-scroll"' in shown.data
    assert cells_of(notebook.tabulate(frame, {"d": "d"}, digits=1))[1] == ["-0.1"]
    assert len(cells_of(notebook.tabulate(frame))[0]) == 6


def test_a_figure_is_drawn_the_same_twice():
    import matplotlib

    matplotlib.use("Agg", force=True)
    from matplotlib.figure import Figure

    def draw():
        figure = Figure()
        figure.subplots().plot([0, 1], [1, 0])
        return notebook.show(figure).data

    assert draw() == draw() and "<svg" in draw() and "<dc:date>" not in draw()
