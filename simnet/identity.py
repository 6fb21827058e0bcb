"""Whom credentials name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A host, and the tenant in whose name it may act."""

    host: str
    tenant: str
