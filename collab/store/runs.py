"""Run directories: what a run leaves behind, and how to read it back.

::

    runs/quickstart-001/
      summary.json         the table: accuracy, bytes and seconds of each method, digests
      scenario.yaml        the scenario with every default written out
      environment.json     versions, device, threads: what else the run is a function of
      partition.json       samples of each class at each client
      dataset.json         classes by name, shape and scale of the images, how they are made of flow records
      topology.json        the network: nodes, where they are drawn, links, routes; see collab.topology_file
      metrics.parquet      every number that was measured, one a row; see collab.store.metrics
      log.txt              what happened, in words and with the time of day
      collabdm/            one folder a method
        outcome.json       accuracies and confusions of all networks, bytes of each site, energy of each host
        trace.parquet      everything that happened, one event a row; see simnet.trace_file
        ledger.jsonl       everything that crossed a boundary, or was refused; a chain that `collab audit` verifies
        images.safetensors synthetic images: refined, initial, and of the first sites
        synthetic.png      the refined synthetic set as a picture, a column a class, if the method yields one
        networks.safetensors trained networks, if the method yields any; see collab.network_file

A run directory is written under a temporary name and renamed when it is whole; an interrupted run leaves
nothing. Reading needs neither torch nor simnet's network; only that of trained networks needs torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from collab.array_file import in_order
from collab.errors import RunDirectoryError, RunExistsError
from collab.store import metrics
from collab.store.pictures import picture_strip
from simnet import ledger as ledgers
from simnet import trace_file
from simnet.errors import LedgerError, TraceFileError
from simnet.ledger import Identity, Ledger, LedgerEntry, Seal
from simnet.trace import Trace

if TYPE_CHECKING:  # they need torch, which is slow to import
    from collab.data import ImageSpec
    from collab.nets import Network
    from collab.network_file import KeptNetwork
    from collab.store.metrics import Metric

SUMMARY = "summary.json"
SCENARIO = "scenario.yaml"
LEDGER = "ledger.jsonl"
SCENARIO_SHA256 = "scenario_sha256"
TRACE = "trace.parquet"
TOPOLOGY = "topology.json"
DATASET = "dataset.json"
NETWORKS = "networks.safetensors"
LOG = "log.txt"
PICTURE = "synthetic.png"
DEFAULT_RUNS_DIR = Path("runs")
_RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
LATEST = "latest"
_PARTIAL_SUFFIX = ".partial"


class RunWriter:
    """A run directory in the making: `partial` until it is whole, then `final`. Use `open_run`."""

    def __init__(self, partial: Path, final: Path) -> None:
        self.partial = partial
        self.final = final

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file."""
        text = json.dumps(value, indent=1, ensure_ascii=False)
        (self.partial / name).write_text(text + "\n", encoding="utf-8")

    def write_text(self, name: str, text: str) -> None:
        """A text file."""
        (self.partial / name).write_text(text, encoding="utf-8")

    def append_text(self, name: str, text: str) -> None:
        """Add to a text file, which can be followed while the run goes on."""
        with (self.partial / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def write_metrics(self, rows: Iterable[Metric]) -> None:
        """The table of everything that was measured."""
        metrics.write(self.partial / metrics.METRICS, rows)

    def write_picture(
        self, method: str, images: NDArray[Any], labels: NDArray[Any], classes: int, title: str = ""
    ) -> None:
        """The synthetic set of a method whose folder is written, as a picture to look at, whose title is the data's."""
        drawn = picture_strip(images, labels, classes, enlarged=True, white=True, title=title)
        (self.partial / method / PICTURE).write_bytes(drawn)

    def write_method(
        self,
        name: str,
        outcome: Mapping[str, Any],
        trace: Trace,
        entries: Ledger,
        images: Mapping[str, NDArray[Any]],
        identity: Identity,
        networks: Mapping[str, KeptNetwork] | None = None,
    ) -> Seal:
        """The folder of one method; returns the seal of its ledger, which is of what `identity` names.

        There is a file of `networks` only if there are any.
        """
        folder = self.partial / name
        folder.mkdir()
        trace_file.write(trace, folder / TRACE)
        seal = entries.write(folder / LEDGER, identity)
        self.write_json(f"{name}/outcome.json", {**outcome, "ledger": seal.as_dict()})
        # Written here: files that safetensors makes may be read by nobody but their owner.
        (folder / "images.safetensors").write_bytes(save(in_order(images)))
        if networks:
            from collab import network_file

            network_file.write(networks, folder / NETWORKS)
        return seal

    def finish(self) -> None:
        """Give the directory its name. Raises `RunExistsError` if somebody else has taken it meanwhile.

        Raises `OSError` if the disk does not take what was written.
        """
        _flush(self.partial)
        try:
            os.rename(self.partial, self.final)
        except OSError as error:
            raise RunExistsError(f"{self.final} was made by another run in the meantime") from error


def _flush(folder: Path) -> None:
    """Have the disk hold every file of a directory: else, after a power cut, it may be there and its files empty."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def is_run_name(text: str) -> bool:
    """Whether a directory of a run or a sweep can be called so, and be found again by it."""
    return re.fullmatch(_RUN_NAME, text) is not None and text != LATEST


@contextlib.contextmanager
def open_run(runs_dir: Path, scenario: str, name: str | None) -> Iterator[RunWriter]:
    """A new run directory, `name` or the scenario's name and the next free number; gone again if the block raises.

    Raises `RunExistsError` if `name` is taken, `RunDirectoryError` if it is no name or the directory cannot be made.
    """
    if name is not None and not is_run_name(name):
        raise RunDirectoryError(
            f'"{name}" cannot be the name of a run: expected up to 100 letters, digits, ".", "_" and "-", '
            f'the first a letter or digit, and not "{LATEST}"'
        )
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        partial, final = _reserve(runs_dir, scenario, name)
    except OSError as error:
        raise RunDirectoryError(f"no run can be written in {runs_dir}: {error.strerror or error}") from error
    try:
        writer = RunWriter(partial, final)
        yield writer
        writer.finish()
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _reserve(runs_dir: Path, scenario: str, name: str | None) -> tuple[Path, Path]:
    candidates = [name] if name is not None else (f"{scenario}-{number:03}" for number in itertools.count(1))
    for candidate in candidates:
        final = runs_dir / candidate
        partial = runs_dir / f".{candidate}{_PARTIAL_SUFFIX}"
        if not final.exists():
            try:
                partial.mkdir()
            except FileExistsError:
                if name is None:
                    continue  # a run that goes on right now, or was killed
                raise RunExistsError(
                    f"{partial} is there: another run of that name goes on, or was killed (then remove it)"
                ) from None
            return partial, final
    raise RunExistsError(f"{runs_dir / str(name)} exists already; choose another --name or remove it")


def ledger_identity(scenario: str, seed: int, method: str, scenario_text: str) -> Identity:
    """What the ledger of one method of a run is bound to: also the boundaries, as they stand in the scenario."""
    digest = hashlib.sha256(scenario_text.encode()).hexdigest()
    return {"scenario": scenario, "seed": seed, "method": method, SCENARIO_SHA256: digest}


# -- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MethodRun:
    """What one method left behind."""

    name: str
    path: Path

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """accuracies, confusions, bytes of each site, energy of each host.

        Raises `RunDirectoryError` if it cannot be read.
        """
        return read_map(self.path / "outcome.json", json.loads)

    @cached_property
    def trace(self) -> Trace:
        """What `read_trace` gives, read once and kept."""
        return self.read_trace()

    def read_trace(self) -> Trace:
        """All events in order. Raises `RunDirectoryError` if the file is damaged or was changed."""
        if not (self.path / TRACE).exists() and (self.path / "trace.jsonl").exists():
            raise RunDirectoryError(
                f"{self.path} was written by an older version, whose traces (trace.jsonl) are not read any more; "
                f"run it again: collab run {self.path.parent / 'scenario.yaml'}"
            )
        try:
            return trace_file.read(self.path / TRACE)
        except TraceFileError as error:
            raise RunDirectoryError(str(error)) from error

    @cached_property
    def ledger(self) -> list[LedgerEntry]:
        """All crossings and refusals in order, unverified. Raises `RunDirectoryError` if they cannot be read."""
        try:
            with (self.path / LEDGER).open("rb") as file:
                return list(ledgers.read(file))
        except LedgerError as error:
            raise RunDirectoryError(f"{self.path / LEDGER}: {error}") from error

    @property
    def seal(self) -> Seal | None:
        """What was kept of the ledger beside it; None if nothing was, or what is there is none."""
        try:
            return Seal.read(self.outcome["ledger"])
        except (RunDirectoryError, ValueError, KeyError, TypeError):
            return None

    def verified_ledger(self, seal: Seal) -> Iterator[LedgerEntry]:
        """The entries, each once its line was verified. Raises `simnet.errors.LedgerError` and `OSError`."""
        with (self.path / LEDGER).open("rb") as file:
            yield from ledgers.verified(file, seal)

    @cached_property
    def images(self) -> dict[str, NDArray[Any]]:
        """Arrays by name: images, labels, initial, and site:<name> with site-labels:<name>.

        Raises `RunDirectoryError` if they cannot be read.
        """
        path = self.path / "images.safetensors"
        try:
            arrays: dict[str, NDArray[Any]] = load_file(path)
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}") from error
        except SafetensorError as error:
            raise RunDirectoryError(f"{path} is damaged: {error}") from error
        return arrays

    @property
    def networks(self) -> dict[str, Network]:
        """Trained networks by name, on the CPU: first the method's result, as it was judged.

        An ensemble is given by its members, `ensemble/<site>`. Raises `RunDirectoryError` if they cannot be read, or
        there are none: a synthetic set alone came out.
        """
        return {name: kept.network for name, kept in self._kept_networks.items()}

    @property
    def network_images(self) -> dict[str, ImageSpec]:
        """What images each of `networks` takes: `normalise` makes them of pixels, uint8 [n, channels, side, side].

        Raises `RunDirectoryError` as `networks` does.
        """
        return {name: kept.images for name, kept in self._kept_networks.items()}

    @cached_property
    def _kept_networks(self) -> dict[str, KeptNetwork]:
        from collab import network_file

        return network_file.read(self.path / NETWORKS)


@dataclass(frozen=True)
class Run:
    """A finished run, read from its directory."""

    path: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        return read_map(self.path / SUMMARY, json.loads)

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The resolved scenario as plain data."""
        return read_map(self.path / SCENARIO, yaml.safe_load)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads."""
        return read_map(self.path / "environment.json", json.loads)

    @cached_property
    def partition(self) -> dict[str, Sequence[int]]:
        """Client -> number of samples of each class."""
        return read_map(self.path / "partition.json", json.loads)

    @cached_property
    def metrics(self) -> list[Metric]:
        """Every number that was measured, in order of the methods. Raises `RunDirectoryError`."""
        return list(metrics.read(self.path / metrics.METRICS))

    @property
    def log(self) -> str:
        """What happened, in words. Raises `RunDirectoryError` if it cannot be read."""
        try:
            return (self.path / LOG).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{self.path / LOG} cannot be read: {error}") from error

    @cached_property
    def topology(self) -> dict[str, Any] | None:
        """The network, as `collab.topology_file` describes it; None in runs from before it was kept."""
        path = self.path / TOPOLOGY
        return read_map(path, json.loads) if path.exists() else None

    @cached_property
    def dataset(self) -> dict[str, Any] | None:
        """What everybody may know of the data: classes, images, recipe; None in runs from before it was kept."""
        path = self.path / DATASET
        return read_map(path, json.loads) if path.exists() else None

    @cached_property
    def methods(self) -> list[MethodRun]:
        """The methods, in the order of the scenario."""
        return [MethodRun(name, self.path / name) for name in self.summary["methods"]]

    def is_whole(self) -> bool:
        """Whether the summary can be read and is one."""
        try:
            return bool(self.summary["methods"])
        except (RunDirectoryError, KeyError, TypeError):
            return False


def read_map(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """A file of a run that holds a map. Raises `RunDirectoryError` if it cannot be read, or holds something else."""
    try:
        data = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise RunDirectoryError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise RunDirectoryError(
            f"{path} is damaged: expected a map, found {'nothing' if data is None else repr(data)[:60]}"
        )
    return data


def list_runs(runs_dir: Path = DEFAULT_RUNS_DIR) -> list[Run]:
    """All finished runs under a directory, by name, but for damaged ones."""
    return [run for run in _all_runs(runs_dir) if run.is_whole()]


def damaged_runs(runs_dir: Path = DEFAULT_RUNS_DIR) -> list[Path]:
    """The run directories whose summary cannot be read, by name."""
    return [run.path for run in _all_runs(runs_dir) if not run.is_whole()]


def _all_runs(runs_dir: Path) -> list[Run]:
    return [Run(path.parent) for path in sorted(runs_dir.glob(f"[!.]*/{SUMMARY}"))] if runs_dir.is_dir() else []
