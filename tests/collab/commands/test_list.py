"""`collab list`: runs, sweeps, and the cells of one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import typer

from collab.commands.list import command
from tests.collab.recordings import REASON, record, record_sweep


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("runs")
    record(runs_dir, "partition.clients=3", "evaluation.repeats=2", name="a-small")
    record(runs_dir, "partition.clients=6", "baselines=[localdm]", "network.access.latency=30 ms", name="b-large")
    record_sweep(runs_dir)
    for number, name in enumerate(("b-large", "a-small")):
        os.utime(runs_dir / name / "summary.json", (1_750_000_000 + number, 1_750_000_000 + number))
    return runs_dir


@pytest.fixture
def listed(runs, capsys, monkeypatch):
    def list_(width=140, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        command(runs_dir=runs, **options)
        return capsys.readouterr()

    return list_


def names(listed, **options):
    told = json.loads(listed(as_json=True, **options).out)
    return [row["name"] for row in told["runs"]], [row["name"] for row in told["sweeps"]]


def test_all_runs_and_sweeps(listed):
    page = listed().out
    assert re.search(
        r"a-small +hundred +gaussians +1 +collabdm +\d+\.\d±\d+\.\d +\d.* k?B +0\.\d+ s +2025-06-15 ", page
    )
    assert re.search(r"b-large .* collabdm .*\n +localdm ", page)
    assert re.search(r"k-by-seed +4 +2 +1 +partition\.clients \(2\), seed \(2\)", page)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (["a-small", "b-large"], ["k-by-seed"])),
        ({"scenario": "hun*"}, (["a-small", "b-large"], ["k-by-seed"])),
        ({"scenario": "other"}, ([], [])),
        ({"method": "localdm"}, (["b-large"], ["k-by-seed"])),
        ({"dataset": "Gauss*"}, (["a-small", "b-large"], ["k-by-seed"])),
        ({"dataset": "mnist"}, ([], [])),
        ({"where": ["partition.clients>3"]}, (["b-large"], [])),
        ({"where": ["network.access.latency<=10 ms", "partition.clients=3"]}, (["a-small"], ["k-by-seed"])),
        ({"where": ["seed=2"]}, ([], ["k-by-seed"])),
        ({"since": "1 h"}, ([], ["k-by-seed"])),
        ({"since": "2025-06-01"}, (["a-small", "b-large"], ["k-by-seed"])),
        ({"sort": "time"}, (["a-small", "b-large"], ["k-by-seed"])),
        ({"sort": "seconds"}, (["a-small", "b-large"], ["k-by-seed"])),
    ],
)
def test_filters(listed, options, expected):
    assert names(listed, **options) == expected


def test_runs_are_sorted_by_the_first_method_that_is_shown(listed):
    told = json.loads(listed(as_json=True, sort="accuracy").out)["runs"]
    accuracies = [row["methods"]["collabdm"]["accuracy"] for row in told]
    assert accuracies == sorted(accuracies, reverse=True)
    told = json.loads(listed(as_json=True, sort="bytes").out)["runs"]
    sizes = [row["methods"]["collabdm"]["bytes_up_per_client"] for row in told]
    assert sizes == sorted(sizes)


def test_only_the_wanted_methods_are_shown(listed):
    page = listed(method="localdm").out
    assert "localdm" in page
    assert "collabdm" not in page


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_cuts_no_number(listed, width):
    page = listed(width=width).out
    assert max(map(len, page.splitlines())) <= width
    assert "…" not in page
    assert re.search(r"0\.\d{3} s", page)
    assert page.count("k-by-seed") == 1


@pytest.mark.parametrize("width", [140, 60])
def test_the_cells_of_a_sweep(listed, width):
    page = listed(width=width, cells="k-by-seed").out
    assert page.index("0a1aaaaaaaaa") < page.index("0a2bbbbbbbbb") < page.index("1c1ccccccccc")
    assert page.count("localdm") == 2
    assert page.count("to come") == 1
    assert " ".join(page.split()).count(REASON) == 1
    if width == 140:
        assert re.search(r"0a2bbbbbbbbb +3 +2 +collabdm +\d+\.\d +", page)
        assert "4 cells: 2 finished, 1 failed" in page


def test_the_cells_as_data(listed):
    told = json.loads(listed(cells="k-by-seed", as_json=True).out)
    assert [cell["state"] for cell in told] == ["finished", "finished", "failed", "to come"]
    assert told[1]["point"] == {"partition.clients": 3, "seed": 2}
    assert told[2]["error"] == REASON
    (only,) = json.loads(listed(cells="k-by-seed", where=["seed=2"], as_json=True).out)
    assert only["cell"] == "0a2bbbbbbbbb"


def test_a_misspelt_setting_is_told(listed):
    said = listed(where=["partition.cliets=3"]).err
    assert "none of 2 runs and 1 sweeps" in said
    assert 'no run has the setting partition.cliets; did you mean "partition.clients"?' in said
    assert "partition.clients is 3, 6 in them" in listed(where=["partition.clients=77"]).err


@pytest.mark.parametrize("options", [{"where": ["partition.clients"]}, {"since": "yesterday"}])
def test_what_cannot_be_understood_is_refused(listed, options):
    with pytest.raises(typer.BadParameter, match="expected"):
        listed(**options)


def test_it_needs_no_torch(runs):
    code = (
        "import sys; from pathlib import Path; from collab.commands.list import command; "
        "command(runs_dir=Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(runs)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
