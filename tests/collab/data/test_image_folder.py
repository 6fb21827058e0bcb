from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from collab.data import ImageFolderSettings, image_folder, load_dataset
from collab.errors import DamagedDataError, DataError

COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cow": (30, 30, 200)}


def paint(path, colour, size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three classes of 10 images each, of one colour a class."""
    for name, colour in COLOURS.items():
        for number in range(10):
            paint(tmp_path / "zoo" / name / f"{number}.png", colour)
    return tmp_path / "zoo"


def load(folder, seed=0, **changes):
    chosen = ImageFolderSettings(name="image-folder", path=str(folder), **{"side": 16, **changes})
    return load_dataset(chosen, seed, folder.parent)


def test_classes_are_the_sub_folders_in_order(folder):
    dataset = load(folder)
    assert (dataset.spec.classes, dataset.spec.channels, dataset.spec.side) == (3, 3, 16)
    assert dataset.train.images.shape == (24, 3, 16, 16)
    assert np.bincount(dataset.train.labels).tolist() == [8, 8, 8]
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    for samples in (dataset.train, dataset.test):
        for image, label in zip(samples.images, samples.labels, strict=True):
            np.testing.assert_array_equal(image[:, 3, 5], list(COLOURS.values())[label])


def number_images(folder):
    """Give every image a colour of its own, so that the division can be seen."""
    for grey, path in enumerate(sorted(folder.rglob("*.png"))):
        paint(path, (grey, grey, grey))


def test_the_division_is_a_function_of_its_own_seed(folder):
    number_images(folder)

    def divided(seed, split_seed):
        dataset = load(folder, seed, split_seed=split_seed)
        return [sorted(part.images[:, 0, 0, 0].tolist()) for part in (dataset.train, dataset.test)]

    train, test = divided(1, 0)
    assert sorted(train + test) == list(range(30))
    assert divided(2, 0) == [train, test]
    assert divided(1, 1) != [train, test]


@settings(max_examples=25)
@given(st.integers(1, 40), st.floats(0.01, 0.99))
def test_every_class_keeps_an_image_on_either_side(tmp_path_factory, n, share):
    path = tmp_path_factory.mktemp("folder")
    for name, size in (("a", n), ("b", 7)):
        (path / name).mkdir()
        for number in range(size):
            (path / name / f"{number}.png").touch()
    train, test = image_folder.divide_files(path, ("a", "b"), share, 0)
    judged, trained = test.labels.count(0), train.labels.count(0)
    assert judged + trained == n
    assert trained >= 1
    assert judged >= min(1, n - 1)
    assert abs(judged - share * n) <= 1
    assert set(train.files).isdisjoint(test.files)


def test_a_folder_that_is_divided_already_is_taken_as_it_is(tmp_path):
    for part, number in (("train", 4), ("test", 2)):
        for name, colour in COLOURS.items():
            for index in range(number):
                paint(tmp_path / "zoo" / part / name / f"{index}.jpg", colour)
    dataset = load(tmp_path / "zoo")
    assert (len(dataset.train), len(dataset.test)) == (12, 6)
    (tmp_path / "zoo" / "test" / "dog").mkdir()
    with pytest.raises(DataError, match=r"test/dog is a class that .*train lacks"):
        load(tmp_path / "zoo")


def test_normalisation_is_that_of_the_training_part_unless_given(folder):
    number_images(folder)
    dataset = load(folder)
    values = dataset.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(dataset.spec.mean, values.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(dataset.spec.std, values.std(axis=(0, 2, 3)), rtol=1e-12)
    given_by_hand = load(folder, channels=1, mean=[0.0], std=[1.0])
    assert (given_by_hand.spec.mean, given_by_hand.spec.std) == ((0.0,), (1.0,))
    half = load(folder, channels=1, mean=[0.25])
    assert half.spec.mean == (0.25,)
    assert half.spec.std[0] == pytest.approx(dataset.spec.std[0])


def test_constant_images_can_be_normalised(tmp_path):
    for name in ("a", "b"):
        for number in range(3):
            paint(tmp_path / "flat" / name / f"{number}.png", (7, 7, 7))
    dataset = load(tmp_path / "flat")
    assert dataset.spec.std == (1.0, 1.0, 1.0)
    assert float(dataset.spec.normalise(dataset.train.images).abs().max()) < 1e-6


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_is_converted(tmp_path, mode, channels):
    suffix = "jpg" if mode == "CMYK" else "png"
    for name in ("a", "b"):
        for number in range(2):
            paint(tmp_path / "any" / name / f"{number}.{suffix}", (255, 255, 255), mode=mode)
    images = load(tmp_path / "any", channels=channels).train.images
    assert images.shape == (2, channels, 16, 16)
    assert images.min() >= 250


def test_the_middle_square_is_scaled(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255  # the middle is white, the sides are black
    for name in ("a", "b"):
        for number in range(2):
            (tmp_path / "wide" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(wide).save(tmp_path / "wide" / name / f"{number}.png")
    images = load(tmp_path / "wide", side=10).train.images
    assert images[..., 1:-1].min() == 255
    assert images.min() > 200  # the outermost pixels smooth over the edge


def test_other_files_are_passed_over_and_deep_ones_found(folder):
    (folder / "README.txt").write_text("about the zoo")
    (folder / "ant" / "notes.txt").write_text("about ants")
    (folder / ".thumbnails").mkdir()
    paint(folder / "ant" / "deeper" / "11.PNG", COLOURS["ant"])
    dataset = load(folder)
    assert dataset.spec.classes == 3
    assert len(dataset.train) + len(dataset.test) == 31


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_an_unreadable_file_is_named(folder, content):
    (folder / "bee" / "3.png").write_bytes(content)
    with pytest.raises(DamagedDataError, match=r"zoo/bee/3\.png cannot be read as an image"):
        load(folder)


def test_pixels_of_more_than_8_bits_are_refused(folder):
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(folder / "cow" / "0.png")
    with pytest.raises(DamagedDataError, match=r"cow/0\.png has pixels of more than 8 bits"):
        load(folder)


def test_what_is_no_folder_of_classes_is_told(folder, tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; give dataset\.path"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"zoo/ant has 0 sub-folders; expected one a class, two or more"):
        load(folder / "ant")
    (folder / "train").mkdir()
    with pytest.raises(DataError, match="has a folder train, but no folder test"):
        load(folder)
    for name in ("a", "b"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="holds no image for the training part"):
        load(tmp_path / "empty")


def test_a_relative_path_is_below_the_current_or_the_data_directory(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert image_folder.find("zoo", tmp_path) == folder
    monkeypatch.chdir(tmp_path)
    assert image_folder.find("zoo", tmp_path / "elsewhere") == folder
    with pytest.raises(DataError, match=r"there is no folder .*zoo2 nor .*elsewhere/zoo2"):
        image_folder.find("zoo2", tmp_path / "elsewhere")


def test_images_may_know_their_sites(folder):
    rows = [f"{path.relative_to(folder)},site-{int(path.stem) % 3}" for path in sorted(folder.rglob("*.png"))]
    (folder / "sites.csv").write_text("\n".join(["file,site", *rows]))
    number_images(folder)
    train = load(folder).train
    assert train.sites is not None
    for image, site in zip(train.images, train.sites, strict=True):
        assert site == f"site-{image[0, 0, 0] % 10 % 3}"


def test_a_second_reading_comes_from_the_cache_until_a_file_changes(folder):
    heard = []

    def again():
        heard.clear()
        image_folder.load(
            str(folder), folder.parent, channels=3, side=16, test_share=0.2, split_seed=0,
            progress=lambda *what: heard.append(what),
        )  # fmt: skip
        return bool(heard)

    assert again()
    assert heard[-1] == ("reading images", 30, 30, "images")
    assert not again()
    paint(folder / "ant" / "10.png", COLOURS["ant"])
    assert again()


@pytest.mark.parametrize("wrong", [{"mean": [0.5]}, {"channels": 1, "std": [1.0, 1.0, 1.0]}, {"std": [0.0, 1.0, 1.0]}])
def test_one_number_a_channel(wrong):
    with pytest.raises(ValidationError):
        ImageFolderSettings(name="image-folder", path="x", **wrong)
