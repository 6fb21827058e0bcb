"""How the training samples are divided over clients, as a scenario says it: one model a scheme."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collab.data.settings import Settings


class _PartitionSettings(Settings):
    clients: int = Field(5, ge=1, le=1_000_000, description="number of sites")


class IidSettings(_PartitionSettings):
    """Every client gets a random share of equal size."""

    scheme: Literal["iid"]


class DirichletSettings(_PartitionSettings):
    """Skewed as in the paper: each class divided by Dir(beta); a client may lack a class."""

    scheme: Literal["dirichlet"]
    beta: float = Field(gt=0, description="the smaller, the more skewed; the paper uses 0.1, 0.3 and 0.5")


class GuaranteedSettings(_PartitionSettings):
    """Skewed as in the published code: some samples of every class for every client, then Dirichlet."""

    scheme: Literal["dirichlet_guaranteed"]
    beta: float = Field(gt=0, description="the smaller, the more skewed; the paper uses 0.1, 0.3 and 0.5")
    guaranteed: int | None = Field(
        None, ge=0, description="samples of each class for every client; the method's images per class if not given"
    )


PartitionSettings = Annotated[IidSettings | DirichletSettings | GuaranteedSettings, Field(discriminator="scheme")]
