"""Whole runs on every engine: the same bits, also when a worker is killed in the middle."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal

import pytest
import torch

from collab import run, scenario
from collab.agents.client import client_job
from collab.compute import CPU
from collab.data import SiteData
from collab.errors import OutOfMemoryError
from collab.methods import Site, Task, collabdm, get, names
from collab.run import Silence
from collab.store import open_run
from tests.collab.fleets import gaussians
from tests.collab.test_run import TEXT, digests

FEDAVG = "{name: fedavg, rounds: 2, participation: 0.5}"
METHODS = f"[localdm, {{name: collabdm-lean, iterations: 2}}, {FEDAVG}, {{name: central, steps: 2}}]"
FEW = f"baselines=[{FEDAVG}]"


def go(folder, executor, *overrides, real=False, listener=None):
    text = TEXT.replace("[localdm, {name: central, steps: 4}]", METHODS)
    text = text.replace(
        "allow: [embeddings, synthetic]", "allow: [embeddings, synthetic, model], answers: [seeds, model]"
    )
    compute = f"compute={{executor: {executor}, threads: 1{'' if executor == 'inline' else ', workers: 2'}}}"
    chosen = scenario.parse(text, "tiny.yaml", [compute, *overrides])
    with open_run(folder, chosen.name, None) as writer:
        return run.run_scenario(chosen, writer, real=real, listener=listener)


def rows(summary):
    """What is said of each method, but for the ends of the ledgers: they vouch for the scenario's text."""
    return {name: {**row, "ledger": row["ledger"]["lines"]} for name, row in summary["methods"].items()}


def essence(summary):
    """All of a summary but for the clock, the folder and the ends of the ledgers."""
    return {**summary, "methods": rows(summary), "wall_s": None, "run_dir": None}


@pytest.fixture(scope="module", autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    return go(tmp_path_factory.mktemp("runs"), "inline")


class Counter(Silence):
    """Notes how many sites are said to have computed."""

    def __init__(self):
        self.counts = []

    def progress(self, what, done, total):
        if what == "sites have computed":
            self.counts.append((done, total))


@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_results_traces_and_bytes_are_the_same_bits(inline, executor, tmp_path):
    counter = Counter()
    there = go(tmp_path, executor, listener=counter)
    assert sorted(counter.counts[:4]) == [(1, 4), (2, 4), (3, 4), (4, 4)]  # of the first method
    assert list(there["methods"]) == ["collabdm", "localdm", "collabdm-lean", "fedavg", "central"]
    assert essence(there) == essence(inline)


def test_over_sockets_too(inline, tmp_path):
    there = digests(go(tmp_path, "processes", FEW, real=True))
    assert list(there) == ["collabdm", "fedavg"]
    assert there.items() <= digests(inline).items()


def test_crashes_in_virtual_time_change_nothing(inline, tmp_path):
    crashes = (
        "{fault: crash, host: client-1, at: 20 ms, for: 50 ms}",
        "{fault: crash, host: server, at: 1 s, for: 1 s}",
    )
    faults = f"faults=[{', '.join(crashes)}]"
    there = go(tmp_path, "processes", FEW, faults)
    assert digests(there).items() <= digests(inline).items()
    assert there["trace_digest"] == go(tmp_path, "inline", FEW, faults)["trace_digest"]


class Killer(Silence):
    """Kills all workers when the first site has computed."""

    def __init__(self):
        self.killed = []

    def progress(self, what, done, total):
        if what == "sites have computed" and not self.killed:
            self.killed = [child.pid for child in multiprocessing.active_children()]
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_are_killed_in_the_middle_change_nothing(inline, tmp_path):
    killer = Killer()
    there = go(tmp_path, "processes", FEW, listener=killer)
    assert killer.killed
    assert rows(there).items() <= rows(inline).items()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("name", names())
def test_what_a_site_is_to_do_survives_pickling(name):
    task = Task("t", name, get(name).Settings(images_per_class=3), 7, 2, {})
    site = Site("client-0", SiteData(gaussians().train, gaussians().spec), CPU)
    again = pickle.loads(pickle.dumps(client_job(site, task, "digest").run)).function
    assert again.task == task
    assert type(again.task.settings) is type(task.settings)
    assert (again.site.name, again.site.data.images.tobytes()) == ("client-0", site.data.images.tobytes())


def test_want_of_memory_is_told_as_such(tmp_path, monkeypatch):
    def client(task, site):
        raise MemoryError

    monkeypatch.setattr(collabdm, "client", client)
    with pytest.raises(OutOfMemoryError, match=r"^collabdm: there was not enough memory; lower compute\.workers"):
        go(tmp_path, "inline")
