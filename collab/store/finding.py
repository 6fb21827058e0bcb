"""Runs by what people call them: a path, a name, `latest`, or `SWEEP/CELL`."""

from __future__ import annotations

from pathlib import Path

from collab.errors import RunNotFoundError
from collab.store.runs import DEFAULT_RUNS_DIR, LATEST, SUMMARY, Run, list_runs
from collab.store.sweeps import Cell, Sweep, is_sweep

_MOST_NAMED = 5


def find_run(text: str, runs_dir: Path = DEFAULT_RUNS_DIR) -> Run:
    """The run at a path, of a name under `runs_dir`, or the `latest` one there; or a finished cell of a sweep.

    A cell is `SWEEP/CELL`: the sweep's path or name, and as much of the cell's identity as no other begins with. Raises
    `RunNotFoundError`.
    """
    if text == LATEST:
        runs = list_runs(runs_dir)
        if not runs:
            raise RunNotFoundError(f"there is no run in {runs_dir}; make one with: collab run SCENARIO")
        return max(runs, key=lambda run: (run.path / SUMMARY).stat().st_mtime)
    for candidate in (Path(text), runs_dir / text):
        if (candidate / SUMMARY).is_file():
            return Run(candidate)
    for candidate in (Path(text), runs_dir / text):
        if is_sweep(candidate):
            raise RunNotFoundError(
                f"{candidate} is a sweep of {len(Sweep(candidate).cells)} cells; name one of them, {text}/CELL, as "
                f"listed by: collab list --cells {text}"
            )
        if is_sweep(candidate.parent) and candidate != Path(candidate.name):  # a bare name is that of a run
            return _finished(_cell(Sweep(candidate.parent), candidate.name))
    raise RunNotFoundError(f"{text} is no run directory, neither here nor in {runs_dir} (no {SUMMARY} in it)")


def find(text: str, runs_dir: Path = DEFAULT_RUNS_DIR) -> Run | Sweep:
    """The run or the sweep of that name; see `find_run`. Raises `RunNotFoundError`."""
    for candidate in (Path(text), runs_dir / text):
        if is_sweep(candidate):
            return Sweep(candidate)
    return find_run(text, runs_dir)


def _cell(sweep: Sweep, prefix: str) -> Cell:
    matching = [cell for cell in sweep.cells if cell.identity.startswith(prefix)]
    if len(matching) == 1:
        return matching[0]
    listing = f"see: collab list --cells {sweep.path}"
    if not matching:
        raise RunNotFoundError(f"{sweep.path} has no cell {prefix}; {listing}")
    named = ", ".join(cell.identity for cell in matching[:_MOST_NAMED])
    more = "" if len(matching) <= _MOST_NAMED else f" and {len(matching) - _MOST_NAMED} more"
    raise RunNotFoundError(f"{sweep.path} has {len(matching)} cells that begin with {prefix}: {named}{more}; {listing}")


def _finished(cell: Cell) -> Run:
    if cell.is_finished:
        return Run(cell.run_path)
    failure = cell.failure
    state = "is not finished yet" if failure is None else f"failed: {failure.error}"
    raise RunNotFoundError(f"the cell {cell.identity} of {cell.sweep_path} {state}")
