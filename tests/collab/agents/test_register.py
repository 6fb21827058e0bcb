"""The register on a disk remembers what it was told, whoever asks."""

from __future__ import annotations

import asyncio

import pytest

from collab.agents.register import DiskRegister, Opened
from simnet import Message
from simnet.disk import MemoryDisk


def test_a_new_register_on_the_same_disk_knows_all():
    disk = MemoryDisk()
    register = DiskRegister(disk)
    assert register.open_task("task-1", 3.5).closed == ""
    asyncio.run(register.accept("task-1", "client-0", Message(b"zero")))
    asyncio.run(register.accept("task-1", "client-1", Message(b"one")))
    register.take_back("task-1", "client-1")
    again = DiskRegister(disk)
    assert again.uploads("task-1") == {"client-0": Message(b"zero").digest}
    assert again.read("task-1", "client-0") == b"zero"
    assert (again.has_task("task-1"), again.has_task("task")) == (True, False)
    with pytest.raises(KeyError):
        again.read("task-1", "client-1")
    assert again.open_task("task-1", 9.5) == Opened(3.5)
    again.close_task("task-1", "deadline")
    assert DiskRegister(disk).open_task("task-1", 9.5) == Opened(3.5, closed="deadline")
