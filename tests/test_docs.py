"""The documentation tells the truth: its programs print what it says, its commands do what it shows, every command has
its page.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from collab.cli import whole_app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_PROGRAM = re.compile(r"```python\n(.*?)```(?:\n+(?!`)[^\n]*prints[^\n]*\n+```\n(.*?)```)?", re.DOTALL)
PROGRAMS = [
    pytest.param(*found.groups(), id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, found in enumerate(_PROGRAM.finditer(page.read_text(encoding="utf-8")))
]
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
CONSOLES = [page for page in PAGES if _CONSOLE.search(page.read_text(encoding="utf-8"))]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("simnet", "collab", "analysis")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def environment(directory):
    """What a reader's shell has: the command `collab`, and a terminal of eighty columns."""
    shim = directory / "bin" / "collab"
    shim.parent.mkdir(parents=True, exist_ok=True)
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m collab.cli "$@"\n')
    shim.chmod(0o755)
    path = os.pathsep.join([str(shim.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A directory with the scenarios, a run of FedAvg in `runs`, and the set of one on synthetic traffic."""
    directory = tmp_path_factory.mktemp("docs")
    (directory / "scenarios").symlink_to(ROOT / "scenarios")
    run = "collab run scenarios/hundred.yaml --set 'method={name: fedavg, rounds: 1, width: 4, depth: 1}'"
    fewer = " --set partition.clients=2 --set 'boundaries=[{to: cloud, allow: [model], answers: [model]}]'"
    (directory / "data").mkdir()
    distil = (
        "COLLAB_DATA_DIR=data collab run scenarios/hundred.yaml --runs-dir distilled --name stations"
        " --set 'dataset={name: 5g-nidd-synthetic, share: 0.05}' --set 'partition={clients: 2, scheme: by_column}'"
        " --set 'method={name: localdm, images_per_class: 4, expand: 2, width: 4, local_steps: 0}'"
    )
    for command in (run + fewer, distil, "collab export-synthetic distilled/stations --out set.npz"):
        env = environment(directory)
        subprocess.run(command, shell=True, cwd=directory, env=env, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_a_program_prints_what_the_page_says(place, program, printed):
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place, capture_output=True, text=True, env=environment(place)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert printed is None or done.stdout == printed


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


def test_every_command_has_its_page():
    command = typer.main.get_command(whole_app())
    pages = {page.stem: page.read_text() for page in (ROOT / "docs" / "commands").glob("*.md") if page.stem != "index"}
    assert sorted(pages) == sorted(command.commands)
    for name, found in command.commands.items():
        whole = [f"{name} {inner}" for inner in getattr(found, "commands", {})] or [name]
        assert sorted(re.findall(r"```\{command\} ([\w -]+)\n", pages[name])) == sorted(whole)
        assert re.search(r"```(console|text)\n\$ collab", pages[name])


# Of what commands print numbers and digests depend on the machine; the words and their order do not.
_VARYING = re.compile(r"\b[0-9a-f]{8,64}\b|\d[\d.,]*(?:e-?\d+)?|[─━┏┓┗┛┳┻╇┡┩│┃ \n-]+")


def words(text):
    return [part for part in _VARYING.sub(" ", text).split() if part not in _UNITS]


_UNITS = {"B", "kB", "MB", "GB", "s", "ms", "min", "h", "J", "kJ", "mJ", "k", "M", "G"}


def assert_shows(printed, shown):
    """`shown` is what was printed, but for numbers and units; `...` on a line of its own stands for any lines."""
    rest = words(printed)
    for number, piece in enumerate(re.split(r"(?m)^ *\.\.\. *$", shown)):
        wanted = words(piece)
        starts = range(len(rest) - len(wanted) + 1) if number else [0]
        found = next((start for start in starts if rest[start : start + len(wanted)] == wanted), None)
        assert found is not None, f"{piece}\n--- is not in ---\n{printed}"
        rest = rest[found + len(wanted) :]
    assert not rest or shown.rstrip().endswith("..."), printed


@pytest.mark.slow
@pytest.mark.parametrize("page", CONSOLES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_print_what_the_page_shows(tmp_path, page):
    """All commands of a page, in order, in a directory in which nothing was run yet."""
    for path in ("scenarios", "docs"):
        shutil.copytree(ROOT / path, tmp_path / path)
    for block in _CONSOLE.findall(page.read_text(encoding="utf-8")):
        for step in re.split(r"(?m)^\$ ", block)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", step).group()
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path, env=environment(tmp_path), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout
            assert_shows(done.stdout, step[len(command) :])
