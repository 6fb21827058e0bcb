from __future__ import annotations

from simnet.trace import Event, Trace


def filled(*rest: str) -> Trace:
    trace = Trace()
    trace.record(0.1, "client-0", "request", bytes=3, peer="server")
    for kind in rest:
        trace.record(0.2, "server", kind)
    return trace


def test_the_digest_is_that_of_the_lines():
    # Golden: the canonical form is part of the run directory's format.
    assert filled().lines() == ['{"at_us":100000,"bytes":3,"host":"client-0","kind":"request","peer":"server"}']
    assert filled("a").digest() == filled("a").digest()
    assert len({filled().digest(), filled("a").digest(), filled("a", "b").digest(), filled("b", "a").digest()}) == 4


def test_the_digest_follows_later_events():
    trace = filled()
    before = trace.digest()
    trace.record(0.3, "server", "late")
    assert trace.digest() != before
    assert trace.digest() == filled_with_late().digest()


def filled_with_late() -> Trace:
    trace = filled()
    trace.record(0.3, "server", "late")
    return trace


def test_an_event_can_be_read_back():
    (event,) = filled()
    assert Event.parse(event.canonical()) == event
    assert event.at_s == 0.1
