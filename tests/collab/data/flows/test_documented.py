"""`docs/flows.md` names every setting and every key of a mapping, and its mappings can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from collab.data.base_settings import DatasetBase
from collab.data.flows.flow_format import Feature, FlowFormat, Label, Session, Station, published_format, read_format
from collab.data.flows.settings import FlowCsvSettings, FlowSettings, NiddSettings, SyntheticNiddSettings
from collab.scenario import Scenario

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "flows.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("model", [FlowSettings, NiddSettings, SyntheticNiddSettings, FlowCsvSettings])
def test_every_setting_has_its_word(model):
    for name in set(model.model_fields) - set(DatasetBase.model_fields):
        assert re.search(rf"`(dataset\.)?{name}\b", PAGE), name


@pytest.mark.parametrize(
    ("model", "prefix"), [(FlowFormat, ""), (Feature, "features[]."), (Label, "label."), (Station, ""), (Session, "")]
)
def test_every_key_of_a_mapping_is_in_the_table(model, prefix):
    table = PAGE.split("### The mapping")[1].split("\n## ")[0]
    for name in model.model_fields:
        if model in (Station, Session):
            assert re.search(rf"\b{name}\b", table), name
        else:
            assert f"\n| `{prefix}{name}` |" in table


def test_the_mappings_of_the_page_can_be_read(tmp_path):
    mappings = [block for block in BLOCKS if "features" in block]
    assert [block["name"] for block in mappings] == ["cic-ids"]
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mappings[0], sort_keys=False))
    form = read_format(tmp_path / "mapping.yaml")
    assert form.class_names == ("benign", "flood", "slow", "scan")
    assert "../scenarios/mappings/zeek-conn.yaml" in PAGE
    assert read_format(ROOT / "scenarios" / "mappings" / "zeek-conn.yaml").flows_per_image(16, "packed") == 22


def test_the_numbers_of_the_page():
    form = published_format("nidd")
    assert [form.flows_per_image(side, "packed") for side in (64, 32, 16)] == [94, 24, 6]
    assert "94 flows fill 64 x 64 pixels" in PAGE
    assert "24 at 32 pixels, 6 at 16" in PAGE
    excerpt = next(block for block in BLOCKS if "dataset" in block)
    assert set(excerpt) <= set(Scenario.model_fields)
