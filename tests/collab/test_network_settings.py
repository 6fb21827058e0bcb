from __future__ import annotations

import dataclasses
import json
import re

import pytest

from collab import scenario
from collab.errors import ScenarioError
from simnet import CapacitySchedule, CapacityStep, LinkSpec

HEAD = """\
dataset: {name: gaussians}
partition: {clients: 3, scheme: iid}
method: {name: localdm, images_per_class: 1}
network:
"""
STAR = """\
  topology: star
  access: {bandwidth: 20 Mbit/s, latency: 10 ms}
  server: {bandwidth: 100 Mbit/s, latency: 5 ms}
"""
FIRST_LINE = HEAD.count("\n") + 1


def parse(network, source="test.yaml"):
    return scenario.parse(HEAD + network, str(source), default_name="test")


def access(settings, source="test.yaml"):
    """The access link of a star with these settings beside bandwidth and latency, as simnet knows it."""
    text = STAR.replace("bandwidth: 20 Mbit/s, latency: 10 ms", settings)
    return parse(text, source).network.access.spec()


PLAIN = LinkSpec(1e6, 0.01)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", {}),
        ("jitter: 2 ms", {"jitter_s": 0.002}),
        ("jitter: {spread: 2 ms}", {"jitter_s": 0.002}),
        ("jitter: {spread: 20 ms, distribution: pareto}", {"jitter_s": 0.02, "jitter_distribution": "pareto"}),
        ("loss: 0.01", {"loss": 0.01}),
        ("loss: 0.1 %", {"loss": 0.001}),
        ("loss: {up: 1 %, down: 0.002}", {"loss": 0.01, "reverse_loss": 0.002}),
        ("queue: fq_codel", {"queue": "fq_codel"}),
        ("queue_packets: 250", {"queue_packets": 250}),
    ],
)
def test_settings_of_a_link_are_simnets(settings, expected):
    spec = access(f"bandwidth: 1 Mbit/s, latency: 10 ms, {settings}")
    assert spec == dataclasses.replace(PLAIN, **expected)


def test_a_bandwidth_may_differ_by_direction():
    spec = access("bandwidth: {up: 5 Mbit/s, down: 50 Mbit/s}, latency: 10 ms")
    assert (spec.bandwidth_bps, spec.reverse_bandwidth_bps) == (5e6, 50e6)
    assert access("bandwidth: {up: 5 Mbit/s, down: 5 Mbit/s}, latency: 10 ms").reverse_bandwidth_bps is None


def steps(*pairs, every=None):
    return CapacitySchedule(tuple(CapacityStep(*pair) for pair in pairs), every)


def test_schedules_are_steps_that_may_start_over():
    both = "[{at: 1 s, bandwidth: 1 Mbit/s}, {at: 2.5 s, bandwidth: 0}]"
    plain = "bandwidth: 1 Mbit/s, latency: 10 ms, schedule: "
    assert access(plain + both).schedule == steps((1.0, 1e6), (2.5, 0.0))
    looped = access(plain + f"{{steps: {both}, every: 1 min}}")
    assert looped.schedule == steps((1.0, 1e6), (2.5, 0.0), every=60.0)
    assert looped.reverse_schedule is None  # to simnet: as the way forth
    down = access(plain + f"{{down: {both}}}")
    assert (down.schedule, down.reverse_schedule) == (None, steps((1.0, 1e6), (2.5, 0.0)))
    up = access(plain.replace("1 Mbit/s", "{up: 1 Mbit/s, down: 7 Mbit/s}") + f"{{up: {both}}}")
    assert (up.schedule, up.reverse_schedule) == (steps((1.0, 1e6), (2.5, 0.0)), steps((0.0, 7e6)))


def test_a_trace_is_read_from_the_folder_of_the_scenario_and_then_needed_no_more(tmp_path):
    (tmp_path / "lte.mahimahi").write_text("".join(f"{ms}\n" for ms in [*range(0, 100, 10), 200]))
    trace = "bandwidth: 1 Mbit/s, latency: 10 ms, schedule: {trace: lte.mahimahi, step: 50 ms}"
    expected = steps((0.0, 1.2e6), (0.1, 0.0), (0.15, 240e3), every=0.2)
    assert access(trace, tmp_path / "test.yaml").schedule == expected
    read = parse(STAR.replace("bandwidth: 20 Mbit/s, latency: 10 ms", trace), tmp_path / "test.yaml")
    (tmp_path / "lte.mahimahi").unlink()
    again = scenario.parse(read.dump(), "elsewhere/scenario.yaml")
    assert again == read
    assert again.network.access.spec().schedule == expected


LINK = "{bandwidth: 10 Mbit/s, latency: 2 ms}"


@pytest.mark.parametrize(
    ("network", "relays", "hops"),
    [
        (f"  topology: two-tier\n  stations: 2\n  access: {LINK}\n  station: {LINK}\n  server: {LINK}\n", 3, 3),
        (
            "  topology: two-tier\n  sites: 3\n  stations: 2\n  aggregations: 2\n"
            + "".join(f"  {name}: {LINK}\n" for name in ("access", "site", "station", "aggregation", "server")),
            3 + 2 + 2 + 1,
            5,
        ),
        (f"  topology: ring\n  nodes: 4\n  access: {LINK}\n  trunk: {LINK}\n  server: {LINK}\n", 4, 4),
        (f"  topology: tree\n  branching: 2\n  access: {LINK}\n  trunk: {LINK}\n  server: {LINK}\n", 3, 3),
        (
            "  topology: links\n  links:\n    - {between: [client-0, client-1], bandwidth: 1 Mbit/s, latency: 0}\n"
            "    - {between: [client-1, box], bandwidth: 1 Mbit/s, latency: 0}\n"
            "    - {between: [box, client-2], bandwidth: 1 Mbit/s, latency: 0}\n"
            "    - {between: [server, box], bandwidth: 1 Mbit/s, latency: 0}\n",
            1,
            2,
        ),
    ],
)
def test_every_topology_is_built(network, relays, hops):
    topology = parse(network).topology()
    assert [host.name for host in topology.hosts] == ["client-0", "client-1", "client-2", "server"]
    assert len(topology.relays) == relays
    assert len(topology.path("client-2", "server").links) == hops


def test_a_geometric_edge_is_drawn_from_the_seed_of_the_scenario_or_its_own():
    network = (
        "  topology: geometric\n  stations: 7\n  radius: 4 km\n  side: 8 km\n  delay_per_km: 10 us\n"
        f"  access: {LINK}\n  trunk: {LINK}\n  server: {LINK}\n"
    )
    first, second = (parse(network + f"seed: {seed}\n").topology() for seed in (1, 2))
    assert first != second
    fixed = network + "  seed: 5\n"
    assert parse(fixed + "seed: 1\n").topology() == parse(fixed + "seed: 2\n").topology()
    assert max(link.latency_s for link in first.links) <= 0.002 + 8 * 2**0.5 * 10e-6


def test_hosts_have_capacities_and_congestion_control_by_role_or_name():
    hosts = "  hosts:\n    client: {congestion: bbr, uplink: 5 Mbit/s}\n    client-1: {downlink: 1 Gbit/s}\n"
    topology = parse(STAR + hosts).topology()
    first, second, third, server = topology.hosts
    assert (first.congestion, first.uplink_bps, first.downlink_bps) == ("bbr", 5e6, None)
    assert (second.congestion, second.uplink_bps, second.downlink_bps) == ("cubic", None, 1e9)
    assert dataclasses.replace(third, name="client-0") == first
    assert (server.congestion, server.uplink_bps) == ("cubic", None)
    assert topology.link_name(topology.path("client-0", "server").links[0]) == "client-0 (sending)"


TIERS = f"  topology: two-tier\n  stations: 2\n  access: {LINK}\n  station: {LINK}\n  server: {LINK}\n"
LISTED = f"""\
  topology: links
  links:
    - {{between: [client-0, box], {LINK[1:-1]}}}
    - {{between: [client-1, box], {LINK[1:-1]}}}
    - {{between: [client-2, box], {LINK[1:-1]}}}
    - {{between: [box, server], {LINK[1:-1]}}}
"""

BAD = [
    # network, what to replace, with what, line of the network part (from 1), what the message must say
    (STAR, "10 ms", "10 ms, jitter: 11 ms", 2, "access.jitter: jitter of 11 ms exceeds the latency of 10 ms"),
    (STAR, "10 ms", "10 ms, jitter: {spread: 11 ms, distribution: normal}", 2, "access.jitter: jitter of 11 ms"),
    (STAR, "10 ms", "10 ms, jitter: {spread: 1 ms, distribution: gauss}", 2, 'found "gauss" (known: uniform, normal'),
    (STAR, "10 ms", "10 ms, jitter: {spred: 1 ms}", 2, 'no setting "spred" here; did you mean "spread"?'),
    (STAR, "10 ms", "10 ms, jitter: 2", 2, "access.jitter: 2 has no unit"),
    (STAR, "10 ms", "-10 ms", 2, "latency: "),
    (STAR, "10 ms", "10 ms, loss: 1", 2, "loss: found 1, expected less than 1"),
    (STAR, "10 ms", "10 ms, loss: 120 %", 2, 'loss: "120 %" is no probability; it must lie between 0 and 1'),
    (STAR, "10 ms", "10 ms, loss: high", 2, "'high' is no probability; expected a number from 0 to 1, or a percentage"),
    (STAR, "10 ms", "10 ms, loss: {up: 2}", 2, "access.loss.up: 2 is no probability"),
    (STAR, "10 ms", "10 ms, queue: red", 2, 'found "red" (known: droptail, fq_codel)'),
    (STAR, "10 ms", "10 ms, queue_packets: 0", 2, "queue_packets: found 0"),
    (STAR, "20 Mbit/s", "{up: 1 Mbit/s}", 2, 'the setting "down" is missing'),
    (STAR, "20 Mbit/s", "{up: 1 Mbit/s, down: 3}", 2, "access.bandwidth.down: 3 has no unit"),
    (STAR, "20 Mbit/s", "20 Mbits/s", 2, 'access.bandwidth: "20 Mbits/s" has the unknown unit'),
    (STAR, "10 ms", "10 ms, schedule: []", 2, "a schedule needs at least one step"),
    (STAR, "10 ms", "10 ms, schedule: {}", 2, "a schedule needs steps or a trace"),
    (STAR, "10 ms", "10 ms, schedule: {steps: [{at: 1 s, bandwith: 0}]}", 2, 'did you mean "bandwidth"?'),
    (STAR, "10 ms", "10 ms, schedule: [{at: 1, bandwidth: 0}]", 2, "schedule.0.at: 1 has no unit"),
    (STAR, "10 ms", "10 ms, schedule: {up: [{at: 1, bandwidth: 0}]}", 2, "schedule.up.0.at: 1 has no unit"),
    (STAR, "10 ms", "10 ms, schedule: {steps: [{at: 1 s, bandwidth: 0}], every: 9 s}", 2, "never carry anything"),
    (STAR, "10 ms", "10 ms, schedule: {trace: missing.mahimahi}", 2, "missing.mahimahi cannot be read: No such file"),
    (STAR, "10 ms", "10 ms, schedule: {trace: x, every: 1 s}", 2, "give either a trace or steps"),
    (TIERS, "stations: 2", "stations: 4", 2, "4 base stations for 3 clients; expected no more"),
    (TIERS, "stations: 2", "stations: 2\n  sites: 1\n  site: " + LINK, 2, "2 base stations for 1 sites"),
    (TIERS, "stations: 2", "stations: 2\n  sites: 3", 3, 'sites need a link "site"'),
    (TIERS, "stations: 2", "stations: 2\n  site: " + LINK, 3, 'no number of "sites"'),
    (TIERS, "stations: 2", "stations: 2\n  aggregations: 2", 3, 'aggregation nodes need a link "aggregation"'),
    (LISTED, "[client-2, box]", "[client-3, box]", 5, '"client-3" is no host; did you mean "client-'),
    (LISTED, "[client-2, box]", "[Client-2, box]", 5, '"Client-2" is no host; did you mean "client-2"?'),
    (
        LISTED,
        "[client-2, box]",
        "[client-1, client-0]",
        2,
        "host on no link: client-2; every client and the server needs",
    ),
    (LISTED, "[client-2, box]", "[client-2, other]", 2, "no route from client-2 to server: the links fall into pieces"),
    (LISTED, "[client-2, box]", "[box, box]", 5, "both ends are box; a link joins two different nodes"),
    (LISTED, "[client-2, box]", "[box, client-1]", 5, "box and client-1 are joined already, by links.1; there is one"),
    (LISTED, "[client-2, box]", "client-2", 5, 'found "client-2", expected a list'),
    (STAR, "  topology: star", "  topology: star\n  hosts: {client-9: {uplink: 1 Mbit/s}}", 2, '"client-9" is no host'),
    (
        STAR,
        "  topology: star",
        "  topology: star\n  hosts: {client: {congestion: vegas}}",
        2,
        'found "vegas" (known: cub',
    ),
    (STAR, "  topology: star", "  topology: star\n  hosts: {client: {uplink: 0}}", 2, "expected at least 1"),
    (STAR, "topology: star", "topology: mesh", 1, 'topology is "mesh" (known: star, two-tier, ring, tree'),
]


@pytest.mark.parametrize(("network", "old", "new", "line", "message"), BAD)
def test_a_mistake_is_answered_with_file_line_and_remedy(network, old, new, line, message):
    assert old in network
    with pytest.raises(ScenarioError) as caught:
        parse(network.replace(old, new, 1))
    text = str(caught.value)
    assert message in text
    assert re.match(rf"test\.yaml:{FIRST_LINE + line - 1}:\d+: ", text), text


@pytest.mark.parametrize(
    ("last", "line", "message"),
    [
        ("{at: 5 s, bandwidth: 2 Mbit/s}", 6, "schedule.steps.1.at: a step at 5 s follows one at 10 s"),
        ("{at: 10 s, bandwidth: 2 Mbit/s}", 6, "a step at 10 s follows one at 10 s; expected times that increase"),
        ("{at: 60 s, bandwidth: 2 Mbit/s}", 6, "a step at 60 s lies beyond the period of 60 s: it would never come"),
    ],
)
def test_a_cyclic_schedule_is_noticed_at_the_step(last, line, message):
    text = f"""\
  topology: star
  access: {LINK}
  server:
    bandwidth: 1 Mbit/s
    latency: 1 ms
    schedule:
      every: 60 s
      steps:
        - {{at: 10 s, bandwidth: 0}}
        - {last}
"""
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"test.yaml:{FIRST_LINE + 9}:16: network.server."), str(caught.value)
    assert message in str(caught.value)


def test_a_bad_line_of_a_trace_is_named_with_the_line_that_asks_for_it(tmp_path):
    (tmp_path / "bad.mahimahi").write_text("1\n2\nthree\n")
    text = STAR.replace("latency: 5 ms", "latency: 5 ms, schedule: {\n    trace: bad.mahimahi}")
    with pytest.raises(ScenarioError) as caught:
        parse(text, tmp_path / "test.yaml")
    assert str(caught.value) == (
        f"{tmp_path}/test.yaml:{FIRST_LINE + 3}:12: network.server.schedule.trace: {tmp_path}/bad.mahimahi:3: "
        'found "three", expected a whole number of milliseconds'
    )


def test_a_dump_reads_back_the_same():
    schedule = "schedule: {up: {steps: [{at: 1 s, bandwidth: 0}, {at: 2 s, bandwidth: 1 Mbit/s}], every: 3 s}}"
    network = STAR.replace(
        "10 ms", f"10 ms, loss: {{up: 1 %}}, jitter: {{spread: 5 ms, distribution: exponential}}, {schedule}"
    )
    read = parse(network + "  hosts: {server: {congestion: reno, downlink: 1 Gbit/s}}\n")
    assert scenario.parse(read.dump(), "dump.yaml") == read


def test_the_schema_knows_every_form_of_a_setting():
    text = json.dumps(scenario.json_schema())
    for word in ("geometric", "between", "BandwidthUpDown", "pareto", "trace", "congestion", "fq_codel"):
        assert word in text
