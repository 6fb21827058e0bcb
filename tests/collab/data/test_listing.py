from __future__ import annotations

import pytest

from collab.data import fetching
from collab.data.catalogue import KNOWN, title_of
from collab.data.fetching import fetch, known_names
from collab.data.listing import entries, located
from collab.data.settings import AnyDatasetSettings
from collab.errors import DataError
from tests.collab.data.published_forms import CLASSES, cifar_batches, cifar_folder, jpeg_folder


def entry(data_dir, name):
    return next(found for found in entries(data_dir) if found.name == name)


def test_every_set_that_a_scenario_can_name_is_listed(tmp_path):
    known = {
        name for settings in AnyDatasetSettings.__args__ for name in settings.model_fields["name"].annotation.__args__
    }
    assert {found.name for found in entries(tmp_path)} == known


def test_what_the_settings_know_is_what_the_catalogue_says():
    for settings in AnyDatasetSettings.__args__:
        for name in settings.model_fields["name"].annotation.__args__:
            if name in KNOWN and name != "digits":
                side = settings.model_fields["side"].default if "side" in settings.model_fields else settings.side
                assert (settings.channels, side) == (KNOWN[name].spec.channels, KNOWN[name].spec.side)


def test_figures_name_lossy_copies_as_such():
    assert title_of("cifar10-jpeg") == "CIFAR-10 (JPEG)"
    assert title_of("gaussians") == "gaussians"


def test_files_that_are_there_are_found_and_measured(tmp_path):
    assert entry(tmp_path, "cifar10").present == "no"
    assert entry(tmp_path, "digits").present == "always"
    assert entry(tmp_path, "image-folder").present == "by path"
    cifar_folder(tmp_path / "cifar10", cifar_batches())
    found = entry(tmp_path, "cifar10")
    assert found.present == "yes"
    assert found.where == (str(tmp_path / "cifar10" / "cifar-10-batches-bin"),)
    assert found.size_bytes == 6 * 4 * 3073 + len("\n".join(CLASSES))
    assert entry(tmp_path, "cifar10-jpeg").present == "no"
    jpeg_folder(tmp_path)
    assert entry(tmp_path, "cifar10-jpeg").present == "yes"


def test_a_set_may_be_there_in_part(tmp_path):
    (tmp_path / "mnist").mkdir()
    for count, file in enumerate(KNOWN["mnist"].files, start=1):
        (tmp_path / "mnist" / file.name).write_bytes(bytes(100))
        found = entry(tmp_path, "mnist")
        assert found.present == ("yes" if count == 4 else "partly")
        assert found.size_bytes == 100 * count
    assert found.where == (str(tmp_path / "mnist"),)


@pytest.fixture
def downloads(monkeypatch):
    """What would be downloaded."""
    asked = []

    def fake(file, path, progress):
        asked.append(file.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10))

    monkeypatch.setattr(fetching, "download", fake)
    return asked


def test_only_what_is_missing_is_fetched(tmp_path, downloads):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(bytes(100))  # unpacked counts too
    new = fetch(KNOWN["mnist"], tmp_path)
    assert downloads == [file.name for file in KNOWN["mnist"].files[1:]]
    assert new == [tmp_path / "mnist" / name for name in downloads]
    assert fetch(KNOWN["mnist"], tmp_path) == []
    assert fetch(KNOWN["svhn"], tmp_path) == [tmp_path / "svhn" / file.name for file in KNOWN["svhn"].files]
    assert located("svhn", tmp_path) == (tmp_path / "svhn" / "train_32x32.mat", tmp_path / "svhn" / "test_32x32.mat")


def test_cifar10_in_any_form_is_there(tmp_path, downloads):
    cifar_folder(tmp_path, cifar_batches(1), "py")
    assert fetch(KNOWN["cifar10"], tmp_path) == []
    assert fetch(KNOWN["cifar10"], tmp_path / "other") == [tmp_path / "other" / "cifar10" / "cifar-10-binary.tar.gz"]


def test_names_are_understood_or_explained():
    assert [known.name for known in known_names(["svhn", "mnist", "svhn"])] == ["svhn", "mnist"]
    with pytest.raises(DataError, match='there is no data set "cifar"; did you mean "cifar10"'):
        known_names(["mnist", "cifar"])
    for name in ("digits", "gaussians", "image-folder", "cifar10-jpeg"):
        with pytest.raises(DataError, match=f"{name} is not downloaded: "):
            known_names([name])
