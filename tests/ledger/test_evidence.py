"""What is decided from intervals, beside scipy and statsmodels and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from gexlib.ledger.evidence import FAILS, HOLDS, OPEN, Estimate, Region, outcome, weakest
from gexlib.statistics import corrected_resampled_t

ABOVE, WITHIN, NEVER_ABOVE = Region(low=0), Region(-1, 1), Region(high=0, slack=1)
SURE, UNSURE, WRONG = (Estimate("x", value, 1.0, 25) for value in (3.0, 0.2, -3.0))
VALUES = np.array([0.3, 1.1, 0.8, -0.2, 0.9, 1.4])


def test_an_interval_is_students():
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert Estimate.of("x", VALUES).interval() == pytest.approx((expected.low, expected.high))
    wider = stats.ttest_1samp(VALUES, 0).confidence_interval(0.99)
    assert Estimate.of("x", VALUES).interval(tests=5) == pytest.approx((wider.low, wider.high))
    assert Estimate.of("x", VALUES, extreme_of=5).interval() == pytest.approx((wider.low, wider.high))


def test_an_interval_of_overlapping_splits_is_that_of_the_corrected_test():
    expected = corrected_resampled_t(VALUES, 80, 20)
    found = Estimate.of("x", VALUES, overlap=20 / 80).interval()
    assert found == pytest.approx((expected.difference_low, expected.difference_high))


@pytest.mark.parametrize("values", [[0.5], [], [0.5] * 8, [np.nan, 0.5]])
def test_nothing_is_known_without_a_spread(values):
    estimate = Estimate.of("x", values)
    assert all(estimate.outcome(region) == OPEN for region in (ABOVE, WITHIN, NEVER_ABOVE))
    assert np.isnan(estimate.needed(ABOVE))


def test_a_count_is_known_without_a_spread():
    assert Estimate("x", 92.7, np.nan, 100, exact=True).outcome(Region(92.6, 92.8)) == HOLDS
    assert Estimate("x", 92.5, np.nan, 100, exact=True).outcome(Region(92.6, 92.8)) == FAILS


def test_resamples_give_the_interval_their_quantiles():
    drawn = np.random.default_rng(0).exponential(size=4000)
    estimate = Estimate("x", 1.0, 1.0, 50, resamples=drawn)
    assert estimate.interval() == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert estimate.interval(tests=4)[1] > estimate.interval()[1]


@pytest.mark.parametrize(
    ("region", "interval", "held", "failed"),
    [
        (ABOVE, (0.1, 2), True, False),
        (ABOVE, (-0.1, 2), False, False),
        (ABOVE, (-2, -0.1), False, True),
        (WITHIN, (-0.9, 0.9), True, False),
        (WITHIN, (0.5, 1.5), False, False),
        (WITHIN, (1.1, 1.5), False, True),
        (NEVER_ABOVE, (-3, 0.9), True, False),
        (NEVER_ABOVE, (-3, 1.2), False, False),
        (NEVER_ABOVE, (0.1, 0.9), False, True),  # above, however little
    ],
)
def test_regions(region, interval, held, failed):
    assert (region.holds(*interval), region.fails(*interval)) == (held, failed)


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(-5, 0), st.floats(0, 5), st.floats(0, 2))
def test_nothing_both_holds_and_fails(middle, half, low, high, slack):
    region = Region(low, high, slack)
    assert not (region.holds(middle - half, middle + half) and region.fails(middle - half, middle + half))


def test_all_must_hold_and_one_is_enough_to_fail():
    assert outcome([SURE, SURE], ABOVE) == HOLDS
    assert outcome([SURE, UNSURE], ABOVE) == OPEN
    assert outcome([SURE, WRONG, UNSURE], ABOVE) == FAILS
    assert outcome([], ABOVE) == OPEN


def test_most_is_more_than_half():
    assert outcome([SURE, SURE, WRONG], ABOVE, share=0.5) == HOLDS
    assert outcome([SURE, WRONG], ABOVE, share=0.5) == OPEN
    assert outcome([SURE, WRONG, WRONG], ABOVE, share=0.5) == FAILS
    assert outcome([SURE, UNSURE, WRONG], ABOVE, share=0.5) == OPEN
    assert outcome([SURE] * 39 + [WRONG], ABOVE, share=0.95) == HOLDS
    assert outcome([SURE] * 9 + [WRONG], ABOVE, share=0.95) == FAILS


def test_the_verdict_hangs_on_the_least_sure():
    assert weakest([SURE, WRONG, UNSURE], ABOVE) is WRONG
    assert weakest([SURE, UNSURE], ABOVE) is UNSURE
    assert weakest([SURE, WRONG, UNSURE], ABOVE, share=0.5) is UNSURE


@pytest.mark.parametrize("tests", [1, 20])
def test_a_true_statement_fails_in_one_of_forty_at_most(tests):
    """Of quantities that all lie on the bound; many in one statement are no more likely to fail it."""
    random, failed = np.random.default_rng(0), 0
    for _ in range(1500):
        estimates = [Estimate.of("x", values) for values in random.normal(0, 1, (tests, 8))]
        failed += outcome(estimates, ABOVE) == FAILS
    assert failed / 1500 < 0.025 + 3 * np.sqrt(0.025 * 0.975 / 1500)


@pytest.mark.parametrize("value", [0.3, 0.5, -0.4])
def test_repeats_needed_are_those_of_a_power_analysis(value):
    expected = TTestPower().solve_power(effect_size=abs(value), alpha=0.05, power=0.8)
    assert Estimate("x", value, 1.0, 10).needed(ABOVE) == pytest.approx(expected, rel=0.08)


def test_repeats_cannot_outweigh_the_overlap_of_splits():
    assert Estimate("x", 0.5, 1.0, 10, floor=0.5).needed(ABOVE) == np.inf
    assert Estimate("x", 0.0, 1.0, 10).needed(ABOVE) == np.inf
    assert Estimate("x", 0.2, 1.0, 10).needed(WITHIN) < Estimate("x", 0.8, 1.0, 10).needed(WITHIN)
