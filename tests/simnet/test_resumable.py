"""tus 1.0.0, word for word: what a client of any make gets to hear, in both worlds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from simnet import Message, Reply, Route, problem
from simnet.spool import Spool

both_worlds = pytest.mark.parametrize("world", ["simulated", "real"])
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
BODY = bytes(range(256)) * 40


class Service:
    """A service that takes what is put, asked by plain HTTP. `heard` is what its handler got."""

    def __init__(self, make_network, world, *, reply=None, limit=1 << 20, **route):
        self.network = make_network(world=world)
        self.reply = reply or Reply(201, Message(b"thanks"))
        self.heard = []
        self.limit = limit
        self.routes = [Route("PUT", "/things/{name}", self.take, resumable=True, **route)]

    async def take(self, request):
        self.heard.append((request, bytes(request.message.body)))
        return self.reply

    def run(self, ask):
        """What `ask(tus)` returns, where `tus(method, path, headers, body)` makes a request of client-0."""

        async def main():
            server, client = self.network.host("server"), self.network.host("client-0")
            await server.start(server.serve(self.routes, body_limit_bytes=self.limit))
            return await client.start(self._ask(client, ask))

        return self.network.run(main)

    async def _ask(self, client, ask):
        async with asyncio.timeout(200_000), client.session(headers={"Boundary-Kind": "seeds"}) as session:

            async def tus(method, path, headers=TUS, body=b"", sender="client-0"):
                url = self.network.url_of("server") + path
                headers = {**({} if sender is None else {"Boundary-From": sender}), **headers}
                async with session.request(method, url, headers=headers, data=body or None) as response:
                    text = await response.read()
                    code = Reply(message=Message(text, content_type=response.content_type)).code
                    return response.status, dict(response.headers), code

            return await ask(tus)


async def begun(tus, length=None, **more):
    """The path of a new upload."""
    length = len(BODY) if length is None else length
    status, headers, _ = await tus("POST", "/things/a", {**TUS, "Upload-Length": str(length), **more})
    assert status == 201
    return headers["Location"]


def at(offset, **more):
    return {**PART, "Upload-Offset": str(offset), **more}


def checksum(algorithm, piece):
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, piece).digest()).decode()}"


@both_worlds
def test_a_message_in_parts_is_one_message(make_network, world):
    service = Service(make_network, world)

    async def ask(tus):
        place = await begun(tus, **{"Upload-Metadata": "filetype dGV4dC9wbGFpbg==,empty"})
        first = await tus("PATCH", place, at(0), BODY[:3000])
        told = await tus("HEAD", place)
        last = await tus("PATCH", place, at(3000), BODY[3000:])
        return place, first, told, last, await tus("HEAD", place)

    place, first, told, last, after = service.run(ask)
    assert place.startswith("/things/a/")
    assert len(place.rsplit("/", 1)[1]) == 32
    assert (first[0], first[1]["Upload-Offset"]) == (204, "3000")
    assert (told[0], told[1]["Upload-Offset"], told[1]["Upload-Length"]) == (200, "3000", str(len(BODY)))
    assert told[1]["Cache-Control"] == "no-store"
    assert told[1]["Upload-Metadata"] == "filetype dGV4dC9wbGFpbg==,empty"
    assert (last[0], last[1]["Upload-Offset"]) == (204, str(len(BODY)))
    assert after[1]["Upload-Offset"] == str(len(BODY))
    assert {answer[1]["Tus-Resumable"] for answer in (first, told, last, after)} == {"1.0.0"}
    [(request, body)] = service.heard
    assert body == BODY
    assert (request.source, request.method, request.path) == ("client-0", "PUT", "/things/a")
    assert dict(request.parameters) == {"name": "a"}
    assert (request.message.kinds, request.message.content_type) == ({"seeds"}, "text/plain")
    [arrival] = service.network.trace.of_kind("arrival")
    assert (arrival.values["bytes"], arrival.values["digest"]) == (len(BODY), hashlib.sha256(BODY).hexdigest()[:16])
    parts = [(event.values["offset"], event.values["bytes"]) for event in service.network.trace.of_kind("part")]
    assert parts == [(0, 3000), (3000, len(BODY) - 3000)]


@both_worlds
def test_what_is_offered(make_network, world):
    async def ask(tus):
        return await tus("OPTIONS", "/things/a", {}), await tus("OPTIONS", "/things/a/none", {})

    for status, headers, _ in Service(make_network, world, limit=5000).run(ask):
        assert status == 204
        assert headers["Tus-Version"] == "1.0.0"
        assert headers["Tus-Extension"] == "creation,checksum,expiration,termination"
        assert headers["Tus-Checksum-Algorithm"] == "sha1,sha256,md5"
        assert headers["Tus-Max-Size"] == "5000"


@both_worlds
def test_another_version_is_told_which_one_is_spoken(make_network, world):
    async def ask(tus):
        place = await begun(tus)
        return [
            await tus(method, path, headers)
            for method, path, headers in [
                ("POST", "/things/a", {"Upload-Length": "5"}),
                ("POST", "/things/a", {"Tus-Resumable": "0.2.2", "Upload-Length": "5"}),
                ("HEAD", place, {}),
                ("PATCH", place, {**PART, "Tus-Resumable": "2.0.0", "Upload-Offset": "0"}),
                ("DELETE", place, {}),
            ]
        ]

    service = Service(make_network, world)
    answers = service.run(ask)
    assert [status for status, _, _ in answers] == [412] * 5
    assert {headers["Tus-Version"] for _, headers, _ in answers} == {"1.0.0"}
    assert {headers["Tus-Resumable"] for _, headers, _ in answers} == {"1.0.0"}


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"", 400, "no-length"),
        ({"Upload-Length": "-1"}, b"", 400, "no-length"),
        ({"Upload-Length": "many"}, b"", 400, "no-length"),
        ({"Upload-Defer-Length": "1"}, b"", 400, "no-length"),
        ({"Upload-Length": "10001"}, b"", 413, "too-large"),
        ({"Upload-Length": "5"}, b"early", 400, "early-body"),
        ({"Upload-Length": "5", "Upload-Metadata": "name ***"}, b"", 400, "metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": "name \u00e9"}, b"", 400, "metadata"),
        ({"Upload-Length": "5", "Upload-Metadata": ",,"}, b"", 400, "metadata"),
    ],
)
def test_what_cannot_be_announced(make_network, headers, body, status, code):
    async def ask(tus):
        return await tus("POST", "/things/a", {**TUS, **headers}, body)

    answer = Service(make_network, "simulated", limit=10_000).run(ask)
    assert (answer[0], answer[2]) == (status, code)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Upload-Offset": "0"}, b"xy", 409, "other-offset"),
        ({"Upload-Offset": "3"}, b"xy", 409, "other-offset"),
        ({"Content-Type": "text/plain"}, b"xy", 415, "part-type"),
        ({"Content-Encoding": "gzip"}, b"xy", 415, "part-encoding"),
        ({"Upload-Offset": ""}, b"xy", 400, "no-offset"),
        ({"Upload-Offset": "+2"}, b"xy", 400, "no-offset"),
        ({}, b"123456789", 413, "too-long"),
        ({"Upload-Checksum": "crc32 AAAA"}, b"xy", 400, "checksum"),
        ({"Upload-Checksum": "sha1 ***"}, b"xy", 400, "checksum"),
        ({"Upload-Checksum": "sha1"}, b"xy", 460, "checksum-mismatch"),
        ({"Upload-Checksum": checksum("sha1", b"yx")}, b"xy", 460, "checksum-mismatch"),
        ({"Upload-Checksum": checksum("sha256", b"yx")}, b"xy", 460, "checksum-mismatch"),
        ({"Upload-Checksum": checksum("md5", b"yx")}, b"xy", 460, "checksum-mismatch"),
    ],
)
@pytest.mark.parametrize("spooled", [False, True])
def test_a_part_that_is_refused_changes_nothing(make_network, tmp_path, headers, body, status, code, spooled):
    async def ask(tus):
        place = await begun(tus, 10)
        await tus("PATCH", place, at(0), b"01")
        refused = await tus("PATCH", place, {**at(2), **headers}, body)
        told = await tus("HEAD", place)
        last = await tus("PATCH", place, at(2, **{"Upload-Checksum": checksum("sha1", b"23456789")}), b"23456789")
        return refused, told, last

    service = Service(make_network, "simulated", **({"spool": Spool(tmp_path)} if spooled else {}))
    refused, told, last = service.run(ask)
    assert (refused[0], refused[2]) == (status, code)
    assert told[1]["Upload-Offset"] == "2"
    assert (last[0], [body for _, body in service.heard]) == (204, [b"0123456789"])


@both_worlds
def test_a_body_of_unknown_length_that_goes_too_far_leaves_nothing(make_network, world):
    async def too_much():
        yield b"x" * 6
        yield b"y" * 6

    async def ask(tus):
        place = await begun(tus, 10)
        return await tus("PATCH", place, at(0), too_much()), await tus("HEAD", place)

    refused, told = Service(make_network, world).run(ask)
    assert (refused[0], refused[2], told[1]["Upload-Offset"]) == (413, "too-long", "0")


@both_worlds
def test_only_who_began_an_upload_goes_on_with_it_and_only_there(make_network, world):
    async def ask(tus):
        place = await begun(tus)
        name = place.rsplit("/", 1)[1]
        others = [await tus(method, place, at(0), sender="client-1") for method in ("HEAD", "PATCH", "DELETE")]
        return others, await tus("HEAD", f"/things/b/{name}"), await tus("PATCH", "/things/a/f00", at(0))

    service = Service(make_network, world)
    if world == "simulated":  # there, nobody can say to be another
        service.network.name_of = lambda address: None
    others, elsewhere, unknown = service.run(ask)
    assert [(status, code) for status, _, code in others] == [(403, ""), (403, "not-you"), (403, "not-you")]
    assert elsewhere[0] == 404
    assert (unknown[0], unknown[2]) == (404, "no-upload")


@both_worlds
def test_whoever_does_not_say_who_it_is_may_not_begin(make_network, world):
    async def ask(tus):
        announcement = {**TUS, "Upload-Length": "3"}
        return [await tus("POST", "/things/a", announcement, sender=sender) for sender in (None, "", "stranger")]

    service = Service(make_network, world)
    if world == "simulated":
        service.network.name_of = lambda address: None
    refused = [(status, code) for status, _, code in service.run(ask)]
    assert refused == [(403, "unknown-sender"), (403, "boundary"), (403, "boundary")]


@both_worlds
def test_an_upload_that_is_given_up_is_gone(make_network, world):
    async def ask(tus):
        place = await begun(tus)
        return await tus("DELETE", place), await tus("HEAD", place), await tus("PATCH", place, at(0), BODY)

    ended, told, late = Service(make_network, world).run(ask)
    assert (ended[0], told[0], late[0], late[2]) == (204, 410, 410, "upload-gone")


@both_worlds
def test_a_method_can_be_said_in_a_header(make_network, world):
    async def ask(tus):
        place = await begun(tus, 4)
        return (
            await tus("POST", place, at(0, **{"X-HTTP-Method-Override": "PATCH"}), b"ab"),
            await tus("POST", place, {**TUS, "X-HTTP-Method-Override": "HEAD"}),
            await tus("POST", place),
            await tus("POST", "/things/a", {**TUS, "X-HTTP-Method-Override": "PUT"}),
        )

    sent, told, unclear, other = Service(make_network, world).run(ask)
    assert (sent[0], told[0], told[1]["Upload-Offset"]) == (204, 200, "2")
    assert [(answer[0], answer[2]) for answer in (unclear, other)] == [(405, "method")] * 2


def test_uploads_expire(make_network):
    async def ask(tus):
        place = await begun(tus, 4)
        await asyncio.sleep(80)
        sent = await tus("PATCH", place, at(0), b"ab")
        await asyncio.sleep(80)
        told = await tus("HEAD", place)
        await asyncio.sleep(101)
        return sent, told, await tus("HEAD", place), await tus("PATCH", place, at(2), b"cd")

    service = Service(make_network, "simulated", kept_s=100.0)
    sent, told, late, refused = service.run(ask)
    begins = parsedate_to_datetime("Thu, 01 Jan 1970 00:00:00 GMT")
    expires = [parsedate_to_datetime(answer[1]["Upload-Expires"]) - begins for answer in (sent, told)]
    assert [since.total_seconds() for since in expires] == [180, 260]
    assert told[0] == 200
    assert (late[0], refused[0], refused[2]) == (410, 410, "upload-gone")


def test_parts_that_break_off_renew_an_upload(make_network):
    """Over a link on which no part ever gets through whole."""

    async def ask(tus):
        place = await begun(tus, 1000)
        for offset in range(0, 50, 10):
            await asyncio.sleep(80)

            async def piece_and_break():
                yield bytes(10)
                await asyncio.sleep(1)
                raise ConnectionError("the link is gone")

            with pytest.raises(aiohttp.ClientError):
                await tus("PATCH", place, at(offset), piece_and_break())
        await asyncio.sleep(80)
        return await tus("HEAD", place)

    status, headers, _ = Service(make_network, "simulated", kept_s=100.0).run(ask)
    assert (status, headers["Upload-Offset"]) == (200, "50")


def test_an_upload_that_nobody_asks_for_is_swept_in_time(make_network, tmp_path):
    spool = Spool(tmp_path)

    async def ask(tus):
        await begun(tus, 4)
        before = list(spool.partial_folder.glob("*/*"))
        await asyncio.sleep(101)
        return len(before), list(spool.partial_folder.glob("*/*"))

    assert Service(make_network, "simulated", kept_s=100.0, spool=spool).run(ask) == (2, [])


@both_worlds
def test_the_oldest_uploads_of_a_sender_give_way(make_network, world):
    async def ask(tus):
        ended = await begun(tus, 1)
        await tus("PATCH", ended, at(0), b"x")
        places = [await begun(tus, 1000) for _ in range(5)]
        states = [(await tus("HEAD", place))[0] for place in [ended, *places]]
        large = await begun(tus, 3500)
        return states, [(await tus("HEAD", place))[0] for place in [*places[1:], large]]

    states, after = Service(make_network, world, limit=4000).run(ask)
    assert states == [410, 410, 200, 200, 200, 200]
    assert after == [410, 410, 410, 410, 200]


@both_worlds
@pytest.mark.parametrize(("length", "most"), [(1000, 4), (4000, 1)])
def test_those_that_are_announced_at_once_give_way_too(make_network, tmp_path, world, length, most):
    spool = Spool(tmp_path)

    async def ask(tus):
        announced = [tus("POST", "/things/a", {**TUS, "Upload-Length": str(length)}) for _ in range(12)]
        answers = await asyncio.gather(*announced)
        places = [headers["Location"] for status, headers, _ in answers if status == 201]
        assert {(status, code) for status, _, code in answers} <= {(201, ""), (410, "upload-gone")}
        return [(await tus("HEAD", place))[0] for place in places].count(200)

    assert Service(make_network, world, limit=4000, spool=spool).run(ask) == most
    assert len(list(spool.partial_folder.glob("bodies/*"))) == most
    assert len(list(spool.partial_folder.glob("records/*"))) == most


@both_worlds
@pytest.mark.parametrize("spooled", [False, True])
def test_a_refusal_is_the_answer_to_the_last_part_and_is_remembered(make_network, tmp_path, world, spooled):
    async def ask(tus):
        place = await begun(tus)
        refused = await tus("PATCH", place, at(0), BODY)
        return refused, await tus("HEAD", place), await tus("PATCH", place, at(len(BODY)))

    spool = {"spool": Spool(tmp_path)} if spooled else {}
    service = Service(make_network, world, reply=problem(422, "no-good", "it is no good"), **spool)
    refused, told, again = service.run(ask)
    assert (refused[0], refused[2]) == (422, "no-good")
    assert told[1]["Upload-Offset"] == str(len(BODY))
    assert (again[0], again[2], len(service.heard)) == (422, "no-good", 1)


@both_worlds
@pytest.mark.parametrize("spooled", [False, True])
def test_after_trouble_the_last_part_is_repeated_without_its_bytes(make_network, tmp_path, world, spooled):
    async def ask(tus):
        place = await begun(tus)
        refused = await tus("PATCH", place, at(0), BODY)
        service.reply = Reply(200)
        return refused, await tus("PATCH", place, at(len(BODY))), await tus("PATCH", place, at(len(BODY)))

    spool = {"spool": Spool(tmp_path)} if spooled else {}
    service = Service(make_network, world, reply=problem(503, "busy", "come again"), **spool)
    refused, accepted, again = service.run(ask)
    assert (refused[0], refused[2], accepted[0], again[0]) == (503, "busy", 204, 204)
    assert [body for _, body in service.heard] == [BODY, BODY]


@both_worlds
def test_a_service_may_refuse_before_a_byte_comes(make_network, world):
    async def announced(request):
        assert (request.method, request.path, dict(request.parameters)) == ("PUT", "/things/a", {"name": "a"})
        return problem(410, "late", "too late") if refusing else None

    async def ask(tus):
        nonlocal refusing
        first = await tus("POST", "/things/a", {**TUS, "Upload-Length": "7"})
        refusing = True
        return first, await tus("POST", "/things/a", {**TUS, "Upload-Length": "7"})

    refusing = False
    first, second = Service(make_network, world, announced=announced).run(ask)
    assert first[0] == 201
    assert (second[0], second[2]) == (410, "late")


@both_worlds
def test_what_is_not_what_its_digest_says_is_thrown_away(make_network, world):
    digest = base64.b64encode(hashlib.sha256(b"another").hexdigest().encode()).decode()

    async def ask(tus):
        place = await begun(tus, **{"Upload-Metadata": f"sha256 {digest}"})
        return await tus("PATCH", place, at(0), BODY), await tus("HEAD", place)

    service = Service(make_network, world)
    refused, told = service.run(ask)
    assert (refused[0], refused[2], told[0], service.heard) == (460, "checksum-mismatch", 410, [])


@both_worlds
def test_a_message_of_no_bytes_is_over_with_its_announcement(make_network, world):
    async def ask(tus):
        place = await begun(tus, 0)
        return await tus("HEAD", place)

    service = Service(make_network, world)
    told = service.run(ask)
    assert (told[1]["Upload-Offset"], [body for _, body in service.heard]) == ("0", [b""])


def test_a_connection_that_is_dead_without_knowing_gives_way(make_network):
    """A site behind NAT comes back on another connection, while the old one still seems to be alive."""

    async def half():
        yield BODY[:5000]
        await asyncio.sleep(1000)
        yield b"never"

    async def ask(tus):
        place = await begun(tus)
        stalled = asyncio.create_task(tus("PATCH", place, at(0), half()))
        await asyncio.sleep(5)
        told = await tus("HEAD", place)
        done = await tus("PATCH", place, at(5000), BODY[5000:])
        with pytest.raises(aiohttp.ClientOSError):
            await stalled
        return told, done

    service = Service(make_network, "simulated")
    told, done = service.run(ask)
    assert (told[1]["Upload-Offset"], done[0]) == ("5000", 204)
    assert [body for _, body in service.heard] == [BODY]
    assert service.network.now() < 10


def test_who_sends_the_end_again_waits_for_the_one_answer(make_network):
    async def slowly(request):
        service.heard.append(request)
        await asyncio.sleep(60)
        return Reply(201)

    async def ask(tus):
        place = await begun(tus)
        first = asyncio.create_task(tus("PATCH", place, at(0), BODY))
        await asyncio.sleep(5)
        told = await tus("HEAD", place)
        again = await tus("PATCH", place, at(len(BODY)))
        return told[1]["Upload-Offset"], again[0], (await first)[0]

    service = Service(make_network, "simulated")
    service.routes = [Route("PUT", "/things/{name}", slowly, resumable=True)]
    assert service.run(ask) == (str(len(BODY)), 204, 204)
    assert len(service.heard) == 1


def test_a_route_that_is_not_resumable_takes_no_parts(make_network):
    service = Service(make_network, "simulated")
    service.routes = [Route("PUT", "/things/{name}", service.take)]

    async def ask(tus):
        return await tus("POST", "/things/a", {**TUS, "Upload-Length": "3"})

    assert service.run(ask)[0] == 404


def test_what_there_is_no_room_for_is_refused_before_it_comes(make_network, tmp_path):
    async def ask(tus):
        return await tus("POST", "/things/a", {**TUS, "Upload-Length": "100"})

    spool = Spool(tmp_path, free_bytes=1 << 60)
    refused = Service(make_network, "simulated", spool=spool).run(ask)
    assert (refused[0], refused[2]) == (507, "no-room")
    assert list(tmp_path.glob("**/bodies/*")) == []
