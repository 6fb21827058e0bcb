"""A scenario that extends others: what wins, where mistakes are placed, and what cannot be extended."""

from __future__ import annotations

import pytest
import yaml

from collab import scenario
from collab.errors import ScenarioError
from tests.collab.test_scenario import TEXT

FILES = {
    "base.yaml": "name: the-base\n" + TEXT,
    "child.yaml": "extends: base.yaml\nseed: 8\nmethod:\n  iterations: 9\n",
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A function that writes files into the current directory."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in {
            **FILES,
            **{f"{name.replace('__', '/')}.yaml": text for name, text in texts.items()},
        }.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def message(name, *overrides):
    with pytest.raises(ScenarioError) as caught:
        scenario.load(name, overrides)
    return str(caught.value)


def test_what_a_file_says_itself_wins_and_all_else_is_inherited(files):
    files()
    read = scenario.load("child.yaml")
    assert (read.seed, read.method.iterations, read.method.width, read.partition.clients) == (8, 9, 8, 3)
    assert read.name == "child"
    assert scenario.load("base.yaml").name == "the-base"
    assert scenario.load("child.yaml", ["seed=7", "method.iterations=5", "name=the-base"]) == scenario.load("base.yaml")


def test_the_resolved_scenario_extends_nothing(files):
    files()
    dump = scenario.load("child.yaml").dump()
    assert "extends" not in yaml.safe_load(dump)
    assert scenario.parse(dump, "elsewhere/dump.yaml") == scenario.load("child.yaml")


def test_of_several_files_the_later_wins_and_lists_are_replaced(files):
    files(
        slow="network: {access: {bandwidth: 1 Mbit/s}}\nseed: 3\n",
        small="seed: 4\nbaselines: [central]\n",
        both="extends: [base.yaml, slow.yaml, small.yaml]\npartition: {clients: 4}\n",
    )
    read = scenario.load("both.yaml")
    assert (read.network.access.bandwidth, read.network.access.latency) == (1e6, 0.01)
    assert (read.seed, read.partition.clients) == (4, 4)
    assert [baseline.name for baseline in read.baselines] == ["central"]


def test_a_file_reached_in_two_ways_counts_once_below_all_that_extend_it(files):
    files(
        left="extends: base.yaml\nseed: 11\n",
        right="extends: base.yaml\npartition: {beta: 0.9}\n",
        both="extends: [left.yaml, right.yaml]\n",
    )
    read = scenario.load("both.yaml")
    assert (read.seed, read.partition.beta) == (11, 0.9)


def test_paths_count_from_the_file_that_says_them(files):
    files(
        lessons__one="extends: parts/network.yaml\nseed: 5\n",
        lessons__parts__network="extends: ../../base.yaml\n"
        "network: {server: {schedule: {trace: lte.mahimahi, step: 1 s}}}\n",
    )
    with open("lessons/parts/lte.mahimahi", "w", encoding="utf-8") as trace:
        trace.write("1\n500\n1000\n")
    read = scenario.load("lessons/one.yaml")
    assert (read.seed, read.name) == (5, "one")
    assert [step.bandwidth for step in read.network.server.schedule.steps] == [36000.0]


def test_a_bare_word_that_is_extended_keeps_its_meaning(files):
    files(
        paper="extends: base.yaml\nevaluation: paper\n",
        fewer="extends: paper.yaml\nevaluation: {repeats: 2}\n",
        quick="extends: fewer.yaml\nevaluation: quick\n",
        wrong="extends: base.yaml\nevaluation: papr\n",
        under="extends: wrong.yaml\nevaluation: {repeats: 2}\n",
    )
    fewer, quick = scenario.load("fewer.yaml").evaluation, scenario.load("quick.yaml").evaluation
    assert (fewer.protocol, fewer.epochs, fewer.sets, fewer.repeats) == ("paper", 1001, 5, 2)
    assert (quick.protocol, quick.epochs, quick.repeats) == ("quick", 150, 3)
    assert message("under.yaml").startswith('wrong.yaml:2:13: evaluation.protocol: found "papr"; did you mean "paper"?')


@pytest.mark.parametrize(
    ("child", "told"),
    [
        (
            "extends: wrong.yaml\n",
            "wrong.yaml:2:19: partition.beta: found -1, expected more than 0; child.yaml extends",
        ),
        (
            "extends: wrong.yaml\npartition: {beta: -2}\n",
            "child.yaml:2:19: partition.beta: found -2, expected more than",
        ),
        (
            "extends: base.yaml\nsede: 3\n",
            'child.yaml:2:1: sede: there is no setting "sede" here; did you mean "seed"?',
        ),
        (
            "extends: base.yaml\ntenants: {cloud: [server, client-9]}\n",
            'child.yaml:2:27: tenants.cloud.1: "client-9" is no host',
        ),
        (
            "extends: base.yaml\nmethod: {name: localdm}\n",
            'base.yaml:5:47: method.iterations: there is no setting "iterations" here',
        ),
        ("extends: bad.yaml\n", "bad.yaml:2:1: seed is set twice, first in line 1; keep one; child.yaml extends it"),
        ("extends: [base.yaml, empty.yaml]\n", "empty.yaml:1:1: the file is empty"),
    ],
)
def test_a_mistake_is_placed_in_the_file_where_the_value_stands(files, child, told):
    files(wrong="extends: base.yaml\npartition: {beta: -1}\n", bad="seed: 1\nseed: 2\n", empty="", child=child)
    assert message("child.yaml").startswith(told)


def test_settings_of_the_former_method_come_with_what_to_do(files):
    files(child="extends: base.yaml\nmethod: {name: localdm}\n")
    assert (
        message("child.yaml")
        .splitlines()[0]
        .endswith(
            "it belongs to collabdm, collabdm-lean, collabdm-published, strawman: give it as methods.collabdm."
            "iterations, then any method can be chosen; child.yaml extends this file"
        )
    )


@pytest.mark.parametrize(
    ("child", "told"),
    [
        (
            "seed: 1\nextends: child.yaml\n",
            "child.yaml:2:10: extends: the files go round in a circle: child.yaml extends",
        ),
        (
            "extends: a.yaml\n",
            "b.yaml:1:11: extends.0: the files go round in a circle: child.yaml extends a.yaml extends b.yaml extends "
            "child.yaml; take one extends out",
        ),
        ("extends: bose.yaml\n", 'child.yaml:1:10: extends: there is no file bose.yaml; did you mean "base.yaml"?'),
        (
            "extends: x/y.yaml\n",
            "child.yaml:1:10: extends: there is no file x/y.yaml: there is no folder x; the path counts from the file",
        ),
        ("extends: ./\n", "child.yaml:1:10: extends: there is no file .: it is a folder; name a file in it"),
        ("extends: 3\n", "child.yaml:1:10: extends: found 3, expected the path of a scenario file, such as base.yaml"),
        ("extends:\n", "child.yaml:1:9: extends: found null, expected the path of a scenario file"),
        ("extends: [base.yaml, {a: 1}]\n", "child.yaml:1:22: extends.1: found {a: 1}, expected the path of a scenario"),
        (
            "extends: base.yaml\nseed: ${SEED}\n",
            "child.yaml:2:7: seed: found ${SEED}, but values are never taken from the environment, so that a scenario "
            "says everything; write the value, or give it with --set seed=VALUE",
        ),
    ],
)
def test_what_cannot_be_extended_is_told_with_place_and_remedy(files, child, told):
    files(a="extends: b.yaml\n", b="extends: [child.yaml]\n", child=child)
    assert message("child.yaml").startswith(told)


def test_overrides_take_nothing_from_the_environment_and_extend_nothing(files):
    files()
    assert message("child.yaml", "seed=${SEED}").endswith(
        "${SEED} has not been replaced by the shell, and values are never taken from the environment; in double "
        'quotes, as in --set "seed=${SEED}", the shell replaces it'
    )
    assert "extends stands in files only" in message("child.yaml", "extends=base.yaml")
