"""`collab sweep`: all cells of a scenario's sweep, each once; the same command goes on after an interruption."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collab.errors import SweepFailedError
from collab.options import RUNS_DIR, AsJson, Overrides, RunsDir, ScenarioPath
from collab.process import importing

if TYPE_CHECKING:
    from collab.content_cache import ContentCache
    from collab.store import Sweep

QUICK = ("evaluation.epochs=20", "evaluation.repeats=1", "evaluation.sets=1", "evaluation.networks=[convnet]")
_MOST_ERRORS = 5


def command(
    scenario: ScenarioPath,
    overrides: Overrides = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Judge by one network of 20 epochs, for a look; into NAME-quick."),
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells again that failed before.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
    name: Annotated[str | None, typer.Option(help="Directory of the sweep; the scenario's name if not given.")] = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Share between cells what they compute of the same.")
    ] = True,
    cache_limit: Annotated[str, typer.Option(help="How much may be kept for that.")] = "2 GB",
    as_json: AsJson = False,
) -> None:
    """Run all cells of a scenario's sweep; finished ones are never run twice."""
    with importing():
        from collab import scenario as scenarios
        from collab.engines import open_engine
        from collab.sweep import run_sweep
        from collab.sweep_display import SweepDisplay, print_sweep

    given = [*(QUICK if quick else ()), *(overrides or [])]  # what is asked for expressly wins
    plan = scenarios.load_plan(scenario, given)
    path = runs_dir / _directory(name or f"{plan.base.name}{'-quick' if quick else ''}")
    kept = _opened(cache_limit) if cache else None
    try:
        with open_engine(plan.base.compute) as engine, SweepDisplay(path.name) as display:
            sweep = run_sweep(plan, path, engine, display, retry_failed=retry_failed, cache=kept)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"; the finished cells are in {path}, the same command goes on") from None
    if as_json:
        print(json.dumps(list(_rows(sweep)), indent=1))
    else:
        print_sweep(sweep)
        print(f"written to {path}; look at it: collab report {path}")
    _tell_failures(sweep)


def _directory(name: str) -> str:
    from collab.store import is_run_name

    if not is_run_name(name):
        raise typer.BadParameter(f'"{name}" cannot be the name of a sweep; expected letters, digits, ".", "_" and "-"')
    return name


def _opened(limit: str) -> ContentCache | None:
    """Where what cells share is kept; None, which is said, if nothing can be written there."""
    from collab.content_cache import ContentCache
    from simnet import units
    from simnet.errors import UnitError

    try:
        limit_bytes = units.size_bytes(limit)
    except UnitError as error:
        raise typer.BadParameter(f"--cache-limit: {error}") from None
    directory = Path.home() / ".cache" / "collab" / "computed"
    try:
        return ContentCache(directory, limit_bytes)
    except OSError as error:
        print(f"cells share nothing: {directory} cannot be written: {error.strerror}", file=sys.stderr)
        return None


def _rows(sweep: Sweep) -> Sequence[dict[str, Any]]:
    return [
        {
            "cell": cell.identity,
            "point": dict(cell.point),
            "summary": None if cell.run is None else cell.run.summary,
            "error": None if cell.failure is None else cell.failure.error,
        }
        for cell in sweep.cells
    ]


def _tell_failures(sweep: Sweep) -> None:
    """Raises `SweepFailedError` if any cell has failed."""
    from collab.plan import in_words

    failed = [(cell, cell.failure) for cell in sweep.cells if cell.failure is not None]
    if failed:
        told = [f"  {cell.identity} ({in_words(cell.point)}): {failure.error}" for cell, failure in failed if failure]
        more = [f"  and {len(told) - _MOST_ERRORS} more"] if len(told) > _MOST_ERRORS else []
        raise SweepFailedError(
            "\n".join(
                [
                    f"{len(failed)} of {len(sweep.cells)} cells failed:",
                    *told[:_MOST_ERRORS],
                    *more,
                    f"tracebacks and traces are in {sweep.path / 'failed'}; --retry-failed runs them again",
                ]
            )
        )
