"""Tidy CSV files.

::

    DIR/summary.csv        a row a method, with the title of the data it is of
    DIR/metrics.csv        a row for every number that was measured
    DIR/trace.csv          a row an event
    DIR/ledger.csv         a row for everything that crossed a boundary or was refused there
    DIR/partition.csv      client, class, samples
    DIR/confusion.csv      what was taken for what: method, network, site, true and predicted class, samples, data

Of a sweep, summary.csv and metrics.csv have the fields of each cell's point as columns, cells.csv has a row a cell, and
the other files of a cell are in DIR/cells/CELL/. Lists and maps within a cell of a table are written as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collab.exports import Loaded, new_directory, runs_of
from collab.frames import RunFrames

if TYPE_CHECKING:
    import pandas as pd


def export(loaded: Loaded, directory: Path) -> None:
    """Write the files. Raises `RunExistsError` if there is a directory with something in it."""
    runs = runs_of(loaded)
    with new_directory(directory) as partial:
        if isinstance(loaded, RunFrames):
            _write(partial / "summary.csv", loaded.summary)
            _write_run(partial, loaded)
            _write(partial / "metrics.csv", loaded.metrics)
            return
        _write(partial / "cells.csv", loaded.cells)
        _write(partial / "summary.csv", loaded.results)
        _write(partial / "metrics.csv", loaded.metrics)
        for each in runs:
            cell = partial / "cells" / each.name
            cell.mkdir(parents=True)
            _write_run(cell, each.frames)


def _write_run(directory: Path, frames: RunFrames) -> None:
    _write(directory / "trace.csv", frames.trace)
    _write(directory / "ledger.csv", frames.ledger)
    partition = frames.partition.reset_index().melt(id_vars="client", var_name="class", value_name="samples")
    _write(directory / "partition.csv", partition.sort_values(["client", "class"], kind="stable"))
    _write(directory / "confusion.csv", frames.confusion)


def _write(path: Path, frame: pd.DataFrame) -> None:
    texts = [name for name, kind in frame.dtypes.items() if kind == np.dtype(object)]
    frame.assign(**{str(name): frame[name].map(_plain) for name in texts}).to_csv(path, index=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
