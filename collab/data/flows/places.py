"""Who recorded each flow, and in which capture, followed from portion to portion of the files.

Stations and sessions are numbered in the order in which they are met, whatever the size of the portions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collab.data.flows.flow_format import FlowFormat
from collab.errors import DamagedDataError, DataError

UNKNOWN = "unknown"
"""The station of flows that name none."""
_MOST_STATIONS = 10_000
_MOST_SESSIONS = 100_000


class Places:
    """Station and session of flows that are shown in their order; `names` are those of the stations met so far.

    `gap` says where rows seem to be missing, which is an error unless `gaps` are to be passed.
    """

    def __init__(self, form: FlowFormat, *, gaps: bool) -> None:
        self.names: list[str] = []
        self.gap: str | None = None
        self._form, self._pass_gaps = form, gaps
        self._numbers: dict[str, int] = {}
        self._sessions: dict[int, int] = {}  # of a station and a capture, see `_numbered`
        self._file, self._station = 0, -1
        self._count = -1  # the last value of the column that restarts
        self._last: dict[int, float] = {}  # station -> the last value of the column that falls
        self._captures: dict[int, int] = {}  # station -> captures begun before this one
        self._captures_called: dict[str, int] = {}

    def open(self, path: Path) -> None:
        """Another file begins."""
        station = self._form.station
        self._file += 1
        self._count = -1
        self._last.clear()
        self._captures = {number: capture + 1 for number, capture in self._captures.items()}
        if station.file:
            self._station = self._number(path.stem, path)
        elif station.column is None and station.restarts is None:
            self._station = self._number(f"{station.prefix}1", path)

    def of(self, table: pa.RecordBatch, row: int, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Station and session of each flow, as numbers; `row` is that of the first in its file.

        Raises `DamagedDataError` for a count of rows that is broken, `DataError` for more stations than can be.
        """
        stations = self._stations(table, row, path)
        session = self._form.session
        captures = np.full(len(stations), self._file, np.int64)
        if session.column is not None:
            captures = self._called(table.column(session.column), path)
        elif session.falls is not None:
            values = as_numbers(table.column(session.falls), pa.float64()).to_numpy(zero_copy_only=False)
            captures = self._by_falls(stations, values)
        return stations, self._numbered(stations, captures, path)

    # -- stations --------------------------------------------------------------------------------

    def _stations(self, table: pa.RecordBatch, row: int, path: Path) -> NDArray[np.int64]:
        station = self._form.station
        if station.column is not None:
            codes, words = _words(table.column(station.column))
            return np.array([self._number(word, path) for word in words], np.int64)[codes]
        if station.restarts is not None:
            count = as_numbers(table.column(station.restarts), pa.int64())
            return self._by_restarts(np.asarray(pc.fill_null(count, -1)).astype(np.int64), row, path)
        return np.full(table.num_rows, self._station, np.int64)

    def _by_restarts(self, count: NDArray[np.int64], row: int, path: Path) -> NDArray[np.int64]:
        """A new station at each 0; otherwise the count is one more than in the row before."""
        before = np.concatenate(([self._count], count[:-1]))
        begins = count == 0
        wrong = np.flatnonzero(~begins & (count != before + 1))
        if len(wrong):
            self._broken(wrong, count, before, row, path)
        stations = self._station + np.cumsum(begins)
        for number in range(self._station + 1, int(stations[-1]) + 1 if len(stations) else 0):
            self._number(f"{self._form.station.prefix}{number + 1}", path)
        if len(count):
            self._station, self._count = int(stations[-1]), int(count[-1])
        return stations.astype(np.int64)

    def _broken(
        self, wrong: NDArray[np.int64], count: NDArray[np.int64], before: NDArray[np.int64], row: int, path: Path
    ) -> None:
        """Rows at which the count goes on with another number than the next. Going back, or nothing, is an error."""
        back = wrong[(count[wrong] <= before[wrong]) | (before[wrong] < 0)]
        first = int(wrong[0])
        if len(back) and (self._pass_gaps or back[0] == first):
            first = int(back[0])
        found = "nothing" if count[first] == -1 else str(count[first])
        expected = f"{before[first] + 1}, one more than in the row before, or 0 where a station begins"
        if row + first == 1:
            expected = "0, with which every station begins"
        told = f"{path}, row {row + first}, column {self._form.station.restarts}: found {found}, expected {expected}"
        if first in back:
            raise DamagedDataError(f"{told}: rows are in another order, or the first ones are missing")
        self.gap = self.gap or f"{told}: rows are missing, or in another order"
        if not self._pass_gaps:
            raise DamagedDataError(self.gap)

    def _number(self, name: str, path: Path) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            if number >= _MOST_STATIONS:
                raise DataError(
                    f"{path}: there are more than {_MOST_STATIONS:,} stations; does the mapping's station.column "
                    f"({self._form.station.column}) name who recorded a flow?"
                )
            self.names.append(name)
        return number

    # -- sessions --------------------------------------------------------------------------------

    def _called(self, column: pa.Array, path: Path) -> NDArray[np.int64]:
        codes, words = _words(column)
        numbers = [self._captures_called.setdefault(word, len(self._captures_called)) for word in words]
        self._check_sessions(len(self._captures_called), path)
        return np.array(numbers, np.int64)[codes]

    def _by_falls(self, stations: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.int64]:
        """A new capture of a station where the values fall; missing ones are passed over."""
        captures = np.empty(len(values), np.int64)
        order = np.argsort(stations, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(stations[order])) + 1):
            if not len(own):
                continue
            station = int(stations[own[0]])
            ours = values[own]
            known = np.flatnonzero(~np.isnan(ours))
            falls = np.zeros(len(own), np.int64)
            if len(known):
                falls[known] = ours[known] < np.concatenate(([self._last.get(station, -np.inf)], ours[known][:-1]))
                self._last[station] = float(ours[known[-1]])
            captures[own] = self._captures.get(station, 0) + np.cumsum(falls)
            self._captures[station] = int(captures[own[-1]])
        return captures

    def _numbered(self, stations: NDArray[np.int64], captures: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
        """Sessions, each a station and a capture, by the order in which they are met."""
        keys, first, which = np.unique((stations << 32) | captures, return_index=True, return_inverse=True)
        numbers = np.empty(len(keys), np.int64)
        for place in np.argsort(first).tolist():
            numbers[place] = self._sessions.setdefault(int(keys[place]), len(self._sessions))
        self._check_sessions(len(self._sessions), path)
        return np.asarray(numbers[which.reshape(-1)])

    def _check_sessions(self, number: int, path: Path) -> None:
        if number > _MOST_SESSIONS:
            session = self._form.session
            raise DataError(
                f"{path}: there are more than {_MOST_SESSIONS:,} capture sessions; does the mapping's session "
                f"({session.column or session.falls}) say where one ends?"
            )


def as_numbers(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as numbers, though it is needed as text or more exactly, too; rounded to what `kind` holds.

    Raises `pyarrow.ArrowInvalid` for a text that is no number.
    """
    if pa.types.is_string(column.type):
        return pc.cast(pc.utf8_trim_whitespace(column), kind)
    return column if column.type == kind else pc.cast(column, kind, safe=False)


def _words(column: pa.Array) -> tuple[NDArray[np.int64], list[str]]:
    """The texts of a column in the order in which they come, and the place of each row's among them."""
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(column), "")
    coded = pc.if_else(pc.equal(trimmed, ""), UNKNOWN, trimmed).dictionary_encode()
    return np.asarray(coded.indices).astype(np.int64), coded.dictionary.to_pylist()
