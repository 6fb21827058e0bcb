from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.errors import TenancyError
from simnet.limits import Rate, TokenBucket

rates = st.builds(
    Rate, st.integers(1, 50), st.sampled_from([1e-6, 3e-6, 0.001, 0.7, 1.0, 60.0]), burst=st.integers(1, 120)
)


class Reference:
    """A token bucket by the book: it fills microsecond by microsecond, in exact fractions."""

    def __init__(self, rate):
        self.inflow = Fraction(rate.amount, round(rate.per_s * 1e6))
        self.capacity = self.level = Fraction(rate.largest)

    def tick(self):
        self.level = min(self.capacity, self.level + self.inflow)

    def wait_us(self, tokens):
        level, waited = self.level, 0
        while level < tokens:
            level, waited = min(self.capacity, level + self.inflow), waited + 1
        return waited


@given(
    st.builds(Rate, st.integers(1, 9), st.sampled_from([1e-6, 2e-6, 7e-6, 1e-5]), burst=st.integers(1, 12)),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=30),
)
def test_the_bucket_is_the_brute_force_reference(rate, demands):
    bucket, reference, at_us = TokenBucket(rate), Reference(rate), 0
    for pause_us, wanted in demands:
        at_us += pause_us
        for _ in range(pause_us):
            reference.tick()
        tokens = min(wanted, rate.largest)
        assert bucket.free(at_us) == int(reference.level)
        assert bucket.wait_us(tokens, at_us) == reference.wait_us(tokens)
        if bucket.wait_us(tokens, at_us) == 0:
            bucket.take(tokens, at_us)
            reference.level -= tokens


@given(rates, st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 120)), max_size=30))
def test_who_waits_as_long_as_told_passes_and_not_a_microsecond_earlier(rate, demands):
    bucket, at_us = TokenBucket(rate), 0
    for pause_us, wanted in demands:
        tokens = min(wanted, rate.largest)
        at_us += pause_us
        wait_us = bucket.wait_us(tokens, at_us)
        if wait_us:
            assert bucket.wait_us(tokens, at_us + wait_us - 1) == 1
        at_us += wait_us
        assert bucket.wait_us(tokens, at_us) == 0
        bucket.take(tokens, at_us)


@given(rates, st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 120)), max_size=40))
def test_no_more_than_burst_and_inflow_ever_passes(rate, demands):
    bucket, at_us, passed = TokenBucket(rate), 0, 0
    for pause_us, tokens in demands:
        at_us += pause_us
        if tokens <= rate.largest and bucket.wait_us(tokens, at_us) == 0:
            bucket.take(tokens, at_us)
            passed += tokens
        assert passed <= rate.largest + Fraction(rate.amount * at_us, round(rate.per_s * 1e6))


def test_nothing_drifts_in_a_year_of_odd_thirds():
    bucket = TokenBucket(Rate(1, 3.0, "messages"))
    for number in range(10_000):
        at_us = number * 3_000_000
        assert bucket.wait_us(1, at_us) == 0
        bucket.take(1, at_us)
        assert bucket.wait_us(1, at_us) == 3_000_000


def test_a_clock_that_steps_back_fills_nothing():
    bucket = TokenBucket(Rate(10, 1.0))
    bucket.take(10, 5_000_000)
    assert (bucket.free(1_000_000), bucket.free(5_500_000)) == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "lets nothing pass"),
        ((1, 1.0, "bytes", 0), "lets nothing pass"),
        ((1, 0.0), "at least 1 us"),
        ((1, float("inf")), "at least 1 us"),
        ((1, float("nan")), "at least 1 us"),
    ],
)
def test_rates_without_meaning_are_refused(arguments, message):
    with pytest.raises(TenancyError, match=message):
        Rate(*arguments)


def test_a_rate_in_words():
    assert Rate(1_000_000).name == "1000000 B every 1 s"
    assert Rate(3, 60.0, "messages", 5).name == "3 messages every 60 s, burst 5 messages"
