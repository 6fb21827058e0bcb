"""Runs for MLflow, read back by MLflow itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from collab import load
from collab.errors import MissingExtraError
from collab.exports import mlflow_runs
from tests.collab.recordings import record, record_sweep
from tests.collab.test_run import TEXT

# In a process of its own: MLflow takes seconds to import, and leaves much behind.
READ = """
import json, os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
from pathlib import Path
from collab import load
from collab.exports import mlflow_runs

uri = mlflow_runs.local_uri(Path(sys.argv[1]))
counts = [mlflow_runs.export(load(path), Path(sys.argv[1])) for path in sys.argv[2:]]
from mlflow import MlflowClient

client = MlflowClient(uri)
found = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        method = run.info.run_name.split("/")[1]
        losses = client.get_metric_history(run.info.run_id, "matching_loss")
        uploads = client.get_metric_history(run.info.run_id, "upload_bytes")
        found.append({
            "experiment": experiment.name, "name": run.info.run_name, "status": run.info.status,
            "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
            "losses": [(each.step, each.value) for each in losses], "uploads": [each.value for each in uploads],
            "files": sorted(each.path for each in client.list_artifacts(run.info.run_id)),
            "of_method": sorted(each.path for each in client.list_artifacts(run.info.run_id, method)),
        })
print(json.dumps({"counts": counts, "runs": found, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("runs")
    return load(record(runs_dir, "baselines=[localdm]", text=TEXT)), load(record_sweep(runs_dir))


def test_runs_can_be_read_back_and_are_logged_once(recorded, tmp_path):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    tiny, sweep = recorded
    arguments = [str(tmp_path / "store"), str(tiny.path), str(sweep.path), str(tiny.path)]
    done = subprocess.run([sys.executable, "-c", READ, *arguments], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "GIT_PYTHON_REFRESH": "quiet"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["counts"] == [[2, 0], [4, 0], [0, 2]]
    assert not told["torch"]
    runs = {(run["experiment"], run["name"]): run for run in told["runs"]}
    assert sorted(runs) == [
        ("k-by-seed", "0a1aaaaaaaaa/collabdm"), ("k-by-seed", "0a1aaaaaaaaa/localdm"),
        ("k-by-seed", "0a2bbbbbbbbb/collabdm"), ("k-by-seed", "0a2bbbbbbbbb/localdm"),
        ("tiny", "tiny-001/collabdm"), ("tiny", "tiny-001/localdm"),
    ]  # fmt: skip
    run, row = runs["tiny", "tiny-001/collabdm"], tiny.run.summary["methods"]["collabdm"]
    assert run["status"] == "FINISHED"
    assert run["params"]["partition.beta"] == "0.5"
    assert (run["params"]["method.name"], run["params"]["method.iterations"]) == ("collabdm", "6")
    assert "method.iterations" not in runs["tiny", "tiny-001/localdm"]["params"]
    for name in ("accuracy", "bytes_up_per_client", "energy_j_per_client", "result_s"):
        assert run["metrics"][name] == row[name]
    assert run["metrics"]["accuracies/convnet/mean"] == row["accuracies"]["convnet"]["mean"]
    losses = [(each.step, each.value) for each in tiny.run.metrics if each.metric == "matching_loss"]
    assert run["losses"] == [list(each) for each in losses]
    assert sum(run["uploads"]) == sum(tiny.run.methods[0].outcome["bytes_up"].values())
    assert run["tags"]["result_digest"] == row["result_digest"]
    assert {"summary.json", "scenario.yaml", "metrics.parquet", "log.txt", "collabdm"} <= set(run["files"])
    assert {"collabdm/synthetic.png", "collabdm/ledger.jsonl"} <= set(run["of_method"])
    assert runs["k-by-seed", "0a2bbbbbbbbb/localdm"]["params"]["seed"] == "2"
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["artifacts", "mlflow.db"]


@pytest.mark.parametrize("package", ["mlflow", "sqlalchemy"])
def test_without_the_extra_it_says_what_to_install(recorded, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, "mlflow", None if package == "mlflow" else sys)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=rf"{package} cannot be .*pip install 'collab-edge\[mlflow\]'"):
        mlflow_runs.export(recorded[0], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
