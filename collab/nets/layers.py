"""What the architectures are built of: convolutions as numbers, instance norm, and pooling to a fixed size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import conv_flop_count

from collab.nets.spec import Parameter


@dataclass(frozen=True, slots=True)
class Convolution:
    """A square convolution, in numbers: channels in and out, side of the kernel, padding and stride."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    padding: int
    stride: int = 1

    def layout(self, *, bias: bool = True, norm: bool = False) -> tuple[Parameter, ...]:
        """Kernel [outputs, inputs, kernel, kernel], then, as wanted, bias [outputs], scale and shift [outputs]."""
        fan_in = self.inputs * self.kernel**2
        shape = (self.outputs, self.inputs, self.kernel, self.kernel)
        found = [Parameter(f"{self.name}.kernel", shape, fan_in)]
        if bias:
            found.append(Parameter(f"{self.name}.bias", (self.outputs,), fan_in))
        if norm:
            found.append(Parameter(f"{self.name}.scale", (self.outputs,), constant=1.0))
            found.append(Parameter(f"{self.name}.shift", (self.outputs,), constant=0.0))
        return tuple(found)

    def side_after(self, side: int) -> int:
        """Side of the map that it makes of one of `side`."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1

    def operations(self, side: int) -> int:
        """Floating-point operations for a map of `side`, by the formula of torch's own counter."""
        after = self.side_after(side)
        kernel = [self.outputs, self.inputs, self.kernel, self.kernel]
        return int(conv_flop_count([1, self.inputs, side, side], kernel, [1, self.outputs, after, after]))

    def __call__(self, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve x [n, inputs, side, side]."""
        return functional.conv2d(x, kernel, bias, stride=self.stride, padding=self.padding)


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Every map of every sample to mean 0 and variance 1 (eps 1e-5), then scaled and shifted; no running statistics."""
    return functional.group_norm(x, x.shape[1], scale, shift)


def pool_to(x: Tensor, side: int) -> Tensor:
    """Average maps down to `side` x `side`; smaller ones stay as they are, since to enlarge them adds no information.

    Windows of one size wherever the side is a multiple: the gradient of adaptive pooling has no order of additions
    of its own on a GPU.
    """
    now = x.shape[-1]
    if now <= side:
        return x
    return functional.avg_pool2d(x, now // side) if now % side == 0 else functional.adaptive_avg_pool2d(x, side)
