"""CollabDM under differential privacy: what is refused, what leaves a site, what comes out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from collab import methods
from collab.costs import costs_of
from collab.embedding_sums import EmbeddingSums
from collab.errors import ScenarioError
from collab.methods import Site, Task, collabdm
from collab.methods.collabdm import Settings, upload_bytes
from collab.wire import encode
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts
from tests.collab.test_scenario import TEXT, parse

LOUD = {"epsilon": 0.5, "delta": 1e-5, "clip_norm": 2.0}
SILENT = {"epsilon": 1000, "delta": 0.5, "clip_norm": 8.0, "count_weight": 1.0}
QUICK = {
    "images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": "all", "initial": "noise",
    "embedding_dtype": "float32",
}  # fmt: skip


def fleet(dataset=None, parts=None, privacy=LOUD, **changes):
    dataset = dataset or gaussians()
    settings = Settings(**{**QUICK, **changes, "privacy": privacy})
    return LocalFleet(collabdm, settings, dataset, parts or even_parts(dataset, 3))


def test_with_hardly_any_noise_it_is_the_plain_method():
    dataset = gaussians()
    parts = skewed_parts(dataset)
    private = fleet(dataset, parts, SILENT)
    plain = LocalFleet(collabdm, Settings(**QUICK), dataset, parts)
    outcome, expected = private.run(), plain.run()
    assert outcome.synthetic.classes() == expected.synthetic.classes() == [0, 1, 2, 3]
    assert torch.equal(outcome.initial.images, expected.initial.images)
    spec = private.settings.network(dataset.spec)
    ours, theirs = (sums_of(each, spec) for each in (private, plain))
    for iteration in range(4):
        got, wanted = (sums.target(iteration, range(4)).means.numpy() for sums in (ours, theirs))
        assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()


def sums_of(each, spec):
    sums = EmbeddingSums(each.settings, spec)
    for upload in each.uploads:
        sums.add(upload.sections["embeddings"], range(4))
    return sums


def test_every_site_sends_all_classes_and_the_same_bytes_whatever_it_holds():
    dataset = gaussians()
    each = fleet(dataset, [np.arange(3), np.array([], dtype=np.int64), np.arange(3, 120)])
    outcome = each.run()
    size = upload_bytes(each.settings, dataset.spec, iterations=4, classes=1, share=1)
    for upload in each.uploads:
        held = upload.sections["embeddings"]
        assert set(upload.sections) == {"embeddings"}
        assert set(held) == {"counts", "sums"}
        assert held["counts"].shape == (4,)
        assert sum(tensor.size_bytes for tensor in held.values()) == size
    assert outcome.privacy.epsilon == 0.5
    costs = costs_of(parse(TEXT, *PRIVATE).method, dataset.spec, {"client-0": [3, 0, 0, 0], "client-1": [0] * 4})
    assert costs.upload_bytes["client-0"] == costs.upload_bytes["client-1"] > 0


def test_classes_that_the_counts_do_not_show_are_left_out():
    """Epsilon 0.5 puts a deviation of 30 on each count: 40 samples at 3 sites drown, 3,000 do not."""
    dataset = gaussians(samples_per_class=1500)
    labels = dataset.train.labels
    few = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:20], np.flatnonzero(labels == 3)])
    outcome = fleet(dataset, [few[0::3], few[1::3], few[2::3]], iterations=1).run()
    assert outcome.synthetic.classes() == [0, 3]
    assert torch.isfinite(outcome.synthetic.images).all()


def test_secure_aggregation_hides_noisy_sums_as_it_hides_others():
    """The server sees the sum of the sites' noisy sums alone, and makes the same of it."""
    dataset = gaussians(samples_per_class=300)
    plain, secure = (fleet(dataset, even_parts(dataset, 3), aggregation=kind) for kind in ("plain", "secure"))
    outcome = secure.run()
    assert torch.equal(outcome.synthetic.images, plain.run().synthetic.images)
    assert outcome.synthetic.classes() == [0, 1, 2, 3]
    assert outcome.privacy.epsilon == 0.5
    assert all("embeddings" not in upload.sections for upload in secure.uploads)


def test_one_release_is_answered_once():
    private = Settings(**QUICK, privacy=LOUD)
    seeds = {"seeds": {"iterations": encode(np.arange(4, dtype=np.uint32)),
                       "networks": encode(np.arange(4, dtype=np.uint64))}}  # fmt: skip
    task = Task("t", "collabdm", private, 1, 1, seeds)
    assert collabdm.answered_once(task) == "noisy sums of its samples"
    assert collabdm.answered_once(replace(task, settings=Settings())) is None


def test_the_noise_depends_on_the_secret_of_the_site():
    each = fleet()
    seeds = {"seeds": {"iterations": encode(np.arange(4, dtype=np.uint32)),
                       "networks": encode(np.arange(4, dtype=np.uint64))}}  # fmt: skip
    task = Task("t", "collabdm", each.settings, 1, 1, seeds)
    sums = [
        collabdm.client(task, Site("client-0", each.data["client-0"], each.device, secret))["embeddings"][
            "sums"
        ].values()
        for secret in (bytes(32), bytes(31) + b"x", bytes(32))
    ]
    assert np.array_equal(sums[0], sums[2])
    assert not np.isclose(sums[0], sums[1]).any()


PRIVATE = ("method.initial=noise", "method.batch_size=all", "method.privacy={epsilon: 1, clip_norm: 4}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("method.initial=random",), r"found random, but there is privacy: images that sites distil .* initial: noise"),
        (("method.initial=union",), "set initial: noise"),
        (("method.batch_size=64",), "found 64, but there is privacy: .* set batch_size: all"),
        (("method.weighting=uniform",), "set weighting: counts"),
        (("method.privacy={epsilon: 0, clip_norm: 4}",), "method.privacy"),
        (("method.privacy={epsilon: 1}",), "clip_norm"),
        (("baselines=[{name: strawman, privacy: {epsilon: 1, clip_norm: 4}}]",), "privacy"),
    ],
)
def test_what_would_not_be_private_is_refused(overrides, says):
    with pytest.raises(ScenarioError, match=says):
        parse(TEXT, *PRIVATE, *overrides)


def test_a_baseline_of_many_rounds_takes_no_privacy_from_the_method():
    read = parse(TEXT, *PRIVATE, "baselines=[localdm, strawman, collabdm-lean]")
    strawman, lean = read.baselines[1:]
    assert read.method.privacy.epsilon == 1
    assert strawman.privacy is None
    assert lean.privacy == read.method.privacy
    assert parse(read.dump()) == read
    assert methods.kinds(read.method)[0] == {"embeddings"}
