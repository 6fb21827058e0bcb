"""The protocol as docs/protocol.md has it, spoken by hand: good, bad and repeated requests, in both worlds."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re

import msgpack
import numpy as np
import pytest
import torch

from collab import wire
from collab.agents.client import Patience, take_part
from collab.agents.messages import message, read_task, state_of, upload_message
from collab.agents.server import ServerAgent
from collab.compute import CPU
from collab.errors import RunFailedError
from collab.methods import Site, Upload, localdm
from collab.methods.localdm import Settings
from collab.privacy.inspection import ContentInspector
from simnet import Boundaries, LinkSpec, Message, Rule, SimulatedNetwork, SocketNetwork, problem, star
from simnet.errors import UnreachableError
from tests.collab.fleets import LocalFleet, even_parts, gaussians

both_worlds = pytest.mark.parametrize("world", ["simulated", "real"])
SETTINGS = Settings(images_per_class=3, width=4, depth=2, local_steps=2, local_batch_size=8, expand=2)
SITES = ("client-0", "client-1", "client-2")
LIMIT = 100_000


class Bench:
    """A server for three sites, of which the test may play any by hand."""

    def __init__(self, world="simulated", settings=SETTINGS, link=None, limit=LIMIT, dataset=None):
        self.dataset = dataset or gaussians()
        self.limit = limit
        tenants = {**dict.fromkeys(SITES, "sites"), "server": "cloud"}
        link = link or LinkSpec(1e9, 0.01)
        topology = star(SITES, access=link, server=link, tenant_of=tenants)
        rules = [Rule("cloud", frozenset({"synthetic"}))]
        boundaries = Boundaries(tenants, rules, ContentInspector())
        kind = SimulatedNetwork if world == "simulated" else SocketNetwork
        self.network = kind(topology, boundaries=boundaries)
        parts = even_parts(self.dataset, 3)
        self.sites = {
            site: Site(site, LocalFleet(localdm, settings, self.dataset, parts).data[site], CPU) for site in SITES
        }
        self.agent = ServerAgent(self.network.host("server"), SITES, self.dataset.spec, "localdm", settings, 1, CPU)

    def run(self, play):
        """Run the server beside `play(bench)`; returns what both return."""

        async def main():
            async with asyncio.TaskGroup() as group:
                server = group.create_task(self._as_task("server", self.agent.run(self.limit)))
                await self.agent.serving.wait()
                player = group.create_task(self._as_task("client-0", play(self)))
            return server.result(), player.result()

        return self.network.run(main)

    async def _as_task(self, host, program):
        return await self.network.host(host).start(program)

    async def take_part(self, *sites, **how):
        async with asyncio.TaskGroup() as group:
            for site in sites:
                program = take_part(self.network.host(site), "server", self.sites[site], **how)
                group.create_task(self._as_task(site, program))

    def ask(self, method, path, body=None, site="client-0", headers=None):
        return self.network.host(site).request("server", method, path, body, headers)

    async def task(self, site="client-0"):
        reply = await self.ask("GET", f"/v1/sites/{site}/task", site=site)
        assert reply.status == 200, reply
        return read_task(state_of(reply)[1])

    def work(self, task, site="client-0"):
        return upload_message(Upload(site, localdm.client(task, self.sites[site])), task.identity)

    def put(self, task, body, site="client-0", at=None):
        return self.ask("PUT", f"/v1/tasks/{task.identity}/uploads/{at or site}", body, site=site)


@both_worlds
def test_a_whole_run(world):
    bench = Bench(world)
    outcome, _ = bench.run(lambda bench: bench.take_part(*SITES))
    assert torch.equal(outcome.synthetic.images, honest_result())
    uploads = [event.values["site"] for event in bench.network.trace.of_kind("upload")]
    assert sorted(uploads) == list(SITES)
    assert not bench.network.boundaries.ledger.refused()


def test_a_task_says_all_that_a_stranger_needs():
    async def play(bench):
        reply = await bench.ask("GET", "/v1/sites/client-0/task")
        await bench.take_part(*SITES)
        return reply

    _, reply = Bench().run(play)
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(reply.message.body)
    assert unpacker.unpack()["schema"] == "collab/1"
    fields = unpacker.unpack()["fields"]
    assert (fields["state"], fields["method"], fields["seed"], fields["share"]) == ("task", "localdm", 1, 1)
    assert fields["settings"]["local_steps"] == 2
    assert fields["expects"]["synthetic"]["images"] == {
        "dtype": "float32", "shape": ["images", 1, 16, 16], "low": -1000.0, "high": 1000.0, "longest": 4,
    }  # fmt: skip


@both_worlds
def test_waiting_sites_are_told_to_ask_again_and_then_that_it_is_over(world):
    async def play(bench):
        task = await bench.task()
        done = await bench.put(task, bench.work(task))
        at_once = await bench.ask("GET", "/v1/sites/client-0/task")
        waited = await bench.ask("GET", "/v1/sites/client-0/task", headers={"Prefer": "wait=1"})
        others = asyncio.create_task(bench.take_part("client-1", "client-2"))
        over = await bench.ask("GET", "/v1/sites/client-0/task", headers={"Prefer": "wait=60"})
        again = await bench.ask("GET", "/v1/sites/client-0/task")
        await others
        return done, at_once, waited, over, again

    _, (done, at_once, waited, over, again) = Bench(world).run(play)
    assert done.status == 201
    assert (at_once.status, at_once.headers["Retry-After"], at_once.message.body) == (204, "1", b"")
    assert (waited.status, waited.headers["Retry-After"]) == (204, "0")
    assert state_of(over)[0] == state_of(again)[0] == "done"


def test_a_held_request_is_answered_when_it_can_be_not_later():
    async def play(bench):
        task = await bench.task()
        await bench.put(task, bench.work(task))
        began_s = bench.network.now()
        reply = await bench.ask("GET", "/v1/sites/client-0/task", headers={"Prefer": "wait=5"})
        held_s = bench.network.now() - began_s
        await bench.take_part(*SITES[1:])
        await bench.ask("GET", "/v1/sites/client-0/task")
        return reply.status, held_s

    _, (status, held_s) = Bench().run(play)
    assert status == 204
    assert held_s == pytest.approx(5.041, abs=1e-3)  # and a round trip, with what the hosts add to it


def test_who_waits_is_sent_away_when_the_server_is_to_stop():
    async def play(bench):
        task = await bench.task()
        await bench.put(task, bench.work(task))
        waiting = asyncio.create_task(bench.ask("GET", "/v1/sites/client-0/task", headers={"Prefer": "wait=60"}))
        await asyncio.sleep(3)
        bench.agent.send_away()
        began_s = bench.network.now()
        replies = [await waiting, await bench.ask("GET", "/v1/sites/client-0/task", headers={"Prefer": "wait=60"})]
        took_s = bench.network.now() - began_s
        task_still = await bench.task("client-1")
        await bench.take_part(*SITES[1:])
        return replies, took_s, task_still == task

    _, (replies, took_s, given) = Bench().run(play)
    assert [(reply.status, reply.headers["Retry-After"]) for reply in replies] == [(204, "2"), (204, "2")]
    assert took_s < 0.1
    assert given  # those for whom there is work still get it


@both_worlds
def test_the_same_upload_twice_is_accepted_once(world):
    async def play(bench):
        task = await bench.task()
        body = bench.work(task)
        first, second = await bench.put(task, body), await bench.put(task, body)
        changed = wire.unpack(body.body)
        images = changed.sections["synthetic"]["images"].values() + 1
        section = {**changed.sections["synthetic"], "images": wire.encode(images)}
        other = await bench.put(task, message(changed.fields, {"synthetic": section}))
        await bench.take_part(*SITES)
        return first, second, other

    outcome, (first, second, other) = Bench(world).run(play)
    assert first.status == 201
    assert (second.status, second.code) == (409, "already-accepted")
    assert "this very upload was accepted" in second.reason
    assert (other.status, other.code) == (409, "already-accepted")
    assert "another upload of this site was accepted" in other.reason
    assert torch.equal(outcome.synthetic.images, honest_result())


@functools.cache
def honest_result():
    dataset = gaussians()
    return LocalFleet(localdm, SETTINGS, dataset, even_parts(dataset, 3)).run().synthetic.images


def truncated(body):
    return Message(body.body[:-7], body.kinds)


def flipped(body):
    damaged = bytearray(body.body)
    damaged[len(damaged) // 2] ^= 4
    return Message(bytes(damaged), body.kinds)


def oversized(body):
    return Message(body.body + b"\0" * (LIMIT + 200_000), body.kinds)


def wrong_schema(body):
    inner = body.body[len(msgpack.packb({"schema": "collab/1", "checksum": bytes(32)})) :]
    head = msgpack.packb({"schema": "collab/9", "checksum": hashlib.sha256(inner).digest()})
    return Message(head + inner, body.kinds)


def rewritten(change):
    def rewrite(body):
        content = wire.unpack(body.body)
        section = dict(content.sections["synthetic"])
        section.update(change(section))
        return message(content.fields, {"synthetic": section})

    return rewrite


def with_images(function, dtype="float32"):
    return rewritten(lambda section: {"images": wire.encode(function(section["images"].values().copy()), dtype)})


def not_a_number(images):
    images[1, 0, 3, 3] = np.nan
    return images


BAD_UPLOADS = [
    (truncated, 400, "unreadable", "truncated or altered"),
    (flipped, 400, "unreadable", "checksum does not match"),
    (oversized, 413, "too-large", ""),
    (wrong_schema, 400, "unreadable", "schema 'collab/9', expected 'collab/1'"),
    (
        with_images(lambda images: images * 255, "uint8"),
        400,
        "unreadable",
        "consists of images, labels, lows, steps",
    ),
    (
        lambda body: message(wire.unpack(body.body).fields | {"more": "x" * 2000}, wire.unpack(body.body).sections),
        422,
        "not-as-asked",
        "the fields take",
    ),
    (
        with_images(lambda images: images[0]),
        400,
        "unreadable",
        "3 axes; expected float16 or float32 or uint8 with 4",
    ),
    (with_images(lambda images: images[:, :, :8]), 422, "not-as-asked", "synthetic.images has the shape"),
    (with_images(not_a_number), 422, "not-as-asked", "synthetic.images holds numbers that are not finite"),
    (with_images(lambda images: images * 1e5), 422, "not-as-asked", "synthetic.images lies in"),
    (
        rewritten(lambda section: {"labels": wire.encode(section["labels"].values() + 9)}),
        422,
        "not-as-asked",
        r"synthetic.labels lies in \[9, 12\], expected within \[0, 3\]",
    ),
    (
        with_images(lambda images: np.tile(images, (9, 1, 1, 1))),
        422,
        "not-as-asked",
        "synthetic.images has 36 rows, the task allows 4",
    ),
    (lambda body: message(wire.unpack(body.body).fields | {"task": "x"}, {}), 422, "not-as-asked", "for the task 'x'"),
    (lambda body: message({"site": "client-0"}, {}), 422, "not-as-asked", "for the task None"),
]


@both_worlds
@pytest.mark.parametrize(("spoil", "status", "code", "reason"), BAD_UPLOADS)
def test_a_bad_upload_is_answered_and_changes_nothing(world, spoil, status, code, reason, monkeypatch):
    """4xx with a reason; the server goes on, and the run completes with the honest clients."""

    async def play(bench):
        task = await bench.task()
        monkeypatch.setattr(bench.network.host("client-0")._carriage, "_check", lambda crossing, leaving: None)
        reply = await bench.put(task, spoil(bench.work(task)))
        await bench.take_part(*SITES)
        return reply

    outcome, reply = Bench(world).run(play)
    assert (reply.status, reply.code) == (status, code)
    assert reply.reason

    assert re.search(reason, reply.reason)
    assert torch.equal(outcome.synthetic.images, honest_result())


@both_worlds
def test_an_upload_of_another_run_or_site_cannot_be_played_again(world):
    async def play(bench):
        task = await bench.task()
        body = bench.work(task)
        old = await bench.ask("PUT", "/v1/tasks/localdm-1-0000000000000000/uploads/client-0", body)
        stolen = await bench.put(task, body, site="client-1")
        spoken_for = await bench.put(task, body, site="client-1", at="client-0")
        nobody = await bench.ask("PUT", f"/v1/tasks/{task.identity}/uploads/client-9", body)
        eavesdropped = await bench.ask("GET", "/v1/sites/client-1/task")
        await bench.take_part(*SITES)
        return old, stolen, spoken_for, nobody, eavesdropped

    outcome, replies = Bench(world).run(play)
    assert [(reply.status, reply.code) for reply in replies] == [
        (404, "unknown-task"),
        (422, "not-as-asked"),
        (403, "not-you"),
        (404, "unknown-site"),
        (403, "not-you"),
    ]
    assert all(reply.reason for reply in replies)
    assert torch.equal(outcome.synthetic.images, honest_result())


def test_a_late_upload_is_told_so():
    async def play(bench):
        task = await bench.task("client-0")
        bench.agent._rounds[task.identity].answered.clear()
        bench.agent._current = None
        late = await bench.put(task, bench.work(task))
        bench.agent._current = bench.agent._rounds[task.identity]
        await bench.take_part(*SITES)
        return late

    _, late = Bench().run(play)
    assert (late.status, late.code) == (410, "late")


def test_a_round_that_is_over_keeps_no_tensors():
    """A server of many rounds sends a network in each: its memory must not grow with their number."""

    async def play(bench):
        await bench.task("client-0")
        (this,) = bench.agent._rounds.values()
        assert all(ask.expects for ask in this.asks.values())
        await bench.take_part(*SITES)
        return this

    _, this = Bench().run(play)
    assert set(this.asks) == set(this.answered) == set(SITES)
    assert not any(ask.sections or ask.expects for ask in this.asks.values())


def test_a_failing_server_tells_its_sites_why(monkeypatch):
    async def broken(fleet):
        raise RunFailedError("out of paper")

    monkeypatch.setattr(localdm, "server", broken)

    async def play(bench):
        with pytest.raises(RunFailedError, match="the server gave up: out of paper"):
            await bench.take_part("client-0")

    with pytest.raises(ExceptionGroup) as caught:
        Bench().run(play)
    assert "out of paper" in [str(error) for error in caught.value.exceptions]


class Flaky:
    """A host whose requests fail in given ways before they work."""

    name = "client-0"

    def __init__(self, host, troubles):
        self._host, self._troubles = host, list(troubles)
        self.tried = 0

    def __getattr__(self, name):
        return getattr(self._host, name)

    async def request(self, *args, **how):
        self.tried += 1
        if self._troubles:
            trouble = self._troubles.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        return await self._host.request(*args, **how)


def test_a_site_repeats_what_failed():
    bench = Bench()

    async def play(bench):
        troubles = [UnreachableError("no route"), problem(503, "busy", "later"), problem(408, "slow", "again")]
        flaky = Flaky(bench.network.host("client-0"), troubles)
        began_s = bench.network.now()
        joining = take_part(flaky, "server", bench.sites["client-0"], on_trouble=told.append)
        first = asyncio.create_task(joining)
        await bench.take_part(*SITES[1:])
        await first
        return bench.network.now() - began_s

    told = []
    _, took_s = bench.run(play)
    assert took_s > 1 + 2 + 4  # the pauses
    assert told == ["no route", ""]  # why it began, and that it is over


def test_a_server_in_trouble_is_told_of_with_its_words():
    async def play(bench):
        flaky = Flaky(bench.network.host("client-0"), [problem(503, "shutting-down", "come again")])
        joining = take_part(flaky, "server", bench.sites["client-0"], on_trouble=told.append)
        await asyncio.gather(joining, bench.take_part(*SITES[1:]))

    told = []
    Bench().run(play)
    assert told == ["server answered 503: come again", ""]


def test_pauses_grow_and_differ_from_site_to_site():
    patience = Patience(first_pause_s=1.0, longest_pause_s=30.0)
    pauses = {site: [patience.pause_s(attempt, site, "/v1/x") for attempt in range(1, 9)] for site in SITES}
    for pause in zip(*pauses.values(), strict=True):
        assert len(set(pause)) == len(SITES)
    for steady_s, pause_s in zip([1, 2, 4, 8, 16, 30, 30, 30], pauses["client-0"], strict=True):
        assert steady_s <= pause_s < 1.5 * steady_s
    assert pauses["client-0"] == [patience.pause_s(attempt, "client-0", "/v1/x") for attempt in range(1, 9)]
    assert patience.pause_s(1, "client-0", "/v1/y") != pauses["client-0"][0]


def test_a_site_gives_up_in_the_end():
    told = []

    async def play(bench):
        host = bench.network.host("client-0")
        dead = Flaky(host, [UnreachableError("no route")] * 3)
        with pytest.raises(UnreachableError, match="no route"):
            await take_part(dead, "server", bench.sites["client-0"], Patience(attempts=3))
        assert dead.tried == 3
        full = Flaky(host, [problem(507, "no-room", "later")] * 3)
        with pytest.raises(UnreachableError, match="server answered 507: later"):  # with a disk it can be back
            await take_part(full, "server", bench.sites["client-0"], Patience(attempts=3), on_trouble=told.append)
        assert told == ["server answered 507: later"]  # and not that it is well again
        refused = Flaky(host, [problem(403, "boundary", "not welcome")])
        with pytest.raises(RunFailedError, match="answered 403 when the site asked for a task: not welcome"):
            await take_part(refused, "server", bench.sites["client-0"])
        await bench.take_part(*SITES)

    Bench().run(play)


def test_an_answer_that_was_lost_does_no_harm():
    """The upload got through but its answer did not; the repeated one is answered 409, which counts as success."""

    class LosesFirstAnswer(Flaky):
        async def request(self, peer, method, *rest, **how):
            reply = await self._host.request(peer, method, *rest, **how)
            if method == "PUT" and self.tried == 0:
                self.tried += 1
                raise UnreachableError("connection lost")
            return reply

    async def play(bench):
        lossy = LosesFirstAnswer(bench.network.host("client-0"), [])
        first = asyncio.create_task(take_part(lossy, "server", bench.sites["client-0"]))
        await bench.take_part(*SITES[1:])
        await first
        return lossy.tried

    outcome, tried = Bench().run(play)
    assert tried == 1
    assert torch.equal(outcome.synthetic.images, honest_result())


def test_a_connection_cut_in_the_middle_of_an_upload():
    """Half a body and then nothing: the server goes on."""

    async def play(bench):
        task = await bench.task()
        body = bench.work(task).body

        async def cut():
            host = bench.network.url_of("server").removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(*host)
            head = f"PUT /v1/tasks/{task.identity}/uploads/client-0 HTTP/1.1\r\nHost: x\r\nBoundary-From: client-0\r\n"
            writer.write(f"{head}Boundary-Kind: synthetic\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body[: len(body) // 2])
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        await cut()
        await bench.take_part(*SITES)

    outcome, _ = Bench("real").run(play)
    assert torch.equal(outcome.synthetic.images, honest_result())
