"""What the reception of a server says to newcomers, and to sites that give up."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from collab import wire
from collab.agents.messages import message
from collab.deploy import logs
from collab.deploy.store import Store
from collab.reception import Reception
from collab.scenario import parse
from simnet import Message, Request
from tests.collab.test_run import TEXT


@pytest.mark.parametrize(
    ("site", "source", "body", "status"),
    [
        ("client-1", "client-1", message({"reason": "no disk"}), 200),
        ("client-1", "client-2", message({"reason": "no disk"}), 403),
        ("client-9", "client-9", message({"reason": "no disk"}), 404),
        ("client-1", "client-1", message({}), 400),
        ("client-1", "client-1", Message(b"x"), 400),
    ],
)
def test_only_a_site_itself_can_give_up_and_says_why(site, source, body, status):
    lost = []
    desk = Reception(parse(TEXT, "tiny.yaml"), lambda *told: lost.append(told))
    (route,) = [route for route in desk.routes() if route.method == "DELETE"]
    request = Request(source, "DELETE", f"/v1/sites/{site}", {"site": site}, {}, body)
    assert asyncio.run(route.handler(request)).status == status
    assert lost == ([("client-1", "client-1 has given up: no disk")] if status == 200 else [])


def test_that_a_site_has_given_up_is_a_warning_with_its_reason_once():
    stream = io.StringIO()
    desk = Reception(parse(TEXT, "tiny.yaml"), lambda *_: None)
    (route,) = [route for route in desk.routes() if route.method == "DELETE"]
    with logs.written("info", "json", stream):
        for reason in ("no disk", "no disk, still"):
            body = message({"reason": reason})
            asked = Request("client-1", "DELETE", "/v1/sites/client-1", {"site": "client-1"}, {}, body)
            asyncio.run(route.handler(asked))
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["level"], line["site"], line["text"]) == ("gave-up", "warning", "client-1", "no disk")


def claimed(desk, key=None, source=None):
    """What a newcomer that asks for any name is answered: the status, and the name or the code."""
    (route,) = [route for route in desk.routes() if (route.method, route.path) == ("POST", "/v1/sites")]
    headers = {} if key is None else {"Idempotency-Key": key}
    reply = asyncio.run(route.handler(Request(source, "POST", "/v1/sites", {}, headers, Message())))
    return reply.status, wire.unpack(reply.message.body).fields["site"] if reply.status < 400 else reply.code


def test_whoever_asks_again_with_the_same_key_gets_the_same_name():
    desk = Reception(parse(TEXT, "tiny.yaml"), lambda *_: None)
    asked = ['"abc"', '"abc"', "abc", None, None, '"def"', '"abc"', '"ghi"']
    names = [claimed(desk, key) for key in asked]
    assert names == [
        (201, "client-0"), (201, "client-0"), (201, "client-0"), (201, "client-1"), (201, "client-2"),
        (201, "client-3"), (201, "client-0"), (409, "full"),
    ]  # fmt: skip


def test_a_server_that_was_killed_knows_the_keys(tmp_path):
    chosen = parse(TEXT, "tiny.yaml")
    with Store(tmp_path / "store", {"run": "a"}) as store:
        assert claimed(Reception(chosen, lambda *_: None, store), "abc") == (201, "client-0")
        again = Reception(chosen, lambda *_: None, store)
        assert [claimed(again, key) for key in ("def", "abc")] == [(201, "client-1"), (201, "client-0")]


@pytest.mark.parametrize("key", ['"a b"', "x" * 129, "ä", '"a", "b"'])
def test_a_key_is_of_letters_and_digits(key):
    desk = Reception(parse(TEXT, "tiny.yaml"), lambda *_: None)
    assert claimed(desk, key) == (400, "bad-key")
    assert claimed(desk) == (201, "client-0")
