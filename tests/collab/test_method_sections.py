"""What a method takes from its own section, and a baseline from its method."""

from __future__ import annotations

import pytest
import yaml

from collab.errors import ScenarioError
from tests.collab.test_scenario import TEXT, parse


def test_baselines_take_what_they_are_not_given_from_the_method():
    localdm, central = parse().baselines
    assert (localdm.name, localdm.images_per_class, localdm.expand, localdm.width) == ("localdm", 2, 2, 8)
    assert (central.name, central.steps, central.images_per_class, central.width) == ("central", 9, 2, 8)


def test_baselines_take_what_is_the_same_thing_not_what_has_the_same_name():
    """A learning rate of images is none of weights; a rate of local distillation is one in both."""
    wide = "boundaries=[{to: cloud, allow: [embeddings, synthetic, model], answers: [seeds, model]}]"
    given = [wide, "method.learning_rate=7", "method.batch_size=9", "method.local_steps=4", "method.width=6"]
    fedavg, localdm, dense = parse(TEXT, *given, "baselines=[fedavg, localdm, dense]").baselines
    assert (fedavg.width, localdm.width, dense.width) == (6, 6, 6)
    assert (fedavg.learning_rate, fedavg.batch_size) == (0.05, 50)
    assert (dense.learning_rate, dense.batch_size) == (0.005, 256)
    assert localdm.local_steps == 4
    (fedprox,) = parse(
        TEXT, wide, "method={name: fedavg, learning_rate: 0.2, rounds: 3}", "baselines=[fedprox]"
    ).baselines
    assert (fedprox.learning_rate, fedprox.rounds) == (0.2, 3)


SECTIONS = TEXT.replace("iterations: 5, expand: 2, ", "").replace("{name: central, steps: 9}", "central").replace(
    "baselines:",
    """methods:
  collabdm: {iterations: 5, local_steps: 7, expand: 2}
  localdm: {local_steps: 3, width: 4}
  central: {steps: 9, batch_size: 6}
baselines:""",
)  # fmt: skip


def test_methods_take_what_they_are_not_given_from_their_sections():
    read = parse(SECTIONS)
    localdm, central = read.baselines
    assert (read.method.iterations, read.method.local_steps, read.method.expand, read.method.width) == (5, 7, 2, 8)
    # their own sections first, then what the method has, from wherever
    assert (localdm.local_steps, localdm.width, localdm.expand, localdm.images_per_class) == (3, 4, 2, 2)
    assert (central.steps, central.batch_size, central.width, central.expand) == (9, 6, 8, 2)
    assert "methods" not in yaml.safe_load(read.dump())
    assert parse(read.dump()) == read


def test_a_null_that_is_no_default_is_written_out():
    """`clip: null` is no limit; left out, a replay or a site that joins would take the default instead."""
    read = parse(SECTIONS, "method={name: dosfl, clip: null}", "baselines=[]", "methods={}")
    assert read.method.clip is None
    assert parse(read.dump()) == read


def test_any_method_can_be_chosen_where_each_has_its_section():
    read = parse(SECTIONS, "method.name=central", "baselines=[collabdm]", "method.width=6")
    assert (read.method.name, read.method.steps, read.method.images_per_class, read.method.width) == (
        "central",
        9,
        2,
        6,
    )
    (collabdm,) = read.baselines
    assert (collabdm.iterations, collabdm.batch_size, collabdm.width) == (5, 512, 6)
    assert parse(SECTIONS, "methods.collabdm.iterations=3").method.iterations == 3
    assert parse(SECTIONS, "methods.collabdm.iterations=3", "method.iterations=4").method.iterations == 4


GROUPS = SECTIONS.replace(
    "methods:\n", "methods:\n  strawman: {gradient_matching: {restarts: 5, outer_loops: 4, batch_size: 64}}\n"
)


@pytest.mark.parametrize(
    "given",
    [
        ["method.name=strawman", "baselines=[]", "methods.strawman.gradient_matching.restarts=3"],
        ["method.name=strawman", "baselines=[]", "method.gradient_matching.restarts=3"],
        ["method={name: strawman, gradient_matching: {restarts: 3}}", "baselines=[]"],
        ["baselines=[{name: strawman, gradient_matching: {restarts: 3}}]"],
    ],
)
def test_a_group_within_a_section_is_taken_key_by_key(given):
    strawman = parse(GROUPS, *given).all_methods()[-1]
    group = strawman.gradient_matching
    assert (group.restarts, group.outer_loops, group.batch_size, group.inner_loops) == (3, 4, 64, None)


def test_a_mistake_in_a_group_is_told_where_it_was_given():
    strawman = ("method.name=strawman", "baselines=[]")
    with pytest.raises(ScenarioError, match=r"^test.yaml:6:44: methods.strawman.gradient_matching.restarts: found -5"):
        parse(GROUPS.replace("restarts: 5", "restarts: -5"), *strawman, "method.gradient_matching.outer_loops=3")
    with pytest.raises(
        ScenarioError, match=r"^--set method.gradient_matching.restarts=-3: found -3, expected at least"
    ):
        parse(GROUPS, *strawman, "method.gradient_matching.restarts=-3")


def test_groups_that_hold_themselves_are_refused():
    both = ("methods={central: &a {x: *a}}", "method=&b {name: central, x: *b}", "baselines=[]")
    with pytest.raises(ScenarioError, match="nested too deeply"):
        parse(TEXT, *both)


@pytest.mark.parametrize(
    ("old", "new", "overrides", "message"),
    [
        (
            "local_steps: 3",
            "local_stepz: 3",
            [],
            'test.yaml:7:13: methods.localdm.local_stepz: there is no setting "',
        ),
        (
            "local_steps: 3",
            "local_steps: -3",
            [],
            "test.yaml:7:26: methods.localdm.local_steps: found -3, expected at",
        ),
        (
            "iterations: 5",
            "iterations: x",
            [],
            'test.yaml:6:26: methods.collabdm.iterations: found "x", expected a',
        ),
        (
            "steps: 9",
            "steps: -9",
            ["baselines=[]"],
            "test.yaml:8:20: methods.central.steps: found -9, expected at least 0",
        ),
        (
            "localdm: {",
            "lokaldm: {",
            [],
            'test.yaml:7:3: methods.lokaldm: there is no setting "lokaldm" here; did',
        ),
        (
            "expand: 2",
            "expand: 3",
            [],
            "test.yaml:6:53: methods.collabdm.expand: images of 16 pixels cannot be cut",
        ),
        ("", "", ["methods.collabdm.iterations=-1"], "--set methods.collabdm.iterations=-1: found -1, expected at lea"),
        ("", "", ["methods.central="], "--set methods.central=: found nothing, expected a map of settings"),
        ("", "", ["methods=3"], "--set methods=3: found 3, expected a map of settings"),
        ("", "", ["baselines.0=collabdm"], "--set baselines.0=collabdm: collabdm is listed twice"),
        ("", "", ["method.name=central", "baselines=[]", "method.iterations=3"], "--set method.iterations=3: there is"),
    ],
)
def test_a_mistake_in_a_section_is_told_once_where_it_stands(old, new, overrides, message):
    assert old in SECTIONS
    with pytest.raises(ScenarioError) as caught:
        parse(SECTIONS.replace(old, new, 1), *overrides)
    text = str(caught.value)
    assert text.startswith(message)
    assert len(text.splitlines()) == 1


def test_settings_that_only_the_former_method_knows_are_refused_with_the_remedy():
    with pytest.raises(ScenarioError) as caught:
        parse(TEXT, "method.name=localdm", "baselines=[]")
    text = str(caught.value)
    assert text.startswith('test.yaml:4:47: method.iterations: there is no setting "iterations" here')
    assert "it belongs to collabdm" in text
    assert "give it as methods.collabdm.iterations, then any method can be chosen" in text


def test_a_baselines_mistake_that_the_method_gave_it_is_told_where_it_was_given():
    with pytest.raises(ScenarioError, match=r"^--set method.width=0: found 0, expected at least 1$"):
        parse(TEXT, "method.width=0")
