"""Collaborative distillation: data, learning methods, agents, scenarios. Runs on any `simnet.Network`.

In a notebook: `collab.load("runs/quickstart-001").summary` is a data frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collab.frames import RunFrames, SweepFrames


def load(path: str | Path, runs_dir: str | Path = "runs") -> RunFrames | SweepFrames:
    """The run or sweep at a path, or of that name under `runs_dir` (`latest`, `SWEEP/CELL`), as data frames.

    Raises `collab.errors.RunNotFoundError`, and `RunDirectoryError` if the summary cannot be read.
    """
    from collab import frames  # here, so that `import collab` costs nothing

    return frames.load(path, runs_dir)


__all__ = ["load"]
