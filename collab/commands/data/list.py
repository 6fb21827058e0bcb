"""`collab data list`: which data sets there are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

from collab.options import AsJson, DataDir


def command(directory: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sets that a scenario can name, and which of them are here."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from collab.data import data_dir
    from collab.data.listing import Entry, entries
    from simnet.units import format_size

    chosen: Path = directory or data_dir()
    found = entries(chosen)
    if as_json:
        print(json.dumps({"directory": str(chosen), "sets": [dataclasses.asdict(entry) for entry in found]}, indent=1))
        return

    def samples(entry: Entry) -> str:
        if entry.train_samples is None or entry.test_samples is None:
            return ""
        return f"{entry.train_samples:,} + {entry.test_samples:,}"

    def where(entry: Entry) -> str:
        return ", ".join(_within(path, chosen) for path in entry.where)

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("name", "samples", "shape", "here", "size", "where"):
        folded = column in ("name", "where")  # the others are needed whole, also in a narrow terminal
        justify: Literal["left", "right"] = "right" if column in ("samples", "size") else "left"
        table.add_column(column, justify=justify, no_wrap=not folded, overflow="fold")
    for entry in found:
        size = format_size(entry.size_bytes) if entry.size_bytes else ""
        name = Text.assemble(entry.name, "\n", (entry.what, "dim"))
        table.add_row(name, samples(entry), entry.shape, entry.present, size, where(entry))
    output = Console(highlight=False)
    output.print(table)
    output.print(f"data directory: {chosen} (COLLAB_DATA_DIR chooses another)", soft_wrap=True)
    missing = [entry.name for entry in found if entry.fetchable and entry.present in ("no", "partly")]
    if missing:
        output.print(f"to download: collab data fetch {' '.join(missing)}", soft_wrap=True)


def _within(path: str, directory: Path) -> str:
    found = Path(path)
    return str(found.relative_to(directory)) if found.is_relative_to(directory) else path
