"""Who gets how much: where there is room for all nothing is solved, and it must make no difference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet.tcp import Tcp
from tests.simnet.benches import Bench

CAPACITIES_BPS = [5e6, 10e6, 20e6, 200e6]

transfers = st.lists(
    st.tuples(
        st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
        st.integers(1, 2_000_000),
        st.sampled_from([0.0, 0.0, 0.1, 0.35, 1.0]),
        st.floats(0, 0.1),
    ),
    min_size=1,
    max_size=10,
)


def run(plan, tcp, *, always_solve):
    bench = Bench(CAPACITIES_BPS, tcp)
    if always_solve:
        rates = bench.flows._rates
        rates._settle_in = lambda _flow: rates._solve_soon()
        rates._move_out = lambda _flow: rates._solve_soon()
    for index, (links, size, at_s, latency_s) in enumerate(plan):
        bench.send(bench.flow(links, latency_s, 2 * latency_s), str(index), size, at_s)
    arrived = bench.run()
    return arrived, bench.flows.carried_bytes.tolist()


@settings(max_examples=60, deadline=None)
@given(transfers, st.booleans())
def test_it_makes_no_difference_whether_what_needs_no_solution_is_solved(plan, slow_start):
    tcp = Tcp(slow_start=slow_start)
    arrived, carried = run(plan, tcp, always_solve=False)
    expected, expected_carried = run(plan, tcp, always_solve=True)
    assert arrived == pytest.approx(expected, abs=3e-6 * len(plan))
    assert carried == pytest.approx(expected_carried, abs=1.0)


def test_room_for_all_needs_no_solution():
    # Fifty flows of 1 Mbit/s behind 200 Mbit/s: after the first two have met, nobody needs to be asked.
    bench = Bench([200e6, *[1e6] * 50], Tcp.plain())
    solved = []
    solve = bench.flows._rates._solve
    bench.flows._rates._solve = lambda: (solved.append(bench.clock.now_s), solve())
    for index in range(50):
        bench.send(bench.flow([1 + index, 0]), str(index), 100_000, at_s=index / 100)
    assert bench.run()["49"] == pytest.approx(0.49 + 0.8)
    assert len(solved) < 10


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 2_000_000), st.floats(0, 3)), min_size=1, max_size=10),
    st.sampled_from([2.0, 5.0, 10.0]),
)
def test_scaling_sizes_and_capacities_together_changes_nothing(plan, factor):
    def arrivals(scale):
        bench = Bench([8e6 * scale, 3e6 * scale], Tcp.plain())
        for index, (size, at_s) in enumerate(plan):
            bench.send(bench.flow([0, 1] if index % 3 == 0 else [0]), str(index), int(size * scale), at_s)
        return bench.run()

    assert arrivals(factor) == pytest.approx(arrivals(1.0), abs=2e-6 * len(plan))
