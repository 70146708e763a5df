"""Prices of the plan beside what they are the prices of, measured here."""

import pytest
from threadpoolctl import threadpool_limits

from gexlib import baselines, plan
from gexlib.training import resolve_device

pytestmark = pytest.mark.stress


def test_prices_are_those_of_this_machine():
    """A price is a measured time: within a factor of four of the same thing measured here by hand."""
    with threadpool_limits(1):
        prices = plan.measure()
        forth, update = plan._step(20_000, (500,), 72, "sgd", resolve_device("cpu"), 5)
    expected = 10_000_000 * (prices.update["sgd"] + 72 * prices.sample)
    assert expected / 4 < forth + update < 4 * expected
    assert set(prices.fits) == set(baselines.METHODS)
    assert all(value > 0 for _, value in prices.fits.values()) and prices.layer > 0 and prices.product > 0
