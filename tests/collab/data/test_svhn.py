from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.io import savemat

from collab.data import SvhnSettings, load_dataset, svhn
from collab.errors import DamagedDataError, DataError
from tests.collab.data.published_forms import random_samples


def write(path, images, labels, **more):
    """As published: X is [32, 32, 3, n], y is [n, 1] with 10 for the digit 0."""
    marked = np.where(labels == 0, 10, labels).astype(np.uint8).reshape(-1, 1)
    savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": marked, **more}, do_compression=True)


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "svhn").mkdir()
    for seed, (split, n) in enumerate((("train", 30), ("test", 12))):
        write(tmp_path / "svhn" / f"{split}_32x32.mat", *random_samples(n, seed=seed))
    return tmp_path


def test_images_stand_upright_and_ten_means_zero(data_dir):
    for _ in range(2):  # from the file, then from the cache
        for seed, samples in enumerate(svhn.load(data_dir)):
            images, labels = random_samples(len(samples), seed=seed)
            np.testing.assert_array_equal(samples.images, images)
            np.testing.assert_array_equal(samples.labels, labels)
            assert samples.images.dtype == np.uint8
            assert samples.images.flags.c_contiguous
    assert 0 in labels
    assert labels.max() <= 9


def test_the_set_knows_its_normalisation_and_is_not_mirrored(data_dir):
    spec = load_dataset(SvhnSettings(name="svhn"), 0, data_dir).spec
    assert spec.mean == (0.4377, 0.4438, 0.4728)
    assert spec.std == (0.1980, 0.2010, 0.1970)
    assert spec.augmentation == ("color", "crop", "cutout", "scale", "rotate")


def test_files_may_lie_in_the_data_directory_itself(data_dir):
    for file in (data_dir / "svhn").iterdir():
        file.rename(data_dir / file.name)
    assert len(svhn.load(data_dir)[0]) == 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "lacks X or y"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [11]])}, "something else than 1 to 10"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[0], [1]])}, "something else than 1 to 10"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": np.array([[1], [2]])}, r"X is float64 \[32, 32, 3, 2\], expected uint8"),
        ({"X": np.zeros((2, 32, 32, 3), np.uint8), "y": np.array([[1], [2]])}, r"X is uint8 \[2, 32, 32, 3\]"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [2], [3]])}, "n = 3, the number of labels"),
    ],
)
def test_what_is_not_svhn_is_refused(data_dir, content, message):
    savemat(data_dir / "svhn" / "train_32x32.mat", content)
    with pytest.raises(DamagedDataError, match=f"train_32x32.mat.*{message}"):
        svhn.load(data_dir)


@pytest.mark.parametrize("content", [b"", b"<html>" * 100, b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_what_is_no_mat_file_is_refused(data_dir, content):
    (data_dir / "svhn" / "test_32x32.mat").write_bytes(content)
    with pytest.raises(DamagedDataError, match=r"test_32x32\.mat cannot be read as a \.mat file"):
        svhn.load(data_dir)


def test_damage_anywhere_is_an_error_or_harmless(data_dir):
    path = data_dir / "svhn" / "test_32x32.mat"
    good = path.read_bytes()
    draws = random.Random(0)
    for _ in range(60):
        damaged = bytearray(good)
        damaged[draws.randrange(len(good) if draws.random() < 0.5 else 200)] = draws.randrange(256)
        path.write_bytes(damaged)
        try:
            samples = svhn.read(path)
        except DamagedDataError:
            continue
        assert samples.images.shape == (len(samples), 3, 32, 32)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(DamagedDataError):
        svhn.read(path)


def test_without_file_and_network_the_message_says_where_and_how(tmp_path, monkeypatch):
    def refuse(file, path, progress):
        raise DataError(f"{file.name} cannot be downloaded (no route)")

    monkeypatch.setattr(svhn, "download", refuse)
    with pytest.raises(DataError, match=r"train_32x32\.mat in .*svhn nor .*no route.*collab data fetch svhn"):
        svhn.load(tmp_path)
