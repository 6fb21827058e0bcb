"""The tables of results, as they are printed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from collab import console


def accuracy(mean, deviation=0.0, networks=1, sets=1, set_deviation=None):
    return {
        "mean": mean,
        "deviation": deviation,
        "networks": networks,
        "sets": sets,
        "set_deviation": set_deviation,
    }


def row(accuracies, yields="synthetic set", energy=None):
    return {
        "accuracy": next(iter(accuracies.values()))["mean"],
        "accuracies": accuracies,
        "yields": yields,
        "bytes_up_per_client": 9_421_000,
        "bytes_down_per_client": 1131,
        "energy_j_per_client": energy,
        "last_upload_s": 12.871,
        "result_s": 99.5,
        "result_digest": "49d24401" + 56 * "0",
    }


@pytest.fixture
def printed(monkeypatch):
    def print_methods(methods):
        page = io.StringIO()
        monkeypatch.setattr(console, "output", Console(file=page, width=80, highlight=False))
        summary = {
            "scenario": "star", "seed": 3, "world": "simulated", "run_dir": "runs/star-1", "trace_digest": "ab" * 32,
            "dataset": "gaussians", "wall_s": 1.0, "methods": methods,
        }  # fmt: skip
        console.print_summary(summary)
        return page.getvalue()

    return print_methods


def cells(page, name):
    """What stands in each line of the page that begins with `name`."""
    return [line.split() for line in page.splitlines() if line.strip().startswith(name)]


class StoppedClock:
    """All of a network that the live table asks for."""

    def now(self):
        return 1.5


@pytest.fixture
def drawn():
    """A live table of two methods, the first of which has begun; and what it shows now."""
    progress = console.LiveProgress("star, seed 3", ["strawman", "localdm"], virtual=True)
    progress.method_began("strawman", 5, StoppedClock())

    def lines():
        page = io.StringIO()
        Console(file=page, width=80).print(progress._draw())
        return [line.rstrip() for line in page.getvalue().splitlines()[1:]]

    return progress, lines


def test_the_live_table_counts_the_uploads_of_the_round(drawn):
    progress, lines = drawn
    assert lines() == ["strawman  runs   0/5 uploads  1.50 s virtual", "localdm   waits"]
    progress.uploaded("client-2", 1, 1, 5)
    assert lines()[0] == "strawman  runs   1/5 uploads  1.50 s virtual"
    for round_number in range(2, 41):
        for number in range(1, 4):
            progress.uploaded(f"client-{number}", round_number, number, 3)
    assert lines()[0] == "strawman  runs   round 40, 3/3 uploads  1.50 s virtual"


def test_one_network_has_no_deviation_and_needs_no_second_table(printed):
    page = printed({"collabdm": row({"convnet": accuracy(0.9012)})})
    assert cells(page, "collabdm") == [
        ["collabdm", "90.1", "9.421", "MB", "1.131", "kB", "12.871", "s", "99.500", "s", "49d24401"]
    ]
    assert "±" not in page
    assert "by network" not in page


def test_methods_against_networks(printed):
    full = {name: accuracy(0.9, 0.0123, 100, 5, 0.0031) for name in ("convnet", "alexnet", "vgg11", "resnet18")}
    page = printed(
        {
            "collabdm": row(full, energy=12.3),
            "fedavg": row({"global network": accuracy(0.7, 0.02, 5, 5, 0.02)}, "network", energy=1.0),
        }
    )
    above, below = page.split("accuracy by network, %")
    assert cells(above, "collabdm")[0][:2] == ["collabdm", "90.0±1.2"]
    assert cells(below, "method") == [["method", "convnet", "alexnet", "vgg11", "resnet18", "global", "network"]]
    assert cells(below, "collabdm") == [["collabdm", *4 * ["90.0±1.2"], "-"]]
    assert cells(below, "sets") == [4 * ["sets", "±0.3"]]
    assert cells(below, "fedavg") == [["fedavg", *4 * ["-"], "70.0±2.0"]]
    assert "mean and standard deviation of 20 networks on each of 5 sets" in page
    for table in (above, below):  # it is said in both that the result is no synthetic set
        assert len(cells(table, "a network")) >= 1
    assert "what the method yields is a trained network" in above
    assert all(len(line) <= 80 for line in below.splitlines() if line.startswith(" "))


def test_no_method_is_said_to_yield_a_network_that_does_not(printed):
    assert "a network" not in printed({"collabdm": row({"convnet": accuracy(0.9, 0.01, 2)})})
