"""log.txt: what happened in a run, in words."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime

import pytest

from collab import run, scenario
from collab.errors import DataError
from collab.logbook import Logbook
from collab.run_listener import Silence
from collab.store import find_run, open_run
from tests.collab.test_run import TEXT

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  "


def test_a_run_tells_its_story(tmp_path):
    chosen = scenario.parse(TEXT, "tiny.yaml", ["baselines=[localdm]", "evaluation.sets=2"])
    with open_run(tmp_path, chosen.name, None) as writer:
        run.run_scenario(chosen, writer)
    story = [
        r"collab [\d.]+: tiny, seed 3, simulated network",
        r"data loaded: gaussians, 160 training samples at 4 sites, \d+ test samples \([\d.]+ s\); "
        r"computing on cpu with \d+ threads?",
        "collabdm began with 4 sites",
        r"collabdm: round 1, 4 uploads, the last of client-\d at \d\.\d{6} s",
        r"collabdm: server refines \.\.\.",
        r"collabdm: judging \.\.\.",
        r"collabdm: set 2 of 2: server refines \.\.\.",
        r"collabdm: set 2 of 2: judging \.\.\.",
        r"collabdm ended after [\d.]+ s: convnet [\d.]+ %; .* up and .* down per client, last .*, result .*",
        "localdm began with 4 sites",
        r"localdm: round 1, 4 uploads, .*",
        r"localdm: judging \.\.\.",
        r"localdm: set 2 of 2: judging \.\.\.",
        r"localdm ended after .*",
        r"done, after [\d.]+ s in all; written to .*/tiny-001",
    ]
    lines = find_run("latest", tmp_path).log.splitlines()
    assert len(lines) == len(story)
    for line, expected in zip(lines, story, strict=True):
        assert re.fullmatch(MOMENT + expected, line)


def test_it_can_be_followed_and_keeps_warnings(tmp_path):
    chosen = scenario.parse(TEXT, "tiny.yaml", [])
    shown = warnings.showwarning
    with open_run(tmp_path, "s", None) as writer, warnings.catch_warnings():
        warnings.simplefilter("always")
        seen = []
        warnings.showwarning = lambda message, *rest: seen.append(str(message))
        log = Logbook(writer, Silence(), now=lambda: datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC))
        with log.open(chosen, real=True):
            warnings.warn("the GPU has not enough memory", stacklevel=1)
            log.note("two\nlines")
            (partial,) = tmp_path.glob(".*/log.txt")
            followed = partial.read_text().splitlines()
        assert seen == ["the GPU has not enough memory"]
    assert warnings.showwarning is shown
    assert followed[0].startswith("2026-01-02 03:04:05.678Z  collab ")
    assert re.fullmatch(
        MOMENT + r"warning: the GPU has not enough memory \(UserWarning, .*test_logbook\.py:\d+\)", followed[1]
    )
    assert [line[26:] for line in followed[2:]] == ["two", "lines"]


def test_a_run_that_fails_is_not_told_to_be_done(tmp_path):
    chosen = scenario.parse(TEXT, "tiny.yaml", [])
    with open_run(tmp_path, "s", None) as writer:
        log = Logbook(writer, Silence())
        with pytest.raises(DataError), log.open(chosen, real=False):
            raise DataError("no data")
        text = next(tmp_path.glob(".*/log.txt")).read_text()
    assert len(text.splitlines()) == 1
