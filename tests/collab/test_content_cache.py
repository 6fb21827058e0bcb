from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from collab import scenario
from collab.compute import CPU, count, counted
from collab.content_cache import ContentCache, content_digest, remembered, using
from collab.evaluation_settings import EvaluationSettings
from collab.run import run_scenario
from collab.store import open_run


@pytest.fixture
def cache(tmp_path):
    return ContentCache(tmp_path / "cache")


def costly(calls: list[int], value: object = 3):
    def function() -> object:
        calls.append(1)
        count(1_000)
        return value

    return function


def test_a_computation_is_done_once_and_counts_its_operations_each_time(cache):
    calls: list[int] = []
    with using(cache):
        first = counted(lambda: remembered("thing", CPU, (1, "a"), costly(calls)))
        again = counted(lambda: remembered("thing", CPU, (1, "a"), costly(calls)))
    assert (first, again, len(calls)) == ((3, 1_000), (3, 1_000), 1)
    assert (cache.hits, cache.misses) == (1, 1)


def test_without_a_cache_everything_is_computed():
    calls: list[int] = []
    assert remembered("thing", CPU, (object(),), costly(calls)) == 3
    assert len(calls) == 1


@pytest.mark.parametrize(
    "other", [("thing", (2,)), ("other", (1,)), ("thing", ("1",)), ("thing", (1.0,)), ("thing", (True,))]
)
def test_something_else_is_computed_anew(cache, other):
    calls: list[int] = []
    with using(cache):
        remembered("thing", CPU, (1,), costly(calls))
        remembered(other[0], CPU, other[1], costly(calls))
    assert len(calls) == 2


def test_the_number_of_threads_is_part_of_the_name(cache):
    calls: list[int] = []
    threads = torch.get_num_threads()
    with using(cache):
        remembered("thing", CPU, (), costly(calls))
        torch.set_num_threads(threads + 1)
        try:
            remembered("thing", CPU, (), costly(calls))
        finally:
            torch.set_num_threads(threads)
    assert len(calls) == 2


def test_a_damaged_result_is_computed_anew(cache, caplog):
    calls: list[int] = []
    with using(cache):
        remembered("thing", CPU, (), costly(calls))
        (path,) = cache.directory.glob("??/*")
        path.write_bytes(path.read_bytes()[:-1])
        assert remembered("thing", CPU, (), costly(calls)) == 3
        assert remembered("thing", CPU, (), costly(calls)) == 3
    assert len(calls) == 2
    assert "damaged and is made anew" in caplog.text


def test_what_was_used_longest_ago_makes_room(tmp_path):
    cache = ContentCache(tmp_path, limit_bytes=10_000)
    for number in range(9):
        cache.put(f"{number:064x}", bytes(1_000))
        os.utime(cache.directory / "00" / f"{number:064x}", (number, number))
    assert cache.get(f"{0:064x}") is not None  # used now
    cache.put(f"{9:064x}", bytes(1_000))
    held = [number for number in range(10) if cache.get(f"{number:064x}") is not None]
    assert held == [0, *range(3, 10)] or held == [0, *range(2, 10)]
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 9_000 + 32
    cache.put(f"{10:064x}", bytes(2_000))
    assert cache.get(f"{10:064x}") is None  # more than an eighth of all


def test_a_failure_is_not_remembered(cache):
    def fail() -> None:
        raise ValueError("no")

    with using(cache):
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                remembered("thing", CPU, (), fail)
    assert not [path for path in cache.directory.glob("??/*") if path.is_file()]


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


def test_digests_tell_apart_what_differs():
    values = [
        None, 0, False, 0.0, "0", b"0", (), [[]], {}, "ab", ("a", "b"), [["a"], "b"], {"a": "b"}, Pair(1, 2),
        Pair(2, 1), np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 1)), torch.zeros(2), EvaluationSettings(),
        EvaluationSettings(epochs=3),
    ]  # fmt: skip
    assert len({content_digest(value) for value in values}) == len(values)
    assert content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1})
    assert content_digest(np.arange(6).reshape(2, 3).T) == content_digest(
        np.ascontiguousarray(np.arange(6).reshape(2, 3).T)
    )
    with pytest.raises(TypeError, match="object has no digest"):
        content_digest(object())


def test_digests_are_the_same_in_every_process():
    code = (
        "from collab.content_cache import content_digest; print(content_digest({'b': {1, 2, 'x'}, 'a': [1.5, None]}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {content_digest({"b": {1, 2, "x"}, "a": [1.5, None]}) + "\n"}


METHODS = """
  - {name: localdm}
  - {name: strawman, iterations: 2, batch_size: 4}
  - {name: fedavg, rounds: 2, local_epochs: 1}
  - {name: fedd3, steps: 2}
  - {name: dense, local_epochs: 1, epochs: 1, generator_steps: 1, synthesis_batch_size: 4, batch_size: 4}
  - {name: dosfl, outer_steps: 1, window: 1, longest: 2, real_batch_size: 4, batch_per_class: 1}
"""


def run(tmp_path: Path, name: str, *overrides: str) -> dict:
    path = tmp_path / "case.yaml"
    path.write_text(f"""
dataset: {{name: gaussians, side: 16, classes: 2, samples_per_class: 20}}
partition: {{clients: 2, scheme: iid}}
method: {{name: collabdm, images_per_class: 2, width: 4, depth: 2, iterations: 2, batch_size: 4, local_steps: 1}}
baselines: {METHODS}
network:
  topology: star
  access: {{bandwidth: 1 Mbit/s, latency: 10 ms}}
  server: {{bandwidth: 10 Mbit/s, latency: 1 ms}}
devices: {{client: raspberry-pi-5, server: laptop}}
evaluation: {{epochs: 2}}
""")
    with open_run(tmp_path / "runs", "case", name) as writer:
        summary = run_scenario(scenario.load(path, overrides), writer)
    return {key: value for key, value in summary.items() if key not in ("wall_s", "run_dir")}


@pytest.mark.slow
def test_every_method_comes_out_the_same_from_the_cache(tmp_path, cache):
    """Digests, virtual times, bytes and joules; of another bandwidth nothing is computed at all."""
    alone = run(tmp_path, "alone")
    with using(cache):
        first = run(tmp_path, "first")
        computed = cache.misses
        again = run(tmp_path, "again")
        assert cache.misses == computed > 0
        run(tmp_path, "faster", "network.access.bandwidth=2 Mbit/s")
        assert cache.misses == computed
    assert first == again == alone


def test_embeddings_are_shared_by_cells_that_distil_otherwise(tmp_path, cache):
    one = "baselines=[]"
    with using(cache):
        run(tmp_path, "first", one)
        computed = cache.misses
        run(tmp_path, "second", one, "method.local_learning_rate=2")
    # For each site: distilled anew and put together, but not embedded; then refined and judged anew.
    assert cache.misses - computed == 2 * 2 + 2


def test_of_methods_of_other_packages_only_the_judging_is_kept(tmp_path, cache, monkeypatch):
    """Their code is not in the name of what is kept: it may have been changed."""
    point = SimpleNamespace(dist=None)
    monkeypatch.setattr("collab.methods.added", lambda: {"fedd3": point})
    with using(cache):
        run(
            tmp_path,
            "foreign",
            "baselines=[]",
            "method={name: fedd3, steps: 2, images_per_class: 2, width: 4, depth: 2}",
        )
    assert cache.misses == 1
