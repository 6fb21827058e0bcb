"""YAML documents that remember where everything stands, and errors that say so.

Knows nothing of scenarios: it turns what pydantic complains about into sentences with file, line, what was
found, what was expected and the nearest valid spelling.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from collab.errors import ScenarioError

Where = tuple[str | int, ...]
Schema = Mapping[str, Any]
_QUOTES = "'"
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60
_EXPECTED = {
    "tuple_type": "a list, such as [a, b]",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "too_short": ("at least", "min_length"),
    "too_long": ("at most", "max_length"),
}


class PlacedError(ValueError):
    """A mistake that a validator of settings has found, and where within them it stands."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where: Where = where


@dataclass(frozen=True)
class Document:
    """A YAML document as plain data, where each part of it stands, and the overrides applied to it."""

    source: str
    data: dict[str, Any]
    root: yaml.Node = field(repr=False)
    overrides: Sequence[str] = ()

    @classmethod
    def read(
        cls, text: str, source: str, overrides: Sequence[str] = (), words: Mapping[str, str] | None = None
    ) -> Document:
        """The document in `text`, with `key=value` overrides (dotted keys). Raises `ScenarioError`, with the line.

        `words` are the settings that may be a bare word instead of a map, and which setting of the map it stands for:
        with {"evaluation": "protocol"} the override `evaluation.repeats=3` of `evaluation: paper` keeps the protocol.
        """
        try:
            root, data = _load(text, source)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
            opened = error.context_mark
            begun = f" ({error.context} that began in line {opened.line + 1})" if opened is not None else ""
            raise ScenarioError(f"{source}{line}: not valid YAML: {error.problem}{begun}") from None
        except yaml.YAMLError as error:
            raise ScenarioError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise ScenarioError(f"{source}: not a scenario: it is nested too deeply") from None
        except ValueError as error:  # a date or a number that is none
            if isinstance(error, ScenarioError):
                raise
            raise ScenarioError(f"{source}: not valid YAML: {error}") from None
        if root is None:
            raise ScenarioError(f"{source}:1: the file is empty; expected a map of settings")
        if not isinstance(data, dict):
            raise ScenarioError(f"{source}:1: expected a map of settings, found {type(data).__name__}")
        for override in overrides:
            _override(data, override, words or {})
        return cls(source, data, root, tuple(overrides))

    def place(self, where: Where) -> str:
        """File, line and field of a path, or the override that put it there."""
        dotted = ".".join(str(part) for part in where)
        for override in self.overrides:
            key = override.split("=", 1)[0].strip()
            if dotted == key or dotted.startswith(key + ".") or key.startswith(dotted + "."):
                return f"--set {override}"
        node, mark = self.root, self.root.start_mark
        for part in where:
            found = _child(node, part)
            if found is None:
                break
            key_node, node = found
            mark = key_node.start_mark
        return f"{self.source}:{mark.line + 1}" + (f": {dotted}" if dotted else "")

    def has(self, where: Where) -> bool:
        """Whether the path is given, in the document or by an override."""
        part: Any = self.data
        for step in where:
            keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
            if step not in keys:
                return False
            part = part[step]
        return True

    def explain(self, error: ValidationError, schema: Schema) -> Iterator[tuple[Where, str]]:
        """Each complaint of pydantic as the path that it is about and a sentence; `schema` is the model's JSON
        Schema.
        """
        problems = error.errors()
        for problem in problems:
            if _is_echo(problem, [other["loc"] for other in problems]):
                continue
            where, fields = _locate(problem["loc"], schema)
            within = getattr(problem.get("ctx", {}).get("error"), "where", ())
            yield (*where, *within), _sentence(problem, where, fields)


def merged(*maps: Mapping[Any, Any]) -> dict[Any, Any]:
    """Maps of settings in one, of which the later win; groups that several of them have are merged in the same way.

    Raises `RecursionError` for groups that hold themselves, as aliases of YAML can.
    """
    result: dict[Any, Any] = {}
    for settings in maps:
        for key, value in settings.items():
            former = result.get(key)
            if isinstance(former, Mapping) and isinstance(value, Mapping):
                result[key] = merged(former, value)
            else:
                result[key] = value
    return result


def nearest(word: str, known: Sequence[str]) -> str:
    """The valid spelling nearest to `word`, and all of them, as the end of a sentence."""
    if not known:
        return ""
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"{hint} (known: {', '.join(known)})"


def _is_echo(problem: Any, places: Iterable[tuple[str | int, ...]]) -> bool:
    """Whether a complaint only follows from those at other places.

    Too few elements, as pydantic leaves out those that are wrong; or no text, where a map was written that is wrong.
    """
    location = problem["loc"]
    if problem["type"] == "string_type" and isinstance(problem["input"], dict):
        location = location[:-1] if location[-1:] == ("str",) else location
    elif problem["type"] != "too_short":
        return False
    return any(
        place[: len(location)] == location and len(place) > len(location) for place in places if place != problem["loc"]
    )


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _load(text: str, source: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a document and what they stand for.

    libyaml, where PyYAML has it, is several times as fast. What it cannot read is read again without it: PyYAML's own
    reader says what was found where, and so the same of a mistake everywhere.
    """
    if fast := getattr(yaml, "CSafeLoader", None):
        with contextlib.suppress(yaml.YAMLError, UnicodeError, RecursionError):
            return _load_with(fast, text, source)
    return _load_with(yaml.SafeLoader, text, source)


def _load_with(loader: Any, text: str, source: str) -> tuple[yaml.Node | None, Any]:
    root: yaml.Node | None = yaml.compose(text, Loader=loader)
    if root is not None:
        _refuse_duplicates(root, source)
    return root, yaml.load(text, Loader=loader)  # from the text: it would merge keys (<<) into `root`


def _refuse_duplicates(root: yaml.Node, source: str) -> None:
    waiting, done = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in done:
            continue  # an alias: the same node again, perhaps within itself
        done.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if str(key.value) in seen:
                    raise ScenarioError(
                        f"{source}:{line}: {key.value} is set twice, first in line {seen[str(key.value)]}; keep one"
                    )
                seen[str(key.value)] = line
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)


def _override(data: dict[str, Any], override: str, words: Mapping[str, str]) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ScenarioError(f"--set {override}: expected key=value, e.g. --set partition.beta=0.3")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # the latter for a date that is none
        raise ScenarioError(f"--set {override}: the value is not valid YAML") from None
    place: Any = data
    for depth, part in enumerate(parts[:-1], start=1):
        inner = place.setdefault(part, {}) if isinstance(place, dict) else _element(place, part)
        if isinstance(inner, str) and isinstance(place, dict) and ".".join(parts[:depth]) in words:
            inner = place[part] = {words[".".join(parts[:depth])]: inner}
        if not isinstance(inner, (dict, list)):
            raise ScenarioError(f"--set {override}: {part} is no group of settings")
        place = inner
    last = parts[-1]
    if isinstance(place, list):
        if not _is_index(last, place):
            raise ScenarioError(f"--set {override}: the list has the elements 0 to {len(place) - 1}")
        place[int(last)] = value
    else:
        place[last] = value


def _element(place: Any, part: str) -> Any:
    return place[int(part)] if isinstance(place, list) and _is_index(part, place) else None


def _is_index(part: str, elements: Sequence[Any]) -> bool:
    return part.isascii() and part.isdecimal() and int(part) < len(elements)


def _locate(location: Iterable[str | int], schema: Schema) -> tuple[Where, list[str]]:
    """The path as the user wrote it (pydantic inserts the names of union members), and the fields valid at its end."""
    here: Any = schema
    where: list[str | int] = []
    fields: list[str] = []
    for part in location:
        variants = _variants(here, schema)
        chosen = next((v["discriminator"]["mapping"].get(part) for v in variants if "discriminator" in v), None)
        if chosen is not None:
            here = {"$ref": chosen}
            continue
        if isinstance(part, str) and _is_member_of_plain_union(part, here, variants):
            continue
        where.append(part)
        named = [variant["properties"] for variant in variants if "properties" in variant]
        fields = sorted(set().union(*named))
        inner = [properties[part] for properties in named if part in properties] or [
            variant[key]
            for variant in variants
            for key in ("items", "additionalProperties")
            if isinstance(variant.get(key), dict)
        ]
        here = inner[0] if inner else {}
    return tuple(where), fields


def _variants(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a schema, references followed."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    members = schema.get("anyOf", schema.get("oneOf"))
    if "discriminator" in schema or members is None:
        return [schema]
    return [variant for member in members for variant in _variants(member, root)]


def _is_member_of_plain_union(part: str, schema: Schema, variants: Sequence[Schema]) -> bool:
    """Whether pydantic put `part` into a path to say which member of a union it had tried."""
    members = {"str", "int", "float", "bool", "none", "list"} | {str(variant.get("title")) for variant in variants}
    return ("anyOf" in schema or "oneOf" in schema) and part in members


def _sentence(problem: Any, where: Where, fields: Sequence[str]) -> str:
    name = str(where[-1]) if where else "the scenario"
    match problem["type"]:
        case "extra_forbidden":
            return f'there is no setting "{name}" here{nearest(name, fields)}'
        case "missing":
            return f'the setting "{name}" is missing'
        case "union_tag_invalid":
            known = re.findall(r"'([^']+)'", problem["ctx"]["expected_tags"])
            tag = problem["ctx"]["tag"]
            return f'{problem["ctx"]["discriminator"].strip(_QUOTES)} is "{tag}"{nearest(tag, known)}'
        case "union_tag_not_found":
            return f"{problem['ctx']['discriminator'].strip(_QUOTES)} is missing; it says which kind this is"
        case "literal_error":
            known = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
            return f'found "{problem["input"]}"{nearest(str(problem["input"]), known)}'
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"found {_shown(problem['input'])}, expected a map of settings"
        case "value_error":
            return str(problem["ctx"]["error"])
        case _:
            return f"found {_shown(problem['input'])}, expected {_expected(problem)}"


def _expected(problem: Any) -> str:
    """What a setting must be, in words of YAML: pydantic's own speak of tuples, validation and parsing."""
    kind = problem["type"]
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = problem["ctx"][name]
        return f"{words} {_elements(bound) if name.endswith('length') else _number(bound)}"
    text: str = problem["msg"][0].lower() + problem["msg"][1:]
    return text.removeprefix("input should ").removeprefix("be ")


def _number(bound: float) -> str:
    """A bound in every digit: 1000000, not 1e+06, which nobody would write into a scenario."""
    return str(int(bound)) if bound == int(bound) and abs(bound) < 1e7 else f"{bound:g}"


def _elements(number: int) -> str:
    return "1 element" if number == 1 else f"{number} elements"


def _shown(found: Any) -> str:
    """What stands in the file, in YAML's spelling where that is short."""
    match found:
        case None:
            return "nothing"
        case bool():
            return str(found).lower()
        case str():
            return f'"{_SHORT.repr(found)[1:-1]}"'
        case _:
            return _SHORT.repr(found)
