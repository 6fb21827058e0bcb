"""`collab data list|fetch|check`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from collab.commands import groups
from collab.commands.data import check, fetch, make_traffic
from collab.commands.data import list as listing
from collab.data import fetching
from collab.data.catalogue import KNOWN
from collab.errors import DamagedDataError, DataError
from tests.collab.command_line import collab_here
from tests.collab.data.published_forms import cifar_batches, cifar_folder, jpeg_folder


def test_the_commands_are_a_group():
    assert {group.name: [name for name, _ in group.commands] for group in groups()}["data"] == [
        "check",
        "fetch",
        "list",
        "make-traffic",
    ]


def test_list_shows_what_is_here_and_how_to_get_the_rest(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    cifar_folder(tmp_path, cifar_batches(1))
    listing.command(directory=tmp_path)
    shown = capsys.readouterr().out
    assert "60,000 + 10,000  1x28x28  no" in shown
    assert "cifar-10-batches-bin" in shown
    assert "to download: collab data fetch mnist fashion-mnist svhn" in shown


def test_list_as_json(tmp_path, capsys):
    listing.command(directory=tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["directory"] == str(tmp_path)
    mnist = next(entry for entry in told["sets"] if entry["name"] == "mnist")
    assert (mnist["present"], mnist["train_samples"], mnist["shape"]) == ("no", 60_000, "1x28x28")
    jpeg = next(entry for entry in told["sets"] if entry["name"] == "cifar10-jpeg")
    assert (jpeg["title"], jpeg["fetchable"]) == ("CIFAR-10 (JPEG)", False)


def test_check_names_what_is_not_sound_and_what_is_not_here(tmp_path, capsys):
    with pytest.raises(DataError, match=r"no data set is in .*; see: collab data list"):
        check.command(directory=tmp_path)
    with pytest.raises(DataError, match="not here: svhn") as missing:
        check.command(["svhn", "digits"], directory=tmp_path)
    assert missing.value.exit_code == 5
    jpeg_folder(tmp_path)
    with pytest.raises(DamagedDataError, match="not sound: cifar10-jpeg") as unsound:
        check.command(directory=tmp_path, as_json=True)
    assert unsound.value.exit_code == 15
    told = capsys.readouterr().out
    report = json.loads(told[told.index("{") :])["sets"][0]
    assert (report["verdict"], report["sound"], report["train_samples"]) == ("differs", False, 30)
    with pytest.raises(DataError, match='no data set "cifar-10" with files to check; did you mean "cifar10"'):
        check.command(["cifar-10"], directory=tmp_path)


def test_check_shows_each_file(tmp_path, capsys):
    check.command(["digits"], directory=tmp_path)
    assert capsys.readouterr().out.startswith("digits: published, 1,297 + 500 images\n    comes with the package\n")


def test_fetch_prints_the_new_files(tmp_path, capsys, monkeypatch):
    def fake(file, path, progress):
        progress(f"downloading {file.name}", 5, 10, "B")
        progress(f"downloading {file.name}", 10, 10, "B")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10))

    monkeypatch.setattr(fetching, "download", fake)
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], files=KNOWN["mnist"].files[:1]))
    fetch.command(["mnist"], directory=tmp_path)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    printed = capsys.readouterr()
    assert printed.out == f"{path}\n"
    assert printed.err == "downloading train-images-idx3-ubyte.gz\n"  # once, where no bar can be drawn
    fetch.command(["mnist"], directory=tmp_path)
    assert "mnist is here already; see: collab data check mnist" in capsys.readouterr().err
    with pytest.raises(DataError, match="digits is not downloaded"):
        fetch.command(["digits"], directory=tmp_path)


def test_damage_has_an_exit_code_of_its_own(tmp_path):
    cifar_folder(tmp_path, cifar_batches(1))
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"spoilt")
    done = collab_here(tmp_path, "data", "check", "cifar10", COLLAB_DATA_DIR=str(tmp_path))
    assert done.returncode == 15, done.stderr
    assert "cifar10: damaged" in done.stdout
    assert "test_batch.bin has 6 bytes, expected a multiple of 3073" in done.stdout
    assert done.stderr.endswith("collab: not sound: cifar10\n")


def test_make_traffic_says_what_it_wrote(tmp_path, capsys):
    make_traffic.command(tmp_path, share=1e-4)
    shown = capsys.readouterr().out
    assert shown.startswith("synthetic traffic: 126 flows of BTS_1, BTS_2, ")
    assert shown.endswith(f"in {tmp_path}/Combined.csv\n")


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--seed", str(2**63)), ("--stations", "17")])
def test_make_traffic_takes_only_what_a_scenario_takes(tmp_path, option, value):
    app = typer.Typer()
    app.command()(make_traffic.command)
    done = CliRunner().invoke(app, [str(tmp_path / "traffic"), "--share", "1e-4", option, value])
    assert done.exit_code == 2
    assert not (tmp_path / "traffic").exists()


def test_make_traffic_as_json(tmp_path, capsys):
    make_traffic.command(tmp_path, share=1e-3, seed=4, stations=3, as_json=True)
    told = json.loads(capsys.readouterr().out)
    flows = told.pop("flows")
    path = tmp_path / "Combined.csv"
    assert told == {
        "title": "synthetic traffic",
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "seed": 4,
        "share": 0.001,
    }
    assert {name: classes["UDPFlood"] for name, classes in flows.items()} == {"BTS_1": 176, "BTS_2": 282, "BTS_3": 96}
    assert path.read_text().count("\n") == 1 + sum(sum(classes.values()) for classes in flows.values())
