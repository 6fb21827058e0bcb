"""What a run tells of the privacy of its methods."""

from __future__ import annotations

import json

import pytest

from collab import run, scenario
from collab.privacy.gaussian_mechanism import noise_multiplier
from collab.store import find_run, open_run
from collab.store.privacy import privacy_in_words

TEXT = """
seed: 3
dataset: {name: digits, train_samples: 200, test_samples: 50}
partition: {clients: 3, scheme: iid}
method:
  name: collabdm
  images_per_class: 1
  iterations: 3
  width: 4
  depth: 2
  batch_size: all
  initial: noise
  privacy: {epsilon: 4, delta: 1e-6, clip_norm: 4}
baselines: [{name: localdm, local_steps: 20}]
network:
  topology: star
  access: {bandwidth: 20 Mbit/s, latency: 10 ms}
  server: {bandwidth: 100 Mbit/s, latency: 5 ms}
evaluation: {epochs: 1, repeats: 1}
"""


def test_what_was_promised_is_in_the_summary_the_outcome_and_the_metrics(tmp_path):
    chosen = scenario.parse(TEXT, "private.yaml")
    with open_run(tmp_path, "private", None) as writer:
        summary = run.run_scenario(chosen, writer)
    told = summary["methods"]["collabdm"]["privacy"]
    assert (told["epsilon"], told["delta"], told["clip_norm"], told["networks"]) == (4, 1e-6, 4, 3)
    assert told["noise_multiplier"] == pytest.approx(noise_multiplier(4, 1e-6), rel=1e-8)
    assert "privacy" not in summary["methods"]["localdm"]
    found = find_run("private-001", tmp_path)
    assert json.loads((found.path / "collabdm" / "outcome.json").read_text())["privacy"] == told
    assert "privacy" not in json.loads((found.path / "localdm" / "outcome.json").read_text())
    numbers = {metric.metric: (metric.method, metric.value) for metric in found.metrics}
    assert numbers["epsilon"] == ("collabdm", 4)
    assert numbers["delta"] == ("collabdm", 1e-6)
    assert numbers["noise_multiplier"][1] == pytest.approx(told["noise_multiplier"], rel=1e-8)


def test_in_words():
    assert privacy_in_words({}) == ""
    told = {
        "epsilon": 0.5, "delta": 1e-6, "clip_norm": 12.0, "noise_multiplier": 8.3051, "networks": 1200,
        "hides": "one sample more or less, in one release",
    }  # fmt: skip
    assert privacy_in_words(told) == (
        "differentially private at each site: epsilon 0.5, delta 1e-06, for one sample more or less, in one release; "
        "noise multiplier 8.305, embeddings of 1,200 networks clipped to 12"
    )
