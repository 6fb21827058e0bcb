"""metrics.parquet: every number that a run measured, one a row.

======== ======= ==========================================================================================
column   type
======== ======= ==========================================================================================
method   text    as in the scenario
metric   text    what was measured, with its unit: see below
value    double
host     text    the site (or server) that it was measured at
network  text    the network that was judged: an architecture, or one that the method trained
set      int     number of the synthetic set, from 0, where the method was run several times
repeat   int     number of the network of that kind, from 0
round    int     from 1, in which something was uploaded
step     int     from 1, of a learning curve
at_s     double  when: virtual seconds, or real ones of a real run
======== ======= ==========================================================================================

Columns that a metric does not have are null. Metrics: ``accuracy`` (0 to 1, on the test data), ``upload_bytes`` (one
row an upload), ``bytes_up`` and ``bytes_down`` (all bodies of a site), ``last_upload_s``, ``result_s``, ``compute_j``,
``idle_j``, ``transmit_j``, ``receive_j`` (of hosts whose energy is counted), and ``matching_loss`` (the loss
that the server's set was moved by, before each step, of methods that refine one); where the data says which class is
benign, ``false_alarm_rate`` (of the benign test samples, those taken for an attack) and ``detection_rate`` (of the
attacks, those taken for an attack, whichever); ``epsilon``, ``delta`` and ``noise_multiplier`` of methods that promise
differential privacy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from collab.errors import RunDirectoryError

if TYPE_CHECKING:
    import pyarrow

METRICS = "metrics.parquet"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that was measured: a row of the table."""

    method: str
    metric: str
    value: float
    host: str | None = None
    network: str | None = None
    set: int | None = None
    repeat: int | None = None
    round: int | None = None
    step: int | None = None
    at_s: float | None = None


COLUMNS = tuple(field.name for field in fields(Metric))
_TEXTS = ("method", "metric", "host", "network")
_NUMBERS = ("value", "at_s")


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    types = {**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_NUMBERS, pa.float64())}
    return pa.schema([(name, types.get(name, pa.int64())) for name in COLUMNS])


def write(path: Path, metrics: Iterable[Metric]) -> None:
    """Write a table of metrics. Raises `OSError`."""
    import pyarrow as pa
    import pyarrow.parquet

    rows = [astuple(metric) for metric in metrics]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    schema = _schema()
    arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
    pyarrow.parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


def read_table(path: Path) -> pyarrow.Table:
    """The table in a file that `write` wrote. Raises `RunDirectoryError` for anything else."""
    import pyarrow
    import pyarrow.parquet

    if not path.exists():
        raise RunDirectoryError(
            f"{path} is not there: the run was written by a version that kept no metrics, or the file was removed; "
            f"run it again: collab run {path.parent / 'scenario.yaml'}"
        )
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunDirectoryError(f"{path} is damaged: {text}") from error
    if table.schema != _schema():
        found = ", ".join(table.schema.names)
        raise RunDirectoryError(f"{path} is damaged: expected the columns {', '.join(COLUMNS)}, found {found}")
    return table


def read(path: Path) -> Iterator[Metric]:
    """The rows of a file that `write` wrote. Raises `RunDirectoryError` for anything else."""
    for row in read_table(path).to_pylist():
        yield Metric(**row)
