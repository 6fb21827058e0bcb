from __future__ import annotations

import re
from dataclasses import replace

import pytest

from simnet.auditing import audit
from simnet.ledger import LedgerEntry
from simnet.limits import Rate
from simnet.tenancy import REFUSALS, STREAMS, TO_ALL, Boundaries, Crossing, Message, Rule

TENANTS = {"a": "hospital", "b": "hospital", "s": "cloud"}
RULE = Rule("cloud", frozenset({"synthetic"}), at_most_bytes=100, at_most_count=3, at_most_rate=Rate(100, 1.0))
BUDGETS = {"hospital": 150, "cloud": 40}


def kept():
    """A ledger with everything in it that boundaries write down."""
    guard = Boundaries(TENANTS, [RULE], budgets=BUDGETS)
    for number, source in enumerate("aab"):
        message = Message(bytes([number]) * 45, frozenset({"synthetic"}))
        try:
            guard.check(Crossing(source, "s", message), "leaving", 0.1 * number)
            guard.check(Crossing(source, "s", message), "arriving", 0.1 * number + 0.05)
        except PermissionError:
            assert number == 2
    guard.check(Crossing("s", "a", Message(b"12", frozenset({"seeds"})), answer=True), "leaving", 0.5)
    guard.pass_refusal(Crossing("s", "b", Message(b"too fast"), answer=True), "leaving", 0.6)
    guard.check_answer_to_anyone("s", Message(b"hello"), 0.7)
    guard.note_connection("b", "s", 0.8, sent_bytes=0, refusal="nobody inspects")
    return list(guard.ledger)


def hear(entries, rules=(RULE,), budgets=BUDGETS):
    return audit(entries, TENANTS, rules, budgets)


def doubts(entries, **bounds):
    return [(doubt.line, doubt.reason) for doubt in hear(entries, **bounds).doubts]


def test_a_true_ledger_raises_no_doubt_and_is_summed_up():
    found = hear(kept())
    assert found.doubts == []
    rows = {(row.source_tenant, row.target_tenant, row.kind): row for row in found.traffic}
    uploads = rows["hospital", "cloud", "synthetic"]
    assert (uploads.messages, uploads.size_bytes, uploads.refused, uploads.rules) == (2, 90, 1, [RULE.name])
    assert rows["cloud", "hospital", "control"].rules == [REFUSALS]
    assert rows["cloud", "*", "control"].rules == [TO_ALL]
    assert rows["hospital", "cloud", "stream"].refused == 1
    assert dict(found.sent_bytes) == {"hospital": 90, "cloud": 15}
    assert list(found.refusals.values()) == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "raw"}, r"raw may not cross from hospital to cloud"),
        ({"size_bytes": 101}, r"has 101 B, more than the rule"),
        ({"source_tenant": "clinic"}, "a is no host of clinic"),
        ({"target": "b"}, "b is no host of cloud"),
        ({"rule": None}, "it crossed, but names no rule"),
        ({"rule": REFUSALS}, "synthetic is not what refusals may be told means"),
        ({"rule": TO_ALL}, "synthetic is not what control is open to all means"),
        ({"rule": STREAMS}, "no rule allows a stream between hospital and cloud"),
        ({"answer": True}, "no boundary rule lets cloud reach hospital"),
    ],
)
def test_an_entry_that_the_rules_do_not_explain_is_named(change, message):
    entries = kept()
    ((line, reason), *_) = doubts([replace(entries[0], **change), *entries[1:]])
    assert line == 1
    assert re.search(message, reason), reason


def test_a_message_that_changed_its_rule_on_the_way_is_doubtful():
    entries = kept()
    entries[1] = replace(entries[1], rule="another")
    assert doubts(entries) == [(2, f"it left by {RULE.name}, but arrived by another")]


@pytest.mark.parametrize(
    ("bounds", "line", "message"),
    [
        ({"rules": [replace(RULE, at_most_count=1)]}, 3, "has sent 1 message, as many as the rule"),
        ({"rules": [replace(RULE, at_most_rate=Rate(50, 1.0))]}, 3, "try again in 0.7 s"),
        ({"budgets": {"hospital": 89}}, 3, "of 89 B a run 45 B are used"),
        ({"budgets": {"cloud": 14}}, 8, "of 14 B a run 10 B are used"),
        ({"rules": []}, 1, "no boundary rule lets hospital reach cloud"),
    ],
)
def test_tighter_boundaries_than_the_run_had_raise_doubts(bounds, line, message):
    entries = kept()
    if "rules" in bounds:  # the names differ; look at what else does
        entries = [replace(e, rule=bounds["rules"][0].name) if e.rule == RULE.name and bounds["rules"] else e
                   for e in entries]  # fmt: skip
    found = doubts(entries, **bounds)
    assert found[0][0] == line
    assert message in found[0][1]


def test_streams_are_explained_by_a_rule_in_either_direction():
    entry = LedgerEntry(
        0.0, "leaving", "s", "a", "cloud", "hospital", "stream", 5_000, "0" * 64, "crossed", STREAMS, None
    )
    assert doubts([entry], rules=[Rule("cloud", frozenset({"stream"}))], budgets={}) == []
    assert doubts([entry], budgets={}) == [(1, "no rule allows a stream between cloud and hospital")]
