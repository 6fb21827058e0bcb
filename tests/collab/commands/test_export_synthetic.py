"""`collab export-synthetic`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from collab.commands import found
from collab.commands.export_synthetic import command
from collab.errors import RunExistsError, RunNotFoundError
from tests.collab.recordings import record


def test_its_name_has_a_hyphen():
    assert "export-synthetic" in dict(found())


def test_where_it_is_written_is_told_and_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record(Path("runs"), "partition.clients=2", "baselines=[localdm]", name="one")
    command()
    printed = capsys.readouterr().out
    assert printed.startswith("8 images 1x8x8 of 2 classes, distilled from gaussians by collabdm\n")
    assert "networks trained on them reach: convnet " in printed
    assert "written to one-collabdm.npz, " in printed
    with pytest.raises(RunExistsError, match=r"one-collabdm\.npz exists already"):
        command("latest")
    command("one", method="localdm", out=Path("mine/local.npz"), precision="float32", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["method"], told["shape"]) == ("mine/local.npz", "localdm", [8, 1, 8, 8])
    assert told["size_bytes"] == Path("mine/local.npz").stat().st_size
    with np.load("mine/local.npz", allow_pickle=False) as file:
        assert file["images"].dtype == np.float32
    with pytest.raises(typer.BadParameter, match='runs/one has no method "dense"; it has collabdm, localdm'):
        command("one", method="dense")
    with pytest.raises(RunNotFoundError):
        command("two")
