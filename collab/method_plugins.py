"""Methods that installed packages add, through the entry point group `collab.methods`: name of the method = its module.

Only what is installed is found: no file is looked for, and no scenario can name one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from collab.errors import MethodPluginError

GROUP = "collab.methods"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PARTS = ("UPLOADS", "TASKS", "client", "server")


def added(taken: Collection[str]) -> Mapping[str, EntryPoint]:
    """The added methods by name; `taken` are the names that are not to be had. Raises `MethodPluginError`."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if not _NAME.fullmatch(entry.name):
            raise _refused(entry, "expected a name of small letters, digits and _, a letter first")
        if entry.name in taken or entry.name in found:
            raise _refused(entry, "there is a method of that name already; give it another")
        found[entry.name] = entry
    return found


def module_of(entry: EntryPoint, base: type) -> Any:
    """The module that is an added method; its `Settings` are a class of `base`. Raises `MethodPluginError`."""
    try:
        module = importlib.import_module(entry.value)
    except Exception as error:  # whatever a stranger's module raises while it is read
        raise _refused(entry, f"it cannot be imported: {type(error).__name__}: {error}") from error
    settings = getattr(module, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, base)):
        raise _refused(entry, f"expected a class Settings that is a {base.__module__}.{base.__name__}")
    if lacking := [part for part in _PARTS if not hasattr(module, part)]:
        raise _refused(entry, f"expected {' and '.join(lacking)} in it, too")
    return module


def _refused(entry: EntryPoint, message: str) -> MethodPluginError:
    package = "an installed package" if entry.dist is None else f"the package {entry.dist.name}"
    return MethodPluginError(
        f"{package} adds the method {entry.name} ({entry.value}): {message}; mend it, or uninstall the package"
    )
