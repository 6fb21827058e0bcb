"""The sizes of heads against what aiohttp writes, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet import LinkSpec, Message, Reply, Route, SimulatedNetwork, Tcp, problem, star

LINK = LinkSpec(1e9, 0.001)


def carried(carriage, method, path, message, headers, reply):
    """What the asker got, what the service saw, and the bytes of either direction."""
    network = SimulatedNetwork(star(["client"], access=LINK, server=LINK), tcp=Tcp.plain(), carriage=carriage)
    seen = []

    def read(message):
        return bytes(message.body), message.kinds, message.content_type, message.digest

    async def answer(request):
        head = (request.method, request.path, dict(request.parameters), list(request.headers.items()))
        seen.append((head, read(request.message)))
        return reply

    async def main():
        server, client = network.host("server"), network.host("client")
        await server.start(server.serve([Route("*", "/tasks/{task}", answer)]))
        return await client.start(client.request("server", method, path, message, headers))

    got = network.run(main)
    date = got.headers["Date"]
    known = [(name, "" if value == date else value) for name, value in got.headers.items()]
    return (got.status, read(got.message), known, len(date)), seen, network.flows.carried_bytes.tolist(), network.now()


REQUESTS = [
    ("GET", "/tasks/1", Message(), {"Prefer": "wait=60"}),
    ("PUT", "/tasks/1", Message(b"x" * 1000, frozenset({"synthetic", "seeds"})), {}),
    ("PUT", "/tasks/1", Message(), {}),
    ("POST", "/tasks/%C3%A9", Message(b"x", content_type="Text/Plain; charset=utf-8"), {"X-Name": "é"}),
    ("post", "/tasks/a b?c=d&e=é#f", Message(b"x" * 300_000), {"accept": "application/json", "User-Agent": "me"}),
    ("GET", "/tasks/../tasks/x", Message(b"a body"), {}),
    ("GET", "/tasks/..a/", Message(), {}),
    ("DELETE", "/nowhere", Message(), {}),
    ("HEAD", "/tasks/1", Message(), {}),
    ("OPTIONS", "/tasks/1", Message.of_size(70_000), {"Accept-Encoding": "identity"}),
]
REPLIES = [
    Reply(),
    Reply(201, Message(b"y" * 1000, frozenset({"seeds"}))),
    Reply(200, Message.of_size(600_000)),
    Reply(204, headers={"Retry-After": "7"}),
    Reply(204, Message(b"not allowed here")),
    Reply(304),
    Reply(304, Message(b"nor here")),
    Reply(299, Message(b"no reason is known", content_type="text/plain; charset=utf-8")),
    Reply(200, Message(b"{}"), {"date": "never", "Server": "me", "X-Note": "é"}),
    problem(422, "no-good", "it is no good"),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_are_as_long_and_read_the_same(request_):
    reply = Reply(200, Message(b"done"))
    assert carried("sized", *request_, reply) == carried("http", *request_, reply)


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_answers_are_as_long_and_read_the_same(method, reply):
    assert carried("sized", method, "/tasks/1", Message(), {}, reply) == carried(
        "http", method, "/tasks/1", Message(), {}, reply
    )


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="{}"), min_size=1)
NAMES = st.from_regex(r"X-[A-Za-z]{1,10}", fullmatch=True) | st.sampled_from(["accept", "Prefer", "retry-after"])
HEADERS = st.dictionaries(NAMES, WORDS, max_size=3).filter(
    lambda headers: len({name.lower() for name in headers}) == len(headers)
)
MESSAGES = st.builds(
    Message,
    st.integers(0, 300_000).map(bytes),
    st.frozensets(st.sampled_from(["control", "seeds", "synthetic"]), min_size=1),
    st.sampled_from(["application/msgpack", "text/plain; charset=utf-8", "Image/PNG"]),
)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]),
    st.lists(WORDS, min_size=1, max_size=3).map(lambda words: "/tasks/" + "/".join(words)),
    MESSAGES,
    HEADERS,
    st.sampled_from([200, 201, 204, 304, 404, 422, 500]),
    MESSAGES,
    HEADERS,
)
def test_whatever_agents_say(method, path, message, headers, status, answer, answer_headers):
    case = (method, path, message, headers, Reply(status, answer, answer_headers))
    assert carried("sized", *case) == carried("http", *case)
