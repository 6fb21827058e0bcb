"""Data sets of flow records, as settings.

The defaults are the paper's: windows of one class each, a random split, every column. Each of the others is what
somebody asks who wants to know how good a detector would be (`docs/flows.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from collab.data.base_settings import DatasetBase
from collab.data.flows.flow_format import BUILT_IN
from collab.document import PlacedError

SIDE = 64


class FlowSettings(DatasetBase):
    """How flow records become labelled images, whatever file they come from."""

    channels: ClassVar[int] = 1
    side: int = Field(SIDE, ge=16, le=64, description="pixels of an image's side: smaller ones are made of fewer flows")
    windows: Literal["label", "time"] = Field(
        "label",
        description="what an image is made of: flows of one class in their order, or whatever flows follow each other, "
        "as a detector sees them (its class is that of most of its flows)",
    )
    layout: Literal["packed", "rows"] = Field(
        "packed", description="the values of all flows one after another, or one flow in each row of pixels"
    )
    scaling: Literal["ranges", "station", "training"] = Field(
        "ranges",
        description="what becomes black and white: the ends of ranges that everybody knows, or the smallest and the "
        "largest value of the station's training flows, or of all stations' (which would take another round)",
    )
    leaking_columns: Literal["keep", "blank"] = Field(
        "keep", description="columns that give the class away (Seq, Offset): as they are, or black"
    )
    split: Literal["random", "blocks", "sessions"] = Field(
        "random",
        description="which images judge: any, the last of every capture session, or whole capture sessions",
    )
    test_share: float = Field(0.2, gt=0, lt=1, description="share of the images that judges")
    split_seed: int = Field(0, ge=0, lt=2**63, description="draws which images, or sessions, judge")
    pixels: Literal["grey", "binary"] = Field("grey", description="256 shades, or black and white at half the range")
    unseen: Mapping[str, tuple[str, ...]] = Field(
        {}, description="station -> classes or attacks of which it has no training images, though it is tested on them"
    )
    most_images: int = Field(
        200_000,
        ge=100,
        le=5_000_000,
        description="images held in memory at most; of more, every second is left out, or three of four, ...",
    )


class _NiddForm(FlowSettings):
    """What has the columns and the labels of 5G-NIDD."""

    classes: Literal["paper", "all", "two"] = Field(
        "paper", description="the paper's five classes, all nine kinds of traffic, or benign and malicious"
    )


class NiddSettings(_NiddForm):
    """5G-NIDD as published: Combined.csv, or BTS_1.csv and BTS_2.csv, in the data directory's folder 5g-nidd."""

    name: Literal["5g-nidd"]


class SyntheticNiddSettings(_NiddForm):
    """Synthetic traffic in the form of 5G-NIDD's files, written by this package where the files are not."""

    name: Literal["5g-nidd-synthetic"]
    stations: int = Field(2, ge=1, le=16, description="base stations; the third and further are another operator's")
    share: float = Field(1.0, gt=0, le=1, description="of the published numbers of flows")
    traffic_seed: int = Field(0, ge=0, lt=2**63, description="draws the flows")


class FlowCsvSettings(FlowSettings):
    """Flow records of your own, one file or a folder of them, read by a mapping of their columns."""

    name: Literal["flow-csv"]
    path: str = Field(
        min_length=1,
        description="file, or folder of .csv, .log, .tsv files: from here, beside the scenario, in the data directory",
    )
    mapping: str = Field(
        min_length=1,
        description="YAML file that says what the columns are, from here, beside the scenario, or beside path; or nidd",
    )

    @field_validator("path", "mapping")
    @classmethod
    def _beside_the_scenario(cls, named: str, info: ValidationInfo) -> str:
        """Of what is not found from here the path from here, if it lies beside the scenario that names it."""
        given = Path(named).expanduser()
        beside = (info.context or {}).get("folder", Path()) / given
        return str(beside) if named != BUILT_IN and not given.exists() and beside.exists() else named

    @model_validator(mode="after")
    def _check_mapping(self) -> FlowCsvSettings:
        if self.mapping != BUILT_IN and not self.mapping.endswith((".yaml", ".yml")):
            raise PlacedError(f'"{self.mapping}" is no YAML file; expected e.g. zeek.yaml, or {BUILT_IN}', "mapping")
        return self
