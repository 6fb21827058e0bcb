"""Sweep directories: the cells of a sweep, finished, failed and still to come, and how to read them back.

::

    runs/k-by-beta/
      sweep.json           what is swept, and all cells: their points and identities
      sweep.yaml           the scenario that the cells are variations of, and its `sweep` section
      cells/3f2a9c81d0b4/  the run directory of a finished cell; its name is the cell's identity
      failed/3f2a9c81d0b4/ failure.json of a cell that failed, and traces of its methods as far as they got

A cell is finished if its run directory is there: that appears whole or not at all, see `collab.store.runs`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from collab.errors import RunDirectoryError, RunNotFoundError
from collab.store.runs import DEFAULT_RUNS_DIR, SUMMARY, Run, read_map

SWEEP = "sweep.json"
SWEEP_SCENARIO = "sweep.yaml"
CELLS = "cells"
FAILED = "failed"
FAILURE = "failure.json"
FORMAT = 1


@dataclass(frozen=True)
class Failure:
    """Why a cell failed."""

    error: str
    kind: str
    """The class of the error."""
    attempts: int
    wall_s: float


@dataclass(frozen=True)
class Cell:
    """One point of a sweep: the value of each swept field, by its dotted name."""

    identity: str
    point: Mapping[str, Any]
    sweep_path: Path

    @property
    def run_path(self) -> Path:
        """Where its run directory is, once it is finished."""
        return self.sweep_path / CELLS / self.identity

    @property
    def failed_path(self) -> Path:
        """Where it is told why it failed, if it did."""
        return self.sweep_path / FAILED / self.identity

    @property
    def is_finished(self) -> bool:
        """Whether its run directory is there, and can be read."""
        return (self.run_path / SUMMARY).is_file() and Run(self.run_path).is_whole()

    @cached_property
    def run(self) -> Run | None:
        """Its run; None if it is not finished, or damaged."""
        return Run(self.run_path) if self.is_finished else None

    @property
    def failure(self) -> Failure | None:
        """Why it failed; None if it did not, or was run again since."""
        if self.is_finished or not (self.failed_path / FAILURE).is_file():
            return None
        found = read_map(self.failed_path / FAILURE, json.loads)
        try:
            return Failure(str(found["error"]), str(found["kind"]), int(found["attempts"]), float(found["wall_s"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunDirectoryError(f"{self.failed_path / FAILURE} is damaged: {error!r}") from error


def data_titles(cells: Iterable[Cell]) -> tuple[str, ...]:
    """The titles of the data that finished cells are of, each once."""
    summaries = [cell.run.summary for cell in cells if cell.run is not None]
    return tuple(dict.fromkeys(told["dataset"] for told in summaries if "dataset" in told))  # early versions lack it


@dataclass(frozen=True)
class Sweep:
    """A sweep, read from its directory, whether or not it is complete."""

    path: Path

    @cached_property
    def _definition(self) -> dict[str, Any]:
        found = read_map(self.path / SWEEP, json.loads)
        if found.get("format") != FORMAT:
            raise RunDirectoryError(
                f"{self.path / SWEEP}: found the format {found.get('format')!r}, expected {FORMAT}; "
                "sweep again into another directory (--name)"
            )
        return found

    @property
    def name(self) -> str:
        """The name of the scenario that is swept."""
        return str(self._definition["name"])

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Swept field, by its dotted name -> its values in the order of the scenario; `seed` last if it is repeated."""
        return {str(field): list(values) for field, values in self._definition["axes"].items()}

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells in order, whether finished, failed or still to come. Raises `RunDirectoryError`."""
        try:
            return [Cell(str(cell["cell"]), dict(cell["point"]), self.path) for cell in self._definition["cells"]]
        except (KeyError, TypeError, ValueError) as error:
            raise RunDirectoryError(f"{self.path / SWEEP} is damaged: {error!r}; remove it") from error

    @property
    def finished(self) -> list[Cell]:
        """The cells that are finished and can be read."""
        return [cell for cell in self.cells if cell.run is not None]

    @property
    def strangers(self) -> list[Path]:
        """Run directories in it of cells that are no part of it any more: what is swept has been changed since."""
        own = {cell.identity for cell in self.cells}
        return [
            path.parent for path in sorted(self.path.glob(f"{CELLS}/[!.]*/{SUMMARY}")) if path.parent.name not in own
        ]


def write_definition(
    path: Path, name: str, axes: Mapping[str, Sequence[Any]], cells: Sequence[tuple[str, Mapping[str, Any]]], text: str
) -> Sweep:
    """Make the directory of a sweep, or bring what it says up to date; finished cells stay as they are.

    `cells` are the identity and the point of each; `text` is the scenario with its sweep. Raises `OSError`.
    """
    (path / CELLS).mkdir(parents=True, exist_ok=True)
    definition = {
        "format": FORMAT,
        "name": name,
        "axes": {field: list(values) for field, values in axes.items()},
        "cells": [{"cell": identity, "point": dict(point)} for identity, point in cells],
    }
    replace_text(path / SWEEP_SCENARIO, text)
    replace_text(path / SWEEP, json.dumps(definition, indent=1, ensure_ascii=False) + "\n")
    return Sweep(path)


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or whoever comes after a crash, finds the old one or the new one, whole."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def is_sweep(path: Path) -> bool:
    """Whether a directory is that of a sweep."""
    return (path / SWEEP).is_file()


def find_sweep(text: str, runs_dir: Path = DEFAULT_RUNS_DIR) -> Sweep:
    """The sweep at a path, or of a name under `runs_dir`. Raises `RunNotFoundError`."""
    for candidate in (Path(text), runs_dir / text):
        if is_sweep(candidate):
            return Sweep(candidate)
    raise RunNotFoundError(f"{text} is no sweep directory, neither here nor in {runs_dir} (no {SWEEP} in it)")


def list_sweeps(runs_dir: Path = DEFAULT_RUNS_DIR) -> list[Sweep]:
    """All sweeps under a directory, by name."""
    return [Sweep(path.parent) for path in sorted(runs_dir.glob(f"[!.]*/{SWEEP}"))] if runs_dir.is_dir() else []
