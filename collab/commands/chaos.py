"""`collab chaos`: run a scenario under many random schedules of faults, and name the faults that break it."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collab.errors import ChaosError
from collab.options import AsJson, Overrides, ScenarioPath

if TYPE_CHECKING:
    from collab.chaos import ChaosBench, Trial

_EXAMPLES = 5  # failures that are shown in words
_WORTH_A_PROCESS = 50  # schedules: making another process ready takes as long as these


def command(
    scenario: ScenarioPath,
    overrides: Overrides = None,
    schedules: Annotated[int, typer.Option(min=1, help="How many random schedules to try.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the schedules; the scenario's own seed stays.")] = 0,
    only: Annotated[int | None, typer.Option(min=0, help="Try just the schedule of this number, and show it.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at a time; one a processor if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a scenario's method under random faults; shrink a schedule that breaks it to the faults that matter."""
    from collab import scenario as scenarios
    from collab.chaos import ChaosBench, as_yaml, shrink, trials

    bench = ChaosBench(scenarios.load(scenario, overrides or []))
    indices = [only] if only is not None else list(range(schedules))
    processes = jobs or max(min(os.cpu_count() or 1, len(indices) // _WORTH_A_PROCESS), 1)
    tried: list[Trial] = []
    with _Bar(len(indices), shown=not as_json) as advance:
        for trial in trials(bench, seed, indices, jobs=processes):
            tried.append(trial)
            advance(trial)
    broken = [trial for trial in tried if trial.complaints]
    fewest = min(broken, key=lambda trial: (len(trial.faults), trial.index), default=None)
    shrunk = None if fewest is None else shrink(bench, fewest)
    if as_json:
        print(json.dumps(_summary(bench, seed, tried, shrunk), indent=1))
    else:
        if only is not None:
            print(as_yaml(tried[0].faults), end="")
        _tell(bench, tried)
        if shrunk is not None:
            print(f"schedule {shrunk.index}, shrunk to the faults that matter:\n{as_yaml(shrunk.faults)}", end="")
    if broken:
        found = "; ".join(complaint.found for complaint in (shrunk or broken[0]).complaints)
        numbers = ", ".join(str(trial.index) for trial in broken[:_EXAMPLES])
        raise ChaosError(f"{len(broken)} of {len(tried)} schedules broke the run (numbers {numbers}): {found}")


class _Bar:
    """A bar on standard error, where there is a terminal."""

    def __init__(self, total: int, *, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True, disable=not shown)
        self._task = self._bar.add_task("schedules", total=total)
        self._broken = 0

    def __enter__(self) -> Any:
        self._bar.start()
        return self._advance

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def _advance(self, trial: Trial) -> None:
        self._broken += bool(trial.complaints)
        self._bar.update(self._task, advance=1, description=f"schedules ({self._broken} broken)")


def _tell(bench: ChaosBench, tried: list[Trial]) -> None:
    failed = [trial for trial in tried if trial.failure and not trial.complaints]
    fine = sum(not trial.failure and not trial.complaints for trial in tried)
    faults = sum(len(trial.faults) for trial in tried)
    print(
        f"{len(tried)} schedules, {faults} faults: {fine} with the result of a run without faults, "
        f"{len(failed)} with a failure that names its cause, each run twice"
    )
    late = max(trial.ended_s for trial in tried)
    print(f"without faults a run takes {bench.quiet_s:.3f} s of virtual time, under faults up to {late:.0f} s")
    for trial in failed[:_EXAMPLES]:
        print(f"  {trial.index}: {trial.failure}")
    if len(failed) > _EXAMPLES:
        print(f"  and {len(failed) - _EXAMPLES} more")


def _summary(bench: ChaosBench, seed: int, tried: list[Trial], shrunk: Trial | None) -> dict[str, Any]:
    from collab.chaos import described

    return {
        "scenario": bench.scenario.name,
        "seed": seed,
        "schedules": len(tried),
        "results": sum(not trial.failure for trial in tried),
        "failures": {str(trial.index): trial.failure for trial in tried if trial.failure},
        "quiet_s": bench.quiet_s,
        "complaints": dict(Counter(complaint.kind for trial in tried for complaint in trial.complaints)),
        "broken": {
            str(trial.index): [complaint.found for complaint in trial.complaints] for trial in tried if trial.complaints
        },
        "shrunk": None if shrunk is None else {"index": shrunk.index, "faults": described(shrunk.faults)},
    }
