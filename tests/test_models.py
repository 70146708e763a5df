"""The network against formulas written out by hand, in double precision."""

import numpy as np
import pytest
import torch
from torch import nn

from gexlib.models import MLP, DenoisingAutoencoder, Layer


def network(*arguments, seed=0, **options):
    """Make a network in double precision whose batch-norm parts differ from their start."""
    torch.manual_seed(seed)
    model = MLP(*arguments, **options).double()
    for layer in model.hidden:
        if isinstance(layer.norm, nn.BatchNorm1d):
            for values in (layer.norm.weight.data, layer.norm.bias.data, layer.norm.running_mean):
                values.copy_(torch.randn_like(values))
            layer.norm.running_var.copy_(torch.rand_like(layer.norm.running_var) + 0.5)
    return model


def normalise(layer, a, mean, variance):
    scale = layer.norm.weight / torch.sqrt(variance + layer.norm.eps)
    return (a - mean) * scale + layer.norm.bias


@pytest.fixture
def x():
    return torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_plain_network_is_affine_maps_with_relu_between(x):
    model = network(6, 3, hidden=(5, 4))
    a = x
    for layer in model.hidden:
        a = torch.clamp(a @ layer.linear.weight.T + layer.linear.bias, min=0)
    expected = a @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert (expected < 0).any()  # logits: no ReLU and no softmax after the output layer


def test_batch_norm_lies_before_the_relu_and_uses_running_statistics_in_evaluation(x):
    model = network(6, 2, hidden=(5,), batch_norm=True).eval()
    (layer,) = model.hidden
    a = x @ layer.linear.weight.T + layer.linear.bias
    a = torch.clamp(normalise(layer, a, layer.norm.running_mean, layer.norm.running_var), min=0)
    expected = a @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_batch_norm_uses_and_remembers_the_batch_in_training(x):
    model = network(6, 2, hidden=(5,), batch_norm=True).train()
    (layer,) = model.hidden
    mean_before, variance_before = layer.norm.running_mean.clone(), layer.norm.running_var.clone()
    a = x @ layer.linear.weight.T + layer.linear.bias
    mean, variance = a.mean(dim=0), a.var(dim=0, unbiased=False)
    hidden = torch.clamp(normalise(layer, a, mean, variance), min=0)
    torch.testing.assert_close(model(x), hidden @ model.output.weight.T + model.output.bias)
    torch.testing.assert_close(layer.norm.running_mean, 0.9 * mean_before + 0.1 * mean)
    torch.testing.assert_close(layer.norm.running_var, 0.9 * variance_before + 0.1 * a.var(dim=0))


def test_dropout_follows_the_relu_and_rests_in_evaluation(x):
    model = network(6, 2, hidden=(50,), dropout=0.4)
    (layer,) = model.hidden
    a = torch.clamp(x @ layer.linear.weight.T + layer.linear.bias, min=0)
    torch.manual_seed(3)
    dropped = model.train().hidden[0](x)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], a[kept] / 0.6)  # what stays is scaled up
    share = 1 - kept[a > 0].double().mean().item()
    assert abs(share - 0.4) < 4 * np.sqrt(0.4 * 0.6 / int((a > 0).sum()))
    torch.testing.assert_close(model.eval().hidden[0](x), a)


def test_residual_adds_the_input_where_the_widths_are_equal(x):
    model = network(6, 2, hidden=(5, 5, 4, 4), residual=True)
    assert [layer.residual for layer in model.hidden] == [False, True, False, True]
    a = x
    for layer, skip in zip(model.hidden, (0, 1, 0, 1), strict=True):
        b = torch.clamp(a @ layer.linear.weight.T + layer.linear.bias, min=0)
        a = b + a if skip else b
    torch.testing.assert_close(model(x), a @ model.output.weight.T + model.output.bias)


def test_residual_is_off_by_default():
    assert not any(layer.residual for layer in MLP(5, 2, hidden=(5, 5)).hidden)


def test_default_architecture_has_no_batch_norm_and_no_dropout():
    model = MLP(7, 3)
    shapes = [tuple(p.shape) for p in model.parameters()]
    widths = [7, 500, 200, 100, 50, 3]
    expected = [
        shape for n_in, n_out in zip(widths[:-1], widths[1:], strict=True) for shape in ((n_out, n_in), (n_out,))
    ]
    assert shapes == expected
    assert not list(model.buffers())
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())


def test_initial_weights_are_uniform_within_one_over_root_of_the_inputs():
    torch.manual_seed(0)
    weights = MLP(400, 2, hidden=(300,)).hidden[0].linear.weight.detach() * np.sqrt(400)
    assert weights.abs().max() <= 1
    assert abs(weights.mean().item()) < 4 / np.sqrt(3 * weights.numel())
    assert weights.std().item() == pytest.approx(1 / np.sqrt(3), rel=0.01)


def test_network_without_hidden_layers_is_linear(x):
    model = network(6, 2, hidden=())
    torch.testing.assert_close(model(x), x @ model.output.weight.T + model.output.bias)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_training_mode_leaves_frozen_layers_in_evaluation(frozen, x):
    model = network(6, 2, hidden=(5, 4), batch_norm=True, dropout=0.5)
    model.frozen = frozen
    assert model.train() is model
    assert model.training
    for number, layer in enumerate(model.hidden):
        assert layer.norm.training == layer.dropout.training == (number >= frozen)
    before = [layer.norm.running_mean.clone() for layer in model.hidden]
    model(x)
    same = [torch.equal(a, layer.norm.running_mean) for a, layer in zip(before, model.hidden, strict=True)]
    assert same == [number < frozen for number in range(2)]
    model.eval()
    assert not any(module.training for module in model.modules())


def test_layer_has_no_skip_without_equal_widths():
    assert Layer(4, 4, False, 0.0, True).residual
    assert not Layer(4, 5, False, 0.0, True).residual


# ----------------------------------------------------------------------------------------- autoencoders


def test_autoencoder_reconstructs_by_its_encoder_and_a_mirrored_linear_ended_decoder(x):
    model = network(6, 2, hidden=(5, 4, 3))
    autoencoder = DenoisingAutoencoder(list(model.hidden), noise=0.3).eval()
    widths = [layer.linear.weight.shape for layer in autoencoder.decoder.hidden]
    assert [tuple(shape) for shape in [*widths, autoencoder.decoder.output.weight.shape]] == [(4, 3), (5, 4), (6, 5)]
    a = x
    for layer in [*model.hidden, *autoencoder.decoder.hidden]:
        a = torch.clamp(a @ layer.linear.weight.T + layer.linear.bias, min=0)
    last = autoencoder.decoder.output
    torch.testing.assert_close(autoencoder(x), a @ last.weight.T + last.bias, rtol=1e-12, atol=1e-12)
    assert (autoencoder(x) < 0).any()  # standardised genes have both signs: no ReLU at the end


def test_autoencoder_of_one_layer_has_one_linear_layer_as_decoder():
    model = network(6, 2, hidden=(5, 4))
    decoder = DenoisingAutoencoder([model.hidden[1]]).decoder
    assert not len(decoder.hidden) and tuple(decoder.output.weight.shape) == (5, 4)


def test_autoencoder_trains_the_layers_it_was_given_not_copies():
    model = network(6, 2, hidden=(5, 4))
    autoencoder = DenoisingAutoencoder(list(model.hidden))
    own = {id(p) for p in autoencoder.parameters()}
    assert {id(p) for p in model.hidden.parameters()} < own
    assert not {id(p) for p in model.output.parameters()} & own


def test_noise_has_each_input_s_own_spread_and_is_added_in_training_only(x):
    spread = torch.tensor([0.0, 0.1, 0.2, 0.5, 1.0, 3.0], dtype=torch.float64)
    autoencoder = DenoisingAutoencoder(list(network(6, 2, hidden=(5,)).hidden), spread)
    clean = torch.zeros(20000, 6, dtype=torch.float64)
    torch.manual_seed(0)
    noise = autoencoder.corrupt(clean)
    torch.testing.assert_close(noise.std(dim=0), spread, rtol=0.03, atol=0)
    assert (noise.mean(dim=0).abs() <= 4 * spread / np.sqrt(len(clean))).all()
    assert torch.equal(autoencoder.eval()(x), autoencoder(x))
    assert not torch.equal(autoencoder.train()(x), autoencoder(x))
    torch.manual_seed(1)
    said = autoencoder(x)
    torch.manual_seed(1)
    torch.testing.assert_close(autoencoder.eval()(autoencoder.corrupt(x)), said)


def test_decoder_has_the_batch_norm_dropout_and_skips_of_the_encoder():
    model = network(6, 2, hidden=(5, 5, 4), batch_norm=True, dropout=0.3, residual=True)
    decoder = DenoisingAutoencoder(list(model.hidden)).decoder
    assert [layer.residual for layer in decoder.hidden] == [False, True]
    assert all(isinstance(layer.norm, nn.BatchNorm1d) and layer.dropout.p == 0.3 for layer in decoder.hidden)
    assert next(decoder.parameters()).dtype == torch.float64
