"""How a site that knows only a server's address gets its name and the scenario."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from collab import wire
from collab.agents.operations import CLAIM_PATH, EXPERIMENT_PATH, SITES_PATH
from collab.errors import RunFailedError, WireError
from simnet import Message, Reply
from simnet.bodies import answer_of
from simnet.errors import InspectionError
from simnet.ingress import Egress
from simnet.services import RETRY_AFTER
from simnet.sessions import new_session

_BETWEEN_ATTEMPTS_S = 1.0
_LARGEST_ANSWER_BYTES = 1_000_000
_LONGEST_ANSWER_S = 60.0
_BUSY = (429, 503)


class _BusyError(RunFailedError):
    """The server has no time, or will be back. `retry_after_s` is when to ask again."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


async def introduce(
    url: str, site: str | None, patience_s: float, egress: Egress, check: Callable[[str], object] | None = None
) -> tuple[str, str]:
    """The text of the scenario, and the name of the site to be.

    `check` is called with the text before a name is asked for, and may raise what keeps the site from taking part.
    Waits for a server that is not up yet, has no time, or whose answers break off or do not come: until a site has its
    name nothing is lost by asking again. Raises `RunFailedError` if that lasts longer than `patience_s`, or if the
    server refuses.
    """
    deadline_s = time.monotonic() + patience_s
    claim = f"{url}{CLAIM_PATH.format(site=site)}" if site is not None else f"{url}{SITES_PATH}"
    async with new_session(tls=egress.tls, headers=egress.headers(url)) as session:
        while True:
            try:
                async with asyncio.timeout(_LONGEST_ANSWER_S):
                    experiment = await _ask(session, "GET", f"{url}{EXPERIMENT_PATH}")
                    text = str(experiment["scenario"])
                    if check is not None:
                        check(text)
                    claimed = await _ask(session, "POST", claim)
                return text, str(claimed["site"])
            except aiohttp.ClientConnectorCertificateError as error:
                raise RunFailedError(
                    f"what answers at {url} is not to be trusted: {error.certificate_error}"
                ) from error
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
                if time.monotonic() > deadline_s:
                    found = str(error) or f"there was no answer for {_LONGEST_ANSWER_S:g} s"
                    raise RunFailedError(f"nobody answers at {url}: {found}") from error
                await asyncio.sleep(_BETWEEN_ATTEMPTS_S)
            except _BusyError as error:
                if time.monotonic() + error.retry_after_s > deadline_s:
                    raise
                await asyncio.sleep(error.retry_after_s)
            except (aiohttp.ClientError, InspectionError, WireError, KeyError) as error:
                raise RunFailedError(f"what answers at {url} is no collab server: {error}") from error


async def _ask(session: aiohttp.ClientSession, method: str, address: str) -> Any:
    async with session.request(method, address, allow_redirects=False) as response:
        body = await answer_of(response, _LARGEST_ANSWER_BYTES)
        if response.status < 400:
            return wire.unpack(body).fields
        reply = Reply(response.status, Message(body, content_type=response.content_type))
        told = f"{address} answered {response.status}: {reply.reason or response.reason}"
        if response.status in _BUSY:
            wait = response.headers.get(RETRY_AFTER, "")
            raise _BusyError(told, float(wait) if wait.isdigit() else _BETWEEN_ATTEMPTS_S)
        raise RunFailedError(told)
