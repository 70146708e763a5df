"""Runs against the record: what counts as agreement, what `gexlib verify` finds, what is written."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gexlib import cli, commands, engines, provenance, results
from gexlib.checks import ROUNDING, rounding
from gexlib.errors import InputError
from gexlib.experiments import section
from gexlib.experiments.base import check
from gexlib.results import Cell, read_table, record, table, verifications, write_table
from gexlib.runner import run_cells
from gexlib.store import Store

HERE = engines.local(1)
TINY = {
    "cohort": "simulated-tcga:smoke", "tasks": ["tcga/pan"], "methods": ["nn_default", "svm_linear", "majority"],
    "repeats": 3, "genes": [10], "inner_folds": 2, "grid": "small", "network": {"hidden": [8]},
    "training": {"epochs": 2, "fixed_epochs": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of the comparison."""
    chosen = section("comparison")
    cells = chosen.module.cells(check(chosen.module.Parameters, TINY, "comparison"))
    return run_cells(chosen, cells, store=Store(tmp_path_factory.mktemp("store")))


def keep(project, rows, name="comparison-tiny") -> None:
    write_table(rows, project / "results" / f"{name}.parquet", {"cells": rows["key"].nunique()})


def altered(rows, change, method="nn_default", metric="accuracy", repeat=0) -> pd.DataFrame:
    """Return the rows with one measurement altered by hand."""
    rows = rows.copy()
    one = (rows["method"] == method) & (rows["metric"] == metric) & (rows["repeat"] == repeat)
    assert one.sum() == 1
    rows.loc[one, "value"] = change(rows.loc[one, "value"].item())
    return rows


def same(rows, record) -> bool:
    return commands.agreement(rows, record).startswith("agrees with the record")


# What counts as the same


def test_a_run_agrees_with_itself(done):
    assert len(commands.differences(done.rows, done.rows)) == len(done.rows)
    assert commands.agreement(done.rows, done.rows) == (
        "agrees with the record: 9 cells compared, largest difference in accuracy 0.0000."
    )


@pytest.mark.parametrize(
    ("metric", "change", "agrees"),
    [
        ("accuracy", lambda v, n: v - 1 / n, True),
        ("accuracy", lambda v, n: v + 1 / n, True),
        ("accuracy", lambda v, n: v - 2 / n, False),
        ("roc_auc", lambda v, n: v - 0.019, True),
        ("roc_auc", lambda v, n: v - 0.021, False),
        ("log_loss", lambda v, n: v * 1.1 + 0.01, True),
        ("log_loss", lambda v, n: v * 1.2 + 0.03, False),
        ("accuracy", lambda v, n: np.nan, False),
        ("balanced_accuracy", lambda v, n: np.nan, False),
        ("balanced_accuracy", lambda v, n: v - 0.001, False),
        ("mcc", lambda v, n: v + 0.001, False),
    ],
)
def test_tolerances(done, metric, change, agrees):
    n_test = done.rows["n_test"].iloc[0]
    kept = altered(done.rows, lambda value: change(value, n_test), metric=metric)
    assert same(done.rows, kept) == agrees
    if not agrees:
        assert "1 of 9 cells compared differ from the record beyond tolerance" in commands.agreement(done.rows, kept)


def test_balanced_accuracy_may_differ_where_a_prediction_does(done):
    n_test = done.rows["n_test"].iloc[0]
    kept = altered(done.rows, lambda value: value - 1 / n_test, metric="accuracy")
    assert same(done.rows, altered(kept, lambda value: value - 0.2, metric="balanced_accuracy"))


def test_the_tolerance_of_accuracy_is_one_sample_of_the_test_set(done):
    both = commands.differences(done.rows, done.rows)
    accuracy = both[both["metric"] == "accuracy"]
    assert accuracy["n_test"].min() > 20
    np.testing.assert_allclose((accuracy["tolerance"] * accuracy["n_test"]).astype(float), 1, atol=1e-3)


def test_the_largest_difference_is_told(done):
    n_test = done.rows["n_test"].iloc[0]
    kept = altered(done.rows, lambda value: value - 1 / n_test)
    assert f"largest difference in accuracy {1 / n_test:.4f}." in commands.agreement(done.rows, kept)


def test_cells_that_only_one_side_has_are_not_compared(done):
    half = done.rows[done.rows["method"] == "majority"]
    assert commands.agreement(half, done.rows).startswith("agrees with the record: 3 cells compared")
    rest = done.rows[done.rows["method"] != "majority"]
    for rows, kept in ((half, rest), (half, table([])), (table([]), half)):
        assert commands.agreement(rows, kept) == "the record holds none of these cells."


def test_a_cell_of_many_rows_is_compared_row_by_row():
    """Counts a type and status, components a sample, statistics of two cohorts: one metric, many rows."""
    chosen = section("data")
    cells = chosen.module.cells(chosen.module.Parameters("simulated-tcga:smoke"))
    run = run_cells(chosen, cells)
    assert len(commands.differences(run.rows, run.rows)) == len(run.rows)
    assert commands.agreement(run.rows, run.rows) == "agrees with the record: 3 cells compared."
    for task in ("counts", "components", "statistics"):
        kept = run.rows.copy()
        row = kept.index[kept["task"] == task][3]
        kept.loc[row, "value"] += 1
        assert commands.agreement(run.rows, kept).startswith("1 of 3 cells compared differ")
    for cell in cells:
        assert same(run_cells(chosen, [cell]).rows, run.rows)


# gexlib verify


def verify(*words) -> int:
    """Run `gexlib verify` in this process; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gexlib", "verify", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0


def test_a_sound_record_is_verified_and_stamped(done, project, capsys):
    keep(project, done.rows)
    assert verify("comparison", "--sample", "9", "--jobs", "1") == 0
    assert "agrees with the record: 9 cells compared" in capsys.readouterr().out
    assert verifications() == []
    assert verify("comparison", "--sample", "2", "--jobs", "1", "--stamp") == 0
    (stamp,) = verifications()
    assert stamp["cells"] == 2 and stamp["experiment"] == "comparison"
    assert stamp["fingerprint"] == provenance.fingerprint("comparison")
    assert sorted(p.name for p in (project / "results").iterdir()) == ["comparison-tiny.parquet", "verified.json"]


def test_cells_of_one_cohort_are_verified_and_stamped(done, project, capsys):
    other = done.rows.assign(cohort="elsewhere", key=done.rows["key"] + "x", value=2.0)
    keep(project, pd.concat([done.rows, other], ignore_index=True))
    name = done.rows["cohort"].iloc[0]
    assert verify("comparison", "--sample", "9", "--jobs", "1", "--cohort", name, "--stamp") == 0
    assert "agrees with the record: 9 cells compared" in capsys.readouterr().out
    assert [stamp["cohorts"] for stamp in verifications()] == [[name]]
    assert verify("comparison", "--cohort", "nowhere") == 2
    assert f"comparison has no record on it; use elsewhere, {name}." in capsys.readouterr().err


def test_the_working_store_is_neither_read_nor_written(done, project, home):
    """Verification computes: rows kept under GEXLIB_HOME would agree with themselves."""
    keep(project, done.rows)
    assert verify("comparison", "--sample", "1", "--jobs", "1") == 0
    assert not (home / "store").exists()


def test_a_record_altered_by_hand_is_found(done, project, capsys):
    keep(project, altered(done.rows, lambda value: value - 0.2))
    assert verify("comparison", "--sample", "9", "--jobs", "1", "--stamp") == 1
    said = capsys.readouterr().out
    assert said.count("differs: ") == 1 and " nn_default accuracy: recorded " in said
    assert "1 of 9 cells compared differ" in said and "raise PROTOCOL and record again" in said
    assert verifications() == []


def test_the_draw_depends_on_the_seed_and_finds_only_what_it_draws(done, project, capsys):
    keep(project, altered(done.rows, lambda value: 0.0, method="majority"))
    found = [verify("comparison", "--sample", "1", "--seed", str(seed), "--jobs", "1") for seed in (0, 0, *range(1, 6))]
    assert found[0] == found[1]
    assert found == [
        int(record("comparison")[0].drop_duplicates("key").sort_values("key").sample(1, random_state=seed)["cell"]
            .map(lambda text: Cell.from_json(text).parameters)
            .map(lambda p: (p["method"], p["repeat"]) == ("majority", 0)).item())
        for seed in (0, 0, *range(1, 6))
    ]  # fmt: skip


def test_recorded_values_that_do_not_come_out_again_are_found(done, project, capsys):
    more = done.rows[done.rows["metric"] == "accuracy"].assign(metric="f1")
    keep(project, pd.concat([done.rows, more], ignore_index=True))
    assert verify("comparison", "--sample", "9", "--jobs", "1", "--stamp") == 1
    assert "9 of the" in capsys.readouterr().out and verifications() == []


def test_a_record_of_another_protocol_is_refused(done, project, capsys):
    rows = done.rows.copy()
    rows["cell"] = [replace(Cell.from_json(text), protocol=0).json for text in rows["cell"]]
    rows["key"] = [Cell.from_json(text).key for text in rows["cell"]]
    keep(project, rows)
    assert verify("comparison", "--jobs", "1") == 2
    assert "the record was made with protocol 0, the code has 1; record the section again" in capsys.readouterr().err


def test_a_record_of_another_cohort_is_refused(done, project, capsys):
    rows = done.rows.copy()
    rows["cell"] = [replace(Cell.from_json(text), cohort_digest="0123456789abcdef").json for text in rows["cell"]]
    rows["key"] = [Cell.from_json(text).key for text in rows["cell"]]
    keep(project, rows)
    assert verify("comparison", "--sample", "1", "--jobs", "1") == 2
    assert "the cell was made for 0123456789abcdef: fetch the same files" in capsys.readouterr().err


def test_nothing_recorded_is_nothing_to_verify(project, capsys):
    assert verify("comparison") == 2
    assert "nothing is recorded in results/, so there is nothing to verify" in capsys.readouterr().err


# gexlib run


@pytest.fixture
def profile(project):
    (project / "profiles" / "tiny.yml").write_text(json.dumps({"comparison": TINY, "data": {"cohort": TINY["cohort"]}}))
    return "tiny"


def test_a_run_says_how_it_agrees_and_writes_rows_with_metadata(done, project, profile, capsys, monkeypatch):
    monkeypatch.setenv(results.RECORD, "0")
    keep(project, done.rows)
    out = project / "rows.parquet"
    (run,) = commands.run(["comparison"], profile, ["repeats=2"], HERE, None, out)
    said = capsys.readouterr().err
    assert run.complete and "comparison: 6 of 6 cells done" in said
    assert "comparison: agrees with the record: 6 cells compared" in said
    assert "Simulated data: not measurements." in said
    rows, metadata = read_table(out)
    assert rows.to_csv() == run.rows.to_csv()
    assert metadata["sections"] == ["comparison"] and metadata["profile"] == "tiny"
    assert metadata["parameters"]["comparison"].items() >= {**TINY, "repeats": 2}.items()
    assert metadata["cells"] == metadata["done"] == 6 and metadata["complete"] is True
    assert metadata["cohorts"] == ["simulated-tcga:smoke"]
    assert metadata["host"] == provenance.host() and metadata["versions"] == provenance.versions()
    mark = provenance.fingerprint("comparison")
    assert metadata["code"] == {"comparison": {mark: provenance.parts("comparison")}}


def test_article_record_and_run_are_set_side_by_side(done, project, profile, capsys, monkeypatch):
    """Exit code 1, that is False, where a recorded cell comes out otherwise."""
    monkeypatch.setenv(results.RECORD, "0")
    keep(project, done.rows)
    (project / "book").mkdir()
    published = Path(commands.__file__).parents[1] / "book" / "published.csv"
    (project / "book" / "published.csv").write_text(published.read_text())
    assert commands.compare("comparison", profile, ["repeats=2"], HERE)
    said = capsys.readouterr().out
    block = said[said.index("The network has the highest accuracy") :].split("\n\n")[0]
    assert re.search(
        r"article +NN > all others\n +record +simulated-tcga:smoke: .*this run +simulated-tcga", block, re.DOTALL
    )
    assert "comparison: agrees with the record: 6 cells compared" in said
    keep(project, altered(done.rows, lambda value: value - 0.3))
    assert not commands.compare("comparison", profile, ["repeats=2"], HERE)
    said = capsys.readouterr().out
    assert "1 of 6 cells compared differ" in said and re.search(
        r"differs: .*nn_default accuracy: recorded 0\.\d+", said
    )


def test_what_the_record_has_is_taken_from_it(done, project, profile, home, capsys, monkeypatch):
    monkeypatch.delenv(results.RECORD, raising=False)
    keep(project, done.rows[done.rows["repeat"] == 0].assign(fingerprint="older"))
    (run,) = commands.run(["comparison"], profile, ["repeats=2"], HERE, None, None)
    said = capsys.readouterr().err
    assert run.complete and run.computed == 3
    assert "comparison: 6 of 6 cells done, 3 from the record, 3 now" in said
    assert "comparison: the record holds none of these cells." in said
    (project / "results" / "comparison-tiny.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match="comparison-tiny.parquet is not a readable Parquet file.*--no-record"):
        commands.run(["comparison"], profile, ["repeats=2"], HERE, None, None)
    monkeypatch.setenv(results.RECORD, "0")
    (run,) = commands.run(["comparison"], profile, ["repeats=2"], HERE, None, None)
    assert run.complete and run.computed == 3
    assert "comparison: not compared with the record: " in capsys.readouterr().err
    monkeypatch.setenv(results.RECORD, "maybe")
    with pytest.raises(InputError, match="GEXLIB_RECORD=maybe is not known: use 0 or 1"):
        commands.run(["comparison"], profile, ["repeats=2"], HERE, None, None)


def test_cells_that_fail_are_told_by_kind_and_end_with_1(home, capsys, monkeypatch):
    chosen = section("data").module
    real = chosen.counts
    monkeypatch.setattr(chosen, "counts", lambda cohort, seed: real(cohort, seed) if seed < 0 else 1 / 0)
    words = ["run", "data", "--profile", "smoke", "--no-notebook", "--jobs", "1"]
    for again in ([], ["--retry-failed"]):
        monkeypatch.setattr(sys, "argv", ["gexlib", *words, *again])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert "data: 4 of 6 cells done, " in said and "data: 2 failed: ZeroDivisionError: division by zero" in said
        assert "--retry-failed runs what failed again" in said and "the budget is spent" not in said
    monkeypatch.setattr(chosen, "counts", real)
    monkeypatch.setattr(sys, "argv", ["gexlib", *words, "--retry-failed"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and "data: 6 of 6 cells done, 2 now" in capsys.readouterr().err


def test_a_budget_of_zero_is_told_and_what_is_there_is_written(project, profile, home, capsys):
    commands.run(["comparison"], profile, ["repeats=1"], HERE, None, None)
    out = project / "rows.parquet"
    (run,) = commands.run(["comparison"], profile, [], HERE, 0, out)
    assert (run.done, run.cells, run.computed) == (3, 9, 0)
    assert "the budget is spent; the same command goes on from here" in capsys.readouterr().err
    assert read_table(out)[1]["complete"] is False


def test_a_size_named_twice_is_one(project, profile, capsys):
    (run,) = commands.run(["comparison"], profile, ["n=[20, 20]", "methods=[majority]", "repeats=1"], HERE, None, None)
    assert run.complete and run.cells == 2
    assert not run.rows.duplicated(["key", "metric"]).any()
    assert "the budget is spent" not in capsys.readouterr().err


@pytest.mark.parametrize("change", ["methods=[]", "class_weight=[]"])
def test_parameters_that_leave_nothing_to_compute_are_refused(project, profile, change):
    with pytest.raises(InputError, match="comparison: these parameters leave nothing to compute"):
        commands.run(["comparison"], profile, [change], HERE, None, None)


def test_sections_go_into_one_table(project, profile):
    out = project / "rows.csv"
    commands.run(["data", "comparison"], profile, ["cohort=simulated-tcga:smoke"], HERE, 0, out)
    with pytest.raises(InputError, match="data: parameter 'repeats' is not known"):
        commands.run(["data", "comparison"], profile, ["repeats=1"], HERE, 0, None)
    runs = commands.run(["data", "comparison"], profile, [], HERE, None, out)
    rows = pd.read_csv(out, low_memory=False)
    assert len(rows) == sum(len(run.rows) for run in runs)
    assert list(rows["experiment"].unique()) == ["data", "comparison"]


# gexlib book


def test_a_book_that_does_not_build_prints_what_jupyter_book_says(tmp_path, monkeypatch, capsys):
    said = SimpleNamespace(returncode=1, stdout="", stderr="intro.md: WARNING: no such image")
    monkeypatch.setattr(commands.subprocess, "run", lambda *args, **kwargs: said)
    with pytest.raises(InputError, match="the book was not built; the messages above say which page to mend"):
        commands.render(tmp_path)
    assert "no such image" in capsys.readouterr().err


def test_a_missing_jupyter_book_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(commands.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r"pip install 'gexlib\[book\]'"):
        commands.render(tmp_path)


def test_a_book_elsewhere_starts_from_a_copy_without_old_notebooks(project, tmp_path):
    (project / "book" / "executed").mkdir(parents=True)
    for name in ("book/intro.md", "book/executed/01_data.ipynb", "_config.yml", "_toc.yml"):
        (project / name).write_text(name)
    out = commands._staged(tmp_path / "out")
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["_config.yml", "_toc.yml", "book/intro.md"]


# What a reader is told before anything runs


def test_a_profile_with_a_few_fields_runs(project, home, capsys):
    (project / "profiles" / "mine.yml").write_text("data:\n  seed: 1\n")
    (done,) = commands.run(["data"], "mine", [], HERE, None, None)
    assert done.complete and set(done.rows["cohort"]) == {"simulated-tcga:smoke"}
    assert "data: simulated-tcga:smoke: Simulated data" in capsys.readouterr().err
    with pytest.raises(InputError, match="profile mine has no block comparison: add one, or name the sections"):
        commands.run(["data", "comparison"], "mine", [], HERE, None, None)


def test_notes_of_the_section_follow_those_of_its_cohorts(home):
    origins = section("cell-lines-and-patients")
    said = commands._notes(origins, origins.module.Parameters())
    assert said[0].endswith("Simulated data: not measurements.") and "cell_line and patient are compared" in said[-1]


def test_rows_go_into_a_folder_that_is_there(project, home):
    (project / "profiles" / "mine.yml").write_text("data: {}\n")
    with pytest.raises(InputError, match="--out .*there is no folder .*typo; make it first"):
        commands.run(["data"], "mine", [], HERE, None, project / "typo" / "rows.csv")
    assert not (project / "typo").exists()


@pytest.mark.parametrize("recorded, agrees", [(0.66, True), (0.95, False), (0.05, False)])
def test_a_cell_agrees_as_far_as_rounding_carries_it(recorded, agrees, done, project, capsys, monkeypatch):
    """Errors of rounding carry it from 0.56 to 0.70 here: what another processor recorded may be as far off again."""
    keep(project, altered(done.rows, lambda _: recorded))
    exact = run_cells

    def chaotic(*args, **kwargs):
        ended = exact(*args, **kwargs)
        now = 0.54 + 0.02 * rounding() if rounding() else 0.6
        return replace(ended, rows=altered(ended.rows, lambda _: now))

    monkeypatch.setattr(commands, "run_cells", chaotic)
    assert verify("comparison", "--sample", "9", "--jobs", "1", "--stamp") == (0 if agrees else 1)
    said = capsys.readouterr().out
    assert "1 of 9 cells compared differ" in said
    assert ("rounding carries it as far: " in said) == ("1 of them are no farther" in said) == agrees
    assert ("differs: " in said) == (not agrees) and len(verifications()) == agrees


def test_only_cells_that_differ_are_computed_with_errors_of_rounding(done, project, monkeypatch):
    keep(project, altered(done.rows, lambda value: value + 0.5))
    exact, computed = run_cells, []

    def counted(chosen, cells, *args, **kwargs):
        computed.append((rounding(), len(cells)))
        return exact(chosen, cells, *args, **kwargs)

    monkeypatch.setattr(commands, "run_cells", counted)
    assert verify("comparison", "--sample", "9", "--jobs", "1") == 1
    assert computed == [(0, 9), *((number, 1) for number in range(1, 9))]
    monkeypatch.setenv(ROUNDING, "yes")
    assert verify("comparison", "--sample", "9", "--jobs", "1") == 2
