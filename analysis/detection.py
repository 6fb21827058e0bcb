"""What networks take for what: the section of a run's report on its classes, and on alarms where one is benign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.figures import class_ticks
from analysis.page import both
from analysis.style import BLUE, GRID, INK, ORANGE, PAGE_WIDTH_IN, PAPER, drawn, shades
from collab.store import MethodRun, Run
from collab.store import detection as store
from collab.store.detection import OfClass

MOST_CLASSES = 20
"""Of more classes no matrix is shown: only the values of each class, if they have names."""
_MOST_SITES = 20
_PALEST, _DARKEST = 0.15, 0.6
"""Opacity of a share of next to nothing, and of 100 %: ink is readable on it, on light pages and on dark ones."""
_ROOM_FOR_COUNTS_IN, _ROOM_FOR_DIGITS_IN = 0.5, 0.7
"""Inches of a cell from which on it has room for counts below the shares, and for a digit after the point."""

Matrix = NDArray[np.int64]


@dataclass(frozen=True)
class StationRow:
    """One station of the test data: the recall of each class there, and whether it held no training sample of it."""

    name: str
    recalls: Sequence[float | None]
    unseen: Sequence[bool]


@dataclass(frozen=True)
class NetworkView:
    """What the networks of one kind, trained on what one method yielded, take for what.

    `figure` is there for classes with names, `matrix` (count, and share of its row) for others; neither of very many.
    `macro` is the mean over the classes; the samples in it and in `rows` are counted once, those of the matrix as often
    as there were `networks`.
    """

    network: str
    networks: int
    accuracy: float
    false_alarm_rate: float | None
    detection_rate: float | None
    sentences: Sequence[str]
    figure: Markup | None
    matrix: Sequence[Sequence[tuple[int, float]]] | None
    rows: Sequence[OfClass]
    macro: OfClass
    stations: Sequence[StationRow]
    more_stations: int


@dataclass(frozen=True)
class Detection:
    """The section: of each method, what its networks take for what, those of its result first."""

    title: str
    names: Sequence[str]
    benign: str | None
    samples: str
    by_method: Mapping[str, Sequence[NetworkView]]
    has_unseen: bool


@dataclass(frozen=True)
class _Classes:
    """What is known of the classes of a run."""

    number: int
    names: Sequence[str]
    benign: int | None
    noun: str
    unseen: Mapping[str, Sequence[bool]]

    @classmethod
    def of(cls, run: Run) -> _Classes:
        names, benign = store.named_classes(run)
        unseen = {
            site: [count == 0 for count in run.partition[client]]
            for client, site in store.station_of_client(run).items()
        }
        number = len(next(iter(run.partition.values())))
        return cls(number, names, benign, "window" if (run.dataset or {}).get("recipe") else "sample", unseen)


def of_run(run: Run) -> Detection | None:
    """The section of a run; None if its matrices were not kept, or are of many classes without names.

    Raises `RunDirectoryError` if a file of the run is damaged.
    """
    classes = _Classes.of(run)
    views = {method.name: list(_views(method, classes)) for method in run.methods}
    shown = [view for each in views.values() for view in each]
    if not shown or (not classes.names and len(shown[0].rows) > MOST_CLASSES):
        return None
    return Detection(
        title="By class" if classes.benign is None else "Detection",
        names=classes.names,
        benign=None if classes.benign is None else shown[0].rows[classes.benign].name,
        samples=f"{classes.noun}s",
        by_method=views,
        has_unseen=bool(classes.names) and any(any(row.unseen) for view in shown for row in view.stations),
    )


def _views(method: MethodRun, classes: _Classes) -> Iterator[NetworkView]:
    for network, by_site in store.read_confusions(method, classes.number).items():
        matrix = store.summed(by_site)
        yield _view(network, len(method.outcome["accuracies"].get(network, ())) or 1, by_site, matrix, classes)


def _view(network: str, networks: int, by_site: Mapping[str, Matrix], matrix: Matrix, classes: _Classes) -> NetworkView:
    rows = store.by_class(matrix, classes.names, classes.benign)
    rows = [replace(row, samples=row.samples // networks) for row in rows]
    sites = list(by_site) if len(by_site) > 1 else []
    stations = [
        StationRow(site, store.recalls(by_site[site]), classes.unseen.get(site, [bool(classes.unseen)] * len(matrix)))
        for site in sites
    ]
    few, benign = len(matrix) <= MOST_CLASSES, classes.benign
    return NetworkView(
        network=network,
        networks=networks,
        accuracy=int(np.trace(matrix)) / max(int(matrix.sum()), 1),
        false_alarm_rate=None if benign is None else store.false_alarm_rate(matrix, benign),
        detection_rate=None if benign is None else store.detection_rate(matrix, benign),
        sentences=[*_alarms_in_words(matrix, classes), *_unseen_in_words(by_site, stations, classes)],
        figure=both(partial(confusion_figure, matrix, classes.names)) if classes.names and few else None,
        matrix=_shares(matrix) if few and not classes.names else None,
        rows=rows,
        macro=_macro(rows),
        stations=stations[:_MOST_SITES],
        more_stations=max(0, len(stations) - _MOST_SITES),
    )


def _macro(rows: Sequence[OfClass]) -> OfClass:
    """The mean over the classes of which a value is known; alarms of benign samples and of attacks have none."""
    precision, recall, f1 = (
        store.macro_average([getattr(row, value) for row in rows]) for value in ("precision", "recall", "f1")
    )
    return OfClass("mean of the classes", precision, recall, f1, None, sum(row.samples for row in rows))


def _shares(matrix: Matrix) -> list[list[tuple[int, float]]]:
    """Each count with its share of the samples of its class."""
    held = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = zip(matrix.tolist(), (matrix / held).tolist(), strict=True)
    return [list(zip(counts, shares, strict=True)) for counts, shares in rows]


# -- in words ------------------------------------------------------------------------------------


def _alarms_in_words(matrix: Matrix, classes: _Classes) -> Iterator[str]:
    """How many benign samples raised an alarm, and how many attacks."""
    if classes.benign is None:
        return
    kinds = (
        (store.false_alarms(matrix, classes.benign), f"benign {classes.noun}s"),
        (store.detections(matrix, classes.benign), f"{classes.noun}s of attacks"),
    )
    for (raised, held), what in kinds:
        if held:
            of_thousand = f"{1000 * raised / held:,.1f}".removesuffix(".0")
            yield f"Of 1,000 {what} {of_thousand} raised an alarm ({raised:,} of {held:,})."
        else:
            yield f"The test data holds no {what}."


def _unseen_in_words(by_site: Mapping[str, Matrix], stations: Sequence[StationRow], classes: _Classes) -> Iterator[str]:
    """What became of the classes that a station has never seen."""
    for station in stations:
        matrix = by_site[station.name]
        here = store.by_class(matrix, classes.names, classes.benign)
        for label in np.flatnonzero(station.unseen).tolist():
            found = here[label]
            name = found.name if classes.names else f"class {label}"
            never = f"{station.name} never saw {name} in training"
            if found.recall is None:
                yield f"{never}, and no test {classes.noun} of it comes from there."
            elif found.alarms is None or label == classes.benign:
                yield f"{never}; there {_percent(found.recall)} of it was recognised."
            else:
                yield (
                    f"{never}; there {_percent(found.alarms)} of it raised an alarm, and {_percent(found.recall)} was "
                    f"recognised as {name}."
                )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# -- the figure ----------------------------------------------------------------------------------


def confusion_figure(matrix: Matrix, names: Sequence[str], width_in: float = PAGE_WIDTH_IN) -> str:
    """True classes in rows, predicted ones in columns: counts, and their shares of the row, which are the shades.

    What is right is blue, what is wrong orange; a single error is seen.
    """
    classes = len(matrix)
    held = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, held, out=np.zeros(matrix.shape), where=held > 0)
    is_right = np.eye(classes, dtype=bool)
    cell_in = (width_in - 0.4 - 0.085 * max(map(len, names))) / classes
    has_counts = cell_in >= _ROOM_FOR_COUNTS_IN
    row_in = 0.5 if has_counts else 0.34
    with drawn(0.85 + 0.06 * max(map(len, names)) + row_in * classes, width_in=width_in) as drawing:
        axes = drawing.axes
        opacity = _PALEST + (_DARKEST - _PALEST) * shares
        for colour, opacities, shown in (
            (GRID, np.ones(matrix.shape), matrix == 0),
            (BLUE, opacity, is_right & (matrix > 0)),
            (ORANGE, opacity, ~is_right & (matrix > 0)),
        ):
            cells = np.ma.array(opacities, mask=~shown)
            axes.pcolormesh(cells, cmap=shades(colour), vmin=0, vmax=1, edgecolor=PAPER, linewidth=1.2)
        for row, column in np.argwhere(matrix).tolist():
            percent = _brief(shares[row, column], 1 if cell_in > _ROOM_FOR_DIGITS_IN else 0)
            if has_counts:
                _write(axes, column, row + 0.36, f"{percent} %", 9.5 if cell_in > _ROOM_FOR_DIGITS_IN else 8)
                _write(axes, column, row + 0.7, f"{matrix[row, column]:,}", 7.5)
            else:
                _write(axes, column, row + 0.5, percent, 7.5)
        axes.invert_yaxis()
        axes.set_xticks(np.arange(classes) + 0.5, names, **class_ticks(names, width_in))
        axes.set_yticks(np.arange(classes) + 0.5, names)
        axes.tick_params(length=0, labelsize=10 if width_in >= PAGE_WIDTH_IN else 8.5)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return drawing.svg("how often a sample of each class was taken for one of each other")


def _brief(share: float, digits: int) -> str:
    """In per cent; what is there is not said to be nothing."""
    least = 10.0**-digits
    return f"<{least:g}" if 100 * share < least / 2 else f"{100 * share:.{digits}f}"


def _write(axes: Axes, column: int, y: float, text: str, size: float) -> None:
    axes.text(column + 0.5, y, text, ha="center", va="center", color=INK, fontsize=size)
