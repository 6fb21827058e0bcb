"""The `faults` of a scenario: every kind, and every mistake with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collab import run
from collab.errors import ScenarioError
from collab.fault_settings import plan_of
from collab.scenario import json_schema, parse
from collab.standalone import serve_scenario
from simnet import fault_kinds
from simnet.faults import Planned

BASE = """\
dataset: {name: gaussians, classes: 2, samples_per_class: 10, side: 8}
partition: {clients: 2, scheme: iid}
method: {name: localdm, images_per_class: 2, expand: 2, width: 4, depth: 1, local_steps: 1, local_batch_size: 4}
network:
  topology: star
  access: {bandwidth: 1 Mbit/s, latency: 10 ms}
  server: {bandwidth: 1 Mbit/s, latency: 5 ms}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [synthetic]}]
faults:
"""
ALL = """\
  - {at: 1 s, for: 500 ms, fault: link-down, link: client-0}
  - {at: 1 s, for: 2 min, fault: bandwidth, link: client-0 -- hub, factor: 0.1}
  - {at: 1 s, for: 3 s, fault: loss, link: hub > client-0, probability: 0.3}
  - {at: 1 s, for: 3 s, fault: partition, sides: [[sites], [server]]}
  - {at: 1 s, for: 3 s, fault: crash, host: client-1}
  - {at: 0 s, fault: slow, host: client-1, factor: 4}
  - {at: 0 s, fault: clock, host: client-1, ahead: 3 s, drift: -0.001}
  - {at: 0 s, fault: hold, from: client-1, to: cloud, delay: 200 ms}
  - {at: 0 s, for: 1 s, fault: drop, to: server}
  - {at: 0 s, for: 1 s, fault: reset, from: server}
"""


def test_every_kind_of_fault():
    scenario = parse(BASE + ALL, "x.yaml")
    assert plan_of(scenario.faults) == [
        Planned(1.0, fault_kinds.LinkDown("client-0"), 0.5),
        Planned(1.0, fault_kinds.BandwidthCollapse("client-0 -- hub", 0.1), 120.0),
        Planned(1.0, fault_kinds.BurstLoss("hub > client-0", 0.3), 3.0),
        Planned(1.0, fault_kinds.Partition((("sites",), ("server",))), 3.0),
        Planned(1.0, fault_kinds.HostCrash("client-1"), 3.0),
        Planned(0.0, fault_kinds.SlowHost("client-1", 4.0), None),
        Planned(0.0, fault_kinds.ClockSkew("client-1", 3.0, -0.001), None),
        Planned(0.0, fault_kinds.HoldMessages("client-1", "cloud", 0.2), None),
        Planned(0.0, fault_kinds.DropMessages("*", "server"), 1.0),
        Planned(0.0, fault_kinds.ResetConnections("server", "*"), 1.0),
    ]


def test_what_is_written_out_reads_back_the_same():
    scenario = parse(BASE + ALL, "x.yaml")
    assert parse(scenario.dump(), "y.yaml") == scenario


def test_the_schema_knows_the_faults():
    schema = json_schema()
    faults = schema["$defs"]["scenario"]["properties"]["faults"]["items"]["discriminator"]
    assert faults["propertyName"] == "fault"
    assert set(faults["mapping"]) == {fault.fault for fault in parse(BASE + ALL, "x.yaml").faults}
    crash = schema["$defs"]["CrashSettings"]
    assert set(crash["properties"]) == {"at", "for", "fault", "host"}
    assert set(crash["required"]) == {"at", "fault", "host"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{at: 1 s, fault: link-dwon, link: x}", r'faults\.0\.fault: fault is "link-dwon"; did you mean "link-down"\?'),
        ("{at: 1 s, link: client-0}", r"faults\.0: fault is missing; it says which kind this is"),
        (
            "{at: 1 s, fault: link-down, link: client-7}",
            r'faults\.0\.link: there is no link "client-7".*; did you mean "client-[01]"\?',
        ),
        ("{at: 1 s, fault: link-down, link: client-0 > server}", r'there is no link "client-0 > server"'),
        (
            "{at: 1 s, fault: crash, host: hub}",
            r'faults\.0\.host: there is no host "hub" \(known: server, client-0, client-1\)',
        ),
        ("{at: 1 s, fault: crash, hots: server}", r'there is no setting "hots" here; did you mean "host"\?'),
        ("{at: -1 s, fault: crash, host: server}", r"faults\.0\.at: .*-1 s"),
        ("{at: 1, fault: crash, host: server}", r"faults\.0\.at: 1 has no unit"),
        ("{fault: crash, host: server}", r'faults\.0\.at: the setting "at" is missing'),
        ("{at: 1 s, for: 0 s, fault: crash, host: server}", r"faults\.0\.for: .*more than 0"),
        ("{at: 1 s, fault: loss, link: client-0, probability: 2}", r"faults\.0\.probability: 2 is no probability"),
        ("{at: 1 s, fault: loss, link: client-0, probability: 1}", r"faults\.0\.probability: found 1, .* less than 1"),
        ("{at: 1 s, fault: bandwidth, link: client-0, factor: 0}", r"faults\.0\.factor: found 0"),
        ("{at: 1 s, fault: partition, sides: [[server]]}", r"faults\.0\.sides: .*at least 2"),
        ("{at: 1 s, fault: partition, sides: [[server], [sitse]]}", r'faults\.0\.sides\.1\.0: .*did you mean "sites"'),
        (
            "{at: 1 s, fault: partition, sides: [sites, cloud]}",
            r'sides\.0: found "sites", expected a list, such as \[sites',
        ),
        ("{at: 1 s, fault: drop, to: server, probability: 0 %}", r'probability: found "0 %", expected more than 0'),
        ("{at: 1 s, fault: partition, sides: [[server], []]}", r"faults\.0: a partition has two sides or more"),
        ("{at: 1 s, fault: partition, sides: [[cloud], [server]]}", r"faults\.0: server cannot be on two sides"),
        (
            "{at: 1 s, fault: hold, from: nobody, delay: 1 s}",
            r'faults\.0\.from: there is no host or tenant "nobody" \(known: sites, cloud, server',
        ),
    ],
)
def test_mistakes_are_told_with_their_line(line, message):
    with pytest.raises(ScenarioError, match=message) as caught:
        parse(f"{BASE}  - {line}", "x.yaml")
    assert re.match(r"x\.yaml:11:\d+: ", str(caught.value)), caught.value


def test_real_sockets_have_no_faults():
    scenario = parse(BASE + ALL, "x.yaml")
    material = run.prepare(scenario)
    with pytest.raises(ScenarioError, match="faults need a simulated network"):
        run.run_method(scenario, scenario.method, material, real=True, listener=run.Silence())


def test_real_runs_refuse_faults_before_they_prepare_anything(monkeypatch):
    monkeypatch.setattr(run, "load_dataset", lambda *_, **__: pytest.fail("data was loaded"))
    scenario = parse(BASE + ALL, "x.yaml")
    with pytest.raises(ScenarioError, match="faults need a simulated network"):
        run.run_scenario(scenario, None, real=True)
    with pytest.raises(ScenarioError, match="faults need a simulated network"):
        serve_scenario(scenario, None, address="127.0.0.1", port=0, on_listening=pytest.fail)


def test_the_scenario_of_the_lesson_names_what_it_promises():
    text = (Path(__file__).parents[2] / "scenarios" / "faults.yaml").read_text()
    kinds = {fault.fault for fault in parse(text, "faults.yaml").faults}
    assert kinds == {"crash", "partition", "slow"}
