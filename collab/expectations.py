"""What an upload must look like, told to a site with its task, and the check of what then comes.

A tensor is checked by type, shape, range and finiteness, and against other tensors of the upload; a refusal names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collab.errors import RefusedUploadError
from collab.half_floats import extremes
from collab.quantisation import CODES, levels
from collab.wire import Section, Tensor

Sections = Mapping[str, Section]
MAX_ABSOLUTE = 1e3  # no embedding of a network with norms, and no useful image, has a larger entry


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tensor of an upload must look like.

    `shape` holds extents, or names that stand for the same extent throughout a section, at most `longest` of it.
    `among` is another tensor of the upload, as (kind, name), in which every value must occur.
    """

    dtype: str
    shape: tuple[int | str, ...]
    low: float = -MAX_ABSOLUTE
    high: float = MAX_ABSOLUTE
    longest: int | None = None
    unique: bool = False
    among: tuple[str, str] | None = None

    def check(self, name: str, tensor: Tensor, extents: dict[str, int]) -> None:
        """Raise `RefusedUploadError`, with the tensor's name, if `tensor` is not like that or not finite.

        `extents` holds the named extents seen so far in the section.
        """
        if tensor.dtype != self.dtype:
            raise RefusedUploadError(f"{name} has the type {tensor.dtype}, expected {self.dtype}")
        wanted = tuple(
            extents.setdefault(extent, found) if isinstance(extent, str) else extent
            for extent, found in zip(self.shape, tensor.shape, strict=False)
        )
        if len(tensor.shape) != len(self.shape) or wanted != tensor.shape:
            shape = ", ".join(
                f"{extent} = {extents[extent]}" if isinstance(extent, str) and extent in extents else str(extent)
                for extent in self.shape
            )
            raise RefusedUploadError(f"{name} has the shape {list(tensor.shape)}, expected [{shape}]")
        if self.longest is not None and tensor.shape[0] > self.longest:
            raise RefusedUploadError(f"{name} has {tensor.shape[0]} rows, the task allows {self.longest}")
        values = tensor.values()
        if values.size == 0:
            return
        found = _extremes(values)
        if found is None:
            raise RefusedUploadError(f"{name} holds numbers that are not finite")
        low, high = found
        with np.errstate(over="ignore"):  # a bound beyond a small type is none, all of its numbers are within
            within = self.low <= low and high <= self.high
        if not within:
            raise RefusedUploadError(
                f"{name} lies in [{_shown(low)}, {_shown(high)}], "
                f"expected within [{_shown(self.low)}, {_shown(self.high)}]"
            )
        if self.unique and np.unique(values).size != values.size:
            raise RefusedUploadError(f"{name} names something twice")

    def described(self) -> dict[str, Any]:
        """The form in which a task tells a site what it expects."""
        described: dict[str, Any] = {"dtype": self.dtype, "shape": list(self.shape), "low": self.low, "high": self.high}
        if self.longest is not None:
            described["longest"] = self.longest
        if self.unique:
            described["unique"] = True
        if self.among is not None:
            described["among"] = ".".join(self.among)
        return described


def _extremes(values: NDArray[Any]) -> tuple[Any, Any] | None:
    """The smallest and the largest value; None if not all are finite."""
    if values.dtype == np.float16:
        return extremes(values)
    return (values.min(), values.max()) if np.isfinite(values).all() else None


def _shown(value: Any) -> str:
    """Whole numbers in every digit, so that a count next to a bound is not shown as the bound."""
    return str(value) if isinstance(value, (int, np.integer)) else f"{value:g}"


Expectations = Mapping[str, Mapping[str, Expected]]


def check_sections(sections: Sections, expected: Expectations) -> None:
    """Raise `RefusedUploadError` unless the upload holds every section that is expected, each whole, or none at all.

    A site that holds no data has nothing to give; one that leaves out a part has made a mistake.
    """
    for kind in sections:
        if kind not in expected:
            raise RefusedUploadError(f"the task did not ask for {kind}, only for {', '.join(sorted(expected))}")
    if sections and (left_out := set(expected) - set(sections)):
        raise RefusedUploadError(f"{', '.join(sorted(left_out))} is missing; send all that was asked for, or nothing")
    for kind, section in sections.items():
        if set(section) != set(expected[kind]):
            raise RefusedUploadError(
                f"{kind} holds {', '.join(sorted(section)) or 'nothing'}; expected {', '.join(sorted(expected[kind]))}"
            )
        extents: dict[str, int] = {}
        for name, expectation in expected[kind].items():
            expectation.check(f"{kind}.{name}", section[name], extents)
    for kind, section in sections.items():
        for name, expectation in expected[kind].items():
            if expectation.among is not None:
                _check_among(f"{kind}.{name}", section[name], sections, *expectation.among)


def _check_among(name: str, tensor: Tensor, sections: Sections, kind: str, other: str) -> None:
    strangers = np.setdiff1d(tensor.values(), sections[kind][other].values())
    if strangers.size:
        raise RefusedUploadError(f"{name} names {strangers.min()}, which {kind}.{other} does not hold")


def expected_numbers(
    name: str,
    dtype: str,
    shape: tuple[int | str, ...],
    axes: int = 1,
    longest: int | None = None,
    largest: float = MAX_ABSOLUTE,
) -> dict[str, Expected]:
    """What `collab.quantisation.as_section` makes of numbers of such a shape, between -`largest` and `largest`."""
    if dtype not in CODES:
        return {name: Expected(dtype, shape, -largest, largest, longest)}
    outer = shape[: len(shape) - axes]
    return {
        name: Expected(CODES[dtype], shape, 0, levels(dtype), longest),
        "lows": Expected("float32", outer, -largest, largest),
        "steps": Expected("float32", outer, 0, 2 * largest / levels(dtype)),
    }
