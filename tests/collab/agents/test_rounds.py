"""A server that does not wait for all: by quorum and by deadline, at exact virtual times, also after a crash."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from collab.agents.rounds import GRACE_S
from collab.document import PlacedError
from collab.errors import RunFailedError
from collab.waiting_settings import WaitingSettings
from simnet.fault_kinds import LinkDown
from simnet.faults import Planned
from tests.collab.agents.test_crashes import SITES, Run, crash


def ended(run):
    """The sites whose uploads were used, and what the trace says of those that were not."""
    used = sorted(site for _, site in run.ensemble.folded)
    closed = [(event.values["reason"], event.values["missing"]) for event in run.network.trace.of_kind("closed")]
    return used, closed


def late_sites(run):
    return [event.host for event in run.network.trace.of_kind("late")]


def test_without_it_all_are_waited_for():
    run = Run(crash("client-2", 1.0, 30.0))
    assert ended(run) == (list(SITES), [])


def test_at_the_quorum_the_round_is_closed_and_who_comes_later_is_told():
    run = Run(crash("client-2", 1.0, 10.0), waiting=WaitingSettings(quorum=2))
    assert ended(run) == (["client-0", "client-1"], [("quorum", "client-2")])
    uploads = [event.at_s for event in run.network.trace.of_kind("upload")]
    assert run.network.trace.of_kind("closed")[0].at_s == uploads[-1]
    assert run.network.trace.of_kind("result")[0].at_s < 10
    assert late_sites(run) == []  # it restarts at 11 s, and is told at once that all is over


def test_an_upload_on_its_way_when_the_round_closes_is_late_and_no_failure():
    run = Run(Planned(0.0, LinkDown("client-1"), 1.0), waiting=WaitingSettings(quorum=2))
    assert ended(run) == (["client-0", "client-2"], [("quorum", "client-1")])
    assert late_sites(run) == ["client-1"]
    assert run.network.host("client-1").disk.keys() == []  # what is of no use is not kept


def test_at_the_deadline_it_goes_on_with_what_has_come():
    run = Run(crash("client-0", 1.0, 60.0), waiting=WaitingSettings(deadline="20 s"))
    assert ended(run) == (["client-1", "client-2"], [("deadline", "client-0")])
    assert run.network.trace.of_kind("closed")[0].at_s == pytest.approx(20.0, abs=1e-6)


@pytest.mark.parametrize(("for_s", "closed_s"), [(3.0, 100.0), (150.0, 151.0 + GRACE_S)])
def test_a_deadline_counts_on_while_the_server_is_down(for_s, closed_s):
    """From when the tasks were ready first; of one that has passed meanwhile, a minute is left to come back."""
    run = Run(crash("client-0", 0.5, 400.0), crash("server", 1.0, for_s), waiting=WaitingSettings(deadline="100 s"))
    (closed,) = run.network.trace.of_kind("closed")
    assert (closed.values["reason"], closed.at_s) == ("deadline", pytest.approx(closed_s, abs=0.1))


def test_nobody_missing_closes_nothing():
    run = Run(waiting=WaitingSettings(deadline="20 s", quorum=3, at_least=3)).is_right()
    assert run.network.trace.of_kind("closed") == []
    assert run.network.now() < 20


def test_too_few_at_the_deadline_fail_the_run_with_their_names():
    plan = [crash(site, 1.0, 60.0) for site in ("client-0", "client-2")]
    with pytest.raises(
        RunFailedError,
        match=r"1 of 3 uploads for localdm-1-\w+ were in when it was closed \(deadline\), at least 2 are needed; "
        r"missing: client-0, client-2",
    ):
        Run(*plan, waiting=WaitingSettings(deadline="20 s", at_least=2))


def test_a_site_that_is_lost_is_not_waited_for():
    run = Run(crash("client-1", 1.0, None), waiting=WaitingSettings(deadline="1000 s"))
    assert ended(run) == (["client-0", "client-2"], [("the others are lost", "client-1")])
    assert run.network.trace.of_kind("closed")[0].at_s < 10


def test_a_site_that_cannot_be_reached_is_lost_too():
    run = Run(Planned(1.0, LinkDown("client-1"), None), waiting=WaitingSettings(deadline="100000 s"))
    assert ended(run) == (["client-0", "client-2"], [("the others are lost", "client-1")])


def test_if_enough_can_never_come_the_run_fails_at_once():
    with pytest.raises(RunFailedError, match=r"client-1 has crashed for good.*2 can still come in all, at least 3"):
        Run(crash("client-1", 1.0, None), waiting=WaitingSettings(deadline="1000 s", at_least=3))


@pytest.mark.parametrize("at_s", [4.65, 5.0, 12.0])
def test_a_round_that_was_closed_stays_so_over_a_crash(at_s):
    """The server crashes after it has closed the round; the late site, which comes before it is up, changes nothing."""
    run = Run(
        crash("server", at_s, 40.0), crash("client-2", 1.0, 10.0), waiting=WaitingSettings(quorum=2)
    )  # fmt: skip
    assert ended(run)[0] == ["client-0", "client-1"]


@pytest.mark.parametrize("at_s", [0.0, 0.05, 1.0, 2.5, 3.5, 4.0, 4.2, 4.4, 4.6, 5.0])
@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_no_upload_that_was_accepted_is_left_out(at_s, carriage):
    run = Run(crash("server", at_s, 3.0), waiting=WaitingSettings(quorum=2), carriage=carriage)
    accepted = {event.values["site"] for event in run.network.trace.of_kind("upload")}
    assert accepted == {site for _, site in run.ensemble.folded}
    assert len(accepted) == 2


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "neither a quorum nor a deadline is given"),
        ({"at_least": 2}, "neither a quorum nor a deadline is given"),
        ({"quorum": 2, "at_least": 3}, "found 3, but a round ends with 2 uploads, its quorum"),
    ],
)
def test_what_says_nothing_or_contradicts_itself_is_refused(said, told):
    with pytest.raises(ValidationError, match=told) as caught:
        WaitingSettings(**said)
    assert isinstance(caught.value.errors()[0]["ctx"]["error"], PlacedError)
