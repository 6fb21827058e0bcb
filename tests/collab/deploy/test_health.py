"""In which state a server is, and whether it is ready: as its agent stands, and as its store can be written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from collab.agents.rounds import Round
from collab.deploy import health
from collab.deploy.health import Health, Sites, State
from collab.methods import Ask
from simnet.units import format_size

SITES = ("client-0", "client-1", "client-2")


@dataclass
class Agent:
    rounds: dict[str, Round] = field(default_factory=dict)
    is_over: bool = False

    def begin(self, task):
        self.rounds[task] = Round(task, dict.fromkeys(SITES, Ask()))
        return self.rounds[task]


def test_a_run_of_two_rounds_from_the_start_to_the_end():
    watched, agent, seen = Health(), Agent(), []

    def look():
        seen.append((str(watched.state), bool(watched.unready())))

    look()
    watched.serves(agent)
    look()
    for number in (1, 2):
        this = agent.begin(f"task-{number}")
        look()
        for site in SITES:
            this.take_in(site, "digest")
        look()
    assert (watched.round_number, watched.uploads()) == (2, 6)
    agent.is_over = True
    look()
    watched.is_over()
    look()
    assert seen == [
        ("starting", True), ("computing", False), ("collecting", False), ("computing", False), ("collecting", False),
        ("computing", False), ("telling", False), ("judging", True),
    ]  # fmt: skip


def test_after_a_crash_it_is_not_ready_before_it_has_come_to_the_task_that_was_handed_out_last():
    watched, agent = Health(), Agent()
    watched.serves(agent, ["task-1", "task-2"])
    agent.begin("task-1")
    assert watched.state is State.CATCHING_UP
    assert "has not come to the task that was handed out last yet" in watched.unready()
    agent.begin("task-2")
    assert (watched.state, watched.unready()) == (State.COLLECTING, "")


def test_told_to_stop_it_is_not_ready_whatever_it_does():
    watched = Health()
    watched.serves(Agent())
    watched.stops()
    assert (watched.state, watched.unready()) == (State.STOPPING, "the server is being stopped")


def test_the_sites_of_the_latest_round_are_counted():
    watched, agent = Health(), Agent()
    assert (watched.sites(), watched.round_number, watched.uploads()) == (Sites(), 0, 0)
    watched.serves(agent)
    agent.begin("task-1").take_in("client-0", "digest")
    this = agent.begin("task-2")
    this.take_in("client-2", "digest")
    this.lose("client-1", "it has given up")
    assert watched.sites() == Sites(asked=3, finished=1, missing=2, lost=1)
    assert watched.uploads() == 2


def test_a_round_that_was_closed_is_being_computed():
    watched, agent = Health(), Agent()
    watched.serves(agent)
    agent.begin("task-1").closed = "deadline"
    assert watched.state is State.COMPUTING


def test_without_room_in_the_store_it_is_not_ready_and_looks_once_a_second_at_most(tmp_path, monkeypatch):
    watched, now, looked = Health(tmp_path), [100.0], []
    watched.serves(Agent())
    monkeypatch.setattr(health.time, "monotonic", lambda: now[0])
    assert watched.unready() == ""
    assert list(tmp_path.iterdir()) == []

    def full(**_):
        looked.append(now[0])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(health.tempfile, "TemporaryFile", full)
    for now[0], reason in ((100.9, ""), (101.0, "No space left"), (101.5, "No space left"), (102.0, "No space left")):
        assert reason in watched.unready()
    assert looked == [101.0, 102.0]


def test_while_the_register_cannot_be_written_it_is_not_ready(tmp_path, monkeypatch):
    watched, now, why = Health(tmp_path), [100.0], ["the register cannot be written: full"]
    watched.serves(Agent())
    watched.keeps(lambda: why[0])
    monkeypatch.setattr(health.time, "monotonic", lambda: now[0])
    assert watched.unready() == "the register cannot be written: full"
    now[0], why[0] = 101.0, ""
    assert watched.unready() == ""


def test_what_is_to_stay_free_is_kept_free(tmp_path):
    watched = Health(tmp_path, reserve_bytes=10**18)
    watched.serves(Agent())
    assert f"{format_size(10**18)} are to stay free" in watched.unready()
    assert not re.search(r"\d{7}", watched.unready().replace(str(tmp_path), ""))


def test_while_nobody_is_let_in_it_is_not_ready():
    why = [""]
    watched = Health(lets_nobody_in=lambda: why[0])
    watched.serves(Agent())
    assert watched.unready() == ""
    why[0] = "nobody is let in: revoked.txt, line 1"
    assert watched.unready() == why[0]


@pytest.mark.parametrize("name", ["gone", "a-file"])
def test_a_store_that_is_no_folder_any_more_cannot_be_written(tmp_path, name):
    (tmp_path / "a-file").touch()
    watched = Health(tmp_path / name)
    watched.serves(Agent())
    assert f"{name} cannot be written: " in watched.unready()
