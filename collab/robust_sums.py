"""Class means of many sites of which a few may lie: sums of groups of sites, and what their middle says.

The mean over sites follows whoever shouts loudest: one site of a thousand that sends means a thousand times too long,
or claims all samples, moves it wherever it likes. Against that there are two means, apart or together:

- Norm clipping: a site's mean that is longer than `clip_norm` is shortened to it. It bounds what a site can do with a
  sample that it claims, not how many it claims.
- Groups: the sites are dealt at random, by the run's seed, to G groups whose sums are kept apart. The target is the
  median of the groups' means, coordinate by coordinate (median of means; Yin et al., "Byzantine-Robust Distributed
  Learning", ICML 2018, arXiv:1803.01498), or their mean without the highest and lowest (trimmed). Lies stay within
  their groups: with fewer liars than half of the groups that hold a class the median is within what honest ones say.

The server's memory is G times that of the plain sums, however many sites there are. The price: honest sites that differ
(few hold a class, or theirs looks different) are taken for liars, too, so that skewed data are matched less well.
Images that sites distil are not judged: a server that starts from noise takes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from collab.embedding_sums import EmbeddingSums, SumSettings
from collab.matching import Moments
from collab.nets import NetworkSpec
from simnet.draws import generator

_FEWEST_TO_TRIM = 3


class RobustSettings(BaseModel):
    """How a few sites are kept from moving the means of all."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clip_norm: float | None = Field(
        None, gt=0, le=1e5, description="longest mean of a site's class under one network; longer ones are shortened"
    )
    groups: int | None = Field(
        None,
        ge=3,
        le=1000,
        description="G: of sites, dealt at random, whose means are kept apart; null for one group",
    )
    combine: Literal["median", "trimmed"] = Field(
        "median", description="the groups' median, or their mean without the highest and lowest"
    )
    trim: float = Field(
        0.2, gt=0, lt=0.5, description="of trimmed: the share of the groups left out at each end, one at least"
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.clip_norm is None and self.groups is None:
            raise ValueError("neither clip_norm nor groups is given, so that nothing is robust; give one, or both")
        return self


class RobustSumSettings(SumSettings, Protocol):
    """What of a method's settings decides about sums that may be robust."""

    @property
    def robust(self) -> RobustSettings | None:
        """How; None for plain sums."""


class GroupedSums:
    """The sums of each group of sites, and their middle as the target of all."""

    def __init__(
        self, settings: SumSettings, robust: RobustSettings, spec: NetworkSpec, sites: Sequence[str], seed: int
    ) -> None:
        groups = robust.groups or 1
        self._robust = robust
        self._groups = [EmbeddingSums(settings, spec, robust.clip_norm) for _ in range(min(groups, len(sites)))]
        order = generator(seed, "robust groups").permutation(len(sites))
        self._group_of = {sites[site]: place % groups for place, site in enumerate(order.tolist())}

    def of(self, site: str) -> EmbeddingSums:
        """The sums of the group of a site."""
        return self._groups[self._group_of[site]]

    def classes(self, least: int = 1) -> list[int]:
        """The classes whose weights come to `least` or more in some group under some network, ascending."""
        return sorted({label for group in self._groups for label in group.classes(least)})

    def target(self, iteration: int, present: Sequence[int], augmentation: int = 0) -> Moments:
        """The middle of the groups' means at one iteration, of those classes in `present` that some group holds."""
        held: dict[int, list[torch.Tensor]] = {}
        for group in self._groups:
            moments = group.target(iteration, present, augmentation)
            for label, mean in zip(moments.classes, moments.means, strict=True):
                held.setdefault(label, []).append(mean)
        classes = sorted(held)
        middles = [self._middle(torch.stack(held[label])) for label in classes]
        size = self._groups[0].shape[2]
        return Moments(classes, torch.stack(middles) if middles else torch.zeros((0, size)))

    def _middle(self, means: torch.Tensor) -> torch.Tensor:
        """The middle [D] of means [groups, D]. Of two in the middle the median takes their mean, as numpy does."""
        if self._robust.combine == "median":
            return torch.from_numpy(np.median(means.numpy(), axis=0))
        # Of three or four groups a fifth is none: the highest and the lowest are left out all the same.
        left_out = max(int(self._robust.trim * len(means)), int(len(means) >= _FEWEST_TO_TRIM))
        return means.sort(dim=0).values[left_out : len(means) - left_out].mean(dim=0)


def sums_for(
    settings: RobustSumSettings, spec: NetworkSpec, sites: Sequence[str], seed: int
) -> EmbeddingSums | GroupedSums:
    """The sums of the sites, robust if the settings say so."""
    if settings.robust is None:
        return EmbeddingSums(settings, spec)
    return GroupedSums(settings, settings.robust, spec, sites, seed)
