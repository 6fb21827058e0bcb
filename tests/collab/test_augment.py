"""Each operation against its law, written out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from collab import augment
from collab.augment import OPERATIONS, crop_and_flip, per_sample, siamese
from simnet.draws import generator


@pytest.fixture
def images():
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def uniforms(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_color_is_brightness_then_saturation_then_contrast(images):
    done = augment._color(images, uniforms([0.75], [0.2], [0.9]))
    x = images + 0.25
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * 0.4 + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(done, (x - mean) * 1.4 + mean)


def test_grey_images_have_no_saturation(images):
    grey = images[:, :1]
    few, many = (augment._color(grey, uniforms([0.5], [saturation], [0.5])) for saturation in (0.0, 1.0))
    torch.testing.assert_close(few, many)


@pytest.mark.parametrize(("u", "shift"), [(0.0, -2), (0.5, 0), (0.999, 2), (0.25, -1)])
def test_crop_shifts_by_whole_pixels_and_fills_with_zero(images, u, shift):
    # Side 16: shifts in [-2, 2].
    done = augment._crop(images, uniforms([u], [0.5], [0.0]))
    padded = functional.pad(images, (0, 0, 2, 2))
    torch.testing.assert_close(done, padded[:, :, 2 - shift : 18 - shift])


def test_crop_of_each_sample_by_its_own_shift(images):
    u = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    together = augment._crop(images, u)
    one_by_one = [augment._crop(images[i : i + 1], u[:, i : i + 1]) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(one_by_one))


def test_cutout_blanks_half_the_side_around_its_centre(images):
    done = augment._cutout(images, uniforms([8 / 17 + 0.01], [0.0], [0.0]))
    expected = images.clone()
    expected[:, :, 4:12, 0:4] = 0  # rows centred at 8; columns at 0, so half of the patch is off the image
    torch.testing.assert_close(done, expected)


def test_flip_mirrors_left_and_right(images):
    torch.testing.assert_close(augment._flip(images, uniforms([0.4], [0], [0])), images.flip(-1))
    torch.testing.assert_close(augment._flip(images, uniforms([0.6], [0], [0])), images)


def test_scale_of_one_and_no_rotation_change_nothing(images):
    one = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)
    torch.testing.assert_close(augment._scale(images, uniforms([one], [one], [0])), images, atol=1e-4, rtol=0)
    torch.testing.assert_close(augment._rotate(images, uniforms([0.5], [0], [0])), images, atol=1e-4, rtol=0)


def test_scale_stretches_each_axis_by_its_factor():
    # A grid factor of 1.2 in x samples 1.2 times as far from the centre: a ramp in x becomes 1.2 times as steep.
    ramp = torch.linspace(-15 / 16, 15 / 16, 16).expand(1, 1, 16, 16)
    done = augment._scale(ramp, uniforms([1.0], [(1 - 1 / 1.2) / (1.2 - 1 / 1.2)], [0]))
    torch.testing.assert_close(done[0, 0, 8, 3:13], 1.2 * ramp[0, 0, 8, 3:13], atol=1e-5, rtol=0)


def test_rotation_turns_by_the_angle():
    ramp = torch.linspace(-15 / 16, 15 / 16, 16).expand(1, 1, 16, 16)
    done = augment._rotate(ramp, uniforms([1.0], [0], [0]))
    angle = math.radians(15)
    y = ramp[0, 0, 0][:, None]
    expected = ramp[0, 0] * math.cos(angle) - y * math.sin(angle)
    torch.testing.assert_close(done[0, 0, 5:11, 5:11], expected[5:11, 5:11], atol=1e-5, rtol=0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_siamese_treats_every_batch_alike(images, operation):
    """A real and a synthetic batch of other sizes get the same operation with the same strength."""
    large = siamese([operation], generator(1, "a"))(images)
    small = siamese([operation], generator(1, "a"))(images[2:4])
    torch.testing.assert_close(large[2:4], small)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_lets_gradients_through(images, operation):
    images.requires_grad_()
    siamese([operation], generator(2, "a"))(images).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert float(images.grad.abs().sum()) > 0


def test_per_sample_parameters_differ(images):
    same = images[:1].expand(6, -1, -1, -1)
    done = per_sample(["color"], generator(0), 6)(same)
    assert len(torch.unique(done.reshape(6, -1), dim=0)) == 6


def test_the_strategy_is_drawn_from_evenly(monkeypatch):
    draws = generator(0, "counts")
    grey = torch.zeros(1, 1, 8, 8)
    seen = []
    table = {name: lambda image, u, name=name: seen.append(name) or image for name in OPERATIONS}
    monkeypatch.setattr(augment, "_APPLY", table)
    for _ in range(1000):
        siamese(OPERATIONS, draws)(grey)
    counts = np.array([seen.count(name) for name in OPERATIONS])
    assert counts.sum() == 1000
    assert counts.min() > 120


def test_no_strategy_changes_nothing(images):
    assert siamese((), generator(0))(images) is images


@pytest.mark.parametrize(("reach", "flip"), [(4, True), (4, False), (0, True), (0, False)])
def test_crop_and_flip_is_what_classifiers_are_trained_under(reach, flip):
    """Every image padded by hand, a window of it taken, and mirrored or not: one of the windows must be it."""
    images = torch.rand(5, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    moved = crop_and_flip(generator(1, "crops"), 5, reach=reach, flip=flip)(images)
    assert torch.equal(moved, crop_and_flip(generator(1, "crops"), 5, reach=reach, flip=flip)(images))
    found = set()
    for before, after in zip(images, moved, strict=True):
        padded = torch.nn.functional.pad(before, (reach,) * 4)
        windows = {
            (row, column, mirrored): window.flip(-1) if mirrored else window
            for row in range(2 * reach + 1)
            for column in range(2 * reach + 1)
            for mirrored in ((False, True) if flip else (False,))
            for window in (padded[:, row : row + 9, column : column + 9],)
        }
        matching = [where for where, window in windows.items() if torch.equal(window, after)]
        assert matching
        found.add(matching[0])
    assert len(found) > 1 or (reach == 0 and not flip)


def test_crops_reach_every_shift_equally_often():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    moved = crop_and_flip(generator(1, "many"), 4000, reach=2, flip=False)(image.expand(4000, -1, -1, -1))
    counts = moved.sum(dim=0)[0, 2:7, 2:7]
    assert float(counts.sum()) == 4000
    assert float((counts / 160 - 1).abs().max()) < 0.3
