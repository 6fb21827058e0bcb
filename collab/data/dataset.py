"""What a data set is, and the part of it that one site holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from collab.augment import Operation
from collab.data.flows.recipe import FlowRecipe

_PORTION = 512


@dataclass(frozen=True, slots=True)
class Samples:
    """Images, uint8 [n, channels, side, side], and their labels, int64 [n].

    `sites`, if the data set knows it, names the site at which each sample was taken, text [n] (a hospital, a base
    station, a writer); the partition scheme `by_column` gives every site to a client of its own. A data set offers it
    by filling `sites` of its training samples; those of a file tree, for instance, from the name of a folder or with
    `collab.data.sites.read_sites` from a table beside the images. It then stays with its samples, whatever is taken
    of them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sites: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """SHA-256 of the images and labels."""
        images, labels = np.ascontiguousarray(self.images), np.ascontiguousarray(self.labels)
        sha = hashlib.sha256(f"{images.dtype.str}{images.shape}{labels.dtype.str}".encode())
        sha.update(images.data)
        sha.update(labels.data)
        return sha.hexdigest()

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """The samples at `indices`, copied."""
        sites = None if self.sites is None else self.sites[indices]
        return Samples(self.images[indices], self.labels[indices], sites)


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What every party knows of the images without seeing one.

    `mean` and `std` per channel normalise pixels in [0, 1]; `augmentation` is the data set's strategy.
    """

    classes: int
    channels: int
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: tuple[Operation, ...]

    @property
    def pixels(self) -> int:
        """Values per image."""
        return self.channels * self.side**2

    def normalise(self, images: NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
        """uint8 images as float32 in normalised space, on `device`."""
        values = torch.from_numpy(np.ascontiguousarray(images)).to(device, torch.float32)
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1) * 255
        std = torch.tensor(self.std, device=device).view(-1, 1, 1) * 255
        return (values - mean) / std


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set in memory: training samples to be divided among sites, test samples for judging.

    `class_names` are empty where classes have numbers only; `benign` is the class that is no attack, in a set of
    traffic; `recipe` is how its images were made, if they are of flow records; `title` is the name to show beside
    figures, if it is another than that of the name.
    """

    name: str
    spec: ImageSpec
    train: Samples
    test: Samples
    class_names: tuple[str, ...] = ()
    benign: int | None = None
    recipe: FlowRecipe | None = None
    title: str = ""


class SiteData:
    """The private data of one site, grouped by class; pixels stay uint8 until a batch is used."""

    def __init__(self, samples: Samples, spec: ImageSpec) -> None:
        order = np.argsort(samples.labels, kind="stable")
        self._images = samples.images[order]
        self.spec = spec
        self.counts: NDArray[np.int64] = np.bincount(samples.labels, minlength=spec.classes).astype(np.int64)
        self._start = np.concatenate(([0], np.cumsum(self.counts)))

    def __len__(self) -> int:
        return len(self._images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the site holds, and of how it is to be normalised."""
        return hashlib.sha256(f"{Samples(self._images, self.labels).digest()}{self.spec}".encode()).hexdigest()

    @property
    def images(self) -> NDArray[np.uint8]:
        """All images, uint8 [n, channels, side, side], grouped by class."""
        return self._images

    @property
    def labels(self) -> NDArray[np.int64]:
        """The label of each of `images`."""
        return np.repeat(np.arange(self.spec.classes), self.counts)

    @property
    def classes_present(self) -> list[int]:
        """The classes of which the site holds at least one sample."""
        return [int(label) for label in np.flatnonzero(self.counts)]

    def of_class(
        self, label: int, indices: NDArray[np.int64] | None = None, device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """Normalised images of one class: all of them, or those at `indices` within the class."""
        images = self._images[self._start[label] : self._start[label + 1]]
        return self.spec.normalise(images if indices is None else images[indices], device)

    def draw(
        self,
        label: int,
        size: int | None,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """`size` normalised images of one class without replacement; all of them if there are no more, or if None."""
        return torch.cat(list(self.portions(label, size, generator, device)))

    def portions(
        self,
        label: int,
        size: int | None,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
    ) -> Iterator[torch.Tensor]:
        """What `draw` draws, in portions of at most 512: only those in use take four bytes a value."""
        held = int(self.counts[label])
        whole = size is None or size >= held
        chosen = np.arange(held) if whole else generator.choice(held, size, replace=False)
        for start in range(0, max(1, len(chosen)), _PORTION):
            yield self.of_class(label, chosen[start : start + _PORTION], device)
