"""A site does what its own scenario says, and no task that says something else: by unit, over a network, and joined."""

from __future__ import annotations

import threading

import pytest

from collab.agents import server
from collab.agents.client import take_part
from collab.agents.terms import Terms
from collab.errors import RunFailedError, ScenarioError
from collab.methods import Task, collabdm
from collab.privacy.gaussian_mechanism import PrivacySettings
from collab.scenario import parse
from collab.standalone import join_run, serve_scenario
from collab.store import open_run
from tests.collab.agents.test_protocol import SETTINGS, Bench
from tests.collab.test_secure_runs import ON, SECURE

NOISE = collabdm.Settings(initial="noise", images_per_class=2, batch_size="all")
SUMS = NOISE.model_copy(update={"aggregation": "secure"})
PRIVATE = NOISE.model_copy(update={"privacy": PrivacySettings(epsilon=2.0, delta=1e-5, clip_norm=4.0)})
LAVISH = PRIVATE.model_copy(update={"privacy": PrivacySettings(epsilon=200.0, delta=1e-5, clip_norm=4.0)})


def terms(settings, method="collabdm", seed=1, share=2):
    return Terms(method, settings, seed, share)


def task(settings, method="collabdm", seed=1, share=2):
    return Task("collabdm-1-ab", method, settings, seed, share, {})


@pytest.mark.parametrize("settings", [NOISE, SUMS, PRIVATE])
def test_what_was_agreed_is_done(settings):
    terms(settings).check(task(type(settings)(**settings.model_dump(mode="json"))))


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (SUMS, task(NOISE), "method.aggregation is plain in the task and secure in the scenario. Nothing"),
        (PRIVATE, task(NOISE), "method.privacy is null in the task and {'epsilon': 2.0,"),
        (PRIVATE, task(LAVISH), "method.privacy.epsilon is 200.0 in the task and 2.0 in the scenario"),
        (SUMS, task(SUMS.model_copy(update={"threshold": 2})), "method.threshold is 2 in the task and null in"),
        (NOISE, task(NOISE, method="localdm"), "method.name is localdm in the task and collabdm in the scenario"),
        (NOISE, task(NOISE, seed=2), "seed is 2 in the task and 1 in the scenario"),
        (NOISE, task(NOISE, share=20), "the images per class is 20 in the task and 2 in the scenario"),
        (
            NOISE,
            task(NOISE.model_copy(update={"width": 1, "depth": 1, "augment": False, "expand": 2, "iterations": 2})),
            "method.iterations is 2 in the task and 200 in the scenario and 1 more. Nothing",
        ),
    ],
)
def test_what_contradicts_is_refused_by_name(ours, theirs, found):
    with pytest.raises(ScenarioError) as refused:
        terms(ours).check(theirs)
    assert found in str(refused.value)


def test_nothing_is_computed_or_sent_for_a_task_that_contradicts():
    bench = Bench()
    wary = terms(SETTINGS.model_copy(update={"augment": False}), "localdm", share=1)

    async def play(bench):
        host = bench.network.host("client-0")
        with pytest.raises(ScenarioError, match=r"method.augment is True in the task and False in the scenario"):
            await take_part(host, "server", bench.sites["client-0"], terms=wary)
        bench.agent.lose("client-0", "client-0 has left")

    with pytest.raises(BaseExceptionGroup) as ended:
        bench.run(play)
    assert ended.group_contains(RunFailedError, match="client-0 has left")
    done = [(event.kind, event.values.get("method")) for event in bench.network.trace if event.host == "client-0"]
    assert [kind for kind, _ in done if kind == "compute"] == []
    assert [method for kind, method in done if kind == "request"] == ["GET"]


def test_a_site_that_joins_holds_the_server_to_its_own_scenario(tmp_path, monkeypatch):
    """The curious server asks for what the site would send in the clear; both otherwise run what they always run."""
    monkeypatch.setattr(server, "FAREWELL_S", 0.01)
    one_site = SECURE.replace("clients: 4", "clients: 1")
    curious = parse(one_site, "curious.yaml", [ON[0], ON[2]])
    believed = parse(SECURE, "believed.yaml", ON)
    listening, urls, failures = threading.Event(), [], []

    def told(url):
        urls.append(url)
        listening.set()

    def serve():
        with pytest.raises(RunFailedError) as failed, open_run(tmp_path, "curious", None) as writer:
            serve_scenario(curious, writer, address="127.0.0.1", port=0, on_listening=told)
        failures.append(str(failed.value))

    serving = threading.Thread(target=serve)
    serving.start()
    assert listening.wait(30)
    with pytest.raises(ScenarioError, match=r"method.aggregation is plain in the task and secure in the scenario"):
        join_run(urls[0], site="client-0", scenario=believed)
    serving.join(30)
    assert not serving.is_alive()
    assert "client-0 has given up: the task of the server contradicts the scenario of this site" in failures[0]
