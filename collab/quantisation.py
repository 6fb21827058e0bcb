"""Numbers as small integers: vectors of floats as codes of 8 or 4 bits and a range for each vector.

A vector x becomes code = round((x - low) / step), with low = min x and step = (max x - min x) / (2^bits - 1), and
is read as low + step * code: each value is off by at most step / 2. The range has an offset because means of
activations behind a ReLU are never negative; a symmetric scale would leave half of the codes unused (measured on
means of MNIST under ConvNet-3: 4.5 times the squared error). low and step are float32: in float16 they would do for
a ConvNet, but the step of a 4-bit vector of AlexNet's size (0.02) comes close to where float16 loses digits.

A quantised tensor travels as three (see `as_section`): the codes under its name, and `lows` and `steps`. Not
modelled: stochastic rounding, clipping of outliers, entropy coding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from collab.wire import FLOAT_DTYPES, Section, Tensor, encode

EmbeddingDtype = Literal["float32", "float16", "bfloat16", "int8", "int4"]
ImageDtype = Literal["float32", "float16", "uint8"]
CODES: Mapping[str, str] = {"int8": "uint8", "uint8": "uint8", "int4": "uint4"}
"""The type on the wire of the codes of each quantised type."""
BITS: Mapping[str, int] = {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "uint8": 8, "int4": 4}
RANGE_BYTES = 8
"""Of the range of one vector."""


def levels(dtype: str) -> int:
    """The largest code of a quantised type."""
    return int(2 ** BITS[dtype]) - 1


def quantised(
    values: NDArray[Any], dtype: str, axes: int = 1
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Codes of `values`, of their shape, and lows and steps, of the shape of the leading axes.

    The last `axes` axes are one vector. Of a vector that holds a number that is not finite the range is not finite
    either, so that whoever checks the range notices.
    """
    wide = values.astype(np.float64)
    inner = tuple(range(wide.ndim - axes, wide.ndim))
    low = wide.min(axis=inner, keepdims=True).astype(np.float32)
    # From the low that is sent, so that rounding it does not put the largest value out of reach.
    with np.errstate(invalid="ignore", over="ignore"):
        step = ((wide.max(axis=inner, keepdims=True) - low) / levels(dtype)).astype(np.float32)
        step = np.maximum(step, np.float32(0))
        scaled = np.divide(wide - low, step, out=np.zeros_like(wide), where=step > 0)
    codes = np.rint(np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)).clip(0, levels(dtype)).astype(np.uint8)
    return codes, low.reshape(wide.shape[: wide.ndim - axes]), step.reshape(wide.shape[: wide.ndim - axes])


def restored(codes: NDArray[np.uint8], lows: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float64]:
    """The values that codes stand for, exact to double precision and so the same on every machine."""
    outer = (*lows.shape, *(1,) * (codes.ndim - lows.ndim))
    value: NDArray[np.float64] = lows.reshape(outer).astype(np.float64) + steps.reshape(outer).astype(
        np.float64
    ) * codes.astype(np.float64)
    return value


def as_section(name: str, values: NDArray[Any], dtype: str, axes: int = 1) -> dict[str, Tensor]:
    """`values` under `name` as they travel in a section: one tensor of a floating type, or codes, `lows` and `steps`.

    The last `axes` axes share a range.
    """
    if dtype in FLOAT_DTYPES:
        return {name: encode(values, dtype)}
    codes, lows, steps = quantised(values, dtype, axes)
    return {name: encode(codes, CODES[dtype]), "lows": encode(lows), "steps": encode(steps)}


def size_bytes(dtype: str, values: int, vectors: int) -> int:
    """Closed formula: bytes of `values` numbers in `vectors` vectors, with their ranges if the type is quantised."""
    return -(-values * BITS[dtype] // 8) + (RANGE_BYTES * vectors if dtype in CODES else 0)


def numbers(section: Section, name: str) -> NDArray[Any]:
    """What `as_section` put under `name`, as floats (float64 if it was quantised)."""
    values = section[name].values()
    if "lows" not in section:
        return values
    return restored(values, section["lows"].values(), section["steps"].values())
