"""Reading observations: from run directories, sweep directories, and the result files of `benchmarks/table2.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis.observations import Observation
from collab.errors import RunDirectoryError, RunNotFoundError
from collab.store import DEFAULT_RUNS_DIR, Run, Sweep, find_run, find_sweep

_NOT_OF_THE_METHOD = ("name", "seed", "baselines", "compute", "sweep")
"""What may differ between runs of one method that repeat each other, or is another method's."""


@dataclass(frozen=True)
class Source:
    """A run, a sweep or a directory of result files that was named, and what it holds."""

    path: Path
    name: str
    """Of the scenario."""
    observations: Sequence[Observation]
    sweep: Sweep | None = None

    @property
    def axes(self) -> list[str]:
        """Dotted names of what was swept, without the seed; empty if it is no sweep."""
        return [] if self.sweep is None else [name for name in self.sweep.axes if name != "seed"]


def read_source(text: str, runs_dir: Path = DEFAULT_RUNS_DIR) -> Source:
    """What stands at a path, or under a name in `runs_dir`: a sweep, a run, or a directory of result files.

    Raises `RunNotFoundError` if it is none of them, `RunDirectoryError` if it cannot be read.
    """
    try:
        return source_of_sweep(find_sweep(text, runs_dir))
    except RunNotFoundError:
        pass
    for path in (Path(text), runs_dir / text):
        if path.is_dir() and (results := list(_result_files(path))):
            return Source(path, "table2", results)
    try:
        run = find_run(text, runs_dir)
    except RunNotFoundError as error:
        raise RunNotFoundError(
            f"{text} is no run, no sweep and no directory of result files, neither here nor in {runs_dir}; "
            "`collab list` lists what there is"
        ) from error
    if not run.is_whole():
        raise RunDirectoryError(f"{run.path} is damaged: its summary cannot be read; run the scenario again")
    return Source(run.path, str(run.summary.get("scenario", run.path.name)), list(of_run(run)))


def source_of_sweep(sweep: Sweep) -> Source:
    """A sweep, with the observations of the cells that are finished."""
    observations = [found for cell in sweep.finished if cell.run is not None for found in of_run(cell.run)]
    return Source(sweep.path, sweep.name, observations, sweep)


def of_run(run: Run) -> Iterator[Observation]:
    """The methods of a run. Raises `RunDirectoryError` if a file lacks what it should hold."""
    scenario = run.scenario
    for method in run.methods:
        try:
            row = run.summary["methods"][method.name]
            yield Observation(
                scenario=str(run.summary["scenario"]),
                method=method.name,
                seed=int(run.summary["seed"]),
                dataset=str(run.summary.get("dataset", scenario["dataset"]["name"])),
                world=str(run.summary["world"]),
                settings=_settings_of(scenario, method.name),
                accuracies={
                    network: [float(value) for value in values]
                    for network, values in method.outcome["accuracies"].items()
                },
                upload_bytes=float(row["bytes_up_per_client"]),
                last_upload_s=float(row["last_upload_s"]),
                result_s=float(row["result_s"]),
                energy_j=row.get("energy_j_per_client"),
                left=method,
            )
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise RunDirectoryError(
                f"{run.path} is damaged: {method.name} lacks {error!s:.60}; run the scenario again"
            ) from error


def _settings_of(scenario: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The scenario as one of its methods sees it."""
    entries = [scenario["method"], *(scenario.get("baselines") or ())]
    own = next(entry for entry in entries if entry["name"] == method)
    return {**{key: value for key, value in scenario.items() if key not in _NOT_OF_THE_METHOD}, "method": own}


_OF_A_RESULT = ("dataset", "beta", "method", "seed", "accuracies", "summary", "scenario")


def _result_files(folder: Path) -> Iterator[Observation]:
    """The result files of `benchmarks/table2.py` in a directory: JSON, one method of one cell each.

    Raises `RunDirectoryError` for one that is damaged; other files are passed over.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{path} cannot be read: {error}") from error
        if not isinstance(found, Mapping) or any(key not in found for key in _OF_A_RESULT):
            continue
        try:
            scenario, summary = yaml.safe_load(found["scenario"]), found["summary"]
            accuracies = [float(value) for value in found["accuracies"]]
            yield Observation(
                scenario=str(scenario["name"]),
                method=str(scenario["method"]["name"]),
                seed=int(found["seed"]),
                dataset=str(found.get("title", found["dataset"])),
                world="simulated",
                settings=_settings_of(scenario, scenario["method"]["name"]),
                accuracies={str(scenario["evaluation"]["networks"][0]): accuracies},
                upload_bytes=float(summary["bytes_up_per_client"]),
                last_upload_s=float(summary["last_upload_s"]),
                result_s=float(summary["result_s"]),
                energy_j=summary.get("energy_j_per_client"),
            )
        except (LookupError, TypeError, ValueError, yaml.YAMLError) as error:
            raise RunDirectoryError(f"{path} is damaged: {error!r:.80}; remove it and make it again") from error
