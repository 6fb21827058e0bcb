"""A site that knows only an address, and servers that have no time for it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl

import pytest
from aiohttp import web

from collab.agents.messages import message
from collab.deploy import introduction
from collab.deploy.certificates import new_authority
from collab.deploy.introduction import introduce
from collab.errors import CollabError, CredentialsError, RunFailedError, ScenarioError
from simnet.door import Door
from simnet.guards import Limits
from simnet.ingress import OPEN_EGRESS, Egress
from simnet.services import problem
from tests.collab.deploy.deployments import Deployment

EXPERIMENT = (200, message({"scenario": "name: a"}).body, {})
CLAIMED = (201, message({"site": "client-7"}).body, {})


def refused(status, code, **headers):
    body = problem(status, code, "in a moment").message.body
    return status, body, {"Content-Type": "application/problem+json", **headers}


@contextlib.asynccontextmanager
async def answered_by(answer):
    """The URL of a server at which this handler answers everything."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def introduced(answers, patience_s=60.0, site=None, check=None, asked=None):
    """What a newcomer gets from a server that gives these answers, one after the other; and what it asked."""
    left, asked = list(answers), [] if asked is None else asked

    async def answer(request):
        asked.append((request.method, request.path))
        status, body, headers = left.pop(0)
        return web.Response(status=status, body=body, headers=headers)

    async def main():
        async with answered_by(answer) as url:
            return await introduce(url, site, patience_s, OPEN_EGRESS, check)

    return asyncio.run(main()), asked


def test_a_newcomer_gets_the_scenario_and_a_name():
    assert introduced([EXPERIMENT, CLAIMED]) == (
        ("name: a", "client-7"), [("GET", "/v1/experiment"), ("POST", "/v1/sites")],
    )  # fmt: skip
    assert introduced([EXPERIMENT, CLAIMED], site="client-7")[1][1] == ("POST", "/v1/sites/client-7")


def test_a_scenario_that_does_not_do_is_known_before_a_name_is_taken():
    asked = []

    def check(text):
        raise ScenarioError(f"{text} does not do")

    with pytest.raises(ScenarioError, match=r"^name: a does not do$"):
        introduced([EXPERIMENT, CLAIMED], check=check, asked=asked)
    assert asked == [("GET", "/v1/experiment")]


def test_a_server_that_has_no_time_is_asked_again_when_it_says(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(introduction.asyncio, "sleep", sleep)
    answers = [refused(429, "rate", **{"Retry-After": "3"}), EXPERIMENT, refused(503, "busy"), EXPERIMENT, CLAIMED]
    assert introduced(answers)[0] == ("name: a", "client-7")
    assert [seconds for seconds in slept if seconds] == [3.0, 1.0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refused(503, "busy", **{"Retry-After": "60"}), r"/v1/experiment answered 503: in a moment"),
        (refused(403, "not-you"), r"/v1/experiment answered 403: in a moment"),
        ((200, b"<html>", {}), r"what answers at http\S+ is no collab server"),
        ((200, bytes(1_000_001), {}), r"is no collab server: the answer has more than 1000000 B"),
    ],
)
def test_a_newcomer_that_has_to_go_says_why(answer, reason):
    with pytest.raises(CollabError, match=reason):
        introduced([answer], patience_s=10.0)


BROKEN = {
    "cut": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 400\r\n\r\nhalf",
    "closed": b"",
    "silent": None,
}


@pytest.mark.usefixtures("_hasty")
def test_a_newcomer_asks_again_with_the_same_key(monkeypatch):
    """The answer that was lost may have been a name."""
    keys = []

    async def answer(request):
        if request.method == "GET":
            return web.Response(body=EXPERIMENT[1])
        keys.append(request.headers.get("Idempotency-Key"))
        if len(keys) < 3:
            request.transport.abort()
        return web.Response(status=201, body=CLAIMED[1])

    async def main():
        async with answered_by(answer) as url:
            return [(await introduce(url, site, 20.0, OPEN_EGRESS))[1] for site in (None, None, "client-7")]

    assert asyncio.run(main()) == ["client-7"] * 3
    first, second, third, other, named = keys
    assert first == second == third != other
    assert re.fullmatch(r'"[0-9a-f]{32}"', first)
    assert named is None  # who says a name becomes that one


def introduced_over(broken, times, patience_s):
    """What a newcomer gets over a link on which the first answers to each of its questions are `broken`."""
    asked = []

    async def answer(reader, writer):
        try:
            question = (await reader.readuntil(b"\r\n\r\n")).split()[0]
            asked.append(question)
            if asked.count(question) > times:
                _, body, _ = EXPERIMENT if question == b"GET" else CLAIMED
                writer.write(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
            elif broken is not None:
                writer.write(broken)
            else:
                await reader.read()  # until the newcomer has had enough
        finally:
            writer.close()

    async def main():
        async with asyncio.timeout(20), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await introduce(url, "client-7", patience_s, OPEN_EGRESS)

    return asyncio.run(main())


@pytest.fixture
def _hasty(monkeypatch):
    monkeypatch.setattr(introduction, "_BETWEEN_ATTEMPTS_S", 0.001)
    monkeypatch.setattr(introduction, "_LONGEST_ANSWER_S", 0.3)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_newcomer_whose_answer_breaks_off_asks_again(broken):
    assert introduced_over(broken, 2, patience_s=10) == ("name: a", "client-7")


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("broken", "told"), [("cut", "not completed"), ("silent", r"there was no answer for 0\.3 s")])
def test_but_not_for_ever(broken, told):
    with pytest.raises(RunFailedError, match=f"nobody answers at .*{told}"):
        introduced_over(BROKEN[broken], 1000, patience_s=0.05)


def introduced_with(tmp_path, context):
    """What a newcomer with this TLS context gets from a server that asks for certificates; which handshakes failed."""
    deployment, failed = Deployment(tmp_path), []
    door = Door()
    door.on_failed_handshake = lambda address, reason: failed.append((address, reason))
    network = deployment.network(ingress=deployment.ingress(door=door, limits=Limits()))

    async def visit(url):
        return await introduce(url, "client-1", 60.0, Egress(context(deployment)))

    try:
        return deployment.serve(network, visit), failed
    except CollabError as error:
        return error, failed


def test_a_certificate_of_another_authority_is_refused_at_once(tmp_path):
    another = new_authority("another")
    error, failed = introduced_with(
        tmp_path, lambda deployment: deployment.client(deployment.certificate("client-1", authority=another))
    )
    assert isinstance(error, CredentialsError)
    assert (
        "does not accept this certificate (it ends the connection as soon as TLS is set up); which authority issued it?"
        in str(error)
    )
    address, reason = failed[0]
    assert (address, reason.split(":")[0]) == ("127.0.0.1", "certificate verify failed")


def test_a_server_of_another_authority_is_not_believed(tmp_path):
    error, _ = introduced_with(tmp_path, lambda _deployment: ssl.create_default_context())
    assert isinstance(error, CredentialsError)
    assert "is not to be trusted" in str(error)
    assert "is `authority:` the one that issued the server's certificate?" in str(error)


@pytest.mark.usefixtures("_hasty")
def test_that_nobody_is_there_yet_is_told_once(capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RunFailedError, match="nobody answers"):
        asyncio.run(introduce(f"http://127.0.0.1:{port}", "client-7", 0.05, OPEN_EGRESS))
    told = f"waiting for http://127.0.0.1:{port} (connection refused), for 0.05 s at most\n"
    assert capsys.readouterr().err == told
