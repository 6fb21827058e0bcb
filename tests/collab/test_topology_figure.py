from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from collab.picture_style import COLOURS
from collab.topology_figure import MARKERS, classes_of, draw, look_of
from collab.topology_layout import MOST_HOSTS, thinned
from simnet import CapacitySchedule, CapacityStep, LinkSpec, star, two_tier

ACCESS = LinkSpec(5e6, 0.01, reverse_bandwidth_bps=20e6)
SERVER = LinkSpec(1e9, 0.005, schedule=CapacitySchedule((CapacityStep(1.0, 0.0),)))


def clients(count):
    return [f"client-{index}" for index in range(count)]


def make(count, tenants=2):
    tenant_of = {name: f"hospital-{index % tenants}" for index, name in enumerate(clients(count))}
    return star(clients(count), access=ACCESS, server=SERVER, tenant_of={**tenant_of, "server": "cloud"})


def words(path):
    return [element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def drawn(tmp_path, topology, crossings=("any → cloud: synthetic",)):
    path = tmp_path / "picture.svg"
    draw(topology, path, title="a title", server="server", crossings=crossings)
    return words(path)


def test_links_that_are_alike_are_one_kind():
    access, server = classes_of(make(7).links)
    assert (access.kind, len(access.links)) == ("client-* -- hub", 7)
    assert (access.bandwidth(), access.latency()) == ("5 Mbit/s up, 20 Mbit/s down", "10 ms")
    assert classes_of(make(1).links)[0].kind == "client-0 -- hub"
    assert (server.kind, server.bandwidth()) == ("hub -- server", "~1 Gbit/s")


def test_latencies_of_one_kind_may_differ_but_nothing_else():
    links = make(3).links
    farther = dataclasses.replace(links[0], latency_s=0.012)
    lossy = dataclasses.replace(links[1], loss=0.1)
    kinds = classes_of([farther, lossy, *links[2:]])
    assert [len(kind.links) for kind in kinds] == [2, 1, 1]
    assert kinds[0].latency() == "10 ms to 12 ms"


def test_a_small_network_has_every_name_and_label(tmp_path):
    text = drawn(tmp_path, make(5))
    for name in [*clients(5), "server", "hub", "hospital-0   3 hosts", "cloud   server", "any → cloud: synthetic"]:
        assert name in text
    assert text.count("5 Mbit/s up, 20 Mbit/s down") == 5
    assert "dashed, ~: follows a schedule" in text


def test_on_a_map_no_label_lies_on_a_node_or_on_another_label(tmp_path):
    spot = {
        "hub": (0.0, 0.0),
        "server": (0.0, 9.0),
        "client-0": (4.0, 0.0),
        "client-1": (8.0, 0.3),
        "client-2": (4.2, 8.0),
    }
    text = drawn(tmp_path, dataclasses.replace(make(3), places=spot))
    # client-0 lies where the label of client-1's link would be, that of client-2 has room.
    assert text.count("5 Mbit/s up, 20 Mbit/s down") == 2
    assert all(name in text for name in clients(3))


def test_of_a_large_network_alike_links_are_labelled_once_and_every_client_has_its_name(tmp_path):
    text = drawn(tmp_path, make(100))
    assert text.count("5 Mbit/s up, 20 Mbit/s down") == 1
    assert "100 alike" in text
    assert set(clients(100)) <= set(text)


def test_of_more_hosts_than_can_be_told_apart_some_are_drawn(tmp_path):
    topology = two_tier(clients(1000), stations=7, access=ACCESS, station=ACCESS, server=SERVER)
    shown, step = thinned(topology, "server")
    assert step == 3
    assert len(shown.hosts) == 335 <= MOST_HOSTS
    assert shown.relays == topology.relays
    text = drawn(tmp_path, topology)
    assert "one in 3 of 1,000 clients is drawn" in text
    assert "lab   1001 hosts" in text  # what is counted is what there is
    assert "1000 x client-* -- station-*" in text
    assert not any("alike" in (words or "") for words in text)


def test_tenants_look_different():
    looks = {look_of(index) for index in range(len(COLOURS) * len(MARKERS))}
    assert len(looks) == len(COLOURS) * len(MARKERS)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_pictures_are_the_same_every_time(tmp_path, suffix):
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for path in paths:
        draw(make(8), path, title="a title", server="server", crossings=["a → b: " + "long " * 40])
    assert paths[0].read_bytes() == paths[1].read_bytes()
