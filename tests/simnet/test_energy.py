"""Joules: by hand, conserved, and in both worlds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet import Computed, Device, Job, LinkSpec, Message, Radio, Reply, Route, Tcp
from simnet.energy import TimeSheet, host_energy

SLOW = Device("slow", 1e6, "a test", busy_w=10.0, idle_w=2.0, power_source="a test")
RADIO = Radio("radio", 50e-9, 20e-9, "a test")
CHAIN = {"devices": {"client-0": SLOW}, "radios": {"client-0": RADIO}}


def work(operations):
    return Job("work", lambda: Computed(None, operations))


def test_by_hand():
    energy = host_energy(SLOW, RADIO, busy_s=3, span_s=5, sent_bytes=1_000_000, received_bytes=250_000)
    # 10 W x 3 s; 2 W x 2 s; 8 Mbit x 50 nJ; 2 Mbit x 20 nJ
    assert (energy.compute_j, energy.idle_j) == (30.0, 4.0)
    assert (energy.transmit_j, energy.receive_j) == (pytest.approx(0.4, rel=1e-12), pytest.approx(0.04, rel=1e-12))
    assert energy.total_j == pytest.approx(34.44)
    assert (energy.device, energy.radio, energy.counted) == ("slow", "radio", True)


def test_what_nobody_gave_a_power_is_not_counted_and_says_so():
    energy = host_energy(Device("mine", 1e6, "x"), None, busy_s=1, span_s=2, sent_bytes=9, received_bytes=9)
    assert energy.total_j == 0
    assert (energy.device, energy.radio, energy.counted) == (None, None, False)
    assert (energy.busy_s, energy.idle_s, energy.sent_bytes) == (1, 1, 9)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"busy_s": -1}, "negative"), ({"sent_bytes": -1}, "negative"), ({"busy_s": 6}, "computed for 6 s of 5 s")],
)
def test_impossible_quantities_are_refused(wrong, says):
    given_ = {"busy_s": 3, "span_s": 5, "sent_bytes": 0, "received_bytes": 0}
    with pytest.raises(ValueError, match=says):
        host_energy(SLOW, RADIO, **{**given_, **wrong})


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e12), st.floats(0, 1e12))
def test_busy_and_idle_are_the_span_and_the_parts_the_whole(busy_s, waits_s, sent, received):
    span_s = busy_s + waits_s
    energy = host_energy(SLOW, RADIO, busy_s=busy_s, span_s=span_s, sent_bytes=sent, received_bytes=received)
    assert energy.busy_s + energy.idle_s == pytest.approx(span_s)
    assert energy.total_j == pytest.approx(
        10 * busy_s + 2 * (span_s - busy_s) + 8 * (50e-9 * sent + 20e-9 * received), rel=1e-9, abs=1e-9
    )


def test_a_run_to_the_joule(make_network):
    """Two jobs of 3 s and 1 s, 2 s of sleep, and 1000 bytes to a server that answers nothing."""
    network = make_network(clients=1, tcp=Tcp(), **CHAIN)

    async def take_in(reader, writer):
        await reader.read()
        writer.close()

    async def serve():
        await asyncio.start_server(take_in, port=7)

    async def client(host):
        await asyncio.gather(host.compute(work(3e6)), host.compute(work(1e6)))
        await asyncio.sleep(2)
        _, writer = await asyncio.open_connection("server", 7)
        writer.write(bytes(1000))
        writer.close()
        await writer.wait_closed()

    async def main():
        await network.host("server").start(serve())
        host = network.host("client-0")
        await host.start(client(host))
        await asyncio.sleep(100)  # after its part; the rest of the world goes on

    network.run(main)
    energies = network.energy()
    mine = energies["client-0"]
    assert (mine.busy_s, mine.compute_j) == (4.0, 40.0)
    assert 2.0 < mine.idle_s < 2.2
    assert mine.idle_j == 2 * mine.idle_s
    assert mine.sent_bytes == pytest.approx(1000 * 1502 / 1448)
    assert mine.transmit_j == pytest.approx(8000 * 1502 / 1448 * 50e-9)
    assert (mine.received_bytes, mine.receive_j) == (0, 0)
    assert energies["server"].received_bytes == pytest.approx(mine.sent_bytes)
    assert energies["server"].span_s == pytest.approx(0.0)  # its only program ended at once


def test_a_host_that_only_serves_is_in_it_to_the_end(make_network):
    network = make_network(clients=1, devices={"server": SLOW})

    async def hello(_):
        return Reply(200)

    async def main():
        await network.host("server").serve([Route("GET", "/", hello)])
        host = network.host("client-0")
        await host.start(host.request("server", "GET", "/"))
        await asyncio.sleep(7)

    network.run(main)
    assert network.energy()["server"].span_s == network.energy()["server"].idle_s == pytest.approx(7, abs=0.1)


def test_a_job_that_is_broken_off_costs_what_it_took(make_network):
    network = make_network(clients=1, **CHAIN)

    async def main():
        host = network.host("client-0")
        running = host.start(host.compute(work(5e6)))
        await asyncio.sleep(1.5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(1)

    network.run(main)
    mine = network.energy()["client-0"]
    assert (mine.busy_s, mine.idle_s, mine.compute_j) == (1.5, 0.0, 15.0)


def test_what_crosses_an_idle_radio_is_what_the_links_carried(make_network):
    """Bytes are conserved: what the clients sent is what the server got, headers included."""
    clients = 3
    network = make_network(clients=clients, tcp=Tcp(), access=LinkSpec(2e6, 0.02), radios={"client-0": RADIO})

    async def take(request):
        return Reply(200, Message(request.message.body[:100]))

    async def main():
        await network.host("server").serve([Route("PUT", "/", take)])
        hosts = [network.host(f"client-{index}") for index in range(clients)]
        await asyncio.gather(
            *(host.start(host.request("server", "PUT", "/", Message(bytes(50_000)))) for host in hosts)
        )

    network.run(main)
    energies = network.energy()
    sent = sum(energies[f"client-{index}"].sent_bytes for index in range(clients))
    received = sum(energies[f"client-{index}"].received_bytes for index in range(clients))
    assert sent == pytest.approx(energies["server"].received_bytes)
    assert received == pytest.approx(energies["server"].sent_bytes)
    assert 150_000 * 1502 / 1448 < sent < 153_000 * 1502 / 1448
    assert energies["client-0"].transmit_j > 0
    assert energies["client-1"].transmit_j == 0


@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_either_carriage_takes_the_same_energy(make_network, carriage):
    network = make_network(clients=1, tcp=Tcp(), access=LinkSpec(2e6, 0.02), carriage=carriage, **CHAIN)

    async def take(_):
        return Reply(201, Message(bytes(10_000)))

    async def main():
        await network.host("server").serve([Route("PUT", "/", take)])
        host = network.host("client-0")

        async def client():
            await host.compute(work(2e6))
            await host.request("server", "PUT", "/", Message(bytes(500_000)))

        await host.start(client())

    network.run(main)
    mine = network.energy()["client-0"]
    assert (mine.busy_s, mine.compute_j) == (2.0, 20.0)
    assert mine.idle_s == pytest.approx(2.25, abs=0.05)
    assert mine.transmit_j == pytest.approx(8 * 500_000 * 1502 / 1448 * 50e-9, rel=0.005)
    assert mine.receive_j == pytest.approx(8 * 10_000 * 1502 / 1448 * 20e-9, rel=0.05)  # the head of HTTP is 2 %


def test_on_sockets_measured_seconds_are_priced_by_the_profile(make_network):
    simulated, real = make_network(clients=1, tcp=Tcp()), make_network(world="real", clients=1, **CHAIN)

    def run(network):
        async def take(_):
            return Reply(201)

        async def main():
            await network.host("server").serve([Route("PUT", "/", take)])
            host = network.host("client-0")

            async def client():
                await host.compute(work(1e6))
                await host.request("server", "PUT", "/", Message(bytes(50_000)))

            await host.start(client())

        network.run(main)
        return network.energy()["client-0"]

    there, here = run(simulated), run(real)
    assert here.compute_j == 10 * here.busy_s
    assert here.idle_j == 2 * here.idle_s
    assert here.sent_bytes == pytest.approx(50_000 * 1502 / 1448)
    assert here.sent_bytes < there.sent_bytes < here.sent_bytes + 600  # the head of HTTP is counted in virtual time


def test_a_part_is_over_with_its_last_program():
    sheet = TimeSheet()
    assert sheet.span_s("host", 9.0) == 9.0
    sheet.started("host")
    sheet.started("host")
    sheet.ended("host", 2.0)
    assert sheet.span_s("host", 9.0) == 9.0
    sheet.ended("host", 4.0)
    assert sheet.span_s("host", 9.0) == 4.0
    sheet.started("host")
    assert sheet.span_s("host", 9.0) == 9.0
