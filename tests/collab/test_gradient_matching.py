"""Gradient matching against slow computations of its own, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from collab.compute import counted_job
from collab.gradient_matching import (
    GradientSums,
    class_gradients,
    distance,
    gradient_matching_loss,
    gradient_operations,
    gradient_sum,
    layers,
    matched,
    matching_operations,
    trained,
)
from collab.matching import Descent, SyntheticSet, expand
from collab.nets import Network, NetworkSpec, full_layout, seeded_network
from simnet.draws import generator

SPEC = NetworkSpec(5, 2, 1, 12, 3)


def plain(images):
    return images


def images(n, seed=0, dtype=torch.float32):
    return torch.from_numpy(generator(seed, "images").standard_normal((n, 1, 12, 12))).to(dtype)


def in_float64(spec=SPEC, seed=3):
    return Network(spec, [weight.double() for weight in seeded_network(spec, seed).parameters()])


def slow_distance(ours, theirs):
    """One minus the cosine, filter by filter, in numpy."""
    total = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if one.ndim > 1:
            for g, h in zip(one.reshape(len(one), -1), other.reshape(len(other), -1), strict=True):
                total += 1 - g @ h / (np.sqrt(g @ g) * np.sqrt(h @ h) + 1e-6)
    return total


def slow_gradient(network, pictures, label):
    """The mean gradient of the cross entropy, image by image."""
    weights = [weight.detach().requires_grad_() for weight in network.parameters()]
    total = [torch.zeros_like(weight) for weight in weights]
    for image in pictures:
        scores = network.scores(image[None], weights)[0]
        loss = scores.logsumexp(0) - scores[label]
        gradients = torch.autograd.grad(loss, weights)
        total = [sums + gradient / len(pictures) for sums, gradient in zip(total, gradients, strict=True)]
    return [sums.numpy() for sums in total]


def test_the_distance_is_the_papers():
    rng = generator(1, "layers")
    ours, theirs = ([rng.standard_normal(p.shape) for p in full_layout(SPEC)] for _ in range(2))
    found = distance([torch.from_numpy(g) for g in ours], [torch.from_numpy(h) for h in theirs])
    assert float(found) == pytest.approx(slow_distance(ours, theirs), rel=1e-12)


def test_vectors_do_not_count_and_neither_does_length():
    rng = generator(2, "layers")
    ours = [torch.from_numpy(rng.standard_normal(p.shape)) for p in full_layout(SPEC)]
    louder = [3 * g if g.dim() > 1 else torch.zeros_like(g) for g in ours]
    assert float(distance(ours, louder)) == pytest.approx(0, abs=1e-4)
    filters = sum(p.shape[0] for p in full_layout(SPEC) if len(p.shape) > 1)
    assert float(distance(ours, [-g for g in ours])) == pytest.approx(2 * filters, abs=1e-4)
    nothing = [torch.zeros_like(g, requires_grad=True) for g in ours]
    far = distance(nothing, ours)
    assert float(far.detach()) == filters  # a gradient that is not there has no direction
    slopes = torch.autograd.grad(far, [g for g in nothing if g.dim() > 1])
    assert all(torch.isfinite(slope).all() for slope in slopes)


def test_the_loss_is_the_distance_of_the_two_mean_gradients():
    network = in_float64()
    real, synthetic = images(6, 1, torch.float64), images(3, 2, torch.float64)
    target = slow_gradient(network, real, 1)
    flat = torch.cat([torch.from_numpy(g).flatten() for g in target])
    loss = gradient_matching_loss(network, synthetic, 1, flat, plain)
    assert float(loss.detach()) == pytest.approx(slow_distance(slow_gradient(network, synthetic, 1), target), rel=1e-10)


def test_the_step_follows_the_slope_of_the_loss_by_finite_differences():
    """One step at momentum 0 and rate 1 moves by minus the gradient; mosaics, two classes, float64."""
    network = in_float64()
    synthetic = SyntheticSet(images(4, 5, torch.float64), torch.tensor([0, 0, 2, 2]), 2)
    targets = class_gradients(network, [images(5, 6, torch.float64), images(4, 7, torch.float64)], [0, 2], [plain] * 2)
    targets = targets.double() / torch.tensor([[5.0], [4.0]])

    def loss(pictures):
        total = 0.0
        for label, target in zip((0, 2), targets, strict=True):
            whole = expand(pictures[synthetic.labels == label], 2)
            total += float(gradient_matching_loss(network, whole, label, target, plain).detach())
        return total

    before = synthetic.images.clone()
    moved = matched(Descent(synthetic, 1.0, 0.0), network, [0, 2], targets, [plain] * 2).synthetic.images
    assert torch.equal(synthetic.images, before)  # the old state is left alone
    slope = before - moved
    for place in [(0, 0, 3, 4), (1, 0, 7, 7), (2, 0, 0, 5), (3, 0, 11, 2)]:
        nudge = torch.zeros_like(before)
        nudge[place] = 1e-5
        measured = (loss(before + nudge) - loss(before - nudge)) / 2e-5
        assert float(slope[place]) == pytest.approx(measured, rel=1e-4, abs=1e-7)


def test_sums_over_sites_are_the_sum_over_the_union():
    network = in_float64()
    pictures = images(9, 8, torch.float64)
    whole = class_gradients(network, [pictures], [2], [plain])
    parts = class_gradients(network, [pictures[:4]], [2], [plain]) + class_gradients(
        network, [pictures[4:]], [2], [plain]
    )
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    mean = np.concatenate([g.ravel() for g in slow_gradient(network, pictures, 2)])
    np.testing.assert_allclose(whole[0].numpy() / 9, mean, atol=1e-6)


def test_many_images_go_through_in_pieces(monkeypatch):
    network = seeded_network(SPEC, 4)
    labels = torch.tensor([0, 1, 2, 1, 0])
    at_once = gradient_sum(network, images(5), labels)
    monkeypatch.setattr("collab.gradient_matching._AT_ONCE", 2)
    torch.testing.assert_close(gradient_sum(network, images(5), labels), at_once, rtol=1e-4, atol=1e-5)


@given(st.permutations(range(4)), st.integers(0, 100))
def test_the_order_of_arrival_does_not_matter(order, seed):
    draws = generator(seed, "sums")
    uploads = [(draws.standard_normal((2, 7)).astype(np.float32), draws.integers(1, 50, 2)) for _ in range(4)]
    forward, other = GradientSums(3, 7), GradientSums(3, 7)
    for sums, counts in uploads:
        forward.add([0, 2], sums, counts)
    for index in order:
        other.add([0, 2], *uploads[index])
    rows, means = forward.means()
    assert rows == [0, 2]  # nobody had any of row 1
    assert torch.equal(means, other.means()[1])
    total = sum(counts for _, counts in uploads)[:, None]
    np.testing.assert_allclose(means, sum(sums.astype(float) for sums, _ in uploads) / total, atol=1e-6)


def test_classes_without_images_and_no_classes_at_all():
    network = seeded_network(SPEC, 4)
    synthetic = SyntheticSet(images(2), torch.tensor([0, 0]))
    descent = Descent(synthetic, 0.1, 0.5)
    target = torch.ones(1, SPEC.weights)
    assert torch.equal(matched(descent, network, [1], target, [plain]).synthetic.images, synthetic.images)
    assert torch.equal(matched(descent, network, [], target[:0], []).synthetic.images, synthetic.images)


def test_training_is_plain_gradient_descent():
    network, synthetic = seeded_network(SPEC, 5), SyntheticSet(images(6), torch.tensor([0, 0, 1, 1, 2, 2]))
    start = network.checksum()
    found = trained(network, synthetic, 3, 0.05, 256, (), 1)
    weights = [weight.clone().requires_grad_() for weight in network.parameters()]
    optimiser = torch.optim.SGD(weights, lr=0.05)
    for _ in range(3):
        optimiser.zero_grad()
        functional.cross_entropy(network.scores(synthetic.images, weights), synthetic.labels).backward()
        optimiser.step()
    for ours, theirs in zip(found.parameters(), weights, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)
    assert network.checksum() == start


def test_training_goes_over_everything_in_batches_and_augments():
    network = seeded_network(SPEC, 5)
    mosaics = SyntheticSet(images(3), torch.tensor([0, 1, 2]), 2)
    same = [trained(network, mosaics, 2, 0.05, 5, ("crop",), seed).checksum() for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert trained(network, mosaics, 0, 0.05, 5, (), 1).checksum() == network.checksum()


def test_layers_are_the_weights_shapes():
    flat = torch.arange(float(SPEC.weights))
    pieces = layers(SPEC, flat)
    assert [piece.shape for piece in pieces] == [parameter.shape for parameter in full_layout(SPEC)]
    assert torch.equal(torch.cat([piece.flatten() for piece in pieces]), flat)


@pytest.mark.parametrize("spec", [SPEC, NetworkSpec(4, 3, 3, 16, 4)])
def test_operations_are_those_of_torchs_counter(spec):
    gradient_operations(spec), matching_operations(spec)  # measured once, outside the count
    network = seeded_network(spec, 1)
    pictures = torch.zeros(6, spec.channels, spec.side, spec.side)
    synthetic = SyntheticSet(pictures[:4], torch.tensor([0, 0, 1, 1]), 2)

    def everything():
        sums = class_gradients(network, [pictures, pictures[:3]], [0, 1], [plain] * 2)
        matched(Descent(synthetic, 0.1, 0.5), network, [0, 1], sums, [plain] * 2)
        trained(network, synthetic, 2, 0.1, 3, (), 1)

    with FlopCounterMode(display=False) as counter:
        job = counted_job("all", everything).run()
    assert job.operations == counter.get_total_flops()
