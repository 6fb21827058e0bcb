"""What is said of a value that fits no member of a union: one line, with all that it may be."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from collab import scenario
from collab.complaints import explain
from collab.errors import ScenarioError
from tests.collab.test_scenario import TEXT


class Group(BaseModel):
    side: int


class Settings(BaseModel):
    size: Annotated[int, Field(ge=1, le=9)] | Literal["all", "half"] = "all"
    share: Annotated[float, Field(gt=0, lt=1)] | bool | None = None
    group: Group | str = "none"
    groups: list[Group] | dict[str, Group] = []


def told(**given):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(given)
    return list(explain(caught.value, Settings.model_json_schema()))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("size", 0, "found 0, expected a whole number from 1 to 9, or all, half"),
        ("size", "hlaf", 'found "hlaf", expected a whole number from 1 to 9, or all, half'),
        ("size", None, "found nothing, expected a whole number from 1 to 9, or all, half"),
        ("share", 2.5, "found 2.5, expected a number above 0 below 1, or true or false"),
        ("group", 3, "found 3, expected a map of settings, or a text"),
        ("groups", 3, "found 3, expected a list, such as [a, b], or a map of settings"),
    ],
)
def test_a_value_that_fits_no_member_is_told_once(name, value, sentence):
    assert told(**{name: value}) == [((name,), sentence)]


def test_what_is_wrong_within_a_member_is_told_where_it_stands():
    assert told(group={"side": "x"}) == [(("group", "side"), 'found "x", expected a whole number')]
    assert told(group={}) == [(("group", "side"), 'the setting "side" is missing; add it')]


def test_two_settings_are_two_mistakes():
    assert [where for where, _ in told(size=0, share=2)] == [("size",), ("share",)]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("iterations: 5", "batch_size: al", 'test.yaml:4:59: method.batch_size: found "al", expected a whole number'),
        ("steps: 9", "batch_size: 0", "test.yaml:7:33: baselines.1.batch_size: found 0, expected a whole number"),
    ],
)
def test_a_batch_size_in_a_scenario_is_a_number_or_all(old, new, line):
    assert old in TEXT
    with pytest.raises(ScenarioError) as caught:
        scenario.parse(TEXT.replace(old, new), "test.yaml")
    assert str(caught.value) == f"{line} from 1, or all"
