from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from collab.nets import NetworkSpec, embed_in_chunks, operations_per_image, reseeded, seeded_network

MNIST = NetworkSpec(128, 3, 1, 28, 10)
CIFAR = NetworkSpec(128, 3, 3, 32, 10)
SMALL = NetworkSpec(8, 3, 1, 16, 10)


@pytest.mark.parametrize(
    ("spec", "embedding", "parameters"),
    # The published sizes of ConvNet-3.
    [(MNIST, 2048, 317_706), (CIFAR, 2048, 320_010), (NetworkSpec(128, 3, 1, 64, 5), 8192, 338_181)],
)
def test_sizes_are_the_published_ones(spec, embedding, parameters):
    network = seeded_network(spec, 0)
    assert spec.embedding_size == embedding
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    images = torch.zeros(2, spec.channels, spec.side, spec.side)
    assert network.embed(images).shape == (2, embedding)
    assert network.scores(images).shape == (2, spec.classes)


def test_the_published_checksum():
    """Golden: the network of seed 1. Client and server of every version must agree on it."""
    assert seeded_network(MNIST, 1).checksum() == GOLDEN
    assert seeded_network(MNIST, 2).checksum() != GOLDEN


GOLDEN = "d799313ca01301c3fe49adfeaeeb21e1d3f5575b1dfd17d9b932164c200f35f8"


def test_reseeding_forgets_what_was():
    network = seeded_network(SMALL, 5)
    for parameter in network.parameters():
        parameter.add_(1.0)
    assert network.reseed(7).checksum() == seeded_network(SMALL, 7).checksum()


def test_drawing_leaves_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    seeded_network(SMALL, 3)
    ours = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    assert ours == (torch.rand(1), np.random.rand())


def test_weights_follow_torchs_default_law():
    network = seeded_network(MNIST, 11)
    weights = network.named()
    for weight, fan_in in ((weights["block1.kernel"], 128 * 9), (weights["head.weight"], 2048)):
        bound = fan_in**-0.5
        assert float(weight.abs().max()) <= bound
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.01)
        assert float(weight.mean()) == pytest.approx(0.0, abs=bound / 50)


def test_the_same_function_as_torchs_modules():
    network = seeded_network(CIFAR, 4)
    layers: list[nn.Module] = []
    weights = network.named()
    for index in range(3):
        convolution = nn.Conv2d(3 if index == 0 else 128, 128, 3, padding=1)
        norm = nn.GroupNorm(128, 128)
        convolution.weight.data, convolution.bias.data = weights[f"block{index}.kernel"], weights[f"block{index}.bias"]
        norm.weight.data, norm.bias.data = weights[f"block{index}.scale"], weights[f"block{index}.shift"]
        layers += [convolution, norm, nn.ReLU(), nn.AvgPool2d(2)]
    head = nn.Linear(2048, 10)
    head.weight.data, head.bias.data = weights["head.weight"], weights["head.bias"]
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = nn.Sequential(*layers, nn.Flatten(), head)(images)
    torch.testing.assert_close(network.scores(images), expected)


def test_grey_images_are_padded_by_three():
    assert seeded_network(SMALL, 0).embed(torch.zeros(1, 1, 16, 16)).shape == (1, 8 * 2 * 2)  # 16 > 20 > 10 > 5 > 2


def test_samples_do_not_influence_each_other():
    network = seeded_network(SMALL, 0)
    images = torch.randn(100, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(embed_in_chunks(network, images)[37], network.embed(images[37:38])[0])


def test_a_constant_image_embeds_to_finite_numbers():
    assert torch.isfinite(seeded_network(SMALL, 0).embed(torch.full((1, 1, 16, 16), -0.4))).all()


@pytest.mark.parametrize("spec", [SMALL, CIFAR, NetworkSpec(16, 2, 3, 20, 4)])
def test_operations_are_those_of_torchs_counter(spec):
    network = seeded_network(spec, 0)
    images = torch.zeros(3, spec.channels, spec.side, spec.side, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        embedding = network.embed(images)
    with FlopCounterMode(display=False) as backward:
        embedding.sum().backward()
    cost = operations_per_image(spec)
    assert forward.get_total_flops() == 3 * cost.forward
    assert backward.get_total_flops() == 3 * cost.backward_to_image


def test_weights_drawn_ahead_are_those_of_the_seeds():
    network = seeded_network(SMALL, 0)
    found = [each.checksum() for each in reseeded(network, [5, 6, 5])]
    assert found == [seeded_network(SMALL, seed).checksum() for seed in (5, 6, 5)]
    assert list(reseeded(network, [])) == []


def test_drawing_ahead_may_be_left_off():
    networks = reseeded(seeded_network(SMALL, 0), [1, 2, 3])
    next(networks)
    networks.close()
