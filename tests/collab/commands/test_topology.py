from __future__ import annotations

import pytest
import typer

from collab.commands.topology import command
from collab.errors import ScenarioError

TEXT = """\
dataset: {name: gaussians}
partition: {clients: 6, scheme: iid}
method: {name: localdm, images_per_class: 1}
network:
  topology: ring
  nodes: 3
  access:
    bandwidth: {up: 5 Mbit/s, down: 20 Mbit/s}
    latency: 10 ms
    jitter: {spread: 2 ms, distribution: pareto}
    loss: {up: 0.1 %}
  trunk: {bandwidth: 1 Gbit/s, latency: 1 ms, queue_packets: 300}
  server:
    bandwidth: 1 Gbit/s
    latency: 5 ms
    schedule: {steps: [{at: 1 s, bandwidth: 0}, {at: 2 s, bandwidth: 1 Gbit/s}], every: 3 s}
  hosts: {client: {uplink: 3 Mbit/s}}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [synthetic], at_most: 2 MB}]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "town.yaml").write_text(TEXT)
    return tmp_path


def test_it_draws_the_network_and_lists_its_links(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    command(here / "town.yaml")
    assert "sites: " not in (here / "town-topology.svg").read_text()
    assert "any → cloud: synthetic, at most 2 MB each" in (here / "town-topology.svg").read_text()
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        "client-* -- node-* 6 5 Mbit/s up, 20 Mbit/s down, 10 ms, pareto jitter of 2 ms, loss 0.1 % up, 0 % down, "
        "droptail",
        "node-* -- node-* 3 1 Gbit/s, 1 ms, droptail of 300 packets",
        "node-0 -- server 1 ~1 Gbit/s, 5 ms, droptail, schedule of 2 steps every 3 s",
        "6 of 7 hosts have a capacity of their own",
        "topology: town-topology.svg",
    ]


def test_overrides_and_the_name_of_the_picture(here, capsys):
    command(here / "town.yaml", ["partition.clients=9", "tenants.sites=[client-*]"], here / "small.png")
    assert (here / "small.png").read_bytes().startswith(b"\x89PNG")
    assert " 9 " in capsys.readouterr().out


def test_without_tenants_nothing_is_crossed(here):
    (here / "town.yaml").write_text(TEXT[: TEXT.index("tenants:")])
    command(here / "town.yaml")
    assert "one tenant: there is nothing to cross" in (here / "town-topology.svg").read_text()


def test_a_name_that_is_no_picture_is_refused_before_anything_is_read(here):
    with pytest.raises(typer.BadParameter, match=r"x\.pdf is no picture; expected a name that ends in \.svg or \.png"):
        command(here / "missing.yaml", None, here / "x.pdf")
    with pytest.raises(ScenarioError, match="cannot be read"):
        command(here / "missing.yaml", None, here / "x.svg")
