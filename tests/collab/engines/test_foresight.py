"""Jobs begun before they are asked for: which, how many, and what becomes of those that nobody asks for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from collab.engines import Done, foresight
from collab.engines.foresight import Foresight, ForesightfulExecutor, ForesightfulThreadExecutor
from simnet import Computed, Job


class SlowEngine:
    """Two workers that do nothing until they are told."""

    workers = 2

    def __init__(self):
        self.submitted: list[tuple[object, Future]] = []

    def submit(self, function, *args):
        future: Future = Future()
        self.submitted.append((function, future))
        return future

    def finish(self, number, size_bytes=1):
        function, future = self.submitted[number]
        assert future.set_running_or_notify_cancel()
        try:
            future.set_result(Done(function(), 0.25, size_bytes))
        except ZeroDivisionError as error:
            future.set_exception(error)

    @property
    def names(self):
        return [function().value for function, _ in self.submitted]


class QuickEngine(SlowEngine):
    """Does everything at once."""

    def submit(self, function, *args):
        future = super().submit(function)
        self.finish(-1)
        return future


def job(name, *, portable=True):
    return Job(name, lambda: Computed(name, 7.0), f"key of {name}", portable)


def outcome_of(executor, which):
    return asyncio.run(executor.run(which))


def test_as_many_are_begun_early_as_keep_the_workers_busy():
    engine, counts = SlowEngine(), []
    ahead = Foresight(engine, lambda *count: counts.append(count))
    ahead.foresee(job(name) for name in "abcdefg")
    assert engine.names == list("abcd")
    engine.finish(1)
    assert engine.names == list("abcde")
    assert counts == [(1, 7)]
    begun = ahead.outcome(job("b"))
    assert begun is engine.submitted[1][1]
    assert engine.names == list("abcde"), "those in the workers' hands are as many as before"
    ahead.outcome(job("g"))
    assert engine.names == list("abcdeg"), "asked for out of turn, it is begun at once"


def test_results_that_nobody_asks_for_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(foresight, "MOST_HELD_BYTES", 10)
    engine = SlowEngine()
    ahead = Foresight(engine)
    ahead.foresee(job(name) for name in "abcdefg")
    engine.finish(0, size_bytes=4)
    engine.finish(1, size_bytes=6)
    assert engine.names == list("abcde")
    ahead.outcome(job("a"))
    assert engine.names == list("abcdef")


def test_what_was_foreseen_in_vain_is_cancelled_and_forgotten():
    engine = SlowEngine()
    ahead = Foresight(engine)
    ahead.foresee(job(name) for name in "abc")
    engine.finish(0)
    first = engine.submitted[0][1]
    ahead.foresee([job("x")])
    assert [future.cancelled() for _, future in engine.submitted] == [False, True, True, False]
    assert ahead.outcome(job("a")) is not first, "it may be asked for again all the same"
    ahead.forget()
    assert [future.cancelled() for _, future in engine.submitted][3:] == [True, False]


def test_an_outcome_is_handed_out_once():
    engine = QuickEngine()
    ahead = Foresight(engine)
    ahead.foresee([job("a")])
    first, second = ahead.outcome(job("a")), ahead.outcome(job("a"))
    assert first is engine.submitted[0][1]
    assert second is engine.submitted[1][1], "after a crash a site computes again"


def test_only_portable_jobs_with_a_key_are_begun_early():
    engine = SlowEngine()
    Foresight(engine).foresee([job("here", portable=False), Job("nameless", lambda: Computed(1, 0), None, True)])
    assert engine.submitted == []


def test_an_error_is_raised_where_the_job_is_run():
    def fail():
        raise ZeroDivisionError

    engine = QuickEngine()
    ahead = Foresight(engine, lambda *count: pytest.fail("nothing was computed"))
    failing = Job("fails", fail, "key", True)
    ahead.foresee([failing])
    with pytest.raises(ZeroDivisionError):
        outcome_of(ForesightfulExecutor(ahead), failing)


@pytest.mark.parametrize("kind", [ForesightfulExecutor, ForesightfulThreadExecutor])
def test_executors_send_portable_jobs_to_the_engine_and_run_others_here(kind):
    engine = QuickEngine()
    executor = kind(Foresight(engine))
    here = Job("here", lambda: Computed(threading.get_ident(), 0))
    computed, wall_s = outcome_of(executor, job("there"))
    assert (computed, wall_s) == (Computed("there", 7.0), 0.25)
    computed, _ = outcome_of(executor, here)
    assert (computed.value == threading.get_ident()) == (kind is ForesightfulExecutor)
    assert engine.names == ["there"]
    executor.close()
