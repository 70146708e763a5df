"""The benchmarks still find what they measure; how fast it is, no test says."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(table: str) -> list[dict[str, str]]:
    head, _, *lines = ([word.strip() for word in line.strip("|").split("|")] for line in table.splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


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
    (measured,) = cells_of(training.table(genes=300, cells=[(60, 4, frozen)], rounds=1))
    assert measured["same predictions, %"] == "100.0" and measured["F"] == str(frozen)
    assert len(set(measured["accuracy, %, strong / ours"].split(" / "))) == 1


def test_bf16_is_set_beside_float32():
    lines = cells_of(load("training").precision(genes=300, n=60, epochs=1, rounds=1))
    assert [line["optimiser"] for line in lines] == ["sgd", "rmsprop", "adam"]
    assert all(float(line["same predictions, %"]) > 90 for line in lines)


def test_the_growth_of_cost_is_measured_both_ways_and_drawn():
    growth = load("growth")
    rows = [growth.train(n, 2000, way) | {"gibibytes": growth.peak()} for n in (10, 40) for way in growth.WAYS]
    assert all(row["epochs_timed"] == growth.EPOCHS and row["seconds"] > 0 for row in rows)
    assert 0.1 < rows[0]["gibibytes"] < 8
    table = growth.beside(pd.DataFrame(rows))
    assert list(table["samples"]) == [10, 40] and (table["date"] > "2026").all()
    assert list(table["in sample space, s"]) == [rows[1]["seconds"], rows[3]["seconds"]]
    panels = growth.figure(pd.DataFrame(rows)).axes
    assert [axis.get_title(loc="left") for axis in panels] == [
        "Time, over all genes", "Time, in sample space", "Memory, over all genes", "Memory, in sample space"
    ]  # fmt: skip
    assert list(panels[1].lines[0].get_ydata()) == [rows[1]["seconds"], rows[3]["seconds"]]


def test_stacked_networks_have_the_loss_of_each():
    stacking = load("stacking")
    weights, biases = stacking.parameters((7, 5, 2), stacked=True)
    x, y = torch.randn(stacking.NETWORKS, stacking.BATCH, 7), torch.arange(stacking.BATCH) % 2
    together = stacking.loss(weights, biases, x, y.expand(stacking.NETWORKS, -1))
    one_by_one = sum(
        stacking.loss([w[i] for w in weights], [b[i, 0] for b in biases], x[i], y) for i in range(stacking.NETWORKS)
    )
    torch.testing.assert_close(together, one_by_one)


def test_shared_folds_find_the_scores_of_pipelines():
    classical = load("classical")
    lines = [line.strip("| ").split(" | ") for line in classical.table(n=80, genes=60).splitlines()]
    found = {words[0]: dict(zip(classical.HEAD, words, strict=True)) for words in lines[2:]}
    assert list(found) == [
        "linear SVM on all genes", "t-test and Gaussian SVM", "t-test and LASSO", "t-statistics alone"
    ]  # fmt: skip
    assert all(float(words["largest difference"]) < 1e-6 for words in found.values())


def test_store_and_runner_are_measured(capsys, monkeypatch):
    bench = load("store")
    monkeypatch.setattr(bench, "ENGINES", {})
    bench.of_store(40)
    bench.of_runner(40)
    said = capsys.readouterr().out
    assert "store, packed: where every cell stands (gexlib status)" in said and "this process" in said
