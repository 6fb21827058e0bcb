"""Synthetic sets as pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from collab import run, scenario
from collab.store import open_run
from collab.store.pictures import picture_strip
from tests.collab.test_run import TEXT


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_column_a_class_and_white_where_there_is_none(channels):
    images = np.zeros((3, channels, 8, 8), np.float32)
    images[:, :, 4:] = 1.0
    picture = opened(picture_strip(images, np.array([0, 2, 2]), 3, enlarged=True, white=True))
    assert picture.shape == (17 * 8, 26 * 8, 3)
    assert (picture[:32, :64] == 0).all()
    assert (picture[32:64, :64] == 255).all()
    assert (picture[:, 72:136] == 255).all()  # no image of class 1
    assert (picture[72:104, 144:] == 0).all()  # the second of class 2


def test_large_pictures_are_not_enlarged_beyond_measure():
    images = np.zeros((100, 1, 28, 28), np.float32)
    picture = opened(picture_strip(images, np.zeros(100, np.int64), 1, enlarged=True))
    assert picture.shape == (100 * 30 - 2, 28, 4)


def test_an_empty_set_has_a_picture():
    assert opened(picture_strip(np.zeros((0, 1, 8, 8), np.float32), np.zeros(0, np.int64), 2)).shape == (8, 17, 4)


def test_a_run_leaves_one_of_each_synthetic_set(tmp_path):
    chosen = scenario.parse(TEXT, "tiny.yaml", ["baselines=[localdm]", "evaluation.epochs=1"])
    with open_run(tmp_path, chosen.name, None) as writer:
        run.run_scenario(chosen, writer)
    pictures = sorted(path.relative_to(writer.final) for path in writer.final.rglob("*.png"))
    assert [str(path) for path in pictures] == ["collabdm/synthetic.png", "localdm/synthetic.png"]
    with Image.open(writer.final / pictures[0]) as picture:
        assert picture.mode == "RGB"
