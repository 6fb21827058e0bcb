"""The rules between tenants, and the book that is kept of what they have let pass.

A message that crosses is counted once: against the rule under which it crosses if it carries content (anything but
`control`) toward the rule's tenant, and with all its bytes, whatever it is, against the budget of the tenant that sends
it. A message that is refused takes nothing. Bytes are those of bodies; paths and headers are bounded elsewhere.

Only tenants, kinds, sizes and times are known here; bodies and hosts are the business of `simnet.tenancy`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simnet.errors import BoundaryError, RateError, TenancyError
from simnet.limits import US_PER_S, Rate, TokenBucket, messages_in_words

CONTROL = "control"  # small messages that steer a protocol; allowed wherever a rule joins two tenants
STREAM = "stream"  # connections whose bytes nobody inspects: a program's own aiohttp session
ANYONE = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """Messages of the kinds `allow` may cross toward tenant `to`, and `answers` may come back.

    `source` is the tenant that asks ("*": any). `at_most_bytes` bounds each message toward `to`; `at_most_count` and
    `at_most_rate` bound how many, and how fast, messages with content cross toward it, each asking tenant by itself.
    """

    to: str
    allow: frozenset[str]
    source: str = ANYONE
    at_most_bytes: int | None = None
    answers: frozenset[str] = frozenset({"seeds"})
    at_most_count: int | None = None
    at_most_rate: Rate | None = None

    @property
    def name(self) -> str:
        """The rule in words, as the ledger shows it."""
        size = "" if self.at_most_bytes is None else f", at most {self.at_most_bytes} B"
        count = "" if self.at_most_count is None else f", at most {messages_in_words(self.at_most_count)}"
        rate = "" if self.at_most_rate is None else f", at most {self.at_most_rate.name}"
        return f"{self.source} > {self.to}: {', '.join(sorted(self.allow))}{size}{count}{rate}"

    def joins(self, source: str, target: str) -> bool:
        """Whether requests from tenant `source` to tenant `target` are this rule's concern."""
        return self.to == target and self.source in (ANYONE, source)


@dataclass(frozen=True, slots=True)
class Passage:
    """What a decision depends on: who (tenants) sends whom what, and whether it is the answer to a request."""

    sender: str
    receiver: str
    kinds: frozenset[str]
    size_bytes: int
    answer: bool = False


@dataclass
class _Use:
    """What one tenant has used of one rule."""

    messages: int = 0
    bucket: TokenBucket | None = None


@dataclass
class Rulebook:
    """Decides what passes, and counts it.

    Raises `TenancyError` for rules and budgets that cannot be kept: what flows through a `stream` is not seen before
    it has crossed, so it can be neither counted nor held to a budget.
    """

    rules: Sequence[Rule] = ()
    budgets: Mapping[str, int] = field(default_factory=dict)
    """Bytes that a tenant may send across all boundaries in a run; without limit if it is not named."""

    def __post_init__(self) -> None:
        self._numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for number, rule in enumerate(self.rules):
            problem = impossible(rule, self.budgets)
            if problem is not None:
                raise TenancyError(f"the rule {rule.name} {problem}")
            self._numbers[rule.source, rule.to].append(number)
        for tenant, budget in self.budgets.items():
            if budget < 0:
                raise TenancyError(f"the budget of {tenant} is {budget} B; expected 0 or more")
        self._joining: dict[tuple[str, str], tuple[int, ...]] = {}
        self._uses: defaultdict[tuple[int, str], _Use] = defaultdict(_Use)
        self.sent_bytes: Counter[str] = Counter()
        """Bytes that each tenant has sent across boundaries so far."""

    def joining(self, asking: str, asked: str) -> list[Rule]:
        """The rules for requests of one tenant to another, in their order."""
        return [self.rules[number] for number in self._joining_numbers(asking, asked)]

    def permit(self, passage: Passage, at_s: float) -> Rule:
        """Let a message pass, count it, and return the rule that let it pass: the first that can.

        Raises `BoundaryError` if there is none, `RateError` if there would be one later; then nothing is counted.
        """
        asking, asked = passage.sender, passage.receiver
        if passage.answer:
            asking, asked = asked, asking
        numbers = self._joining_numbers(asking, asked)
        if not numbers:
            raise BoundaryError(no_rule(asking, asked))
        refusals: list[str] = []
        fitting = [number for number in numbers if not _unfit(self.rules[number], passage, refusals)]
        if not fitting:
            raise BoundaryError("; ".join(refusals))
        self._check_budget(passage.sender, passage.size_bytes)
        number = fitting[0] if passage.answer or passage.kinds == {CONTROL} else self._within(fitting, passage, at_s)
        self.sent_bytes[passage.sender] += passage.size_bytes
        return self.rules[number]

    def spend(self, tenant: str, size_bytes: int) -> None:
        """Count bytes that cross without a rule. Raises `BoundaryError` if the tenant's budget does not hold them."""
        self._check_budget(tenant, size_bytes)
        self.sent_bytes[tenant] += size_bytes

    def _joining_numbers(self, asking: str, asked: str) -> tuple[int, ...]:
        pair = (asking, asked)
        if pair not in self._joining:
            own = self._numbers.get(pair, []) if asking != ANYONE else []
            self._joining[pair] = tuple(sorted([*own, *self._numbers.get((ANYONE, asked), [])]))
        return self._joining[pair]

    def _within(self, numbers: Sequence[int], passage: Passage, at_s: float) -> int:
        """The first rule whose count and rate still hold the message; there it is counted."""
        refusals: list[str] = []
        wait_us: int | None = None
        at_us = round(at_s * US_PER_S)
        for number in numbers:
            rule, use = self.rules[number], self._uses[number, passage.sender]
            if rule.at_most_count is not None and use.messages >= rule.at_most_count:
                sent = messages_in_words(use.messages)
                refusals.append(
                    f"{passage.sender} has sent {sent}, as many as the rule {rule.name} lets pass in "
                    "a run; none is left"
                )
                continue
            if rule.at_most_rate is not None:
                use.bucket = use.bucket or TokenBucket(rule.at_most_rate)
                tokens = rule.at_most_rate.tokens(passage.size_bytes)
                waiting_us = use.bucket.wait_us(tokens, at_us)
                if waiting_us:
                    wait_us = waiting_us if wait_us is None else min(wait_us, waiting_us)
                    free = rule.at_most_rate.in_words(use.bucket.free(at_us))
                    refusals.append(
                        f"{passage.sender} sends faster than the rule {rule.name} lets pass: {free} "
                        f"left now, {tokens} are needed; try again in {waiting_us / US_PER_S:g} s"
                    )
                    continue
                use.bucket.take(tokens, at_us)
            use.messages += 1
            return number
        if wait_us is None:
            raise BoundaryError("; ".join(refusals))
        raise RateError("; ".join(refusals), wait_us / US_PER_S)

    def _check_budget(self, tenant: str, size_bytes: int) -> None:
        budget = self.budgets.get(tenant)
        if budget is not None and self.sent_bytes[tenant] + size_bytes > budget:
            used = self.sent_bytes[tenant]
            raise BoundaryError(
                f"the budget of {tenant} does not hold the message: of {budget} B a run {used} B are used and "
                f"{budget - used} B are left, the message has {size_bytes} B"
            )


def no_rule(asking: str, asked: str) -> str:
    """Why nothing passes between two tenants that no rule joins."""
    return f"no boundary rule lets {asking} reach {asked}: nothing may cross"


def words(kinds: frozenset[str]) -> str:
    """Kinds of content as part of a sentence."""
    return " and ".join(sorted(kinds)) or "nothing"


def impossible(rule: Rule, budgets: Mapping[str, int]) -> str | None:
    """Why a rule cannot be kept, as the end of a sentence; None if it can."""
    if rule.at_most_count is not None and rule.at_most_count < 0:
        return "lets fewer than no messages pass"
    if STREAM not in rule.allow:
        return None
    if rule.at_most_count is not None or rule.at_most_rate is not None:
        return f"cannot limit count or rate: what flows through a {STREAM} is seen only when it has crossed"
    held = [tenant for tenant in budgets if rule.to == tenant or rule.source in (ANYONE, tenant)]
    if held:
        return f"cannot keep to the budget of {held[0]}: what flows through a {STREAM} is seen only when it has crossed"
    return None


def _unfit(rule: Rule, passage: Passage, refusals: list[str]) -> bool:
    """Whether a rule can never let this message pass; the reason goes into `refusals`."""
    size, rate = passage.size_bytes, rule.at_most_rate
    permitted = (rule.answers if passage.answer else rule.allow) | {CONTROL}
    if forbidden := passage.kinds - permitted:
        way = "back " if passage.answer else ""
        refusals.append(
            f"{words(forbidden)} may not cross {way}from {passage.sender} to {passage.receiver} (rule {rule.name})"
        )
    elif not passage.answer and rule.at_most_bytes is not None and size > rule.at_most_bytes:
        refusals.append(f"the message has {size} B, more than the rule {rule.name} lets pass")
    elif not passage.answer and passage.kinds != {CONTROL} and rate is not None and rate.tokens(size) > rate.largest:
        refusals.append(f"the message has {size} B, more than the rule {rule.name} ever lets pass at once")
    else:
        return False
    return True
