"""Central distillation: all data at one site, distilled there. No deployment has such a site; it bounds what
sharing can reach.

Distribution matching as at a site of LocalDM, but on the whole training set and for the whole budget of images; with
`expand` it is the dashed line of the paper's Figure 2, whose hyper-parameters the paper does not state.
"""

from __future__ import annotations

from pydantic import Field

from collab.methods import Fleet, MethodSettings, Outcome, Sections, Site, Task, localdm
from collab.quantisation import BITS, ImageDtype

ONE_SITE = True
UPLOADS = frozenset({"synthetic"})
TASKS: frozenset[str] = frozenset()


class Settings(MethodSettings):
    """Settings of central distillation; the defaults are those of distribution matching (Zhao and Bilen 2023)."""

    steps: int = Field(20_000, ge=0, description="steps of distillation")
    batch_size: int = Field(256, ge=1, description="real images of each class in a step")
    learning_rate: float = Field(1.0, gt=0)
    momentum: float = Field(0.5, ge=0, lt=1)
    image_dtype: ImageDtype = Field("float32", description="of the uploaded images; uint8 has a range for each image")

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """The images of one class, of one channel."""
        return BITS[self.image_dtype] // 8 * share * side**2


def client(task: Task, site: Site) -> Sections:
    """The distillation of all data."""
    settings: Settings = task.settings
    shared = settings.model_dump(include=set(MethodSettings.model_fields))
    local = localdm.Settings(
        **shared,
        local_steps=settings.steps,
        local_batch_size=settings.batch_size,
        local_learning_rate=settings.learning_rate,
        local_momentum=settings.momentum,
        image_dtype=settings.image_dtype,
    )
    return localdm.client(Task(task.identity, task.method, local, task.seed, task.share, task.sections), site)


async def server(fleet: Fleet) -> Outcome:
    """What the one site distilled."""
    return await localdm.server(fleet)
