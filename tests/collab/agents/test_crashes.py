"""Agents that crash and start anew: whenever it is, the result is the same, no upload is lost, none counts twice."""

from __future__ import annotations

import asyncio
import functools

import pytest
import torch

from collab.agents.client import Patience, take_part
from collab.agents.register import DiskRegister
from collab.agents.server import ServerAgent
from collab.chaos import RememberingExecutor
from collab.compute import CPU
from collab.ensemble import Ensemble
from collab.errors import RunFailedError
from collab.methods import Site, localdm
from collab.methods.localdm import Settings
from collab.run import run_network
from simnet import Boundaries, LinkSpec, Rule, SimulatedNetwork, star
from simnet.devices import Fixed
from simnet.errors import UnreachableError
from simnet.fault_kinds import HostCrash, LinkDown, Partition
from simnet.faults import Planned
from tests.collab.fleets import LocalFleet, even_parts, gaussians

SITES = ("client-0", "client-1", "client-2")


class LocalSettings(Settings):
    """Settings that know their name, as those of a scenario do."""

    name: str = "localdm"


SETTINGS = LocalSettings(images_per_class=3, width=4, depth=2, local_steps=1, local_batch_size=4, expand=2)
# A job takes 2 s, an upload of 4 kB over 20 kbit/s about 2 s: all done after some 4.5 s.


_COMPUTED: dict = {}  # outcomes of jobs, which are the same in all of these runs


@functools.lru_cache
def computed_alone():
    dataset = gaussians()
    return LocalFleet(localdm, SETTINGS, dataset, even_parts(dataset, 3)).run().synthetic.images


class Run:
    """One run of three sites under faults."""

    def __init__(self, *plan, carriage="http", durable=True, waiting=None, resumable=False):
        self.dataset = gaussians()
        tenants = {**dict.fromkeys(SITES, "sites"), "server": "cloud"}
        topology = star(SITES, access=LinkSpec(20e3, 0.01), server=LinkSpec(1e9, 0.01), tenant_of=tenants)
        boundaries = Boundaries(tenants, [Rule("cloud", frozenset({"synthetic"}))])
        executor = RememberingExecutor(_COMPUTED)
        self.network = SimulatedNetwork(
            topology, boundaries=boundaries, timing=Fixed(2.0), carriage=carriage, executor=executor
        )
        self.network.faults.schedule(plan)
        self.parts = even_parts(self.dataset, 3)
        data = LocalFleet(localdm, SETTINGS, self.dataset, self.parts).data
        sites = {site: Site(site, data[site], CPU) for site in SITES}
        self.ensemble = Ensemble(
            self.network, "server", sites, self.dataset.spec, SETTINGS, 1, CPU,
            body_limit_bytes=100_000, durable=durable, waiting=waiting, resumable=resumable,
        )  # fmt: skip
        self.outcome = run_network(self.network, self.ensemble.play)

    def is_right(self):
        assert torch.equal(self.outcome.synthetic.images, computed_alone())
        uploads = sorted(event.values["site"] for event in self.network.trace.of_kind("upload"))
        assert uploads == list(SITES), "each accepted once"
        assert sorted(site for _, site in self.ensemble.folded) == list(SITES)
        assert self.network.streams.imbalances() == []
        return self

    def jobs(self, host):
        return len([event for event in self.network.trace.of_kind("compute") if event.host == host])


def crash(host, at_s, for_s):
    return Planned(at_s, HostCrash(host), for_s)


MOMENTS = [0.0, 0.01, 0.05, 0.1, 1.0, 2.1, 2.5, 3.0, 3.5, 4.0, 4.2, 4.4, 4.6, 5.0]


@pytest.mark.parametrize("at_s", MOMENTS)
@pytest.mark.parametrize("host", ["client-1", "server"])
def test_a_crash_at_any_moment_changes_nothing_but_the_time(host, at_s):
    Run(crash(host, at_s, 3.0)).is_right()


@pytest.mark.parametrize("at_s", [0.05, 2.5, 3.5, 4.4])
@pytest.mark.parametrize("host", ["client-1", "server"])
def test_so_it_is_with_messages_handed_over(host, at_s):
    Run(crash(host, at_s, 3.0), carriage="sized").is_right()


@pytest.mark.parametrize("at_s", MOMENTS[::2])
@pytest.mark.parametrize("host", ["client-1", "server"])
def test_so_it_is_with_uploads_in_parts(host, at_s):
    run = Run(crash(host, at_s, 3.0), resumable=True).is_right()
    assert run.network.host("client-1").disk.keys() == []


@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_uploads_in_parts_bear_crashes_upon_crashes(carriage):
    plan = [crash("server", 1.5 + 2 * i, 0.7) for i in range(4)] + [
        crash("client-0", 1.9 + 1.7 * i, 0.3) for i in range(5)
    ]
    Run(*plan, resumable=True, carriage=carriage).is_right()


def test_what_was_computed_is_not_computed_again():
    """Crashed in the middle of the upload, at 3 s: the job, done at 2.1 s, is on the disk."""
    run = Run(crash("client-1", 3.0, 5.0)).is_right()
    assert run.jobs("client-1") == 1
    assert run.network.host("client-1").disk.keys() == []


def test_what_a_crash_left_on_the_disk_is_forgotten_with_the_run():
    """Crashed once its upload was in, before it could forget it: when it is back, the run is over."""
    upload = next(event for event in Run().network.trace.of_kind("upload") if event.values["site"] == "client-1")
    run = Run(crash("client-1", upload.at_s + 1e-6, 5.0)).is_right()
    assert run.jobs("client-1") == 1
    assert run.network.host("client-1").disk.keys() == []


def test_what_was_not_finished_is_computed_again():
    run = Run(crash("client-1", 1.0, 5.0)).is_right()
    assert run.jobs("client-1") == 1  # the first was never finished


def test_the_server_goes_on_with_what_it_has_accepted():
    run = Run(crash("client-2", 1.0, 10.0), crash("server", 6.0, 1.0)).is_right()
    restored = [event.values["site"] for event in run.network.trace.of_kind("restored")]
    assert restored == ["client-0", "client-1"]


def test_a_server_without_memory_or_disk_asks_again():
    """It is not durable, so all is uploaded once more: the sites keep what they sent only until it is confirmed."""
    run = Run(crash("server", 6.0, 1.0), crash("client-2", 1.0, 10.0), durable=False)
    assert len(run.network.trace.of_kind("upload")) == 5
    assert [run.jobs(site) for site in SITES] == [2, 2, 1]


def test_crashes_upon_crashes():
    plan = [crash("server", 1.5 + 2 * i, 0.7) for i in range(6)] + [
        crash("client-0", 1.9 + 1.7 * i, 0.3) for i in range(5)
    ]
    Run(*plan).is_right()


def test_a_partition_that_heals():
    run = Run(Planned(2.5, Partition((("client-0", "client-1"), ("server",))), 120.0)).is_right()
    assert run.network.now() > 122.5


def test_a_site_that_is_lost_before_its_upload_fails_the_run_and_is_named():
    with pytest.raises(
        RunFailedError, match=r"client-1 has crashed for good, and its upload for localdm-1-\w+ is missing"
    ):
        Run(crash("client-1", 1.0, None))


def test_a_site_that_is_lost_after_its_upload_does_no_harm():
    run = Run(crash("client-1", 5.5, None), crash("client-0", 1.0, 20.0)).is_right()
    assert run.network.now() > 20


def test_a_lost_site_stays_lost_when_the_server_starts_anew():
    with pytest.raises(RunFailedError, match="client-1 has crashed for good"):
        Run(crash("server", 0.5, 2.0), crash("client-1", 1.0, None))


def test_a_lost_server_fails_the_run_and_is_named():
    with pytest.raises(RunFailedError, match="server has crashed for good"):
        Run(crash("server", 1.0, None))


def test_a_site_that_cannot_be_reached_for_ever_is_named():
    with pytest.raises(RunFailedError, match="client-1 cannot reach server: no answer for 60 s"):
        Run(Planned(1.0, LinkDown("client-1"), None))


def test_what_befalls_a_site_after_the_result_changes_nothing():
    run = Run(Planned(4.55, LinkDown("client-1"), None))
    assert run.outcome is not None


def test_a_task_that_the_server_has_not_come_to_again_is_not_unknown():
    """Of a durable server that restarts in a later round, a site is told to come again, not that it is mistaken."""

    async def main():
        register = DiskRegister(network.host("server").disk)
        agent = ServerAgent(
            network.host("server"), SITES, gaussians().spec, "localdm", SETTINGS, 1, CPU, register=register
        )
        register.open_task("localdm-2-beef", 3.5)
        serving = network.host("server").start(agent.run(10_000))
        await agent.serving.wait()
        host = network.host("client-0")
        replies = [
            await host.request("server", "PUT", f"/v1/tasks/{task}/uploads/client-0")
            for task in ("localdm-2-beef", "localdm-3-dead")
        ]
        serving.cancel()
        return [(reply.status, reply.code) for reply in replies]

    network = SimulatedNetwork(star(SITES, access=LinkSpec(1e6, 0.01), server=LinkSpec(1e6, 0.01)))
    assert network.run(main) == [(503, "catching-up"), (404, "unknown-task")]


def test_patience_grows_with_the_message_and_the_attempts():
    patience = Patience()
    assert patience.limit_s(1, 0) == 300
    assert patience.limit_s(3, 0) == 1200
    assert patience.limit_s(1, 10_000_000) == 300 + 8000


def test_a_request_that_is_never_answered_is_given_up():
    """The server is there and says nothing: the site asks again, and names it in the end."""

    async def silent(reader, writer):
        await asyncio.Event().wait()

    async def main():
        async def listen():
            await asyncio.start_server(silent, "server", 8080)

        await network.host("server").start(listen())
        patience = Patience(attempts=2, answer_s=0.0)
        site = Site("client-0", None, CPU)
        with pytest.raises(UnreachableError, match="server did not answer client-0 within 120 s"):
            await network.host("client-0").start(take_part(network.host("client-0"), "server", site, patience))
        return network.now()

    network = SimulatedNetwork(star(SITES, access=LinkSpec(1e6, 0.01), server=LinkSpec(1e6, 0.01)))
    assert network.run(main) == pytest.approx(60 + 1 + 120, abs=1)
