"""Bodies of unfinished uploads outlast the process, whatever it left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading

import pytest

from simnet import Message, Reply, Route, SimulatedNetwork, SocketNetwork, partial_bodies, problem
from simnet.partial_bodies import FileBody, FolderBodies
from simnet.spool import Spool, SpooledMessage, SpoolError
from simnet.uploads import Outcome, Upload
from tests.simnet.test_resumable import BODY, TUS, Service, at, begun, checksum
from tests.simnet.test_spool import TOPOLOGY

KINDS = frozenset({"model", "seeds"})
KEPT_S = 100.0


def new(bodies, identity="f00", expires_unix_s=1000.0):
    body = bodies.new_body(identity, 10)
    return Upload(identity, "client-0", "/things/ä", KINDS, "text/plain", 10, "name eA==", expires_unix_s, body)


def fill(upload, *pieces):
    async def write():
        await upload.body.open()
        for piece in pieces:
            upload.body.write(piece)
        upload.body.close()
        await upload.body.sync()

    asyncio.run(write())


def again(tmp_path):
    """What the next process finds."""
    return {upload.identity: upload for upload in FolderBodies(Spool(tmp_path)).left(KEPT_S)}


def files(tmp_path):
    return sorted(path.name for path in tmp_path.glob("partial/*/*"))


def test_what_has_come_is_there_for_the_next_process(tmp_path):
    bodies = FolderBodies(Spool(tmp_path))
    upload = new(bodies)
    asyncio.run(bodies.keep(upload))
    fill(upload, b"abc", b"de")
    found = again(tmp_path)["f00"]
    assert (found.sender, found.path, found.kinds) == ("client-0", "/things/ä", KINDS)
    assert (found.content_type, found.length_bytes, found.metadata) == ("text/plain", 10, "name eA==")
    assert (found.offset, found.outcome) == (5, None)
    fill(found, b"fghij")

    async def whole():
        message = await found.body.message(KINDS, "text/plain")
        assert isinstance(message, SpooledMessage)
        return bytes(message.body), message.digest, found.body.release()

    assert asyncio.run(whole()) == (b"abcdefghij", hashlib.sha256(b"abcdefghij").hexdigest(), True)


def test_how_it_ended_outlasts_the_process_without_the_body(tmp_path):
    bodies = FolderBodies(Spool(tmp_path))
    upload = new(bodies)
    upload.outcome = Outcome.of(problem(422, "no-good", "it is no good"))
    asyncio.run(bodies.keep(upload))
    upload.body.drop()
    found = again(tmp_path)["f00"]
    assert (found.offset, found.expires_unix_s) == (10, 1000.0)
    refusal = found.outcome.reply()
    assert (refusal.status, refusal.code, refusal.reason) == (422, "no-good", "it is no good")


def test_time_counts_from_the_last_byte(tmp_path):
    bodies = FolderBodies(Spool(tmp_path))
    upload = new(bodies)
    asyncio.run(bodies.keep(upload))
    os.utime(upload.body.path, (5000, 5000))
    assert again(tmp_path)["f00"].expires_unix_s == 5000 + KEPT_S
    os.utime(upload.body.path, (10, 10))
    assert again(tmp_path)["f00"].expires_unix_s == 1000.0


@pytest.mark.parametrize(
    "left",
    ["a body without a record", "a record without a body", "half a record", "a record half written", "not a record"],
)
def test_what_is_of_no_use_is_deleted(tmp_path, left):
    bodies = FolderBodies(Spool(tmp_path))
    upload = new(bodies)
    if left == "a record half written":
        (tmp_path / "partial" / "records").mkdir()
        (tmp_path / "partial" / "records" / "tmp123.part").write_bytes(b'{"sender":')
    elif left != "a body without a record":
        asyncio.run(bodies.keep(upload))
    record = tmp_path / "partial" / "records" / "k-f00"
    if left == "a record without a body":
        upload.body.drop()
    elif left == "half a record":
        record.write_bytes(record.read_bytes()[:50])
    elif left == "not a record":
        record.write_bytes(b'{"outcome": {"status": 201, "weather": 3}}')
    assert again(tmp_path) == {}
    assert files(tmp_path) == []


def test_what_is_dropped_leaves_nothing(tmp_path):
    bodies = FolderBodies(Spool(tmp_path))
    upload = new(bodies)
    asyncio.run(bodies.keep(upload))
    assert len(files(tmp_path)) == 2
    bodies.drop(upload)
    assert files(tmp_path) == []


def test_each_part_begins_to_be_written_back_where_the_last_one_ended(tmp_path, monkeypatch):
    """What the medium has already would be dropped from memory, and read again."""
    begun = []
    monkeypatch.setattr("os.posix_fadvise", lambda _file, start, size, _advice: begun.append((start, size)))
    upload = new(FolderBodies(Spool(tmp_path)))
    for _ in range(2):
        asyncio.run(upload.body.open())
        undo = upload.body.mark()
        upload.body.write(bytes(2_000_000))
        undo()
        upload.body.write(bytes(1_500_000))
        upload.body.close()
    asyncio.run(upload.body.open())
    upload.body.write(b"x")
    upload.body.close()
    part = [(0, 2_000_000), (0, 1_500_000)]
    assert begun == [*part, *((1_500_000 + start, size) for start, size in part)]


def test_a_spool_that_is_cleared_keeps_them(tmp_path):
    spool = Spool(tmp_path)
    bodies = FolderBodies(spool)
    asyncio.run(bodies.keep(new(bodies)))
    spool.open().settle(tmp_path / "body-of-another")
    spool.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["partial"]
    assert list(again(tmp_path)) == ["f00"]


def test_what_is_taken_back_is_not_there(tmp_path):
    async def write():
        body = FileBody(Spool(tmp_path), path)
        await body.open()
        body.write(b"abc")
        undo = body.mark()
        body.write(b"never")
        undo()
        body.write(b"de")
        body.close()
        message = await body.message(KINDS, "text/plain")
        body.release()
        return body.size_bytes, message.digest

    path = tmp_path / "body"
    path.touch()
    assert asyncio.run(write()) == (5, hashlib.sha256(b"abcde").hexdigest())
    assert path.read_bytes() == b"abcde"


@pytest.mark.parametrize("end", ["killed", "closed", "undone"])
def test_a_part_that_counts_as_a_whole_does_not_count_half_after_a_kill(tmp_path, end):
    bodies = FolderBodies(Spool(tmp_path))
    upload = new(bodies)
    asyncio.run(bodies.keep(upload))
    fill(upload, b"abc")
    asyncio.run(upload.body.open())
    undo = upload.body.mark(whole=True)
    upload.body.write(b"never")
    assert files(tmp_path) == ["f00", "f00.3", "k-f00"]
    if end == "undone":
        undo()
    if end == "killed":
        upload.body._file.discard()  # as the end of the process does
    else:
        upload.body.close()
        assert files(tmp_path) == ["f00", "k-f00"]
    found = again(tmp_path)["f00"]
    assert found.offset == (8 if end == "closed" else 3)
    assert files(tmp_path) == ["f00", "k-f00"]
    fill(found, b"de")
    assert found.body.path.read_bytes() == (b"abcneverde" if end == "closed" else b"abcde")


def test_a_medium_that_takes_no_mark_refuses_the_part(make_network, tmp_path, monkeypatch):
    def full(_path, **_how):
        raise OSError(28, "No space left on device")

    async def ask(tus):
        place = await begun(tus)
        monkeypatch.setattr("pathlib.Path.touch", full)
        refused = await tus("PATCH", place, at(0, **{"Upload-Checksum": checksum("sha1", BODY)}), BODY)
        monkeypatch.undo()
        return refused, await tus("PATCH", place, at(0, **{"Upload-Checksum": checksum("sha1", BODY)}), BODY)

    refused, done = Service(make_network, "real", spool=Spool(tmp_path)).run(ask)
    assert (refused[0], refused[2], done[0]) == (507, "no-room", 204)


@pytest.mark.parametrize("fails", [False, True])
def test_what_comes_during_a_sync_is_synced_again(tmp_path, monkeypatch, fails):
    synced_bytes, goes_on = [], threading.Event()

    def slow(path):
        synced_bytes.append(path.stat().st_size)
        goes_on.wait(30)
        if fails and len(synced_bytes) == 1:
            raise OSError(5, "Input/output error")

    async def write():
        body = new(FolderBodies(Spool(tmp_path))).body
        await body.open()
        body.write(b"abc")
        first = asyncio.create_task(body.sync())
        while not synced_bytes:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(body.sync())  # must not end before the first one has
        await asyncio.sleep(0.01)
        assert not second.done()
        if not fails:
            body.write(b"de")
        goes_on.set()
        ended = await asyncio.gather(first, second, return_exceptions=True)
        body.close()
        await body.sync()
        return [type(error) for error in ended]

    monkeypatch.setattr(partial_bodies, "_sync", slow)
    assert asyncio.run(write()) == [OSError if fails else type(None), type(None)]
    assert synced_bytes == ([3, 3] if fails else [3, 5])


def test_no_more_is_told_than_was_synced(make_network, tmp_path, monkeypatch):
    """More comes while HEAD waits for the medium."""
    is_slow, goes_on = threading.Event(), threading.Event()

    def slow(_path):
        is_slow.set()
        goes_on.wait(30)

    async def ask(tus):
        place = await begun(tus)
        monkeypatch.setattr(partial_bodies, "_sync", slow)
        told = asyncio.create_task(tus("HEAD", place))
        while not is_slow.is_set():
            await asyncio.sleep(0.001)
        sent = asyncio.create_task(tus("PATCH", place, at(0), BODY[:3000]))
        while next(tmp_path.glob("partial/bodies/*")).stat().st_size < 3000:
            await asyncio.sleep(0.001)
        goes_on.set()
        return (await told)[1]["Upload-Offset"], (await sent)[1]["Upload-Offset"]

    assert Service(make_network, "real", spool=Spool(tmp_path)).run(ask) == ("0", "3000")


def test_half_a_write_is_none(tmp_path):
    """The disk is full in the middle of a piece: what was written of it is taken away, so that the offset is true."""
    path = tmp_path / "body"
    path.touch()

    async def write():
        body = FileBody(Spool(tmp_path), path)
        await body.open()
        body.write(b"abc")
        file = body._file._file

        class Full:
            def write(self, piece):
                file.write(bytes(piece[:2]))
                raise OSError(28, "No space left on device")

            def __getattr__(self, name):
                return getattr(file, name)

        body._file._file = Full()
        with pytest.raises(SpoolError, match="No space left"):
            body.write(b"defg")
        assert body.size_bytes == 3
        file.close()

    asyncio.run(write())
    assert path.read_bytes() == b"abc"


def test_whoever_serves_may_take_the_file_over(make_network, tmp_path):
    async def take(request):
        request.message.file.settle(tmp_path / "kept")
        return Reply(201)

    async def ask(tus):
        place = await begun(tus)
        done = await tus("PATCH", place, at(0), BODY)
        return done[0], (await tus("PATCH", place, at(len(BODY))))[0]

    spool = Spool(tmp_path / "spool")
    service = Service(make_network, "real", spool=spool)
    service.routes = [Route("PUT", "/things/{name}", take, resumable=True, spool=spool)]
    assert service.run(ask) == (204, 204)
    assert (tmp_path / "kept").read_bytes() == BODY
    assert list(spool.partial_folder.glob("bodies/*")) == []


@pytest.mark.parametrize("network", [SocketNetwork, SimulatedNetwork])
def test_a_service_goes_on_after_its_process_was_killed(tmp_path, network):
    """Two networks, one after the other, on the same folder; nobody says goodbye in between."""
    heard = []

    async def take(request):
        heard.append(bytes(request.message.body))
        return Reply(201)

    def live(ask):
        here = network(TOPOLOGY)

        async def main():
            server, client = here.host("server"), here.host("client-0")
            route = Route("PUT", "/things/{name}", take, resumable=True, spool=Spool(tmp_path))
            await server.serve([route])
            return await client.start(ask(client))

        return here.run(main)

    async def begin(client):
        announcement = {**TUS, "Upload-Length": str(len(BODY))}
        begun = await client.request("server", "POST", "/things/a", headers=announcement)
        part = Message(BODY[:7000], content_type="application/offset+octet-stream")
        sent = await client.request("server", "PATCH", begun.headers["Location"], part, {**TUS, "Upload-Offset": "0"})
        assert sent.status == 204
        return begun.headers["Location"]

    async def go_on(client):
        told = await client.request("server", "HEAD", place, headers=TUS)
        rest = Message(BODY[7000:], content_type="application/offset+octet-stream")
        sent = await client.request("server", "PATCH", place, rest, {**TUS, "Upload-Offset": "7000"})
        return told.headers["Upload-Offset"], sent.status

    async def ask_again(client):
        return (await client.request("server", "HEAD", place, headers=TUS)).headers["Upload-Offset"]

    place = live(begin)
    assert live(go_on) == ("7000", 204)
    assert live(ask_again) == str(len(BODY))
    assert heard == [BODY]
