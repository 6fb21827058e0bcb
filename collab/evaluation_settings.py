"""How results are judged, as settings; protocols have short names.

`evaluation: paper` is the protocol of the CollabDM paper (section 5; its code trains one network): 1,001 epochs, 20
networks on each of 5 independent synthetic sets. `evaluation: quick` is for a look in minutes on two cores, one set
and three networks; it is no figure to report. Either may be given with exceptions: `{protocol: paper, repeats: 3}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from collab.document import PlacedError
from collab.nets import ArchitectureName

Protocol = Literal["paper", "quick"]

PROTOCOLS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": MappingProxyType({"epochs": 1001, "sets": 5, "repeats": 20}),
        "quick": MappingProxyType({"epochs": 150, "sets": 1, "repeats": 3}),
    }
)
"""What a protocol stands for, beyond the defaults, which are the paper's."""


class EvaluationSettings(BaseModel):
    """How a result is judged. A bare word stands for a protocol; what is given beside `protocol` wins over it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    protocol: Protocol | None = Field(
        None, description="paper: 1001 epochs, 5 sets, 20 networks on each; quick: 150 epochs, 1 set, 3 networks"
    )
    networks: tuple[ArchitectureName, ...] = Field(
        ("convnet",), min_length=1, description="architectures to train and test"
    )
    width: int | None = Field(None, ge=1, le=4096, description="filters per block; the method's width if not given")
    epochs: int = Field(1001, ge=1, description="passes over the synthetic set")
    sets: int = Field(
        1, ge=1, le=1000, description="times that a method is run, each with a seed of its own; the first is recorded"
    )
    repeats: int = Field(
        1, ge=1, description="freshly initialised networks for each set and architecture, of which the mean is reported"
    )
    batch_size: int = Field(256, ge=1, description="of the training")
    learning_rate: float = Field(0.01, gt=0, description="of the training, at its start")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the training")
    weight_decay: float = Field(5e-4, ge=0, description="of the training")
    augment: bool = Field(True, description="augment the training batches by the data set's strategy")

    @model_validator(mode="before")
    @classmethod
    def _spell_out_protocol(cls, data: Any) -> Any:
        """A bare word is a protocol, and a protocol the values that it stands for."""
        if isinstance(data, str):
            data = {"protocol": data}
        if isinstance(data, EvaluationSettings):
            return data
        if not isinstance(data, Mapping):
            names = " or ".join(PROTOCOLS)
            raise PlacedError(f"found {data!r}, expected {names}, or a map of settings such as {{epochs: 300}}")
        protocol = data.get("protocol")
        return {**PROTOCOLS[protocol], **data} if isinstance(protocol, str) and protocol in PROTOCOLS else data

    @field_validator("networks")
    @classmethod
    def _name_each_once(cls, networks: tuple[ArchitectureName, ...]) -> tuple[ArchitectureName, ...]:
        for index, name in enumerate(networks):
            if name in networks[:index]:
                raise PlacedError(f"{name} is listed twice; expected each network once, take one out", index)
        return networks
