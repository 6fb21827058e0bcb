"""CollabDM whose server starts from noise: the sites send class means alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from collab import methods
from collab.compute import counted_job
from collab.costs import costs_of
from collab.errors import BoundaryMissingError, ScenarioError
from collab.matching import class_moments, matching_loss
from collab.methods import collabdm
from collab.methods.collabdm import Settings, client_operations, upload_bytes
from collab.nets import seeded_network
from collab.refinement import noise_set
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts
from tests.collab.test_scenario import TEXT, parse

QUICK = {
    "images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": 8, "local_steps": 2,
    "initial": "noise",
}  # fmt: skip


def fleet(dataset=None, parts=None, **changes):
    dataset = dataset or gaussians()
    return LocalFleet(collabdm, Settings(**{**QUICK, **changes}), dataset, parts or even_parts(dataset, 3))


def test_the_server_starts_from_its_own_noise_and_the_sites_send_means_alone():
    each = fleet()
    outcome = each.run()
    assert all(set(upload.sections) == {"embeddings"} for upload in each.uploads)
    assert torch.equal(outcome.initial.images, noise_set(each.images, range(4), 2, 1, seed=1).images)
    assert outcome.synthetic.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not torch.equal(outcome.synthetic.images, outcome.initial.images)


def test_noise_becomes_images_that_match_on_networks_never_seen():
    dataset = gaussians(samples_per_class=60)
    each = fleet(
        dataset, skewed_parts(dataset), iterations=40, width=8, batch_size="all", augment=False, server_epochs=2
    )
    outcome = each.run()
    losses = []
    for synthetic in (outcome.initial, outcome.synthetic):
        total = 0.0
        for unseen in range(3):
            network = seeded_network(each.settings.network(dataset.spec), 10_000 + unseen)
            real = [[dataset.spec.normalise(dataset.train.images[dataset.train.labels == y])] for y in range(4)]
            plain = [lambda x: x] * 4
            total += float(matching_loss(network, synthetic, class_moments(network, real, range(4), plain), plain))
        losses.append(total)
    assert losses[1] < 0.2 * losses[0]


def test_a_class_that_nobody_holds_gets_no_noise():
    dataset = gaussians()
    parts = [np.flatnonzero(np.isin(dataset.train.labels, kept)) for kept in ([0, 1], [1, 3])]
    assert fleet(dataset, parts).run().synthetic.classes() == [0, 1, 3]


def test_sites_without_data_or_without_a_network_send_nothing():
    dataset = gaussians()
    each = fleet(dataset, [np.arange(60), np.array([], dtype=np.int64), np.arange(60, 120)])
    each.run()
    assert each.uploads[1].sections == {}
    few = fleet(iterations=2, participation=0.34)
    few.run()
    assert 1 <= len(few.uploads) <= 2
    assert all(upload.sections for upload in few.uploads)


def test_bytes_and_operations_are_those_of_the_formulas():
    each = fleet(batch_size="all", images_per_class=4)
    computed = counted_job("site", collabdm.client, *task_of(each)).run()
    held = computed.value["embeddings"]
    size = sum(tensor.size_bytes for tensor in held.values())
    images, settings = each.images, each.settings
    assert size == upload_bytes(settings, images, iterations=4, classes=4, share=2)
    assert size == upload_bytes(settings.model_copy(update={"initial": "random"}), images, iterations=4, classes=4,
                                share=2, pictured=0)  # fmt: skip
    assert computed.operations == client_operations(settings, images, [10] * 4, 2)
    costs = costs_of(parse(TEXT, "method.initial=noise").method, images, {"client-0": [10] * 4})
    assert costs.bytes_per_client == upload_bytes(
        Settings(iterations=5, expand=2, images_per_class=2, width=8), images, iterations=5, classes=4, share=2,
        pictured=0,
    )  # fmt: skip


def task_of(each):
    """A task as the first site gets it, and the site."""
    asked = {}

    async def noted(fleet):
        seeds = collabdm.network_seeds(fleet.seed, fleet.settings.iterations)
        spec = fleet.settings.network(fleet.images)
        asked.update(collabdm.ask_for(fleet, spec, seeds, range(fleet.settings.iterations)).sections)

    each.run(noted)
    task = methods.Task("t", "collabdm", each.settings, each.seed, each.share, asked)
    return task, methods.Site("client-0", each.data["client-0"], each.device)


def test_noise_that_nothing_would_follow_is_refused():
    with pytest.raises(ValidationError, match="iterations 0: nothing would ever turn the noise"):
        Settings(initial="noise", iterations=0)


def test_a_boundary_for_means_is_enough():
    means = "boundaries=[{to: cloud, allow: [embeddings], answers: [seeds]}]"
    assert parse(TEXT, means, "method.initial=noise", "baselines=[]").method.initial == "noise"
    with pytest.raises(BoundaryMissingError, match="synthetic"):
        parse(TEXT, means, "baselines=[]")


def test_baselines_that_know_no_noise_keep_their_own_start():
    """What the method and a baseline both offer is passed on, what only the method offers is not."""
    settings = parse(TEXT, "method.initial=noise", "baselines=[localdm, strawman, collabdm-lean]").baselines
    assert [each.initial for each in settings] == ["random", "random", "noise"]
    assert parse(TEXT, "method.initial=union", "baselines=[localdm]").baselines[0].initial == "union"
    with pytest.raises(ScenarioError, match="known: random, union"):
        parse(TEXT, "baselines=[{name: localdm, initial: noise}]")
