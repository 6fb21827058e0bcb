"""How long work on data tells how far it is."""

from __future__ import annotations

from typing import Literal, Protocol

Unit = Literal["B", "images", "flows"]


class Progress(Protocol):
    """Hears how far something is: downloads count bytes, decoding counts images or flows; a total of 0 is not known."""

    def __call__(self, what: str, done: int, total: int, unit: Unit) -> None:
        """`done` of `total` of `what`, a text such as "downloading mnist: train-images-idx3-ubyte.gz"."""


def silence(what: str, done: int, total: int, unit: Unit) -> None:
    """Hear nothing."""
