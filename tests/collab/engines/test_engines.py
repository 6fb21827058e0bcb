"""What every engine does, whichever it is; on real processes, and on a real Ray of two workers."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from collab.document import PlacedError
from collab.engines import InlineEngine, processes
from collab.engines.processes import ProcessEngine
from collab.errors import OutOfMemoryError, RunFailedError, WorkerLostError
from tests.collab.engines import tasks

SLOWLY_ON_RAY = pytest.param("ray", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=["inline", "processes", SLOWLY_ON_RAY])
def engine(request):
    with make(request.param) as made:
        yield made


# One Ray a module: a process has but one.
remotely = pytest.mark.parametrize("engine", ["processes", SLOWLY_ON_RAY], indirect=True, scope="module")


def make(name):
    if name == "inline":
        return InlineEngine()
    if name == "processes":
        return ProcessEngine(2, threads=1)
    from collab.engines.ray import RayEngine

    return RayEngine(2, threads=1)


def result(engine, function, *args):
    return engine.submit(function, *args).result(timeout=300).value


def test_results_come_back_each_to_its_own_future(engine):
    futures = [engine.submit(tasks.process_and, number) for number in range(5)]
    done = [future.result(timeout=300) for future in futures]
    assert [one.value[1] for one in done] == [0, 1, 2, 3, 4]
    assert all(one.wall_s >= 0 for one in done)
    assert {one.value[0] == os.getpid() for one in done} == {engine.workers == 1}


def test_large_arrays_and_tensors_arrive_as_they_are(engine):
    numbers = np.arange(100_000, dtype=np.float64)
    assert result(engine, tasks.total, numbers) == numbers.sum()
    turned = numbers.reshape(100, 1000).T  # not in the order of memory
    assert result(engine, tasks.total, turned) == numbers.sum()
    halves = torch.arange(50_000, dtype=torch.bfloat16).reshape(2, -1)
    assert result(engine, tasks.total, halves) == float(halves.sum())


def test_an_error_comes_back_as_itself(engine):
    with pytest.raises(PlacedError, match="not here") as caught:
        result(engine, tasks.misplaced)
    assert caught.value.where == ("compute", 3)


@pytest.mark.parametrize("function", [tasks.takes_too_much, tasks.takes_too_much_in_torch])
def test_want_of_memory_is_told_with_the_setting_to_change(engine, function):
    with pytest.raises(OutOfMemoryError, match=rf"{function.__name__}.* not enough memory .*lower compute\.workers"):
        result(engine, function)


@remotely
def test_an_error_that_cannot_travel_is_named(engine):
    with pytest.raises(RunFailedError, match="OwnError: of a function") as caught:
        result(engine, tasks.unportable)
    assert "in unportable" in caught.value.__notes__[0]


@remotely
def test_what_a_task_does_to_an_array_no_other_sees(engine):
    numbers = torch.ones(100_000)
    assert [result(engine, tasks.overwritten, numbers) for _ in range(4)] == [100_000.0] * 4
    assert numbers.sum() == 100_000


@remotely
def test_torch_has_the_threads_that_were_asked_for(engine):
    assert result(engine, tasks.threads_and_modules)[0] == 1


@remotely
def test_a_task_whose_worker_was_lost_is_run_again(engine, tmp_path):
    others = [engine.submit(tasks.process_and, number) for number in range(4)]
    assert result(engine, tasks.killed_once, str(tmp_path / "mark")) == 2
    assert [other.result(timeout=300).value[1] for other in others] == [0, 1, 2, 3]


@remotely
def test_a_task_that_loses_every_worker_is_given_up(engine, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(WorkerLostError, match=r"^killed: .*out of memory.*lower compute\.workers"):
        result(engine, tasks.killed, str(mark))
    assert mark.read_text() == "xxx"
    assert result(engine, tasks.process_and, 1)[1] == 1


def test_how_a_process_ended_is_told(monkeypatch):
    monkeypatch.setattr(processes, "MOST_RETRIES", 1)
    with (
        ProcessEngine(1, threads=1) as engine,
        pytest.raises(WorkerLostError, match=r"^leaves: .*the exit code 7, .*2 times"),
    ):
        result(engine, tasks.leaves, 7)
