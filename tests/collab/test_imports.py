"""What the command imports before it is known that it is needed: Ray alone takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

LISTED = """
import sys
sys.argv = ["collab", *{arguments}]
try:
    {work}
except SystemExit:
    pass
print("imported:", *sorted({{"ray", "torch"}} & set(sys.modules)))
"""
COMMAND = "from collab.cli import main; main()"


@pytest.mark.parametrize(
    ("arguments", "work", "expected"),
    [
        (["--help"], COMMAND, []),
        (["list"], COMMAND, []),
        ([], "import collab.run, collab.console; collab.run.open_engine", ["torch"]),
        ([], "import collab.engines as e, collab.settings as s; e.open_engine(s.ComputeSettings()).close()", ["torch"]),
    ],
)
def test_ray_is_imported_only_when_it_is_chosen(arguments, work, expected, tmp_path):
    program = LISTED.format(arguments=arguments, work=work)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["imported:", *expected]
