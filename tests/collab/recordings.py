"""Real small runs and a sweep of them, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path

from collab import run, scenario
from collab.store import open_run
from collab.store.sweeps import write_definition

TEXT = (Path(__file__).parents[2] / "scenarios" / "hundred.yaml").read_text()
CELLS = [
    ("0a1aaaaaaaaa", {"partition.clients": 3, "seed": 1}),
    ("0a2bbbbbbbbb", {"partition.clients": 3, "seed": 2}),
    ("1c1ccccccccc", {"partition.clients": 5, "seed": 1}),
    ("1c2ddddddddd", {"partition.clients": 5, "seed": 2}),
]
REASON = "the GPU has not enough memory for 3 networks at once"


def record(runs_dir, *overrides, name=None, text=TEXT):
    """A run of the scenario with a hundred clients, or of how many `overrides` say; returns its path."""
    chosen = scenario.parse(text, "scenario.yaml", overrides)
    with open_run(runs_dir, chosen.name, name) as writer:
        run.run_scenario(chosen, writer)
    return writer.final


def record_sweep(runs_dir, name="k-by-seed"):
    """A sweep of four cells: two that are finished, one that failed, one to come; returns its path."""
    axes = {"partition.clients": [3, 5], "seed": [1, 2]}
    sweep = write_definition(runs_dir / name, name, axes, CELLS, TEXT)
    for identity, point in CELLS[:2]:
        overrides = [f"{field}={value}" for field, value in point.items()]
        record(sweep.path / "cells", *overrides, "baselines=[localdm]", name=identity)
    failed = sweep.cells[2].failed_path
    failed.mkdir(parents=True)
    failure = {"error": REASON, "kind": "RunFailedError", "attempts": 1, "wall_s": 1.5}
    (failed / "failure.json").write_text(json.dumps(failure))
    return sweep.path
