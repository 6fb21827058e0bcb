"""What a method will cost before it is run, by the closed formulas of its module: bytes, operations, rounds.

A method's module may have `upload_bytes`, `client_operations` and `server_operations`: functions of the settings and
the images, and by keyword of whatever they need to know of a site (see `_facts`). What a module does not say stays
unknown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collab import methods
from collab.data import ImageSpec
from collab.methods import localdm
from collab.privacy.sum_rounds import EXCHANGES

Counts = Mapping[str, Sequence[int]]
"""Samples of each class, by site."""


@dataclass(frozen=True)
class Costs:
    """The expected costs of one method: for each site in one round, for the server in all; None where nothing is known.

    `task_bytes` is what the server sends a site with its task, if that is a network; headers and envelopes are extra.
    In a round there may be several `exchanges`, of which all but one are small.
    """

    upload_bytes: Mapping[str, int | None]
    operations: Mapping[str, int | None]
    server_operations: int
    rounds: int = 1
    task_bytes: int = 0
    exchanges: int = 1

    @property
    def bytes_per_client(self) -> float | None:
        """Bytes up per client in all rounds, the mean over those that have anything to give."""
        known = [size for size in self.upload_bytes.values() if size is not None]
        if not known or len(known) < len(self.upload_bytes):
            return None
        giving = [size for size in known if size > 0]
        return self.rounds * sum(giving) / len(giving) if giving else 0.0


def costs_of(settings: Any, images: ImageSpec, counts: Counts) -> Costs:
    """The costs of a method at sites with `counts`; a yardstick that needs one site has all data at the first."""
    method = methods.get(settings.name)
    if methods.needs_one_site(method):
        counts = {next(iter(counts)): [sum(column) for column in zip(*counts.values(), strict=True)]}
    share = settings.images_per_site(len(counts))
    sizes: dict[str, int | None] = {}
    operations: dict[str, int | None] = {}
    seen: dict[tuple[int, ...], tuple[int | None, int | None]] = {}
    for site, held in counts.items():
        kind = tuple(held)
        if kind not in seen:
            facts = _facts(settings, held, share, len(counts))
            gives = sum(held) > 0 or _hides_what_it_holds(settings)
            seen[kind] = (
                (_asked(method, "upload_bytes", settings, images, facts) if gives else 0),
                (_asked(method, "client_operations", settings, images, facts) if sum(held) else 0),
            )
        sizes[site], operations[site] = seen[kind]
    rounds = int(getattr(settings, "rounds", 1))
    weights = "model" in methods.kinds(settings)[1]
    largest = max((size or 0 for size in sizes.values()), default=0)
    server = _asked(method, "server_operations", settings, images, {"teachers": len(counts)}) or 0
    exchanges = EXCHANGES if _sums_securely(settings) else 1
    return Costs(sizes, operations, server, rounds, largest if weights else 0, exchanges)


def _hides_what_it_holds(settings: Any) -> bool:
    """Whether a site without data sends as much as any other, so that nobody can tell."""
    return getattr(settings, "privacy", None) is not None or _sums_securely(settings)


def _sums_securely(settings: Any) -> bool:
    return getattr(settings, "aggregation", "plain") == "secure"


def _facts(settings: Any, counts: Sequence[int], share: int, sites: int) -> dict[str, Any]:
    """What formulas may ask about a site, one of `sites`."""
    served = getattr(settings, "networks_served", getattr(settings, "iterations", 0))
    return {
        "counts": list(counts),
        "samples": sum(counts),
        "classes": sum(held > 0 for held in counts),
        "pictured": len(localdm.distillable(counts, share)),
        "share": share,
        "sites": sites,
        "iterations": round(served * getattr(settings, "participation", 1.0)),
        "steps": getattr(settings, "steps", 0),
    }


def _asked(method: Any, name: str, settings: Any, images: ImageSpec, facts: Mapping[str, Any]) -> int | None:
    """The value of a method's closed formula; None if it has none."""
    formula: Callable[..., int] | None = getattr(method, name, None)
    if formula is None:
        return None
    wanted = list(inspect.signature(formula).parameters)[2:]
    return int(formula(settings, images, **{fact: facts[fact] for fact in wanted}))
