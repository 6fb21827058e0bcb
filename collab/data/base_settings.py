"""What the settings of all data sets, and of what is done with them, have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from collab.augment import Operation


class Settings(BaseModel):
    """Settings of data: immutable, and nothing unknown in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetBase(Settings):
    """What every data set takes."""

    train_samples: int | None = Field(None, ge=1, description="use only this many training samples, drawn once")
    test_samples: int | None = Field(None, ge=1, description="use only this many test samples, drawn once")
    augmentation: tuple[Operation, ...] | None = Field(
        None,
        description="operations of differentiable siamese augmentation, such as [color, crop]; [] for none, the set's "
        "own strategy if not given (no flip where mirrored images mean something else)",
    )
