from __future__ import annotations

import json

from collab.topology_file import described, text_of
from simnet import CapacitySchedule, CapacityStep, Link, LinkSpec, explicit, geometric, star


def test_a_star_as_it_stands_in_the_file():
    access, server = LinkSpec(2e6, 0.02, reverse_bandwidth_bps=8e6), LinkSpec(2e7, 0.005)
    tenants = {"client-0": "lab", "server": "cloud"}
    found = described(star(["client-0"], access=access, server=server, tenant_of=tenants), "server")
    assert found["server"] == "server"
    assert found["one_in"] == 1
    assert [(node["name"], node["tenant"]) for node in found["nodes"]] == [
        ("client-0", "lab"), ("server", "cloud"), ("hub", None)
    ]  # fmt: skip
    assert found["nodes"][1]["place"] == [0.0, 1.0]
    assert found["links"] == [
        link("client-0", "hub", 2e6, 0.02), link("hub", "client-0", 8e6, 0.02),
        link("hub", "server", 2e7, 0.005), link("server", "hub", 2e7, 0.005),
    ]  # fmt: skip
    assert found["routes"] == {"client-0": [0, 2]}


def link(source, target, capacity_bps, latency_s, *, schedule=None):
    return {
        "name": f"{source} > {target}", "from": source, "to": target, "capacity_bps": capacity_bps,
        "latency_s": latency_s, "schedule": schedule,
    }  # fmt: skip


def test_links_on_the_same_schedule_share_it():
    schedule = CapacitySchedule((CapacityStep(0.5, 1e6), CapacityStep(1.0, 9e6)), period_s=2.0)
    links = [Link("client-0", "server", 3e6, 0.0, schedule=schedule), Link("b", "server", 2e6, 0.0, schedule=schedule)]
    found = described(explicit(links, hosts=["client-0", "b", "server"]), "server")
    assert found["links"][0] == link("client-0", "server", 3e6, 0.0, schedule=0)
    assert [one["schedule"] for one in found["links"]] == [
        0,
        0,
        0,
        0,
    ]  # a way back that is not given is as the way forth
    assert found["schedules"] == [{"period_s": 2.0, "steps": [[0.5, 1e6], [1.0, 9e6]]}]


def test_routes_leave_out_the_capacities_of_hosts_and_what_cannot_be_reached():
    links = [Link("a", "server", 1e6, 0.0), Link("b", "c", 1e6, 0.0)]
    topology = explicit(links, hosts=["a", "b", "c", "server"])
    assert described(topology, "server")["routes"] == {"a": [0]}


def test_the_text_is_json_with_a_line_for_each_part():
    spec = LinkSpec(1e6, 0.001)
    network = geometric(["client-0", "client-1"], stations=3, radius_km=9, access=spec, trunk=spec, server=spec, seed=1)
    found = described(network, "server")
    text = text_of(found)
    assert json.loads(text) == found
    parts = len(found["nodes"]) + len(found["links"]) + len(found["routes"]) + len(found["schedules"])
    assert len(text.splitlines()) == parts + 11


def test_of_thousands_of_clients_as_many_are_there_as_can_be_told_apart():
    spec = LinkSpec(1e6, 0.001)
    found = described(star([f"client-{index}" for index in range(2000)], access=spec, server=spec), "server")
    assert found["one_in"] == 5
    assert [node["name"] for node in found["nodes"]][:3] == ["client-0", "client-5", "client-10"]
    assert len(found["nodes"]) == 402
    assert len(found["links"]) == 802
