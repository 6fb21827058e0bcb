"""`collab detect`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from collab.commands.detect import command
from collab.detector import write
from collab.errors import DamagedDataError, DataError, RunExistsError
from tests.collab.detectors import detector, recipe, write_flows


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    write(detector(recipe()), Path("small.safetensors"))
    write_flows(Path("flows.csv"), 200)


def test_what_was_found_is_told(here, capsys):
    command(Path("small.safetensors"), Path("flows.csv"))
    printed, told = capsys.readouterr()
    lines = printed.splitlines()
    assert lines[0] == "trained on synthetic traffic (a small form), distilled by collabdm in the run one"
    assert lines[1] == "200 flows in 4 windows of 64"
    assert lines[2].split() == ["class", "windows", "flows", "share"]
    assert lines[6].startswith("alarms: ")
    assert lines[7].startswith("by the labels in the file (column kind): ")
    assert lines[8] == "labels written to labels.csv"
    assert told == "reading flows.csv\n"
    assert len(Path("labels.csv").read_text().splitlines()) == 201


def test_as_data(here, capsys):
    command(Path("small.safetensors"), Path("flows.csv"), out=Path("mine/labels.csv"), device="cpu", as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["flows"], facts["windows"], facts["flows_per_window"], facts["benign"]) == (200, 4, 64, "calm")
    assert facts["trained_on"]["title"] == "synthetic traffic (a small form)"
    rows = [line.split(",", 2) for line in Path("mine/labels.csv").read_text().splitlines()[1:]]
    calm = sum(rest.startswith("calm,") for _, _, rest in rows)
    assert facts["classes"]["calm"]["flows"] == calm
    alarmed = facts["windows"] - facts["classes"]["calm"]["windows"]
    assert facts["alarms"] == {"windows": alarmed, "share": alarmed / 4}
    found, matrix = facts["by_labels"], np.array(facts["by_labels"]["confusion"])
    assert (found["labels"], found["flows"], matrix.sum()) == ("column kind", 200, 200)
    assert found["accuracy"] == np.trace(matrix) / 200
    assert found["false_alarm_rate"] == matrix[0, 1:].sum() / matrix[0].sum()
    assert found["detection_rate"] == matrix[1:, 1:].sum() / matrix[1:].sum()


def test_what_is_not_known_is_not_told(here, capsys):
    write(detector(recipe(windows="label"), benign=None), Path("other.safetensors"))
    write_flows(Path("bare.csv"), 200, columns=("length", "bytes", "proto"))
    command(Path("other.safetensors"), Path("bare.csv"))
    printed = capsys.readouterr().out
    assert "alarm" not in printed
    assert "by the labels" not in printed
    assert "it was trained on windows of one class each; in a file they may be mixed" in printed


def test_after_a_mistake_there_is_no_file(here):
    with pytest.raises(DataError, match=r"there is no file none\.safetensors; make one with: collab train-detector"):
        command(Path("none.safetensors"), Path("flows.csv"))
    with pytest.raises(DataError, match=r"flows\.csv is no detector but text, flow records perhaps"):
        command(Path("flows.csv"), Path("flows.csv"))
    with pytest.raises(DataError, match="leave out --station BTS_1"):
        command(Path("small.safetensors"), Path("flows.csv"), station="BTS_1")
    write_flows(Path("few.csv"), 63)
    with pytest.raises(DataError, match=r"few\.csv has 63 flows; the detector looks at 64 at a time"):
        command(Path("small.safetensors"), Path("few.csv"))
    Path("broken.csv").write_text(Path("flows.csv").read_text() + "200,1,x,tcp,Calm\n")
    with pytest.raises(DamagedDataError, match="row 201, column bytes"):
        command(Path("small.safetensors"), Path("broken.csv"))
    assert sorted(path.name for path in Path().iterdir()) == [
        "broken.csv", "few.csv", "flows.csv", "small.safetensors",
    ]  # fmt: skip
    with pytest.raises(RunExistsError, match=r"flows\.csv exists already"):
        command(Path("small.safetensors"), Path("flows.csv"), out=Path("flows.csv"))


def test_a_file_of_several_stations_is_warned_of(here, capsys):
    head, *lines = Path("flows.csv").read_text().splitlines()
    Path("two.csv").write_text("\n".join([head, *lines, *lines]) + "\n")
    command(Path("small.safetensors"), Path("two.csv"))
    assert "warning: the station changes once within the file, and as many windows may" in capsys.readouterr().out
