from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from collab import methods
from collab.augment import siamese
from collab.matching import SyntheticSet
from collab.methods import central, localdm, needs_one_site
from collab.nets import Network, seeded_network
from simnet.draws import generator, key
from tests.collab.fleets import LocalFleet, gaussians


def test_it_is_one_sites_distillation_of_everything():
    dataset = gaussians()
    everything = [np.arange(len(dataset.train))]
    shared = {"images_per_class": 2, "width": 4, "depth": 2, "expand": 2}
    settings = central.Settings(**shared, steps=3, batch_size=8)
    alone = LocalFleet(central, settings, dataset, everything).run()
    local = localdm.Settings(**shared, local_steps=3, local_batch_size=8)
    assert torch.equal(alone.synthetic.images, LocalFleet(localdm, local, dataset, everything).run().synthetic.images)
    assert alone.synthetic.images.shape == (8, 1, 16, 16)


def test_it_says_that_it_needs_all_data_in_one_place():
    assert needs_one_site(central)
    assert not needs_one_site(localdm)
    assert central.Settings().steps == 20_000


def test_its_defaults_are_those_of_distribution_matching_and_of_the_fair_bound():
    plain, fair = central.Settings(), methods.get("central-fair").Settings()
    assert (plain.steps, plain.batch_size, plain.learning_rate, plain.momentum) == (20_000, 256, 1.0, 0.5)
    assert (fair.steps, fair.batch_size, fair.learning_rate, fair.momentum) == (200, "all", 10.0, 0.5)
    assert (plain.deviations, fair.deviations) == (True, False)
    assert needs_one_site(methods.get("central-fair"))


def test_the_fair_bound_follows_the_exact_means_of_everything():
    """Written out in float64: each step's network under its own seed, all real images of each class, means alone."""
    known = gaussians()
    dataset = replace(known, spec=replace(known.spec, augmentation=("color", "crop", "cutout", "flip")))
    settings = methods.get("central-fair").Settings(images_per_class=2, width=4, depth=2, expand=2, steps=3)
    everything = [np.arange(len(dataset.train))]
    start = LocalFleet(central, settings.model_copy(update={"steps": 0}), dataset, everything).run().synthetic
    found = LocalFleet(central, settings, dataset, everything).run().synthetic
    spec, images, velocity = settings.network(dataset.spec), start.images.double(), 0.0
    for step in range(3):
        step_key = key(1, "distillation", "client-0", step)
        network = Network(spec, [weight.double() for weight in seeded_network(spec, step_key).parameters()])
        images.requires_grad_()
        expanded = SyntheticSet(images, start.labels, 2).expanded()
        loss = torch.zeros((), dtype=torch.float64)
        for label in range(4):
            augment = siamese(dataset.spec.augmentation, generator(step_key, "augment", label))
            real = dataset.spec.normalise(dataset.train.images[dataset.train.labels == label]).double()
            gap = network.embed(augment(real)).mean(0) - network.embed(augment(expanded.of_class(label))).mean(0)
            loss = loss + gap.square().sum()
        velocity = 0.5 * velocity + torch.autograd.grad(loss, images)[0]
        images = (images - 10.0 * velocity).detach()
    moved = (images - start.images).abs().max()
    assert moved > 0.05
    assert (images - found.images).abs().max() < 1e-3 * moved
