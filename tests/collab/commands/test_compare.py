"""`collab compare`: what differs between runs."""

from __future__ import annotations

import json
import math
import re

import pytest
import typer

from collab.commands.compare import command
from tests.collab.recordings import record


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("runs")
    few = ("partition.clients=3", "evaluation.repeats=2")
    record(runs_dir, *few, name="one")
    record(runs_dir, *few, name="again")
    record(runs_dir, *few, "baselines=[localdm]", "network.access.latency=30 ms", "seed=2", name="other")
    return runs_dir


@pytest.fixture
def compared(runs, capsys, monkeypatch):
    def compare(*names, width=100, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        command(list(names), runs_dir=runs, **options)
        return capsys.readouterr().out

    return compare


def test_only_what_differs_is_told(compared, runs):
    told = json.loads(compared("one", "again", "other", as_json=True))
    assert told["runs"] == [str(runs / name) for name in ("one", "again", "other")]
    assert told["settings"] == {
        "seed": [1, 1, 2],
        "baselines": [[], [], ["localdm"]],
        "network.access.latency": ["10 ms", "10 ms", "30 ms"],
    }
    assert told["environment"] == {}
    assert told["same_trace"] == [True, True, False]


def test_results_are_measured_by_the_first(compared, runs):
    first, again, other = json.loads(compared("one", "again", "other", as_json=True))["methods"]["collabdm"]
    rows = [json.loads((runs / name / "summary.json").read_text())["methods"]["collabdm"] for name in ("one", "other")]
    one, two = (row["accuracies"]["convnet"] for row in rows)
    assert (first["accuracy_difference"], first["same_result"]) == (None, None)
    assert (again["accuracy_difference"], again["same_result"]) == (0, True)
    assert other["same_result"] is False
    assert other["accuracy_difference"] == pytest.approx(two["mean"] - one["mean"])
    assert other["difference_deviation"] == pytest.approx(math.hypot(one["deviation"], two["deviation"]))
    assert other["bytes_up_per_client"] == rows[1]["bytes_up_per_client"]
    assert other["result_s"] == rows[1]["result_s"]


def test_a_method_that_one_run_has_not(compared):
    results = json.loads(compared("one", "other", as_json=True))["methods"]["localdm"]
    assert results[0] is None
    assert results[1]["accuracy_difference"] is None
    assert re.search(r"localdm +A +not run", compared("one", "other"))


def test_settings_of_a_baseline_that_both_have_are_compared(tmp_path, capsys):
    for steps in (1, 2):
        record(tmp_path, "partition.clients=2", f"baselines=[{{name: localdm, local_steps: {steps}}}]")
    command(["hundred-001", "hundred-002"], runs_dir=tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["settings"] == {"baselines.localdm.local_steps": [1, 2]}


@pytest.mark.parametrize("width", [100, 80])
def test_for_people(compared, runs, width):
    page = compared("one", "again", "other", width=width)
    assert page.startswith(
        "".join(
            f"{letter}  {runs / name}, gaussians\n"
            for letter, name in zip("ABC", ("one", "again", "other"), strict=True)
        )
    )
    assert re.search(r"network\.access\.latency +10 ms +10 ms +30 ms", page)
    assert "environment: the same" in page
    assert re.search(r"collabdm +A .*\n +B .*\+0\.0±.*the same *\n +C .*[+-]\d.*differs", page)
    assert "every event is the same as in A: B\nevents differ from those of A: C\n" in page


def test_the_environment_may_differ(compared, runs):
    path = runs / "again" / "environment.json"
    path.write_text(path.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    assert json.loads(compared("one", "again", as_json=True))["environment"] == {"device": ["cpu", "cuda"]}


def test_one_run_is_too_few(compared):
    with pytest.raises(typer.BadParameter, match="found one run, one; expected two or more"):
        compared("one")
