"""Accuracy against bytes: CollabDM as in the paper (float16 means, every network used once) and its preset lean.

    python benchmarks/bytes_curve.py [--datasets mnist,cifar10-jpeg] [--seeds 1,2,3] [--networks 25,50,100,200]
                                     [--lean 5,10,20] [--set KEY=VALUE ...] [--minutes M] [--results DIR]
                                     [--markdown FILE] [--figure FILE]

Every point is a run through the emulated network (K = 5, beta 0.1, 10 images per class), whose uploads are counted as
they come over the wire. A point with T networks sends the first T of the means that one with more sends, so they are
computed once. Points that have a file in the results directory are not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from collab.data.catalogue import title_of
from collab.methods import Site, collabdm
from collab.methods.collabdm import Settings
from collab.quantisation import as_section
from collab.results import Material
from collab.run import Silence, prepare, run_method
from collab.scenario import Scenario, parse
from collab.wire import Section, encode

WIDTH = 32
SHARED = {"images_per_class": 10, "width": WIDTH, "local_steps": 20, "local_batch_size": 64}

BATCH = {"collabdm": {"batch_size": 64}}  # the paper's is 512; lean takes all images of a site


class Memory:
    """Stands in for `collabdm.class_means`, and computes no row of means twice."""

    def __init__(self) -> None:
        self._compute = collabdm.class_means
        self._rows: dict[tuple[Any, ...], NDArray[np.float32]] = {}

    def class_means(
        self, settings: Settings, site: Site, iterations: Iterable[int], seeds: Iterable[int], seed: int
    ) -> Section:
        """What `collabdm.class_means` gives, row by row from here where it is known."""
        exact = settings.model_copy(update={"embedding_dtype": "float32"})
        known = (site.name, settings.batch_size, settings.width, seed)
        rows = []
        for iteration, network_seed in zip(iterations, seeds, strict=True):
            place = (*known, int(iteration), int(network_seed))
            if place not in self._rows:
                section = self._compute(exact, site, [int(iteration)], [int(network_seed)], seed)
                self._rows[place] = section["means"].values()[0]
            rows.append(self._rows[place])
        classes = site.data.classes_present
        return {
            "classes": encode(np.asarray(classes), "uint8"),
            "counts": encode(site.data.counts[classes], "int64"),
            **as_section("means", np.stack(rows), settings.embedding_dtype),
        }


def point_scenario(options: argparse.Namespace, dataset: str, seed: int, method: str, networks: int) -> Scenario:
    """What one point runs."""
    document = {
        "name": "bytes-curve",
        "seed": seed,
        "dataset": {"name": dataset},
        "partition": {"clients": 5, "scheme": "dirichlet", "beta": 0.1},
        "method": {
            "name": method,
            **SHARED,
            "iterations": networks,
            **({} if "lean" in method else {"batch_size": 64}),
        },
        "network": {
            "topology": "star",
            "access": {"bandwidth": "20 Mbit/s", "latency": "10 ms"},
            "server": {"bandwidth": "100 Mbit/s", "latency": "5 ms"},
        },
        "evaluation": {"epochs": 80, "batch_size": 64, "learning_rate": 0.03, "repeats": 1},
    }
    return parse(yaml.safe_dump(document, sort_keys=False), "bytes_curve.yaml", options.set)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All points that there are, or that there is time for."""
    began_s = time.monotonic()
    points = [("collabdm", networks) for networks in sorted(options.networks, reverse=True)]
    points += [("collabdm-lean", networks) for networks in sorted(options.lean, reverse=True)]
    found = []
    for seed in options.seeds:
        for dataset in options.datasets:
            memory, material = Memory(), None
            collabdm.class_means = memory.class_means
            for method, networks in points:
                scenario = point_scenario(options, dataset, seed, method, networks)
                digest = hashlib.sha256(scenario.dump().encode()).hexdigest()[:10]
                path = Path(options.results) / f"{dataset}_{seed}_{method}_{networks}_{digest}.json"
                if not path.exists():
                    if time.monotonic() - began_s > 60 * options.minutes:
                        continue
                    material = material or prepare(scenario)
                    write(path, run_point(scenario, material, dataset, seed, method, networks))
                found.append(json.loads(path.read_text()))
            collabdm.class_means = memory._compute
    return found


def run_point(
    scenario: Scenario, material: Material, dataset: str, seed: int, method: str, networks: int
) -> dict[str, Any]:
    """Run one point; returns what its file will hold."""
    result = run_method(scenario, scenario.method, material, real=False, listener=Silence())
    row = result.summary
    return {
        "dataset": dataset, "seed": seed, "method": method, "networks": networks, "accuracy": 100 * row["accuracy"],
        "upload_bytes": row["bytes_up_per_client"], "embedding_bytes": embedding_bytes(scenario, material, networks),
        "scenario": scenario.dump(),
    }  # fmt: skip


def embedding_bytes(scenario: Scenario, material: Material, networks: int) -> int:
    """Bytes of the means of a client that holds every class, by the closed formula, which the counted bytes obey."""
    images = material.dataset.spec
    with_means, without = (
        collabdm.upload_bytes(scenario.method, images, iterations=iterations, classes=images.classes, share=2)
        for iterations in (networks, 0)
    )
    return with_means - without


def write(path: Path, row: dict[str, Any]) -> None:
    """Write a point's file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(row, indent=1))
    os.replace(partial, path)
    print(f"{path.stem}: {row['accuracy']:.2f} % with {row['upload_bytes'] / 1e6:.3f} MB", flush=True)


def lines(found: Sequence[dict[str, Any]]) -> list[tuple[str, str, int, int, float, float, float, int]]:
    """Data set, method, networks, embedding bytes, mean upload bytes, accuracy and its deviation over seeds, seeds."""
    places = dict.fromkeys((row["dataset"], row["method"], row["networks"]) for row in found)
    table = []
    for place in places:
        rows = [row for row in found if (row["dataset"], row["method"], row["networks"]) == place]
        accuracies = [row["accuracy"] for row in rows]
        upload = float(np.mean([row["upload_bytes"] for row in rows]))
        spread = (float(np.mean(accuracies)), float(np.std(accuracies)), len(rows))
        table.append((*place, rows[0]["embedding_bytes"], upload, *spread))
    return table


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The points as a table."""
    head = "| data set | method | networks | means of ten classes, MB | upload per client, MB | accuracy, % | seeds |"
    body = [
        f"| {title_of(dataset)} | {method} | {networks} | {means / 1e6:.3f} | {upload / 1e6:.3f} "
        f"| {mean:.2f} ± {spread:.2f} | {seeds} |"
        for dataset, method, networks, means, upload, mean, spread, seeds in lines(found)
    ]
    return "\n".join([head, "|---|---|--:|--:|--:|--:|--:|", *body]) + "\n"


def figure(found: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel a data set: accuracy over bytes, mean and deviation over the seeds."""
    from matplotlib.figure import Figure

    table = lines(found)
    datasets = list(dict.fromkeys(row[0] for row in table))
    picture = Figure(figsize=(4.2 * len(datasets), 3.4), layout="constrained")
    for number, dataset in enumerate(datasets):
        axes = picture.add_subplot(1, len(datasets), number + 1)
        for method, colour in (("collabdm", "#6b7280"), ("collabdm-lean", "#c2410c")):
            rows = sorted((row for row in table if row[:2] == (dataset, method)), key=lambda row: row[4])
            x = [row[4] / 1e6 for row in rows]
            axes.errorbar(
                x, [row[5] for row in rows], [row[6] for row in rows], marker="o", capsize=3, color=colour, label=method
            )
            for row in rows:
                axes.annotate(
                    str(row[2]), (row[4] / 1e6, row[5]), xytext=(4, -11), textcoords="offset points", fontsize=7
                )
        axes.set_xscale("log")
        axes.set_xlabel("upload per client, MB (numbers: networks)")
        axes.set_title(title_of(dataset), fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    picture.axes[0].set_ylabel("accuracy on test data, %")
    handles, labels = picture.axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    picture.savefig(path, dpi=150)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The command line."""

    def integers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--datasets", type=lambda text: text.split(","), default=["mnist", "cifar10-jpeg"])
    parser.add_argument("--seeds", type=integers, default=[1, 2, 3])
    parser.add_argument("--networks", type=integers, default=[25, 50, 100, 200])
    parser.add_argument("--lean", type=integers, default=[5, 10, 20])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the scenario")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no point after so many")
    parser.add_argument("--results", default="runs/bytes-curve")
    parser.add_argument("--markdown", default=None)
    parser.add_argument("--figure", default=None)
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    """Run, print and draw."""
    options = arguments(given)
    found = run(options)
    print(markdown(found))
    if options.markdown:
        Path(options.markdown).write_text(markdown(found), encoding="utf-8")
    if options.figure:
        figure(found, Path(options.figure))


if __name__ == "__main__":
    main(sys.argv[1:])
