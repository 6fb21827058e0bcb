"""Uploads in parts, as the agents send and take them."""

from __future__ import annotations

import asyncio

import pytest
import torch

from collab.agents.client import Patience
from collab.methods import localdm
from simnet import Message, Reply
from simnet.errors import InterruptedPartsError, UnreachableError
from tests.collab.agents.test_protocol import SETTINGS, SITES, Bench, both_worlds
from tests.collab.fleets import LocalFleet, even_parts

TUS = {"Tus-Resumable": "1.0.0"}


@both_worlds
def test_a_whole_run_in_parts_has_the_same_result(world):
    bench = Bench(world)
    outcome, _ = bench.run(lambda bench: bench.take_part(*SITES, resumable=True))
    alone = LocalFleet(localdm, SETTINGS, bench.dataset, even_parts(bench.dataset, 3)).run()
    assert torch.equal(outcome.synthetic.images, alone.synthetic.images)
    trace = bench.network.trace
    sizes = sorted((event.values["peer"], event.values["bytes"]) for event in trace.of_kind("part"))
    assert [site for site, _ in sizes] == list(SITES)
    arrived = [event for event in trace.of_kind("arrival") if event.values["method"] == "PUT"]
    assert sorted((event.values["peer"], event.values["bytes"]) for event in arrived) == sizes
    assert not bench.network.boundaries.ledger.refused()


def announce(bench, task, site="client-0", at=None, **headers):
    path = f"/v1/tasks/{task.identity}/uploads/{at or site}"
    return bench.ask("POST", path, Message(), site, {**TUS, "Upload-Length": "5", **headers})


def test_what_will_be_refused_is_refused_before_a_byte_comes():
    async def play(bench):
        task = await bench.task()
        others = [
            await announce(bench, task, at="client-1"),
            await announce(bench, task, at="client-9"),
            await bench.ask("POST", "/v1/tasks/other/uploads/client-0", None, headers={**TUS, "Upload-Length": "5"}),
        ]
        first = await announce(bench, task)
        await bench.put(task, bench.work(task))
        again = await announce(bench, task)
        await bench.take_part("client-1", "client-2")
        return [(reply.status, reply.code) for reply in (*others, first, again)]

    _, told = Bench().run(play)
    assert told == [
        (403, "not-you"),
        (404, "unknown-site"),
        (404, "unknown-task"),
        (201, ""),
        (409, "already-accepted"),
    ]


def test_what_comes_in_parts_is_inspected_when_it_is_whole():
    async def play(bench):
        bench.network.boundaries.inspector = Blind(bench.network.boundaries.inspector, "client-0")
        task = await bench.task()
        body = bench.work(task).body
        path, kinds = f"/v1/tasks/{task.identity}/uploads/client-0", frozenset({"synthetic"})
        replies = [
            await bench.network.host("client-0").request("server", "PUT", path, Message(wrong, kinds), resumable=True)
            for wrong in (body[:-1], body[:-1] + b"!", bench.work(task, "client-1").body)
        ]
        await bench.take_part(*SITES)
        return [(reply.status, reply.code) for reply in replies]

    _, told = Bench().run(play)
    assert told == [(400, "unreadable"), (400, "unreadable"), (422, "not-as-asked")]


class Blind:
    """Sees nothing of what one host sends, like an attacker's own."""

    def __init__(self, inspector, host):
        self.inspector = inspector
        self.host = host

    def inspect(self, host, body, point):
        return None if (host, point) == (self.host, "leaving") else self.inspector.inspect(host, body, point)


class Breaking:
    """A host whose uploads break, each getting so many bytes further than the one before."""

    name = "client-0"

    def __init__(self, gains):
        self.gains = list(gains)
        self.asked = 0

    async def request(self, server, method, path, message, headers, *, resumable):
        assert resumable == (method == "PUT")
        self.asked += 1
        if self.gains:
            raise InterruptedPartsError("it broke", self.gains.pop(0))
        return Reply(204)


def send(host, **patience):
    from collab.agents.client import _persist

    patience = Patience(**{"attempts": 3, "first_pause_s": 0.0, **patience})
    return asyncio.run(_persist(host, "server", "PUT", "/", Message(b"x"), patience=patience, resumable=True))


def test_patience_lasts_as_long_as_an_upload_gets_further():
    host = Breaking([0, 0] + [5, 0] * 20)
    assert send(host).status == 204
    assert host.asked == 43


def test_an_upload_that_gets_no_further_is_given_up():
    with pytest.raises(UnreachableError, match="it broke"):
        send(Breaking([0, 5, 0, 0]))
