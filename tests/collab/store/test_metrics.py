"""metrics.parquet: what is in it, and that it can be read back."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet
import pytest

from collab import run, scenario
from collab.errors import RunDirectoryError
from collab.store import METRICS, Metric, find_run, metrics, open_run
from tests.collab.test_run import TEXT

FEDAVG = "{name: fedavg, rounds: 3, local_epochs: 1, participation: 0.5}"
ALLOWED = "boundaries=[{to: cloud, allow: [embeddings, synthetic, model], answers: [seeds, model]}]"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    overrides = (f"baselines=[{FEDAVG}]", ALLOWED, "evaluation.sets=2", "evaluation.repeats=2")
    chosen = scenario.parse(TEXT, "tiny.yaml", overrides)
    with open_run(tmp_path_factory.mktemp("runs"), chosen.name, None) as writer:
        run.run_scenario(chosen, writer)
    return find_run(str(writer.final))


def rows(recorded, method, metric):
    return [row for row in recorded.metrics if (row.method, row.metric) == (method, metric)]


def test_accuracies_are_those_of_every_network(recorded):
    found = rows(recorded, "collabdm", "accuracy")
    assert [(row.network, row.set, row.repeat) for row in found] == [
        ("convnet", number, repeat) for number in range(2) for repeat in range(2)
    ]
    outcome = recorded.methods[0].outcome
    assert [row.value for row in found] == outcome["accuracies"]["convnet"]
    assert [(row.network, row.set) for row in rows(recorded, "fedavg", "accuracy")] == [("average", 0), ("average", 1)]


def test_bytes_and_energy_are_those_of_the_outcome(recorded):
    for method in recorded.methods:
        for name in ("bytes_up", "bytes_down"):
            assert {row.host: row.value for row in rows(recorded, method.name, name)} == method.outcome[name]
        for part in ("compute_j", "idle_j", "transmit_j", "receive_j"):
            counted = {host: spent[part] for host, spent in method.outcome["energy"].items()}
            assert {row.host: row.value for row in rows(recorded, method.name, part)} == counted


def test_each_upload_has_its_round_and_moment(recorded):
    found = rows(recorded, "fedavg", "upload_bytes")
    assert sorted(row.round for row in found) == [1, 1, 2, 2, 3, 3]
    by_time = sorted(found, key=lambda row: row.at_s)
    assert [row.round for row in by_time] == [1, 1, 2, 2, 3, 3]
    summary = recorded.summary["methods"]["fedavg"]
    (last,) = rows(recorded, "fedavg", "last_upload_s")
    assert last.value == last.at_s == by_time[-1].at_s == summary["last_upload_s"]
    (result,) = rows(recorded, "fedavg", "result_s")
    assert result.value == summary["result_s"]


def test_the_server_s_loss_is_there_step_by_step(recorded):
    found = rows(recorded, "collabdm", "matching_loss")
    assert [row.step for row in found] == [1, 2, 3, 4, 5, 6]
    assert all(row.value > 0 for row in found)
    assert rows(recorded, "fedavg", "matching_loss") == []


def test_what_is_written_can_be_read(tmp_path):
    written = [Metric("m", "accuracy", 0.25, network="convnet", set=0, repeat=1), Metric("m", "result_s", 2.0, at_s=2)]
    metrics.write(tmp_path / METRICS, written)
    assert list(metrics.read(tmp_path / METRICS)) == written
    metrics.write(tmp_path / METRICS, [])
    assert list(metrics.read(tmp_path / METRICS)) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"is not there: .* run it again: collab run .*scenario\.yaml"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
        (
            lambda path: pyarrow.parquet.write_table(pa.table({"x": [1]}), path),
            "expected the columns method, .* found x",
        ),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, spoil, message):
    metrics.write(tmp_path / METRICS, [Metric("m", "result_s", 2.0)])
    spoil(tmp_path / METRICS)
    with pytest.raises(RunDirectoryError, match=rf"metrics\.parquet {message}|metrics\.parquet is damaged: {message}"):
        list(metrics.read(tmp_path / METRICS))
