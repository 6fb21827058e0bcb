"""A file of any size can be read: the memory does not grow with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
COPIES = (40, 80)  # below some 150 MB the allocators' own pools still fill
MEASURED = """
import json, sys
from pathlib import Path
from collab.data.flows.flow_format import Station, published_format
from collab.data.flows.loading import load_flows
from collab.data.flows.settings import NiddSettings
settings = NiddSettings(name="5g-nidd", side=64, **json.loads(sys.argv[2]))
form = published_format("nidd").model_copy(update={"station": Station(file=True)})  # copies are no new stations
made = load_flows([Path(sys.argv[1])], form, settings)
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"images": len(made.train) + len(made.test), "peak_mb": peak}))
"""


def copied(source, path, copies):
    """The rows of a file so often after each other."""
    header, rows = source.read_bytes().split(b"\n", 1)
    with path.open("wb") as file:
        file.write(header + b"\n")
        for _ in range(copies):
            file.write(rows)
    return path


def peaks(files, **settings):
    found = []
    for path in files:
        command = [sys.executable, "-c", MEASURED, str(path), json.dumps(settings)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return found


@pytest.mark.slow
def test_a_file_twice_as_large_takes_no_more_memory(traffic, tmp_path):
    """Some 200 and 400 MB: read with as many images at most, by ranges and by the scale of the training flows."""
    files = [copied(traffic, tmp_path / f"{copies}.csv", copies) for copies in COPIES]
    assert files[1].stat().st_size > 400e6
    for settings in ({}, {"scaling": "training", "windows": "time"}):
        small, large = peaks(files, most_images=1000, **settings)
        assert 500 < small["images"] <= 1000
        assert 500 < large["images"] <= 1000
        assert large["peak_mb"] < small["peak_mb"] + 40, (small, large)
