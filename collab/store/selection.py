"""Choosing among many runs: by scenario, method, data set, age, and any setting of the resolved scenario."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from collab.store.runs import SUMMARY, Run
from simnet import units
from simnet.errors import UnitError

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "=": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*([\w.-]+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*\S)\s*")
_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(min|h|d|w)\s*")
_HOURS = {"min": 1 / 60, "h": 1.0, "d": 24.0, "w": 168.0}
_QUANTITIES: Sequence[Callable[[object], float]] = (
    units.bandwidth_bps, units.duration_s, units.size_bytes, units.operation_rate, units.power_w,
    units.energy_per_bit_j, units.length_m, units.probability,
)  # fmt: skip


def flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name, e.g. `network.access.latency`; lists stay whole, empty maps vanish."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@dataclass(frozen=True)
class Condition:
    """What a setting has to be: `partition.beta<=0.1`, `network.access.bandwidth>=20 Mbit/s`, `method.name=local*`."""

    field: str
    comparison: str
    wanted: Any

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that a text says. Raises `ValueError`."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ValueError(f'"{text}" is no condition; expected FIELD=VALUE, or with <, >, <=, >=, !=')
        field, comparison, value = found.groups()
        try:
            wanted = yaml.safe_load(value)
        except yaml.YAMLError:
            wanted = value
        return cls(field, "=" if comparison == "==" else comparison, wanted)

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether it holds of settings by their dotted names; it does not of those that lack the field.

        Quantities are compared in their units, of a list one member suffices, and texts may be patterns with `*`.
        """
        if self.field not in settings:
            return False
        value = settings[self.field]
        if isinstance(value, list) and not isinstance(self.wanted, list):
            agreeing = [self._agrees(each) for each in value]
            return all(agreeing) if self.comparison == "!=" else any(agreeing)
        return self._agrees(value)

    def _agrees(self, value: Any) -> bool:
        texts = isinstance(value, str) and isinstance(self.wanted, str)
        if texts and self.comparison in ("=", "!=") and fnmatch.fnmatchcase(value, self.wanted):
            return self.comparison == "="
        left, right = _comparable(value, self.wanted)
        if texts and isinstance(left, str) and self.comparison not in ("=", "!="):
            return False  # texts have no order that anybody means
        try:
            return bool(_OPERATORS[self.comparison](left, right))
        except TypeError:
            return self.comparison == "!="


def _comparable(value: Any, wanted: Any) -> tuple[Any, Any]:
    """Both in one unit, if both are quantities of one kind; else as they are."""
    if isinstance(value, str) and isinstance(wanted, str):
        for quantity in _QUANTITIES:
            try:
                return quantity(value), quantity(wanted)
            except UnitError:
                continue
    return value, wanted


@dataclass(frozen=True)
class Selection:
    """Which runs are wanted; patterns may hold `*` and `?`. What is None or empty does not matter."""

    scenario: str | None = None
    method: str | None = None
    dataset: str | None = None
    since: datetime | None = None
    conditions: tuple[Condition, ...] = ()

    def takes(self, run: Run) -> bool:
        """Whether a run is wanted."""
        summary = run.summary
        if self.scenario is not None and not fnmatch.fnmatchcase(str(summary.get("scenario")), self.scenario):
            return False
        if self.method is not None and not self.methods(run):
            return False
        if self.since is not None and made(run) < self.since:
            return False
        if self.dataset is not None:
            names = (str(summary.get("dataset")), str(run.scenario.get("dataset", {}).get("name")))
            if not any(fnmatch.fnmatchcase(name.lower(), self.dataset.lower()) for name in names):
                return False
        if not self.conditions:
            return True
        settings = dict(flattened(run.scenario))
        return all(condition.holds(settings) for condition in self.conditions)

    @property
    def is_everything(self) -> bool:
        """Whether every run is wanted."""
        return self == Selection()

    def methods(self, run: Run) -> dict[str, Mapping[str, Any]]:
        """The rows of the summary of those methods of a run that are wanted."""
        rows: Mapping[str, Mapping[str, Any]] = run.summary["methods"]
        return {
            name: row for name, row in rows.items() if self.method is None or fnmatch.fnmatchcase(name, self.method)
        }


def made(run: Run) -> datetime:
    """When a run was written."""
    return datetime.fromtimestamp((run.path / SUMMARY).stat().st_mtime, UTC)


def moment(text: str, now: datetime | None = None) -> datetime:
    """A date, a date with a time of day (of this machine's zone unless it says which), or an age such as "2 h", "3 d".

    Raises `ValueError`.
    """
    age = _AGE.fullmatch(text)
    if age is not None:
        return (now or datetime.now(UTC)) - timedelta(hours=float(age[1]) * _HOURS[age[2]])
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise ValueError(
            f'"{text}" is no moment; expected a date (2026-03-01), a date with a time ("2026-03-01 18:00") or an age '
            "(90 min, 2 h, 3 d, 1 w)"
        ) from None
