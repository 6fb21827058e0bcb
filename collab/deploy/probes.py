"""An address for whoever operates a server: /healthz, /readyz and /metrics, apart from what the sites see.

It is served by threads of its own, so that it answers while the process reads data or evaluates a result. Who asks
proves nothing: it belongs on the loopback, or on a network of operators. It tells states and counts, no contents.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from collab.deploy.health import Health
from collab.deploy.metrics import CONTENT_TYPE, Metrics
from collab.errors import AddressInUseError

MOST_CONNECTIONS = 16
"""At the same time; one more is closed at once."""
_LOGGER = logging.getLogger("collab.probes")
_JSON = "application/json"
_IDLE_S = 5.0


class Probes:
    """Answers at an address, from here to the end of its block; port 0 is any free one.

    Raises `AddressInUseError` if it cannot be had.
    """

    def __init__(self, address: str, port: int, health: Health, metrics: Metrics) -> None:
        handler = type("Handler", (_Handler,), {"health": health, "metrics": metrics})
        kind = _ServerOverIPv6 if ":" in address else _Server
        try:
            self._server = kind((address, port), handler)
        except OSError as error:
            raise AddressInUseError(
                f"cannot listen on {address}, port {port}, for metrics: {error.strerror or error}; choose another "
                "with metrics.port or --metrics"
            ) from error
        host = f"[{address}]" if ":" in address else address
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    _places: threading.BoundedSemaphore

    def __init__(self, *arguments: Any) -> None:
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Bind, without the look-up of a name that `HTTPServer` makes: it can take seconds."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write down what failed, unless it is that whoever asked has hung up."""
        if not isinstance(sys.exception(), OSError):
            _LOGGER.exception("%s was not answered", client_address[0])


class _ServerOverIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    health: Health
    metrics: Metrics
    timeout = _IDLE_S
    server_version, sys_version = "collab", ""

    def do_GET(self) -> None:
        """What is asked for, or 404."""
        status, content_type, body = self._answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that `http.server` looks for

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/healthz":
            return 200, _JSON, _json(status="up", state=self.health.state)
        if path == "/readyz":
            reason = self.health.unready()
            if reason:
                return 503, _JSON, _json(status="not ready", state=self.health.state, reason=reason)
            return 200, _JSON, _json(status="ready", state=self.health.state)
        if path == "/metrics":
            return 200, CONTENT_TYPE, self.metrics.text()
        return 404, _JSON, _json(status="not found", reason="there are /healthz, /readyz and /metrics")

    def log_message(self, *_: Any) -> None:
        """Nothing: it is asked every few seconds."""


def _json(**facts: str) -> bytes:
    return (json.dumps(facts) + "\n").encode()
