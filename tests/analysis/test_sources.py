"""Reading runs, sweeps and result files."""

from __future__ import annotations

import json
import re

import pytest

from analysis.sources import read_source
from collab.errors import RunDirectoryError, RunNotFoundError
from tests.analysis.made import write_run, write_sweep

RESULT = {
    "dataset": "mnist", "title": "MNIST", "beta": 0.1, "method": "collabdm-pae", "seed": 3, "accuracies": [0.9, 0.7],
    "summary": {"bytes_up_per_client": 1000, "last_upload_s": 1.5, "result_s": 2.5, "energy_j_per_client": None},
    "scenario": "{name: table2, seed: 3, dataset: {name: mnist}, partition: {scheme: dirichlet, beta: 0.1}, "
    "method: {name: collabdm, expand: 2}, baselines: [], evaluation: {networks: [convnet]}}",
}  # fmt: skip


def test_a_run_gives_an_observation_a_method(tmp_path):
    write_run(tmp_path / "r", {"partition.beta": 0.3}, {"collabdm": (0.9, 100, 2.0), "localdm": (0.8, 50, 1.0)}, seed=7)
    source = read_source("r", tmp_path)
    assert [
        (o.method, o.seed, o.accuracy, o.upload_bytes, o.last_upload_s, o.result_s) for o in source.observations
    ] == [
        ("collabdm", 7, 0.9, 100, 2.0, 3.0),
        ("localdm", 7, 0.8, 50, 1.0, 2.0),
    ]
    first, second = source.observations
    assert (first.value("method.name"), second.value("method.name")) == ("collabdm", "localdm")
    assert first.value("partition.beta") == 0.3
    assert first.value("method.beta") is None
    assert first.arrivals_s == [("client-0", 1.0), ("client-1", 2.0)]
    assert first.uploads_of_a_site == 1


def test_a_sweep_gives_what_is_finished(tmp_path):
    points = [{"partition.clients": clients, "seed": seed} for clients in (5, 10) for seed in (1, 2)]
    rows = {"collabdm": (0.9, 100, 2.0)}
    cells = [(point, None if point == points[1] else rows) for point in points]
    write_sweep(tmp_path / "s", {"partition.clients": [5, 10], "seed": [1, 2]}, cells, failed=[points[2]])
    source = read_source(str(tmp_path / "s"))
    assert source.axes == ["partition.clients"]
    assert [(o.value("partition.clients"), o.seed) for o in source.observations] == [(5, 1), (10, 2)]


def test_result_files_of_the_table_2_benchmark(tmp_path):
    (tmp_path / "mnist_0.1_collabdm-pae_3_abc.json").write_text(json.dumps(RESULT))
    (tmp_path / "else.json").write_text("[1]")
    (found,) = read_source(str(tmp_path)).observations
    assert (found.method, found.paper_method, found.seed, found.accuracy) == ("collabdm", "collabdm-pae", 3, 0.8)
    assert found.accuracies == {"convnet": [0.9, 0.7]}
    assert found.arrivals_s == []
    assert found.uploads_of_a_site == 0
    assert found.dataset == "MNIST"


def test_result_files_from_before_titles_were_written_are_read(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps({key: value for key, value in RESULT.items() if key != "title"}))
    assert read_source(str(tmp_path)).observations[0].dataset == "mnist"


def test_what_is_none_of_them_is_said(tmp_path):
    with pytest.raises(RunNotFoundError, match="nowhere is no run, no sweep and no directory of result files"):
        read_source("nowhere", tmp_path)


def test_a_run_that_lacks_something_names_it(tmp_path):
    path = write_run(tmp_path / "r", {}, {"collabdm": (0.9, 100, 2.0)})
    (path / "collabdm/outcome.json").write_text("{}")
    with pytest.raises(
        RunDirectoryError, match=f"^{re.escape(str(path))} is damaged: collabdm lacks 'accuracies'; run"
    ):
        read_source(str(path))


def test_a_damaged_result_file_is_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**RESULT, "summary": {}}))
    with pytest.raises(RunDirectoryError, match=r"a\.json is damaged: KeyError"):
        read_source(str(tmp_path))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"a\.json cannot be read"):
        read_source(str(tmp_path))
