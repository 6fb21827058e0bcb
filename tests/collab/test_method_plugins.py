"""Methods that other packages add: the one of the documentation runs, and what is none is refused with its package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from collab.errors import MethodPluginError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "write-your-own-method.md").read_text(encoding="utf-8")
METHOD = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
PROJECT = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL).group(1))
RUN = re.search(r"\$ collab (run .*)\n", PAGE).group(1)


def install(directory, program, names=None):
    """What pip would leave of the page's project: its module, and what it says of itself."""
    project = PROJECT["project"]
    names = names or project["entry-points"]["collab.methods"]
    (directory / "prototypes.py").write_text(program)
    info = directory / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {module}\n" for name, module in names.items())
    (info / "entry_points.txt").write_text(f"[collab.methods]\n{points}")


def collab(directory, arguments):
    path = os.pathsep.join([str(directory), str(ROOT)])
    return subprocess.run(
        ["bash", "-c", f'"$0" -m collab.cli {arguments}', sys.executable],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_method_of_the_page_is_as_short_as_it_says():
    code = [line for line in METHOD.splitlines() if line.strip()]
    assert 35 <= len(code) <= 45


def test_the_method_of_the_page_runs_as_the_page_says(tmp_path):
    install(tmp_path, METHOD)
    shorter = "--set evaluation.epochs=1 --set evaluation.repeats=1"
    done = collab(tmp_path, f"{RUN} {shorter} --runs-dir {tmp_path / 'runs'} --json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert list(summary["methods"]) == ["prototypes"]
    [run] = (tmp_path / "runs").glob("quickstart-*")
    assert json.loads((run / "environment.json").read_text())["prototypes"] == "0.1"


@pytest.mark.parametrize(
    ("program", "names", "said"),
    [
        ("raise ValueError('no good')", None, "it cannot be imported: ValueError: no good"),
        ("", None, "expected a class Settings that is a collab.methods.MethodSettings"),
        (METHOD.replace("async def server", "async def serve"), None, "expected server in it, too"),
        (METHOD, {"fedavg": "prototypes"}, "there is a method of that name already; give it another"),
        (METHOD, {"proto-types": "prototypes"}, "expected a name of small letters, digits and _, a letter first"),
    ],
)
def test_what_is_no_method_is_refused(tmp_path, program, names, said):
    install(tmp_path, program, names)
    done = collab(tmp_path, "partition scenarios/quickstart.yaml")
    assert done.returncode == MethodPluginError.exit_code
    assert "collab: the package prototypes adds the method" in done.stderr
    assert said in done.stderr
    assert done.stderr.rstrip().endswith("mend it, or uninstall the package")
    assert "Traceback" not in done.stderr
