"""What was found, or is worth to start from, is refused as declared; and the search itself can find something."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys

import msgpack
import pytest

from tests.fuzzing.mutating import mutated
from tests.fuzzing.targets import SEEDS, TARGETS
from tests.test_benchmarks import ROOT


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_taken_or_refused_as_declared(name):
    seeds = list(TARGETS[name].seeds(name))
    assert seeds
    with TARGETS[name].prepare() as feed:
        for seed in seeds:
            feed(seed)


def test_every_folder_of_seeds_has_its_target():
    assert {path.name for path in SEEDS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.framed])
def test_changes_of_what_is_msgpack_are_msgpack(name):
    changed = set()
    for number, seed in enumerate(TARGETS[name].seeds(name)):
        packed = mutated(seed[TARGETS[name].framed :], random.Random(number))
        if packed is not None:
            msgpack.unpackb(packed, strict_map_key=False)
            changed.add(packed)
    assert len(changed) > 1


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel here")
def test_a_run_counts_its_bodies_and_goes_on(tmp_path):
    def run(bodies):
        command = [sys.executable, "benchmarks/fuzz.py", "--target", "wire", "--corpus", str(tmp_path), "--json"]
        done = subprocess.run([*command, "--bodies", str(bodies)], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)["targets"][0]

    code, first = run(300)
    assert code == 0
    assert first["fed"] >= 300
    code, again = run(300)
    assert (code, again["fed"]) == (0, 0)
    code, more = run(first["bodies"] + 200)
    assert (code, more["bodies"]) == (0, first["bodies"] + more["fed"])
    assert more["fed"] >= 200
