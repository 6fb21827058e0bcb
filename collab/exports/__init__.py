"""Runs and sweeps in the forms of other tools: CSV, TensorBoard, MLflow; one file a form.

Of a sweep all finished cells are exported. What is written into a directory appears there whole or not at all.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collab.errors import MissingExtraError, RunDirectoryError, RunExistsError
from collab.frames import RunFrames, SweepFrames
from collab.store.selection import flattened

Loaded = RunFrames | SweepFrames


@dataclass(frozen=True)
class ExportedRun:
    """A run that is exported: alone, or as a cell of a sweep. `point` has the swept fields; none if it is alone."""

    name: str
    frames: RunFrames
    point: Mapping[str, Any]

    @property
    def methods(self) -> list[str]:
        """The learning methods of the run."""
        return list(self.frames.run.summary["methods"])

    def settings_of(self, method: str) -> dict[str, Any]:
        """The scenario of one method by dotted names: `method` has the settings of it, there are no baselines."""
        scenario = dict(self.frames.scenario)
        own = [scenario.get("method"), *scenario.pop("baselines", ())]
        scenario.pop("sweep", None)
        scenario["method"] = next((each for each in own if each and each.get("name") == method), scenario.get("method"))
        return dict(flattened(scenario))


def runs_of(loaded: Loaded) -> list[ExportedRun]:
    """The run itself, or the finished cells of a sweep. Raises `RunDirectoryError` if there are none."""
    if isinstance(loaded, RunFrames):
        return [ExportedRun(loaded.name, loaded, {})]
    found = [
        ExportedRun(cell.identity, RunFrames(cell.run), cell.point)
        for cell in loaded.sweep.finished
        if cell.run is not None
    ]
    if not found:
        raise RunDirectoryError(f"{loaded.path} has no finished cell yet: there is nothing to export")
    return found


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to write in, which gets the name `path` when the block ends; gone if it raises.

    Raises `RunExistsError` if there is something at `path` already.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise RunExistsError(f"{path} exists already; choose another --output, or remove it")
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def needed(module: str, extra: str) -> None:
    """Make sure that an optional package is there. Raises `MissingExtraError`, with what to install."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}); it comes with: pip install 'collab-edge[{extra}]'"
        ) from error
