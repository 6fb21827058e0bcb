"""A synthetic data set for tests and for measuring: each class a random smooth image, each sample that image and
noise.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from collab.data.dataset import Samples
from simnet.draws import generator

_COARSE_SIDE = 4
_NOISE = 40.0


def load(classes: int, channels: int, side: int, samples_per_class: int, seed: int) -> tuple[Samples, Samples]:
    """Training samples, `samples_per_class` of each class, and half as many (at least one) test samples."""
    draws = generator(seed, "gaussians")
    coarse = torch.from_numpy(draws.uniform(30, 225, (classes, channels, _COARSE_SIDE, _COARSE_SIDE)))
    centres = functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False).numpy()

    def sample(per_class: int) -> Samples:
        labels = np.repeat(np.arange(classes), per_class)
        noise = draws.normal(0.0, _NOISE, (len(labels), channels, side, side))
        return Samples(np.clip(centres[labels] + noise, 0, 255).astype(np.uint8), labels)

    return sample(samples_per_class), sample(max(1, samples_per_class // 2))
