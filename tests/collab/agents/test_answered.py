"""Questions that are answered once: the same task again is fine, another one is refused, also after a reboot."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from collab.agents import answered
from collab.agents.answered import answer_once, forget_answers
from collab.errors import RunFailedError
from collab.methods import Task
from simnet.disk import FolderDisk, MemoryDisk


@pytest.fixture
def _method(monkeypatch):
    """A method whose tasks are questions by their identities, but for `anything`."""
    method = SimpleNamespace(answered_once=lambda task: None if task.identity == "anything" else task.identity)
    monkeypatch.setattr(answered, "get", lambda name: method)


def task(identity):
    return Task(identity, "sums", None, 1, 1, {})


@pytest.mark.usefixtures("_method")
def test_a_question_is_answered_for_one_task_only(tmp_path):
    answer_once(FolderDisk(tmp_path), task("the total"), "a")
    answer_once(FolderDisk(tmp_path), task("the total"), "a")
    answer_once(FolderDisk(tmp_path), task("the total of all"), "b")
    with pytest.raises(RunFailedError, match="asks for the total a second time, with other content"):
        answer_once(FolderDisk(tmp_path), task("the total"), "b")
    forget_answers(FolderDisk(tmp_path))
    answer_once(FolderDisk(tmp_path), task("the total"), "b")


@pytest.mark.usefixtures("_method")
def test_what_is_no_question_is_answered_always():
    disk = MemoryDisk()
    for digest in "abc":
        answer_once(disk, task("anything"), digest)
    assert disk.keys() == []


def test_methods_without_questions_leave_nothing_on_the_disk():
    disk = MemoryDisk()
    answer_once(disk, Task("t", "localdm", None, 1, 1, {}), "a")
    assert disk.keys() == []
