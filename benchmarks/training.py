"""Fine-tuning in sample space beside plain loops, at the article's width, one thread, the same batches.

Run ``python benchmarks/training.py`` (part of ``make bench``; ``--full`` for the cells and tables of ``RESULTS.md``). A
cell is what a transfer section runs: fine-tune a source network on n samples, look at the validation loss every epoch,
keep the best weights, predict the test samples. Two loops stand beside it: one over indexed batches as it is commonly
written, and the strongest that we could write by hand (fused optimiser, validation samples as a tensor of their own,
frozen layers without a gradient, freed memory kept for the next tensor, no denormal numbers). Rounds are interleaved
and the best of them counts. Ours comes twice: with the scalar products of a pool that all cells of a fold share, formed
before and timed apart, and with products of the cell's own, all set-up counted, as where the scaler is fitted on each
subset.
"""

import argparse
import copy
import time
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from gexlib import provenance
from gexlib.gram import Pool, pool_of
from gexlib.models import MLP
from gexlib.runner import keep_memory
from gexlib.training import (
    Training,
    batches,
    class_weights,
    fit,
    predict_proba,
    seeded,
    validation_split,
    without_denormals,
)
from gexlib.training import weighted_cross_entropy as loss_of
from gexlib.transfer import fine_tune, freeze, new_network

GENES, TEST = 54_675, 200
#: Target samples, epochs, frozen layers of the cells.
CELLS = ((100, 20, 0), (1000, 2, 0), (1000, 2, 1))
FULL = ((25, 100, 0), (100, 20, 0), (1000, 20, 0), (1000, 20, 1), (1000, 5, 2), (1000, 5, 4), (5000, 3, 0))


def data(n: int, genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n samples to train on, then `TEST` others, of two classes that differ in a tenth of the genes."""
    random = np.random.default_rng(0)
    y = np.arange(n + TEST) % 2
    X = random.standard_normal((n + TEST, genes), dtype=np.float32)
    X[:, : genes // 10] += 0.04 * (2 * y[:, None] - 1)
    return X, y


def loop(source: MLP, X: np.ndarray, y: np.ndarray, n: int, epochs: int, frozen: int, strong: bool) -> np.ndarray:
    """Fine-tune by hand and return the test samples' predicted classes."""
    model = freeze(copy.deepcopy(source), frozen)
    train, held = validation_split(y[:n], None, 0.2, 0) or (np.arange(n), None)
    inputs, labels = torch.from_numpy(X[:n]), torch.from_numpy(y[:n])
    alpha = class_weights(y[train], 2).float()
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(moving if strong else model.parameters(), lr=0.01, momentum=0.9, fused=strong or None)
    validation = (inputs[held], labels[held]) if strong and held is not None else None
    best = float("inf"), None
    with seeded(0), without_denormals() if strong else nullcontext():
        for _ in range(epochs):
            model.train()
            for batch in batches(len(train), 32):
                rows = torch.from_numpy(train)[batch]
                optimiser.zero_grad()
                loss_of(model(inputs[rows]), labels[rows], alpha).backward()
                optimiser.step()
            if held is None:
                continue
            model.eval()
            with torch.no_grad():
                x, t = validation or (inputs[held], labels[held])
                current = loss_of(model(x), t, alpha).item()
            if current < best[0]:
                best = current, copy.deepcopy(model.state_dict())
    if best[1]:
        model.load_state_dict(best[1])
    return predict_proba(model, X[n:]).argmax(axis=1)


def cell(genes: int, n: int, epochs: int, frozen: int, rounds: int) -> list[str]:
    """Time one kind of cell four ways: a line of the table."""
    X, y = data(n, genes)
    source = new_network(genes, 2)
    begun = time.perf_counter()
    inside = Pool(X).enter(source)
    if not frozen:
        pool_of(inside).products(torch.arange(n))
    once = time.perf_counter() - begun
    training = Training(epochs=epochs, patience=epochs, fixed_epochs=epochs)

    def ours(model: MLP, samples: np.ndarray) -> np.ndarray:
        tuned, _ = fine_tune(model, samples[:n], y[:n], training, frozen)
        return predict_proba(tuned, samples[n:]).argmax(axis=1)

    ways = {
        "common": lambda: loop(source, X, y, n, epochs, frozen, False),
        "strong": lambda: loop(source, X, y, n, epochs, frozen, True),
        "shared": lambda: ours(inside, np.arange(n + TEST)),
        "own": lambda: ours(source, X),
    }
    best, found = in_turn(ways, rounds)
    same = np.mean(found["shared"] == found["strong"])
    accuracy = [f"{100 * np.mean(found[name] == y[n:]):.1f}" for name in ("strong", "shared")]
    ratios = [best[slow] / best[fast] for fast in ("shared", "own") for slow in ("common", "strong")]
    return [
        f"{n:,}", str(frozen), str(epochs), *(f"{best[name]:.2f}" for name in ways), f"{once:.2f}",
        *(f"{ratio:.1f}" for ratio in ratios), " / ".join(accuracy), f"{100 * same:.1f}",
    ]  # fmt: skip


def in_turn(ways: dict, rounds: int) -> tuple[dict, dict]:
    """Run ways in turn: the best seconds of each, and what it found. All but the common way keep freed memory."""
    best, found = dict.fromkeys(ways, float("inf")), {}
    for _ in range(rounds):
        for name, way in ways.items():
            keep_memory(name != "common")
            begun = time.perf_counter()
            found[name] = way()
            best[name] = min(best[name], time.perf_counter() - begun)
    return best, found


HEAD = (
    "n", "F", "epochs", "common loop, s", "strong loop, s", "ours, products shared, s", "ours, products its own, s",
    "once a fold, s", "shared: ratio", "to strong", "own: ratio", "to strong", "accuracy, %, strong / ours",
    "same predictions, %",
)  # fmt: skip


def table(genes: int = GENES, cells=CELLS, rounds: int = 2) -> str:
    """Measure the cells and set the table in Markdown."""
    return markdown(HEAD, (cell(genes, *shape, rounds) for shape in cells))


def markdown(head: tuple, lines) -> str:
    """Set a table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def precision(genes: int = GENES, n: int = 1000, epochs: int = 3, rounds: int = 2) -> str:
    """Train a network from nothing in float32 and in bf16, with each optimiser over all genes."""
    X, y = data(n, genes)
    head = "optimiser", "float32, s", "bf16, s", "ratio", "accuracy, %, float32 / bf16", "same predictions, %"

    def trained(**options) -> np.ndarray:
        model = new_network(genes, 2)
        fit(model, X[:n], y[:n], Training(fixed_epochs=epochs, validation=0.0, **options), first_layer="plain")
        return predict_proba(model, X[n:]).argmax(axis=1)

    lines = []
    for optimiser, rate in (("sgd", 0.01), ("rmsprop", 0.0001), ("adam", 0.0001)):
        ways = {
            name: partial(trained, optimiser=optimiser, learning_rate=rate, precision=name)
            for name in ("float32", "bf16")
        }
        best, found = in_turn(ways, rounds)
        slow, fast = best.values()
        same = np.mean(found["float32"] == found["bf16"])
        accuracy = [f"{100 * np.mean(one == y[n:]):.1f}" for one in found.values()]
        words = f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.2f}", " / ".join(accuracy), f"{100 * same:.1f}"
        lines.append((optimiser, *words))
    return markdown(head, lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=GENES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="more cells, and bf16 beside float32: half an hour")
    given = parser.parse_args()
    host = provenance.host()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        print(f"## Fine-tuning at {given.genes:,} genes\n")
        print(table(given.genes, FULL if given.full else CELLS, given.rounds), flush=True)
        if given.full:
            print(f"\n## Precision, {given.genes:,} genes, 1,000 samples, 3 epochs\n")
            print(precision(given.genes))
    print(f"\n{host['cores']} cores, {host['memory_gib']:.0f} GiB; one thread; commit {provenance.commit()[0]}.")


if __name__ == "__main__":
    main()
