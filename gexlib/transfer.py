"""Transfer learning: pre-train on a source, freeze the first layers, fine-tune on the target.

Article, "Transfer learning" and Fig. 11: with labels (A), or without, by denoising autoencoders of the whole
encoder (B) or layer by layer (C). Unfrozen layers keep the source's weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import get_type_hints

import numpy as np
import torch

from gexlib.checks import check_types
from gexlib.errors import InputError
from gexlib.models import MLP, DenoisingAutoencoder, Layer
from gexlib.rehearsal import only_noted
from gexlib.training import (
    OPTIMISERS,
    Training,
    batches,
    fit,
    resolve_device,
    round_otherwise,
    seeded,
    validation_split,
    without_denormals,
)


def freeze(model: MLP, layers: int) -> MLP:
    """Fix the first `layers` hidden layers in place: weights, biases, batch-norm statistics and affine parts.

    The article freezes "weights"; that the rest stays too is our decision. Layers beyond are set free.
    """
    if not 0 <= layers <= len(model.hidden):
        raise InputError(f"frozen={layers}: the network has {len(model.hidden)} hidden layers to freeze.")
    model.frozen = layers
    for number, layer in enumerate(model.hidden):
        layer.requires_grad_(number >= layers)
    return model


def new_network(n_genes: int, n_classes: int, network: dict | None = None, seed: int = 0) -> MLP:
    """Draw a network's initial weights from a seed. `network` holds further arguments of `MLP`."""
    network = network or {}
    hints = get_type_hints(MLP.__init__)
    check_types({name: hints[name] for name in hints if name not in ("n_genes", "n_classes")}, network, "network")
    with seeded(seed):
        try:
            hidden = network.get("hidden", (1,))
            if not len(hidden) or min(hidden) < 1:
                raise ValueError("hidden needs at least one layer, each of 1 or more neurons")
            return MLP(n_genes, n_classes, **network)
        except (ValueError, RuntimeError) as error:  # as PyTorch refuses a width or a share of dropout
            raise InputError(f"network={network}: {error}.") from None


def train_network(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    training: Training = Training(),
    network: dict | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str | None = None,
) -> tuple[MLP, list[dict]]:
    """Train a network from scratch: the source model of supervised transfer, and the baseline.

    Returns the network and its history (see `gexlib.training.fit`).
    """
    model = new_network(X.shape[1], n_classes, network, seed)
    return model, fit(model, X, y, training, groups, seed, device)


def fine_tune(
    source: MLP,
    X: np.ndarray,
    y: np.ndarray,
    training: Training = Training(),
    frozen: int = 0,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str | None = None,
) -> tuple[MLP, list[dict]]:
    """Train a copy of `source` on the target's samples with its first `frozen` layers fixed.

    Parameters
    ----------
    source : MLP
        Left unchanged. Its classes are the target's.
    X, y, groups
        The target's samples, scaled like the source's; row numbers where the source network is inside a pool (see
        `gexlib.training.fit`). Class weights come from these y.
    frozen : int
        F of the article: 0 is pre-training, every layer is trained again.

    Returns
    -------
    (MLP, list of dict)
        The fine-tuned network and its history.
    """
    if np.ndim(X) == 2 and X.shape[1] != source.hidden[0].linear.in_features:
        raise InputError(
            f"the target has {X.shape[1]} genes, the source network {source.hidden[0].linear.in_features}: "
            "both need the same genes in the same order."
        )
    model = freeze(copy.deepcopy(source), frozen)
    return model, fit(model, X, y, training, groups, seed, device)


@dataclass(frozen=True)
class Denoising:
    """How hidden layers are pre-trained without labels. Every value is an assumption of ours unless marked *article*.

    Attributes
    ----------
    scheme : {"layers", "whole"}
        Article, Fig. 11C and B: each hidden layer in turn on the output of those below, which stay fixed; or
        all of them at once, with a decoder of mirrored widths.
    noise : float
        Standard deviation of the Gaussian noise (*article*), in units of each input's own over the samples.
    loss : {"squared", "norm"}
        Squared error, or the Euclidean norm of a sample's error, which the article prints.
    optimiser, learning_rate, momentum, batch_size
        As in `gexlib.training.Training`. Chosen once on the simulated demo cohorts
        (``benchmarks/denoising.py``): the validation loss falls in every stage and few epochs suffice.
    epochs : int
        The most, in each stage (a layer, or the whole).
    patience : int
        Epochs without a lower validation loss before a stage ends and its best weights are restored.
    validation : float
        Share of the samples held out, by patient. Where none can be (fewer than 40 samples) the training loss
        takes the place of the validation loss.
    """

    scheme: str = "layers"
    noise: float = 0.1
    loss: str = "squared"
    optimiser: str = "adam"
    learning_rate: float = 0.001
    momentum: float = 0.9
    batch_size: int = 64
    epochs: int = 30
    patience: int = 3
    validation: float = 0.1

    def __post_init__(self):
        """Refuse values that no autoencoder can use."""
        for name, allowed in (("scheme", SCHEMES), ("loss", LOSSES), ("optimiser", OPTIMISERS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} '{getattr(self, name)}' is not known: use one of {', '.join(allowed)}.")
        for name in ("learning_rate", "batch_size", "epochs"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be greater than 0.")
        if not self.noise >= 0:
            raise InputError(f"noise is {self.noise}: a standard deviation is 0 or more.")
        if not 0 <= self.validation < 1:
            raise InputError(f"validation is {self.validation}: it must be a share from 0 to below 1.")


SCHEMES = ("layers", "whole")
#: Mean over samples of each loss, for errors [B, n_inputs] and the inputs' total variance.
LOSSES = {
    "squared": lambda error, variance: error.square().sum(dim=1).mean() / variance,
    "norm": lambda error, variance: torch.linalg.vector_norm(error, dim=1).mean() / variance.sqrt(),
}


def pretrain_denoising(
    model: MLP,
    X: np.ndarray,
    denoising: Denoising = Denoising(),
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str | None = None,
) -> tuple[MLP, list[dict]]:
    """Pre-train a network's hidden layers on unlabelled samples by denoising autoencoders.

    Parameters
    ----------
    model : MLP
        Left unchanged.
    X : array of float, shape (n_samples, n_genes)
        Standardised on these samples by the caller. What a hidden layer reads is not standardised again: the
        layer later reads the same. Its noise is in units of its inputs' standard deviations instead.
    denoising : Denoising
        Scheme, noise, loss, optimiser and stopping rule.
    groups : array, shape (n_samples,), optional
        Patients: the validation set shares none with the samples trained on.
    seed : int
        Of the validation split, the decoders, the batches, the noise and dropout.

    Returns
    -------
    model : MLP
        A copy with trained hidden layers; the output layer is as it was given.
    history : list of dict
        One entry an epoch of a stage, epoch 0 before any step: ``layer`` (from 1; 0 for the whole),
        ``epoch``, ``loss``, ``validation_loss`` where samples are held out, and ``best``, true up to the epoch
        whose weights were kept. Losses are divided by the total variance of the stage's input ("norm": by its
        root): a squared loss of 1 is what predicting every input's mean would give.

    Notes
    -----
    The article's loss is a sum over samples; ours is a mean, which the learning rate absorbs.
    """
    if not len(model.hidden):
        raise InputError("the network has no hidden layer: there is nothing to pre-train; give it one or more.")
    if X.shape[1] != model.hidden[0].linear.in_features:
        raise InputError(
            f"the unlabelled samples have {X.shape[1]} genes, the network {model.hidden[0].linear.in_features}: "
            "both need the same genes in the same order."
        )
    split = validation_split(np.zeros(len(X), int), groups, denoising.validation, seed)
    widths = [layer.linear.out_features for layer in model.hidden]
    if only_noted("autoencoder", n=len(X if split is None else split[0]), widths=widths, training=denoising):
        return copy.deepcopy(model), [{"layer": 0, "epoch": 0, "loss": float("nan"), "best": True}]
    model = copy.deepcopy(model).to(resolve_device(device))
    weight = model.hidden[0].linear.weight
    inputs = [torch.as_tensor(np.ascontiguousarray(X[rows])).to(weight) for rows in split or [slice(None)]]
    whole = denoising.scheme == "whole"
    history = []
    with seeded(seed), without_denormals():
        for number, layers in enumerate([model.hidden] if whole else [[layer] for layer in model.hidden], 1):
            stage = 0 if whole else number
            history += [{"layer": stage, **entry} for entry in _fit_autoencoder(list(layers), inputs, denoising)]
            if not whole:
                with torch.no_grad():
                    inputs = [layers[0](x) for x in inputs]
    return model.eval(), history


def _fit_autoencoder(layers: list[Layer], inputs: list[torch.Tensor], d: Denoising) -> list[dict]:
    """Train hidden layers in place on `inputs`: samples to train on and, where there are any, samples held out."""
    x = inputs[0]
    autoencoder = DenoisingAutoencoder(layers, d.noise * x.std(dim=0, correction=0))
    round_otherwise(autoencoder.parameters())
    optimiser = OPTIMISERS[d.optimiser](autoencoder.parameters(), d)
    variance = x.var(dim=0, correction=0).sum()
    variance = torch.where(variance > 0, variance, 1)  # 0 where all units below are silent
    noisy = [autoencoder.corrupt(part) for part in inputs]  # one draw for all epochs, so that they compare
    name = "validation_loss" if len(inputs) > 1 else "loss"

    def evaluated(part: int) -> float:
        autoencoder.eval()
        with torch.no_grad():
            return LOSSES[d.loss](autoencoder(noisy[part]) - inputs[part], variance).item()

    history = [{"epoch": 0, "loss": evaluated(0), name: evaluated(-1)}]
    best = (history[0][name], 0, copy.deepcopy(autoencoder.state_dict()))
    for epoch in range(1, d.epochs + 1):
        autoencoder.train()
        total = 0.0
        for batch in batches(len(x), d.batch_size):
            clean = x[batch.to(x.device)]
            loss = LOSSES[d.loss](autoencoder(clean) - clean, variance)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        history.append({"epoch": epoch, "loss": total / len(x), name: evaluated(-1)})
        current = history[-1][name]
        if current < best[0]:
            best = (current, epoch, copy.deepcopy(autoencoder.state_dict()))
        elif epoch - best[1] > d.patience or not np.isfinite(current):
            break
    autoencoder.load_state_dict(best[2])
    autoencoder.eval()
    return [{**entry, "best": entry["epoch"] <= best[1]} for entry in history]
