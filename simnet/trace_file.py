"""Traces as column files (Parquet): for pandas, DuckDB and whatever else reads them, and to be read back exactly.

One row an event, in order. Columns: `at_us` (int64, microseconds of virtual time), `host` and `kind` (dictionaries of
texts), one column for every name of a value (int64, double, bool, text or list of texts; null where an event has no
such value), and `more`: JSON, of the values that their column cannot hold exactly. These are None, integers of more
than 64 bits, text that is no Unicode, and values of another type than their column's. (A column is of the first type
that was recorded under its name; where integers and floats come under one name it holds floats, and `more` says which
were integers.) A value in `more` takes precedence over its column.

The file's own metadata hold the version of this form (`simnet.trace.version`), the digest and the number of events;
`read` verifies them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simnet.columns import Column, Numbers, ValueType
from simnet.errors import TraceFileError
from simnet.trace import RESERVED, Table, Trace, Value

if TYPE_CHECKING:
    import pyarrow

VERSION = "1"
_PREFIX = "simnet.trace."
_ROWS_AT_ONCE = 65_536
_DTYPES: dict[ValueType, Any] = {"integer": np.int64, "number": np.float64, "truth": np.bool_}


def write(trace: Trace, path: Path) -> None:
    """Write a trace to `path`. Raises `OSError` if that cannot be."""
    import pyarrow.parquet  # here, so that `import simnet` stays fast

    types = _column_types(trace.tables())
    schema = _schema(types, {"version": VERSION, "digest": trace.digest(), "events": str(len(trace))})
    order = trace.order()
    done = dict.fromkeys(range(len(trace.tables())), 0)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(order), _ROWS_AT_ONCE):
            part = order[start : start + _ROWS_AT_ONCE]
            rows = _Rows(len(part), types)
            for table in trace.tables():
                places = np.flatnonzero(part == table.index)
                if len(places):
                    rows.fill(table, places, _stretch(table, done[table.index], len(places)))
                    done[table.index] += len(places)
            writer.write_batch(rows.batch(schema))


def read(path: Path) -> Trace:
    """The trace in a file that `write` wrote. Raises `TraceFileError` for anything else."""
    import pyarrow.parquet

    trace = Trace()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            metadata = _metadata(path, file.schema_arrow)
            _check_columns(path, file.schema_arrow)
            for group in range(file.num_row_groups):
                _append_rows(trace, file.read_row_group(group))
            digest = trace.digest()
    except (OSError, ValueError, TypeError, LookupError, pyarrow.ArrowException) as error:
        if isinstance(error, TraceFileError):
            raise
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TraceFileError(f"{path} is no trace, or is damaged: {text}") from error
    if metadata["events"] != str(len(trace)):
        raise TraceFileError(f"{path} is damaged: it has {len(trace)} events, {metadata['events']} were written")
    if metadata["digest"] != digest:
        raise TraceFileError(
            f"{path} was changed since it was written: its events have the digest {digest[:16]}..., "
            f"the digest written with them is {metadata['digest'][:16]}..."
        )
    return trace


def _metadata(path: Path, schema: pyarrow.Schema) -> dict[str, str]:
    stored = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    found = {name: stored.get(_PREFIX + name, "") for name in ("version", "digest", "events")}
    if not found["version"]:
        raise TraceFileError(f"{path} is no trace of simnet: it says nothing of {_PREFIX}version")
    if found["version"] != VERSION:
        raise TraceFileError(
            f"{path} is a trace of version {found['version']}, this program reads version {VERSION}: run again"
        )
    return found


def _check_columns(path: Path, schema: pyarrow.Schema) -> None:
    for expected in _schema({}, {}):
        found = schema.field(expected.name).type if expected.name in schema.names else "nothing"
        if found != expected.type:
            raise TraceFileError(
                f'{path} is damaged: its column "{expected.name}" should hold {expected.type}, it holds {found}'
            )
    allowed = _arrow_types().values()
    for name in schema.names:
        if name not in RESERVED and schema.field(name).type not in allowed:
            raise TraceFileError(f'{path} is damaged: its column "{name}" holds {schema.field(name).type}')


# -- writing --------------------------------------------------------------------------------------


def _column_types(tables: Sequence[Table]) -> dict[str, ValueType]:
    """The type of the column of every name, in the order in which the names came up."""
    types: dict[str, ValueType] = {}
    for table in tables:
        for name, value_type in zip(table.names, table.types, strict=True):
            known = types.setdefault(name, value_type)
            if known == "none" or {known, value_type} == {"integer", "number"}:
                types[name] = value_type if known == "none" else "number"
    return types


def _schema(types: dict[str, ValueType], metadata: dict[str, str]) -> pyarrow.Schema:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    arrow_types = _arrow_types()
    fields = [
        pa.field("at_us", pa.int64()),
        pa.field("host", words),
        pa.field("kind", words),
        *(pa.field(name, arrow_types[kind]) for name, kind in types.items() if kind != "none"),
        pa.field("more", pa.string()),
    ]
    return pa.schema(fields, {_PREFIX + name: text for name, text in metadata.items()})


def _arrow_types() -> dict[ValueType, pyarrow.DataType]:
    import pyarrow as pa

    return {
        "integer": pa.int64(),
        "number": pa.float64(),
        "truth": pa.bool_(),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
    }


def _stretch(table: Table, start: int, length: int) -> Iterator[tuple[list[Column], slice]]:
    """Packed columns (at_us, host, values) that together hold `length` rows from number `start` on."""
    for chunk, skipped in table.chunks_from(start):
        rows = min(len(chunk.at_us) - skipped, length)
        if rows <= 0:
            return
        yield [chunk.at_us, chunk.host, *chunk.values], slice(skipped, skipped + rows)
        length -= rows


@dataclass
class _Rows:
    """Rows of the file in the making: a numpy array for each column, and what does not fit into it."""

    length: int
    types: dict[str, ValueType]
    data: dict[str, NDArray[Any]] = field(init=False)
    absent: dict[str, NDArray[np.bool_]] = field(init=False)
    more: dict[int, dict[str, Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        types: dict[str, ValueType] = {"at_us": "integer", "host": "text", "kind": "text", **self.types}
        self.types = {name: value_type for name, value_type in types.items() if value_type != "none"}
        self.data, self.absent = {}, {}
        for name, value_type in self.types.items():
            dtype = _DTYPES.get(value_type, object)
            self.data[name] = np.full(self.length, None) if dtype is object else np.zeros(self.length, dtype)
            self.absent[name] = np.ones(self.length, np.bool_)

    def fill(self, table: Table, places: NDArray[np.int64], stretch: Iterator[tuple[list[Column], slice]]) -> None:
        """Put consecutive rows of a table at `places`."""
        names = ("at_us", "host", *table.names)
        types: tuple[ValueType, ...] = ("integer", "text", *table.types)
        self.data["kind"][places] = table.kind
        self.absent["kind"][places] = False
        done = 0
        for columns, rows in stretch:
            here = places[done : done + rows.stop - rows.start]
            done += len(here)
            for name, value_type, column in zip(names, types, columns, strict=True):
                self._put(name, value_type, column, rows, here)

    def _put(self, name: str, value_type: ValueType, column: Column, rows: slice, places: NDArray[np.int64]) -> None:
        wanted = self.types.get(name)
        if wanted == value_type and (isinstance(column, Numbers) or value_type in ("text", "texts")):
            if isinstance(column, Numbers):
                self.data[name][places] = column.array[rows]
            else:
                values = column.unpacked()[rows]
                # An array of lists would become one of two dimensions.
                self.data[name][places] = np.fromiter(values, dtype=object, count=len(values))
            self.absent[name][places] = False
            return
        for place, value in zip(places.tolist(), column.unpacked()[rows], strict=True):
            self._put_one(name, place, value)

    def _put_one(self, name: str, place: int, value: Value) -> None:
        """A value that may not fit: what of it fits into the column, and all of it into `more`."""
        wanted = self.types.get(name)
        if wanted == "integer" and type(value) is int and -(2**63) <= value < 2**63:
            self.data[name][place] = value
            self.absent[name][place] = False
            return
        if wanted == "number" and type(value) is int and abs(value) < 2**1000:
            self.data[name][place] = float(value)
            self.absent[name][place] = False
        self.more.setdefault(place, {})[name] = value

    def batch(self, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
        """The rows as a record batch."""
        import pyarrow as pa

        arrays = []
        for name, value_type in self.types.items():
            wanted = schema.field(name).type
            if value_type in _DTYPES:
                arrays.append(pa.array(self.data[name], wanted, mask=self.absent[name]))
            elif pa.types.is_dictionary(wanted):
                arrays.append(self._texts(name, pa.string()).dictionary_encode())
            else:
                arrays.append(self._texts(name, wanted))
        more = (
            [None] * self.length
            if not self.more
            else [
                json.dumps(self.more[place], separators=(",", ":")) if place in self.more else None
                for place in range(self.length)
            ]
        )
        arrays.append(pa.array(more, pa.string()))
        return pa.record_batch(arrays, schema=schema)

    def _texts(self, name: str, wanted: pyarrow.DataType) -> pyarrow.Array:
        import pyarrow as pa

        values = self.data[name].tolist()
        try:
            return pa.array(values, wanted)
        except UnicodeEncodeError:
            for place, value in enumerate(values):
                if value is not None and not _is_unicode(value):
                    self.more.setdefault(place, {})[name] = value
                    values[place] = "?" if name in RESERVED else None
            return pa.array(values, wanted)


def _is_unicode(value: str | list[str]) -> bool:
    try:
        "".join(value).encode()
    except UnicodeEncodeError:
        return False
    return True


# -- reading --------------------------------------------------------------------------------------


def _append_rows(trace: Trace, rows: pyarrow.Table) -> None:
    at_us, hosts, kinds, more = (_unpacked(rows[name]) for name in ("at_us", "host", "kind", "more"))
    names = [name for name in rows.column_names if name not in RESERVED]
    columns = {name: _unpacked(rows[name]) for name in names}
    present = {name: rows[name].is_valid().to_numpy() for name in names}
    # Of the many columns of a file, events of one kind use few.
    array_of_kinds = np.array(kinds)
    used = {
        kind: [(name, columns[name]) for name in names if present[name][array_of_kinds == kind].any()]
        for kind in dict.fromkeys(kinds)
    }
    for row, kind in enumerate(kinds):
        values = {name: value for name, column in used[kind] if (value := column[row]) is not None}
        host = hosts[row]
        if more[row] is not None:
            values |= json.loads(more[row])
            host = values.pop("host", host)
        trace.append(at_us[row], host, kind, values)


def _unpacked(column: pyarrow.ChunkedArray) -> list[Any]:
    """What `column.to_pylist()` gives, in a fifth of the time."""
    import pyarrow as pa

    whole = column.combine_chunks()
    if pa.types.is_list(whole.type):
        return list(whole.to_pylist())
    if pa.types.is_string(whole.type):
        whole = whole.dictionary_encode()
    if pa.types.is_dictionary(whole.type):
        words = np.array([*whole.dictionary.to_pylist(), None], dtype=object)
        return list(words[whole.indices.fill_null(len(words) - 1).to_numpy()].tolist())
    filler = False if pa.types.is_boolean(whole.type) else 0
    values = whole.fill_null(filler).to_numpy(zero_copy_only=False).astype(object)
    values[whole.is_null().to_numpy(zero_copy_only=False)] = None
    return list(values.tolist())
