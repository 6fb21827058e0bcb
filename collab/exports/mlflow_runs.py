"""Runs for MLflow: into a local directory, or to a tracking server.

An experiment for each scenario or sweep, in it a run for each method: its settings as parameters, the numbers of the
summary and of metrics.parquet as metrics (`matching_loss` by step, uploads by their number and virtual milliseconds),
versions as tags, and the files of the run directory as artifacts. What is there already, known by the digest of its
trace, is not logged again.

A local directory holds `mlflow.db` and `artifacts/`: the store of plain files is one that MLflow keeps no more. MLflow
would tell its makers that it was used; that is turned off unless MLFLOW_DISABLE_TELEMETRY says otherwise.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from collab.errors import RunDirectoryError
from collab.exports import ExportedRun, Loaded, needed, runs_of
from collab.frames import RunFrames
from collab.store.selection import made

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")
KEY = "collab.key"
"""The tag by which a run is known again."""
_NUMBERS = (
    "accuracy", "bytes_up_per_client", "bytes_down_per_client", "energy_j_per_client", "last_upload_s", "result_s",
)  # fmt: skip
_MOST_AT_ONCE = 100
_LONGEST = 500


def local_uri(directory: Path) -> str:
    """The tracking URI of a local directory, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(directory / 'mlflow.db').resolve()}"


def export(loaded: Loaded, directory: Path, tracking_uri: str | None = None) -> tuple[int, int]:
    """Log all runs; returns how many were logged, and how many were there already.

    To `tracking_uri`, or into `directory` if that is None. Raises `MissingExtraError` if MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by default it tries for minutes, in silence
    needed("mlflow", "mlflow")
    if tracking_uri is None:
        needed("sqlalchemy", "mlflow")
        needed("alembic", "mlflow")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow.store.db.utils", "alembic"):  # they tell how they make their tables
        logging.getLogger(name).setLevel(logging.WARNING)
    runs = runs_of(loaded)
    uri = tracking_uri or local_uri(directory)
    try:
        return _log_all(MlflowClient(uri), loaded, runs, None if tracking_uri is not None else directory / "artifacts")
    except MlflowException as error:
        raise RunDirectoryError(f"nothing more can be logged to {uri}: {' '.join(str(error).split())}") from error


def _log_all(
    client: MlflowClient, loaded: Loaded, runs: Sequence[ExportedRun], artifacts: Path | None
) -> tuple[int, int]:
    name = loaded.name if not isinstance(loaded, RunFrames) else str(loaded.run.summary["scenario"])
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        number = experiment.experiment_id
    else:
        number = client.create_experiment(name, None if artifacts is None else artifacts.resolve().as_uri())
    logged = there = 0
    for exported, method in ((one, name) for one in runs for name in one.methods):
        key = f"{exported.name}/{method}/{exported.frames.run.summary['trace_digest']}"
        if client.search_runs([number], f"tags.`{KEY}` = '{key}'", max_results=1):
            there += 1
            continue
        _log(client, number, exported, method, key)
        logged += 1
    return logged, there


def _log(client: MlflowClient, experiment: str, exported: ExportedRun, method: str, key: str) -> None:
    from mlflow.entities import Param, RunTag

    summary = exported.frames.run.summary
    began_ms = int(1000 * made(exported.frames.run).timestamp())
    tags = {KEY: key, "mlflow.runName": f"{exported.name}/{method}", "mlflow.source.name": str(exported.frames.path)}
    tags |= {f"collab.{name}": str(value) for name, value in exported.frames.environment.items()}
    tags |= {name: str(summary.get(name)) for name in ("scenario", "dataset", "world", "trace_digest")}
    tags["result_digest"] = str(summary["methods"][method].get("result_digest"))
    run = client.create_run(experiment, start_time=began_ms)
    number = run.info.run_id
    try:
        parameters = [Param(name, _text(value)) for name, value in exported.settings_of(method).items()]
        for part in _batches(parameters):
            client.log_batch(number, params=part)
        client.log_batch(number, tags=[RunTag(name, value) for name, value in tags.items() if name != KEY])
        for batch in _batches(_metrics(exported, method, began_ms)):
            client.log_batch(number, metrics=batch)
        _log_files(client, number, exported, method)
        client.set_tag(number, KEY, key)  # last: a run that was logged in part is logged again
    except BaseException:
        client.set_terminated(number, "FAILED")
        raise
    client.set_terminated(number, end_time=began_ms + int(1000 * float(summary["wall_s"])))


def _batches(entities: Iterable[T]) -> Iterator[list[T]]:
    """As many at a time as MLflow takes."""
    waiting = iter(entities)
    while batch := list(itertools.islice(waiting, _MOST_AT_ONCE)):
        yield batch


def _text(value: Any) -> str:
    return str(value)[:_LONGEST]


def _metrics(exported: ExportedRun, method: str, began_ms: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    run = exported.frames.run
    row = run.summary["methods"][method]
    for name in _NUMBERS:
        if row.get(name) is not None:
            yield Metric(name, float(row[name]), began_ms, 0)
    for network, found in row.get("accuracies", {}).items():
        for name in ("mean", "deviation"):
            yield Metric(f"accuracies/{network}/{name}".replace(" ", "_"), float(found[name]), began_ms, 0)
    uploads = 0
    for metric in run.metrics:
        if metric.method == method and metric.metric == "matching_loss":
            yield Metric("matching_loss", metric.value, began_ms, metric.step or 0)
        elif metric.method == method and metric.metric == "upload_bytes":
            uploads += 1
            yield Metric("upload_bytes", metric.value, began_ms + round(1000 * (metric.at_s or 0.0)), uploads)


def _log_files(client: MlflowClient, number: str, exported: ExportedRun, method: str) -> None:
    path = exported.frames.path
    for file in sorted(path.iterdir()):
        if file.is_file():
            client.log_artifact(number, str(file))
    client.log_artifacts(number, str(path / method), method)
