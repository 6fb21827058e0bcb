"""What settings, their values and methods are called in tables, captions and the heads of reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.observations import Observation

_KNOWN = {
    "partition.clients": "K",
    "partition.beta": "β",
    "method.images_per_class": "images per class",
    "network.access.bandwidth": "access bandwidth",
    "network.access.latency": "access latency",
    "network.server.bandwidth": "server bandwidth",
    "network.server.latency": "server latency",
    "dataset.name": "data set",
}


def short(name: str) -> str:
    """A setting as a caption calls it: without its section, unless that says more."""
    return _KNOWN.get(name) or _last_parts(name, 1)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Dotted name -> what it is called beside the others: `short`, with as much of its section as tells it apart."""
    parts = dict.fromkeys(names, 1)
    while True:
        called = {name: short(name) if count == 1 else _last_parts(name, count) for name, count in parts.items()}
        common = Counter(called.values())
        clashing = [name for name in parts if common[called[name]] > 1 and parts[name] <= name.count(".")]
        if not clashing:
            return called
        for name in clashing:
            parts[name] += 1


def _last_parts(name: str, count: int) -> str:
    return ".".join(name.split(".")[-count:]).replace("_", " ")


def on_axis(name: str) -> str:
    """A setting as an axis calls it."""
    return {"partition.clients": "clients K", "partition.beta": "β: the smaller, the more skewed"}.get(
        name, short(name)
    )


def written(value: Any) -> str:
    """The value of a setting, in a word; other numbers have other words."""
    if isinstance(value, float):
        brief = f"{value:g}"
        return brief if float(brief) == value else repr(value)
    if isinstance(value, (list, tuple)):
        return "+".join(written(each) for each in value)
    return str(value)


def paper_names(observations: Sequence[Observation]) -> Mapping[str, Mapping[str, Sequence[Observation]]]:
    """Method as the paper names it -> what it is called here -> its observations.

    The second is the first, unless there are several factors of partition-and-expand: then each factor is said.
    """
    factors: dict[str, dict[int, list[Observation]]] = {}
    for found in observations:
        factor = int(found.value("method.expand") or 1)
        factors.setdefault(found.paper_method, {}).setdefault(factor, []).append(found)
    return {
        method: {
            method if len(own) == 1 else f"{method} (expand {factor})": part for factor, part in sorted(own.items())
        }
        for method, own in factors.items()
    }
