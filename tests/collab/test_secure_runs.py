"""Whole runs with secure aggregation: in both worlds, with crashes and reboots, and without those who are gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.errors import RunFailedError
from collab.privacy.sum_rounds import SumRounds
from collab.store import find_run
from collab.wire import encode
from tests.collab.test_run import TEXT, go

SECURE = TEXT.replace("baselines: [localdm, {name: central, steps: 4}]\n", "").replace(
    "{to: cloud, allow: [embeddings, synthetic], at_most: 1 MB}",
    "{to: cloud, allow: [embeddings, keys, shares, masked, unmasking], answers: [keys, shares, seeds], at_most: 1 MB}",
)
ON = ("method.initial=noise", "method.aggregation=secure", "evaluation.epochs=1")


def digest(summary):
    return summary["methods"]["collabdm"]["result_digest"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return go(tmp_path_factory.mktemp("plain"), ON[0], ON[2], text=SECURE)


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    return go(tmp_path_factory.mktemp("secure"), *ON, text=SECURE)


def test_the_result_is_the_plain_one_for_more_bytes(plain, secure):
    assert digest(secure) == digest(plain)
    ours, theirs = (summary["methods"]["collabdm"]["bytes_up_per_client"] for summary in (secure, plain))
    assert 4 < ours / theirs < 14  # 8 B a number in place of 2, all classes, and four envelopes of a small upload


@pytest.mark.parametrize("changes", [{"real": True}, {"carriage": "sized"}])
def test_it_is_the_same_over_sockets_and_with_messages_handed_over(tmp_path, plain, changes):
    carriage = [f"network.carriage={changes.pop('carriage')}"] if "carriage" in changes else []
    assert digest(go(tmp_path, *ON, *carriage, text=SECURE, **changes)) == digest(plain)


@pytest.mark.parametrize("host", ["client-2", "server"])
@pytest.mark.parametrize("at_s", [0.05, 0.12, 0.2, 0.34, 0.41])
def test_a_reboot_at_any_moment_changes_nothing(tmp_path, plain, host, at_s):
    """The keys of a site that comes back are those that it had: all follows from its secret."""
    fault = f"faults=[{{at: {at_s} s, for: 2 s, fault: crash, host: {host}}}]"
    assert digest(go(tmp_path, *ON, fault, text=SECURE)) == digest(plain)


@pytest.mark.parametrize(("at_s", "number"), [(0.0, 1), (0.1, 2), (0.2, 3), (0.4, 4)])
def test_a_site_that_is_gone_for_long_is_left_out(tmp_path, plain, without_client_1, at_s, number):
    """Its masks are taken away with the help of the others; one that was summed before it went is in the sum."""
    summary = go(tmp_path, *ON, gone(at_s, 1), PATIENT, text=SECURE)
    trace = find_run(summary["run_dir"]).methods[0].trace
    (closed,) = [event for event in trace if event.kind == "closed"]
    assert (closed.values["round"], closed.values["missing"]) == (number, "client-1")
    assert summary["methods"]["collabdm"]["missing"] == {"client-1": ["deadline"]}
    assert digest(summary) == digest(plain if number == 4 else without_client_1)


@pytest.fixture(scope="module")
def without_client_1(tmp_path_factory):
    changes = (ON[0], ON[2], gone(0, 1), PATIENT)
    return go(tmp_path_factory.mktemp("without"), *changes, text=SECURE)


PATIENT = "wait_for={deadline: 60 s, at_least: 3}"


def gone(at_s, *sites):
    faults = ", ".join(f"{{at: {at_s} s, for: 1 h, fault: crash, host: client-{site}}}" for site in sites)
    return f"faults=[{faults}]"


def test_with_too_few_left_the_run_says_so(tmp_path):
    with pytest.raises(RunFailedError, match=r": 2 of 4 sites helped to unmask, fewer than the threshold of 3"):
        go(tmp_path, *ON, gone(0.4, 1, 2), "wait_for={deadline: 60 s}", text=SECURE)


def test_nothing_but_keys_shares_and_masked_sums_crosses(secure):
    """The ledger has every body that crossed, by its kind as it was inspected."""
    ledger = find_run(secure["run_dir"]).methods[0].ledger
    up = {entry.kind for entry in ledger if entry.target == "server" and not entry.answer}
    assert up == {"control", "keys", "shares", "masked", "unmasking"}
    assert {entry.kind for entry in ledger if entry.answer} == {"control", "keys", "keys+seeds", "keys+shares"}


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_server_that_asks_again_with_another_account_of_who_is_left_gets_no_answer(tmp_path, monkeypatch, number):
    """The sites remember what they have answered, and give the whole up rather than tell more."""
    honest = SumRounds.exchanges
    names = {2: "shares of its secrets", 3: "masked sums", 4: "shares to unmask"}

    def curious(rounds):
        for exchange_number, exchange in enumerate(honest(rounds), start=1):
            yield exchange
            if exchange_number == number:
                yield replace(exchange, questions={site: told_otherwise(q) for site, q in exchange.questions.items()})

    def told_otherwise(question):
        keys = question.sections["keys"]
        name = "reached" if "reached" in keys else "masking"
        lie = np.array(keys[name].values())
        lie[-1] = 1
        return question._replace(sections={**question.sections, "keys": {**keys, name: encode(lie)}})

    monkeypatch.setattr(SumRounds, "exchanges", curious)
    with pytest.raises(RunFailedError, match=f"asks for {names[number]} in the run [0-9a-f]{{16}} a second time"):
        go(tmp_path, *ON, text=SECURE)
