"""The benchmarks still find what they measure; how fast it is, no test says."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "run.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_run", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_units_are_cells_of_the_experiments(bench):
    cells = bench.networks(bench.SMALL)
    assert [cell.parameters["arm"] for cell in cells] == ["zero_shot", "baseline", "fine_tuned", "fine_tuned"]
    classical = {cell.parameters["method"] for cell in bench.classical(bench.SMALL)}
    assert classical == {bench.comparison.NETWORK, *bench.baselines.METHODS}


def test_optimisers_and_overhead_are_tables(bench, monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "TRIVIAL", 2)
    assert [row[0] for row in bench.optimisers(genes=20, steps=2)] == ["sgd", "rmsprop", "adam"]
    assert len(bench.overhead(bench.SMALL)) == 4
