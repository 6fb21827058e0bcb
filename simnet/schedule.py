"""Capacity that follows a schedule: steps at given times, or a recorded trace in the format of mahimahi.

A trace file of mahimahi (Netravali et al., USENIX ATC 2015) has one whole number a line: the millisecond at which one
packet of 1500 bytes may be delivered. After its last line it starts over. Here the opportunities are binned into steps
of constant capacity. Not modelled: what mahimahi does within a bin, and that it loses opportunities that nobody uses
at the granularity of single packets; a fluid flow uses what there is.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from simnet.errors import TopologyError

OPPORTUNITY_BITS = 1500 * 8
_MS_PER_S = 1000
_MOST_DIGITS = 12  # thirty years


@dataclass(frozen=True, slots=True)
class CapacityStep:
    """From `at_s` on the capacity is `bandwidth_bps`; 0 is a link that is down."""

    at_s: float
    bandwidth_bps: float


@dataclass(frozen=True, slots=True)
class CapacitySchedule:
    """What the capacity of a link is when. Before the first step it is the link's own.

    With `period_s` the steps start over every so many seconds; until the first step of a later round the last one
    holds. Raises `TopologyError` for steps that do not follow one another, that lie beyond the period, or that leave
    a repeating schedule without any capacity.
    """

    steps: tuple[CapacityStep, ...]
    period_s: float | None = None

    def __post_init__(self) -> None:
        if not self.steps:
            raise TopologyError("a schedule needs at least one step")
        for index, step in enumerate(self.steps):
            if not (math.isfinite(step.at_s) and step.at_s >= 0):
                raise TopologyError(f"step {index} of a schedule is at {step.at_s} s, expected 0 or more")
            if not (math.isfinite(step.bandwidth_bps) and step.bandwidth_bps >= 0):
                raise TopologyError(
                    f"step {index} of a schedule sets {step.bandwidth_bps} bit/s, expected 0 (down) or more"
                )
            if index and step.at_s <= self.steps[index - 1].at_s:
                raise TopologyError(
                    f"step {index} of a schedule is at {step.at_s:g} s, not after the one before it "
                    f"({self.steps[index - 1].at_s:g} s); expected increasing times"
                )
        if self.period_s is None:
            return
        if not (math.isfinite(self.period_s) and self.period_s > 0):
            raise TopologyError(f"the period of a schedule is {self.period_s}, expected a positive number of seconds")
        if self.steps[-1].at_s >= self.period_s:
            raise TopologyError(
                f"step {len(self.steps) - 1} of a schedule is at {self.steps[-1].at_s:g} s, beyond the period of "
                f"{self.period_s:g} s after which it starts over"
            )
        if all(step.bandwidth_bps == 0 for step in self.steps):
            raise TopologyError("a schedule that repeats needs at least one step with a capacity above 0")

    def changes(self) -> Iterator[CapacityStep]:
        """Every step in the order of time, with the time since the start of the run; without end if it repeats."""
        yield from self.steps
        if self.period_s is None:
            return
        for turn in count(1):
            for step in self.steps:
                yield CapacityStep(turn * self.period_s + step.at_s, step.bandwidth_bps)

    def bandwidth_at(self, time_s: float) -> float | None:
        """The capacity in bits per second at a time; None before the first step."""
        if self.period_s is not None and time_s >= self.period_s:
            time_s %= self.period_s
            if time_s < self.steps[0].at_s:
                return self.steps[-1].bandwidth_bps
        index = bisect.bisect_right(self.steps, time_s, key=lambda step: step.at_s) - 1
        return None if index < 0 else self.steps[index].bandwidth_bps


def read_mahimahi(path: Path | str, *, step_s: float = 0.1) -> CapacitySchedule:
    """The schedule in a trace file of mahimahi, in steps of `step_s` (whole milliseconds); equal neighbours merge.

    The file's duration is its last time; what is left of it after the last full step makes a shorter one. Raises
    `TopologyError`, naming file and line, for a line that is no whole number or goes back in time, a file that is
    empty, and one that ends at 0; `OSError` if it cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as lines:
        times_ms = list(_times_ms(str(path), lines))
    if not times_ms:
        raise TopologyError(f"{path}:1: the trace is empty; expected one millisecond a line")
    duration_ms = times_ms[-1]
    if duration_ms == 0:
        raise TopologyError(f"{path}:{len(times_ms)}: the trace ends at 0 ms, so it cannot be repeated")
    step_ms = round(step_s * _MS_PER_S)
    if step_ms < 1 or not math.isclose(step_ms, step_s * _MS_PER_S):
        raise TopologyError(f"steps of {step_s} s: expected a whole number of milliseconds, 1 or more")
    steps: list[CapacityStep] = []
    for start_ms, bandwidth_bps in _binned(times_ms, step_ms):
        if not steps or steps[-1].bandwidth_bps != bandwidth_bps:
            steps.append(CapacityStep(start_ms / _MS_PER_S, bandwidth_bps))
    return CapacitySchedule(tuple(steps), duration_ms / _MS_PER_S)


def _binned(times_ms: Sequence[int], step_ms: int) -> Iterator[tuple[int, float]]:
    """Start and mean capacity of each bin that holds opportunities, and of each gap between such bins."""
    duration_ms, expected = times_ms[-1], 0
    # The opportunity at the very end closes the last bin: the next round begins there, at its 0.
    for index, inside in groupby(min(time_ms, duration_ms - 1) // step_ms for time_ms in times_ms):
        if index > expected:
            yield expected * step_ms, 0.0
        start_ms = index * step_ms
        lasting_ms = min(step_ms, duration_ms - start_ms)
        yield start_ms, sum(1 for _ in inside) * OPPORTUNITY_BITS * _MS_PER_S / lasting_ms
        expected = index + 1


def _times_ms(path: str, lines: Iterable[str]) -> Iterator[int]:
    before_ms = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            raise TopologyError(f'{path}:{number}: found "{text[:40]}", expected a whole number of milliseconds')
        time_ms = int(text)
        if time_ms < before_ms:
            raise TopologyError(
                f"{path}:{number}: {time_ms} ms comes after {before_ms} ms; expected times that do not decrease"
            )
        before_ms = time_ms
        yield time_ms
