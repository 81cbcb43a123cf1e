from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.players.backoff import Backoff, read_retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def longest(low, high):
    return high


def test_the_longest_wait_doubles_up_to_a_cap():
    backoff = Backoff(base_s=0.5, cap_s=3.0)
    assert [backoff.delay_s(failures, None, longest) for failures in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_shortest_wait_is_none_at_all():
    assert Backoff().delay_s(9, None, lambda low, high: low) == 0.0


def test_what_the_server_asks_for_is_waited_and_then_the_jitter():
    assert Backoff(base_s=0.5).delay_s(1, 7.0, longest) == 7.5


def test_no_server_can_hold_a_run_up_for_long():
    assert Backoff(base_s=0.5, retry_after_cap_s=60.0).delay_s(1, 86_400.0, longest) == 60.5


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e12))
def test_a_wait_is_never_longer_than_its_caps(failures, retry_after_s):
    backoff = Backoff(cap_s=30.0, retry_after_cap_s=120.0)
    assert 0 <= backoff.delay_s(failures, retry_after_s, longest) <= 150.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.25", 0.25),
        ("-1", 0.0),
        ("nan", None),
        ("1e999", None),
        ("soon", None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 99 Mar 2026 11:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value, seconds):
    assert read_retry_after(value, NOW) == seconds


def test_a_date_is_compared_with_the_present():
    assert read_retry_after("Sat, 01 Jan 2000 00:00:00 GMT") == 0.0
