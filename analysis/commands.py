"""The commands that this package adds to `collab`, through the entry point group `collab.commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(help="Run directory, its name, or latest.")] = "latest",
    runs_dir: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write; report.html in the run directory if not given."),
    ] = None,
) -> None:
    """Make the report of a run: one HTML file that opens offline."""
    from analysis.report import write_report
    from collab.errors import RunDirectoryError
    from collab.store import find_run

    found = find_run(run, runs_dir)
    if not found.is_whole():
        raise RunDirectoryError(f"{found.path} is damaged: its summary cannot be read; run the scenario again")
    try:
        path = write_report(found, output or found.path / "report.html")
    except OSError as error:
        raise RunDirectoryError(f"no report of {found.path}: {error.filename}: {error.strerror}") from error
    print(f"report: {path}")
