"""YAML -> a validated, immutable `Scenario`.

Errors name the file and the line, what was found, what was expected and the nearest valid spelling.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collab import extending, methods
from collab.complaints import explain
from collab.contradictions import contradictions
from collab.document import Document, Variation, Where
from collab.editor_schema import json_schema, whole_schema
from collab.errors import ScenarioError
from collab.extending import read_text
from collab.plan import Plan, PlannedCell, in_words
from collab.settings import SERVER, Scenario
from collab.sweep_settings import Point, SweepSettings

_WORDS = {"evaluation": "protocol"}

__all__ = ["SERVER", "Scenario", "json_schema", "load", "load_plan", "parse"]


def load(path: Path | str, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file, with `key=value` overrides (dotted keys) applied. Raises `ScenarioError`."""
    return parse(read_text(Path(path)), str(path), overrides, default_name=Path(path).stem)


def load_plan(path: Path | str, overrides: Sequence[str] = ()) -> Plan:
    """The sweep in a scenario file; every cell is checked. Raises `ScenarioError`, also if there is none."""
    path = Path(path)
    document = _read(read_text(path), str(path), overrides)
    scenario = _validated(document, path.stem)
    sweep = scenario.sweep
    if sweep is None:
        raise ScenarioError(
            f"{path}: there is nothing to sweep; expected a section such as sweep: {{partition.beta: [0.1, 0.3]}}, "
            "here or by --set"
        )
    cells: dict[str, PlannedCell] = {}
    for point in sweep.points(scenario.seed):
        cell = PlannedCell(point, _cell(document, sweep, point, path.stem))
        twin = cells.setdefault(cell.identity, cell)
        if twin is not cell:
            raise ScenarioError(
                f"{document.place(('sweep',))}: two cells are the same: {in_words(twin.point)} and {in_words(point)}; "
                "leave out what changes nothing"
            )
    return Plan(scenario, sweep.axes(scenario.seed), tuple(cells.values()))


def _cell(document: Document, sweep: SweepSettings, point: Point, default_name: str) -> Scenario:
    varied = {key: Variation(value, ("sweep", *sweep.origin(key, value))) for key, value in point.items()}
    try:
        return _validated(document.with_values(varied), default_name)
    except ScenarioError as error:
        raise type(error)(f"{error}\n(in the cell of the sweep with {in_words(point)})") from None


def parse(text: str, source: str, overrides: Sequence[str] = (), *, default_name: str = "scenario") -> Scenario:
    """The scenario in a YAML text that came from the file `source`. Raises `ScenarioError`, with line and column.

    Files that the text names are looked for in the folder of `source`.
    """
    return _validated(_read(text, source, overrides), default_name)


def _read(text: str, source: str, overrides: Sequence[str]) -> Document:
    try:
        return extending.read(text, source, overrides, words=_WORDS)
    except RecursionError:  # aliases that hold themselves, in two files that are merged
        raise ScenarioError(f"{source}: not a scenario: it is nested too deeply") from None


def _validated(document: Document, default_name: str) -> Scenario:
    """The scenario that a document says."""
    try:
        named = {"name": default_name, **document.data}
        scenario = Scenario.model_validate(named, context={"folder": Path(document.source).parent})
    except ValidationError as error:
        raise ScenarioError("\n".join(_complaints(error, document))) from None
    except RecursionError:  # aliases that hold themselves, in two sections that are merged
        raise ScenarioError(f"{document.source}: not a scenario: it is nested too deeply") from None
    for where, message, kind in contradictions(scenario):
        raise kind(_told(where, message, document))
    return scenario


def _complaints(error: ValidationError, document: Document) -> list[str]:
    told = list(explain(error, whole_schema()))
    places = {where for where, _ in told}
    said: dict[str, None] = {}
    for where, sentence in told:
        origin = _origin(where, document)
        if origin == where or origin not in places:  # else it is told where it comes from
            hint = _hint(where, document)
            # What belongs to another method is spelt well.
            problem = sentence.split("; did you mean")[0].split(" (known:")[0] if hint else sentence
            said[_told(where, f"{problem}{hint}", document)] = None
    return list(said)


def _told(where: Where, sentence: str, document: Document) -> str:
    """A mistake with its place, and how it came into the scenario if another file says it."""
    origin = _origin(where, document)
    inherited = document.source_of(origin) not in (None, document.source)
    return f"{document.place(origin)}: {sentence}" + (f"; {document.source} extends this file" if inherited else "")


def _origin(where: Where, document: Document) -> Where:
    """Where the setting at `where` was given: there, in its method's section of `methods`, or, for a baseline, where
    the method has it from.
    """
    depth = {"method": 1, "baselines": 2}.get(str(where[0]), len(where)) if where else 0
    entry, rest = where[:depth], where[depth:]
    if not rest or document.has(where):
        return where
    if rest == ("name",):  # a bare word
        return entry
    section = ("methods", _name_at(entry, document), *rest)
    if document.has(section):
        return section
    if where[0] == "baselines":
        origin = _origin(("method", *rest), document)
        return origin if document.has(origin) else where
    return where


def _name_at(entry: Where, document: Document) -> str:
    """The name of the method that an entry of the document names."""
    found: Any = document.data
    for step in entry:
        found = found[step]
    return str(found.get("name") if isinstance(found, dict) else found)


def _hint(where: Where, document: Document) -> str:
    """What to do about a setting of `method` of another method than --set, a sweep or another file has chosen."""
    overridden = [override.split("=", 1)[0].strip() for override in document.overrides]
    chosen = "method.name" in (*overridden, *document.varied)
    chosen = chosen or document.source_of(("method", "name")) != document.source_of(where)
    if not chosen or where[:1] != ("method",) or len(where) != 2:
        return ""
    owners = [name for name in methods.names() if where[1] in methods.get(name).Settings.model_fields]
    if not owners or _name_at(("method",), document) in (*owners, "None"):
        return ""
    return (
        f"; it belongs to {', '.join(owners)}: give it as methods.{owners[0]}.{where[1]}, then any method can be chosen"
    )
