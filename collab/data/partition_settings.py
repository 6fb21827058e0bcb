"""How the training samples are divided over clients, as a scenario says it: one model a scheme."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from collab.data.base_settings import Settings


class _PartitionSettings(Settings):
    clients: int = Field(5, ge=1, le=1_000_000, description="number of sites")

    @property
    def everyone_holds_something(self) -> bool:
        """Whether every client is certain to hold a sample, whatever is drawn."""
        return True


class IidSettings(_PartitionSettings):
    """Every client gets a random share of equal size."""

    scheme: Literal["iid"]


class DirichletSettings(_PartitionSettings):
    """Skewed as in the paper: each class divided by Dir(beta); a client may lack a class."""

    scheme: Literal["dirichlet"]
    beta: float = Field(gt=0, description="the smaller, the more skewed; the paper uses 0.1, 0.3 and 0.5")

    @property
    def everyone_holds_something(self) -> bool:
        """Never certain."""
        return False


class GuaranteedSettings(_PartitionSettings):
    """Skewed as in the published code: some samples of every class for every client, then Dirichlet."""

    scheme: Literal["dirichlet_guaranteed"]
    beta: float = Field(gt=0, description="the smaller, the more skewed; the paper uses 0.1, 0.3 and 0.5")
    guaranteed: int | None = Field(
        None, ge=0, description="samples of each class for every client; the method's images per class if not given"
    )


class PathologicalSettings(_PartitionSettings):
    """Every client holds a few classes only, as in McMahan et al. 2017."""

    scheme: Literal["pathological"]
    classes_per_client: int = Field(2, ge=1, description="classes of which a client holds samples, at most")


class QuantitySkewSettings(_PartitionSettings):
    """Clients of different size, drawn from Dir(beta), all with the same mixture of classes."""

    scheme: Literal["quantity_skew"]
    beta: float = Field(gt=0, description="the smaller, the more differ the sizes; 0.5 is common")
    minimum_samples: int = Field(1, ge=0, description="samples that every client holds at least")

    @property
    def everyone_holds_something(self) -> bool:
        """Certain with a minimum."""
        return self.minimum_samples > 0


class ByColumnSettings(_PartitionSettings):
    """Every site that the samples of the data set name is a client; `clients` must be their number."""

    scheme: Literal["by_column"]


AnyPartition: TypeAlias = (
    IidSettings
    | DirichletSettings
    | GuaranteedSettings
    | PathologicalSettings
    | QuantitySkewSettings
    | ByColumnSettings
)
PartitionSettings = Annotated[AnyPartition, Field(discriminator="scheme")]
