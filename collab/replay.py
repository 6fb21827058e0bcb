"""Run a recorded run again and compare: the same scenario must give the same events, bytes and results.

Compared of every method: the trace (and on a difference the first event that differs), the ledger, and its row of the
summary, which holds the digest of the result. What a run is a function of beside its scenario (versions,
device, threads) is compared as well, since it explains most differences. Where time is taken from the wall (a real
network, `measured` computation), moments and the order of events are not repeatable: then only what is deterministic
is compared, and that is said.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collab import scenario as scenarios
from collab.errors import RunDirectoryError
from collab.run import Listener, run_scenario
from collab.settings import Scenario
from collab.store import SCENARIO, SCENARIO_SHA256, MethodRun, Run, RunWriter
from simnet.comparison import Difference, first_difference

RECORDED, NOW = "recorded", "now"
_TIMELESS = ("accuracy", "bytes_up_per_client", "bytes_down_per_client", "result_digest")
"""Of a method's row in the summary: what does not depend on when things happened."""


@dataclass(frozen=True)
class MethodComparison:
    """How one method compares: `complaints` is empty if it is the same, `difference` is that of the traces.

    `yields` says what the result is: a synthetic set or a network.
    """

    name: str
    events: int
    trace_digest: str
    yields: str
    result_digest: str
    complaints: Sequence[str]
    difference: Difference | None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.complaints and self.difference is None

    def in_words(self, *, timeless: bool) -> str:
        """One line if it is the same, else some lines that say what differs."""
        if self.same:
            events = "" if timeless else f"{self.events} events, trace {self.trace_digest[:12]}, ledger, "
            return f"{self.name}: the same ({events}{self.yields} {self.result_digest[:12]})"
        parts = list(self.complaints)
        if self.difference is not None:
            parts.insert(0, self.difference.in_words(RECORDED, NOW))
        indented = "\n".join(parts).replace("\n", "\n  ")
        return f"{self.name}: differs\n  {indented}"


@dataclass(frozen=True)
class Replay:
    """How a whole run compares. `timeless` says why moments were not compared, or is None."""

    methods: Sequence[MethodComparison]
    environment: Sequence[str]
    timeless: str | None


def recorded_scenario(run: Run) -> Scenario:
    """The scenario of a run, as it was resolved. Raises `collab.errors.ScenarioError` if it cannot be read."""
    return scenarios.load(run.path / SCENARIO)


def check_recorded(run: Run, names: Sequence[str]) -> None:
    """Make sure that the records of the methods are whole. Raises `RunDirectoryError`."""
    for method in _chosen(run, names):
        written = method.outcome.get("trace_digest")
        if method.trace.digest() != written:
            raise RunDirectoryError(
                f"{method.path}: trace.parquet has the digest {method.trace.digest()[:12]}, outcome.json says "
                f"{str(written)[:12]}: one of them was changed since the run"
            )


def replay(
    run: Run, scenario: Scenario, names: Sequence[str], writer: RunWriter, listener: Listener | None = None
) -> None:
    """Run the methods `names` of a recorded run again, in the same world, into a new run directory."""
    run_scenario(scenario, writer, real=run.summary["world"] == "real", only=names, listener=listener)


def compare(recorded: Run, now: Run, scenario: Scenario, names: Sequence[str]) -> Replay:
    """Compare the methods `names` of two runs."""
    timeless = None
    if recorded.summary["world"] == "real":
        timeless = "real time is never the same twice"
    elif scenario.compute.time == "measured":
        timeless = "compute.time is measured, which is never the same twice"
    pairs = zip(_chosen(recorded, names), _chosen(now, names), strict=True)
    return Replay(
        [_compare_method(recorded, now, *pair, timeless=timeless is not None) for pair in pairs],
        [*_edited(recorded, scenario, names), *_differences(recorded.environment, now.environment)],
        timeless,
    )


def _chosen(run: Run, names: Sequence[str]) -> list[MethodRun]:
    methods = {method.name: method for method in run.methods}
    return [methods[name] for name in names]


def _compare_method(recorded: Run, now: Run, theirs: MethodRun, ours: MethodRun, *, timeless: bool) -> MethodComparison:
    rows = [run.summary["methods"][theirs.name] for run in (recorded, now)]
    if timeless:
        rows = [{key: row.get(key) for key in _TIMELESS} for row in rows]
    else:  # ledgers are compared entry by entry; the end of their chain is bound to the text of the scenario as well
        rows = [{key: value for key, value in row.items() if key != "ledger"} for row in rows]
    complaints = _differences(*rows)
    if not timeless:
        complaints += _ledger_differences(theirs, ours)
    return MethodComparison(
        name=theirs.name,
        events=len(ours.trace),
        trace_digest=ours.trace.digest(),
        yields=str(recorded.summary["methods"][theirs.name].get("yields", "result")),  # earlier versions did not say it
        result_digest=str(now.summary["methods"][theirs.name]["result_digest"]),
        complaints=complaints,
        difference=None if timeless else first_difference(theirs.trace, ours.trace),
    )


def _ledger_differences(theirs: MethodRun, ours: MethodRun) -> list[str]:
    """The first entry of the ledger that differs."""
    before, after = theirs.ledger, ours.ledger
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            fields = "; ".join(_differences(old.as_dict(), new.as_dict()))
            return [f"ledger entry {index} differs (at {old.at_s:.6f} s, {old.source} to {old.target}): {fields}"]
    if len(before) != len(after):
        return [f"ledger: {len(before)} entries {RECORDED}, {len(after)} {NOW}"]
    return []


def _differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {_short(recorded.get(name, 'nothing'))} {RECORDED}, {_short(now.get(name, 'nothing'))} {NOW}"
        for name in dict.fromkeys((*recorded, *now))
        if recorded.get(name) != now.get(name)
    ]


def _short(value: Any) -> Any:
    """A digest cut to what people compare; anything else as it is."""
    return f"{value[:12]}..." if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else value


def _edited(recorded: Run, scenario: Scenario, names: Sequence[str]) -> list[str]:
    """What tells that the scenario was edited since the run."""
    said = {"seed": recorded.summary.get("seed"), "scenario": recorded.summary.get("scenario")}
    found = {"seed": scenario.seed, "scenario": scenario.name}
    lines = [
        f"{name}: summary.json says {said[name]}, scenario.yaml {found[name]}: it was edited since the run"
        for name in said
        if said[name] != found[name]
    ]
    seals = [method.seal for method in _chosen(recorded, names)]
    text_digest = hashlib.sha256((recorded.path / SCENARIO).read_bytes()).hexdigest()
    if not lines and any(seal and seal.identity.get(SCENARIO_SHA256) != text_digest for seal in seals):
        lines.append(f"{SCENARIO} was edited since the run")
    return lines
