"""`collab data check`: are the files of data sets what they should be."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from collab.errors import DamagedDataError, DataError
from collab.options import AsJson, DataDir

if TYPE_CHECKING:
    from collab.data.checking import Report


def command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Data sets; all that are here if none is given.")
    ] = None,
    directory: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Read data sets in full and compare them with what is published; exit code 15 if one is not sound."""
    from collab.data import data_dir
    from collab.data.catalogue import KNOWN
    from collab.data.checking import check
    from collab.data.listing import located
    from collab.document import nearest
    from collab.progress_bars import progress_bars

    chosen = directory or data_dir()
    for name in names or ():
        if name not in KNOWN:
            raise DataError(f'there is no data set "{name}" with files to check{nearest(name, list(KNOWN))}')
    wanted = list(dict.fromkeys(names)) if names else [name for name in KNOWN if located(name, chosen)]
    with progress_bars() as told:
        reports = [check(name, chosen, told) for name in wanted]
    if as_json:
        sets = [{**dataclasses.asdict(report), "sound": report.sound} for report in reports]
        print(json.dumps({"directory": str(chosen), "sets": sets}, indent=1))
    elif reports:
        _show(reports)
    if not reports:
        raise DataError(f"no data set is in {chosen}; see: collab data list")
    unsound = [report.name for report in reports if not report.sound and report.verdict != "missing"]
    if unsound:
        raise DamagedDataError(f"not sound: {', '.join(unsound)}")
    missing = [report.name for report in reports if report.verdict == "missing"]
    if missing:
        raise DataError(f"not here: {', '.join(missing)}")


def _show(reports: list[Report]) -> None:
    from rich.console import Console
    from rich.text import Text

    output = Console(highlight=False, soft_wrap=True)
    styles = {"damaged": "red", "differs": "red", "missing": "yellow"}
    for report in reports:
        counted = report.train_samples is not None and report.test_samples is not None
        samples = f", {report.train_samples:,} + {report.test_samples:,} images" if counted else ""
        output.print(Text(f"{report.name}: {report.verdict}{samples}", styles.get(report.verdict, "green")))
        output.print(Text(f"    {report.note}"))
        for file in report.files:
            note = f" ({file.note})" if file.note else ""
            output.print(Text(f"    {file.verdict}: {file.path}{note}", "dim"))
