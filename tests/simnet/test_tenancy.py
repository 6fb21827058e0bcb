from __future__ import annotations

import pytest

from simnet.errors import BoundaryError, InspectionError
from simnet.tenancy import Boundaries, Crossing, Message, Rule

TENANTS = {"a": "hospital", "b": "hospital", "s": "cloud"}
RULE = Rule("cloud", frozenset({"synthetic", "embeddings"}), at_most_bytes=100)


class Reading:
    """An inspector for bodies that begin with their kinds, e.g. b"synthetic,embeddings:..."."""

    def inspect(self, host, body, point):
        kinds, separator, _ = body.partition(b":")
        if not separator:
            raise InspectionError("unreadable")
        return frozenset(kinds.decode().split(","))


def crossing(body=b"synthetic:x", kinds=("synthetic",), source="a", target="s", answer=False):
    return Crossing(source, target, Message(body, frozenset(kinds)), answer)


def boundaries(*rules):
    return Boundaries(TENANTS, rules, Reading())


def test_within_a_tenant_everything_passes_unseen():
    guard = boundaries()
    guard.check(crossing(b"anything", ("raw",), target="b"), "leaving", 0.0)
    assert len(guard.ledger) == 0


def test_default_is_deny():
    guard = boundaries()
    with pytest.raises(BoundaryError, match="no boundary rule lets hospital reach cloud: nothing may cross"):
        guard.check(crossing(), "leaving", 1.5)
    (entry,) = guard.ledger
    assert (entry.verdict, entry.rule, entry.at_s, entry.point) == ("refused", None, 1.5, "leaving")


def test_what_a_rule_allows_crosses_and_is_written_down():
    guard = boundaries(RULE)
    guard.check(crossing(b"synthetic,embeddings:x", ("synthetic", "embeddings")), "leaving", 2.0)
    (entry,) = guard.ledger
    assert (entry.kind, entry.size_bytes, entry.verdict) == ("embeddings+synthetic", 22, "crossed")
    assert entry.rule == "* > cloud: embeddings, synthetic, at most 100 B"
    assert (entry.source_tenant, entry.target_tenant) == ("hospital", "cloud")
    assert len(entry.digest) == 64
    assert entry.as_dict()["reason"] is None


def test_control_passes_wherever_a_rule_joins():
    boundaries(RULE).check(crossing(b"", ("control",)), "leaving", 0.0)
    boundaries(RULE).check(crossing(b"control:go", ("control",)), "leaving", 0.0)


@pytest.mark.parametrize(
    ("body", "kinds", "error", "reason"),
    [
        (b"raw:x", ("raw",), BoundaryError, "raw may not cross from hospital to cloud"),
        (b"raw:x", ("synthetic",), InspectionError, "claims to carry synthetic but carries raw"),
        (b"synthetic,raw:x", ("synthetic",), InspectionError, "carries raw and synthetic"),
        (b"synthetic:" + b"x" * 100, ("synthetic",), BoundaryError, "has 110 B, more than the rule"),
        (b"garbage", ("synthetic",), InspectionError, "unreadable"),
        (b"", ("synthetic",), InspectionError, "claims to carry synthetic but carries control"),
    ],
)
@pytest.mark.parametrize("point", ["leaving", "arriving"])
def test_refusals_say_why_and_are_written_down(body, kinds, error, reason, point):
    guard = boundaries(RULE)
    with pytest.raises(error, match=reason):
        guard.check(crossing(body, kinds), point, 0.0)
    (entry,) = guard.ledger.refused()
    assert reason in entry.reason
    assert entry.point == point


def test_answers_need_leave_of_their_own():
    guard = boundaries(RULE)
    guard.check(crossing(b"seeds:1", ("seeds",), source="s", target="a", answer=True), "leaving", 0.0)
    with pytest.raises(BoundaryError, match="synthetic may not cross back from cloud to hospital"):
        guard.check(crossing(source="s", target="a", answer=True), "leaving", 0.0)
    with pytest.raises(BoundaryError, match="no boundary rule lets cloud reach hospital"):
        guard.check(crossing(b"seeds:1", ("seeds",), source="s", target="a"), "leaving", 0.0)


def test_one_of_several_rules_suffices():
    guard = boundaries(Rule("cloud", frozenset({"model"})), Rule("cloud", frozenset({"synthetic"}), source="hospital"))
    guard.check(crossing(), "leaving", 0.0)
    with pytest.raises(BoundaryError, match=r"embeddings may not cross.*; embeddings may not cross"):
        guard.check(crossing(b"embeddings:x", ("embeddings",)), "leaving", 0.0)


def test_a_rule_for_one_tenant_does_not_serve_another():
    guard = Boundaries({**TENANTS, "x": "stranger"}, [Rule("cloud", frozenset({"synthetic"}), source="hospital")])
    with pytest.raises(BoundaryError, match="no boundary rule lets stranger reach cloud"):
        guard.check(crossing(source="x"), "leaving", 0.0)


def test_unknown_hosts_belong_nowhere():
    guard = Boundaries(TENANTS, [Rule("cloud", frozenset({"synthetic"}), source="hospital")])
    with pytest.raises(BoundaryError, match="unknown host ghost"):
        guard.check(crossing(source="ghost"), "arriving", 0.0)


def test_connections():
    guard = boundaries(RULE)
    assert guard.may_connect("a", "b", inspected=False) is None
    assert guard.may_connect("a", "s", inspected=True) is None
    assert "nobody inspects" in guard.may_connect("a", "s", inspected=False)
    assert "no boundary rule" in guard.may_connect("s", "a", inspected=True)
