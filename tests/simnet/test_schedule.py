from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.errors import TopologyError
from simnet.schedule import OPPORTUNITY_BITS, CapacitySchedule, CapacityStep, read_mahimahi


def schedule(*steps, every=None):
    return CapacitySchedule(tuple(CapacityStep(*step) for step in steps), every)


def test_a_schedule_holds_each_capacity_until_the_next_step():
    once = schedule((1.0, 5e6), (3.0, 0.0))
    assert [once.bandwidth_at(at_s) for at_s in (0.0, 0.999, 1.0, 2.9, 3.0, 1e6)] == [None, None, 5e6, 5e6, 0.0, 0.0]
    assert list(once.changes()) == list(once.steps)


def test_a_schedule_with_a_period_starts_over():
    loop = schedule((1.0, 5e6), (3.0, 0.0), every=4.0)
    assert [loop.bandwidth_at(at_s) for at_s in (0.5, 1.0, 3.5, 4.0, 4.5, 5.0, 7.0)] == [None, 5e6, 0, 0, 0, 5e6, 0]
    assert [(step.at_s, step.bandwidth_bps) for step in islice(loop.changes(), 5)] == [
        (1.0, 5e6),
        (3.0, 0.0),
        (5.0, 5e6),
        (7.0, 0.0),
        (9.0, 5e6),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CapacitySchedule(()), "at least one step"),
        (lambda: schedule((-1.0, 1e6)), "step 0 of a schedule is at -1.0 s, expected 0 or more"),
        (lambda: schedule((0.0, -1e6)), "sets -1000000.0 bit/s, expected 0 .* or more"),
        (lambda: schedule((0.0, float("nan"))), "sets nan bit/s"),
        (lambda: schedule((2.0, 1e6), (2.0, 2e6)), r"step 1 of a schedule is at 2 s, not after .* \(2 s\)"),
        (lambda: schedule((2.0, 1e6), (1.0, 2e6)), "expected increasing times"),
        (lambda: schedule((2.0, 1e6), every=2.0), "step 0 of a schedule is at 2 s, beyond the period of 2 s"),
        (lambda: schedule((0.0, 1e6), every=0.0), "the period of a schedule is 0.0, expected a positive"),
        (lambda: schedule((0.0, 0.0), every=2.0), "at least one step with a capacity above 0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(make, message):
    with pytest.raises(TopologyError, match=message):
        make()


def written(tmp_path, text):
    path = tmp_path / "link.mahimahi"
    path.write_text(text)
    return path


def test_a_mahimahi_trace_becomes_steps(tmp_path):
    # 100 ms with an opportunity each 10 ms (1.2 Mbit/s), 100 ms of nothing, 50 ms with one each 5 ms (2.4 Mbit/s).
    times_ms = [*range(0, 100, 10), *range(200, 250, 5), 250]
    read = read_mahimahi(written(tmp_path, "\n".join(map(str, times_ms)) + "\n"))
    assert [(step.at_s, step.bandwidth_bps) for step in read.steps] == [
        (0.0, 1.2e6),
        (0.1, 0.0),
        (0.2, pytest.approx(11 * OPPORTUNITY_BITS / 0.05)),
    ]
    assert read.period_s == 0.25


def test_equal_neighbours_of_a_trace_are_one_step(tmp_path):
    read = read_mahimahi(written(tmp_path, "\n".join(str(ms) for ms in range(1, 2001))))
    # One a millisecond is 12 Mbit/s; the first bin lacks time 0, and the last holds what stands at the end.
    assert [step.at_s for step in read.steps] == [0.0, 0.1, 1.9]
    assert [step.bandwidth_bps for step in read.steps] == pytest.approx([11.88e6, 12e6, 12.12e6])


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=200).map(sorted).filter(lambda times: times[-1] > 0),
    st.sampled_from([0.001, 0.02, 0.1, 0.7]),
)
def test_no_opportunity_is_lost_or_made_up(tmp_path_factory, times_ms, step_s):
    path = tmp_path_factory.mktemp("traces") / "trace"
    path.write_text("\n".join(map(str, times_ms)))
    read = read_mahimahi(path, step_s=step_s)
    ends = [*(step.at_s for step in read.steps[1:]), read.period_s]
    bits = sum(step.bandwidth_bps * (end - step.at_s) for step, end in zip(read.steps, ends, strict=True))
    assert bits == pytest.approx(len(times_ms) * OPPORTUNITY_BITS)
    assert read.steps[0].at_s == 0
    assert read.period_s == times_ms[-1] / 1000


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the trace is empty"),
        ("0\n0\n", 2, "ends at 0 ms"),
        ("1\n2\nthree\n", 3, 'found "three", expected a whole number'),
        ("1\n2.5\n", 2, 'found "2.5"'),
        ("-1\n", 1, 'found "-1"'),
        ("1\n\n2\n", 2, 'found ""'),
        ("5\n4\n", 2, "4 ms comes after 5 ms"),
        ("1\n" + "9" * 5000, 2, "expected a whole number"),
        ("1\n\ufffd\n", 2, "expected a whole number"),
    ],
)
def test_a_bad_line_of_a_trace_is_named(tmp_path, text, line, message):
    path = written(tmp_path, text)
    with pytest.raises(TopologyError) as caught:
        read_mahimahi(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("step_s", [0.0, 0.0005, 0.0015])
def test_steps_are_whole_milliseconds(tmp_path, step_s):
    with pytest.raises(TopologyError, match="whole number of milliseconds"):
        read_mahimahi(written(tmp_path, "1\n"), step_s=step_s)
