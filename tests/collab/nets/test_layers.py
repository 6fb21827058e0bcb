from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from collab.nets.layers import Convolution, instance_norm, pool_to


@pytest.mark.parametrize("side", range(5, 13))
def test_larger_maps_are_averaged(side):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    torch.testing.assert_close(pool_to(x, 4), functional.adaptive_avg_pool2d(x, 4))


@pytest.mark.parametrize("side", [1, 3, 4])
def test_smaller_maps_stay_as_they_are(side):
    x = torch.randn(2, 3, side, side)
    assert pool_to(x, 4) is x


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (5, 4)])
def test_the_side_after_a_convolution(side, stride, kernel, padding):
    convolution = Convolution("c", 2, 3, kernel, padding, stride)
    weights, bias = (torch.zeros(parameter.shape) for parameter in convolution.layout())
    after = convolution.side_after(side)
    assert convolution(torch.zeros(1, 2, side, side), weights, bias).shape == (1, 3, after, after)
    assert convolution.operations(side) == 2 * 3 * 2 * kernel**2 * after**2


def test_the_norm_by_hand():
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale, shift = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([0.0, 1.0, -1.0]).double()
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = x.var(dim=(2, 3), unbiased=False, keepdim=True)
    expected = (x - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(instance_norm(x, scale, shift), expected)
