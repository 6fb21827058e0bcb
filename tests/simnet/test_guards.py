"""Requests that a service on real sockets does not put up with. Limits are short; no time is asserted."""

from __future__ import annotations

import asyncio
import zlib

import pytest

from simnet import Reply, Route
from simnet.guards import Guard, Limits, affordable_connections, network_of
from simnet.spool import Spool
from tests.simnet.raw_connections import answer, asked, put, take, visited

CHUNKED = {"Content_Length": None, "Transfer_Encoding": "chunked"}


def test_a_request_within_all_limits_is_served():
    async def visit(connect):
        return await asked(connect, put(b"12345"))

    status, _, body = visited(visit)
    assert (status, body) == (201, b"5")


@pytest.mark.parametrize("name", ["client-0", "server", "stranger", None])
def test_too_many_requests_of_one_sender_are_told_when_to_come_again(name):
    """Names that nobody has are all one sender, that of their address; so is saying none."""

    async def visit(connect):
        mine = [await asked(connect, put(Boundary_From=name)) for _ in range(4)]
        other = await asked(connect, put(Boundary_From="client-1"))
        unnamed = await asked(connect, put(Boundary_From="another"))
        return mine, other, unnamed

    mine, other, unnamed = visited(visit, requests_per_s=1, request_burst=3)
    usual = 201 if name in ("client-0", "server") else 403
    assert [status for status, _, _ in mine] == [usual] * 3 + [429]
    assert mine[3][1]["Retry-After"] == "1"
    assert b"urn:problem:rate" in mine[3][2]
    assert b"a sender may make 1 message every 1 s, burst 3 messages; come again in 1 s" in mine[3][2]
    assert other[0] == 201
    assert unnamed[0] == (403 if usual == 201 else 429)


def test_requests_that_wait_for_their_answer_are_bounded():
    arrived, go = asyncio.Event(), asyncio.Event()

    async def ponder(request):
        arrived.set()
        await go.wait()
        return await take(request)

    async def visit(connect):
        first = asyncio.create_task(asked(connect, put()))
        await arrived.wait()
        second = await asked(connect, put())
        go.set()
        return [(await first)[0], second, (await asked(connect, put()))[0]]

    first, (status, headers, body), third = visited(visit, Route("PUT", "/", ponder), requests_at_once=1)
    assert (first, third) == (201, 201)
    assert (status, headers["Retry-After"]) == (429, "1")
    assert b"1 requests of this sender wait for their answers already" in body


def test_requests_in_all_are_bounded_except_those_for_news_that_there_is_not():
    async def nothing(request):
        return Reply(204)

    async def visit(connect):
        get = put().replace(b"PUT", b"GET")
        return [await asked(connect, request) for request in [get] * 5 + [put()] * 3 + [get]]

    found = visited(visit, Route("GET", "/", nothing), Route("PUT", "/", take), requests_in_all=2)
    assert [status for status, _, _ in found] == [204] * 5 + [201, 201, 403, 403]
    assert b"this sender has made 2 requests, as many as one may in a run" in found[-1][2]


@pytest.mark.parametrize("came", [b"", b"1234"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_does_not_come_is_refused(came, chunked):
    async def visit(connect):
        reader, writer = await connect()
        writer.write(put(**CHUNKED) if chunked else put(Content_Length=10_000))
        if came:
            await asyncio.sleep(0.05)
            writer.write(b"4\r\n1234\r\n" if chunked else came)
        found = await answer(reader)
        assert await reader.read() == b""  # the connection is closed at once
        writer.close()
        return found

    status, headers, body = visited(visit, least_bps=8000, window_s=0.2)
    assert (status, headers["Connection"]) == (408, "close")
    assert b"a body must come with 8000 bit/s at the least; in 0.2 s" in body


def test_a_chunk_that_is_none_does_not_keep_a_request_for_ever():
    async def visit(connect):
        reader, writer = await connect()
        writer.write(put(**CHUNKED))
        await asyncio.sleep(0.05)
        writer.write(b"4\r\n1234\r\nno chunk\r\n")
        found = await answer(reader)
        writer.close()
        return found

    assert visited(visit, window_s=0.2)[0] == 408


def test_a_body_may_take_as_long_as_it_likes_while_it_comes():
    async def visit(connect):
        reader, writer = await connect()
        writer.write(put(Content_Length=20 * 100))
        for _ in range(20):
            await asyncio.sleep(0.05)
            writer.write(bytes(100))
        return await answer(reader)

    status, _, body = visited(visit, least_bps=8 * 500, window_s=0.2)  # 100 B in each window; about 400 B come
    assert (status, body) == (201, b"2000")


def test_a_service_that_takes_its_time_is_not_to_blame_on_the_sender():
    async def ponder(request):
        await asyncio.sleep(0.3)
        return await take(request)

    async def visit(connect):
        return await asked(connect, put(b"12345"))

    assert visited(visit, Route("PUT", "/", ponder), window_s=0.05)[0] == 201


def test_a_compressed_body_is_refused_before_it_grows():
    async def visit(connect):
        return await asked(connect, put(zlib.compress(bytes(10_000_000)), Content_Encoding="deflate"))

    status, headers, body = visited(visit)
    assert (status, headers["Accept-Encoding"]) == (415, "identity")
    assert b"send the body as it is" in body


def test_an_answer_that_is_the_same_for_all_counts_too():
    async def visit(connect):
        return [(await asked(connect, put()))[0] for _ in range(3)]

    assert visited(visit, Route("PUT", "/", take, fixed=True), request_burst=2, requests_per_s=1) == [201, 201, 429]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("a path", "a path"),
        (None, "unknown"),
    ],
)
def test_who_shares_an_address(address, network):
    assert network_of(address) == network


def test_whoever_comes_under_ever_new_addresses_fills_no_memory(monkeypatch):
    monkeypatch.setattr("simnet.guards._REMEMBERED_SENDERS", 3)
    guard = Guard(Limits(), ())

    async def come():
        for number in range(10):
            assert guard._too_fast(f"at 192.0.2.{number}") is None

    asyncio.run(come())
    assert list(guard._buckets) == ["at 192.0.2.7", "at 192.0.2.8", "at 192.0.2.9"]


def test_as_many_connections_as_there_may_be_files(monkeypatch):
    had, lifted = (100, 1000), []
    monkeypatch.setattr("resource.getrlimit", lambda _: had)
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: lifted.append(limits))
    assert affordable_connections(500) == 500
    assert affordable_connections(4096) == 1000 - 64 - 128
    assert lifted == [(500 + 64 + 128, 1000), (1000, 1000)]
    had = (-1, -1)
    assert affordable_connections(4096) == 4096


def test_of_a_part_that_does_not_come_what_has_come_is_kept():
    tus = {"Tus_Resumable": "1.0.0"}

    async def visit(connect):
        _, begun, _ = await asked(connect, put(Upload_Length="10", **tus).replace(b"PUT /", b"POST /x"))
        place = begun["Location"].encode()
        part = {"Content_Type": "application/offset+octet-stream", "Upload_Offset": "0", "Content_Length": 10, **tus}
        slow, _, _ = await asked(connect, put(**part).replace(b"PUT /", b"PATCH " + place) + b"1234")
        _, told, _ = await asked(connect, put(**tus).replace(b"PUT /", b"HEAD " + place))
        part |= {"Upload_Offset": "4", "Content_Length": 6}
        rest, _, _ = await asked(connect, put(**part).replace(b"PUT /", b"PATCH " + place) + b"567890")
        return slow, told["Upload-Offset"], rest

    assert visited(visit, Route("PUT", "/x", take, resumable=True), window_s=0.2) == (408, "4", 204)


def test_a_part_that_has_no_room_is_not_begun(tmp_path):
    async def visit(connect):
        request = put(Upload_Length="10", Tus_Resumable="1.0.0").replace(b"PUT /", b"POST /x")
        return await asked(connect, request)

    route = Route("PUT", "/x", take, resumable=True, spool=Spool(tmp_path, free_bytes=2**62))
    status, _, body = visited(visit, route)
    assert (status, b"must stay free" in body) == (507, True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_of_a_burst_so_many_are_served_as_may_be():
    async def visit(connect):
        return await asyncio.gather(*(asked(connect, put()) for _ in range(100)))

    found = [status for status, _, _ in visited(visit, request_burst=60, requests_per_s=1, requests_at_once=100)]
    assert 60 <= found.count(201) < 80  # one more for each second that a busy machine takes
    assert found.count(201) + found.count(429) == 100
