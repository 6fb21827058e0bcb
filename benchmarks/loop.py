"""What a wake-up costs: `asyncio.sleep` in virtual time beside plain SimPy timeouts.

    python benchmarks/loop.py [--wakeups N] [--tasks K] [--parts P] [--json]

K SimPy processes and K asyncio tasks wait N times in all, with the same delays: whole microseconds, spread so that the
queue stays as deep as there are waiters. In one process both are timed in turn, in P parts of N / P wake-ups each, in
seconds of CPU time, with the garbage collector as it is. A busy neighbour slows whichever part it meets, so beside the
ratio of the sums stands that of the fastest parts, which is the one that the goal of at least 0.5 is for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import time
from collections.abc import Iterator
from typing import Any

import simpy

from simnet.clock import TICKS_PER_SECOND
from simnet.loop import VirtualLoop

GOAL = 0.5
_SPREAD_TICKS = 9973  # a prime: the waiters do not fall into step


def delay_ticks(waiter: int, turn: int) -> int:
    """How long a waiter waits at a turn, in microseconds."""
    return 1 + (waiter * 7919 + turn * 104729) % _SPREAD_TICKS


def simpy_wakeups(delays: list[list[int]]) -> tuple[float, float]:
    """(CPU seconds, last moment in virtual seconds) of plain SimPy processes."""
    environment = simpy.Environment()

    def waiter(own: list[int]) -> Iterator[simpy.Event]:
        for ticks in own:
            yield environment.timeout(ticks)

    for own in delays:
        environment.process(waiter(own))
    began_s = time.process_time()
    environment.run()
    return time.process_time() - began_s, environment.now / TICKS_PER_SECOND


def asyncio_wakeups(delays: list[list[float]]) -> tuple[float, float]:
    """(CPU seconds, last moment in virtual seconds) of asyncio tasks on a `VirtualLoop`."""
    loop = VirtualLoop()

    async def waiter(own: list[float]) -> None:
        for delay_s in own:
            await asyncio.sleep(delay_s)

    async def main() -> None:
        await asyncio.gather(*(waiter(own) for own in delays))

    began_s = time.process_time()
    loop.run_until_complete(main())
    cpu_s = time.process_time() - began_s
    last_s = loop.time()
    loop.close()
    return cpu_s, last_s


def measure(wakeups: int, tasks: int, parts: int) -> dict[str, Any]:
    """Rates, their ratios and the setting."""
    turns = wakeups // parts // tasks
    ticks = [[delay_ticks(waiter, turn) for turn in range(turns)] for waiter in range(tasks)]
    seconds = [[each / TICKS_PER_SECOND for each in own] for own in ticks]
    simpy_s, asyncio_s = [], []
    for _ in range(parts):
        cpu_s, simpy_last_s = simpy_wakeups(ticks)
        simpy_s.append(cpu_s)
        cpu_s, asyncio_last_s = asyncio_wakeups(seconds)
        asyncio_s.append(cpu_s)
        if abs(simpy_last_s - asyncio_last_s) > 1 / TICKS_PER_SECOND:
            raise SystemExit(f"they ended at different moments: {simpy_last_s} s and {asyncio_last_s} s")
    part = turns * tasks
    return {
        "wakeups": part * parts,
        "tasks": tasks,
        "parts": parts,
        "python": platform.python_version(),
        "simpy": simpy.__version__,
        "simpy_per_s": part / min(simpy_s),
        "asyncio_per_s": part / min(asyncio_s),
        "ratio": min(simpy_s) / min(asyncio_s),
        "ratio_of_sums": sum(simpy_s) / sum(asyncio_s),
        "simpy_cpu_s": sum(simpy_s),
        "asyncio_cpu_s": sum(asyncio_s),
        "goal": GOAL,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wakeups", type=int, default=1_000_000, help="how many in all (default: one million)")
    parser.add_argument("--tasks", type=int, default=1000, help="tasks, and SimPy processes, that wait (default: 1000)")
    parser.add_argument("--parts", type=int, default=10, help="in how many parts they are timed in turn (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.tasks < 1 or options.parts < 1 or options.wakeups < options.tasks * options.parts:
        parser.error("--tasks and --parts must be at least 1, and --wakeups at least their product")
    found = measure(options.wakeups, options.tasks, options.parts)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['wakeups']:,} wake-ups of {found['tasks']:,} tasks in {found['parts']} parts, "
        f"Python {found['python']}, SimPy {found['simpy']}"
    )
    print(f"{'':22}{'fastest part':>16}{'all parts':>14}")
    for name in ("simpy", "asyncio"):
        title = "SimPy timeouts" if name == "simpy" else "asyncio.sleep"
        print(f"{title:22}{found[f'{name}_per_s']:14,.0f}/s{found[f'{name}_cpu_s']:12.2f} s")
    print(f"{'ratio':22}{found['ratio']:16.2f}{found['ratio_of_sums']:14.2f}   (goal: at least {GOAL})")


if __name__ == "__main__":
    main()
