"""Where work really runs: `inline`, `processes` or `ray`, behind one interface, with the same results.

For the computations of the clients of one run, and for the cells of a sweep. An engine is opened by the settings under
`compute`, and closed by whoever opened it.
"""

from __future__ import annotations

import importlib.util
import os

from collab.engines.engine import Done, Engine, EngineChoice, EngineName
from collab.engines.inline import InlineEngine
from collab.errors import ScenarioError

__all__ = ["Done", "Engine", "EngineChoice", "EngineName", "InlineEngine", "cores", "open_engine", "threads_of"]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of(choice: EngineChoice) -> int:
    """How many functions a choice lets run at a time on this machine."""
    return 1 if choice.executor == "inline" else choice.workers or cores()


def threads_of(choice: EngineChoice) -> int | None:
    """Threads of torch in each process of a choice; None to leave it to torch, which takes all cores."""
    if choice.threads is not None or choice.executor == "inline":
        return choice.threads
    return max(1, cores() // workers_of(choice))


def open_engine(choice: EngineChoice) -> Engine:
    """The engine of a choice. Raises `ScenarioError` if it needs Ray and Ray is not installed, or has no such cluster.

    Workers start with the first function that they have to do.
    """
    if choice.executor == "inline":
        return InlineEngine()
    workers, threads = workers_of(choice), threads_of(choice) or 1
    if choice.executor == "processes":
        from collab.engines.processes import ProcessEngine

        return ProcessEngine(workers, threads=threads)
    if importlib.util.find_spec("ray") is None:
        raise ScenarioError(
            "compute.executor is ray, but Ray is not installed; pip install 'collab-edge[ray]', or use processes"
        )
    from collab.engines.ray import RayEngine

    return RayEngine(workers, threads=threads, address=choice.address, gpus=_gpus_of(choice, workers))


def _gpus_of(choice: EngineChoice, workers: int) -> float:
    """The share of a GPU that each function is to reserve: an even one of one GPU if torch is to use it."""
    if choice.gpus_per_client is not None:
        return choice.gpus_per_client
    return 1 / workers if choice.device == "cuda" else 0.0
