"""Trust domains: what may cross a boundary between tenants, and the ledger of what did.

Hosts of one tenant talk freely. Between two tenants everything is denied unless a rule joins them; a rule names the
kinds of message that may cross toward its tenant, and the kinds that may come back as answers. The body itself is
inspected where it leaves and again where it arrives, so that a payload cannot cross under another kind's
name. What the bodies mean is not known here: the program hands in an `Inspector`.

Not modelled: who a host really is. In virtual time the network knows; on real sockets the sender's name is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal, Protocol

from simnet.errors import BoundaryError, InspectionError

CONTROL = "control"  # small messages that steer a protocol; allowed wherever a rule joins two tenants
STREAM = "stream"  # connections whose bytes nobody inspects: a program's own aiohttp session
ANYONE = "*"

Point = Literal["leaving", "arriving"]


@dataclass(frozen=True)
class Message:
    """A body and the kinds of content that it carries, in the words of the boundary rules."""

    body: bytes = b""
    kinds: frozenset[str] = frozenset({CONTROL})
    content_type: str = "application/msgpack"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the body, as 64 hexadecimal digits."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Rule:
    """Messages of the kinds `allow` may cross toward tenant `to`, and `answers` may come back.

    `source` is the tenant that asks ("*": any); `at_most_bytes` bounds one message toward `to`.
    """

    to: str
    allow: frozenset[str]
    source: str = ANYONE
    at_most_bytes: int | None = None
    answers: frozenset[str] = frozenset({"seeds"})

    @property
    def name(self) -> str:
        """The rule in words, as the ledger shows it."""
        size = "" if self.at_most_bytes is None else f", at most {self.at_most_bytes} B"
        return f"{self.source} > {self.to}: {', '.join(sorted(self.allow))}{size}"

    def joins(self, source: str, target: str) -> bool:
        """Whether requests from tenant `source` to tenant `target` are this rule's concern."""
        return self.to == target and self.source in (ANYONE, source)


class Inspector(Protocol):
    """Says what a body really carries. Handed to simnet by the program whose messages they are."""

    def inspect(self, host: str, body: bytes, point: Point) -> frozenset[str] | None:
        """The kinds found in `body`, seen at `host`; None if the sender's word must do.

        Raises `InspectionError` if the body is unreadable or not fit to pass.
        """


class TrustingInspector:
    """For programs without an inspector of their own: takes every body for the kinds that its sender declares."""

    def inspect(self, host: str, body: bytes, point: Point) -> frozenset[str] | None:
        """None, always."""
        return None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One message that crossed a boundary, or was refused at it. `rule` is the rule that let it pass."""

    at_s: float
    point: Point
    source: str
    target: str
    source_tenant: str
    target_tenant: str
    kind: str
    size_bytes: int
    digest: str
    verdict: Literal["crossed", "refused"]
    rule: str | None
    reason: str | None

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Field by field, for writing down."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Ledger:
    """All entries of a run, in order."""

    def __init__(self) -> None:
        self._entries: list[LedgerEntry] = []

    def append(self, entry: LedgerEntry) -> None:
        """Add one entry."""
        self._entries.append(entry)

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def refused(self) -> list[LedgerEntry]:
        """The entries of what was refused."""
        return [entry for entry in self._entries if entry.verdict == "refused"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A message on its way: who sends what to whom, and whether it is the answer to a request."""

    source: str
    target: str
    message: Message
    answer: bool = False


@dataclass
class Boundaries:
    """The rules of a network, its ledger, and the check that every message between hosts goes through.

    `tenant_of` gives each host's tenant; a host that is not in it belongs to no tenant and gets nowhere.
    """

    tenant_of: Mapping[str, str]
    rules: Sequence[Rule] = ()
    inspector: Inspector = field(default_factory=TrustingInspector)
    ledger: Ledger = field(default_factory=Ledger)

    def may_connect(self, source: str, target: str, *, inspected: bool) -> str | None:
        """None if `source` may open a connection to `target`, else the reason why not.

        `inspected` says that every message on the connection will go through `check`.
        """
        asking, asked = self._tenant(source), self._tenant(target)
        if asking == asked:
            return None
        joining = [rule for rule in self.rules if rule.joins(asking, asked)]
        if not joining:
            return self._no_rule(asking, asked)
        if not inspected and not any(STREAM in rule.allow for rule in joining):
            return (
                f"connections that nobody inspects may not cross from {asking} to {asked}: "
                f'send messages with Host.request, or allow "{STREAM}" in the boundary'
            )
        return None

    def check(self, crossing: Crossing, point: Point, at_s: float) -> None:
        """Let a message pass or refuse it, and write that down. Traffic within a tenant is not recorded.

        Raises `BoundaryError` if no rule lets it pass, `InspectionError` if the body is not what it claims to be.
        """
        sender, receiver = self._tenant(crossing.source), self._tenant(crossing.target)
        if sender == receiver:
            return
        rule: Rule | None = None
        reason: str | None = None
        error: type[Exception] = BoundaryError
        try:
            self._inspect(crossing, point)
            rule = self._permitting_rule(crossing, sender, receiver)
        except (BoundaryError, InspectionError) as refusal:
            reason, error = str(refusal), type(refusal)
        self._enter(crossing, point, at_s, None if rule is None else rule.name, reason)
        if reason is not None:
            raise error(reason)

    def pass_refusal(self, crossing: Crossing, point: Point, at_s: float) -> None:
        """Write down a refusal on its way back. It needs no rule: somebody who may not enter is told so."""
        if self.crosses(crossing.source, crossing.target):
            self._enter(crossing, point, at_s, "refusals may be told", None)

    def check_answer_to_anyone(self, source: str, message: Message, at_s: float) -> None:
        """Check an answer to somebody who did not say who he is: only control messages may leave.

        Raises `BoundaryError` or `InspectionError` as `check` does.
        """
        crossing = Crossing(source, ANYONE, message, answer=True)
        try:
            self._inspect(crossing, "leaving")
            if message.kinds != {CONTROL}:
                raise BoundaryError(f"{_words(message.kinds)} may not leave toward somebody unknown")
        except (BoundaryError, InspectionError) as refusal:
            self._enter(crossing, "leaving", at_s, None, str(refusal))
            raise
        self._enter(crossing, "leaving", at_s, "control is open to all", None)

    def note_connection(self, source: str, target: str, at_s: float, *, sent_bytes: int, refusal: str | None) -> None:
        """Write down a connection whose messages nobody inspects, once it is refused or has ended."""
        if self.crosses(source, target):
            crossing = Crossing(source, target, Message(kinds=frozenset({STREAM})))
            rule = None if refusal is not None else f"{STREAM} is allowed"
            self._enter(crossing, "leaving", at_s, rule, refusal, sent_bytes)

    def crosses(self, source: str, target: str) -> bool:
        """Whether a boundary lies between two hosts."""
        return self._tenant(source) != self._tenant(target)

    def _enter(
        self, crossing: Crossing, point: Point, at_s: float, rule: str | None, reason: str | None, size_bytes: int = -1
    ) -> None:
        message = crossing.message
        self.ledger.append(
            LedgerEntry(
                at_s=at_s,
                point=point,
                source=crossing.source,
                target=crossing.target,
                source_tenant=self._tenant(crossing.source),
                target_tenant=self._tenant(crossing.target),
                kind="+".join(sorted(message.kinds)),
                size_bytes=len(message.body) if size_bytes < 0 else size_bytes,
                digest=message.digest,
                verdict="crossed" if reason is None else "refused",
                rule=rule,
                reason=reason,
            )
        )

    def _inspect(self, crossing: Crossing, point: Point) -> None:
        host = crossing.source if point == "leaving" else crossing.target
        body = crossing.message.body
        found = self.inspector.inspect(host, body, point) if body else frozenset({CONTROL})
        if found is not None and found != crossing.message.kinds:
            raise InspectionError(
                f"the message claims to carry {_words(crossing.message.kinds)} but carries {_words(found)}"
            )

    def _permitting_rule(self, crossing: Crossing, sender: str, receiver: str) -> Rule:
        asking, asked = (receiver, sender) if crossing.answer else (sender, receiver)
        joining = [rule for rule in self.rules if rule.joins(asking, asked)]
        if not joining:
            raise BoundaryError(self._no_rule(asking, asked))
        refusals = []
        for rule in joining:
            permitted = (rule.answers if crossing.answer else rule.allow) | {CONTROL}
            if forbidden := crossing.message.kinds - permitted:
                way = "back " if crossing.answer else ""
                refusals.append(
                    f"{_words(forbidden)} may not cross {way}from {sender} to {receiver} (rule {rule.name})"
                )
            elif (
                not crossing.answer
                and rule.at_most_bytes is not None
                and len(crossing.message.body) > rule.at_most_bytes
            ):
                refusals.append(
                    f"the message has {len(crossing.message.body)} B, more than the rule {rule.name} lets pass"
                )
            else:
                return rule
        raise BoundaryError("; ".join(refusals))

    def _tenant(self, host: str) -> str:
        return ANYONE if host == ANYONE else self.tenant_of.get(host, f"(unknown host {host})")

    @staticmethod
    def _no_rule(asking: str, asked: str) -> str:
        return f"no boundary rule lets {asking} reach {asked}: nothing may cross"


def _words(kinds: frozenset[str]) -> str:
    return " and ".join(sorted(kinds)) or "nothing"
