"""`collab train-detector`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from collab import detector
from collab.commands import export_synthetic
from collab.commands.train_detector import command
from collab.errors import DataError, RunExistsError, RunNotFoundError, ScenarioError
from tests.collab.recordings import record


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(Path("runs"), "partition.clients=2", "baselines=[localdm]", "evaluation.epochs=2", name="one")


def test_as_the_run_judged_unless_told_otherwise(here, capsys):
    command("one")
    printed, told = capsys.readouterr()
    assert printed.startswith(
        "convnet of width 4 and depth 1, seed 1, epochs: 2, images: 8\n"
        "trained on gaussians, distilled by collabdm in the run one\nclasses: 0, 1\n"
    )
    assert "collab detect has no use for it\nwritten to detector.safetensors, " in printed
    assert told == "training\n"
    assert detector.read(Path("detector.safetensors")).about.training.learning_rate == 0.01
    command(
        "one", method="localdm", out=Path("other"), architecture="convnet", width=8, epochs=3, batch_size=5,
        learning_rate=0.1, augment=False, seed=9, device="cpu", as_json=True,
    )  # fmt: skip
    facts = json.loads(capsys.readouterr().out)
    about = detector.read(Path("other")).about
    assert facts == {
        "file": "other", "size_bytes": Path("other").stat().st_size, **about.model_dump(mode="json"),
    }  # fmt: skip
    assert (about.seed, about.trained_on.method, about.training.augmentation) == (9, "localdm", ())
    assert (about.training.width, about.training.depth, about.training.epochs) == (8, 1, 3)
    assert (about.training.batch_size, about.training.learning_rate) == (5, 0.1)


def test_from_the_file_of_a_set(here, capsys):
    export_synthetic.command("one")
    command("one-collabdm.npz", seed=2)
    assert "seed 2, epochs: 2, images: 8\ntrained on gaussians" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter, match=r"--method chooses one of a run; one-collabdm\.npz is of one already"):
        command("one-collabdm.npz", method="localdm")


def test_mistakes_are_noticed_before_anything_is_written(here):
    with pytest.raises(ScenarioError, match="resnet18 cannot take images of 8x8"):
        command("one", architecture="resnet18")
    with pytest.raises(typer.BadParameter, match="learning_rate: Input should be greater than 0, found 0"):
        command("one", learning_rate=0.0)
    with pytest.raises(typer.BadParameter, match='has no method "dense"'):
        command("one", method="dense")
    with pytest.raises(DataError, match=r"there is no file two\.npz"):
        command("two.npz")
    with pytest.raises(RunNotFoundError):
        command("two")
    assert sorted(path.name for path in Path().iterdir()) == ["runs"]
    Path("detector.safetensors").write_text("mine")
    with pytest.raises(RunExistsError):
        command("one")
    assert Path("detector.safetensors").read_text() == "mine"
