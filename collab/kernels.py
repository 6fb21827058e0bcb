"""The neural tangent kernel of an infinitely wide, fully connected ReLU network, and its gradient, in float64.

Jacot, Gabriel and Hongler (NeurIPS 2018, arXiv:1806.07572); Lee et al. (NeurIPS 2019, arXiv:1902.06720); the ReLU
expectations are the arc-cosine kernels of Cho and Saul (NeurIPS 2009). For flattened images x, x' of d pixels::

    start     S = <x, x'> / d                                  T = 0
    dense     S <- weight_variance S + bias_variance           T <- S + weight_variance T      (with the new S)
    ReLU      S <- r (sin t + (pi - t) cos t) / (2 pi)         T <- T (pi - t) / (2 pi)
              where r = sqrt(S(x,x) S(x',x')) and cos t = S / r

dense and ReLU alternate `hidden_layers` times, a last dense follows, and the kernel is T. The diagonal needs no
recursion across images: a ReLU halves S(x,x).

The gradient is written out: that takes about half the time of automatic differentiation of the recursion, and it knows
the one place where the kernel has no derivative. At parallel points t has a kink, whose symmetric subgradient is 0;
arccos alone would give infinity, and NaN on the diagonal of a kernel matrix.

Not modelled: finite width, convolutions, other activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST_SINE = 1e-6
_LARGEST_COSINE = 1.0 - 5e-13
"""Beyond these, which are the same angle, two points count as parallel. Rounding of the cosine makes angles up to 1e-7
meaningless, and a diagonal that carries them would not be smooth.
"""


@dataclass(frozen=True, slots=True)
class NeuralTangentKernel:
    """The kernel of one network; the defaults are those of FedD3's published code."""

    hidden_layers: int = 4
    weight_variance: float = 2.0
    bias_variance: float = 0.01

    def between(self, left: Tensor, right: Tensor) -> KernelBlock:
        """The kernel of every row of `left` [n, d] with every row of `right` [m, d], both float64."""
        return KernelBlock(self, left, right)


@dataclass(slots=True)
class _Layer:
    """What the way back through one ReLU needs, each [n, m] but `right_variance` [m]: T before it; (pi - t) / (2 pi);
    sin t; cos t; 1 / r.
    """

    tangent: Tensor
    angle_share: Tensor
    sine: Tensor
    cosine: Tensor
    inverse_scale: Tensor
    right_variance: Tensor


class KernelBlock:
    """Kernel values of two sets of points, and their gradient.

    Attributes:
        values: the kernel, float64 [n, m].
    """

    def __init__(self, kernel: NeuralTangentKernel, left: Tensor, right: Tensor) -> None:
        self._kernel, self._left, self._right = kernel, left, right
        self._layers: list[_Layer] = []
        weight, bias, pixels = kernel.weight_variance, kernel.bias_variance, left.shape[1]
        covariance = (left @ right.T).mul_(weight / pixels).add_(bias)
        left_variance = left.square().sum(dim=1).mul_(weight / pixels).add_(bias)
        right_variance = right.square().sum(dim=1).mul_(weight / pixels).add_(bias)
        tangent = covariance.clone()
        for _ in range(kernel.hidden_layers):
            inverse_scale = left_variance.rsqrt()[:, None] * right_variance.rsqrt()[None, :]
            cosine = (covariance * inverse_scale).clamp_(-1.0, 1.0)
            cosine.masked_fill_(cosine > _LARGEST_COSINE, 1.0)
            # (1 - c)(1 + c) keeps the digits that 1 - c^2 loses near 1.
            sine = (1.0 - cosine).mul_(1.0 + cosine).sqrt_()
            angle_share = torch.acos(cosine).neg_().add_(math.pi).mul_(0.5 / math.pi)
            self._layers.append(_Layer(tangent, angle_share, sine, cosine, inverse_scale, right_variance))
            covariance = covariance.mul_(angle_share).addcdiv_(sine, inverse_scale, value=0.5 / math.pi)
            covariance.mul_(weight).add_(bias)
            tangent = torch.mul(tangent, angle_share).mul_(weight).add_(covariance)
            left_variance = left_variance * (0.5 * weight) + bias
            right_variance = right_variance * (0.5 * weight) + bias
        self.values = tangent

    def gradient(self, upstream: Tensor) -> Tensor:
        """The gradient of sum(upstream * values) with respect to `right`, [m, d]; `left` is held fixed.

        For a block of points with themselves the whole gradient is that of `upstream + upstream.T`.
        """
        weight, pixels = self._kernel.weight_variance, self._left.shape[1]
        for_tangent = upstream
        for_covariance = upstream.clone()
        for_variance = torch.zeros_like(self._right[:, 0])
        for layer in reversed(self._layers):
            # Dense: both came from the covariance before it, the tangent also from the tangent.
            for_covariance.mul_(weight)
            # ReLU. The derivative of its covariance by the one before is (pi - t) / (2 pi), by the variance of the
            # right point r sin t / (4 pi S(x',x')). Its tangent depends on both through the cosine alone.
            kink = layer.sine < _SMALLEST_SINE
            for_cosine = (for_tangent * layer.tangent).mul_(0.5 * weight / math.pi).div_(layer.sine)
            for_cosine.masked_fill_(kink, 0.0)
            through_scale = (for_covariance * layer.sine).div_(layer.inverse_scale).mul_(0.25 / math.pi)
            through_scale.addcmul_(for_cosine, layer.cosine, value=-0.5)
            for_variance = for_variance * (0.5 * weight) + through_scale.sum(dim=0) / layer.right_variance
            for_tangent = torch.mul(for_tangent, layer.angle_share).mul_(weight)
            for_covariance.mul_(layer.angle_share).addcmul_(for_cosine, layer.inverse_scale).add_(for_tangent)
        through_products = (for_covariance.T @ self._left).mul_(weight / pixels)
        return through_products.addcmul_(for_variance[:, None], self._right, value=2.0 * weight / pixels)


def kernel_operations(left: int, right: int, pixels: int) -> int:
    """Floating-point operations of a block, or of its gradient: the matrix product, a multiply-add counts two."""
    return 2 * left * right * pixels
