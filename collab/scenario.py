"""YAML -> a validated, immutable `Scenario`.

Errors name the file and the line, what was found, what was expected and the nearest valid spelling.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collab import methods
from collab.contradictions import contradictions
from collab.document import Document
from collab.errors import ScenarioError
from collab.settings import SERVER, Scenario

__all__ = ["SERVER", "Scenario", "json_schema", "load", "parse"]


def load(path: Path | str, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file, with `key=value` overrides (dotted keys) applied. Raises `ScenarioError`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ScenarioError(f"{path}:{line}: this is no UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse(text, str(path), overrides, default_name=path.stem)


def parse(text: str, source: str, overrides: Sequence[str] = (), *, default_name: str = "scenario") -> Scenario:
    """The scenario in a YAML text that came from the file `source`. Raises `ScenarioError`, with the line.

    Files that the text names are looked for in the folder of `source`.
    """
    document = Document.read(text, source, overrides)
    try:
        named = {"name": default_name, **document.data}
        scenario = Scenario.model_validate(named, context={"folder": Path(source).parent})
    except ValidationError as error:
        raise ScenarioError("\n".join(_complaints(error, document))) from None
    for where, message, kind in contradictions(scenario):
        raise kind(f"{document.place(where)}: {message}")
    return scenario


def _complaints(error: ValidationError, document: Document) -> list[str]:
    said: dict[str, None] = {}
    for where, sentence in document.explain(error, json_schema()):
        origin = ("method", *where[2:])
        inherited = where[:1] == ("baselines",) and not document.has(where) and document.has(origin)
        said[f"{document.place(origin if inherited else where)}: {sentence}"] = None
    return list(said)


@functools.lru_cache(maxsize=1)
def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors."""
    schema = Scenario.model_json_schema()
    schema["title"] = "collab scenario"
    # A file need not give its name, and a baseline may be a bare word.
    schema["required"] = [name for name in schema["required"] if name != "name"]
    items = schema["properties"]["baselines"]["items"]
    schema["properties"]["baselines"]["items"] = {"anyOf": [{"enum": list(methods.names())}, items]}
    return schema
