"""Capture sessions: what each holds, and in which order the monitor wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.synthetic.applications import APPLICATIONS
from collab.data.flows.synthetic.attacks import attack, variants
from collab.data.flows.synthetic.connections import ENDINGS, Connections, connections
from collab.data.flows.synthetic.datagrams import Datagrams, datagrams
from collab.data.flows.synthetic.flow import ATTACKS, CAUSES, FLOW, STATES, Flows, bursts
from collab.data.flows.synthetic.stations import Station
from simnet.draws import generator

LARGEST_PIECE = 400_000
"""Flows that are made at once, at most: longer sessions are made piece by piece."""


@dataclass(frozen=True, slots=True)
class Run:
    """What goes on in a session beside benign traffic: one attack, by one tool."""

    attack: str
    tool: str
    share: float  # of the flows of that attack
    benign: float  # share of the station's benign flows


RUNS = (
    Run("Benign", "Benign", 0.0, 0.60),
    Run("HTTPFlood", "Goldeneye", 1.0, 0.05),
    Run("SlowrateDoS", "Slowloris", 0.39, 0.04),
    Run("SlowrateDoS", "Torshammer", 0.61, 0.04),
    Run("UDPFlood", "Hping3", 1.0, 0.09),
    Run("ICMPFlood", "Hping3", 1.0, 0.03),
    Run("SYNFlood", "Hping3", 1.0, 0.04),
    Run("SYNScan", "Nmap", 1.0, 0.04),
    Run("TCPConnectScan", "Nmap", 1.0, 0.03),
    Run("UDPScan", "Nmap", 1.0, 0.04),
)
"""The sessions of a station, in order."""


def divided(total: int, shares: Mapping[str, float] | tuple[float, ...]) -> list[int]:
    """`total` in whole parts in proportion to shares, by largest remainders; exact where the shares add up to it."""
    weights = np.asarray(list(shares.values()) if isinstance(shares, Mapping) else shares, np.float64)
    exact = total * weights / weights.sum()
    parts = np.floor(exact + 1e-9).astype(np.int64)
    missing = total - int(parts.sum())
    parts[np.argsort(parts - exact, kind="stable")[:missing]] += 1
    return [int(part) for part in parts]


def counts(station: Station, share: float) -> dict[str, int]:
    """Flows of each class: the published (or made up) number times `share`, rounded, at least one."""
    return {name: max(1, round(flows * share)) for name, flows in station.flows.items()}


class StationTraffic:
    """All flows of a station, session by session.

    Which applications, endings and answers the flows of a session have is drawn without replacement from what the whole
    station has, so that the sums over its sessions are exact.
    """

    def __init__(self, station: Station, number: int, share: float, seed: int) -> None:
        self._station, self._number, self._seed = station, number, seed
        self.counts = counts(station, share)
        self._variants = {name: self._shuffled(name, variants(station, name)) for name in ATTACKS[1:]}
        self._benign = self._shuffled("Benign", dict(enumerate(station.applications.values())))
        self._benign_endings = self._end_benign()
        self._duplicates = round(station.duplicates * share)
        self._sizes = self._divided()

    def sessions(self) -> Iterator[Iterator[Flows]]:
        """The sessions that have flows, in order; each in pieces of at most `LARGEST_PIECE` flows or so, in order."""
        taken = dict.fromkeys(ATTACKS, 0)
        for session, (run, (benign, attacking)) in enumerate(zip(RUNS, self._sizes, strict=True)):
            if benign + attacking:
                begins = dict(taken)
                yield self._pieces(session, run, (begins["Benign"], benign), (begins[run.attack], attacking))
            taken["Benign"] += benign
            taken[run.attack] += attacking

    def _draw(self, *purpose: str | int) -> np.random.Generator:
        return generator(self._seed, "traffic", self._number, *purpose)

    def _shuffled(self, kind: str, parts: Mapping[int, int]) -> NDArray[np.int8]:
        """The variant of each flow of a class, in the exact proportions of `parts`, in a drawn order."""
        sizes = divided(self.counts[kind], tuple(parts.values()))
        pool = np.repeat(np.fromiter(parts, np.int8), sizes)
        self._draw("variants", kind).shuffle(pool)
        return pool

    def _end_benign(self) -> NDArray[np.int8]:
        """How each benign flow ends; 0 for those without a connection, too."""
        station = self._station
        connects = np.array([isinstance(APPLICATIONS[name], Connections) for name in station.applications])
        rows = np.flatnonzero(connects[self._benign])
        special = station.endings["Benign"]
        whole = sum(n for name, n in station.applications.items() if isinstance(APPLICATIONS[name], Connections))
        sizes = divided(len(rows), (whole - sum(special), *special))
        endings = np.zeros(len(self._benign), np.int8)
        endings[self._draw("endings").permutation(rows)] = np.repeat(np.arange(len(ENDINGS), dtype=np.int8), sizes)
        return endings

    def _divided(self) -> list[tuple[int, int]]:
        """Benign and other flows of each session."""
        benign = divided(self.counts["Benign"], tuple(run.benign for run in RUNS))
        attacking = [0] * len(RUNS)
        for kind in ATTACKS[1:]:
            of = [number for number, run in enumerate(RUNS) if run.attack == kind]
            for number, part in zip(of, divided(self.counts[kind], tuple(RUNS[n].share for n in of)), strict=True):
                attacking[number] = part
        return list(zip(benign, attacking, strict=True))

    def _pieces(self, session: int, run: Run, benign: tuple[int, int], attacking: tuple[int, int]) -> Iterator[Flows]:
        """`benign` and `attacking`: the first flow and the number of flows of each."""
        pieces = -(-(benign[1] + attacking[1]) // LARGEST_PIECE)
        for piece in range(pieces):
            of_benign, of_attack = (
                slice(begin + count * piece // pieces, begin + count * (piece + 1) // pieces)
                for begin, count in (benign, attacking)
            )
            length_s = float(self._draw("length", session, piece).uniform(700, 1500))
            made = [self._benign_flows(session, piece, of_benign, length_s)]
            if of_attack.stop > of_attack.start and run.attack != "Benign":
                draw = self._draw("attack", session, piece)
                flows = attack(draw, run.attack, run.tool, self._station, self._variants[run.attack][of_attack])
                made.append((flows, _attack_times(draw, flows["burst"], length_s)))
            ordered = _merged(made, length_s)
            if session == 0 and piece == 0:
                _repeat(self._draw("duplicates"), ordered, self._duplicates)
            yield ordered

    def _benign_flows(
        self, session: int, piece: int, which: slice, length_s: float
    ) -> tuple[Flows, NDArray[np.float64]]:
        """Flows of all applications, and when the monitor writes each."""
        flows, times = [np.zeros(0, FLOW)], [np.zeros(0)]
        numbers, endings = self._benign[which], self._benign_endings[which]
        for number, name in enumerate(self._station.applications):
            rows = np.flatnonzero(numbers == number)
            draw = self._draw("benign", session, piece, name)
            what = _paced(APPLICATIONS[name], self._station.pace)
            burst = bursts(draw, len(rows), what.mean_burst)
            if isinstance(what, Connections):
                made = connections(draw, what, self._station.path, burst, endings[rows])
            else:
                made = datagrams(draw, what, self._station.path, burst)
            made["variant"] = number * len(ENDINGS) + endings[rows]
            flows.append(made)
            times.append(_benign_times(draw, burst, what.gap_s, length_s))
        return np.concatenate(flows), np.concatenate(times)


def _paced(what: Datagrams | Connections, pace: float) -> Datagrams | Connections:
    if isinstance(what, Connections):
        return replace(what, duration_s=(what.duration_s[0] * pace, what.duration_s[1]))
    return replace(what, interval_s=(what.interval_s[0] * pace, what.interval_s[1]))


def _benign_times(
    draw: np.random.Generator, burst: NDArray[np.int64], gap_s: float, length_s: float
) -> NDArray[np.float64]:
    """Bursts begin whenever they like; their flows follow each other. What would outlast the session begins it."""
    count = int(burst[-1]) + 1 if len(burst) else 0
    since_s = np.cumsum(draw.exponential(gap_s, len(burst)))
    begins = np.searchsorted(burst, np.arange(count))
    times: NDArray[np.float64] = ((draw.random(count) * length_s - since_s[begins])[burst] + since_s) % length_s
    return times


def _attack_times(draw: np.random.Generator, burst: NDArray[np.int64], length_s: float) -> NDArray[np.float64]:
    """From some time after the begin to some time before the end, faster and slower by burst."""
    count = int(burst[-1]) + 1 if len(burst) else 0
    slowness = np.exp(0.8 * draw.standard_normal(count))[burst]
    since = np.cumsum(draw.exponential(1.0, len(burst)) * slowness)
    begin, end = draw.uniform(0.05, 0.2) * length_s, draw.uniform(0.8, 0.95) * length_s
    times: NDArray[np.float64] = begin + (end - begin) * since / max(float(since[-1]), 1e-9)
    return times


def _merged(made: list[tuple[Flows, NDArray[np.float64]]], length_s: float) -> Flows:
    """All flows in the order of their times; those that go on at the end are reported because the monitor stops."""
    times = np.concatenate([when for _, when in made])
    flows = np.concatenate([flow for flow, _ in made])
    goes_on = ~np.isin(flows["state"], [STATES.index("FIN"), STATES.index("RST")])
    flows["cause"][goes_on & (times > length_s - 2.0)] = CAUSES.index("Shutdown")
    ordered: Flows = flows[np.argsort(times, kind="stable")]
    return ordered


def _repeat(draw: np.random.Generator, flows: Flows, count: int) -> None:
    """Let benign records be followed by themselves, in place of another of the same application and ending."""
    rows = np.arange(2, len(flows), 2)  # every other one: none is repeated twice
    benign = (flows["attack"][rows] == 0) & (flows["attack"][rows - 1] == 0)
    candidates = rows[benign & (flows["variant"][rows] == flows["variant"][rows - 1])]
    chosen = draw.choice(candidates, min(count, len(candidates)), replace=False)
    flows[chosen] = flows[chosen - 1]
    flows["is_repeated"][chosen] = True
