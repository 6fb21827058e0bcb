"""A server that runs for weeks: who asks again and again, to hear that there is nothing, does not fill its memory."""

from __future__ import annotations

import asyncio

import pytest

from simnet import Boundaries, LinkSpec, Message, Reply, Route, Rule, SocketNetwork, star
from simnet.auditing import audit
from simnet.guards import Limits
from simnet.ingress import Ingress

TENANTS = {"client-0": "north", "client-1": "south", "server": "cloud"}
RULES = [Rule("cloud", frozenset({"embeddings"}))]


def asked(polls, *, limits=None, then=b"", together=True):
    """A network on which each client has asked so often for news before there is any: `then`, if that is not empty.

    If not `together`, clients and server are in networks of their own, as in processes.
    """
    topology = star(list(TENANTS)[:2], access=LinkSpec(1e9, 0.01), server=LinkSpec(1e9, 0.01), tenant_of=TENANTS)
    ours = SocketNetwork(topology, boundaries=Boundaries(TENANTS, RULES), ingress=Ingress(limits=limits))
    left = dict.fromkeys(TENANTS, polls)

    async def news(request):
        left[request.source] -= 1
        return Reply(200, Message(then)) if left[request.source] < 0 else Reply(204)

    async def ask(network, name):
        for _ in range(polls):
            assert (await network.host(name).request("server", "GET", "/news")).status == 204
        if then:
            assert (await network.host(name).request("server", "GET", "/news")).message.body == then

    async def main():
        await ours.host("server").serve([Route("GET", "/news", news)])
        theirs = ours
        if not together:
            urls = {"server": ours.url_of("server")}
            theirs = SocketNetwork(topology, boundaries=Boundaries(TENANTS, RULES), urls=urls)
        await asyncio.gather(*(ask(theirs, name) for name in ("client-0", "client-1")))
        for name in ("client-0", "client-1"):
            await theirs.host(name).close()
        return theirs

    theirs = ours.run(main)
    return ours, theirs


def told(network, kinds=("arrival", "answer", "idle")):
    return [(event.kind, *event.values.values()) for event in network.trace if event.kind in kinds]


@pytest.mark.parametrize("polls", [1, 50])
def test_who_hears_that_there_is_nothing_is_counted_and_not_written_down(polls):
    network, _ = asked(polls, limits=Limits(), together=False)
    assert told(network) == [("idle", "client-0", polls), ("idle", "client-1", polls)]
    assert len(network.trace) == 2
    assert list(network.boundaries.ledger) == []


def test_without_limits_everything_is_written_down():
    network, _ = asked(2, together=False)
    assert [kind for kind, *_ in told(network)].count("arrival") == 4
    assert len(network.boundaries.ledger) == 8


@pytest.mark.parametrize("together", [True, False])
def test_what_does_cross_is_written_down_whole(together):
    network, _ = asked(3, limits=Limits(), then=b"news", together=together)
    events = told(network)
    for name in ("client-0", "client-1"):
        of_name = [event for event in events if event[1] == name]
        arrival, answer, idle = of_name
        assert arrival == ("arrival", name, "GET", "/news", 0)
        assert answer[:6] == ("answer", name, "GET", "/news", 200, 4)
        assert idle == ("idle", name, 3)
    entries = [entry for entry in network.boundaries.ledger if entry.size_bytes]
    assert {(entry.source, entry.target) for entry in entries if entry.point == "leaving"} == {
        ("server", "client-0"), ("server", "client-1"),
    }  # fmt: skip
    found = audit(network.boundaries.ledger, TENANTS, RULES, {})
    assert (found.doubts, found.sent_bytes["cloud"]) == ([], 8)


def test_what_leaves_for_another_process_is_not_waited_for():
    """It would be, in vain, one answer after the other."""
    network, clients = asked(5, limits=Limits(), then=b"news", together=False)
    assert network.boundaries._transit._rules == {}
    assert clients.boundaries._transit._rules == {}
    together, _ = asked(5, then=b"news")
    assert together.boundaries._transit._rules == {}


def test_a_question_with_a_body_is_written_down():
    """However it is answered: else its body would have crossed unseen."""
    topology = star(list(TENANTS)[:2], access=LinkSpec(1e9, 0.01), server=LinkSpec(1e9, 0.01), tenant_of=TENANTS)
    ingress = Ingress(limits=Limits(requests_in_all=2))
    network = SocketNetwork(topology, boundaries=Boundaries(TENANTS, RULES), ingress=ingress)

    async def nothing(request):
        return Reply(204)

    async def main():
        await network.host("server").serve([Route("GET", "/news", nothing)])
        client = network.host("client-0")
        return [(await client.request("server", "GET", "/news", Message(b"x"))).status for _ in range(3)]

    assert network.run(main) == [204, 204, 403]
    assert [kind for kind, *_ in told(network)] == ["arrival", "answer", "arrival", "answer"]
    arrived = [entry for entry in network.boundaries.ledger if entry.point == "arriving" and entry.target == "server"]
    assert [entry.size_bytes for entry in arrived] == [1, 1]
