"""Runs and sweeps as data frames, for notebooks; `collab.load` makes them.

All frames of a run have a column `method`, the learning method (of which a run has one or several), so that they can be
joined. Frames are read when they are first asked for, and kept. Needs pandas, and neither torch nor the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from collab.errors import RunDirectoryError
from collab.store import DEFAULT_RUNS_DIR, METRICS, TRACE, Cell, MethodRun, Run, Sweep, find, metrics
from collab.store.detection import named_classes, read_confusions
from simnet.ledger import LedgerEntry

if TYPE_CHECKING:  # it takes a third of a second to import
    import pandas as pd

_SUMMARY = (
    "yields", "bytes_up_per_client", "bytes_down_per_client", "energy_j_per_client", "last_upload_s", "result_s",
    "result_digest",
)  # fmt: skip
_FLOATS = dict.fromkeys(("set_deviation", "energy_j_per_client"), float)
"""Columns that may be empty: None would make them columns of objects."""
_CONFUSION = ("method", "network", "site", "true", "predicted", "samples", "dataset")
_OF_FRAMES = ("cell", "state", "error", "method", "dataset")
_JUDGED = ("deviation", "networks", "sets", "set_deviation")


@dataclass(frozen=True)
class RunFrames:
    """A finished run as data frames. Reading one raises `collab.errors.RunDirectoryError` if its file is damaged."""

    run: Run

    def __repr__(self) -> str:
        summary = self.run.summary
        return f"<run {self.name}: {summary['scenario']}, seed {summary['seed']}, {', '.join(summary['methods'])}>"

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.run.path.name

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.run.path

    @property
    def scenario(self) -> dict[str, Any]:
        """The resolved scenario as plain data."""
        return self.run.scenario

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads."""
        return self.run.environment

    @property
    def log(self) -> str:
        """What happened, in words."""
        return self.run.log

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row a method: accuracy with its deviations, bytes, energy, seconds, digest of the result, data."""
        import pandas as pd

        return pd.DataFrame(summary_rows(self.run)).astype(_FLOATS)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row for every number that was measured; for the columns see `collab.store.metrics`."""
        import pandas as pd
        import pyarrow as pa

        whole_numbers = {pa.int64(): pd.Int64Dtype()}  # so that they stay whole where some are missing
        frame: pd.DataFrame = metrics.read_table(self.run.path / METRICS).to_pandas(types_mapper=whole_numbers.get)
        return frame

    @cached_property
    def trace(self) -> pd.DataFrame:
        """A row an event, of all methods one after the other; the columns beside these are what events say.

        `method` (the learning method), `at_s` (virtual seconds; real ones of a real run), `host`, `kind`. What events
        themselves call `method`, the verb of a request, is `http_method` here.
        """
        import pandas as pd

        return pd.concat([_events(method) for method in self.run.methods], ignore_index=True)

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """A row for everything that crossed a boundary or was refused at one, of all methods; unverified."""
        import pandas as pd

        names = [field.name for field in fields(LedgerEntry)]
        rows = [
            (method.name, *(getattr(entry, name) for name in names))
            for method in self.run.methods
            for entry in method.ledger
        ]
        return pd.DataFrame(rows, columns=["method", *names])

    @cached_property
    def partition(self) -> pd.DataFrame:
        """Samples of each class (columns, by their number) at each client (index)."""
        import pandas as pd

        frame = pd.DataFrame.from_dict(dict(self.run.partition), orient="index")
        return frame.rename_axis(index="client", columns="class")

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """How many samples of each class were taken for each, of all methods, networks and sites of the test data.

        Columns: `method`, `network`, `site` ("" where the data knows none), `true` and `predicted` (the names of the
        classes if they have any, else their numbers), `samples`: summed over the networks and sets that were judged,
        `dataset`: the title of the data. Without a row if matrices were not kept. `collab.store.detection` has the
        arithmetic.
        """
        import pandas as pd

        names, _ = named_classes(self.run)
        title = self.run.summary.get("dataset")
        rows = [
            (method.name, network, site, names[true] if names else true, names[taken] if names else taken, count, title)
            for method in self.run.methods
            for network, by_site in read_confusions(method).items()
            for site, matrix in by_site.items()
            for true, counts in enumerate(matrix.tolist())
            for taken, count in enumerate(counts)
        ]
        return pd.DataFrame(rows, columns=_CONFUSION)

    @cached_property
    def images(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Method -> its arrays by name: images, labels, initial, and those of the first sites; no data frames."""
        return {method.name: method.images for method in self.run.methods}


@dataclass(frozen=True)
class SweepFrames:
    """A sweep as data frames, of the cells that are finished by now; load it again to see more."""

    sweep: Sweep

    def __repr__(self) -> str:
        finished = len(self.sweep.finished)
        return f"<sweep {self.name}: {finished} of {len(self.sweep.cells)} cells, over {', '.join(self.sweep.axes)}>"

    @property
    def name(self) -> str:
        """The name of the sweep's directory."""
        return self.sweep.path.name

    @property
    def path(self) -> Path:
        """The sweep's directory."""
        return self.sweep.path

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Swept field, by its dotted name -> its values."""
        return self.sweep.axes

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row a cell, also of those not finished: `cell`, the fields of its point, `state`, `error`."""
        import pandas as pd

        rows = []
        for cell in self.sweep.cells:
            failure = cell.failure
            state = "finished" if cell.run is not None else "to come" if failure is None else "failed"
            rows.append({**_point(cell), "state": state, "error": None if failure is None else failure.error})
        return pd.DataFrame(rows)

    @cached_property
    def results(self) -> pd.DataFrame:
        """A row for each finished cell and method: `cell`, the fields of its point, and the columns of a summary."""
        import pandas as pd

        rows = [{**_point(cell), **row} for cell, run in self._runs() for row in summary_rows(run)]
        return pd.DataFrame(rows).astype(_FLOATS) if rows else pd.DataFrame()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The metrics of all finished cells, with `cell` and the fields of its point before them."""
        import pandas as pd

        frames = []
        for cell, run in self._runs():
            frame = RunFrames(run).metrics
            for number, (field, value) in enumerate(_point(cell).items()):
                frame.insert(number, field, [value] * len(frame))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def run(self, cell: str) -> RunFrames:
        """A finished cell, by the first digits of its identity. Raises `collab.errors.RunNotFoundError`."""
        found = load(self.sweep.path / cell)
        if not isinstance(found, RunFrames):
            raise AssertionError(f"{cell} is a run")
        return found

    def _runs(self) -> Iterable[tuple[Cell, Run]]:
        return ((cell, cell.run) for cell in self.sweep.finished if cell.run is not None)


def load(path: str | Path, runs_dir: str | Path = DEFAULT_RUNS_DIR) -> RunFrames | SweepFrames:
    """The run or sweep at a path, or of that name under `runs_dir`: also `latest`, and `SWEEP/CELL`.

    Raises `collab.errors.RunNotFoundError`, and `RunDirectoryError` if the summary cannot be read.
    """
    found = find(str(path), Path(runs_dir))
    if isinstance(found, Sweep):
        return SweepFrames(found)
    if not found.is_whole():
        raise RunDirectoryError(f"{found.path} is damaged: its summary cannot be read; run the scenario again")
    return RunFrames(found)


def summary_rows(run: Run) -> list[dict[str, Any]]:
    """A flat row for each method of a run: the network that is judged first, bytes, energy, seconds, data."""
    title = run.summary.get("dataset")  # runs of early versions lack it
    return [{**_flat(name, row), "dataset": title} for name, row in run.summary["methods"].items()]


def _flat(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    judged: Sequence[tuple[str, Mapping[str, Any]]] = list(row.get("accuracies", {}).items())
    network, found = judged[0] if judged else (None, {})
    flat = {"method": name, "accuracy": row["accuracy"], "network": network}
    return flat | {key: found.get(key) for key in _JUDGED} | {key: row.get(key) for key in _SUMMARY}


def _point(cell: Cell) -> dict[str, Any]:
    """The cell and the fields of its point; a field that is called as another column is gets `scenario.` before it."""
    named = {f"scenario.{field}" if field in _OF_FRAMES else field: value for field, value in cell.point.items()}
    return {"cell": cell.identity, **named}


def _events(method: MethodRun) -> pd.DataFrame:
    import pandas as pd
    import pyarrow
    import pyarrow.parquet

    path = method.path / TRACE
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise RunDirectoryError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    frame: pd.DataFrame = table.to_pandas(types_mapper={pyarrow.int64(): pd.Int64Dtype()}.get)
    frame = frame.astype({"host": object, "kind": object})  # methods have other hosts: categories do not join
    if "method" in frame:
        frame = frame.rename(columns={"method": "http_method"})
        frame["http_method"] = frame["http_method"].where(frame["http_method"] != method.name)
    if frame["more"].isna().all():
        frame = frame.drop(columns="more")
    frame.insert(0, "method", method.name)
    frame.insert(1, "at_s", frame.pop("at_us").astype(float) / 1e6)
    return frame
