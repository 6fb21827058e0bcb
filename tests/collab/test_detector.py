"""Detectors: what judging trains, in a file that suffices on its own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from collab import detector, synthetic_file
from collab.data import GaussiansSettings, load_dataset
from collab.data.flows.flow_format import published_format
from collab.data.flows.recipe import EVERYWHERE, FlowRecipe
from collab.errors import DamagedDataError, DataError, ScenarioError
from collab.store import find_run
from tests.collab.recordings import record
from tests.collab.test_run import TEXT

CLASSES = {"0": ("Benign",), "1": ("HTTPFlood",), "2": ("UDPFlood",), "3": ("SYNScan",)}
NIDD = published_format("nidd").with_classes(CLASSES, "2")
RECIPE = FlowRecipe(
    format=NIDD, layout="packed", side=16, windows="time", pixels="grey", blank=(),
    ranges={EVERYWHERE: tuple(feature.known_range for feature in NIDD.features)},
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return find_run(str(record(tmp_path_factory.mktemp("runs"), "evaluation.epochs=12", text=TEXT, name="one")))


@pytest.fixture(scope="module")
def whole(run):
    return synthetic_file.of_run(run, "collabdm")


@pytest.fixture(scope="module")
def made(whole):
    return detector.train(whole, whole.origin.training, whole.origin.seed)


@pytest.fixture
def path(tmp_path, made):
    path = tmp_path / "detector.safetensors"
    detector.write(made, path)
    return path


def test_it_is_the_network_that_judging_trained(run, made):
    """Of the same settings and seed, and so it says of every test image what that one said."""
    dataset = load_dataset(GaussiansSettings(name="gaussians", samples_per_class=40), 3)
    found = made.probabilities(dataset.test.images).argmax(axis=1)
    accuracy = float((found == dataset.test.labels).mean())
    assert accuracy == run.methods[0].outcome["accuracies"]["convnet"][0]
    assert accuracy > 0.25


def test_the_file_of_a_set_trains_nearly_the_same(tmp_path, whole, made):
    (tmp_path / "set.npz").write_bytes(synthetic_file.packed(whole, "float16"))
    found = synthetic_file.read(tmp_path / "set.npz")
    other = detector.train(found, found.origin.training, found.origin.seed)
    for mine, theirs in zip(made.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.002)
    assert other.about == made.about


def test_the_same_seed_gives_the_same_file_and_another_another(tmp_path, whole):
    contents = []
    for number, seed in enumerate((3, 3, 4)):
        path = tmp_path / str(number)
        detector.write(detector.train(whole, whole.origin.training, seed), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_it_comes_back(path, made):
    found = detector.read(path)
    assert found.about == made.about
    assert found.network.checksum() == made.network.checksum()
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), np.uint8)
    probabilities = found.probabilities(images)
    np.testing.assert_array_equal(probabilities, made.probabilities(images))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (found.recipe, found.benign_class) == (None, None)


def test_the_recipe_and_the_benign_class_are_in_the_file(tmp_path, whole):
    origin = whole.origin.model_copy(update={"recipe": RECIPE, "benign": "2"})
    training = origin.training.model_copy(update={"epochs": 1})
    detector.write(detector.train(replace(whole, origin=origin), training, 1), tmp_path / "flows")
    found = detector.read(tmp_path / "flows")
    assert (found.recipe, found.benign_class) == (RECIPE, 2)


def test_a_detector_that_would_not_be_read_is_not_written(tmp_path, made):
    origin = made.about.trained_on.model_copy(update={"benign": "peace"})
    wrong = replace(made, about=made.about.model_copy(update={"trained_on": origin}))
    with pytest.raises(DataError, match='the detector is not consistent: benign is "peace", expected one of 0, 1, 2'):
        detector.write(wrong, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_others_can_read_it(path):
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["detector"])
        assert "detector/head.weight" in file.keys()  # noqa: SIM118  (no map)
    assert about["class_names"] == ["0", "1", "2", "3"]
    assert about["trained_on"]["title"] == "gaussians"


def test_images_too_small_for_the_network_are_named(whole):
    training = whole.origin.training.model_copy(update={"depth": 5})
    with pytest.raises(ScenarioError, match="convnet of depth 5 cannot take images of 16x16 pixels"):
        detector.train(whole, training, 1)


# -- files that are none -------------------------------------------------------------------------


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none; make one with: collab train-detector RUN"):
        detector.read(tmp_path / "none")


def test_what_is_something_else_is_told_by_its_first_bytes(tmp_path, whole):
    (tmp_path / "set.npz").write_bytes(synthetic_file.packed(whole, "float16"))
    (tmp_path / "flows.csv").write_text("bytes,load,proto,kind\n1,2,tcp,web\n")
    told = {
        "set.npz": r"is an archive, a synthetic set perhaps, and no detector; .*: collab train-detector .*set\.npz$",
        "flows.csv": r"is no detector but text, flow records perhaps; .*: collab detect MODEL FLOWS\.csv$",
        ".": "is a directory, no detector; make one with: collab train-detector",
    }
    for name, said in told.items():
        with pytest.raises(DataError, match=said):
            detector.read(tmp_path / name)


def test_a_file_cut_off_anywhere_is_damaged(path):
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedDataError, match=r"detector\.safetensors"):
            detector.read(path)


def about_with(path, **changes):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    return {**metadata, "detector": json.dumps({**json.loads(metadata["detector"]), **changes})}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"form": "collab detector 2"}, "metadata, detector, form: Input should be 'collab detector 1'"),
        ({"class_names": ["a", "b"]}, "the network has 4 classes, expected one for each of a, b"),
        ({"more": 1}, "metadata, detector, more: Extra inputs"),
        ({"trained_on": {}}, r"metadata, detector, trained_on\.dataset: Field required"),
    ],
)
def test_another_about_is_named(path, changes, reason):
    save_file(load_file(path), path, metadata=about_with(path, **changes))
    with pytest.raises(DamagedDataError, match=rf"detector\.safetensors is damaged: {reason}"):
        detector.read(path)


def test_a_recipe_for_other_images_is_named(path, made):
    recipe = RECIPE.model_copy(update={"side": 64})
    origin = made.about.trained_on.model_copy(update={"recipe": recipe}).model_dump(mode="json")
    save_file(load_file(path), path, metadata=about_with(path, trained_on=origin))
    with pytest.raises(DamagedDataError, match="its images are 1x16x16, the recipe makes 1x64x64"):
        detector.read(path)


def test_a_recipe_of_other_classes_is_named(path, made):
    origin = made.about.trained_on.model_dump(mode="json")
    recipe = RECIPE.model_copy(update={"format": published_format("nidd")}).model_dump(mode="json")
    save_file(load_file(path), path, metadata=about_with(path, trained_on={**origin, "recipe": recipe}))
    with pytest.raises(DamagedDataError, match="its classes are 0, 1, 2, 3, those of its recipe Benign, HTTPFlood, "):
        detector.read(path)


def test_a_benign_class_that_is_none_is_named(path, made):
    origin = made.about.trained_on.model_copy(update={"benign": "peace"}).model_dump(mode="json")
    save_file(load_file(path), path, metadata=about_with(path, trained_on=origin))
    with pytest.raises(DamagedDataError, match='benign is "peace", expected one of 0, 1, 2, 3'):
        detector.read(path)


def test_networks_of_a_run_are_no_detector(path):
    with safe_open(path, framework="numpy") as file:
        metadata = {"networks": file.metadata()["networks"]}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(DamagedDataError, match="is no detector: its metadata have no detector; make one with"):
        detector.read(path)


def test_a_weight_that_was_changed_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedDataError, match="the weights have the SHA-256"):
        detector.read(path)
