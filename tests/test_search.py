"""Random draws lie in their space; LOESS curves follow what they should."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from scipy import stats

from gexlib.errors import InputError
from gexlib.models import MLP
from gexlib.search import Space, draw, settings, smooth
from gexlib.training import Training


def span(values):
    return st.tuples(values, values).map(sorted)


def some(values):
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


SPACES = st.builds(
    Space,
    layers=span(st.integers(1, 20)),
    neurons=span(st.integers(1, 2000)),
    batch_norm=some([False, True]),
    dropout=span(st.floats(0, 0.99)),
    optimiser=some(["sgd", "rmsprop", "adam"]),
    learning_rate=span(st.floats(1e-7, 10)),
    penalty=some(["l1", "l2"]),
    penalty_weight=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    batch_size=span(st.integers(1, 1024)),
)


@settings_of(max_examples=60)
@given(SPACES, st.integers(0, 2**31))
def test_every_draw_lies_in_its_space(space, seed):
    drawn = draw(space, seed)
    assert drawn == draw(space, seed)
    assert set(drawn) == set(asdict(space))
    for name, value in drawn.items():
        allowed = getattr(space, name)
        if name in ("layers", "neurons", "dropout", "learning_rate", "batch_size"):
            assert allowed[0] <= value <= allowed[1], name
        else:
            assert value in allowed, name
        assert type(value) in (int, float, bool, str), "a cell holds plain JSON values only"


def test_draws_are_uniform_the_learning_rate_and_batch_size_in_their_logarithms():
    space = Space()
    found = [draw(space, seed) for seed in range(1500)]
    for name, change in (("dropout", float), ("learning_rate", np.log), ("batch_size", np.log), ("neurons", float)):
        values, (least, most) = [change(d[name]) for d in found], map(change, getattr(space, name))
        assert stats.kstest(values, stats.uniform(least, most - least).cdf).statistic < 0.06, name
    for name, levels in (("layers", range(1, 11)), ("optimiser", space.optimiser), ("batch_norm", (False, True))):
        counts = [sum(d[name] == level for d in found) for level in levels]
        assert sum(counts) == 1500 and stats.chisquare(counts).pvalue > 1e-4, name


def test_a_draw_is_a_network_and_a_way_of_training():
    drawn = draw(Space(layers=(3, 3), neurons=(7, 7), penalty=["l2"], penalty_weight=[0.25]), 1)
    network, training = settings(drawn)
    assert [layer.linear.out_features for layer in MLP(5, 2, **network).hidden] == [7, 7, 7]
    made = Training(**training)
    assert (made.l1, made.l2, made.batch_size) == (0.0, 0.25, drawn["batch_size"])
    assert made.learning_rate == drawn["learning_rate"] and made.optimiser == drawn["optimiser"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": (3, 1)}, "layers=.*the least and the most"),
        ({"neurons": (1, 2, 3)}, "neurons=.*the least and the most"),
        ({"learning_rate": (0.0, 1.0)}, "learning_rate above 0"),
        ({"learning_rate": (0.1, float("inf"))}, "learning_rate=.*the least and the most"),
        ({"dropout": (0.0, 1.0)}, "below 1"),
        ({"dropout": (0.1, float("nan"))}, "dropout=.*the least and the most"),
        ({"optimiser": []}, "optimiser is empty"),
        ({"penalty": ["l3"]}, "use l1, l2 or both"),
        ({"penalty_weight": [-1.0]}, "weights are 0 or more"),
        ({"batch_size": (0, 4)}, "start at 1"),
    ],
)
def test_a_space_from_which_nothing_can_be_drawn_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Space(**change)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_loess_recovers_a_line_whatever_the_order_of_the_draws(logarithmic):
    random = np.random.default_rng(0)
    x = np.exp(random.uniform(0, 5, 300)) if logarithmic else random.uniform(0, 5, 300)
    y = 0.3 + 0.1 * (np.log(x) if logarithmic else x) + random.normal(0, 1e-3, 300)
    at, curve = smooth(x, y, logarithmic)
    assert (np.diff(at) > 0).all() and 100 < len(at) <= 300
    assert curve == pytest.approx(0.3 + 0.1 * (np.log(at) if logarithmic else at), abs=2e-3)


def test_loess_counts_draws_that_fail():
    x, y = np.tile(np.arange(1.0, 21), 20), np.repeat([0.9] * 15 + [0.1] * 5, 20)
    assert smooth(x, y)[1].mean() == pytest.approx(0.7, abs=0.05)  # a robust curve would stay near 0.9


@pytest.mark.parametrize("x", [[], [1, 2, 3], [1] * 30, [1, 2, 3] * 10])
def test_too_few_points_have_no_curve(x):
    assert len(smooth(x, np.ones(len(x)))[0]) == 0


def test_a_curve_has_no_gaps_where_many_draws_share_one_value():
    x = [1.0] * 50 + [2.0] * 50 + [3.0, 4.0, 5.0]
    at, curve = smooth(x, np.arange(len(x)))
    assert np.isfinite(curve).all() and list(at) == [1, 2, 3, 4, 5]
