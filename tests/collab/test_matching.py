from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given
from hypothesis import strategies as st

from collab.augment import siamese
from collab.matching import (
    Descent,
    Moments,
    SyntheticSet,
    class_moments,
    draw_with_spares,
    expand,
    initial_set,
    matching_loss,
    mosaic,
)
from collab.nets import NetworkSpec, seeded_network
from simnet.draws import generator

SPEC = NetworkSpec(6, 2, 1, 12, 3)


def random_images(n, seed=0, side=12):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_expand_cuts_rows_of_tiles_block_by_block():
    images = torch.arange(2 * 16.0).reshape(2, 1, 4, 4)
    done = expand(images, 2)
    assert done.shape == (8, 1, 4, 4)
    tiles = [images[:, :, :2, :2], images[:, :, :2, 2:], images[:, :, 2:, :2], images[:, :, 2:, 2:]]
    for index, tile in enumerate(tiles):
        enlarged = functional.interpolate(tile, size=(4, 4), mode="bilinear", align_corners=False)
        torch.testing.assert_close(done[2 * index : 2 * index + 2], enlarged)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_expanding_the_initial_mosaics_gives_back_the_shrunken_images(factor):
    """Up to the blur of enlarging: shrinking what was expanded gives the shrunken originals nearly exactly."""
    smooth = functional.interpolate(random_images(4 * factor**2, side=3), size=(12, 12), mode="bilinear")
    mosaics = mosaic(smooth, factor)
    assert mosaics.shape == (4, 1, 12, 12)
    expanded = expand(mosaics, factor)
    assert expanded.shape == smooth.shape
    shrunken = functional.avg_pool2d(smooth, factor) if factor > 1 else smooth
    enlarged = functional.interpolate(shrunken, size=(12, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(expanded, enlarged)  # in the same order, too


def test_labels_repeat_block_by_block():
    synthetic = SyntheticSet(random_images(3), torch.tensor([0, 1, 2]), 2)
    assert synthetic.expanded().labels.tolist() == [0, 1, 2] * 4
    assert SyntheticSet(random_images(3), torch.tensor([0, 1, 2])).expanded().images.shape[0] == 3


def slow_loss(network, real_of, synthetic_of, deviations):
    """Equation (3), class by class and image by image, in float64."""
    loss = 0.0
    for real, synthetic in zip(real_of, synthetic_of, strict=True):
        embeddings = [
            np.array([network.embed(image[None])[0].detach().double().numpy() for image in images])
            for images in (real, synthetic)
        ]
        loss += ((embeddings[0].mean(axis=0) - embeddings[1].mean(axis=0)) ** 2).sum()
        if deviations:
            loss += ((embeddings[0].std(axis=0, ddof=1) - embeddings[1].std(axis=0, ddof=1)) ** 2).sum()
    return loss


@pytest.mark.parametrize("deviations", [False, True])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_loss_is_the_papers(deviations, factor):
    network = seeded_network(SPEC, 3)
    real_of = [random_images(7, 1), random_images(5, 2)]
    portions = [real_of[0].split(3), [real_of[1]]]
    synthetic = SyntheticSet(random_images(6, 3), torch.tensor([0, 0, 0, 2, 2, 2]), factor)
    augmentations = [siamese(["color", "scale", "crop"], generator(1, label)) for label in (0, 2)]
    target = class_moments(network, portions, [0, 2], augmentations, deviations=deviations)
    loss = matching_loss(network, synthetic, target, augmentations)
    expected = slow_loss(
        network,
        [augment(real) for augment, real in zip(augmentations, real_of, strict=True)],
        [augment(expand(synthetic.of_class(y), factor)) for augment, y in zip(augmentations, (0, 2), strict=True)],
        deviations,
    )
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_a_single_image_has_no_deviation():
    network = seeded_network(SPEC, 3)
    moments = class_moments(network, [[random_images(1)]], [0], [lambda x: x], deviations=True)
    assert moments.deviations.abs().max() == 0
    synthetic = SyntheticSet(random_images(1, 5).requires_grad_(), torch.tensor([0]))
    matching_loss(network, synthetic, moments, [lambda x: x]).backward()
    assert torch.isfinite(synthetic.images.grad).all()


def test_classes_without_a_target_do_not_move():
    network = seeded_network(SPEC, 3)
    synthetic = SyntheticSet(random_images(2), torch.tensor([0, 1]))
    before = synthetic.images.clone()
    target = Moments([1], class_moments(network, [[random_images(4, 9)]], [1], [lambda x: x]).means)
    Descent(synthetic, 1.0, 0.5).step(lambda current: matching_loss(network, current, target, [lambda x: x]))
    assert torch.equal(synthetic.images[0], before[0])
    assert not torch.equal(synthetic.images[1], before[1])


def test_descent_is_torchs_sgd():
    target = random_images(4, 1)
    synthetic = SyntheticSet(random_images(4, 2), torch.arange(4))
    theirs = synthetic.images.clone().requires_grad_()
    optimiser = torch.optim.SGD([theirs], lr=0.1, momentum=0.5)
    descent = Descent(synthetic, 0.1, 0.5)
    for _ in range(5):
        loss = descent.step(lambda current: ((current.images - target) ** 2).sum())
        optimiser.zero_grad()
        expected = ((theirs - target) ** 2).sum()
        expected.backward()
        optimiser.step()
        assert loss == pytest.approx(float(expected.detach()))
    torch.testing.assert_close(synthetic.images, theirs.detach())


def test_the_initial_set_is_made_of_real_images():
    drawn = []

    def draw(label, size):
        drawn.append((label, size))
        return torch.full((size, 1, 12, 12), float(label))

    synthetic = initial_set(draw, [1, 4], 3, 2)
    assert drawn == [(1, 3)] * 4 + [(4, 3)] * 4
    assert synthetic.labels.tolist() == [1, 1, 1, 4, 4, 4]
    assert synthetic.classes() == [1, 4]
    assert synthetic.of_class(4).unique().tolist() == [4.0]


@given(st.integers(1, 20), st.integers(1, 60))
def test_spare_draws_go_round_before_they_repeat(held, size):
    indices = draw_with_spares(held, size, np.random.default_rng(0))
    counts = np.bincount(indices, minlength=held)
    assert len(indices) == size
    assert counts.max() - counts.min() <= 1


def test_a_step_that_matches_some_images_is_the_step_of_their_set():
    """Plain torch on the drawn images alone; the others move by what momentum they have."""
    network, rows = seeded_network(SPEC, 3), torch.tensor([1, 2, 5])
    images, labels = random_images(6), torch.tensor([0, 0, 0, 1, 1, 1])
    target = Moments([0, 1], torch.rand(2, SPEC.embedding_size, generator=torch.Generator().manual_seed(1)))
    augmentations = [lambda x: x] * 2
    descent = Descent(SyntheticSet(images.clone(), labels), learning_rate=2.0, momentum=0.5)
    descent.step_toward(network, target, augmentations, rows=rows)
    leaf = images[rows].clone().requires_grad_()
    matching_loss(network, SyntheticSet(leaf, labels[rows]), target, augmentations).backward()
    expected = images.clone()
    expected[rows] -= 2.0 * leaf.grad
    torch.testing.assert_close(descent.synthetic.images, expected)
    once = descent.synthetic.images.clone()
    descent.step_toward(network, target, augmentations, rows=torch.tensor([0, 3]))
    torch.testing.assert_close(descent.synthetic.images[1], once[1] - (images[1] - once[1]) * 0.5)
