"""The data sets that a scenario can name, as settings: each valid by itself, none read.

Every class knows `channels` and `side`, the shape of the images, before any file is opened.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from collab.data.base_settings import DatasetBase
from collab.data.flows.settings import FlowCsvSettings, NiddSettings, SyntheticNiddSettings
from collab.document import PlacedError


class DigitsSettings(DatasetBase):
    """1,797 handwritten digits that come with the package; needs no download."""

    name: Literal["digits"]
    channels: ClassVar[int] = 1
    side: int = Field(16, ge=16, le=64, description="pixels that the 8x8 images are enlarged to")


class IdxSettings(DatasetBase):
    """MNIST or Fashion-MNIST, 1x28x28, from the data directory or by download."""

    name: Literal["mnist", "fashion-mnist"]
    channels: ClassVar[int] = 1
    side: ClassVar[int] = 28


class Cifar10Settings(DatasetBase):
    """CIFAR-10, 3x32x32, in the published binary or python form, from the data directory or by download."""

    name: Literal["cifar10"]
    channels: ClassVar[int] = 3
    side: ClassVar[int] = 32


class Cifar10JpegSettings(DatasetBase):
    """CIFAR-10 (JPEG), 3x32x32: lossy copies, from the archive or folder cifar10-images in the data directory."""

    name: Literal["cifar10-jpeg"]
    channels: ClassVar[int] = 3
    side: ClassVar[int] = 32


class SvhnSettings(DatasetBase):
    """SVHN without its extra part, 3x32x32, in the published .mat form, from the data directory or by download."""

    name: Literal["svhn"]
    channels: ClassVar[int] = 3
    side: ClassVar[int] = 32


class ImageFolderSettings(DatasetBase):
    """Any folder of images, whose sub-folders are the classes, or hold the classes if they are train and test."""

    name: Literal["image-folder"]
    path: str = Field(min_length=1, description="relative to the current directory or the data directory")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour; images are converted")
    side: int = Field(32, ge=8, le=256, description="pixels; the middle square of an image is scaled to this")
    test_share: float = Field(0.2, gt=0, lt=1, description="share of each class that judges, if there is no test/")
    split_seed: int = Field(0, ge=0, lt=2**63, description="draws which images judge, if there is no test/")
    mean: tuple[float, ...] | None = Field(
        None, description="of each channel, of pixels in [0, 1]; that of the training part if not given"
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="of each channel, of pixels in [0, 1]; that of the training part if not given"
    )

    @model_validator(mode="after")
    def _one_number_a_channel(self) -> ImageFolderSettings:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise PlacedError(f"{len(values)} numbers for {self.channels} channels; expected one each", key)
        return self


class GaussiansSettings(DatasetBase):
    """Random smooth images with noise, for tests and for measuring."""

    name: Literal["gaussians"]
    classes: int = Field(4, ge=2, le=256, description="number of classes")
    channels: Literal[1, 3] = Field(1, description="1 for grey, 3 for colour")
    side: int = Field(16, ge=8, le=64, description="pixels of a side")
    samples_per_class: int = Field(100, ge=1, description="of the training part; the test part has half as many")


ImageSettings = (
    DigitsSettings
    | IdxSettings
    | Cifar10Settings
    | Cifar10JpegSettings
    | SvhnSettings
    | ImageFolderSettings
    | GaussiansSettings
)
AnyDatasetSettings = ImageSettings | NiddSettings | SyntheticNiddSettings | FlowCsvSettings
DatasetSettings = Annotated[AnyDatasetSettings, Field(discriminator="name")]
