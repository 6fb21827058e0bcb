"""All that makes an image of flow records: what a detector needs beside its weights to look at new ones.

Of n features, f flows make an image [1, side, side]. A `packed` one holds the f n values one after another, row by row,
and what goes beyond the last pixel is left out (the paper's 94 flows of 44 values make 4,136, of which 40 are cut off);
a feature therefore stands elsewhere in each row. In `rows` each row of pixels is one flow, its last pixels black.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from collab.data.base_settings import Settings
from collab.data.flows.flow_format import FlowFormat
from collab.document import PlacedError
from collab.errors import DataError

EVERYWHERE = ""
"""The key of ranges that hold at each station."""
Range = tuple[float, float]


class FlowRecipe(Settings):
    """From flow records to images; `ranges` are those of each feature, by station or `EVERYWHERE`."""

    format: FlowFormat
    layout: Literal["packed", "rows"]
    side: int = Field(ge=8, le=256)
    windows: Literal["label", "time"]
    pixels: Literal["grey", "binary"]
    blank: tuple[str, ...]
    ranges: Mapping[str, tuple[Range, ...]]

    @model_validator(mode="after")
    def _check(self) -> FlowRecipe:
        features = {feature.column for feature in self.format.features}
        for name, ranges in self.ranges.items():
            if len(ranges) != len(features):
                raise PlacedError(f"found {len(ranges)} ranges for {len(features)} features", "ranges", name)
        if unknown := sorted(set(self.blank) - features):
            raise PlacedError(f"{unknown[0]} is no feature", "blank")
        return self

    @cached_property
    def flows_per_image(self) -> int:
        """Flows that make an image."""
        return self.format.flows_per_image(self.side, self.layout)

    @property
    def stations(self) -> tuple[str, ...]:
        """The stations that have ranges of their own; none if all have the same."""
        return tuple(name for name in self.ranges if name != EVERYWHERE)

    def render(self, values: NDArray[Any], station: str = EVERYWHERE) -> NDArray[np.uint8]:
        """Images, uint8 [n, 1, side, side], of flows [n, flows_per_image, features], NaN where a value is missing.

        Raises `DataError` for a station that the recipe has no ranges of.
        """
        low, factor, logarithmic, seen = self._scales(station)
        scaled = np.array(values, dtype=np.float32)
        with np.errstate(invalid="ignore"):
            scaled[..., logarithmic] = np.log1p(np.maximum(scaled[..., logarithmic], 0))
            scaled -= low
            scaled *= factor
        scaled[..., ~seen] = 0
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(scaled, 0, 1, out=scaled)
        shades = np.where(scaled >= 0.5, 255, 0) if self.pixels == "binary" else np.rint(scaled * 255)
        return self._laid_out(shades.astype(np.uint8))

    def _laid_out(self, shades: NDArray[np.uint8]) -> NDArray[np.uint8]:
        images, flows, features = shades.shape
        if self.layout == "packed":
            return shades.reshape(images, flows * features)[:, : self.side**2].reshape(images, 1, self.side, self.side)
        laid = np.zeros((images, 1, self.side, self.side), np.uint8)
        laid[:, 0, :, :features] = shades
        return laid

    def _scales(
        self, station: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each feature: the lower end, one over the length of the range, whether it is logarithmic, and is used."""
        ranges = self.ranges.get(station, self.ranges.get(EVERYWHERE))
        if ranges is None:
            known = ", ".join(self.stations)
            raise DataError(f'there are no ranges of a station "{station}" (known: {known}); name one of them')
        features = self.format.features
        logarithmic = np.array([feature.scale == "log" for feature in features])
        ends = np.array(ranges, dtype=np.float64)
        ends[logarithmic] = np.log1p(np.maximum(ends[logarithmic], 0))
        length = ends[:, 1] - ends[:, 0]
        factor = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
        seen = np.array([feature.column not in self.blank for feature in features])
        return ends[:, 0].astype(np.float32), factor.astype(np.float32), logarithmic, seen
