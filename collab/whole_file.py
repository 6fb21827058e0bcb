"""Files that appear whole or not at all, and never in the place of another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collab.errors import RunExistsError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A path to write to, which gets the name `path` when the block ends; what was written is gone if it raises.

    Folders on the way are made. Raises `RunExistsError` if there is something at `path`, before and after the block;
    `OSError` if nothing can be written there.
    """
    _refuse(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two that make the same file do not mix
    partial.touch()  # a folder that takes no files is noticed before the work
    try:
        yield partial
        try:
            os.link(partial, path)  # unlike a renamed file, never in the place of another
        except FileExistsError as error:
            raise _exists(path) from error
    finally:
        partial.unlink(missing_ok=True)


def _refuse(path: Path) -> None:
    if path.exists():
        raise _exists(path)


def _exists(path: Path) -> RunExistsError:
    return RunExistsError(f"{path} exists already; choose another --out, or remove it")
