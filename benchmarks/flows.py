"""Seconds and memory for a file of flow records as large as 5G-NIDD's, and how many images it gives beside the paper's.

    python benchmarks/flows.py [--share 1] [--copies 1] [--set most_images=50000 ...] [--json]

Synthetic traffic in the form and size of `Combined.csv` (1,215,890 flows, 272 MB) is written to a temporary folder and
loaded by a process of its own, once with the default settings and once with `scaling: training`, which reads the file
twice. `--copies 38` writes the rows so often after each other: 10 GB, whose stations are as many times two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from collab.data.flows.flow_format import published_format
from collab.data.flows.loading import load_flows
from collab.data.flows.settings import NiddSettings
from collab.data.flows.synthetic import write_traffic

PAPER = (5081, 1497, 777, 4865, 706)
"""Images of each class in the paper's Table 1: Benign, HTTPFlood, SlowrateDoS, UDPFlood, the other attacks."""
VARIANTS = {"default": {}, "scaling: training": {"scaling": "training"}}
_PORTION = 16 * 1024 * 1024


def load(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Load a file in this process: wall time, the most memory that it occupied, images of each class."""
    chosen = NiddSettings.model_validate({"name": "5g-nidd", **settings})
    began = time.perf_counter()
    made = load_flows([path], published_format("nidd"), chosen)
    seconds = time.perf_counter() - began
    counts = np.bincount(made.train.labels, minlength=5) + np.bincount(made.test.labels, minlength=5)
    return {"seconds": seconds, "peak_mb": _peak_mb(), "images": counts.tolist(), "left_out": made.left_out}


def _peak_mb() -> float:
    """Of this process; not ru_maxrss, which begins with what the process occupied that started this one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def written(folder: Path, share: float, copies: int) -> Path:
    """The file, and beside it one of so many copies of its rows, if more than one."""
    path = write_traffic(folder, share=share)
    if copies == 1:
        return path
    many = folder / "Copies.csv"
    with many.open("wb") as file, path.open("rb") as source:
        file.write(source.readline())
        begin = source.tell()
        for _ in range(copies):
            source.seek(begin)
            while portion := source.read(_PORTION):
                file.write(portion)
    return many


def measured(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What `load` finds in a process of its own. Raises `subprocess.CalledProcessError` if it fails."""
    command = [sys.executable, __file__, "--load", str(path), json.dumps(settings)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The measurements as a table in Markdown, the paper's numbers below."""
    names = published_format("nidd").class_names
    lines = [f"| settings | s | peak MB | {' | '.join(names)} |", f"|---|{'---:|' * (len(names) + 2)}"]
    for name, row in rows.items():
        images = " | ".join(map(str, row["images"]))
        lines.append(f"| {name} | {row['seconds']:.1f} | {row['peak_mb']:.0f} | {images} |")
    return "\n".join([*lines, f"| the paper | | | {' | '.join(map(str, PAPER))} |"])


def main(given: Sequence[str]) -> None:
    """Write, load, print."""
    if given[:1] == ["--load"]:
        print(json.dumps(load(Path(given[1]), json.loads(given[2]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the published numbers of flows")
    parser.add_argument("--copies", type=int, default=1, help="how often the rows are written after each other")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of dataset")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args(given)
    settings = {key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in options.set)}
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), options.share, options.copies)
        size = path.stat().st_size
        rows = {name: measured(path, {**changes, **settings}) for name, changes in VARIANTS.items()}
    if options.json:
        print(json.dumps({"bytes": size, "paper": PAPER, "settings": rows}))
        return
    print(f"{size / 1e6:,.0f} MB of synthetic traffic, not 5G-NIDD's\n\n{table(rows)}")
    for sentence in rows["default"]["left_out"]:
        print(f"\n{sentence}")


if __name__ == "__main__":
    main(sys.argv[1:])
