"""Messages that go in parts get there once and whole, however often the connection breaks, in both worlds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import pytest
from aiohttp.http import SERVER_SOFTWARE
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet import LinkSpec, Message, Reply, Route, Rule, SimulatedNetwork, SocketNetwork, Tcp, problem, star
from simnet.disk import MemoryDisk
from simnet.errors import BoundaryError, RateError, SimnetError, UnreachableError
from simnet.fault_kinds import HostCrash
from simnet.faults import Planned
from simnet.limits import Rate
from simnet.resuming import Resuming
from simnet.spool import Spool
from simnet.verdicts import PASS, RESET, FaultRule

PIECE_BYTES = 64 * 1024
BODY = random.Random(7).randbytes(1_000_000)
MODEL = frozenset({"model"})


class Breaks(FaultRule):
    """Breaks connections of client-0 once so many bytes of its have come through, counted anew after each break."""

    def __init__(self, after_bytes):
        self.after_bytes = list(after_bytes)
        self.came_bytes = 0

    def message(self, transfer):
        if transfer.source != "client-0" or not self.after_bytes:
            return PASS
        if self.came_bytes + transfer.size_bytes > self.after_bytes[0]:
            self.came_bytes = 0
            self.after_bytes.pop(0)
            return RESET
        self.came_bytes += transfer.size_bytes
        return PASS


def simulated(carriage="http", capacity_bps=1e6):
    topology = star(["client-0"], access=LinkSpec(capacity_bps, 0.01), server=LinkSpec(1e9, 0.0))
    return SimulatedNetwork(topology, tcp=Tcp.plain(), carriage=carriage)


async def send(host, body=BODY, *, path="/things/a", attempts=30, pause_s=1.0):
    """Send a message as an agent does, again and again; the reply."""
    for _ in range(attempts):
        try:
            reply = await host.request("server", "PUT", path, Message(body, MODEL), resumable=True)
        except UnreachableError:
            await asyncio.sleep(pause_s)
        else:
            if reply.status < 500:
                return reply
            await asyncio.sleep(pause_s)
    raise AssertionError("it never came through")


def deliver(network, *, body=BODY, **route):
    """Send a message to a resumable route of the server: (what it heard, the reply)."""
    heard = []

    async def take(request):
        heard.append(bytes(request.message.body))
        return Reply(201)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("PUT", "/things/{name}", take, resumable=True, **route)]))
        return await client.start(send(client, body))

    return heard, network.run(main)


def parts(network):
    return [(event.values["offset"], event.values["bytes"]) for event in network.trace.of_kind("part")]


def boundary(**rule):
    """Options of a network in which client-0 sends across a boundary."""
    rules = [Rule("cloud", frozenset({"model"}), **rule)]
    return {"tenants": {"client-0": "sites", "client-1": "sites", "server": "cloud"}, "rules": rules}


@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_an_upload_that_breaks_at_ninety_percent_sends_the_last_ten(carriage):
    """1 MB over 1 Mbit/s, broken when 900 kB are there: 13 pieces of 64 KiB are in, and 148,032 bytes are left.

    TCP is plain here, so that every byte takes 8 us. After the break and a pause of 1 s: a handshake, one round trip
    to ask how much there is, and the rest.
    """
    network = simulated(carriage)
    network.faults.install(Breaks([900_000]))
    heard, reply = deliver(network)
    assert (heard, reply.status) == ([BODY], 204)
    done_bytes = 13 * PIECE_BYTES
    rest_bytes = len(BODY) - done_bytes
    assert parts(network) == [(0, done_bytes), (done_bytes, rest_bytes)]
    [fault] = network.trace.of_kind("fault")
    [first, second] = network.trace.of_kind("part")
    assert first.at_us - fault.at_us == 10_000  # the news takes one latency
    software_bytes = len(SERVER_SOFTWARE)
    asking_us = 30_000 + 8 * (242 + software_bytes)
    sending_us = 20_000 + 8 * (666 + 2 * software_bytes + rest_bytes)
    assert second.at_us - fault.at_us == 1_000_000 + asking_us + sending_us
    [arrival] = network.trace.of_kind("arrival")
    assert (arrival.at_us, arrival.values["bytes"]) == (second.at_us, len(BODY))
    assert len(network.trace.of_kind("request")) == len(network.trace.of_kind("reply")) == 1


def test_a_run_with_breaks_repeats_to_the_letter():
    digests = set()
    for _ in range(2):
        network = simulated()
        network.faults.install(Breaks([300_000, 200_000]))
        deliver(network)
        digests.add(network.trace.digest())
    assert len(digests) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 400_000), max_size=12), st.sampled_from(["http", "sized"]), st.integers(1, 400_000))
def test_whatever_breaks_the_message_arrives_once_and_whole(after_bytes, carriage, size_bytes):
    network = simulated(carriage, 1e8)
    network.faults.install(Breaks(after_bytes))
    heard, reply = deliver(network, body=BODY[:size_bytes])
    assert (heard, reply.status) == ([BODY[:size_bytes]], 204)
    offset = 0
    for begins_at, came_bytes in parts(network):
        assert begins_at == offset
        offset += came_bytes
    assert offset == size_bytes


@pytest.mark.parametrize("world", ["simulated", "real", "sized"])
def test_a_message_crosses_a_boundary_once_however_often_it_breaks(make_network, world):
    network = make_network(
        world=world, access=LinkSpec(1e7, 0.01), **boundary(at_most_bytes=len(BODY), at_most_count=1)
    )
    if world != "real":
        network.faults.install(Breaks([300_000, 300_000]))
    heard, reply = deliver(network)
    assert (heard, reply.status) == ([BODY], 204)
    crossed = [(entry.point, entry.source, entry.kind, entry.size_bytes) for entry in network.boundaries.ledger]
    assert crossed == [
        ("leaving", "client-0", "model", len(BODY)),
        ("arriving", "client-0", "model", len(BODY)),
        ("leaving", "server", "control", 0),
        ("arriving", "server", "control", 0),
    ]
    assert {entry.verdict for entry in network.boundaries.ledger} == {"crossed"}


@pytest.mark.parametrize("world", ["simulated", "real"])
def test_what_may_not_leave_is_not_even_announced(make_network, world):
    network = make_network(world=world, **boundary(at_most_bytes=10))
    with pytest.raises(BoundaryError, match="at most 10"):
        deliver(network)
    assert [event.kind for event in network.trace if event.host == "server"] == []


def test_a_rate_holds_back_a_message_and_not_its_parts(make_network):
    network = make_network(access=LinkSpec(1e7, 0.01), **boundary(at_most_rate=Rate(1, 100.0, "messages")))
    network.faults.install(Breaks([300_000]))

    async def take(request):
        return Reply(201)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("PUT", "/things/{name}", take, resumable=True)]))
        first = await client.start(send(client))
        with pytest.raises(RateError):
            await client.start(send(client, BODY[:-1]))
        return first

    assert network.run(main).status == 204


@pytest.mark.parametrize("world", ["simulated", "real", "sized"])
def test_a_service_that_takes_no_parts_gets_the_message_whole(make_network, world):
    network = make_network(world=world)

    async def take(request):
        return Reply(201, Message(str(len(request.message.body)).encode()))

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("PUT", "/things/{name}", take)]))
        return await client.start(send(client))

    reply = network.run(main)
    assert (reply.status, reply.message.body) == (201, b"1000000")


def test_a_site_that_crashes_goes_on_where_it_was(make_network):
    """Its memory is gone; its disk knows the upload."""
    network = make_network(access=LinkSpec(1e6, 0.01))
    network.faults.schedule([Planned(5.0, HostCrash("client-0"), 20.0)])
    heard = []

    async def take(request):
        heard.append(bytes(request.message.body))
        return Reply(201)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("PUT", "/things/{name}", take, resumable=True)]))
        reply = await client.boot(lambda: send(client))
        return reply, client.disk.keys()

    reply, left = network.run(main)
    assert (reply.status, heard, left) == (204, [BODY], [])
    [(begins_at, first_bytes), (resumes_at, rest_bytes)] = parts(network)
    assert (begins_at, resumes_at, first_bytes + rest_bytes) == (0, first_bytes, len(BODY))
    assert first_bytes > 500_000


def served_with_crashes(network, *crashes, attempts=30):
    """A message to a server that crashes at such times, for 20 s each: (what it heard, the reply, its disk)."""
    network.faults.schedule([Planned(at_s, HostCrash("server"), 20.0) for at_s in crashes])
    server, heard = network.host("server"), []

    async def take(request):
        heard.append(bytes(request.message.body))
        return Reply(201)

    async def serve():
        await server.serve([Route("PUT", "/things/{name}", take, resumable=True)])
        await asyncio.Event().wait()

    async def main():
        server.boot(serve)
        await asyncio.sleep(0.1)
        return await network.host("client-0").start(send(network.host("client-0"), attempts=attempts))

    return heard, network.run(main), server.disk


@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_a_server_that_crashes_has_what_had_come(carriage):
    """1 Mbit/s from 0.1 s on: after 5 s nine pieces of 64 KiB are there, after 25 s the other bytes are asked for."""
    network = simulated(carriage)
    heard, reply, disk = served_with_crashes(network, 5.0)
    assert (heard, reply.status) == ([BODY], 204)
    assert parts(network) == [(0, 9 * PIECE_BYTES), (9 * PIECE_BYTES, len(BODY) - 9 * PIECE_BYTES)]
    assert [key for key in disk.keys("") if "/body/" in key] == []  # the record says how it ended


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.11, 100.0), max_size=4))
def test_whenever_a_server_crashes_the_message_arrives_whole_and_no_byte_twice(crashes):
    network = simulated()
    heard, reply, _ = served_with_crashes(network, *crashes, attempts=200)
    assert reply.status == 204
    assert set(heard) == {BODY}
    offset = 0
    for begins_at, came_bytes in parts(network):
        assert begins_at == offset
        offset += came_bytes
    assert offset == len(BODY)


def test_uploads_to_a_path_within_another_outlast_a_crash_too():
    network = simulated()
    network.faults.schedule([Planned(5.0, HostCrash("server"), 20.0)])
    server, client = network.host("server"), network.host("client-0")

    async def take(request):
        return Reply(201)

    async def serve():
        paths = ("/things", "/things/body", "/things/record", "/things/{name}")
        await server.serve([Route("PUT", path, take, resumable=True) for path in paths])
        await asyncio.Event().wait()

    async def main():
        server.boot(serve)
        await asyncio.sleep(0.1)
        return await client.start(send(client, path="/things/body"))

    assert network.run(main).status == 204
    assert [begins_at for begins_at, _ in parts(network)] == [0, 9 * PIECE_BYTES]


def test_a_server_whose_disk_was_replaced_gets_the_message_anew():
    network = simulated()
    network.faults.schedule([Planned(5.0, HostCrash("server"), 20.0)])

    async def main():
        server, client = network.host("server"), network.host("client-0")

        async def take(request):
            heard.append(bytes(request.message.body))
            return Reply(201)

        async def serve():
            for key in server.disk.keys(""):
                server.disk.delete(key)
            await server.serve([Route("PUT", "/things/{name}", take, resumable=True)])
            await asyncio.Event().wait()

        server.boot(serve)
        await asyncio.sleep(0.1)
        return await client.start(send(client))

    heard = []
    assert network.run(main).status == 204
    assert heard == [BODY]
    assert [begins_at for begins_at, _ in parts(network)] == [0, 0]


def test_after_trouble_of_the_service_no_byte_goes_again():
    network = simulated()
    replies = [problem(503, "busy", "come again"), problem(503, "busy", "come again"), Reply(201)]
    heard = []

    async def take(request):
        heard.append(len(request.message.body))
        return replies.pop(0)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("PUT", "/things/{name}", take, resumable=True)]))
        return await client.start(send(client))

    assert network.run(main).status == 204
    assert heard == [len(BODY)] * 3
    assert parts(network) == [(0, len(BODY)), (len(BODY), 0), (len(BODY), 0)]


def test_only_what_is_put_can_be_resumed(make_network):
    network = make_network()

    async def main():
        await network.host("client-0").request("server", "POST", "/", Message(b"x"), resumable=True)

    with pytest.raises(SimnetError, match="only what is put"):
        network.run(main)


class Answering:
    """A peer that says what it is told to say, in order: (status, headers, code)."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.admitted = []

    async def __call__(self, method, path, message, headers):
        self.asked.append((method, path, len(message.body)))
        status, told, code = self.answers.pop(0)
        return Reply(status, problem(status, code, "").message if code else Message(), told)

    def exchange(self, disk=None):
        resuming = Resuming("server", disk or MemoryDisk(), self, self.admitted.append)
        return asyncio.run(resuming.exchange("/things/a", Message(b"12345678"), {}))


BEGUN = (201, {"Location": "/things/a/f00"}, "")
DONE = (204, {"Upload-Offset": "8"}, "")


@pytest.mark.parametrize("location", ["http://elsewhere/things/a/f00", "//elsewhere/f00", "/others/f00", "f00"])
def test_a_server_cannot_send_a_message_elsewhere(location):
    peer = Answering((201, {"Location": location}, ""), DONE)
    assert peer.exchange().status == 204
    assert peer.asked[1] == ("PATCH", "/things/a/f00", 8)


@pytest.mark.parametrize(
    "answers",
    [
        [(201, {}, "")],
        [(201, {"Location": "/things/a/../../secrets?x"}, "")],
        [BEGUN, (204, {}, "")],
        [BEGUN, (204, {"Upload-Offset": "3"}, "")],
    ],
)
def test_who_does_not_speak_tus_is_taken_for_a_broken_connection(answers):
    with pytest.raises(UnreachableError, match=r"tus 1\.0"):
        Answering(*answers).exchange()


@pytest.mark.parametrize("offset", ["9", "-1", "x"])
def test_an_offset_must_be_one(offset):
    disk = MemoryDisk()
    begun = Answering(BEGUN, (503, {}, "busy"))
    assert begun.exchange(disk).status == 503
    with pytest.raises(UnreachableError, match="Upload-Offset"):
        Answering((200, {"Upload-Offset": offset}, "")).exchange(disk)


def test_a_server_that_loses_all_again_and_again_is_given_up_for_now():
    lost = (410, {}, "upload-gone")
    peer = Answering(*[BEGUN, lost] * 4)
    assert peer.exchange().code == "upload-gone"
    assert (len(peer.asked), len(peer.admitted)) == (8, 3)


def test_an_upload_is_only_that_of_the_same_message():
    disk = MemoryDisk()
    Answering(BEGUN, (503, {}, "busy")).exchange(disk)
    [key] = disk.keys()
    known = json.loads(disk.read(key))
    disk.write(key, json.dumps({**known, "digest": "of another"}).encode())
    peer = Answering(BEGUN, DONE)
    peer.exchange(disk)
    assert [method for method, _, _ in peer.asked] == ["POST", "PATCH"]


def test_what_the_disk_has_lost_is_announced_anew():
    disk = MemoryDisk()
    Answering(BEGUN, (503, {}, "busy")).exchange(disk)
    [key] = disk.keys()
    disk.write(key, b"{")
    assert Answering(BEGUN, DONE).exchange(disk).status == 204
    assert disk.keys() == []


class Cutting:
    """A proxy on loopback that breaks each connection after so many bytes of the asker's, then lets all through."""

    def __init__(self, after_bytes):
        self.after_bytes = list(after_bytes)
        self.passed_bytes = 0
        self.cut = 0

    @contextlib.asynccontextmanager
    async def before(self, port):
        self._target = port
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _pass_on(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        limit = self.after_bytes.pop(0) if self.after_bytes else None
        back = asyncio.create_task(self._copy(there_reader, writer, None))
        if not await self._copy(reader, there_writer, limit):
            self.cut += 1
            for one in (writer, there_writer):
                one.transport.abort()
        await back

    async def _copy(self, reader, writer, limit):
        with contextlib.suppress(OSError):
            while piece := await reader.read(32 * 1024):
                if limit is not None:
                    piece, limit = piece[:limit], limit - len(piece[:limit])
                    self.passed_bytes += len(piece)
                writer.write(piece)
                await writer.drain()
                if limit == 0:
                    await asyncio.sleep(0.05)  # what was passed on arrives
                    return False
        writer.close()
        return True


@pytest.mark.parametrize("spooled", [False, True])
def test_over_sockets_a_connection_that_is_cut_goes_on_where_it_was(tmp_path, spooled):
    proxy = Cutting([900_000, 60_000, 0])
    topology = star(["client-0"], access=LinkSpec(1e6, 0.01), server=LinkSpec(1e9, 0.0))
    network = SocketNetwork(topology)
    heard = []

    async def take(request):
        heard.append((type(request.message).__name__, bytes(request.message.body)))
        return Reply(201)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        route = Route("PUT", "/things/{name}", take, resumable=True, spool=Spool(tmp_path) if spooled else None)
        await server.serve([route])
        async with asyncio.timeout(60), proxy.before(int(network.url_of("server").rsplit(":", 1)[1])) as url:
            network._urls["server"] = url
            return await client.start(send(client, pause_s=0.01))

    assert network.run(main).status == 204
    assert heard == [("SpooledMessage" if spooled else "Message", BODY)]
    came = parts(network)
    assert sum(size_bytes for _, size_bytes in came) == len(BODY)
    assert 800_000 < came[0][1] < 900_000
    assert proxy.cut == 3
    assert list(tmp_path.glob("**/bodies/*")) == []
