"""The runner: what is kept, what is run again, what fails, how it stops, and two of them at once."""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from gexlib import engines, profiles, provenance
from gexlib.errors import InputError
from gexlib.experiments import section
from gexlib.experiments.base import check
from gexlib.files import project_root
from gexlib.runner import FUTILE, keep_memory, run_cells, settings
from gexlib.store import Store
from tests.toy import SECTION, toys


def cells_of(name, **changes):
    chosen = section(name)
    return chosen, chosen.module.cells(
        check(chosen.module.Parameters, profiles.parameters(chosen, "smoke", changes), name)
    )


SMALL = {
    "cohort": "simulated-tcga:smoke",
    "targets": ["BRCA"],
    "methods": [],
    "training": {"fixed_epochs": 2, "epochs": 2},
}


@pytest.fixture(scope="module")
def small(request):
    return cells_of("pan-to-specific", **SMALL)


def values(run) -> pd.DataFrame:
    keep = ["key", "method", "metric", "value"]
    return run.rows[keep].sort_values(keep[:-1], ignore_index=True)


@pytest.fixture(scope="module")
def pool():
    """Two worker processes."""
    with engines.opened(engines.local(2), settings()) as workers:
        yield workers


def test_a_rerun_does_only_what_is_missing(small, tmp_path):
    chosen, cells = small
    store = Store(tmp_path)
    first = run_cells(chosen, cells[:3], store=store)
    second = run_cells(chosen, cells, store=store)
    third = run_cells(chosen, cells, store=store)
    assert (first.computed, second.computed, third.computed) == (3, len(cells) - 3, 0)
    assert third.complete and third.rows["key"].nunique() == len(cells)
    pd.testing.assert_frame_equal(values(second), values(third))


def test_what_is_done_already_does_not_change_the_rest(small, tmp_path):
    chosen, cells = small
    whole = run_cells(chosen, cells, store=Store(tmp_path / "a"))
    store = Store(tmp_path / "b")
    for cell in reversed(cells):
        run_cells(chosen, [cell], store=store)
    pd.testing.assert_frame_equal(values(whole), values(run_cells(chosen, cells, store=store)))


def test_one_and_two_workers_agree(small, pool, tmp_path):
    chosen, cells = small
    one = run_cells(chosen, cells, store=Store(tmp_path / "1"))
    two = run_cells(chosen, cells, pool, store=Store(tmp_path / "2"))
    assert two.computed == len(cells)
    pd.testing.assert_frame_equal(values(one), values(two), atol=1e-3)


def test_a_budget_of_zero_collects_and_computes_nothing(small, tmp_path):
    chosen, cells = small
    store = Store(tmp_path)
    assert run_cells(chosen, cells, budget=0, store=store).done == 0
    run_cells(chosen, cells[:2], store=store)
    partly = run_cells(chosen, cells, budget=0, store=store)
    assert (partly.done, partly.computed, partly.complete) == (2, 0, False)


def test_a_spent_budget_stops_at_the_end_of_a_cell(small, tmp_path):
    chosen, cells = small
    run = run_cells(chosen, cells, budget=1e-9, store=Store(tmp_path))
    assert run.computed == 0 and not run.complete


def test_a_killed_run_resumes_with_only_what_is_missing(tmp_path):
    """SIGKILL half-way: what was kept is whole, the rest is computed, nothing twice."""
    code = textwrap.dedent("""
        from tests.test_runner import SMALL, cells_of
        from gexlib.runner import run_cells
        many = dict(SMALL, n=[8, 10, 12, 14], repeats=3)
        run_cells(*cells_of("pan-to-specific", **many))
    """)
    environment = {**os.environ, "GEXLIB_HOME": str(tmp_path), "PYTHONPATH": str(project_root())}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
    store = Store(tmp_path / "store")
    until = time.time() + 90
    while len(store.entries("pan_to_specific")) < 5 and time.time() < until:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(store.entries("pan_to_specific"))
    chosen, cells = cells_of("pan-to-specific", **dict(SMALL, n=[8, 10, 12, 14], repeats=3))
    assert 5 <= kept < len(cells)
    run = run_cells(chosen, cells, store=store)
    assert run.computed == len(cells) - kept
    assert run.complete and not run.rows.duplicated(["key", "method", "metric"]).any()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_memory_that_is_kept_comes_back_without_page_faults():
    def faults(keep: bool) -> int:
        keep_memory(keep)
        np.ones(10**7)  # 80 MB, more than glibc itself would keep
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            np.ones(10**7)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert faults(keep=True) < 100 < faults(keep=False)
    keep_memory()


# Failures


def numbers(run) -> list[float]:
    return sorted(run.rows["value"])


def test_a_cell_that_raises_is_kept_as_failed_and_the_rest_goes_on(tmp_path):
    store, cells = Store(tmp_path), toys(special={0: {"raises": "value"}, 3: {"raises": "value"}})
    run = run_cells(SECTION, cells, store=store)
    assert numbers(run) == [1, 2, 4, 5] and run.computed == 4 and not run.complete
    assert [cell.parameters["number"] for cell in run.failed] == [0, 3]
    error = run.failed[cells[3]]
    assert (error["type"], error["message"]) == ("ValueError", "cell 3")
    assert "tests/toy.py" in error["traceback"] and error["commit"] == provenance.commit()[0]


def test_what_failed_runs_again_when_asked_or_when_the_code_changed(tmp_path, monkeypatch):
    log = tmp_path / "log"
    store, cells = Store(tmp_path / "store"), toys(2, log=str(log), special={1: {"raises": "value"}})
    for retry, ran in ((False, "0 1"), (False, "0 1"), (True, "0 1 1"), (False, "0 1 1")):
        run = run_cells(SECTION, cells, store=store, retry_failed=retry)
        assert " ".join(log.read_text().split()) == ran and list(run.failed) == cells[1:]
    monkeypatch.setattr(provenance, "fingerprint", lambda _: "other")
    monkeypatch.setattr(provenance, "parts", lambda _: {})
    run_cells(SECTION, cells, store=store)
    assert " ".join(log.read_text().split()) == "0 1 1 0 1"


def test_when_all_fail_the_run_stops(tmp_path):
    log = tmp_path / "log"
    cells = toys(FUTILE + 30, log=str(log), raises="value")
    with pytest.raises(InputError, match=f"the first {FUTILE} cells all failed.*ValueError: cell 0.*--retry-failed"):
        run_cells(SECTION, cells, store=Store(tmp_path / "store"))
    assert len(log.read_text().split()) == FUTILE


def test_a_cell_out_of_memory_is_tried_again_alone(tmp_path):
    log = tmp_path / "log"
    cells = toys(4, log=str(log), special={1: {"raises": "memory"}})
    run = run_cells(SECTION, cells, store=Store(tmp_path / "store"))
    assert log.read_text().split() == ["0", "1", "2", "3", "1"]
    assert numbers(run) == [0, 2, 3] and run.failed[cells[1]]["type"] == "MemoryError"


def test_a_worker_that_dies_costs_its_cell_which_is_tried_again_alone(pool, tmp_path):
    cells = toys(12, 3, seconds=0.05, special={4: {"dies": str(tmp_path / "died")}, 8: {"dies": "always"}})
    run = run_cells(SECTION, cells, pool, store=Store(tmp_path / "store"))
    assert numbers(run) == [*range(8), 9, 10, 11]
    assert list(run.failed) == [cells[8]] and run.failed[cells[8]]["type"] == "WorkerLost"


# The record


def test_recorded_cells_are_not_computed_again(tmp_path):
    cells = toys(6)
    record = run_cells(SECTION, cells[:3], store=Store(tmp_path / "a")).rows.assign(fingerprint="older")
    run = run_cells(SECTION, cells, store=Store(tmp_path / "b"), record=record)
    assert (run.computed, run.done, run.from_record) == (3, 6, {cell.key for cell in cells[:3]})
    assert numbers(run) == [*range(6)] and (run.rows["fingerprint"] == "older").sum() == 3
    again = run_cells(SECTION, cells, store=Store(tmp_path / "b"))
    assert again.computed == 3 and not again.from_record  # without the record
    assert not run_cells(SECTION, cells, store=Store(tmp_path / "b"), record=record).from_record


# Two runs at once

TWO = """
import sys
from pathlib import Path
from gexlib.runner import run_cells
from gexlib.store import Store
from tests.toy import SECTION, toys
run = run_cells(SECTION, toys(40, 2, seconds=0.03, log=sys.argv[2]), store=Store(Path(sys.argv[1])))
print(run.done, run.rows["key"].nunique(), len(run.rows))
"""


def second(tmp_path, code=TWO) -> subprocess.Popen:
    command = [sys.executable, "-c", code, str(tmp_path / "store"), str(tmp_path / "log")]
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_runs_at_once_share_the_work(tmp_path):
    runs = [second(tmp_path), second(tmp_path)]
    ended = [list(map(int, run.communicate(timeout=100)[0].split())) for run in runs]
    assert ended == [[40, 40, 40]] * 2
    by_file = Counter(entry.file for _, entry in Store(tmp_path / "store").cells("tests.toy"))
    assert len(by_file) == 2 and min(by_file.values()) > 3
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == [*range(40)]


def test_the_cells_of_a_run_that_dies_are_taken_over(tmp_path):
    other, store = second(tmp_path), Store(tmp_path / "store")
    until = time.time() + 60
    while len(store.entries("tests.toy")) < 5 and time.time() < until:
        time.sleep(0.01)
    stopper = threading.Timer(0.3, other.kill)
    stopper.start()
    run = run_cells(SECTION, toys(40, 2, seconds=0.03, log=str(tmp_path / "log")), store=store)
    stopper.join()
    other.communicate()
    assert other.returncode == -signal.SIGKILL
    assert run.done == 40 and numbers(run) == [*range(40)]
    assert len((tmp_path / "log").read_text().split()) <= 41  # the one at hand is begun again


# Progress


def test_progress_is_logged_as_json(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log.json"
    run_cells(SECTION, toys(2), store=store)
    run_cells(SECTION, toys(6, special={4: {"raises": "value"}}), store=store, log=log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["event"], line["cells"], line["done"], line["failed"]) for line in lines] == [
        ("begin", 6, 2, 0), ("end", 6, 5, 1),
    ]  # fmt: skip
    assert lines[1]["seconds_left"] == 0 and lines[1]["cells_per_minute"] > 0


def test_without_a_terminal_nothing_is_drawn(tmp_path, capfd):
    run_cells(SECTION, toys(), store=Store(tmp_path))
    assert capfd.readouterr() == ("", "")
