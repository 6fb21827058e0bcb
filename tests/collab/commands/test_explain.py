from __future__ import annotations

import json

import pytest

from collab.commands.explain import command
from collab.errors import ScenarioError
from tests.collab.test_run import TEXT


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "tiny.yaml").write_text(TEXT)
    return tmp_path


def test_it_says_what_will_happen_and_what_it_costs(here, capsys):
    command(here / "tiny.yaml")
    said = capsys.readouterr().out
    assert "4 sites hold gaussians: 160 grey images of 16 x 16 pixels in 4 classes" in said
    assert "Every tenant may send embeddings and synthetic to cloud, at most 1 MB each, and may get seeds back." in said
    assert "localdm: every site distils its own data by distribution matching; the server takes the union." in said
    for line in ("collabdm ", "localdm ", "central "):
        assert any(row.strip().startswith(line) for row in said.splitlines())
    assert "Is that meant?" not in said


def test_it_warns_and_tells_of_a_sweep(here, capsys):
    command(here / "tiny.yaml", ["method.images_per_class=900", "baselines=[]", "sweep={seed: [1, 2]}"])
    said = capsys.readouterr().out
    assert "2 cells, each a run of its own" in said
    assert "Is that meant?" in said
    assert "method.images_per_class: collabdm: client-0, client-1, client-2, client-3 will send no images" in said


def test_json_is_all_there_is(here, capsys):
    command(here / "tiny.yaml", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"scenario", "sections", "methods", "wall_s", "memory_bytes", "cells", "warnings"}
    assert told["methods"][0]["bytes_up_per_client"] > 0


def test_a_wrong_scenario_is_told_as_ever(here):
    with pytest.raises(ScenarioError, match="--set seed=-1: found -1, expected at least 0"):
        command(here / "tiny.yaml", ["seed=-1"])
