from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from collab.compute import CPU, counted_job
from collab.data import ImageSpec, Samples, SiteData
from collab.errors import RefusedUploadError, RunFailedError
from collab.methods import Expected, Site, Start, Task, check_sections, dosfl
from collab.methods.dosfl import Settings
from collab.nets import NetworkSpec, seeded_network
from collab.privacy.inspection import ContentInspector
from collab.unrolling import Distillate
from collab.wire import Content, encode, pack
from simnet import Message
from simnet.draws import generator
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {
    "images_per_class": 3, "width": 3, "depth": 1, "outer_steps": 1, "window": 1, "longest": 2,
    "batch_per_class": 1, "real_batch_size": 10,
}  # fmt: skip
TRIPLES = {**QUICK, "distils": "triples", "longest": 2, "window": 2}


def fleet(parts=None, settings=QUICK, **changes):
    dataset = gaussians(side=8)
    return LocalFleet(dosfl, Settings(**{**settings, **changes}), dataset, parts or even_parts(dataset, 3))


def site_of(counts, channels=1, side=8):
    spec = ImageSpec(len(counts), channels, side, (0.4,) * channels, (0.3,) * channels, ("flip", "rotate", "crop"))
    labels = np.repeat(np.arange(len(counts)), counts)
    images = generator(0, "pixels").integers(0, 256, (len(labels), channels, side, side), dtype=np.uint8)
    return Site("client-0", SiteData(Samples(images, labels.astype(np.int64)), spec), CPU)


def distilled(site, share=2, **changes):
    return dosfl.distil_locally(Settings(**{**QUICK, **changes}), site, share, 1, 5)


def loss_of_training(distillate, labels, data, settings, spec):
    """Mean cross entropy on the site's data of networks that trained on the distillate, over three resets."""
    network = seeded_network(spec, 5)
    everything = torch.cat([data.of_class(label) for label in data.classes_present])
    truth = torch.from_numpy(np.repeat(np.arange(4), data.counts))
    losses = []
    for reset in range(3):
        near = Start(network, settings.spread).network_near(100 + reset, CPU)
        steps = dosfl._schedule(settings, data.spec, labels, 2, settings.longest, generator(reset, "steps"))
        weights, _ = settings.training(network).run(near.parameters(), distillate, steps)
        losses.append(float(torch.nn.functional.cross_entropy(network.scores(everything, weights), truth)))
    return np.mean(losses)


@pytest.mark.parametrize("distils", ["images", "triples"])
def test_the_loss_of_what_was_trained_falls(distils):
    dataset = gaussians(samples_per_class=10, side=8)
    site = Site("client-0", SiteData(dataset.train, dataset.spec), CPU)
    settings = Settings(
        distils=distils, width=8, depth=2, window=5, longest=8 if distils == "images" else 5, outer_steps=20,
        batch_per_class=2, real_batch_size=80, inner_learning_rate=0.01 if distils == "images" else 0.1,
        outer_learning_rate=0.02, augment=False,
    )  # fmt: skip
    spec = settings.network(dataset.spec)
    before, labels = dosfl.distil_locally(settings.model_copy(update={"outer_steps": 0}), site, 2, 1, 5)
    after, _ = dosfl.distil_locally(settings, site, 2, 1, 5)
    measured = [loss_of_training(each, labels, site.data, settings, spec) for each in (before, after)]
    assert measured[1] < 0.7 * measured[0]


def test_images_start_as_noise_of_unit_length_and_move_by_the_learning_rate():
    site = site_of([5, 0, 7])
    start, labels = distilled(site, outer_steps=0)
    assert labels.tolist() == [0, 0, 2, 2]
    torch.testing.assert_close(start.images.flatten(1).norm(dim=1), torch.ones(4))
    after, _ = distilled(site, outer_steps=3)
    assert 0.001 < (after.images - start.images).abs().max() < 3.5 * 0.001
    again, _ = distilled(site, outer_steps=3)
    assert torch.equal(after.images, again.images)


def test_lengths_are_drawn_anew_for_every_step_or_every_pass():
    def lengths(**changes):
        settings = Settings(window=60, longest=200, real_batch_size=100, **changes)
        return [dosfl._steps_before(settings, 950, 1, "client-0", step) for step in range(40)]

    each, by_pass = lengths(), lengths(lengths="epoch")
    assert 0 <= min(each) < 30
    assert 110 < max(each) <= 140
    assert len(set(each)) > 20
    assert [len(set(by_pass[i : i + 10])) for i in range(0, 40, 10)] == [1] * 4
    assert len(set(by_pass)) == 4
    assert {dosfl._steps_before(Settings(window=5, longest=5), 9, 1, "a", step) for step in range(5)} == {0}


def test_masked_images_stay_where_they_are():
    site = site_of([6, 6])
    start, _ = distilled(site, outer_steps=0, share=8)
    after, _ = distilled(site, share=8, outer_steps=1, masked=0.5, batch_per_class=8)
    moved = (after.images != start.images).flatten(1).any(dim=1)
    assert 0 < moved.sum() < 16
    labels = torch.arange(3).repeat_interleave(6)
    hidden = dosfl._hidden(Settings(**{**TRIPLES, "batch_per_class": 2, "masked": 0.5}), labels, 6, generator(3, "m"))
    per_batch = hidden.reshape(3, 3, 2)
    assert (per_batch == per_batch[:1, :, :1]).all()


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="window is 300, longest 200; expected window <= longest"):
        Settings(window=300)


def test_sites_with_one_sample_or_none_or_without_a_class():
    alone, labels = distilled(site_of([0, 1, 0]))
    assert labels.tolist() == [1, 1]
    assert torch.isfinite(alone.images).all()
    seeds = {"seeds": {"networks": encode(np.array([5], np.uint64))}}
    assert dosfl.client(Task("t", "dosfl", Settings(**QUICK), 1, 2, seeds), site_of([0, 0])) == {}
    for settings in (QUICK, TRIPLES):
        outcome = fleet(skewed_parts(gaussians(side=8)), settings).run()
        assert outcome.networks
    assert fleet(skewed_parts(gaussians(side=8))).run().synthetic.classes() == [0, 1, 2, 3]


def test_training_that_diverges_says_so():
    with pytest.raises(RunFailedError, match=r"networks diverge .*lower method.inner_learning_rate"):
        distilled(site_of([5, 5]), inner_learning_rate=1e30)


# -- the fleet -----------------------------------------------------------------------------------


def test_images_come_with_a_start_and_a_network():
    each = fleet()
    outcome = each.run()
    assert outcome.synthetic.labels.tolist() == [y for y in range(4) for _ in range(3)]
    (seed,) = {int(ask.sections["seeds"]["networks"].values()[0]) for ask in each.asked[0].values()}
    assert outcome.start.network.checksum() == seeded_network(each.settings.network(each.images), seed).checksum()
    assert outcome.start.spread == each.settings.spread
    trained = outcome.networks["trained as distilled"]
    assert trained.checksum() != outcome.start.network.checksum()
    again = fleet()
    again.order.reverse()
    repeated = again.run()
    assert torch.equal(repeated.synthetic.images, outcome.synthetic.images)
    assert repeated.networks["trained as distilled"].checksum() == trained.checksum()


def test_triples_train_a_network_in_their_order():
    each = fleet(settings=TRIPLES, images_per_class=6)
    outcome = each.run()
    assert outcome.synthetic is None
    again = fleet(settings=TRIPLES, images_per_class=6)
    again.order.reverse()
    assert again.run().networks["distilled sequence"].checksum() == outcome.networks["distilled sequence"].checksum()
    sections = [upload.sections["synthetic"] for upload in each.uploads]
    for section in sections:
        assert section["soft_labels"].values().sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert section["step_sizes"].shape == (2,)
        ContentInspector().inspect("client-0", Message(pack(Content(sections={"synthetic": section}))), "leaving")
    order = dosfl._interleaved(each.settings, sections, 2)
    # Two batches of each of three sites with 8 images: batch 0 of all, then batch 1 of all.
    assert [step.position for step in order] == [0, 2, 4, 1, 3, 5]
    assert [step.rows.tolist() for step in order[:2]] == [[0, 2, 4, 6], [8, 10, 12, 14]]
    assert order[3].rows.tolist() == [1, 3, 5, 7]


def test_a_network_trained_by_triples_is_plain_sgd():
    each = fleet(settings=TRIPLES, images_per_class=6, augment=False, longest=4)
    outcome = each.run()
    spec = each.settings.network(each.images)
    start_seed = int(each.asked[0]["client-0"].sections["seeds"]["networks"].values()[0])
    network = seeded_network(spec, start_seed)
    weights = [weight.requires_grad_() for weight in network.parameters()]
    sections = [upload.sections["synthetic"] for upload in each.uploads]
    for _ in range(2):
        for batch in range(2):
            for section in sections:
                rows = np.arange(8)[np.arange(8) % 2 == batch]
                images, soft = (torch.from_numpy(section[name].values()[rows]) for name in ("images", "soft_labels"))
                loss = -(soft * network.scores(images, weights).log_softmax(dim=1)).sum(dim=1).mean()
                size = float(section["step_sizes"].values()[batch])
                gradients = torch.autograd.grad(loss, weights)
                weights = [
                    (weight - size * gradient).detach().requires_grad_()
                    for weight, gradient in zip(weights, gradients, strict=True)
                ]
    for mine, other in zip(outcome.networks["distilled sequence"].parameters(), weights, strict=True):
        torch.testing.assert_close(mine, other.detach(), rtol=1e-4, atol=1e-6)


def test_learned_step_sizes_and_soft_labels_stay_what_they_are():
    descent = dosfl._OuterDescent(
        Settings(**TRIPLES, outer_learning_rate=5.0), Distillate(torch.zeros(2, 1), torch.eye(2), torch.ones(3))
    )
    for _ in range(5):
        descent.step([torch.ones(2, 1), torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.ones(3)])
    assert (descent.distillate.scales > 0).all()
    torch.testing.assert_close(descent.distillate.targets.sum(dim=1), torch.ones(2))
    assert (descent.distillate.targets > 0).all()


def test_triples_are_refused_by_name():
    expected = {"synthetic": dosfl._expected(Settings(**TRIPLES), gaussians(side=8).spec, 2)}
    assert isinstance(expected["synthetic"]["soft_labels"], Expected)
    each = fleet(settings=TRIPLES)
    each.run()
    section = dict(each.uploads[0].sections["synthetic"])
    section["step_sizes"] = encode(np.array([np.nan]), "float32")
    with pytest.raises(RefusedUploadError, match=r"synthetic\.step_sizes holds numbers that are not finite"):
        check_sections({"synthetic": section}, {"synthetic": dosfl._expected(Settings(**TRIPLES), each.images, 1)})


# -- closed formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [QUICK, TRIPLES])
def test_bytes_and_operations(settings):
    counts = [9, 0, 3, 6]
    site = site_of(counts, channels=3)
    chosen = Settings(**{**settings, "outer_steps": 3, "batch_per_class": 2})
    seeds = {"seeds": {"networks": encode(np.array([5], np.uint64))}}
    job = counted_job("test", dosfl.client, Task("t", "dosfl", chosen, 1, 4, seeds), site).run()
    sent = sum(tensor.size_bytes for tensor in job.value["synthetic"].values())
    assert sent == dosfl.upload_bytes(chosen, site.data.spec, classes=3, share=4)
    before = [dosfl._steps_before(chosen, len(site.data), 1, site.name, step) for step in range(3)]
    assert job.operations == sum(
        dosfl.outer_step_operations(chosen, site.data.spec, counts, 4, steps) for steps in before
    )


def test_the_papers_bytes():
    cifar = ImageSpec(10, 3, 32, (0.5,) * 3, (0.25,) * 3, ())
    assert dosfl.upload_bytes(Settings(), cifar, classes=10, share=10) == 1_228_900
    triples = Settings(distils="triples", batch_per_class=1)
    # 100 images, labels, 4 kB of soft labels and 40 B of step sizes: 1.233 MB
    assert dosfl.upload_bytes(triples, cifar, classes=10, share=10) == 1_228_900 + 4000 + 40


def test_the_start_is_spread_by_tensor():
    network = seeded_network(NetworkSpec(16, 2, 1, 8, 4), 1)
    near = Start(network, 0.2).network_near(3, CPU)
    for (name, mean), weight in zip(network.named().items(), near.parameters(), strict=True):
        moved = weight - mean
        if name.endswith(("scale", "shift")):
            assert torch.equal(weight, mean)
        elif mean.numel() > 100:
            assert float(moved.std() / mean.std()) == pytest.approx(0.2, rel=0.15)
    assert Start(network, 0.0).network_near(3, CPU).checksum() == network.checksum()
