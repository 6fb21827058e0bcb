"""The `wait_for` of a scenario: for which uploads the server waits before it goes on.

Without it, the server waits for all of them. How long a site tries to get through is the site's business
(`collab.agents.client.Patience`); a site whose upload comes after its round was closed is told so and asks on.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from collab.data.base_settings import Settings
from collab.document import PlacedError
from collab.quantities import Duration


class WaitingSettings(Settings):
    """When a round is closed, though not all uploads are in: at a quorum, at a deadline, or at what comes first."""

    quorum: int | None = Field(
        None, ge=1, description="uploads, of which the server then goes on with just these; all if not given"
    )
    deadline: Duration | None = Field(
        None,
        gt=0,
        description="counted from when the tasks of a round are ready; then it goes on with what has come",
    )
    at_least: int = Field(1, ge=1, description="uploads without which it does not go on: with fewer the run fails")

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.quorum is None and self.deadline is None:
            raise PlacedError("neither a quorum nor a deadline is given, so that all uploads are waited for; give one")
        if self.quorum is not None and self.at_least > self.quorum:
            raise PlacedError(
                f"found {self.at_least}, but a round ends with {self.quorum} uploads, its quorum; ask for at most as "
                "many",
                "at_least",
            )
        return self
