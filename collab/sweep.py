"""A sweep: many cells of one scenario, each run once, on any engine, whatever happens in between.

A cell that is finished is never run again: its run directory, which appears whole or not at all, is the record. So
Ctrl-C, a crash or `kill -9` costs the cells in hand and nothing else, and the same command goes on. A cell that fails
leaves its error and the traces of its methods as far as they got, and the others are run all the same.

What cells share is computed once, see `collab.content_cache`. Not modelled: engines differ in where cells run, never in
what comes out; but two numbers of threads may differ in the last digits.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import json
import logging
import shutil
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from collab import content_cache, scenario
from collab.content_cache import ContentCache
from collab.data import Dataset, load_dataset
from collab.engines import Done, Engine
from collab.engines.inline import InlineEngine
from collab.engines.shortage import naming_shortage
from collab.errors import CollabError, RunDirectoryError, RunExistsError
from collab.plan import Plan, PlannedCell
from collab.run import run_scenario
from collab.run_listener import Listener, Silence
from collab.settings import Scenario
from collab.store import Cell, Failure, Sweep, open_run
from collab.store.sweeps import CELLS, FAILED, FAILURE, is_sweep, write_definition
from simnet import Network, trace_file

TRACEBACK = "traceback.txt"
_LOG = logging.getLogger(__name__)
DAMAGED = "damaged"
_LOCK = ".lock"


@dataclass(frozen=True)
class CellOrder:
    """All that a worker needs to run a cell."""

    identity: str
    scenario_text: str
    sweep_path: Path
    attempt: int = 1
    cache_path: Path | None = None
    cache_limit_bytes: int = content_cache.DEFAULT_LIMIT_BYTES


@dataclass(frozen=True)
class CellOutcome:
    """How a cell ended: `summary` is that of its run, `failure` says why there is none."""

    identity: str
    wall_s: float
    summary: Mapping[str, Any] | None = None
    failure: Failure | None = None


class SweepListener(Listener, Protocol):
    """Hears how a sweep gets on, and how the cell does that runs in this very process."""

    def planned(self, sweep: Sweep, waiting: int, workers: int) -> None:
        """So many cells are to be run; the others of the sweep are finished, or failed before."""

    def cell_began(self, cell: PlannedCell) -> None:
        """A cell is run from now on."""

    def cell_ended(self, cell: PlannedCell, outcome: CellOutcome) -> None:
        """A cell is finished, or has failed."""


def run_sweep(
    plan: Plan,
    path: Path,
    engine: Engine,
    listener: SweepListener,
    *,
    retry_failed: bool = False,
    cache: ContentCache | None = None,
) -> Sweep:
    """Run the cells of a plan that have no run directory in `path` yet; a damaged one is put aside.

    Cells that failed before are left as they are, or run again with `retry_failed`. Raises `RunExistsError` if another
    process is at it, `RunDirectoryError` if nothing can be written there. Ctrl-C passes through; finished cells stay.
    """
    path = path.resolve()  # workers may have another current directory
    with _alone(path):
        cells = [(cell.identity, cell.point) for cell in plan.cells]
        sweep = write_definition(path, plan.base.name, plan.axes, cells, plan.dump())
        known = {cell.identity: cell for cell in sweep.cells}
        waiting = deque(cell for cell in plan.cells if _is_to_run(known[cell.identity], retry_failed=retry_failed))
        listener.planned(sweep, len(waiting), engine.workers)
        inner: tuple[Listener, ...] = (listener,) if isinstance(engine, InlineEngine) else ()
        running: dict[Future[Done[CellOutcome]], tuple[PlannedCell, CellOrder]] = {}
        while waiting or running:
            while waiting and len(running) < engine.workers:
                cell = waiting.popleft()
                if known[cell.identity].run_path.exists():
                    _put_aside(known[cell.identity])
                listener.cell_began(cell)
                order = _order(cell, known[cell.identity], cache)
                running[engine.submit(run_cell, order, *inner)] = (cell, order)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell, order = running.pop(future)
                listener.cell_ended(cell, _outcome(future, order, known[cell.identity]))
        return Sweep(path)


def _is_to_run(cell: Cell, *, retry_failed: bool) -> bool:
    return not cell.is_finished and (retry_failed or cell.failure is None)


def _order(cell: PlannedCell, known: Cell, cache: ContentCache | None) -> CellOrder:
    """A cell is run inline wherever it runs: the cells are what is spread out."""
    compute = cell.scenario.compute.model_copy(
        update={"executor": "inline", "workers": None, "address": None, "gpus_per_client": None}
    )
    text = cell.scenario.model_copy(update={"compute": compute}).dump()
    attempt = 1 if known.failure is None else known.failure.attempts + 1
    order = CellOrder(cell.identity, text, known.sweep_path, attempt)
    if cache is None or cell.scenario.compute.time == "measured":  # a computation that is not done takes no time
        return order
    return replace(order, cache_path=cache.directory, cache_limit_bytes=cache.limit_bytes)


def _outcome(future: Future[Done[CellOutcome]], order: CellOrder, cell: Cell) -> CellOutcome:
    """What a worker says, or that it was lost, or that what it wrote is nowhere to be seen."""
    try:
        outcome = future.result().value
        if outcome.failure is None and not cell.is_finished:
            raise RunDirectoryError(
                f"a worker says that it wrote {cell.run_path}, but there is nothing here; "
                "--runs-dir must be on a disk that all machines of the cluster see under one path"
            )
    except CollabError as error:
        return _failed(order, error, 0.0, {})
    return outcome


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a sweep's directory; what a process that was killed has left half written in there is removed."""
    try:
        if path.exists() and not is_sweep(path) and _holds_something_else(path):
            raise RunExistsError(f"{path} is there, and it is no sweep; choose another --name or --runs-dir")
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise RunDirectoryError(f"no sweep can be written in {path}: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunExistsError(f"another collab sweep is at work in {path}; wait for it, or choose --name") from None
        for folder in (CELLS, FAILED):
            for partial in (path / folder).glob(".*.partial"):
                shutil.rmtree(partial)
        yield


def _holds_something_else(path: Path) -> bool:
    """Whether there is more than a sweep leaves that is killed before it begins."""
    return any(entry.name not in (_LOCK, CELLS) and not entry.name.endswith(".partial") for entry in path.iterdir())


def _put_aside(cell: Cell) -> None:
    """Make way for a cell whose run directory is there, but damaged."""
    aside = cell.sweep_path / DAMAGED / f"{cell.identity}-{time.time_ns()}"
    aside.parent.mkdir(exist_ok=True)
    cell.run_path.rename(aside)


# -- in a worker ---------------------------------------------------------------------------------


def run_cell(order: CellOrder, listener: Listener | None = None) -> CellOutcome:
    """Run one cell and write its run directory, or why there is none; only Ctrl-C passes through."""
    started_s = time.perf_counter()
    heard = _Networks(listener or Silence())
    threads = torch.get_num_threads()
    # Of a worker that was lost while it ran this very cell.
    shutil.rmtree(order.sweep_path / CELLS / f".{order.identity}.partial", ignore_errors=True)
    try:
        cache = None if order.cache_path is None else _cache(order.cache_path, order.cache_limit_bytes)
        chosen = scenario.parse(order.scenario_text, f"cell {order.identity}")
        with (
            naming_shortage(f"the cell {order.identity}", 1),
            content_cache.using(cache),
            open_run(order.sweep_path / CELLS, chosen.name, order.identity) as writer,
        ):
            summary = run_scenario(chosen, writer, listener=heard, dataset=_dataset(chosen, heard))
    except Exception as error:  # one cell's failure is no reason to lose the others; it is written down
        return _failed(order, error, time.perf_counter() - started_s, heard.networks)
    finally:
        torch.set_num_threads(threads)  # a cell may have asked for its own
        heard.networks.clear()
        gc.collect()  # the programs of a run and its network refer to each other, and to much data
    shutil.rmtree(order.sweep_path / FAILED / order.identity, ignore_errors=True)
    return CellOutcome(order.identity, time.perf_counter() - started_s, summary)


class _Networks(Silence):
    """A listener that keeps the networks of the methods that began, for their traces."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.networks: dict[str, Network] = {}
        self.preparing = listener.preparing  # type: ignore[method-assign]
        self.progress = listener.progress  # type: ignore[method-assign]
        self.uploaded = listener.uploaded  # type: ignore[method-assign]
        self.method_ended = listener.method_ended  # type: ignore[method-assign]

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """A method starts on a network of its own."""
        self.networks[name] = network
        self._listener.method_began(name, sites, network)


def _failed(order: CellOrder, error: Exception, wall_s: float, networks: Mapping[str, Network]) -> CellOutcome:
    """Write down why a cell failed, and the traces of its methods as far as they got."""
    failure = Failure(str(error) or repr(error), type(error).__name__, order.attempt, round(wall_s, 3))
    final = order.sweep_path / FAILED / order.identity
    partial = final.with_name(f".{order.identity}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / FAILURE).write_text(json.dumps(asdict(failure), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (partial / "scenario.yaml").write_text(order.scenario_text, encoding="utf-8")
    (partial / TRACEBACK).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    for name, network in networks.items():
        (partial / name).mkdir()
        trace_file.write(network.trace, partial / name / "trace.parquet")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    return CellOutcome(order.identity, wall_s, failure=failure)


@functools.lru_cache(maxsize=1)
def _cache(path: Path, limit_bytes: int) -> ContentCache | None:
    """One a process: it keeps count of what it holds. None, which is logged, if it cannot be written."""
    try:
        return ContentCache(path, limit_bytes)
    except OSError as error:
        _LOG.warning("cells share nothing: %s cannot be written: %s", path, error.strerror or error)
        return None


_loaded: dict[str, Dataset] = {}
"""The data set that was used last in this process, by its settings."""


def _dataset(chosen: Scenario, listener: Listener) -> Dataset:
    key = f"{chosen.dataset.model_dump_json()} {chosen.seed}"
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = load_dataset(chosen.dataset, chosen.seed, progress=listener.preparing)
    return _loaded[key]
