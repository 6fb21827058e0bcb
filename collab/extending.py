"""`extends`: a scenario that is another one with something changed, or several put together.

The files are merged key by key: of those that are extended the later win over the earlier, and a file wins over all
that it extends. A file that is reached in two ways counts once, below everything that extends it. What a file is
called stays its own: `name` is not inherited.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from collab.document import Document
from collab.errors import ScenarioError
from collab.layer import Layer, place_of

EXTENDS = "extends"
_OWN = (EXTENDS, "name")
_VARIABLE = re.compile(r"\$\{[^}]*\}?")
_MOST_FILES = 100


def read_text(path: Path) -> str:
    """The text of a scenario file. Raises `ScenarioError`, with line and column where it is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        before = path.read_bytes()[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise ScenarioError(f"{path}:{line}:{column}: this is no UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror or error}") from error


def read(text: str, source: str, overrides: Sequence[str] = (), words: Mapping[str, str] | None = None) -> Document:
    """The document in `text`, which came from the file `source`, with all that it extends. Raises `ScenarioError`.

    `overrides` and `words` as for `Document.of`. The data has no `extends` any more.
    """
    for override in overrides:
        _refuse_override(override)
    main = Path(source)
    layers: dict[Path, Layer] = {}
    for path, layer in _layers(main, Layer.read(text, source), ()):
        layers.setdefault(path, layer)  # the first is the weakest: all that extends it comes later
    first, *extended = reversed(layers.values())
    data = {key: value for key, value in first.data.items() if key != EXTENDS}
    below = [_as_base(layer, main.parent) for layer in extended]
    return Document.of([replace(first, data=data), *below], overrides, words)


def _layers(path: Path, layer: Layer, trail: tuple[Path, ...]) -> Iterator[tuple[Path, Layer]]:
    """A file and what it extends, each after all that it wins over; `trail` are the files that led to it."""
    _refuse_variables(layer)
    trail = (*trail, path)
    if len(trail) > _MOST_FILES:
        raise ScenarioError(f"{layer.place((EXTENDS,))}: more than {_MOST_FILES} files extend each other in a chain")
    for where, name in _named(layer):
        base = Path(os.path.normpath(path.parent / name))
        circle = [step for step in trail if _same(step, base)]
        if circle:
            names = " extends ".join(str(step) for step in (*trail[trail.index(circle[0]) :], circle[0]))
            raise ScenarioError(f"{layer.place(where)}: the files go round in a circle: {names}; take one extends out")
        if not base.is_file():
            raise ScenarioError(f"{layer.place(where)}: there is no file {base}{_beside(base)}")
        try:
            found = Layer.read(read_text(base), str(base))
        except ScenarioError as error:
            raise ScenarioError(f"{error}; {layer.source} extends it") from None
        yield from _layers(base, found, trail)
    yield path, layer


def _named(layer: Layer) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The files that a layer says it extends, and where it says so. Raises `ScenarioError`."""
    value = layer.data.get(EXTENDS, [])
    several = isinstance(value, list)
    for index, name in enumerate(value if several else [value]):
        where = (EXTENDS, index) if several else (EXTENDS,)
        if not isinstance(name, str) or not name.strip():
            raise ScenarioError(
                f"{layer.place(where)}: found {yaml.safe_dump(name, default_flow_style=True).split(chr(10))[0]}, "
                f"expected the path of a scenario file, such as base.yaml, or a list of them"
            )
        yield where, name


def _same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()


def _beside(missing: Path) -> str:
    """What could have been meant instead of a file that is not there."""
    if missing.is_dir():
        return ": it is a folder; name a file in it"
    if not missing.parent.is_dir():
        return f": there is no folder {missing.parent}; the path counts from the file that says it"
    there = sorted(path.name for path in missing.parent.glob("*.y*ml"))
    close = difflib.get_close_matches(missing.name, there, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else "; the path counts from the file that says it"


def _as_base(layer: Layer, folder: Path) -> Layer:
    """A layer as a file in `folder` extends it: without what is its own, files that it names seen from there."""
    data = {key: value for key, value in layer.data.items() if key not in _OWN}
    home = Path(layer.source).parent
    if home != folder and "network" in data:
        data["network"] = _traces_from(data["network"], home, folder)
    return replace(layer, data=data)


def _traces_from(settings: Any, home: Path, folder: Path) -> Any:
    """Settings whose trace files, relative to `home`, are named relative to `folder`."""
    if isinstance(settings, list):
        return [_traces_from(value, home, folder) for value in settings]
    if not isinstance(settings, dict):
        return settings
    return {
        key: os.path.relpath(home / value, folder)
        if key == "trace" and isinstance(value, str)
        else _traces_from(value, home, folder)
        for key, value in settings.items()
    }


# -- what a scenario may not depend on -----------------------------------------------------------


def _refuse_variables(layer: Layer) -> None:
    """Raise `ScenarioError` for a `${NAME}`: what a scenario says may not depend on who reads it where."""
    waiting: list[tuple[yaml.Node, str]] = [(layer.root, "")]
    done: set[int] = set()
    while waiting:
        node, field = waiting.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.ScalarNode) and (found := _VARIABLE.search(node.value)):
            raise ScenarioError(
                f"{place_of(layer.source, node.start_mark)}: {field}: found {found[0]}, but values are never taken "
                "from the environment, so that a scenario says everything; write the value, or give it with "
                f"--set {field or 'KEY'}=VALUE"
            )
        prefix = f"{field}." if field else ""
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                waiting += [(value, f"{prefix}{key.value}"), (key, field)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(value, f"{prefix}{index}") for index, value in enumerate(node.value)]


def _refuse_override(override: str) -> None:
    key, _, value = override.partition("=")
    if key.strip().split(".")[0] == EXTENDS:
        raise ScenarioError(f"--set {override}: {EXTENDS} stands in files only; write one that extends what you want")
    if found := _VARIABLE.search(value):
        raise ScenarioError(
            f"--set {override}: {found[0]} has not been replaced by the shell, and values are never taken from the "
            f'environment; in double quotes, as in --set "{override}", the shell replaces it'
        )
