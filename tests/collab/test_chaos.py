"""Random schedules of faults: they leave no run without an end, and bugs that were planted are found and shrunk."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from collab import chaos, commands
from collab.agents import server
from collab.agents.register import DiskRegister
from collab.chaos import ChaosBench, as_yaml, shrink, trials
from collab.errors import ChaosError, RunFailedError, ScenarioError
from collab.scenario import parse
from tests.collab.test_fault_settings import BASE

TEN = """\
name: ten
dataset: {name: gaussians, side: 8, classes: 2, samples_per_class: 200}
partition: {clients: 10, scheme: iid}
method:
  {name: collabdm, images_per_class: 1, width: 4, depth: 1, iterations: 2, batch_size: 4, local_steps: 1}
network:
  topology: star
  access: {bandwidth: 50 kbit/s, latency: 20 ms, jitter: 4 ms}
  server: {bandwidth: 300 kbit/s, latency: 5 ms}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [embeddings, synthetic]}]
compute: {time: fixed, duration: 2 s}
"""
SLOW_LINK = BASE.replace("1 Mbit/s, latency: 10 ms", "20 kbit/s, latency: 10 ms").replace("faults:\n", "")


@pytest.fixture(scope="module")
def ten():
    return ChaosBench(parse(TEN, "ten.yaml"))


def schedules(bench, numbers, seed=0):
    return list(trials(bench, seed, numbers, jobs=1))


def no_complaints(tried):
    assert {trial.index: trial.complaints for trial in tried if trial.complaints} == {}


@pytest.fixture(scope="module")
def ten_in_parts():
    return ChaosBench(parse(TEN + "uploads: resumable\n", "ten.yaml"))


@pytest.mark.parametrize("bench", ["ten", pytest.param("ten_in_parts", marks=pytest.mark.slow)])
def test_thirty_schedules(bench, request):
    ten = request.getfixturevalue(bench)
    tried = schedules(ten, range(30))
    no_complaints(tried)
    assert sum(not trial.failure for trial in tried) > 20
    assert max(trial.ended_s for trial in tried) > 5 * ten.quiet_s  # they did bite


@pytest.mark.slow
@pytest.mark.parametrize("bench", ["ten", "ten_in_parts"])
def test_a_thousand_schedules(bench, request):
    no_complaints(list(trials(request.getfixturevalue(bench), 1, range(1000), jobs=2)))


def test_a_schedule_is_the_same_whenever_it_is_drawn(ten):
    again = ChaosBench(parse(TEN, "ten.yaml"))
    assert ten.draw(3, 8) == again.draw(3, 8) != ten.draw(3, 9)
    assert ten.trial(8, ten.draw(3, 8)) == again.trial(8, again.draw(3, 8))


def test_other_processes_come_to_the_same(ten):
    assert list(trials(ten, 0, [0, 1], jobs=2)) == schedules(ten, [0, 1])


def test_a_schedule_can_be_pasted_into_the_scenario(ten):
    faults = ten.draw(0, 3)
    pasted = parse(TEN + as_yaml(faults), "ten.yaml")
    assert pasted.faults == faults


def small(more=""):
    return ChaosBench(parse(SLOW_LINK + "compute: {time: fixed, duration: 2 s}\n" + more, "x.yaml"))


def first_broken(bench, seed=0):
    return next(trial for trial in (bench.trial(i, bench.draw(seed, i)) for i in range(300)) if trial.complaints)


@pytest.mark.parametrize("uploads", ["single", "resumable"])
def test_an_agent_that_confirms_before_it_writes_is_found_and_shrunk_to_one_crash(monkeypatch, uploads):
    """Planted: the server says 201 and writes to its disk two seconds later."""
    write = DiskRegister.accept

    async def hasty(disk_register, task, site, message):
        async def later():
            await asyncio.sleep(2.0)
            if not disk_register._disk.off:
                await write(disk_register, task, site, message)

        asyncio.get_running_loop().create_task(later())

    monkeypatch.setattr(DiskRegister, "accept", hasty)
    bench = small(f"uploads: {uploads}\n")
    broken = first_broken(bench, seed=2)
    shrunk = shrink(bench, broken)
    assert [fault.fault for fault in shrunk.faults] == ["crash"]
    assert shrunk.faults[0].host == "server"
    assert shrunk.fails_like(broken)


SERVER_CRASHES = parse(
    BASE
    + "  - {at: 0 s, fault: slow, host: client-1, factor: 10}\n"  # so that client-0 waits for news
    + "  - {at: 12 s, for: 1 s, fault: crash, host: server}\n",
    "x.yaml",
).faults


def waits_for_ever(monkeypatch):
    monkeypatch.setattr("collab.agents.client.Patience.limit_s", lambda *_: 1e9)
    monkeypatch.setattr(chaos, "LONGEST_RUN_S", 1800.0)


def test_a_run_that_never_ends_is_found(monkeypatch):
    """Planted: a site that the server does not answer at once waits for ever."""
    waits_for_ever(monkeypatch)
    trial = small().trial(0, SERVER_CRASHES)
    assert {complaint.kind for complaint in trial.complaints} == {chaos.ENDLESS}
    assert "0.5 h of virtual time" in trial.complaints[0].found


def test_a_failure_without_a_cause_is_found(monkeypatch):
    def fail(network, play):
        raise RunFailedError("something went wrong")

    bench = small()
    monkeypatch.setattr(chaos, "run_network", fail)
    trial = bench.trial(0, ())
    assert [(complaint.kind, trial.failure) for complaint in trial.complaints] == [
        (chaos.UNNAMED, "something went wrong")
    ]


def test_a_service_that_fails_unnoticed_is_found(monkeypatch):
    async def failing(agent, request):
        raise ZeroDivisionError("planted")

    bench = small()
    monkeypatch.setattr(server.ServerAgent, "_take_upload", failing)
    kinds = {complaint.kind for complaint in bench.trial(0, ()).complaints}
    assert kinds == {chaos.CRASHED}


def test_time_from_the_wall_cannot_be_replayed():
    with pytest.raises(ScenarioError, match=r"compute\.time is measured"):
        ChaosBench(parse(SLOW_LINK + "compute: {time: measured}\n", "x.yaml"))


def invoke(tmp_path, *arguments, text=SLOW_LINK):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    app = Typer()  # of its own: that of the command line ends the process
    app.command()(dict(commands.found())["chaos"])
    return CliRunner().invoke(app, [str(path), *arguments])


def test_the_command_tells_how_it_went(tmp_path):
    result = invoke(tmp_path, "--schedules", "3")
    assert result.exit_code == 0, result.output
    assert "3 schedules" in result.stdout
    told = json.loads(invoke(tmp_path, "--schedules", "3", "--json").stdout)
    assert (told["schedules"], told["broken"], told["shrunk"]) == (3, {}, None)
    shown = invoke(tmp_path, "--only", "2").stdout
    assert shown.startswith("faults:\n  - {at: ")


def test_the_command_prints_what_matters_and_fails(tmp_path, monkeypatch):
    waits_for_ever(monkeypatch)
    monkeypatch.setattr(chaos, "draw_schedule", lambda *_: SERVER_CRASHES)
    result = invoke(tmp_path, "--schedules", "1", text=SLOW_LINK + "compute: {time: fixed, duration: 2 s}\n")
    assert isinstance(result.exception, ChaosError)
    assert "1 of 1 schedules broke the run (numbers 0): it had not ended" in str(result.exception)
    assert "schedule 0, shrunk to the faults that matter:\nfaults:\n  - {at: 0 us, for: " in result.stdout
    assert "fault: crash, host: server}" in result.stdout
    assert ChaosError.exit_code == 14
