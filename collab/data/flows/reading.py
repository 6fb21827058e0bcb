"""Files of flow records, read in portions: the values of the features, who recorded them, what they are.

Only a portion of a file is in memory at a time, whatever its size. What is wrong with a file is told by
`collab.data.flows.diagnosis`, which reads slowly and is asked only when reading fast has failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from collab.data.flows.places import Places, as_numbers
from collab.data.flows.row_bytes import RowBytes
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

_BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class FlowBatch:
    """Some flows in a row.

    `values` are float32 [n, features], NaN where one is missing, text as the number of its value; `attacks` the number
    of each in the format's `attacks`, -1 if labels were not asked for, or one is unknown and passed; `stations` the
    number of each in `station_names`, which holds those met so far; `sessions` count captures over all stations; `rows`
    the row of each, from 1, counted on from file to file.
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
    flows: int | None = None,
    progress: Progress = silence,
) -> Iterator[FlowBatch]:
    """The flows of all files, one file after another, in their order; `flows` is how many there must be, if known.

    Raises `DataError` for a file that is missing or of other columns, or that lacks labels where they are asked for;
    `DamagedDataError`, with row and column, for one that cannot be read, or if there are not as many flows.
    """
    places = Places(form, gaps=flows is not None)
    total = 0
    for path in paths:
        header = read_header(path, form, labelled=labelled)
        places.open(path)
        row = 1
        for table in _tables(path, header, form, labelled=labelled, progress=progress):
            attacks = np.full(table.num_rows, -1, np.int64)
            if labelled:
                attacks = _attacks(table, path, form, row, refuse=unknown_labels == "refuse")
            try:
                values = _values(table, form)
                stations, sessions = places.of(table, row, path)
            except pa.ArrowInvalid as error:  # numbers that are needed as text, too
                diagnose(path, header, form)
                raise DamagedDataError(f"{path}: {error}") from error
            row, total = row + table.num_rows, total + table.num_rows
            rows = np.arange(total - table.num_rows + 1, total + 1)
            yield FlowBatch(values, attacks, stations, tuple(places.names), sessions, rows)
    if flows is not None and total != flows:
        how = "ends too early" if total < flows else "goes on for too long"
        raise DamagedDataError(
            f"{paths[-1]}: found {total:,} flows, expected {flows:,}: the file {how}, at row {row - 1:,}"
            f"{'' if places.gap is None else f'; {places.gap}'}; other records can be read with dataset.name: flow-csv"
        )


def _tables(
    path: Path, header: Header, form: FlowFormat, *, labelled: bool, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The columns that are needed, a portion at a time."""
    types = dict.fromkeys(form.columns_of_numbers(), pa.float32())
    if form.session.falls is not None:
        types[form.session.falls] = pa.float64()  # seconds since 1970 are 128 apart in float32
    if form.station.restarts is not None:
        types[form.station.restarts] = pa.int64()
    types.update(dict.fromkeys(form.columns_of_text(labelled=labelled), pa.string()))
    options = (
        csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=list(header.columns)),
        csv.ParseOptions(delimiter=form.separator, quote_char='"' if form.has_quotes else False),
        csv.ConvertOptions(
            column_types=types,
            null_values=["", *form.missing],
            strings_can_be_null=True,
            include_columns=list(types),
        ),
    )
    try:
        size = path.stat().st_size
        fields = form.separator if form.header == "fields" else None
        with RowBytes(path, header, form.comments, fields) as rows:
            if rows.is_empty():
                return
            with csv.open_csv(rows, *options) as reader:
                for table in reader:
                    yield table
                    progress(f"reading {path.name}", rows.tell(), size, "B")
    except pa.ArrowInvalid as error:
        diagnose(path, header, form)
        raise DamagedDataError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _values(table: pa.RecordBatch, form: FlowFormat) -> NDArray[np.float32]:
    values = np.empty((table.num_rows, len(form.features)), np.float32)
    for index, feature in enumerate(form.features):
        values[:, index] = _numbers(table.column(feature.column), feature)
    return values


def _numbers(column: pa.Array, feature: Feature) -> NDArray[Any]:
    """A column as numbers, NaN where it is missing; words are numbered from 1, others than the known alike."""
    if not feature.is_text:
        return np.asarray(as_numbers(column, pa.float32()).to_numpy(zero_copy_only=False))
    code = _codes(column, feature.values)
    others = pc.and_(pc.is_null(code), pc.is_valid(column))
    code = pc.if_else(others, len(feature.values), code)
    return np.asarray(pc.cast(pc.add(code, 1), pa.float32()).to_numpy(zero_copy_only=False))


def _codes(column: pa.Array, words: Sequence[str]) -> pa.Array:
    """The place of each text in `words`; null for others."""
    return pc.index_in(pc.utf8_trim_whitespace(column), value_set=pa.array(words, pa.string()))


def _attacks(table: pa.RecordBatch, path: Path, form: FlowFormat, row: int, *, refuse: bool) -> NDArray[np.int64]:
    """What each flow is, as its number in `form.attacks`; what is not known is -1, or refused: `DamagedDataError`."""
    label = form.label
    if label is None:
        raise AssertionError("the header was checked for labels")
    if label.column is not None:
        codes = _codes(table.column(label.column), form.attacks)
        if codes.null_count and refuse:
            first = int(np.flatnonzero(np.asarray(codes.is_null()))[0])
            raise unknown_label(path, form, row + first, table.column(label.column)[first].as_py())
        return np.asarray(pc.fill_null(codes, -1)).astype(np.int64)
    found = np.full(table.num_rows, form.attacks.index(str(label.otherwise)), np.int64)
    undecided = np.ones(table.num_rows, bool)
    for rule in label.rules:
        fits = undecided.copy()
        for column, texts in rule.when.items():
            fits &= np.asarray(pc.is_valid(_codes(table.column(column), texts)))
        found[fits] = form.attacks.index(rule.label)
        undecided &= ~fits
    return found
