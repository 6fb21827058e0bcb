from __future__ import annotations

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from collab.data import checking, idx
from collab.data.catalogue import KNOWN
from collab.data.checking import check
from collab.data.dataset import Samples
from collab.data.download import PublishedFile
from tests.collab.data.published_forms import (
    cifar_batches,
    cifar_folder,
    idx_bytes,
    jpeg_folder,
    random_samples,
    tar_of,
)


def md5(content):
    return hashlib.md5(content).hexdigest()


def small_mnist(order=None):
    contents = {}
    for split, n, seed in (("train", 9, 0), ("t10k", 5, 1)):
        images, labels = random_samples(n, channels=1, side=28, seed=seed)
        if order is not None:
            images, labels = images[order(n)], labels[order(n)]
        contents[f"{split}-images-idx3-ubyte"] = idx_bytes(images[:, 0])
        contents[f"{split}-labels-idx1-ubyte"] = idx_bytes(labels.astype(np.uint8))
    return contents


def put(data_dir, contents, packed=True):
    (data_dir / "mnist").mkdir(exist_ok=True)
    for name, content in contents.items():
        path = data_dir / "mnist" / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A world in which MNIST has 9 + 5 images."""
    contents = small_mnist()
    files = tuple(
        PublishedFile(f"{name}.gz", 0, hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest())
        for name, content in contents.items()
    )
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], files=files, train_samples=9, test_samples=5))
    monkeypatch.setitem(checking._CONTENT_MD5, "mnist", {name: md5(content) for name, content in contents.items()})
    put(tmp_path, contents)
    train, test = idx.load("mnist", tmp_path)
    digests = (checking.unordered_digest(train), checking.unordered_digest(test))
    monkeypatch.setitem(checking._UNORDERED, "mnist", digests)
    return contents


def verdict_of(tmp_path, name="mnist"):
    report = check(name, tmp_path)
    return report.verdict, report.sound


def test_the_published_files_are_known(published, tmp_path):
    report = check("mnist", tmp_path)
    assert (report.verdict, report.sound) == ("published", True)
    assert (report.train_samples, report.test_samples) == (9, 5)
    assert [file.verdict for file in report.files] == ["published"] * 4


@pytest.mark.parametrize("packed", [True, False])
def test_the_same_content_packed_otherwise_is_sound_and_said_so(published, tmp_path, packed):
    for path in (tmp_path / "mnist").iterdir():
        path.unlink()
    for name, content in published.items():
        path = tmp_path / "mnist" / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, 1, mtime=99) if packed else content)
    report = check("mnist", tmp_path)
    assert (report.verdict, report.sound) == ("repacked", True)
    assert "the published content bit for bit, packed by somebody else" in report.note
    how = "compressed by somebody else" if packed else "not compressed"
    assert all(how in file.note for file in report.files)


def test_another_order_is_sound_and_said_so(published, tmp_path):
    put(tmp_path, small_mnist(lambda n: np.arange(n)[::-1]))
    report = check("mnist", tmp_path)
    assert (report.verdict, report.sound) == ("reordered", True)
    assert "in another order" in report.note


def test_one_other_pixel_or_label_is_noticed(published, tmp_path):
    name = "train-images-idx3-ubyte"
    spoilt = bytearray(published[name])
    spoilt[1000] ^= 1
    put(tmp_path, {name: bytes(spoilt)})
    report = check("mnist", tmp_path)
    assert (report.verdict, report.sound) == ("differs", False)
    assert [file.verdict for file in report.files].count("differs") == 1
    assert "9 + 5 images; readable, but not the published set" in report.note
    labels = bytearray(published["train-labels-idx1-ubyte"])
    labels[8], labels[9] = labels[9] + 1, labels[8]
    put(tmp_path, {**published, "train-labels-idx1-ubyte": bytes(labels)})
    assert verdict_of(tmp_path) == ("differs", False)


def test_fewer_images_are_counted(published, tmp_path):
    put(tmp_path, {"t10k-images-idx3-ubyte": idx_bytes(np.zeros((2, 28, 28), np.uint8))})
    put(tmp_path, {"t10k-labels-idx1-ubyte": idx_bytes(np.zeros(2, np.uint8))})
    assert "9 + 2 images; readable, but not the published set, which has 9 + 5" in check("mnist", tmp_path).note


def test_damage_is_told_and_what_to_do(published, tmp_path):
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    report = check("mnist", tmp_path)
    assert (report.verdict, report.sound) == ("damaged", False)
    assert f"{path} cannot be read" in report.note
    assert "remove it, then: collab data fetch mnist" in report.note
    path.write_bytes(gzip.compress(b"something else"))
    assert verdict_of(tmp_path) == ("damaged", False)


def test_what_is_not_there_is_missing(published, tmp_path):
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    report = check("mnist", tmp_path)
    assert (report.verdict, report.sound) == ("missing", False)
    assert report.note.startswith("3 of 4 files are there; ")
    for name in ("cifar10", "cifar10-jpeg", "svhn", "fashion-mnist"):
        assert check(name, tmp_path).verdict == "missing"


def test_digits_come_with_the_package(tmp_path):
    report = check("digits", tmp_path)
    assert (report.verdict, report.train_samples, report.test_samples) == ("published", 1297, 500)


@pytest.mark.parametrize("form", ["bin", "py"])
def test_cifar10(tmp_path, monkeypatch, form):
    batches = cifar_batches()
    folder = cifar_folder(tmp_path, batches, form)
    report = check("cifar10", tmp_path)
    assert (report.verdict, report.train_samples, report.test_samples) == ("differs", 20, 4)
    assert "which has 50,000 + 10,000" in report.note
    contents = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    monkeypatch.setitem(checking._CONTENT_MD5, "cifar10", contents)
    assert verdict_of(tmp_path, "cifar10") == ("published", True)
    packed = tmp_path / "packed"
    packed.mkdir()
    archive = tar_of(folder, packed / ("cifar-10-binary.tar.gz" if form == "bin" else "cifar-10-python.tar.gz"))
    assert verdict_of(packed, "cifar10") == ("repacked", True)
    archive.write_bytes(archive.read_bytes()[:-100])
    assert verdict_of(packed, "cifar10") == ("damaged", False)


def test_svhn(tmp_path, monkeypatch):
    files = []
    for split, n in (("train", 6), ("test", 3)):
        images, labels = random_samples(n)
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": labels.reshape(-1, 1) + 1})
        files.append(PublishedFile(path.name, 0, hashlib.sha256(path.read_bytes()).hexdigest()))
    report = check("svhn", tmp_path)
    assert (report.verdict, report.train_samples, report.test_samples) == ("differs", 6, 3)
    monkeypatch.setitem(KNOWN, "svhn", replace(KNOWN["svhn"], files=tuple(files)))
    assert verdict_of(tmp_path, "svhn") == ("published", True)
    path.write_bytes(b"spoilt")
    assert verdict_of(tmp_path, "svhn") == ("damaged", False)


def test_jpeg_copies(tmp_path, monkeypatch):
    folder = jpeg_folder(tmp_path)
    report = check("cifar10-jpeg", tmp_path)
    assert (report.verdict, report.sound) == ("differs", False)
    assert "30 + 10 images; CIFAR-10 has 5,000 + 1,000 of each of 10 classes" in report.note
    monkeypatch.setattr(checking, "_counts_of", lambda parts: ([5_000] * 10, [1_000] * 10))
    report = check("cifar10-jpeg", tmp_path)
    assert (report.verdict, report.sound) == ("copy", True)
    assert "other copies than" in report.note
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}
    monkeypatch.setattr(checking, "_JPEG_DIGEST", checking.files_digest(names.items()))
    assert "the copies that this project's figures were made with" in check("cifar10-jpeg", tmp_path).note
    (folder / "test" / "cat" / "0000.jpg").write_bytes(b"")
    assert verdict_of(tmp_path, "cifar10-jpeg") == ("damaged", False)


def test_the_unordered_digest_binds_images_to_labels():
    images, labels = random_samples(6)
    labels = np.arange(6)
    digest = checking.unordered_digest(Samples(images, labels))
    order = np.array([3, 1, 0, 5, 4, 2])
    assert checking.unordered_digest(Samples(images[order], labels[order])) == digest
    assert checking.unordered_digest(Samples(images, labels[order])) != digest
    assert checking.unordered_digest(Samples(images[:-1], labels[:-1])) != digest


@pytest.mark.data
@pytest.mark.skipif("COLLAB_DATA_DIR" not in os.environ, reason="COLLAB_DATA_DIR names no data directory")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files_are_sound(name):
    report = check(name, Path(os.environ["COLLAB_DATA_DIR"]))
    assert report.sound, report
    assert (report.train_samples, report.test_samples) == (60_000, 10_000)
