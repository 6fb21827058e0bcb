"""From a trace to what the browser plays."""

from __future__ import annotations

import pytest

from analysis.playback import Message, messages, network_of, recording_of
from simnet.ledger import LedgerEntry
from simnet.trace import Event

NODES = [("client-0", "a"), ("server", "cloud"), ("hub", None)]
TOPOLOGY = {
    "server": "server",
    "one_in": 1,
    "nodes": [{"name": name, "tenant": tenant, "place": [0, 0], "facing": 0.0} for name, tenant in NODES],
    "links": [
        {"name": f"{a} > {b}", "from": a, "to": b, "capacity_bps": 1e6, "latency_s": 0, "schedule": schedule}
        for a, b, schedule in [
            ("client-0", "hub", None), ("hub", "client-0", None), ("hub", "server", 0), ("server", "hub", None)
        ]
    ],
    "schedules": [{"period_s": 2.0, "steps": [[0.0, 1e6], [1.0, 5e5]]}],
    "routes": {"client-0": [0, 2]},
}  # fmt: skip


def event(at_us, host, kind, **values):
    return Event(at_us, host, kind, values)


def asks(at_us, host="client-0", kind="request", path="/up", size=100, **values):
    return event(at_us, host, kind, peer="server", method="PUT", path=path, bytes=size, **values)


def gets(at_us, kind="arrival", path="/up", size=100, **values):
    return event(at_us, "server", kind, peer="client-0", method="PUT", path=path, bytes=size, **values)


def refusal(at_us, point):
    return LedgerEntry(
        at_us / 1e6, point, "client-0", "server", "a", "cloud", "synthetic", 100, "0" * 64, "refused", None, "too large"
    )


def test_a_message_there_and_its_answer():
    trace = [
        asks(10, carries="synthetic"),
        gets(30, carries="synthetic"),
        gets(40, kind="answer", size=5, carries="control"),
        asks(60, kind="reply", size=5),
    ]
    assert messages(trace, [], 99) == [
        Message("client-0", True, 10, 10, 30, 100, "synthetic", "arrived"),
        Message("client-0", False, 40, 40, 60, 5, "control", "arrived"),
    ]


def test_it_waits_until_the_last_connection_before_it_arrived():
    trace = [
        event(5, "client-0", "connect", peer="server", port=1),
        asks(10),
        event(70, "client-0", "connect", peer="server", port=1),
        gets(90),
    ]
    (message,) = messages(trace, [], 99)
    assert (message.asked_us, message.sent_us, message.ended_us) == (10, 70, 90)


@pytest.mark.parametrize(
    ("after", "ended_us"),
    [
        ([], 99),
        ([event(50, "client-0", "power", what="crash")], 50),
        ([event(50, "server", "power", what="crash")], 99),  # it may still get there by a new connection
    ],
)
def test_what_never_arrives_is_lost_when_its_host_is_or_at_the_end(after, ended_us):
    (message,) = messages([asks(10), *after], [], 99)
    assert (message.fate, message.ended_us) == ("lost", ended_us)


def test_who_asks_again_has_lost_the_first():
    lost, arrived = messages([asks(10), asks(40), gets(60)], [], 99)
    assert (lost.fate, lost.ended_us) == ("lost", 40)
    assert (arrived.fate, arrived.asked_us) == ("arrived", 40)


def test_what_is_refused_on_arrival_gets_as_far_as_that():
    (message,) = messages([asks(10)], [refusal(50, "arriving")], 99)
    assert (message.fate, message.ended_us) == ("refused", 50)
    (message,) = messages([asks(10)], [refusal(50, "leaving")], 99)
    assert (message.fate, message.ended_us) == ("lost", 99)


def test_the_network_by_positions():
    found = network_of(TOPOLOGY)
    assert found["server"] == 1
    assert found["tenants"] == ["a", "cloud"]
    assert [node["tenant"] for node in found["nodes"]] == [0, 1, -1]
    assert found["links"][2] == {"from": 2, "to": 1, "bps": 1e6}
    assert found["routes"] == {"0": [0, 2]}


def test_the_recording_of_a_method():
    trace = [
        event(0, "client-0", "fault", fault="slow_host", phase="begins"),
        event(100, "client-0", "compute", start_us=20, job="distil"),
        asks(100, carries="synthetic"),
        event(300, "client-0", "fault", fault="slow_host", phase="ends"),
        gets(500, carries="synthetic"),
        event(500, "server", "upload", site="client-0"),
        asks(5000, path="/later"),
    ]
    found = recording_of(trace, [refusal(90, "leaving")], TOPOLOGY, 1000)
    assert found["endUs"] == 1030
    assert found["kinds"] == ["synthetic"]
    assert found["messages"] == [[0, 1, 100, 0, 400, 100, 0, 0]]
    assert found["computations"] == [[0, 20, 100, "distil"]]
    assert found["uploads"] == [500]
    assert found["refusals"] == [[90, 0, 1, 0, "synthetic", "too large"]]
    assert found["faults"] == [[0, 300, "slow host: client-0", "slow_host", [0]]]
    assert found["cutUs"] is None


def test_the_use_of_a_link_is_of_what_it_can_carry_at_the_moment():
    trace = [
        event(500_000, "hub > server", "link", wire_bps=5e5),
        event(2_500_000, "hub > server", "link", wire_bps=0.0),
        event(100, "elsewhere > hub", "link", wire_bps=1.0),
    ]
    found = recording_of(trace, [], TOPOLOGY, 3_000_000)["use"]
    assert found == {"2": [[0, 0], [500_000, 50], [1_000_000, 100], [2_000_000, 50], [2_500_000, 0]]}


def test_many_steps_become_means():
    trace = [event(10 * index, "hub > client-0", "link", wire_bps=1e6 * (index % 2)) for index in range(2000)]
    (steps,) = recording_of(trace, [], TOPOLOGY, 20_000)["use"].values()
    assert len(steps) == 240
    assert {per_cent for _, per_cent in steps[2:200]} <= set(range(40, 61))


def test_of_too_many_messages_those_with_content_stay():
    trace = [
        step
        for index in range(4)
        for step in (
            asks(10 * index, path=f"/{index}", **({"carries": "synthetic"} if index else {})),
            gets(10 * index + 5, path=f"/{index}"),
        )
    ]
    found = recording_of(trace, [], TOPOLOGY, 100, most_messages=2)
    assert [message[2] for message in found["messages"]] == [10, 20]
    assert found["cutUs"] == 30
