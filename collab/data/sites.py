"""Which site each sample was taken at: a table beside the images, and the order of the sites.

A data set that knows its sites hands them over as `collab.data.dataset.Samples.sites`; what is done with them is the
business of the partition scheme `by_column`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collab.errors import DataError

SITES_FILE = "sites.csv"
_COLUMNS = ("file", "site")
_MOST_NAMES = 5


def read_sites(path: Path, files: Sequence[str]) -> NDArray[np.str_]:
    """The site of each of `files`, text [n], from a CSV table (UTF-8) whose header names the columns file and site.

    Other columns and rows for files that are not asked for are allowed; a file must not be listed twice with
    different sites. Paths are compared as they are written, with forward slashes. Raises `DataError`, with the line,
    if the table cannot be read, says something impossible, or lacks a file.
    """
    site_of: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                found = ", ".join(rows.fieldnames or ()) or "nothing"
                raise DataError(f"{path}:1: found the columns {found}; expected {' and '.join(_COLUMNS)} among them")
            for row in rows:
                file, site = ((row[column] or "").strip() for column in _COLUMNS)
                if not file or not site:
                    raise DataError(f"{path}:{rows.line_num}: found no {'site' if file else 'file'}; expected both")
                if site_of.setdefault(file, site) != site:
                    raise DataError(
                        f"{path}:{rows.line_num}: {file} is at {site} here and at {site_of[file]} above; "
                        "a sample has one site"
                    )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: this is no UTF-8 text; save the table as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    lost = [file for file in files if file not in site_of]
    if lost:
        names = ", ".join(lost[:_MOST_NAMES]) + (", ..." if len(lost) > _MOST_NAMES else "")
        raise DataError(f"{path}: {len(lost)} of {len(files)} files have no site here ({names}); add a row for each")
    return np.array([site_of[file] for file in files], dtype=np.str_)


def site_names(sites: NDArray[np.str_]) -> list[str]:
    """The different sites, numbers within names in the order of numbers: ward-2 before ward-10."""
    return sorted(set(sites.tolist()), key=lambda name: (_by_number(name), name))


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
