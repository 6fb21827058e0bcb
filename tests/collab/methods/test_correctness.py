"""The correctness tests of the fact sheet, section 18, across methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from collab.agents.messages import upload_message
from collab.augment import siamese
from collab.data import ImageSpec
from collab.matching import SyntheticSet, initial_set
from collab.methods import Upload, check_sections, collabdm, strawman, synthetic_section
from collab.methods.collabdm import ask_for, network_seeds, upload_bytes
from collab.nets import Network, network, seeded_network
from collab.wire import encode
from simnet.draws import generator
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {"images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": 8, "local_steps": 2}
CIFAR10 = ImageSpec(10, 3, 32, (0.5,) * 3, (0.25,) * 3, ("crop",))


def fleet(method, parts=None, dataset=None, **changes):
    dataset = dataset or gaussians()
    settings = method.Settings(**{**QUICK, **changes})
    return LocalFleet(method, settings, dataset, parts or skewed_parts(dataset))


# -- (1) one shot and many rounds -------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expand": 2},
        {"participation": 0.4, "iterations": 6},
        {"batch_size": "all", "weighting": "uniform"},
        {"server_epochs": 2, "augmentations": 2, "learning_rate_schedule": "cosine", "seeds": "master"},
        {"embedding_dtype": "int4", "image_dtype": "uint8"},
    ],
)
def test_the_strawman_ends_in_the_bits_of_one_shot(changes):
    one_shot, many = fleet(collabdm, **changes), fleet(strawman, **changes)
    once, again = one_shot.run(), many.run()
    assert torch.equal(once.initial.images, again.initial.images)
    assert torch.equal(once.synthetic.images, again.synthetic.images)
    assert not torch.equal(once.synthetic.images, once.initial.images)
    rounds = 1 + many.settings.iterations * many.settings.server_epochs
    assert (len(one_shot.asked), len(many.asked)) == (1, rounds)


def test_both_send_the_same_bytes_up_in_total():
    """But for classes and counts, which the strawman repeats in every round."""
    sent = []
    for method in (collabdm, strawman):
        each = fleet(method, even_parts(gaussians(), 3))
        each.run()
        tensors = [(kind, section) for upload in each.uploads for kind, section in upload.sections.items()]
        sent.append(
            (
                sum(section["means"].size_bytes for kind, section in tensors if kind == "embeddings"),
                sum(section["images"].size_bytes for kind, section in tensors if kind == "synthetic"),
            )
        )
    assert sent[0] == sent[1]


# -- (2) exact means ----------------------------------------------------------------------------------


def test_many_clients_with_exact_means_are_central_distribution_matching():
    """Against distribution matching on the union of the data, written out in float64."""
    known = gaussians()
    in_float64 = replace(known, spec=replace(known.spec, augmentation=("color", "crop", "cutout", "flip")))
    each = fleet(collabdm, dataset=in_float64, batch_size="all", embedding_dtype="float32", expand=2)
    outcome = each.run()
    settings, spec = each.settings, each.settings.network(each.images)
    samples = known.train
    images = outcome.initial.images.double()
    velocity = torch.zeros_like(images)
    for seed in network_seeds(each.seed, settings.iterations):
        network = Network(spec, [weight.double() for weight in seeded_network(spec, seed).parameters()])
        images.requires_grad_()
        expanded = SyntheticSet(images, outcome.initial.labels, 2).expanded()
        loss = torch.zeros((), dtype=torch.float64)
        for label in range(4):
            augment = siamese(each.images.augmentation, generator(seed, "augment", label))
            real = each.images.normalise(samples.images[samples.labels == label]).double()
            gap = network.embed(augment(real)).mean(0) - network.embed(augment(expanded.of_class(label))).mean(0)
            loss = loss + gap.square().sum()
        (slope,) = torch.autograd.grad(loss, images)
        velocity = 0.5 * velocity + slope
        images = (images - 10.0 * velocity).detach()
    moved = (images - outcome.initial.images).abs().max()
    assert moved > 0.05
    assert (images - outcome.synthetic.images).abs().max() < 1e-3 * moved


# -- (3) the same network ------------------------------------------------------------------------------


def test_sites_and_server_build_the_same_networks(monkeypatch):
    built = {"site": {}, "server": {}}
    place = "server"
    draw = network.draw_parameters

    def noted(spec, seed):
        drawn = draw(spec, seed)
        built[place][seed] = Network(spec, drawn).checksum()
        return drawn

    class Watched(LocalFleet):
        async def ask(self, asks):
            nonlocal place
            place = "site"
            async for upload in super().ask(asks):
                yield upload
            place = "server"

    monkeypatch.setattr(network, "draw_parameters", noted)
    each = Watched(collabdm, collabdm.Settings(**QUICK), gaussians(), even_parts(gaussians(), 3))
    each.run()
    seeds = network_seeds(each.seed, 4)
    assert [built["site"][seed] for seed in seeds] == [built["server"][seed] for seed in seeds]
    assert len({built["server"][seed] for seed in seeds}) == 4


# -- (4) partition and expand --------------------------------------------------------------------------


def test_expanding_the_initial_set_gives_back_the_real_images_but_for_the_blur():
    each = fleet(collabdm)
    data = each.data["client-2"]
    drawn = []

    def draw(label, size):
        drawn.append(data.of_class(label)[:size])
        return drawn[-1]

    expanded = initial_set(draw, [1, 3], 3, 2).expanded()
    real = torch.cat([*drawn[:4], *drawn[4:]])
    assert len(expanded.images) == len(real) == 24
    for label, originals in ((1, torch.cat(drawn[:4])), (3, torch.cat(drawn[4:]))):
        found = expanded.images[expanded.labels == label]
        blurred = functional.interpolate(functional.avg_pool2d(originals, 2), scale_factor=2, mode="bilinear")
        torch.testing.assert_close(found, blurred)


# -- (5) bytes ------------------------------------------------------------------------------------------


def test_the_papers_upload_has_the_bytes_of_the_formula():
    """K = 5, 50 images per class, T = 200 on CIFAR-10, float16 means and float32 images: 9.421 MB as it travels."""
    settings = collabdm.Settings()
    spec = settings.network(CIFAR10)
    draws = generator(0, "bytes")
    share = 10
    synthetic = SyntheticSet(
        torch.from_numpy(draws.standard_normal((10 * share, 3, 32, 32), dtype=np.float32)),
        torch.arange(10).repeat_interleave(share),
    )
    sections = {
        "embeddings": {
            "classes": encode(np.arange(10, dtype=np.uint8)),
            "counts": encode(np.full(10, 1000, dtype=np.int64)),
            "means": encode(draws.random((200, 10, spec.embedding_size), dtype=np.float32), settings.embedding_dtype),
        },
        "synthetic": synthetic_section(synthetic),
    }
    paper = LocalFleet(collabdm, settings, gaussians(), even_parts(gaussians(), 5))
    paper.images = CIFAR10
    assert paper.share == share
    asked = ask_for(paper, spec, network_seeds(1, 200), list(range(200)))
    check_sections(sections, asked.expects)  # it is the upload that the server asks for
    counted = len(upload_message(Upload("client-0", sections), "collabdm-1-0123456789abcdef").body)
    formula = upload_bytes(settings, CIFAR10, iterations=200, classes=10, share=share)
    assert formula == 2 * 2048 * 10 * 200 + 4 * 10 * 10 * 3072 + 9 * 10 + 10 * 10
    assert counted == pytest.approx(9.421e6, rel=0.002)
    assert 0 < counted - formula < 0.002 * formula
