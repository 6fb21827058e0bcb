"""Protocols by name, and what is said of mistakes in how results are judged."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from collab import scenario
from collab.errors import ScenarioError
from collab.evaluation_settings import PROTOCOLS, EvaluationSettings
from tests.collab.test_run import TEXT as TINY

TEXT = TINY.replace("evaluation: {epochs: 3}\n", "")


def evaluation(line, *overrides):
    return scenario.parse(f"{TEXT}{line}\n", "tiny.yaml", overrides).evaluation


def test_the_papers_protocol():
    """Section 5 of the paper, and the recipe of its code."""
    settings = evaluation("evaluation: paper")
    assert (settings.epochs, settings.sets, settings.repeats, settings.networks) == (1001, 5, 20, ("convnet",))
    recipe = (settings.batch_size, settings.learning_rate, settings.momentum, settings.weight_decay, settings.augment)
    assert recipe == (256, 0.01, 0.9, 5e-4, True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_has_many_spellings(protocol):
    settings = evaluation(f"evaluation: {protocol}")
    assert settings.protocol == protocol
    assert settings == evaluation(f"evaluation: {{protocol: {protocol}}}")
    assert settings == evaluation("", f"evaluation={protocol}")
    assert settings == evaluation("evaluation: {epochs: 7}", f"evaluation={protocol}")
    assert settings == EvaluationSettings.model_validate(protocol)
    for name, value in PROTOCOLS[protocol].items():
        assert getattr(settings, name) == value


def test_what_is_given_beside_a_protocol_wins():
    expected = EvaluationSettings(protocol="paper", epochs=1001, sets=5, repeats=3)
    assert evaluation("evaluation: {repeats: 3, protocol: paper}") == expected
    assert evaluation("evaluation: paper", "evaluation.repeats=3") == expected
    assert evaluation("", "evaluation=paper", "evaluation.repeats=3") == expected


def test_without_a_protocol_one_network_is_trained_as_long_as_in_the_paper():
    assert evaluation("") == EvaluationSettings()
    assert (EvaluationSettings().epochs, EvaluationSettings().sets, EvaluationSettings().repeats) == (1001, 1, 1)


@pytest.mark.parametrize("line", ["evaluation: paper", "evaluation: {protocol: quick, sets: 2, networks: [resnet18]}"])
def test_what_is_written_out_is_read_back(line):
    text = TEXT.replace("side: 16", "side: 32") + line
    read = scenario.parse(text, "tiny.yaml")
    assert scenario.parse(read.dump(), "again.yaml") == read


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("papr", 'found "papr"; did you mean "paper"? (known: paper, quick)'),
        ("{protocol: slow}", 'found "slow" (known: paper, quick)'),
        ("7", "found 7, expected paper or quick, or a map of settings such as {epochs: 300}"),
        ("[quick]", "found ['quick'], expected paper or quick"),
        ("{sets: 0}", "found 0, expected at least 1"),
        ("{epochs: 2.5}", "found 2.5, expected a whole number"),
        ("{networks: []}", "found [], expected at least 1 element"),
        ("{networks: [convnet, vgg12]}", 'found "vgg12"; did you mean "vgg11"?'),
        (
            "{networks: [convnet, resnet18, convnet]}",
            "convnet is listed twice; expected each network once, take one out",
        ),
        ("{repeat: 3}", 'there is no setting "repeat" here; did you mean "repeats"?'),
    ],
)
def test_mistakes_are_told_with_their_line(value, message):
    with pytest.raises(ScenarioError) as caught:
        evaluation(f"evaluation: {value}")
    line = len(TEXT.splitlines()) + 1
    assert re.match(rf"tiny\.yaml:{line}:\d+: evaluation", str(caught.value)), str(caught.value)
    assert message in str(caught.value)
    with pytest.raises(ScenarioError) as caught:
        evaluation("", f"evaluation={value}")
    assert str(caught.value).startswith(f"--set evaluation={value}: ")


def test_a_protocol_by_name_is_no_group_of_other_settings():
    with pytest.raises(ScenarioError, match="name is no group of settings"):
        evaluation("", "name.first=x")
    with pytest.raises(ValidationError):
        EvaluationSettings.model_validate(None)


def test_the_schema_for_editors_knows_both_forms():
    schema = scenario.json_schema()
    word, settings = schema["$defs"]["scenario"]["properties"]["evaluation"]["anyOf"]
    assert word == {"enum": ["paper", "quick"]}
    assert set(schema["$defs"][settings["$ref"].rsplit("/", 1)[1]]["properties"]) == set(
        EvaluationSettings.model_fields
    )


# -- images too small for a network --------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.networks=[alexnet, vgg11]", "vgg11 cannot take images of 16x16 pixels and one channel"),
        ("method.architecture=vgg11", "vgg11 cannot take images of 16x16 pixels and one channel"),
        ("method.depth=5", "convnet of depth 5 cannot take images of 16x16 pixels"),
        ("dataset.side=8", "convnet of depth 4 cannot take images of 8x8 pixels"),
    ],
)
def test_a_network_that_leaves_nothing_of_the_images_is_refused(override, message):
    text = TEXT.replace("depth: 2", "depth: 4") if override.startswith("dataset") else TEXT
    with pytest.raises(ScenarioError) as caught:
        scenario.parse(text, "tiny.yaml", [override])
    assert message in str(caught.value)
    assert "expected at least" in str(caught.value)
    if not override.startswith("dataset"):
        assert str(caught.value).startswith(f"--set {override}: ")


def test_so_is_one_of_a_baseline_where_it_is_named():
    text = TEXT.replace("{name: central, steps: 4}", "{name: central, steps: 4, architecture: vgg11}")
    with pytest.raises(ScenarioError, match=r"tiny.yaml:\d+:\d+: baselines.1.architecture: vgg11 cannot take"):
        scenario.parse(text, "tiny.yaml")


@pytest.mark.parametrize("side", [28, 32, 64])
def test_every_network_takes_the_usual_sizes(side):
    networks = "evaluation.networks=[convnet, alexnet, vgg11, resnet18]"
    read = scenario.parse(TEXT, "tiny.yaml", [networks, f"dataset.side={side}", "method.architecture=resnet18"])
    assert read.method.architecture == "resnet18"
