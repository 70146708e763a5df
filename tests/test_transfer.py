"""Freezing, fine-tuning, and what transfer must do where the answer is known."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from gexlib import transfer
from gexlib.errors import InputError
from gexlib.models import MLP
from gexlib.training import Training, fit, predict_proba, seeded, validation_split
from gexlib.transfer import Denoising, fine_tune, freeze, new_network, pretrain_denoising, train_network

GENES = 40


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(n=60, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, GENES))
    return X, (X[:, :4].sum(axis=1) > 0).astype(int)


@pytest.fixture
def source():
    """Return a trained source of three hidden layers with batch norm."""
    model, _ = train_network(
        *data(80, 1), 2, Training(epochs=3, fixed_epochs=3), {"hidden": (8, 6, 5), "batch_norm": True}
    )
    return model


def changed(before, after, part):
    """Names of the entries of a part of two networks that differ."""
    old, new = (model.get_submodule(part).state_dict() for model in (before, after))
    return {name for name in old if not torch.equal(old[name], new[name])}


# ------------------------------------------------------------------------------------------- freezing


@pytest.mark.parametrize("frozen", range(4))
def test_freeze_fixes_the_first_layers_and_frees_the_rest(frozen):
    model = MLP(GENES, 2, hidden=(8, 6, 5), batch_norm=True)
    freeze(model, 3)
    assert freeze(model, frozen) is model
    assert model.frozen == frozen
    for number, layer in enumerate(model.hidden):
        assert {p.requires_grad for p in layer.parameters()} == {number >= frozen}
    assert all(p.requires_grad for p in model.output.parameters())


@pytest.mark.parametrize("frozen", [-1, 4])
def test_freeze_refuses_layers_that_are_not_there(frozen, source):
    with pytest.raises(InputError, match=f"frozen={frozen}: the network has 3 hidden layers"):
        freeze(MLP(GENES, 2, hidden=(8, 6, 5)), frozen)
    with pytest.raises(InputError, match=f"frozen={frozen}"):
        fine_tune(source, *data(), Training(fixed_epochs=1), frozen)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("n", [30, 60], ids=["fixed epochs", "early stopping"])
@pytest.mark.parametrize("frozen", range(4))
def test_frozen_layers_keep_all_they_hold_and_the_others_learn(frozen, n, optimiser, source):
    training = Training(optimiser, epochs=3, fixed_epochs=3, l1=1e-4, l2=1e-2)
    tuned, _ = fine_tune(source, *data(n), training, frozen)
    for number in range(frozen):
        assert changed(source, tuned, f"hidden.{number}") == set()
    for number in range(frozen, 3):  # linear.bias has no effect below a batch norm
        assert changed(source, tuned, f"hidden.{number}") - {"linear.bias"} == {
            "linear.weight",
            "norm.weight",
            "norm.bias",
            "norm.running_mean",
            "norm.running_var",
            "norm.num_batches_tracked",
        }
    assert changed(source, tuned, "output") == {"weight", "bias"}


def test_source_is_left_as_it_was(source):
    before = copy.deepcopy(source)
    tuned, _ = fine_tune(source, *data(), Training(epochs=2), 2)
    assert not changed(before, source, "")
    assert all(p.requires_grad for p in source.parameters())
    assert source.frozen == 0
    assert not {p.data_ptr() for p in source.parameters()} & {p.data_ptr() for p in tuned.parameters()}
    again, _ = fine_tune(source, *data(), Training(epochs=2), 2)
    assert not changed(tuned, again, "")


def test_source_that_was_itself_fine_tuned_can_be_set_free(source):
    """A first transfer with frozen layers does not bind a second one."""
    first, _ = fine_tune(source, *data(), Training(epochs=2), 3)
    second, _ = fine_tune(first, *data(seed=3), Training(epochs=2), 0)
    assert "linear.weight" in changed(first, second, "hidden.0")


# ---------------------------------------------------------------------------------------- fine-tuning


def test_fine_tuning_goes_on_from_the_weights_of_the_source(source):
    X, y = data()
    by_hand = copy.deepcopy(source)
    expected = fit(by_hand, X, y, Training(epochs=4), seed=5)
    tuned, history = fine_tune(source, X, y, Training(epochs=4), 0, seed=5)
    assert history == expected
    assert not changed(by_hand, tuned, "")


def test_class_weights_are_those_of_the_target_samples(source):
    """Of 30 samples with 5 of a class; the source saw as many of both."""
    X, _ = data(30)
    y = np.repeat([0, 1], [25, 5])
    alpha = torch.tensor([30 / 50, 30 / 10])
    tuned, _ = fine_tune(source, X, y, Training(fixed_epochs=3), 0)
    other = copy.deepcopy(source)
    fit(other, X, y, Training(fixed_epochs=3, class_weight="none"), alpha=alpha)
    assert not changed(tuned, other, "")
    unweighted, _ = fine_tune(source, X, y, Training(fixed_epochs=3, class_weight="none"), 0)
    assert changed(tuned, unweighted, "output")


def test_all_layers_frozen_is_a_linear_classifier_on_the_features_of_the_source():
    X, y = (values[:37] for values in data())
    with seeded(0):
        source = MLP(GENES, 2, hidden=(8, 6)).double()
    training = Training(fixed_epochs=10, learning_rate=0.05, batch_size=8, l1=1e-3, l2=1e-2)
    tuned, history = fine_tune(source, X, y, training, 2, seed=4)
    with torch.no_grad():
        features = nn.Sequential(*source.hidden)(torch.tensor(X)).numpy()
    head = MLP(6, 2, hidden=()).double()
    head.output.load_state_dict(source.output.state_dict())
    # penalties are on trained weights alone, else the frozen ones would add to the loss
    expected = fit(head, features, y, training, seed=4)
    np.testing.assert_allclose([e["loss"] for e in history], [e["loss"] for e in expected], rtol=1e-10)
    np.testing.assert_allclose(predict_proba(tuned, X), predict_proba(head, features), rtol=1e-10)


def test_groups_reach_early_stopping(source):
    X, y = data()
    alone = fine_tune(source, X, y, Training(epochs=2), seed=1)[1]
    paired = fine_tune(source, X, y, Training(epochs=2), groups=np.repeat(np.arange(30), 2), seed=1)[1]
    assert alone != paired
    of_one_patient = train_network(X, y, 2, Training(fixed_epochs=2), groups=np.zeros(60))[1]
    assert set(of_one_patient[0]) == {"epoch", "loss", "first_layer"}  # no validation set could be formed


def test_target_needs_the_genes_of_the_source(source):
    with pytest.raises(InputError, match=f"the target has 39 genes, the source network {GENES}"):
        fine_tune(source, data()[0][:, 1:], data()[1])


# ---------------------------------------------------------------------------------------- new networks


def test_a_seed_fixes_the_initial_weights_and_leaves_the_caller_alone():
    before = torch.get_rng_state()
    first, same, other = (new_network(GENES, 2, {"hidden": (5,)}, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert not changed(first, same, "")
    assert "linear.weight" in changed(first, other, "hidden.0")


def test_training_from_scratch_is_a_new_network_and_fit():
    X, y = data()
    by_hand = new_network(GENES, 2, {"hidden": (5,)}, 3)
    expected = fit(by_hand, X, y, Training(epochs=3), seed=3)
    model, history = train_network(X, y, 2, Training(epochs=3), {"hidden": (5,)}, seed=3)
    assert history == expected
    assert not changed(by_hand, model, "")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"hid_den": (5,)}, "hid_den"),
        ({"hidden": []}, "at least one layer"),
        ({"hidden": [8, 0]}, "1 or more neurons"),
        ({"hidden": 5}, "network: parameter hidden=5 should be a list of whole numbers"),
        ({"layers": 3}, "network: parameter 'layers' is not known; it takes hidden, batch_norm, dropout, residual."),
        ({"n_genes": 3}, "'n_genes' is not known"),
        ({"hidden:[3]": None}, "put a space after each colon"),
        ({"batch_norm": "maybe"}, "batch_norm='maybe' should be true or false"),
        ({"residual": 1}, "residual=1 should be true or false"),
        ({"hidden": [2.5]}, "should be a list of whole numbers"),
        ({"dropout": 2}, "dropout"),
    ],
)
def test_a_network_that_cannot_be_is_a_sentence(network, words):
    with pytest.raises(InputError, match=words):
        new_network(GENES, 2, network)


# --------------------------------------------------------------------------------------- known answers
#
# Status is the sign of a weighted sum of genes. The source follows the target's weights ("shared"), weights
# at a right angle to them ("unrelated"), or has cancer and normal exchanged ("flipped"). Each gain is the
# mean over three seeds of accuracy(fine-tuned) - accuracy(baseline) on 500 samples; over other seeds
# means of three lie within about 0.04 of what the comments say.

NETWORK = {"hidden": (20, 10)}
TRAINING = Training(learning_rate=0.02)


def draw(weights, n, random):
    X = random.normal(size=(n, GENES)).astype(np.float32)
    return X, (X @ weights + 0.3 * random.normal(size=n) > 0).astype(int)


def accuracy(model, X, y):
    return (predict_proba(model, X).argmax(axis=1) == y).mean()


@cache
def source_network(kind, seed):
    weights = np.linalg.qr(np.random.default_rng(seed).normal(size=(GENES, 2)))[0].T
    X, y = draw(weights[int(kind == "unrelated")], 400, np.random.default_rng([seed, 1]))
    return train_network(X, 1 - y if kind == "flipped" else y, 2, TRAINING, NETWORK, seed=seed)[0]


@cache
def target(n, seed):
    weights = np.linalg.qr(np.random.default_rng(seed).normal(size=(GENES, 2)))[0].T
    random = np.random.default_rng([seed, 2])
    train, test = draw(weights[0], n, random), draw(weights[0], 500, random)
    return train, test, accuracy(train_network(*train, 2, TRAINING, NETWORK, seed=seed)[0], *test)


def gain(kind, n, frozen):
    gains = []
    for seed in range(3):
        train, test, baseline = target(n, seed)
        tuned, _ = fine_tune(source_network(kind, seed), *train, TRAINING, frozen, seed=seed)
        gains.append(accuracy(tuned, *test) - baseline)
    return np.mean(gains)


def test_transfer_helps_a_small_target_that_shares_the_signal():
    assert gain("shared", 12, 0) > 0.1  # about 0.2
    assert gain("shared", 12, 2) > 0.15  # about 0.23: with so few samples it is best to leave the source alone


def test_transfer_does_nothing_where_the_source_is_unrelated_and_the_target_large():
    assert abs(gain("unrelated", 300, 0)) < 0.05  # about -0.01


def test_transfer_hurts_where_unrelated_layers_are_frozen():
    assert gain("unrelated", 300, 2) < -0.12  # about -0.25


def test_transfer_hurts_a_small_target_where_the_source_has_cancer_and_normal_exchanged():
    assert gain("flipped", 12, 0) < -0.03  # about -0.11


def test_frozen_layers_of_such_a_source_help_since_the_output_layer_can_turn_them_round():
    assert gain("flipped", 12, 2) > 0.15  # about 0.23


# ------------------------------------------------------------------------------- denoising autoencoders


def correlated(n=120, rank=5, seed=0):
    """Draw standardised samples whose genes follow a few programs."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, rank)) @ random.normal(size=(rank, GENES)) + 0.3 * random.normal(size=(n, GENES))
    return (X - X.mean(axis=0)) / X.std(axis=0)


def by_layer(history):
    return {layer: [e for e in history if e["layer"] == layer] for layer in {e["layer"]: None for e in history}}


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("loss", ["squared", "norm"])
@pytest.mark.parametrize("scheme", ["layers", "whole"])
def test_autoencoders_learn_to_reconstruct(scheme, loss, optimiser):
    rate = 0.003 if optimiser == "adam" else 0.3
    denoising = Denoising(scheme, 0.1, loss, optimiser, rate, batch_size=16, epochs=25)
    _, history = pretrain_denoising(new_network(GENES, 2, {"hidden": (30, 20)}), correlated(), denoising)
    stages = by_layer(history)
    assert list(stages) == ([1, 2] if scheme == "layers" else [0])
    for entries in stages.values():
        assert [e["epoch"] for e in entries] == list(range(len(entries)))
        best = min(e["validation_loss"] for e in entries)
        assert best < 0.8 * entries[0]["validation_loss"] and best < (0.7 if loss == "squared" else 0.85)
        assert entries[-1]["loss"] < entries[1]["loss"]
        assert [e["best"] for e in entries] == sorted((e["best"] for e in entries), reverse=True)
        assert [e for e in entries if e["best"]][-1]["validation_loss"] == best


def by_hand(model, X, d, split, seed):
    """Pre-train as `pretrain_denoising` says it does, in plain PyTorch: Adam, squared error or norm."""
    rows, held_out = split
    x, v = torch.tensor(X[rows]), torch.tensor(X[held_out])
    layers = [(layer.linear.weight.detach().clone(), layer.linear.bias.detach().clone()) for layer in model.hidden]
    stages = [[i] for i in range(len(layers))] if d.scheme == "layers" else [list(range(len(layers)))]
    torch.manual_seed(seed)
    for stage in stages:
        widths = [layers[stage[0]][0].shape[1], *(layers[i][0].shape[0] for i in stage)][::-1]
        decoder = [nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        parameters = [tensor.requires_grad_() for i in stage for tensor in layers[i]]
        own = [p for linear in decoder for p in (linear.weight.data.double(), linear.bias.data.double())]
        parameters += [p.requires_grad_() for p in own]

        def reconstruct(z, parameters=parameters):
            for k in range(0, len(parameters), 2):
                z = z @ parameters[k].T + parameters[k + 1]
                z = z if k == len(parameters) - 2 else torch.clamp(z, min=0)
            return z

        spread, variance = ((x - x.mean(0)) ** 2).mean(0).sqrt(), ((x - x.mean(0)) ** 2).mean(0).sum()

        def loss(z, clean, reconstruct=reconstruct, variance=variance):
            squares = ((reconstruct(z) - clean) ** 2).sum(1)
            return (squares / variance).mean() if d.loss == "squared" else (squares / variance).sqrt().mean()

        torch.randn_like(x)  # the noise of the training samples at epoch 0
        noisy = v + d.noise * spread * torch.randn_like(v)
        optimiser = torch.optim.Adam(parameters, lr=d.learning_rate)
        best = loss(noisy, v).item(), [p.detach().clone() for p in parameters]
        for _ in range(d.epochs):
            for batch in torch.randperm(len(x)).split(d.batch_size):
                value = loss(x[batch] + d.noise * spread * torch.randn_like(x[batch]), x[batch])
                optimiser.zero_grad()
                value.backward()
                optimiser.step()
            with torch.no_grad():
                current = loss(noisy, v).item()
            if current < best[0]:
                best = current, [p.detach().clone() for p in parameters]
        for i, pair in zip(stage, zip(best[1][::2], best[1][1::2], strict=True), strict=False):
            layers[i] = pair
        if d.scheme == "layers":
            weight, bias = layers[stage[0]]
            x, v = torch.clamp(x @ weight.T + bias, min=0), torch.clamp(v @ weight.T + bias, min=0)
    return layers, best[0]


@pytest.mark.parametrize("loss", ["squared", "norm"])
@pytest.mark.parametrize("scheme", ["layers", "whole"])
def test_pre_training_is_a_plain_loop(scheme, loss):
    X = correlated(60)
    model = new_network(GENES, 2, {"hidden": (9, 7, 5)}).double()
    denoising = Denoising(scheme, 0.2, loss, batch_size=18, epochs=4, patience=9)
    groups = np.repeat(np.arange(30), 2)
    split = validation_split(np.zeros(60, int), groups, 0.1, 3)
    layers, best = by_hand(model, X, denoising, split, 3)
    pretrained, history = pretrain_denoising(model, X, denoising, groups, 3)
    for layer, (weight, bias) in zip(pretrained.hidden, layers, strict=True):
        torch.testing.assert_close(layer.linear.weight.data, weight, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(layer.linear.bias.data, bias, rtol=1e-9, atol=1e-12)
    last = list(by_layer(history).values())[-1]
    assert min(e["validation_loss"] for e in last) == pytest.approx(best, rel=1e-9)


class Copied(MLP):
    """A network that remembers its copy."""

    def __deepcopy__(self, memo):
        plain = MLP(GENES, 2, (9, 7, 5), batch_norm=True)
        plain.load_state_dict(self.state_dict())
        self.copy = plain
        return plain


@pytest.mark.parametrize("scheme", ["layers", "whole"])
def test_each_stage_trains_its_layers_and_no_other(scheme, monkeypatch):
    with seeded(0):
        model = Copied(GENES, 2, (9, 7, 5), batch_norm=True)
    fit_one, stages = transfer._fit_autoencoder, []

    def watched(layers, inputs, denoising):
        before = copy.deepcopy(model.copy.state_dict())
        history = fit_one(layers, inputs, denoising)
        after = model.copy.state_dict()
        stages.append({name.rsplit(".", 2)[0] for name in before if not torch.equal(before[name], after[name])})
        below = torch.tensor(X, dtype=torch.float32)
        with torch.no_grad():
            for layer in model.copy.eval().hidden[: len(stages) - 1]:
                below = layer(below)
        assert sum(len(part) for part in inputs) == len(X)
        order = torch.cat(list(validation_rows)) if len(inputs) > 1 else slice(None)
        torch.testing.assert_close(torch.cat(inputs), below[order])
        return history

    X = correlated(80)
    validation_rows = [torch.tensor(part) for part in validation_split(np.zeros(80, int), None, 0.1, 0)]
    monkeypatch.setattr(transfer, "_fit_autoencoder", watched)
    trained, _ = pretrain_denoising(model, X, Denoising(scheme, epochs=2))
    assert trained is model.copy
    whole = {"hidden.0", "hidden.1", "hidden.2"}
    assert stages == ([{"hidden.0"}, {"hidden.1"}, {"hidden.2"}] if scheme == "layers" else [whole])


def test_pre_training_leaves_the_given_network_its_output_layer_and_the_caller_s_seed_alone():
    model = new_network(GENES, 2, {"hidden": (9, 5)}, 1)
    before, state = copy.deepcopy(model), torch.get_rng_state()
    one, two, other = (pretrain_denoising(model, correlated(), Denoising(epochs=2), seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert not changed(before, model, "")
    assert not changed(model, one, "output")
    assert not changed(one, two, "") and changed(one, other, "hidden.1") == {"linear.weight", "linear.bias"}
    assert not one.training


def test_no_autoencoder_reconstructs_better_than_principal_components():
    """A layer of k units and a linear decoder reach a flat of k dimensions: k components are the bound."""
    X = correlated(60, rank=8)
    shares = np.linalg.svd(X, compute_uv=False) ** 2
    bound = shares[3:].sum() / shares.sum()
    denoising = Denoising(noise=0.0, learning_rate=0.01, epochs=150, validation=0, patience=150)
    _, history = pretrain_denoising(new_network(GENES, 2, {"hidden": (3,)}).double(), X, denoising)
    assert {*history[0]} == {"layer", "epoch", "loss", "best"}  # nothing is held out
    assert bound <= min(e["loss"] for e in history) < bound + 0.25


def test_a_layer_wide_enough_reconstructs_samples_of_few_dimensions():
    random = np.random.default_rng(0)
    X = random.normal(size=(100, 2)) @ random.normal(size=(2, GENES))
    denoising = Denoising(noise=0.01, learning_rate=0.01, epochs=80)
    _, history = pretrain_denoising(new_network(GENES, 2, {"hidden": (12,)}), X / X.std(axis=0), denoising)
    assert min(e["validation_loss"] for e in history) < 0.05


def test_a_stage_ends_after_patience_and_goes_back_to_its_best_weights():
    X = np.random.default_rng(0).normal(size=(60, GENES))  # nothing to learn: the validation loss soon rises
    model = new_network(GENES, 2, {"hidden": (30,)})
    long, history = pretrain_denoising(model, X, Denoising(epochs=200, learning_rate=0.01, patience=4))
    best = [e for e in history if e["best"]][-1]["epoch"]
    assert history[-1]["epoch"] == best + 5 < 200
    short, _ = pretrain_denoising(model, X, Denoising(epochs=best, learning_rate=0.01, patience=4))
    assert not changed(long, short, "")


def test_training_that_diverges_gives_back_finite_weights():
    model = new_network(GENES, 2, {"hidden": (9, 5)})
    denoising = Denoising("whole", optimiser="sgd", learning_rate=1e8, epochs=9, patience=9)
    kept, history = pretrain_denoising(model, correlated(), denoising)
    assert len(history) < 10 and not np.isfinite(history[-1]["validation_loss"])
    assert not changed(model, kept, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "both"}, "scheme 'both' is not known: use one of layers, whole"),
        ({"loss": "absolute"}, "loss 'absolute' is not known: use one of squared, norm"),
        ({"optimiser": "lbfgs"}, "optimiser 'lbfgs' is not known"),
        ({"epochs": 0}, "epochs is 0: it must be greater than 0"),
        ({"noise": -0.1}, "noise is -0.1: a standard deviation is 0 or more"),
        ({"validation": 1.0}, "validation is 1.0"),
    ],
)
def test_wrong_ways_of_pre_training_are_a_sentence(change, message):
    with pytest.raises(InputError, match=message):
        Denoising(**change)


def test_unlabelled_samples_that_do_not_fit_the_network_are_a_sentence():
    with pytest.raises(InputError, match=f"have 39 genes, the network {GENES}"):
        pretrain_denoising(new_network(GENES, 2), correlated()[:, 1:])
    with pytest.raises(InputError, match="no hidden layer"):
        pretrain_denoising(MLP(GENES, 2, hidden=()), correlated())
