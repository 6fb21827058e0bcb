from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from collab.data import Cifar10JpegSettings, cifar_jpeg, load_dataset
from collab.errors import DamagedDataError, DataError
from tests.collab.data.published_forms import jpeg, jpeg_folder, smooth_images, tar_of


@pytest.mark.parametrize("place", ["", "cifar10-jpeg"])
@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_folder_and_archive_hold_the_same(tmp_path, suffix, place):
    (tmp_path / "packed" / place).mkdir(parents=True)
    (tmp_path / "unpacked" / place).mkdir(parents=True)
    folder = jpeg_folder(tmp_path / "unpacked" / place)
    tar_of(folder, tmp_path / "packed" / place / f"cifar10-images.tar.{suffix}")
    heard = []
    unpacked = cifar_jpeg.load(tmp_path / "unpacked")
    packed = cifar_jpeg.load(tmp_path / "packed", lambda *what: heard.append(what))
    for mine, other in zip(unpacked, packed, strict=True):
        np.testing.assert_array_equal(mine.images, other.images)
        np.testing.assert_array_equal(mine.labels, other.labels)
    train, test = packed
    assert train.labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert test.labels.tolist() == list(range(10))
    wanted = smooth_images(40)
    assert np.abs(train.images.astype(int) - wanted[:30]).max() <= 4  # JPEG is lossy
    assert np.abs(test.images.astype(int) - wanted[30:]).max() <= 4


def test_it_is_normalised_and_augmented_as_cifar10(tmp_path):
    jpeg_folder(tmp_path)
    dataset = load_dataset(Cifar10JpegSettings(name="cifar10-jpeg"), 0, tmp_path)
    assert dataset.spec.mean == (0.4914, 0.4822, 0.4465)
    assert "flip" in dataset.spec.augmentation
    assert dataset.train.images.dtype == np.uint8


def test_damage_is_named(tmp_path):
    folder = jpeg_folder(tmp_path)
    spoilt = folder / "train" / "frog" / "0001.jpg"
    good = spoilt.read_bytes()
    spoilt.write_bytes(good[: len(good) // 2])
    with pytest.raises(DamagedDataError, match=r"cifar10-images: train/frog/0001\.jpg cannot be read as an image"):
        cifar_jpeg.load(tmp_path)
    spoilt.write_bytes(jpeg(np.zeros((3, 32, 31), np.uint8)))
    with pytest.raises(DamagedDataError, match=r"frog/0001\.jpg has 31x32 pixels, expected 32x32"):
        cifar_jpeg.load(tmp_path)
    spoilt.unlink()
    (folder / "train" / "gnu").mkdir()
    (folder / "train" / "gnu" / "0000.jpg").write_bytes(good)
    with pytest.raises(DamagedDataError, match=r"train/gnu/0000\.jpg is not called"):
        cifar_jpeg.load(tmp_path)


def test_an_archive_without_images_is_no_data_set(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0000.jpg").write_bytes(b"")
    tar_of(tmp_path / "other", tmp_path / "cifar10-images.tar.xz")
    with pytest.raises(DamagedDataError, match="holds no train image"):
        cifar_jpeg.load(tmp_path)


def test_a_huge_member_is_refused_before_it_is_unpacked(tmp_path):
    folder = jpeg_folder(tmp_path / "elsewhere")
    (folder / "train" / "cat" / "0000.jpg").write_bytes(bytes(200_000))
    tar_of(folder, tmp_path / "cifar10-images.tar.xz")
    with pytest.raises(DamagedDataError, match=r"cat/0000\.jpg has 200000 bytes, expected at most 100000"):
        cifar_jpeg.load(tmp_path)


def test_what_is_nowhere_is_told_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"cifar10-images\.tar\.xz .* in .*cifar10-jpeg nor .*set COLLAB_DATA_DIR"):
        cifar_jpeg.load(tmp_path)


@pytest.mark.data
@pytest.mark.skipif("COLLAB_DATA_DIR" not in os.environ, reason="COLLAB_DATA_DIR names no data directory")
def test_the_real_copies_are_whole():
    data_dir = Path(os.environ["COLLAB_DATA_DIR"])
    if cifar_jpeg.locate(data_dir) is None:
        pytest.skip(f"no CIFAR-10 (JPEG) in {data_dir}")
    train, test = cifar_jpeg.load(data_dir)
    assert np.bincount(train.labels).tolist() == [5_000] * 10
    assert np.bincount(test.labels).tolist() == [1_000] * 10
    mean = train.images.mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=0.002)
