from __future__ import annotations

import pytest

from collab.document import PlacedError
from collab.sweep_settings import SweepSettings


def test_cells_are_all_combinations_the_last_axis_first_and_seeds_before_all():
    sweep = SweepSettings({"partition.clients": [5, 10], "partition.beta": [0.1, 0.3], "repeats": 2})
    points = list(sweep.points(7))
    assert sweep.cells == len(points) == 8
    assert points[:3] == [
        {"partition.clients": 5, "partition.beta": 0.1, "seed": 7},
        {"partition.clients": 5, "partition.beta": 0.1, "seed": 8},
        {"partition.clients": 5, "partition.beta": 0.3, "seed": 7},
    ]
    assert sweep.axes(7) == {"partition.clients": [5, 10], "partition.beta": [0.1, 0.3], "seed": [7, 8]}


def test_settings_that_change_together_are_one_axis():
    sweep = SweepSettings({"points": [{"a": 1, "b.c": 2}, {"a": 3, "b.c": 2}], "d": [True]})
    assert list(sweep.points(0)) == [{"a": 1, "b.c": 2, "d": True}, {"a": 3, "b.c": 2, "d": True}]
    assert sweep.axes(0) == {"a": [1, 3], "b.c": [2], "d": [True]}
    origins = [sweep.origin(field, value) for field, value in (("a", 3), ("b.c", 2), ("d", True))]
    assert origins == [("points", 1, "a"), ("points", 0, "b.c"), ("d", 0)]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"logspace": [1, 100, 3]}, [1, 10, 100]),
        ({"logspace": [1, 10, 3]}, [1.0, 3.16228, 10.0]),
        ({"linspace": [0, 1, 5]}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"linspace": [20, 5, 4]}, [20, 15, 10, 5]),
        ({"linspace": [1_000_000, 1_000_003, 4]}, [1_000_000, 1_000_001, 1_000_002, 1_000_003]),
        ({"linspace": [100_000, 1_000_005, 2]}, [100_000, 1_000_005]),
        ({"logspace": ["1234567 bit/s", "10 Mbit/s", 2]}, ["1.234567 Mbit/s", "10 Mbit/s"]),
        (
            {"logspace": ["100 kbit/s", "1 Gbit/s", 5]},
            ["100 kbit/s", "1 Mbit/s", "10 Mbit/s", "100 Mbit/s", "1 Gbit/s"],
        ),
        ({"logspace": ["1 MB/s", "8 Gbit/s", 4]}, ["8 Mbit/s", "80 Mbit/s", "800 Mbit/s", "8 Gbit/s"]),
        ({"linspace": ["500 us", "1.5 ms", 3]}, ["500 us", "1 ms", "1.5 ms"]),
        ({"logspace": ["1 ms", "1 s", 4]}, ["1 ms", "10 ms", "100 ms", "1 s"]),
        ({"linspace": ["0 %", "2 %", 3]}, ["0 %", "1 %", "2 %"]),
        ({"logspace": ["1 W", "4 W", 3]}, ["1 W", "2 W", "4 W"]),
    ],
)
def test_ranges(written, values):
    assert SweepSettings({"x": written}).axes(0) == {"x": values}


@pytest.mark.parametrize(
    ("section", "message", "where"),
    [
        ({}, "names nothing to sweep", ()),
        ([1], r"found \[1\], expected a map", ()),
        ({"x": 5}, r"found 5, expected a list of values, such as \[5\]", ("x",)),
        ({"x": []}, "an empty list", ("x",)),
        ({"x": [1, 2, 1]}, "found 1 twice", ("x", 2)),
        ({"x": {"logspce": [1, 2, 3]}}, 'did you mean "logspace"', ("x",)),
        ({"x": {"logspace": [0, 2, 3]}}, "must be more than 0", ("x", "logspace")),
        ({"x": {"logspace": [1, 2]}}, "the first value, the last, and how many", ("x", "logspace")),
        ({"x": {"linspace": [1, 2, 1]}}, "found 1 as the number of values", ("x", "linspace")),
        ({"x": {"linspace": ["1 ms", "1 Mbit/s", 3]}}, "two values of one kind", ("x", "linspace")),
        ({"x": {"linspace": ["ms", "1 s", 3]}}, "found 'ms' and '1 s'", ("x", "linspace")),
        ({"x": {"linspace": [3, 3, 3]}}, "two values that differ", ("x", "linspace")),
        ({"points": []}, "a list of maps", ("points",)),
        ({"points": [{"a": 1}, 3]}, "found 3, expected a map", ("points", 1)),
        ({"points": [{"a": 1}, {"b": 1}]}, "not all of them give a, b", ("points", 1)),
        ({"repeats": 0}, "found 0, expected how many seeds", ("repeats",)),
        ({"repeats": True}, "found True", ("repeats",)),
        ({"seed": [1, 2], "repeats": 2}, "swept by seed and by repeats", ("repeats",)),
        ({"a": [1], "points": [{"a": 2}]}, "a is swept twice, by a and by points", ("points",)),
        ({"a.b": [1], "a": [2]}, "a is swept twice", ("a",)),
        ({"name": ["a"]}, "name cannot be swept: it names the sweep", ("name",)),
        ({"sweep.repeats": [1]}, "sweep.repeats cannot be swept", ("sweep.repeats",)),
        ({"a..b": [1]}, "expected the dotted name of a setting", ("a..b",)),
        ({"a": list(range(1000)), "b": list(range(1000))}, "1,000,000 cells, expected at most 100,000", ()),
    ],
)
def test_what_means_nothing_is_refused_where_it_stands(section, message, where):
    with pytest.raises(PlacedError, match=message) as caught:
        SweepSettings(section)
    assert caught.value.where == where
