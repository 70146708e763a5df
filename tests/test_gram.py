"""The first layer in sample space against the plain one: the same network after the same batches, in float64."""

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gexlib import gram as gram_module
from gexlib import training as module
from gexlib.errors import InputError
from gexlib.gram import Pool, SampleSpace, gram, over_genes, pays, why_not
from gexlib.models import MLP
from gexlib.training import Training, fit, logits, predict_proba, seeded, weighted_cross_entropy
from gexlib.transfer import fine_tune, freeze

GENES, TRAIN, TEST = 120, 40, 9


def data(seed=0):
    """Return standardised samples, more genes than samples, those to train on first, and labels."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(TRAIN + TEST, GENES)) @ random.normal(size=(GENES, GENES)) / np.sqrt(GENES)
    return X, (X[:, 0] + 0.5 * X[:, 1] + 0.3 * random.normal(size=len(X)) > 0).astype(int)


@pytest.mark.parametrize("n_rows", [5, 30, 49])
def test_products_are_those_of_every_pair(n_rows, monkeypatch):
    monkeypatch.setattr(gram_module, "STRIP", 8)
    monkeypatch.setattr(gram_module, "BLOCK", 50)
    X = torch.from_numpy(data()[0])
    rows = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))[:n_rows]
    close(gram_module.products(X, rows), X @ X[rows].T)


def network(seed=1, **options):
    with seeded(seed):
        return MLP(GENES, 2, **{"hidden": (12, 8, 6, 5), **options}).double()


def pool(X) -> Pool:
    return Pool(X, torch.float64)


def close(found: torch.Tensor, expected: torch.Tensor):
    """Assert that values agree to 1e-10 of the largest."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * expected.abs().max().item())


def same(plain: MLP, inside: MLP, X, rows):
    """Assert that two networks are one: every weight, and what they make of some samples."""
    outside = over_genes(inside)
    assert plain.state_dict().keys() == outside.state_dict().keys()
    for name, tensor in plain.state_dict().items():
        close(outside.state_dict()[name], tensor)
    close(logits(inside, rows), logits(plain, X[rows]))


def steps(model: MLP, X: torch.Tensor, y: torch.Tensor, epochs=20, schedule=None, **sgd):
    """Train by hand with ``torch.optim.SGD``; return the loss of every step."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    biases = [p for p in model.parameters() if p.requires_grad and p.ndim == 1]
    decay = sgd.pop("weight_decay", 0.0)
    optimiser = torch.optim.SGD([{"params": weights, "weight_decay": decay}, {"params": biases}], lr=0.05, **sgd)
    scheduler = schedule and schedule(optimiser)
    losses = []
    with seeded(3):
        for _ in range(epochs):
            model.train()
            for batch in torch.randperm(len(y)).split(16):
                optimiser.zero_grad()
                loss = weighted_cross_entropy(model(X[batch]), y[batch], torch.ones(2, dtype=torch.float64))
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
            if scheduler:
                scheduler.step()
    return losses


SCHEDULES = {
    "constant": None,
    "steps": lambda optimiser: torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5),
    "cosine": lambda optimiser: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20),
}


@settings(max_examples=25)
@given(
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    dampening=st.sampled_from([0.0, 0.3]),
    nesterov=st.booleans(),
    weight_decay=st.sampled_from([0.0, 1e-4, 1e-1]),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    batch_norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    residual=st.booleans(),
    seed=st.integers(0, 5),
)
def test_sgd_in_sample_space_is_sgd_over_all_genes(
    momentum, dampening, nesterov, weight_decay, schedule, batch_norm, dropout, residual, seed
):
    sgd = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
    if nesterov and momentum and not dampening:
        sgd["nesterov"] = True
    X, y = data(seed)
    plain = network(hidden=(12, 12, 8, 8), batch_norm=batch_norm, dropout=dropout, residual=residual)
    assert [layer.residual for layer in plain.hidden] == [False, residual, False, residual]
    inside = pool(X).enter(copy.deepcopy(plain))
    inside.hidden[0].linear.span(np.arange(TRAIN))
    labels = torch.from_numpy(y[:TRAIN])
    expected = steps(plain, torch.from_numpy(X[:TRAIN]), labels, schedule=SCHEDULES[schedule], **sgd)
    found = steps(inside, torch.arange(TRAIN), labels, schedule=SCHEDULES[schedule], **sgd)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    same(plain, inside, X, np.arange(len(X)))


@pytest.mark.parametrize("patience", [0, 4])
@pytest.mark.parametrize("frozen", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"dropout": 0.3}], ids=str)
def test_fine_tuning_in_a_pool_is_fine_tuning_on_profiles(options, frozen, patience):
    X, y = data()
    rows = np.random.default_rng(4).permutation(TRAIN)  # the order of samples decides the batches
    source = network(**options)
    fit(source, X[::2], y[::2], Training(epochs=3, fixed_epochs=3))
    training = Training(epochs=15, patience=patience, l2=1e-3, batch_size=16)
    plain, expected = fine_tune(source, X[rows], y[rows], training, frozen)
    inside, found = fine_tune(pool(X).enter(source), rows, y[rows], training, frozen)
    assert len(found) == len(expected) and "validation_loss" in found[0]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose([a["loss"], a["validation_loss"]], [b["loss"], b["validation_loss"]], rtol=1e-10)
        assert a["best"] == b["best"]
    same(plain, inside, X, np.arange(len(X)))


@pytest.mark.parametrize("l2", [0.0, 1e-2])
@pytest.mark.parametrize("samples", [TRAIN, 20])
def test_fit_takes_either_way_to_the_same_network(l2, samples):
    X, y = data()
    trained = {}
    for way in ("plain", "gram", "auto"):
        model = network(hidden=(12, 5))
        trained[way] = model, fit(model, X[:samples], y[:samples], Training(epochs=12, l2=l2), first_layer=way)
    model, history = trained["plain"]
    assert history[0]["first_layer"] == "plain: as asked"
    for way in ("gram", "auto"):
        other, same_history = trained[way]
        assert same_history[0]["first_layer"] == "gram" and type(other.hidden[0].linear) is torch.nn.Linear
        np.testing.assert_allclose([e["loss"] for e in same_history], [e["loss"] for e in history], rtol=1e-10)
        for name, tensor in model.state_dict().items():
            close(other.state_dict()[name], tensor)


WHY = {
    "adam": (network, Training(optimiser="adam"), "adam divides"),
    "rmsprop": (network, Training(optimiser="rmsprop"), "rmsprop divides"),
    "l1": (network, Training(l1=1e-4), "L1"),
    "no hidden layer": (lambda: network(hidden=()), Training(), "no hidden layer"),
    "frozen": (lambda: freeze(network(), 1), Training(), "frozen"),
    "skip": (lambda: network(hidden=(GENES, 4), residual=True), Training(), "skip connection"),
}


@pytest.mark.parametrize("case", WHY)
def test_where_it_is_not_exact_the_plain_way_is_taken_and_says_why(case):
    make, how, reason = WHY[case]
    X, y = data()
    how = Training(**{**vars(how), "epochs": 2, "fixed_epochs": 2})
    history = fit(make(), X[:TRAIN], y[:TRAIN], how)
    assert history[0]["first_layer"].startswith("plain: ") and reason in history[0]["first_layer"]
    with pytest.raises(InputError, match=reason):
        fit(make(), X[:TRAIN], y[:TRAIN], how, first_layer="gram")
    if case in ("adam", "rmsprop", "l1"):
        with pytest.raises(InputError, match=reason):
            fit(pool(X).enter(make()), np.arange(TRAIN), y[:TRAIN], how)


@pytest.mark.parametrize(
    "samples, genes, neurons, epochs, faster",
    [(25, 54675, 500, 1, False), (25, 54675, 500, 2, True), (1500, 2000, 16, 5, False), (5000, 54675, 500, 20, True)],
)
def test_it_is_taken_where_it_pays(samples, genes, neurons, epochs, faster):
    with torch.device("meta"):
        assert pays(samples, genes, neurons, epochs) == faster


def test_where_it_does_not_pay_the_plain_way_is_taken_unless_asked():
    X, y = data()
    model = MLP(5, 2, hidden=(4,)).double()
    assert "not faster" in fit(model, X[:, :5], y, Training(epochs=1))[0]["first_layer"]
    assert fit(model, X[:, :5], y, Training(epochs=1), first_layer="gram")[0]["first_layer"] == "gram"
    with pytest.raises(InputError, match="first_layer 'fast'"):
        fit(model, X[:, :5], y, Training(epochs=1), first_layer="fast")


def test_layers_frozen_by_hand_stay():
    X, y = data()
    for names in (["weight", "bias"], ["bias"], ["weight"]):
        trained = []
        for way in ("plain", "auto"):
            model = network(hidden=(6,))
            for name in names:
                getattr(model.hidden[0].linear, name).requires_grad_(False)
            assert fit(model, X, y, Training(epochs=3), first_layer=way)[0]["first_layer"].startswith("plain")
            trained.append(model.state_dict())
        assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    frozen = freeze(network(), 1)
    inside = pool(X).enter(frozen)
    history = fit(inside, np.arange(TRAIN), y[:TRAIN], Training(epochs=2))
    assert "frozen" in history[0]["first_layer"] and not over_genes(inside).hidden[0].linear.weight.requires_grad


def test_numbers_of_few_bits_and_values_too_large_take_the_plain_way():
    X, y = data()
    history = fit(network(hidden=(6,)).bfloat16(), X, y, Training(epochs=2))
    assert "fewer than 32 bits" in history[0]["first_layer"]
    history = fit(network(hidden=(6,)).float(), (1e19 * X).astype(np.float32), y, Training(epochs=1, fixed_epochs=1))
    assert "beyond the range" in history[0]["first_layer"]


def test_misuse_of_a_pool_is_one_clear_sentence():
    X, y = data()
    whole, rows = pool(X), np.arange(TRAIN)
    inside = whole.enter(network())
    for wrong, message in (
        (lambda: whole.enter(inside), "in a pool already"),
        (lambda: whole.enter(network(hidden=())), "no hidden layer"),
        (lambda: whole.enter(network(hidden=(GENES, 4), residual=True)), "skip connection"),
        (lambda: whole.enter(MLP(7, 2).double()), "takes 7 genes"),
        (lambda: whole.enter(network().float()), "float32, the pool has"),
        (lambda: fit(inside, X, y, Training(epochs=1)), "numbers of the pool's rows"),
        (lambda: fit(inside, np.ones(TRAIN, bool), y[:TRAIN], Training(epochs=1)), "numbers of the pool's rows"),
        (lambda: fit(network(), rows, y[:TRAIN], Training(epochs=1)), "give profiles"),
        (lambda: fit(inside, rows, y[:TRAIN], Training(epochs=1), first_layer="plain"), "as asked"),
        (lambda: predict_proba(inside, X), "numbers of the pool's rows"),
        (lambda: predict_proba(inside, np.ones(TRAIN, bool)), "numbers of the pool's rows"),
        (lambda: predict_proba(inside, np.array([1.7, 2.2])), "numbers of the pool's rows"),
        (lambda: torch.save(inside, io.BytesIO()), "cannot be saved"),
    ):
        with pytest.raises(InputError, match=message):
            wrong()
    start = network()
    late = whole.enter(start)
    fit(start, X[:TRAIN], y[:TRAIN], Training(epochs=1))
    with pytest.raises(InputError, match="changed meanwhile"):
        over_genes(late)


def test_profiles_of_any_layout_are_taken():
    X, y = data()
    expected = fit(network(hidden=(6,)), X, y, Training(epochs=3), first_layer="gram")
    read_only = X.copy()
    read_only.flags.writeable = False
    for same_values in (read_only, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        assert fit(network(hidden=(6,)), same_values, y, Training(epochs=3), first_layer="gram") == expected


def test_a_sample_that_is_not_trained_on_changes_no_network():
    X, y = data()
    rows = np.arange(TRAIN)
    trained = []
    for others in (X, np.vstack([X[:TRAIN], 100 * X[TRAIN:], X[:5]])):
        model, _ = fine_tune(pool(others).enter(network()), rows, y[rows], Training(epochs=10))
        trained.append(over_genes(model).state_dict())
    for name, tensor in trained[0].items():
        close(trained[1][name], tensor)


def test_divergence_ends_alike():
    X, y = data()
    ended = []
    for way in ("plain", "gram"):
        model = network(hidden=(6,))
        history = fit(model, X[:20], y[:20], Training(fixed_epochs=30, learning_rate=1e30), first_layer=way)
        assert all((tensor == 0).all() for tensor in model.state_dict().values())
        ended.append([("diverged" in entry, entry["epoch"]) for entry in history])
    assert ended[0] == ended[1] and ended[0][-1][0] and len(ended[0]) < 30


def test_the_pool_and_the_network_it_took_in_stay_as_they_were():
    X, y = data()
    model, whole = network(), pool(X)
    before, inside = copy.deepcopy(model.state_dict()), whole.enter(model)
    fine_tune(inside, np.arange(TRAIN), y[:TRAIN], Training(epochs=3))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not len(inside.hidden[0].linear.coefficients)
    copied = copy.deepcopy(inside)
    assert isinstance(copied.hidden[0].linear, SampleSpace)
    assert copied.hidden[0].linear.start is inside.hidden[0].linear.start  # nothing wide is copied
    assert all(torch.equal(before[name], tensor) for name, tensor in over_genes(inside).state_dict().items())


def test_products_are_formed_once_and_only_with_samples_trained_on(monkeypatch):
    X, y = data()
    whole, formed = pool(X), []
    inside = whole.enter(network())
    monkeypatch.setattr(gram_module, "gram", lambda X, Y, device: (formed.append(len(Y)), gram(X, Y, device))[1])
    assert predict_proba(inside, np.arange(len(X))).shape == (len(X), 2) and not formed
    for n in (20, 10, 30):  # nested: ten more samples are ten more columns
        fine_tune(inside, np.arange(n), y[:n], Training(fixed_epochs=2))
    assert formed == [20, 10]
    fine_tune(inside, np.arange(30), y[:30], Training(fixed_epochs=2), frozen=1)
    assert formed == [20, 10]
    mixed = torch.tensor([25, 3, 11])
    torch.testing.assert_close(whole.products(mixed), torch.from_numpy(X @ X[mixed].T))


def test_a_network_trained_inside_is_trained_again_from_where_it_stands():
    X, y = data()
    rows, whole, how = np.arange(TRAIN), pool(X), Training(epochs=5)
    once, _ = fine_tune(whole.enter(network()), rows, y[rows], how)
    with pytest.raises(InputError, match="over_genes"):
        fine_tune(once, rows, y[rows], how)
    twice, _ = fine_tune(whole.enter(over_genes(once)), rows, y[rows], how)
    plain, _ = fine_tune(fine_tune(network(), X[rows], y[rows], how)[0], X[rows], y[rows], how)
    same(plain, twice, X, np.arange(len(X)))


def test_products_are_formed_block_by_block(monkeypatch):
    X = torch.from_numpy(data()[0])
    expected = X @ X[:7].T
    monkeypatch.setattr(gram_module, "BLOCK", 7)
    torch.testing.assert_close(gram(X, X[:7]), expected, rtol=1e-12, atol=1e-12)
    single = gram(X.float(), X[:7].float())
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_trunk_is_computed_once(monkeypatch):
    X, y = data()
    model = freeze(network(), 2)
    seen = []
    forward = type(model.hidden[0]).forward
    monkeypatch.setattr(type(model.hidden[0]), "forward", lambda layer, x: (seen.append(layer), forward(layer, x))[1])
    monkeypatch.setattr(module, "validation_split", lambda *arguments: (np.arange(30), np.arange(30, TRAIN)))
    fit(model, X[:TRAIN], y[:TRAIN], Training(epochs=5, patience=9, batch_size=16))
    assert sum(layer is model.hidden[0] for layer in seen) == 2  # samples trained on, samples held out
    assert sum(layer is model.hidden[2] for layer in seen) == 5 * 2 + 5


@pytest.mark.parametrize("optimiser, l1, expected", [("sgd", 0.0, None), ("adam", 0.0, "adam"), ("sgd", 0.1, "L1")])
def test_why_not_speaks_of_the_way_of_training(optimiser, l1, expected):
    reason = why_not(network(), Training(optimiser=optimiser, l1=l1))
    assert reason is None if expected is None else expected in reason
