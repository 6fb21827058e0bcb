"""Every architecture against an independent build of torch's own modules, and against published numbers."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from collab import nets
from collab.errors import ScenarioError
from collab.nets import ARCHITECTURES, NetworkSpec, embed_in_chunks, full_layout, operations_per_image, seeded_network

# Name: parameters at CIFAR-10 (the published counts), embedding sizes at 28, 32 and 64, SHA-256 of the first tensor
# and of all weights of the network of seed 1 at CIFAR-10.
PUBLISHED = {
    "convnet": (
        320_010,
        (2048, 2048, 8192),
        "ffd49704ab57a6399512c43fde3f5c89527cf5647a35d93803c15d7927a6ff33",
        "4927180229bf8d7a6d60c0bb8f13af8dd0629fe6851cb5981584ac1a5f841c4c",
    ),
    "alexnet": (
        1_872_202,
        (3072, 3072, 3072),
        "b82902c3fa9b504630a365c81aea7dbc23c93b84f8f1b30c807a416d82f68235",
        "d034e7e6f743edba012ff888d67f446326bf6a75782bbeda9c22e81741cf72fe",
    ),
    "vgg11": (
        9_231_114,
        (512, 512, 512),
        "b082fc524ae270bfb55a07698a7b0c1b5077bca546a031d8afa84704e8d45ba9",
        "dfe5a59c139d17efc5d0441beca39676fa55b16dd2fa60af25dfc5828bb27874",
    ),
    "resnet18": (
        11_173_962,
        (512, 512, 512),
        "b082fc524ae270bfb55a07698a7b0c1b5077bca546a031d8afa84704e8d45ba9",
        "e0d0ad97d42719975352eb2a7eae233f26abdae69cef104f3bce0635a6eddd19",
    ),
}
SHAPES = [(1, 28), (3, 32), (1, 64), (3, 64), (1, 33), (3, 45)]


def spec_of(architecture, channels=3, side=32, classes=10):
    return NetworkSpec(8 if (channels, side) != (3, 32) else 128, 3, channels, side, classes, architecture)


@lru_cache(maxsize=8)
def network_of(spec, seed=1):
    return seeded_network(spec, seed)


def some_images(spec, count=2):
    return torch.randn(count, spec.channels, spec.side, spec.side, generator=torch.Generator().manual_seed(0))


# -- an independent build ------------------------------------------------------------------------


class Block(nn.Module):
    """A basic block of ResNet."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(outputs, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(outputs, outputs)
        self.beside = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.beside = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(outputs, outputs)
            )

    def forward(self, x):
        inner = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.beside(x))


def alexnet(channels):
    def convolution(inputs, outputs, kernel, padding):
        return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.ReLU()]

    return nn.Sequential(
        *convolution(channels, 128, 5, 4 if channels == 1 else 2),
        nn.MaxPool2d(2),
        *convolution(128, 192, 5, 2),
        nn.MaxPool2d(2),
        *convolution(192, 256, 3, 1),
        *convolution(256, 192, 3, 1),
        *convolution(192, 192, 3, 1),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4),
    )


def vgg11(channels):
    layers: list[nn.Module] = []
    inputs = channels
    for step in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if step == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        padding = 3 if inputs == channels == 1 else 1
        layers += [nn.Conv2d(inputs, step, 3, padding=padding), nn.GroupNorm(step, step), nn.ReLU()]
        inputs = step
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


def resnet18(channels):
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.GroupNorm(64, 64), nn.ReLU()]
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


@pytest.mark.parametrize("build", [alexnet, vgg11, resnet18])
@pytest.mark.parametrize(("channels", "side"), SHAPES)
@torch.no_grad()
def test_the_same_function_as_torchs_modules(build, channels, side):
    spec = spec_of(build.__name__, channels, side)
    network = network_of(spec)
    theirs = nn.Sequential(build(channels), nn.Flatten(), nn.Linear(spec.embedding_size, 10))
    for parameter, ours in zip(theirs.parameters(), network.parameters(), strict=True):
        parameter.data = ours  # of other shapes the forward pass would fail
    images = some_images(spec)
    torch.testing.assert_close(network.embed(images), theirs[:2](images))
    torch.testing.assert_close(network.scores(images), theirs(images))


# -- published numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sizes_are_the_published_ones(architecture):
    parameters, embeddings, *_ = PUBLISHED[architecture]
    assert sum(parameter.size for parameter in full_layout(spec_of(architecture))) == parameters
    for channels, side, embedding in ((1, 28, embeddings[0]), (3, 32, embeddings[1]), (1, 64, embeddings[2])):
        spec = NetworkSpec(128, 3, channels, side, 5, architecture)
        assert spec.embedding_size == embedding


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_published_checksums(architecture):
    """Golden: client and server of every version must agree on them; the package's documentation names them."""
    first, whole = PUBLISHED[architecture][2:]
    network = network_of(spec_of(architecture))
    assert hashlib.sha256(network.parameters()[0].numpy().tobytes()).hexdigest() == first
    assert network.checksum() == whole
    row = next(line for line in (nets.__doc__ or "").splitlines() if line.startswith(f"| {architecture} "))
    assert first[:12] in row
    assert whole[:12] in row
    assert f"{PUBLISHED[architecture][0]:,}" in row
    assert f"{operations_per_image(spec_of(architecture)).forward / 1e6:,.0f} M" in row


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_have_torchs_default_spread(architecture):
    for name, weight in network_of(spec_of(architecture)).named().items():
        if name.endswith(("scale", "shift")):
            assert weight.unique().tolist() == [1.0 if name.endswith("scale") else 0.0]
        elif name.endswith(("kernel", "weight")):
            bound = weight[0].numel() ** -0.5
            assert float(weight.abs().max()) <= bound * (1 + 1e-6)
            assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


# -- what every caller relies on -----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (1, 37)])
def test_operations_are_those_of_torchs_counter(architecture, channels, side):
    spec = spec_of(architecture, channels, side)
    images = some_images(spec).requires_grad_()
    with FlopCounterMode(display=False) as forward:
        embedding = network_of(spec).embed(images)
    with FlopCounterMode(display=False) as backward:
        embedding.sum().backward()
    cost = operations_per_image(spec)
    assert forward.get_total_flops() == len(images) * cost.forward
    assert backward.get_total_flops() == len(images) * cost.backward_to_image


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_images_still_say_something(architecture, channels):
    """And of smaller ones nothing would be left: an error says so before anything is computed."""
    smallest = nets.architecture_of(spec_of(architecture, channels, 64)).smallest_side(spec_of(architecture, channels))
    spec = spec_of(architecture, channels, smallest)
    embedding = network_of(spec).embed(some_images(spec))
    assert embedding.shape == (2, spec.embedding_size)
    assert float((embedding[0] - embedding[1]).abs().max()) > 1e-4
    with pytest.raises(ScenarioError, match=rf"{architecture}.* cannot take images of {smallest - 1}x{smallest - 1}"):
        spec_of(architecture, channels, smallest - 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_odd_sides_and_constant_images(architecture):
    for side in (33, 47):
        spec = spec_of(architecture, 1, side)
        embedding = network_of(spec).embed(torch.full((2, 1, side, side), -0.4))
        assert embedding.shape == (2, spec.embedding_size)
        assert torch.isfinite(embedding).all()


@pytest.mark.parametrize("architecture", ["alexnet", "vgg11", "resnet18"])
def test_samples_do_not_influence_each_other(architecture):
    spec = spec_of(architecture, 1, 28)
    images = some_images(spec, 40)
    alone = network_of(spec).embed(images[37:38])[0]
    among_others = embed_in_chunks(network_of(spec), images)[37]
    torch.testing.assert_close(among_others, alone, rtol=1e-3, atol=1e-3)  # norms of 2x2 maps magnify rounding


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_largest_map_is_what_passes_through(architecture, monkeypatch):
    seen = []
    convolve = torch.nn.functional.conv2d

    def watching(*args, **options):
        result = convolve(*args, **options)
        seen.append(result[0].numel())
        return result

    monkeypatch.setattr(torch.nn.functional, "conv2d", watching)
    spec = spec_of(architecture, 1, 35)
    network_of(spec).embed(some_images(spec))
    assert max(seen) == nets.architecture_of(spec).largest_map(spec)


def test_embeddings_of_alexnet_are_small():
    """Some twenty times smaller than ConvNet's: half precision holds them, a fixed step of quantisation would not."""
    sizes = {name: float(network_of(spec_of(name)).embed(some_images(spec_of(name))).mean()) for name in PUBLISHED}
    assert 10 < sizes["convnet"] / sizes["alexnet"] < 40
    small = network_of(spec_of("alexnet")).embed(some_images(spec_of("alexnet"))).mean(dim=0)
    torch.testing.assert_close(small.half().float(), small, rtol=1e-3, atol=1e-6)
