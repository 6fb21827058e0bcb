"""What is counted: exactly, with few labels, and nothing of what sites send."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collab.agents.rounds import Round
from collab.deploy.health import Health
from collab.deploy.metrics import BUCKETS_S, Metrics
from collab.methods import Ask
from simnet.door import Door, Exchange
from tests.collab.deploy.test_health import Agent

SITES = ("client-0", "client-1", "client-2")


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def metrics(health):
    return Metrics(SITES, health)


def samples(metrics):
    """Name and labels of each sample -> its value."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def heard(metrics, status, *, operation="takeUpload", peer="client-0", code="", size=0, answer=0, seconds=0.2):
    metrics.heard(Exchange(operation, peer, "10.0.0.1", status, code, size, answer, seconds))


def test_requests_are_counted_by_operation_and_status_with_bytes_and_seconds(metrics):
    heard(metrics, 201, size=1000, answer=10)
    heard(metrics, 201, size=500, answer=10, seconds=40.0)
    heard(metrics, None, size=7, seconds=0.001)
    heard(metrics, 204, operation="giveTask", seconds=59.9)
    found = samples(metrics)
    assert found["collab_requests_total", "201", "takeUpload"] == 2
    assert found["collab_requests_total", "none", "takeUpload"] == 1
    assert found["collab_requests_total", "204", "giveTask"] == 1
    assert found["collab_request_bytes_total", "takeUpload"] == 1507
    assert found["collab_answer_bytes_total", "takeUpload"] == 20
    name = "collab_request_duration_seconds"
    assert (found[f"{name}_count", "takeUpload"], found[f"{name}_sum", "takeUpload"]) == (3, pytest.approx(40.201))
    at_most = {bound: found[f"{name}_bucket", *sorted([str(bound), "takeUpload"])] for bound in BUCKETS_S}
    assert (at_most[0.005], at_most[0.5], at_most[30.0], at_most[60.0]) == (1, 2, 2, 3)


def test_refusals_are_counted_by_their_code(metrics):
    for status, code in ((409, "already-accepted"), (422, "not-as-asked"), (422, "not-as-asked")):
        heard(metrics, status, code=code)
    found = samples(metrics)
    assert found["collab_refusals_total", "already-accepted", "takeUpload"] == 1
    assert found["collab_refusals_total", "not-as-asked", "takeUpload"] == 2


def test_sites_are_seen_once_and_nobody_else_is(metrics):
    for peer, status in (("client-0", 200), ("client-0", 200), ("client-2", 201), ("stranger", 200), (None, 401)):
        heard(metrics, status, peer=peer)
    heard(metrics, 403, peer="client-1")
    found = samples(metrics)
    assert (found["collab_sites", "expected"], found["collab_sites", "seen"]) == (3, 2)


def test_a_stranger_adds_no_series(metrics):
    heard(metrics, 404, operation="none", peer="a", code="not-found")
    before = set(samples(metrics))
    for number in range(100):
        heard(metrics, 404, operation="none", peer=f"stranger-{number}", code="not-found")
    assert set(samples(metrics)) == before
    assert "stranger" not in metrics.text().decode()


def test_the_run_is_looked_up_when_somebody_asks(metrics, health):
    agent = Agent()
    health.serves(agent)
    this = agent.rounds["task"] = Round("task", dict.fromkeys(SITES, Ask()))
    this.take_in("client-0", "digest")
    this.lose("client-2", "gone")
    found = samples(metrics)
    assert {key[1]: value for key, value in found.items() if key[0] == "collab_sites"} == {
        "expected": 3, "seen": 0, "asked": 3, "finished": 1, "missing": 2, "lost": 1
    }  # fmt: skip
    assert [key[1] for key, value in found.items() if key[0] == "collab_state" and value == 1] == ["collecting"]
    assert (found["collab_uploads_accepted_total",], found["collab_round",], found["collab_ready",]) == (1, 1, 1)


def test_who_is_at_the_door_and_what_is_free(health, tmp_path):
    metrics, door = Metrics(SITES, health, tmp_path), Door()
    metrics.watch(door)
    door.inside, door.connections, door.turned_away = 3, lambda: 5, lambda: {"slow-head": 2}
    assert samples(metrics)["collab_connections_refused_total", "slow-head"] == 2
    found = samples(metrics)
    assert (found["collab_requests_in_progress",], found["collab_open_connections",]) == (3, 5)
    assert found["collab_store_free_bytes",] > 0
    gone = Metrics(SITES, health, tmp_path / "gone")
    assert samples(gone)["collab_store_free_bytes",] != samples(gone)["collab_store_free_bytes",]  # NaN


def test_the_process_is_measured_and_the_version_told(metrics):
    found = samples(metrics)
    assert found["process_resident_memory_bytes",] > 1e6
    assert [key for key in found if key[0] == "collab_build_info"] == [("collab_build_info", "0.1.0")]
    assert not [key for key in found if key[0].endswith("_created")]
