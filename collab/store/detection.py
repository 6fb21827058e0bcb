"""What a detector is judged by, beyond accuracy: the arithmetic of confusion matrices.

A matrix is int64 [classes, classes]: rows are true classes, columns predicted ones. A value that nothing is known of,
such as the recall of a class without test samples, is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from collab.errors import RunDirectoryError

if TYPE_CHECKING:
    from collab.store.runs import MethodRun

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


def read_confusions(method: MethodRun) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Network -> site of the test data ("" if it is not known) -> matrix, summed over the networks and sets judged.

    Empty in runs from before they were kept, and for data with very many classes. Raises `RunDirectoryError` if what
    is there is something else.
    """
    found = method.outcome.get(CONFUSIONS, {})
    if not isinstance(found, Mapping) or not all(isinstance(sites, Mapping) and sites for sites in found.values()):
        raise _damaged(method, "network -> site -> matrix")
    read = {name: {site: _matrix(method, rows) for site, rows in sites.items()} for name, sites in found.items()}
    if len({matrix.shape for sites in read.values() for matrix in sites.values()}) > 1:
        raise _damaged(method, "matrices of the same size")
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
