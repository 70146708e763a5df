"""Freezing, fine-tuning, and what transfer must do where the answer is known."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from gexlib.errors import InputError
from gexlib.models import MLP
from gexlib.training import Training, fit, predict_proba, seeded
from gexlib.transfer import fine_tune, freeze, new_network, train_network

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
    assert set(of_one_patient[0]) == {"epoch", "loss"}  # no validation set could be formed


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


def test_unknown_network_option_is_a_sentence():
    with pytest.raises(InputError, match="hid_den"):
        new_network(GENES, 2, {"hid_den": (5,)})


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
