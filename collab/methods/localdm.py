"""LocalDM: every site distils its own data by distribution matching; the server takes the union.

The baseline of the CollabDM paper (section 5). One upload of synthetic images a site, no refinement: under skew
the union does not match the global distribution, which is what CollabDM mends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from collab.augment import OPERATIONS, Operation, siamese
from collab.compute import report
from collab.content_cache import remembered
from collab.data import ImageSpec
from collab.matching import (
    Descent,
    SyntheticSet,
    assemble,
    class_moments,
    cut,
    draw_with_spares,
    follow,
    initial_set,
)
from collab.methods import (
    Ask,
    Fleet,
    MethodSettings,
    Outcome,
    Sections,
    Site,
    Task,
    expected_synthetic,
    read_synthetic,
    synthetic_section,
)
from collab.nets import operations_per_image, reseeded, seeded_network
from collab.pooling import Union
from collab.quantisation import BITS, ImageDtype, size_bytes
from simnet.draws import generator, key

UPLOADS = frozenset({"synthetic"})
TASKS: frozenset[str] = frozenset()


class Settings(MethodSettings):
    """Settings of LocalDM; the defaults are the paper's."""

    local_steps: int = Field(1000, ge=0, description="steps of distillation at each site")
    local_batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        256, description="real images of each class in a step, or all that the site holds"
    )
    local_learning_rate: float = Field(1.0, gt=0, description="of the images, at a site")
    local_momentum: float = Field(0.5, ge=0, lt=1, description="of the images, at a site")
    local_deviations: bool = Field(
        True, description="with expand, match standard deviations at the sites, too, as the published code does"
    )
    image_dtype: ImageDtype = Field("float32", description="of the uploaded images; uint8 has a range for each image")
    share: Literal["ceil", "floor", "plus-one"] = Field(
        "ceil",
        description="images per class of a site: images_per_class / sites rounded up, rounded down as in the paper "
        "(but at least 1), or rounded down and 1 more as in the published code",
    )
    initial: Literal["random", "union"] = Field(
        "random",
        description="what the server starts from: images_per_class of the sites' images, drawn, and filled up where "
        "they are fewer; or all that came as in the paper, so that the server's memory grows with the sites",
    )
    step: Literal["joint", "per-class"] = Field(
        "joint",
        description="one step along the sum over classes, or one for each class with a common momentum as in the "
        "published code (a momentum of 0.5 then doubles the learning rate)",
    )
    augment_with: Literal["dataset", "all"] = Field(
        "dataset",
        description="the data set's augmentations, or all six as in the published code, which flips digits, too",
    )

    def strategy(self, images: ImageSpec) -> tuple[Operation, ...]:
        """The augmentations in use."""
        chosen = super().strategy(images)
        return OPERATIONS if self.augment and self.augment_with == "all" else chosen

    def images_per_site(self, sites: int) -> int:
        """Images per class that each of `sites` sites is to distil."""
        match self.share:
            case "floor":
                return max(self.images_per_class // sites, 1)
            case "plus-one":
                return self.images_per_class // sites + 1
            case _:
                return super().images_per_site(sites)

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """The images of one class, of one channel."""
        return BITS[self.image_dtype] // 8 * share * side**2


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # What the published code does where it departs from the paper (fact sheet, section 13).
    "published": {
        "local_steps": 401,
        "local_batch_size": 256,
        "local_learning_rate": 1.0,
        "local_momentum": 0.5,
        "local_deviations": True,
        "image_dtype": "float32",
        "share": "plus-one",
        "initial": "random",
        "step": "per-class",
        "augment_with": "all",
    },
}


def client(task: Task, site: Site) -> Sections:
    """The site's own distillation."""
    synthetic = distil_locally(task.settings, site, task.share, task.seed)
    return {} if synthetic is None else {"synthetic": synthetic_section(synthetic, task.settings.image_dtype)}


async def server(fleet: Fleet) -> Outcome:
    """The union of what the sites distilled."""
    union = await union_of(fleet, fleet.settings)
    return Outcome(union, union)


async def union_of(fleet: Fleet, settings: Settings) -> SyntheticSet:
    """Ask every site for its own distillation and put these together."""
    pool = InitialPool(fleet.images, settings, fleet.seed)
    ask = Ask(expects={"synthetic": expected_synthetic(fleet.images, fleet.share, settings.image_dtype)})
    async for upload in fleet.ask(dict.fromkeys(fleet.sites, ask)):
        if "synthetic" in upload.sections:
            pool.add(upload.site, *read_synthetic(upload.sections["synthetic"]))
    return pool.synthetic()


def distil_locally(settings: Settings, site: Site, share: int, seed: int) -> SyntheticSet | None:
    """`share` images for each class that the site can distil, by distribution matching on its own data; None if it
    holds none, no images if it holds too little of every class. Every method that starts from these shares them.
    """
    own = settings.model_dump(mode="json", include=set(Settings.model_fields))
    parts = (own, site.name, site.data.digest, share, seed)
    return remembered("distil locally", site.device, parts, partial(_distil, settings, site, share, seed))


def _distil(settings: Settings, site: Site, share: int, seed: int) -> SyntheticSet | None:
    """As `distil_locally` says.

    Each step draws a new random network and a batch of each class. With partition-and-expand the standard
    deviations are matched beside the means, as in the published code (neither in DM nor in IDM).
    """
    data = site.data
    if not data.classes_present:
        return None
    classes = distillable(data.counts.tolist(), share)
    if not classes:
        nothing = torch.zeros((0, data.spec.channels, data.spec.side, data.spec.side), device=site.device.torch)
        return SyntheticSet(nothing, torch.zeros(0, dtype=torch.int64), settings.expand)
    starts = generator(seed, "distillation", site.name, "start")

    def draw(label: int, size: int) -> Tensor:
        indices = draw_with_spares(int(data.counts[label]), size, starts)
        return data.of_class(label, indices, site.device.torch)

    synthetic = initial_set(draw, classes, share, settings.expand)
    descent = Descent(synthetic, settings.local_learning_rate, settings.local_momentum)
    strategy = settings.strategy(data.spec)
    size = None if settings.local_batch_size == "all" else settings.local_batch_size
    deviations = settings.local_deviations and settings.expand > 1
    step_keys = [key(seed, "distillation", site.name, step) for step in range(settings.local_steps)]
    networks = reseeded(seeded_network(settings.network(data.spec), 0, site.device), step_keys)
    for step, (step_key, network) in enumerate(zip(step_keys, networks, strict=True)):
        augmentations = [siamese(strategy, generator(step_key, "augment", label)) for label in classes]
        batches = [
            data.portions(label, size, generator(step_key, "batch", label), site.device.torch) for label in classes
        ]
        target = class_moments(network, batches, classes, augmentations, deviations=deviations)
        follow(descent, network, target, augmentations, settings.step)
        report(f"{site.name} distils", step + 1, settings.local_steps)
    return synthetic


def distillable(counts: Sequence[int], share: int) -> list[int]:
    """The classes of which a site can distil `share` images: those of which it holds more samples than that.

    Of fewer, the images that match the samples best are the samples themselves: the descent would start at them and
    never leave them, and raw data stays home.
    """
    return [label for label, held in enumerate(counts) if held > share]


def client_operations(settings: Settings, images: ImageSpec, counts: Sequence[int], share: int) -> int:
    """Closed formula: floating-point operations of `distil_locally` at a site with `counts` samples of each class.

    S sum_y (min(n_y, B) F + share expand^2 (F + G)) over the classes that it can distil, where S is the number of
    steps, F what one image takes forward and G what the gradient takes back to it. What `collab.compute` counts while
    the job runs is the same, as a test says.
    """
    cost = operations_per_image(settings.network(images))
    held = [counts[label] for label in distillable(counts, share)]
    real = (
        sum(count if settings.local_batch_size == "all" else min(count, settings.local_batch_size) for count in held)
        * cost.forward
    )
    synthetic = len(held) * share * settings.expand**2 * (cost.forward + cost.backward_to_image)
    return settings.local_steps * (real + synthetic)


def upload_bytes(settings: Settings, images: ImageSpec, *, pictured: int, share: int) -> int:
    """Closed formula: bytes of the tensors in one upload, without the envelope: `share` images and 1 B a label for each
    of the classes that the site can distil.
    """
    number = share * pictured
    return size_bytes(settings.image_dtype, number * images.pixels, number) + number


class InitialPool(Union):
    """The sites' synthetic images, of which the server keeps `images_per_class` a class; all, if it starts from those.

    Where the sites together send too few of a class, because some hold none of it, the set is filled up with new
    mosaics of the tiles that came (or, without expand, with copies).
    """

    def __init__(self, images: ImageSpec, settings: Settings, seed: int) -> None:
        super().__init__(images, None if settings.initial == "union" else settings.images_per_class, seed, "initial")
        self._settings = settings

    def synthetic(self) -> SyntheticSet:
        """The set, sorted by class; a class that no site sent is missing."""
        union, factor = super().synthetic(), self._settings.expand
        if self._settings.initial == "union":
            return SyntheticSet(union.images, union.labels, factor)
        filled = [self._filled(union.of_class(label), label) for label in union.classes()]
        labels = np.repeat(np.asarray(union.classes(), dtype=np.int64), self._settings.images_per_class)
        return SyntheticSet(torch.cat([union.images[:0], *filled]), torch.from_numpy(labels), factor)

    def _filled(self, own: Tensor, label: int) -> Tensor:
        missing = self._settings.images_per_class - len(own)
        if missing == 0:
            return own
        factor = self._settings.expand
        tiles = cut(own, factor)
        chosen = draw_with_spares(len(tiles), missing * factor**2, generator(self._seed, "initial", "fill", label))
        return torch.cat([own, assemble(tiles[torch.from_numpy(chosen)], factor)])
