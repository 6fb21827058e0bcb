"""Sums of a site's embeddings, class by class, as the site gives them away once: clipped, and under noise.

What `collab.privacy.gaussian_mechanism` promises of the noise rests on what is summed here: a sample adds to the row of
its own class under each network, by no more than `clip_norm`, and 1 to the count of that class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from collab.compute import Device, report
from collab.content_cache import content_digest, remembered
from collab.data import ImageSpec, SiteData
from collab.document import PlacedError
from collab.errors import RunFailedError
from collab.expectations import Expected, expected_numbers
from collab.matching import clipped_sums
from collab.nets import NetworkSpec, reseeded, seeded_network
from collab.privacy.gaussian_mechanism import PrivacySettings, Release
from collab.privacy.site_secret import SECRET_BYTES, secret_for
from collab.quantisation import EmbeddingDtype, as_section, size_bytes
from collab.refinement import AugmentationSettings, class_augmentations
from collab.wire import Section, encode
from simnet.draws import generator

_LARGEST: Mapping[str, float] = {"float16": 65504.0}
_NOISE_AT_MOST = 9.0  # standard deviations: more than any draw of noise can be


class ReleaseSettings(AugmentationSettings, Protocol):
    """What of a method's settings decides about a release."""

    @property
    def augmentations(self) -> int:
        """A, the sums per network."""

    @property
    def initial(self) -> str:
        """What the server starts from."""

    @property
    def batch_size(self) -> int | Literal["all"]:
        """B, the samples behind a sum."""

    @property
    def weighting(self) -> str:
        """How sites are weighed."""

    @property
    def networks_served(self) -> int:
        """The networks under which the sites embed their data."""

    @property
    def embedding_dtype(self) -> EmbeddingDtype:
        """The type in which the sums travel."""

    def network(self, images: ImageSpec) -> NetworkSpec:
        """The network that embeds such images."""


def check_private(settings: ReleaseSettings) -> None:
    """Raise `PlacedError` for settings beside which no sample would be hidden."""
    if settings.initial != "noise":
        raise PlacedError(
            f"found {settings.initial}, but there is privacy: images that sites distil start as copies of their "
            "samples and have no noise on them; set initial: noise",
            "initial",
        )
    for name, needed, why in (
        ("batch_size", "all", "the noise hides a sample in one sum over all of them"),
        ("weighting", "counts", "the noise is on sums, which add up; means of sites do not"),
    ):
        if getattr(settings, name) != needed:
            message = f"found {getattr(settings, name)}, but there is privacy: {why}; set {name}: {needed}"
            raise PlacedError(message, name)


def release_of(settings: ReleaseSettings, privacy: PrivacySettings) -> Release:
    """The one release of a site. A site that serves fewer networks than there are adds noise for all of them."""
    return privacy.release(settings.networks_served * settings.augmentations)


def private_sums(
    settings: ReleaseSettings,
    release: Release,
    data: SiteData,
    device: Device,
    served: Sequence[tuple[int, int]],
    secret: bytes,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Noisy sums [A T_k, C, D] and counts [C] of all classes, also of those that the site does not hold.

    `served` are the iterations and seeds of the T_k networks. The noise follows from the site's `secret` and from
    everything that is released, so that the same release comes out the same, and no other has the same noise. Raises
    `RunFailedError` for more networks than the release has noise for, and for a site without a secret.
    """
    rows = len(served) * settings.augmentations
    if rows > release.rows:
        raise RunFailedError(
            f"the server asks for sums under {rows} networks and augmentations, the noise hides a sample under "
            f"{release.rows}; this site gives none"
        )
    if len(secret) != SECRET_BYTES:
        raise RunFailedError(f"noise needs a secret of the site of {SECRET_BYTES} B, found {len(secret)} B")
    drawn = (settings.network(data.spec), settings.strategy(data.spec), settings.augmentations, release.clip_norm)
    parts = (*drawn, data.digest, list(served))
    sums = remembered("clipped sums", device, parts, lambda: _exact_sums(settings, release, data, device, served))
    key = secret_for(secret, "gaussian noise", content_digest(release, *parts))
    return release.noisy(sums, data.counts, key)


def _exact_sums(
    settings: ReleaseSettings, release: Release, data: SiteData, device: Device, served: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """The sums before the noise, which stay where they are."""
    spec, classes = settings.network(data.spec), data.classes_present
    sums = np.zeros((len(served) * settings.augmentations, spec.classes, spec.embedding_size))
    networks = reseeded(seeded_network(spec, 0, device), [seed for _, seed in served])
    for position, ((_, seed), network) in enumerate(zip(served, networks, strict=True)):
        for number in range(settings.augmentations):
            batches = [data.portions(label, None, generator(seed), device.torch) for label in classes]
            augmentations = class_augmentations(settings, data.spec, seed, classes, number)
            found = clipped_sums(network, batches, augmentations, release.clip_norm)
            sums[position * settings.augmentations + number, classes] = found.cpu().numpy()
        report("embedded for a private release", position + 1, len(served))
    return sums


def sums_section(sums: NDArray[np.float64], counts: NDArray[np.int64], dtype: EmbeddingDtype) -> Section:
    """Sums and counts as they travel. Raises `RunFailedError` if the type is too small for them."""
    largest = float(np.abs(sums).max(initial=0.0))
    if largest > _LARGEST.get(dtype, np.inf):
        raise RunFailedError(
            f"sums of embeddings reach {largest:.4g}, {dtype} holds {_LARGEST[dtype]:g}; set embedding_dtype: float32, "
            "or bfloat16"
        )
    return {"counts": encode(counts, "int64"), **as_section("sums", sums.astype(np.float32), dtype)}


def expected_sums(
    release: Release, rows: int, spec: NetworkSpec, dtype: EmbeddingDtype, most: int
) -> Mapping[str, Expected]:
    """What `sums_section` makes of `rows` sums at a site of at most `most` samples of a class."""
    counts = most + round(_NOISE_AT_MOST * release.count_deviation)
    sums = most * release.clip_norm + _NOISE_AT_MOST * release.sum_deviation
    return {
        "counts": Expected("int64", (spec.classes,), -counts, counts),
        **expected_numbers("sums", dtype, (rows, spec.classes, spec.embedding_size), largest=sums),
    }


def most_noise(release: Release, sites: int) -> tuple[float, float]:
    """More than the noise of `sites` sites on an entry of the sums, and on a count, can ever be."""
    return sites * _NOISE_AT_MOST * release.sum_deviation, sites * (_NOISE_AT_MOST * release.count_deviation + 1)


def sums_bytes(dtype: EmbeddingDtype, rows: int, spec: NetworkSpec) -> int:
    """Closed formula: bytes of the tensors of `sums_section`, b D C rows + 8 C, and 8 B for each quantised vector."""
    vectors = rows * spec.classes
    return size_bytes(dtype, vectors * spec.embedding_size, vectors) + 8 * spec.classes
