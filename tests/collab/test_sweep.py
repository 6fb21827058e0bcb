from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from collab import scenario
from collab.content_cache import ContentCache
from collab.engines import InlineEngine, open_engine
from collab.errors import RunExistsError
from collab.run_listener import Silence
from collab.settings import ComputeSettings
from collab.store import Failure, Sweep, find_sweep
from collab.store.sweeps import CELLS, FAILED
from collab.sweep import CellOutcome, run_sweep
from collab.sweep_display import SweepDisplay, print_sweep
from simnet import trace_file
from tests.collab.command_line import collab_here

SCENARIO = """
name: small
seed: 1
dataset: {name: gaussians, side: 8, classes: 2, samples_per_class: 20}
partition: {clients: 2, scheme: dirichlet, beta: 0.5}
method: {name: localdm, images_per_class: 1, expand: 2, width: 4, depth: 1, local_steps: 1}
network:
  topology: star
  access: {bandwidth: 20 Mbit/s, latency: 10 ms}
  server: {bandwidth: 1 Gbit/s, latency: 5 ms}
evaluation: {epochs: 1}
"""
FOUR = "sweep: {partition.clients: [2, 3], network.access.bandwidth: [1 Mbit/s, 2 Mbit/s]}\n"
ONE_FAILS = """
sweep:
  partition.clients: [2, 3]
  faults: [[], [{at: 1 ms, fault: crash, host: client-1}]]
"""


class Ear(Silence):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.ended: list[CellOutcome] = []

    def planned(self, sweep, waiting, workers):
        self.waiting.append(waiting)

    def cell_began(self, cell):
        pass

    def cell_ended(self, cell, outcome):
        self.ended.append(outcome)


def sweep(
    tmp_path: Path, text: str = SCENARIO + FOUR, engine=None, name: str = "small", **options
) -> tuple[Sweep, Ear]:
    path = tmp_path / "case.yaml"
    path.write_text(text)
    ear = Ear()
    with engine or InlineEngine() as opened:
        made = run_sweep(scenario.load_plan(path), tmp_path / "runs" / name, opened, ear, **options)
    return made, ear


def summaries(made: Sweep) -> list[dict]:
    """What came out, without what is measured."""
    found = [dict(cell.run.summary) for cell in made.finished]
    for summary in found:
        del summary["wall_s"], summary["run_dir"]
    return found


def test_all_cells_are_run_once(tmp_path):
    made, ear = sweep(tmp_path)
    assert [cell.point for cell in made.finished] == [
        {"partition.clients": 2, "network.access.bandwidth": "1 Mbit/s"},
        {"partition.clients": 2, "network.access.bandwidth": "2 Mbit/s"},
        {"partition.clients": 3, "network.access.bandwidth": "1 Mbit/s"},
        {"partition.clients": 3, "network.access.bandwidth": "2 Mbit/s"},
    ]
    assert len(ear.ended) == 4
    assert made.axes == {"partition.clients": [2, 3], "network.access.bandwidth": ["1 Mbit/s", "2 Mbit/s"]}
    first, second = (cell.run.summary["methods"]["localdm"] for cell in made.cells[:2])
    assert first["result_digest"] == second["result_digest"]
    assert first["last_upload_s"] > second["last_upload_s"]
    assert "sweep" not in made.cells[0].run.scenario
    _, again = sweep(tmp_path)
    assert (again.waiting, again.ended) == ([0], [])


def test_what_was_interrupted_goes_on_where_it_was(tmp_path):
    class Interrupting(Ear):
        def cell_ended(self, cell, outcome):
            super().cell_ended(cell, outcome)
            if len(self.ended) == 2:
                raise KeyboardInterrupt

    path = tmp_path / "case.yaml"
    path.write_text(SCENARIO + FOUR)
    target = tmp_path / "runs" / "small"
    with pytest.raises(KeyboardInterrupt), InlineEngine() as engine:
        run_sweep(scenario.load_plan(path), target, engine, Interrupting())
    (target / CELLS / ".half.partial").mkdir()  # as after kill -9
    assert len(Sweep(target).finished) == 2
    made, ear = sweep(tmp_path)
    assert (ear.waiting, len(ear.ended), len(made.finished)) == ([2], 2, 4)
    assert not list((target / CELLS).glob(".*"))


@pytest.mark.slow
def test_more_values_run_only_the_cells_that_are_new(tmp_path):
    sweep(tmp_path)
    made, ear = sweep(tmp_path, SCENARIO + FOUR.replace("[2, 3]", "[2, 3, 4]"))
    assert (ear.waiting, len(made.finished)) == ([2], 6)


def test_a_failed_cell_leaves_its_error_and_its_trace_and_the_others_are_run(tmp_path):
    made, ear = sweep(tmp_path, SCENARIO + ONE_FAILS)
    assert [cell.is_finished for cell in made.cells] == [True, False, True, False]
    failed = made.cells[1]
    assert failed.failure.kind == "RunFailedError"
    assert "client-1" in failed.failure.error
    assert failed.failure.attempts == 1
    trace = trace_file.read(failed.failed_path / "localdm" / "trace.parquet")
    assert "client-1" in {event.host for event in trace}
    assert not list(trace.of_kind("result"))
    assert "Traceback" in (failed.failed_path / "traceback.txt").read_text()
    assert [outcome.failure is None for outcome in ear.ended] == [True, False, True, False]

    _, left = sweep(tmp_path, SCENARIO + ONE_FAILS)
    assert left.waiting == [0]
    made, again = sweep(tmp_path, SCENARIO + ONE_FAILS, retry_failed=True)
    assert again.waiting == [2]
    assert made.cells[1].failure.attempts == 2


def test_an_unexpected_error_fails_its_cell_only(tmp_path, monkeypatch):
    from collab import sweep as module

    real, calls = module.run_scenario, []

    def once(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("a mistake of ours")
        return real(*args, **options)

    monkeypatch.setattr(module, "run_scenario", once)
    made, _ = sweep(tmp_path)
    assert [cell.is_finished for cell in made.cells] == [True, False, True, True]
    assert made.cells[1].failure.kind == "ZeroDivisionError"
    made, ear = sweep(tmp_path, retry_failed=True)
    assert (ear.waiting, len(made.finished)) == ([1], 4)
    assert made.cells[1].failure is None
    assert not list((made.path / FAILED).iterdir())


def test_two_sweeps_do_not_write_into_one_directory(tmp_path):
    class Meanwhile(Ear):
        def cell_began(self, cell):
            with pytest.raises(RunExistsError, match="another collab sweep is at work"):
                sweep(tmp_path)

    path = tmp_path / "case.yaml"
    path.write_text(SCENARIO + FOUR)
    with InlineEngine() as engine:
        run_sweep(scenario.load_plan(path), tmp_path / "runs" / "small", engine, Meanwhile())


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    other = tmp_path / "runs" / "small"
    other.mkdir(parents=True)
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(RunExistsError, match="is no sweep; choose another --name"):
        sweep(tmp_path)


@pytest.mark.slow
def test_the_cache_changes_nothing_but_the_work(tmp_path):
    cache = ContentCache(tmp_path / "cache")
    alone, _ = sweep(tmp_path, name="alone")
    shared, _ = sweep(tmp_path, name="shared", cache=cache)
    assert summaries(alone) == summaries(shared)
    # Two cells have 2 sites and two 3: 5 uploads, and what was distilled for each; two judgings.
    assert len([path for path in cache.directory.glob("??/*") if path.is_file()]) == 2 * 5 + 2


def test_measured_time_is_not_shared(tmp_path):
    cache = ContentCache(tmp_path / "cache")
    sweep(tmp_path, SCENARIO + FOUR + "compute: {time: measured}\n", cache=cache)
    assert not list(cache.directory.glob("??/*"))


def test_a_damaged_cell_is_put_aside_and_run_again(tmp_path):
    made, _ = sweep(tmp_path)
    (made.cells[0].run_path / "summary.json").write_text("")
    assert len(Sweep(made.path).finished) == 3
    made, ear = sweep(tmp_path)
    assert (ear.waiting, len(made.finished)) == ([1], 4)
    assert [path.name.split("-")[0] for path in (made.path / "damaged").iterdir()] == [made.cells[0].identity]


def test_a_sweep_that_was_killed_before_it_began_can_begin(tmp_path):
    path = tmp_path / "runs" / "small"
    (path / CELLS).mkdir(parents=True)
    (path / ".lock").touch()
    (path / ".sweep.json.partial").touch()
    made, _ = sweep(tmp_path)
    assert len(made.finished) == 4


def test_the_directory_says_what_is_swept_and_what_is_no_part_of_it_any_more(tmp_path):
    made, _ = sweep(tmp_path)
    again = tmp_path / "again.yaml"
    again.write_text((made.path / "sweep.yaml").read_text())
    assert [cell.identity for cell in scenario.load_plan(again).cells] == [cell.identity for cell in made.cells]
    assert made.strangers == []
    fewer, _ = sweep(tmp_path, SCENARIO + FOUR.replace("[2, 3]", "[2]"))
    assert set(fewer.strangers) == {cell.run_path for cell in made.cells[2:]}


def test_a_cell_that_a_worker_wrote_elsewhere_is_no_finished_one(tmp_path):
    class Elsewhere(InlineEngine):
        """As on a cluster whose machines share no disk."""

        def submit(self, function, order, *listeners):
            return super().submit(function, replace(order, sweep_path=tmp_path / "elsewhere"))

    made, _ = sweep(tmp_path, engine=Elsewhere())
    assert made.finished == []
    assert "must be on a disk that all machines of the cluster see" in made.cells[0].failure.error


def test_a_failure_is_shown_as_it_was_written(tmp_path, capsys):
    made, ear = sweep(tmp_path)
    display = SweepDisplay("small")
    display.planned(made, 4, 1)
    cell = scenario.load_plan(tmp_path / "case.yaml").cells[0]
    display.cell_began(cell)
    display.cell_ended(cell, replace(ear.ended[0], failure=Failure("no [/data/x] in [n, side]", "DataError", 1, 0.0)))
    assert "failed: no [/data/x] in [n, side]" in capsys.readouterr().err
    print_sweep(made)
    assert "localdm" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_cells_are_the_same_on_every_engine(tmp_path, executor):
    if executor == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'collab-edge[ray]'")
    text = SCENARIO + FOUR + "compute: {threads: 1}\n"
    inline, _ = sweep(tmp_path, text, name="inline")
    engine = open_engine(ComputeSettings(executor=executor, workers=2, threads=1))
    spread, ear = sweep(tmp_path, text, engine, name=executor)
    assert len(ear.ended) == 4
    assert summaries(inline) == summaries(spread)


def collab(*args: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collab.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.slow
def test_kill_9_loses_no_finished_cell_and_repeats_none(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(SCENARIO + FOUR.replace("[2, 3]", "[2, 3, 4, 5, 6]"))
    args = ["sweep", path, "--runs-dir", tmp_path / "runs", "--no-cache", "--set", "compute.executor=processes"]
    cells = tmp_path / "runs" / "small" / CELLS
    with subprocess.Popen(
        [sys.executable, "-m", "collab.cli", *map(str, args)], stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while len(list(cells.glob("[!.]*"))) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    finished = {run: (run / "summary.json").stat().st_mtime_ns for run in cells.glob("[!.]*")}
    assert 3 <= len(finished) < 10
    ended = collab(*args)
    assert ended.returncode == 0, ended.stderr
    assert f"{len(finished)} of 10 cells are finished already" in ended.stderr
    assert len(find_sweep("small", tmp_path / "runs").finished) == 10
    assert {run: (run / "summary.json").stat().st_mtime_ns for run in finished} == finished


def test_the_command_prints_what_came_out_and_fails_if_a_cell_did(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(SCENARIO + ONE_FAILS.replace("[2, 3]", "[2]"))
    ended = collab_here(tmp_path, "sweep", path, "--runs-dir", "runs", "--no-cache", "--json", "--quick")
    assert ended.returncode == 19, ended.stderr
    assert "1 of 2 cells failed" in ended.stderr
    assert "--retry-failed runs them again" in ended.stderr
    assert "Traceback" not in ended.stderr
    good, bad = json.loads(ended.stdout)
    assert good["summary"]["methods"]["localdm"]["bytes_up_per_client"] > 0
    assert bad["summary"] is None
    assert "client-1" in bad["error"]
    assert (tmp_path / "runs" / "small-quick" / "sweep.json").is_file()


def test_one_run_of_a_scenario_says_that_it_has_a_sweep(tmp_path):
    path = tmp_path / "case.yaml"
    path.write_text(SCENARIO + FOUR)
    ended = collab_here(tmp_path, "run", path, "--runs-dir", "runs")
    assert "for the 4 cells of its sweep: collab sweep" in ended.stderr
    assert (tmp_path / "runs" / "small-001" / "summary.json").is_file()
