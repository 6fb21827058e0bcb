"""`collab replay RUN`: run again, compare, and name the first event that differs."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from collab.options import RUNS_DIR, RunsDir


def command(
    run: Annotated[str, typer.Argument(help="Run directory, its name, or latest.")] = "latest",
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="METHOD", help="Only this method of the run; repeatable.")
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the new run in the directory of runs.")] = False,
) -> None:
    """Run a recorded run again and compare events, bytes and results."""
    from collab import replay
    from collab.console import LiveProgress
    from collab.errors import ReplayDiffersError, RunDirectoryError
    from collab.store import Run, find_run, open_run

    recorded = find_run(run, runs_dir)
    if not recorded.is_whole():
        raise RunDirectoryError(f"{recorded.path} is damaged: its summary cannot be read")
    names = list(dict.fromkeys(method or recorded.summary["methods"]))
    if unknown := [name for name in names if name not in recorded.summary["methods"]]:
        known = ", ".join(recorded.summary["methods"])
        raise typer.BadParameter(f'{recorded.path} has no method "{unknown[0]}"; it has {known}')
    scenario = replay.recorded_scenario(recorded)
    replay.check_recorded(recorded, names)
    world = recorded.summary["world"]
    data = [recorded.summary["dataset"]] if "dataset" in recorded.summary else []  # runs of early versions lack it
    told = ", ".join([scenario.name, f"seed {scenario.seed}", *data, f"{world} network"])
    title = f"replay of {recorded.path.name}: {told}"
    with contextlib.ExitStack() as stack:
        into = runs_dir if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="collab-replay-")))
        with (
            open_run(into, scenario.name, None) as writer,
            LiveProgress(title, names, virtual=world == "simulated") as progress,
        ):
            replay.replay(recorded, scenario, names, writer, progress)
        found = replay.compare(recorded, Run(writer.final), scenario, names)
    print(title)
    if found.timeless is not None:
        print(f"only what does not depend on time is compared: {found.timeless}")
    for line in found.environment:
        print(f"unlike the recorded run: {line}")
    for compared in found.methods:
        print(compared.in_words(timeless=found.timeless is not None))
    if keep:
        print(f"written to {writer.final}")
    if different := [compared.name for compared in found.methods if not compared.same]:
        raise ReplayDiffersError(f"{recorded.path} could not be repeated: {', '.join(different)} came out differently")
