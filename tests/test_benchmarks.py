"""The benchmarks still find what they measure; how fast it is, no test says."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench():
    return load("run")


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


@pytest.mark.parametrize("frozen", [0, 1])
def test_the_loops_beside_the_sample_space_train_the_same_network(frozen):
    training = load("training")
    lines = training.table(genes=300, cells=[(60, 4, frozen)], rounds=1).splitlines()
    measured = dict(zip(training.HEAD, (word.strip() for word in lines[-1].strip("|").split("|")), strict=True))
    assert measured["same predictions, %"] == "100.0" and measured["F"] == str(frozen)
    assert len(set(measured["accuracy, %, strong / ours"].split(" / "))) == 1


def test_shared_folds_find_the_scores_of_pipelines():
    classical = load("classical")
    lines = [line.strip("| ").split(" | ") for line in classical.table(n=80, genes=60).splitlines()]
    found = {words[0]: dict(zip(classical.HEAD, words, strict=True)) for words in lines[2:]}
    assert list(found) == [
        "linear SVM on all genes", "t-test and Gaussian SVM", "t-test and LASSO", "t-statistics alone"
    ]  # fmt: skip
    assert all(float(words["largest difference"]) < 1e-6 for words in found.values())
