"""What an operator has of a server and its sites, in real processes: probes, metrics, a log that tells no secrets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import subprocess
import threading
import time

import pytest

from collab.deploy.tls import client_context
from tests.collab.deploy.test_metrics import samples
from tests.collab.deploy.test_probes import ask
from tests.collab.test_cli import collab, command, environment
from tests.collab.test_serving_with_identity import SERVER, deployed, site

FORGED = "eyJhbGciOiJFZERTQSJ9.Zm9yZ2Vk.Zm9yZ2Vk"
MARK = b"a body that nobody may find in a log"


class Scraped:
    """What Prometheus gets, in the place of the metrics themselves."""

    def __init__(self, where):
        self._where = where

    def text(self):
        return ask(self._where, "/metrics")[2]


class Process:
    """A process whose log is read as it comes."""

    def __init__(self, here, *arguments):
        self.popen = subprocess.Popen(
            command(*arguments), cwd=here, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.log = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.popen.stderr:
            self.log.append(line)

    def event(self, name, **facts):
        """The first event of that name with these facts; waits for it."""
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            for event in map(json.loads, self.log[:]):
                if event["event"] == name and facts.items() <= event.items():
                    return event
            assert self.popen.poll() is None or self._reading.is_alive(), self.log
            time.sleep(0.05)
        raise AssertionError((name, facts, self.log))

    def end(self):
        """Its exit code, with the whole log read."""
        self.popen.stdout.read()
        code = self.popen.wait(60)
        self._reading.join(60)
        return code


@pytest.fixture
def here(tmp_path):
    return deployed(tmp_path, SERVER.replace("null", "{port: 0}") + "log: {level: debug}\nstore: kept\n")


@pytest.fixture
def start(here):
    started = []

    def begin(*arguments):
        started.append(Process(here, *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.popen.kill()
        process.end()
        process.popen.stdout.close()
        process.popen.stderr.close()


def put(here, url, *, certificate, **headers):
    keys = here / "keys"
    own = (keys / "client-0.pem", keys / "client-0.key") if certificate else ()
    where = url.removeprefix("https://")
    with contextlib.closing(
        http.client.HTTPSConnection(where, context=client_context(keys / "authority.pem", *own), timeout=20)
    ) as connection:
        connection.request("DELETE", "/v1/sites/client-0", MARK, headers)
        return connection.getresponse().status


@pytest.mark.slow
def test_a_run_as_its_operator_sees_it(here, start):
    server = start("serve", "--config", "server.yaml", "--json")
    where = server.event("probes")["url"].removeprefix("http://")
    assert ask(where, "/healthz")[0] == 200
    url = server.event("listening")["url"]
    assert ask(where, "/readyz")[0] == 200
    assert put(here, url, certificate=False, Authorization=f"Bearer {FORGED}") == 401
    assert put(here, url, certificate=True) == 400
    first = start("join", "--config", site(here, "one", url, "certificate: keys/client-0.pem\nkey: keys/client-0.key"))
    assert server.event("upload", site="client-0")["number"] == 1
    found = samples(Scraped(where))
    (payload,) = (path.read_bytes() for path in here.glob("kept/payloads/*/*"))
    assert found["collab_requests_total", "201", "takeUpload"] == 1
    assert found["collab_request_bytes_total", "takeUpload"] == len(payload)
    assert found["collab_request_bytes_total", "giveUp"] == 2 * len(MARK)  # it has come, whether it was read or not
    assert (
        found["collab_refusals_total", "bad-token", "giveUp"]
        == found["collab_refusals_total", "giveUp", "unreadable"]
        == 1
    )
    assert [found["collab_sites", each] for each in ("expected", "seen", "finished", "missing")] == [2, 1, 1, 1]
    assert (found["collab_uploads_accepted_total",], found["collab_state", "collecting"]) == (1, 1)
    assert found["collab_open_connections",] >= 1
    second = start("join", "--config", site(here, "two", url, "token: client-1.token"))
    assert [server.end(), first.end(), second.end()] == [0, 0, 0]

    states = [event["state"] for event in map(json.loads, server.log) if event["event"] == "state"]
    assert [states[0], states[-1], "collecting" in states] == ["starting", "judging", True]
    assert server.event("round-over")["uploads"] == 2
    assert [each.event("ended")["exit_code"] for each in (server, first, second)] == [0, 0, 0]
    request = server.event("request", operation="takeUpload", site="client-0")
    assert (request["level"], request["status"], request["request_bytes"]) == ("info", 201, len(payload))
    assert server.event("request", status=401)["level"] == "warning"
    assert first.event("asked", status=201)["request_bytes"] == len(payload)
    assert [server.event("written")["run"], first.event("joined")["site"], second.event("done")["site"]] == [
        "runs/tiny-001", "client-0", "client-1"
    ]  # fmt: skip
    token = (here / "client-1.token").read_text().strip()
    keys = [line for path in (here / "keys").glob("*.key") for line in path.read_text().splitlines()[1:-1]]
    middle = payload[len(payload) // 2 :][:24]
    secrets = [token, *token.split("."), FORGED, *keys, MARK.decode(), middle.hex(), base64.b64encode(middle).decode()]
    for process in (server, first, second):
        whole = "".join(process.log)
        assert [secret for secret in secrets if secret in whole] == []


@pytest.mark.slow
def test_the_laboratory_has_probes_if_asked_and_a_taken_port_is_told(here, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = collab(here, "serve", "tiny.yaml", "--port", "0", "--metrics", port)
    assert (refused.returncode, f"port {port}, for metrics" in refused.stderr) == (8, True)
    process = subprocess.Popen(
        command("serve", "tiny.yaml", "--port", "0", "--metrics", "0"), cwd=here, env=environment(),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        where = re.fullmatch(r"metrics on http://(.*)/metrics\n", process.stderr.readline())[1]
        assert process.stderr.readline().startswith("listening on")
        assert ask(where, "/readyz")[0] == 200
        assert samples(Scraped(where))["collab_sites", "expected"] == 2
    finally:
        process.kill()
        process.communicate()
