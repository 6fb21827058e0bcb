"""The strawman's rounds; that it ends in CollabDM's bits is in `test_correctness.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from collab import methods, scenario
from collab.augment import siamese
from collab.compute import counted_job
from collab.errors import BoundaryMissingError, RefusedUploadError
from collab.gradient_matching import GradientSums, class_gradients, gradient_operations, matched, matching_operations
from collab.matching import Descent
from collab.methods import check_sections, read_model, strawman
from collab.methods.strawman import GradientMatchingSettings, Settings
from collab.nets import seeded_network, winograd
from collab.wire import encode
from simnet.draws import generator, key
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts
from tests.collab.test_scenario import TEXT

QUICK = {"images_per_class": 2, "width": 4, "depth": 2, "iterations": 3, "batch_size": 8, "local_steps": 2}
LOOPS = {"restarts": 2, "outer_loops": 2, "inner_loops": 1, "batch_size": 8}


def fleet(instance, dataset=None, parts=None, loops=None, **changes):
    dataset = dataset or gaussians()
    settings = Settings(**{**QUICK, **changes}, instance=instance, gradient_matching={**LOOPS, **(loops or {})})
    return LocalFleet(strawman, settings, dataset, parts or skewed_parts(dataset))


def test_the_papers_loops_go_by_the_images_per_class():
    settings = GradientMatchingSettings()
    found = [settings.loops(images) for images in (1, 5, 10, 20, 50, 100)]
    assert found == [(1, 1), (1, 1), (10, 50), (10, 50), (50, 10), (50, 10)]
    assert GradientMatchingSettings(outer_loops=3, inner_loops=0).loops(50) == (3, 0)
    assert (settings.restarts, settings.batch_size, settings.learning_rate, settings.momentum) == (1000, 256, 0.1, 0.5)
    assert (settings.network_learning_rate, settings.network_batch_size) == (0.01, 256)


# -- distribution matching ------------------------------------------------------------------------


def test_without_iterations_the_union_remains():
    each = fleet("distribution-matching", iterations=0)
    outcome = each.run()
    assert torch.equal(outcome.synthetic.images, outcome.initial.images)
    assert len(each.asked) == 1


def test_images_are_sent_once_and_only_by_sites_that_have_data():
    each = fleet("distribution-matching", parts=[np.arange(60), np.array([], dtype=np.int64), np.arange(60, 120)])
    each.run()
    kinds = [(upload.site, sorted(upload.sections)) for upload in each.uploads]
    assert kinds[:3] == [("client-0", ["synthetic"]), ("client-1", []), ("client-2", ["synthetic"])]
    assert {tuple(found) for _, found in kinds[3:]} == {("embeddings",), ()}


# -- gradient matching ------------------------------------------------------------------------------


def test_rounds_and_what_travels_in_them():
    each = fleet("gradient-matching")
    outcome = each.run()
    assert len(each.asked) == 1 + 2 * 2
    assert [sorted(asks["client-0"].sections) for asks in each.asked] == [[], *[["model"]] * 4]
    weights = each.settings.network(each.images).weights
    upload = each.uploads[-1].sections["gradients"]
    assert upload["sums"].shape == (4, weights)
    assert sum(t.size_bytes for t in each.asked[-1]["client-0"].sections["model"].values()) == 4 * weights + 4
    assert outcome.synthetic.images.shape == outcome.initial.images.shape
    assert not torch.equal(outcome.synthetic.images, outcome.initial.images)
    assert torch.isfinite(outcome.synthetic.images).all()


def test_networks_are_trained_between_rounds_and_fresh_at_each_restart():
    each = fleet("gradient-matching")
    each.run()
    spec = each.settings.network(each.images)
    sent = [
        read_model(asks["client-1"].sections["model"], spec, each.device).checksum() for asks in each.asked if
        asks["client-1"].sections
    ]  # fmt: skip
    fresh = [seeded_network(spec, key(each.seed, "network", restart)).checksum() for restart in range(2)]
    assert [sent[0], sent[2]] == fresh
    assert len(set(sent)) == 4
    untrained = fleet("gradient-matching", loops={"inner_loops": 0})
    untrained.run()
    models = [asks["client-1"].sections["model"] for asks in untrained.asked[1:3]]
    assert read_model(models[0], spec, each.device).checksum() == read_model(models[1], spec, each.device).checksum()


def test_what_a_site_sends_is_the_sum_of_its_gradients():
    each = fleet("gradient-matching", loops={"batch_size": "all", "restarts": 1})
    each.run()
    spec = each.settings.network(each.images)
    number = 1
    model = each.asked[1 + number]["client-0"].sections["model"]
    network = read_model(model, spec, each.device)
    data = each.data["client-0"]
    augment = siamese(each.images.augmentation, generator(each.seed, "round", number, "augment", 1))
    (expected,) = class_gradients(network, [data.of_class(1)], [1], [augment])
    (upload,) = (u for u in each.uploads[3 * (1 + number) :][:3] if u.site == "client-0")
    section = upload.sections["gradients"]
    assert section["classes"].values().tolist() == [0, 1]
    assert section["counts"].values().tolist() == data.counts[[0, 1]].tolist()
    np.testing.assert_allclose(section["sums"].values()[1], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_many_sites_with_full_batches_are_one_site_with_the_union():
    dataset = gaussians()
    whole = [np.arange(len(dataset.train))]
    several, alone = (
        fleet("gradient-matching", dataset, parts, loops={"batch_size": "all", "restarts": 1, "outer_loops": 1})
        for parts in (skewed_parts(dataset), whole)
    )
    start = alone.run().initial
    several.run()
    spec, found = alone.settings.network(alone.images), []
    for each in (several, alone):
        sums = GradientSums(4, spec.weights)
        for upload in each.uploads:
            if "gradients" in upload.sections:
                section = upload.sections["gradients"]
                sums.add(section["classes"].values(), section["sums"].values(), section["counts"].values())
        classes, targets = sums.means()
        augmentations = [siamese(each.images.augmentation, generator(1, "round", 0, "augment", y)) for y in classes]
        network = seeded_network(spec, key(1, "network", 0))
        moved = matched(Descent(start, 0.1, 0.5), network, classes, targets, augmentations)
        found.append((targets, moved.synthetic.images))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(alone.run().synthetic.images, found[1][1])


def test_the_order_of_arrival_does_not_matter():
    forward, backward = fleet("gradient-matching"), fleet("gradient-matching")
    backward.order.reverse()
    assert torch.equal(forward.run().synthetic.images, backward.run().synthetic.images)


def test_sites_without_data_or_classes_are_no_trouble():
    dataset = gaussians()
    parts = [np.flatnonzero(dataset.train.labels == 1), np.array([], dtype=np.int64)]
    outcome = fleet("gradient-matching", dataset, parts, expand=2).run()
    assert outcome.synthetic.classes() == [1]
    assert torch.isfinite(outcome.synthetic.images).all()


def test_the_matching_loss_falls():
    dataset = gaussians()
    each = fleet(
        "gradient-matching", dataset, even_parts(dataset, 2), augment=False, width=8,
        local_steps=1, loops={"restarts": 12, "outer_loops": 1, "batch_size": "all", "learning_rate": 0.3},
    )  # fmt: skip
    outcome = each.run()
    losses = []
    for synthetic in (outcome.initial, outcome.synthetic):
        total = 0.0
        for unseen in range(3):
            network = seeded_network(each.settings.network(dataset.spec), 10_000 + unseen)
            real = [dataset.spec.normalise(dataset.train.images[dataset.train.labels == y]) for y in range(4)]
            plain = [lambda images: images] * 4
            targets = class_gradients(network, real, range(4), plain) / 30
            total += _loss(network, synthetic, targets)
        losses.append(total)
    assert losses[1] < 0.9 * losses[0]


def _loss(network, synthetic, targets):
    from collab.gradient_matching import gradient_matching_loss

    return sum(
        float(gradient_matching_loss(network, synthetic.of_class(y), y, targets[y], lambda x: x).detach())
        for y in range(4)
    )


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"sums": np.full((4, 10), np.nan)}, "gradients.sums has the shape"),
        ({"sums": None}, "gradients.sums holds numbers that are not finite"),
        ({"counts": np.array([1, 1, 0, 1])}, "gradients.counts lies in"),
        ({"classes": np.array([0, 1, 1, 3], np.uint8)}, "gradients.classes names something twice"),
    ],
)
def test_uploads_that_are_wrong_are_refused_by_name(spoilt, reason):
    each = fleet("gradient-matching", parts=even_parts(gaussians(), 3))
    each.run()
    ask = each.asked[-1]["client-0"]
    good = dict(each.uploads[-1].sections["gradients"])
    for name, values in spoilt.items():
        wrong = np.full(good["sums"].shape, np.nan) if values is None else values
        good[name] = encode(wrong, good[name].dtype)
    with pytest.raises(RefusedUploadError, match=reason):
        check_sections({"gradients": good}, ask.expects)


@pytest.mark.parametrize("instance", ["distribution-matching", "gradient-matching"])
def test_the_meter_agrees_with_torchs_counter(instance, monkeypatch):
    monkeypatch.setattr(winograd, "serves", lambda spec: False)  # operations are those of plain convolutions
    each = fleet(instance, expand=2)
    spec = each.settings.network(each.images)
    gradient_operations(spec), matching_operations(spec)  # measured once, outside the count
    job = counted_job("all", each.run)
    with FlopCounterMode(display=False) as counter:
        computed = job.run()
    assert computed.operations == counter.get_total_flops()


# -- in a scenario ------------------------------------------------------------------------------------


def parse(*overrides):
    shared = "method: {name: strawman, images_per_class: 2, iterations: 5, expand: 2, width: 8}"
    lines = [shared if line.startswith("method:") else line for line in TEXT.splitlines()]
    return scenario.parse("\n".join(lines), "test.yaml", ["baselines=[]", *overrides])


def test_a_boundary_need_only_let_pass_what_the_instance_sends():
    chosen = parse()
    assert methods.kinds(chosen.method) == (frozenset({"embeddings", "synthetic"}), frozenset({"seeds"}))
    with pytest.raises(BoundaryMissingError, match=r"add \{to: cloud, allow: \[gradients, synthetic\], answers: \[mod"):
        parse("method.instance=gradient-matching")
    parse(
        "method.instance=gradient-matching",
        "boundaries=[{to: cloud, allow: [gradients, synthetic], answers: [model]}]",
    )
    assert parse("method.gradient_matching.restarts=3").method.gradient_matching.restarts == 3
