from __future__ import annotations

import enum
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.trace import RESERVED, Event, Trace

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ANY_TEXT = st.text(st.characters(), max_size=5)  # lone surrogates, too
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), ANY_TEXT, st.lists(ANY_TEXT, max_size=3)
)
NAMES = st.one_of(st.sampled_from(["bytes", "peer", "rate", "ö", "100%"]), TEXT).filter(
    lambda name: name not in RESERVED
)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2**53),
        ANY_TEXT,
        st.one_of(st.sampled_from("abc"), TEXT),
        st.dictionaries(NAMES, VALUES, max_size=4),
    ),
    max_size=30,
)


def made(events) -> Trace:
    trace = Trace()
    for event in events:
        trace.append(*event)
    return trace


def filled(*rest: str) -> Trace:
    trace = Trace()
    trace.record(0.1, "client-0", "request", bytes=3, peer="server")
    for kind in rest:
        trace.record(0.2, "server", kind)
    return trace


def test_the_digest_is_that_of_the_lines():
    # Golden: the canonical form is part of what a digest promises.
    assert filled().lines() == ['{"at_us":100000,"bytes":3,"host":"client-0","kind":"request","peer":"server"}']
    assert filled("a").digest() == "64d29bdf68213cce69a3f49c90c91af868dd9573b6cd9b6e69363cacdc3412eb"
    assert filled("a").digest() == filled("a").digest()
    assert len({filled().digest(), filled("a").digest(), filled("a", "b").digest(), filled("b", "a").digest()}) == 4


def test_the_digest_of_nothing():
    assert Trace().digest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(EVENTS, st.integers(0, 30))
def test_the_digest_follows_later_events(events, cut):
    trace = made(events[:cut])
    trace.digest()
    for event in events[cut:]:
        trace.append(*event)
    assert trace.digest() == made(events).digest()


@given(EVENTS)
def test_events_and_lines_are_those_that_were_recorded(events):
    trace = made(events)
    expected = [Event(*event) for event in events]
    assert list(trace) == expected
    assert [list(map(type, event.values.values())) for event in trace] == [
        list(map(type, event.values.values())) for event in expected
    ]
    assert trace.lines() == [event.canonical() for event in expected]
    assert len(trace) == len(events)
    assert trace.of_kind("a") == [event for event in expected if event.kind == "a"]


def test_many_events_keep_their_order_across_packed_chunks():
    """More than a chunk of each table; texts of which many and of which few are equal; more than fits 64 bits."""
    trace, expected = Trace(), []
    for number in range(10_000):
        if number % 3:
            values = {"peer": f"peer-{number % 7}", "digest": f"{number:x}", "bytes": 2 ** (number % 70)}
        else:
            values = {"rate": number / 7, "seen": number % 2 == 0}
        trace.record(number / 1e6, f"host-{number % 5000}", "abc"[number % 3], **values)
        expected.append(Event(number, f"host-{number % 5000}", "abc"[number % 3], values))
    assert list(trace) == expected
    assert list(trace.events(4321)) == expected[4321:]
    assert trace.lines(9_999) == [expected[9_999].canonical()]
    assert trace.of_kind("b") == [event for event in expected if event.kind == "b"]


def test_what_is_recorded_while_somebody_reads_is_not_in_the_way():
    trace = filled("a", "b")
    for event in trace:
        trace.record(1.0, "server", "again", of=event.kind)
    assert [event.values.get("of") for event in trace] == [None, None, None, "request", "a", "b"]


def test_a_list_is_kept_as_it_was():
    trace, sites = Trace(), ["a"]
    trace.record(0.0, "server", "round", sites=sites)
    sites.append("b")
    (event,) = trace
    assert event.values == {"sites": ["a"]}


class Colour(str, enum.Enum):  # noqa: UP042 (what older programs have)
    RED = "red"


def test_subclasses_of_values_count_as_values():
    trace = Trace()
    trace.record(0, "h", "k", text=Colour.RED, number=np.float64(0.1), text2=np.str_("x"))
    (event,) = trace
    assert event.canonical() == '{"at_us":0,"host":"h","kind":"k","number":0.1,"text":"red","text2":"x"}'
    assert trace.lines() == [event.canonical()]
    assert [type(value) for value in event.values.values()] == [str, float, str]


@pytest.mark.parametrize(("value", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_floats_without_json_are_written_as_python_does(value, text):
    trace = Trace()
    trace.record(0, "h", "k", value=value, other=1.0)
    assert trace.lines() == [f'{{"at_us":0,"host":"h","kind":"k","other":1.0,"value":{text}}}']
    assert trace.lines() == [event.canonical() for event in trace]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            {"what": b"x"},
            TypeError,
            'the value "what" of an event of the kind "k" is a bytes; expected str, int, float',
        ),
        ({"what": {"a": 1}}, TypeError, "is a dict; expected"),
        ({"what": np.int64(3)}, TypeError, "is a int64; expected"),
        ({"what": ["a", 1]}, TypeError, "a list in an event holds 1; expected texts only"),
        ({"at_us": 1}, ValueError, 'cannot have a value called "at_us"'),
        ({"more": 1}, ValueError, 'cannot have a value called "more"'),
        ({"\ud800": 1}, UnicodeEncodeError, "surrogates not allowed"),
    ],
)
def test_what_is_no_event_is_refused_when_it_is_recorded(values, error, message):
    trace = Trace()
    with pytest.raises(error, match=message):
        trace.record(0, "h", "k", **values)
    assert list(trace) == []
    assert trace.digest() == Trace().digest()


SCRIPT = """
import random
from simnet.trace import Trace
trace, draws = Trace(), random.Random(3)
for number in range(5000):
    names = draws.sample(["peer", "path", "bytes", "rate"], 2)
    trace.record(number / 1000, draws.choice("abc"), draws.choice("xyz"), **{name: draws.random() for name in names})
print(trace.digest())
"""


def test_the_digest_does_not_depend_on_the_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "12345")
    }
    assert len(digests) == 1


def test_importing_simnet_imports_no_pyarrow():
    code = "import simnet, simnet.trace_file, sys, json; print(json.dumps('pyarrow' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
