"""Server and sites that are told to stop (SIGTERM): at rest, during an upload, while a site waits. Real processes."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from tests.collab.deploy.test_probes import ask
from tests.collab.test_cli import collab, command, environment
from tests.collab.test_run import TEXT

STOPPED = 23
TWO_SITES = TEXT.replace("clients: 4", "clients: 2")
ONE_SITE = TEXT.replace("clients: 4", "clients: 1")


@pytest.fixture
def here(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TWO_SITES)
    (tmp_path / "one.yaml").write_text(ONE_SITE)
    return tmp_path


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


@pytest.fixture
def start(here):
    started = []

    def begin(*arguments):
        process = subprocess.Popen(
            command(*arguments), cwd=here, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def stop(process):
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=25)[1]
    assert process.returncode == STOPPED, stderr
    assert "Traceback" not in stderr
    return stderr


def accepted(here):
    """How many uploads are in the store, as another process sees it."""
    (file,) = here.glob("runs/.*.store/register.sqlite")
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return database.execute("SELECT count(*) FROM uploads").fetchone()[0]
    finally:
        database.close()


def said_to_a_newcomer(port):
    with socket.create_connection(("127.0.0.1", int(port))) as late:
        late.sendall(b"GET /v1/experiment HTTP/1.1\r\nHost: a\r\n\r\n")
        return late.recv(1000)


def left(here):
    return sorted(path.name for path in (here / "runs").iterdir())


class HoldingProxy(threading.Thread):
    """Forwards connections, but of the first PUT holds the last byte back until it is released."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.holds, self.released = threading.Event(), threading.Event()
        self._target = ("127.0.0.1", int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.start()

    def run(self):
        while True:
            client, _ = self._listening.accept()
            try:
                server = socket.create_connection(self._target)
            except ConnectionRefusedError:
                client.close()
                continue
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source, target):
        try:
            while data := source.recv(65536):
                if data.startswith(b"PUT ") and not self.holds.is_set():
                    while not self._whole(data):
                        data += source.recv(65536)
                    target.sendall(data[:-1])
                    data = data[-1:]
                    self.holds.set()
                    self.released.wait(120)
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()

    @staticmethod
    def _whole(data):
        head, end, body = data.partition(b"\r\n\r\n")
        return bool(end) and len(body) == int(re.search(rb"Content-Length: (\d+)", head)[1])


def test_a_server_at_rest_stops_at_once_and_keeps_what_it_gave_away(here, port, start):
    server = start("serve", "tiny.yaml", "--port", port)
    assert "listening on" in server.stderr.readline()
    with socket.create_connection(("127.0.0.1", int(port))) as idle:
        idle.sendall(b"POST /v1/sites HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 201")  # and the connection stays open
        assert stop(server) == (
            "collab: stopped; no run was written, the same command goes on with the uploads that were accepted\n"
        )
    (store,) = left(here)
    assert re.fullmatch(r"\.tiny-\w+\.store", store)


@pytest.mark.slow
def test_an_upload_that_is_under_way_is_taken_in_before_the_server_stops(here, port, start):
    alone = json.loads(collab(here, "run", "one.yaml", "--json", "--set", "baselines=[]").stdout)
    serve = ("serve", "one.yaml", "--port", port, "--name", "served", "--json")
    server, proxy = start(*serve), HoldingProxy(port)
    assert "listening on" in server.stderr.readline()
    site = start("join", proxy.url)
    assert proxy.holds.wait(120)
    server.send_signal(signal.SIGTERM)
    while b"503" not in (refused := said_to_a_newcomer(port)):  # it listens still, and says why it lets nobody in
        time.sleep(0.02)
    assert b"urn:problem:shutting-down" in refused
    assert b"Retry-After: 5" in refused
    assert server.poll() is None
    proxy.released.set()
    server.communicate(timeout=20)
    assert server.returncode == STOPPED
    assert accepted(here) == 1
    again = start(*serve)
    stdout, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    assert site.wait(120) == 0
    ours, theirs = alone["methods"]["collabdm"], json.loads(stdout)["methods"]["collabdm"]
    assert theirs["result_digest"] == ours["result_digest"]
    assert "served" in left(here)
    assert not [name for name in left(here) if name.startswith(".one")]


@pytest.mark.slow
def test_the_second_signal_ends_a_server_that_waits_for_an_upload_at_once(here, port, start):
    server, proxy = start("serve", "one.yaml", "--port", port), HoldingProxy(port)
    assert "listening on" in server.stderr.readline()
    start("join", proxy.url)
    assert proxy.holds.wait(120)
    server.send_signal(signal.SIGTERM)
    while b"503" not in said_to_a_newcomer(port):
        time.sleep(0.02)
    stop(server)  # and not the thirty seconds that the upload may take
    assert accepted(here) == 0


@pytest.mark.slow
def test_a_server_or_a_site_that_computes_stops_at_once(here, port, start):
    (here / "long.yaml").write_text(
        ONE_SITE.replace("local_steps: 3", "local_steps: 100000").replace("epochs: 3", "epochs: 100000")
    )
    server = start("serve", "long.yaml", "--port", port, "--set", "method.local_steps=100000")
    assert "listening on" in server.stderr.readline()
    site = start("join", f"http://127.0.0.1:{port}")
    assert "takes part" in site.stderr.readline()
    time.sleep(2)
    assert "where it was with --site and --disk" in stop(site)
    assert server.poll() is None  # the site has not given up
    stop(server)
    judging = start("serve", "long.yaml", "--port", port, "--set", "method.local_steps=1", "--metrics", "0")
    where = re.search(r"http://(.*)/metrics", judging.stderr.readline())[1]
    assert start("join", f"http://127.0.0.1:{port}").wait(120) == 0
    while json.loads(ask(where, "/readyz")[2])["state"] != "judging":
        time.sleep(0.05)
    assert ask(where, "/healthz")[0] == 200
    assert ask(where, "/readyz")[0] == 503
    stop(judging)
    assert len([name for name in left(here) if name.endswith(".store")]) == 2  # either goes on


@pytest.mark.slow
def test_a_site_that_waits_is_told_and_comes_back_and_may_be_stopped_itself(here, port, start):
    alone = json.loads(collab(here, "run", "tiny.yaml", "--json", "--set", "baselines=[]").stdout)
    serve = ("serve", "tiny.yaml", "--port", port, "--name", "served", "--json")
    url = f"http://127.0.0.1:{port}"
    server = start(*serve)
    assert "listening on" in server.stderr.readline()
    patient = start("join", url, "--site", "client-1", "--disk", "disk")
    stopped = start("join", url, "--site", "client-0", "--disk", "disk")
    assert "takes part" in stopped.stderr.readline()
    stop(stopped)
    while accepted(here) == 0:
        time.sleep(0.05)
    time.sleep(0.5)  # it asks for more, and waits
    stop(server)  # it is not held for the minute that the site offers to wait
    again = start(*serve)
    assert "listening on" in again.stderr.readline()
    back = start("join", url, "--site", "client-0", "--disk", "disk")
    stdout, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    assert [patient.wait(120), back.wait(120)] == [0, 0]
    ours, theirs = alone["methods"]["collabdm"], json.loads(stdout)["methods"]["collabdm"]
    for field in ("result_digest", "bytes_up_per_client"):
        assert theirs[field] == ours[field]
