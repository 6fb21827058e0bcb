"""The bundle that is committed is what the sources in web/ give."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
BUNDLE = ROOT / "analysis" / "templates" / "player.js"


def test_the_lock_file_names_no_place_to_load_from():
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/d3-selection"]["integrity"].startswith("sha512-")
    assert not any("resolved" in package for package in lock["packages"].values())


def test_every_version_is_fixed():
    chosen = json.loads((WEB / "package.json").read_text())
    versions = {**chosen["dependencies"], **chosen["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values()), versions


def test_the_bundle_keeps_the_licences_of_what_is_in_it():
    notice = BUNDLE.read_text().split("/*! What is bundled here:")[1]
    for package in ("d3-selection", "d3-scale", "d3-timer", "d3-zoom"):
        assert re.search(rf"{package} \d+\.\d+\.\d+ \(ISC\)", notice)
    assert "Permission to use, copy, modify, and/or distribute this software" in notice


def test_it_is_light_and_can_stand_in_a_page():
    text = BUNDLE.read_text()
    assert len(text) < 150_000
    assert "</script" not in text.lower()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="no node on this machine: the bundle cannot be built again")
def test_building_it_again_gives_the_same(tmp_path):
    """In a copy, so that nothing here changes; the packages come from the registry, or npm's cache."""
    copied = Path(shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("node_modules")))
    fetched = run("npm", "ci", "--no-fund", "--no-audit", "--prefer-offline", at=copied)
    if fetched.returncode and re.search(r"ENOTFOUND|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|EAI_AGAIN", fetched.stderr):
        pytest.skip("no package registry can be reached: the bundle cannot be built again")
    assert fetched.returncode == 0, fetched.stderr
    checked = run("npm", "run", "check", at=copied)
    assert checked.returncode == 0, checked.stdout
    built = run("node", "build.mjs", "--out", str(tmp_path / "player.js"), at=copied)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "player.js").read_text() == BUNDLE.read_text(), "run `make web` and commit what it writes"


def run(*command, at):
    return subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=300)
