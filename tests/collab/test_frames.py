"""`collab.load`: runs and sweeps as data frames."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import collab
from collab.errors import RunDirectoryError, RunNotFoundError
from collab.store.sweeps import write_definition
from tests.collab.recordings import REASON, TEXT, record, record_sweep
from tests.collab.test_run import TEXT as TINY
from tests.collab.traffic import CLASS_NAMES, traffic_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("runs")
    record(runs_dir, "baselines=[localdm]", "evaluation.repeats=2", text=TINY, name="tiny")
    record_sweep(runs_dir)
    return runs_dir


@pytest.fixture(scope="module")
def tiny(runs):
    return collab.load(runs / "tiny")


def test_a_summary_has_a_row_a_method(tiny):
    frame = tiny.summary
    assert frame.method.tolist() == ["collabdm", "localdm"]
    row = tiny.run.summary["methods"]["collabdm"]
    for name in ("accuracy", "bytes_up_per_client", "energy_j_per_client", "result_s", "result_digest", "yields"):
        assert frame[name][0] == row[name]
    assert frame.deviation[0] == row["accuracies"]["convnet"]["deviation"]
    assert (frame.set_deviation.dtype, frame.energy_j_per_client.dtype) == (float, float)
    assert frame.set_deviation.isna().all()


def test_metrics_keep_whole_numbers_whole(tiny):
    frame = tiny.metrics
    assert len(frame) == len(tiny.run.metrics)
    uploads = frame[frame.metric == "upload_bytes"]
    assert uploads["round"].tolist() == [1] * 8
    assert pd.api.types.is_integer_dtype(frame["set"].dtype)
    assert frame[frame.metric == "accuracy"].groupby("method").value.mean()["collabdm"] == pytest.approx(
        tiny.summary.accuracy[0], abs=1e-6
    )


def test_the_trace_is_that_of_all_methods(tiny):
    frame = tiny.trace
    events = [event for method in tiny.run.methods for event in method.trace]
    assert len(frame) == len(events)
    assert frame.at_s.tolist() == pytest.approx([event.at_s for event in events])
    assert frame.host.tolist() == [event.host for event in events]
    assert frame.columns[:4].tolist() == ["method", "at_s", "host", "kind"]
    assert set(frame.method) == {"collabdm", "localdm"}
    assert set(frame.http_method.dropna()) == {"GET", "PUT"}
    assert "more" not in frame
    results = frame[frame.kind == "result"].set_index("method").at_s
    assert results["collabdm"] == tiny.summary.result_s[0]


def test_ledger_partition_and_images(tiny):
    entries = [entry for method in tiny.run.methods for entry in method.ledger]
    assert tiny.ledger.digest.tolist() == [entry.digest for entry in entries]
    assert tiny.ledger.method.value_counts().to_dict() == {
        method.name: len(method.ledger) for method in tiny.run.methods
    }
    assert tiny.partition.loc["client-2"].tolist() == tiny.run.partition["client-2"]
    assert int(tiny.partition.to_numpy().sum()) == 160
    np.testing.assert_array_equal(tiny.images["localdm"]["images"], tiny.run.methods[1].images["images"])
    assert tiny.scenario["name"] == "tiny"
    assert "torch" in tiny.environment
    assert "collabdm began" in tiny.log
    assert repr(tiny) == "<run tiny: tiny, seed 3, collabdm, localdm>"


def test_what_was_taken_for_what(tiny, tmp_path):
    frame = tiny.confusion
    assert frame.columns.tolist() == ["method", "network", "site", "true", "predicted", "samples", "dataset"]
    right = frame[frame.true == frame.predicted].groupby("method").samples.sum()
    accuracy = tiny.summary.set_index("method").accuracy
    for method, outcome in ((method.name, method.outcome) for method in tiny.run.methods):
        tested = np.sum(outcome["confusions"]["convnet"][""])
        assert right[method] / tested == pytest.approx(accuracy[method], abs=1e-6)
    named = collab.load(traffic_run(tmp_path, "baselines=[]").path).confusion
    assert set(named.true) == set(named.predicted) == set(CLASS_NAMES)
    assert set(named.site) == {"BTS_1", "BTS_2"}
    assert len(named) == 2 * 2 * 4 * 4  # networks, stations, classes


def test_a_sweep_has_its_points_as_columns(runs):
    sweep = collab.load("k-by-seed", runs)
    assert repr(sweep) == "<sweep k-by-seed: 2 of 4 cells, over partition.clients, seed>"
    assert sweep.cells.state.tolist() == ["finished", "finished", "failed", "to come"]
    assert sweep.cells.error.tolist()[2] == REASON
    results = sweep.results
    assert results.columns[:5].tolist() == ["cell", "partition.clients", "seed", "method", "accuracy"]
    assert list(zip(results.seed, results.method, strict=True)) == [
        (1, "collabdm"), (1, "localdm"), (2, "collabdm"), (2, "localdm"),
    ]  # fmt: skip
    one = sweep.run("0a2")
    assert results.accuracy.tolist()[2:] == one.summary.accuracy.tolist()
    metrics = sweep.metrics
    assert metrics.columns[:4].tolist() == ["cell", "partition.clients", "seed", "method"]
    ours = metrics[metrics.cell == "0a2bbbbbbbbb"].drop(columns=["cell", "partition.clients", "seed"])
    pd.testing.assert_frame_equal(ours.reset_index(drop=True), one.metrics)


def test_a_sweep_without_results_and_a_field_called_as_a_column(tmp_path):
    cells = [("aaaaaaaaaaaa", {"method": "localdm"})]
    write_definition(tmp_path / "methods", "methods", {"method": ["localdm"]}, cells, TEXT)
    sweep = collab.load(tmp_path / "methods")
    assert sweep.cells.columns.tolist() == ["cell", "scenario.method", "state", "error"]
    assert sweep.results.empty
    assert sweep.metrics.empty
    record(tmp_path / "methods" / "cells", "partition.clients=2", name="aaaaaaaaaaaa")
    sweep = collab.load(tmp_path / "methods")
    assert sweep.metrics["scenario.method"].unique().tolist() == ["localdm"]
    assert sweep.metrics.method.unique().tolist() == ["collabdm"]


def test_what_cannot_be_loaded_is_named(runs, tmp_path):
    with pytest.raises(RunNotFoundError, match="nothing is no run directory"):
        collab.load("nothing", runs)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="its summary cannot be read"):
        collab.load(tmp_path / "broken")


def test_a_damaged_trace_is_named(tmp_path):
    path = record(tmp_path, "partition.clients=2")
    (path / "collabdm" / "trace.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunDirectoryError, match=r"collabdm/trace\.parquet cannot be read"):
        _ = collab.load(path).trace


def test_importing_costs_nothing_and_loading_needs_no_torch(runs):
    code = (
        "import sys, collab\n"
        "assert not {'numpy', 'pandas', 'torch', 'simnet'} & set(sys.modules)\n"
        "run = collab.load(sys.argv[1])\n"
        "[getattr(run, name) for name in ('summary', 'metrics', 'trace', 'ledger', 'partition', 'images')]\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(runs / "tiny")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
