"""Random faults, many schedules of them: does every run end well, and if not, which faults are to blame?

A trial runs a scenario's method under one schedule, twice. It is judged by what must hold whatever goes wrong:

- it ends, with a result or with a failure that says what or who is to blame, and nothing fails unnoticed;
- bytes are conserved (`simnet.streams.StreamNetwork.imbalances`);
- the second run has the same trace, event by event;
- every upload that the server confirmed is in what it refined and was confirmed once; the result is that of a run
  without faults.

Computation is repeated in virtual time but not for real: a job is a function of its key (`simnet.Job.key`), so its
outcome is remembered. A schedule that fails is shrunk: faults are left out and shortened as long as it fails in the
same way (delta debugging; Zeller and Hildebrandt 2002, doi:10.1109/32.988498). Not judged: the accuracy, the baselines.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import TypeAdapter

from collab.ensemble import Ensemble
from collab.errors import CollabError, RunFailedError, ScenarioError
from collab.fault_settings import AnyFault, FaultSettings
from collab.results import Material, result_digest
from collab.run import body_limit_bytes, make_network, prepare, run_network, sites_of
from collab.scenario import parse
from collab.settings import SERVER, Scenario
from simnet import Computed, Job, SimulatedNetwork
from simnet.draws import generator
from simnet.errors import DeadlockError
from simnet.executors import InlineExecutor

_FAULT: TypeAdapter[FaultSettings] = TypeAdapter(AnyFault)
LONGEST_RUN_S = 4 * 3600.0
"""Virtual seconds after which a run counts as one that does not end."""
MOST_FAULTS = 6
_AT_ONCE = 5  # schedules that a process takes at a time
_FOR_EVER = 0.08  # the probability that a fault never ends
_SETTLE_S = 60.0  # the longest faults last so much longer than a run without faults takes

ENDLESS = "endless"
CRASHED = "crashed"
UNNAMED = "unnamed"
LEAKED = "bytes"
DIFFERS = "replay"
LOST = "lost"
WRONG = "result"


@dataclass(frozen=True)
class Complaint:
    """What must not be: its `kind`, and what was found."""

    kind: str
    found: str


@dataclass(frozen=True)
class Trial:
    """How a run under one schedule went. `failure` is why there is no result, empty if there is one."""

    index: int
    faults: tuple[FaultSettings, ...]
    ended_s: float
    failure: str
    digest: str
    complaints: tuple[Complaint, ...]

    def fails_like(self, other: Trial) -> bool:
        """Whether both are found fault with for one of the same reasons."""
        return bool({mine.kind for mine in self.complaints} & {theirs.kind for theirs in other.complaints})


class RememberingExecutor(InlineExecutor):
    """Runs each job with a key once, and hands its outcome out again after that."""

    def __init__(self, known: dict[str, Computed[Any]]) -> None:
        self._known = known

    async def run(self, job: Job[Any]) -> tuple[Computed[Any], float]:
        """The job's outcome, now or from before."""
        if job.key is None:
            return await super().run(job)
        if job.key not in self._known:
            self._known[job.key], _ = await super().run(job)
        return self._known[job.key], 0.0


class ChaosBench:
    """Runs one scenario under any faults. Raises `ScenarioError` for one whose time is taken from the wall."""

    def __init__(self, scenario: Scenario, material: Material | None = None) -> None:
        if scenario.compute.time == "measured":
            raise ScenarioError("compute.time is measured: what takes its time from the wall cannot be replayed")
        self.scenario = scenario.model_copy(update={"faults": ()})
        self._material = material or prepare(scenario)
        self._device = scenario.compute.torch_device()
        self._sites = sites_of(self.scenario, scenario.method, self._material, self._device)
        self._known: dict[str, Computed[Any]] = {}
        self._result: str | None = None
        self._last_result = ""
        quiet = self.trial(-1, (), replay=False)
        if quiet.failure or quiet.complaints:
            why = quiet.failure or quiet.complaints[0].found
            raise RunFailedError(f"the scenario fails even without faults: {why}")
        self.quiet_s = quiet.ended_s
        """Virtual seconds that a run without faults takes."""
        self._result = self._last_result

    def draw(self, seed: int, index: int) -> tuple[FaultSettings, ...]:
        """The random schedule number `index` of `seed`."""
        return draw_schedule(self.scenario, self.quiet_s, generator(seed, "chaos", index))

    def trial(self, index: int, faults: Sequence[FaultSettings], *, replay: bool = True) -> Trial:
        """Run under these faults, and once more to compare if `replay`; judge it."""
        once = self._run(index, faults)
        if replay:
            again = self._run(index, faults)
            if again.digest != once.digest:
                differs = Complaint(DIFFERS, f"a second run has the digest {again.digest[:12]}, not {once.digest[:12]}")
                return Trial(index, once.faults, once.ended_s, once.failure, once.digest, (*once.complaints, differs))
        return once

    def _run(self, index: int, faults: Sequence[FaultSettings]) -> Trial:
        scenario = self.scenario.model_copy(update={"faults": tuple(faults)})
        executor = RememberingExecutor(self._known)
        network = make_network(scenario, self._sites, real=False, executor=executor)
        assert isinstance(network, SimulatedNetwork)
        ensemble = Ensemble(
            network, SERVER, self._sites, self._material.dataset.spec, scenario.method, scenario.seed, self._device,
            body_limit_bytes=body_limit_bytes(scenario), durable=True, resumable=scenario.sends_in_parts,
        )  # fmt: skip
        complaints: list[Complaint] = []
        failure = _played(network, ensemble, complaints)
        complaints += [Complaint(LEAKED, found) for found in network.streams.imbalances()]
        complaints += _lost_uploads(network, ensemble)
        self._last_result = ""
        if ensemble.outcome is not None:
            self._last_result = result_digest(ensemble.outcome)
            if self._result is not None and self._last_result != self._result:
                complaints.append(Complaint(WRONG, "the result is not that of a run without faults"))
        elif failure and not any(name in failure for name in (*scenario.clients, SERVER)):
            complaints.append(Complaint(UNNAMED, f"the failure names no cause: {failure}"))
        digest = f"{network.trace.digest()}/{self._last_result}/{failure}"
        return Trial(index, tuple(faults), network.now(), failure, digest, tuple(complaints))


def _played(network: SimulatedNetwork, ensemble: Ensemble, complaints: list[Complaint]) -> str:
    """Run the agents; returns why there is no result, and adds what went wrong that must not."""

    def unnoticed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(Complaint(CRASHED, f"{context['message']}: {context.get('exception')!r}"))

    async def play() -> Any:
        asyncio.get_running_loop().set_exception_handler(unnoticed)
        async with asyncio.timeout(LONGEST_RUN_S):
            return await ensemble.play()

    try:
        run_network(network, play)
    except TimeoutError:
        complaints.append(Complaint(ENDLESS, f"it had not ended after {LONGEST_RUN_S / 3600:g} h of virtual time"))
        return "it did not end"
    except CollabError as error:
        if isinstance(error.__cause__, DeadlockError):
            complaints.append(Complaint(ENDLESS, str(error)))
        return str(error)
    except Exception as error:  # whatever it is, it is this program's fault, and what the search is for
        complaints.append(Complaint(CRASHED, f"{type(error).__name__}: {error}"))
        return f"{type(error).__name__}: {error}"
    return ""


def _lost_uploads(network: SimulatedNetwork, ensemble: Ensemble) -> list[Complaint]:
    """Uploads that the server confirmed and did not use, or had lost so that it took them in once more."""
    complaints = []
    for (task, site), ways in sorted(_confirmed(network).items()):
        if len(ways) > 1:
            complaints.append(
                Complaint(LOST, f"the upload of {site} for {task} was confirmed, lost and taken in again")
            )
        if ensemble.outcome is not None and (task, site) not in ensemble.folded:
            complaints.append(
                Complaint(LOST, f"the upload of {site} for {task} was confirmed, and is not in the result")
            )
    return complaints


def _confirmed(network: SimulatedNetwork) -> dict[tuple[str, str], set[str]]:
    """(task, site) -> in how many ways the server has said that it has the upload: each 201 is one, and each upload in
    parts, whose sender may be told several times that all of it is there.
    """
    ways: dict[tuple[str, str], set[str]] = {}
    for number, event in enumerate(network.trace.of_kind("answer")):
        method, path = str(event.values["method"]), str(event.values["path"])
        if event.host == SERVER and (method, event.values["status"]) in (("PUT", 201), ("PATCH", 204)):
            task, site = path.split("/")[3:6:2]
            ways.setdefault((task, site), set()).add(path if method == "PATCH" else str(number))
    return ways


# -- many schedules ------------------------------------------------------------------------------


def trials(bench: ChaosBench, seed: int, indices: Sequence[int], *, jobs: int) -> Iterator[Trial]:
    """Try the random schedules of these numbers, on so many processes at a time; in order."""
    if jobs == 1:
        for index in indices:
            yield bench.trial(index, bench.draw(seed, index))
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _prepare_worker, (bench.scenario.dump(),)) as pool:
        try:
            yield from pool.map(_try_one, [seed] * len(indices), indices, chunksize=_AT_ONCE)
        finally:
            pool.shutdown(cancel_futures=True)


_bench: ChaosBench | None = None  # of a worker process


def _prepare_worker(text: str) -> None:
    global _bench  # noqa: PLW0603 (a worker has no other place for what it is to keep)
    torch.set_num_threads(1)
    _bench = ChaosBench(parse(text, "the scenario"))


def _try_one(seed: int, index: int) -> Trial:
    assert _bench is not None
    return _bench.trial(index, _bench.draw(seed, index))


# -- schedules -----------------------------------------------------------------------------------


def draw_schedule(scenario: Scenario, quiet_s: float, draws: np.random.Generator) -> tuple[FaultSettings, ...]:
    """One to `MOST_FAULTS` random faults at hosts and links of a scenario, within and after `quiet_s` seconds."""
    topology = scenario.topology()
    links = sorted({*scenario.hosts, *(f"{link.a} -- {link.b}" for link in topology.links)})

    def between(least: float, most: float) -> float:
        return round(float(np.exp(draws.uniform(np.log(least), np.log(most)))), 3)

    def duration(least_s: float, most_s: float) -> str:
        return f"{between(least_s, most_s)} s"

    def one_of(choices: Sequence[str]) -> str:
        return choices[int(draws.integers(len(choices)))]

    def ends() -> dict[str, str]:
        client, server = one_of(scenario.clients), SERVER
        pair = (client, server) if draws.random() < 0.5 else (server, client)
        return dict(zip(("from", "to"), pair, strict=True))

    def sides() -> list[list[str]]:
        apart = [host for host in scenario.clients if draws.random() < 0.5] or [one_of(scenario.clients)]
        return [apart, [host for host in scenario.hosts if host not in apart]]

    kinds: list[Callable[[], dict[str, Any]]] = [
        lambda: {"fault": "crash", "host": one_of(scenario.clients)},
        lambda: {"fault": "crash", "host": SERVER},
        lambda: {"fault": "link-down", "link": one_of(links)},
        lambda: {"fault": "partition", "sides": sides()},
        lambda: {"fault": "bandwidth", "link": one_of(links), "factor": between(0.01, 1.0)},
        lambda: {"fault": "loss", "link": one_of(links), "probability": round(float(draws.uniform(0.05, 0.95)), 3)},
        lambda: {"fault": "slow", "host": one_of(scenario.hosts), "factor": between(1.5, 50.0)},
        lambda: {
            "fault": "clock",
            "host": one_of(scenario.hosts),
            "ahead": duration(0.001, 3600.0),
            "drift": round(float(draws.uniform(-0.5, 0.5)), 3),
        },
        lambda: {"fault": "hold", **ends(), "delay": duration(0.01, 60.0)},
        lambda: {"fault": "drop", **ends(), "probability": round(float(draws.uniform(0.2, 1.0)), 3)},
        lambda: {"fault": "reset", **ends()},
    ]
    faults = []
    for _ in range(int(draws.integers(1, MOST_FAULTS + 1))):
        what = kinds[int(draws.integers(len(kinds)))]()
        when = {"at": f"{round(float(draws.uniform(0, 1.3 * quiet_s)), 6)} s"}
        if draws.random() >= _FOR_EVER:
            when["for"] = duration(0.02 * quiet_s, 2 * quiet_s + _SETTLE_S)
        faults.append(_FAULT.validate_python({**when, **what}))
    return tuple(faults)


def described(faults: Sequence[FaultSettings]) -> list[dict[str, Any]]:
    """The faults as plain data, with their units."""
    return [fault.model_dump(mode="json", by_alias=True, exclude_none=True) for fault in faults]


def as_yaml(faults: Sequence[FaultSettings]) -> str:
    """The faults as they stand in a scenario file, one a line."""
    lines = (
        yaml.safe_dump(fault, default_flow_style=True, sort_keys=False, width=10**6).strip()
        for fault in described(faults)
    )
    return "".join(["faults:\n", *(f"  - {line}\n" for line in lines)])


# -- shrinking -----------------------------------------------------------------------------------


def shrink(bench: ChaosBench, trial: Trial) -> Trial:
    """The smallest schedule found that fails as `trial` does: no fault can be left out, few could be shorter."""

    def still_fails(faults: Sequence[FaultSettings]) -> Trial | None:
        tried = bench.trial(trial.index, faults)
        return tried if tried.fails_like(trial) else None

    smallest = _without_the_needless(trial, still_fails)
    for position in range(len(smallest.faults)):
        for shorter in _simpler(smallest.faults[position]):
            faults = [*smallest.faults[:position], shorter, *smallest.faults[position + 1 :]]
            smallest = still_fails(faults) or smallest
    return smallest


def _without_the_needless(trial: Trial, still_fails: Callable[[Sequence[FaultSettings]], Trial | None]) -> Trial:
    """Leave out ever smaller parts of the schedule, until no single fault can be."""
    size = max(len(trial.faults) // 2, 1)
    while True:
        start, shrunk = 0, False
        while start < len(trial.faults):
            rest = (*trial.faults[:start], *trial.faults[start + size :])
            smaller = still_fails(rest) if rest else None
            if smaller is None:
                start += size
            else:
                trial, shrunk = smaller, True
        if size == 1 and not shrunk:
            return trial
        size = max(size // 2, 1)


def _simpler(fault: FaultSettings) -> list[FaultSettings]:
    """The fault with an end, and ever shorter; each is tried on its own."""
    if fault.for_ is None:
        return [fault.model_copy(update={"for_": length_s}) for length_s in (300.0, 60.0, 10.0)]
    return [fault.model_copy(update={"for_": round(fault.for_ / factor, 6)}) for factor in (2, 4, 16)]
