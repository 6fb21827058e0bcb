"""The commands that this package adds to `collab`, through the entry point group `collab.commands`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(help="Run or sweep directory, its name, or latest.")] = "latest",
    runs_dir: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write; report.html in its directory if not given."),
    ] = None,
) -> None:
    """Make the report of a run or a sweep: one HTML file that opens offline."""
    from collab.errors import RunDirectoryError

    try:
        path = _write_report(run, runs_dir, output)
    except OSError as error:
        raise RunDirectoryError(f"no report of {run}: {error.filename}: {error.strerror}") from error
    print(f"report: {path}")


def _write_report(text: str, runs_dir: Path, output: Path | None) -> Path:
    from collab.errors import RunDirectoryError, RunNotFoundError
    from collab.store import find_run, find_sweep

    try:
        sweep = find_sweep(text, runs_dir)
    except RunNotFoundError:
        from analysis.report import write_report

        found = find_run(text, runs_dir)
        if not found.is_whole():
            raise RunDirectoryError(
                f"{found.path} is damaged: its summary cannot be read; run the scenario again"
            ) from None
        return write_report(found, output or found.path / "report.html")
    from analysis.sweep_report import write_sweep_report

    return write_sweep_report(sweep, output or sweep.path / "report.html")


Sources = Annotated[
    list[str] | None,
    typer.Argument(
        help="Run or sweep directories, or their names; also what benchmarks/table2.py writes.",
        metavar="RUN",
    ),
]
RunsDir = Annotated[Path, typer.Option(help="Where run directories are.")]


class TableForm(StrEnum):
    """How tables are written."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


def tables(
    sources: Sources = None,
    to: Annotated[TableForm, typer.Option(help="The form.")] = TableForm.TERMINAL,
    only: Annotated[
        list[str] | None, typer.Option(help="results, table2 or table3; all that can be made if not given.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; standard output if not given.")
    ] = None,
) -> None:
    """Tables of runs and sweeps: all results, and the paper's Tables 2 and 3 with its numbers beside ours."""
    from rich.console import Console

    from analysis import table_forms
    from analysis.sources import read_source
    from analysis.tables import TABLES, UnsupportedByRunsError

    if unknown := [name for name in only or () if name not in TABLES]:
        raise typer.BadParameter(f"there is no table {unknown[0]}; expected one of {', '.join(TABLES)}")
    found = [read_source(text, runs_dir) for text in sources or ["latest"]]
    observations = [observation for source in found for observation in source.observations]
    made = []
    for name in only or TABLES:
        try:
            made += TABLES[name](observations)
        except UnsupportedByRunsError as reason:
            print(f"no {name}: {reason}", file=sys.stderr)
    if to is TableForm.TERMINAL and output is None:
        console = Console(highlight=False)
        for table in made:
            console.print(table_forms.terminal(table))
        return
    form = TableForm.MARKDOWN if to is TableForm.TERMINAL else to
    text = table_forms.joined(made, form.value)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
        print(f"tables: {output}")


class FigureForm(StrEnum):
    """How figures are written."""

    PDF = "pdf"
    SVG = "svg"
    PNG = "png"


def figures(
    sources: Sources = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write them to.")] = Path("figures"),
    form: Annotated[FigureForm, typer.Option("--format", help="The form.")] = FigureForm.PDF,
    only: Annotated[
        list[str] | None, typer.Option(help="The name of a figure; all that the runs support if not given.")
    ] = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Figures of runs and sweeps for papers, each with its caption in a text file beside it."""
    from analysis.charts import CHARTS
    from analysis.sources import read_source
    from analysis.tables import UnsupportedByRunsError

    if unknown := [name for name in only or () if name not in CHARTS]:
        raise typer.BadParameter(f"there is no figure {unknown[0]}; expected one of {', '.join(CHARTS)}")
    observations = [found for text in sources or ["latest"] for found in read_source(text, runs_dir).observations]
    output.mkdir(parents=True, exist_ok=True)
    for name in only or CHARTS:
        try:
            charts = CHARTS[name](observations)
        except UnsupportedByRunsError as reason:
            print(f"no {name}: {reason}", file=sys.stderr)
            continue
        for chart in charts:
            path = chart.drawing.save(output / f"{chart.name}.{form}")
            path.with_suffix(".txt").write_text(f"{chart.title}. {chart.caption}\n", encoding="utf-8")
            print(f"{chart.title}: {path}")
