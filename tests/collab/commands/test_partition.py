from __future__ import annotations

import json
import re

import numpy as np
import pytest
import typer

from collab import run
from collab.commands.partition import command
from collab.data import Dataset, ImageSpec, Samples
from collab.errors import PartitionError, ScenarioError
from tests.collab.traffic import CLASS_NAMES, traffic

TEXT = """\
seed: 3
dataset: {name: gaussians, samples_per_class: 40}
partition: {clients: 3, scheme: pathological, classes_per_client: 2}
method: {name: localdm, images_per_class: 1}
network:
  topology: star
  access: {bandwidth: 5 Mbit/s, latency: 10 ms}
  server: {bandwidth: 1 Gbit/s, latency: 5 ms}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "town.yaml").write_text(TEXT)
    return tmp_path


def rows(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def asked(capsys, here, *overrides):
    command(here / "town.yaml", list(overrides), as_json=True)
    return json.loads(capsys.readouterr().out)


def test_it_lists_who_holds_what(here, capsys):
    found = asked(capsys, here)
    command(here / "town.yaml")
    listed = rows(capsys)
    assert listed[0] == ["town,", "seed", "3:", "gaussians,", "pathological,", "classes_per_client", "2"]
    counts = [row for row in listed if row[:1] == ["client-1"]]
    cells = [str(count or ".") for count in found["clients"][1]["counts"]]
    assert counts[0] == ["client-1", *cells, str(found["clients"][1]["samples"])]
    assert counts[1][-2:] == ["2", f"{found['clients'][1]['effective_classes']:.1f}"]
    assert ["all", "40", "40", "40", "40", "160"] in listed
    assert ["all", "25", "25", "25", "25", "4", "4.0"] in listed


def test_as_json_it_is_what_a_run_divides(here, capsys):
    found = asked(capsys, here)
    assert found["partition"] == {"clients": 3, "scheme": "pathological", "classes_per_client": 2}
    assert (found["scenario"], found["seed"], found["dataset"], found["samples"]) == ("town", 3, "gaussians", 160)
    assert all(client["classes_held"] <= 2 for client in found["clients"])
    material = run.prepare(run_scenario(here))
    for client in found["clients"]:
        labels = material.dataset.train.labels[material.holdings[client["client"]]]
        assert client["counts"] == np.bincount(labels, minlength=4).tolist()


def run_scenario(here):
    from collab import scenario

    return scenario.load(here / "town.yaml")


def test_the_same_seed_shows_the_same_and_another_another(here, capsys):
    assert asked(capsys, here) == asked(capsys, here)
    assert asked(capsys, here)["clients"] != asked(capsys, here, "seed=4")["clients"]


def test_many_clients_are_summed_up(here, capsys):
    command(here / "town.yaml", ["partition={clients: 100, scheme: dirichlet, beta: 0.1}"])
    out = capsys.readouterr().out
    assert "client-9 " in out
    assert "client-10 " not in out
    assert "all 100 clients; above, the first 10" in out
    assert "minimum 5 % 25 % median 75 % 95 % maximum" in " ".join(out.split())
    assert re.search(r"clients that hold nothing: \d+ of 100", out)


def test_many_classes_are_named_by_size(here, capsys):
    command(here / "town.yaml", ["dataset.classes=30", "dataset.samples_per_class=9", "partition.clients=15"])
    listed = rows(capsys)
    assert "the 4 largest classes of each client" in [" ".join(row) for row in listed]
    (first,) = [row for row in listed if row[:1] == ["client-0"]]
    assert first[2:4] == ["2", "2.0"]
    assert first.count("%)") + first.count("%),") == 2


def test_wide_tables_are_printed_in_full(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    command(here / "town.yaml", ["dataset.classes=20", "partition.clients=10"])
    out = capsys.readouterr().out
    assert "…" not in out
    assert max(map(len, out.splitlines())) > 60


def test_it_draws(here, capsys):
    command(here / "town.yaml", figure=here / "who.svg")
    assert "town: gaussians, pathological, classes_per_client 2" in (here / "who.svg").read_text()
    assert f"picture: {here / 'who.svg'}" in capsys.readouterr().out
    command(here / "town.yaml", figure=here / "who.png", as_json=True)
    assert (here / "who.png").read_bytes().startswith(b"\x89PNG")
    json.loads(capsys.readouterr().out)


def test_sites_are_named(here, capsys, monkeypatch):
    def load(*_, **__):
        samples = Samples(
            np.zeros((4, 1, 16, 16), np.uint8), np.array([0, 1, 0, 0]), np.array(["ward 2", "ward 10", "ward 2", "lab"])
        )
        spec = ImageSpec(2, 1, 16, (0.5,), (0.25,), ())
        return Dataset("wards", spec, samples, samples)

    monkeypatch.setattr(run, "load_dataset", load)
    found = asked(capsys, here, "partition={scheme: by_column, clients: 3}")
    assert [(client["site"], client["counts"]) for client in found["clients"]] == [
        ("lab", [1, 0]), ("ward 2", [2, 0]), ("ward 10", [0, 1]),
    ]  # fmt: skip
    command(here / "town.yaml", ["partition={scheme: by_column, clients: 3}"])
    assert ["client-2", "ward", "10", ".", "1", "1"] in rows(capsys)


def test_classes_are_named(here, capsys, monkeypatch):
    monkeypatch.setattr(run, "load_dataset", lambda *_, **__: traffic())
    overrides = ["partition={scheme: by_column, clients: 2}"]
    assert asked(capsys, here, *overrides)["class_names"] == list(CLASS_NAMES)
    command(here / "town.yaml", overrides, figure=here / "who.svg")
    heads = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("client ")]
    assert heads == [["client", *CLASS_NAMES, "samples"], ["client", *CLASS_NAMES, "classes", "effective"]]
    assert all(name in (here / "who.svg").read_text() for name in CLASS_NAMES)


def test_mistakes(here):
    with pytest.raises(typer.BadParameter, match=r"x\.pdf is no picture; expected a name that ends in \.svg or \.png"):
        command(here / "missing.yaml", figure=here / "x.pdf")
    with pytest.raises(ScenarioError, match="cannot be read"):
        command(here / "missing.yaml")
    with pytest.raises(PartitionError, match="by_column needs samples that name their site"):
        command(here / "town.yaml", ["partition={scheme: by_column, clients: 3}"])
    with pytest.raises(ScenarioError, match=r"partition\.classes_per_client=0: found 0, expected at least 1"):
        command(here / "town.yaml", ["partition.classes_per_client=0"])
