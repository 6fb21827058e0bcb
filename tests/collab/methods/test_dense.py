"""DENSE: its steps by hand, its traps, and a whole run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from collab import evaluation, run, scenario
from collab.compute import CPU, counted_job
from collab.ensemble_distillation import InUnits, unit
from collab.errors import RefusedUploadError, RunFailedError, ScenarioError
from collab.methods import Outcome, Site, Task, check_sections, dense, expected_model, model_section
from collab.methods.dense import Pool, Settings, distil, generator_loss, synthesise
from collab.nets import Network, seeded_network
from collab.nets.generator import GeneratorSpec, generate
from collab.nets.training import running
from collab.optimisers import Adam
from collab.results import result_digest
from collab.store import find_run, open_run
from collab.wire import encode
from simnet.draws import generator, key
from tests.collab.fleets import LocalFleet, gaussians, skewed_parts

QUICK = {
    "width": 4, "depth": 2, "images_per_class": 3, "local_epochs": 2, "local_batch_size": 20, "epochs": 2,
    "generator_steps": 3, "latent_size": 8, "synthesis_batch_size": 12, "batch_size": 8,
}  # fmt: skip
PUBLISHED = {"client_network": "published", "student_network": "published"}
SMALL = gaussians(side=12)


def fleet(dataset=None, parts=None, seed=1, **changes):
    dataset = dataset or SMALL
    return LocalFleet(dense, Settings(**{**QUICK, **changes}), dataset, parts or skewed_parts(dataset), seed)


def teachers_of(settings, images, count=3):
    """Networks whose norms have seen something."""
    found = [seeded_network(settings.client_spec(images), 10 + index) for index in range(count)]
    for index, network in enumerate(found):
        for held in running(network):
            held.mean.add_(0.1 * index)
            held.variance.mul_(1.0 + index)
    return found


def test_the_defaults_are_the_published_ones():
    settings = Settings()
    assert (settings.local_epochs, settings.local_batch_size, settings.local_learning_rate) == (400, 128, 0.01)
    assert (settings.epochs, settings.generator_steps, settings.synthesis_batch_size) == (200, 30, 256)
    assert (settings.batch_size, settings.learning_rate, settings.momentum) == (256, 0.005, 0.9)
    assert (settings.temperature, settings.latent_size, settings.generator_learning_rate) == (20, 256, 1e-3)
    assert settings.class_weight == settings.norm_weight == settings.adversarial_weight == 1


def test_the_generators_loss_is_the_sum_of_its_terms():
    """The networks in float64, the terms written out: cross entropy, distance of statistics, disagreement."""
    settings = Settings(**{**QUICK, **PUBLISHED, "class_weight": 2.0, "norm_weight": 0.5, "adversarial_weight": 3.0})
    teachers = teachers_of(settings, SMALL.spec)
    student = seeded_network(settings.student_spec(SMALL.spec), 5)
    images = torch.rand(7, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 2, 2, 3, 3])
    ours = float(generator_loss(teachers, student, images, labels, settings))

    def exact(network):
        return Network(network.spec, [weight.double() for weight in network.parameters()])

    scores = torch.stack([exact(network).scores(images.double()) for network in teachers]).mean(0)
    own = exact(student).scores(images.double())
    loss = 2.0 * -torch.log_softmax(scores, 1)[torch.arange(7), labels].mean()
    wrong = own.argmax(1) != scores.argmax(1)
    p, q = torch.softmax(scores, 1), torch.softmax(own, 1)
    loss -= 3.0 * ((p * (p / q).log()).sum(1) * wrong).mean()
    for network in teachers:
        weights = {name: weight.double() for name, weight in network.named().items()}
        x = images.double()
        for block in ("block0", "block1"):
            x = functional.conv2d(x, weights[f"{block}.kernel"], weights[f"{block}.bias"], padding=2)
            flat = x.transpose(0, 1).flatten(1)
            mean, variance = weights[f"{block}.mean"], weights[f"{block}.variance"]
            loss += 0.5 * ((flat.mean(1) - mean).norm() + (flat.var(1, correction=0) - variance).norm())
            scale = (variance + 1e-5).rsqrt()[:, None, None]
            x = functional.max_pool2d(functional.relu((x - mean[:, None, None]) * scale), 2)
    assert ours == pytest.approx(float(loss), rel=1e-5)


def test_without_norms_there_is_no_norm_loss():
    settings = Settings(**QUICK)
    teachers, student = teachers_of(settings, SMALL.spec), seeded_network(settings.student_spec(SMALL.spec), 5)
    images, labels = torch.rand(4, 1, 12, 12), torch.arange(4)
    with_it, without = (
        generator_loss(teachers, student, images, labels, settings.model_copy(update={"norm_weight": weight}))
        for weight in (1.0, 0.0)
    )
    assert torch.equal(with_it, without)


def test_the_best_batch_of_all_steps_is_kept():
    """The same steps written out: latents and weights move together; the images are those before the crop."""
    settings = Settings(**{**QUICK, "augment": False, "generator_learning_rate": 0.1, "generator_steps": 5})
    teachers, student = teachers_of(settings, SMALL.spec), seeded_network(settings.student_spec(SMALL.spec), 5)
    images, labels = synthesise(teachers, student, settings, SMALL.spec, 1, 7)
    assert labels.tolist() == sorted(labels.tolist())
    draws = generator(1, "synthesis", 7)
    latents = torch.from_numpy(draws.standard_normal((12, 8), dtype=np.float32))
    spec = GeneratorSpec(8, 1, 12)
    moved = [*spec.draw(generator(1, "generator", 7)), latents]
    adam, losses, batches = Adam(0.1, 0.5, 0.999), [], []
    state = adam.start(moved)
    for _ in range(5):
        leaves = [tensor.detach().requires_grad_() for tensor in moved]
        batches.append(generate(spec, leaves[:-1], leaves[-1]))
        loss = generator_loss(teachers, student, batches[-1], labels, settings)
        losses.append(float(loss.detach()))
        moved, state = adam.step(leaves, torch.autograd.grad(loss, leaves), state)
    assert torch.equal(images, batches[int(np.argmin(losses))])
    assert len(set(losses)) == 5


def test_each_epoch_begins_with_a_fresh_generator():
    settings = Settings(**QUICK)
    teachers, student = teachers_of(settings, SMALL.spec), seeded_network(settings.student_spec(SMALL.spec), 5)
    first, again, other = (synthesise(teachers, student, settings, SMALL.spec, 1, epoch)[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_student_sees_the_whole_pool_in_every_epoch():
    settings = Settings(**{**QUICK, "epochs": 3})
    teachers = teachers_of(settings, SMALL.spec)
    job = counted_job("distil", distil, teachers, settings, SMALL.spec, 1, CPU).run()
    student, pool = job.value
    assert pool.images.shape == (36, 1, 12, 12)
    assert pool.images.dtype == np.uint8
    assert job.operations == dense.server_operations(settings, SMALL.spec, 3)
    again, _ = distil(teachers, settings, SMALL.spec, 1, CPU)
    assert student.checksum() == again.checksum()  # nothing is left of the first run


def test_the_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    for changes in ({}, PUBLISHED):
        each = fleet(epochs=1, generator_steps=1, synthesis_batch_size=4, local_epochs=1, **changes)
        with FlopCounterMode(display=False) as counter:
            job = counted_job("all", each.run).run()
        assert job.operations == counter.get_total_flops()
        local = sum(dense.client_operations(each.settings, each.images, len(data)) for data in each.data.values())
        assert job.operations == local + dense.server_operations(each.settings, each.images, 3)


@pytest.mark.slow
def test_a_student_learns_what_no_single_site_knows():
    """Two sites with two classes each; the student never saw an image."""
    dataset = gaussians(side=8, samples_per_class=40)
    parts = [np.flatnonzero(np.isin(dataset.train.labels, known)) for known in ((0, 1), (2, 3))]
    each = fleet(
        dataset, parts, width=8, depth=1, local_epochs=20, epochs=12, generator_steps=6, synthesis_batch_size=32,
        batch_size=16, generator_learning_rate=0.01, learning_rate=0.01, temperature=4, augment=False,
    )  # fmt: skip
    outcome = each.run()
    spec = each.settings.network(dataset.spec)
    found = {name: evaluation.tested(network, dataset, spec, CPU).mean for name, network in outcome.networks.items()}
    assert list(found) == ["student", "ensemble"]
    assert found["ensemble"] > 0.7
    assert found["student"] > 0.55


def test_all_sites_start_alike():
    """Without a step to take away, the uploads of two sites would be the same network, that of the seed."""
    each = fleet(local_learning_rate=1e-30)
    each.run()
    start = seeded_network(each.settings.client_spec(each.images), key(1, "initial network"))
    for upload in each.uploads:
        for name, weight in start.named().items():
            np.testing.assert_allclose(upload.sections["model"][name].values(), weight.numpy(), atol=1e-20)


@pytest.mark.parametrize("changes", [{}, PUBLISHED])
def test_counted_bytes_equal_the_formula(changes):
    each = fleet(**changes)
    each.run()
    for upload in each.uploads:
        counted = sum(tensor.size_bytes for tensor in upload.sections["model"].values())
        assert counted == dense.upload_bytes(each.settings, each.images)
    assert all(not ask.sections for ask in each.asked[0].values())


def test_the_formula_gives_the_published_figures():
    """Fact sheet, sections 9 and 12: 1.277 and 0.117 MB; with ConvNet 1.280 and 1.271 MB."""
    cifar10 = gaussians(channels=3, side=32, classes=10, samples_per_class=1).spec
    mnist = replace(gaussians(classes=10, samples_per_class=1).spec, side=28)
    figures = [
        dense.upload_bytes(Settings(client_network=choice), images)
        for choice in ("published", "shared")
        for images in (cifar10, mnist)
    ]
    assert [round(figure / 1e6, 3) for figure in figures] == [1.277, 0.117, 1.280, 1.271]


def test_the_statistics_of_a_site_without_a_class_are_finite_and_its_own():
    """A site with one sample of one class, and one without two classes: nothing is undefined, nothing is shared."""
    labels = SMALL.train.labels
    parts = [np.flatnonzero(labels == 2)[:1], np.flatnonzero(labels < 2), np.array([], dtype=np.int64)]
    each = fleet(SMALL, parts, **PUBLISHED)
    outcome = each.run()
    assert each.uploads[2].sections == {}
    held = [upload.sections["model"]["block0.mean"].values() for upload in each.uploads[:2]]
    assert not np.allclose(held[0], held[1])
    assert all(np.isfinite(mean).all() for mean in held)
    images = SMALL.spec.normalise(SMALL.test.images)
    assert all(torch.isfinite(network.scores(images)).all() for network in outcome.networks.values())


def test_without_any_data_there_is_no_result():
    none = np.array([], dtype=np.int64)
    with pytest.raises(RunFailedError, match="no site had anything to give"):
        fleet(SMALL, [none, none]).run()


@pytest.mark.parametrize(
    ("name", "spoilt", "reason"),
    [
        ("block0.variance", -0.5, r"model\.block0\.variance lies in"),
        ("block1.mean", np.nan, r"model\.block1\.mean holds numbers that are not finite"),
        ("block0.kernel", 1e7, r"model\.block0\.kernel lies in"),
    ],
)
def test_spoilt_weights_are_refused_with_their_name(name, spoilt, reason):
    spec = Settings(**PUBLISHED).client_spec(SMALL.spec)
    section = model_section(seeded_network(spec, 1))
    values = np.array(section[name].values())
    values.reshape(-1)[0] = spoilt
    with pytest.raises(RefusedUploadError, match=reason):
        check_sections({"model": {**section, name: encode(values)}}, {"model": expected_model(spec)})


def test_the_order_of_arrival_does_not_matter():
    forward, backward = fleet(), fleet()
    backward.order.reverse()
    ours, theirs = forward.run().networks, backward.run().networks
    assert {name: net.checksum() for name, net in ours.items()} == {
        name: net.checksum() for name, net in theirs.items()
    }


# -- images --------------------------------------------------------------------------------------


def test_pixels_are_units_and_a_result_takes_normalised_images():
    images = replace(SMALL.spec, mean=(0.3,), std=(0.2,))
    pixels = SMALL.test.images[:5]
    np.testing.assert_allclose(unit(images).normalise(pixels).numpy(), pixels / 255, atol=1e-7)
    network = seeded_network(Settings(**QUICK).client_spec(images), 1)
    judged = InUnits({"one": network}, images).scores(images.normalise(pixels))
    torch.testing.assert_close(judged, network.scores(unit(images).normalise(pixels)), rtol=1e-4, atol=1e-5)
    twice = InUnits({"one": network, "two": network}, images)
    assert InUnits({"one": network}, images).checksum() != twice.checksum()


def mirrored(augmentation, images, **settings):
    """Whether an augmentation of many copies of an image leaves some mirrored, and whether it moves any."""
    picture = torch.zeros(64, images.channels, 16, 16)
    picture[:, :, 8, 8] = 1.0
    picture[:, :, 8, 9] = 2.0
    made = augmentation(Settings(**QUICK, **settings), images, generator(1, "x"), 64)(picture)
    flipped = (made[..., :-1] == 2.0) & (made[..., 1:] == 1.0)
    places = {tuple((picture == 2.0).nonzero()[0].tolist()) for picture in made}
    return bool(flipped.any()), len(places) > 2


DIGITS, CLOTHES = replace(SMALL.spec, augmentation=("crop",)), replace(SMALL.spec, augmentation=("crop", "flip"))
SIGNS, PHOTOS = (replace(images, channels=3) for images in (DIGITS, CLOTHES))


@pytest.mark.parametrize(
    ("augmentation", "images", "settings", "expected"),
    [
        (dense.local_augmentation, PHOTOS, {}, (True, True)),
        (dense.local_augmentation, SIGNS, {}, (False, False)),
        (dense.local_augmentation, CLOTHES, {"flip": "always"}, (False, False)),
        (dense.synthesis_augmentation, DIGITS, {}, (False, True)),
        (dense.synthesis_augmentation, DIGITS, {"flip": "always"}, (True, True)),
        (dense.synthesis_augmentation, CLOTHES, {}, (True, True)),
        (dense.distillation_augmentation, DIGITS, {}, (False, False)),
        (dense.distillation_augmentation, DIGITS, {"flip": "always"}, (True, False)),
        (dense.distillation_augmentation, PHOTOS, {}, (True, True)),
        (dense.synthesis_augmentation, PHOTOS, {"augment": False}, (False, False)),
    ],
)
def test_digits_are_not_mirrored_unless_asked_for(augmentation, images, settings, expected):
    assert mirrored(augmentation, images, **settings) == expected


def test_the_pool_holds_eight_bits_and_gives_the_newest():
    pool = Pool(SMALL.spec, 10)
    pixels = torch.linspace(0, 1, 8).reshape(8, 1, 1, 1).expand(8, 1, 12, 12)
    pool.add(pixels[:5], torch.tensor([0, 0, 0, 1, 3]))
    pool.add(pixels[5:], torch.tensor([0, 0, 1]))
    assert len(pool) == 8
    assert pool.images.dtype == np.uint8
    assert pool.images[:, 0, 0, 0].tolist() == [0, 36, 73, 109, 146, 182, 219, 255]
    newest = pool.newest(2, SMALL.spec)
    assert newest.labels.tolist() == [0, 0, 1, 1, 3]  # nobody made a 2
    torch.testing.assert_close(newest.images[0, 0, 0, 0], torch.tensor((182 / 255 - 0.5) / 0.25))


def test_the_pool_may_be_a_result_too():
    outcome = fleet(yield_pool=True).run()
    assert outcome.synthetic.images.shape[1:] == (1, 12, 12)
    assert len(outcome.synthetic.images) <= 3 * 4
    assert fleet().run().synthetic is None


def test_images_too_small_for_the_published_network_are_refused():
    dataset = gaussians(channels=3, side=16, samples_per_class=3)
    with pytest.raises(ScenarioError, match="too little is left of them"):
        fleet(dataset, [np.arange(6), np.arange(6, 12)], client_network="published").run()


# -- whole runs ----------------------------------------------------------------------------------


TEXT = """\
name: ensemble
seed: 3
dataset: {name: gaussians, samples_per_class: 20, side: 12}
partition: {clients: 3, scheme: dirichlet, beta: 0.5}
method: {name: dense, width: 4, depth: 2, local_epochs: 2, epochs: 2, generator_steps: 2, latent_size: 4,
         synthesis_batch_size: 8, client_network: published}
network:
  topology: star
  access: {bandwidth: 2 Mbit/s, latency: 10 ms}
  server: {bandwidth: 10 Mbit/s, latency: 5 ms}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [model], at_most: 1 MB}]
devices: {client: raspberry-pi-5, server: laptop}
evaluation: {epochs: 3}
"""


def test_a_whole_run_says_that_it_yields_a_network(tmp_path):
    chosen = scenario.parse(TEXT, "ensemble.yaml")
    summaries = []
    for real in (False, True):
        with open_run(tmp_path, chosen.name, None) as writer:
            summaries.append(run.run_scenario(chosen, writer, real=real)["methods"]["dense"])
    simulated, real = summaries
    assert simulated["yields"] == "network"
    assert list(simulated["accuracies"]) == ["student", "ensemble"]
    assert simulated["accuracy"] == simulated["accuracies"]["student"]["mean"]
    assert real["result_digest"] == simulated["result_digest"]
    formula = dense.upload_bytes(chosen.method, SMALL.spec)
    found = find_run(tmp_path / "ensemble-001").methods[0]
    up = [entry.size_bytes for entry in found.ledger if entry.point == "arriving" and entry.kind == "model"]
    assert len(up) == 3
    assert all(formula < size < formula + 1500 for size in up)
    networks = dict(found.networks)
    assert list(networks) == ["student", "ensemble/client-0", "ensemble/client-1", "ensemble/client-2"]
    dataset = run.prepare(chosen).dataset
    pixels = found.network_images["student"].normalise(dataset.test.images)
    correct = (networks["student"].scores(pixels).argmax(dim=1).numpy() == dataset.test.labels).mean()
    assert correct == pytest.approx(simulated["accuracy"], abs=1e-6)
    student = InUnits({"student": networks.pop("student")}, dataset.spec)
    kept = Outcome(None, networks={"student": student, "ensemble": InUnits(networks, dataset.spec)})
    assert result_digest(kept) == simulated["result_digest"]


def test_the_client_is_told_all_it_needs(tmp_path):
    each = fleet()
    task = Task("t", "dense", each.settings, 1, 1, {})
    upload = dense.client(task, Site("client-1", each.data["client-1"], CPU))
    assert set(upload) == {"model"}
