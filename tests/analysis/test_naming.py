"""What settings are called."""

from __future__ import annotations

import pytest

from analysis.naming import short_names, written


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["partition.clients", "method.local_steps"], ["K", "local steps"]),
        (["network.station.bandwidth", "method.width"], ["bandwidth", "width"]),
        (["a.core.latency", "b.core.latency"], ["a.core.latency", "b.core.latency"]),
        (["loss", "network.access.loss"], ["loss", "access.loss"]),
        (["K", "partition.clients"], ["K", "partition.clients"]),
        (["network.access.bandwidth", "network.access.loss", "network.server.loss"],
         ["access bandwidth", "access.loss", "server.loss"]),
    ],
)  # fmt: skip
def test_settings_are_told_apart_by_as_much_of_their_name_as_it_takes(names, called):
    assert list(short_names(names).values()) == called


def test_other_numbers_have_other_words():
    assert [written(value) for value in (0.1, 1e-3, 0.12345678, 0.12345679)] == [
        "0.1", "0.001", "0.12345678", "0.12345679",
    ]  # fmt: skip
