"""What becomes of a run stands in the log: states, rounds, that it goes on, and what is in the way; each once."""

from __future__ import annotations

import io
import json

import pytest

from collab.deploy import logs
from collab.deploy.chronicle import MOST_NAMED, Chronicle
from collab.deploy.health import Health
from collab.deploy.watch import Watch
from tests.collab.deploy.test_health import SITES, Agent


@pytest.fixture
def stream():
    found = io.StringIO()
    with logs.written("info", "json", found):
        yield found


def told(stream):
    """What was written since this was last asked, without moments."""
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    stream.seek(0)
    stream.truncate()
    return [{name: value for name, value in line.items() if name not in ("at", "level")} for line in lines]


def state(name, number):
    return {"event": "state", "state": name, "round": number}


def over(number, uploads, missing=(), **more):
    return {
        "event": "round-over", "round": number, "uploads": uploads, "missing": list(missing),
        "missing_in_all": len(missing), **more,
    }  # fmt: skip


def test_states_and_rounds_are_told_when_they_change(stream):
    health, agent = Health(), Agent()
    chronicle = Chronicle(health)
    for _ in range(2):
        chronicle.look()
    assert told(stream) == [state("starting", 0)]
    health.serves(agent)
    first = agent.begin("task-1")
    chronicle.look()
    assert told(stream) == [state("collecting", 1)]
    first.take_in("client-0", "digest")
    first.take_in("client-1", "digest")
    chronicle.look()
    assert told(stream) == []
    first.closed = "deadline"
    for _ in range(2):
        chronicle.look()
    assert told(stream) == [over(1, 2, ["client-2"], reason="deadline"), state("computing", 1)]
    second = agent.begin("task-2")
    for site in SITES:
        second.take_in(site, "digest")
    agent.is_over = True
    chronicle.look()
    health.is_over()
    chronicle.look()
    assert told(stream) == [over(2, 3), state("telling", 2), state("judging", 2)]


def test_a_server_that_goes_on_says_with_what_and_who_is_missing(stream):
    health, agent = Health(), Agent()
    chronicle = Chronicle(health)
    health.serves(agent, ["task-1", "task-2"])
    first = agent.begin("task-1")
    for site in SITES:
        first.take_in(site, "digest")
    chronicle.look()
    assert told(stream) == [state("catching-up", 1)]
    agent.begin("task-2").take_in("client-1", "digest")
    for _ in range(2):
        chronicle.look()
    goes_on, collecting = told(stream)
    assert goes_on.pop("text") == "an earlier server of this run has ended before it was over"
    assert goes_on == {
        "event": "goes-on", "round": 2, "uploads": 4, "missing": ["client-0", "client-2"], "missing_in_all": 2
    }  # fmt: skip
    assert collecting == state("collecting", 2)


def test_of_many_missing_sites_some_are_named(stream):
    health, agent = Health(), Agent()
    health.serves(agent)
    this = agent.begin("task-1")
    this.asks = dict.fromkeys((f"client-{number}" for number in range(500)), this.asks["client-0"])
    this.closed = "deadline"
    Chronicle(health).look()
    line = told(stream)[0]
    assert (len(line["missing"]), line["missing_in_all"]) == (MOST_NAMED, 500)


def test_trouble_is_a_warning_at_the_start_and_when_it_changes(stream, tmp_path):
    why = [""]
    health = Health(lets_nobody_in=lambda: why[0])
    chronicle = Chronicle(health)
    for why[0] in ("", "list, line 1", "list, line 2", ""):
        chronicle.look_for_trouble()
    assert told(stream) == [
        {"event": "trouble", "about": "access", "text": "list, line 1"},
        {"event": "trouble-over", "about": "access", "text": "over: list, line 2"},
    ]
    with Watch(SITES, store=tmp_path, reserve_bytes=10**18):
        pass
    begun, trouble = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (begun["event"], begun["state"]) == ("state", "starting")
    assert (trouble["event"], trouble["level"], trouble["about"]) == ("trouble", "warning", "store")
    assert "are to stay free" in trouble["text"]
