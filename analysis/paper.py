"""The numbers of the paper that ours are set beside: "One-Shot Collaborative Data Distillation", arXiv 2408.02266.

They are data files in `analysis/data`, one row a number, each with its place in the paper and how it is given:
`printed` there, or taken from the `published code`. Figures 2 and 3 are curves without printed values; of them there
is only what the text quotes. Accuracies are in percent.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

PRINTED = "printed"
CITATION = "Holland et al., One-Shot Collaborative Data Distillation, arXiv 2408.02266"


@dataclass(frozen=True)
class Quoted:
    """A number of the paper: an accuracy in percent, or a setting."""

    value: float | str
    given: str
    source: str

    @property
    def percent(self) -> float:
        """The accuracy. Raises `ValueError` for a setting that is a word."""
        return float(self.value)


@dataclass(frozen=True)
class CurvePoint:
    """What the text says of a point of Figure 2 or 3; None where it does not say it."""

    method: str
    images_per_class: int
    accuracy: Quoted
    clients: int | None = None
    upload_bytes: float | None = None


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("analysis").joinpath("data", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _accuracy(row: Mapping[str, str]) -> Quoted:
    return Quoted(float(row["accuracy_percent"]), row["given"], row["source"])


@functools.cache
def table2() -> Mapping[tuple[str, float, str], Quoted]:
    """(data set, beta, method) -> accuracy. `collabdm-pae` is CollabDM with partition-and-expand."""
    rows = _rows("table2")
    return MappingProxyType({(row["dataset"], float(row["beta"]), row["method"]): _accuracy(row) for row in rows})


@functools.cache
def table3() -> Mapping[tuple[str, str], Quoted]:
    """(network of distillation, network that is tested) -> accuracy."""
    rows = _rows("table3")
    return MappingProxyType({(row["train_network"], row["test_network"]): _accuracy(row) for row in rows})


@functools.cache
def figure2() -> tuple[CurvePoint, ...]:
    """What the text quotes of Figure 2: accuracy against the bytes that each client uploads."""
    return tuple(
        CurvePoint(
            row["method"],
            int(row["images_per_class"]),
            _accuracy(row),
            int(row["clients"]),
            float(row["upload_megabytes"]) * 1e6 if row["upload_megabytes"] else None,
        )
        for row in _rows("figure2")
    )


@functools.cache
def figure3() -> tuple[CurvePoint, ...]:
    """What the text quotes of Figure 3: accuracy against images per class."""
    return tuple(CurvePoint(row["method"], int(row["images_per_class"]), _accuracy(row)) for row in _rows("figure3"))


@functools.cache
def settings(exhibit: str) -> Mapping[str, Quoted]:
    """The settings of "table2", "table3", "figure2" or "figure3" by their dotted names in a scenario."""
    rows = [row for row in _rows("settings") if row["exhibit"] == exhibit]
    return MappingProxyType({row["field"]: Quoted(_plain(row["value"]), row["given"], row["source"]) for row in rows})


def _plain(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
