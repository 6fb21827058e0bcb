"""Counts, rates and budgets as agents meet them: the same in every world, and the same ledger."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from simnet import Message, Rate, Reply, Route, problem
from simnet.auditing import audit
from simnet.errors import BoundaryError, RateError
from tests.simnet.test_carriage import SYNTHETIC, Reading, both_worlds, count, exchange

WORLDS = ("simulated", "sized", "real")


def upload(number, size=100):
    return Message(f"synthetic:{number}".encode().ljust(size, b"x"), SYNTHETIC)


async def refuse(request):
    return problem(422, "no-good", "it is no good")


async def answer(request):
    return Reply(200, Message(b"control:" + str(len(request.message.body)).encode()))


async def session(host):
    """What passes and what does not; each world must agree."""
    heard = []
    for number in range(4):
        try:
            heard.append((await host.request("server", "PUT", "/", upload(number))).status)
        except BoundaryError as refusal:
            heard.append(str(refusal))
    heard.append((await host.request("server", "PUT", "/refused", Message(b"control:" + b"x" * 40))).reason)
    heard.append((await host.request("server", "PUT", "/refused", Message(b"control:2"))).status)
    heard.append((await host.request("server", "GET", "/")).status)
    return heard


def ran(make_network, two_tenants, world):
    network = make_network(
        world=world, inspector=Reading(), budgets={"sites": 260, "cloud": 100}, **two_tenants(at_most_count=3)
    )
    routes = [Route("PUT", "/", answer), Route("PUT", "/refused", refuse), Route("GET", "/", answer)]
    heard = exchange(network, routes, session)
    return heard, network


@both_worlds
def test_limits_are_kept_in_every_world(make_network, two_tenants, world):
    heard, network = ran(make_network, two_tenants, world)
    assert heard[:2] == [200, 200]
    assert heard[2] == (
        "the budget of sites does not hold the message: of 260 B a run 200 B are used and 60 B are left, the message "
        "has 100 B"
    )
    assert heard[3] == heard[2]
    assert heard[4:] == ["it is no good", 422, 403]  # the second time without a reason, then without an answer
    guard = network.boundaries
    assert guard.sent_bytes("sites") == 200 + 48 + 9
    assert guard.sent_bytes("cloud") == 11 + 11 + len(problem(422, "no-good", "it is no good").message.body)
    crossed = [entry for entry in guard.ledger if entry.verdict == "crossed" and entry.point == "leaving"]
    assert guard.sent_bytes("sites") == sum(e.size_bytes for e in crossed if e.source_tenant == "sites")
    assert guard.sent_bytes("cloud") == sum(e.size_bytes for e in crossed if e.source_tenant == "cloud")
    audited = audit(guard.ledger, guard.tenant_of, guard.rules, guard.budgets)
    assert audited.doubts == []
    assert dict(audited.sent_bytes) == {"sites": guard.sent_bytes("sites"), "cloud": guard.sent_bytes("cloud")}


def test_every_world_writes_the_same_ledger(make_network, two_tenants):
    ledgers = []
    for world in WORLDS:
        _, network = ran(make_network, two_tenants, world)
        ledgers.append([{**entry.as_dict(), "at_s": 0.0} for entry in network.boundaries.ledger])
    assert len(ledgers[0]) > 10
    assert ledgers[0] == ledgers[1] == ledgers[2]


@pytest.mark.parametrize("world", ["simulated", "sized"])
def test_who_waits_as_long_as_a_rate_says_passes(make_network, two_tenants, world):
    network = make_network(
        world=world, inspector=Reading(), **two_tenants(at_most_rate=Rate(1, 2.5, "messages"))
    )  # fmt: skip

    async def ask(host):
        left_s = []
        for number in range(3):
            while True:
                start_s = host.now()
                try:
                    await host.request("server", "PUT", "/", upload(number))
                    break
                except RateError as refusal:
                    await asyncio.sleep(refusal.retry_after_s)
            left_s.append(start_s)
        return left_s

    assert exchange(network, [Route("PUT", "/", count)], ask) == [0.0, 2.5, 5.0]


def test_a_process_elsewhere_is_told_429_and_when_to_come_again(make_network, two_tenants):
    """Only on sockets can a message arrive whose leaving nobody here has seen."""
    network = make_network(world="real", inspector=Reading(), **two_tenants(at_most_rate=Rate(1, 3600.0, "messages")))

    async def ask(host):
        told = []
        headers = {"Boundary-From": "client-1", "Boundary-Kind": "synthetic"}
        async with aiohttp.ClientSession() as elsewhere:
            for number in range(2):
                body = upload(number).body
                async with elsewhere.put(network.url_of("server") + "/", data=body, headers=headers) as response:
                    told.append((response.status, response.headers.get("Retry-After"), await response.text()))
        return told

    (first, second) = exchange(network, [Route("PUT", "/", answer)], ask)
    assert first[:2] == (200, None)
    assert second[0] == 429
    assert 3500 < int(second[1]) <= 3600
    assert "sites sends faster than the rule" in second[2]
    assert [entry.verdict for entry in network.boundaries.ledger if entry.point == "arriving"] == ["crossed", "refused"]
