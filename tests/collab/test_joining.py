"""A site of its own process that is killed with its upload finished, and comes back with the same disk."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from collab import standalone
from collab.agents import client
from collab.errors import RunFailedError, ScenarioError, StoreError
from collab.scenario import parse
from collab.standalone import join_run
from simnet import trace_file
from simnet.disk import FolderDisk
from simnet.errors import UnreachableError
from tests.collab.test_cli import collab, command, environment
from tests.collab.test_run import TEXT

ONE_SITE = TEXT.replace("clients: 4", "clients: 1")


class PowerFailureError(BaseException):
    """No error that an agent could catch."""


def test_a_site_that_comes_back_sends_what_it_had_computed(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(ONE_SITE)
    server = subprocess.Popen(
        command("serve", "tiny.yaml", "--port", "0"), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = re.search(r"listening on (\S+);", server.stderr.readline())[1]

        async def fail(*_, **__):
            raise PowerFailureError

        join = {"site": "client-0", "disk_folder": tmp_path / "disk"}
        with monkeypatch.context() as patch, pytest.raises(PowerFailureError):
            patch.setattr(client, "_upload", fail)
            join_run(url, trace_path=tmp_path / "first", **join)
        disk = FolderDisk(tmp_path / "disk" / "client-0")
        assert {key.partition("/")[0] for key in disk.keys("")} == {"upload", "secret"}
        disk.write("unfinished/of another site's life", b"{}")  # accepted, and the site killed before it knew
        join_run(url, trace_path=tmp_path / "second", **join)
        stderr = server.communicate(timeout=60)[1]
    finally:
        server.kill()
        server.communicate()
    assert server.returncode == 0, stderr
    jobs = [[event.kind for event in trace_file.read(tmp_path / name)].count("compute") for name in ("first", "second")]
    assert jobs == [1, 0]
    assert disk.keys() == []  # confirmed, and forgotten


@pytest.mark.parametrize(
    ("error", "keeps_a_disk", "gives_up"),
    [
        (UnreachableError("no server"), True, False),
        (UnreachableError("no server"), False, True),
        (RunFailedError("refused"), True, True),
    ],
)
def test_a_site_that_can_be_back_does_not_give_up(tmp_path, monkeypatch, error, keeps_a_disk, gives_up):
    """Its supervisor starts it again; told that it is lost, a server that is back sooner would end the run."""
    told = []

    async def introduce(*_):
        return ONE_SITE, "client-0"

    async def fail(*_, **__):
        raise error

    async def give_up(host, why):
        told.append((host.name, why))

    monkeypatch.setattr(standalone, "introduce", introduce)
    monkeypatch.setattr(standalone, "take_part", fail)
    monkeypatch.setattr(standalone, "_give_up", give_up)
    with pytest.raises(RunFailedError, match=str(error)):
        join_run("http://127.0.0.1:9", site="client-0", disk_folder=tmp_path if keeps_a_disk else None)
    assert told == ([("client-0", error)] if gives_up else [])


PRIVATE = ("method.initial=noise", "method.batch_size=all", "method.privacy={epsilon: 1, clip_norm: 4}")


@pytest.mark.parametrize("believes", [False, True], ids=["the server's", "its own"])
@pytest.mark.parametrize("keeps_a_disk", [False, True])
def test_a_site_with_privacy_takes_part_only_if_it_keeps_its_secret(tmp_path, monkeypatch, believes, keeps_a_disk):
    """Restarted without one, it would answer the same question with other noise, of which the mean is none."""
    private, named = parse(ONE_SITE, "private.yaml", PRIVATE), []

    async def introduce(url, site, patience_s, egress, check):
        check(ONE_SITE if believes else private.dump())  # of a server that does not say what it is going to ask
        named.append(site)
        return private.dump(), site

    async def took_part(*_, **__):
        raise RunFailedError("took part")

    async def give_up(*_):
        pass

    monkeypatch.setattr(standalone, "introduce", introduce)
    monkeypatch.setattr(standalone, "take_part", took_part)
    monkeypatch.setattr(standalone, "_give_up", give_up)
    error, told, names = (
        (RunFailedError, "^took part$", ["client-0"])
        if keeps_a_disk
        else (ScenarioError, r"^method.privacy is set, but this site keeps nothing: .*--site NAME --disk DIR", [])
    )
    with pytest.raises(error, match=told):
        join_run(
            "http://127.0.0.1:9", site="client-0", scenario=private if believes else None,
            disk_folder=tmp_path if keeps_a_disk else None,
        )  # fmt: skip
    assert named == names


def test_two_processes_of_one_site_do_not_both_take_part(tmp_path, monkeypatch):
    """Each would draw a secret, and answer for it."""
    elsewhere = """
import sys
from pathlib import Path
from simnet.disk import FolderDisk
with FolderDisk(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""

    async def introduce(*_):
        return ONE_SITE, "client-0"

    async def took_part(*_, **__):
        raise UnreachableError("took part")

    monkeypatch.setattr(standalone, "introduce", introduce)
    monkeypatch.setattr(standalone, "take_part", took_part)
    folder = tmp_path / "client-0"
    other = subprocess.Popen(
        [sys.executable, "-c", elsewhere, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"^{re.escape(str(folder))} is in use by another process that takes part"):
            join_run("http://127.0.0.1:9", disk_folder=tmp_path)
        assert FolderDisk(folder).keys() == []  # no secret was drawn
    finally:
        other.kill()
        other.communicate()
    for _ in range(2):  # held no longer, by the killed one and by one that has failed
        with pytest.raises(RunFailedError, match="took part"):
            join_run("http://127.0.0.1:9", disk_folder=tmp_path)
    assert FolderDisk(folder).keys() == ["secret"]


def test_a_folder_that_cannot_be_written_is_told_by_its_name(tmp_path, monkeypatch):
    async def introduce(*_):
        return ONE_SITE, "client-0"

    monkeypatch.setattr(standalone, "introduce", introduce)
    (tmp_path / "disk").write_text("a file")
    with pytest.raises(StoreError, match=r"disk/client-0 cannot be the folder of a site: Not a directory; choose ano"):
        join_run("http://127.0.0.1:9", disk_folder=tmp_path / "disk")


def test_a_disk_is_one_sites(tmp_path):
    refused = collab(tmp_path, "join", "http://127.0.0.1:9", "--disk", "here")
    assert refused.returncode == 2
    assert "say with --site which it is" in re.sub(r"[│\s]+", " ", refused.stderr)
