"""What is wrong with a file of flow records: the first row and column that cannot be read, found by reading slowly."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from collab.data.flows.flow_format import FlowFormat
from collab.data.flows.header import Header
from collab.document import nearest
from collab.errors import DamagedDataError

_LONGEST_SHOWN = 60


def diagnose(path: Path, header: Header, form: FlowFormat) -> None:
    """Raise `DamagedDataError` for the first row of another number of columns, or with text where numbers should be."""
    places = {column: header.columns.index(column) for column in form.columns_of_numbers()}
    counted = form.station.restarts
    missing = {"", *form.missing}
    try:
        for number, row in enumerate(_rows(path, header, form), 1):
            if len(row) != len(header.columns):
                raise _shorter(path, number, row, header)
            for column, place in places.items():
                text = row[place].strip()
                if text not in missing and not _is_number(text, whole=column == counted):
                    raise DamagedDataError(
                        f'{path}, row {number}, column {column}: found "{_short(text)}", expected '
                        f"{'a whole number' if column == counted else 'a number'}"
                    )
    except UnicodeDecodeError as error:
        raise DamagedDataError(f"{path} is no UTF-8 text: {error}") from error
    except csv.Error as error:
        raise DamagedDataError(f"{path} cannot be read: {error}") from error


def unknown_label(path: Path, form: FlowFormat, row: int, found: str | None) -> DamagedDataError:
    """The error for a flow that is of no class that the mapping knows."""
    column = form.label.column if form.label else None
    if found is None or not found.strip():
        return DamagedDataError(f"{path}, row {row}, column {column}: found nothing, expected what the flow is")
    return DamagedDataError(
        f'{path}, row {row}, column {column}: "{_short(found.strip())}" is in none of the classes of the mapping '
        f"{form.name}{nearest(found.strip(), form.attacks)}"
    )


def _rows(path: Path, header: Header, form: FlowFormat) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = itertools.islice(file, header.lines, None)
        kept = (line for line in lines if line.strip() and not (form.comments and line.startswith(form.comments)))
        yield from csv.reader(kept, delimiter=form.separator)


def _shorter(path: Path, number: int, row: list[str], header: Header) -> DamagedDataError:
    found, expected = len(row), len(header.columns)
    last = f'; it ends in column {header.columns[found - 1]} ("{_short(row[-1])}")' if 0 < found < expected else ""
    return DamagedDataError(
        f"{path}, row {number}: found {found} columns, expected {expected}{last}: the file is cut off there, or was "
        "written by something else"
    )


def _is_number(text: str, *, whole: bool) -> bool:
    try:
        int(text) if whole else float(text)
    except ValueError:
        return False
    return "_" not in text


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
