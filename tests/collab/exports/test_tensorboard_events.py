"""Event files, read back by TensorBoard itself."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from collab import load
from collab.errors import MissingExtraError
from collab.exports import tensorboard_events
from tests.collab.recordings import record, record_sweep
from tests.collab.test_run import TEXT


@pytest.fixture(scope="module")
def accumulated(tmp_path_factory):
    """What TensorBoard reads in a folder that holds an event file."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()

    return read


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(record(tmp_path_factory.mktemp("runs"), "baselines=[localdm]", text=TEXT))


@pytest.mark.filterwarnings("default")
def test_a_run_can_be_read_back(tiny, accumulated, tmp_path):
    tensorboard_events.export(tiny, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["collabdm", "localdm"]
    found = accumulated(tmp_path / "out" / "collabdm")
    row = tiny.run.summary["methods"]["collabdm"]
    for tag in ("accuracy", "bytes_up_per_client", "energy_j_per_client", "result_s"):
        (scalar,) = found.Scalars(tag)
        assert scalar.value == pytest.approx(row[tag])
    assert found.Scalars("accuracies/convnet")[0].value == pytest.approx(row["accuracies"]["convnet"]["mean"])
    losses = [metric.value for metric in tiny.run.metrics if metric.metric == "matching_loss"]
    assert [(each.step, each.value) for each in found.Scalars("matching_loss")] == [
        (step, pytest.approx(loss)) for step, loss in enumerate(losses, 1)
    ]
    uploads = found.Scalars("uploaded_bytes")
    assert [each.step for each in uploads] == [1, 2, 3, 4]
    assert uploads[-1].value == sum(tiny.run.methods[0].outcome["bytes_up"].values())
    assert uploads[-1].wall_time - found.Scalars("accuracy")[0].wall_time == pytest.approx(
        row["last_upload_s"], abs=1e-5
    )
    assert set(found.Tags()["images"]) == {"synthetic/refined", "synthetic/initial"} | {
        f"sites/client-{number}" for number in range(4)
    }
    (shown,) = found.Images("synthetic/refined")
    with Image.open(io.BytesIO(shown.encoded_image_string)) as picture:
        assert picture.size == (shown.width, shown.height)
        assert picture.tobytes() == Image.open(tiny.path / "collabdm" / "synthetic.png").tobytes()


def hyperparameters(found):
    from tensorboard.plugins.hparams import metadata

    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    read = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in read.items()}


@pytest.mark.filterwarnings("default")
def test_settings_are_those_of_the_method(tiny, accumulated, tmp_path):
    tensorboard_events.export(tiny, tmp_path / "out")
    for method in ("collabdm", "localdm"):
        settings = hyperparameters(accumulated(tmp_path / "out" / method))
        assert settings["method.name"] == method
        assert settings["partition.beta"] == 0.5
        assert settings["network.access.bandwidth"] == "2 Mbit/s"
        assert settings["method.augment"] is True
        assert ("method.iterations" in settings) == (method == "collabdm")


@pytest.mark.filterwarnings("default")
def test_of_a_sweep_the_swept_fields_are_compared(accumulated, tmp_path):
    tensorboard_events.export(load(record_sweep(tmp_path)), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0a1aaaaaaaaa", "0a2bbbbbbbbb"]
    found = accumulated(tmp_path / "out" / "0a2bbbbbbbbb" / "localdm")
    assert hyperparameters(found) == {"method.name": "localdm", "partition.clients": 3, "seed": 2}


def test_without_the_extra_it_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'collab-edge\[tensorboard\]'"):
        tensorboard_events.export(tiny, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
