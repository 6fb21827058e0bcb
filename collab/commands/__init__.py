"""The commands of `collab` that have a file of their own: each module here is one, `command` its function.

The module's name is the command's, with `-` for `_`. A package here is a group of commands, its modules likewise the
commands in it, its docstring its help. `collab.cli` finds them; nothing else knows their names.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Command = tuple[str, Callable[..., None]]


@dataclass(frozen=True, slots=True)
class Group:
    """Commands that stand behind a word of their own: `collab NAME COMMAND`."""

    name: str
    help: str
    commands: tuple[Command, ...]


def found() -> Iterator[Command]:
    """Name and function of every command of this package."""
    yield from _commands(__path__, __name__)


def groups() -> Iterator[Group]:
    """The groups of commands of this package."""
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            package = importlib.import_module(f"{__name__}.{module.name}")
            commands = tuple(_commands(package.__path__, package.__name__))
            yield Group(module.name, inspect.getdoc(package) or "", commands)


def _commands(path: Sequence[str], package: str) -> Iterator[Command]:
    for module in pkgutil.iter_modules(path):
        if not module.ispkg:
            yield module.name.replace("_", "-"), importlib.import_module(f"{package}.{module.name}").command
