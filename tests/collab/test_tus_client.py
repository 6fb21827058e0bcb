"""The public client of tus, tuspy, against a real server with a store: a site in another language would do as much."""

from __future__ import annotations

import asyncio
import io

import pytest
import torch
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from collab.agents.client import Patience, take_part
from collab.agents.server import ServerAgent
from collab.compute import CPU
from collab.deploy.store import Store, run_identity
from collab.methods import localdm
from collab.methods.localdm import Settings
from simnet import Message
from simnet.errors import UnreachableError
from simnet.partial_bodies import FolderBodies
from simnet.uploads import Upload
from tests.collab.agents.test_protocol import SITES, Bench
from tests.collab.deploy.test_store import crashed
from tests.collab.fleets import LocalFleet, even_parts, gaussians
from tests.simnet.test_resuming import Cutting

SETTINGS = Settings(images_per_class=240, width=4, depth=2, local_steps=0, local_batch_size=8, expand=1)
IDENTITY = run_identity("tuspy", 1, "")
LIMIT = 2_000_000


class Deployment(Bench):
    """A server with a store, on sockets; uploads of some 300 kB."""

    def __init__(self, folder):
        super().__init__("real", SETTINGS, limit=LIMIT, dataset=gaussians(samples_per_class=600))
        self.store = Store(folder, IDENTITY)
        self.network._disk_folder = folder.parent / "disks"
        self.agent = ServerAgent(
            self.network.host("server"), SITES, self.dataset.spec, "localdm", SETTINGS, 1, CPU, register=self.store
        )

    def run(self, play):
        async def bounded(bench):
            async with asyncio.timeout(60):
                return await play(bench)

        return super().run(bounded)

    @property
    def port(self):
        return int(self.network.url_of("server").rsplit(":", 1)[1])

    def crash(self):
        """What `kill -9` leaves of its store: nothing is closed, written or deleted."""
        crashed(self.store)


@pytest.mark.parametrize("checksum", [False, True])
def test_tuspy_uploads_is_interrupted_and_resumes(tmp_path, checksum):
    """With checksums in parts of 50 kB: the one that breaks is not kept, for it cannot be checked."""
    proxy = Cutting([10**9, *([10**9] * 3 if checksum else []), 30_000 if checksum else 200_000])

    def upload(address, body):
        headers = {"Boundary-From": "client-0", "Boundary-Kind": "synthetic"}
        how = {"upload_checksum": True, "chunk_size": 50_000} if checksum else {}
        client = TusClient(address, headers)
        first = client.uploader(file_stream=io.BytesIO(body), metadata={"filetype": "application/msgpack"}, **how)
        with pytest.raises((TusUploadFailed, TusCommunicationError)):
            first.upload()
        second = client.uploader(file_stream=io.BytesIO(body), url=first.url, **how)
        resumed_at = second.offset
        second.upload()
        return resumed_at

    async def play(bench):
        task = await bench.task()
        body = bench.work(task).body
        async with proxy.before(bench.port) as url:
            address = f"{url}/v1/tasks/{task.identity}/uploads/client-0"
            resumed_at = await asyncio.to_thread(upload, address, body)
        await bench.take_part(*SITES)
        return body, resumed_at

    bench = Deployment(tmp_path / "store")
    with bench.store:
        _, (body, resumed_at) = bench.run(play)
        ours = [accepted for accepted in bench.store.accepted() if accepted.site == "client-0"]
        kept = bytes(bench.store.read(ours[0].task, "client-0"))
    assert proxy.cut == 1
    assert len(body) > 300_000
    assert resumed_at == 150_000 if checksum else 100_000 < resumed_at < 200_000
    assert kept == body
    assert (ours[0].digest, len(ours)) == (Message(body).digest, 1)
    assert sum(size_bytes for offset, size_bytes in parts_of(bench, "client-0")) == len(body)


def parts_of(bench, site):
    return [
        (event.values["offset"], event.values["bytes"])
        for event in bench.network.trace.of_kind("part")
        if event.values["peer"] == site
    ]


def test_a_server_that_is_killed_half_way_through_an_upload_gets_the_rest(tmp_path):
    """The site is killed with it: what it was at is on its disk, as the server's half is in the store."""

    async def half(bench):
        proxy, host = Cutting([200_000]), bench.network.host("client-0")
        async with proxy.before(bench.port) as url:
            bench.network._urls["server"] = url
            program = take_part(host, "server", bench.sites["client-0"], Patience(attempts=1), resumable=True)
            with pytest.raises(UnreachableError):
                await host.start(program)
        raise KilledError

    first = Deployment(tmp_path / "store")
    with pytest.raises(ExceptionGroup) as killed:
        first.run(half)
    assert killed.group_contains(KilledError)
    first.crash()
    [(begins_at, half_bytes)] = parts_of(first, "client-0")
    assert begins_at == 0
    assert half_bytes > 100_000

    second = Deployment(tmp_path / "store")
    with second.store:
        outcome, _ = second.run(lambda bench: bench.take_part(*SITES, resumable=True))
        assert sorted(accepted.site for accepted in second.store.accepted()) == list(SITES)
    [(resumed_at, rest_bytes)] = parts_of(second, "client-0")
    assert resumed_at == half_bytes
    [(_, whole_bytes)] = parts_of(second, "client-1")
    assert half_bytes + rest_bytes == whole_bytes
    alone = LocalFleet(localdm, SETTINGS, second.dataset, even_parts(second.dataset, 3)).run()
    assert torch.equal(outcome.synthetic.images, alone.synthetic.images)


def test_a_store_with_nothing_but_half_an_upload_is_kept(tmp_path):
    with Store(tmp_path / "store", IDENTITY) as store:
        bodies = FolderBodies(store.spool)
        upload = Upload("f00", "client-0", "/", frozenset(), "", 9, "", 1e12, bodies.new_body("f00", 9))
        asyncio.run(bodies.keep(upload))
    with Store(tmp_path / "store", IDENTITY) as store:
        [found] = FolderBodies(store.spool).left(60.0)
        assert found.identity == "f00"
        FolderBodies(store.spool).drop(found)
    assert not (tmp_path / "store").exists()
    with Store(tmp_path / "store", IDENTITY) as store:
        FolderBodies(store.spool).new_body("f00", 9)
        store.run_is_over()
    assert not (tmp_path / "store").exists()


class KilledError(Exception):
    """Somebody has pulled the plug."""
