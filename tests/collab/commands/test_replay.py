"""`collab replay`, on real small runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
import typer

from collab import run, scenario
from collab.commands.replay import command
from collab.errors import ReplayDiffersError, RunDirectoryError, RunNotFoundError
from collab.store import find_run, open_run
from tests.collab.command_line import collab_here
from tests.collab.test_run import TEXT

HUNDRED = Path(__file__).parents[3] / "scenarios" / "hundred.yaml"

SHORT = ("method.iterations=2", "evaluation.epochs=1")


def record(runs_dir, text, *overrides, real=False):
    chosen = scenario.parse(text, "scenario.yaml", overrides)
    with open_run(runs_dir, chosen.name, None) as writer:
        run.run_scenario(chosen, writer, real=real)
    return writer.final


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return record(tmp_path_factory.mktemp("tiny"), TEXT, "baselines=[localdm]", *SHORT)


@pytest.fixture
def recorded(tiny, tmp_path):
    """A copy of a recorded run that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "runs" / tiny.name))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_run_repeats(recorded, capsys):
    command("latest", runs_dir=recorded.parent)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "replay of tiny-001: tiny, seed 3, gaussians, simulated network"
    form = r"{}: the same \(\d+ events, trace [0-9a-f]{{12}}, ledger, synthetic set [0-9a-f]{{12}}\)"
    assert re.fullmatch(form.format("collabdm"), lines[1])
    assert re.fullmatch(form.format("localdm"), lines[2])
    assert len(lines) == 3
    assert [path.name for path in recorded.parent.iterdir()] == ["tiny-001"]


def test_a_result_that_is_a_network_is_called_one(tmp_path, capsys):
    allowed = "boundaries=[{to: cloud, allow: [model], answers: [model]}]"
    fedavg = "method={name: fedavg, rounds: 1, local_epochs: 1, width: 4, depth: 1}"
    record(tmp_path, TEXT, "baselines=[]", "evaluation.epochs=1", allowed, fedavg)
    command("latest", runs_dir=tmp_path)
    (said,) = capsys.readouterr().out.splitlines()[1:]
    assert re.fullmatch(r"fedavg: the same \(\d+ events, trace [0-9a-f]{12}, ledger, network [0-9a-f]{12}\)", said)


def test_a_hundred_clients_repeat(tmp_path, capsys):
    record(tmp_path, HUNDRED.read_text(), "partition.clients=20", "dataset.samples_per_class=40")
    command("latest", runs_dir=tmp_path)
    assert re.search(r"^collabdm: the same \(\d{3,} events", capsys.readouterr().out, re.MULTILINE)


def test_one_method_can_be_chosen_and_the_new_run_kept(recorded, capsys):
    command(str(recorded), method=["localdm"], runs_dir=recorded.parent, keep=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:-1]] == ["localdm"]
    assert lines[-1] == f"written to {recorded.parent / 'tiny-002'}"
    (kept,) = find_run("tiny-002", recorded.parent).methods
    assert kept.trace.digest() == find_run("tiny-001", recorded.parent).methods[1].trace.digest()


def test_an_edited_seed_is_named_and_so_is_the_first_event_that_differs(recorded, capsys):
    edit(recorded / "scenario.yaml", "seed: 3", "seed: 4")
    with pytest.raises(ReplayDiffersError, match=r"tiny-001 could not be repeated: collabdm came out differently"):
        command("tiny-001", method=["collabdm"], runs_dir=recorded.parent)
    said = capsys.readouterr().out
    assert "unlike the recorded run: seed: summary.json says 3, scenario.yaml 4: it was edited since the run" in said
    # Requests leave at once; with another seed the first connection comes up after another jitter.
    assert re.search(
        r"collabdm: differs\n  event 4 differs: 0\.\d{6} s, client-\d, connect peer=\"server\" port=8080\n"
        r"    at_us: \d+ recorded, \d+ now\n",
        said,
    )
    assert re.search(r"    3: 0\.000000 s, client-3, request peer=", said)
    assert re.search(r"  result_digest: [0-9a-f]{12}\.\.\. recorded, [0-9a-f]{12}\.\.\. now\n", said)
    assert re.search(r"  ledger entry \d+ differs \(at 0\.\d{6} s, client-\d to server\): at_s: ", said)
    assert [path.name for path in recorded.parent.iterdir()] == ["tiny-001"]
    assert ReplayDiffersError.exit_code == 13


def test_the_command_ends_with_a_code_of_its_own_and_no_traceback(recorded):
    edit(recorded / "scenario.yaml", "seed: 3", "seed: 4")
    arguments = ["replay", "tiny-001", "--method", "localdm"]
    done = collab_here(recorded.parents[1], *arguments)
    assert done.returncode == 13
    assert "localdm: differs\n  event 4 differs: " in done.stdout
    assert done.stderr == "collab: runs/tiny-001 could not be repeated: localdm came out differently\n"


def test_an_edit_that_changes_nothing_is_told_and_nothing_differs(recorded, capsys):
    edit(recorded / "scenario.yaml", "name: tiny", "# a remark\nname: tiny")
    command("tiny-001", method=["localdm"], runs_dir=recorded.parent)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "unlike the recorded run: scenario.yaml was edited since the run"
    assert lines[2].startswith("localdm: the same (")


def test_a_ledger_that_differs_is_told_entry_and_field(recorded, capsys):
    path = recorded / "localdm" / "ledger.jsonl"
    edit(path, '"size_bytes":', '"size_bytes":1')
    with pytest.raises(ReplayDiffersError):
        command("tiny-001", method=["localdm"], runs_dir=recorded.parent)
    said = capsys.readouterr().out
    assert re.search(
        r"localdm: differs\n  ledger entry 0 differs \(at .*\): size_bytes: 1(\d*) recorded, \1 now\n", said
    )


def test_another_environment_is_told_even_if_nothing_differs(recorded, capsys):
    environment = json.loads((recorded / "environment.json").read_text())
    (recorded / "environment.json").write_text(json.dumps({**environment, "simpy": "0.1", "ray": "2.0"}))
    command("tiny-001", method=["localdm"], runs_dir=recorded.parent)
    lines = capsys.readouterr().out.splitlines()
    assert f"unlike the recorded run: simpy: 0.1 recorded, {environment['simpy']} now" in lines
    assert "unlike the recorded run: ray: 2.0 recorded, nothing now" in lines


def test_of_a_real_run_what_is_deterministic_is_compared(tmp_path, capsys):
    record(tmp_path, TEXT, "baselines=[]", *SHORT, real=True)
    command("latest", runs_dir=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "replay of tiny-001: tiny, seed 3, gaussians, real network"
    assert lines[1] == "only what does not depend on time is compared: real time is never the same twice"
    assert re.fullmatch(r"collabdm: the same \(synthetic set [0-9a-f]{12}\)", lines[2])


def test_of_measured_time_what_is_deterministic_is_compared(tmp_path, capsys):
    record(tmp_path, TEXT, "baselines=[]", "compute.time=measured", *SHORT)
    command("latest", runs_dir=tmp_path)
    assert "compute.time is measured" in capsys.readouterr().out
    edit(tmp_path / "tiny-001" / "summary.json", '"result_digest": "', '"result_digest": "0')
    with pytest.raises(ReplayDiffersError):
        command("latest", runs_dir=tmp_path)


def test_a_trace_that_was_replaced_is_no_record(recorded):
    shutil.copy(recorded / "localdm" / "trace.parquet", recorded / "collabdm" / "trace.parquet")
    with pytest.raises(RunDirectoryError, match=r"collabdm: trace.parquet has the digest \w{12}, outcome.json says \w"):
        command("tiny-001", runs_dir=recorded.parent)


def test_a_trace_that_was_edited_is_named(recorded):
    path = recorded / "collabdm" / "trace.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.slice(0, table.num_rows - 1), path)
    with pytest.raises(RunDirectoryError, match=r"collabdm/trace\.parquet is damaged: it has \d+ events, \d+ were"):
        command("tiny-001", runs_dir=recorded.parent)


def test_what_is_not_there_is_named(recorded):
    with pytest.raises(RunNotFoundError):
        command("tiny-009", runs_dir=recorded.parent)
    with pytest.raises(typer.BadParameter, match='has no method "fedavg"; it has collabdm, localdm'):
        command("tiny-001", method=["fedavg"], runs_dir=recorded.parent)
