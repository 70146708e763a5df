"""Networks: the multilayer perceptron of the study (article, "Deep neural network") and its autoencoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Layer(nn.Module):
    """One hidden layer: linear map, batch norm (optional), ReLU, dropout, skip connection (optional).

    The skip connection adds the layer's input to its output wherever both have the same width.
    """

    def __init__(self, n_in: int, n_out: int, batch_norm: bool, dropout: float, residual: bool):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.norm = nn.BatchNorm1d(n_out) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.residual = residual and n_in == n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map activations [batch, n_in] to [batch, n_out]."""
        a = self.dropout(torch.relu(self.norm(self.linear(x))))
        return x + a if self.residual else a


class MLP(nn.Module):
    """Multilayer perceptron: expression profile in, one logit a class out.

    Parameters
    ----------
    n_genes, n_classes : int
        Width of the input and of the output layer.
    hidden : sequence of int
        Widths of the hidden layers. The default is the one of a re-implementation by the article's
        laboratory; the article prints none.
    batch_norm : bool
        Batch normalisation before each ReLU.
    dropout : float
        Share of hidden neurons switched off in training.
    residual : bool
        Skip connections between hidden layers of equal width (article: networks of 10 to 20 layers).

    Notes
    -----
    Weights start from PyTorch's default (uniform, bound ``1 / sqrt(n_in)``). The softmax is part of the
    loss and of `gexlib.training.predict_proba`.
    """

    def __init__(
        self,
        n_genes: int,
        n_classes: int,
        hidden: Sequence[int] = (500, 200, 100, 50),
        batch_norm: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
    ):
        super().__init__()
        widths = [n_genes, *hidden]
        self.hidden = nn.ModuleList(
            Layer(n_in, n_out, batch_norm, dropout, residual)
            for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)
        )
        self.output = nn.Linear(widths[-1], n_classes)
        self.frozen = 0

    def forward(self, x: torch.Tensor, below: int = 0) -> torch.Tensor:
        """Map profiles [batch, n_genes] to logits [batch, n_classes]; or what `below` hidden layers made of them."""
        for layer in self.hidden[below:]:
            x = layer(x)
        return self.output(x)

    def trunk(self, x: torch.Tensor, layers: int) -> torch.Tensor:
        """Map profiles to what the first hidden layers make of them, [batch, n_neurons]."""
        for layer in self.hidden[:layers]:
            x = layer(x)
        return x

    def train(self, mode: bool = True) -> MLP:
        """Switch to training mode, but for the frozen layers: their batch-norm statistics stay."""
        super().train(mode)
        for layer in self.hidden[: self.frozen]:
            layer.eval()
        return self


class DenoisingAutoencoder(nn.Module):
    """Autoencoder that reconstructs samples from noisy copies of them (article, "Transfer learning", Fig. 11).

    Parameters
    ----------
    layers : sequence of Layer
        The encoder: hidden layers of an `MLP`, one after the other. They are not copied: training the
        autoencoder trains them.
    noise : float or tensor of shape (n_inputs,)
        Standard deviation of the Gaussian noise that training adds to the input.

    Notes
    -----
    The decoder mirrors the encoder's widths and what else its first layer has (batch norm, dropout, skip
    connections); its last layer is linear, since standardised genes have both signs. Weights are not tied.
    """

    def __init__(self, layers: Sequence[Layer], noise: float | torch.Tensor = 0.1):
        super().__init__()
        widths = [layers[0].linear.in_features, *(layer.linear.out_features for layer in layers)]
        batch_norm = isinstance(layers[0].norm, nn.BatchNorm1d)
        residual = any(layer.residual for layer in layers)
        self.encoder = nn.Sequential(*layers)
        self.decoder = MLP(
            widths[-1], widths[0], widths[-2:0:-1], batch_norm, getattr(layers[0].dropout, "p", 0.0), residual
        )
        self.decoder.to(layers[0].linear.weight)  # the encoder's number type and device
        self.register_buffer("noise", torch.as_tensor(noise).to(layers[0].linear.weight), persistent=False)

    def corrupt(self, x: torch.Tensor) -> torch.Tensor:
        """Return a noisy copy of samples [batch, n_inputs]."""
        return x + self.noise * torch.randn_like(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct samples [batch, n_inputs]; in training mode from noisy copies of them."""
        return self.decoder(self.encoder(self.corrupt(x) if self.training else x))
