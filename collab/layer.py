"""One text of YAML as plain data and as nodes, which remember where everything stands: line and column.

What is wrong with the YAML itself is told here; what it means is not known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from collab.errors import ScenarioError

Where = tuple[str | int, ...]
_MERGE = "tag:yaml.org,2002:merge"
_KINDS: Mapping[type, str] = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}
_REMEDIES = {  # what PyYAML says -> what to do
    "'\\t'": "indent with spaces, YAML allows no tabs there",
    "mapping values are not allowed": 'put a value that holds ": " in quotes, or indent the line as those beside it',
    "an alias": 'put a text that begins with * in quotes, such as "client-*"',
    "undefined alias": 'put a text that begins with * in quotes, such as "client-*"',
    "that cannot start any token": "put a text that begins with it in quotes",
    "a flow sequence": "close it with ], and separate its entries by commas",
    "a flow mapping": "close it with }, and separate its entries by commas",
    "a quoted scalar": "close the quotes",
    "a simple key": 'put ": " after the name of the setting, and its value after that',
    "a block mapping": "indent the line as those beside it",
    "a block collection": 'begin every entry with "- ", all in one column',
    "could not determine a constructor": "leave out the tag, the word that begins with !",
    "but found another document": "leave out the line ---, a scenario is one document",
}


class Key(str):
    """The last part of a path where the key itself is meant, not what stands under it; else like any text."""

    __slots__ = ()


@dataclass(frozen=True)
class Layer:
    """One text of YAML: where it came from, its nodes, and what they stand for as plain data."""

    source: str
    root: yaml.Node = field(repr=False)
    data: dict[str, Any]

    @classmethod
    def read(cls, text: str, source: str) -> Layer:
        """The layer in `text`. Raises `ScenarioError`, with line and column."""
        try:
            root, data = _load(text, source)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = source if mark is None else place_of(source, mark)
            opened = error.context_mark
            begun = f" ({error.context} that began in line {opened.line + 1})" if opened is not None else ""
            raise ScenarioError(f"{place}: not valid YAML: {error.problem}{begun}{_remedy(error)}") from None
        except yaml.YAMLError as error:
            raise ScenarioError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise ScenarioError(f"{source}: not a scenario: it is nested too deeply") from None
        except ValueError as error:  # a date or a number that is none
            if isinstance(error, ScenarioError):
                raise
            raise ScenarioError(f"{source}: not valid YAML: {error}") from None
        if root is None:
            raise ScenarioError(f"{source}:1:1: the file is empty; expected a map of settings, such as seed: 1")
        if not isinstance(data, dict):
            raise ScenarioError(
                f"{place_of(source, root.start_mark)}: found {_KINDS.get(type(data), type(data).__name__)}, expected a "
                f"map of settings, such as seed: 1"
            )
        return cls(source, root, data)

    def place(self, where: Where) -> str:
        """File, line, column and field of a path; of as much of it as there is."""
        return place_in((self,), where, {})


def place_of(source: str, mark: yaml.Mark) -> str:
    """File, line and column of a mark, counted from 1."""
    return f"{source}:{mark.line + 1}:{mark.column + 1}"


def place_in(layers: Sequence[Layer], where: Where, words: Mapping[str, str]) -> str:
    """File, line, column and field of a path in layers, of which the first wins; `words` as for `Document.of`."""
    layer, mark = find_in(layers, where, words)
    dotted = ".".join(str(part) for part in where)
    return place_of(layer.source, mark) + (f": {dotted}" if dotted else "")


def find_in(layers: Sequence[Layer], where: Where, words: Mapping[str, str]) -> tuple[Layer, yaml.Mark]:
    """The layer in which a path was given, and where in it; as far as there is something of it."""
    shown = [(layer, layer.root, layer.root) for layer in layers]
    for depth, part in enumerate(where):
        word = words.get(".".join(str(step) for step in where[:depth]))
        inner = [
            (layer, *found)
            for layer, _, node in _visible(shown, word)
            if (found := _child(node, part, word)) is not None
        ]
        if not inner:
            break
        shown = inner
    else:
        if where and isinstance(where[-1], Key):
            return shown[0][0], shown[0][1].start_mark
    layer, key, value = shown[0]
    # A block begins with its first entry, a line below the key that says what it is.
    block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    return layer, (key if block else value).start_mark


def _visible(
    shown: Sequence[tuple[Layer, yaml.Node, yaml.Node]], word: str | None
) -> Sequence[tuple[Layer, yaml.Node, yaml.Node]]:
    """What is merged of the nodes that layers have at one path: maps, down to the first that is none."""
    for number, (_, _, node) in enumerate(shown):
        if not isinstance(node, yaml.MappingNode):
            return shown[: number + 1] if number == 0 or word is not None else shown[:number]
    return shown


def _child(node: yaml.Node, part: str | int, word: str | None) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value under a part of a path."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key, value
        for key, value in node.value:
            if key.tag == _MERGE:
                bases = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for base in bases:
                    if (found := _child(base, part, None)) is not None:
                        return found
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, yaml.ScalarNode) and part == word:
        return node, node
    return None


def _remedy(error: yaml.MarkedYAMLError) -> str:
    """What to do about YAML that cannot be read, where it is plain."""
    said = f"{error.context}; {error.problem}"
    return next((f"; {remedy}" for words, remedy in _REMEDIES.items() if words in said), "")


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
                if str(key.value) in seen:
                    raise ScenarioError(
                        f"{place_of(source, key.start_mark)}: {key.value} is set twice, "
                        f"first in line {seen[str(key.value)]}; keep one"
                    )
                seen[str(key.value)] = key.start_mark.line + 1
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
