"""What store and runner cost: 100,000 cells that compute nothing, and what scheduling adds to cells of one second."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gexlib import engines, provenance, results, status  # noqa: E402
from gexlib.runner import run_cells, settings  # noqa: E402
from gexlib.store import Store  # noqa: E402
from tests.toy import SECTION, toys  # noqa: E402

ENGINES = {
    "loky, 2 processes": engines.local(2),
    "Dask, 2 processes": engines.Engine.model_validate({"dask": {"local": {"workers": 2}}}),
}


@contextmanager
def timed(what: str, cells: int = 0):
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    print(f"{what:64} {seconds:8.2f} s" + (f" {1e3 * seconds / cells:8.3f} ms a cell" if cells else ""), flush=True)


def size(store: Store) -> str:
    files, total = store.files("tests.toy")
    return f"{files} files, {total / 2**20:.1f} MiB"


def of_store(n: int) -> None:
    """Write, list, pack and read n cells of five rows."""
    cells, mark = toys(n, 20), provenance.fingerprint("tests.toy")
    stamp = provenance.stamp("tests.toy", 1.0)
    rows = [
        {
            "experiment": "tests.toy", "cohort": "tcga-pairs", "cohort_digest": "0123456789abcdef", "simulated": False,
            "task": "tcga/pan", "n": 200, "n_cancer": 100, "n_normal": 100, "n_test": 300, "split": "random",
            "protocol": 1, "method": "nn_default", "arm": "fine_tuned", "repeat": 0, "fold": 1, "frozen": 2,
            "metric": metric, "value": 0.123456789,
        }
        for metric in ("accuracy", "balanced_accuracy", "mcc", "roc_auc", "log_loss")
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        with timed(f"store: write {n:,} cells of {len(rows)} rows, one process", n):
            for cell in cells:
                store.write(cell, rows, stamp)
        store.close()
        print(f"  on disk: {size(store)}")
        for form in ("as written", "packed"):
            reader = Store(Path(folder))
            with timed(f"store, {form}: list all cells"):
                assert len(reader.entries("tests.toy")) == n
            with timed(f"store, {form}: rows of all cells as a table"):
                assert len(results.table(row for _, got in reader.rows(cells, mark) for row in got)) == n * len(rows)
            with timed(f"store, {form}: where every cell stands (gexlib status)"):
                found = status.standing_of(SECTION, cells, Store(Path(folder)))
            assert set(found.states.values()) == {"done"}
            if form == "as written":
                with timed("store: pack (gexlib collect)"):
                    Store(Path(folder)).collect("tests.toy")
                print(f"  on disk: {size(store)}")


def of_runner(n: int) -> None:
    """Run n cells that compute nothing, in groups of twenty."""
    for name, engine in {"this process": engines.local(1), **ENGINES}.items():
        with tempfile.TemporaryDirectory() as folder, engines.opened(engine, settings()) as workers:
            run_cells(SECTION, toys(4), workers, store=Store(Path(folder) / "warm"))
            with timed(f"run {n:,} cells that compute nothing: {name}", n):
                assert run_cells(SECTION, toys(n, 20), workers, store=Store(Path(folder))).computed == n
            with timed(f"run them again, all done: {name}"):
                assert run_cells(SECTION, toys(n, 20), workers, store=Store(Path(folder))).computed == 0


def of_seconds(n: int) -> None:
    """Run n cells that take a second each on two workers, each cell a group of its own."""
    for name, engine in ENGINES.items():
        with tempfile.TemporaryDirectory() as folder, engines.opened(engine, settings()) as workers:
            run_cells(SECTION, toys(4), workers, store=Store(Path(folder) / "warm"))
            begun = time.perf_counter()
            run_cells(SECTION, toys(n, 1, seconds=1.0), workers, store=Store(Path(folder)))
            over = (time.perf_counter() - begun) / (n / 2) - 1
            print(f"{n} cells of one second on {name}: {100 * over:.2f} % over {n // 2} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=120, help="cells of one second")
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)  # of worker processes
    of_store(asked.cells)
    of_runner(asked.cells)
    of_seconds(asked.seconds)
