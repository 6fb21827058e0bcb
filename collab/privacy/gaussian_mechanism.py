"""The analytic Gaussian mechanism: how much normal noise hides one sample, and the noise itself.

Balle and Wang, "Improving the Gaussian Mechanism for Differential Privacy" (ICML 2018), arXiv:1805.06530, theorem 8: a
release f(data) + N(0, sigma^2 I), where one sample more or less moves f by at most 1 (in L2), is (epsilon, delta)
differentially private exactly if

    Phi(1 / (2 sigma) - epsilon sigma) - e^epsilon Phi(-1 / (2 sigma) - epsilon sigma) <= delta.

What is released here are sums over a site's samples. A sample adds a vector to the sums of its class, of norm at most
sqrt(rows) under `rows` networks (each part clipped to 1), and 1 to its count. With counts weighed by w = `count_weight`
one sample moves (sums / sqrt(rows), w counts) by at most sqrt(1 + w^2). Sums and counts of all classes get noise, those
that the site does not hold, too: which these are is private as well.

The noise is a function of a key: uniform words of ChaCha20, made normal by the inverse of Phi. It is as secret as the
key. It is continuous only up to float64: the last bits of a sum in that type can betray what was added to what (Jin et
al., "Are We There Yet? Timing and Floating-Point Attacks on Differential Privacy Systems", 2022, arXiv:2112.05307). No
such sum leaves a site: each is rounded first, to float32 or coarser. That is a defence, not a proof; the discrete
Gaussian mechanism would have one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from collab.privacy.ring import Ring

_LEAST_MULTIPLIER, _LARGEST_MULTIPLIER = 1e-4, 1e8
_HALVINGS = 200  # of an interval of logarithms: more than float64 can tell apart
_UNIFORM_BITS = 53


class PrivacySettings(BaseModel):
    """How private the one release of each site is, and how its samples are clipped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epsilon: float = Field(
        ge=0.001, le=1000, description="of (epsilon, delta) differential privacy; less is more private"
    )
    delta: float = Field(
        1e-5, gt=0, lt=1, description="of (epsilon, delta) differential privacy; far below 1 / samples of a site"
    )
    clip_norm: float = Field(
        gt=0, le=1000, description="longest embedding of a sample under one network; longer ones are shortened to it"
    )
    count_weight: float = Field(
        0.25, gt=0, le=100, description="w: less noise on the sums of embeddings, but 1 / w times as much on the counts"
    )

    def release(self, rows: int) -> Release:
        """The one release of class sums under `rows` networks and augmentations."""
        return Release(self.epsilon, self.delta, self.clip_norm, self.count_weight, rows)


@dataclass(frozen=True)
class Release:
    """What one site gives away once: noisy sums of clipped embeddings under `rows` networks, and noisy counts."""

    epsilon: float
    delta: float
    clip_norm: float
    count_weight: float
    rows: int

    @property
    def noise_multiplier(self) -> float:
        """sigma of theorem 8, for what one sample moves by at most 1."""
        return noise_multiplier(self.epsilon, self.delta)

    @property
    def sensitivity(self) -> float:
        """By how much one sample moves (sums / (clip_norm sqrt(rows)), count_weight counts), in L2, at most."""
        return math.hypot(1.0, self.count_weight)

    @property
    def sum_deviation(self) -> float:
        """Standard deviation of the noise on every entry of the sums."""
        return self.noise_multiplier * self.sensitivity * self.clip_norm * math.sqrt(self.rows)

    @property
    def count_deviation(self) -> float:
        """Standard deviation of the noise on every count."""
        return self.noise_multiplier * self.sensitivity / self.count_weight

    def noisy(
        self, sums: NDArray[np.float64], counts: NDArray[np.int64], key: bytes
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sums [rows, classes, D] and counts [classes] of all classes, of the same shapes, with noise.

        Of a sample no row of `sums` may hold more than `clip_norm`. `key`: 32 bytes for this release alone.
        """
        noise = standard_normal(key, sums.size + counts.size)
        noisy_sums = sums + self.sum_deviation * noise[: sums.size].reshape(sums.shape)
        noisy_counts = np.rint(counts + self.count_deviation * noise[sums.size :].reshape(counts.shape))
        return noisy_sums, noisy_counts.astype(np.int64)

    def least_count(self, sites: int) -> int:
        """The sum of the noisy counts of a class at `sites` sites that a class nobody holds stays below, as good as
        always: three standard deviations.
        """
        return math.ceil(3 * self.count_deviation * math.sqrt(sites))

    def described(self) -> dict[str, Any]:
        """What everybody may know: what was promised, and how large the noise is for it."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "clip_norm": self.clip_norm,
            "noise_multiplier": float(f"{self.noise_multiplier:.9g}"),
            "sum_deviation": float(f"{self.sum_deviation:.9g}"),
            "count_deviation": float(f"{self.count_deviation:.9g}"),
            "networks": self.rows,
            "hides": "one sample more or less, in one release",
        }


@lru_cache(maxsize=64)
def noise_multiplier(epsilon: float, delta: float) -> float:
    """The least sigma that is (epsilon, delta) differentially private at a sensitivity of 1, to 12 digits, never less.

    Raises `ValueError` for an epsilon that is not above 0, or a delta not between 0 and 1.
    """
    if not (epsilon > 0 and 0 < delta < 1):
        raise ValueError(f"epsilon is {epsilon:g} and delta {delta:g}; expected epsilon > 0 and 0 < delta < 1")
    low, high = math.log(_LEAST_MULTIPLIER), math.log(_LARGEST_MULTIPLIER)
    if delta_of(epsilon, math.exp(high)) > delta:
        raise ValueError(f"epsilon {epsilon:g} and delta {delta:g} would need more noise than any sum could bear")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if delta_of(epsilon, math.exp(middle)) > delta:
            low = middle
        else:
            high = middle
    return math.exp(high)


def delta_of(epsilon: float, sigma: float) -> float:
    """The least delta of normal noise of `sigma` at a sensitivity of 1 for an epsilon: the left side above."""
    from scipy.special import log_ndtr  # here: 15 MB of memory that a server without noise has no use for

    near = float(log_ndtr(0.5 / sigma - epsilon * sigma))
    far = epsilon + float(log_ndtr(-0.5 / sigma - epsilon * sigma))
    return -math.exp(near) * math.expm1(far - near)  # in logarithms: e^epsilon alone may be too large for a float


def standard_normal(key: bytes, length: int) -> NDArray[np.float64]:
    """Draws [length] from the standard normal distribution, none of which can be guessed without the key, of 32 bytes.

    The middle of one of 2^53 intervals each; the largest that there can be is 8.3.
    """
    words = Ring(64).mask(key, length) >> np.uint64(64 - _UNIFORM_BITS)
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-_UNIFORM_BITS
    # Half of the top interval is lost to rounding: that word alone would come out as 1.
    from scipy.special import ndtri  # as above

    normal: NDArray[np.float64] = ndtri(np.minimum(uniform, 1 - 2.0**-_UNIFORM_BITS))
    return normal
