"""LocalDM: every site distils its own data by distribution matching; the server takes the union.

The baseline of the CollabDM paper (section 5). One upload of synthetic images a site, no refinement: under skew
the union does not match the global distribution, which is what CollabDM mends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from collab.augment import siamese
from collab.compute import report
from collab.data import ImageSpec
from collab.matching import (
    Descent,
    SyntheticSet,
    assemble,
    class_moments,
    cut,
    draw_with_spares,
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
from collab.nets import operations_per_image, seeded_network
from collab.pooling import Union
from collab.quantisation import BITS, ImageDtype
from simnet.draws import generator, key

UPLOADS = frozenset({"synthetic"})
TASKS: frozenset[str] = frozenset()


class Settings(MethodSettings):
    """Settings of LocalDM; the defaults are the paper's."""

    local_steps: int = Field(1000, ge=0, description="steps of distillation at each site")
    local_batch_size: int = Field(256, ge=1, description="real images of each class in a step")
    local_learning_rate: float = Field(1.0, gt=0)
    local_momentum: float = Field(0.5, ge=0, lt=1)
    image_dtype: ImageDtype = Field("float32", description="of the uploaded images; uint8 has a range for each image")

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """The images of one class, of one channel."""
        return BITS[self.image_dtype] // 8 * share * side**2


def client(task: Task, site: Site) -> Sections:
    """The site's own distillation."""
    synthetic = distil_locally(task.settings, site, task.share, task.seed)
    return {} if synthetic is None else {"synthetic": synthetic_section(synthetic, task.settings.image_dtype)}


async def server(fleet: Fleet) -> Outcome:
    """The union of what the sites distilled."""
    settings: Settings = fleet.settings
    pool = InitialPool(fleet.images, settings, fleet.seed)
    ask = Ask(expects={"synthetic": expected_synthetic(fleet.images, fleet.share, settings.image_dtype)})
    async for upload in fleet.ask(dict.fromkeys(fleet.sites, ask)):
        if "synthetic" in upload.sections:
            pool.add(upload.site, *read_synthetic(upload.sections["synthetic"]))
    union = pool.synthetic()
    return Outcome(union, union)


def distil_locally(settings: Settings, site: Site, share: int, seed: int) -> SyntheticSet | None:
    """`share` images for each class that the site holds, by distribution matching on its own data; None if it
    holds none.

    Each step draws a new random network and a batch of each class. With partition-and-expand the standard
    deviations are matched beside the means, as in the published code (neither in DM nor in IDM).
    """
    data = site.data
    classes = data.classes_present
    if not classes:
        return None
    starts = generator(seed, "distillation", site.name, "start")

    def draw(label: int, size: int) -> Tensor:
        indices = draw_with_spares(int(data.counts[label]), size, starts)
        return data.of_class(label, indices, site.device.torch)

    synthetic = initial_set(draw, classes, share, settings.expand)
    descent = Descent(synthetic, settings.local_learning_rate, settings.local_momentum)
    network = seeded_network(settings.network(data.spec), 0, site.device)
    strategy = settings.strategy(data.spec)
    for step in range(settings.local_steps):
        step_key = key(seed, "distillation", site.name, step)
        network.reseed(step_key)
        augmentations = [siamese(strategy, generator(step_key, "augment", label)) for label in classes]
        batches = [
            data.portions(label, settings.local_batch_size, generator(step_key, "batch", label), site.device.torch)
            for label in classes
        ]
        target = class_moments(network, batches, classes, augmentations, deviations=settings.expand > 1)
        descent.step_toward(network, target, augmentations)
        report(f"{site.name} distils", step + 1, settings.local_steps)
    return synthetic


def client_operations(settings: Settings, images: ImageSpec, counts: Sequence[int], share: int) -> int:
    """Closed formula: floating-point operations of `distil_locally` at a site with `counts` samples of each class.

    S sum_y (min(n_y, B) F + share expand^2 (F + G)) over the classes that it holds, where S is the number of steps, F
    what one image takes forward and G what the gradient takes back to it. What `collab.compute` counts while the job
    runs is the same, as a test says.
    """
    cost = operations_per_image(settings.network(images))
    held = [count for count in counts if count > 0]
    real = sum(min(count, settings.local_batch_size) for count in held) * cost.forward
    synthetic = len(held) * share * settings.expand**2 * (cost.forward + cost.backward_to_image)
    return settings.local_steps * (real + synthetic)


class InitialPool(Union):
    """The sites' synthetic images, of which the server keeps `images_per_class` a class.

    Where the sites together send too few of a class, because some hold none of it, the set is filled up with new
    mosaics of the tiles that came (or, without expand, with copies).
    """

    def __init__(self, images: ImageSpec, settings: MethodSettings, seed: int) -> None:
        super().__init__(images, settings.images_per_class, seed, "initial")
        self._settings = settings

    def synthetic(self) -> SyntheticSet:
        """The set, sorted by class; a class that no site sent is missing."""
        union, factor = super().synthetic(), self._settings.expand
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
