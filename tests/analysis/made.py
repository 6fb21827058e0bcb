"""Observations, run directories and sweeps made by hand, with numbers that a test can compute itself."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from analysis.observations import Observation
from collab.store.sweeps import FAILED, FAILURE, write_definition
from simnet import trace_file
from simnet.trace import Trace


def observed(method="collabdm", seed=1, accuracy=0.9, upload_bytes=1000.0, **more):
    """An observation; `settings` are given by their dotted names."""
    settings = {
        "dataset.name": "mnist",
        "partition.clients": 5,
        "partition.scheme": "dirichlet",
        "partition.beta": 0.1,
        "method.name": method,
        **more.pop("settings", {}),
    }
    accuracies = more.pop("accuracies", {"convnet": [accuracy]})
    seconds = more.pop("result_s", 2.0)
    return Observation(
        scenario="made",
        method=method,
        seed=seed,
        dataset=more.pop("dataset", "MNIST"),
        world="simulated",
        settings=nested(settings),
        accuracies=accuracies,
        upload_bytes=upload_bytes,
        last_upload_s=more.pop("last_upload_s", seconds),
        result_s=seconds,
        **more,
    )


def nested(settings):
    """Dotted names -> a map of maps."""
    found = {}
    for name, value in settings.items():
        *sections, key = name.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return found


def write_run(path: Path, settings, rows, seed=1, uploads=None):
    """A run directory of methods -> (accuracy, upload bytes, last upload); `uploads` are (site, seconds) of each."""
    scenario = nested({"dataset.name": "mnist", "partition.scheme": "dirichlet", **settings})
    first, *others = rows
    scenario["method"] = {"name": first, **scenario.get("method", {})}
    scenario["baselines"] = [{"name": name} for name in others]
    summary = {"scenario": "made", "seed": seed, "dataset": "MNIST", "world": "simulated", "run_dir": str(path),
               "trace_digest": "0", "wall_s": 1.0, "methods": {}}  # fmt: skip
    for name, (accuracy, upload_bytes, last_upload_s) in rows.items():
        folder = path / name
        folder.mkdir(parents=True)
        summary["methods"][name] = {
            "accuracy": accuracy, "yields": "synthetic set", "bytes_up_per_client": upload_bytes,
            "bytes_down_per_client": 10, "energy_j_per_client": None, "last_upload_s": last_upload_s,
            "result_s": last_upload_s + 1, "result_digest": "0",
        }  # fmt: skip
        trace = Trace()
        times = uploads or [("client-0", last_upload_s / 2), ("client-1", last_upload_s)]
        for site, at_s in times:
            trace.record(at_s, "server", "upload", site=site)
        trace_file.write(trace, folder / "trace.parquet")
        outcome = {"accuracies": {"convnet": [accuracy]}, "sets": 1, "capacity_bps": {},
                   "bytes_up": {site: upload_bytes for site, _ in times}}  # fmt: skip
        (folder / "outcome.json").write_text(json.dumps(outcome))
    (path / "scenario.yaml").write_text(yaml.safe_dump(scenario))
    (path / "environment.json").write_text(json.dumps({"python": "3.11", "torch": "2.6", "device": "cpu"}))
    (path / "summary.json").write_text(json.dumps(summary))
    return path


def write_sweep(path: Path, axes, cells, name="made", failed=()):
    """A sweep of `cells`: (point, rows); rows None for one still to come. Points in `failed` say that they failed."""
    identities = [(f"{number:012x}", point) for number, (point, _) in enumerate(cells)]
    sweep = write_definition(path, name, axes, identities, "name: made\n")
    for (identity, point), (_, rows) in zip(identities, cells, strict=True):
        if point in failed:
            folder = path / FAILED / identity
            folder.mkdir(parents=True)
            text = {
                "error": "the data cannot be divided <b>so</b>",
                "kind": "PartitionError",
                "attempts": 2,
                "wall_s": 0.5,
            }
            (folder / FAILURE).write_text(json.dumps(text))
        elif rows is not None:
            settings = {key: value for key, value in point.items() if key != "seed"}
            write_run(path / "cells" / identity, settings, rows, seed=point.get("seed", 1))
    return sweep
