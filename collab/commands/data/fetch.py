"""`collab data fetch`: data sets are downloaded, checked, and put into the data directory."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from collab.options import DataDir


def command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets.", show_default=False)],
    directory: DataDir = None,
) -> None:
    """Download data sets into the data directory; one that broke off goes on where it was."""
    from collab.data import data_dir
    from collab.data.fetching import fetch, known_names
    from collab.progress_bars import progress_bars

    chosen = directory or data_dir()
    wanted = known_names(names)
    for known in wanted:
        with progress_bars() as told:
            fetched = fetch(known, chosen, told)
        for path in fetched:
            print(path)
        if not fetched:
            print(f"collab: {known.name} is here already; see: collab data check {known.name}", file=sys.stderr)
