"""What pydantic complains about, as sentences: what was found, what was expected, the nearest valid spelling."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from collab.document import Key, Where, nearest

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
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "array": "a list, such as [a, b]",
    "object": "a map of settings",
}
_LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
_MADE_UP = re.compile(r"constrained-[a-z]+|[a-z-]+\[.*\]")  # as pydantic calls members: constrained-int, literal['all']


def explain(error: ValidationError, schema: Schema) -> Iterator[tuple[Where, str]]:
    """Each complaint of pydantic as the path that it is about and a sentence; `schema` is the model's JSON Schema.

    What fits no member of a union is told once, with all that it may be, though pydantic complains for each of them.
    """
    problems = error.errors()
    told: set[Where] = set()
    for problem in problems:
        if _is_echo(problem, [other["loc"] for other in problems]) or _is_misspelt(problem, problems):
            continue
        where, fields, here = _locate(problem["loc"], schema)
        if alternatives := _alternatives(problem, problems, schema):
            if where not in told:
                yield where, f"found {_shown(problem['input'])}, expected {_either(alternatives)}"
            told.add(where)
            continue
        within = getattr(problem.get("ctx", {}).get("error"), "where", ())
        sentence = _sentence(problem, where, fields, _variants(here, schema))
        if problem["type"] == "extra_forbidden":
            where = (*where[:-1], Key(where[-1]))
        elif problem["type"] == "union_tag_invalid":
            where = (*where, _tag(problem))
        yield (*where, *within), sentence


def first_complaint(error: ValidationError) -> str:
    """Where data that this program wrote is wrong, and how; no user spelled it, so that no spelling is proposed."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'all'}: {first['msg']}"


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


def _is_misspelt(problem: Any, problems: Iterable[Any]) -> bool:
    """Whether a setting that is missing is there, misspelt: that is told of the spelling."""
    if problem["type"] != "missing":
        return False
    *group, name = problem["loc"]
    strangers = [
        str(other["loc"][-1])
        for other in problems
        if other["type"] == "extra_forbidden" and list(other["loc"][:-1]) == group
    ]
    return bool(difflib.get_close_matches(str(name), strangers, n=1, cutoff=0.7))


def _locate(location: Iterable[str | int], schema: Schema) -> tuple[Where, list[str], Schema]:
    """The path as the user wrote it (pydantic inserts the names of union members), the fields valid beside its end, and
    the schema of what stands there.
    """
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
    return tuple(where), fields, here


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
    return ("anyOf" in schema or "oneOf" in schema) and (part in members or bool(_MADE_UP.fullmatch(part)))


def _alternatives(problem: Any, problems: Iterable[Any], schema: Schema) -> list[str]:
    """What a value may be, in words, of which every member of a plain union complains as a whole; empty for others."""
    before, tried = problem["loc"][:-1], problem["loc"][-1:]
    beside = [
        other
        for other in problems
        if other["loc"][:-1] == before and other["type"] not in ("missing", "extra_forbidden", "value_error")
    ]
    if problem not in beside or len(beside) < 2:
        return []
    here = _locate(before, schema)[2]
    variants = _variants(here, schema)
    if not isinstance(tried[0], str) or not _is_member_of_plain_union(tried[0], here, variants):
        return []
    return [words for variant in variants if (words := _kind_in_words(variant))]


def _kind_in_words(schema: Schema) -> str:
    """What a JSON Schema asks for, in words of YAML; nothing for null, which is said by leaving a setting out."""
    if "const" in schema or "enum" in schema:
        return ", ".join(str(choice) for choice in schema.get("enum", [schema.get("const")]))
    kind = _KINDS.get(str(schema.get("type")), "")
    bounds = [f" {words} {_number(schema[key])}" for key, words in _LIMITS.items() if key in schema]
    return kind + "".join(bounds)


def _either(alternatives: Sequence[str]) -> str:
    return ", or ".join(filter(None, (", ".join(alternatives[:-1]), alternatives[-1])))


def _tag(problem: Any) -> str:
    """The setting that says which kind a group is."""
    return str(problem["ctx"]["discriminator"]).strip(_QUOTES)


def _sentence(problem: Any, where: Where, fields: Sequence[str], variants: Sequence[Schema]) -> str:
    name = str(where[-1]) if where else "the scenario"
    match problem["type"]:
        case "extra_forbidden":
            return f'there is no setting "{name}" here{nearest(name, fields)}'
        case "missing":
            meaning = variants[0].get("description", "").split("\n\n")[0] if variants else ""
            return f'the setting "{name}" is missing; add it' + (f": {meaning}" if meaning else "")
        case "union_tag_invalid":
            known = re.findall(r"'([^']+)'", problem["ctx"]["expected_tags"])
            tag = problem["ctx"]["tag"]
            return f'{_tag(problem)} is "{tag}"{nearest(tag, known)}'
        case "union_tag_not_found":
            return f"{_tag(problem)} is missing; it says which kind this is{nearest('', _kinds(variants))}"
        case "literal_error":
            known = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
            return f'found "{problem["input"]}"{nearest(str(problem["input"]), known)}'
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"found {_shown(problem['input'])}, expected a map of settings{_example(problem['input'], variants)}"
        case "value_error":
            return str(problem["ctx"]["error"])
        case _:
            return f"found {_shown(problem['input'])}, expected {_expected(problem)}"


def _kinds(variants: Sequence[Schema]) -> list[str]:
    """The kinds that a group may be, where one of its settings says which it is."""
    return [kind for variant in variants for kind in variant.get("discriminator", {}).get("mapping", ())]


def _example(found: Any, variants: Sequence[Schema]) -> str:
    """How a bare word that names a kind would be written as a map."""
    if not isinstance(found, str) or found not in _kinds(variants):
        return ""
    tag = next(variant["discriminator"]["propertyName"] for variant in variants if "discriminator" in variant)
    return f", such as {{{tag}: {found}}}"


def _expected(problem: Any) -> str:
    """What a setting must be, in words of YAML: pydantic's own speak of tuples, validation and parsing."""
    kind, found = problem["type"], problem["input"]
    if kind == "tuple_type" and isinstance(found, dict):
        return 'a list of maps; begin each with "- ", also a single one'
    if kind == "tuple_type" and isinstance(found, (str, int, float)):
        return f"a list, such as [{found}]"
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
        case float() if not math.isfinite(found):
            return ".nan" if math.isnan(found) else f"{'-' if found < 0 else ''}.inf"
        case dict():
            return "a map of settings" if found else "an empty map"
        case _:
            return _SHORT.repr(found)
