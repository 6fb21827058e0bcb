"""YAML documents that remember where everything stands: they know nothing of scenarios."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from collab.errors import ScenarioError
from collab.layer import Key, Layer, Where, find_in, place_in

__all__ = ["Document", "Key", "Layer", "PlacedError", "Variation", "Where", "merged", "nearest"]


_MOST_BESIDE_THE_NEAREST = 12


class PlacedError(ValueError):
    """A mistake that a validator of settings has found, and where within them it stands."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where: Where = where


@dataclass(frozen=True)
class Variation:
    """A value that is put into a document, and where in the document it is taken from."""

    value: Any
    origin: Where


@dataclass(frozen=True)
class Document:
    """YAML as plain data, where each part of it stands, and the overrides applied to it.

    `layers` are the texts that it was merged from, the one that wins over all others first.
    """

    layers: tuple[Layer, ...]
    data: dict[str, Any]
    overrides: Sequence[str] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    varied: Mapping[str, Variation] = field(default_factory=dict)

    @classmethod
    def read(
        cls, text: str, source: str, overrides: Sequence[str] = (), words: Mapping[str, str] | None = None
    ) -> Document:
        """The document in `text`, with overrides. Raises `ScenarioError`, with line and column."""
        return cls.of([Layer.read(text, source)], overrides, words)

    @classmethod
    def of(
        cls, layers: Sequence[Layer], overrides: Sequence[str] = (), words: Mapping[str, str] | None = None
    ) -> Document:
        """Layers in one, the first winning over all others, with `key=value` overrides (dotted keys) above them.

        `words` are the settings that may be a bare word instead of a map, and which setting of the map it stands for:
        with {"evaluation": "protocol"} the override `evaluation.repeats=3` of `evaluation: paper` keeps the protocol,
        and so does a layer that says `evaluation: {repeats: 3}`. Raises `ScenarioError`.
        """
        words = words or {}
        data: dict[str, Any] = {}
        for layer in reversed(layers):
            data = merged(_spelt_out(data, layer.data, words), layer.data)
        for override in overrides:
            _override(data, override, words)
        return cls(tuple(layers), data, tuple(overrides), dict(words))

    @property
    def source(self) -> str:
        """The file that wins over all others."""
        return self.layers[0].source

    def with_values(self, varied: Mapping[str, Variation]) -> Document:
        """The same with other values, by dotted key. Raises `ScenarioError` for a key that leads nowhere.

        Raises `RecursionError` for groups that hold themselves, as aliases of YAML can.
        """
        data = _unshared(self.data)
        for key, variation in varied.items():
            try:
                _put(data, key, _unshared(variation.value), self.words)
            except LookupError as error:
                raise ScenarioError(f"{self.place(variation.origin)}: {key}: {error.args[0]}") from None
        return dataclasses.replace(self, data=data, varied=dict(varied))

    def place(self, where: Where) -> str:
        """File, line, column and field of a path, or the override that put it there, or what it was varied by."""
        dotted = ".".join(str(part) for part in where)
        for key, variation in self.varied.items():
            if dotted == key or dotted.startswith(key + ".") or key.startswith(dotted + "."):
                within = "" if dotted == key or key.startswith(dotted + ".") else f" ({dotted})"
                base = dataclasses.replace(self, varied={})
                unknown = where[-1:] and isinstance(where[-1], Key)
                origin = _key_of(variation.origin) if unknown else variation.origin
                return f"{base.place(origin)}: {key} = {_in_short(variation.value)}{within}"
        for override in self.overrides:
            key = override.split("=", 1)[0].strip()
            if dotted == key or dotted.startswith(key + ".") or key.startswith(dotted + "."):
                return f"--set {override}"
        return place_in(self.layers, where, self.words)

    def source_of(self, where: Where) -> str | None:
        """The file in which the path is given; None if it is given in none."""
        dotted = ".".join(str(part) for part in where)
        keys = [*self.varied, *(override.split("=", 1)[0].strip() for override in self.overrides)]
        if any(f"{dotted}.".startswith(f"{key}.") for key in keys) or not self.has(where):
            return None
        return find_in(self.layers, where, self.words)[0].source

    def has(self, where: Where) -> bool:
        """Whether the path is given, in the document or by an override."""
        part: Any = self.data
        for step in where:
            keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
            if step not in keys:
                return False
            part = part[step]
        return True


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
    """The valid spelling nearest to `word`, and all of them unless they are many, as the end of a sentence."""
    if not known:
        return ""
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return hint if close and len(known) > _MOST_BESIDE_THE_NEAREST else f"{hint} (known: {', '.join(known)})"


def _spelt_out(data: dict[str, Any], above: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """`data`, of which the bare words that `above` has maps for are maps as well."""
    spelt = {
        key: {word: data[key]}
        for key, word in words.items()
        if isinstance(data.get(key), str) and isinstance(above.get(key), Mapping)
    }
    return {**data, **spelt}


def _override(data: dict[str, Any], override: str, words: Mapping[str, str]) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ScenarioError(f"--set {override}: expected key=value, e.g. --set partition.beta=0.3")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # the latter for a date that is none
        raise ScenarioError(f"--set {override}: the value is not valid YAML") from None
    try:
        _put(data, key.strip(), value, words)
    except LookupError as error:
        raise ScenarioError(f"--set {override}: {error.args[0]}") from None


def _put(data: dict[str, Any], key: str, value: Any, words: Mapping[str, str]) -> None:
    """Set what a dotted key names. Raises `LookupError` with a sentence if it leads nowhere."""
    parts = key.split(".")
    place: Any = data
    for depth, part in enumerate(parts[:-1], start=1):
        inner = place.setdefault(part, {}) if isinstance(place, dict) else _element(place, part)
        if isinstance(inner, str) and isinstance(place, dict) and ".".join(parts[:depth]) in words:
            inner = place[part] = {words[".".join(parts[:depth])]: inner}
        if not isinstance(inner, (dict, list)):
            raise LookupError(f"{part} is no group of settings")
        place = inner
    last = parts[-1]
    if isinstance(place, list):
        if not _is_index(last, place):
            raise LookupError(f"the list has the elements 0 to {len(place) - 1}")
        place[int(last)] = value
    else:
        place[last] = value


def _unshared(value: Any) -> Any:
    """A copy without aliases: what is changed in one place is changed there only."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def _key_of(origin: Where) -> Where:
    """The key under which a value stands, or the list that it is in."""
    *above, last = origin
    return _key_of(tuple(above)) if isinstance(last, int) else (*above, Key(last))


def _in_short(value: Any) -> str:
    text = str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("...\n").strip()
    return text if len(text) <= 60 else text[:57] + "..."


def _element(place: Any, part: str) -> Any:
    return place[int(part)] if isinstance(place, list) and _is_index(part, place) else None


def _is_index(part: str, elements: Sequence[Any]) -> bool:
    return part.isascii() and part.isdecimal() and int(part) < len(elements)
