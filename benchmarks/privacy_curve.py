"""Accuracy against epsilon: the table and the figure of a finished sweep of `method.privacy.epsilon`.

    collab sweep scenarios/privacy-curve.yaml
    python benchmarks/privacy_curve.py privacy-curve [--plain RUN ...] [--figure curve.png] [--json]

`--plain` are runs of the same scenario without noise (`--set method.privacy=null`): the line that all approach. Means
and standard deviations (division by n) are over the seeds of the sweep.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmark runs from a clean clone, too

from collab.errors import CollabError  # noqa: E402
from collab.store import find_run, find_sweep  # noqa: E402

EPSILON = "method.privacy.epsilon"


def points(sweep: str) -> list[dict[str, Any]]:
    """Of each epsilon: the noise, accuracies in percent by seed, their mean and deviation. Raises `CollabError`."""
    accuracies: dict[float, list[float]] = {}
    privacy: dict[float, dict[str, Any]] = {}
    for cell in find_sweep(sweep).finished:
        row = cell.run.summary["methods"]["collabdm"]
        epsilon = float(cell.point[EPSILON])
        accuracies.setdefault(epsilon, []).append(100 * row["accuracy"])
        privacy[epsilon] = row["privacy"]
    return [
        {**privacy[epsilon], "accuracies": values, **_spread(values)} for epsilon, values in sorted(accuracies.items())
    ]


def plain(runs: Sequence[str]) -> dict[str, Any]:
    """The same of runs without noise; empty if there are none. Raises `CollabError`."""
    values = [100 * find_run(run).summary["methods"]["collabdm"]["accuracy"] for run in runs]
    return {"accuracies": values, **_spread(values)} if values else {}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values))}


def markdown(found: Sequence[dict[str, Any]], without: dict[str, Any]) -> str:
    """The points as a table, the least private last."""
    rows = [
        f"| {row['epsilon']:g} | {row['noise_multiplier']:.3g} | {row['sum_deviation']:.4g} "
        f"| {row['count_deviation']:.3g} | {_shown(row)} |"
        for row in found
    ]
    rows += [f"| no noise | - | - | - | {_shown(without)} |"] if without else []
    head = "| epsilon | noise multiplier | noise on a sum | noise on a count | accuracy, % | by seed |"
    return "\n".join([head, "|---|--:|--:|--:|--:|---|", *rows]) + "\n"


def _shown(row: dict[str, Any]) -> str:
    by_seed = ", ".join(f"{value:.1f}" for value in row["accuracies"])
    return f"{row['mean']:.1f} ± {row['deviation']:.1f} | {by_seed}"


def figure(found: Sequence[dict[str, Any]], without: dict[str, Any], path: Path) -> None:
    """Accuracy over epsilon, mean and deviation over the seeds, below the line without noise."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = picture.add_subplot()
    if without:
        axes.axhline(without["mean"], color="#5b6875", linestyle="--", linewidth=1)
        axes.annotate("no noise", (found[0]["epsilon"], without["mean"]), xytext=(0, 4),
                      textcoords="offset points", fontsize=8, color="#5b6875")  # fmt: skip
    epsilons = [row["epsilon"] for row in found]
    axes.errorbar(
        epsilons, [row["mean"] for row in found], [row["deviation"] for row in found], marker="o", capsize=3,
        color="#0072b2",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
    axes.minorticks_off()
    axes.set_xlabel(f"epsilon of each site (delta {found[0]['delta']:g}): less hides more")
    axes.set_ylabel("accuracy on test data, %")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, dpi=150)


def main(given: Sequence[str]) -> int:
    """Print the table; draw the figure where one is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", help="its name below runs, or its directory")
    parser.add_argument("--plain", action="append", default=[], metavar="RUN", help="a run without noise; repeatable")
    parser.add_argument("--figure", type=Path, help="where to draw the curve (.png, .svg, .pdf)")
    parser.add_argument("--json", action="store_true", help="the points as JSON")
    options = parser.parse_args(given)
    try:
        found, without = points(options.sweep), plain(options.plain)
    except CollabError as error:
        parser.error(str(error))
    if not found:
        parser.error(f"{options.sweep} has no finished cell; sweep first: collab sweep scenarios/privacy-curve.yaml")
    print(json.dumps({"points": found, "plain": without}) if options.json else markdown(found, without))
    if options.figure is not None:
        figure(found, without, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
