"""A server of its own process that strangers hold on to, while its sites do their work."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
from contextlib import ExitStack

import pytest

from collab.standalone import join_run
from tests.collab.test_cli import command, environment
from tests.collab.test_run import TEXT

CROWD = 300
HEAD = b"PUT /v1/tasks/x/uploads/client-0 HTTP/1.1\r\nHost: x\r\nBoundary-From: client-9\r\nContent-Length: 1000000\r\n"
SLOW = (b"", HEAD[:50], HEAD + b"\r\n" + bytes(10), HEAD + b"Content-Encoding: gzip\r\n\r\n")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TEXT.replace("clients: 4", "clients: 1"))
    process = subprocess.Popen(
        command("serve", "tiny.yaml", "--port", "0"), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def connected(stack, port, sends):
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    connection.sendall(sends)
    return connection


@pytest.mark.slow
def test_a_crowd_that_says_nothing_or_not_all_does_not_stop_a_run(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * CROWD:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * CROWD, hard), hard))
    url = re.search(r"listening on (\S+);", server.stderr.readline())[1]
    port = int(url.rsplit(":", 1)[1])
    with ExitStack() as stack:
        held = [connected(stack, port, SLOW[number % len(SLOW)]) for number in range(CROWD)]
        join_run(url, site="client-0")
        assert server.communicate(timeout=60)[0]
        assert server.returncode == 0
        kinds = {number % len(SLOW): connection.recv(100)[:12] for number, connection in enumerate(held)}
    assert kinds[3] == b"HTTP/1.1 415"
