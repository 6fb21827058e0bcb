"""Choosing among runs by their settings and their age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from collab.store.selection import Condition, flattened, moment

SETTINGS = dict(
    flattened(
        {
            "partition": {"beta": 0.1, "clients": 5},
            "network": {"access": {"bandwidth": "20 Mbit/s", "latency": "10 ms"}},
            "evaluation": {"networks": ["convnet", "vgg11"]},
            "method": {"name": "collabdm", "batch_size": "all", "augment": True},
            "devices": {},
        }
    )
)


def test_settings_are_named_by_their_way_down():
    assert SETTINGS["network.access.latency"] == "10 ms"
    assert SETTINGS["evaluation.networks"] == ["convnet", "vgg11"]
    assert not any(name.startswith("devices") for name in SETTINGS)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("partition.beta=0.1", True),
        ("partition.beta == 0.10", True),
        ("partition.beta!=0.1", False),
        ("partition.clients<5", False),
        ("partition.clients<=5", True),
        ("partition.clients>4", True),
        ("partition.clients>=6", False),
        ("network.access.bandwidth=20000 kbit/s", True),
        ("network.access.bandwidth>2 MB/s", True),
        ("network.access.latency<9 ms", False),
        ("network.access.latency<0.02 s", True),
        ("network.access.latency<fast", False),
        ("method.name=collab*", True),
        ("method.name!=collab*", False),
        ("method.batch_size<64", False),
        ("method.batch_size!=64", True),
        ("method.augment=true", True),
        ("evaluation.networks=vgg11", True),
        ("evaluation.networks!=vgg11", False),
        ("evaluation.networks=[convnet, vgg11]", True),
        ("partition.gamma!=1", False),
    ],
)
def test_a_condition_holds_or_does_not(text, holds):
    assert Condition.parse(text).holds(SETTINGS) is holds


@pytest.mark.parametrize("text", ["partition.beta", "=3", "partition.beta=", ""])
def test_what_is_no_condition_is_told(text):
    with pytest.raises(ValueError, match=r"is no condition; expected FIELD=VALUE"):
        Condition.parse(text)


def test_moments_are_dates_or_ages():
    now = datetime(2026, 3, 8, 12, tzinfo=UTC)
    assert moment("90 min", now) == now - timedelta(minutes=90)
    assert moment("1.5d", now) == now - timedelta(hours=36)
    assert moment("1 w", now) == now - timedelta(days=7)
    assert moment("2026-03-01T18:00+00:00") == datetime(2026, 3, 1, 18, tzinfo=UTC)
    assert moment("2026-03-01") == datetime(2026, 3, 1).astimezone()
    with pytest.raises(ValueError, match=r'"yesterday" is no moment; expected a date'):
        moment("yesterday")
