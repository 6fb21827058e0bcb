"""Every file in `wrong_scenarios/` is wrong in one way: what is told of it says where, what was found and what to do.

The messages stand in `wrong_scenarios/messages.txt`, to be read as a user reads them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from collab import scenario
from collab.errors import ScenarioError

FOLDER = Path(__file__).with_name("wrong_scenarios")
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def read_messages():
    """File -> (exit code, message)."""
    found = {}
    for block in (FOLDER / "messages.txt").read_text(encoding="utf-8").split("\n\n")[1:]:
        head, *lines = block.strip("\n").splitlines()
        name, code = head.split()
        found[name] = int(code), "\n".join(line.removeprefix("    ") for line in lines)
    return found


MESSAGES = read_messages()


def fits(told, expected):
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("...")), told) is not None


def test_each_file_has_its_message_and_each_message_its_file():
    assert len(FILES) >= 40
    assert sorted(MESSAGES) == FILES


@pytest.mark.parametrize("name", FILES)
def test_what_is_told_of_a_wrong_scenario(name, monkeypatch):
    monkeypatch.chdir(FOLDER)
    load = scenario.load_plan if name.startswith("sweep-") else scenario.load
    with pytest.raises(ScenarioError) as caught:
        load(name)
    code, message = MESSAGES[name]
    assert fits(str(caught.value), message), f"{caught.value}\n\nis not\n\n{message}"
    assert caught.value.exit_code == code
    assert code in (3, 4)
    assert re.match(r"(parts/)?[a-z0-9-]+\.yaml:\d+:\d+: ", str(caught.value))


@pytest.mark.parametrize(
    "name",
    [
        "tab.yaml",
        "no-boundary-for-embeddings.yaml",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("unknown-unit.yaml", "extends-in-a-circle.yaml", "empty.yaml")
        ),
        "sweep-with-an-impossible-value.yaml",
    ],
)
def test_the_command_ends_with_the_message_and_its_code(name, tmp_path):
    verb = "sweep" if name.startswith("sweep-") else "run"
    command = [sys.executable, "-m", "collab.cli", verb, name, "--runs-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER)
    code, message = MESSAGES[name]
    assert (done.returncode, done.stdout) == (code, "")
    assert fits(done.stderr.strip(), f"collab: {message}"), done.stderr
    assert list(tmp_path.iterdir()) == []
