"""Large bodies go to files as they come; what nobody takes over is gone."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from simnet import LinkSpec, Message, Route, SimulatedNetwork, SocketNetwork, star
from simnet.carriage import DIGEST_HEADER, FROM_HEADER, content_digest
from simnet.services import Reply
from simnet.sessions import new_session
from simnet.spool import LONGEST_LULL_S, SMALLEST_SPOOLED_BYTES, Spool, SpooledMessage, SpoolError

TOPOLOGY = star(["client-0", "client-1"], access=LinkSpec(1e8, 0.001), server=LinkSpec(1e9, 0.001))
LARGE = bytes(range(256)) * 4000


def exchange(network, spool, bodies, *, take=None, limit_bytes=10_000_000):
    """Send bodies to a spooled route; what it saw of each, and the answers."""
    seen = []

    async def handler(request):
        message = request.message
        seen.append((type(message), bytes(message.body), message.digest, len(message.body)))
        if take is not None:
            message.file.settle(take)
        return Reply(201)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.serve([Route("PUT", "/x", handler, spool=spool)], body_limit_bytes=limit_bytes)

        async def send():
            return [await client.request("server", "PUT", "/x", Message(body)) for body in bodies]

        return await client.start(send())

    return seen, network.run(main)


@pytest.mark.parametrize("network", [SocketNetwork, SimulatedNetwork])
def test_a_large_body_is_in_a_file_and_a_small_one_in_memory(tmp_path, network):
    small = b"x" * (SMALLEST_SPOOLED_BYTES - 1)
    seen, replies = exchange(network(TOPOLOGY), Spool(tmp_path), [LARGE, small, b""])
    assert [reply.status for reply in replies] == [201] * 3
    assert [kind for kind, *_ in seen] == [SpooledMessage, Message, Message]
    for (_, body, digest, size), sent in zip(seen, [LARGE, small, b""], strict=True):
        assert body == sent
        assert digest == hashlib.sha256(sent).hexdigest()
        assert size == len(sent)
    assert list(tmp_path.iterdir()) == []


def test_whoever_serves_may_take_the_file_over(tmp_path):
    exchange(SocketNetwork(TOPOLOGY), Spool(tmp_path / "spool"), [LARGE], take=tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == LARGE
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("body", [LARGE, b"small"])
@pytest.mark.parametrize(
    ("told", "status"),
    [(None, 201), (content_digest(Message(b"other").digest), 400), ("sha-256=:nonsense:", 400), ("", 400)],
)
def test_a_digest_that_is_told_must_be_the_bodys(tmp_path, body, told, status):
    """By hand, since whoever uses `Host.request` tells the right one."""
    seen = []

    async def handler(request):
        seen.append((bytes(request.message.body), request.message.intact))
        return Reply(201)

    network = SocketNetwork(TOPOLOGY)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.serve([Route("PUT", "/x", handler, spool=Spool(tmp_path))])
        reply = await client.start(client.request("server", "PUT", "/x", Message(body)))
        headers = {} if told is None else {DIGEST_HEADER: told}
        async with (
            new_session(headers={FROM_HEADER: "client-0"} | headers) as session,
            session.put(network.url_of("server") + "/x", data=body) as response,
        ):
            return reply.status, response.status, await response.text()

    told_rightly, found, text = network.run(main)
    assert (told_rightly, found) == (201, status)
    assert ("urn:problem:altered" in text) == (status == 400)
    # Apart from its body a digest was told for the first one; what is in memory, nobody calls intact.
    assert seen == [(body, body is LARGE), (body, False)][: 1 + (status == 201)]


def test_a_body_that_is_too_large_is_refused_and_leaves_nothing(tmp_path):
    seen, (reply,) = exchange(SocketNetwork(TOPOLOGY), Spool(tmp_path), [LARGE], limit_bytes=500_000)
    assert (seen, reply.status, reply.code) == ([], 413, "too-large")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, piece):
        raise SpoolError("No space left on device")

    monkeypatch.setattr("simnet.spool.SpoolFile.write", full)
    seen, (reply,) = exchange(SocketNetwork(TOPOLOGY), Spool(tmp_path), [LARGE])
    assert (seen, reply.status, reply.code) == ([], 507, "no-room")
    assert "No space left on device" in reply.reason
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    _, (reply,) = exchange(SocketNetwork(TOPOLOGY), Spool(tmp_path / "file"), [LARGE])
    assert (reply.status, reply.code) == (507, "no-room")


def test_a_sender_that_goes_away_leaves_nothing(tmp_path):
    network = SocketNetwork(TOPOLOGY)
    seen = []

    async def handler(request):
        seen.append(request)
        return Reply(201)

    async def main():
        await network.host("server").serve([Route("PUT", "/x", handler, spool=Spool(tmp_path))])
        port = int(network.url_of("server").rsplit(":", 1)[1])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"PUT /x HTTP/1.1\r\nHost: x\r\nBoundary-From: client-0\r\nContent-Length: 1000000\r\n\r\n" + LARGE[:99_999]
        )
        await writer.drain()
        while not any(path.stat().st_size for path in Path(tmp_path).iterdir()):
            await asyncio.sleep(0.01)
        writer.close()
        while list(tmp_path.iterdir()):
            await asyncio.sleep(0.01)

    network.run(main)
    assert seen == []


def test_a_write_that_fails_says_why(tmp_path, monkeypatch):
    file = Spool(tmp_path).open()
    file._file.close()
    with pytest.raises(ValueError, match="closed file"):
        file.write(b"x")

    class Full:
        closed = False

        def write(self, _piece):
            raise OSError(errno.ENOSPC, "No space left on device")

    file._file = Full()
    with pytest.raises(SpoolError, match="No space left on device"):
        file.write(b"x")


def test_a_long_body_is_on_its_way_to_the_medium_before_its_end(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("os.posix_fadvise", lambda _file, start, size, advice: begun.append((start, size, advice)))
    file = Spool(tmp_path).open()
    for _ in range(7):
        file.write(bytes(400_000))
    advice = os.POSIX_FADV_DONTNEED
    assert begun == [(0, 1_200_000, advice), (1_200_000, 1_200_000, advice)]
    file.discard()


def test_a_kernel_that_takes_no_advice_does_no_harm(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("os.posix_fadvise", refuse)
    file = Spool(tmp_path).open()
    file.write(bytes(3_000_000))
    assert (file.size_bytes, file.path.stat().st_size) == (3_000_000, 3_000_000)
    file.discard()


def test_the_view_of_a_body_is_one_while_it_is_held(tmp_path):
    file = Spool(tmp_path).open()
    file.write(LARGE)
    message = SpooledMessage(file, frozenset({"control"}), "application/msgpack")
    first = message.body
    assert message.body is first
    assert first == LARGE
    assert memoryview(first).readonly
    file.discard()


def test_a_spool_is_cleared(tmp_path):
    spool = Spool(tmp_path / "incoming")
    spool.clear()
    file = spool.open()
    file._file.close()
    spool.clear()
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_lull_after_bodies_is_used_once(tmp_path):
    used = []
    spool = Spool(tmp_path, at_lull=lambda: used.append(spool.received_bytes))

    async def lulls():
        await spool.lull()
        file = spool.open()
        file.write(LARGE)
        file.discard()
        await spool.lull()
        await spool.lull()

    asyncio.run(lulls())
    assert used == [len(LARGE)]


def test_whoever_sends_for_ever_is_not_waited_for(tmp_path, monkeypatch):
    spool, waits = Spool(tmp_path), []

    async def sleep(seconds):
        waits.append(seconds)
        spool.received_bytes += 2_000_000

    async def lull():
        spool.received_bytes += 2_000_000
        waits.clear()
        await spool.lull()
        return sum(waits)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert asyncio.run(lull()) == pytest.approx(LONGEST_LULL_S)
    assert asyncio.run(lull()) == 0  # nor again
    asyncio.run(spool.lull())  # nothing has come: that is one
    assert asyncio.run(lull()) > 0


def test_nothing_to_come_is_a_lull(tmp_path):
    async def wait():
        spool = Spool(tmp_path)
        spool.received_bytes = 10_000_000
        began = asyncio.get_running_loop().time()
        await spool.lull()
        assert asyncio.get_running_loop().time() - began > 0
        await asyncio.wait_for(spool.lull(), 1e-3)  # at once: nothing has come since

    asyncio.run(wait())


@pytest.mark.parametrize(("body", "status"), [(LARGE, 507), (b"small", 201)])
def test_what_must_stay_free_of_a_disk_stays_free(tmp_path, body, status):
    seen, (reply,) = exchange(SocketNetwork(TOPOLOGY), Spool(tmp_path, free_bytes=2**62), [body])
    assert reply.status == status
    assert list(tmp_path.iterdir()) == []
    if status == 507:
        assert (seen, reply.reason) == (
            [], f"The body cannot be kept: {2**62} B of the disk must stay free. Send it again later.",
        )  # fmt: skip


def test_what_must_stay_free_is_looked_at_before_a_body_comes_and_while_it_does(tmp_path, monkeypatch):
    free = [10_000_000]
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_bavail=free[0], f_frsize=1))
    spool = Spool(tmp_path, free_bytes=4_000_000)
    with pytest.raises(OSError, match="4000000 B of the disk must stay free"):
        spool.open(6_000_001)
    file = spool.open(6_000_000)
    file.write(bytes(4_000_000))
    free[0] = 3_999_999  # somebody else writes, too
    file.write(bytes(100))
    with pytest.raises(SpoolError, match="must stay free"):
        file.write(bytes(1_000_000))
    file.discard()
