from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simpy.core import EmptySchedule

from simnet.clock import Clock


def run(clock: Clock) -> None:
    while not clock.idle():
        clock.step()


def test_alarms_ring_in_order_at_whole_microseconds():
    clock = Clock()
    rang: list[tuple[str, float]] = []
    for name, at_s in (("c", 0.3), ("a", 0.1), ("b", 0.1), ("d", 0.3000000001)):
        clock.call_at(at_s, lambda name=name: rang.append((name, clock.now_s)))
    run(clock)
    assert rang == [("a", 0.1), ("b", 0.1), ("c", 0.3), ("d", 0.3)]


@given(st.floats(min_value=0, max_value=1e6), st.floats(min_value=0, max_value=1e6))
def test_a_moment_in_the_future_is_never_now(start_s, delay_s):
    """Otherwise `while now < deadline: sleep(deadline - now)` would spin for ever."""
    clock = Clock()
    clock._now = clock.tick_at(start_s)
    when_s = clock.now_s + delay_s
    tick = clock.tick_at(when_s)
    assert tick >= clock.now
    if when_s > clock.now_s:
        assert tick > clock.now
    assert tick / 1e6 >= when_s - 2e-9


def test_late_alarms_come_last_within_a_tick():
    clock = Clock()
    rang: list[str] = []
    clock.call_at_tick(5, lambda: rang.append("late"), late=True)
    clock.call_at_tick(5, lambda: rang.append("early"))
    run(clock)
    assert rang == ["early", "late"]


def test_a_cancelled_alarm_does_not_move_the_clock():
    clock = Clock()
    alarm = clock.call_at(300.0, lambda: pytest.fail("it was cancelled"))
    clock.call_at(1.0, lambda: None)
    alarm.cancel()
    alarm.cancel()
    run(clock)
    assert clock.now_s == 1.0
    with pytest.raises(EmptySchedule):
        clock.step()


def test_cancelled_alarms_are_swept_out():
    clock = Clock()
    alarms = [clock.call_at(float(second), lambda: None) for second in range(1, 10_001)]
    for alarm in alarms[:9_900]:
        alarm.cancel()
    assert len(clock._queue) < 300
    run(clock)
    assert clock.now_s == 10_000.0


def test_cancelling_after_the_ring_is_harmless():
    clock = Clock()
    alarm = clock.call_at(1.0, lambda: None)
    run(clock)
    alarm.cancel()
    assert not alarm.cancelled
    assert clock.idle()


def test_simpy_processes_run_on_the_same_clock():
    clock = Clock()
    seen: list[float] = []

    def process():
        for _ in range(3):
            yield clock.timeout(250_000)
            seen.append(clock.now_s)

    clock.process(process())
    clock.call_at(0.5, lambda: seen.append(-clock.now_s))
    run(clock)
    assert seen == [0.25, -0.5, 0.5, 0.75]


def test_the_background_goes_on_but_nobody_waits_for_it():
    clock = Clock()
    rang: list[float] = []

    def tick() -> None:
        rang.append(clock.now_s)
        clock.call_at(clock.now_s + 1.0, tick, background=True)

    clock.call_at(1.0, tick, background=True)
    assert clock.idle()
    clock.call_at(3.5, lambda: rang.append(-clock.now_s))
    run(clock)
    assert rang == [1.0, 2.0, 3.0, -3.5]


def test_the_background_counts_while_it_is_awaited():
    clock = Clock()
    rang: list[float] = []
    clock.background_awaited = lambda: not rang
    for at_s in (1.0, 2.0):
        clock.call_at(at_s, lambda: rang.append(clock.now_s), background=True)
    run(clock)
    assert rang == [1.0]
    clock.background_awaited = lambda: len(rang) < 9
    run(clock)
    assert rang == [1.0, 2.0]  # and without any background left there is nothing to await


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=300))
def test_a_clock_is_idle_when_all_that_counts_is_over(alarms):
    """Whatever was cancelled, before the background or in it."""
    clock = Clock()
    rang: list[bool] = []
    made = []
    for at_s, (background, cancel) in enumerate(alarms):
        alarm = clock.call_at(float(at_s), lambda mine=background: rang.append(mine), background=background)
        made.append((alarm, cancel))
    for alarm, cancel in made:
        if cancel:
            alarm.cancel()
    run(clock)
    assert rang.count(False) == alarms.count((False, False))
    assert clock.idle()
