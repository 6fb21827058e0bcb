"""Columns of values, packed tightly in memory: what a `simnet.trace.Trace` keeps its events in.

Numbers lie in numpy arrays; texts that repeat are numbers into a list of words, others lie end to end in one string.
Every column gives back exactly what was packed, as Python values (`unpacked`) and as JSON (`rendered`). Not supported:
changing a column.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

ValueType = Literal["integer", "number", "truth", "text", "texts", "none"]
"""What a column holds: int, float, bool, str, list[str] or None."""


_SAMPLE = 256  # values that decide how all of them are packed


class Column(Protocol):
    """Values of one type, packed."""

    def __len__(self) -> int:
        """How many values there are."""

    def unpacked(self) -> list[Any]:
        """The values as they were."""

    def rendered(self) -> list[str]:
        """Each value as JSON: no spaces, ASCII only, floats in their shortest exact form."""


class Numbers:
    """Integers of 64 bits, floats or truth values in an array of numpy's."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def unpacked(self) -> list[Any]:
        """The values as Python's own int, float or bool."""
        return list(self.array.tolist())

    def rendered(self) -> list[str]:
        """JSON; not-a-number and infinity as Python's json writes them."""
        values = self.array.tolist()
        if self.array.dtype == np.bool_:
            return ["true" if value else "false" for value in values]
        if self.array.dtype == np.float64 and not np.isfinite(self.array).all():
            return [json.dumps(value) for value in values]
        return [repr(value) for value in values]


class Words:
    """Texts of which many are equal: each is a number into the list of all that are different."""

    def __init__(self, codes: NDArray[Any], words: Sequence[str]) -> None:
        self.codes = codes
        self.words = words

    def __len__(self) -> int:
        return len(self.codes)

    def unpacked(self) -> list[str]:
        """The texts."""
        words = self.words
        return [words[code] for code in self.codes.tolist()]

    def rendered(self) -> list[str]:
        """JSON strings."""
        words = [encode_basestring_ascii(word) for word in self.words]
        return [words[code] for code in self.codes.tolist()]


class Texts:
    """Texts of which few are equal, end to end in one string."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._joined = "".join(texts)
        self._ends = np.cumsum([0, *map(len, texts)], dtype=np.int64).astype(np.uint32)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def unpacked(self) -> list[str]:
        """The texts."""
        joined = self._joined
        return [joined[start:end] for start, end in pairwise(self._ends.tolist())]

    def rendered(self) -> list[str]:
        """JSON strings."""
        return [encode_basestring_ascii(text) for text in self.unpacked()]


class Others:
    """Whatever has no tighter form: lists, None, integers of more than 64 bits, truly long texts."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = tuple(values)

    def __len__(self) -> int:
        return len(self._values)

    def unpacked(self) -> list[Any]:
        """The values; lists are copies."""
        return [list(value) if isinstance(value, (list, tuple)) else value for value in self._values]

    def rendered(self) -> list[str]:
        """JSON."""
        return [json.dumps(value, separators=(",", ":")) for value in self._values]


def pack(values: Sequence[Any], value_type: ValueType) -> Column:
    """A column of values, one at least, that are all of one type."""
    return _PACKERS[value_type](values)


def _pack_integers(values: Sequence[int]) -> Column:
    try:
        return Numbers(np.array(values, dtype=np.int64))
    except OverflowError:
        return Others([int(value) for value in values])


def _pack_texts(values: Sequence[str]) -> Column:
    if values.count(values[0]) == len(values):
        return _words(np.zeros(len(values), dtype=np.uint8), values[:1])
    sample = values[:_SAMPLE]
    if 2 * len(set(sample)) <= len(sample):
        numbers = {word: number for number, word in enumerate(dict.fromkeys(values))}
        codes = np.fromiter(map(numbers.__getitem__, values), np.min_scalar_type(len(numbers)), len(values))
        return _words(codes, numbers)
    if sum(map(len, values)) < 2**32:
        return Texts(values)
    return Others([_plain(text) for text in values])


def _words(codes: NDArray[Any], words: Iterable[str]) -> Words:
    return Words(codes, tuple(sys.intern(_plain(word)) for word in words))  # shared with all other columns


def _plain(text: str) -> str:
    """The text itself of a member of an enumeration or another kind of str."""
    return text if type(text) is str else str.__str__(text)


_PACKERS: dict[ValueType, Callable[[Sequence[Any]], Column]] = {
    "integer": _pack_integers,
    "number": lambda values: Numbers(np.array(values, dtype=np.float64)),
    "truth": lambda values: Numbers(np.array(values, dtype=np.bool_)),
    "text": _pack_texts,
    "texts": Others,
    "none": Others,
}


def type_of(value_class: type[Any]) -> ValueType | None:
    """The type of column that values of a class go into, or None if there is none."""
    for base, value_type in _TYPES:
        if issubclass(value_class, base):
            return value_type
    return None


_TYPES: tuple[tuple[type[Any], ValueType], ...] = (
    (bool, "truth"),  # before int, which it descends from
    (int, "integer"),
    (float, "number"),
    (str, "text"),
    (list, "texts"),
    (type(None), "none"),
)
