"""Secure aggregation between processes: sites with secrets of their own, a server that is killed in between."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.collab.test_cli import collab
from tests.collab.test_secure_runs import ON, SECURE
from tests.collab.test_serving import accepted, here, port, processes, started, wait_until

__all__ = ["here", "port", "processes"]  # fixtures


@pytest.mark.slow
def test_sites_elsewhere_draw_their_own_keys_and_make_the_same_set(here, port, processes):
    """The server dies when keys and shares are in; its successor asks for masked sums by what it has kept."""
    (here / "tiny.yaml").write_text(SECURE)
    changes = [part for change in ON for part in ("--set", change)]
    alone = json.loads(collab(here, "run", "tiny.yaml", "--json", *changes[:2], *changes[4:]).stdout)  # plain
    serve = ("serve", "tiny.yaml", "--port", port, "--name", "served", "--json", *changes)
    server = started(processes, here, *serve)
    url = re.search(r"listening on (\S+);", server.stderr.readline())[1]
    joins = [started(processes, here, "join", url) for _ in range(4)]
    wait_until(lambda: accepted(here) >= 8)
    server.send_signal(signal.SIGKILL)
    server.communicate()
    stdout, stderr = started(processes, here, *serve).communicate(timeout=120)
    assert [join.wait(60) for join in joins] == [0, 0, 0, 0], stderr
    ours, theirs = alone["methods"]["collabdm"], json.loads(stdout)["methods"]["collabdm"]
    assert theirs["result_digest"] == ours["result_digest"]
    assert collab(here, "audit", "served").returncode == 0
