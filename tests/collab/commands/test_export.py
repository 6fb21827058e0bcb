"""`collab export`."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from collab.commands.export import command
from collab.errors import RunNotFoundError
from tests.collab.recordings import record


def test_where_it_is_written_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record(Path("runs"), "partition.clients=2", name="one")
    command("latest", to="csv")
    assert capsys.readouterr().out == "written to exports/csv/one\n"
    assert (tmp_path / "exports" / "csv" / "one" / "summary.csv").is_file()
    command("one", to="csv", output=Path("mine"))
    assert (tmp_path / "mine" / "trace.csv").is_file()
    with pytest.raises(RunNotFoundError):
        command("two", to="csv")


@pytest.mark.parametrize("options", [{"to": "csv"}, {"to": "mlflow", "output": Path("x")}])
def test_a_tracking_server_is_for_mlflow_alone(options):
    with pytest.raises(typer.BadParameter, match="--tracking-uri is for --to mlflow, without --output"):
        command("latest", tracking_uri="http://127.0.0.1:5000", **options)
