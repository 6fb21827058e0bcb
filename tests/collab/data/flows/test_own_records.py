"""A user's own records: two sensors' logs of Zeek from the files to a result, and what is told of wrong files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collab import scenario
from collab.commands.explain import command as explain
from collab.data.flows.flow_format import published_format, read_format
from collab.data.flows.reading import read_flows
from collab.errors import DataError
from collab.run import prepare, run_scenario
from collab.store import open_run
from tests.collab.data.flows.records import write
from tests.collab.data.flows.zeek import write_logs

ROOT = Path(__file__).parents[4]
ZEEK = ROOT / "scenarios" / "zeek-two-sensors.yaml"
OWN = """\
name: own
dataset: {name: flow-csv, path: flows.csv, mapping: flows.yaml, side: 16}
partition: {clients: 2, scheme: by_column}
method: {name: localdm, images_per_class: 1, local_steps: 1, local_batch_size: 4, width: 4}
baselines: [{name: collabdm, iterations: 1, local_steps: 1, local_batch_size: 4, batch_size: 4, width: 4}]
network:
  topology: star
  access: {bandwidth: 20 Mbit/s, latency: 10 ms}
  server: {bandwidth: 100 Mbit/s, latency: 5 ms}
evaluation: {networks: [convnet], epochs: 1, repeats: 1}
"""
MAPPING = """\
name: own
features: [{column: bytes, range: [0, 1000]}, {column: proto, values: [tcp, udp]}]
label: {column: kind, classes: {benign: [web], attack: [flood]}}
benign: benign
station: {column: sensor}
"""
HEADER = "bytes,proto,kind,sensor"
GROUPS = [("web", "a", 1024), ("flood", "a", 1024), ("web", "b", 1024), ("flood", "b", 512)]


def rows(groups=tuple(GROUPS)):
    return [f"{index % 900},tcp,{kind},{sensor}" for kind, sensor, count in groups for index in range(count)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory with a scenario, a mapping and flows, which are right."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path / "data"))
    write(tmp_path / "own.yaml", OWN)
    write(tmp_path / "flows.yaml", MAPPING)
    write(tmp_path / "flows.csv", HEADER, *rows())
    return tmp_path


# -- Zeek ----------------------------------------------------------------------------------------


def test_two_sensors_logs_of_zeek_become_a_result(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path))
    write_logs(tmp_path / "zeek")
    quick = ["evaluation.epochs=5", "method.iterations=5", "method.local_steps=5", "baselines=[]"]
    chosen = scenario.load(ZEEK, quick)
    with open_run(tmp_path / "runs", chosen.name, None) as writer:
        summary = run_scenario(chosen, writer)
    assert summary["methods"]["collabdm"]["accuracy"] > 0.4
    about = json.loads((writer.final / "dataset.json").read_text())
    assert (about["title"], about["class_names"], about["side"]) == (
        "flow records (zeek-conn)", ["benign", "flood", "scan"], 16,
    )  # fmt: skip
    assert about["recipe"]["format"]["name"] == "zeek-conn"


def test_the_logs_are_read_as_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path))
    folder = write_logs(tmp_path / "zeek")
    material = prepare(scenario.load(ZEEK))
    assert {client: len(held) for client, held in material.holdings.items()} == {"client-0": 93, "client-1": 51}
    form = read_format(ROOT / "scenarios" / "mappings" / "zeek-conn.yaml")
    batches = list(read_flows(sorted(folder.iterdir()), form))
    attacks = np.concatenate([batch.attacks for batch in batches])
    stations = np.concatenate([batch.stations for batch in batches])
    assert batches[-1].station_names == ("north", "south")
    assert np.bincount(attacks[stations == 0]).tolist() == [1400, 700, 500]  # benign, http-flood, port-scan
    assert np.bincount(attacks[stations == 1], minlength=3).tolist() == [800, 0, 600]


def test_a_scenario_is_read_from_wherever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "scenarios")
    assert scenario.load("zeek-two-sensors.yaml").dataset.mapping == "mappings/zeek-conn.yaml"
    monkeypatch.chdir(tmp_path)
    assert scenario.load(ZEEK).dataset.mapping == str(ROOT / "scenarios" / "mappings" / "zeek-conn.yaml")
    assert scenario.load(ZEEK).dataset.path == "zeek"  # nowhere yet
    (tmp_path / "mappings").mkdir()
    write(tmp_path / "mappings" / "zeek-conn.yaml", "here")
    assert scenario.load(ZEEK).dataset.mapping == "mappings/zeek-conn.yaml"


# -- what may be wrong ---------------------------------------------------------------------------


def with_row(row, number=2000):
    """The right rows with another one instead of the `number`-th."""
    return [*rows()[: number - 1], row, *rows()[number:]]


WRONG = {
    "without labels": ((HEADER.replace("kind", "type"), *rows()), 5, 'flows.csv: the flows have no labels: there is'),
    "an attack that nobody knows": (
        (HEADER, *with_row("1,tcp,worm,a")), 15, 'flows.csv, row 2000, column kind: "worm" is in none of the classes'),
    "text in a column of numbers": (
        (HEADER, *with_row("1 kB,tcp,web,a")), 15, 'flows.csv, row 2000, column bytes: found "1 kB", expected a'),
    "cut off in a row": (
        (HEADER, *rows(), "17,tc"), 15, 'flows.csv, row 3585: found 2 columns, expected 4; it ends in column proto'),
    "too many columns": (
        (HEADER, *with_row("1,tcp,web,a,?")), 15, "flows.csv, row 2000: found 5 columns, expected 4: a separator too"),
    "a column that is missing": (
        ("proto,kind,sensor", "tcp,web,a"), 5, 'flows.csv: there is no column "bytes", which the mapping own names'),
    "an empty class": (
        (HEADER, *rows(GROUPS[:1])), 5, "flows.csv: attack is an empty class: no station has 128 flows of one kind"),
    "a header only": ((HEADER,), 15, "flows.csv: found no flows, only a header"),
    "empty": ((), 15, "flows.csv: found no header, expected a first line with the columns' names"),
}  # fmt: skip


def told_by_explain(path, *overrides):
    with pytest.raises(DataError) as caught:
        explain(path, overrides)
    return caught.value.exit_code, str(caught.value)


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_wrong_is_told_before_the_run(here, case):
    lines, code, message = WRONG[case]
    write(here / "flows.csv", *lines)
    found = told_by_explain(here / "own.yaml")
    assert found[0] == code
    assert message in found[1]


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", ["run", "explain"])
def test_a_file_that_is_wrong_ends_the_command_with_its_code(here, case, name):
    lines, code, message = WRONG[case]
    write(here / "flows.csv", *lines)
    done = collab(name, "own.yaml")
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(here.glob("runs/*"))


def collab(*arguments):
    command = [sys.executable, "-m", "collab.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_file_that_is_wrong_ends_a_run_with_its_code(here):
    write(here / "flows.csv", *WRONG["text in a column of numbers"][0])
    done = collab("run", "own.yaml")
    message = f'collab: {here}/flows.csv, row 2000, column bytes: found "1 kB", expected a number, or nothing\n'
    assert (done.returncode, done.stdout, done.stderr) == (15, "", message)


def test_a_file_of_another_encoding_or_none(here):
    (here / "flows.csv").write_bytes("\n".join([HEADER, *with_row("1,tcp,wéb,a")]).encode("latin-1"))
    assert told_by_explain(here / "own.yaml") == (
        15,
        f"{here}/flows.csv, row 2000, column kind: found the byte 0xe9, which is no UTF-8 text; save the file as UTF-8",
    )  # fmt: skip
    (here / "flows.csv").write_bytes(bytes(range(256)) * 100)
    code, told = told_by_explain(here / "own.yaml")
    assert (code, "flows.csv:1: found bytes that are no text" in told) == (15, True)


def test_a_mapping_that_is_wrong_or_missing(here):
    write(here / "flows.yaml", MAPPING.replace("range: [0, 1000]", "rnage: [0, 1000]"))
    code, told = told_by_explain(here / "own.yaml")
    assert (code, re.match(r'.*flows\.yaml:2:28: features\.0\.rnage: .*did you mean "range"', told) is not None) == (
        5,
        True,
    )
    (here / "flows.yaml").unlink()
    assert "there is no mapping" in told_by_explain(here / "own.yaml")[1]


def test_what_is_not_there_is_told(here, capsys):
    (here / "flows.csv").unlink()
    explain(here / "own.yaml")
    assert "2 sites hold flow records, which is not here" in capsys.readouterr().out
    with pytest.raises(
        DataError, match=r"flow-csv: there is no .*flows\.csv nor .*data/flows\.csv; give dataset\.path"
    ):
        prepare(scenario.load(here / "own.yaml"))
    (here / "flows.csv").mkdir()
    with pytest.raises(DataError, match=r"flows\.csv holds no file ending in \.csv, \.log, \.tsv"):
        prepare(scenario.load(here / "own.yaml"))


def test_a_station_with_one_class_is_asked_about_and_runs(here, capsys):
    write(here / "flows.csv", HEADER, *rows(GROUPS[:3]))
    explain(here / "own.yaml")
    said = capsys.readouterr().out
    assert "partition: client-1 (b) will hold samples of one class only" in said
    assert "Did it record nothing else, or is its label the same for all?" in " ".join(said.split())
    chosen = scenario.load(here / "own.yaml")
    with open_run(here / "runs", "own", None) as writer:
        summary = run_scenario(chosen, writer)
    assert set(summary["methods"]) == {"localdm", "collabdm"}
    write(here / "flows.csv", HEADER, *rows())
    explain(here / "own.yaml")
    assert "one class only" not in capsys.readouterr().out


# -- the published files -------------------------------------------------------------------------


NIDD = "dataset={name: 5g-nidd, side: 16}"


@pytest.fixture
def published(here, traffic):
    """Synthetic traffic where the published file is looked for: its header and its lines."""
    (here / "data" / "5g-nidd").mkdir(parents=True)
    header, *lines = traffic.read_text().splitlines()
    return header, lines[:5000]


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda lines: lines, 15, "Combined.csv: found 5,000 flows, expected 1,215,890: the file ends too early"),
        (lambda lines: [*lines[:100], lines[101], lines[100], *lines[102:]], 15,
         "Combined.csv, row 102, column Unnamed: 0: found 100, expected 102, one more than in the row before"),
        (lambda lines: [*lines[:100], *lines[103:]], 15,
         "row 101, column Unnamed: 0: found 103, expected 100, one more than in the row before, or 0"),
        (lambda lines: lines[10:], 15, "row 1, column Unnamed: 0: found 10, expected 0"),
        (lambda lines: [*lines[:-1], lines[-1][:90]], 15, "row 5000: found"),
    ],
    ids=["ends after a row", "two rows swapped", "three rows lost", "the first rows lost", "ends in a row"],
)  # fmt: skip
def test_rows_of_the_published_file_that_are_lost_or_moved(here, published, change, code, told):
    header, lines = published
    write(here / "data" / "5g-nidd" / "Combined.csv", header, *change(lines))
    found = told_by_explain(here / "own.yaml", NIDD)
    assert found[0] == code
    assert told in found[1]


def test_a_published_file_of_other_columns(here, published):
    header, lines = published
    write(here / "data" / "5g-nidd" / "Combined.csv", header.replace(",Dur,RunTime,", ",RunTime,Dur,"), *lines)
    code, told = told_by_explain(here / "own.yaml", NIDD)
    assert code == 5
    assert 'Combined.csv:1: column 3 is "RunTime", expected "Dur": the columns are in another order' in told


def test_the_published_set_is_explained_where_it_is_not(here, capsys):
    explain(here / "own.yaml", ["dataset={name: 5g-nidd, classes: all}"])
    said = " ".join(capsys.readouterr().out.split())
    assert "2 sites hold 5G-NIDD: 10,348 grey images of 64 x 64 pixels in 9 classes" in said
    assert "The data is not here (it is published at doi:10.21227/xtep-hv36" in said
    assert len(published_format("nidd").columns) == 52
