"""The agents of one run on one network, in one process: who starts when, who starts anew, and how it ends.

The server's program and those of the sites are started with their hosts, and again after a crash. A run has its result
once the server has it and every site has been told, or is never going to be: what befalls a site afterwards changes
nothing. Before that, a site that cannot go on, or whose host has crashed for good, fails the run if it is still needed:
without `WaitingSettings` every one is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from collab import wire
from collab.agents.client import client_job, take_part
from collab.agents.messages import read_task
from collab.agents.register import DiskRegister
from collab.agents.rounds import UploadListener
from collab.agents.server import ServerAgent
from collab.compute import Device
from collab.data import ImageSpec
from collab.methods import Outcome, Site
from collab.waiting_settings import WaitingSettings
from simnet import Job, Message, Network
from simnet.errors import HostLostError, UnreachableError


class Ensemble:
    """One server and its sites. `durable`: the server keeps what it accepted on its disk.

    `foresee` hears at the beginning of each round what the sites are going to compute, so that it can be begun early.
    """

    def __init__(
        self,
        network: Network,
        server: str,
        sites: Mapping[str, Site],
        images: ImageSpec,
        settings: Any,
        seed: int,
        device: Device,
        *,
        body_limit_bytes: int,
        durable: bool,
        waiting: WaitingSettings | None = None,
        resumable: bool = False,
        on_upload: UploadListener | None = None,
        foresee: Callable[[Iterable[Job[Any]]], None] | None = None,
    ) -> None:
        self._network = network
        self._server = server
        self._sites = sites
        self._images = images
        self._settings = settings
        self._seed = seed
        self._device = device
        self._body_limit_bytes = body_limit_bytes
        self._durable = durable
        self._waiting = waiting
        self._resumable = resumable
        self._on_upload = on_upload
        self._foresee = foresee
        self._lost: dict[str, str] = {}
        self.agent = self._new_agent()
        """The server's agent; another one after each restart."""
        self.outcome: Outcome | None = None
        self.folded: dict[tuple[str, str], str] = {}
        """What the outcome was made of: (task, site) -> digest of the upload."""

    async def play(self) -> Outcome:
        """Run all agents to the end. Raises an `ExceptionGroup` of what made them fail."""
        server = self._network.host(self._server)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._await_outcome(server.boot(self._serve, "refine")))
            await self.agent.serving.wait()
            for site in self._sites.values():
                group.create_task(self._attend(site))
        if self.outcome is None:
            raise AssertionError("the group ends with an outcome or an error")
        return self.outcome

    async def _await_outcome(self, program: asyncio.Future[Outcome]) -> None:
        self.outcome = await program
        self.folded = dict(self.agent.folded)

    async def _serve(self) -> Outcome:
        if self.agent.serving.is_set():  # that was before a crash
            self.agent = self._new_agent()
        return await self.agent.run(self._body_limit_bytes)

    def _round_begins(self, messages: Mapping[str, Message]) -> None:
        assert self._foresee is not None
        different = {id(message): message for message in messages.values()}
        tasks = {identity: read_task(wire.unpack(message.body)) for identity, message in different.items()}
        self._foresee(
            client_job(self._sites[name], tasks[id(message)], message.digest) for name, message in messages.items()
        )

    async def _attend(self, site: Site) -> None:
        host = self._network.host(site.name)
        try:
            await host.boot(lambda: take_part(host, self._server, site, resumable=self._resumable), "take part")
        except HostLostError as error:
            self._lose(site, error)
        except UnreachableError as error:
            if self.outcome is None and self._waiting is None:
                raise
            self._lose(site, error)

    def _lose(self, site: Site, error: Exception) -> None:
        self._lost[site.name] = str(error)
        self.agent.lose(site.name, str(error))

    def _new_agent(self) -> ServerAgent:
        host = self._network.host(self._server)
        agent = ServerAgent(
            host,
            list(self._sites),
            self._images,
            self._settings.name,
            self._settings,
            self._seed,
            self._device,
            self._on_upload,
            on_round=None if self._foresee is None else self._round_begins,
            register=DiskRegister(host.disk) if self._durable else None,
            waiting=self._waiting,
        )
        for site, reason in self._lost.items():
            agent.lose(site, reason)
        return agent
