"""The command `collab` within the process of the test: for what it says and the code it ends with, where a process of
its own, whose imports alone take two seconds, would show nothing more.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from typer.testing import CliRunner

from collab.cli import whole_app
from collab.deploy import logs


@dataclass(frozen=True)
class Ended:
    """What a command left: called as in `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def collab_here(directory: Path, *arguments: object, **environment: str) -> Ended:
    """Run `collab` with `arguments` in `directory`; raises what the command lets through, of which a shell would show
    the traceback.
    """
    ending = mock.patch.object(os, "_exit", _exit)  # it ends by this, which would end the test with it
    with contextlib.chdir(directory), ending:
        try:
            done = CliRunner().invoke(
                whole_app(),
                [str(word) for word in arguments],
                env={"COLUMNS": "120", **environment},
                prog_name="collab",
            )
        finally:
            logs.end()  # which else ends with the process
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)


def _exit(code: int) -> None:
    raise SystemExit(code)
