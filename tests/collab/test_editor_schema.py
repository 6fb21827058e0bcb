"""The schema for editors takes what the parser takes, and has something to say about every setting."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from collab.scenario import json_schema
from tests.collab.test_scenario import TEXT

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").rglob("*.yaml"))
SCENARIOS = [path for path in SCENARIOS if path.parent.name != "mappings"]


@functools.lru_cache(maxsize=1)
def validator():
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def valid(text):
    return validator().is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_is_valid(path):
    validator().validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "change",
    [
        "evaluation: paper",  # bare words
        "evaluation: {protocol: quick, repeats: 3}",
        "boundaries: [{to: cloud, allow: [synthetic], at_most_rate: 1 MB/s}]",
        "sweep: {partition.beta: [0.1, 0.3], network.access.latency: {linspace: [1 ms, 9 ms, 3]}, repeats: 2}",
        "methods: {fedavg: {rounds: 3}}",
        "faults: [{at: 1 s, for: 2 s, fault: crash, host: server}]",
    ],
)
def test_what_the_parser_takes_is_valid(change):
    assert valid(TEXT + change)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 7", "sede: 7"),
        ("seed: 7", "seed: seven"),
        ("beta: 0.3", "beta: -1"),
        ("scheme: dirichlet, ", ""),
        ("{name: gaussians}", "{name: mnits}"),
        ("topology: star", "topology: start"),
        ("iterations: 5", "iteration: 5"),
        ("- localdm", "- localdmm"),
        ("bandwidth: 20 Mbit/s", "bandwidth: 20"),
        ("client: jetson-orin-nano", "client: jetson-orin-nanno"),
        ("client: lte", "client: lte-a"),
        ("[embeddings, synthetic]", "[embeddings, raw]"),
        ("partition: {clients: 3, scheme: dirichlet, beta: 0.3}\n", ""),
        ("seed: 7", "extends: []\nseed: 7"),
    ],
)
def test_what_is_wrong_is_not(old, new):
    assert old in TEXT
    assert not valid(TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: base.yaml", True),
        ("extends: [base.yaml, slow.yaml]\nmethod: {iterations: 9}\npartition: {beta: 0.5}", True),
        ("extends: base.yaml\nnetwork: {access: {bandwidth: 1 Mbit/s}}\nevaluation: quick", True),
        ("extends: base.yaml\nmethod: {iteration: 9}", False),
        ("extends: base.yaml\nnetwork: {access: {bandwidht: 1 Mbit/s}}", False),
        ("extends: base.yaml\nboundaries: [{allow: [synthetic]}]", False),  # lists are replaced: all of it, or nothing
        ("extends: 3", False),
        ("method: {iterations: 9}", False),
    ],
)
def test_a_file_that_extends_others_may_leave_out_what_they_say(text, expected):
    assert valid(text) is expected


def settings_of(definition):
    return [*definition.get("anyOf", ()), definition]


def test_every_setting_has_a_description():
    definitions = json_schema()["$defs"]
    silent = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        for settings in settings_of(definition)
        for field, schema in settings.get("properties", {}).items()
        if not schema.get("description")
    ]
    assert silent == []
    assert len(definitions) > 100
