"""The union of what sites distilled, cut to a budget where there is one.

Which images are kept is settled by a hash of (seed, site, class, position), so that neither the order of arrival
matters nor, with a budget, memory grows with the number of sites.
"""

from __future__ import annotations

import heapq

import numpy as np
import torch
from numpy.typing import NDArray

from collab.data import ImageSpec
from collab.matching import SyntheticSet
from simnet.draws import key


class Union:
    """Synthetic images of many sites, of which `most_per_class` are kept of each class; all of them if None."""

    def __init__(self, images: ImageSpec, most_per_class: int | None, seed: int, purpose: str = "union") -> None:
        self._images = images
        self._most_per_class = most_per_class
        self._seed = seed
        self._purpose = purpose
        self._kept: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}

    def add(self, site: str, images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Take in one site's images, float32 [n, channels, side, side], and labels [n]."""
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            rank = -key(self._seed, self._purpose, site, int(label), position)
            kept = self._kept.setdefault(int(label), [])
            if self._most_per_class is None or len(kept) < self._most_per_class:
                heapq.heappush(kept, (rank, image))
            else:
                heapq.heappushpop(kept, (rank, image))

    def synthetic(self) -> SyntheticSet:
        """What is kept, sorted by class; a class that no site sent is missing."""
        labels = sorted(self._kept)
        images = [self._of_class(label) for label in labels]
        numbers = np.repeat(np.asarray(labels, dtype=np.int64), [len(each) for each in images])
        shape = (0, self._images.channels, self._images.side, self._images.side)
        return SyntheticSet(torch.cat([torch.zeros(shape), *images]), torch.from_numpy(numbers))

    def _of_class(self, label: int) -> torch.Tensor:
        ordered = sorted(self._kept[label], key=lambda entry: -entry[0])
        return torch.from_numpy(np.stack([image for _, image in ordered]))
