"""The JSON Schema of a scenario file, for editors: completion, descriptions, mistakes underlined while they are typed.

It asks for what the parser asks for, as far as one file can be judged by itself: a file that extends others may leave
out whatever they say.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

from collab import methods
from collab.evaluation_settings import PROTOCOLS
from collab.extending import EXTENDS
from collab.settings import Scenario
from simnet import DEVICES, RADIOS

_DEFINITIONS = "#/$defs/"
_WHOLE, _CHANGES = "scenario", "changes"
_FILE = {"type": "string", "minLength": 1, "examples": ["quickstart.yaml"]}
_EXTENDS = {
    "description": "a scenario file, or several, that this one changes: of these the later win, this file over all; "
    "paths count from this file",
    "anyOf": [_FILE, {"type": "array", "items": _FILE, "minItems": 1}],
}


@functools.lru_cache(maxsize=1)
def whole_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario, every section of it as `Scenario` takes it, and `extends`."""
    schema = Scenario.model_json_schema()
    schema["required"] = [name for name in schema["required"] if name != "name"]  # a file need not give its name
    schema["properties"] = {EXTENDS: _EXTENDS, **schema["properties"]}
    return schema


@functools.lru_cache(maxsize=1)
def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file: of a whole one, or of the changes that it makes to others."""
    whole = copy.deepcopy(whole_schema())
    definitions = whole.pop("$defs")
    _allow_words(whole)
    definitions[_WHOLE] = {**whole, "title": "a scenario"}
    for definition in definitions.values():
        _describe(definition, definitions)
    changes = {f"{name}_{_CHANGES}": _loosened(definition) for name, definition in definitions.items()}
    changes[_CHANGES] = {**changes.pop(f"{_WHOLE}_{_CHANGES}"), "title": "a scenario that extends others"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "collab scenario",
        "type": "object",
        "if": {"required": [EXTENDS]},
        "then": {"$ref": f"{_DEFINITIONS}{_CHANGES}"},
        "else": {"$ref": f"{_DEFINITIONS}{_WHOLE}"},
        "$defs": {**definitions, **changes},
    }


def _allow_words(schema: dict[str, Any]) -> None:
    """Bare words where the parser takes them, and the names where a text must be one of them."""
    properties = schema["properties"]
    items = properties["baselines"]["items"]
    properties["baselines"]["items"] = {"anyOf": [{"enum": list(methods.names())}, items]}
    evaluation = properties["evaluation"]
    properties["evaluation"] = {
        "anyOf": [{"enum": list(PROTOCOLS)}, {"$ref": evaluation.pop("$ref")}],
        **evaluation,
    }
    for name, profiles in (("devices", DEVICES), ("radios", RADIOS)):
        word, numbers = properties[name]["additionalProperties"]["anyOf"]
        properties[name]["additionalProperties"]["anyOf"] = [{**word, "enum": list(profiles)}, numbers]


def _describe(definition: dict[str, Any], definitions: dict[str, Any]) -> None:
    """A description for whatever has none: that of what it refers to or, for a word that says the kind, of the kind."""
    for settings in (definition, *definition.get("anyOf", ())):
        for field in settings.get("properties", {}).values():
            if "description" in field:
                continue
            if "const" in field or "enum" in field:
                field["description"] = definition["description"]
            elif "$ref" in field:
                field["description"] = definitions[field["$ref"].removeprefix(_DEFINITIONS)]["description"]


def _loosened(schema: Any) -> Any:
    """A schema of what may be left out anywhere: nothing is required, and so several kinds may fit."""
    if isinstance(schema, list):
        return [_loosened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return dict(_loosened_parts(schema))


def _loosened_parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        match key:
            case "properties":
                yield key, {name: _loosened(field) for name, field in value.items()}
            case "required" | "discriminator":
                continue
            case "oneOf":
                yield "anyOf", _loosened(value)
            case "items":  # of lists, which are replaced as a whole
                yield key, value
            case "$ref":
                yield key, f"{value}_{_CHANGES}"
            case _:
                yield key, _loosened(value)
