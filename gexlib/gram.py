"""The first layer in sample space: the same training of a network, at a fraction of the work.

A cohort has many genes and few samples: a first layer of 500 neurons on 54,675 genes has 27 million weights, and a
training step moves them all. But SGD moves them only along the training samples it has seen. With X [n, p] the
training matrix and W0 [h, p] the initial weights, the weights after any number of steps are

    W = c W0 + A^T X,        A [n, h] and a number c.

So A and c can be trained in place of W. With the scalar products K = X' X^T and the first projections
Z0 = X' W0^T of all samples X' of interest, each formed once, what the layer hands on is

    x' W^T + b = c Z0[x'] + K[x'] A + b,

and the loss L has dL/dW = (dL/dz)^T X: in the new coordinates it is dL/dz, at the rows of the batch, for A and 0 for
c. Momentum, Nesterov, dampening, weight decay and schedules of the learning rate are linear in weights and
gradients, so that an unmodified ``torch.optim.SGD`` on (A, c) does to W what it would have done on W itself. Not so
Adam and RMSprop, which divide by each weight's own gradients, nor an L1 penalty: see `why_not`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gexlib.checks import PLAIN, plain_steps
from gexlib.errors import InputError
from gexlib.models import MLP

if TYPE_CHECKING:
    from gexlib.training import Training

BLOCK = 8192  # genes whose products are formed at a time
STRIP = 1024  # samples whose products with those before them are formed at a time


class Pool:
    """Samples that networks are trained on or asked about, with their scalar products.

    Products are formed when a network first trains on a sample and kept for all networks of the pool. A pool is for
    one thread: processes have pools of their own.

    Parameters
    ----------
    X : array, shape (n_samples, n_genes)
        Scaled as the networks want them. Must not change while the pool is in use.
    dtype : torch.dtype
        Of the networks, float32 or float64.
    device : str or torch.device
        Where the networks are trained.
    """

    def __init__(self, X: np.ndarray, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"):
        self.X = torch.as_tensor(np.require(X, requirements=["C", "W"])).to(dtype)  # copied only where it must be
        self.device = torch.device(device)
        self.column = torch.full((len(X),), -1)  # of each sample in `_products`, where it has one
        self._products = torch.empty((len(X), 0), dtype=dtype, device=self.device)

    def products(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the products of all samples with some, shape (n_samples, n_rows)."""
        new = rows[self.column[rows] < 0].unique()
        if len(new):
            self.column[new] = self._products.shape[1] + torch.arange(len(new))
            self._products = torch.cat([self._products, products(self.X, new, self.device).to(self._products)], dim=1)
        return self._products[:, self.column[rows].to(self.device)]

    def enter(self, model: MLP) -> MLP:
        """Return a copy of a network that takes rows of the pool, by number, in place of profiles.

        Raises
        ------
        InputError
            The network is in a pool already, or does not take these samples.
        """
        first = model.hidden[0].linear if len(model.hidden) else model.output
        if isinstance(first, SampleSpace):
            raise InputError("the network is in a pool already: let `over_genes` of it enter.")
        if reason := why_never(model):
            raise InputError(f"the network cannot enter a pool: {reason}.")
        if first.in_features != self.X.shape[1] or first.weight.dtype != self.X.dtype:
            raise InputError(
                f"the network takes {first.in_features} genes in {first.weight.dtype}, the pool has {self.X.shape[1]} "
                f"in {self.X.dtype}: both need the same."
            )
        inside = copy.deepcopy(model, {id(first): SampleSpace(Start(self, first))})
        return inside.to(self.device)


def gram(X: torch.Tensor, Y: torch.Tensor, device: str | torch.device = "cpu") -> torch.Tensor:
    """Scalar products of X [m, n_genes] and Y [n, n_genes] on a device, added up in float64 block by block of genes."""
    total = torch.zeros((len(X), len(Y)), dtype=torch.float64, device=device)
    for x, y in zip(X.split(BLOCK, dim=1), Y.split(BLOCK, dim=1), strict=True):
        total += x.to(device) @ y.to(device).T
    return total


def products(X: torch.Tensor, rows: torch.Tensor, device: str | torch.device = "cpu") -> torch.Tensor:
    """Scalar products of all samples with some, as `gram` (X, X[rows]); of pairs among many of the latter each once."""
    if 2 * len(rows) < len(X):
        return gram(X, X[rows], device)
    others = torch.full((len(X),), True).index_fill_(0, rows, False).nonzero()[:, 0]
    own, beside = (torch.zeros((n, len(rows)), dtype=torch.float64, device=device) for n in (len(rows), len(others)))
    strips = [slice(low, min(low + STRIP, len(rows))) for low in range(0, len(rows), STRIP)]
    for block in X.split(BLOCK, dim=1):
        y = block[rows].to(device)
        for strip in strips:
            own[strip, : strip.stop] += y[strip] @ y[: strip.stop].T
        beside += block[others].to(device) @ y.T
    for strip in strips:
        own[: strip.start, strip] = own[strip, : strip.start].T
    total = own.new_empty((len(X), len(rows)))
    total[rows], total[others] = own, beside
    return total


class Start:
    """Where the training of a first layer starts in a pool; what the copies of a network have in common."""

    def __init__(self, pool: Pool, first: nn.Linear):
        self.pool, self.first, self.version = pool, first, first.weight._version
        with torch.no_grad():
            self.projections = gram(pool.X, first.weight, pool.device).to(first.weight.dtype)

    def __deepcopy__(self, memo: dict) -> Start:
        """Not copied: neither products nor weights change in training."""
        return self

    def __reduce__(self):
        """Refuse to be saved: with the samples, and without what a network outside needs."""
        raise InputError("a network inside a pool cannot be saved: save `over_genes` of it.")


class SampleSpace(nn.Module):
    """A first layer in the coordinates of this module's head: takes row numbers [batch], gives [batch, n_neurons].

    `coefficients` [n, n_neurons] are A and `share` [1, 1] is c; both belong into the optimiser's group with weight
    decay. Before `span` names the samples to train on there are no coefficients: the layer is the one it started from.
    """

    def __init__(self, start: Start):
        super().__init__()
        first = start.first
        self.start, self.in_features, self.out_features = start, first.in_features, first.out_features
        self.share = nn.Parameter(first.weight.new_ones(1, 1, device=start.pool.device))
        self.bias = nn.Parameter(first.bias.detach().clone().to(start.pool.device))
        self.coefficients = nn.Parameter(first.weight.new_zeros(0, self.out_features, device=start.pool.device))
        self.requires_grad_(first.weight.requires_grad)
        self.rows = torch.arange(0)
        self.columns = start.projections.new_zeros(len(start.projections), 0)
        self.row_of = torch.full(
            (len(start.projections),), -1, device=start.pool.device
        )  # of a sample in the coefficients

    def span(self, rows: np.ndarray) -> None:
        """Train on these rows of the pool, from the start.

        Raises
        ------
        InputError
            The layer was trained before, so that this is not where it stands.
        """
        if len(self.rows):
            raise InputError("the network was trained inside its pool: let `over_genes` of it enter to train it again.")
        self.rows = torch.as_tensor(rows)
        self.columns = self.start.pool.products(self.rows)
        self.row_of[self.rows.to(self.row_of.device)] = torch.arange(len(rows), device=self.row_of.device)
        self.coefficients = nn.Parameter(
            self.coefficients.new_zeros(len(rows), self.out_features), requires_grad=self.share.requires_grad
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Map row numbers of the pool to what the layer hands on."""
        start = self.start.projections[rows]
        return _Step.apply(self.coefficients, self.share, start, self.columns[rows], self.row_of[rows]) + self.bias

    def weight(self) -> torch.Tensor:
        """Weights [n_neurons, n_genes] over all genes: ``c W0 + A^T X``."""
        first = self.start.first.weight
        if first._version != self.start.version:
            raise InputError("the network that entered the pool was changed meanwhile: let a copy of it enter.")
        with torch.no_grad():
            X = self.start.pool.X[self.rows].to(self.share.device)
            return torch.addmm(self.share * first.to(self.share.device), self.coefficients.T, X)


class _Step(torch.autograd.Function):
    """``c Z0 + K A``, and the gradient of the weights in these coordinates, which is not that of A and c."""

    @staticmethod
    def forward(ctx, coefficients, share, start, products, rows):
        ctx.save_for_backward(rows)
        ctx.samples = len(coefficients)
        return torch.addmm(share * start, products, coefficients)

    @staticmethod
    def backward(ctx, gradient):
        (rows,) = ctx.saved_tensors
        moved = gradient.new_zeros(ctx.samples, gradient.shape[1]).index_add_(0, rows, gradient)
        return moved, gradient.new_zeros(1, 1), None, None, None  # the loss has no gradient along W0


def pool_of(model: MLP) -> Pool | None:
    """Return the pool that a network is inside of, if any."""
    first = model.hidden[0].linear if len(model.hidden) else None
    return first.start.pool if isinstance(first, SampleSpace) else None


def over_genes(model: MLP) -> MLP:
    """Return a copy of a network that takes profiles: out of its pool, to be saved or for other samples."""
    if not pool_of(model):
        return copy.deepcopy(model)
    inside = model.hidden[0].linear
    linear = copy.deepcopy(inside.start.first).to(inside.bias.device)
    with torch.no_grad():
        linear.weight.copy_(inside.weight())
        linear.bias.copy_(inside.bias)
    linear.requires_grad_(inside.bias.requires_grad)
    return copy.deepcopy(model, {id(inside): linear})


@contextmanager
def sample_space(model: MLP, X: np.ndarray, device: str | torch.device = "cpu") -> Iterator[np.ndarray]:
    """Inside the block a network's first layer is in sample space and takes rows of X; after it, over all genes.

    Gives the numbers of all rows.
    """
    layer = model.hidden[0]
    first = layer.linear
    layer.linear = inside = SampleSpace(Start(Pool(X, first.weight.dtype, device), first))
    try:
        yield np.arange(len(X))
    finally:
        layer.linear = first
        with torch.no_grad():
            weight = inside.weight()
            first.weight.copy_(weight)
            first.bias.copy_(inside.bias)


def why_never(model: MLP) -> str | None:
    """Why a network's first layer has no form in sample space, however it is trained; None: it has."""
    if not len(model.hidden):
        return "the network has no hidden layer"
    if model.hidden[0].residual:
        return "the first layer has a skip connection, which takes the profile itself"
    if next(model.parameters()).dtype not in (torch.float32, torch.float64):
        return "its numbers have fewer than 32 bits"
    return None


def why_not(model: MLP, training: Training) -> str | None:
    """Why a network's first layer is not to be trained in sample space; None: it can be, with the same result."""
    if plain_steps():
        return f"as {PLAIN} asks"
    if reason := why_never(model):
        return reason
    if model.frozen or not all(p.requires_grad for p in model.hidden[0].linear.parameters()):
        return "the first layer is frozen"
    if training.optimiser != "sgd":
        return f"{training.optimiser} divides by each weight's own gradients"
    if training.l1:
        return "an L1 penalty takes each weight's sign"
    if training.precision != "float32":
        return f"{training.precision} would round products of samples"
    return None


def pays(n: int, genes: int, neurons: int, epochs: int) -> bool:
    """Whether the sample space is faster for n samples and a first layer of so many neurons, its set-up counted.

    Products and projections cost about ``n^2 p + 4 n p h`` operations, an epoch saves about ``4 n h (p - n)``.
    """
    return n / (4 * neurons) + 1 < epochs * (1 - n / genes)
