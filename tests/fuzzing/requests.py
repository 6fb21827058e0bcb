"""Requests as raw bytes, to a real server agent and its reception behind the carriage `http`: what a socket would
bring, without the socket.

The first byte of an input says what the rest is: 0, whole requests as they are; else one that is put together, from a
byte that names the operation, one that says who sends it and how, and a body. In what goes as it is `@TASK@` stands for
the task of the run. A service that is fed for long keeps a long trace, so it is made anew now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from collab import scenario
from collab.agents.operations import DESCRIBED
from collab.agents.server import ServerAgent
from collab.compute import CPU
from collab.data import load_dataset
from collab.deploy.store import Store
from collab.reception import Reception
from collab.run import body_limit_bytes, make_network
from collab.scenario import SERVER, Scenario
from simnet.gates import Gate
from simnet.guards import Limits
from simnet.ingress import Ingress
from simnet.operations import COMMON
from tests.fuzzing.targets import framed

SCENARIO = """\
name: fuzzed
dataset: {name: gaussians, samples_per_class: 20}
partition: {clients: 3, scheme: iid}
method: {name: collabdm, images_per_class: 1, expand: 1, width: 2, depth: 1, iterations: 2, local_steps: 1}
network: {topology: star, access: {bandwidth: 1 Mbit/s, latency: 1 ms}, server: {bandwidth: 1 Mbit/s, latency: 1 ms}}
tenants: {sites: ["client-0", "client-1"], cloud: [server, "client-2"]}
boundaries: [{to: cloud, allow: [embeddings, synthetic], at_most: 1 MB}]
"""
_FED_BEFORE_ANEW = 1000
_LONGEST_S = 10.0
_LIMITS = Limits(requests_per_s=10**9, request_burst=10**9, requests_in_all=10**9)
"""Those of a server, but for how much it may be asked."""
_OPERATIONS = (
    ("PUT", "/v1/tasks/@TASK@/uploads/client-0"),
    ("PUT", "/v1/tasks/@TASK@/uploads/client-2"),
    ("PUT", "/v1/tasks/@TASK@/uploads/client-9"),
    ("PUT", "/v1/tasks/other/uploads/client-0"),
    ("DELETE", "/v1/sites/client-0"),
    ("DELETE", "/v1/sites/client-2"),
    ("POST", "/v1/sites"),
    ("POST", "/v1/sites/client-2"),
    ("GET", "/v1/sites/client-0/task"),
    ("GET", "/v1/sites/client-2/task"),
    ("GET", "/v1/experiment"),
    ("GET", "/v1/openapi.json"),
    ("PATCH", "/v1/tasks/@TASK@/uploads/client-0"),
    ("HEAD", "/v1/experiment"),
    ("OPTIONS", "/v1/nowhere"),
    ("POST", "/v1/tasks/@TASK@/uploads/client-0"),
    ("PATCH", "/v1/tasks/@TASK@/uploads/client-0/@UPLOAD@"),
    ("HEAD", "/v1/tasks/@TASK@/uploads/client-0/@UPLOAD@"),
    ("DELETE", "/v1/tasks/@TASK@/uploads/client-0/@UPLOAD@"),
    ("POST", "/v1/tasks/@TASK@/uploads/client-0/@UPLOAD@"),
)
_PARTS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
_SENDERS = (b"client-0", b"client-2", b"", b"client-9", b"server", b"\xff\xfe", b"client-0, client-1")
_KINDS = (b"embeddings, synthetic", b"control", b"", b"embeddings", b"\xff", b"stream, model", b", ,")
_DECLARED = {
    (answer.status, answer.code)
    for answer in (
        *(one for one in COMMON if one.status != 500),
        *(one for about in DESCRIBED for one in about.answers),
    )
} | {(404, "not-found"), (400, ""), (100, "")}
_STATUSES = {status for status, _ in _DECLARED}
_ENCODINGS = (b"", b"gzip", b"deflate", b"br", b"gzip, gzip", b"zstd", b"identity")


class _Socket(asyncio.Transport):
    """Takes what a server answers."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 9)})
        self.answer = bytearray()
        self._closing = False
        self._protocol: asyncio.BaseProtocol | None = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass  # all is taken at once

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answer += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Service:
    """A server agent with its reception and its store, for one run."""

    def __init__(self, chosen: Scenario, spec: Any, folder: Path, failures: list[Any]) -> None:
        self._chosen, self._spec, self._folder, self._failures = chosen, spec, folder, failures
        self._network = make_network(chosen, {}, real=True, ingress=Ingress(limits=_LIMITS))
        self.answered = 0

    async def begin(self) -> None:
        """Serve, until the sites have their tasks."""
        chosen = self._chosen
        self._store = Store(self._folder, {"scenario": "fuzzed"})
        self._network.boundaries.ledger = self._store.ledger()
        host = self._network.host(SERVER)
        method = chosen.method
        self._agent = ServerAgent(host, chosen.clients, self._spec, method.name, method, 1, CPU, register=self._store)
        desk = Reception(chosen, self._agent.lose, self._store)
        self._running = host.start(self._agent.run(body_limit_bytes(chosen), desk.routes()))
        while self._agent._current is None:
            await asyncio.sleep(0.001)
        self._task = self._agent._current.identity.encode()
        self._upload = b"none"  # the last that has begun
        (runner,) = host._carriage._runners
        (self._site,) = runner.sites
        self._connected = runner.server

    @property
    def url(self) -> str:
        """Where it listens, too."""
        return self._network.url_of(SERVER)

    @property
    def task(self) -> str:
        """The task that it has given out."""
        return self._task.decode()

    async def end(self) -> None:
        """Serve no more."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._network._close_hosts()
        self._store.close()

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, or has been fed enough."""
        return self._agent._verdict is not None or self.answered >= _FED_BEFORE_ANEW

    async def ask(self, raw: bytes, *, whole: bool) -> bytes:
        """What the server answers to some bytes; a `whole` request must be answered."""
        self.answered += 1
        socket, protocol = _Socket(), Gate(self._site, self._connected())
        socket.set_protocol(protocol)
        protocol.connection_made(socket)
        raw = raw.replace(b"@TASK@", self._task).replace(b"@UPLOAD@", self._upload)
        half = len(raw) // 2
        for piece in (raw[:half], raw[half:]):
            if not socket.is_closing():
                protocol.data_received(piece)
        deadline_s = asyncio.get_running_loop().time() + _LONGEST_S
        turns = 0
        while not socket.is_closing() and (turns < 40 or (whole and not socket.answer)):
            await asyncio.sleep(0 if turns < 100 else 0.001)
            turns += 1
            if asyncio.get_running_loop().time() > deadline_s:
                raise AssertionError(f"no answer for {_LONGEST_S:g} s to {raw[:200]!r}")
        protocol.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)
        if self._failures:
            context = self._failures.pop()
            raise AssertionError(f"a service failed: {context.get('message')}") from context.get("exception")
        if begun := re.search(rb"\r\nLocation: \S*/(\w+)\r\n", socket.answer):
            self._upload = begun[1]
        return bytes(socket.answer)


def answers(stream: bytes) -> Iterator[tuple[int, str | None]]:
    """Status and code of every answer in what a server has sent: "" for what is no problem, or what HTTP itself
    refuses; None for a problem without its body, as HEAD gets it.
    """
    for found in re.finditer(rb"HTTP/\d\.\d (\d{3}) .*?\r\n\r\n(\{[^\r]*?\})?", stream, re.DOTALL):
        code: str | None = ""
        if b"problem+json" in found[0]:
            code = json.loads(found[2])["type"].removeprefix("urn:problem:") if found[2] else None
        elif int(found[1]) >= 400 and b"\r\nTus-Resumable: " in found[0] and b"\r\nContent-Length: 0" in found[0]:
            code = None
        yield int(found[1]), code


def put_together(data: bytes, task: bytes) -> bytes:
    """A request from bytes that choose its parts; as long as it says, or a server could only wait for the rest."""
    operation, flags, body = data[1:2] or b"\0", data[2:4].ljust(2, b"\0"), framed(data[4:])
    body = body.replace(b"@TASK@", task)
    method, path = _OPERATIONS[operation[0] % len(_OPERATIONS)]
    sender = _SENDERS[flags[0] % len(_SENDERS)]
    kinds = _KINDS[flags[0] // len(_SENDERS) % len(_KINDS)]
    encoding = _ENCODINGS[flags[1] % len(_ENCODINGS)]
    chunked, packed = flags[1] & 0x80, flags[1] & 0x40
    if packed and encoding:
        body = gzip.compress(body + b"\0" * 100_000, 1)
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: server"]
    lines += [b"Boundary-From: " + sender] if sender else []
    lines += [b"Boundary-Kind: " + kinds] if kinds else []
    lines += [b"Content-Encoding: " + encoding] if encoding else []
    if method != "PUT" and "/uploads/" in path:
        number = flags[1] & 0x3F
        body = b"" if method == "POST" and number % 2 else body
        told = {
            **_PARTS,
            "Upload-Length": number * 8,
            "Upload-Offset": number % 3,
            "Upload-Metadata": "sha256 " * (number > 60),
        }
        lines += [f"{name}: {value}".encode() for name, value in told.items()]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    else:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _raw(data: bytes, service: Service) -> bytes:
    return data[1:] if data[:1] in (b"\0", b"") else put_together(data, service.task.encode())


@contextlib.contextmanager
def feeding() -> Iterator[Callable[[bytes], None]]:
    """Feeds one service after the other. Raises `AssertionError` for an answer that is not declared, and for none."""
    quiet = {logger: logger.level for logger in map(logging.getLogger, ("aiohttp", "asyncio"))}
    for logger in quiet:
        logger.setLevel(logging.CRITICAL)
    chosen = scenario.parse(SCENARIO, "fuzzed.yaml")
    spec = load_dataset(chosen.dataset, chosen.seed).spec
    folder = Path(tempfile.mkdtemp(prefix="fuzzed-"))
    loop = asyncio.new_event_loop()
    failures: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: failures.append(context))
    services: list[Service] = []

    def feed(data: bytes) -> None:
        if services and services[-1].is_over:
            loop.run_until_complete(services.pop().end())
        if not services:
            place = Path(tempfile.mkdtemp(dir=folder))
            services.append(Service(chosen, spec, place, failures))
            loop.run_until_complete(services[-1].begin())
        whole = data[:1] not in (b"\0", b"")
        answer = loop.run_until_complete(services[-1].ask(_raw(data, services[-1]), whole=whole))
        for status, code in answers(answer):
            assert (status, code) in _DECLARED or (code is None and status in _STATUSES), answer[:500]

    try:
        yield feed
    finally:
        for service in services:
            loop.run_until_complete(service.end())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        shutil.rmtree(folder)
        for logger, level in quiet.items():
            logger.setLevel(level)
