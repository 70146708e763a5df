"""The runner under SIGKILL."""

import json
import os
import random
import re
import subprocess
import sys
import time

import psutil
import pytest

from gexlib import commands
from gexlib.experiments import section
from gexlib.results import Cell, Store, read_table
from gexlib.runner import run_cells

pytestmark = pytest.mark.stress

WORDS = [
    "run", "pan-to-specific", "--profile", "smoke", "--no-notebook", "--jobs", "2", "-p", "cohort=simulated-tcga:smoke",
    "-p", "n=[8,12,16,20]", "-p", "frozen=[0,1,2]", "-p", "repeats=4", "-p", "folds=4", "-p", "methods=[lasso]",
]  # fmt: skip
CELLS = 2 * 4 * 4 * (1 + 4 * (1 + 3 + 1))  # targets, repeats, folds; zero-shot, and for each n baseline, F, classical
KILLS = 8
QUIET = 30  # seconds in which every worker must have come to rest


def kept(store: Store) -> list:
    return [path for path in store.folder.rglob("*.json") if not path.name.startswith(".")]


def busy(processes) -> float:
    """Processor seconds that processes have used; those that are gone count no more."""
    total = 0.0
    for process in processes:
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            processes.remove(process)
    return total


def test_killed_runs_resume(tmp_path, record_property):
    """`gexlib run --jobs 2` killed (SIGKILL) at eight random moments and resumed each time: whole table, nothing
    computed twice, no worker that goes on computing.
    """
    seed = int(os.environ.get("STRESS_SEED", time.time()))
    draw = random.Random(seed)
    record_property("seed", seed)
    home = tmp_path / "home"
    store = Store(home / "store")
    environment = {**os.environ, "GEXLIB_HOME": str(home)}
    command = [sys.executable, "-m", "gexlib.cli", *WORDS]

    # the first kills while processes start, the others after some new cells
    moments = [draw.uniform(0, 3), draw.uniform(2, 6), *(draw.randint(1, CELLS // 10) for _ in range(KILLS - 2))]
    after, rest = [], []
    for moment in moments:
        before = len(kept(store))
        driver = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        until = time.time() + 300
        if isinstance(moment, float):
            time.sleep(moment)
        else:
            while len(kept(store)) < before + moment and driver.poll() is None and time.time() < until:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.3))
        assert driver.poll() is None, "the run ended before it could be killed"
        workers = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.wait()
        killed, begun = len(kept(store)), time.time()
        alive, spent = workers[:], -1.0
        while alive and (now := busy(alive)) > spent and time.time() < begun + QUIET:
            spent = now
            time.sleep(1)
        rest.append(time.time() - begun)
        assert rest[-1] < QUIET, "a worker goes on computing after its runner was killed"
        after.append(len(kept(store)) - killed)
        assert after[-1] <= 2, "workers began further cells after their runner was killed"
        for worker in workers:  # those at rest would leave by themselves after some minutes
            if worker.is_running():
                worker.kill()
        for path in kept(store):
            assert {"cell", "stamp", "rows"} == set(json.loads(path.read_text()))

    done = len(kept(store))
    assert 0 < done < CELLS
    table = tmp_path / "rows.parquet"
    ended = subprocess.run([*command, "--out", table], env=environment, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    assert f"{CELLS} of {CELLS} cells done, {CELLS - done} now" in ended.stderr
    rows, metadata = read_table(table)
    assert metadata["complete"] and rows["key"].nunique() == CELLS == len(kept(store))
    assert not rows.duplicated(["key", "method", "metric"]).any() and rows["value"].notna().all()
    assert set(rows.groupby(["key", "method"]).size()) == {5}

    drawn = rows.drop_duplicates("key").sample(24, random_state=seed % 2**32)
    cells = [Cell.from_json(text) for text in drawn["cell"]]
    again = run_cells(section("pan-to-specific"), cells, store=Store(tmp_path / "again"))
    assert commands.agreement(again.rows, rows).startswith("agrees with the record: 24 cells")

    left = [path for path in store.folder.rglob(".*") if path.is_file()]
    assert all(re.fullmatch(r"\.[0-9a-f]{12}-[0-9a-f]{24}\.json", path.name) for path in left)
    record_property("kills", f"{KILLS} ({done} of {CELLS} cells kept before the last run)")
    record_property("cells written after a kill", f"{max(after)} at most")
    record_property("workers at rest after", f"{max(rest):.0f} s at most")
    record_property("unfinished files left", len(left))


def test_a_killed_worker_is_one_sentence(tmp_path, record_property):
    """One worker killed, as the system does when memory runs out: one sentence, exit code 2; the run goes on later."""
    environment = {**os.environ, "GEXLIB_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "gexlib.cli", *WORDS]
    store = Store(tmp_path / "home" / "store")
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    until = time.time() + 300
    while len(kept(store)) < 10 and driver.poll() is None and time.time() < until:
        time.sleep(0.01)
    workers = psutil.Process(driver.pid).children(recursive=True)
    next(worker for worker in workers if "popen_loky_posix" in " ".join(worker.cmdline())).kill()
    begun = time.time()
    _, said = driver.communicate(timeout=60)
    record_property("ended after", f"{time.time() - begun:.1f} s")
    assert driver.returncode == 2 and "Traceback" not in said, said
    assert said.splitlines()[-1].startswith(
        "gexlib: pan-to-specific: a worker process was killed, most likely for want"
    )
    assert not psutil.wait_procs(workers, timeout=30)[1], "the other worker goes on"
    done = len(kept(store))
    ended = subprocess.run([*command, "--budget", "0"], env=environment, capture_output=True, text=True, timeout=120)
    assert f"{done} of {CELLS} cells done, 0 now" in ended.stderr
