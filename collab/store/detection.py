"""What a detector is judged by, beyond accuracy: the arithmetic of confusion matrices.

A matrix is int64 [classes, classes]: rows are true classes, columns predicted ones. A value that nothing is known of,
such as the recall of a class without test samples, is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from collab.errors import RunDirectoryError

if TYPE_CHECKING:
    from collab.store.runs import MethodRun, Run

CONFUSIONS = "confusions"
"""The key in outcome.json: network -> site of the test data ("" if it is not known) -> matrix.

Each matrix is summed over the networks of that name, and the sets, that were judged.
"""


def precisions(matrix: NDArray[np.int64]) -> list[float | None]:
    """Of what was taken for each class, the share that is of it; None for a class that nothing was taken for."""
    return _ratios(np.diagonal(matrix), matrix.sum(axis=0))


def recalls(matrix: NDArray[np.int64]) -> list[float | None]:
    """Of the samples of each class, the share that was taken for it; None for a class without samples."""
    return _ratios(np.diagonal(matrix), matrix.sum(axis=1))


def f1_scores(matrix: NDArray[np.int64]) -> list[float | None]:
    """The harmonic mean of precision and recall of each class; None for one that neither occurs nor is predicted."""
    return _ratios(2 * np.diagonal(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def supports(matrix: NDArray[np.int64]) -> list[int]:
    """The samples of each class."""
    return [int(count) for count in matrix.sum(axis=1)]


def macro_average(values: Sequence[float | None]) -> float | None:
    """The mean over those classes of which the value is known, each weighing the same; None if there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def false_alarms(matrix: NDArray[np.int64], benign: int) -> tuple[int, int]:
    """How many benign samples were taken for an attack, whichever, and how many benign samples there are."""
    held = int(matrix[benign].sum())
    return held - int(matrix[benign, benign]), held


def detections(matrix: NDArray[np.int64], benign: int) -> tuple[int, int]:
    """How many samples of attacks were taken for an attack, whichever, and how many samples of attacks there are."""
    held = int(matrix.sum() - matrix[benign].sum())
    return held - int(matrix[:, benign].sum() - matrix[benign, benign]), held


def detections_by_class(matrix: NDArray[np.int64], benign: int) -> list[float | None]:
    """Of the samples of each class, the share taken for an attack, whichever; None for a class without samples."""
    held = matrix.sum(axis=1)
    return _ratios(held - matrix[:, benign], held)


def false_alarm_rate(matrix: NDArray[np.int64], benign: int) -> float | None:
    """The share of benign samples taken for an attack; None if there are no benign samples."""
    return share(*false_alarms(matrix, benign))


def detection_rate(matrix: NDArray[np.int64], benign: int) -> float | None:
    """The share of attacks taken for an attack, not necessarily the right one; None if there are no attacks."""
    return share(*detections(matrix, benign))


def share(part: int, whole: int) -> float | None:
    """A part of a whole; None if there is no whole."""
    return part / whole if whole else None


def summed(by_site: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The matrix of all sites together."""
    whole: NDArray[np.int64] = np.sum(list(by_site.values()), axis=0)
    return whole


@dataclass(frozen=True)
class OfClass:
    """How well one class is told from the others; None where nothing is known.

    `alarms` is the share of its samples that was taken for an attack, whichever: the detection rate of an attack, the
    false-alarm rate of what is benign; None if no class is known to be benign.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    alarms: float | None
    samples: int


def by_class(matrix: NDArray[np.int64], names: Sequence[str], benign: int | None) -> list[OfClass]:
    """Each class, by its name or else its number."""
    labels = list(names) or [str(label) for label in range(len(matrix))]
    alarms = [None] * len(matrix) if benign is None else detections_by_class(matrix, benign)
    values = (labels, precisions(matrix), recalls(matrix), f1_scores(matrix), alarms, supports(matrix))
    return [OfClass(*row) for row in zip(*values, strict=True)]


def named_classes(run: Run) -> tuple[tuple[str, ...], int | None]:
    """The names of the classes of a run's data, none if they have numbers only, and the one that is no attack.

    Raises `RunDirectoryError` if what is there cannot be it.
    """
    dataset = run.dataset or {}
    names, benign = dataset.get("class_names", []), dataset.get("benign")
    classes = len(next(iter(run.partition.values()), ()))
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or len(names) not in (0, classes):
        raise _damaged_dataset(run, f"class_names to be {classes} names or none")
    if benign is not None and not (type(benign) is int and 0 <= benign < classes):
        raise _damaged_dataset(run, f"benign to be a class below {classes} or null")
    return tuple(names), benign


def station_of_client(run: Run) -> dict[str, str]:
    """Client -> the site of the data that it held all samples of; empty unless the data was divided so.

    Raises `RunDirectoryError` if what is there is something else.
    """
    found = (run.dataset or {}).get("sites") or {}
    if not isinstance(found, Mapping) or not set(found) <= set(run.partition):
        raise _damaged_dataset(run, "sites to map clients of partition.json to stations")
    return {client: str(site) for client, site in found.items()}


def _damaged_dataset(run: Run, expected: str) -> RunDirectoryError:
    return RunDirectoryError(f"{run.path / 'dataset.json'} is damaged: expected {expected}; run the scenario again")


def read_confusions(method: MethodRun, classes: int | None = None) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Network -> site of the test data ("" if it is not known) -> matrix, summed over the networks and sets judged.

    Empty in runs from before they were kept, and for data with very many classes. Raises `RunDirectoryError` if what
    is there is something else, or not of so many `classes`.
    """
    found = method.outcome.get(CONFUSIONS, {})
    if not isinstance(found, Mapping) or not all(isinstance(sites, Mapping) and sites for sites in found.values()):
        raise _damaged(method, "network -> site -> matrix")
    read = {name: {site: _matrix(method, rows) for site, rows in sites.items()} for name, sites in found.items()}
    sizes = {len(matrix) for sites in read.values() for matrix in sites.values()}
    if len(sizes | {classes} - {None}) > 1:
        of = "the same size" if classes is None else f"{classes} classes"
        raise _damaged(method, f"matrices of {of}")
    return read


def _matrix(method: MethodRun, rows: Any) -> NDArray[np.int64]:
    is_square = isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(rows) for row in rows)
    if not is_square or not rows or not all(type(count) is int and count >= 0 for row in rows for count in row):
        raise _damaged(method, "square matrices of counts")
    return np.array(rows, dtype=np.int64)


def _damaged(method: MethodRun, expected: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{method.path / 'outcome.json'} is damaged: expected {CONFUSIONS} to hold {expected}; run the scenario again"
    )


def _ratios(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    return [share(int(part), int(whole)) for part, whole in zip(parts, wholes, strict=True)]
