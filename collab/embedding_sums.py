"""The server's running sums of class means: what it keeps of the uploads, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from collab.errors import RunFailedError
from collab.expectations import MAX_ABSOLUTE
from collab.half_floats import multiples
from collab.matching import Moments
from collab.nets import NetworkSpec
from collab.quantisation import numbers
from collab.wire import Section

_FIXED_POINT = 2.0**24  # float16 numbers are whole multiples of 2^-24, so their sums below are exact
_MOST_SAMPLES = 2**27  # of one class at all sites together
_LARGEST_MEAN = 3 * MAX_ABSOLUTE  # that of one restored from codes


def largest_count(sites: int) -> int:
    """How many samples of a class each of `sites` sites may claim, so that the sums below cannot overflow.

    No entry of a mean that was taken in reaches 2^12, also of one restored from codes (3 `MAX_ABSOLUTE` at most): in
    fixed point, times 2^27 samples, that stays below 2^63.
    """
    return _MOST_SAMPLES // sites


class SumSettings(Protocol):
    """What of a method's settings decides about sums."""

    @property
    def iterations(self) -> int:
        """T, the networks."""

    @property
    def augmentations(self) -> int:
        """A, the means per network."""

    @property
    def weighting(self) -> str:
        """`counts` or `uniform`."""


class EmbeddingSums:
    """Weighted sums of the sites' class means, [A T, C, D]: the server's memory does not grow with the number of sites.

    The sums are kept in fixed point, whole multiples of 2^-24, so they are exact for float16 and do not depend on the
    order in which uploads arrive: a run over sockets and a simulated one end in the same bits. No site may claim more
    samples than `largest_count`.
    """

    def __init__(self, settings: SumSettings, spec: NetworkSpec, clip_norm: float | None = None) -> None:
        """`clip_norm`: to what longer means of a site are shortened; None for no limit."""
        self._clip_norm = clip_norm
        self._by_counts = settings.weighting == "counts"
        self._augmentations = settings.augmentations
        rows = settings.iterations * settings.augmentations
        self._sums = np.zeros((rows, spec.classes, spec.embedding_size), dtype=np.int64)
        self._weights = np.zeros((rows, spec.classes), dtype=np.int64)

    def add(self, section: Section, iterations: Sequence[int]) -> None:
        """Fold in one site's means, which answer to `iterations` in this order, or its sums of all classes."""
        counts = section["counts"].values()
        if "sums" in section:
            ones = np.ones_like(counts)
            self._fold(numbers(section, "sums"), ones, counts, np.arange(len(counts)), iterations)
            return
        weights = counts if self._by_counts else np.ones_like(counts)
        classes = section["classes"].values().astype(np.int64)
        self._fold(numbers(section, "means"), weights, weights, classes, iterations, self._clip_norm)

    def of(self, site: str) -> EmbeddingSums:
        """The sums to which the means of a site are added: these."""
        return self

    def _fold(
        self,
        values: NDArray[Any],
        factors: NDArray[np.int64],
        weights: NDArray[np.int64],
        classes: NDArray[np.int64],
        iterations: Sequence[int],
        clip_norm: float | None = None,
    ) -> None:
        """Add `values` [A T_k, C_k, D] times `factors` [C_k] to the sums, and the weights [C_k] to theirs."""
        rows = np.repeat(np.asarray(iterations, dtype=np.int64), self._augmentations) * self._augmentations
        rows += np.tile(np.arange(self._augmentations), len(iterations))
        # One network at a time: all at once, 9 MB would take 150 MB for a moment.
        for row, of_network in zip(rows, values, strict=True):
            if row < len(self._sums):
                self._sums[row, classes] += _fixed(of_network, clip_norm) * factors[:, None]
                self._weights[row, classes] += weights

    @property
    def shape(self) -> tuple[int, int, int]:
        """A T, C, D."""
        rows, classes, size = self._sums.shape
        return rows, classes, size

    def vector(self, sites: int) -> NDArray[np.int64]:
        """The sums of one of `sites` sites as a vector: all sums, then the weights [C], the same under every network.

        Raises `RunFailedError` for more samples of a class than keep the sum over all sites from overflowing.
        """
        most = int(self._weights.max(initial=0))
        if most > largest_count(sites):
            raise RunFailedError(
                f"there are {most} samples of one class here; with {sites} sites each may bring {largest_count(sites)} "
                "into a secure sum, so that it cannot overflow. Divide the data, or set weighting: uniform"
            )
        return np.concatenate([self._sums.reshape(-1), self._weights[0]])

    def add_vector(self, vector: NDArray[np.int64], noise: tuple[float, float] = (0.0, 0.0)) -> None:
        """Fold in what `vector` gave of other sums, or of many added up.

        `noise` is the most that there may be on each entry of the sums, and on each weight. Raises `RunFailedError` for
        what no sites that keep to their bounds can have sent.
        """
        classes = self._sums.shape[1]
        sums, weights = vector[:-classes].reshape(self._sums.shape), vector[-classes:]
        samples = np.clip(weights + noise[1], 0, _MOST_SAMPLES)  # at most so many, if all noise was against us
        largest = (samples * _LARGEST_MEAN + noise[0]) * _FIXED_POINT
        outside = (np.abs(sums.astype(np.float64)) > largest[:, None]).any(axis=(0, 2)) | (weights < -noise[1])
        outside |= weights > _MOST_SAMPLES + noise[1]
        if outside.any():
            label = int(np.flatnonzero(outside)[0])
            raise RunFailedError(
                f"the sum over sites of class {label} is impossible (weight {weights[label]}): a site has sent "
                "something else than the sums of its means, and which one it was cannot be told"
            )
        self._sums += sums
        self._weights += weights

    def classes(self, least: int = 1) -> list[int]:
        """The classes whose weights come to `least` or more under some network, ascending."""
        return [int(label) for label in np.flatnonzero((self._weights >= least).any(axis=0))]

    def target(self, iteration: int, present: Sequence[int], augmentation: int = 0) -> Moments:
        """The mean embeddings at one iteration, of those classes in `present` that some site held."""
        row = iteration * self._augmentations + augmentation
        weights = self._weights[row]
        classes = [label for label in present if weights[label] > 0]
        means = self._sums[row, classes] / (weights[classes, None] * _FIXED_POINT)
        return Moments(classes, torch.from_numpy(means.astype(np.float32)))


def _fixed(values: NDArray[Any], clip_norm: float | None) -> NDArray[np.int64]:
    """The vectors [C, D] in fixed point, none longer than `clip_norm`."""
    if clip_norm is not None:
        lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
        values = values * (clip_norm / np.maximum(lengths, clip_norm))
    elif values.dtype == np.float16:
        return multiples()[values.view(np.uint16)]
    fixed: NDArray[np.int64] = np.rint(values.astype(np.float64) * _FIXED_POINT).astype(np.int64)
    return fixed
