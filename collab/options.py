"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collab.store import Run

RUNS_DIR = Path("runs")
PICTURE_FORMATS = (".svg", ".png")

ScenarioPath = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. partition.beta=0.3; repeatable."),
]
RunsDir = Annotated[Path, typer.Option(help="Where run directories are.")]
RunName = Annotated[
    str | None, typer.Option(help="Name of the run directory; the scenario's and a number if not given.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the summary as JSON, and nothing else, on standard output.")
]
MethodName = Annotated[
    str | None,
    typer.Option("--method", metavar="NAME", help="Which method's; the first if not given.", show_default=False),
]
DeviceName = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where torch works; auto takes a GPU if there is one."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--dir", help="The data directory; COLLAB_DATA_DIR if not given.", show_default=False),
]


def check_picture(path: Path | None) -> None:
    """Refuse the name of a picture that is neither SVG nor PNG, before any work is done. Raises `BadParameter`."""
    if path is not None and path.suffix.lower() not in PICTURE_FORMATS:
        raise typer.BadParameter(f"{path} is no picture; expected a name that ends in {' or '.join(PICTURE_FORMATS)}")


def method_of(run: Run, name: str | None) -> str:
    """The method of a run that `--method` names, the first if none. Raises `BadParameter` for one that it has not.

    Raises `collab.errors.RunDirectoryError` if the run's summary cannot be read.
    """
    known = [method.name for method in run.methods]
    if name is not None and name not in known:
        raise typer.BadParameter(f'{run.path} has no method "{name}"; it has {", ".join(known)}')
    return name or known[0]
