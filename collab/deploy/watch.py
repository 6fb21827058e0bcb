"""What whoever operates a server has of it while it runs: that it stops in order."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from collab.deploy.shutdown import GRACE_S, SERVER_STOPPED, Shutdown
from simnet.door import Door

T = TypeVar("T")
_BACK_S = 5.0


class Served(Protocol):
    """What is watched: the agent of a server."""

    @property
    def is_over(self) -> bool:
        """Whether the sites are being told how it ended."""

    def send_away(self) -> None:
        """Answer all who wait for a task."""


class Watch:
    """The watch over one server; its `door` belongs into the `Ingress` of the network."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self.door = Door()
        self._shutdown = Shutdown(grace_s)

    async def until_over(self, agent: Served, running: asyncio.Future[T]) -> T:
        """The result of `running`, which is the agent's run.

        Raises `StoppedError` once SIGTERM has come: then nobody more is let in, whoever waits is sent away, and those
        who send an upload have the grace time to end. Sites that are being told how it ended are told so first.
        """

        async def leave() -> None:
            if agent.is_over:
                await asyncio.wait({running})
                return
            self.door.shut(_BACK_S)
            agent.send_away()
            await self.door.wait_until_empty()

        return await self._shutdown.end_or_stop(running, SERVER_STOPPED, leave)
