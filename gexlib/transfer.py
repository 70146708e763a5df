"""Transfer learning: pre-train on a source, freeze the first layers, fine-tune on the target.

Article, "Transfer learning" and Fig. 11A. Unfrozen layers keep the source's weights.
"""

from __future__ import annotations

import copy

import numpy as np

from gexlib.errors import InputError
from gexlib.models import MLP
from gexlib.training import Training, fit, seeded


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
    with seeded(seed):
        try:
            return MLP(n_genes, n_classes, **(network or {}))
        except (TypeError, ValueError, RuntimeError) as error:  # as PyTorch refuses a width or a share of dropout
            raise InputError(f"network={network}: {error}.") from None


def train_network(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    training: Training = Training(),
    network: dict | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
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
    device: str = "cpu",
) -> tuple[MLP, list[dict]]:
    """Train a copy of `source` on the target's samples with its first `frozen` layers fixed.

    Parameters
    ----------
    source : MLP
        Left unchanged. Its classes are the target's.
    X, y, groups
        The target's samples, scaled like the source's. Class weights come from these y.
    frozen : int
        F of the article: 0 is pre-training, every layer is trained again.

    Returns
    -------
    (MLP, list of dict)
        The fine-tuned network and its history.
    """
    if X.shape[1] != source.hidden[0].linear.in_features:
        raise InputError(
            f"the target has {X.shape[1]} genes, the source network {source.hidden[0].linear.in_features}: "
            "both need the same genes in the same order."
        )
    model = freeze(copy.deepcopy(source), frozen)
    return model, fit(model, X, y, training, groups, seed, device)
