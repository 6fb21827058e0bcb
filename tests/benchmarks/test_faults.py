"""The harness that kills and cuts: its link does what it says, its judge finds what is lost, and a few runs of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fault_trial import Death, FindingError, Trial, draw_deaths
from benchmarks.faults import kind_of, scenario_text, sites_of
from benchmarks.faulty_link import Exchanges, Fault, FaultyLink, Sight
from collab.deploy.store import Store
from collab.scenario import parse
from simnet import Message
from simnet.draws import generator

ROOT = Path(__file__).parents[2]
PUT = b"PUT /v1/tasks/t/uploads/client-0 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
GET = b"GET /v1/sites/client-0/task HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_requests_and_answers_are_told_apart_however_they_come(size):
    sights = []
    exchanges = Exchanges(lambda sight: sights.append((sight.what, sight.method, sight.status)))
    up, down = PUT + GET + HEAD + GET, b"HTTP/1.1 100 Continue\r\n\r\n" + CREATED + NOTHING + LONG + NOTHING
    for way, stream in ((exchanges.upwards, up), (exchanges.downwards, down)):
        for start in range(0, len(stream), size):
            way.feed(stream[start : start + size])
    asked = [(what, method, 0) for method in ("PUT", "GET", "HEAD", "GET") for what in ("begun", "whole")]
    answered = [(method, status) for method, status in (("PUT", 201), ("GET", 204), ("HEAD", 200), ("GET", 204))]
    assert sights == asked + [("answered", *found) for found in answered]


class Planned(FaultyLink):
    """A link that has one fault for every connection."""

    def __init__(self, fault, witness=lambda sight: None):
        super().__init__(generator(1, "link"), 100, 1, witness)
        self.fault = fault

    def _fault(self):
        return self.fault


def exchanged(fault, target=True):
    """What the two ends of a link get of a PUT and its answer; None for an end to which the connection broke."""
    sights, received, answers = [], [], []

    async def answer(reader, writer):
        try:
            received.append(await reader.read(3))
            received.append(await reader.readexactly(len(PUT) - 3))
            writer.write(CREATED)
            received.append(await reader.read())
        except asyncio.IncompleteReadError as error:
            received.append(error.partial)
        except ConnectionError:
            received.append(None)
        finally:
            writer.close()

    async def main():
        link = Planned(fault, sights.append)
        async with asyncio.timeout(20), await asyncio.start_server(answer, "127.0.0.1", 0) as server, link:
            link.target = server.sockets[0].getsockname()[1] if target else None
            reader, writer = await asyncio.open_connection("127.0.0.1", int(link.url.rsplit(":", 1)[1]))
            writer.write(PUT)
            try:
                answers.append(await reader.read(len(CREATED)))
            except ConnectionError:
                answers.append(None)
            writer.close()
            while target and len(received) < 2:
                await asyncio.sleep(0.001)
            return dict(link.met)

    met = asyncio.run(main())
    received = None if None in received else b"".join(received)
    return received, answers[0], [(sight.what, sight.status) for sight in sights], met


ALL = [("begun", 0), ("whole", 0), ("answered", 201)]


def test_a_link_without_a_fault_passes_everything_on():
    assert exchanged(None) == (PUT, CREATED, ALL, {"connections": 1})


def test_a_stall_only_takes_time():
    assert exchanged(Fault("stall", True, 5, 0.01)) == (PUT, CREATED, ALL, {"connections": 1, "stall": 1})


def test_a_cut_ends_after_so_many_bytes():
    short = len(PUT) - 4
    assert exchanged(Fault("cut", True, short, 0)) == (PUT[:short], b"", ALL[:1], {"connections": 1, "cut": 1})


def test_a_reset_breaks_both_ends():
    received, answer, sights, met = exchanged(Fault("reset", True, 5, 0))
    assert (received, answer, sights, met) == (None, None, [], {"connections": 1, "reset": 1})


def test_what_the_server_has_said_is_seen_though_nobody_gets_it():
    received, answer, sights, _ = exchanged(Fault("cut", False, 0, 0))
    assert (received, answer, sights) == (PUT, b"", ALL)


def test_a_server_that_is_down_is_a_reset():
    assert exchanged(None, target=False)[1] is None


def trial_of(folder, *, confirmed=True):
    trial = Trial(None, "", 1, folder, generator(1, "trial"), None)
    if confirmed:
        trial._saw(Sight("answered", "PUT", "/v1/tasks/t/uploads/client-0", 201))
    return trial


def with_upload(folder):
    with Store(folder / "store", {"scenario": "a"}) as store:
        store.open_task("t", 0.0)
        asyncio.run(store.accept("t", "client-0", Message(b"upload")))
    return folder / "store"


def test_a_confirmed_upload_that_is_in_the_store_is_no_finding(tmp_path):
    trial_of(tmp_path)._check_store(with_upload(tmp_path))


def test_a_confirmed_upload_that_is_not_is_one(tmp_path):
    trial = trial_of(tmp_path)
    trial._saw(Sight("answered", "PUT", "/v1/tasks/t/uploads/client-1", 201))
    with pytest.raises(FindingError, match=r"not in the store after a kill: \[\('t', 'client-1'\)\]"):
        trial._check_store(with_upload(tmp_path))


def test_a_payload_that_has_changed_is_one(tmp_path):
    store, digest = with_upload(tmp_path), hashlib.sha256(b"upload").hexdigest()
    (store / "payloads" / digest[:2] / digest).write_bytes(b"uploaD")
    with pytest.raises(FindingError, match="the payload of client-0 for t is lost or damaged"):
        trial_of(tmp_path)._check_store(store)


def test_a_store_that_is_gone_is_one(tmp_path):
    with pytest.raises(FindingError, match="the store has lost everything"):
        trial_of(tmp_path)._check_store(tmp_path / "store")


def test_deaths_come_at_all_moments():
    draws = generator(1, "deaths")
    deaths = [death for _ in range(300) for death in draw_deaths(draws, 4, 2.0, server=True)]
    assert {death.moment for death in deaths} == {"start", "begun", "whole", "answered", "last"}
    assert all(isinstance(death, Death) and 0 <= death.after_s <= 2.4 for death in deaths)
    assert np.mean([death.moment == "start" for death in deaths]) == pytest.approx(0.25, abs=0.05)


def test_what_is_run_are_scenarios_half_of_them_with_uploads_in_parts():
    kinds = [kind_of(index) for index in range(12)]
    assert kinds[:6] == kinds[6:]
    assert len(set(kinds)) == 6
    for kind in kinds:
        chosen = parse(scenario_text(kind), kind)
        assert len(chosen.clients) == sites_of(kind)
        assert chosen.sends_in_parts is kind.endswith("in parts")


PARTS = "/v1/tasks/t/uploads/client-0"


def answered(method, path, status, offset=""):
    return Sight("answered", method, path, status, {"upload-offset": offset})


def test_an_upload_in_parts_is_confirmed_with_its_last_part_however_often_that_is_told(tmp_path):
    trial = trial_of(tmp_path, confirmed=False)
    trial._saw(Sight("begun", "POST", PARTS, headers={"upload-length": "10"}))
    trial._saw(answered("POST", PARTS, 201))
    trial._saw(answered("PATCH", PARTS + "/ab", 204, "9"))
    assert trial.confirmed.ways == {}
    for _ in range(2):
        trial._saw(answered("PATCH", PARTS + "/ab", 204, "10"))
    assert trial.confirmed.ways == {("t", "client-0"): {PARTS + "/ab"}}
    trial._saw(answered("PUT", PARTS, 201))
    assert len(trial.confirmed.ways["t", "client-0"]) == 2, "taken in twice"


@pytest.mark.slow
def test_six_runs_lose_nothing():
    done = subprocess.run(
        [sys.executable, "benchmarks/faults.py", "--runs", "6", "--seed", "5", "--jobs", "3", "--json"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, found["findings"], found["counts"]["runs"]) == (0, [], 6), done.stderr
    assert found["counts"]["kills of the server"] + found["counts"]["kills of sites"] >= 6
