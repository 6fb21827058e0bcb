"""`collab serve` and `collab join` with configuration files: TLS, certificates and tokens, in real processes."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.collab.test_cli import collab, command, environment
from tests.collab.test_run import TEXT

SERVER = """\
scenario: tiny.yaml
listen: {port: 0}
tls: {certificate: keys/server.pem, key: keys/server.key, client_authority: keys/authority.pem}
tokens: {public_key: keys/tokens.pub, audience: tiny}
revoked: revoked.txt
metrics: null
"""


def deployed(folder, server):
    """A folder with all that a server and two sites need: `server` is the configuration, client-1 has a token."""
    text = TEXT.replace("clients: 4", "clients: 2").replace("baselines:", "baselines: []\nunused:")
    (folder / "tiny.yaml").write_text(re.sub(r"unused:.*\n", "", text))
    (folder / "server.yaml").write_text(server)
    (folder / "revoked.txt").write_text("")
    for arguments in (
        ["certs", "make", "tiny.yaml", "--into", "keys", "--host", "127.0.0.1"],
        ["tokens", "make-key", "--into", "keys"],
        ["tokens", "issue", "client-1", "--tenant", "sites", "--audience", "tiny", "--key", "keys/tokens.key",
         "--into", "client-1.token"],
    ):  # fmt: skip
        done = collab(folder, *arguments)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(tmp_path):
    return deployed(tmp_path, SERVER)


def site(here, name, url, proof):
    (here / f"{name}.yaml").write_text(f"server: {url}\nauthority: keys/authority.pem\n{proof}\n")
    return f"{name}.yaml"


@pytest.mark.slow
def test_sites_that_prove_who_they_are_make_the_set_of_the_laboratory(here):
    alone = json.loads(collab(here, "run", "tiny.yaml", "--json").stdout)
    server = subprocess.Popen(
        command("serve", "--config", "server.yaml", "--json"), cwd=here, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    joins = []
    try:
        line = next(line for line in map(json.loads, server.stderr) if line["event"] == "listening")
        assert line["text"].startswith("listening on https://127.0.0.1:"), line
        url = line["url"]
        stranger = collab(here, "join", url, "--patience", "0")
        certain = "certificate: keys/client-0.pem\nkey: keys/client-0.key"
        imposter = collab(here, "join", "--config", site(here, "imposter", url, certain), "--site", "client-1")
        (here / "client-1.token").chmod(0o600)
        for name, proof in (("client-0", certain), ("client-1", "token: client-1.token")):
            arguments = command("join", "--config", site(here, name, url, proof))
            joins.append(subprocess.Popen(arguments, cwd=here, env=environment(), stderr=subprocess.PIPE, text=True))
        stdout, stderr = server.communicate(timeout=120)
        told = [join.communicate(timeout=60)[1] for join in joins]
    finally:
        for process in (server, *joins):
            process.kill()
    assert (stranger.returncode, imposter.returncode) == (22, 22)
    assert "is not to be trusted" in stranger.stderr
    assert "answered 403: client-0 may not take part as client-1" in imposter.stderr
    assert server.returncode == 0, stderr
    assert [join.returncode for join in joins] == [0, 0], told
    assert ["client-0 takes part" in told[0], "client-1 takes part" in told[1]] == [True, True]
    theirs, ours = json.loads(stdout)["methods"]["collabdm"], alone["methods"]["collabdm"]
    assert theirs["result_digest"] == ours["result_digest"]
    assert theirs["bytes_up_per_client"] == ours["bytes_up_per_client"]
