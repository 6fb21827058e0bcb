"""Windows of flows: every flow once, whole ones only, whatever the portions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.flows.reading import FlowBatch
from collab.data.flows.windows import windows_of
from tests.collab.data.flows.records import form_of

FORM = form_of(
    features=[{"column": "n", "range": [0, 1]}],
    label={"column": "kind", "classes": {"benign": ["web", "mail"], "attack": ["flood"], "scan": ["scan"]}},
)
WEB, MAIL, FLOOD, SCAN = range(4)
FLOWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)), max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=5)


def batches(flows, cuts=()):
    """Flows (attack, station, capture) whose value is their number."""
    whole = np.array(flows, np.int64).reshape(-1, 3)
    numbers = np.arange(len(whole))
    for part in np.split(numbers, sorted(min(cut, len(whole)) for cut in cuts)):
        attacks, stations, captures = whole[part].T
        values = part.astype(np.float32).reshape(-1, 1)
        yield FlowBatch(values, attacks, stations, ("a", "b", "c"), stations * 2 + captures, part + 1)


def windows(flows, size, by="label", cuts=(), **options):
    """(flows, class, attack, station, session, row, attacks in it) of each window, in order of rows."""
    found = []
    for part in windows_of(batches(flows, cuts), FORM, size, by, **options):
        assert part.values.dtype == np.float32
        assert part.values.shape[1:] == (size, 1)
        facts = (part.classes, part.attacks, part.stations, part.sessions, part.rows)
        held = part.values[:, :, 0].astype(int).tolist()
        there = [tuple(np.flatnonzero(row).tolist()) for row in part.held]
        found += zip(map(tuple, held), *(fact.tolist() for fact in facts), there, strict=True)
    return sorted(found, key=lambda window: (window[5], window[3]))


def test_by_label_a_window_holds_flows_of_one_kind_of_one_station():
    flows = [(WEB, 0, 0), (FLOOD, 0, 0), (WEB, 1, 0), (WEB, 0, 1), (MAIL, 0, 1), (FLOOD, 0, 1), (WEB, 0, 1)]
    assert windows(flows, 2) == [
        ((0, 3), 0, WEB, 0, 0, 1, (WEB,)),  # over two captures; the other web flow of station 0 is left over
        ((1, 5), 1, FLOOD, 0, 0, 2, (FLOOD,)),
    ]
    assert windows(flows, 2, across_sessions=False) == [((3, 6), 0, WEB, 0, 1, 4, (WEB,))]


def test_by_time_a_window_holds_what_follows_each_other():
    flows = [(WEB, 0, 0), (SCAN, 0, 0), (FLOOD, 1, 0), (FLOOD, 0, 0), (FLOOD, 0, 0), (SCAN, 1, 0)]
    assert windows(flows, 2, "time") == [
        ((0, 1), 2, SCAN, 0, 0, 1, (WEB, SCAN)),  # as many benign flows as of an attack: the attack
        ((2, 5), 1, FLOOD, 1, 2, 3, (FLOOD, SCAN)),  # of two attacks the first class
        ((3, 4), 1, FLOOD, 0, 0, 4, (FLOOD,)),
    ]


@pytest.mark.parametrize("benign", ["benign", "scan"])
def test_only_equally_many_are_called_an_attack(benign):
    form = FORM.model_copy(update={"benign": benign})
    usual = SCAN if benign == "scan" else WEB
    for flows, label in (([usual] * 3 + [FLOOD] * 2, form.benign_class), ([usual] * 2 + [FLOOD] * 2, 1)):
        found = next(iter(windows_of(batches([(flow, 0, 0) for flow in flows]), form, len(flows), "time")))
        assert found.classes.tolist() == [label]


def test_a_window_is_called_by_what_its_class_mostly_is():
    assert windows([(MAIL, 0, 0), (FLOOD, 0, 0), (MAIL, 0, 0), (WEB, 0, 0)], 4, "time")[0][1:3] == (0, MAIL)


@settings(max_examples=60, deadline=None)
@given(FLOWS, CUTS, st.integers(1, 7), st.sampled_from(["label", "time"]), st.booleans())
def test_no_flow_is_in_two_windows_and_portions_do_not_matter(flows, cuts, size, by, across):
    found = windows(flows, size, by, cuts, across_sessions=across)
    assert found == windows(flows, size, by, across_sessions=across)
    used = [flow for held, *_ in found for flow in held]
    assert len(set(used)) == len(used)
    if by == "time":
        key = [(station, capture) for _, station, capture in flows]
    else:
        key = [(attack, station, None if across else capture) for attack, station, capture in flows]
    whole = sum(count // size for count in Counter(key).values())
    assert len(found) == whole
    for held, label, attack, station, session, row, there in found:
        assert list(held) == sorted(held)
        assert len({key[flow] for flow in held}) == 1
        assert (station, session, row) == (flows[held[0]][1], flows[held[0]][1] * 2 + flows[held[0]][2], held[0] + 1)
        classes = Counter(FORM.class_of_attack[flows[flow][0]] for flow in held)
        assert classes[label] == max(classes.values())
        assert there == tuple(sorted({flows[flow][0] for flow in held}))
        assert FORM.class_of_attack[attack] == label


def test_what_is_kept_of_a_window_does_not_keep_its_flows():
    part = next(iter(windows_of(batches([(WEB, 0, 0)] * 1000), FORM, 10, "label")))
    for name in ("stations", "sessions", "rows"):
        held = getattr(part, name)
        assert held.base is None or held.base.nbytes == len(part) * 4 * 8


@pytest.mark.parametrize("by", ["label", "time"])
def test_fewer_flows_than_a_window_make_none(by):
    assert windows([(WEB, 0, 0)] * 9, 10, by) == []
    assert windows([], 10, by) == []
