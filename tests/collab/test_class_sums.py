"""Clipped sums of a site's samples: what one sample changes, and what leaves the site."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from collab.class_sums import expected_sums, private_sums, release_of, sums_section
from collab.compute import CPU
from collab.data import SiteData
from collab.errors import RunFailedError
from collab.expectations import check_sections
from collab.methods.collabdm import Settings, network_seeds
from collab.nets import seeded_network
from collab.privacy.gaussian_mechanism import PrivacySettings, Release
from collab.privacy.inspection import ContentInspector
from collab.quantisation import numbers
from collab.wire import Content, pack
from simnet import Message
from tests.collab.fleets import gaussians

SECRET = bytes(range(32))
SERVED = list(enumerate(network_seeds(3, 5)))
CLIP = 2.0


def settings(**changes):
    given = {"width": 4, "depth": 2, "iterations": 5, "batch_size": "all", "initial": "noise", **changes}
    return Settings(**given, privacy={"epsilon": 1.0, "clip_norm": CLIP})


class Silent(Release):
    """A release that forgets its noise."""

    def noisy(self, sums, counts, key):
        return sums, counts


def exact(data, **changes):
    """The sums that the noise is added to."""
    silent = Silent(1.0, 1e-5, CLIP, 0.25, rows=10)
    return private_sums(settings(**changes), silent, data, CPU, SERVED, SECRET)


def site(dataset, chosen):
    return SiteData(dataset.train.take(np.asarray(chosen)), dataset.spec)


@pytest.mark.parametrize("changes", [{}, {"augmentations": 2, "server_epochs": 2}, {"augment": False}])
def test_one_sample_moves_one_class_under_each_network_by_the_clip_norm_at_most(changes):
    dataset = gaussians()
    whole, left_out = np.arange(40), 7
    (many, counts), (fewer, fewer_counts) = (
        exact(site(dataset, kept), **changes) for kept in (whole, np.delete(whole, left_out))
    )
    label = dataset.train.labels[left_out]
    moved = np.linalg.norm(many - fewer, axis=2)
    assert moved.shape == (5 * changes.get("augmentations", 1), 4)
    assert (moved[:, label] <= CLIP * (1 + 1e-6)).all()
    assert (moved[:, label] > 0.5 * CLIP).all()  # the clip is what bounds it here: embeddings are longer
    assert np.delete(moved, label, axis=1).max() < 1e-5
    assert (counts - fewer_counts).tolist() == [int(y == label) for y in range(4)]


def test_embeddings_that_are_short_enough_are_left_as_they_are():
    dataset = gaussians()
    data = site(dataset, np.arange(30))
    chosen = settings(augment=False)
    release = PrivacySettings(epsilon=1000, delta=0.1, clip_norm=100).release(5)
    sums, _ = private_sums(chosen, release, data, CPU, SERVED, SECRET)
    for row, (_, seed) in enumerate(SERVED):
        network = seeded_network(chosen.network(dataset.spec), seed)
        for label in data.classes_present:
            plain = network.embed(data.of_class(label)).sum(dim=0).numpy()
            np.testing.assert_allclose(sums[row, label], plain, atol=6 * release.sum_deviation)
            assert torch.linalg.vector_norm(network.embed(data.of_class(label)), dim=1).max() < 100


def test_a_site_without_a_sample_releases_noise_like_all_others():
    dataset = gaussians()
    chosen = settings()
    release = release_of(chosen, chosen.privacy)
    empty, counts = private_sums(chosen, release, site(dataset, np.array([], dtype=int)), CPU, SERVED, SECRET)
    assert empty.shape == (5, 4, chosen.network(dataset.spec).embedding_size)
    assert empty.std() == pytest.approx(release.sum_deviation, rel=0.1)
    assert counts.shape == (4,)
    assert counts.any()


def test_the_same_release_has_the_same_noise_and_no_other_has():
    dataset = gaussians()
    data, other = site(dataset, np.arange(20)), site(dataset, np.arange(1, 20))
    chosen = settings()
    release = release_of(chosen, chosen.privacy)
    first, counts = private_sums(chosen, release, data, CPU, SERVED, SECRET)
    np.testing.assert_array_equal(first, private_sums(chosen, release, data, CPU, SERVED, SECRET)[0])
    less = PrivacySettings(epsilon=2.0, clip_norm=CLIP).release(5)
    for changed in (
        (release, other, SERVED, SECRET), (release, data, SERVED, bytes(32)), (less, data, SERVED, SECRET),
        (release, data, list(enumerate(network_seeds(4, 5))), SECRET),
    ):  # fmt: skip
        theirs, _ = private_sums(chosen, changed[0], changed[1], CPU, *changed[2:])
        noises = [first / release.sum_deviation, theirs / changed[0].sum_deviation]
        assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.2
    assert counts.dtype == np.int64


def test_a_server_that_asks_for_more_networks_than_the_noise_is_for_gets_nothing():
    dataset = gaussians()
    chosen = settings()
    release = release_of(chosen, chosen.privacy)
    more = list(enumerate(network_seeds(3, 6)))
    with pytest.raises(RunFailedError, match="under 6 networks and augmentations, the noise hides a sample under 5"):
        private_sums(chosen, release, site(dataset, np.arange(9)), CPU, more, SECRET)


def test_a_site_without_a_secret_gives_nothing():
    dataset = gaussians()
    chosen = settings()
    with pytest.raises(RunFailedError, match="noise needs a secret of the site of 32 B, found 0 B"):
        private_sums(chosen, release_of(chosen, chosen.privacy), site(dataset, np.arange(9)), CPU, SERVED, b"")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "int4"])
def test_sums_travel_in_every_type_and_pass_the_boundary(dtype):
    spec = settings().network(gaussians().spec)
    release = release_of(settings(), settings().privacy)
    draws = np.random.default_rng(0)
    sums, counts = draws.normal(0, 50, (5, 4, spec.embedding_size)), np.array([3, -2, 50, 0])
    section = sums_section(sums, counts, dtype)
    check_sections({"embeddings": section}, {"embeddings": expected_sums(release, 5, spec, dtype, 1000)})
    assert ContentInspector().inspect("client-0", Message(pack(Content({}, {"embeddings": section}))), "leaving") == {
        "embeddings"
    }
    step = {"int8": 400 / 255, "int4": 400 / 15}.get(dtype, 0)
    np.testing.assert_allclose(numbers(section, "sums"), sums, rtol=2**-8, atol=step)


def test_sums_too_large_for_their_type_are_told():
    with pytest.raises(RunFailedError, match=r"reach 7e\+04, float16 holds 65504; set embedding_dtype: float32"):
        sums_section(np.full((1, 1, 2), 7e4), np.array([1]), "float16")
