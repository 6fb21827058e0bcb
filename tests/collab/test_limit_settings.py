"""A scenario's limits hold in both worlds: what they refuse comes again, and the result is the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collab import scenario
from collab.deploy.configuration import LABORATORY_INGRESS
from collab.deploy.limit_settings import LABORATORY_LIMITS, LimitSettings
from collab.errors import RunFailedError
from collab.limit_settings import RequestLimits
from collab.run import make_network
from collab.store import find_run
from simnet.guards import Limits
from simnet.ingress import Ingress
from tests.collab.test_run import TEXT, digests, go

ONE = TEXT.replace("baselines: [localdm, {name: central, steps: 4}]\n", "")
STRICT = "limits={requests_per_s: 1, request_burst: 1}"


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory):
    return go(tmp_path_factory.mktemp("runs"), text=ONE)


def refusals(summary):
    [method] = find_run(summary["run_dir"]).methods
    return [event for event in method.trace if event.values.get("status") == 429]


def test_a_site_that_is_too_fast_comes_again_when_it_is_told_to(unlimited, tmp_path):
    """A task and an upload are two requests: the second is refused, and comes again a second later."""
    strict = go(tmp_path, STRICT, text=ONE)
    assert digests(strict) == digests(unlimited)
    assert {event.host for event in refusals(strict)} == {f"client-{index}" for index in range(4)}
    assert refusals(unlimited) == []
    [mine], [theirs] = strict["methods"].values(), unlimited["methods"].values()
    assert 1.0 < mine["result_s"] - theirs["result_s"] < 2.0


def test_over_sockets_too(unlimited, tmp_path):
    strict = go(tmp_path, STRICT, text=ONE, real=True)
    assert digests(strict) == digests(unlimited)
    assert refusals(strict)


def test_with_too_few_requests_a_run_fails_and_says_why(tmp_path):
    with pytest.raises(RunFailedError, match="has made 1 requests, as many as one may in a run"):
        go(tmp_path, "limits.requests_in_all=1", text=ONE)


def test_those_of_a_deployment_are_its_own():
    """Where sites prove who they are, what is written in the configuration of the server holds."""
    chosen = scenario.parse(TEXT, "tiny.yaml", [STRICT])

    class Believing:
        challenge = ""

        def unable(self):
            return ""

        def identify(self, credentials):
            return None

    deployed = Ingress(authenticator=Believing(), limits=Limits(requests_per_s=7))
    laboratory = replace(deployed, authenticator=None)
    found = [make_network(chosen, {}, real=True, ingress=ingress)._ingress for ingress in (deployed, laboratory)]
    assert [ingress.limits.requests_per_s for ingress in found] == [7, 1]


def test_what_is_not_given_is_as_usual():
    assert RequestLimits().limits() == Limits()
    assert RequestLimits(head_time="20 s").limits(LABORATORY_LIMITS) == replace(LABORATORY_LIMITS, head_s=20.0)
    found = LimitSettings(rate_window="1 min", least_rate="4 kbit/s", free_disk="1 GB").limits()
    assert found == replace(Limits(), window_s=60.0, least_bps=4000.0)


def test_in_the_laboratory_a_scenario_changes_only_what_it_names():
    chosen = scenario.parse(TEXT, "tiny.yaml", ["limits={head_time: 20 s}"])
    network = make_network(chosen, {}, real=True, ingress=LABORATORY_INGRESS)
    assert network._ingress.limits == replace(network._ingress.limits, head_s=20.0, requests_per_s=500)
    assert network._ingress.limits.requests_at_once == LABORATORY_LIMITS.requests_at_once
