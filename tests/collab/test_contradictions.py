from __future__ import annotations

import pytest

from collab.errors import ScenarioError
from tests.collab.test_scenario import TEXT, parse

SIDES = [
    ("{name: digits, side: 20}", 20),
    ("{name: mnist}", 28),
    ("{name: cifar10}", 32),
    ("{name: cifar10-jpeg}", 32),
    ("{name: svhn}", 32),
    ("{name: image-folder, path: anywhere, side: 64}", 64),
    ("{name: gaussians, side: 16}", 16),
]


@pytest.mark.parametrize(("dataset", "side"), SIDES)
def test_the_size_of_the_images_is_known_before_they_are_read(dataset, side):
    text = TEXT.replace("dataset: {name: gaussians}", f"dataset: {dataset}")
    assert parse(text).dataset.side == side
    expected = f"test.yaml:4:70: method.expand: images of {side} pixels cannot be cut into 3 tiles a side"
    with pytest.raises(ScenarioError, match=expected):
        parse(text.replace("expand: 2", "expand: 3"))


def test_the_strategy_of_augmentation_is_checked_when_it_is_read():
    text = TEXT.replace("{name: gaussians}", "{name: mnist, augmentation: [color, flip]}")
    assert parse(text).dataset.augmentation == ("color", "flip")
    assert parse(text.replace("[color, flip]", "[]")).dataset.augmentation == ()
    with pytest.raises(ScenarioError, match=r'dataset\.augmentation\.1: found "flop"'):
        parse(text.replace("flip", "flop"))


def test_statistics_of_a_folder_are_one_a_channel():
    text = TEXT.replace("{name: gaussians}", "{name: image-folder, path: x, channels: 1, mean: [0.1, 0.2]}")
    with pytest.raises(ScenarioError, match=r"dataset\.mean: 2 numbers for 1 channels; expected one each"):
        parse(text)
