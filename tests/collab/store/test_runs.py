from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest

from collab.data import ImageSpec
from collab.errors import RunDirectoryError, RunExistsError, RunNotFoundError
from collab.nets import NetworkSpec, seeded_network
from collab.network_file import KeptNetwork
from collab.store import damaged_runs, find_run, list_runs, open_run
from simnet.tenancy import Ledger, LedgerEntry
from simnet.trace import Trace

IMAGES = ImageSpec(classes=2, channels=1, side=8, mean=(0.25,), std=(0.5,), augmentation=())
NETWORK = seeded_network(NetworkSpec(width=2, depth=1, channels=1, side=8, classes=2), 1)
SUMMARY = {"scenario": "s", "methods": {"m": {"accuracy": 0.5}}}


def write(runs_dir, name=None, *, networks=("average",)):
    trace, ledger = Trace(), Ledger()
    trace.record(0.5, "server", "result", method="m")
    ledger.append(LedgerEntry(0.1, "leaving", "a", "b", "x", "y", "synthetic", 3, "d" * 64, "crossed", "a rule", None))
    with open_run(runs_dir, "s", name) as writer:
        writer.write_json("summary.json", SUMMARY)
        writer.write_json("environment.json", {"python": "3"})
        writer.write_json("partition.json", {"client-0": [1, 2]})
        writer.write_json("topology.json", {"server": "server"})
        writer.write_text("scenario.yaml", "name: s\nseed: 1\n")
        kept = {each: KeptNetwork(NETWORK, IMAGES) for each in networks}
        writer.write_method("m", {"expand": 2}, trace, ledger, {"images": np.arange(4.0)}, {"method": "m"}, kept)
    return writer.final


def test_what_is_written_can_be_read(tmp_path):
    run = find_run(str(write(tmp_path)))
    assert run.summary == SUMMARY
    assert run.scenario == {"name": "s", "seed": 1}
    assert run.partition == {"client-0": [1, 2]}
    assert run.environment == {"python": "3"}
    (method,) = run.methods
    assert method.outcome["expand"] == 2
    assert method.seal.identity == {"method": "m"}
    assert [event.kind for event in method.trace] == ["result"]
    assert method.ledger[0].rule == "a rule"
    assert list(method.verified_ledger(method.seal)) == method.ledger
    np.testing.assert_array_equal(method.images["images"], np.arange(4.0))
    assert {name: network.checksum() for name, network in method.networks.items()} == {"average": NETWORK.checksum()}
    assert method.network_images == {"average": IMAGES}


def test_without_networks_there_is_no_file_of_them(tmp_path):
    path = write(tmp_path, networks=())
    assert not (path / "m" / "networks.safetensors").exists()
    with pytest.raises(RunDirectoryError, match=r"there is no such file\. The method trained no network as its result"):
        _ = find_run(str(path)).methods[0].networks


def test_runs_are_numbered_and_found(tmp_path):
    assert [write(tmp_path).name for _ in range(3)] == ["s-001", "s-002", "s-003"]
    assert [run.path.name for run in list_runs(tmp_path)] == ["s-001", "s-002", "s-003"]
    assert find_run("s-002", tmp_path).path == tmp_path / "s-002"
    assert find_run("latest", tmp_path).path.parent == tmp_path
    assert list_runs(tmp_path / "nowhere") == []


def test_a_name_is_taken_once(tmp_path):
    write(tmp_path, "mine")
    with pytest.raises(RunExistsError, match=r"mine exists already; choose another --name"):
        write(tmp_path, "mine")


def test_a_run_of_the_same_name_that_goes_on_is_respected(tmp_path):
    with open_run(tmp_path, "s", "mine") as writer:
        with pytest.raises(RunExistsError, match="another run of that name goes on"):
            write(tmp_path, "mine")
        writer.write_json("summary.json", SUMMARY)
    assert (tmp_path / "mine").is_dir()


def test_numbers_of_runs_that_go_on_are_skipped(tmp_path):
    with open_run(tmp_path, "s", None) as first:
        assert write(tmp_path).name == "s-002"
        first.write_json("summary.json", SUMMARY)
    assert first.final.name == "s-001"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_nothing(tmp_path, error):
    with pytest.raises(error), open_run(tmp_path, "s", None) as writer:
        writer.write_json("summary.json", SUMMARY)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_directory_made_in_the_meantime_is_not_overwritten(tmp_path):
    with (
        pytest.raises(RunExistsError, match="made by another run in the meantime"),
        open_run(tmp_path, "s", "mine") as writer,
    ):
        writer.write_json("summary.json", SUMMARY)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "file").write_text("precious")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(RunNotFoundError, match="nothing is no run directory"):
        find_run("nothing", tmp_path)
    with pytest.raises(RunNotFoundError, match="there is no run in"):
        find_run("latest", tmp_path)


def test_all_files_may_be_read_by_the_same_people(tmp_path):
    files = [path for path in write(tmp_path).rglob("*") if path.is_file()]
    assert {"images.safetensors", "networks.safetensors", "summary.json"} <= {path.name for path in files}
    assert len({path.stat().st_mode for path in files}) == 1


def test_json_is_readable_by_others(tmp_path):
    path = write(tmp_path)
    assert json.loads((path / "summary.json").read_text()) == SUMMARY
    events = pyarrow.parquet.read_table(path / "m" / "trace.parquet").to_pylist()
    assert events == [{"at_us": 500_000, "host": "server", "kind": "result", "method": "m", "more": None}]


def test_a_trace_that_was_tampered_with_is_named(tmp_path):
    path = write(tmp_path) / "m" / "trace.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunDirectoryError, match=r"m/trace\.parquet is no trace, or is damaged: "):
        find_run("latest", tmp_path).methods[0].trace  # noqa: B018


def test_a_run_of_an_older_version_says_what_to_do(tmp_path):
    path = write(tmp_path) / "m" / "trace.parquet"
    path.rename(path.with_name("trace.jsonl"))
    with pytest.raises(RunDirectoryError, match=r"older version.*run it again: collab run .*/s-001/scenario.yaml"):
        find_run("latest", tmp_path).methods[0].trace  # noqa: B018


def test_a_ledger_that_cannot_be_read_is_named(tmp_path):
    path = write(tmp_path)
    (path / "m" / "ledger.jsonl").write_text('{"at_s": 0.1}\n')
    with pytest.raises(RunDirectoryError, match=r"ledger\.jsonl: line 1 was changed"):
        _ = find_run(str(path)).methods[0].ledger
    (path / "m" / "outcome.json").write_text("{}")
    assert find_run(str(path)).methods[0].seal is None


def test_a_run_from_before_the_network_was_kept_has_none(tmp_path):
    path = write(tmp_path)
    assert find_run(str(path)).topology == {"server": "server"}
    (path / "topology.json").unlink()
    assert find_run(str(path)).topology is None


READERS = {
    "scenario.yaml": lambda run: run.scenario,
    "environment.json": lambda run: run.environment,
    "partition.json": lambda run: run.partition,
    "m/outcome.json": lambda run: run.methods[0].outcome,
    "m/images.safetensors": lambda run: run.methods[0].images,
    "m/networks.safetensors": lambda run: run.methods[0].networks,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", [lambda data: b"{" + data[: len(data) // 2], lambda data: b"", None])
def test_a_file_that_is_cut_short_empty_or_missing_is_named(tmp_path, name, damage):
    path = write(tmp_path) / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunDirectoryError, match=rf"{name} (is damaged|cannot be read): (?!.*'nothing')"):
        READERS[name](find_run("latest", tmp_path))
    assert [run.path.name for run in list_runs(tmp_path)] == ["s-001"]


def test_a_run_without_a_readable_summary_is_told_apart(tmp_path):
    folder = write(tmp_path)
    (folder / "summary.json").write_text('{"methods": ')
    assert list_runs(tmp_path) == []
    assert damaged_runs(tmp_path) == [folder]
