"""Where the server starts, when it starts from noise."""

from __future__ import annotations

import torch

from collab.refinement import noise_set
from tests.collab.fleets import gaussians

IMAGES = gaussians(channels=3, side=16).spec


def test_noise_is_standard_normal_and_the_same_for_a_class_whatever_the_others_are():
    several, alone = noise_set(IMAGES, [0, 2, 3], 50, 2, seed=5), noise_set(IMAGES, [2], 50, 2, seed=5)
    assert several.images.shape == (150, 3, 16, 16)
    assert several.labels.tolist() == [0] * 50 + [2] * 50 + [3] * 50
    assert several.expand == 2
    assert torch.equal(several.of_class(2), alone.images)
    assert not torch.equal(several.of_class(2), several.of_class(3))
    # 115,200 numbers: the mean is within 0.003 (one standard error), the deviation within 0.0021
    assert abs(float(several.images.mean())) < 0.012
    assert abs(float(several.images.std()) - 1) < 0.0085
    assert not torch.equal(noise_set(IMAGES, [2], 50, 2, seed=6).images, alone.images)


def test_noise_for_no_class_is_no_image():
    assert noise_set(IMAGES, [], 50, 1, seed=5).images.shape == (0, 3, 16, 16)
