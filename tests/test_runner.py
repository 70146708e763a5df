"""The runner on a toy experiment: what is kept, what is run again, how it stops."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest

from gexlib import notebook, profiles
from gexlib.experiments import section
from gexlib.experiments.base import check
from gexlib.results import Store
from gexlib.runner import keep_memory, run_cells


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


def test_one_and_two_workers_agree(small, tmp_path):
    chosen, cells = small
    one = run_cells(chosen, cells, jobs=1, store=Store(tmp_path / "1"))
    two = run_cells(chosen, cells, jobs=2, store=Store(tmp_path / "2"))
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
        many = dict(SMALL, n=[8, 10, 12, 14, 16], frozen=[0, 1, 2, 3], repeats=3)
        run_cells(*cells_of("pan-to-specific", **many), jobs=1)
    """)
    environment = {**os.environ, "GEXLIB_HOME": str(tmp_path), "PYTHONPATH": str(notebook.project_root())}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
    store = Store(tmp_path / "store")
    until = time.time() + 90
    while len(list(store.folder.rglob("*.json"))) < 5 and time.time() < until:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len([p for p in store.folder.rglob("*.json") if not p.name.startswith(".")])
    chosen, cells = cells_of("pan-to-specific", **dict(SMALL, n=[8, 10, 12, 14, 16], frozen=[0, 1, 2, 3], repeats=3))
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
