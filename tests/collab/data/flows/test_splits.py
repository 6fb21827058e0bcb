"""Which windows judge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.flows.splits import Origins, judging
from collab.errors import DataError


def origins(rows):
    """Windows (class, station, session), whose row is their number and whose attack is their class."""
    classes, stations, sessions = np.array(rows, np.int64).reshape(-1, 3).T
    return Origins(classes, classes, stations, sessions, np.arange(len(classes)) + 1)


def chosen(windows, split, share=0.2, seed=0):
    return judging(windows, split, share, seed, "a.csv")


def test_a_random_split_is_drawn_by_its_seed():
    windows = origins([(0, 0, 0)] * 1000)
    first = chosen(windows, "random")
    assert first.sum() == 200
    np.testing.assert_array_equal(first, chosen(windows, "random"))
    assert 20 < (first & chosen(windows, "random", seed=1)).sum() < 60


def test_blocks_are_the_ends_of_what_each_capture_holds_of_an_attack():
    rows = [(0, 0, 0)] * 10 + [(1, 0, 0)] * 5 + [(0, 0, 0)] * 5 + [(0, 1, 1)] * 4 + [(1, 1, 1)] * 1
    held = np.flatnonzero(chosen(origins(rows), "blocks", 0.2))
    assert held.tolist() == [14, 17, 18, 19, 23]  # of 5: 1, of 15: 3, of 4: 1, of the only one: none


def test_blocks_go_by_rows_and_not_by_the_order_of_the_windows():
    windows = origins([(0, 0, 0)] * 10)
    turned = Origins(windows.classes, windows.attacks, windows.stations, windows.sessions, windows.rows[::-1].copy())
    assert np.flatnonzero(chosen(turned, "blocks")).tolist() == [0, 1]


def test_sessions_are_kept_whole_and_no_class_is_taken_away():
    rows = [(c, s // 4, s) for s in range(8) for c in (0, 1) for _ in range(5)] + [(2, 1, 8)] * 4 + [(2, 1, 9)] * 3
    windows = origins(rows)
    for seed in range(20):
        held = chosen(windows, "sessions", 0.3, seed)
        assert set(windows.classes[held].tolist()) == {0, 1, 2}
        assert held.sum() <= 0.3 * len(rows) + 14  # a session of each class may go beyond the share
        for session in range(10):
            assert len(set(held[windows.sessions == session].tolist())) == 1
        assert set(windows.classes[~held].tolist()) == {0, 1, 2}
    assert len({tuple(chosen(windows, "sessions", 0.3, seed).tolist()) for seed in range(20)}) > 3


def test_a_class_whose_sessions_are_large_is_judged_all_the_same():
    rows = [(0, 0, s) for s in range(10) for _ in range(2)] + [(1, 0, 10)] * 30 + [(1, 0, 11)] * 50
    windows = origins(rows)
    for seed in range(10):
        held = chosen(windows, "sessions", 0.2, seed)
        assert sorted(np.bincount(windows.classes[held]).tolist())[0] == 2  # one of ten, no more: the share is used up
        assert np.bincount(windows.classes[held])[1] in (30, 50)


@pytest.mark.parametrize(
    ("rows", "split", "share", "told"),
    [
        (
            [(0, 0, 0)] * 3,
            "random",
            0.1,
            "a.csv: of 3 images 0 would judge; give it more flows, or another dataset.test",
        ),
        ([(0, 0, 0)] * 3, "random", 0.9, "of 3 images 3 would judge"),
        ([(0, 0, 0), (1, 0, 0)], "blocks", 0.4, "of 2 images 0 would judge"),
        (
            [(0, 0, 0)] * 9,
            "sessions",
            0.2,
            "all flows are of one capture session, so none can be kept back; use dataset",
        ),
        (
            [(0, 0, 0)] * 9 + [(1, 0, 1)],
            "sessions",
            0.2,
            "no capture session without which every class is left something",
        ),
    ],
)
def test_a_split_that_cannot_be(rows, split, share, told):
    with pytest.raises(DataError) as caught:
        chosen(origins(rows), split, share)
    assert told in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=60),
    st.sampled_from(["random", "blocks", "sessions"]),
    st.floats(0.05, 0.6),
    st.integers(0, 9),
)
def test_both_sides_hold_something_or_it_is_refused(rows, split, share, seed):
    windows = origins(rows)
    try:
        held = chosen(windows, split, share, seed)
    except DataError:
        return
    assert 0 < held.sum() < len(rows)
    if split != "random":
        assert set(windows.classes[~held].tolist()) == set(windows.classes.tolist())
