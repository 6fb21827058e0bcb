from __future__ import annotations

import numpy as np
import pytest

from collab.data import Cifar10Settings, cifar, load_dataset
from collab.errors import DamagedDataError, DataError
from tests.collab.data.published_forms import cifar_batches, cifar_binary, cifar_folder, tar_of

BATCHES = cifar_batches()
FORMS = {"bin": "cifar-10-binary.tar.gz", "py": "cifar-10-python.tar.gz"}


def expected():
    train = [BATCHES[f"data_batch_{number}"] for number in range(1, 6)]
    return (
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        *BATCHES["test_batch"],
    )


def assert_as_published(parts):
    train, test = parts
    for found, wanted in zip((train.images, train.labels, test.images, test.labels), expected(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64


@pytest.mark.parametrize("place", ["", "cifar10"])
@pytest.mark.parametrize("form", ["bin", "py"])
def test_every_form_is_read_unpacked_and_packed(tmp_path, form, place):
    folder = cifar_folder(tmp_path / "elsewhere", BATCHES, form)
    for data_dir in (tmp_path / "unpacked", tmp_path / "packed"):
        (data_dir / place).mkdir(parents=True)
    tar_of(folder, tmp_path / "packed" / place / FORMS[form])
    folder.rename(tmp_path / "unpacked" / place / folder.name)
    heard = []
    assert_as_published(cifar.load(tmp_path / "unpacked"))
    assert_as_published(cifar.load(tmp_path / "packed", lambda *what: heard.append(what)))
    assert heard[-1] == (f"reading {FORMS[form]}", 24, 60_000, "images")
    heard.clear()
    assert_as_published(cifar.load(tmp_path / "packed", lambda *what: heard.append(what)))
    assert heard == []  # from the cache


def test_the_set_knows_its_normalisation_and_strategy(tmp_path):
    cifar_folder(tmp_path, BATCHES)
    settings = Cifar10Settings(name="cifar10")
    spec = load_dataset(settings, 0, tmp_path).spec
    assert (spec.classes, spec.channels, spec.side) == (10, settings.channels, settings.side)
    assert spec.mean == (0.4914, 0.4822, 0.4465)
    assert spec.std == (0.2023, 0.1994, 0.2010)
    assert spec.augmentation == ("color", "crop", "cutout", "flip", "scale", "rotate")


def test_what_is_missing_or_damaged_is_named(tmp_path):
    folder = cifar_folder(tmp_path, BATCHES)
    good = (folder / "data_batch_3.bin").read_bytes()
    (folder / "data_batch_3.bin").write_bytes(good[:-1])
    with pytest.raises(DamagedDataError, match=r"data_batch_3\.bin has 12291 bytes, expected a multiple of 3073"):
        cifar.load(tmp_path)
    (folder / "data_batch_3.bin").write_bytes(cifar_binary(BATCHES["test_batch"][0], np.array([1, 2, 10, 3])))
    with pytest.raises(DamagedDataError, match=r"data_batch_3\.bin has the label 10"):
        cifar.load(tmp_path)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DamagedDataError, match=r"cifar-10-batches-bin lacks data_batch_3\.bin"):
        cifar.load(tmp_path)
    archive = tar_of(folder, tmp_path / "cifar-10-binary.tar.gz")
    folder.rename(tmp_path / "away")
    with pytest.raises(DamagedDataError, match=r"tar\.gz lacks data_batch_3\.bin in cifar-10-batches-bin"):
        cifar.load(tmp_path)
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(DamagedDataError, match=r"tar\.gz cannot be read"):
        cifar.load(tmp_path)
    archive.write_bytes(b"<html>" * 100)
    with pytest.raises(DamagedDataError, match=r"tar\.gz cannot be read"):
        cifar.load(tmp_path)


def test_without_file_and_network_the_message_says_where_and_how(tmp_path, monkeypatch):
    def refuse(file, path, progress):
        assert path == tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
        raise DataError("cifar-10-binary.tar.gz cannot be downloaded (no route)")

    monkeypatch.setattr(cifar, "download", refuse)
    with pytest.raises(
        DataError, match=r"cifar-10-batches-py.* in .*cifar10 nor .*no route.*collab data fetch cifar10"
    ):
        cifar.load(tmp_path)
