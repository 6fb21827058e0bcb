"""The address for operators: alive, ready, measured; also while the rest of the process is busy."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time

import pytest

from collab.deploy.health import Health
from collab.deploy.metrics import Metrics
from collab.deploy.probes import MOST_CONNECTIONS, Probes
from collab.errors import AddressInUseError
from tests.collab.deploy.test_health import Agent


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def served(health):
    with Probes("127.0.0.1", 0, health, Metrics((), health)) as found:
        yield found.url.removeprefix("http://")


def ask(where, path, method="GET"):
    with contextlib.closing(http.client.HTTPConnection(where, timeout=20)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_it_is_alive_from_the_beginning_and_ready_when_sites_are_served(served, health):
    status, headers, body = ask(served, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "up", "state": "starting"})
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("application/json", "no-store")
    status, _, body = ask(served, "/readyz?verbose")
    assert (status, json.loads(body)) == (
        503,
        {"status": "not ready", "state": "starting", "reason": "the data is being read; nobody is served yet"},
    )
    health.serves(Agent())
    status, _, body = ask(served, "/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready", "state": "computing"})


def test_metrics_are_in_prometheus_format(served):
    status, headers, body = ask(served, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\ncollab_ready 0.0\n" in body


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/healthz", "HEAD", 200), ("/", "PUT", 501)]
)
def test_nothing_else_is_there(served, path, method, status):
    found, headers, body = ask(served, path, method)
    assert found == status
    assert (body == b"") == (method == "HEAD")
    assert "Python" not in headers["Server"]


def test_who_holds_connections_gets_no_more_than_there_are_places(served):
    host, port = served.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(MOST_CONNECTIONS)]
    deadline_s = time.monotonic() + 20
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        while time.monotonic() < deadline_s:  # the last of them may not have its thread yet
            ask(served, "/healthz")
    for connection in idle:
        connection.close()
    while True:  # the places are free again
        try:
            assert ask(served, "/healthz")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < deadline_s


def test_a_port_that_is_taken_is_named(health):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUseError, match=rf"port {port}, for metrics: .*metrics.port or --metrics"):
            Probes("127.0.0.1", port, health, Metrics((), health))


def test_an_address_of_the_sixth_version(health):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with Probes("::1", 0, health, Metrics((), health)) as found:
        assert found.url.startswith("http://[::1]:")
        assert ask(found.url.removeprefix("http://"), "/healthz")[0] == 200
