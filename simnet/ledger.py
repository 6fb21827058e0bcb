"""The ledger of what crossed a boundary or was refused at it, and the file of it that notices every change.

A ledger file is JSON Lines. Each line is one entry in canonical JSON (keys sorted, no spaces, ASCII, numbers as Python
writes them) with two members more: `previous`, the chain value of the line before, and `chain`, the SHA-256 of the
line without `chain`. What stands before the first line is the genesis: the SHA-256 of what the ledger belongs to. A
line that was changed, removed, added or moved does not fit its neighbours; the `Seal`, kept elsewhere, has the number
of lines and the last chain value, so that a ledger that was cut short or written anew is noticed too.

Not modelled: signatures. Who can write the ledger and every copy of its seal can make another that fits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from simnet.errors import LedgerError

Point = Literal["leaving", "arriving"]
Identity = Mapping[str, str | int]
RECORDED_CHARACTERS = 200
"""Of a text that somebody else has chosen: what is written down of it stays in memory until the run ends."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One message that crossed a boundary, or was refused at it.

    `rule` is the rule that let it pass, `answer` says whether it answers a request. `size_bytes` and `digest` (SHA-256,
    64 hexadecimal digits) are those of its body.
    """

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
    answer: bool = False

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Field by field, for writing down."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(LedgerEntry))
_MEMBERS = {*_FIELDS, "previous", "chain"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(_FIELDS, (str,)),
    "at_s": (float, int),
    "size_bytes": (int,),
    "rule": (str, type(None)),
    "reason": (str, type(None)),
    "answer": (bool,),
}


@dataclass(frozen=True, slots=True)
class Seal:
    """What is kept of a ledger beside it: whose it is, its number of lines and its last chain value."""

    identity: Identity
    lines: int
    head: str

    def as_dict(self) -> dict[str, Any]:
        """For writing down."""
        return {"identity": dict(self.identity), "lines": self.lines, "head": self.head}

    @classmethod
    def read(cls, data: object) -> Seal | None:
        """The seal that `as_dict` wrote down; None if `data` is none."""
        match data:
            case {"identity": dict(identity), "lines": int(lines), "head": str(head)}:
                return cls(identity, lines, head)
            case _:
                return None


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

    def write(self, path: Path, identity: Identity) -> Seal:
        """Write the ledger of what `identity` names to a file; returns its seal. Raises `OSError`."""
        head = genesis(identity)
        with path.open("wb") as file:
            for entry in self._entries:
                line, head = _chained(entry, head)
                file.write(line)
        return Seal(identity, len(self._entries), head)


def recorded(text: str) -> str:
    """A text that somebody else has chosen, no longer than it is written down."""
    return text if len(text) <= RECORDED_CHARACTERS else f"{text[: RECORDED_CHARACTERS - 1]}…"


def genesis(identity: Identity) -> str:
    """The chain value before the first line: SHA-256 over what the ledger belongs to."""
    return _sha256(_canonical({"ledger": 1, **identity}))


def read(lines: Iterable[bytes]) -> Iterator[LedgerEntry]:
    """The entries in the lines of a ledger file, unverified. Raises `LedgerError` for a line that holds none."""
    for number, line in enumerate(lines, 1):
        yield _entry(number, _parsed(number, line))


def verified(lines: Iterable[bytes], seal: Seal) -> Iterator[LedgerEntry]:
    """The entries of a ledger file, each once its line was found to be as it was written.

    Raises `LedgerError`, with the number of the first line that is not, at the latest after the last one. An entry
    got before that is only known to be genuine once all were got.
    """
    head, number = genesis(seal.identity), 0
    for number, line in enumerate(lines, 1):
        if number > seal.lines:
            raise LedgerError(f"line {number} was added: the run wrote {seal.lines}", number)
        data = _parsed(number, line)
        chain, previous = data.pop("chain", None), data.get("previous")
        if _sha256(_canonical(data)) != chain:
            raise LedgerError(f"line {number} was changed: its content does not give its chain value", number)
        if line != _canonical({**data, "chain": chain}) + b"\n":
            raise LedgerError(f"line {number} was changed: it is not written in canonical JSON", number)
        if previous != head:
            before = f"line {number - 1}" if number > 1 else "the beginning of this run's ledger"
            raise LedgerError(
                f"line {number} does not follow {before}: a line was removed, added, moved or replaced here", number
            )
        head = str(chain)
        yield _entry(number, {**data, "chain": chain})
    if number < seal.lines:
        raise LedgerError(
            f"line {number + 1} is missing: the run wrote {seal.lines}, the file has {number}", number + 1
        )
    if head != seal.head:
        raise LedgerError(f"line {number}, the last, is not the one that the run wrote", number)


def _chained(entry: LedgerEntry, previous: str) -> tuple[bytes, str]:
    data = {**entry.as_dict(), "previous": previous}
    chain = _sha256(_canonical(data))
    return _canonical({**data, "chain": chain}) + b"\n", chain


def _parsed(number: int, line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise LedgerError(f"line {number} was changed: it is no JSON object", number)
    return data


def _entry(number: int, data: Mapping[str, Any]) -> LedgerEntry:
    if set(data) != _MEMBERS:
        odd = ", ".join(sorted(set(data) ^ _MEMBERS))
        raise LedgerError(f"line {number} was changed: it lacks, or has too many, members ({odd})", number)
    for name, types in _TYPES.items():
        value = data[name]
        if not isinstance(value, types) or (isinstance(value, float) and not math.isfinite(value)):
            raise LedgerError(f"line {number} was changed: {name} is {value!r}", number)
    return LedgerEntry(**{name: data[name] for name in _FIELDS})


def _canonical(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
