"""Event files for TensorBoard: `tensorboard --logdir DIR` shows them.

A folder for each method (of a sweep DIR/CELL/METHOD) with

- scalars: each judged network's mean accuracy, `matching_loss` by step, `uploaded_bytes` in all after each upload (its
  time is the virtual one, so that the axis "relative" is the clock of the run), and the numbers of the summary;
- images: the synthetic set, what it was refined from, and those of the first sites;
- a text, `dataset`: the title of the data;
- hyperparameters: the swept fields, or of a single run its settings, beside accuracy, bytes and seconds.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from collab.exports import ExportedRun, Loaded, needed, new_directory, runs_of
from collab.store.pictures import picture_strip
from collab.store.selection import made

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tensorboard.compat.proto.summary_pb2 import Summary

_NUMBERS = ("bytes_up_per_client", "bytes_down_per_client", "energy_j_per_client", "last_upload_s", "result_s")
_COMPARED = ("accuracy", "bytes_up_per_client", "result_s")
_MOST_SETTINGS = 200
Moment = tuple[int, float]
"""The step, and the seconds after the beginning."""


def export(loaded: Loaded, directory: Path) -> None:
    """Write the event files. Raises `RunExistsError`, and `MissingExtraError` if TensorBoard is not installed."""
    needed("tensorboard", "tensorboard")
    runs = runs_of(loaded)
    with new_directory(directory) as partial:
        for each in runs:
            for method in each.methods:
                folder = partial / each.name / method if each.point else partial / method
                _write(folder, each, method)


def _write(folder: Path, exported: ExportedRun, method: str) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    began_s = made(exported.frames.run).timestamp()
    writer = EventFileWriter(str(folder))
    try:
        for summary, (step, at_s) in (*_scalars(exported, method), *_images(exported, method)):
            writer.add_event(Event(wall_time=began_s + at_s, step=step, summary=summary))
        for summary in (_text("dataset", _title(exported)), *_hyperparameters(exported, method)):
            writer.add_event(Event(wall_time=began_s, summary=summary))
        writer.flush()
    finally:
        writer.close()


def _scalars(exported: ExportedRun, method: str) -> Iterator[tuple[Summary, Moment]]:
    frames = exported.frames
    row = frames.run.summary["methods"][method]
    yield _scalar("accuracy", row["accuracy"]), (0, 0.0)
    for network, found in row.get("accuracies", {}).items():
        yield _scalar(f"accuracies/{network}", found["mean"]), (0, 0.0)
    for name in _NUMBERS:
        if row.get(name) is not None:
            yield _scalar(name, row[name]), (0, 0.0)
    ours = [metric for metric in frames.run.metrics if metric.method == method]
    for metric in ours:
        if metric.metric == "matching_loss":
            yield _scalar("matching_loss", metric.value), (metric.step or 0, 0.0)
    total = 0.0
    uploads = sorted((each for each in ours if each.metric == "upload_bytes"), key=lambda each: each.at_s or 0.0)
    for number, metric in enumerate(uploads, 1):
        total += metric.value
        yield _scalar("uploaded_bytes", total), (number, metric.at_s or 0.0)


def _images(exported: ExportedRun, method: str) -> Iterator[tuple[Summary, Moment]]:
    arrays, title = exported.frames.images[method], _title(exported)
    classes = len(exported.frames.partition.columns)
    for tag, name, labels in (("synthetic/refined", "images", "labels"), ("synthetic/initial", "initial", "labels")):
        if name in arrays:
            yield _image(tag, arrays[name], arrays[labels], classes, title), (0, 0.0)
    for name in sorted(arrays):
        if name.startswith("site:"):
            site = name.removeprefix("site:")
            yield _image(f"sites/{site}", arrays[name], arrays[f"site-labels:{site}"], classes, title), (0, 0.0)


def _scalar(tag: str, value: float) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=float(value))])


def _text(tag: str, text: str) -> Summary:
    from tensorboard.compat.proto import types_pb2
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.text import metadata

    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME)
    described = SummaryMetadata(plugin_data=plugin, data_class=DATA_CLASS_TENSOR)
    tensor = TensorProto(dtype=types_pb2.DT_STRING, string_val=[text.encode()])
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=tensor)])


def _title(exported: ExportedRun) -> str:
    return str(exported.frames.run.summary.get("dataset", ""))  # runs of early versions lack it


def _image(tag: str, images: NDArray[Any], labels: NDArray[Any], classes: int, title: str) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    png = picture_strip(images, labels, classes, enlarged=True, white=True, title=title)
    with Image.open(io.BytesIO(png)) as picture:
        width, height = picture.size
    shown = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=shown)])


def _hyperparameters(exported: ExportedRun, method: str) -> Iterator[Summary]:
    """What TensorBoard's table of hyperparameters is made of: which there are, their values, that the run is over."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    fields = {"method.name": method, **(exported.point or exported.settings_of(method))}
    chosen = {name: _simple(value) for name, value in list(fields.items())[:_MOST_SETTINGS]}
    experiment = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=name, type=_type_of(value)) for name, value in chosen.items()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in _COMPARED],
    )
    version = metadata.PLUGIN_DATA_VERSION
    yield _plugin_summary(
        metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment, version=version)
    )
    start = plugin_data_pb2.SessionStartInfo()
    for name, value in chosen.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = value
    yield _plugin_summary(
        metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start, version=version)
    )
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
    yield _plugin_summary(
        metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end, version=version)
    )


def _plugin_summary(tag: str, data: Any) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata

    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    described = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])


def _simple(value: Any) -> bool | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _type_of(value: bool | float | str) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    types: Mapping[type, Any] = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    return types.get(type(value), api_pb2.DATA_TYPE_FLOAT64)
