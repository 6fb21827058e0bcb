"""What a sweep is to run: its cells, each a scenario of its own, and what makes one cell the same as another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from collab.settings import Scenario

IDENTITY_DIGITS = 12
_WHERE_IT_RUNS = ("executor", "workers", "address", "gpus_per_client")
"""Settings of `compute` that say where the work is done: they change nothing that comes out."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell: the value of each swept field, and the scenario that they make."""

    point: Mapping[str, Any]
    scenario: Scenario

    @cached_property
    def identity(self) -> str:
        """The first digits of the SHA-256 of the resolved scenario, without its name and where it is computed.

        The same in every sweep that comes to this cell, in whatever order and by whatever engine.
        """
        data = self.scenario.model_dump(mode="json", by_alias=True, exclude={"name"})
        for setting in _WHERE_IT_RUNS:
            data["compute"].pop(setting, None)
        text = json.dumps(data, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:IDENTITY_DIGITS]


@dataclass(frozen=True)
class Plan:
    """A sweep: the scenario that is varied, the values of each field, and all cells in order."""

    base: Scenario
    axes: Mapping[str, Sequence[Any]]
    cells: Sequence[PlannedCell]

    def dump(self) -> str:
        """The scenario that is varied, every default written out, and its sweep, as YAML."""
        sweep = None if self.base.sweep is None else dict(self.base.sweep.given)
        return self.base.dump() + yaml.safe_dump({"sweep": sweep}, sort_keys=False, allow_unicode=True, width=100)


def in_words(point: Mapping[str, Any]) -> str:
    """A point as text: the last part of each name, or all of it where two end alike, and its value."""
    ends = [field.rsplit(".", 1)[-1] for field in point]
    names = [end if ends.count(end) == 1 else field for field, end in zip(point, ends, strict=True)]
    return ", ".join(f"{name} {value}" for name, value in zip(names, point.values(), strict=True))
