"""Each fault on a star whose one way takes 20 ms; the plain fluid model makes all times exact."""

from __future__ import annotations

import asyncio
import errno

import pytest

from simnet import LinkSpec, Message, Reply, Route, Tcp, job
from simnet.devices import Fixed
from simnet.errors import FaultError, NoAnswerError, UnreachableError
from simnet.fault_kinds import (
    BandwidthCollapse,
    BurstLoss,
    ClockSkew,
    DropMessages,
    HoldMessages,
    HostCrash,
    LinkDown,
    Partition,
    ResetConnections,
    SlowHost,
)
from simnet.faults import Planned, hosts_named, links_named
from simnet.judged import FIRST_TIMEOUT_S
from simnet.outages import CONNECT_ATTEMPTS_S, RETRANSMISSION_TIMEOUT_S
from simnet.verdicts import DROP, PASS, RESET, FaultRule, Hold, Rules, Transfer
from tests.simnet.test_outages import SLOW, later, swallow
from tests.simnet.test_streams import connected, run

MEGABYTE = 1_000_000


async def upload(size_bytes=5 * MEGABYTE):
    """Send so many bytes; returns what the other end counted and when that was known here."""
    async with connected() as (reader, writer):
        writer.write(bytes(size_bytes))
        writer.write_eof()
        counted = await reader.read()
        return int(counted), asyncio.get_running_loop().time()


def uploaded_s(network, *plan):
    """When 5 MB at 1 MB/s are known to have arrived under faults as planned; 5.08 s without any."""

    async def client(network):
        network.faults.schedule(plan)
        return await upload()

    counted, when_s = run(network, client, handler=swallow)
    assert counted == 5 * MEGABYTE
    return when_s


def faults_of(network):
    return [(event.at_s, event.host, dict(event.values)) for event in network.trace.of_kind("fault")]


@pytest.mark.parametrize(
    ("fault", "expected_s"),
    [
        (LinkDown("client-0"), 5.08 + 3),
        (LinkDown("client-0 > hub"), 5.08 + 3),
        (LinkDown("hub -- server"), 5.08 + 3),
        (LinkDown("client-1"), 5.08),
        (Partition((("client-0",), ("server",))), 5.08 + 3),
        (Partition((("client-1",), ("client-0", "server"))), 5.08),
        (BandwidthCollapse("client-0", 0.25), 5.08 + 3 * 0.75),
        (SlowHost("server", 10), 5.08),
    ],
)
def test_a_transfer_bears_a_fault_of_three_seconds(make_network, fault, expected_s):
    network = make_network(access=SLOW)
    assert uploaded_s(network, Planned(2.0, fault, 3.0)) == pytest.approx(expected_s, abs=5e-5)
    began, ended = faults_of(network)
    assert (began[0], began[2]["phase"], ended[0], ended[2]["phase"]) == (2.0, "begins", 5.0, "ends")
    assert began[1] == fault.where()
    assert began[2]["fault"] == fault.kind


def test_overlapping_faults_take_back_what_they_did_themselves(make_network):
    """Down from 1 to 3 and from 2 to 4; at a half from 0 to 6, a quarter from 3 to 5."""
    plan = [
        Planned(0.0, BandwidthCollapse("client-0", 0.5), 6.0),
        Planned(1.0, LinkDown("client-0"), 2.0),
        Planned(2.0, LinkDown("client-0 > hub"), 2.0),
        Planned(3.0, BandwidthCollapse("client-0", 0.5), 2.0),
    ]
    # Sent by 1 s: 0.96 / 2; 4 to 5 s: 1 / 4; 5 to 6 s: 1 / 2; the rest at full speed. (0.04 s go to the handshake.)
    sent = 0.48 + 0.25 + 0.5
    assert uploaded_s(make_network(access=SLOW), *plan) == pytest.approx(6 + 5 - sent + 0.04, abs=5e-5)


def test_partitions_may_overlap(make_network):
    plan = [
        Planned(1.0, Partition((("client-0",), ("server",))), 2.0),
        Planned(2.0, Partition((("client-0", "client-1"), ("server",))), 4.0),
    ]
    assert uploaded_s(make_network(access=SLOW), *plan) == pytest.approx(5.08 + 5, abs=5e-5)


def test_a_held_message_arrives_later_and_keeps_its_place(make_network):
    """What follows the held one arrives with it, not before."""

    class OnlyTheFirst(FaultRule):
        asked = 0

        def message(self, transfer):
            self.asked += 1
            return Hold(2.5) if self.asked == 1 else PASS

    arrived = []

    async def note(reader, writer):
        while data := await reader.read(100):
            arrived.append((data, round(asyncio.get_running_loop().time(), 4)))
        writer.close()

    async def client(network):
        async with connected() as (_, writer):
            with network.faults.install(OnlyTheFirst()):
                writer.write(b"one")
                await asyncio.sleep(1)
                writer.write(b"two")
            await asyncio.sleep(3)
            writer.write(b"three")
            await asyncio.sleep(1)

    network = make_network()
    run(network, client, handler=note)
    # Written at 0.04, 1.04 and 4.04 s.
    assert arrived == [(b"onetwo", 2.56), (b"three", 4.06)]
    ((when_s, where, values),) = faults_of(network)
    assert (round(when_s, 4), where) == (0.06, "client-0")
    assert values == {"verdict": "hold", "what": "message", "hold_us": 2_500_000, "peer": "server", "bytes": 3}


def test_held_messages_of_a_transfer_are_held_side_by_side(make_network):
    plan = Planned(0.0, HoldMessages("client-0", "server", 2.0), 60.0)
    assert uploaded_s(make_network(access=SLOW), plan) == pytest.approx(5.08 + 2, abs=5e-5)


def test_a_dropped_message_is_sent_again_as_tcp_does(make_network):
    """Sent at 0.04 s, lost then and 0.2, 0.6 and 1.4 s later; the fifth time it goes."""

    async def client(network):
        async with connected() as (reader, writer):
            guard = network.faults.install(DropMessages("client-0", "server"))
            later(network, 1.5, guard.remove)
            writer.write(b"hello")
            return await reader.readexactly(5), network.now()

    network = make_network()
    answer, when_s = run(network, client)
    assert answer == b"hello"
    assert when_s == pytest.approx(0.04 + FIRST_TIMEOUT_S * (1 + 2 + 4 + 8) + 0.04, abs=5e-6)
    verdicts = [values for _, _, values in faults_of(network) if "verdict" in values]
    assert [values["verdict"] for values in verdicts] == ["drop"] * 4


def test_what_is_always_dropped_ends_the_connection(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            network.faults.install(DropMessages("*", "server"))
            writer.write(b"hello")
            with pytest.raises(NoAnswerError, match=r"no answer for 924\.6 s"):
                await reader.read()
            return network.now()

    assert run(make_network(), client) == pytest.approx(0.04 + RETRANSMISSION_TIMEOUT_S)


def test_dropped_attempts_to_connect_are_repeated(make_network):
    async def client(network):
        guard = network.faults.install(DropMessages("client-0", "server"))
        later(network, 2.0, guard.remove)
        async with connected():
            return network.now()

    assert run(make_network(), client) == 3.04


@pytest.mark.parametrize(("verdict", "expected"), [(RESET, (0.04, errno.ECONNREFUSED)), (Hold(0.5), (0.54, 0))])
def test_rules_for_connections(make_network, verdict, expected):
    class Gate(FaultRule):
        def connection(self, attempt):
            assert (attempt.source, attempt.target, attempt.port) == ("client-0", "server", 7)
            return verdict

    async def client(network):
        with network.faults.install(Gate()):
            try:
                async with connected():
                    return network.now(), 0
            except UnreachableError as error:
                return network.now(), error.errno

    assert run(make_network(), client) == expected


def test_a_reset_ends_what_is_open_and_what_comes(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(bytes(5 * MEGABYTE))
            later(network, 2.0, lambda: guards.append(network.faults.install(ResetConnections("*", "server"))))
            with pytest.raises(ConnectionResetError):
                await reader.read()
            first_s = network.now()
        async with connected() as (reader, writer):
            writer.write(b"again")
            with pytest.raises(ConnectionResetError):
                await reader.read()
        guards.pop().remove()
        async with connected() as (reader, writer):
            writer.write(b"again")
            writer.write_eof()
            return first_s, await reader.read()

    guards = []
    assert run(make_network(access=SLOW), client, handler=swallow) == (2.0, b"5")


def test_a_burst_of_losses_slows_tcp_down_and_loses_nothing(make_network):
    plan = Planned(1.0, BurstLoss("client-0", 0.05), 2.0)
    calm_s = uploaded_s(make_network(access=SLOW, tcp=Tcp()))
    network = make_network(access=SLOW, tcp=Tcp())
    when_s = uploaded_s(network, plan)
    assert calm_s + 0.5 < when_s < calm_s + 2.5  # next to nothing in those two seconds, and the way back
    assert [(when, what["phase"]) for when, _, what in faults_of(network)] == [(1.0, "begins"), (3.0, "ends")]
    assert network.streams.imbalances() == []
    again = make_network(access=SLOW, tcp=Tcp())
    assert uploaded_s(again, plan) == when_s
    assert again.trace.digest() == network.trace.digest()


def test_losses_are_a_matter_of_seeds(make_network):
    plan = Planned(1.0, BurstLoss("client-0", 0.05), 2.0)
    assert len({uploaded_s(make_network(access=SLOW, tcp=Tcp(), seed=seed), plan) for seed in range(4)}) == 4


@pytest.mark.parametrize("tcp", [Tcp(), Tcp.plain()])
@pytest.mark.parametrize("probability", [0.5, 0.9, 1 - 1e-12])
def test_what_is_nearly_always_lost_waits_for_the_end_of_the_burst(make_network, tcp, probability):
    """The sender tries again after 0.2, 0.4, 0.8, ... s and a round trip; so it finds out, at the latest, when the
    burst has lasted as long once more.
    """
    network = make_network(access=SLOW, tcp=tcp)
    when_s = uploaded_s(network, Planned(1.0, BurstLoss("client-0 > hub", probability), 8.0))
    assert 9.0 < when_s < 17.0 + 5.2
    assert network.streams.imbalances() == []


def test_a_connection_that_rests_finds_out_about_losses_when_it_goes_on(make_network):
    async def client(network):
        async with connected() as (reader, writer):
            writer.write(bytes(MEGABYTE))
            await writer.drain()
            await asyncio.sleep(1.5)
            with network.faults.install(BurstLoss("client-0", 0.1)):
                await asyncio.sleep(0.1)
                writer.write(bytes(MEGABYTE))
                writer.write_eof()
                began_s = network.now()
                assert await reader.read() == b"2000000"
                return network.now() - began_s

    took_s = run(make_network(access=SLOW, tcp=Tcp()), client, handler=swallow)
    assert took_s > 3.0  # 1 s if nothing were lost


def test_bursts_on_one_link_add_up_and_their_ends_restore_it(make_network):
    network = make_network(access=LinkSpec(8e6, 0.010, loss=0.01))
    path = network.topology.path("client-0", "server")

    def kept():
        return 1 - network.flows.loss(path)

    before = kept()
    assert before == pytest.approx(0.99)
    first = network.faults.install(BurstLoss("client-0", 0.2))
    second = network.faults.install(BurstLoss("client-0 > hub", 0.5))
    assert kept() == pytest.approx(0.99 * 0.8 * 0.5)
    first.remove()
    assert kept() == pytest.approx(0.99 * 0.5)
    second.remove()
    assert kept() == before


def test_a_lost_packet_of_a_handshake_costs_a_second_or_more(make_network):
    """Each way is lost with 30 %: half the attempts succeed, the others are repeated after 1, 2, 4, ... s."""

    async def client(network):
        with network.faults.install(BurstLoss("client-0", 0.3)):
            async with connected():
                return round(network.now(), 6)

    expected_s = [round(attempt_s + 0.04, 6) for attempt_s in CONNECT_ATTEMPTS_S]
    times_s = [run(make_network(seed=seed), client) for seed in range(6)]
    assert set(times_s) <= set(expected_s)
    assert len(set(times_s)) > 2
    assert times_s == [run(make_network(seed=seed), client) for seed in range(6)]


# -- hosts ---------------------------------------------------------------------------------------


def test_a_slow_host_takes_longer_for_what_is_left(make_network):
    """10 s of work: 2 s at full speed, 6 s at a third, the other 6 s at full speed."""

    async def client(network):
        network.faults.schedule([Planned(2.0, SlowHost("client-0", 3.0), 6.0)])
        await network.host("client-0").compute(job("think", int))
        return network.now()

    assert run(make_network(timing=Fixed(10.0)), client) == pytest.approx(2 + 6 + 6)


def test_a_rule_may_hold_a_job_or_crash_its_host(make_network):
    class OnJobs(FaultRule):
        verdict = Hold(4.0)

        def computation(self, work):
            assert (work.host, work.job, work.duration_s) == ("client-1", "think", 1.0)
            return self.verdict

    class Crash(OnJobs):
        verdict = RESET

        def computation(self, work):
            guards.pop().remove()  # the next one gets through
            return super().computation(work)

    guards = []

    async def program(network):
        await network.host("client-1").compute(job("think", int))
        return network.now()

    async def client(network):
        host = network.host("client-1")
        with network.faults.install(OnJobs()):
            held_s = await host.boot(lambda: program(network))
        guards.append(network.faults.install(Crash()))
        return held_s, await host.boot(lambda: program(network))

    network = make_network(timing=Fixed(1.0))
    assert run(network, client) == (5.0, 7.0)  # the first program starts anew, too
    power = [(event.at_s, event.host, event.values["what"]) for event in network.trace.of_kind("power")]
    assert power == [(5.0, "client-1", "crash"), (5.0, "client-1", "restart")]


def test_a_skewed_clock_shows_the_wrong_time(make_network):
    async def client(network):
        host = network.host("client-1")
        with network.faults.install(ClockSkew("client-1", offset_s=3.0, drift=0.5)):
            await asyncio.sleep(2)
            host.record("note")
            shown = host.now(), network.host("client-0").now(), network.now()
        return shown, host.now()

    network = make_network()
    assert run(network, client) == ((2 + 3 + 1, 2, 2), 2)
    (note,) = network.trace.of_kind("note")
    assert (note.at_s, note.values) == (2.0, {"clock_us": 6_000_000})


# -- names, plans and verdicts -------------------------------------------------------------------


def test_names_of_links_and_hosts(make_network):
    topology = make_network(tenants={"client-0": "a", "client-1": "a", "server": "b"}).topology
    assert links_named(topology, "client-1") == links_named(topology, "hub -- client-1") == [2, 3]
    assert links_named(topology, "hub > client-1") == [3]
    assert links_named(topology, "hub") == [0, 1, 2, 3, 4, 5]
    assert hosts_named(topology, "a") == ["client-0", "client-1"]
    assert hosts_named(topology, "*") == ["client-0", "client-1", "server"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (LinkDown("client-9"), 'there is no link "client-9"'),
        (LinkDown("client-0 > server"), 'there is no link "client-0 > server"'),
        (BandwidthCollapse("client-0", 0.0), "expected above 0"),
        (BurstLoss("client-0", 1.5), "at least 0 and below 1"),
        (BurstLoss("client-0", 1.0), "at least 0 and below 1; a link that carries nothing is down"),
        (HostCrash("hub"), 'there is no host "hub"'),
        (SlowHost("server", -1.0), "expected a positive number"),
        (ClockSkew("server", drift=-1.0), "cannot go forward"),
        (Partition((("client-0",),)), "two sides or more"),
        (Partition((("client-0", "server"), ("server",))), "server cannot be on two sides"),
        (HoldMessages("client-0", "nobody", 1.0), 'there is no host or tenant "nobody"'),
        (HoldMessages("client-0", "server", -1.0), "expected 0 or more"),
        (DropMessages("client-0", "server", 0.0), "expected above 0, at most 1"),
        (ResetConnections("x", "server"), 'there is no host or tenant "x"'),
    ],
)
def test_faults_that_cannot_happen(make_network, fault, message):
    network = make_network()
    with pytest.raises(FaultError, match=message):
        network.faults.install(fault)
    with pytest.raises(FaultError, match=message):
        network.faults.schedule([Planned(1.0, fault)])
    assert not network.trace.of_kind("fault")


@pytest.mark.parametrize(("at_s", "for_s"), [(-1.0, None), (float("nan"), None), (1.0, 0.0), (1.0, float("inf"))])
def test_plans_that_cannot_be_carried_out(at_s, for_s):
    with pytest.raises(FaultError, match="link-down"):
        Planned(at_s, LinkDown("client-0"), for_s)


def test_several_rules_add_up(make_network):
    network = make_network()
    rules = Rules(network.clock, network.trace)
    transfer = Transfer("client-0", "server", 10)

    def saying(verdict):
        rule = FaultRule()
        rule.message = lambda transfer: verdict
        rules.add(rule)
        return rules.message(transfer)

    assert rules.message(transfer) is PASS
    assert saying(Hold(1.0)) == Hold(1.0)
    assert saying(Hold(0.5)) == Hold(1.5)
    assert saying(DROP) is DROP
    assert saying(RESET) is RESET
    assert saying(DROP) is RESET
    with pytest.raises(ValueError, match="held for -1 s"):
        Hold(-1)


def test_a_guard_takes_back_once(make_network):
    network = make_network()
    guard = network.faults.install(LinkDown("client-0"))
    assert not network.streams.outages.passes("client-0", "server")
    guard.remove()
    guard.remove()
    assert network.streams.outages.passes("client-0", "server")
    assert [values["phase"] for _, _, values in faults_of(network)] == ["begins", "ends"]


def test_requests_bear_what_their_connections_bear(make_network):
    async def hello(request):
        return Reply(200, Message(b"hello"))

    async def client(network):
        await network.host("server").serve([Route("GET", "/", hello)])
        network.faults.schedule([Planned(0.0, LinkDown("client-0"), 2.0)])
        await asyncio.sleep(0.5)
        reply = await network.host("client-0").request("server", "GET", "/")
        return reply.message.body, network.now()

    body, when_s = run(make_network(), client)
    assert body == b"hello"
    assert when_s == pytest.approx(0.5 + 3.0 + 0.08, abs=1e-5)  # the third attempt to connect gets through
