"""What a site has agreed to do: the method of the scenario at hand, with its settings, seed and share of images.

A server that is curious could leave out `privacy`, or ask for plain means where the site believes in secure sums. A
task that says something else than the site's own scenario is refused by the names of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from collab.errors import ScenarioError
from collab.methods import MethodSettings, Task

_MOST_NAMED = 4  # settings in one sentence
_LONGEST_VALUE = 60
_ABSENT = object()


@dataclass(frozen=True)
class Terms:
    """What every task of a run must say; `share` is the number of images per class that a site is to distil."""

    method: str
    settings: MethodSettings
    seed: int
    share: int

    def check(self, task: Task) -> None:
        """Raise `ScenarioError` for a task that contradicts them, naming what."""
        found = list(self._contradictions(task))
        if not found:
            return
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise ScenarioError(
            f"the task of the server contradicts the scenario of this site: {'; '.join(found[:_MOST_NAMED])}{more}. "
            "Nothing was computed or sent; ask whoever runs the server, and join with the same scenario as they serve "
            "if you agree with it"
        )

    def _contradictions(self, task: Task) -> Iterator[str]:
        if task.method != self.method:
            yield _contradiction("method.name", task.method, self.method)
            return  # the settings of another method are others
        ours, theirs = _plain(self.settings), _plain(task.settings)
        for name in sorted(ours.keys() | theirs.keys()):
            yield from _differences(f"method.{name}", theirs.get(name, _ABSENT), ours.get(name, _ABSENT))
        yield from _differences("seed", task.seed, self.seed)
        yield from _differences("the images per class", task.share, self.share)


def _plain(settings: MethodSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"name"})


def _differences(name: str, theirs: Any, ours: Any) -> Iterator[str]:
    """Where two plain values differ, each with its dotted name."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from _differences(f"{name}.{key}", theirs.get(key, _ABSENT), ours.get(key, _ABSENT))
    elif theirs != ours or type(theirs) is not type(ours):
        yield _contradiction(name, theirs, ours)


def _contradiction(name: str, theirs: Any, ours: Any) -> str:
    return f"{name} is {_shown(theirs)} in the task and {_shown(ours)} in the scenario"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    text = "null" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
