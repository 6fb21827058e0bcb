from __future__ import annotations

import numpy as np
import pytest
import torch

from collab import evaluation
from collab.compute import CPU
from collab.confusion import MOST_CLASSES
from collab.data import Dataset, GaussiansSettings, Samples, load_dataset
from collab.evaluation import Accuracy, EvaluationSettings, evaluate
from collab.matching import SyntheticSet
from collab.nets import NetworkSpec, seeded_network
from collab.training import Sgd

SPEC = NetworkSpec(8, 2, 1, 16, 4)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(GaussiansSettings(name="gaussians", samples_per_class=60), 0)


def some_real_images(dataset, per_class=4):
    indices = np.concatenate([np.flatnonzero(dataset.train.labels == y)[:per_class] for y in range(4)])
    samples = dataset.train.take(indices)
    return SyntheticSet(dataset.spec.normalise(samples.images), torch.from_numpy(samples.labels))


def test_networks_learn_from_the_set(dataset):
    accuracy = evaluate(some_real_images(dataset), dataset, SPEC, EvaluationSettings(epochs=30, repeats=2), 1)
    assert len(accuracy.values) == 2
    assert accuracy.mean > 0.9


def test_networks_see_nothing_but_the_set(dataset):
    """Labels turned upside down are learned upside down."""
    synthetic = some_real_images(dataset)
    wrong = SyntheticSet(synthetic.images, (synthetic.labels + 1) % 4)
    assert evaluate(wrong, dataset, SPEC, EvaluationSettings(epochs=30), 1).mean < 0.1


def test_the_training_data_is_never_touched(dataset):
    blind = Dataset(
        dataset.name, dataset.spec, Samples(dataset.train.images[:0], dataset.train.labels[:0]), dataset.test
    )
    settings = EvaluationSettings(epochs=3)
    assert evaluate(some_real_images(dataset), blind, SPEC, settings, 1) == evaluate(
        some_real_images(dataset), dataset, SPEC, settings, 1
    )


def test_mosaics_are_expanded_before_training(dataset):
    synthetic = some_real_images(dataset)
    seen = []
    original = SyntheticSet.expanded

    class Watching(SyntheticSet):
        def expanded(self):
            seen.append(len(self.images))
            return original(self)

    evaluate(
        Watching(synthetic.images, synthetic.labels, 2), dataset, SPEC, EvaluationSettings(epochs=1, batch_size=7), 1
    )
    assert seen == [16]


def test_the_seed_decides(dataset):
    def result(seed):
        return evaluate(some_real_images(dataset, 1), dataset, SPEC, EvaluationSettings(epochs=2), seed).values

    assert result(1) == result(1)
    assert len({result(seed) for seed in range(5)}) > 1


def test_the_optimiser_is_torchs_sgd():
    ours = [torch.randn(4, 3, generator=torch.Generator().manual_seed(0))]
    theirs = ours[0].clone().requires_grad_()
    settings = EvaluationSettings()
    assert (settings.momentum, settings.weight_decay) == (0.9, 5e-4)
    optimiser = torch.optim.SGD([theirs], lr=0.01, momentum=0.9, weight_decay=5e-4)
    mine = Sgd(ours, 0.01, settings.momentum, settings.weight_decay)
    for _ in range(4):
        gradient = 2 * ours[0]
        theirs.grad = 2 * theirs.detach()
        optimiser.step()
        mine.step([gradient])
    torch.testing.assert_close(ours[0], theirs.detach())


def test_half_way_the_rate_falls_and_momentum_is_forgotten(dataset, monkeypatch):
    rates, momenta = [], []

    class Spy(Sgd):
        def step(self, gradients):
            rates.append(round(self._learning_rate, 6))
            momenta.append(float(self._velocities[0].abs().max()))
            super().step(gradients)

    monkeypatch.setattr("collab.evaluation.Sgd", Spy)
    evaluate(some_real_images(dataset), dataset, SPEC, EvaluationSettings(epochs=5), 1)
    # Of epochs 0 to 4 the first three run at the full rate, as epochs 0 to 500 of 1,001 do.
    assert rates == [0.01, 0.01, 0.01, 0.001, 0.001]
    assert momenta[0] == 0
    assert momenta[3] == 0
    assert momenta[2] > 0


def test_means_and_deviations():
    assert Accuracy((0.5, 0.7)).mean == pytest.approx(0.6)
    assert Accuracy((0.5, 0.7)).deviation == pytest.approx(0.1)
    assert Accuracy((0.5,)).deviation == 0


def test_deviations_over_networks_and_over_sets():
    found = Accuracy.joined([Accuracy((0.5, 0.7)), Accuracy((0.8, 1.0)), Accuracy((0.5, 0.7))])
    assert found == Accuracy((0.5, 0.7, 0.8, 1.0, 0.5, 0.7), 3)
    assert found.mean == pytest.approx(0.7)
    assert found.set_means == pytest.approx((0.6, 0.9, 0.6))
    assert found.set_deviation == pytest.approx(np.std([0.6, 0.9, 0.6]))
    assert found.deviation == pytest.approx(np.std([0.5, 0.7, 0.8, 1.0, 0.5, 0.7]))
    assert Accuracy((0.5, 0.7)).set_deviation is None
    assert Accuracy.joined([found, found]).sets == 6
    with pytest.raises(ValueError, match="different numbers of networks"):
        Accuracy.joined([Accuracy((0.5,)), Accuracy((0.5, 0.7))])


def test_accuracy_is_the_diagonal_of_the_confusion(dataset):
    settings = EvaluationSettings(epochs=5, repeats=3)
    found = evaluate(some_real_images(dataset, 1), dataset, SPEC, settings, 1)
    assert len(found.confusions) == 3
    for value, confusion in zip(found.values, found.confusions, strict=True):
        assert value == np.trace(confusion.whole) / len(dataset.test)
        assert confusion.whole.sum(axis=1).tolist() == np.bincount(dataset.test.labels).tolist()


def test_very_many_classes_are_not_counted():
    many = load_dataset(GaussiansSettings(name="gaussians", classes=MOST_CLASSES + 1, samples_per_class=2), 0)
    spec = NetworkSpec(2, 1, 1, 16, MOST_CLASSES + 1)
    found = evaluation.tested(seeded_network(spec, 0), many, spec, CPU)
    assert len(found.values) == 1
    assert found.confusions == ()
