"""What in a valid scenario may still be a mistake, seen from who holds what and what it is expected to cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collab import methods
from collab.costs import Costs, Counts
from collab.data import divide
from collab.document import Where
from collab.errors import PartitionError
from collab.methods import localdm
from collab.plan import Plan, PlannedCell, in_words
from collab.settings import SERVER, Scenario
from simnet.units import format_duration, format_size

_HOUR_S = 3600.0
_MANY_CELLS = 500
_MOST_CELLS_LOOKED_AT = 300
_MOST_NAMES = 5


@dataclass(frozen=True)
class Warned:
    """A likely mistake: the setting that it is about, and a sentence with what could be done."""

    where: Where
    says: str


def warnings_of(
    scenario: Scenario,
    counts: Counts | None,
    expected: Sequence[Any],
    wall_s: float | None,
    cells: int,
    sites: Sequence[str] = (),
) -> Iterator[Warned]:
    """Every likely mistake; `expected` are the rows of `collab.explaining`, `wall_s` what a cell takes here.

    `sites` are those of the data, in the order of the clients, if each site is a client.
    """
    if counts is not None:
        yield from _one_class(counts, sites)
        yield from _holdings(scenario, counts)
    for settings, row in zip(scenario.all_methods(), expected, strict=False):
        yield from _limits(scenario, settings, row.costs)
        yield from _too_few(scenario, row)
        if row.last_upload_s is not None and row.last_upload_s > _HOUR_S:
            yield Warned(
                ("network",),
                f"{row.name}: the upload of {row.last_site} will be there after {in_hours(row.last_upload_s)} of "
                "virtual time; a faster link or device, or fewer bytes?",
            )
        if row.judging_s > _HOUR_S:
            yield Warned(
                ("evaluation",),
                f"{row.name}: judging alone will take about {in_hours(row.judging_s)} on this machine; "
                "--set evaluation=quick is for a first look",
            )
    if cells >= _MANY_CELLS:
        yield Warned(("sweep",), f"the sweep has {cells:,} cells; is every value of every axis needed?")
    if wall_s is not None and cells > 1 and cells * wall_s > 24 * _HOUR_S:
        yield Warned(("sweep",), f"its {cells:,} cells will take about {in_hours(cells * wall_s)} one after the other")


def _too_few(scenario: Scenario, row: Any) -> Iterator[Warned]:
    """A deadline that comes too early for the uploads that are needed."""
    waiting = scenario.wait_for
    if waiting is None or waiting.deadline is None or row.missing is None:
        return
    asked = len(row.costs.upload_bytes)
    coming, needed = asked - len(row.missing), min(waiting.at_least, asked)
    few = "without any" if needed == 1 else f"with fewer than {needed}"
    if coming < needed:
        yield Warned(
            ("wait_for", "deadline"),
            f"{row.name}: after {format_duration(waiting.deadline)} {coming} of {asked} uploads will "
            f"be in, and {few} the run fails; a later deadline?",
        )


def cells_without_data(plan: Plan, labels: NDArray[np.int64], sites: NDArray[np.str_] | None) -> Iterator[Warned]:
    """Cells of a sweep in which clients hold nothing, or which cannot be divided; `labels` are of the base's data.

    Only cells with the base's data are looked at, and the first few hundred of them.
    """
    empty: list[PlannedCell] = []
    for cell in plan.cells[:_MOST_CELLS_LOOKED_AT]:
        chosen = cell.scenario
        drawn_anew = chosen.dataset.name == "gaussians" and chosen.seed != plan.base.seed
        if chosen.dataset != plan.base.dataset or drawn_anew:
            continue
        try:
            parts = divide(chosen.partition, labels, chosen.method.images_per_class, chosen.seed, sites=sites)
        except PartitionError as error:
            yield Warned(("sweep",), f"the cell with {in_words(cell.point)} will fail: {error}")
            continue
        if any(len(part) == 0 for part in parts):
            empty.append(cell)
    if empty:
        number = "1 cell" if len(empty) == 1 else f"{len(empty)} of {len(plan.cells):,} cells"
        yield Warned(
            ("sweep",),
            f"in {number} there are clients that hold no data and give nothing, as with {in_words(empty[0].point)}",
        )


def in_hours(seconds: float) -> str:
    """A long time as people say it."""
    if seconds < 90:
        return format_duration(float(f"{seconds:.3g}"))
    if seconds < 1.5 * _HOUR_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / _HOUR_S:.0f} hours" if seconds < 72 * _HOUR_S else f"{seconds / _HOUR_S / 24:.0f} days"


def _holdings(scenario: Scenario, counts: Counts) -> Iterator[Warned]:
    empty = [client for client, held in counts.items() if not sum(held)]
    if empty:
        yield Warned(
            ("partition",),
            f"{_names(empty)} will hold no data and give nothing; more beta, fewer clients, or the scheme "
            "dirichlet_guaranteed?",
        )
    chosen: tuple[Any, ...] = scenario.all_methods()
    for settings in chosen:
        if methods.needs_one_site(methods.get(settings.name)) or not issubclass(type(settings), localdm.Settings):
            continue
        if "synthetic" not in methods.kinds(settings)[0]:
            continue
        share = settings.images_per_site(len(counts))
        idle = [client for client, held in counts.items() if sum(held) and not localdm.distillable(held, share)]
        if idle:
            yield Warned(
                ("method", "images_per_class"),
                f"{settings.name}: {_names(idle)} will send no images, holding no more than {share} samples (what it "
                "is to distil) of any class; fewer images per class?",
            )


def _one_class(counts: Counts, sites: Sequence[str]) -> Iterator[Warned]:
    """Sites that have recorded one class only: a division that is drawn may mean that, one that is given hardly."""
    single = [
        f"{client} ({site})"
        for (client, held), site in zip(counts.items(), sites, strict=False)
        if sum(1 for count in held if count) == 1
    ]
    if single:
        yield Warned(
            ("partition",),
            f"{_names(single)} will hold samples of one class only: what makes that class another than the rest cannot "
            "be seen there. Did it record nothing else, or is its label the same for all?",
        )


def _names(clients: Sequence[str]) -> str:
    more = len(clients) - _MOST_NAMES
    return ", ".join(clients[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _limits(scenario: Scenario, settings: Any, costs: Costs) -> Iterator[Warned]:
    """Uploads larger than a boundary lets pass, or more than a budget allows: they would be refused in the run."""
    if scenario.tenants is None:
        return
    tenant_of = scenario.tenant_of()
    for index, rule in enumerate(scenario.rules()):
        crossing = {
            site: size
            for site, size in costs.upload_bytes.items()
            if size and tenant_of[site] != tenant_of[SERVER] and rule.to == tenant_of[SERVER]
            and rule.source in ("*", tenant_of[site])
        }  # fmt: skip
        limit = rule.at_most_bytes
        larger = [site for site, size in crossing.items() if limit is not None and size > limit]
        if larger and limit is not None:
            largest = max(larger, key=lambda site: crossing[site])
            yield Warned(
                ("boundaries", index, "at_most"),
                f"{settings.name}: the upload of {_names(larger)} is larger than the {format_size(limit)} that the "
                f"boundary lets pass (the largest has {format_size(crossing[largest])}): it will be refused",
            )
        count = rule.at_most_count
        uploads = costs.rounds * costs.exchanges
        if crossing and count is not None and uploads > count:
            yield Warned(
                ("boundaries", index, "at_most_count"),
                f"{settings.name}: a site sends {uploads} uploads, but a tenant may send {count}",
            )
    for tenant, budget in scenario.budget_bytes().items():
        needed = costs.rounds * sum(size or 0 for site, size in costs.upload_bytes.items() if tenant_of[site] == tenant)
        if tenant != tenant_of[SERVER] and needed > budget:
            yield Warned(
                ("budgets", tenant),
                f"{settings.name}: {tenant} will have {format_size(needed)} to send, but a budget of "
                f"{format_size(budget)}",
            )
