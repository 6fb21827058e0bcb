"""CollabDM at ten sites of which one poisons its means: plain breaks, robust holds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from collab.errors import RefusedUploadError, ScenarioError
from collab.matching import class_moments, matching_loss
from collab.methods import collabdm
from collab.methods.collabdm import Settings
from collab.nets import seeded_network
from collab.wire import encode
from tests.collab.fleets import LocalFleet, even_parts, gaussians
from tests.collab.test_scenario import TEXT, parse

QUICK = {
    "images_per_class": 2, "width": 8, "depth": 2, "iterations": 12, "batch_size": "all", "augment": False,
    "initial": "noise", "server_epochs": 4, "embedding_dtype": "float32",
}  # fmt: skip


def poisoned(means):
    """What comes of the class means at the site that lies: as far from the truth as the server's checks let pass."""
    return -100.0 * means


def client(lie, task, site):
    sections = dict(collabdm.client(task, site))
    if lie is not None and site.name == "client-3":
        held = dict(sections["embeddings"])
        held["means"] = encode(lie(held["means"].values()).astype(np.float32))
        sections["embeddings"] = held
    return sections


def loss(dataset, robust=None, lie=poisoned):
    """Of the refined set, under networks never seen, against all data."""
    method = SimpleNamespace(server=collabdm.server, client=lambda task, site: client(lie, task, site))
    each = LocalFleet(method, Settings(**QUICK, robust=robust), dataset, even_parts(dataset, 10))
    refined = each.run().synthetic
    total = 0.0
    for unseen in range(3):
        network = seeded_network(each.settings.network(dataset.spec), 10_000 + unseen)
        real = [[dataset.spec.normalise(dataset.train.images[dataset.train.labels == y])] for y in range(4)]
        plain = [lambda x: x] * 4
        total += float(matching_loss(network, refined, class_moments(network, real, range(4), plain), plain))
    return total


def test_one_of_ten_sites_that_poisons_its_means_breaks_the_plain_method_and_not_the_robust_one():
    dataset = gaussians(samples_per_class=100)
    honest = loss(dataset, lie=None)
    assert loss(dataset) > 5 * honest
    assert loss(dataset, {"groups": 5}) < 1.5 * honest
    assert loss(dataset, {"groups": 5, "combine": "trimmed"}) < 1.5 * honest
    assert loss(dataset, {"groups": 5}, lie=None) < 1.5 * honest


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (lambda means: means * np.nan, r"embeddings.means holds numbers that are not finite"),
        (lambda means: means - 2000, r"embeddings.means lies in \[-2000, .*\], expected within \[-1000, 1000\]"),
    ],
)
def test_what_cannot_be_a_mean_is_refused_by_name(lie, says):
    with pytest.raises(RefusedUploadError, match=says):
        loss(gaussians(), lie=lie)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("method.robust={groups: 4}",), "method.robust.*found 4 groups, but there are 3 clients to divide into them"),
        (("method.robust={}",), "neither clip_norm nor groups is given"),
        (
            ("method.robust={groups: 3}", "method.initial=noise", "method.aggregation=secure"),
            "a mean of each site is needed, but privacy or secure hides it",
        ),
        (
            ("method.robust={groups: 3}", "method.initial=noise", "method.batch_size=all",
             "method.privacy={epsilon: 1, clip_norm: 4}"),
            "a mean of each site is needed",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_robust_is_refused(overrides, says):
    with pytest.raises(ScenarioError, match=says):
        parse(TEXT, *overrides)


def test_baselines_of_the_same_kind_are_robust_too():
    read = parse(TEXT, "method.robust={groups: 3}", "baselines=[strawman, collabdm-lean, localdm]")
    strawman, lean, _ = read.baselines
    assert strawman.robust is None
    assert lean.robust == read.method.robust
    assert parse(read.dump()) == read
