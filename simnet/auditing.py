"""Reads a ledger with the rules at hand and decides anew: may everything that crossed have crossed?

An audit follows the entries in their order and keeps its own book, as the boundaries did while the network ran; what
they let pass and the rules do not is a doubt. Counts, rates and budgets are looked at as they stood at each entry.

Not seen here: whether the file is as it was written (that is `simnet.ledger`), and what the bodies held beyond their
kind, size and digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from simnet.errors import BoundaryError
from simnet.ledger import LedgerEntry
from simnet.rules import ANYONE, CONTROL, STREAM, Passage, Rule, Rulebook
from simnet.tenancy import REFUSALS, STREAMS, TO_ALL, Transit, tenant_named


@dataclass
class Traffic:
    """What crossed from one tenant to another of one kind. A message counts once, where it was first seen."""

    source_tenant: str
    target_tenant: str
    kind: str
    messages: int = 0
    size_bytes: int = 0
    refused: int = 0
    rules: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Doubt:
    """An entry that the rules do not explain; `line` is its place in the ledger, from 1."""

    line: int
    reason: str


@dataclass
class Audit:
    """What crossed, what was refused and why, what is doubtful, and the bytes that each tenant sent in all."""

    traffic: list[Traffic]
    refusals: Counter[str]
    doubts: list[Doubt]
    sent_bytes: Mapping[str, int]


class _Auditor:
    def __init__(self, tenant_of: Mapping[str, str], rules: Sequence[Rule], budgets: Mapping[str, int]) -> None:
        self._tenant_of = tenant_of
        self._book = Rulebook(rules, budgets)
        self._transit = Transit()
        self.traffic: dict[tuple[str, str, str], Traffic] = {}
        self.refusals: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()

    def hear(self, entry: LedgerEntry) -> str | None:
        """Take in an entry; returns what is doubtful about it."""
        marks = (entry.source, entry.target, entry.kind, entry.digest, entry.answer)
        left_by = self._transit.arrives(*marks) if entry.point == "arriving" else None
        key = (entry.source_tenant, entry.target_tenant, entry.kind)
        row = self.traffic.setdefault(key, Traffic(*key))
        doubt = self._stranger(entry)
        if entry.verdict == "refused":
            row.refused += 1
            self.refusals[entry.reason or "no reason given"] += 1
            return doubt
        if left_by is not None:
            return doubt or (None if entry.rule == left_by else f"it left by {left_by}, but arrived by {entry.rule}")
        row.messages += 1
        row.size_bytes += entry.size_bytes
        if entry.rule is not None and entry.rule not in row.rules:
            row.rules.append(entry.rule)
        self.sent_bytes[entry.source_tenant] += entry.size_bytes
        if entry.point == "leaving" and entry.rule is not None:
            self._transit.leaves(*marks, entry.rule)
        return doubt or self._unexplained(entry)

    def _stranger(self, entry: LedgerEntry) -> str | None:
        for host, tenant in ((entry.source, entry.source_tenant), (entry.target, entry.target_tenant)):
            if tenant_named(self._tenant_of, host) != tenant:
                return f"{host} is no host of {tenant}"
        return None

    def _unexplained(self, entry: LedgerEntry) -> str | None:
        """Why nothing lets this message pass; None if something does."""
        sender, receiver = entry.source_tenant, entry.target_tenant
        control_answer = entry.answer and entry.kind == CONTROL
        try:
            match entry.rule:
                case str(name) if name == STREAMS:
                    joining = [*self._book.joining(sender, receiver), *self._book.joining(receiver, sender)]
                    if entry.kind != STREAM or not any(STREAM in rule.allow for rule in joining):
                        return f"no rule allows a {STREAM} between {sender} and {receiver}"
                case str(name) if name in (REFUSALS, TO_ALL):
                    if not control_answer or (name == TO_ALL) != (entry.target == ANYONE):
                        return f"{entry.kind} is not what {name} means"
                    self._book.spend(sender, entry.size_bytes)
                case None:
                    return "it crossed, but names no rule"
                case _:
                    kinds = frozenset(entry.kind.split("+"))
                    passage = Passage(sender, receiver, kinds, entry.size_bytes, entry.answer)
                    self._book.permit(passage, entry.at_s)  # how a version of simnet words the rule is its own affair
        except BoundaryError as refusal:
            return str(refusal)
        return None


def audit(
    entries: Iterable[LedgerEntry], tenant_of: Mapping[str, str], rules: Sequence[Rule], budgets: Mapping[str, int]
) -> Audit:
    """Hold a ledger against the boundaries that it is said to be of.

    Raises `simnet.errors.TenancyError` for rules that cannot be kept, and whatever reading the entries raises.
    """
    auditor = _Auditor(tenant_of, rules, budgets)
    doubts = []
    for line, entry in enumerate(entries, 1):
        doubt = auditor.hear(entry)
        if doubt is not None:
            doubts.append(Doubt(line, doubt))
    traffic = [auditor.traffic[key] for key in sorted(auditor.traffic)]
    return Audit(traffic, auditor.refusals, doubts, auditor.sent_bytes)
