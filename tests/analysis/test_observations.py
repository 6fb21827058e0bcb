"""Observations put together over seeds."""

from __future__ import annotations

import math

import pytest

from analysis.observations import Estimate, number_of, repeated, varying
from collab.store import MethodRun
from tests.analysis.made import observed, write_run


def test_an_estimate_is_the_mean_and_the_deviation_of_a_sample():
    found = Estimate.of([1.0, 2.0, 6.0])
    assert (found.mean, found.deviation, found.n) == (3.0, pytest.approx(math.sqrt(7)), 3)
    assert Estimate.of([5.0]) == Estimate(5.0, 0.0, 1)


def test_seeds_repeat_each_other_and_nothing_else_does():
    found = repeated(
        [
            observed(seed=1, accuracy=0.8),
            observed(seed=2, accuracy=0.9),
            observed(seed=1, accuracy=0.1, settings={"partition.clients": 10}),
            observed("localdm", seed=1, accuracy=0.5),
        ]
    )
    assert [(group.method, group.value("partition.clients"), len(group.observations)) for group in found] == [
        ("collabdm", 5, 2),
        ("collabdm", 10, 1),
        ("localdm", 5, 1),
    ]
    assert found[0].accuracy_percent.mean == pytest.approx(85)
    assert found[0].accuracy_percent.deviation == pytest.approx(math.sqrt(50))


def test_a_seed_that_comes_twice_counts_once():
    (group,) = repeated([observed(accuracy=0.8), observed(accuracy=0.8)])
    assert group.accuracy_percent == Estimate(80.0, 0.0, 1)


def test_energy_is_known_only_if_each_run_counted_it():
    (group,) = repeated([observed(seed=1, energy_j=1.0), observed(seed=2)])
    assert group.energy_j is None
    (group,) = repeated([observed(seed=1, energy_j=1.0), observed(seed=2, energy_j=3.0)])
    assert group.energy_j == Estimate(2.0, math.sqrt(2), 2)


def test_what_varies_is_found_within_a_method():
    found = varying(
        [
            observed(settings={"partition.clients": 5, "method.iterations": 7}),
            observed(settings={"partition.clients": 10, "method.iterations": 7}),
            observed("localdm", settings={"method.local_steps": 3}),
        ]
    )
    assert found == {"partition.clients": [5, 10]}
    assert varying([observed(), observed(settings={"partition.beta": 0.5})], ["partition."]) == {}


def test_a_method_that_expands_is_named_as_the_paper_does():
    assert observed(settings={"method.expand": 2}).paper_method == "collabdm-pae"
    assert observed(settings={"method.expand": 1}).paper_method == observed().paper_method == "collabdm"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        (0.1, 0.1),
        ("20 Mbit/s", 2e7),
        ("10 ms", 0.01),
        ("3 MB", 3e6),
        ("iid", None),
        (True, None),
        (None, None),
    ],
)
def test_a_setting_as_a_number(value, number):
    assert number_of(value) == number


def test_traces_are_read_and_not_kept(tmp_path):
    run = write_run(tmp_path / "r", {}, {"collabdm": (0.9, 100, 2.0)})
    left = MethodRun("collabdm", run / "collabdm")
    found = observed(settings={"devices.client": "laptop"}, left=left)
    assert found.slowest_compute_s == 0.0  # it computed nothing; its trace says so
    assert found.arrivals_s == [("client-0", 1.0), ("client-1", 2.0)]
    assert "trace" not in vars(left)
