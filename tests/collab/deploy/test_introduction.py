"""A newcomer to a server that is down, busy, or behind a link that breaks: it asks again, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from collab.agents.messages import message
from collab.deploy import introduction
from collab.errors import RunFailedError
from simnet.ingress import OPEN_EGRESS

EXPERIMENT, NAME = message({"scenario": "name: far"}).body, message({"site": "client-7"}).body
BROKEN = {
    "cut": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 400\r\n\r\nhalf",
    "closed": b"",
    "shutting down": b"HTTP/1.1 503 Later\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "too fast": b"HTTP/1.1 429 Slowly\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "silent": None,
}


def introduced(broken, times, patience_s):
    """How a site is introduced by a server whose first answers to each question are `broken`."""
    asked = []

    async def answer(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            question = head.split()[0]
            asked.append(question)
            if asked.count(question) > times:
                body = EXPERIMENT if question == b"GET" else NAME
                writer.write(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
            elif broken is not None:
                writer.write(broken)
            else:
                await reader.read()  # until the site has had enough
        finally:
            writer.close()

    async def main():
        async with asyncio.timeout(20), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await introduction.introduce(url, "client-7", patience_s, OPEN_EGRESS)

    return asyncio.run(main())


@pytest.fixture
def _hasty(monkeypatch):
    monkeypatch.setattr(introduction, "_BETWEEN_ATTEMPTS_S", 0.001)
    monkeypatch.setattr(introduction, "_LONGEST_ANSWER_S", 0.3)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_site_asks_again_while_answers_break_off(broken):
    assert introduced(broken, 2, patience_s=10) == ("name: far", "client-7")


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("cut", "nobody answers at .*not completed"),
        ("too fast", "answered 429"),
        ("silent", r"nobody answers at .*no answer for 0\.3 s"),
    ],
)
def test_its_patience_has_an_end(broken, told):
    with pytest.raises(RunFailedError, match=told):
        introduced(BROKEN[broken], 1000, patience_s=0.05)


@pytest.mark.usefixtures("_hasty")
def test_a_refusal_is_final():
    with pytest.raises(RunFailedError, match="answered 409: "):
        introduced(b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 1, patience_s=10)
