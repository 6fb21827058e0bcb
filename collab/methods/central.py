"""Central distillation: all data at one site, distilled there. No deployment has such a site; it bounds what
sharing can reach.

Distribution matching as at a site of LocalDM, but on the whole training set and for the whole budget of images; with
`expand` it is the dashed line of the paper's Figure 2, whose hyper-parameters the paper does not state: here those of
distribution matching, with the standard deviations that the published code matches when it expands.

The preset `fair` has what CollabDM's refinement has, T = 200 networks and a learning rate of 10, and exact means, as no
number of sites could give better ones: the bound for as much work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from collab.data import ImageSpec
from collab.methods import Fleet, MethodSettings, Outcome, Sections, Site, Task, localdm
from collab.quantisation import BITS, ImageDtype

ONE_SITE = True
UPLOADS = frozenset({"synthetic"})
TASKS: frozenset[str] = frozenset()


class Settings(MethodSettings):
    """Settings of central distillation; the defaults are those of distribution matching (Zhao and Bilen 2023)."""

    steps: int = Field(20_000, ge=0, description="steps of distillation")
    batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        256, description="real images of each class in a step, or all that there are"
    )
    learning_rate: float = Field(1.0, gt=0, description="of the images")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the images")
    deviations: bool = Field(
        True, description="with expand, match standard deviations beside the means, as the published code does"
    )
    image_dtype: ImageDtype = Field("float32", description="of the uploaded images; uint8 has a range for each image")

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """The images of one class, of one channel."""
        return BITS[self.image_dtype] // 8 * share * side**2


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fair": {"steps": 200, "batch_size": "all", "learning_rate": 10.0, "momentum": 0.5, "deviations": False},
}


def client(task: Task, site: Site) -> Sections:
    """The distillation of all data."""
    local = _as_local(task.settings)
    return localdm.client(Task(task.identity, task.method, local, task.seed, task.share, task.sections), site)


async def server(fleet: Fleet) -> Outcome:
    """What the one site distilled."""
    union = await localdm.union_of(fleet, _as_local(fleet.settings))
    return Outcome(union, union)


def _as_local(settings: Settings) -> localdm.Settings:
    """The same distillation as LocalDM's, at the one site."""
    return localdm.Settings(
        **settings.model_dump(include=set(MethodSettings.model_fields)),
        local_steps=settings.steps,
        local_batch_size=settings.batch_size,
        local_learning_rate=settings.learning_rate,
        local_momentum=settings.momentum,
        local_deviations=settings.deviations,
        image_dtype=settings.image_dtype,
    )


# -- closed formulas -----------------------------------------------------------------------------


def upload_bytes(settings: Settings, images: ImageSpec, *, pictured: int, share: int) -> int:
    """Bytes of the tensors in the one upload, as LocalDM's."""
    return localdm.upload_bytes(_as_local(settings), images, pictured=pictured, share=share)


def client_operations(settings: Settings, images: ImageSpec, counts: Sequence[int], share: int) -> int:
    """Floating-point operations of `client` with `counts` samples of each class, as LocalDM's."""
    return localdm.client_operations(_as_local(settings), images, counts, share)
