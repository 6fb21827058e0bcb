"""A server that is killed goes on where it was; so does a site. Real processes, real kills."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

from tests.collab.test_cli import collab, command, environment
from tests.collab.test_run import TEXT


@pytest.fixture
def here(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TEXT)
    return tmp_path


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


@pytest.fixture
def processes():
    started = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def started(processes, here, *arguments):
    process = subprocess.Popen(
        command(*arguments), cwd=here, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    processes.append(process)
    return process


def accepted(here):
    """How many uploads are in the store, as another process sees it."""
    for file in here.glob("runs/.tiny-*.store/register.sqlite"):
        database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            return database.execute("SELECT count(*) FROM uploads").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # its tables are not made yet
        finally:
            database.close()
    return 0


def wait_until(reached):
    deadline = time.monotonic() + 100
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_that_is_killed_goes_on_with_what_it_has_accepted(here, port, processes):
    alone = json.loads(collab(here, "run", "tiny.yaml", "--json", "--set", "baselines=[]").stdout)
    serve = ("serve", "tiny.yaml", "--port", port, "--name", "served", "--json")
    server = started(processes, here, *serve)
    url = re.search(r"listening on (\S+);", server.stderr.readline())[1]
    joins = [started(processes, here, "join", url, "--site", f"client-{index}") for index in (2, 0)]
    wait_until(lambda: accepted(here) == 2)
    server.send_signal(signal.SIGKILL)
    server.communicate()
    again = started(processes, here, *serve)
    assert "listening on" in again.stderr.readline()
    # Names that were given away before are not given away again.
    joins += [started(processes, here, "join", url) for _ in range(2)]
    stdout, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    assert [join.wait(60) for join in joins] == [0, 0, 0, 0]
    ours, theirs = alone["methods"]["collabdm"], json.loads(stdout)["methods"]["collabdm"]
    assert theirs["result_digest"] == ours["result_digest"]
    # Whoever had not got its 201 when the server was killed has sent its upload twice.
    assert ours["bytes_up_per_client"] <= theirs["bytes_up_per_client"] <= 1.5 * ours["bytes_up_per_client"]
    assert [path.name for path in (here / "runs").iterdir() if path.name.startswith(".")] == []
    uploads = collab(here, "audit", "served")
    assert uploads.returncode == 0, uploads.stderr
