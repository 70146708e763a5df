"""Where cells stand, and the reasons given for it."""

import json

import pytest

from gexlib import commands, provenance, results, status
from gexlib.errors import InputError
from gexlib.experiments import section
from gexlib.results import Cell, write_table
from gexlib.runner import run_cells
from gexlib.store import Store
from tests.toy import SECTION, toys

MARK, PARTS = "f-now", {"toy.evaluate": "1", "training.fit": "1"}


@pytest.fixture(autouse=True)
def code(monkeypatch):
    """The toy's code as it stands, and a function that changes it."""

    def becomes(mark, parts):
        monkeypatch.setattr(provenance, "fingerprint", lambda _: mark)
        monkeypatch.setattr(provenance, "parts", lambda _: parts)

    status.changes_since.cache_clear()
    becomes(MARK, PARTS)
    return becomes


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def counts(cells, store) -> dict:
    (line,) = status.table([status.standing_of(SECTION, cells, store)]).to_dict("records")
    return {name: int(line[name]) for name in ("cells", *status.STATES) if int(line[name])}


def reasons(cells, store) -> list[str]:
    return [line.rpartition("; such as ")[0] for line in status.why(status.standing_of(SECTION, cells, store), store)]


def test_every_state_is_counted(project, store, code):
    cells = toys(12, 2, special={2: {"raises": "value"}})
    run_cells(SECTION, cells[:3], store=store)
    recorded = run_cells(SECTION, cells[3:5], store=Store(project / "other")).rows
    write_table(recorded[recorded["value"] == 3], project / "results" / "tests.toy-a.parquet")
    older = recorded[recorded["value"] == 4].assign(fingerprint="f-then")
    write_table(older, project / "results" / "tests.toy-b.parquet")
    store.claim("tests.toy", "g", [cells[6].key, cells[0].key])
    found = status.standing_of(SECTION, cells, store)
    assert counts(cells, store) == {"cells": 12, "done": 3, "unverified": 1, "failed": 1, "running": 1, "missing": 6}
    assert found.from_record == 2 and found.states[cells[4]] == "unverified"
    assert any("not in the store: tests.toy 2." in note for note in status.notes([found], store))


def test_a_stamp_verifies_the_cells_of_its_cohorts(project, store):
    cells = toys(2, 1, special={0: {"cohort": "a"}, 1: {"cohort": "b"}})
    rows = run_cells(SECTION, cells, store=Store(project / "other")).rows.assign(fingerprint="f-then")
    rows["cohort"] = rows["value"].map({0.0: "a", 1.0: "b"})
    write_table(rows, project / "results" / "tests.toy-a.parquet")
    assert counts(cells, store) == {"cells": 2, "unverified": 2}
    stamp = {"experiment": "tests.toy", "fingerprint": MARK, "cells": 1, "date": "2026-01-01T00:00:00Z"}
    results.add_verification({**stamp, "cohorts": ["a"]})
    assert counts(cells, store) == {"cells": 2, "done": 1, "unverified": 1}
    results.add_verification(stamp)
    assert counts(cells, store) == {"cells": 2, "done": 2}


def test_rate_and_time_left_are_those_of_the_last_minutes(project, store):
    cells = toys(8, 1)
    run_cells(SECTION, cells[:6], store=store)
    found = status.standing_of(SECTION, cells, store)
    assert found.per_minute >= 6 and found.minutes_left == 2 / found.per_minute
    assert status.standing_of(SECTION, cells[:6], store).minutes_left is None


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(None, ""), (0.5, "under 1 min"), (90, "90 min"), (600, "10.0 h"), (7200, "5.0 days")],
)
def test_durations(minutes, words):
    assert status._duration(minutes) == words


# Why


def test_what_changed_in_the_code_is_named(project, store, code):
    cells = toys(3, 1)
    run_cells(SECTION, cells[:2], store=store)
    assert reasons(cells[:2], store) == ["2 done: computed by this code"]
    code("f-new", {"toy.evaluate": "1", "training.fit": "2", "models.MLP": "1"})
    today = provenance.now()[:10]
    assert reasons(cells, store) == [
        f"2 missing: computed by other code on {today}; since then models.MLP is new, training.fit changed",
        "1 missing: never computed: no cell kept has number=2 or group=2",
    ]


def test_for_recorded_cells_history_is_asked(project, store, code, monkeypatch):
    cells = toys(1)
    rows = run_cells(SECTION, cells, store=Store(project / "other")).rows.assign(fingerprint="f-then", commit="abc")
    write_table(rows, project / "results" / "tests.toy-a.parquet")
    monkeypatch.setattr(provenance, "parts_at", lambda commit, _: {"abc": {**PARTS, "training.fit": "0"}}[commit])
    assert reasons(cells, store) == ["1 unverified: in the record, not verified; since then training.fit changed"]
    monkeypatch.setattr(provenance, "parts_at", lambda *_: None)
    status.changes_since.cache_clear()
    assert reasons(cells, store) == [
        "1 unverified: in the record, not verified; its code, f-then, is not known here, so what changed cannot be told"
    ]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (toys(2, 1, size=9), "never computed: no cell kept has size=9"),
        (toys(2, 1, digest="d2"), "cohort None has other content now: d then, d2 now"),
        (
            [Cell("tests.toy", cell.parameters, "d", 2) for cell in toys(2, 1)],
            "PROTOCOL is 2 now, 1 then: the meaning of the numbers changed",
        ),
    ],
)
def test_parameter_cohort_and_protocol_are_told_apart(project, store, cells, reason):
    assert reasons(toys(2, 1), store) == ["2 missing: nothing of this experiment was computed yet"]
    run_cells(SECTION, toys(2, 1), store=store)
    assert reasons(cells, store) == [f"2 missing: {reason}"]


def test_a_failed_cell_shows_its_error_and_one_traceback(project, store):
    (cell,) = toys(1, raises="value")
    run_cells(SECTION, [cell], store=store)
    assert reasons([cell], store) == ["1 failed: ValueError: cell 0"]
    text = "\n".join(status.explain(cell, "failed", store))
    assert text.count("Traceback") == 1 and 'parameters: {"group":0,"number":0,"raises":"value"}' in text


def test_one_cell_is_explained(project, store):
    done, other = toys(2, 1)
    run_cells(SECTION, [done], store=store)
    text = "\n".join(status.explain(done, "done", store))
    assert f"{done.key}: done, computed by this code" in text and "first accuracy = 0.0" in text
    assert str(store.folder) in text and "versions" not in text
    text = "\n".join(status.explain(other, "missing", store))
    assert "nearest cell kept differs in number: 1, kept 0" in text


def test_other_versions_of_libraries_are_named(monkeypatch):
    monkeypatch.setattr(provenance, "versions", lambda: "Python 3.12.1; torch 2.13.0+cpu; numpy 2.4.6")
    assert status._other_versions("Python 3.12.1; torch 2.12.0; numpy 2.4.6") == ["torch 2.12.0 then, 2.13.0+cpu now"]


# Commands


SMALL = [
    'cohort="simulated-tcga:smoke"', "tasks=[tcga/pan]", "methods=[majority]", "n=[20]", "repeats=2", "genes=[10]",
]  # fmt: skip


def test_the_commands_find_sections_and_cells(home, capsys):
    (run,) = commands.run(["comparison"], "smoke", [*SMALL, "repeats=1"], commands.engines.local(1), None, None)
    commands.show_status(["comparison"], "smoke", SMALL)
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[:7] == ["comparison", str(2 * run.cells), str(run.cells), "0", "0", "0", str(run.cells)]
    commands.why("comparison", "smoke", SMALL)
    assert f"{run.cells} done: computed by this code" in capsys.readouterr().out
    key = run.rows["key"].iloc[0]
    commands.why(key[:10], "smoke", SMALL)
    assert capsys.readouterr().out.startswith(f"{key}: done, computed by this code")


def test_a_missing_cell_is_found_in_its_profile(home, capsys):
    commands.run(["data"], "smoke", [], commands.engines.local(1), None, None)
    chosen = section("comparison")
    found = commands.standings(["comparison"], "smoke", SMALL, Store())[0]
    cell = next(iter(found.states))
    assert chosen.experiment == cell.experiment
    capsys.readouterr()
    commands.why("data", "smoke", [])
    assert "done: computed by this code" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [("ffffffff", "no cell's key begins with 'ffffffff'"), ("compare", "'compare' is neither a section")],
)
def test_what_is_neither_section_nor_cell_is_refused(home, name, message):
    with pytest.raises(InputError, match=message):
        commands.why(name, "smoke", [])


def test_a_cohort_that_is_not_here_is_named_not_built(home, capsys):
    commands.show_status(["comparison"], "smoke", [])
    said = capsys.readouterr().out
    assert "comparison" in said and "is not on this machine yet" in said
    assert not (home / "cohorts").exists()


def test_collect_says_what_it_packed(home, capsys):
    commands.run(["data"], "smoke", [], commands.engines.local(1), None, None)
    commands.collect()
    said = capsys.readouterr().out
    assert "data: " in said and "packed" in said
    assert json.dumps(Store().files("data")[0]) == "1"
