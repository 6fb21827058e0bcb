from __future__ import annotations

import json

from collab.commands.networks import command
from collab.nets import ARCHITECTURES
from tests.collab.nets.test_architectures import PUBLISHED


def test_it_lists_the_published_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command(channels=3, side=32, classes=10, width=128, depth=3, seed=1, as_json=False)
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    for name, (parameters, embeddings, first, whole) in PUBLISHED.items():
        cells = lines[name]
        assert cells[1:3] == [f"{parameters:,}", f"{embeddings[1]:,}"]
        assert cells[-2:] == [first[:12], whole[:12]]


def test_as_json_with_whole_checksums_and_why_a_network_cannot_be_had(capsys):
    command(channels=1, side=20, classes=4, width=2, depth=1, seed=3, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["channels"], told["side"], told["classes"], told["seed"]) == (1, 20, 4, 3)
    rows = {row["name"]: row for row in told["networks"]}
    assert tuple(rows) == ARCHITECTURES
    assert set(rows["vgg11"]) == {"name", "error"}
    assert "vgg11 cannot take images of 20x20" in rows["vgg11"]["error"]
    assert rows["convnet"]["embedding_size"] == 2 * 12 * 12
    assert rows["convnet"]["parameters"] == 2 * 9 + 3 * 2 + 4 * (288 + 1)
    assert rows["convnet"]["operations_per_image"] == 2 * 2 * 9 * 24 * 24
    assert len(rows["convnet"]["first_tensor_sha256"]) == len(rows["convnet"]["weights_sha256"]) == 64


def test_what_does_not_fit_is_said_after_the_table(capsys):
    command(channels=3, side=8, classes=10, width=4, depth=4, seed=1, as_json=False)
    page = capsys.readouterr().out
    for name in ("convnet of depth 4", "vgg11", "resnet18"):
        assert f"{name} cannot take images of 8x8 pixels and 3 channels" in page
