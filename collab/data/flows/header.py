"""The columns that a file of flow records has, and whether they are those that its mapping needs."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from collab.data.flows.flow_format import FlowFormat
from collab.document import nearest
from collab.errors import DamagedDataError, DataError

_MOST_HEADER_LINES = 100
_LONGEST_LINE = 1 << 20
FIELDS = "#fields"
"""What the line that names the columns begins with, as Zeek writes it."""


@dataclass(frozen=True)
class Header:
    """Names of the columns in order, and how many bytes of the file come before the line after them."""

    columns: tuple[str, ...]
    size_bytes: int


def read_header(path: Path, form: FlowFormat, *, labelled: bool) -> Header:
    """The header of a file, checked against the mapping.

    Raises `DataError` if there is no such file, it lacks a column that the mapping names, or it has others than the
    mapping lists; `DamagedDataError` if it has no header.
    """
    header = _read(path, form)
    if form.columns:
        _check_exactly(path, header.columns, form.columns)
    if labelled and form.label is None:
        raise DataError(
            f"the mapping {form.name} does not say what a flow is; give it a label, with column and classes"
        )
    if labelled and form.label is not None and form.label.column is not None:
        _check_label(path, header.columns, form.label.column)
    for column in (*form.columns_of_text(labelled=labelled), *form.columns_of_numbers()):
        if column not in header.columns:
            raise DataError(
                f'{path}: there is no column "{column}", which the mapping {form.name} names'
                f"{nearest(column, header.columns)}"
            )
    return header


def _read(path: Path, form: FlowFormat) -> Header:
    read_bytes = 0
    try:
        with path.open("rb") as file:
            for number in range(1, _MOST_HEADER_LINES + 1):
                line = file.readline(_LONGEST_LINE)
                read_bytes += len(line)
                if not line:
                    break
                if len(line) == _LONGEST_LINE:
                    raise DamagedDataError(
                        f"{path}:{number}: found a line of more than 1 MB, expected the columns' names"
                    )
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if "\0" in text:
                    raise DamagedDataError(
                        f"{path}:{number}: found bytes that are no text; is it packed, or a capture?"
                    )
                if form.header == "fields":
                    if text.startswith(FIELDS):
                        return Header(columns_of_fields(text, form.separator), read_bytes)
                elif text.strip() and not (form.comments and text.startswith(form.comments)):
                    return Header(_named(next(csv.reader([text], delimiter=form.separator))), read_bytes)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise DamagedDataError(f"{path}:1: its header is no UTF-8 text ({error}); save the file as UTF-8") from error
    except csv.Error as error:
        raise DamagedDataError(f"{path}:1: the header cannot be read: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    wanted = f"a line that begins with {FIELDS}" if form.header == "fields" else "a first line with the columns' names"
    raise DamagedDataError(f"{path}: found no header, expected {wanted}")


def columns_of_fields(line: str, separator: str) -> tuple[str, ...]:
    """The columns that a line `#fields` names."""
    return _named(line.rstrip("\r\n").split(separator)[1:])


def _named(columns: Sequence[str]) -> tuple[str, ...]:
    """Names without blanks around them, each once: of columns of one name the later get a number.

    One without a name is called as pandas calls it, `Unnamed: 0`: an index that it has written is often so.
    """
    names: dict[str, None] = {}
    for index, column in enumerate(columns):
        name = column.strip() or f"Unnamed: {index}"
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        names[name if name not in names else next(other for other in numbered if other not in names)] = None
    return tuple(names)


def _check_exactly(path: Path, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    for number, (ours, theirs) in enumerate(zip_longest(found, expected), 1):
        if ours == theirs:
            continue
        if set(found) == set(expected):
            what = f'is "{ours}", expected "{theirs}": the columns are in another order'
        elif ours is None:
            what = f'is missing, expected "{theirs}": the file has {len(found)} columns of {len(expected)}'
        elif theirs is None:
            what = f'is "{ours}", expected no more than {len(expected)} columns'
        else:
            what = f'is "{ours}", expected "{theirs}"'
        raise DataError(
            f"{path}:1: column {number} {what}; other columns can be read with dataset.name: flow-csv and a mapping"
        )


def _check_label(path: Path, found: tuple[str, ...], column: str) -> None:
    if column not in found:
        raise DataError(
            f'{path}: the flows have no labels: there is no column "{column}"{nearest(column, found)}; training and '
            "judging need them (collab detect labels flows that have none)"
        )
