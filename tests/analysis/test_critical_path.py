"""What decided when the result was there."""

from __future__ import annotations

import pytest

from analysis.critical_path import Step, critical_path, shares
from analysis.playback import Message
from simnet.trace import Event


def computed(host, start_us, end_us, job="distil"):
    return Event(end_us, host, "compute", {"start_us": start_us, "job": job, "operations": 1})


def up(host, asked_us, ended_us, kind="synthetic", sent_us=None):
    return Message(host, True, asked_us, asked_us if sent_us is None else sent_us, ended_us, 10, kind, "arrived")


def down(host, asked_us, ended_us, kind="seeds"):
    return Message(host, False, asked_us, asked_us, ended_us, 10, kind, "arrived")


def steps(path):
    return [(step.kind, step.host, round(step.start_s * 1e6), round(step.end_s * 1e6), step.to) for step in path]


def test_it_runs_over_the_site_that_was_last_and_the_server():
    trace = [computed("a", 200, 900), computed("b", 200, 400), computed("server", 1000, 1200, "refine")]
    sent = [
        up("a", 0, 100, "control"), up("b", 0, 100, "control"), down("a", 100, 200), down("b", 100, 200),
        up("b", 400, 500), up("a", 900, 1000),
    ]  # fmt: skip
    path = critical_path(trace, sent, "server", 1200)
    assert steps(path) == [
        ("sending", "a", 0, 100, "server"),  # not b's, which arrived at the same moment: a's task answers a's question
        ("sending", "server", 100, 200, "a"),
        ("computing", "a", 200, 900, None),
        ("sending", "a", 900, 1000, "server"),
        ("computing", "server", 1000, 1200, None),
    ]
    assert path[-1].what == "refine"
    assert path[-2].what == "synthetic, 10 B"
    assert shares(path) == pytest.approx({"computing": 900e-6, "sending": 300e-6, "waiting": 0.0})


def test_what_lies_between_is_waiting():
    path = critical_path([computed("a", 0, 100)], [up("a", 300, 500, sent_us=450)], "server", 600)
    assert steps(path) == [
        ("computing", "a", 0, 100, None),
        ("waiting", "a", 100, 300, None),
        ("waiting", "a", 300, 450, None),
        ("sending", "a", 450, 500, "server"),
        ("waiting", "server", 500, 600, None),
    ]
    assert [step.what for step in path] == ["distil", "", "for a connection", "synthetic, 10 B", ""]


def test_computations_of_no_length_lead_nowhere_twice():
    trace = [computed("a", 100, 100), computed("a", 100, 100)]
    assert steps(critical_path(trace, [down("a", 50, 100), up("a", 100, 200)], "server", 200)) == [
        ("waiting", "server", 0, 50, None),
        ("sending", "server", 50, 100, "a"),
        ("sending", "a", 100, 200, "server"),
    ]


def test_a_run_of_which_nothing_is_known_waited():
    assert critical_path([], [], "server", 5) == [Step("waiting", "server", 0.0, 5e-6, "")]


def test_what_was_lost_decided_nothing():
    lost = Message("a", True, 0, 0, 90, 10, "synthetic", "lost")
    assert steps(critical_path([], [lost], "server", 90)) == [("waiting", "server", 0, 90, None)]
