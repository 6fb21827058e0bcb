"""Table 2 of the CollabDM paper, as much of it as there is time for: accuracy of every method, cell by cell.

    python benchmarks/table2.py [--scale paper|small] [--datasets mnist,...] [--betas 0.1,...] [--methods collabdm,...]
                                [--seeds 1,2,3] [--set KEY=VALUE ...] [--minutes M] [--results DIR] [--markdown FILE]

A cell is one method on one data set, one beta and one seed; its result is a file in the results directory, written as
soon as it is there, and a cell that has one is not run again: interrupt at will, and go on with the same command. A
cell's file carries a digest of everything that it is a function of, so that other settings are other cells. `--minutes`
starts no cell after so many. `--set` changes any setting of the scenario, as for `collab run`.

`paper` has the paper's settings (K = 5, 50 images per class, T = 200, B = 512, width 128, 1001 epochs; networks by
--networks); `small` is what two cores can do. LocalDM, as in the paper, is without partition-and-expand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from analysis.paper import table2
from collab.data.catalogue import title_of
from collab.results import Material
from collab.run import Silence, prepare, run_method
from collab.scenario import Scenario, parse

BETAS = (0.1, 0.3, 0.5)
SCALES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"method": {}, "evaluation": {"epochs": 1001}},
    "small": {
        "method": {"images_per_class": 10, "width": 32, "iterations": 50, "batch_size": 64, "local_steps": 20,
                   "local_batch_size": 64},
        "evaluation": {"epochs": 200},
    },
}  # fmt: skip


def cell_scenario(options: argparse.Namespace, dataset: str, beta: float, method: str, seed: int) -> Scenario:
    """What one cell runs."""
    scale = SCALES[options.scale]
    name = method.removesuffix("-pae")
    shared = scale["method"] if name in ("collabdm", "localdm") else {
        key: value for key, value in scale["method"].items() if key in ("images_per_class", "width")
    }  # fmt: skip
    if name == "localdm":
        shared = {key: value for key, value in shared.items() if key not in ("iterations", "batch_size")}
    document = {
        "name": "table2",
        "seed": seed,
        "dataset": {"name": dataset},
        "partition": {"clients": 5, "scheme": "dirichlet", "beta": beta},
        "method": {"name": name, **shared, **({"expand": 2} if method.endswith("-pae") else {})},
        "network": {
            "topology": "star",
            "access": {"bandwidth": "20 Mbit/s", "latency": "10 ms"},
            "server": {"bandwidth": "100 Mbit/s", "latency": "5 ms"},
        },
        "evaluation": {**scale["evaluation"], "repeats": options.networks},
        "compute": {"precision": options.precision} if options.precision else {},
    }
    return parse(yaml.safe_dump(document, sort_keys=False), "table2.yaml", options.set)


def cells(options: argparse.Namespace) -> Iterator[tuple[str, float, str, int]]:
    """Every cell, those of one seed together."""
    for seed in options.seeds:
        for dataset in options.datasets:
            for beta in options.betas:
                for method in options.methods:
                    yield dataset, beta, method, seed


def place(options: argparse.Namespace, cell: tuple[str, float, str, int], scenario: Scenario) -> Path:
    """The file of a cell's result."""
    dataset, beta, method, seed = cell
    digest = hashlib.sha256(scenario.dump().encode()).hexdigest()[:10]
    return Path(options.results) / f"{dataset}_{beta}_{method}_{seed}_{digest}.json"


def run_cell(cell: tuple[str, float, str, int], scenario: Scenario, material: Material) -> dict[str, Any]:
    """Run one cell; returns what its file will hold."""
    began_s = time.perf_counter()
    result = run_method(scenario, scenario.method, material, real=False, listener=Silence())
    dataset, beta, method, seed = cell
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        "dataset": dataset, "title": title_of(dataset), "beta": beta, "method": method, "seed": seed,
        "accuracies": list(result.accuracy.values), "summary": result.summary,
        "wall_s": round(time.perf_counter() - began_s, 1), "device": device, "scenario": scenario.dump(),
    }  # fmt: skip


def run(options: argparse.Namespace) -> dict[tuple[str, float, str, int], dict[str, Any]]:
    """Run all cells that have no result yet, while there is time; returns all results there are."""
    began_s = time.monotonic()
    found: dict[tuple[str, float, str, int], dict[str, Any]] = {}
    materials: dict[tuple[str, float, int], Material] = {}
    for cell in cells(options):
        scenario = cell_scenario(options, *cell)
        path = place(options, cell, scenario)
        if not path.exists():
            if time.monotonic() - began_s > 60 * options.minutes:
                continue
            dataset, beta, _, seed = cell
            if (dataset, beta, seed) not in materials:
                materials = {(dataset, beta, seed): prepare(scenario)}
            row = run_cell(cell, scenario, materials[dataset, beta, seed])
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(row, indent=1))
            os.replace(partial, path)
            print(f"{path.stem}: {100 * np.mean(row['accuracies']):.2f} % in {row['wall_s']:.0f} s", flush=True)
        found[cell] = json.loads(path.read_text())
    return found


def markdown(options: argparse.Namespace, found: Mapping[tuple[str, float, str, int], Mapping[str, Any]]) -> str:
    """The table: mean over seeds and networks, standard deviation over the seeds' means, and the paper's number."""
    columns = [(dataset, beta) for dataset in options.datasets for beta in options.betas]
    heads = " | ".join(f"{title_of(dataset)}, β = {beta}" for dataset, beta in columns)
    lines = [f"| method | MB up per client | {heads} |", "|---|--:|" + "--:|" * len(columns)]
    for method in options.methods:
        entries, megabytes = [], []
        for dataset, beta in columns:
            rows = [found[cell] for seed in options.seeds if (cell := (dataset, beta, method, seed)) in found]
            means = [100 * float(np.mean(row["accuracies"])) for row in rows]
            megabytes += [row["summary"]["bytes_up_per_client"] / 1e6 for row in rows]
            printed = table2().get((dataset.removesuffix("-jpeg"), beta, method))
            paper = f" ({printed.percent:.2f})" if printed and options.scale == "paper" else ""
            spread = f" ± {np.std(means):.2f}" if len(means) > 1 else ""
            entries.append((f"{np.mean(means):.2f}{spread}" if means else "-") + paper)
        size = f"{np.mean(megabytes):.3f}" if megabytes else "-"
        lines.append(f"| {method} | {size} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The command line."""

    def words(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", choices=sorted(SCALES), default="small")
    parser.add_argument("--datasets", type=words, default=["mnist", "fashion-mnist", "cifar10-jpeg"])
    parser.add_argument("--betas", type=lambda text: [float(word) for word in words(text)], default=list(BETAS))
    parser.add_argument("--methods", type=words, default=["localdm", "collabdm", "collabdm-pae"])
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in words(text)], default=[1])
    parser.add_argument("--networks", type=int, default=1, help="networks trained on each synthetic set")
    parser.add_argument("--precision", default=None, help="compute.precision")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the scenario")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so many")
    parser.add_argument("--results", default="runs/table2")
    parser.add_argument("--markdown", default=None, help="write the table to this file, too")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    """Run and print."""
    options = arguments(given)
    table = markdown(options, run(options))
    print(table)
    if options.markdown:
        Path(options.markdown).write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
