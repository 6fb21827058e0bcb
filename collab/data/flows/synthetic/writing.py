"""The stand-in as files: `Combined.csv`, and a README that says what it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from collab.data.flows.synthetic.flow import PROTOCOLS, Flows
from collab.data.flows.synthetic.records import COLUMNS, table
from collab.data.flows.synthetic.sessions import RUNS, StationTraffic, counts
from collab.data.flows.synthetic.stations import station
from collab.data.progress import Progress, silence
from collab.errors import DataError
from simnet.draws import generator

FILE_NAME = "Combined.csv"
README_NAME = "README.txt"
VERSION = 3
"""Of the generator: to be raised when it writes other bytes for the same arguments."""
TITLE = "synthetic traffic"
"""What a README beside such files begins with."""
_ROWS_AT_ONCE = 65_536
_FILE_HEADER_BYTES = 128
_RECORD_BYTES = 112


def write_traffic(
    folder: Path, *, seed: int = 0, share: float = 1.0, stations: int = 2, progress: Progress = silence
) -> Path:
    """Write synthetic traffic in the form of 5G-NIDD's `Combined.csv` into `folder`; its path.

    At a `share` of 1 the first two stations have the published numbers of flows of each class; other shares scale them,
    each rounded and at least 1. The same arguments give the same bytes. Nothing is done if the same is there already.
    Raises `DataError` for numbers that make no sense, a `Combined.csv` there that this did not write, a failing disk.
    """
    if not 0 < share <= 1000 or stations < 1:
        raise DataError(f"share {share:g} of {stations} stations: expected above 0 up to 1000, of 1 station or more")
    traffic = [StationTraffic(station(n, seed), n, share, seed) for n in range(1, stations + 1)]
    rows = sum(sum(part.counts.values()) for part in traffic)
    readme, path = folder / README_NAME, folder / FILE_NAME
    said = _readme(numbers_of_flows(share, stations, seed), seed, share, rows)
    try:
        if _is_whole(path, readme, said):
            return path
        partial = folder / f"{FILE_NAME}.{os.getpid()}.partial"
        said_partial = folder / f"{README_NAME}.{os.getpid()}.partial"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _write(partial, traffic, seed, rows, progress)
            said_partial.write_text(said + _size_line(partial), encoding="utf-8")
            said_partial.replace(readme)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
            said_partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"synthetic traffic cannot be written to {folder}: {error.strerror or error}") from error
    return path


def numbers_of_flows(share: float = 1.0, stations: int = 2, seed: int = 0) -> dict[str, dict[str, int]]:
    """How many flows of each class `write_traffic` writes for each station, "BTS_1" and so on."""
    return {f"BTS_{n}": counts(station(n, seed), share) for n in range(1, stations + 1)}


def _is_whole(path: Path, readme: Path, said: str) -> bool:
    """Whether just this is there. Raises `DataError` for a file that was not written with its README."""
    if not path.exists():
        return False
    found = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    if not found.startswith(TITLE):
        raise DataError(f"{path} is there and no {README_NAME} says that it is {TITLE}; choose another folder")
    if not found.endswith(f"\n{_size_line(path)}"):  # another file may have come in the place of what was written
        raise DataError(
            f"{path} has {path.stat().st_size} bytes, {README_NAME} beside it was written with a file of another size: "
            "it is not overwritten; move or remove it, or choose another folder"
        )
    return found == said + _size_line(path)


def _size_line(path: Path) -> str:
    return f"bytes of {FILE_NAME}: {path.stat().st_size}\n"


def _readme(flows: dict[str, dict[str, int]], seed: int, share: float, rows: int) -> str:
    lines = [
        TITLE,
        "",
        f"{FILE_NAME} has the columns of 5G-NIDD's file of that name (doi:10.21227/xtep-hv36), but none of its rows:",
        "no flow in it was ever captured. Each was made by what would have caused it, an application or the way an",
        "attack works. Results on it say nothing about 5G-NIDD, nor about any network.",
        "",
        f"generator: collab.data.flows.synthetic, version {VERSION}",
        f"seed: {seed}",
        f"share: {share!r} of the published numbers of flows",
        f"rows: {rows}",
        f"stations: {len(flows)}, {len(RUNS)} capture sessions each",
    ]
    for name, classes in flows.items():
        lines.append(f"{name}: " + ", ".join(f"{kind} {count}" for kind, count in classes.items()))
    return "\n".join(lines) + "\n"


def _write(path: Path, traffic: list[StationTraffic], seed: int, rows: int, progress: Progress) -> None:
    done, captures = 0, len(traffic) * len(RUNS)
    options = csv.WriteOptions(include_header=False, quoting_style="none", batch_size=_ROWS_AT_ONCE)
    progress("writing synthetic traffic", 0, rows, "flows")
    with path.open("wb") as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for number, part in enumerate(traffic, 1):
            index = 0
            for session, pieces in enumerate(part.sessions()):
                captures -= 1
                draw = generator(seed, "traffic", number, "records", session)
                for flows, seq, offset in _numbered(pieces, captures, draw):
                    rows_here = np.arange(index, index + len(flows))
                    csv.write_csv(table(flows, rows_here, seq, offset), file, options)
                    index += len(flows)
                    done += len(flows)
                    progress("writing synthetic traffic", done, rows, "flows")


def _numbered(
    pieces: Iterator[Flows], later: int, draw: np.random.Generator
) -> Iterator[tuple[Flows, NDArray[np.int64], NDArray[np.int64]]]:
    """Flows of a session, some at a time, with the number of each record and its position in the capture file.

    Records are longer the more there is to say; a monitor also writes records about itself, which are not exported but
    count. A session begins a little lower than the one before it (`later` counts those to come), so that even one of a
    single record is seen to be another.
    """
    seq, offset = later + 1, _FILE_HEADER_BYTES + 8 * later
    for piece in pieces:
        for begin in range(0, len(piece), _ROWS_AT_ONCE):
            flows = piece[begin : begin + _ROWS_AT_ONCE]
            is_new = ~flows["is_repeated"]
            about_itself = is_new & (draw.random(len(flows)) < 0.002)
            length = _RECORD_BYTES + 24 * (flows["dst_packets"] > 0) + 8 * (flows["vlan"] > 0)
            length += 64 * (flows["proto"] == PROTOCOLS.index("tcp")) + 12 * (flows["src_packets"] > 1)
            seqs = seq + np.cumsum(is_new + about_itself)
            offsets = offset + np.cumsum(is_new * length + about_itself * _RECORD_BYTES)
            seq, offset = int(seqs[-1]), int(offsets[-1])
            yield flows, seqs, offsets
