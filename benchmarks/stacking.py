"""A training step of ten networks, one after the other and stacked in one tensor (``torch.baddbmm``), on one thread.

Run ``python benchmarks/stacking.py``: under a minute. It says what training networks of one shape and size together
would gain; ``RESULTS.md`` says why the study does not.
"""

import time

import torch
from torch import nn

NETWORKS, BATCH, STEPS, ROUNDS = 10, 32, 30, 3
SHAPES = {
    "default, sample space, n = 25": (25, 500, 200, 100, 50, 2),
    "default, sample space, n = 100": (100, 500, 200, 100, 50, 2),
    "default, sample space, n = 1,000": (1000, 500, 200, 100, 50, 2),
    "default, above one frozen layer": (500, 200, 100, 50, 2),
    "default, above two frozen layers": (200, 100, 50, 2),
    "64 wide, sample space, n = 100": (100, 64, 64, 64, 64, 2),
    "64 wide, sample space, n = 1,000": (1000, 64, 64, 64, 64, 2),
}


def loss(weights: list, biases: list, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Loss of one network, x [batch, n_inputs], or the sum of stacked ones, x [networks, batch, n_inputs]."""
    layer = torch.baddbmm if x.ndim == 3 else torch.addmm
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = layer(bias, x, weight)
        if i < len(weights) - 1:
            x = x.relu()
    return nn.functional.cross_entropy(x.reshape(-1, x.shape[-1]), y.flatten(), reduction="sum") / BATCH


def parameters(widths: tuple, stacked: bool) -> tuple[list, list]:
    """Draw weights and biases of one network or of all."""
    before = (NETWORKS,) if stacked else ()
    row = (1,) if stacked else ()
    weights = [0.05 * torch.randn(*before, a, b) for a, b in zip(widths, widths[1:], strict=False)]
    biases = [torch.zeros(*before, *row, b) for b in widths[1:]]
    return [w.requires_grad_() for w in weights], [b.requires_grad_() for b in biases]


def step(made: list) -> None:
    """Train every entry of (weights, biases, optimiser, x, y) by one step."""
    for weights, biases, optimiser, x, y in made:
        optimiser.zero_grad()
        loss(weights, biases, x, y).backward()
        optimiser.step()


def line(title: str, widths: tuple) -> str:
    """Time one shape both ways: a line of the table."""

    def prepared(stacked: bool) -> tuple:
        weights, biases = parameters(widths, stacked)
        optimiser = torch.optim.SGD([*weights, *biases], lr=0.01, momentum=0.9, fused=True)
        sizes = (NETWORKS, BATCH) if stacked else (BATCH,)
        return weights, biases, optimiser, torch.randn(*sizes, widths[0]), torch.arange(BATCH).expand(sizes) % 2

    ways = [[prepared(False) for _ in range(NETWORKS)], [prepared(True)]]
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for k, made in enumerate(ways):
            step(made)
            begun = time.perf_counter()
            for _ in range(STEPS):
                step(made)
            best[k] = min(best[k], (time.perf_counter() - begun) / STEPS)
    one, together = (1000 * seconds for seconds in best)
    return f"| {title} | {one:.2f} | {together:.2f} | {one / together:.1f} |"


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(f"## A step of {NETWORKS} networks, batches of {BATCH}\n")
    print("| network | one by one, ms | stacked, ms | ratio |\n| --- | --- | --- | --- |")
    for title, widths in SHAPES.items():
        print(line(title, widths), flush=True)


if __name__ == "__main__":
    main()
