from __future__ import annotations

import numpy as np
import torch

from collab.methods import central, localdm, needs_one_site
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
