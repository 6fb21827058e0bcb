"""Who hears how a run gets on: the terminal, the log, a sweep."""

from __future__ import annotations

from typing import Protocol

from collab.data.progress import Unit
from collab.results import MethodResult
from simnet import Network


class Listener(Protocol):
    """Hears how a run gets on; every method may do nothing."""

    def preparing(self, what: str, done: int, total: int, unit: Unit) -> None:
        """Data is being downloaded or read; `total` is 0 if it is not known."""

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """A method starts on a network of its own."""

    def progress(self, what: str, done: int, total: int) -> None:
        """A computation got on."""

    def uploaded(self, site: str, round_number: int, number: int, asked: int) -> None:
        """An upload was accepted: the `number`th of the `asked` ones of a round; rounds count from 1, too."""

    def method_ended(self, result: MethodResult) -> None:
        """A method was run and judged."""


class Silence:
    """A listener that does not listen."""

    def preparing(self, what: str, done: int, total: int, unit: Unit) -> None:
        """Nothing."""

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """Nothing."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def uploaded(self, site: str, round_number: int, number: int, asked: int) -> None:
        """Nothing."""

    def method_ended(self, result: MethodResult) -> None:
        """Nothing."""
