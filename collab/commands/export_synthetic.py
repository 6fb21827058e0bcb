"""`collab export-synthetic`: the global synthetic set of a run as a file that numpy alone reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from collab.options import RUNS_DIR, AsJson, MethodName, RunsDir, method_of

if TYPE_CHECKING:
    from collab.synthetic_file import GlobalSet


def command(
    run: Annotated[str, typer.Argument(help="Run directory, its name, SWEEP/CELL, or latest.")] = "latest",
    method: MethodName = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; RUN-METHOD.npz if not given.", show_default=False)
    ] = None,
    precision: Annotated[
        Literal["float16", "float32"], typer.Option(help="Of the pixels; float16 is off by a tenth of a grey level.")
    ] = "float16",
    runs_dir: RunsDir = RUNS_DIR,
    as_json: AsJson = False,
) -> None:
    """Write the global synthetic set of a run as a small .npz file, on which anybody can train."""
    from collab import synthetic_file
    from collab.store import find_run
    from collab.whole_file import new_file

    found = find_run(run, runs_dir)
    name = method_of(found, method)
    path = out or Path(f"{found.path.resolve().name}-{name}.npz")
    whole = synthetic_file.of_run(found, name)
    content = synthetic_file.packed(whole, precision)
    with new_file(path) as partial:
        partial.write_bytes(content)
    told = _told(whole, path, len(content))
    print(json.dumps(told, indent=1, ensure_ascii=False) if as_json else _in_words(told))


def _told(whole: GlobalSet, path: Path, size_bytes: int) -> dict[str, Any]:
    return {
        "file": str(path),
        "size_bytes": size_bytes,
        "shape": list(whole.synthetic.images.shape),
        "class_names": list(whole.class_names),
        **whole.origin.model_dump(mode="json"),
    }


def _in_words(told: dict[str, Any]) -> str:
    from simnet.units import format_size

    images, channels, side, _ = told["shape"]
    lines = [
        f"{images} images {channels}x{side}x{side} of {len(told['class_names'])} classes, distilled from "
        f"{told['title']} by {told['method']}"
    ]
    reached = [f"{name} {100 * accuracy:.1f} %" for name, accuracy in told["accuracies"].items()]
    lines.append(f"on its test data, networks trained on them reach: {', '.join(reached)}")
    if told["recipe"] is not None:
        lines.append("with the recipe that makes images of flow records")
    return "\n".join([*lines, f"written to {told['file']}, {format_size(told['size_bytes'])}"])
