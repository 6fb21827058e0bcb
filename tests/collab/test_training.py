"""Gradient descent by hand, local training against slow float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from collab.augment import per_sample
from collab.compute import CPU, counted_job
from collab.data import SiteData
from collab.errors import RunFailedError
from collab.nets import ARCHITECTURES, Network, NetworkSpec, seeded_network
from collab.nets.training import training_operations
from collab.training import LocalTraining, Sgd, classification_gradients, train_on_site
from simnet.draws import generator
from tests.collab.fleets import gaussians

SPEC = NetworkSpec(4, 2, 1, 16, 4)


def by_hand(momentum, decay, weight, gradients):
    """One weight, as the rule is written down."""
    velocity = 0.0
    for slope in gradients:
        velocity = momentum * velocity + slope + decay * weight
        weight -= 0.1 * velocity
    return weight


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.2)])
def test_descent_follows_its_rule(momentum, decay):
    """Checked once against torch.optim, too, whose import takes longer than all tests of this file."""
    draws = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=draws, dtype=torch.float64) for shape in ((3, 2), (5,))]
    gradients = [[torch.randn(each.shape, generator=draws, dtype=torch.float64) for each in start] for _ in range(7)]
    weights = [each.clone() for each in start]
    optimiser = Sgd(weights, 0.1, momentum, decay)
    for step in gradients:
        optimiser.step(step)
    for index, (weight, before) in enumerate(zip(weights, start, strict=True)):
        along = torch.stack([step[index] for step in gradients], dim=-1).reshape(before.numel(), -1).tolist()
        exact = [by_hand(momentum, decay, *pair) for pair in zip(before.reshape(-1).tolist(), along, strict=True)]
        assert weight.reshape(-1).tolist() == pytest.approx(exact, rel=1e-12)


def in_float64(network, images, labels):
    """Gradients of the mean cross entropy, sample by sample."""
    weights = [weight.detach().double().requires_grad_() for weight in network.parameters()]
    total = 0.0
    for image, label in zip(images.double(), labels.tolist(), strict=True):
        scores = Network(network.spec, weights).scores(image[None])[0]
        total = total + torch.logsumexp(scores, 0) - scores[label]
    return torch.autograd.grad(total / len(labels), weights)


@pytest.mark.parametrize("size", [7, 300])  # in one part, and in two
def test_gradients_of_a_batch(size):
    network = seeded_network(SPEC, 1)
    images = torch.randn(size, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(size) % 4
    for ours, exact in zip(
        classification_gradients(network, images, labels), in_float64(network, images, labels), strict=True
    ):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("momentum", "pull"), [(0.0, 0.0), (0.9, 0.0), (0.5, 3.0)])
def test_local_training_by_hand(momentum, pull):
    """Two epochs of all data at once, with momentum, decay and the proximal term, in float64."""
    data = SiteData(gaussians(samples_per_class=5).train, gaussians().spec)
    network = seeded_network(SPEC, 1)
    train_on_site(network, data, data.spec, LocalTraining(2, None, 0.1, momentum, 0.01, pull), generator(1, "order"))
    images, labels = data.spec.normalise(data.images), torch.from_numpy(data.labels)
    start = [weight.double() for weight in seeded_network(SPEC, 1).parameters()]
    weights, velocities = [w.clone() for w in start], [torch.zeros_like(w) for w in start]
    for _ in range(2):
        gradients = in_float64(Network(SPEC, weights), images, labels)
        for index, gradient in enumerate(gradients):
            slope = gradient + 0.01 * weights[index] + pull * (weights[index] - start[index])
            velocities[index] = momentum * velocities[index] + slope
            weights[index] = weights[index] - 0.1 * velocities[index]
    for ours, exact in zip(network.parameters(), weights, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-5)


def test_every_sample_is_used_once_an_epoch():
    data = SiteData(gaussians(samples_per_class=5).train, gaussians().spec)
    seen = []

    def watch(draws, samples):
        def keep(images):
            seen.append(images)
            return images

        return keep

    train_on_site(seeded_network(SPEC, 1), data, data.spec, LocalTraining(2, 6, 0.01), generator(1, "x"), watch)
    assert [len(batch) for batch in seen] == [6, 6, 6, 2] * 2
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert not torch.equal(first, second)
    whole = data.spec.normalise(data.images).flatten(1)
    for epoch in (first, second):
        assert torch.equal(torch.sort(epoch.flatten(1).sum(1)).values, torch.sort(whole.sum(1)).values)


def test_augmented_batches_train_too():
    data = SiteData(gaussians(samples_per_class=5).train, gaussians().spec)
    plain, augmented = seeded_network(SPEC, 1), seeded_network(SPEC, 1)
    train_on_site(plain, data, data.spec, LocalTraining(1, 8, 0.01), generator(1, "x"))
    strategy = data.spec.augmentation
    train_on_site(
        augmented,
        data,
        data.spec,
        LocalTraining(1, 8, 0.01),
        generator(1, "x"),
        lambda d, n: per_sample(strategy, d, n),
    )
    assert plain.checksum() != augmented.checksum()
    assert all(torch.isfinite(weight).all() for weight in augmented.parameters())


def test_training_that_diverges_says_so():
    data = SiteData(gaussians(samples_per_class=5).train, gaussians().spec)
    with pytest.raises(RunFailedError, match=r"diverged: block0\.kernel holds numbers that are not finite; lower"):
        train_on_site(seeded_network(SPEC, 1), data, data.spec, LocalTraining(30, 5, 1e20), generator(1, "x"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_operations_are_those_that_torch_counts(architecture, channels):
    spec = NetworkSpec(4, 2, channels, 32, 5, architecture)
    network, images = seeded_network(spec, 1), torch.zeros(3, channels, 32, 32)

    def train():
        classification_gradients(network, images, torch.arange(3))

    with FlopCounterMode(display=False) as counter:
        computed = counted_job("train", train).run()
    assert computed.operations == counter.get_total_flops()
    cost = training_operations(spec)
    assert computed.operations == 3 * (cost.forward + cost.to_weights)
    with FlopCounterMode(display=False) as counter:
        pixels = images.requires_grad_()
        torch.autograd.grad(functional.cross_entropy(network.scores(pixels), torch.arange(3)), pixels)
    assert counter.get_total_flops() == 3 * (cost.forward + cost.to_image)


def test_training_leaves_the_weights_plain():
    data = SiteData(gaussians(samples_per_class=5).train, gaussians().spec)
    network = seeded_network(SPEC, 1, CPU)
    train_on_site(network, data, data.spec, LocalTraining(1, 8, 0.01), generator(1, "x"))
    assert not any(weight.requires_grad for weight in network.parameters())
    assert network.checksum() != seeded_network(SPEC, 1).checksum()
    assert data.images.dtype == np.uint8
