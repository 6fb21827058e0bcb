from __future__ import annotations

import gzip
import hashlib
import os
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from collab.data import idx
from collab.errors import DamagedDataError, DataError
from tests.collab.data.published_forms import idx_bytes


@pytest.fixture
def folder(tmp_path):
    """A data directory with a tiny MNIST: 7 training and 3 test images."""
    rng = np.random.default_rng(0)
    (tmp_path / "mnist").mkdir()
    for split, n in (("train", 7), ("t10k", 3)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, n, dtype=np.uint8)
        packed = gzip.compress(idx_bytes(images))
        (tmp_path / "mnist" / f"{split}-images-idx3-ubyte.gz").write_bytes(packed)
        (tmp_path / "mnist" / f"{split}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return tmp_path


def test_compressed_and_plain_files_are_read(folder):
    train, test = idx.load("mnist", folder)
    assert train.images.shape == (7, 1, 28, 28)
    assert (len(train), len(test)) == (7, 3)
    assert train.labels.dtype == np.int64
    assert train.images.dtype == np.uint8


def damage(folder: Path, name: str, content: bytes) -> None:
    (folder / "mnist" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(np.zeros((7,), np.uint8))[:-1], r"should have 15 bytes for the shape \(7,\), found 14"),
        (b"\x00\x00\x08", "is not an IDX file"),
        (b"GIF89a" * 20, "is not an IDX file of 1 axes of bytes: it begins with 47494638"),
        (idx_bytes(np.zeros((8,), np.uint8)), "7 train images but 8 labels"),
    ],
)
def test_damaged_files_are_named(folder, content, message):
    damage(folder, "train-labels-idx1-ubyte", content)
    with pytest.raises(DamagedDataError, match=message):
        idx.load("mnist", folder)


def test_a_damaged_gzip_is_named(folder):
    path = folder / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        idx.load("mnist", folder)


def test_a_missing_file_is_downloaded_under_its_published_name(folder, monkeypatch):
    images = folder / "mnist" / "train-images-idx3-ubyte.gz"
    body = images.read_bytes()
    images.unlink()
    asked = []

    def fake(file, path, progress):
        asked.append(file)
        progress("downloading", 1, 1, "B")
        path.write_bytes(body)

    monkeypatch.setattr(idx, "download", fake)
    heard = []
    train, _ = idx.load("mnist", folder, lambda *what: heard.append(what))
    assert len(train) == 7
    assert [file.name for file in asked] == ["train-images-idx3-ubyte.gz"]
    assert heard == [("downloading", 1, 1, "B")]
    assert images.read_bytes() == body


def test_without_file_and_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(
        DataError,
        match=r"no file .*/fashion-mnist/train-images-idx3-ubyte\.gz or .*train-images-idx3-ubyte: .*no route.*"
        r"collab data fetch fashion-mnist; or set COLLAB_DATA_DIR",
    ):
        idx.load("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-labels-idx1-ubyte", idx_bytes(np.full(7, 10, np.uint8)), "a train label is 10, expected 0 to 9"),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(idx_bytes(np.zeros((7, 28, 27), np.uint8)), mtime=0),
            "the train images have 28x27 pixels, expected 28x28",
        ),
    ],
)
def test_what_cannot_be_mnist_is_refused(folder, name, content, message):
    damage(folder, name, content)
    with pytest.raises(DamagedDataError, match=message):
        idx.load("mnist", folder)


@pytest.mark.data
@pytest.mark.skipif("COLLAB_DATA_DIR" not in os.environ, reason="COLLAB_DATA_DIR names no data directory")
def test_the_real_mnist_is_the_published_one():
    train, test = idx.load("mnist", Path(os.environ["COLLAB_DATA_DIR"]))
    assert (len(train), len(test)) == (60_000, 10_000)
    header = b"\x00\x00\x08\x03" + struct.pack(">3I", 60_000, 28, 28)
    assert hashlib.md5(header + train.images.tobytes()).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    assert np.bincount(train.labels).tolist()[:3] == [5923, 6742, 5958]
