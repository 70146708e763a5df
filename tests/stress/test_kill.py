"""Runs under SIGKILL: of the driver, of its workers, of workers elsewhere."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_engines import scheduler, worker

from gexlib import commands, engines
from gexlib.experiments import section
from gexlib.results import Cell, read_table
from gexlib.runner import run_cells, settings
from gexlib.store import Store
from tests.test_runner import SMALL, cells_of

pytestmark = pytest.mark.stress

WORDS = [
    "run", "pan-to-specific", "--profile", "smoke", "--no-notebook", "--jobs", "2", "-p", "cohort=simulated-tcga:smoke",
    "-p", "n=[8,12,16,20]", "-p", "frozen=[0,1,2]", "-p", "repeats=4", "-p", "folds=4", "-p", "methods=[lasso]",
]  # fmt: skip
CELLS = 2 * 4 * 4 * (1 + 4 * (1 + 3 + 2))  # targets, repeats, folds; zero-shot; at each n baseline, F, two classical
KILLS = 30
QUIET = 30  # seconds in which every worker must have come to rest
COMMAND = [sys.executable, "-m", "gexlib.cli", *WORDS]


def kept(home: Path) -> int:
    return len(Store(home / "store").entries("pan_to_specific"))


def busy(processes) -> float:
    """Processor seconds that processes have used; those that are gone count no more."""
    total = 0.0
    for one in processes:
        try:
            total += sum(one.cpu_times()[:2])
        except psutil.NoSuchProcess:
            processes.remove(one)
    return total


def seeded(record_property) -> random.Random:
    seed = int(os.environ.get("STRESS_SEED", time.time()))
    record_property("seed", seed)
    return random.Random(seed)


def check_whole(home: Path, environment: dict, tmp_path: Path, *words: str) -> "subprocess.CompletedProcess":
    """Run once more to the end, and see that the table is whole: every cell once, the same when computed again."""
    table = tmp_path / "rows.parquet"
    done = kept(home)
    command = [*COMMAND, "--out", table, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    assert f"{CELLS} of {CELLS} cells done, {CELLS - done} now" in ended.stderr
    rows, metadata = read_table(table)
    assert metadata["complete"] and rows["key"].nunique() == CELLS == kept(home)
    assert not rows.duplicated(["key", "method", "metric"]).any() and rows["value"].notna().all()
    assert set(rows.groupby(["key", "method"]).size()) == {5}
    cells = [Cell.from_json(text) for text in rows.drop_duplicates("key").sample(24, random_state=1)["cell"]]
    again = run_cells(section("pan-to-specific"), cells, store=Store(tmp_path / "again"))
    assert commands.agreement(again.rows, rows).startswith("agrees with the record: 24 cells")
    return ended


def test_killed_runs_resume(tmp_path, record_property):
    """`gexlib run --jobs 2` killed (SIGKILL) at 30 random moments and resumed each time: whole table, nothing
    computed twice, no torn line, no worker that goes on computing; then everything is packed.
    """
    draw, home = seeded(record_property), tmp_path / "home"
    environment = {**os.environ, "GEXLIB_HOME": str(home)}
    # the first kills while processes start, the others after some new cells
    moments = [*(draw.uniform(0, 6) for _ in range(4)), *(draw.randint(1, CELLS // 32) for _ in range(KILLS - 4))]
    after, rest = [], []
    for moment in moments:
        before = kept(home)
        driver = subprocess.Popen(COMMAND, env=environment, stderr=subprocess.DEVNULL)
        until = time.time() + 300
        if isinstance(moment, float):
            time.sleep(moment)
        else:
            while kept(home) < before + moment and driver.poll() is None and time.time() < until:
                time.sleep(0.05)
            time.sleep(draw.uniform(0, 0.3))
        assert driver.poll() is None, "the run ended before it could be killed"
        workers = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        driver.wait()
        killed, begun = kept(home), time.time()
        alive, spent = workers[:], -1.0
        while alive and (now := busy(alive)) > spent and time.time() < begun + QUIET:
            spent = now
            time.sleep(1)
        rest.append(time.time() - begun)
        assert rest[-1] < QUIET, "a worker goes on computing after its runner was killed"
        after.append(kept(home) - killed)
        assert after[-1] <= 2, "workers began further cells after their runner was killed"
        for one in workers:  # those at rest would leave by themselves after some minutes
            if one.is_running():
                one.kill()
    store = Store(home / "store")
    done = kept(home)
    assert 0 < done < CELLS and not store.damage
    record_property("kills", f"{KILLS} ({done} of {CELLS} cells kept before the last run)")
    record_property("cells written after a kill", f"{max(after)} at most")
    record_property("workers at rest after", f"{max(rest):.0f} s at most")
    check_whole(home, environment, tmp_path)
    files = store.files("pan_to_specific")[0]
    lines = sum(path.read_text().count("\n") for path in store.folder.glob("pan_to_specific/*.jsonl"))
    record_property("files", f"{files}, {lines} lines for {CELLS} cells")
    assert lines == CELLS, "a cell was computed twice"
    subprocess.run([sys.executable, "-m", "gexlib.cli", "collect"], env=environment, check=True, stdout=subprocess.PIPE)
    assert kept(home) == CELLS and Store(home / "store").files("pan_to_specific")[0] == 1
    assert not list(store.folder.glob("pan_to_specific/claims/*"))
    left = [path for path in store.folder.rglob(".*") if path.is_file()]
    assert all(re.fullmatch(r"\.[0-9a-f]{12}-.*", path.name) for path in left)
    record_property("unfinished files left", len(left))


def test_killed_workers_cost_their_cells_only(tmp_path, record_property):
    """Workers of one run killed (SIGKILL) at ten random moments, as the system does when memory runs out: the run
    goes on to the end by itself; whole table.
    """
    draw, home = seeded(record_property), tmp_path / "home"
    environment = {**os.environ, "GEXLIB_HOME": str(home)}
    driver = subprocess.Popen(COMMAND, env=environment, stderr=subprocess.PIPE, text=True)
    kills = 0
    while kills < 10 and driver.poll() is None:
        before, more, until = kept(home), draw.randint(1, CELLS // 20), time.time() + 120
        while kept(home) < before + more and driver.poll() is None and time.time() < until:
            time.sleep(0.05)
        workers = [
            one
            for one in psutil.Process(driver.pid).children(recursive=True)
            if "popen_loky_posix" in " ".join(one.cmdline()) or "spawn_main" in " ".join(one.cmdline())
        ]
        if workers:
            draw.choice(workers).kill()
            kills += 1
    _, said = driver.communicate(timeout=1800)
    record_property("kills", kills)
    failed = re.findall(r"(\d+) failed: WorkerLost", said)
    record_property("cells that were killed alone too", failed[0] if failed else 0)
    assert driver.returncode == bool(failed) and "Traceback" not in said, said
    check_whole(home, environment, tmp_path, "--retry-failed")


def test_workers_of_a_cluster_come_and_go(tmp_path, record_property):
    """A Dask scheduler and two workers, processes of their own, one of which is killed: the same table as on processes
    of this machine and in one process.
    """
    chosen = section("pan-to-specific")
    _, cells = cells_of("pan-to-specific", **dict(SMALL, n=[8, 10, 12, 14], frozen=[0, 1, 2], repeats=3))
    one = run_cells(chosen, cells, store=Store(tmp_path / "one")).rows
    with scheduler(tmp_path) as (_, file), worker(file) as first, worker(file):
        address = f"dask: {{scheduler_file: {file}}}"
        (tmp_path / "engine.yml").write_text(address)
        with engines.opened(engines.read(tmp_path / "engine.yml"), settings()) as workers:
            store = Store(tmp_path / "cluster")
            killed = []

            class Watched:
                def run(self, function, tasks):
                    for ended in workers.run(function, tasks):
                        if not killed and len(store.entries("pan_to_specific")) > len(cells) // 4:
                            first.kill()
                            killed.append(len(store.entries("pan_to_specific")))
                        yield ended

                alone = workers.alone

            run = run_cells(chosen, cells, Watched(), store=store)
    with engines.opened(engines.local(2), settings()) as workers:
        two = run_cells(chosen, cells, workers, store=Store(tmp_path / "two")).rows
    record_property("cells done when the worker was killed", f"{killed[0]} of {len(cells)}")
    assert run.complete and not run.failed
    for rows in (run.rows, two):
        assert commands.agreement(rows, one).startswith(f"agrees with the record: {len(cells)} cells")
