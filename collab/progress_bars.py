"""Progress of long work, in the terminal: a bar for each thing that is done, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from simnet.units import format_size


class Listener(Protocol):
    """Hears how far something is, whatever it counts; also serves as a `collab.data.progress.Progress`."""

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` `unit` of `what`; a total of 0 is not known. Bytes are `B`."""


@contextmanager
def progress_bars() -> Iterator[Listener]:
    """A listener that draws bars while the context lasts; without a terminal, it names each thing once."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        tasks: dict[str, TaskID] = {}

        def hear(what: str, done: int, total: int, unit: str) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what, total=None, amount="")
                if not console.is_terminal:
                    console.print(Text(what))
            display.update(tasks[what], completed=done, total=total or None, amount=_amount(done, total, unit))

        yield hear


def _amount(done: int, total: int, unit: str) -> str:
    if not total:
        return ""
    if unit == "B":
        return f"{format_size(done)} of {format_size(total)}"
    return f"{done:,} of {total:,} {unit}"
