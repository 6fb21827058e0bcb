"""Sums that a few liars cannot move."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from collab.embedding_sums import EmbeddingSums
from collab.nets import NetworkSpec
from collab.robust_sums import GroupedSums, RobustSettings, sums_for
from collab.wire import encode

SPEC = NetworkSpec(1, 1, 1, 4, 3)  # three classes
SITES = [f"client-{index}" for index in range(10)]
PLAIN = SimpleNamespace(iterations=2, augmentations=1, weighting="counts", robust=None)


def section(means, counts, classes=(0, 1, 2)):
    return {
        "classes": encode(np.asarray(classes), "uint8"),
        "counts": encode(np.asarray(counts), "int64"),
        "means": encode(np.asarray(means, dtype=np.float32)),
    }


def honest(site):
    """Means [2, 3, 16] near 1, 2 and 3."""
    base = np.arange(1.0, 4.0)[None, :, None]
    return base + np.random.default_rng(SITES.index(site)).normal(0, 0.1, (2, 3, SPEC.embedding_size))


def filled(sums, liars=(), lie=900.0, claimed=10):
    for site in SITES:
        lies = site in liars
        means = np.full((2, 3, SPEC.embedding_size), lie) if lies else honest(site)
        sums.of(site).add(section(means, [claimed if lies else 10] * 3), range(2))
    return sums


def robust(seed=4, **settings):
    return GroupedSums(PLAIN, RobustSettings(**settings), SPEC, SITES, seed)


@pytest.mark.parametrize(
    "settings", [{"groups": 5}, {"groups": 10}, {"groups": 5, "combine": "trimmed"}, {"groups": 5, "clip_norm": 50}]
)
@pytest.mark.parametrize("claimed", [10, 2**27 // 10])
def test_one_liar_of_ten_moves_the_mean_of_all_and_no_middle(settings, claimed):
    truth = filled(EmbeddingSums(PLAIN, SPEC)).target(1, range(3)).means
    plain = filled(EmbeddingSums(PLAIN, SPEC), SITES[3:4], claimed=claimed).target(1, range(3)).means
    held = filled(robust(**settings), SITES[3:4], claimed=claimed).target(1, range(3))
    assert (plain - truth).abs().min() > 80
    assert held.classes == [0, 1, 2]
    assert (held.means - truth).abs().max() < 0.3


def test_half_of_the_groups_is_too_many():
    """Ten groups of one: with four liars the median is honest, with six it is theirs."""
    assert filled(robust(groups=10), SITES[:4]).target(0, range(3)).means.max() < 4
    assert filled(robust(groups=10), SITES[:6]).target(0, range(3)).means.min() > 800


def test_clipping_alone_bounds_the_length_of_a_lie():
    truth = filled(EmbeddingSums(PLAIN, SPEC)).target(0, range(3)).means
    clipped = filled(robust(clip_norm=16.0), SITES[3:4]).target(0, range(3)).means
    # one of ten equal votes, of a vector of length 16 at most; honest ones are shorter and stay as they are
    assert torch.linalg.vector_norm(clipped - 0.9 * truth, dim=1).max() < 1.6 + 0.15
    plain = filled(robust(clip_norm=1000.0)).target(0, range(3)).means
    torch.testing.assert_close(plain, truth)


def test_without_liars_the_groups_say_what_all_say_nearly():
    truth = filled(EmbeddingSums(PLAIN, SPEC)).target(0, range(3)).means
    for settings in ({"groups": 3}, {"groups": 5, "combine": "trimmed", "trim": 0.4}):
        assert (filled(robust(**settings)).target(0, range(3)).means - truth).abs().max() < 0.2


def test_the_median_and_the_trimmed_mean_are_those_of_the_groups():
    for combine, trim in (("median", 0.2), ("trimmed", 0.25), ("trimmed", 0.01)):
        sums = robust(groups=4, combine=combine, trim=trim)
        filled(sums)
        each = np.sort(np.stack([group.target(0, range(3)).means.numpy() for group in sums._groups]), axis=0)
        np.testing.assert_allclose(sums.target(0, range(3)).means, each[1:3].mean(axis=0), rtol=1e-6)


def test_groups_are_even_and_dealt_by_the_seed():
    def groups(seed):
        sums = robust(seed, groups=4)
        return [sums._groups.index(sums.of(site)) for site in SITES]

    assert sorted(np.bincount(groups(1)).tolist()) == [2, 2, 3, 3]
    assert groups(1) == groups(1) != groups(2)


def test_a_class_is_judged_by_the_groups_that_hold_it():
    sums = robust(groups=10)
    for site in SITES[:3]:
        sums.of(site).add(section(honest(site)[:, :1], [5], classes=[2]), range(2))
    assert sums.classes() == [2]
    assert sums.target(0, [0, 2]).classes == [2]
    assert robust(groups=3).target(0, range(3)).means.shape == (0, SPEC.embedding_size)
    assert robust(groups=3).classes() == []


def test_sums_are_plain_unless_the_settings_say_so():
    assert isinstance(sums_for(PLAIN, SPEC, SITES, 1), EmbeddingSums)
    grouped = SimpleNamespace(**{**vars(PLAIN), "robust": RobustSettings(groups=3)})
    assert isinstance(sums_for(grouped, SPEC, SITES, 1), GroupedSums)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({}, "neither clip_norm nor groups is given"), ({"groups": 2}, "greater than or equal to 3"),
     ({"groups": 3, "trim": 0.5}, "less than 0.5"), ({"clip_norm": 0}, "greater than 0")],
)  # fmt: skip
def test_settings_that_protect_from_nothing_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        RobustSettings(**settings)
