"""`collab export`: runs and sweeps in the forms of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from collab.options import RUNS_DIR, RunsDir

Form = Literal["csv", "tensorboard", "mlflow"]


def command(
    run: Annotated[
        str, typer.Argument(help="Run directory, its name, SWEEP/CELL, or latest; or a sweep.", show_default=False)
    ],
    to: Annotated[Form, typer.Option("--to", help="csv; tensorboard and mlflow need the extra of that name.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Directory to write; exports/csv/NAME and so on, exports/mlflow for all."),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="mlflow only: a tracking server instead of a directory.", metavar="URI")
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Export a run, or all finished cells of a sweep, as tidy CSV files, TensorBoard events or MLflow runs."""
    if tracking_uri is not None and (to != "mlflow" or output is not None):
        raise typer.BadParameter("--tracking-uri is for --to mlflow, without --output")
    from collab import load
    from collab.exports import csv_files, mlflow_runs, tensorboard_events

    loaded = load(run, runs_dir)
    directory = output or Path("exports") / to / ("" if to == "mlflow" else loaded.name)
    match to:
        case "csv":
            csv_files.export(loaded, directory)
            print(f"written to {directory}")
        case "tensorboard":
            tensorboard_events.export(loaded, directory)
            print(f"written to {directory}; look at it: tensorboard --logdir {directory}")
        case "mlflow":
            logged, there = mlflow_runs.export(loaded, directory, tracking_uri)
            where = tracking_uri or mlflow_runs.local_uri(directory)
            already = f", {there} were there already" if there else ""
            print(f"{logged} runs logged to {where}{already}; look at them: mlflow ui --backend-store-uri {where}")
