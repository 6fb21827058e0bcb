"""Files of flow records, read in portions: the values of the features, who recorded them, what they are.

Only a portion of a file is in memory at a time, whatever its size. What is wrong with a file is told by
`collab.data.flows.diagnosis`, which reads slowly and is asked only when reading fast has failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from collab.data.flows.diagnosis import diagnose, unknown_label
from collab.data.flows.flow_format import Feature, FlowFormat
from collab.data.flows.header import Header, read_header
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

_BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class FlowBatch:
    """Some flows in a row.

    `values` are float32 [n, features], NaN where one is missing, text as the number of its value; `attacks` the number
    of each in the format's `attacks`, -1 if labels were not asked for, or for an unknown one that was let pass;
    `stations` the number of each in `station_names`, which holds those met so far; `sessions` count captures over all
    stations; `rows` the row of each in its file, from 1.
    """

    values: NDArray[np.float32]
    attacks: NDArray[np.int64]
    stations: NDArray[np.int64]
    station_names: tuple[str, ...]
    sessions: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)


def read_flows(
    paths: Sequence[Path],
    form: FlowFormat,
    *,
    labelled: bool = True,
    unknown_labels: Literal["refuse", "pass"] = "refuse",
    progress: Progress = silence,
) -> Iterator[FlowBatch]:
    """The flows of all files, one file after another, in their order.

    Raises `DataError` for a file that is missing or of other columns, or that lacks labels where they are asked for;
    `DamagedDataError`, with row and column, for one that cannot be read.
    """
    places = _Places(form)
    for path in paths:
        header = read_header(path, form, labelled=labelled)
        places.open(path)
        row = 1
        for table in _tables(path, header, form, labelled=labelled, progress=progress):
            attacks = np.full(table.num_rows, -1, np.int64)
            if labelled:
                attacks = _attacks(table, path, form, row, passing=unknown_labels == "pass")
            batch = _batch(table, path, header, form, places, row, attacks)
            row += len(batch)
            yield batch


def _tables(
    path: Path, header: Header, form: FlowFormat, *, labelled: bool, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The columns that are needed, a portion at a time."""
    types = {column: pa.string() for column in form.columns_of_text(labelled=labelled)}
    for column in form.columns_of_numbers():
        types.setdefault(column, pa.float32())
    if form.station.restarts is not None:
        types[form.station.restarts] = pa.int64()
    comments = form.comments
    options = (
        csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=list(header.columns), skip_rows=header.lines),
        csv.ParseOptions(
            delimiter=form.separator,
            invalid_row_handler=None
            if comments is None
            else lambda row: "skip" if (row.text or "").startswith(comments) else "error",
        ),
        csv.ConvertOptions(
            column_types=types,
            null_values=["", *form.missing],
            strings_can_be_null=True,
            include_columns=list(types),
        ),
    )
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if size <= header.size_bytes:
                return
            with csv.open_csv(file, *options) as reader:
                for table in reader:
                    yield table
                    progress(f"reading {path.name}", file.tell(), size, "B")
    except pa.ArrowInvalid as error:
        diagnose(path, header, form)
        raise DamagedDataError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _batch(
    table: pa.RecordBatch,
    path: Path,
    header: Header,
    form: FlowFormat,
    places: _Places,
    row: int,
    attacks: NDArray[np.int64],
) -> FlowBatch:
    values = np.empty((table.num_rows, len(form.features)), np.float32)
    for index, feature in enumerate(form.features):
        try:
            values[:, index] = _numbers(table.column(feature.column), feature)
        except pa.ArrowInvalid as error:  # numbers that are needed as text, too
            diagnose(path, header, form)
            raise DamagedDataError(f"{path}, column {feature.column}: {error}") from error
    stations, sessions = places.of(table, row, path)
    rows = np.arange(row, row + table.num_rows)
    return FlowBatch(values, attacks, stations, tuple(places.names), sessions, rows)


def _numbers(column: pa.Array, feature: Feature) -> NDArray[Any]:
    """A column as numbers, NaN where it is missing; words are numbered from 1, others than the known alike."""
    if not feature.is_text:
        if pa.types.is_string(column.type):
            column = pc.cast(pc.utf8_trim_whitespace(column), pa.float32())
        return np.asarray(column.to_numpy(zero_copy_only=False))
    code = _codes(column, feature.values)
    others = pc.and_(pc.is_null(code), pc.is_valid(column))
    code = pc.if_else(others, len(feature.values), code)
    return np.asarray(pc.cast(pc.add(code, 1), pa.float32()).to_numpy(zero_copy_only=False))


def _codes(column: pa.Array, words: Sequence[str]) -> pa.Array:
    """The place of each text in `words`; null for others."""
    return pc.index_in(pc.utf8_trim_whitespace(column), value_set=pa.array(words, pa.string()))


def _attacks(table: pa.RecordBatch, path: Path, form: FlowFormat, row: int, *, passing: bool) -> NDArray[np.int64]:
    """What each flow is, as its number in `form.attacks`.

    Raises `DamagedDataError` for what it does not know, unless that is `passing`, as -1.
    """
    label = form.label
    if label is None:
        raise AssertionError("the header was checked for labels")
    if label.column is not None:
        codes = _codes(table.column(label.column), form.attacks)
        if passing:
            codes = pc.fill_null(codes, -1)
        if codes.null_count:
            first = int(np.flatnonzero(np.asarray(codes.is_null()))[0])
            raise unknown_label(path, form, row + first, table.column(label.column)[first].as_py())
        return np.asarray(codes).astype(np.int64)
    found = np.full(table.num_rows, form.attacks.index(str(label.otherwise)), np.int64)
    undecided = np.ones(table.num_rows, bool)
    for rule in label.rules:
        fits = undecided.copy()
        for column, texts in rule.when.items():
            fits &= np.asarray(pc.is_valid(_codes(table.column(column), texts)))
        found[fits] = form.attacks.index(rule.label)
        undecided &= ~fits
    return found


@dataclass
class _Places:
    """Who recorded each flow and in which capture, followed from portion to portion."""

    form: FlowFormat
    names: list[str] = field(default_factory=list)
    _station: int = -1
    _count: int = -1  # the last value of the column that restarts
    _last: dict[int, float] = field(default_factory=dict)  # station -> the last value of the column that falls
    _sessions: dict[tuple[int, str], int] = field(default_factory=dict)
    _captures: dict[int, int] = field(default_factory=dict)  # station -> captures begun so far
    _file: int = 0

    def open(self, path: Path) -> None:
        """Another file begins."""
        station = self.form.station
        self._file += 1
        self._count = -1
        self._last.clear()
        if station.file:
            self._station = self._number(path.stem)
        elif station.column is None and station.restarts is None:
            self._station = self._number(f"{station.prefix}1")

    def of(self, table: pa.RecordBatch, row: int, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Station and session of each flow, as numbers."""
        stations = self._stations(table, row, path)
        sessions = np.empty(table.num_rows, np.int64)
        session, texts, falling = self.form.session, None, None
        if session.column is not None:
            texts = table.column(session.column).to_pylist()
        elif session.falls is not None:
            falling = table.column(session.falls).to_numpy(zero_copy_only=False)
        for station in np.unique(stations).tolist():
            own = np.flatnonzero(stations == station)
            if texts is not None:
                called = [self._session(station, f"={texts[index]}") for index in own.tolist()]
                sessions[own] = called
            elif falling is not None:
                sessions[own] = self._by_falls(station, falling[own])
            else:
                sessions[own] = self._session(station, f"file {self._file}")
        return stations, sessions

    def _stations(self, table: pa.RecordBatch, row: int, path: Path) -> NDArray[np.int64]:
        station = self.form.station
        if station.column is not None:
            words = table.column(station.column).dictionary_encode()
            numbers = [self._number((word or "").strip()) for word in words.dictionary.to_pylist()]
            missing = self._number("unknown") if words.null_count else -1
            codes = np.asarray(pc.fill_null(words.indices, len(numbers)))
            return np.asarray(np.array([*numbers, missing], np.int64)[codes])
        if station.restarts is not None:
            return self._by_restarts(table.column(station.restarts), station.restarts, row, path)
        return np.full(table.num_rows, self._station, np.int64)

    def _by_restarts(self, column: pa.Array, name: str, row: int, path: Path) -> NDArray[np.int64]:
        """A new station at each 0; a count that is not one more than the last says that rows are lost or moved."""
        count = np.asarray(pc.fill_null(column, -1), dtype=np.int64)
        before = np.concatenate(([self._count], count[:-1]))
        begins = count == 0
        wrong = np.flatnonzero(~begins & (count != before + 1))
        if len(wrong):
            first = int(wrong[0])
            raise DamagedDataError(
                f"{path}, row {row + first}, column {name}: found {count[first]}, expected {before[first] + 1}, one "
                "more than in the row before, or 0 where a station begins: rows are missing, or in another order"
            )
        stations = self._station + np.cumsum(begins)
        for number in range(self._station + 1, int(stations[-1]) + 1 if len(stations) else 0):
            self._number(f"{self.form.station.prefix}{number + 1}")
        if len(count):
            self._station, self._count = int(stations[-1]), int(count[-1])
        return stations.astype(np.int64)

    def _by_falls(self, station: int, values: NDArray[Any]) -> NDArray[np.int64]:
        """A new session where the values fall; missing ones are passed over."""
        known = np.flatnonzero(~np.isnan(values))
        steps = np.zeros(len(values), np.int64)
        if len(known):
            last = self._last.get(station, -np.inf)
            steps[known] = values[known] < np.concatenate(([last], values[known][:-1]))
            self._last[station] = float(values[known[-1]])
        first = self._captures.setdefault(station, 0)
        begun = first + np.cumsum(steps)
        self._captures[station] = int(begun[-1])
        numbers = {n: self._session(station, f"#{self._file} {n}") for n in range(first, int(begun[-1]) + 1)}
        return np.array([numbers[n] for n in begun.tolist()], np.int64)

    def _session(self, station: int, called: str) -> int:
        return self._sessions.setdefault((station, called), len(self._sessions))

    def _number(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)
