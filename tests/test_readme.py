"""The README tells the truth: what it points to is there, and it lists every exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collab import errors

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w/.]+)\)|`((?:tests|scenarios)/[\w/.-]+)`", TEXT))))
def test_what_it_points_to_is_there(path):
    assert (ROOT / "".join(path)).exists()


def test_it_lists_every_exit_code():
    listed = {int(code) for code in re.findall(r"\| (\d+) \|", TEXT)}
    family = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.CollabError)]
    used = {cls.exit_code for cls in family} - {errors.CollabError.exit_code}
    assert listed == used | {2, errors.INTERRUPTED_EXIT_CODE}
