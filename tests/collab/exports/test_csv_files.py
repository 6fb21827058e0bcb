"""Runs and sweeps as CSV."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from collab import load
from collab.errors import RunDirectoryError, RunExistsError
from collab.exports import csv_files
from collab.store.sweeps import write_definition
from tests.collab.recordings import CELLS, TEXT, record, record_sweep

FAULTS = "faults=[{at: 1 ms, for: 2 ms, fault: partition, sides: [[client-0], [client-1, server]]}]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("runs")
    record(runs_dir, "partition.clients=2", FAULTS, name="one")
    record_sweep(runs_dir)
    return runs_dir


def test_a_run_is_a_file_a_table(runs, tmp_path):
    one = load("one", runs)
    csv_files.export(one, tmp_path / "out" / "one")
    names = ["confusion.csv", "ledger.csv", "metrics.csv", "partition.csv", "summary.csv", "trace.csv"]
    assert sorted(path.name for path in (tmp_path / "out" / "one").iterdir()) == names
    summary, metrics, trace, ledger, partition = (
        pd.read_csv(tmp_path / "out" / "one" / f"{name}.csv")
        for name in ("summary", "metrics", "trace", "ledger", "partition")
    )
    assert summary.accuracy.tolist() == one.summary.accuracy.tolist()
    assert metrics.value.tolist() == one.metrics.value.tolist()
    assert trace.at_s.tolist() == one.trace.at_s.tolist()
    assert ledger.digest.tolist() == one.ledger.digest.tolist()
    assert partition.columns.tolist() == ["client", "class", "samples"]
    assert partition.samples.tolist() == one.partition.to_numpy().ravel().tolist()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]


def test_lists_are_json(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"], "sides": [["x", "y"], None], "map": [{"beta": 0.1}, {"beta": 0.3}]})
    csv_files._write(tmp_path / "t.csv", frame)
    back = pd.read_csv(tmp_path / "t.csv")
    assert json.loads(back.sides[0]) == ["x", "y"]
    assert json.loads(back["map"][1]) == {"beta": 0.3}


def test_of_a_sweep_all_finished_cells(runs, tmp_path):
    sweep = load("k-by-seed", runs)
    csv_files.export(sweep, tmp_path / "out")
    summary, cells = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("summary", "cells"))
    assert summary[["cell", "partition.clients", "seed", "method"]].values.tolist() == [
        ["0a1aaaaaaaaa", 3, 1, "collabdm"], ["0a1aaaaaaaaa", 3, 1, "localdm"],
        ["0a2bbbbbbbbb", 3, 2, "collabdm"], ["0a2bbbbbbbbb", 3, 2, "localdm"],
    ]  # fmt: skip
    assert cells.state.tolist() == ["finished", "finished", "failed", "to come"]
    assert len(pd.read_csv(tmp_path / "out" / "metrics.csv")) == len(sweep.metrics)
    trace = pd.read_csv(tmp_path / "out" / "cells" / "0a2bbbbbbbbb" / "trace.csv")
    assert len(trace) == len(sweep.run("0a2").trace)


def test_nothing_is_overwritten(runs, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("")
    with pytest.raises(RunExistsError, match=r"mine exists already; choose another --output"):
        csv_files.export(load("one", runs), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious"]


def test_what_fails_leaves_nothing(tmp_path):
    path = record(tmp_path, "partition.clients=2", name="one")
    (path / "collabdm" / "trace.parquet").write_bytes(b"")
    with pytest.raises(RunDirectoryError, match="trace"):
        csv_files.export(load(path), tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one"]


def test_a_sweep_without_a_finished_cell_has_nothing_to_export(tmp_path):
    write_definition(tmp_path / "new", "new", {"seed": [1, 2]}, CELLS, TEXT)
    with pytest.raises(RunDirectoryError, match="new has no finished cell yet"):
        csv_files.export(load(tmp_path / "new"), tmp_path / "out")
