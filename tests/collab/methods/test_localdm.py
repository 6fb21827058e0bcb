from __future__ import annotations

import numpy as np
import pytest
import torch

from collab.compute import CPU
from collab.methods import localdm
from collab.methods.localdm import InitialPool, Settings, distil_locally
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {"images_per_class": 3, "width": 4, "depth": 2, "local_steps": 2, "local_batch_size": 8}


def fleet(parts=None, **changes):
    dataset = gaussians()
    return LocalFleet(localdm, Settings(**{**QUICK, **changes}), dataset, parts or even_parts(dataset, 3))


def test_the_result_is_the_union_of_the_sites_images():
    each = fleet()
    outcome = each.run()
    sent = np.concatenate([upload.sections["synthetic"]["images"].values() for upload in each.uploads])
    assert outcome.synthetic.labels.tolist() == [y for y in range(4) for _ in range(3)]
    assert {image.tobytes() for image in outcome.synthetic.images.numpy()} == {image.tobytes() for image in sent}
    assert torch.equal(outcome.initial.images, outcome.synthetic.images)


def test_defaults_are_the_papers():
    assert (Settings().local_steps, Settings().local_learning_rate, Settings().local_momentum) == (1000, 1.0, 0.5)


def test_distillation_moves_the_images():
    each = fleet()
    data = each.data["client-0"]
    site = type("Site", (), {"name": "client-0", "data": data, "device": CPU})
    still = distil_locally(Settings(**{**QUICK, "local_steps": 0}), site, 1, 1)
    moved = distil_locally(Settings(**QUICK), site, 1, 1)
    again = distil_locally(Settings(**QUICK), site, 1, 1)
    assert not torch.equal(still.images, moved.images)
    assert torch.equal(moved.images, again.images)


@pytest.mark.parametrize("expand", [1, 2])
def test_a_single_sample_of_a_class_suffices(expand):
    dataset = gaussians()
    outcome = fleet(skewed_parts(dataset), expand=expand).run()
    assert outcome.synthetic.classes() == [0, 1, 2, 3]
    assert torch.isfinite(outcome.synthetic.images).all()


def test_a_site_keeps_what_it_could_only_give_away():
    """With as many images as samples the best images are the samples: nothing would move them."""
    dataset = gaussians()
    where = [np.flatnonzero(dataset.train.labels == label) for label in range(4)]
    few = np.concatenate([where[0][:1], where[1][:2], where[2][:3]])
    each = fleet([few, np.setdiff1d(np.arange(len(dataset.train)), few), where[3][:1]], images_per_class=6)
    outcome = each.run()
    sent = [upload.sections["synthetic"]["labels"].values().tolist() for upload in each.uploads]
    assert sent == [[2, 2], [0, 0, 1, 1, 2, 2, 3, 3], []]
    assert outcome.synthetic.classes() == [0, 1, 2, 3]


def pool(factor=1, budget=4):
    return InitialPool(gaussians().spec, Settings(images_per_class=budget, expand=factor), 1)


def labelled(n, label, start=0):
    images = np.arange(start, start + n, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 16, 16), np.float32)
    return images, np.full(n, label)


def test_what_is_kept_does_not_depend_on_the_order_of_arrival():
    sites = {f"client-{i}": labelled(3, 0, 10 * i) for i in range(6)}
    first, second = pool(), pool()
    for site, sent in sites.items():
        first.add(site, *sent)
    for site, sent in reversed(sites.items()):
        second.add(site, *sent)
    assert torch.equal(first.synthetic().images, second.synthetic().images)
    assert len(first.synthetic().images) == 4


def test_memory_does_not_grow_with_the_sites():
    full = pool()
    for index in range(500):
        full.add(f"client-{index}", *labelled(2, index % 4, index))
    assert max(len(kept) for kept in full._kept.values()) == 4


def test_all_sites_have_the_same_chance():
    kept = []
    for seed in range(300):
        one = InitialPool(gaussians().spec, Settings(images_per_class=1), seed)
        for index in range(3):
            one.add(f"client-{index}", *labelled(1, 0, index))
        kept.append(float(one.synthetic().images[0, 0, 0, 0]))
    counts = [kept.count(value) for value in (0.0, 1.0, 2.0)]
    assert min(counts) > 70


def test_a_class_with_too_few_images_is_filled_up():
    short = pool(budget=5)
    short.add("client-0", *labelled(2, 1, 7))
    filled = short.synthetic()
    assert filled.labels.tolist() == [1] * 5
    assert set(filled.images.unique().tolist()) == {7.0, 8.0}


def test_with_expand_it_is_filled_with_new_mosaics():
    short = pool(factor=2, budget=8)
    images = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)
    short.add("client-0", images, np.array([0, 0]))
    filled = short.synthetic().images
    tiles = {
        t.tobytes() for image in images for t in (image[:, a : a + 8, b : b + 8].copy() for a in (0, 8) for b in (0, 8))
    }
    for image in filled.numpy():
        for a in (0, 8):
            for b in (0, 8):
                assert image[:, a : a + 8, b : b + 8].copy().tobytes() in tiles
    assert len(torch.unique(filled.reshape(8, -1), dim=0)) == 8


def test_nothing_sent_gives_an_empty_set():
    empty = pool().synthetic()
    assert empty.images.shape == (0, 1, 16, 16)
    assert empty.classes() == []
