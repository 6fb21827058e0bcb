"""Every scenario that comes with the project is run, shortened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collab import run, scenario
from collab.store import open_run

FILES = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))

SHORT = {
    "collabdm": {"iterations": 2, "batch_size": 4, "local_steps": 1, "local_batch_size": 4, "width": 4},
    "localdm": {"local_steps": 1, "local_batch_size": 4, "width": 4},
    "central": {"steps": 1, "batch_size": 4, "width": 4},
}


def test_the_scenarios_that_were_promised_are_there():
    assert {"quickstart", "mnist-star", "two-tier"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_runs(path, tmp_path):
    chosen = scenario.load(path)
    if chosen.dataset.name in ("mnist", "fashion-mnist") and "COLLAB_DATA_DIR" not in os.environ:
        shortened = ["dataset={name: digits, side: 28}"]  # everything but the data itself
    else:
        shortened = (
            [] if chosen.dataset.name == "gaussians" else ["dataset.train_samples=600", "dataset.test_samples=100"]
        )
    shortened += [f"method.{key}={value}" for key, value in SHORT[chosen.method.name].items()]
    for index, baseline in enumerate(chosen.baselines):
        shortened.append(f"baselines.{index}={{name: {baseline.name}}}")
        shortened += [f"baselines.{index}.{key}={value}" for key, value in SHORT[baseline.name].items()]
    shortened += ["evaluation.epochs=1", "evaluation.repeats=1", "evaluation.sets=1"]
    short = scenario.load(path, shortened)
    with open_run(tmp_path, short.name, None) as writer:
        summary = run.run_scenario(short, writer)
    assert list(summary["methods"]) == [settings.name for settings in chosen.all_methods()]
    assert all(row["result_s"] > 0 for row in summary["methods"].values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_says_what_it_is_for(path):
    assert path.read_text().startswith("# ")
