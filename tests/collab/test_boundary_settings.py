from __future__ import annotations

import fnmatch
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collab.boundary_settings import claims
from collab.errors import BoundaryMissingError, ScenarioError
from collab.scenario import json_schema
from simnet import Rate
from tests.collab.test_scenario import TEXT, parse

BOUNDARY = "  - {to: cloud, allow: [embeddings, synthetic], at_most: 10 MB}\n"
LINE = TEXT[: TEXT.index(BOUNDARY)].count("\n") + 1
IID = TEXT.replace("scheme: dirichlet, beta: 0.3", "scheme: iid")


def limited(limits, text=TEXT, more=""):
    return text.replace("at_most: 10 MB}\n", f"{limits}}}\n{more}")


def rule(limits):
    (rule,) = parse(limited(limits)).rules()
    return rule


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("1 MB/s", Rate(1_000_000, 1.0)),
        ("1.5 MB / 10 s", Rate(1_500_000, 10.0)),
        ("3 messages/min", Rate(3, 60.0, "messages")),
        ("1 message/10 ms", Rate(1, 0.01, "messages")),
        ("{size: 5 MB, per: 10 s, burst: 20 MB}", Rate(5_000_000, 10.0, "bytes", 20_000_000)),
        ("{size: 5 MB}", Rate(5_000_000, 1.0)),
        ("{messages: 2, per: 1 h, burst: 4}", Rate(2, 3600.0, "messages", 4)),
    ],
)
def test_rates_are_read_and_survive_writing_down(written, rate):
    read = parse(limited(f"at_most_rate: {written}"))
    assert read.rules()[0].at_most_rate == rate
    assert parse(read.dump()).rules() == read.rules()


def test_counts_and_budgets_are_read_and_survive_writing_down():
    read = parse(limited("at_most_count: 3", more="budgets: {hospital: 20 MB, clinic: 1234567 B}\n"))
    assert read.rules()[0].at_most_count == 3
    assert read.budget_bytes() == {"hospital": 20_000_000, "clinic": 1_234_567}
    again = parse(read.dump())
    assert again == read
    assert yaml.safe_load(read.dump())["budgets"] == {"hospital": "20 MB", "clinic": "1234567.0 B"}


def test_what_is_not_limited_is_not():
    assert rule("at_most: 10 MB").at_most_count is None
    assert rule("at_most: 10 MB").at_most_rate is None
    assert parse().budget_bytes() == {}


def test_the_schema_knows_both_ways_to_write_a_rate():
    schema = json_schema()
    words, settings = schema["$defs"]["RateSettings"]["anyOf"]
    assert words["type"] == "string"
    assert set(settings["properties"]) == {"size", "messages", "per", "burst"}
    assert schema["$defs"]["scenario"]["properties"]["budgets"]["type"] == "object"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("at_most_count: 0", "at_most_count: found 0, expected at least 1"),
        ("at_most_count: 1.5", "at_most_count: found 1.5, expected a whole number"),
        ("at_most_rate: 1 MB", '"1 MB" is no rate; write e.g. "1 MB/s"'),
        ("at_most_rate: fast", '"fast" is no rate'),
        ("at_most_rate: 20 Mbit/s", 'has the unknown unit "Mbit"'),
        ("at_most_rate: x messages/s", '"x" is no number of messages'),
        ("at_most_rate: 0 messages/s", "found 0, expected at least 1"),
        ("at_most_rate: 1 MB/fortnight", 'has the unknown unit "fortnight"'),
        ("at_most_rate: 1 MB/0 s", "expected at least 1e-06"),
        ("at_most_rate: 0 B/s", "a rate of nothing lets nothing pass"),
        ("at_most_rate: {}", "a rate is of a size or of messages, one of the two"),
        ("at_most_rate: {size: 1 MB, messages: 3}", "a rate is of a size or of messages, one of the two"),
        ("at_most_rate: {size: 1 MB, burst: 0 B}", "a burst of nothing lets nothing pass"),
        ("at_most_rate: {size: 1 MB, burst: 3}", "3 has no unit"),
        ("at_most_rate: {messages: 1, burst: 3 MB}", '"3 MB" is no number of messages'),
        ("at_most_rate: {sice: 1 MB}", 'there is no setting "sice" here; did you mean "size"?'),
        ("at_most_rate: 7", "expected a map of settings"),
    ],
)
def test_a_limit_without_meaning_is_answered_with_its_line(limits, message):
    with pytest.raises(ScenarioError) as caught:
        parse(limited(limits))
    text = str(caught.value)
    assert re.match(rf"test\.yaml:{LINE}:\d+: boundaries\.0\.at_most_", text), text
    assert message in text


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            limited("at_most: 1 MB", more="budgets: {hospitals: 1 MB}\n"),
            f"test.yaml:{LINE + 1}:11: budgets.hospitals: ",
            'there is no tenant "hospitals"; did you mean "hospital"? (known: hospital, clinic, cloud)',
        ),
        (
            limited("at_most: 1 MB", more='budgets: {"*": 1 MB}\n'),
            f"test.yaml:{LINE + 1}:11: budgets.*: ",
            'there is no tenant "*"',
        ),
        (
            limited("at_most: 1 MB", more="budgets: {hospital: 1}\n"),
            f"test.yaml:{LINE + 1}:21: budgets.hospital: ",
            "1 has no unit",
        ),
        (
            limited("at_most_count: 3").replace("synthetic],", "synthetic, stream],"),
            f"test.yaml:{LINE}:5: boundaries.0: ",
            "the boundary cannot limit count or rate: what flows through a stream is seen only when it has crossed",
        ),
        (
            limited("at_most: 1 MB", more="budgets: {clinic: 1 MB}\n").replace("synthetic],", "synthetic, stream],"),
            f"test.yaml:{LINE}:5: boundaries.0: ",
            "the boundary cannot keep to the budget of clinic",
        ),
        (
            TEXT[: TEXT.index("tenants:")] + "budgets: {lab: 1 MB}\n",
            f"test.yaml:{TEXT[: TEXT.index('tenants:')].count(chr(10)) + 1}:11: budgets.lab: ",
            "there is a budget, but there are no tenants that could have one",
        ),
    ],
)
def test_budgets_and_boundaries_that_contradict_each_other(text, place, message):
    with pytest.raises(ScenarioError) as caught:
        parse(text)
    assert str(caught.value).startswith(place), str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "more", "field", "message"),
    [
        ("at_most_count: 1", "", "boundaries.0.at_most_count", "clinic has at least 2 uploads to send"),
        ("at_most: 500 B", "", "boundaries.0.at_most", "upload of hospital has at least 1024 B, but"),
        ("at_most_rate: 500 B/s", "", "boundaries.0.at_most_rate", "lets at most 500 B pass at once"),
        ("at_most: 1 MB", "budgets: {clinic: 2000 B}\n", "budgets.clinic", "2048 B to send (uploads: 2, of at least"),
        ("at_most: 1 MB", "budgets: {cloud: 95 B}\n", "budgets.cloud", "cloud has at least 96 B of tasks to hand out"),
    ],
)  # fmt: skip
def test_a_limit_below_what_the_method_is_certain_to_need_is_noticed_at_once(limits, more, field, message):
    text = IID.replace("dataset: {name: gaussians}", "dataset: {name: gaussians, side: 16}")
    with pytest.raises(BoundaryMissingError) as caught:
        parse(limited(limits, text, more))
    line = LINE + (1 if more else 0)
    assert re.match(rf"test\.yaml:{line}:\d+: {field}: collabdm cannot run: ", str(caught.value)), str(caught.value)
    assert message in str(caught.value)


def test_what_may_suffice_is_left_to_the_run():
    """By Dirichlet a site may hold nothing; several rules add up."""
    parse(limited("at_most_count: 1"))
    parse(limited("at_most_count: 1", IID, more=BOUNDARY))
    parse(limited("at_most_count: 1", IID, more=BOUNDARY.replace("10 MB", "10 MB, at_most_count: 1")))
    parse(limited("at_most_count: 2", IID))
    parse(limited("at_most: 1 MB", IID, more="budgets: {hospital: 1 MB, cloud: 1 MB}\n"))


names = st.sampled_from(["client-0", "client-1", "client-2", "server", "client-*", "*", "client-[01]", "nobody", "s*"])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(names, max_size=4).map(tuple)))
def test_claims_are_what_looking_at_every_tenant_for_every_host_finds(tenants):
    hosts = ("client-0", "client-1", "client-2", "server")
    for host, found in claims(tenants, hosts).items():
        named = [tenant for tenant, given in tenants.items() if host in given]
        assert found == named or [
            tenant for tenant, given in tenants.items() if any(fnmatch.fnmatchcase(host, name) for name in given)
        ]
