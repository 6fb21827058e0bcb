"""The generator of DENSE against torch's own modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from collab.nets.generator import GeneratorSpec, generate
from simnet.draws import generator


@pytest.mark.parametrize(("channels", "side"), [(1, 16), (1, 28), (3, 32), (1, 64), (3, 30), (1, 33)])
def test_images_have_the_shape_and_the_range(channels, side):
    spec = GeneratorSpec(7, channels, side)
    images = generate(spec, spec.draw(generator(1, "weights")), torch.randn(2, 7))
    assert images.shape == (2, channels, side, side)
    assert 0 <= images.min() <= images.max() <= 1


def test_it_is_the_published_one():
    spec = GeneratorSpec(256, 1, 28)
    weights = [weight.double() for weight in spec.draw(generator(1, "weights"))]
    latents = torch.randn(3, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = nn.Linear(256, 128 * 7 * 7)
    rest = nn.Sequential(
        nn.BatchNorm2d(128),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 128, 3, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, padding=1),
        nn.Sigmoid(),
    )
    rest.double()  # running statistics, too
    for parameter, weight in zip([*first.parameters(), *rest.parameters()], weights, strict=True):
        parameter.data = weight
    expected = rest(first(latents).view(3, 128, 7, 7))
    torch.testing.assert_close(generate(spec, weights, latents), expected)


def test_fresh_weights_follow_the_published_law():
    spec = GeneratorSpec(64, 3, 32)
    weights = dict(enumerate(spec.draw(generator(1, "weights"))))
    assert [tuple(weight.shape) for weight in weights.values()] == list(spec.shapes())
    for position in (0, 4, 7, 10):
        assert float(weights[position].std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(weights[position].mean())) < 0.002
    for position in (2, 5, 8):
        assert float(weights[position].mean()) == pytest.approx(1.0, abs=0.01)
        assert float(weights[position].std()) == pytest.approx(0.02, rel=0.3)
    assert all(not weights[position].any() for position in (1, 3, 6, 9, 11))


@pytest.mark.parametrize("side", [16, 30])
def test_operations_are_those_that_torch_counts(side):
    spec = GeneratorSpec(5, 3, side)
    leaves = [weight.requires_grad_() for weight in (*spec.draw(generator(1, "weights")), torch.randn(2, 5))]
    with FlopCounterMode(display=False) as counter:
        images = generate(spec, leaves[:-1], leaves[-1])
    assert counter.get_total_flops() == 2 * spec.operations()
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(images.sum(), leaves)
    assert counter.get_total_flops() == 4 * spec.operations()
