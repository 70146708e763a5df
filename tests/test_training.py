"""Training against plain loops written out by hand, and the rules of stopping and splitting."""

import copy
import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.nn import functional

from gexlib import training as module
from gexlib.errors import InputError
from gexlib.models import MLP
from gexlib.training import (
    OPTIMISERS,
    FusedRMSprop,
    MLPClassifier,
    Training,
    batches,
    class_weights,
    finite,
    fit,
    logits,
    predict_proba,
    resolve_device,
    round_otherwise,
    seeded,
    validation_split,
    weighted_cross_entropy,
    without_denormals,
)
from gexlib.transfer import freeze


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(n=37, genes=6, classes=2, seed=0):
    """Return samples with an uneven mix of classes that a network can learn in part."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, genes))
    strength = X[:, 0] + 0.5 * X[:, 1] ** 2 + random.normal(size=n)
    return X, np.digitize(strength, np.quantile(strength, [0.7, 0.9][: classes - 1]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found(value):
    weights = torch.randn(40, 50)
    assert finite(weights)
    weights[7, 3] = value
    assert not finite(weights)


def network(*arguments, seed=0, **options):
    with seeded(seed):
        return MLP(*arguments, **options).double()


# ---------------------------------------------------------------------------------------------- loss


def test_class_weights_are_inverse_to_the_share_of_a_class():
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    np.testing.assert_allclose(class_weights(y, 3), [9 / (3 * 6), 9 / (3 * 2), 9 / (3 * 1)], rtol=1e-15)


def test_a_class_that_is_absent_has_weight_zero():
    np.testing.assert_allclose(class_weights(np.array([0, 0, 2]), 3), [0.5, 0, 1])


def test_loss_is_the_weighted_sum_over_the_batch_size():
    scores = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([0, 1, 2])
    alpha = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    expected = 0.0
    for row, k in zip(scores.tolist(), y.tolist(), strict=True):
        expected += alpha[k].item() * -np.log(np.exp(row[k]) / np.exp(row).sum()) / 3
    assert weighted_cross_entropy(scores, y, alpha).item() == pytest.approx(expected, rel=1e-12)


def test_weights_count_in_a_batch_of_one_class():
    """There `nn.CrossEntropyLoss(weight=...)` divides the weights away."""
    scores = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.ones(5, dtype=torch.long)
    alpha = torch.tensor([0.5, 4.0], dtype=torch.float64)
    plain = functional.cross_entropy(scores, y)
    assert weighted_cross_entropy(scores, y, alpha).item() == pytest.approx(4 * plain.item(), rel=1e-12)
    assert nn.CrossEntropyLoss(weight=alpha)(scores, y).item() == pytest.approx(plain.item(), rel=1e-12)


# ------------------------------------------------------------------------------------- trajectories


def plain_updates(parameters, training):
    """Return a function that takes gradients and updates parameters by the optimiser's textbook rule."""
    rate, memory, step = training.learning_rate, [{} for _ in parameters], [0]

    def update(gradients):
        step[0] += 1
        t = step[0]
        for p, g, m in zip(parameters, gradients, memory, strict=True):
            if training.optimiser == "sgd":
                m["v"] = g if t == 1 else training.momentum * m["v"] + g
                change = m["v"]
            elif training.optimiser == "rmsprop":
                m["s"] = 0.99 * m.get("s", 0) + 0.01 * g**2
                change = g / (m["s"].sqrt() + 1e-8)
            else:
                m["m"] = 0.9 * m.get("m", 0) + 0.1 * g
                m["v"] = 0.999 * m.get("v", 0) + 0.001 * g**2
                change = m["m"] / (1 - 0.9**t) / ((m["v"] / (1 - 0.999**t)).sqrt() + 1e-8)
            with torch.no_grad():
                p -= rate * change

    return update


def plain_loop(model, X, y, training, seed, epochs, after_epoch=lambda loss, forward: None):
    """Train copies of a plain network's weights, batch norm written out; return them and the losses.

    Parameters come in the order of ``model.parameters()``.
    """
    parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
    batch_norm = bool(list(model.buffers()))
    n_layers, n_classes, n = len(model.hidden), parameters[-1].shape[0], len(y)
    X, y = torch.tensor(X, dtype=torch.float64), torch.tensor(y)
    counts = torch.bincount(y, minlength=n_classes).double()
    alpha = n / (n_classes * counts) if training.class_weight == "balanced" else torch.ones(n_classes).double()
    matrices = [p for p in parameters if p.ndim == 2]

    def forward(a):
        rest = iter(parameters)
        for _ in range(n_layers):
            a = a @ next(rest).T + next(rest)
            if batch_norm:
                a = (a - a.mean(0)) / torch.sqrt(a.var(0, unbiased=False) + 1e-5) * next(rest) + next(rest)
            a = torch.clamp(a, min=0)
        return a @ next(rest).T + next(rest)

    def loss_of(a, k):
        scores = forward(a)
        entropy = torch.logsumexp(scores, dim=1) - scores[torch.arange(len(k)), k]
        return (alpha[k] * entropy).sum() / len(k)

    update, losses = plain_updates(parameters, training), []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(n).tolist()
            cuts = [order[i : i + training.batch_size] for i in range(0, n, training.batch_size)]
            if len(cuts) > 1 and len(cuts[-1]) == 1:
                cuts[-2:] = [cuts[-2] + cuts[-1]]
            total = 0.0
            for cut in cuts:
                loss = loss_of(X[cut], y[cut])
                loss = loss + training.l1 * sum(w.abs().sum() for w in matrices)
                penalised = loss + training.l2 / 2 * sum((w**2).sum() for w in matrices)
                update(torch.autograd.grad(penalised, parameters))
                total += loss.item() * len(cut)
            losses.append(total / n)
            if after_epoch(parameters, loss_of):
                break
    return parameters, losses


def assert_same_weights(model, parameters):
    for (name, found), expected in zip(model.named_parameters(), parameters, strict=True):
        # a bias below a batch norm has no gradient: RMSprop and Adam enlarge its rounding error
        idle = name.endswith("linear.bias") and bool(list(model.buffers()))
        atol = 1e-8 if idle else 1e-13
        torch.testing.assert_close(found.detach(), expected.detach(), rtol=1e-10, atol=atol, msg=name)


RATES = {"sgd": 0.05, "rmsprop": 0.002, "adam": 0.005}
OPTIONS = {
    "plain": {},
    "without class weights": {"class_weight": "none"},
    "no momentum": {"momentum": 0.0},
    "l1": {"l1": 1e-2},
    "l2": {"l2": 1e-1},
    "both penalties": {"l1": 1e-3, "l2": 1e-2},
    "one batch": {"batch_size": 100},
    "last batch of one": {"batch_size": 12},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("optimiser", RATES)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["", "batch norm"])
def test_trajectory_is_that_of_a_plain_loop(optimiser, options, batch_norm):
    X, y = data(37, classes=3)
    options = {"batch_size": 8, "fixed_epochs": 12, "learning_rate": RATES[optimiser]} | options
    training = Training(optimiser=optimiser, **options)
    model = network(6, 3, hidden=(7, 5), batch_norm=batch_norm)
    parameters, losses = plain_loop(model, X, y, training, seed=11, epochs=12)
    before = copy.deepcopy(model.state_dict())
    history = fit(model, X, y, training, seed=11)
    assert [entry["epoch"] for entry in history] == list(range(1, 13))
    np.testing.assert_allclose([entry["loss"] for entry in history], losses, rtol=1e-10)
    assert_same_weights(model, parameters)
    moved = [(model.state_dict()[k] - before[k]).abs().max() for k in dict(model.named_parameters())]
    assert max(moved) > 0.01  # far enough for a wrong rule to show


def test_options_of_the_trajectories_do_change_the_weights():
    """So that the comparison above tells them apart."""
    X, y = data(37, classes=3)
    outputs = []
    for optimiser in RATES:
        for options in OPTIONS.values():
            if optimiser != "sgd" and "momentum" in options:
                continue
            options = {"batch_size": 8, "fixed_epochs": 12, "learning_rate": RATES[optimiser]} | options
            model = network(6, 3, hidden=(7, 5))
            fit(model, X, y, Training(optimiser=optimiser, **options), seed=11)
            outputs.append(logits(model, X).numpy())
    distances = [np.abs(a - b).max() for i, a in enumerate(outputs) for b in outputs[:i]]
    assert min(distances) > 1e-4


@pytest.mark.parametrize("option", ["dropout", "residual"])
def test_dropout_and_residual_follow_the_modules(option):
    """The loop calls the network itself, whose layers test_models.py checks."""
    X, y = data(37)
    training = Training(learning_rate=0.05, batch_size=8, fixed_epochs=6, class_weight="none")
    model = network(6, 2, hidden=(8, 8), **{option: 0.3 if option == "dropout" else True})
    other = copy.deepcopy(model)
    optimiser = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9)
    inputs, labels, losses = torch.tensor(X), torch.tensor(y), []
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other.train()
        for _ in range(6):
            total = 0.0
            for cut in torch.randperm(37).split(8):
                loss = functional.cross_entropy(other(inputs[cut]), labels[cut])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(cut)
            losses.append(total / 37)
    history = fit(model, X, y, training, seed=5)
    np.testing.assert_allclose([entry["loss"] for entry in history], losses, rtol=1e-10)
    assert_same_weights(model, list(other.parameters()))
    assert not model.training


@pytest.mark.parametrize("patience", [0, 10])
@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_early_stopping_is_that_of_a_plain_loop(patience, class_weight):
    X, y = data(90, seed=1)
    training = Training(
        learning_rate=0.05, batch_size=16, epochs=60, patience=patience, class_weight=class_weight, l1=1e-4
    )
    rows, held_out = validation_split(y, None, 0.2, 1)
    kept = {"loss": float("inf"), "epoch": 0}
    validation = []

    def after_epoch(parameters, loss_of):
        """Weights of the classes come from the samples trained on, penalties are left out."""
        with torch.no_grad():
            validation.append(loss_of(torch.tensor(X[held_out]), torch.tensor(y[held_out])).item())
        if validation[-1] < kept["loss"]:
            kept.update(loss=validation[-1], epoch=len(validation), weights=[p.detach().clone() for p in parameters])
        return len(validation) - kept["epoch"] > patience

    model = network(6, 2, hidden=(8,))
    _, losses = plain_loop(model, X[rows], y[rows], training, 1, 60, after_epoch)
    history = fit(model, X, y, training, seed=1)
    assert 1 < kept["epoch"] < len(history) < 60  # it did stop, and not at once
    np.testing.assert_allclose([entry["loss"] for entry in history], losses, rtol=1e-10)
    np.testing.assert_allclose([entry["validation_loss"] for entry in history], validation, rtol=1e-10)
    assert [entry["best"] for entry in history] == [e <= kept["epoch"] for e in range(1, len(history) + 1)]
    assert_same_weights(model, kept["weights"])


# ------------------------------------------------------------------------------------ stopping rule


SCRIPTS = {
    # validation losses, patience -> epochs run, epoch kept
    "first increase": ([5, 4, 3, 3.5, 1, 1], 0, 4, 3),
    "an equal loss is not lower": ([5, 4, 4, 1, 1, 1], 0, 3, 2),
    "patience bridges an increase": ([5, 4, 4.5, 4.2, 3, 9], 2, 6, 5),
    "patience counts from the best": ([5, 4, 4.5, 4.2, 4.1, 1], 2, 5, 2),
    "never better than the first": ([5, 6, 7, 8, 9, 9], 3, 5, 1),
    "runs to the last epoch": ([6, 5, 4, 3, 2, 1], 0, 6, 6),
    "best is kept at the last epoch": ([6, 5, 4, 3, 4, 5], 10, 6, 4),
}


@pytest.mark.parametrize(("script", "patience", "epochs", "best"), SCRIPTS.values(), ids=SCRIPTS)
def test_stopping_rule(script, patience, epochs, best, monkeypatch):
    seen = []

    def scripted(model, *_):
        seen.append(copy.deepcopy(model.state_dict()))
        return float(script[len(seen) - 1])

    monkeypatch.setattr(module, "validation_loss", scripted)
    X, y = data(60)
    model = network(6, 2, hidden=(4,), batch_norm=True)
    history = fit(model, X, y, Training(epochs=6, patience=patience), seed=1)
    assert len(history) == len(seen) == epochs
    assert [entry["validation_loss"] for entry in history] == script[:epochs]
    assert sum(entry["best"] for entry in history) == best
    for name, value in model.state_dict().items():  # batch-norm statistics are restored too
        assert torch.equal(value, seen[best - 1][name]), name
    if epochs > best:
        assert not torch.equal(model.output.weight, seen[-1]["output.weight"])


def test_without_a_validation_set_the_number_of_epochs_is_fixed():
    X, y = data(39)
    history = fit(network(6, 2, hidden=(4,)), X, y, Training(epochs=50, fixed_epochs=7))
    assert [set(entry) for entry in history] == [{"epoch", "loss", "first_layer"}] * 7


def test_validation_zero_trains_on_all_samples_for_a_fixed_number_of_epochs():
    X, y = data(60)
    history = fit(network(6, 2, hidden=(4,)), X, y, Training(validation=0.0, fixed_epochs=3))
    assert [set(entry) for entry in history] == [{"epoch", "loss", "first_layer"}] * 3


def test_history_of_early_stopping_has_one_entry_an_epoch():
    X, y = data(60)
    history = fit(network(6, 2, hidden=(4,)), X, y, Training(epochs=5))
    assert [set(entry) for entry in history] == [{"epoch", "loss", "first_layer", "validation_loss", "best"}] * 5


# -------------------------------------------------------------------------------- batches and splits


@given(n=st.integers(1, 150), size=st.integers(1, 70))
def test_batches_cover_every_row_once_and_leave_no_batch_of_one(n, size):
    parts = batches(n, size)
    assert sorted(torch.cat(parts).tolist()) == list(range(n))
    lengths = [len(part) for part in parts]
    if n % size == 1 and n > size and size > 1:
        assert lengths == [size] * (n // size - 1) + [size + 1]
    elif size > 1:
        assert lengths == [size] * (n // size) + [n % size] * (n % size > 0)
    assert lengths[-1] > 1 or n == 1


def test_batches_are_shuffled():
    with seeded(0):
        first, second = batches(40, 40)[0].tolist(), batches(40, 40)[0].tolist()
    assert first != second
    assert list(range(40)) not in (first, second)


@pytest.mark.parametrize("n", [33, 65])
def test_batch_norm_trains_where_the_last_batch_would_be_one(n):
    X, y = data(n)
    training = Training(batch_size=32, fixed_epochs=2, validation=0.0)
    assert len(fit(network(6, 2, hidden=(4,), batch_norm=True), X, y, training)) == 2


@st.composite
def labelled(draw, smallest=2):
    n, classes = draw(st.integers(smallest, 90)), draw(st.integers(2, 3))
    shares = draw(st.lists(st.floats(0.05, 1), min_size=classes, max_size=classes))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = random.choice(classes, n, p=np.array(shares) / sum(shares))
    groups = draw(st.sampled_from(["none", "pairs", "few"]))
    if groups == "none":
        return y, None
    return y, random.integers(0, n // 2 + 1 if groups == "pairs" else draw(st.integers(1, 8)), n)


@settings(max_examples=100)
@given(labelled(), st.sampled_from([0.1, 0.2, 0.3, 0.5]), st.integers(0, 2**31 - 1))
def test_validation_split_contract(case, share, seed):
    y, groups = case
    split = validation_split(y, groups, share, seed)
    counts = np.unique(y, return_counts=True)[1]
    if len(y) < 40 or counts.min() < 5:
        assert split is None
        return
    if groups is None:
        assert split is not None
        assert abs(len(split[1]) - share * len(y)) <= 0.05 * len(y) + len(counts)
    if split is None:
        return
    train, validation = split
    assert sorted([*train, *validation]) == list(range(len(y)))
    assert set(y[train]) == set(y[validation]) == set(y)
    if groups is not None:
        assert not set(groups[train]) & set(groups[validation])
    again = validation_split(y, groups, share, seed)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))


@pytest.mark.parametrize(
    ("y", "groups", "possible"),
    [
        ([0] * 35 + [1] * 5, None, True),
        ([0] * 34 + [1] * 5, None, False),  # 39 samples
        ([0] * 36 + [1] * 4, None, False),  # 4 of a class
        ([0] * 35 + [1] * 5, [*range(35), *[99] * 5], False),  # a class in one patient
        ([0] * 35 + [1] * 5, [*range(35), 98, *[99] * 4], True),
        ([0, 1] * 30, [0] * 30 + [1] * 30, True),  # two studies, fewer than the five folds
    ],
)
def test_validation_split_where_one_can_be_formed(y, groups, possible):
    groups = None if groups is None else np.array(groups)
    assert (validation_split(np.array(y), groups, 0.2, 0) is not None) == possible


def test_validation_split_is_random_in_the_seed():
    y = np.resize([0, 1], 60)
    held_out = {tuple(validation_split(y, None, 0.2, seed)[1]) for seed in range(6)}
    assert len(held_out) == 6
    assert {len(rows) for rows in held_out} == {12}


def test_groups_reach_the_validation_split(monkeypatch):
    """Samples of a patient are copies: they must not be on both sides."""
    X, y = data(60)
    groups = np.repeat(np.arange(30), 2)
    y = y[groups * 2]
    seen = []
    monkeypatch.setattr(module, "validation_loss", lambda model, X, y, alpha, below: seen.append(X) or 1.0)
    X[:, 0] = groups
    fit(network(6, 2, hidden=(4,)), X, y, Training(epochs=1), groups=groups, seed=2)
    held_out = set(seen[0][:, 0].tolist())
    assert len(seen[0]) == 2 * len(held_out)


# --------------------------------------------------------------------------- seeds, device, prediction


def test_same_seed_gives_the_same_network_and_another_seed_another():
    X, y = data(60)
    models = [MLP(6, 2, hidden=(5,), dropout=0.2) for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    histories = [fit(m, X, y, Training(epochs=4), seed=s) for m, s in zip(models, (1, 1, 2), strict=True)]
    assert histories[0] == histories[1] != histories[2]
    assert torch.equal(models[0].output.weight, models[1].output.weight)
    assert not torch.equal(models[0].output.weight, models[2].output.weight)


def test_random_state_of_the_caller_is_left_alone():
    X, y = data(60)
    model = MLP(6, 2, hidden=(5,), dropout=0.2)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(model, X, y, Training(epochs=3), seed=1)
    predict_proba(model, X)
    MLPClassifier(hidden=(4,), epochs=2, device="cpu", random_state=1).fit(X, y).predict(X)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


def test_result_does_not_depend_on_the_random_state_of_the_caller():
    X, y = data(60)
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)
        results.append(fit(network(6, 2, hidden=(5,), dropout=0.2), X, y, Training(epochs=3), seed=1))
    assert results[0] == results[1]


def denormals_count() -> bool:
    return bool(torch.full((1,), 1e-40) * 1)


@pytest.mark.parametrize("counted", [True, False])
def test_denormals_do_not_count_inside_the_block_and_as_before_after_it(counted):
    assert denormals_count()
    torch.set_flush_denormal(not counted)
    try:
        with pytest.raises(ZeroDivisionError), without_denormals():
            assert not denormals_count()
            raise ZeroDivisionError
        assert denormals_count() is counted
    finally:
        torch.set_flush_denormal(False)


def test_networks_are_the_same_without_denormals(monkeypatch):
    """Momentum that would have come to such numbers is 0, and no weight differs."""
    made, sgd = [], module.OPTIMISERS["sgd"]
    monkeypatch.setitem(module.OPTIMISERS, "sgd", lambda *given: made.append(sgd(*given)) or made[-1])

    def trained():
        with seeded(0):
            model = MLP(120, 2, (12, 8))
        X, y = np.random.default_rng(0).normal(size=(48, 120)).astype(np.float32), np.arange(48) % 2
        training = Training(learning_rate=0.2, momentum=0.1, batch_size=8, fixed_epochs=100, validation=0.0)
        fit(model, X, y, training, first_layer="gram")
        momentum = torch.cat([state["momentum_buffer"].flatten() for state in made[-1].state.values()])
        return model.state_dict(), int(((momentum != 0) & (momentum.abs() < 1.1e-38)).sum())

    without, none = trained()
    monkeypatch.setattr(module, "without_denormals", nullcontext)
    weights, some = trained()
    assert some > none == 0
    assert all(torch.equal(without[name], tensor) for name, tensor in weights.items())


def test_seeded_restores_the_state_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(before, torch.get_rng_state())


def test_probabilities_are_the_softmax_and_do_not_depend_on_blocks():
    X, _ = data(50)
    model = network(6, 3, hidden=(5,), dropout=0.5, batch_norm=True)
    model.train()
    probabilities = predict_proba(model, X)
    scores = logits(model, X, block=7).numpy()
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(predict_proba(model, X[::-1])[::-1], probabilities, rtol=1e-12)
    assert not model.training


def test_single_precision_network_takes_any_float_matrix():
    X, y = data(50)
    model = MLP(6, 2, hidden=(5,))
    fit(model, np.asfortranarray(X[:, ::-1]), y, Training(fixed_epochs=1, validation=0.0), seed=0)
    assert model.output.weight.dtype == torch.float32
    assert predict_proba(model, X[:, ::-1]).shape == (50, 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optimiser": "sdg"}, "sgd, rmsprop, adam"),
        ({"class_weight": "inverse"}, "balanced or none"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"fixed_epochs": -1}, "fixed_epochs is -1"),
        ({"momentum": -0.5}, "momentum is -0.5"),
        ({"momentum": 1.0}, "momentum is 1.0: it must be from 0 to below 1"),
        ({"validation": 0.6}, "validation is 0.6: it must be a share from 0 to 0.5"),
        ({"patience": -1}, "patience is -1"),
        ({"l1": -1.0}, "l1 is -1.0"),
        ({"l2": -1.0}, "l2 is -1.0"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": -0.1}, "validation is -0.1"),
    ],
)
def test_training_refuses_values_that_make_no_sense(values, words):
    with pytest.raises(InputError, match=words):
        Training(**values)


@pytest.mark.parametrize("n", [30, 60], ids=["fixed epochs", "early stopping"])
def test_training_that_diverges_ends_and_leaves_a_network_that_knows_nothing(n):
    X, y = data(n)
    model = network(6, 2, hidden=(5, 5)).float()
    history = fit(model, X, y, Training(learning_rate=1e20))
    assert history[-1]["diverged"] and len(history) < 5
    if n == 30:
        assert predict_proba(model, X) == pytest.approx(np.full((n, 2), 0.5))
    assert np.isfinite(predict_proba(model, X)).all()


def test_the_classifier_refuses_to_diverge():
    X, y = data(30)
    with pytest.raises(InputError, match="learning_rate=1e.20: training diverged in epoch"):
        MLPClassifier(hidden=(5, 5), learning_rate=1e20, random_state=0).fit(X, y)


def test_defaults_are_those_of_the_protocol():
    values = dataclasses.asdict(Training())
    expected = {
        "optimiser": "sgd", "momentum": 0.9, "batch_size": 32, "patience": 10, "validation": 0.2, "l1": 0.0,
        "l2": 0.0, "class_weight": "balanced",
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected


# -------------------------------------------------------------------------------------- MLPClassifier


@parametrize_with_checks([MLPClassifier(hidden=(16, 8), epochs=30, fixed_epochs=20, device="cpu", random_state=0)])
def test_classifier_keeps_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


def test_classifier_is_the_network_trained_by_fit():
    X, y = data(60, classes=3)
    names = np.array(["b", "c", "a"])
    classifier = MLPClassifier(hidden=(5,), epochs=4, learning_rate=0.1, device="cpu", random_state=7)
    classifier.fit(X, names[y])
    codes = np.unique(names[y], return_inverse=True)[1]
    seed = np.random.RandomState(7).randint(2**31 - 1)
    with seeded(seed):
        model = MLP(6, 3, hidden=(5,))
    history = fit(model, X, codes, Training(epochs=4, learning_rate=0.1), seed=seed)
    assert list(classifier.classes_) == ["a", "b", "c"]
    assert classifier.history_ == history
    np.testing.assert_allclose(classifier.predict_proba(X), predict_proba(model.double(), X), rtol=1e-12)
    assert list(classifier.predict(X)) == list(classifier.classes_[classifier.predict_proba(X).argmax(axis=1)])


def test_classifier_learns_what_no_linear_method_can():
    random = np.random.default_rng(0)
    X = random.uniform(-1, 1, size=(400, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0, "same", "different")
    classifier = MLPClassifier(hidden=(30, 30), optimiser="adam", device="cpu", random_state=0, epochs=100)
    assert classifier.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.9


def test_classifier_takes_patients():
    X, y = data(60)
    groups = np.repeat(np.arange(30), 2)
    arguments = {"hidden": (4,), "epochs": 3, "device": "cpu", "random_state": 0}
    alone = MLPClassifier(**arguments).fit(X, y)
    grouped = MLPClassifier(**arguments).fit(X, y, groups=list(groups))
    assert alone.history_ != grouped.history_


def test_classifier_works_in_a_pipeline_with_cross_validation():
    X, y = data(60)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(hidden=(4,), epochs=3, device="cpu", random_state=0))
    assert len(cross_val_score(pipeline, X, y, groups=np.arange(60) // 2, cv=GroupKFold(3))) == 3


def test_class_weights_of_the_classifier():
    X, y = data(60)
    names = np.array(["n", "c"])[y]
    counts = {name: (names == name).sum() for name in "cn"}

    def history(class_weight):
        options = {"hidden": (4,), "fixed_epochs": 3, "validation": 0.0, "device": "cpu", "random_state": 0}
        return [e["loss"] for e in MLPClassifier(class_weight=class_weight, **options).fit(X, names).history_]

    balanced, none = history("balanced"), history("none")
    assert not np.allclose(balanced, none)
    np.testing.assert_allclose(history(None), none)
    np.testing.assert_allclose(history({"c": 5, "n": 5}), none, rtol=1e-5)  # a common factor does not count
    inverse = {name: 10 / count for name, count in counts.items()}
    np.testing.assert_allclose(history(inverse), balanced, rtol=1e-5)


def test_classifier_refuses_one_class():
    X, _ = data(30)
    with pytest.raises(InputError, match="one class only"):
        MLPClassifier().fit(X, np.ones(30))


# --------------------------------------------------------------------------------------------- canary


def test_shuffled_labels_give_chance_and_true_labels_do_not():
    """Eight shuffles, 100 test samples each: the mean accuracy has a standard error of 0.018."""
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 20))
    y = (X[:, :5].sum(axis=1) > 0).astype(int)

    def accuracy(labels, seed):
        model = network(20, 2, hidden=(20,), seed=seed)
        fit(model, X[:200], labels[:200], Training(epochs=15, learning_rate=0.05), seed=seed)
        return (predict_proba(model, X[200:]).argmax(axis=1) == labels[200:]).mean()

    chance = np.mean([accuracy(random.permutation(y), seed) for seed in range(8)])
    assert abs(chance - 0.5) < 4 * np.sqrt(0.25 / 800)
    assert accuracy(y, 0) > 0.85


# ------------------------------------------------------------------------------------- optimisers, precision, device


@pytest.mark.parametrize("scheduled", [False, True])
def test_fused_rmsprop_takes_the_steps_of_pytorch(scheduled):
    """With a weight decay in one group and a schedule of the learning rate too."""
    random = torch.Generator().manual_seed(0)
    start = [torch.randn(9, 4, generator=random).double(), torch.randn(4, generator=random).double()]
    X, found = torch.randn(20, 9, generator=random).double(), []
    for kind in (torch.optim.RMSprop, FusedRMSprop):
        W, b = (part.clone().requires_grad_() for part in start)
        optimiser = kind([{"params": [W], "weight_decay": 0.01}, {"params": [b]}], lr=0.01)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.99 if scheduled else 1.0)
        for _ in range(200):
            optimiser.zero_grad()
            ((X @ W + b).tanh() ** 2).sum().backward()
            optimiser.step()
            schedule.step()
        found.append(torch.cat([W, b[None]]).detach())
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-10)
    assert (found[0] - torch.cat([start[0], start[1][None]])).abs().max() > 0.1


def test_errors_of_rounding_are_one_unit_in_the_last_place(monkeypatch):
    start = [torch.randn(40, 30), torch.randn(30, dtype=torch.float64)]
    found = []
    for number in ("0", "1", "1", "2"):
        monkeypatch.setenv("GEXLIB_ROUNDING", number)
        weights = [tensor.clone().requires_grad_() for tensor in start]
        round_otherwise(weights)
        found.append([tensor.detach() for tensor in weights])
    for before, same, first, again, second in zip(start, *found, strict=True):
        assert same.equal(before) and first.equal(again) and not first.equal(second)
        moved = (first - before).abs() / before.abs()
        assert 0 < moved.max() <= 1.5 * torch.finfo(before.dtype).eps and 0.2 < (moved > 0).double().mean() < 0.8


def test_a_network_that_is_not_chaotic_ends_where_it_did_but_for_rounding(monkeypatch):
    X, y = data(120, seed=2)
    found = []
    for number in ("", "1", "2"):
        monkeypatch.setenv("GEXLIB_ROUNDING", number)
        model = network(6, 2, hidden=(16,)).float()
        fit(model, X, y, Training(fixed_epochs=5, validation=0), seed=1)
        found.append(predict_proba(model, X))
    assert not np.array_equal(found[0], found[1]) and not np.array_equal(found[1], found[2])
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=1e-5)
    monkeypatch.setenv("GEXLIB_ROUNDING", "often")
    with pytest.raises(InputError, match="GEXLIB_ROUNDING=often is not known: use a whole number"):
        fit(network(6, 2, hidden=(16,)), X, y)


def test_plain_steps_take_pytorchs_own_rmsprop(monkeypatch):
    weights = [torch.zeros(2, requires_grad=True)]
    assert type(OPTIMISERS["rmsprop"](weights, Training())) is FusedRMSprop
    monkeypatch.setenv("GEXLIB_PLAIN", "1")
    assert type(OPTIMISERS["rmsprop"](weights, Training())) is torch.optim.RMSprop


def test_bf16_rounds_products_and_nothing_else():
    X, y = data(120, seed=2)
    losses = {}
    for precision in ("float32", "bf16"):
        model = network(6, 2, hidden=(16, 8)).float()
        history = fit(model, X, y, Training(optimiser="adam", epochs=30, precision=precision), seed=1)
        losses[precision] = np.array([entry["validation_loss"] for entry in history[:5]])
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert (predict_proba(model, X).argmax(axis=1) == y).mean() > 0.8
    apart = np.abs(losses["bf16"] - losses["float32"])
    assert 0 < apart.max() < 0.02


def test_the_device_is_the_one_asked_for(monkeypatch):
    gpu = torch.cuda.is_available()
    assert resolve_device().type == resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if gpu else "cpu")
    monkeypatch.setenv("GEXLIB_DEVICE", "auto")
    assert resolve_device() == resolve_device("auto") and resolve_device("cpu").type == "cpu"
    monkeypatch.setenv("GEXLIB_DEVICE", "tpu")
    with pytest.raises(InputError, match="device 'tpu' is not known: use cpu, cuda or auto .GEXLIB_DEVICE sets it."):
        resolve_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no GPU here; use cpu or auto"):
        resolve_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch finds none here")
@pytest.mark.parametrize("first_layer", ["plain", "gram"])
@pytest.mark.parametrize("frozen", [0, 2])
def test_a_gpu_trains_the_same_network(first_layer, frozen):
    X, y = data(120, seed=2)
    found = []
    for device in ("cpu", "cuda"):
        model, training = freeze(network(6, 2, hidden=(16, 8, 4), batch_norm=True), frozen), Training(epochs=10)
        way = first_layer if not frozen else "auto"
        history = fit(model, X, y, training, seed=1, device=device, first_layer=way)
        found.append((np.array([entry["loss"] for entry in history]), predict_proba(model, X)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
