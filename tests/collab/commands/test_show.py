"""`collab show`: a run, a cell, a sweep."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from collab import console
from collab.commands.show import command
from collab.errors import RunDirectoryError
from tests.collab.recordings import record, record_sweep
from tests.collab.test_run import TEXT
from tests.collab.traffic import traffic_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("runs")
    record(runs_dir, text=TEXT, name="tiny")
    record_sweep(runs_dir)
    return runs_dir


@pytest.fixture
def shown(runs, capsys, monkeypatch):
    def show(name, **options):
        monkeypatch.setenv("COLUMNS", "100")
        results = io.StringIO()
        monkeypatch.setattr(console, "output", Console(file=results, width=100, highlight=False))
        command(name, runs_dir=runs, **options)
        return results.getvalue() + capsys.readouterr().out

    return show


def test_a_run(shown, runs):
    page = shown("tiny")
    assert re.search(r"collabdm +\d+\.\d .* s ", page)
    assert f"written to {runs / 'tiny'}" in page
    assert re.search(r"made 20\d\d-.*; collab-edge .*, torch .*, device cpu, precision float32, threads \d", page)
    assert re.search(r"client-0 +(\d+|\.) +.*\d\n", page)
    assert re.search(r"central +client-0 +\d+\.\d{3} +\d\.\d{3} +\d+\.\d{3} +0\.000 +\d+\.\d{3}", page)
    assert re.search(r"collabdm +\d+ +[\d.]+ kB +0\n", page)
    assert re.search(r"collabdm/synthetic\.png +[\d.]+ k?B", page)


def test_the_slowest_path_adds_up(shown, runs):
    told = json.loads(shown("tiny", as_json=True))
    row = told["summary"]["methods"]["collabdm"]
    path = told["slowest_path"]["collabdm"]
    assert path["last_upload_s"] == row["last_upload_s"]
    assert path["result_s"] == row["result_s"]
    assert path["computed_s"] > 0
    assert path["computed_s"] + path["elsewhere_s"] == pytest.approx(path["last_upload_s"])
    assert path["last_upload_s"] + path["server_s"] == pytest.approx(path["result_s"])
    assert path["site"] in told["partition"]
    ledger = told["ledger"]["collabdm"]
    outcome = json.loads((runs / "tiny" / "collabdm" / "outcome.json").read_text())
    assert ledger["size_bytes"] == sum(outcome["bytes_up"].values()) + sum(outcome["bytes_down"].values())
    assert {"name": "summary.json", "size_bytes": (runs / "tiny" / "summary.json").stat().st_size} in told["files"]


def test_a_cell_and_a_sweep(shown):
    assert "hundred, seed 2" in shown("k-by-seed/0a2")
    assert re.search(r"0a2bbbbbbbbb +3 +2 +collabdm", shown("k-by-seed"))
    assert [cell["state"] for cell in json.loads(shown("k-by-seed", as_json=True))][2:] == ["failed", "to come"]


def test_many_clients_are_not_all_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    record(tmp_path, "partition.clients=25", "dataset.classes=20")
    command("latest", runs_dir=tmp_path)
    page = capsys.readouterr().out
    assert "client-19" in page
    assert "client-20" not in page
    assert "5 more" in page
    assert re.search(r"client-0 +\d+ +\d+ \(\d+\), \d+ \(\d+\), \d+ \(\d+\) +\d+", page)


def test_a_summary_of_another_version_is_told(tmp_path):
    path = record(tmp_path, "partition.clients=2")
    text = (path / "summary.json").read_text()
    (path / "summary.json").write_text(text.replace("last_upload_s", "last"))
    with pytest.raises(RunDirectoryError, match=r"lacks 'last_upload_s'.*collab run .*scenario\.yaml"):
        command(str(path))


MATRIX = [[95, 3, 2, 0], [1, 9, 0, 0], [0, 0, 10, 0], [0, 0, 0, 0]]


def test_classes_with_names_are_told_apart(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    found = traffic_run(tmp_path, "evaluation={epochs: 1}")
    for method in found.methods:
        outcome = {**method.outcome, "confusions": {"convnet": {"BTS_1": MATRIX, "BTS_2": MATRIX}}}
        (method.path / "outcome.json").write_text(json.dumps(outcome))
    command("latest", runs_dir=tmp_path)
    page = capsys.readouterr().out
    assert re.search(r"client +Benign +HTTPFlood +SlowrateDoS +UDPFlood +samples\n", page)
    assert re.search(r"client-1 BTS_2 +\d+ +\. +\d+ +\d+ +\d+\n", page)
    assert "collabdm, by class of the test data\nclass        precision %  recall %  F1 %  alarm %\n" in page
    assert re.search(r"Benign +99\.0 +95\.0 +96\.9 +5\.0\n", page)
    assert re.search(r"HTTPFlood +75\.0 +90\.0 +81\.8 +90\.0\n", page)
    assert re.search(r"UDPFlood +- +- +- +-\n", page)
    assert re.search(r"whatever is not taken for Benign\nmethod +false alarms % +attacks detected %\n", page)
    assert re.search(r"localdm +5\.0 +95\.0\n", page)
    command("latest", runs_dir=tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["confusions"]["localdm"] == {"convnet": {"BTS_1": MATRIX, "BTS_2": MATRIX}}
    assert told["dataset"]["sites"] == {"client-0": "BTS_1", "client-1": "BTS_2"}


def test_classes_without_names_are_not_listed(shown):
    assert "by class of the test data" not in shown("tiny")
