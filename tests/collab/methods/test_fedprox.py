"""FedProx: FedAvg with a leash."""

from __future__ import annotations

import torch

from collab.methods import fedavg, fedprox
from collab.nets import seeded_network
from simnet.draws import key
from tests.collab.fleets import LocalFleet, gaussians, skewed_parts

QUICK = {"width": 4, "depth": 2, "rounds": 2, "local_epochs": 2, "batch_size": 10, "learning_rate": 0.01}


def result(method, **changes):
    dataset = gaussians()
    return (
        LocalFleet(method, method.Settings(**QUICK, **changes), dataset, skewed_parts(dataset))
        .run()
        .networks["average"]
    )


def test_without_pull_it_is_fedavg_to_the_bit():
    assert result(fedprox, mu=0).checksum() == result(fedavg).checksum()
    assert result(fedprox, mu=0.01).checksum() != result(fedavg).checksum()


def test_the_harder_the_pull_the_nearer_it_stays():
    def moved(network):
        start = seeded_network(network.spec, key(1, "initial network"))
        pairs = zip(network.parameters(), start.parameters(), strict=True)
        return float(sum((ours - theirs).square().sum() for ours, theirs in pairs)) ** 0.5

    distances = [moved(result(fedprox, mu=mu)) for mu in (0, 1, 10, 90)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.2 * distances[0]


def test_the_default_is_gentle():
    settings = fedprox.Settings()
    assert 0 < settings.mu < 1
    assert settings.rounds == fedavg.Settings().rounds
    assert all(torch.isfinite(weight).all() for weight in result(fedprox).parameters())
