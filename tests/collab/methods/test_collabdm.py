"""CollabDM: the correctness tests of the fact sheet, and the traps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from collab.augment import siamese
from collab.compute import CPU, counted_job
from collab.embedding_sums import EmbeddingSums
from collab.matching import Descent, Moments, class_moments, matching_loss
from collab.methods import Ask, collabdm, localdm
from collab.methods.collabdm import Settings, network_seeds, participants, refine, upload_bytes
from collab.nets import seeded_network, winograd
from collab.wire import encode
from simnet.draws import generator
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {"images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": 8, "local_steps": 2}


def fleet(dataset=None, parts=None, seed=1, **changes):
    dataset = dataset or gaussians()
    return LocalFleet(collabdm, Settings(**{**QUICK, **changes}), dataset, parts or even_parts(dataset, 3), seed)


async def round_by_round(fleet):
    """The same thing done in T rounds: one network asked for at a time, one step after each answer."""
    settings = fleet.settings
    spec = settings.network(fleet.images)
    seeds = network_seeds(fleet.seed, settings.iterations)
    pool = localdm.InitialPool(fleet.images, settings, fleet.seed)
    synthetic = descent = None
    for iteration, seed in enumerate(seeds):
        single = Settings(**{**settings.model_dump(), "iterations": 1})
        sums = EmbeddingSums(single, spec)
        section = {
            "iterations": encode(np.array([iteration], dtype=np.uint32)),
            "networks": encode(np.array([seed], dtype=np.uint64)),
        }
        whole = collabdm.ask_for(fleet, spec, seeds, [iteration])
        async for upload in fleet.ask(dict.fromkeys(fleet.sites, Ask({"seeds": section}, whole.expects))):
            sums.add(upload.sections["embeddings"], [0])
            if iteration == 0:
                images, labels = upload.sections["synthetic"]["images"], upload.sections["synthetic"]["labels"]
                pool.add(upload.site, images.values(), labels.values().astype(np.int64))
        if descent is None:
            synthetic = pool.synthetic()
            descent = Descent(synthetic, settings.learning_rate, settings.momentum)
        network = seeded_network(spec, seed)
        target = sums.target(0, synthetic.classes())
        augmentations = [
            siamese(settings.strategy(fleet.images), generator(seed, "augment", y)) for y in target.classes
        ]
        descent.step_toward(network, target, augmentations)
    return synthetic


def test_one_shot_equals_many_rounds():
    one_shot = fleet().run()
    many = fleet()
    refined = many.run(round_by_round)
    assert len(many.asked) == 4
    assert torch.equal(one_shot.synthetic.images, refined.images)


def test_clients_with_weighted_full_data_means_equal_one_client_with_the_union():
    dataset = gaussians()
    settings = {"batch_size": "all", "embedding_dtype": "float32", "local_steps": 0}
    several = fleet(dataset, skewed_parts(dataset), **settings)
    alone = fleet(dataset, [np.arange(len(dataset.train))], **settings)
    start = alone.run().initial
    targets = []
    for each in (several, alone):
        sums = collect(each)
        targets.append([sums.target(t, range(4)).means for t in range(4)])
    for ours, theirs in zip(*targets, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-6)
    refined = [
        refine(start, collect(each), network_seeds(1, 4), each.settings, dataset.spec, CPU).synthetic.images
        for each in (several, alone)
    ]
    torch.testing.assert_close(*refined, atol=1e-4, rtol=1e-4)


def test_a_step_matches_as_many_images_of_each_class_as_it_is_told():
    """All, written as a number, is all; one of three leaves most images of a single step where they were."""
    start = fleet(images_per_class=3).run().initial

    def refined(size, iterations=1):
        each = fleet(images_per_class=3, iterations=iterations, synthetic_batch_size=size, local_steps=0)
        seeds = network_seeds(1, iterations)
        return refine(start, collect(each), seeds, each.settings, each.images, CPU).synthetic

    torch.testing.assert_close(refined(3, 2).images, refined("all", 2).images)
    moved = (refined(1).images != start.images).flatten(1).any(dim=1)
    assert [int(moved[start.labels == label].sum()) for label in start.classes()] == [1] * 4
    torch.testing.assert_close(refined(1, 2).images, refined(1, 2).images, rtol=0, atol=0)


def collect(each):
    """The running sums of all uploads of a fleet."""
    spec = each.settings.network(each.images)
    sums = EmbeddingSums(each.settings, spec)

    async def gather(fleet):
        seeds = network_seeds(fleet.seed, fleet.settings.iterations)
        whole = list(range(fleet.settings.iterations))
        async for upload in fleet.ask({site: collabdm.ask_for(fleet, spec, seeds, whole) for site in fleet.sites}):
            sums.add(upload.sections["embeddings"], whole)

    each.run(gather)
    return sums


def test_uploaded_means_are_those_of_the_seeded_networks():
    """Checked against a slow computation: the network from the seed, the client's batch, the siamese augmentation."""
    each = fleet(embedding_dtype="float32", batch_size="all")
    each.run()
    upload = each.uploads[1].sections["embeddings"]
    seed = network_seeds(1, 4)[2]
    network = seeded_network(each.settings.network(each.images), seed)
    data = each.data["client-1"]
    for position, label in enumerate(upload["classes"].values().tolist()):
        augment = siamese(each.images.augmentation, generator(seed, "augment", label))
        expected = network.embed(augment(data.of_class(label))).mean(dim=0).numpy()
        np.testing.assert_allclose(upload["means"].values()[2, position], expected, atol=1e-5)


def test_the_order_of_arrival_does_not_matter():
    forward, backward = fleet(), fleet()
    backward.order.reverse()
    assert torch.equal(forward.run().synthetic.images, backward.run().synthetic.images)


def test_counted_bytes_equal_the_formula():
    each = fleet(images_per_class=4)
    each.run()
    for upload in each.uploads:
        counted = sum(tensor.size_bytes for section in upload.sections.values() for tensor in section.values())
        assert counted == upload_bytes(each.settings, each.images, iterations=4, classes=4, share=2)


def test_the_formula_gives_the_papers_figure():
    """K = 5, 50 images per class, T = 200, CIFAR-10, float16: 9.421 MB (fact sheet, section 12)."""
    images = gaussians(channels=3, side=32, classes=10, samples_per_class=1).spec
    total = upload_bytes(Settings(), images, iterations=200, classes=10, share=10)
    assert total == pytest.approx(9.421e6, rel=1e-3)
    assert Settings().iterations == 200
    assert Settings().batch_size == 512


def test_refinement_lowers_the_loss_on_networks_never_seen():
    dataset = gaussians(samples_per_class=60)
    each = fleet(dataset, skewed_parts(dataset), iterations=40, width=8, batch_size="all", local_steps=0, augment=False)
    outcome = each.run()
    losses = []
    for synthetic in (outcome.initial, outcome.synthetic):
        total = 0.0
        for unseen in range(5):
            network = seeded_network(each.settings.network(dataset.spec), 10_000 + unseen)
            real = [[dataset.spec.normalise(dataset.train.images[dataset.train.labels == y])] for y in range(4)]
            plain = [lambda x: x] * 4
            total += float(matching_loss(network, synthetic, class_moments(network, real, range(4), plain), plain))
        losses.append(total)
    assert losses[1] < 0.5 * losses[0]


def test_with_expand_the_set_is_made_of_mosaics():
    outcome = fleet(expand=2).run()
    assert outcome.synthetic.expand == 2
    assert outcome.synthetic.images.shape == (8, 1, 16, 16)
    assert outcome.synthetic.expanded().images.shape == (32, 1, 16, 16)
    assert torch.isfinite(outcome.synthetic.images).all()


def test_uniform_weighting_is_the_published_codes():
    dataset = gaussians()
    each = fleet(dataset, skewed_parts(dataset), weighting="uniform", embedding_dtype="float32")
    sums = collect(each)
    held = [upload.sections["embeddings"] for upload in each.uploads]
    means_of_1 = [part["means"].values()[0][part["classes"].values().tolist().index(1)] for part in held]
    assert len(means_of_1) == 3  # all three sites hold class 1, 10 samples each but for the last
    np.testing.assert_allclose(sums.target(0, [1]).means[0], np.mean(means_of_1, axis=0), atol=1e-6)


def test_a_class_that_nobody_holds_is_left_out():
    dataset = gaussians()
    parts = [np.flatnonzero(np.isin(dataset.train.labels, kept)) for kept in ([0, 1], [1, 3])]
    outcome = fleet(dataset, parts).run()
    assert outcome.synthetic.classes() == [0, 1, 3]
    assert torch.isfinite(outcome.synthetic.images).all()


def test_a_site_without_data_has_nothing_to_give():
    dataset = gaussians()
    each = fleet(dataset, [np.arange(60), np.array([], dtype=np.int64), np.arange(60, 120)])
    outcome = each.run()
    assert each.uploads[1].sections == {}
    assert outcome.synthetic.classes() == [0, 1, 2, 3]


def test_a_site_with_a_few_samples_sends_their_means_but_no_images():
    dataset = gaussians()
    each = fleet(dataset, [np.arange(1), np.arange(1, 120)])
    outcome = each.run()
    held = each.uploads[0].sections
    assert held["embeddings"]["counts"].values().tolist() == [1]
    assert held["synthetic"]["images"].shape == (0, 1, 16, 16)
    assert outcome.synthetic.classes() == [0, 1, 2, 3]


def test_no_iterations_leave_the_union():
    each = fleet(iterations=0)
    outcome = each.run()
    assert torch.equal(outcome.synthetic.images, outcome.initial.images)
    assert set(each.uploads[0].sections) == {"synthetic"}


def test_participation_draws_sites_anew_for_each_network():
    settings = Settings(iterations=500, participation=0.5)
    sites = [f"client-{i}" for i in range(5)]
    takers = participants(settings, sites, 3)
    counts = np.array([len(takers[site]) for site in sites])
    assert counts.sum() == 500 * 2  # max(int(0.5 * 5), 1)
    assert counts.min() > 150
    assert all(iterations == sorted(set(iterations)) for iterations in takers.values())
    assert participants(Settings(iterations=3, participation=0.01), sites, 3) is not None
    lonely = participants(Settings(iterations=500, participation=0.01), sites, 3)
    assert sum(map(len, lonely.values())) == 500


def test_partial_participation_runs_and_sends_less():
    whole, half = fleet(iterations=6), fleet(iterations=6, participation=0.4)
    whole.run()
    outcome = half.run()
    assert torch.isfinite(outcome.synthetic.images).all()

    def sent(each):
        return sum(u.sections["embeddings"]["means"].size_bytes for u in each.uploads if "embeddings" in u.sections)

    assert sent(half) * 3 == sent(whole)


def test_initial_images_are_the_local_distillations():
    collab, local = fleet(), LocalFleet(localdm, localdm.Settings(**{
        key: value for key, value in QUICK.items() if key in localdm.Settings.model_fields
    }), gaussians(), even_parts(gaussians(), 3))  # fmt: skip
    assert torch.equal(collab.run().initial.images, local.run().synthetic.images)


def test_the_meter_agrees_with_torchs_counter(monkeypatch):
    """What a job says it took is what torch's own counter sees, to the last operation.

    Operations are those of plain convolutions, by whatever trick they are saved.
    """
    monkeypatch.setattr(winograd, "serves", lambda spec: False)
    each = fleet(expand=2)
    job = counted_job("all", each.run)
    with FlopCounterMode(display=False) as counter:
        computed = job.run()
    assert computed.operations == counter.get_total_flops()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_embedding_types_agree_within_their_precision(dtype):
    exact, rounded = fleet(embedding_dtype="float32"), fleet(embedding_dtype=dtype)
    precision = {"float32": 0, "float16": 2**-11, "bfloat16": 2**-8}[dtype]
    for ours, theirs in zip(collect(rounded)._sums, collect(exact)._sums, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=precision, atol=2 * 120)


def test_sums_of_float16_are_exact():
    settings = Settings(**{**QUICK, "iterations": 1})
    spec = settings.network(gaussians().spec)
    sums = EmbeddingSums(settings, spec)
    smallest = np.float16(2.0**-24)
    section = {
        "classes": encode(np.array([2], np.uint8)),
        "counts": encode(np.array([3], np.int64)),
        "means": encode(np.full((1, 1, spec.embedding_size), smallest, np.float16)),
    }
    for _ in range(100):
        sums.add(section, [0])
    assert (sums.target(0, [2]).means == float(smallest)).all()
    assert isinstance(sums.target(0, [2]), Moments)
