from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import trace as benchmark
from simnet.trace import Event, Trace

ROOT = Path(__file__).parents[2]


def test_both_forms_hold_the_same_events():
    trace, plain = Trace(), []
    benchmark.record_events(trace.record, 1000)
    benchmark.record_events(
        lambda at_s, host, kind, **values: plain.append(Event(round(at_s * 1e6), host, kind, values)), 1000
    )
    assert list(trace) == plain
    assert len(plain) == 1000
    assert {event.kind for event in plain} == {"request", "link", "arrival", "reply"}


@pytest.mark.slow
def test_packed_columns_take_a_third_of_the_memory_and_the_file_a_fifth():
    """Bytes only: they depend neither on the machine nor on its neighbours."""
    done = subprocess.run(
        [sys.executable, "benchmarks/trace.py", "--events", "100000", "--json"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    costs = json.loads(done.stdout)["per_event"]
    assert costs["columns"]["memory_bytes"] < costs["json lines"]["memory_bytes"] / 3
    assert costs["columns"]["file_bytes"] < costs["json lines"]["file_bytes"] / 5
