"""The tiled ConvNet against the plain one in float64."""

from __future__ import annotations

import pytest
import torch

from collab.nets import NetworkSpec, convnet, draw_parameters, winograd

SPECS = [
    NetworkSpec(16, 3, 1, 28, 10),  # 32, 16, 8: tiles of four
    NetworkSpec(8, 3, 3, 32, 10),
    NetworkSpec(8, 2, 1, 16, 4),  # 20, 10: tiles of two
    NetworkSpec(8, 2, 3, 20, 4),
    NetworkSpec(8, 1, 3, 6, 4),
]


def weights(spec: NetworkSpec, networks: int) -> list[torch.Tensor]:
    """Drawn weights, and scales and shifts that are not what they begin as."""
    generator = torch.Generator().manual_seed(0)
    stacked = [
        torch.stack(each) for each in zip(*(draw_parameters(spec, seed) for seed in range(networks)), strict=True)
    ]
    for index in range(spec.depth):
        for place in (4 * index + 2, 4 * index + 3):
            stacked[place] = stacked[place] + 0.2 * torch.randn(stacked[place].shape, generator=generator)
    return stacked[:-2]


def both(spec: NetworkSpec, networks: int = 2, samples: int = 5):
    """Weights and images that ask for gradients, in float32 and in float64, and the embeddings of each."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(networks, samples, spec.channels, spec.side, spec.side, generator=generator)
    narrow = [tensor.requires_grad_() for tensor in [images, *weights(spec, networks)]]
    wide = [tensor.detach().double().requires_grad_() for tensor in narrow]
    tiled = winograd.embed(spec, winograd.prepare(spec, narrow[1:]), narrow[0])
    plain = torch.stack([convnet.embed(spec, [tensor[i] for tensor in wide[1:]], wide[0][i]) for i in range(networks)])
    return narrow, wide, tiled, plain


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_function(spec):
    assert winograd.serves(spec)
    _, _, tiled, plain = both(spec)
    torch.testing.assert_close(tiled.double(), plain, atol=2e-5, rtol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_gradients(spec):
    narrow, wide, tiled, plain = both(spec)
    towards = torch.randn(plain.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    used = [i for i in range(len(narrow)) if i == 0 or (i - 1) % 4 != 1]  # a bias before a norm has none
    found = torch.autograd.grad((tiled * towards.float()).sum(), [narrow[i] for i in used])
    expected = torch.autograd.grad((plain * towards).sum(), [wide[i] for i in used])
    for ours, theirs in zip(found, expected, strict=True):
        # A ReLU whose input is a rounding error away from 0 may fall on the other side: on average they agree.
        assert float((ours - theirs).norm() / theirs.norm()) < 2e-3


def test_a_gradient_of_a_gradient_is_refused():
    """Silently it would lack what goes through the maps that are kept for the way back."""
    narrow, _, tiled, _ = both(SPECS[4])
    (slope,) = torch.autograd.grad(tiled.square().sum(), narrow[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_biases_before_a_norm_change_nothing():
    spec = SPECS[0]
    narrow, _, tiled, _ = both(spec)
    moved = [tensor + 1.0 if index % 4 == 1 else tensor for index, tensor in enumerate(narrow[1:])]
    assert torch.equal(winograd.embed(spec, winograd.prepare(spec, moved), narrow[0]), tiled)


def test_constant_images_are_finite():
    spec = SPECS[0]
    images = torch.full((1, 2, 1, 28, 28), -0.42).requires_grad_()
    embedded = winograd.embed(spec, winograd.prepare(spec, weights(spec, 1)), images)
    embedded.sum().backward()
    assert torch.isfinite(embedded).all()
    assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize("spec", [NetworkSpec(8, 3, 1, 16, 10), NetworkSpec(8, 1, 3, 15, 4)])
def test_odd_maps_are_left_to_the_plain_network(spec):
    assert not winograd.serves(spec)


@pytest.mark.parametrize("tiling", [winograd.TWO, winograd.FOUR])
def test_one_tile_is_a_convolution(tiling):
    """Y = A^T [(G g G^T) * (B^T d B)] A, written out."""
    generator = torch.Generator().manual_seed(3)
    tile, kernel = torch.randn(tiling.tile, tiling.tile, generator=generator), torch.randn(3, 3, generator=generator)
    found = tiling.result @ ((tiling.kernel @ kernel.flatten()) * (tiling.image @ tile.flatten()))
    expected = torch.nn.functional.conv2d(tile[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(found.view(expected.shape), expected, atol=1e-5, rtol=1e-5)
