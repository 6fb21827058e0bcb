from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.auditing import audit
from simnet.errors import BoundaryError, InspectionError, RateError, TenancyError
from simnet.limits import Rate
from simnet.tenancy import REFUSALS, Boundaries, Crossing, Message, Rule

TENANTS = {"a": "hospital", "b": "hospital", "s": "cloud"}
RULE = Rule("cloud", frozenset({"synthetic", "embeddings"}), at_most_bytes=100)


class Reading:
    """An inspector for bodies that begin with their kinds, e.g. b"synthetic,embeddings:..."."""

    def inspect(self, host, message, point):
        kinds, separator, _ = bytes(message.body).partition(b":")
        if not separator:
            raise InspectionError("unreadable")
        return frozenset(kinds.decode().split(","))


def crossing(body=b"synthetic:x", kinds=("synthetic",), source="a", target="s", answer=False):
    return Crossing(source, target, Message(body, frozenset(kinds)), answer)


def boundaries(*rules, **budgets):
    return Boundaries(TENANTS, rules, Reading(), budgets=budgets)


def synthetic(*, size=20, **limits):
    """A message of `size` bytes with content, or the rule that lets such messages pass."""
    return Rule("cloud", frozenset({"synthetic"}), **limits) if limits else crossing(b"synthetic:".ljust(size, b"x"))


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


# -- counts, rates and budgets -------------------------------------------------------------------


def test_a_count_holds_for_each_asking_tenant_and_says_what_was_used():
    guard = Boundaries({**TENANTS, "c": "clinic"}, [synthetic(at_most_count=2)], Reading())
    for source in ("a", "b", "c"):
        guard.check(crossing(source=source), "leaving", 0.0)
    with pytest.raises(BoundaryError) as caught:
        guard.check(crossing(), "leaving", 9.0)
    assert str(caught.value) == (
        "hospital has sent 2 messages, as many as the rule * > cloud: synthetic, at most 2 messages lets pass in a "
        "run; none is left"
    )
    guard.check(crossing(source="c"), "leaving", 9.0)


def test_control_and_answers_use_up_no_count_and_no_rate():
    guard = boundaries(synthetic(at_most_count=1, at_most_rate=Rate(1, 60.0, "messages")))
    for _ in range(3):
        guard.check(crossing(b"control:go", ("control",)), "leaving", 0.0)
        guard.check(crossing(b"seeds:1", ("seeds",), source="s", target="a", answer=True), "leaving", 0.0)
    guard.check(crossing(), "leaving", 0.0)


def test_a_rate_says_when_to_try_again_and_then_lets_pass():
    guard = boundaries(synthetic(at_most_rate=Rate(40, 2.0)))
    for _ in range(2):
        guard.check(synthetic(), "leaving", 1.0)
    with pytest.raises(RateError) as caught:
        guard.check(synthetic(size=30), "leaving", 1.5)
    assert caught.value.retry_after_s == 1.0
    assert str(caught.value) == (
        "hospital sends faster than the rule * > cloud: synthetic, at most 40 B every 2 s lets pass: 10 B left "
        "now, 30 are needed; try again in 1 s"
    )
    with pytest.raises(RateError):
        guard.check(synthetic(size=30), "leaving", 2.499999)
    guard.check(synthetic(size=30), "leaving", 2.5)


def test_a_message_larger_than_the_burst_never_passes():
    guard = boundaries(synthetic(at_most_rate=Rate(10, 1.0, burst=19)))
    with pytest.raises(BoundaryError, match=r"has 20 B, more than the rule .* ever lets pass at once") as caught:
        guard.check(synthetic(), "leaving", 1e6)
    assert not isinstance(caught.value, RateError)


def test_the_rule_that_still_holds_the_message_lets_it_pass():
    few, slow = synthetic(at_most_count=1), synthetic(at_most_rate=Rate(20, 1.0))
    guard = boundaries(few, slow)
    for _ in range(2):
        guard.check(synthetic(), "leaving", 0.0)
    assert [entry.rule for entry in guard.ledger] == [few.name, slow.name]
    with pytest.raises(RateError, match=r"as many as the rule .*; hospital sends faster than the rule"):
        guard.check(synthetic(), "leaving", 0.0)


def test_a_budget_holds_over_all_kinds_and_says_what_is_left():
    guard = boundaries(RULE, hospital=50)
    guard.check(synthetic(), "leaving", 0.0)
    guard.check(crossing(b"control:".ljust(20, b"x"), ("control",)), "leaving", 0.0)
    with pytest.raises(BoundaryError) as caught:
        guard.check(crossing(), "leaving", 0.0)
    assert str(caught.value) == (
        "the budget of hospital does not hold the message: of 50 B a run 40 B are used and 10 B are left, the message "
        "has 11 B"
    )
    guard.check(crossing(b"control:go", ("control",)), "leaving", 0.0)
    assert guard.sent_bytes("hospital") == 50
    guard.check(crossing(b"", ("control",)), "leaving", 0.0)


def test_answers_count_against_the_budget_of_who_answers():
    guard = boundaries(RULE, cloud=10)
    answer = crossing(b"seeds:1", ("seeds",), source="s", target="a", answer=True)
    guard.check(answer, "leaving", 0.0)
    with pytest.raises(BoundaryError, match="the budget of cloud does not hold"):
        guard.check(answer, "leaving", 0.0)


def test_what_a_budget_refuses_takes_nothing_from_a_rule():
    guard = boundaries(synthetic(at_most_count=1, at_most_rate=Rate(1, 60.0, "messages")), hospital=15)
    with pytest.raises(BoundaryError, match="budget"):
        guard.check(synthetic(), "leaving", 0.0)
    guard.check(crossing(), "leaving", 0.0)


def test_a_message_seen_at_both_ends_counts_once():
    guard = boundaries(synthetic(at_most_count=2), hospital=22)
    for _ in range(2):
        guard.check(crossing(), "leaving", 0.0)
    for _ in range(2):  # equal messages may be on their way at the same time
        guard.check(crossing(), "arriving", 1.0)
    assert guard.sent_bytes("hospital") == 22
    assert {entry.rule for entry in guard.ledger} == {"* > cloud: synthetic, at most 2 messages"}
    with pytest.raises(BoundaryError, match="budget"):
        guard.check(crossing(), "arriving", 2.0)


def test_a_message_from_another_process_counts_where_it_arrives():
    guard = boundaries(synthetic(at_most_count=1))
    guard.check(crossing(), "arriving", 0.0)
    assert guard.sent_bytes("hospital") == 11
    with pytest.raises(BoundaryError, match="as many as the rule"):
        guard.check(crossing(b"synthetic:y"), "arriving", 0.0)


def test_a_message_that_got_lost_has_left_all_the_same():
    guard = boundaries(synthetic(at_most_count=1))
    guard.check(crossing(), "leaving", 0.0)
    with pytest.raises(BoundaryError, match="as many as the rule"):
        guard.check(crossing(), "leaving", 1.0)


def test_the_reason_of_a_refusal_counts_and_is_kept_back_when_the_budget_is_used_up():
    guard = boundaries(RULE, cloud=30)
    told = Crossing("s", "a", Message(b"x" * 20), answer=True)
    assert guard.pass_refusal(told, "leaving", 0.0)
    assert guard.pass_refusal(told, "arriving", 0.0)
    assert guard.sent_bytes("cloud") == 20
    assert not guard.pass_refusal(told, "leaving", 1.0)
    assert guard.sent_bytes("cloud") == 20
    assert [(entry.verdict, entry.size_bytes, entry.rule) for entry in guard.ledger][2:] == [
        ("refused", 20, None),
        ("crossed", 0, REFUSALS),
    ]
    guard.check(Crossing("s", "a", Message(), answer=True), "arriving", 1.0)  # the bare status


def test_answers_to_strangers_count_against_the_budget():
    guard = boundaries(cloud=15)
    guard.check_answer_to_anyone("s", Message(b"control:1"), 0.0)
    with pytest.raises(BoundaryError, match="budget of cloud"):
        guard.check_answer_to_anyone("s", Message(b"control:2"), 0.0)
    assert guard.sent_bytes("cloud") == 9


@pytest.mark.parametrize(
    ("rule", "budgets", "message"),
    [
        (synthetic(at_most_count=-1), {}, "lets fewer than no messages pass"),
        (Rule("cloud", frozenset({"stream"}), at_most_count=1), {}, "cannot limit count or rate"),
        (Rule("cloud", frozenset({"stream"}), at_most_rate=Rate(1)), {}, "cannot limit count or rate"),
        (Rule("cloud", frozenset({"stream"})), {"cloud": 1}, "cannot keep to the budget of cloud"),
        (Rule("cloud", frozenset({"stream"})), {"hospital": 1}, "cannot keep to the budget of hospital"),
        (RULE, {"hospital": -1}, "expected 0 or more"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rule, budgets, message):
    with pytest.raises(TenancyError, match=message):
        boundaries(rule, **budgets)


def test_a_stream_past_a_budget_of_somebody_else_is_fine():
    rule = Rule("cloud", frozenset({"stream"}), source="clinic")
    assert boundaries(rule, RULE, hospital=10).may_connect("a", "s", inspected=True) is None


def test_ten_thousand_tenants_are_looked_up_not_searched():
    """Each has a rule of its own; were they scanned for every message, these would be 2 x 10^8 comparisons."""
    tenants = {f"client-{number}": f"tenant-{number}" for number in range(10_000)} | {"s": "cloud"}
    rules = [synthetic_of(f"tenant-{number}") for number in range(10_000)]
    guard = Boundaries(tenants, rules)
    message = Message(b"x", frozenset({"synthetic"}))
    for point in ("leaving", "arriving"):
        for client in list(tenants)[:-1]:
            assert guard.may_connect(client, "s", inspected=True) is None
            guard.check(Crossing(client, "s", message), point, 0.0)
    assert len(guard.ledger) == 20_000
    assert max(CountingRule.asked.values(), default=0) == 0


class CountingRule(Rule):
    """A rule that notices being asked one by one whether it joins two tenants."""

    asked: dict[str, int] = {}

    def joins(self, source, target):
        self.asked[self.source] = self.asked.get(self.source, 0) + 1
        return super().joins(source, target)


def synthetic_of(tenant):
    return CountingRule("cloud", frozenset({"synthetic"}), source=tenant, at_most_count=1)


sends = st.tuples(
    st.sampled_from([("a", "s", False), ("b", "s", False), ("c", "s", False), ("s", "a", True), ("s", "c", True)]),
    st.sampled_from(["synthetic", "seeds", "control", "raw"]),
    st.integers(0, 40),
    st.sampled_from(["leaving", "arriving", "both", "refusal"]),
    st.integers(0, 1_500_000),
)
RULES = [
    Rule("cloud", frozenset({"synthetic"}), "clinic", at_most_bytes=25, at_most_count=2),
    Rule("cloud", frozenset({"synthetic", "seeds"}), at_most_rate=Rate(30, 1.0, burst=35), at_most_count=6),
]


@given(st.lists(sends, max_size=25), st.integers(0, 200), st.integers(0, 200))
def test_whatever_the_order_limits_hold_exactly_and_an_audit_agrees(attempts, hospital, cloud):
    budgets = {"hospital": hospital, "cloud": cloud}
    tenants = {**TENANTS, "c": "clinic"}
    guard = Boundaries(tenants, RULES, budgets=budgets)
    at_us, crossed = 0, {"hospital": 0, "clinic": 0, "cloud": 0}
    contents = dict.fromkeys(crossed, 0)
    for number, ((source, target, answer), kind, size, way, pause_us) in enumerate(attempts):
        at_us += pause_us
        body = bytes([number]) * size
        sent = Crossing(source, target, Message(body, frozenset({kind if size else "control"})), answer)
        before = guard.sent_bytes(tenants[source])
        passed = False
        for point in ("leaving", "arriving") if way == "both" else ("leaving" if way == "refusal" else way,):
            try:
                if way == "refusal":
                    passed = guard.pass_refusal(Crossing(source, target, Message(body), True), point, at_us / 1e6)
                else:
                    guard.check(sent, point, at_us / 1e6)
                    passed = True
            except (BoundaryError, InspectionError):
                break
        crossed[tenants[source]] += size if passed else 0
        contents[tenants[source]] += passed and way != "refusal" and not answer and sent.message.kinds != {"control"}
        assert guard.sent_bytes(tenants[source]) == (before + size if passed else before)
    for tenant, total in crossed.items():
        assert guard.sent_bytes(tenant) == total <= budgets.get(tenant, 10**9)
    assert contents["hospital"] <= 6
    assert contents["clinic"] <= 8
    audited = audit(guard.ledger, tenants, RULES, budgets)
    assert audited.doubts == []
    assert dict(audited.sent_bytes) == {t: n for t, n in crossed.items() if t in audited.sent_bytes}
    assert sum(row.size_bytes for row in audited.traffic) == sum(crossed.values())
