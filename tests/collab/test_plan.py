from __future__ import annotations

from pathlib import Path

import pytest

from collab import scenario
from collab.errors import BoundaryMissingError, ScenarioError
from collab.plan import in_words

BASE = """
dataset: {name: gaussians, side: 8, classes: 2, samples_per_class: 20}
partition: {clients: 2, scheme: dirichlet, beta: 0.5}
method: {name: localdm, images_per_class: 2, width: 4, depth: 1, local_steps: 1}
network: {topology: star, access: {bandwidth: 1 Mbit/s, latency: 10 ms}, server: {bandwidth: 10 Mbit/s, latency: 1 ms}}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [embeddings, synthetic]}]
"""


def plan_of(tmp_path: Path, sweep: str, base: str = BASE, overrides=()):
    path = tmp_path / "case.yaml"
    path.write_text(f"{base}sweep: {sweep}\n")
    return scenario.load_plan(path, overrides)


def test_each_cell_is_the_scenario_with_its_values(tmp_path):
    plan = plan_of(tmp_path, "{partition.clients: [2, 3], network.access.bandwidth: [1 Mbit/s, 2 Mbit/s], repeats: 2}")
    assert len(plan.cells) == 8
    last = plan.cells[-1]
    assert last.point == {"partition.clients": 3, "network.access.bandwidth": "2 Mbit/s", "seed": 1}
    assert (last.scenario.partition.clients, last.scenario.seed, last.scenario.name) == (3, 1, "case")
    assert "2 Mbit/s" in last.scenario.dump()
    assert "sweep" not in last.scenario.dump()
    assert len({cell.identity for cell in plan.cells}) == 8


def test_an_identity_is_of_what_is_computed_not_of_the_way_there(tmp_path):
    """The same cell in another sweep, in another spelling, under another name, on another engine."""
    (first,) = (
        cell for cell in plan_of(tmp_path, "{partition.beta: [0.1, 0.5]}").cells if cell.point["partition.beta"] == 0.5
    )
    again = plan_of(tmp_path, "{seed: [0, 1], network.access.latency: [0.01 s]}", overrides=["name=other"]).cells[0]
    assert first.identity == again.identity
    assert first.identity != plan_of(tmp_path, "{seed: [1, 0]}").cells[0].identity
    assert len(first.identity) == 12


def test_a_run_of_a_scenario_with_a_sweep_is_its_base(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(BASE + "sweep: {partition.clients: [3, 4]}\n")
    assert scenario.load(path).partition.clients == 2


@pytest.mark.parametrize(
    ("sweep", "kind", "message"),
    [
        ("{partition.clientz: [1]}", ScenarioError, r":8:?\d*: sweep.partition.clientz: .*did you mean \"clients\""),
        ("{partition.clients: [2, two]}", ScenarioError, r'sweep.partition.clients.1: partition.clients = two: found'),
        ("{network.access.bandwidth.up: [1]}", ScenarioError, "bandwidth is no group of settings"),
        ("{boundaries: [[]]}", BoundaryMissingError, r"add .*\n\(in the cell of the sweep with boundaries \[\]\)"),
        ("{network.access.bandwidth: [1 Mbit/s, 1000 kbit/s]}", ScenarioError, "two cells are the same: bandwidth 1 M"),
        ("{partition.clients: 3}", ScenarioError, r":8:?\d*: sweep.partition.clients: found 3, expected a list"),
    ],
)  # fmt: skip
def test_every_cell_is_checked_before_any_is_run(tmp_path, sweep, kind, message):
    with pytest.raises(kind, match=message):
        plan_of(tmp_path, sweep)


def test_a_value_that_no_scenario_takes_says_which_methods_do(tmp_path):
    with pytest.raises(ScenarioError, match=r"give it as methods\.collabdm\.local_steps"):
        plan_of(tmp_path, "{method.name: [fedd3]}")


def test_without_a_sweep_there_is_no_plan(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(BASE)
    with pytest.raises(ScenarioError, match="nothing to sweep; expected a section such as sweep"):
        scenario.load_plan(path)
    assert len(scenario.load_plan(path, ["sweep={seed: [1, 2]}"]).cells) == 2


def test_aliases_are_varied_one_by_one(tmp_path):
    base = BASE.replace("access: {", "access: &link {").replace(
        "server: {bandwidth: 10 Mbit/s, latency: 1 ms}", "server: *link"
    )
    cell = plan_of(tmp_path, "{network.access.bandwidth: [5 Mbit/s, 6 Mbit/s]}", base).cells[0]
    assert cell.scenario.network.access.bandwidth == 5e6
    assert cell.scenario.network.server.bandwidth == 1e6


def test_a_point_in_words():
    assert in_words({"partition.clients": 5, "network.access.latency": "1 ms"}) == "clients 5, latency 1 ms"
    assert in_words({"a.latency": 1, "b.latency": 2}) == "a.latency 1, b.latency 2"
