from __future__ import annotations

import pytest

from analysis.timeline import Span, link_use, timeline
from simnet.trace import Event


def event(at_s, host, kind, **values):
    return Event(round(at_s * 1e6), host, kind, values)


TRACE = [
    event(0.1, "client-0", "request", method="GET", path="/task", bytes=0),
    event(0.2, "client-0", "reply", method="GET", path="/task", bytes=50),
    event(1.0, "client-0", "compute", start_us=200_000, job="collabdm", operations=5),
    event(1.0, "client-0", "request", method="PUT", path="/up", bytes=1000),
    event(2.0, "client-10", "compute", start_us=200_000, job="collabdm", operations=5),
    event(1.9, "server", "upload", site="client-0"),
    event(2.0, "client-0", "reply", method="PUT", path="/up", bytes=5),
    event(2.0, "client-10", "request", method="PUT", path="/up10", bytes=2000),
    event(4.0, "server", "upload", site="client-10"),
    event(4.5, "client-10", "reply", method="PUT", path="/up10", bytes=5),
    event(5.0, "server", "compute", start_us=4_000_000, job="refine", operations=5),
    event(5.0, "server", "result"),
]


def test_spans_are_computing_sending_and_the_rest_is_waiting():
    shown = timeline(TRACE)
    assert list(shown.spans) == ["client-0", "client-10", "server"]
    assert shown.spans["client-0"] == [
        Span(0.0, 0.2, "waiting", ""),
        Span(0.2, 1.0, "computing", "collabdm"),
        Span(1.0, 2.0, "sending", "1,000 B"),
        Span(2.0, 5.0, "waiting", ""),
    ]
    assert shown.spans["server"] == [Span(0.0, 4.0, "waiting", ""), Span(4.0, 5.0, "computing", "refine")]


def test_the_slowest_path_is_that_of_the_last_upload():
    shown = timeline(TRACE)
    assert (shown.slowest, shown.last_upload_s, shown.result_s, shown.end_s) == ("client-10", 4.0, 5.0, 5.0)


def test_link_use_is_a_step_function_of_time():
    trace = [
        event(1.0, "a > b", "link", wire_bps=8e6),
        event(3.0, "a > b", "link", wire_bps=4e6),
        event(4.0, "a > b", "link", wire_bps=0.0),
        event(1.1, "b > c", "link", wire_bps=8.0, since_us=1_000_000),
    ]
    busiest, other = link_use(trace, {"a > b": 8e6, "b > c": 8e6}, 5.0)
    assert busiest.name == "a > b"
    assert busiest.times_s == [0.0, 1.0, 3.0, 4.0, 5.0]
    assert busiest.share == [0.0, 1.0, 0.5, 0.0, 0.0]
    assert busiest.carried_bytes == pytest.approx(2e6 + 0.5e6)
    assert other.carried_bytes == pytest.approx(0.1)


def test_a_link_that_is_used_after_the_end_has_times_that_increase():
    trace = [event(1.0, "a > b", "link", wire_bps=8e6), event(9.0, "a > b", "link", wire_bps=0.0)]
    (use,) = link_use(trace, {"a > b": 8e6}, 5.0)
    assert use.times_s == [0.0, 1.0, 9.0, 9.0]
    assert use.carried_bytes == pytest.approx(8e6)
