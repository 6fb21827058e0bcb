"""Each loss against the sum that defines it, number by number in float64."""

from __future__ import annotations

import math

import pytest
import torch

from collab.ensemble_distillation import adversarial_loss, distillation_loss, ensemble_scores, norm_loss
from collab.nets import NetworkSpec, seeded_network
from collab.nets.training import Statistics


def scores(seed, samples=6, classes=4):
    return torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def softened(row, temperature=1.0):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def divergence(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_the_student_imitates_softened_scores(temperature):
    student, ensemble = scores(1), scores(2)
    exact = sum(
        divergence(softened(theirs, temperature), softened(own, temperature))
        for own, theirs in zip(student.tolist(), ensemble.tolist(), strict=True)
    )
    exact *= temperature**2 / len(student)
    assert float(distillation_loss(student, ensemble, temperature)) == pytest.approx(exact, rel=1e-9)
    assert float(distillation_loss(ensemble, ensemble, temperature)) == pytest.approx(0, abs=1e-12)


def test_at_a_high_temperature_the_loss_is_a_square():
    """T^2 KL tends to the mean over samples of half the variance over classes of the difference of scores."""
    student, ensemble = scores(1), scores(2)
    difference = student - ensemble
    limit = 0.5 * (difference - difference.mean(dim=1, keepdim=True)).square().mean(dim=1).mean()
    assert float(distillation_loss(student, ensemble, 1e4)) == pytest.approx(float(limit), rel=1e-3)


def test_only_samples_that_are_labelled_differently_count():
    student, ensemble = scores(1, 8), scores(2, 8)
    ensemble[:3] = student[:3] * 1.5  # the same label, other scores
    exact = 0.0
    for own, theirs in zip(student.tolist(), ensemble.tolist(), strict=True):
        if own.index(max(own)) != theirs.index(max(theirs)):
            exact -= divergence(softened(theirs), softened(own)) / len(student)
    assert exact < 0
    assert float(adversarial_loss(student, ensemble)) == pytest.approx(exact, rel=1e-9)
    assert float(adversarial_loss(student, student * 2)) == 0


def test_norms_are_held_against_what_runs_along():
    def some(seed, channels):
        draws = torch.Generator().manual_seed(seed)
        mean, variance = torch.rand(2, channels, generator=draws, dtype=torch.float64)
        return Statistics(mean, variance, 9)

    held, seen = [some(1, 3), some(2, 5)], [some(3, 3), some(4, 5)]
    exact = 0.0
    for known, batch in zip(held, seen, strict=True):
        for ours, theirs in ((known.mean, batch.mean), (known.variance, batch.variance)):
            exact += math.sqrt(sum((a - b) ** 2 for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)))
    assert float(norm_loss(held, seen)) == pytest.approx(exact, rel=1e-6)
    assert float(norm_loss([], [])) == 0


def test_equal_statistics_have_a_gradient():
    """The distance has none at zero; what comes back must be a number."""
    mean = torch.ones(3, requires_grad=True)
    same = Statistics(torch.ones(3), torch.ones(3), 4)
    norm_loss([same], [Statistics(mean, torch.ones(3), 4)]).backward()
    assert torch.isfinite(mean.grad).all()


def test_an_ensemble_is_the_plain_mean_of_scores():
    networks = [seeded_network(NetworkSpec(3, 2, 1, 16, 4), seed) for seed in (1, 2, 3)]
    images = torch.rand(2, 1, 16, 16)
    exact = sum(network.scores(images).double() for network in networks) / 3
    torch.testing.assert_close(ensemble_scores(networks, images).double(), exact, rtol=1e-5, atol=1e-6)
