"""What is wrong with a file of flow records: the first row and column that cannot be read, found by reading slowly."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from collab.data.flows.flow_format import FlowFormat
from collab.data.flows.header import Header
from collab.document import nearest
from collab.errors import DamagedDataError

_LONGEST_SHOWN = 60
_LONGEST_LINE = 16 * 1024 * 1024  # bytes: no more of a file without ends of lines is held
# What pyarrow reads as a number.
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)


def diagnose(path: Path, header: Header, form: FlowFormat) -> None:
    """Raise `DamagedDataError` for the first row of another number of columns, with text where numbers should be, or
    with bytes that are no text. Rows are counted from 1, without the header, empty lines and comments.
    """
    counted = form.station.restarts
    places = {column: header.columns.index(column) for column in form.columns_of_numbers()}
    missing = {"", *form.missing}
    for number, line in enumerate(_lines(path, header, form), 1):
        row = _columns(path, number, line, header, form)
        if len(row) != len(header.columns):
            raise _other_length(path, number, row, header)
        for column, place in places.items():
            pattern, wanted = (_WHOLE, "a whole number") if column == counted else (_NUMBER, "a number")
            if row[place] not in missing and not pattern.fullmatch(row[place].strip()):
                found = f"{path}, row {number}, column {column}: found " + f'"{_short(row[place])}"'
                raise DamagedDataError(f"{found}, expected {wanted}, or nothing")


def unknown_label(path: Path, form: FlowFormat, row: int, found: str | None) -> DamagedDataError:
    """The error for a flow that is of no class that the mapping knows."""
    column = form.label.column if form.label else None
    if found is None or not found.strip():
        return DamagedDataError(f"{path}, row {row}, column {column}: found nothing, expected what the flow is")
    return DamagedDataError(
        f'{path}, row {row}, column {column}: "{_short(found.strip())}" is in none of the classes of the mapping '
        f"{form.name}{nearest(found.strip(), form.attacks)}"
    )


def _lines(path: Path, header: Header, form: FlowFormat) -> Iterator[bytes]:
    comment = None if form.comments is None else form.comments.encode()
    with path.open("rb") as file:
        file.seek(header.size_bytes)
        number = 0
        while line := file.readline(_LONGEST_LINE):
            kept = line.rstrip(b"\r\n")
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                raise DamagedDataError(
                    f"{path}, row {number + 1}: found no end of line within {_LONGEST_LINE:,} bytes, expected "
                    f"{len(header.columns)} columns; is it text, and are its lines ended by a line feed?"
                )
            number += bool(kept) and not (comment and kept.startswith(comment))
            if kept and not (comment and kept.startswith(comment)):
                yield kept


def _columns(path: Path, number: int, line: bytes, header: Header, form: FlowFormat) -> list[str]:
    """The texts of a row. Raises `DamagedDataError` for what is no text, and for a quote that does not end."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        before = line[: error.start].count(form.separator.encode())
        raise DamagedDataError(
            f"{path}, row {number}{_column(header, before)}: found the byte 0x{line[error.start]:02x}, which is no "
            "UTF-8 text; save the file as UTF-8"
        ) from error
    try:
        row = text.split(form.separator) if not form.has_quotes else _unquoted(text, form.separator)
    except csv.Error as error:
        raise DamagedDataError(f"{path}, row {number}: it cannot be read: {error}") from error
    if row[-1].endswith("\n"):
        raise DamagedDataError(
            f"{path}, row {number}{_column(header, len(row) - 1)}: a quote begins and does not end in this row; texts "
            "that go on in the next one are not read"
        )
    return row


def _unquoted(text: str, separator: str) -> list[str]:
    """The texts of a row; the last one ends in an end of line if its quote does not end."""
    return next(csv.reader([f"{text}\n"], delimiter=separator))


def _column(header: Header, place: int) -> str:
    return f", column {header.columns[place]}" if place < len(header.columns) else ""


def _other_length(path: Path, number: int, row: list[str], header: Header) -> DamagedDataError:
    found, expected = len(row), len(header.columns)
    last = f'; it ends in column {header.columns[found - 1]} ("{_short(row[-1])}")' if found < expected else ""
    why = "the file is cut off there, or was" if found < expected else "a separator too many, or it was"
    return DamagedDataError(
        f"{path}, row {number}: found {found} columns, expected {expected}{last}: {why} written by something else"
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
