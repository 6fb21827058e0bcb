"""`collab detect`: a detector labels new flow records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collab.options import AsJson, DeviceName

if TYPE_CHECKING:
    from collab.detector import Detector
    from collab.labelling import Findings


def command(
    model: Annotated[Path, typer.Argument(help="What train-detector wrote.", show_default=False)],
    flows: Annotated[Path, typer.Argument(metavar="FLOWS.csv", help="Flow records.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: a line for each flow, with its class.")
    ] = Path("labels.csv"),
    station: Annotated[
        str | None,
        typer.Option(help="Whose ranges to scale by, of a detector that scales by station.", show_default=False),
    ] = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Label the flow records of a file, however large, with a detector; say how many it takes for attacks."""
    from collab import detector
    from collab.compute import pick_device
    from collab.labelling import label_flows
    from collab.progress_bars import progress_bars
    from collab.whole_file import new_file

    chosen = detector.read(model, pick_device(device))
    with (
        new_file(out) as partial,
        partial.open("w", encoding="utf-8", newline="") as output,
        progress_bars() as told,
    ):
        findings = label_flows(chosen, flows, output, station, told)
    facts = _facts(chosen, findings, flows, out)
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        _print(facts)


def _facts(chosen: Detector, findings: Findings, flows: Path, out: Path) -> dict[str, Any]:
    origin, recipe = chosen.about.trained_on, chosen.recipe
    names = findings.class_names
    return {
        "flows_file": str(flows),
        "file": str(out),
        "trained_on": {"title": origin.title, "run": origin.run, "method": origin.method},
        "trained_on_windows_by": None if recipe is None else recipe.windows,
        "flows": int(findings.flows.sum()),
        "windows": int(findings.windows.sum()),
        "flows_per_window": None if recipe is None else recipe.flows_per_image,
        "classes": {
            name: {"windows": int(windows), "flows": int(held)}
            for name, windows, held in zip(names, findings.windows, findings.flows, strict=True)
        },
        "station_changes": findings.station_changes,
        "benign": origin.benign,
        "alarms": _alarms(chosen, findings),
        "by_labels": _by_labels(chosen, findings),
    }


def _alarms(chosen: Detector, findings: Findings) -> dict[str, Any] | None:
    """Windows that are taken for attacks; None if it is not known which class is none."""
    benign = chosen.benign_class
    if benign is None:
        return None
    windows = int(findings.windows.sum() - findings.windows[benign])
    return {"windows": windows, "share": windows / int(findings.windows.sum())}


def _by_labels(chosen: Detector, findings: Findings) -> dict[str, Any] | None:
    """How right the detector is, in flows; None if no label in the file is known."""
    from collab.store.detection import detection_rate, false_alarm_rate

    matrix, benign = findings.matrix, chosen.benign_class
    known = int(matrix.sum())
    if not known:
        return None
    label = None if chosen.recipe is None else chosen.recipe.format.label
    return {
        "labels": "rules of the mapping" if label is None or label.column is None else f"column {label.column}",
        "flows": known,
        "accuracy": int(matrix.trace()) / known,
        "false_alarm_rate": None if benign is None else false_alarm_rate(matrix, benign),
        "detection_rate": None if benign is None else detection_rate(matrix, benign),
        "confusion": matrix.tolist(),
    }


def _print(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    origin = facts["trained_on"]
    _say(console, f"trained on {origin['title']}, distilled by {origin['method']} in the run {origin['run']}")
    _say(console, f"{facts['flows']:,} flows in {facts['windows']:,} windows of {facts['flows_per_window']}")
    if facts["trained_on_windows_by"] == "label":
        _say(console, "it was trained on windows of one class each; in a file they may be mixed")
    if changes := facts["station_changes"]:
        times = "once" if changes == 1 else f"{changes:,} times"
        _say(
            console,
            f"warning: the station changes {times} within the file, and as many windows may hold flows of two; "
            "put the flows of each in a file of its own",
        )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("class", "windows", "flows", "share"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, counts in facts["classes"].items():
        share = f"{100 * counts['windows'] / facts['windows']:.1f} %"
        table.add_row(name, f"{counts['windows']:,}", f"{counts['flows']:,}", share)
    console.print(table)
    if facts["alarms"] is not None:
        _say(console, f"alarms: {facts['alarms']['windows']:,} windows, {_percent(facts['alarms']['share'])}")
    if facts["by_labels"] is not None:
        _say(console, _in_words(facts["by_labels"]))
    _say(console, f"labels written to {facts['file']}")


def _in_words(found: dict[str, Any]) -> str:
    parts = [f"{_percent(found['accuracy'])} of {found['flows']:,} flows in the right class"]
    if found["false_alarm_rate"] is not None:
        parts.append(f"{_percent(found['false_alarm_rate'])} of benign flows in an alarm")
    if found["detection_rate"] is not None:
        parts.append(f"{_percent(found['detection_rate'])} of attacks in an alarm")
    return f"by the labels in the file ({found['labels']}): {', '.join(parts)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _say(console: Any, text: str) -> None:
    """A line that is not broken where the terminal ends."""
    console.print(text, soft_wrap=True, markup=False)
