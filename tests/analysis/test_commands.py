"""The commands of the analysis, as somebody types them."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from analysis import commands
from tests.analysis.made import write_sweep

POINTS = [{"partition.clients": clients, "partition.beta": beta, "seed": seed}
          for clients in (5, 10) for beta in (0.1, 0.5) for seed in (1, 2)]  # fmt: skip
AXES = {"partition.clients": [5, 10], "partition.beta": [0.1, 0.5], "seed": [1, 2]}
ROWS = {"collabdm": (0.9, 4000, 2.0), "localdm": (0.8, 1000, 1.0)}


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "runs/k-by-beta", AXES, [(point, ROWS) for point in POINTS]).path


def invoke(name, *words):
    app = typer.Typer()
    app.command()(getattr(commands, name))
    return CliRunner().invoke(app, [str(word) for word in words])


def test_tables_prints_what_it_can_and_says_what_it_cannot(sweep):
    done = invoke("tables", sweep, "--to", "markdown")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("### ") == 3  # results, and Table 2 for each K
    assert "| collabdm | 90.00 ± 0.00 [97.72] | 90.00 ± 0.00 [97.83] |" in done.stdout
    assert done.stderr.startswith("no table3: Table 3 needs more than one network")


def test_a_sweep_is_found_by_name_and_a_table_written_to_a_file(sweep, tmp_path):
    target = tmp_path / "t.tex"
    done = invoke("tables", "k-by-beta", "--runs-dir", sweep.parent, "--only", "table2", "--to", "latex", "-o", target)
    assert done.exit_code == 0, done.output
    assert target.read_text().count(r"\begin{tabular}") == 2


def test_figures_come_with_captions_and_reasons(sweep, tmp_path):
    done = invoke("figures", sweep, "-o", tmp_path / "out", "--format", "svg")
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    stems = ["accuracy-bytes", "accuracy-seconds", "arrivals", "heat-map"]
    assert names == sorted(f"{stem}.{ending}" for stem in stems for ending in ("svg", "txt"))
    caption = (tmp_path / "out/heat-map.txt").read_text()
    assert "Scenario made; MNIST; seeds 1, 2, n = 2" in caption
    assert "no accuracy-energy: no energy was counted" in done.stderr


def test_unknown_names_are_answered_with_the_known_ones(sweep, tmp_path):
    for command, known in (("tables", "results, table2, table3"), ("figures", "accuracy-bytes")):
        done = invoke(command, sweep, "--only", "pie")
        assert done.exit_code == 2
        assert known in " ".join(re.sub("[^\\w, .-]", " ", done.output).split())
