"""Trust domains: what may cross a boundary between tenants, and the ledger of what did.

Hosts of one tenant talk freely. Between two tenants everything is denied unless a rule joins them; a rule names the
kinds of message that may cross toward its tenant, and the kinds that may come back as answers, how large, how many and
how fast. The body itself is inspected where it leaves and again where it arrives, so that a payload cannot cross under
another kind's name. What the bodies mean is not known here: the program hands in an `Inspector`.

A message is counted where it is first seen: as a rule where it leaves, also if it never arrives; where it arrives only
if it left from another process. A refusal's reason is a message too, though it needs no rule.

Not modelled: who a host really is. In virtual time the network knows; on real sockets `simnet.ingress` makes senders
prove it, or believes their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from simnet.errors import BoundaryError, InspectionError
from simnet.ledger import Ledger, LedgerEntry, Point, recorded
from simnet.rules import ANYONE, CONTROL, STREAM, Passage, Rule, Rulebook, no_rule, words
from simnet.zeros import digest_of_zeros, zeros

__all__ = [
    "ANYONE",
    "CONTROL",
    "REFUSALS",
    "STREAM",
    "STREAMS",
    "TO_ALL",
    "Boundaries",
    "Crossing",
    "Inspector",
    "Ledger",
    "LedgerEntry",
    "Message",
    "Point",
    "Rule",
    "Transit",
    "TrustingInspector",
    "tenant_named",
]

# What the ledger names as the rule of that which passes without one.
REFUSALS = "refusals may be told"
TO_ALL = "control is open to all"
STREAMS = f"{STREAM} is allowed"


@dataclass(frozen=True)
class Message:
    """A body and the kinds of content that it carries, in the words of the boundary rules."""

    body: bytes = b""
    kinds: frozenset[str] = frozenset({CONTROL})
    content_type: str = "application/msgpack"

    @classmethod
    def of_size(
        cls, size_bytes: int, kinds: frozenset[str] = frozenset({CONTROL}), content_type: str = "application/msgpack"
    ) -> Message:
        """A message of which only the size matters: its body is so many zero bytes, which occupy no memory.

        The body is a read-only `memoryview`. Raises `ValueError` for a negative size.
        """
        return _Zeros(cast("bytes", zeros(size_bytes)), kinds, content_type)

    @property
    def intact(self) -> bool:
        """Whether its body was compared, byte for byte, with a digest that its sender has told apart from it."""
        return False

    @property
    def digest(self) -> str:
        """SHA-256 of the body, as 64 hexadecimal digits."""
        known: str | None = self.__dict__.get("_digest")
        if known is None:  # by hand, for `cached_property` takes a lock, which is most of its cost
            known = self.__dict__["_digest"] = self._hashed()
        return known

    def _hashed(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


class _Zeros(Message):
    """A message whose digest is known without reading its body."""

    def _hashed(self) -> str:
        return digest_of_zeros(len(self.body))


class Inspector(Protocol):
    """Says what the body of a message really carries. Handed to simnet by the program whose messages they are."""

    def inspect(self, host: str, message: Message, point: Point) -> frozenset[str] | None:
        """The kinds found in the body, seen at `host`; None if the sender's word must do.

        Raises `InspectionError` if the body is unreadable or not fit to pass.
        """


class TrustingInspector:
    """For programs without an inspector of their own: takes every body for the kinds that its sender declares."""

    def inspect(self, host: str, message: Message, point: Point) -> frozenset[str] | None:
        """None, always."""
        return None


@dataclass(frozen=True, slots=True)
class Crossing:
    """A message on its way: who sends what to whom, and whether it is the answer to a request."""

    source: str
    target: str
    message: Message
    answer: bool = False


class Transit:
    """The messages that were counted where they left and have not arrived yet: there they are not counted again."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, str, str, str, bool], list[str]] = {}

    def leaves(self, source: str, target: str, kind: str, digest: str, answer: bool, rule: str) -> None:
        """A message was let out by a rule."""
        self._rules.setdefault((source, target, kind, digest, answer), []).append(rule)

    def arrives(self, source: str, target: str, kind: str, digest: str, answer: bool) -> str | None:
        """The rule that let a message out which now arrives; None if it did not leave here."""
        rules = self._rules.get((source, target, kind, digest, answer))
        if rules is None:
            return None
        rule = rules.pop(0)
        if not rules:
            del self._rules[source, target, kind, digest, answer]
        return rule


def _wherever(_host: str) -> bool:
    return True


@dataclass
class Boundaries:
    """The rules of a network, its ledger, and the check that every message between hosts goes through.

    `tenant_of` gives each host's tenant; a host that is not in it belongs to no tenant and gets nowhere. `budgets`
    gives the bytes that a tenant may send across all its boundaries in a run; a tenant that is not in it may send any
    number. Raises `TenancyError` for rules that cannot be kept.
    """

    tenant_of: Mapping[str, str]
    rules: Sequence[Rule] = ()
    inspector: Inspector = field(default_factory=TrustingInspector)
    ledger: Ledger = field(default_factory=Ledger)
    budgets: Mapping[str, int] = field(default_factory=dict)
    is_here: Callable[[str], bool] = _wherever
    """Whether what is sent to a host arrives in this process, and is met here again."""

    def __post_init__(self) -> None:
        self._book = Rulebook(self.rules, self.budgets)
        self._transit = Transit()

    def sent_bytes(self, tenant: str) -> int:
        """Bytes that a tenant has sent across its boundaries so far; what flows through a stream is not among them."""
        return self._book.sent_bytes[tenant]

    def may_connect(self, source: str, target: str, *, inspected: bool) -> str | None:
        """None if `source` may open a connection to `target`, else the reason why not.

        `inspected` says that every message on the connection will go through `check`.
        """
        asking, asked = self._tenant(source), self._tenant(target)
        if asking == asked:
            return None
        joining = self._book.joining(asking, asked)
        if not joining:
            return no_rule(asking, asked)
        if not inspected and not any(STREAM in rule.allow for rule in joining):
            return (
                f"connections that nobody inspects may not cross from {asking} to {asked}: "
                f'send messages with Host.request, or allow "{STREAM}" in the boundary'
            )
        return None

    def check(self, crossing: Crossing, point: Point, at_s: float, *, listed: bool = True) -> None:
        """Let a message pass or refuse it, and write that down; if it is not `listed`, only if it is refused. Traffic
        within a tenant is not recorded.

        Raises `BoundaryError` if no rule lets it pass (`RateError` if one would later), `InspectionError` if the body
        is not what it claims to be. What is refused counts nowhere.
        """
        sender, receiver = self._tenant(crossing.source), self._tenant(crossing.target)
        if sender == receiver:
            return
        message = crossing.message
        rule = self._rule_it_left_by(crossing, point)
        try:
            self._inspect(crossing, point)
            if rule is None:
                passage = Passage(sender, receiver, message.kinds, len(message.body), crossing.answer)
                rule = self._book.permit(passage, at_s).name
        except (BoundaryError, InspectionError) as refusal:
            self._enter(crossing, point, at_s, None, str(refusal))
            raise
        if listed:
            self._let_pass(crossing, point, at_s, rule)

    def pass_refusal(self, crossing: Crossing, point: Point, at_s: float) -> bool:
        """Let a refusal pass on its way back. It needs no rule: somebody who may not enter is told so.

        Its reason counts against the budget of who tells it. Where that is used up the answer is False, and what goes
        on must be a bare status, without a body.
        """
        if not self.crosses(crossing.source, crossing.target):
            return True
        bare = Crossing(crossing.source, crossing.target, Message(), answer=True)
        if self._rule_it_left_by(crossing, point) is None:
            try:
                self._book.spend(self._tenant(crossing.source), len(crossing.message.body))
            except BoundaryError as refusal:
                self._enter(crossing, point, at_s, None, str(refusal))
                self._let_pass(bare, point, at_s, REFUSALS)
                return False
        self._let_pass(crossing, point, at_s, REFUSALS)
        return True

    def check_answer_to_anyone(self, source: str, message: Message, at_s: float) -> None:
        """Check an answer to somebody who did not say who he is: only control messages may leave.

        Raises `BoundaryError` or `InspectionError` as `check` does.
        """
        crossing = Crossing(source, ANYONE, message, answer=True)
        try:
            self._inspect(crossing, "leaving")
            if message.kinds != {CONTROL}:
                raise BoundaryError(f"{words(message.kinds)} may not leave toward somebody unknown")
            self._book.spend(self._tenant(source), len(message.body))
        except (BoundaryError, InspectionError) as refusal:
            self._enter(crossing, "leaving", at_s, None, str(refusal))
            raise
        self._enter(crossing, "leaving", at_s, TO_ALL, None)

    def note_connection(self, source: str, target: str, at_s: float, *, sent_bytes: int, refusal: str | None) -> None:
        """Write down a connection whose messages nobody inspects, once it is refused or has ended."""
        if self.crosses(source, target):
            crossing = Crossing(source, target, Message(kinds=frozenset({STREAM})))
            self._enter(crossing, "leaving", at_s, None if refusal is not None else STREAMS, refusal, sent_bytes)

    def crosses(self, source: str, target: str) -> bool:
        """Whether a boundary lies between two hosts."""
        return self._tenant(source) != self._tenant(target)

    def _rule_it_left_by(self, crossing: Crossing, point: Point) -> str | None:
        return None if point == "leaving" else self._transit.arrives(*_marks(crossing))

    def _let_pass(self, crossing: Crossing, point: Point, at_s: float, rule: str) -> None:
        if point == "leaving" and self.is_here(crossing.target):
            self._transit.leaves(*_marks(crossing), rule)
        self._enter(crossing, point, at_s, rule, None)

    def _enter(
        self, crossing: Crossing, point: Point, at_s: float, rule: str | None, reason: str | None, size_bytes: int = -1
    ) -> None:
        message = crossing.message
        source, target, kind, digest, answer = _marks(crossing)
        self.ledger.append(
            LedgerEntry(
                at_s=at_s,
                point=point,
                source=recorded(source),
                target=recorded(target),
                source_tenant=self._tenant(source),
                target_tenant=self._tenant(target),
                kind=recorded(kind),
                size_bytes=len(message.body) if size_bytes < 0 else size_bytes,
                digest=digest,
                verdict="crossed" if reason is None else "refused",
                rule=rule,
                reason=None if reason is None else recorded(reason),
                answer=answer,
            )
        )

    def _inspect(self, crossing: Crossing, point: Point) -> None:
        host = crossing.source if point == "leaving" else crossing.target
        message = crossing.message
        found = self.inspector.inspect(host, message, point) if message.body else frozenset({CONTROL})
        if found is not None and found != message.kinds:
            raise InspectionError(f"the message claims to carry {words(message.kinds)} but carries {words(found)}")

    def _tenant(self, host: str) -> str:
        return tenant_named(self.tenant_of, host)


def tenant_named(tenant_of: Mapping[str, str], host: str) -> str:
    """The tenant of a host, as the ledger names it: "*" for somebody who did not say who he is."""
    return ANYONE if host == ANYONE else tenant_of.get(host, f"(unknown host {recorded(host)})")


def _marks(crossing: Crossing) -> tuple[str, str, str, str, bool]:
    """By what a message is known again: its ends, kind, digest, and whether it is an answer."""
    message = crossing.message
    return crossing.source, crossing.target, "+".join(sorted(message.kinds)), message.digest, crossing.answer
