"""How a site that knows only a server's address gets its name and the scenario."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from collab import wire
from collab.agents.operations import CLAIM_KEY_HEADER, CLAIM_PATH, EXPERIMENT_PATH, SITES_PATH
from collab.deploy import logs
from collab.errors import CredentialsError, RunFailedError, WireError
from simnet import Message, Reply
from simnet.bodies import answer_of
from simnet.errors import InspectionError
from simnet.ingress import Egress
from simnet.services import RETRY_AFTER
from simnet.sessions import new_session

_BETWEEN_ATTEMPTS_S = 1.0
_LARGEST_ANSWER_BYTES = 1_000_000
_LONGEST_ANSWER_S = 60.0
_LONGEST_FAREWELL_S = 2.0
_BUSY = (429, 503)
_NOT_BELIEVED = (401, 403)
_REFUSING_ALERTS = (
    "ALERT_UNKNOWN_CA",
    "CERTIFICATE_REQUIRED",
    "ALERT_BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_REVOKED",
    "UNSUPPORTED_CERTIFICATE",
    "ALERT_DECRYPT_ERROR",
    "ALERT_ACCESS_DENIED",
)


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
    Waits for a server that is not up yet, has no time, or whose answers break off or do not come: whoever asks again
    for any name gets the one that was given before, by a key. Raises `RunFailedError` if that lasts longer than
    `patience_s`, or if the server refuses, and `CredentialsError` if one of the two does not believe who the other is.

    That nobody is there yet is told once, with the reason, in the log or on standard error.
    """
    told = False
    deadline_s = time.monotonic() + patience_s
    claim = f"{url}{CLAIM_PATH.format(site=site)}" if site is not None else f"{url}{SITES_PATH}"
    key = {} if site is not None else {CLAIM_KEY_HEADER: f'"{secrets.token_hex(16)}"'}
    async with new_session(tls=egress.tls, headers=egress.headers(url)) as session:
        while True:
            try:
                async with asyncio.timeout(_LONGEST_ANSWER_S):
                    experiment = await _ask(session, "GET", f"{url}{EXPERIMENT_PATH}")
                    text = str(experiment["scenario"])
                    if check is not None:
                        check(text)
                    claimed = await _ask(session, "POST", claim, key)
                return text, str(claimed["site"])
            except aiohttp.ClientConnectorCertificateError as error:
                raise CredentialsError(
                    f"what answers at {url} is not to be trusted: {error.certificate_error}; is `authority:` the one "
                    "that issued the server's certificate?"
                ) from error
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
                alert = _alert_in(error)
                if alert or (not told and await _is_refused_at(url, egress.tls)):
                    found = alert or "it ends the connection as soon as TLS is set up"
                    raise CredentialsError(
                        f"the server at {url} does not accept this certificate ({found}); which authority issued it?"
                    ) from error
                if not told:
                    told = True
                    logs.say(
                        f"waiting for {url} ({_cause_of(error)}), for {patience_s:g} s at most",
                        "waiting",
                        level="warning",
                    )
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


async def _ask(
    session: aiohttp.ClientSession, method: str, address: str, headers: Mapping[str, str] | None = None
) -> Any:
    async with session.request(method, address, headers=headers, allow_redirects=False) as response:
        body = await answer_of(response, _LARGEST_ANSWER_BYTES)
        if response.status < 400:
            return wire.unpack(body).fields
        reply = Reply(response.status, Message(body, content_type=response.content_type))
        told = f"{address} answered {response.status}: {reply.reason or response.reason}"
        if response.status in _BUSY:
            wait = response.headers.get(RETRY_AFTER, "")
            raise _BusyError(told, float(wait) if wait.isdigit() else _BETWEEN_ATTEMPTS_S)
        raise CredentialsError(told) if response.status in _NOT_BELIEVED else RunFailedError(told)


def _alert_in(error: BaseException) -> str:
    """The TLS alert with which a server has refused a certificate; empty if it was something else."""
    found = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    reason = (found.reason or "") if isinstance(found, ssl.SSLError) else ""
    return reason.lower().replace("_", " ") if any(word in reason for word in _REFUSING_ALERTS) else ""


async def _is_refused_at(url: str, tls: ssl.SSLContext | None) -> bool:
    """Whether the server at `url` ends connections without a word, twice, once this end has done its handshake.

    With TLS 1.3 a certificate is refused after that, and asyncio's servers send no alert that says so.
    """
    parts = urlsplit(url)
    if tls is None or parts.scheme != "https":
        return False
    for _ in range(2):
        try:
            async with asyncio.timeout(_LONGEST_ANSWER_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=tls)
        except (OSError, TimeoutError):
            return False  # it is gone
        try:
            async with asyncio.timeout(_LONGEST_FAREWELL_S):
                if await reader.read(1):
                    return False
        except TimeoutError:
            return False
        except OSError as error:
            if _alert_in(error):
                return True
        finally:
            writer.close()
    return True


def _cause_of(error: BaseException) -> str:
    """Why there is no connection, in few words."""
    found = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    number = found.errno if isinstance(found, OSError) else None
    if number is not None and number > 0:
        return os.strerror(number).lower()
    return str(error) or "no answer"
