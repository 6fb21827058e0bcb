"""New flow records labelled by a detector: window after window, in a memory that does not grow with the file.

A window is as many flows in a row of the file as the detector's images are made of; it has one class, and so has every
flow in it. The last one is moved back so that it is whole: the flows that it shares with the one before keep the label
that they have. The columns that are features suffice; where a file says who recorded a flow, too, it is counted how
often that changes, since a window may then hold flows of two stations.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.flow_format import FlowFormat, Session, Station
from collab.data.flows.header import read_header
from collab.data.flows.reading import FlowBatch, read_flows
from collab.data.flows.recipe import EVERYWHERE, FlowRecipe
from collab.data.progress import Progress, silence
from collab.detector import Detector
from collab.errors import DataError
from collab.file_kinds import kind_of

COLUMNS = ("row", "window", "class", "confidence", "trained_on")


@dataclass(frozen=True)
class Windows:
    """Windows in a row: float32 [n, flows, features]. Of each, `labels` is how many flows it is to label: all, but of
    the last one of a file only those that no other has; `attacks` are those of these flows, -1 where not known.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    attacks: NDArray[np.int64]


def windows_in_order(batches: Iterable[FlowBatch], flows: int, source: str) -> Iterator[Windows]:
    """All flows in windows of `flows`, as they come; at most those of one batch and of two windows are held.

    Raises `DataError`, which names the source, if there are fewer flows than one window takes.
    """
    last: NDArray[np.float32] | None = None
    values, attacks = np.empty((0, 0), np.float32), np.empty(0, np.int64)
    for batch in batches:
        values = np.concatenate([values, batch.values]) if len(values) else batch.values
        attacks = np.concatenate([attacks, batch.attacks])
        count = len(values) // flows
        if not count:
            continue
        whole = count * flows
        yield Windows(
            values[:whole].reshape(count, flows, -1), np.full(count, flows), attacks[:whole]
        )  # fmt: skip
        last = values[whole - flows : whole].copy()
        values, attacks = values[whole:].copy(), attacks[whole:].copy()
    if last is None:
        held = f"{len(values)} flow{'' if len(values) == 1 else 's'}"
        raise DataError(f"{source} has {held}; the detector looks at {flows} at a time, and needs as many at least")
    if len(values):
        moved = np.concatenate([last, values])[-flows:]
        yield Windows(moved[None], np.array([len(values)]), attacks)


@dataclass
class Findings:
    """What was found in a file.

    Attributes:
        class_names: the detector's.
        windows, flows: of each class, int64 [classes].
        matrix: int64 [classes, classes]: flows whose label in the file is known, by that (rows) and by the detector's.
        station_changes: how often a flow was recorded by another station than the one before, as far as the file says.
    """

    class_names: tuple[str, ...]
    windows: NDArray[np.int64] = field(init=False)
    flows: NDArray[np.int64] = field(init=False)
    matrix: NDArray[np.int64] = field(init=False)
    station_changes: int = 0

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        self.windows, self.flows = np.zeros((2, classes), np.int64)
        self.matrix = np.zeros((classes, classes), np.int64)

    def add(self, found: NDArray[np.int64], labels: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        """Windows of the classes `found`, each of so many flows as `labels` says, whose classes are `known` or -1."""
        np.add.at(self.windows, found, 1)
        np.add.at(self.flows, found, labels)
        of_flows = np.repeat(found, labels)
        np.add.at(self.matrix, (known[known >= 0], of_flows[known >= 0]), 1)


def scale_of(recipe: FlowRecipe, station: str | None) -> str:
    """The key of the recipe's ranges for a station that may be named.

    Raises `DataError` if one has to be named and is not, or there are no such ranges.
    """
    known = recipe.stations
    if not known and station is None:
        return EVERYWHERE
    if not known:
        raise DataError(f"the detector scales the flows of all stations alike; leave out --station {station}")
    if station not in known:
        found = "none is named" if station is None else f'there is no "{station}"'
        raise DataError(
            f"the detector scales the flows of each station by its own ranges, and {found}; name with --station the "
            f"one that recorded these: {', '.join(known)}"
        )
    return station


def label_flows(
    detector: Detector, path: Path, output: TextIO, station: str | None = None, progress: Progress = silence
) -> Findings:
    """Write a line for each flow of a file: its row (from 1), its window (from 1), the class, how likely that is, and
    what data the detector was trained on.

    Raises `DataError` for a detector of other images, a file that is missing, lacks columns or has too few flows, and
    what `scale_of` does; `DamagedDataError`, with row and column, for a file that cannot be read.
    """
    recipe, title = detector.recipe, detector.about.trained_on.title
    if recipe is None:
        raise DataError(f"the detector was trained on {title}, whose images are not made of flow records")
    _refuse_others(path)
    scale, flows = scale_of(recipe, station), recipe.flows_per_image
    class_of_attack = np.array([*recipe.format.class_of_attack, -1])  # the last one is that of no attack, -1
    findings = Findings(detector.about.class_names)
    output.write(",".join(COLUMNS) + "\n")
    row = window = 1
    form, labelled = _as_new(path, recipe.format)
    batches = read_flows([path], form, labelled=labelled, unknown_labels="pass", progress=progress)
    for portion in windows_in_order(_watched(batches, form, findings), flows, str(path)):
        probabilities = detector.probabilities(recipe.render(portion.values, scale))
        found = probabilities.argmax(axis=1)
        findings.add(found, portion.labels, class_of_attack[portion.attacks])
        for label, likely, count in zip(found, probabilities.max(axis=1), portion.labels.tolist(), strict=True):
            rest = _line(window, findings.class_names[label], likely, title)
            output.writelines(f"{number},{rest}" for number in range(row, row + count))
            row, window = row + count, window + 1
    return findings


def _watched(batches: Iterable[FlowBatch], form: FlowFormat, findings: Findings) -> Iterator[FlowBatch]:
    """The same batches; changes of station are counted, which a count of rows tells by falling (see `_as_new`)."""
    last: int | None = None
    for batch in batches:
        places = batch.stations if form.station.column is not None else batch.sessions
        if len(places):
            begun = last is not None and last != places[0]
            findings.station_changes += int(np.count_nonzero(np.diff(places))) + int(begun)
            last = int(places[-1])
        yield batch


def _refuse_others(path: Path) -> None:
    """Raises `DataError` for what is no file of records, but another of those that are at hand with a detector."""
    if path.is_dir():
        raise DataError(f"{path} is a directory, expected a file of flow records; label one file after the other")
    try:
        kind = kind_of(path)
    except OSError:
        return  # said by what reads it
    if kind == "archive":
        raise DataError(f"{path} is an archive, or a synthetic set; expected flow records as text: unpack it")
    if kind == "networks":
        raise DataError(
            f"{path} is a file of networks, a detector perhaps; expected flow records: collab detect MODEL FLOWS.csv"
        )


def _as_new(path: Path, form: FlowFormat) -> tuple[FlowFormat, bool]:
    """The format of a file that may have any columns beside the features; and whether it has those of labels."""
    free = form.model_copy(update={"columns": (), "station": Station(), "session": Session()})
    columns = set(read_header(path, free, labelled=False).columns)
    if form.station.column in columns:
        free = free.model_copy(update={"station": Station(column=form.station.column)})
    elif form.station.restarts in columns:  # of an excerpt the count need not be whole, so only its falls are told
        free = free.model_copy(update={"session": Session(falls=form.station.restarts)})
    return free, free.label is not None and columns >= set(free.columns_of_text(labelled=True))


def _line(window: int, name: str, likely: float, title: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([window, name, f"{likely:.4f}", title])
    return line.getvalue()
