"""Fine-tuning in sample space beside plain loops, at the article's width, one thread, the same batches.

Run ``python benchmarks/training.py`` (part of ``make bench``). A cell is what a transfer section runs: fine-tune a
source network on n samples, look at the validation loss every epoch, keep the best weights, predict the test samples.
Two loops stand beside it: one over indexed batches as it is commonly written, and the strongest that we could write by
hand (fused optimiser, validation samples as a tensor of their own, frozen layers without a gradient). Rounds are
interleaved and the best of them counts. What a fold forms once for all its cells, scalar products and first
projections, is timed apart.
"""

import argparse
import copy
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from gexlib import provenance
from gexlib.gram import Pool, pool_of
from gexlib.models import MLP
from gexlib.training import Training, batches, class_weights, predict_proba, seeded, validation_split
from gexlib.training import weighted_cross_entropy as loss_of
from gexlib.transfer import fine_tune, freeze, new_network

GENES, TEST = 54_675, 200
#: Target samples, epochs, frozen layers of the cells.
CELLS = ((100, 20, 0), (1000, 3, 0), (1000, 3, 1))


def data(n: int, genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n samples to train on, then `TEST` others, of two classes that differ in a tenth of the genes."""
    random = np.random.default_rng(0)
    y = np.arange(n + TEST) % 2
    X = random.standard_normal((n + TEST, genes), dtype=np.float32)
    X[:, : genes // 10] += 0.2 * (2 * y[:, None] - 1)
    return X, y


def loop(source: MLP, X: np.ndarray, y: np.ndarray, n: int, epochs: int, frozen: int, strong: bool) -> np.ndarray:
    """Fine-tune by hand and return the test samples' predicted classes."""
    model = freeze(copy.deepcopy(source), frozen)
    train, held = validation_split(y[:n], None, 0.2, 0)
    inputs, labels = torch.from_numpy(X[:n]), torch.from_numpy(y[:n])
    alpha = class_weights(y[train], 2).float()
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(moving if strong else model.parameters(), lr=0.01, momentum=0.9, fused=strong or None)
    validation = (inputs[held], labels[held]) if strong else None
    best = float("inf"), None
    with seeded(0):
        for _ in range(epochs):
            model.train()
            for batch in batches(len(train), 32):
                rows = torch.from_numpy(train)[batch]
                optimiser.zero_grad()
                loss_of(model(inputs[rows]), labels[rows], alpha).backward()
                optimiser.step()
            model.eval()
            with torch.no_grad():
                x, t = validation or (inputs[held], labels[held])
                current = loss_of(model(x), t, alpha).item()
            if current < best[0]:
                best = current, copy.deepcopy(model.state_dict())
    model.load_state_dict(best[1])
    return predict_proba(model, X[n:]).argmax(axis=1)


def cell(genes: int, n: int, epochs: int, frozen: int, rounds: int) -> list[str]:
    """Time one kind of cell three ways: a line of the table."""
    X, y = data(n, genes)
    source = new_network(genes, 2)
    begun = time.perf_counter()
    inside = Pool(X).enter(source)
    if not frozen:
        pool_of(inside).products(torch.arange(n))
    once = time.perf_counter() - begun
    training = Training(epochs=epochs, patience=epochs)

    def ours() -> np.ndarray:
        model, _ = fine_tune(inside, np.arange(n), y[:n], training, frozen)
        return predict_proba(model, np.arange(n, n + TEST)).argmax(axis=1)

    ways = {
        "common": lambda: loop(source, X, y, n, epochs, frozen, False),
        "strong": lambda: loop(source, X, y, n, epochs, frozen, True),
        "ours": ours,
    }
    best, found = dict.fromkeys(ways, float("inf")), {}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            found[name] = way()
            best[name] = min(best[name], time.perf_counter() - begun)
    agree = np.mean(found["ours"] == found["strong"])
    accuracy = [f"{100 * np.mean(found[name] == y[n:]):.1f}" for name in ("strong", "ours")]
    return [
        f"{n:,}", str(frozen), str(epochs), *(f"{best[name]:.2f}" for name in ways), f"{once:.2f}",
        f"{best['common'] / best['ours']:.1f}", f"{best['strong'] / best['ours']:.1f}", " / ".join(accuracy),
        f"{100 * agree:.1f}",
    ]  # fmt: skip


HEAD = (
    "n", "F", "epochs", "common loop, s", "strong loop, s", "sample space, s", "once a fold, s", "ratio",
    "ratio to strong", "accuracy, %, strong / ours", "same predictions, %",
)  # fmt: skip


def table(genes: int = GENES, cells=CELLS, rounds: int = 2) -> str:
    """Measure and set the table in Markdown."""
    lines = [list(HEAD), ["---"] * len(HEAD), *(cell(genes, *shape, rounds) for shape in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=GENES)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    host = provenance.host()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        print(f"## Fine-tuning at {given.genes:,} genes\n")
        print(table(given.genes, rounds=given.rounds))
    print(f"\n{host['cores']} cores, {host['memory_gib']:.0f} GiB; one thread; commit {provenance.commit()[0]}.")


if __name__ == "__main__":
    main()
