"""A small data set of traffic for tests: Gaussians with names of classes, a benign class and two base stations.

BTS_2 holds no training sample of HTTPFlood, but is tested on it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from collab import run, scenario
from collab.data import Dataset, GaussiansSettings, load_dataset
from collab.store import Run, open_run

CLASS_NAMES = ("Benign", "HTTPFlood", "SlowrateDoS", "UDPFlood")
UNSEEN = CLASS_NAMES.index("HTTPFlood")
TEXT = """\
name: stations
seed: 3
dataset: {name: gaussians, samples_per_class: 40}
partition: {clients: 2, scheme: by_column}
method: {name: collabdm, images_per_class: 2, expand: 2, width: 6, depth: 2, iterations: 6, batch_size: 8,
         local_steps: 3, local_batch_size: 8}
baselines: [localdm]
network:
  topology: star
  access: {bandwidth: 2 Mbit/s, latency: 10 ms}
  server: {bandwidth: 10 Mbit/s, latency: 5 ms}
evaluation: {networks: [convnet, alexnet], width: 4, epochs: 3, repeats: 2}
"""


def traffic(samples_per_class: int = 40) -> Dataset:
    """Samples of each class alternate between the stations, but for those that BTS_2 does not hold."""
    made = load_dataset(GaussiansSettings(name="gaussians", samples_per_class=samples_per_class), 3)
    train, test = (
        dataclasses.replace(part, sites=np.where(np.arange(len(part)) % 2 == 0, "BTS_1", "BTS_2"))
        for part in (made.train, made.test)
    )
    held = (train.labels != UNSEEN) | (train.sites == "BTS_1")
    return dataclasses.replace(
        made, train=train.take(np.flatnonzero(held)), test=test, class_names=CLASS_NAMES, benign=0
    )


def traffic_run(folder, *overrides, real=False, text=TEXT, dataset=None) -> Run:
    """A run on `dataset`, that of `traffic` if none is given."""
    chosen = scenario.parse(text, "stations.yaml", overrides)
    with open_run(folder, chosen.name, None) as writer:
        run.run_scenario(chosen, writer, real=real, dataset=dataset or traffic())
    return Run(writer.final)
