"""Unit costs: what one network, one tuned classical method and one stored cell take on this machine.

Run ``python benchmarks/run.py`` (``make bench``), under five minutes on two cores. Every unit is run once a round, the
rounds one after the other, and the best of three rounds counts: what else the machine does then weighs on all units
alike. All units run on one thread, except where two workers are compared with one. Nothing is written unless ``--out
FILE.md`` names a file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from gexlib import baselines, engines, provenance
from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import comparison, pan_to_specific, section
from gexlib.files import atomic_path
from gexlib.results import Cell
from gexlib.runner import keep_memory, run_cells, settings
from gexlib.store import Store
from gexlib.tasks import holdout, problem
from gexlib.training import OPTIMISERS, Training, weighted_cross_entropy
from gexlib.transfer import new_network

COHORTS = ("simulated-tcga:demo", "tcga-pairs")
TARGET = "BRCA"
ROUNDS = 3
#: As the record's pan-to-specific section tunes its classical methods.
TUNING = {"genes": [50, 200], "inner_folds": 5, "trees": 100, "grid": "small"}
WORKERS = (1, 2)
PARALLEL = 40  # cells
TRIVIAL = 200  # cells of a small cohort, whose splits cost little
SMALL = "simulated-tcga:smoke"


def networks(cohort: str) -> list[Cell]:
    """Cells of one fold of one target: zero-shot (it trains the source), baseline, fine-tuned with F = 0 and 2."""
    parameters = pan_to_specific.Parameters(
        cohort=cohort, targets=[TARGET], n=[32], frozen=[0, 2], folds=5, methods=[], **TUNING
    )
    return [cell for cell in pan_to_specific.cells(parameters) if cell.parameters["fold"] == 0]


def classical(cohort: str) -> list[Cell]:
    """Cells of the pan-cancer status task at n = 100, the network's for comparison."""
    parameters = comparison.Parameters(
        cohort=cohort,
        tasks=["tcga/pan"],
        methods=[comparison.NETWORK, *baselines.METHODS],
        n=[100],
        repeats=1,
        **TUNING,
    )
    return [cell for cell in comparison.cells(parameters) if cell.parameters["n"] == 100]


def timed(module, cells: list[Cell]) -> Iterator[tuple[str, float, list[dict]]]:
    """Evaluate cells and yield each with its seconds and rows."""
    begun = time.perf_counter()
    for cell, rows in module.evaluate(cells):
        yield cell.key, time.perf_counter() - begun, rows
        begun = time.perf_counter()


def words(cell: Cell) -> str:
    """Name a unit for the table."""
    p = cell.parameters
    match p.get("arm"):
        case "zero_shot":
            return "source network, tested on the target"
        case "baseline":
            return f"baseline, n = {p['n']}"
        case "fine_tuned":
            return f"fine-tuned, F = {p['frozen']}, n = {p['n']}"
    return f"{p['method']}, {'' if p['method'] == comparison.NETWORK else 'tuned, '}n = {p['n']}"


def units(cohort: str) -> list[list[str]]:
    """Table of the units on one cohort: best seconds and the accuracy on the test fold."""
    parts = ((pan_to_specific, networks(cohort)), (comparison, classical(cohort)))
    best: dict[str, float] = {}
    last: dict[str, list[dict]] = {}
    split, whole = float("inf"), problem(open_cohort(cohort), "tcga/pan", "random")
    for seed in range(ROUNDS):
        begun = time.perf_counter()
        in_train, in_test = holdout(whole, seed)
        split = min(split, time.perf_counter() - begun)
        for module, cells in parts:
            for key, seconds, rows in timed(module, cells):
                best[key] = min(seconds, best.get(key, seconds))
                last[key] = rows
    table = [["split by patient, in five", "tcga/pan", f"{len(in_train):,}", f"{split:.2f}", "", str(len(in_test))]]
    for _, cells in parts:
        for cell in cells:
            rows = last[cell.key]
            accuracy = next(row["value"] for row in rows if row["metric"] == "accuracy")
            trained = rows[0]["n_source"] if cell.parameters.get("arm") == "zero_shot" else rows[0]["n"]
            table.append(
                [
                    words(cell), rows[0]["task"], f"{trained:,}", f"{best[cell.key]:.2f}", f"{100 * accuracy:.1f}",
                    str(rows[0]["n_test"]),
                ]
            )  # fmt: skip
    return table


def run_time(name: str, cells: list[Cell], jobs: int) -> tuple[float, float]:
    """Seconds to run cells into an empty store, and to collect them from it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        begun = time.perf_counter()
        with engines.opened(engines.local(jobs), settings()) as workers:
            run = run_cells(section(name), cells, workers, store=store, quiet=True)
        middle = time.perf_counter()
        assert run.complete and run.computed == len(cells)
        run_cells(section(name), cells, store=store, quiet=True)
        return middle - begun, time.perf_counter() - middle


PLAIN = {
    "sgd": lambda p, t: torch.optim.SGD(p, lr=t.learning_rate, momentum=t.momentum),
    "rmsprop": lambda p, t: torch.optim.RMSprop(p, lr=t.learning_rate),
    "adam": lambda p, t: torch.optim.Adam(p, lr=t.learning_rate),
}


def step_seconds(make, genes: int, steps: int, keep: bool) -> float:
    """Mean seconds of a training step over all genes, batch of 32."""
    keep_memory(keep)
    X, y, alpha = torch.randn(32, genes), torch.arange(32) % 2, torch.ones(2)
    model = new_network(genes, 2)
    optimiser = make(model.parameters(), Training())
    times = []
    for _ in range(steps + 2):
        begun = time.perf_counter()
        optimiser.zero_grad()
        weighted_cross_entropy(model(X), y, alpha).backward()
        optimiser.step()
        times.append(time.perf_counter() - begun)
    return sum(times[2:]) / steps  # the first steps make the optimiser's state


def best_steps(genes: int, steps: int) -> dict[str, list[float]]:
    """Best seconds of a step by optimiser: PyTorch's default, the one that is used, and memory kept for it."""
    ways = {
        name: [partial(step_seconds, make, genes, steps, False) for make in (plain, OPTIMISERS[name])]
        + [partial(step_seconds, OPTIMISERS[name], genes, steps, True)]
        for name, plain in PLAIN.items()
    }
    rounds = {name: [[way() for way in found] for _ in range(ROUNDS)] for name, found in ways.items()}
    return {name: list(map(min, zip(*found, strict=True))) for name, found in rounds.items()}


def optimisers(genes: int = 3660, steps: int = 30) -> list[list[str]]:
    """Table of a training step; huge pages are for processes of their own: torch must know of them when imported."""
    program, found = [sys.executable, __file__, "--steps", str(genes), str(steps)], []
    for huge in "01":
        environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": huge}
        found.append(json.loads(subprocess.check_output(program, text=True, env=environment)))
    table = []
    for name, (default, fused, kept) in found[0].items():
        _, *in_huge_pages = found[1][name]
        seconds = default, fused, kept, *in_huge_pages
        words = (f"{1000 * one:.1f} ms" for one in seconds)
        table.append([name, f"{genes:,}", *words, f"{default / seconds[-1]:.2f}"])
    return table


def workers(cohort: str) -> list[list[str]]:
    """Table of the same cells on one and on two workers. The pool stays up, so its start is in no best round."""
    parameters = comparison.Parameters(
        cohort=cohort, tasks=["tcga/pan"], methods=[comparison.NETWORK], n=[32], repeats=PARALLEL,
        training={"fixed_epochs": 50},
    )  # fmt: skip
    cells = [cell for cell in comparison.cells(parameters) if cell.parameters["n"] == 32]
    best = dict.fromkeys(WORKERS, float("inf"))
    for _ in range(ROUNDS):
        for jobs in WORKERS:
            best[jobs] = min(best[jobs], run_time("comparison", cells, jobs)[0])
    one, two = (best[jobs] for jobs in WORKERS)
    return [
        [f"{len(cells)} networks at n = 32 with their splits, 1 worker", f"{one:.2f} s"],
        [f"the same, 2 workers of {provenance.host()['cores']} cores", f"{two:.2f} s"],
        ["ratio", f"{one / two:.2f}"],
    ]


def overhead(cohort: str) -> list[list[str]]:
    """Table of what the runner and the store add to a cell that computes nothing."""
    parameters = comparison.Parameters(cohort=cohort, tasks=["tcga/pan"], methods=["majority"], n=[], repeats=TRIVIAL)
    cells = comparison.cells(parameters)
    whole, collected = zip(*(run_time("comparison", cells, 1) for _ in range(ROUNDS)), strict=True)
    bare = min(sum(seconds for _, seconds, _ in timed(comparison, cells)) for _ in range(ROUNDS))
    return [
        ["a majority vote, evaluated alone", f"{1000 * bare / len(cells):.1f} ms"],
        ["run, stored and collected", f"{1000 * min(whole) / len(cells):.1f} ms"],
        ["overhead a cell", f"{1000 * (min(whole) - bare) / len(cells):.1f} ms"],
        ["collected when it is there already", f"{1000 * min(collected) / len(cells):.1f} ms"],
    ]


def markdown(title: str, head: list[str], table: list[list[str]]) -> str:
    """Set a table in Markdown."""
    lines = [head, ["---"] * len(head), *table]
    return "\n".join([f"## {title}", "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def report() -> Iterator[str]:
    """Yield the parts of the report as they are measured."""
    host = provenance.host()
    load = f"; load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    yield (
        f"# Unit costs, {provenance.now()[:10]}\n\n{host['cores']} cores, {host['memory_gib']:.0f} GiB, "
        f"{host['machine']}{load}; commit {provenance.commit()[0]}; {provenance.versions()}.\n\n"
        f"Seconds are the best of {ROUNDS} interleaved rounds on one thread. Tuned: {TUNING}.\n"
    )
    head = ["unit", "task", "trained on", "seconds", "accuracy, %", "tested on"]
    for cohort in COHORTS:
        try:
            shape = open_cohort(cohort).shape
        except InputError as error:
            yield f"## {cohort}\n\nNot measured: {error}\n"
            continue
        yield markdown(f"{cohort}: {shape[0]:,} samples, {shape[1]:,} genes", head, units(cohort))
    head = [
        "optimiser", "genes", "default", "fused", "fused, memory kept", "fused, huge pages",
        "fused, huge pages, memory kept", "ratio",
    ]  # fmt: skip
    yield markdown("A training step, batch of 32", head, [*optimisers(), *optimisers(54_675, 5)])
    yield markdown("One worker against two", ["cells", "best"], workers(COHORTS[0]))
    yield markdown(f"Runner and store, {TRIVIAL} trivial cells of {SMALL}", ["step", "best"], overhead(SMALL))


def main() -> None:
    """Measure, print and, where asked, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the report there too")
    parser.add_argument(
        "--steps", nargs=2, type=int, metavar=("GENES", "STEPS"), help="time training steps, print JSON"
    )
    given = parser.parse_args()
    out, begun, parts = given.out, time.time(), []
    torch.set_num_threads(1)
    if given.steps:
        print(json.dumps(best_steps(*given.steps)))
        return
    with threadpool_limits(1):
        for part in report():
            parts.append(part)
            print(part, flush=True)
    parts.append(f"Measured in {time.time() - begun:.0f} s.")
    print(parts[-1])
    if out:
        with atomic_path(out) as path:
            path.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
