"""`collab compare A B`: what differs between runs, in the scenario, the environment and the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collab.errors import RunDirectoryError
from collab.options import RUNS_DIR, RunsDir

if TYPE_CHECKING:
    from rich.console import Console

    from collab.run_comparison import Comparison, Difference, MethodResult

_WIDE = 90  # columns of the terminal


def command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...", help="Run directories, their names, SWEEP/CELL, or latest.", show_default=False
        ),
    ],
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """Compare runs: what differs in the scenario, the environment and the results; the first is the measure."""
    from collab.run_comparison import compare
    from collab.store import find_run

    if len(runs) < 2:
        raise typer.BadParameter(f"found one run, {runs[0]}; expected two or more")
    found = [find_run(name, runs_dir) for name in runs]
    for run in found:
        if not run.is_whole():
            raise RunDirectoryError(f"{run.path} is damaged: its summary cannot be read; run the scenario again")
    try:
        comparison = compare(found)
    except KeyError as error:
        raise RunDirectoryError(
            f"a summary of {', '.join(str(run.path) for run in found)} lacks {error}: it is damaged, or was written by "
            "another version; run the scenario again"
        ) from error
    if as_json:
        print(json.dumps(comparison.data(), indent=1))
    else:
        _show(comparison)


def _show(comparison: Comparison) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    letters = [chr(ord("A") + number) if number < 26 else str(number + 1) for number in range(len(comparison.runs))]
    for letter, run in zip(letters, comparison.runs, strict=True):
        _say(console, f"{letter}  {run.path}, {run.summary.get('dataset', run.scenario['dataset']['name'])}")
    _show_differences(console, "scenario", comparison.settings, letters)
    _show_differences(console, "environment", comparison.environment, letters)
    down = ("down/client",) if console.width >= _WIDE else ()
    table = _table("method", "run", "accuracy %", "difference", "up/client", *down, "result", "digest", "")
    for method, results in comparison.methods.items():
        for number, (letter, result) in enumerate(zip(letters, results, strict=True)):
            cells = ("not run",) if result is None else _cells(result, down=bool(down))
            table.add_row(method if number == 0 else "", letter, *cells)
    console.print(table)
    if any(result is not None and result.networks > 1 for each in comparison.methods.values() for result in each):
        _say(console, "±: standard deviation over the networks; of a difference, the root of the sum of both squares")
    for words, agreed in (("every event is the same as in", True), ("events differ from those of", False)):
        told = [letter for letter, same in zip(letters[1:], comparison.same_trace[1:], strict=True) if same is agreed]
        if told:
            _say(console, f"{words} A: {', '.join(told)}")


def _show_differences(console: Console, what: str, found: Sequence[Difference], letters: Sequence[str]) -> None:
    if not found:
        _say(console, f"{what}: the same")
        return
    table = _table(what, *letters)
    for each in found:
        table.add_row(each.field, *(_text(value) for value in each.values))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "-" if value is None else str(value)


def _cells(result: MethodResult, *, down: bool) -> tuple[str, ...]:
    from simnet.units import format_size

    difference = "" if result.accuracy_difference is None else f"{100 * result.accuracy_difference:+.1f}"
    spread = f"±{100 * result.deviation:.1f}" if result.networks > 1 else ""
    if result.difference_deviation and result.accuracy_difference is not None:
        difference += f"±{100 * result.difference_deviation:.1f}"
    return (
        f"{100 * result.accuracy:.1f}{spread}",
        difference,
        format_size(result.bytes_up_per_client),
        *((format_size(result.bytes_down_per_client),) if down else ()),
        f"{result.result_s:.3f} s",
        result.result_digest[:8],
        {None: "", True: "the same", False: "differs"}[result.same_result],
    )


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    numbers = ("accuracy %", "difference", "up/client", "down/client", "result")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)
