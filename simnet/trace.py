"""The record of everything that happened in a run, and its digest.

An event is a moment in whole microseconds of virtual time, the host (or directed link) that it happened at, a kind,
and named values: texts, integers, floats, truth values, None, lists of texts. Its canonical form is one line of JSON:
all fields in one flat object (`at_us`, `host`, `kind` and the values), keys sorted by code point, no spaces, ASCII
only, floats in the shortest form that reads back equal. The digest of a trace is the SHA-256 of the canonical lines
of its events in the order in which they were recorded, each ended by a line feed. So it is the same in every process
and on every machine, and wall-clock times never enter it: runs are equal exactly if their digests are.

Recording is made for millions of events. Events with the same kind, names and types of values are rows of one table,
and tables are packed into columns (`simnet.columns`) a few thousand rows at a time: 30 to 70 bytes and about a
microsecond an event. `simnet.trace_file` writes a trace into a column file and reads it back. Not modelled: events
that are changed or taken back.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simnet.columns import Column, ValueType, pack, type_of

Value = str | int | float | bool | None | list[str]
T = TypeVar("T")

RESERVED = frozenset({"at_us", "host", "kind", "more"})
"""Names that no value may have: they are columns of their own in the file."""
_CHUNK_ROWS = 2048
_LINES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: `at_us` in microseconds of virtual time, `host` where, `kind` what."""

    at_us: int
    host: str
    kind: str
    values: Mapping[str, Value]

    @property
    def at_s(self) -> float:
        """The moment in seconds."""
        return self.at_us / 1_000_000

    def canonical(self) -> str:
        """One line of JSON with sorted keys: the form that is digested."""
        record = {"at_us": self.at_us, "host": self.host, "kind": self.kind, **self.values}
        return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Packed rows of one table."""

    at_us: Column
    host: Column
    values: Sequence[Column]


@dataclass(eq=False, slots=True)
class Table:
    """The events of one kind whose values have the same names and types, in order."""

    index: int
    kind: str
    names: tuple[str, ...]
    types: tuple[ValueType, ...]
    chunks: list[Chunk] = field(default_factory=list)
    """Of `_CHUNK_ROWS` rows each."""
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    """Not packed yet: (at_us, host, *values)."""
    holds_lists: bool = field(init=False)

    def __post_init__(self) -> None:
        self.holds_lists = "texts" in self.types

    def pack(self) -> None:
        """Pack the rows that are not packed yet."""
        self.chunks.append(self._packed(self.rows))
        self.rows.clear()

    def chunks_from(self, start: int) -> Iterator[tuple[Chunk, int]]:
        """All rows from number `start` on: chunks, and how many rows of each come before."""
        first, skipped = divmod(start, _CHUNK_ROWS)
        for chunk in self.chunks[first:]:
            yield chunk, skipped
            skipped = 0
        if len(self.rows) > skipped:
            yield self._packed(self.rows), skipped

    def _packed(self, rows: Sequence[tuple[Any, ...]]) -> Chunk:
        at_us, host, *values = zip(*rows, strict=True)
        columns = [pack(column, value_type) for column, value_type in zip(values, self.types, strict=True)]
        return Chunk(pack(at_us, "integer"), pack(host, "text"), columns)

    def events(self, start: int) -> Iterator[Event]:
        """The events from number `start` on."""
        for chunk, skipped in self.chunks_from(start):
            columns = [column.unpacked() for column in (chunk.at_us, chunk.host, *chunk.values)]
            for at_us, host, *values in list(zip(*columns, strict=True))[skipped:]:
                yield Event(at_us, host, self.kind, dict(zip(self.names, values, strict=True)))

    def lines(self, start: int) -> Iterator[str]:
        """The canonical lines from number `start` on, each ended by a line feed."""
        names = ("at_us", "host", "kind", *self.names)
        order = sorted(range(len(names)), key=names.__getitem__)
        # The kind is the same in all rows, so it belongs to the form of the line.
        texts = [json.dumps(self.kind).replace("%", "%%") if name == "kind" else "%s" for name in names]
        form = ",".join(f"{json.dumps(names[i]).replace('%', '%%')}:{texts[i]}" for i in order)
        form = f"{{{form}}}\n"
        for chunk, skipped in self.chunks_from(start):
            columns: list[Column | None] = [chunk.at_us, chunk.host, None, *chunk.values]
            rendered = [column.rendered() for i in order if (column := columns[i]) is not None]
            yield from [form % row for row in list(zip(*rendered, strict=True))[skipped:]]


class Trace:
    """Events in the order in which they happened."""

    def __init__(self) -> None:
        self._tables: dict[tuple[Any, ...], Table] = {}
        self._order = array("I")  # for each event the table that it is the next row of
        self._sha = hashlib.sha256()
        self._digested = 0  # events that the digest covers so far

    def record(self, at_s: float, host: str, kind: str, **values: Value) -> None:
        """Append an event that happened at `at_s` seconds.

        Raises `TypeError` for a value of another type than `Value`, `ValueError` for a name in `RESERVED`.
        """
        self.append(round(at_s * 1_000_000), host, kind, values)

    def append(self, at_us: int, host: str, kind: str, values: Mapping[str, Value]) -> None:
        """As `record`, with the moment in microseconds."""
        key = (kind, *values, *map(type, values.values()))
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._new_table(kind, values)
        if table.holds_lists:
            values = {name: _snapshot(value) for name, value in values.items()}
        rows = table.rows
        rows.append((at_us, host, *values.values()))
        self._order.append(table.index)
        if len(rows) == _CHUNK_ROWS:
            table.pack()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, start: int = 0) -> Iterator[Event]:
        """The events from number `start` on (the first is 0), as many as there are now."""
        return self._merged(start, Table.events)

    def of_kind(self, kind: str) -> list[Event]:
        """All events of one kind."""
        indices = [table.index for table in self.tables() if table.kind == kind]
        order = self.order()
        return list(_merge(order[np.isin(order, indices)], {i: self.tables()[i].events(0) for i in indices}))

    def lines(self, start: int = 0) -> list[str]:
        """The canonical form of every event from number `start` on."""
        return [line[:-1] for line in self._merged(start, Table.lines)]

    def digest(self) -> str:
        """SHA-256 over the canonical lines, each ended by a line feed, as 64 hexadecimal digits.

        Takes up where the last call left off.
        """
        lines = self._merged(self._digested, Table.lines)
        self._digested = len(self)
        for line in _joined(lines):
            self._sha.update(line.encode())
        return self._sha.hexdigest()

    # -- for those who write traces down ---------------------------------------------------------

    def tables(self) -> Sequence[Table]:
        """The tables, in the order in which their first events were recorded."""
        return list(self._tables.values())

    def order(self) -> NDArray[np.uint32]:
        """For each event the index of the table that it is the next row of."""
        return np.array(self._order, dtype=np.uint32)

    # -- inside ----------------------------------------------------------------------------------

    def _new_table(self, kind: str, values: Mapping[str, Value]) -> Table:
        types: list[ValueType] = []
        "".join((kind, *values)).encode()  # a UnicodeEncodeError now rather than when the trace is written
        for name, value in values.items():
            if name in RESERVED:
                raise ValueError(f'an event of the kind "{kind}" cannot have a value called "{name}": choose another')
            value_type = type_of(type(value))
            if value_type is None:
                raise TypeError(
                    f'the value "{name}" of an event of the kind "{kind}" is a {type(value).__name__}; expected '
                    "str, int, float, bool, None or a list of str"
                )
            types.append(value_type)
        return Table(len(self._tables), kind, tuple(values), tuple(types))

    def _merged(self, start: int, rows: Any) -> Iterator[Any]:
        order = self.order()
        before = np.bincount(order[:start], minlength=len(self._tables)).tolist()
        sources = {table.index: rows(table, before[table.index]) for table in self.tables()}
        return _merge(order[start:], sources)


def _merge(order: NDArray[np.uint32], sources: Mapping[int, Iterator[T]]) -> Iterator[T]:
    """The next row of the table that each entry of `order` names."""
    for start in range(0, len(order), _LINES_AT_ONCE):
        for index in order[start : start + _LINES_AT_ONCE].tolist():
            yield next(sources[index])


def _joined(lines: Iterator[str]) -> Iterator[str]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _LINES_AT_ONCE:
            yield "".join(batch)
            batch.clear()
    yield "".join(batch)


def _snapshot(value: Value) -> Any:
    """A list as it is now; whoever recorded it may go on to change it."""
    if not isinstance(value, list):
        return value
    for text in value:
        if not isinstance(text, str):
            raise TypeError(f"a list in an event holds {text!r}; expected texts only")
    return tuple(value)
