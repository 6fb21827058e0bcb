"""The page about scenarios: its example is a scenario, and it has a word about every section."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import yaml

from collab import scenario
from collab.settings import Scenario

PAGE = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
COMPLETE, CHANGE = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_complete_example_is_a_scenario_with_every_section(tmp_path):
    path = tmp_path / "complete.yaml"
    path.write_text(COMPLETE)
    assert scenario.load(path).name == "two-hospitals"
    assert len(scenario.load_plan(path).cells) == 12
    assert set(yaml.safe_load(COMPLETE)) == set(Scenario.model_fields)
    jsonschema.Draft202012Validator(scenario.json_schema()).validate(yaml.safe_load(COMPLETE))


def test_the_example_of_a_change_changes_what_it_says(tmp_path):
    (tmp_path / "complete.yaml").write_text(COMPLETE)
    (tmp_path / "slow.yaml").write_text(CHANGE)
    read = scenario.load(tmp_path / "slow.yaml")
    assert (read.name, read.network.access.bandwidth, read.network.access.latency) == ("slow", 200e3, 0.01)
    assert (read.evaluation.protocol, read.evaluation.repeats, read.baselines) == ("quick", 5, ())
    jsonschema.Draft202012Validator(scenario.json_schema()).validate(yaml.safe_load(CHANGE))


def test_every_section_has_its_row():
    sections = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert set(Scenario.model_fields) | {"extends"} <= set(sections)
