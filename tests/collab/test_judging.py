from __future__ import annotations

import pytest
import torch

from collab.compute import CPU
from collab.data import GaussiansSettings, load_dataset
from collab.errors import RunFailedError
from collab.evaluation import Accuracy, EvaluationSettings, evaluate
from collab.judging import NEAR_THE_START, judge, over_sets, seeds_of_sets
from collab.matching import SyntheticSet
from collab.methods import Outcome, Start
from collab.nets import NetworkSpec, seeded_network

SPEC = NetworkSpec(4, 2, 1, 16, 4)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(GaussiansSettings(name="gaussians", samples_per_class=30, test_samples=20), 0)


@pytest.fixture
def synthetic(dataset):
    return SyntheticSet(dataset.spec.normalise(dataset.train.images[:8]), torch.from_numpy(dataset.train.labels[:8]))


def test_the_first_set_is_the_scenarios_own():
    seeds = seeds_of_sets(7, 5)
    assert seeds[0] == 7
    assert len(set(seeds)) == 5
    assert seeds[:3] == seeds_of_sets(7, 3)  # more sets leave those before as they were
    assert not set(seeds[1:]) & set(seeds_of_sets(8, 5))
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_set_is_judged_on_every_network_and_the_first_is_the_result(dataset, synthetic):
    settings = EvaluationSettings(networks=("alexnet", "convnet"), epochs=1, repeats=2, width=3)
    found = judge(Outcome(synthetic), dataset, SPEC, settings, 1, CPU)
    assert list(found) == ["alexnet", "convnet"]
    narrow = NetworkSpec(3, 2, 1, 16, 4)
    assert found["convnet"] == evaluate(synthetic, dataset, narrow, settings, 1)


def test_networks_that_a_method_trained_are_judged_as_they_are(dataset, synthetic):
    network = seeded_network(SPEC, 5)
    weights = network.checksum()
    settings = EvaluationSettings(epochs=1, repeats=3)
    alone = judge(Outcome(None, networks={"global": network}), dataset, SPEC, settings, 1, CPU)
    assert list(alone) == ["global"]
    assert len(alone["global"].values) == 1
    assert network.checksum() == weights
    start = Start(network, 0.1)
    both = judge(Outcome(synthetic, networks={"global": network}, start=start), dataset, SPEC, settings, 1, CPU)
    assert list(both) == ["convnet", NEAR_THE_START, "global"]
    assert len(both[NEAR_THE_START].values) == 3


def test_an_empty_set_is_no_result(dataset, synthetic):
    empty = SyntheticSet(synthetic.images[:0], synthetic.labels[:0])
    with pytest.raises(RunFailedError, match="the synthetic set is empty"):
        judge(Outcome(empty), dataset, SPEC, EvaluationSettings(epochs=1), 1, CPU)


def test_sets_are_joined_network_by_network():
    joined = over_sets(
        [
            {"a": Accuracy((0.5, 0.7)), "b": Accuracy((0.1,))},
            {"a": Accuracy((0.6, 1.0)), "b": Accuracy((0.3,))},
        ]
    )
    assert joined == {"a": Accuracy((0.5, 0.7, 0.6, 1.0), 2), "b": Accuracy((0.1, 0.3), 2)}
