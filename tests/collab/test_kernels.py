from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from collab.kernels import KernelBlock, NeuralTangentKernel, kernel_operations
from simnet.draws import generator

PUBLISHED = NeuralTangentKernel()


def points(n, d, *name):
    return torch.from_numpy(generator(0, "kernels", *name).standard_normal((n, d)))


def by_scalars(x, y, layers=4, weight=2.0, bias=0.01):
    """The recursion of the fact sheet (section 7) for two points, number by number, all three covariances carried."""
    d = len(x)
    s = {pair: sum(a * b for a, b in zip(*pair_of, strict=True)) / d for pair, pair_of in pairs(x, y).items()}
    t = dict.fromkeys(s, 0.0)
    for layer in range(layers + 1):
        for pair in list(s):
            s[pair] = weight * s[pair] + bias
            t[pair] = s[pair] + weight * t[pair]
        if layer == layers:
            break
        before = dict(s)
        for pair in list(s):
            scale = math.sqrt(before[pair[0] * 2] * before[pair[1] * 2])
            # arccos of nearly 1 has half the digits: the diagonal is known better.
            cosine = 1.0 if pair != "xy" or x == y else max(-1.0, min(1.0, before[pair] / scale))
            angle = math.acos(cosine)
            s[pair] = scale * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
            t[pair] = t[pair] * (math.pi - angle) / (2 * math.pi)
    return t["xy"]


def pairs(x, y):
    return {"xx": (x, x), "xy": (x, y), "yy": (y, y)}


def test_the_recursion_number_by_number():
    left, right = points(4, 6, "left"), points(3, 6, "right")
    for kernel in (PUBLISHED, NeuralTangentKernel(2, 1.5, 0.3)):
        settings = (kernel.hidden_layers, kernel.weight_variance, kernel.bias_variance)
        expected = [[by_scalars(x.tolist(), y.tolist(), *settings) for y in right] for x in left]
        np.testing.assert_allclose(kernel.between(left, right).values.numpy(), expected, rtol=1e-12)


def test_one_hidden_layer_is_the_arc_cosine_kernels():
    """Cho and Saul 2009: J0 = pi - t, J1 = sin t + (pi - t) cos t; for unit variance and no bias."""
    x, y = points(5, 7, "x"), points(4, 7, "y")
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)[None, :]
    cosine = x @ y.T / lengths
    angle = cosine.arccos()
    j0, j1 = math.pi - angle, angle.sin() + (math.pi - angle) * cosine
    # T = (output layer trained: E[relu relu]) + (hidden layer trained: <x, x'> E[relu' relu'])
    expected = (lengths * j1 + lengths * cosine * j0) / (2 * math.pi) / 7
    torch.testing.assert_close(NeuralTangentKernel(1, 1.0, 0.0).between(x, y).values, expected)


def test_a_point_with_itself():
    """A ReLU halves the variance: S <- S + 0.005 per layer, and T grows by S of the layer."""
    (x,) = points(1, 9, "self").unsqueeze(1)
    s = 2 * float(x.square().mean()) + 0.01
    t = s
    for _ in range(4):
        s = 2 * (s / 2) + 0.01
        t = s + 2 * t / 2
    assert float(PUBLISHED.between(x, x).values) == pytest.approx(t, rel=1e-12)


def gradients_of_a_network(x, width, draws):
    """The gradient of the output for each point by all weights, in the parameterisation of the kernel."""
    sizes = [x.shape[1], width, width, width, width, 1]
    weights = [torch.from_numpy(draws.standard_normal((b, a))).requires_grad_() for a, b in itertools.pairwise(sizes)]
    biases = [torch.from_numpy(draws.standard_normal(b)).requires_grad_() for b in sizes[1:]]

    def output(point):
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            point = math.sqrt(2 / weight.shape[1]) * (weight @ point) + 0.1 * bias
            point = point if layer == len(weights) - 1 else point.relu()
        return point.squeeze()

    rows = [torch.autograd.grad(output(point), weights + biases) for point in x]
    return torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in rows])


def test_wide_networks_approach_it():
    """The products of gradients, in the mean of 16 draws of a network of width 256."""
    x, draws = points(3, 10, "wide"), generator(0, "wide network")
    each = [gradients_of_a_network(x, 256, draws) for _ in range(16)]
    empirical = torch.stack([rows @ rows.T for rows in each]).mean(dim=0)
    torch.testing.assert_close(empirical, PUBLISHED.between(x, x).values, rtol=0.08, atol=0)


def by_differences(function, at, step=1e-6):
    found = torch.zeros_like(at)
    for index in np.ndindex(*at.shape):
        up, down = at.clone(), at.clone()
        up[index] += step
        down[index] -= step
        found[index] = (function(up) - function(down)) / (2 * step)
    return found


def test_the_gradient_by_finite_differences():
    left, right, upstream = points(4, 5, "l"), points(3, 5, "r"), points(4, 3, "u")
    for kernel in (PUBLISHED, NeuralTangentKernel(2, 1.5, 0.3)):
        ours = kernel.between(left, right).gradient(upstream)
        theirs = by_differences(lambda at: float((upstream * kernel.between(left, at).values).sum()), right)  # noqa: B023
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_points_with_themselves():
    """Both arguments move; the diagonal, where arccos has no derivative, counts too."""
    x, upstream = points(4, 5, "x"), points(4, 4, "u")
    block = PUBLISHED.between(x, x)
    theirs = by_differences(lambda at: float((upstream * PUBLISHED.between(at, at).values).sum()), x)
    torch.testing.assert_close(block.gradient(upstream + upstream.T), theirs, rtol=1e-6, atol=1e-8)


def test_twins_zeros_and_opposites_have_finite_gradients():
    x = points(3, 5, "twins")
    right = torch.cat([x[:1], x[:1] * 3, -x[1:2], torch.zeros(1, 5, dtype=torch.float64)])
    block = PUBLISHED.between(torch.cat([x, torch.zeros(1, 5, dtype=torch.float64)]), right)
    gradient = block.gradient(torch.ones(4, 4, dtype=torch.float64))
    assert torch.isfinite(block.values).all()
    assert torch.isfinite(gradient).all()


def test_at_a_twin_the_gradient_is_the_symmetric_one():
    """The mean of the slopes on both sides: the kink cancels."""
    x, direction = points(1, 5, "twin"), points(1, 5, "direction")
    slope = float((PUBLISHED.between(x, x).gradient(torch.ones(1, 1, dtype=torch.float64)) * direction).sum())
    step = 1e-5
    up, down = (float(PUBLISHED.between(x, x + sign * step * direction).values) for sign in (1, -1))
    assert slope == pytest.approx((up - down) / (2 * step), rel=1e-3)


def test_the_operations_are_the_matrix_product():
    from torch.utils.flop_counter import FlopCounterMode

    left, right = points(6, 5, "l"), points(3, 5, "r")
    with FlopCounterMode(display=False) as forward:
        block = KernelBlock(PUBLISHED, left, right)
    with FlopCounterMode(display=False) as backward:
        block.gradient(block.values)
    assert forward.get_total_flops() == backward.get_total_flops() == kernel_operations(6, 3, 5)
