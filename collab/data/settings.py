"""The data sets that a scenario can name, as settings: each valid by itself, none read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Settings of data: immutable, and nothing unknown in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _DatasetSettings(Settings):
    train_samples: int | None = Field(None, ge=1, description="use only this many training samples, drawn once")
    test_samples: int | None = Field(None, ge=1, description="use only this many test samples, drawn once")


class DigitsSettings(_DatasetSettings):
    """1,797 handwritten digits that come with the package; needs no download."""

    name: Literal["digits"]
    side: int = Field(16, ge=16, le=64, description="pixels that the 8x8 images are enlarged to")


class IdxSettings(_DatasetSettings):
    """MNIST or Fashion-MNIST, 28x28, from the data directory or by download."""

    name: Literal["mnist", "fashion-mnist"]


class GaussiansSettings(_DatasetSettings):
    """Random smooth images with noise, for tests and for measuring."""

    name: Literal["gaussians"]
    classes: int = Field(4, ge=2, le=256)
    channels: Literal[1, 3] = 1
    side: int = Field(16, ge=8, le=64)
    samples_per_class: int = Field(100, ge=1)


DatasetSettings = Annotated[DigitsSettings | IdxSettings | GaussiansSettings, Field(discriminator="name")]
