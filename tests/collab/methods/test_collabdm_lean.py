"""CollabDM beyond the paper: fewer bytes, more use of them at the server, and the presets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from collab import methods
from collab.augment import siamese
from collab.compute import CPU, counted_job
from collab.embedding_sums import EmbeddingSums
from collab.errors import RefusedUploadError
from collab.matching import matching_loss
from collab.methods import Site, Task, check_sections, collabdm
from collab.methods.collabdm import Settings, network_seeds, refine, upload_bytes
from collab.nets import seeded_network
from collab.privacy.inspection import ContentInspector
from collab.quantisation import numbers
from collab.step_plan import step_order
from collab.wire import Content, encode, pack
from simnet import Message
from simnet.draws import generator
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {"images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": 8, "local_steps": 2}


def fleet(dataset=None, parts=None, seed=1, method=collabdm, **changes):
    dataset = dataset or gaussians()
    settings = method.Settings(**{**QUICK, **changes})
    return LocalFleet(method, settings, dataset, parts or even_parts(dataset, 3), seed)


def sums_of(each):
    """The running sums of the uploads of a fleet that has run."""
    sums = EmbeddingSums(each.settings, each.settings.network(each.images))
    for upload in each.uploads:
        sums.add(upload.sections["embeddings"], range(each.settings.iterations))
    return sums


# -- few bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "levels"), [("int8", 255), ("int4", 15)])
def test_means_of_few_bits_are_those_of_many_within_half_a_step(dtype, levels):
    exact, coarse = fleet(embedding_dtype="float32"), fleet(embedding_dtype=dtype)
    exact.run(), coarse.run()
    for few, many in zip(coarse.uploads, exact.uploads, strict=True):
        ours, theirs = few.sections["embeddings"], many.sections["embeddings"]["means"].values()
        spans = theirs.max(axis=-1) - theirs.min(axis=-1)
        np.testing.assert_allclose(ours["steps"].values(), spans / levels, rtol=1e-5)
        error = np.abs(numbers(ours, "means") - theirs).max(axis=-1)
        assert (error <= spans / levels / 2 + 1e-6).all()
        assert ours["means"].values().max() == levels


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_the_order_of_arrival_does_not_matter(dtype):
    dataset = gaussians()
    forward, backward = (
        fleet(dataset, skewed_parts(dataset), embedding_dtype=dtype, image_dtype="uint8") for _ in range(2)
    )
    backward.order.reverse()
    assert torch.equal(forward.run().synthetic.images, backward.run().synthetic.images)
    assert (sums_of(forward)._sums == sums_of(backward)._sums).all()


@pytest.mark.parametrize("name", ["means", "steps", "lows"])
@pytest.mark.parametrize("dtype", ["float16", "int8", "int4"])
def test_what_is_not_finite_is_refused_by_name(name, dtype):
    each = fleet(embedding_dtype=dtype)
    each.run()
    section = dict(each.uploads[0].sections["embeddings"])
    if name not in section or section[name].values().dtype == np.uint8:
        pytest.skip("no such tensor, or one of whole numbers")
    values = np.array(section[name].values())
    values.flat[1] = np.nan
    section[name] = encode(values)
    sections = {**each.uploads[0].sections, "embeddings": section}
    with pytest.raises(RefusedUploadError, match=rf"embeddings.{name} holds numbers that are not finite"):
        check_sections(sections, each.asked[0]["client-0"].expects)


def test_ranges_of_images_are_checked_by_name():
    each = fleet(image_dtype="uint8")
    each.run()
    uploaded, expects = each.uploads[0].sections, each.asked[0]["client-0"].expects
    for changed, reason in (
        ({"steps": encode(np.full(4, -0.1, np.float32))}, r"synthetic.steps lies in \[-0.1, -0.1\]"),
        ({"lows": encode(np.full(4, np.nan, np.float32))}, "synthetic.lows holds numbers that are not finite"),
        ({"lows": encode(np.zeros(3, np.float32))}, r"synthetic.lows has the shape \[3\], expected \[images = 4\]"),
    ):
        with pytest.raises(RefusedUploadError, match=reason):
            check_sections({**uploaded, "synthetic": {**uploaded["synthetic"], **changed}}, expects)


@pytest.mark.parametrize(("dtype", "precision"), [("float16", 2e-3), ("uint8", 0.02)])
def test_images_of_few_bits_are_those_of_many_within_their_precision(dtype, precision):
    exact, coarse = fleet(), fleet(image_dtype=dtype)
    torch.testing.assert_close(coarse.run().initial.images, exact.run().initial.images, atol=precision, rtol=0)
    assert not torch.equal(coarse.run().initial.images, exact.run().initial.images)


@pytest.mark.parametrize("embedding_dtype", ["float32", "float16", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("image_dtype", ["float32", "float16", "uint8"])
def test_counted_bytes_equal_the_formula(embedding_dtype, image_dtype):
    changes = {"augmentations": 3, "server_epochs": 3, "images_per_class": 4, "local_steps": 0}
    each = fleet(embedding_dtype=embedding_dtype, image_dtype=image_dtype, **changes)
    each.run()
    for upload in each.uploads:
        counted = sum(tensor.size_bytes for section in upload.sections.values() for tensor in section.values())
        assert counted == upload_bytes(each.settings, each.images, iterations=4, classes=4, share=2)
        body = pack(Content({}, upload.sections))
        assert counted < len(body) < counted + 700


def test_the_inspector_wants_ranges_with_codes():
    """Bytes without a range could be raw images."""
    each = fleet(embedding_dtype="int4", image_dtype="uint8")
    each.run()
    whole = each.uploads[0].sections
    inspector = ContentInspector()
    assert inspector.inspect("client-0", Message(pack(Content({}, whole))), "leaving") == {"embeddings", "synthetic"}
    for kind in ("embeddings", "synthetic"):
        bare = {name: tensor for name, tensor in whole[kind].items() if name != "lows"}
        with pytest.raises(Exception, match=rf"what is called {kind} holds .* {kind} consists of .*lows.*steps"):
            inspector.inspect("client-0", Message(pack(Content({}, {**whole, kind: bare}))), "leaving")


# -- more use of the same bytes ------------------------------------------------------------------


def test_each_epoch_follows_every_network_once_in_an_order_of_its_own():
    plan = step_order(network_seeds(5, 8), 4)
    assert plan[:8] == [(0, iteration) for iteration in range(8)]
    orders = [[iteration for epoch, iteration in plan if epoch == wanted] for wanted in range(4)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert plan == step_order(network_seeds(5, 8), 4)
    assert plan != step_order(network_seeds(6, 8), 4)
    assert step_order([], 3) == []


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_epochs_schedule_and_augmentations_against_a_loop_by_hand(schedule):
    each = fleet(server_epochs=3, augmentations=2, learning_rate_schedule=schedule, momentum=0.3, learning_rate=2.0)
    outcome = each.run()
    settings, images, sums = each.settings, each.images, sums_of(each)
    seeds = network_seeds(1, 4)
    current = type(outcome.initial)(outcome.initial.images.clone(), outcome.initial.labels)
    velocity = torch.zeros_like(current.images)
    for step, (epoch, iteration) in enumerate(step_order(seeds, 3)):
        number = epoch % 2
        target = sums.target(iteration, range(4), number)
        drawn = [generator(seeds[iteration], "augment", label, *((1,) if number else ())) for label in target.classes]
        augmentations = [siamese(settings.strategy(images), draws) for draws in drawn]
        network = seeded_network(settings.network(images), seeds[iteration])
        current.images.requires_grad_()
        (gradient,) = torch.autograd.grad(matching_loss(network, current, target, augmentations), current.images)
        velocity = 0.3 * velocity + gradient
        rate = 2.0 * (0.5 * (1 + math.cos(math.pi * step / 12)) if schedule == "cosine" else 1.0)
        current.images = current.images.detach() - rate * velocity
    torch.testing.assert_close(outcome.synthetic.images, current.images, atol=1e-5, rtol=1e-5)


def test_every_augmentation_has_means_of_its_own():
    """Row t A + a answers to network t under augmentation a; the first is what is sent where there is only one."""
    one = fleet(embedding_dtype="float32", batch_size="all")
    three = fleet(embedding_dtype="float32", batch_size="all", augmentations=3, server_epochs=3)
    one.run(), three.run()
    single = one.uploads[1].sections["embeddings"]["means"].values()
    several = three.uploads[1].sections["embeddings"]["means"].values()
    assert several.shape == (12, 4, single.shape[2])
    np.testing.assert_array_equal(several[::3], single)
    seed = network_seeds(1, 4)[2]
    network = seeded_network(three.settings.network(three.images), seed)
    augment = siamese(three.images.augmentation, generator(seed, "augment", 3, 1))
    expected = network.embed(augment(three.data["client-1"].of_class(3))).mean(dim=0).numpy()
    np.testing.assert_allclose(several[2 * 3 + 1, 3], expected, atol=1e-5)


def test_operations_are_counted_for_every_augmentation():
    each = fleet(augmentations=3, server_epochs=3)
    seeds = {"iterations": encode(np.arange(4, dtype=np.uint32)), "networks": encode(np.arange(4, dtype=np.uint64))}
    site = Site("client-0", each.data["client-0"], CPU)
    job = counted_job("c", collabdm.client, Task("t", "collabdm", each.settings, 1, 1, {"seeds": seeds}), site)
    counts = site.data.counts.tolist()
    assert job.run().operations == collabdm.client_operations(each.settings, each.images, counts, 1)


def test_more_epochs_bring_the_set_closer_on_networks_never_seen():
    dataset = gaussians(samples_per_class=60)
    each = fleet(dataset, width=8, iterations=6, batch_size="all", local_steps=0, augment=False)
    start = each.run().initial
    sums, seeds = sums_of(each), network_seeds(1, 6)
    losses = []
    for epochs in (1, 10):
        settings = Settings(**{**each.settings.model_dump(), "server_epochs": epochs})
        refined = refine(start, sums, seeds, settings, dataset.spec, CPU).synthetic
        total = 0.0
        for unseen in range(3):
            network = seeded_network(settings.network(dataset.spec), 10_000 + unseen)
            for label in range(4):
                real = dataset.spec.normalise(dataset.train.images[dataset.train.labels == label])
                gap = network.embed(real).mean(0) - network.embed(refined.of_class(label)).mean(0)
                total += float(gap.square().sum())
        losses.append(total)
    assert losses[1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augmentations": 3, "server_epochs": 2}, "set server_epochs: 3"),
        ({"augmentations": 2, "server_epochs": 2, "augment": False}, "augment is off"),
        ({"embedding_dtype": "int2"}, "embedding_dtype"),
        ({"image_dtype": "int4"}, "image_dtype"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, reason):
    with pytest.raises(ValidationError, match=reason):
        Settings(**changes)


# -- one master seed -----------------------------------------------------------------------------


@pytest.mark.parametrize("participation", [1.0, 0.4])
def test_a_master_seed_gives_the_same_networks_for_fewer_bytes(participation):
    told, derived = (fleet(seeds=seeds, iterations=9, participation=participation) for seeds in ("list", "master"))
    assert torch.equal(told.run().synthetic.images, derived.run().synthetic.images)

    def bytes_down(each):
        return sum(tensor.size_bytes for ask in each.asked[0].values() for tensor in ask.sections["seeds"].values())

    assert bytes_down(told) == 12 * sum(
        len(ask.sections["seeds"]["networks"].values()) for ask in told.asked[0].values()
    )
    assert bytes_down(derived) == 3 * 8 + (0 if participation == 1 else 4 * 9)
    for ask in derived.asked[0].values():
        assert ContentInspector().inspect("server", Message(pack(Content({}, ask.sections))), "leaving") == {"seeds"}


# -- presets -------------------------------------------------------------------------------------


def test_the_defaults_are_the_papers_still():
    paper = Settings()
    assert (paper.server_epochs, paper.augmentations, paper.learning_rate_schedule) == (1, 1, "constant")
    assert (paper.embedding_dtype, paper.image_dtype, paper.seeds) == ("float16", "float32", "list")


def test_lean_sends_a_twentieth_of_the_embeddings_and_a_tenth_of_the_upload():
    """Against float16, T = 200, for 10 images per class and K = 5, on MNIST and CIFAR-10."""
    lean = methods.get("collabdm-lean").Settings(images_per_class=10)
    paper = Settings(images_per_class=10)
    for channels, side in ((1, 28), (3, 32)):
        images = gaussians(channels=channels, side=side, classes=10, samples_per_class=1).spec
        ours, theirs = (
            upload_bytes(each, images, iterations=each.iterations, classes=10, share=2) for each in (lean, paper)
        )
        none = [upload_bytes(each, images, iterations=0, classes=10, share=2) for each in (lean, paper)]
        assert 20 * (ours - none[0]) <= theirs - none[1]
        assert 10 * ours <= theirs


def test_a_preset_is_the_same_method_with_other_defaults():
    lean = methods.get("collabdm-lean")
    assert methods.base_of("collabdm-lean") == "collabdm"
    assert issubclass(lean.Settings, Settings)
    assert set(methods.preset_settings("collabdm-lean")) <= set(Settings.model_fields)
    changed = {key: value for key, value in lean.Settings() if value != getattr(Settings(), key)}
    assert changed.items() <= dict(methods.preset_settings("collabdm-lean")).items()
    assert methods.preset_settings("collabdm") == {}
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        lean.Settings(iterations=-1)
    outcome = fleet(method=lean, iterations=2, server_epochs=2).run()
    assert torch.isfinite(outcome.synthetic.images).all()
    same = fleet(iterations=2, server_epochs=2, embedding_dtype="int4", image_dtype="uint8").run()
    assert torch.equal(outcome.synthetic.images, same.synthetic.images)
