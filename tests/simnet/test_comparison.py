from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.comparison import FieldDifference, first_difference
from simnet.trace import Trace
from tests.simnet.test_trace import EVENTS, made


def eight(**changed) -> Trace:
    trace = Trace()
    for number in range(8):
        values = {"bytes": number, "peer": "server"}
        trace.record(number, f"client-{number}", "request", **(values | changed if number == 6 else values))
    return trace


def test_equal_traces_do_not_differ():
    assert first_difference(eight(), eight()) is None
    assert first_difference(Trace(), Trace()) is None


def test_the_first_difference_is_named_with_what_came_before():
    difference = first_difference(eight(), eight(bytes=7, answer="no"))
    assert difference.index == 6
    assert difference.fields == [FieldDifference("bytes", "6", "7"), FieldDifference("answer", "(nothing)", '"no"')]
    assert [event.host for event in difference.before] == [f"client-{number}" for number in range(1, 6)]
    assert difference.in_words("recorded", "now").splitlines() == [
        'event 6 differs: 6.000000 s, client-6, request bytes=6 peer="server"',
        "  bytes: 6 recorded, 7 now",
        '  answer: (nothing) recorded, "no" now',
        "the events before it, the same in both:",
        '  1: 1.000000 s, client-1, request bytes=1 peer="server"',
        '  2: 2.000000 s, client-2, request bytes=2 peer="server"',
        '  3: 3.000000 s, client-3, request bytes=3 peer="server"',
        '  4: 4.000000 s, client-4, request bytes=4 peer="server"',
        '  5: 5.000000 s, client-5, request bytes=5 peer="server"',
    ]


def test_a_trace_that_ends_early_differs_where_it_ends():
    longer = eight()
    longer.record(9.0, "server", "result")
    ended = first_difference(eight(), longer)
    assert (ended.index, ended.first, ended.fields) == (8, None, [])
    said = "event 8 is now only, the trace recorded ends before it: 9.000000 s, server, result"
    assert ended.in_words("recorded", "now").splitlines()[0] == said
    assert first_difference(longer, eight()).second is None


def test_the_very_first_event_has_nothing_before_it():
    difference = first_difference(made([(1, "a", "k", {})]), made([(2, "b", "k", {})]))
    assert difference.in_words("recorded", "now").splitlines() == [
        "event 0 differs: 0.000001 s, a, k",
        "  at_us: 1 recorded, 2 now",
        '  host: "a" recorded, "b" now',
        "it is the first event of all",
    ]


@pytest.mark.parametrize(("ours", "theirs"), [(1, 1.0), (True, 1), (0.0, -0.0), ("", None)])
def test_values_that_python_takes_for_equal_or_that_look_empty_differ(ours, theirs):
    (field,) = first_difference(eight(bytes=ours), eight(bytes=theirs)).fields
    assert field.name == "bytes"
    assert field.first != field.second


def test_what_is_no_number_is_equal_to_itself():
    assert first_difference(eight(bytes=math.nan), eight(bytes=math.nan)) is None
    assert first_difference(eight(bytes=math.nan, peer="a"), eight(bytes=math.nan, peer="b")).fields[0].name == "peer"


@given(EVENTS.filter(len), st.data())
def test_a_changed_event_is_found_wherever_it_is(events, data):
    place = data.draw(st.integers(0, len(events) - 1))
    at_us, host, kind, values = events[place]
    changed = [*events[:place], (at_us + 1, host, kind, values), *events[place + 1 :]]
    difference = first_difference(made(events), made(changed))
    assert difference.index == place
    assert [field.name for field in difference.fields] == ["at_us"]
