"""Whatever is made of a run names the data that it is of: nobody shall take synthetic traffic for captured traffic."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest
from PIL import Image

from collab import load
from collab.commands.list import command as list_runs
from collab.commands.replay import command as replay
from collab.exports import csv_files, tensorboard_events
from collab.labelling import label_flows
from collab.store import find_sweep
from collab.store.runs import SUMMARY
from collab.sweep_display import print_sweep
from tests.collab.detectors import detector, recipe, write_flows
from tests.collab.recordings import record, record_sweep
from tests.collab.test_run import TEXT

TITLE = "synthetic traffic (5G-NIDD's form)"
SMALL = ("baselines=[]", "method.iterations=2", "evaluation.epochs=1")
TRAFFIC = (
    "dataset={name: 5g-nidd-synthetic, side: 16, share: 0.002}", "partition={clients: 2, scheme: by_column}",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on synthetic traffic, and a sweep whose runs say so."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLLAB_DATA_DIR", str(folder))
        record(folder / "runs", *SMALL, *TRAFFIC, text=TEXT, name="traffic")
    sweep = record_sweep(folder / "runs")
    for path in (sweep / "cells").glob(f"*/{SUMMARY}"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "dataset": TITLE}))
    return folder / "runs"


@pytest.fixture
def shown(runs, tmp_path, capsys, monkeypatch):
    """What is printed, or in a file, of each kind."""
    monkeypatch.setenv("COLLAB_DATA_DIR", str(runs.parent))

    def printed(call, *arguments, width=140, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        call(*arguments, **options)
        return " ".join(capsys.readouterr().out.split())

    def exported(name, file):
        csv_files.export(load(name, runs), tmp_path / "csv")
        return set(pd.read_csv(tmp_path / "csv" / file).dataset)

    def events():
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        tensorboard_events.export(load("traffic", runs), tmp_path / "events")
        found = accumulator.EventAccumulator(str(tmp_path / "events" / "collabdm")).Reload()
        assert "dataset" in found.summary_metadata
        (event,) = found.Tensors("dataset")
        return event.tensor_proto.string_val[0].decode()

    def labels():
        output = io.StringIO()
        label_flows(detector(recipe(), title=TITLE), write_flows(tmp_path / "flows.csv", 100), output)
        return {row["trained_on"] for row in csv.DictReader(io.StringIO(output.getvalue()))}

    return {
        "labels.csv": labels,
        "summary.csv": lambda: exported("traffic", "summary.csv"),
        "summary.csv of a sweep": lambda: exported("k-by-seed", "summary.csv"),
        "confusion.csv": lambda: exported("traffic", "confusion.csv"),
        "list": lambda: printed(list_runs, runs_dir=runs),
        "list, narrow": lambda: printed(list_runs, runs_dir=runs, width=80),
        "list, lines": lambda: printed(list_runs, runs_dir=runs, width=60),
        "cells": lambda: printed(list_runs, runs_dir=runs, cells="k-by-seed"),
        "cells, lines": lambda: printed(list_runs, runs_dir=runs, cells="k-by-seed", width=60),
        "cells as data": lambda: printed(list_runs, runs_dir=runs, cells="k-by-seed", as_json=True),
        "replay": lambda: printed(replay, "traffic", runs_dir=runs),
        "sweep": lambda: printed(print_sweep, find_sweep("k-by-seed", runs)),
        "TensorBoard": events,
        "synthetic.png": lambda: Image.open(runs / "traffic" / "collabdm" / "synthetic.png").text["Title"],
    }


KINDS = (
    "labels.csv", "summary.csv", "summary.csv of a sweep", "confusion.csv", "list", "list, narrow", "list, lines",
    "cells", "cells, lines", "cells as data", "replay", "sweep", "TensorBoard", "synthetic.png",
)  # fmt: skip


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_made_of_synthetic_traffic_says_so(shown, kind):
    assert TITLE in shown[kind]()
