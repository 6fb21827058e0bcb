"""The commands of `collab` that have a file of their own: each module here is one, `command` its function.

The module's name is the command's. `collab.cli` finds them; nothing else knows their names.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator


def found() -> Iterator[tuple[str, Callable[..., None]]]:
    """Name and function of every command of this package."""
    for module in pkgutil.iter_modules(__path__):
        yield module.name, importlib.import_module(f"{__name__}.{module.name}").command
