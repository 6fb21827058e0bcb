"""What the user sees in the terminal: live progress on standard error, the table of results on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collab.store.missing import missing_in_words
from collab.store.privacy import privacy_in_words
from simnet.units import format_energy, format_size

if TYPE_CHECKING:  # they need torch, which is slow to import
    from collab.data.progress import Unit
    from collab.run import MethodResult
    from simnet import Network

errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False)


@dataclass
class _Row:
    """How far one method is."""

    state: str = "waits"
    doing: str = ""
    uploads: str = ""
    network: Network | None = None


class LiveDisplay:
    """Shows what `draw` gives, anew several times a second, while its block goes on; only where there is a terminal."""

    def __init__(self, draw: Callable[[], RenderableType], refresh_per_second: float) -> None:
        self._live = Live(console=errors, get_renderable=draw, refresh_per_second=refresh_per_second, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if errors.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; what was drawn vanishes."""
        self._live.stop()


class LiveProgress(LiveDisplay):
    """A listener that draws a small table and keeps it up to date while a run goes on."""

    def __init__(self, title: str, methods: Sequence[str], *, virtual: bool) -> None:
        self._title = title
        self._rows = {name: _Row() for name in methods}
        self._current: _Row | None = None
        self._preparing = "reading the data"
        self._clock = "virtual" if virtual else "elapsed"
        self._started_s = time.monotonic()
        super().__init__(self._draw, refresh_per_second=5)

    # -- what happens ----------------------------------------------------------------------------

    def preparing(self, what: str, done: int, total: int, unit: Unit) -> None:
        """Data is being downloaded or read."""
        show = format_size if unit == "B" else "{:,} images".format
        share = f" of {show(total)}" if total else ""
        self._preparing = f"{what}: {show(done)}{share}" if done or total else what

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """A method starts on a network of its own."""
        self._preparing = ""
        self._current = self._rows[name]
        self._current.state, self._current.uploads, self._current.network = "runs", _uploads(1, 0, sites), network

    def progress(self, what: str, done: int, total: int) -> None:
        """A computation got on."""
        if self._current is not None:
            self._current.doing = f"{what} {done}/{total}"

    def uploaded(self, site: str, round_number: int, number: int, asked: int) -> None:
        """An upload was accepted."""
        if self._current is not None:
            self._current.uploads = _uploads(round_number, number, asked)

    def method_ended(self, result: MethodResult) -> None:
        """A method was run and judged."""
        row = self._rows[result.name]
        row.state, row.doing = "done", f"accuracy {100 * result.accuracy.mean:.1f} %"

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for name, row in self._rows.items():
            style = {"waits": "dim", "runs": "bold", "done": "green"}[row.state]
            clock = f"{row.network.now():.2f} s {self._clock}" if row.network is not None else ""
            table.add_row(Text(name, style), row.state, row.uploads, clock, row.doing)
        wall = f"{time.monotonic() - self._started_s:.0f} s of wall time"
        parts: list[RenderableType] = [Text(f"{self._title} · {wall}", "bold")]
        return Group(*parts, Text(self._preparing, "dim"), table) if self._preparing else Group(*parts, table)


def _uploads(round_number: int, number: int, asked: int) -> str:
    """How many uploads a round has, and from the second on which round it is: most methods have but one."""
    return f"{f'round {round_number}, ' if round_number > 1 else ''}{number}/{asked} uploads"


def print_summary(summary: Mapping[str, Any]) -> None:
    """The table of results."""
    simulated = summary["world"] == "simulated"
    seconds = "virtual" if simulated else "real"
    table = Table(
        title=f"{summary['scenario']}, seed {summary['seed']}, {summary['dataset']}, {summary['world']} network",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    energy = any(row["energy_j_per_client"] is not None for row in summary["methods"].values())
    joules = ("client's\nenergy",) if energy else ()
    for column in (
        "method", "accuracy\n%", "up per\nclient", "down per\nclient", *joules, "last\nupload", "result", "digest",
    ):  # fmt: skip
        table.add_column(
            column, justify="left" if column in ("method", "digest") else "right", no_wrap=column == "method"
        )
    for name, row in summary["methods"].items():
        table.add_row(
            _method_cell(name, row),
            with_deviation(next(iter(row["accuracies"].values()))),
            format_size(row["bytes_up_per_client"]),
            format_size(row["bytes_down_per_client"]),
            *([_energy(row["energy_j_per_client"])] if energy else []),
            f"{row['last_upload_s']:.3f} s",
            f"{row['result_s']:.3f} s",
            row["result_digest"][:8],
        )
    output.print(table)
    output.print(f"{seconds} seconds · body bytes, mean of the clients · digest of the result", soft_wrap=True)
    if energy:
        basis = "mean of the clients, modelled" if simulated else "measured seconds, modelled power"
        output.print(f"client's energy: computing, waiting and radio, {basis}", soft_wrap=True)
    if any(row["yields"] == "network" for row in summary["methods"].values()):
        output.print("a network: what the method yields is a trained network, no synthetic set", soft_wrap=True)
    for name, row in summary["methods"].items():
        if missing := missing_in_words(row.get("missing", {})):
            output.print(f"{name} went on {missing}", soft_wrap=True)
        if privacy := privacy_in_words(row.get("privacy", {})):
            output.print(f"{name} is {privacy}", soft_wrap=True)
    if deviations := _deviations_in_words(summary["methods"]):
        output.print(deviations, soft_wrap=True)
    _print_accuracies(summary["methods"])
    output.print(f"trace {summary['trace_digest'][:12]} · {summary['wall_s']:.1f} s of wall time")
    output.print(f"written to {summary['run_dir']}", soft_wrap=True)


def _deviations_in_words(rows: Mapping[str, Any]) -> str:
    """What the deviations in the tables are; nothing if there are none."""
    judged = [found for row in rows.values() for found in row["accuracies"].values()]
    most = max(judged, key=lambda found: int(found["networks"]))
    if most["networks"] == 1:
        return ""
    each = most["networks"] // most["sets"]
    networks = f"{each} network{'' if each == 1 else 's'}"
    on = f" on each of {most['sets']} sets (sets ±: of the sets' means)" if most["sets"] > 1 else ""
    return f"accuracy: mean and standard deviation of {networks}{on}"


def _print_accuracies(rows: Mapping[str, Any]) -> None:
    """Methods against the networks that were judged, if they are several."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row["accuracies"]))
    if len(names) < 2:
        return
    table = Table(
        title="accuracy by network, %", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    table.add_column("method", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for method, row in rows.items():
        cells = [_accuracy_cell(row["accuracies"].get(name)) for name in names]
        table.add_row(_method_cell(method, row), *cells)
    output.print(table)


def _accuracy_cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    between = found["set_deviation"]
    return with_deviation(found) + ("" if between is None else f"\nsets ±{100 * between:.1f}")


def with_deviation(found: Mapping[str, Any]) -> str:
    """An accuracy of a summary in percent, with its deviation over the networks if there are several."""
    deviation = f"±{100 * found['deviation']:.1f}" if found["networks"] > 1 else ""
    return f"{100 * found['mean']:.1f}{deviation}"


def _method_cell(name: str, row: Mapping[str, Any]) -> Text:
    """The name, and what the method yields if that is no synthetic set."""
    cell = Text(name)
    return cell if row["yields"] == "synthetic set" else cell.append(f"\na {row['yields']}", "dim")


def _energy(joules: float | None) -> str:
    return "" if joules is None else format_energy(joules)
