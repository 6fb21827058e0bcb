"""FedAvg: against centralised descent, in every order, in both worlds."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collab import evaluation, run, scenario
from collab.compute import CPU, counted_job
from collab.errors import RefusedUploadError, RunFailedError
from collab.methods import Site, Task, check_sections, expected_model, fedavg, model_section
from collab.methods.fedavg import Settings, WeightedAverage, client_operations, participants, upload_bytes
from collab.nets import Network, NetworkSpec, seeded_network
from collab.store import find_run, open_run
from collab.wire import encode
from simnet.draws import key
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {"width": 4, "depth": 2, "rounds": 2, "local_epochs": 1, "batch_size": 20}


def fleet(dataset=None, parts=None, seed=1, **changes):
    dataset = dataset or gaussians()
    return LocalFleet(fedavg, Settings(**{**QUICK, **changes}), dataset, parts or skewed_parts(dataset), seed)


def result(each):
    return each.run().networks["average"]


def test_one_local_step_on_all_data_is_one_step_of_gradient_descent_on_the_union():
    """Whatever the skew: the weighted mean of the sites' gradients is the gradient of the union, here in float64."""
    dataset = gaussians()
    each = fleet(dataset, batch_size="all", rounds=1, learning_rate=0.5)
    ours = result(each)
    start = seeded_network(ours.spec, key(1, "initial network"))
    weights = [weight.double().requires_grad_() for weight in start.parameters()]
    images = dataset.spec.normalise(dataset.train.images).double()
    scores = Network(ours.spec, weights).scores(images)
    chosen = scores[torch.arange(len(images)), torch.from_numpy(dataset.train.labels)]
    gradients = torch.autograd.grad((torch.logsumexp(scores, 1) - chosen).mean(), weights)
    for weight, before, gradient in zip(ours.parameters(), weights, gradients, strict=True):
        torch.testing.assert_close(weight.double(), (before - 0.5 * gradient).detach(), rtol=1e-4, atol=1e-6)


def test_it_learns_what_no_site_knows():
    """Sites with two classes each; after a few rounds the average knows all four."""
    dataset = gaussians(samples_per_class=40)
    parts = [np.flatnonzero(np.isin(dataset.train.labels, known)) for known in ((0, 1), (2, 3))]
    each = fleet(dataset, parts, rounds=6, width=8)
    network = result(each)
    assert evaluation.tested(network, dataset, network.spec, CPU).mean > 0.9
    initial = seeded_network(network.spec, key(1, "initial network"))
    assert evaluation.tested(initial, dataset, network.spec, CPU).mean < 0.6


def test_the_order_of_arrival_does_not_matter():
    forward, backward = fleet(), fleet()
    backward.order.reverse()
    assert result(forward).checksum() == result(backward).checksum()


def section_of(network, samples):
    return {**model_section(network), "samples": encode(np.array([samples], np.int64))}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=6), st.randoms())
def test_the_average_is_the_weighted_mean_in_any_order(samples, random):
    spec = NetworkSpec(2, 1, 1, 8, 2)
    uploads = [(seeded_network(spec, index), count) for index, count in enumerate(samples)]
    shuffled = list(uploads)
    random.shuffle(shuffled)
    found = []
    for order in (uploads, shuffled):
        average = WeightedAverage(spec)
        for network, count in order:
            average.add(section_of(network, count))
        found.append(average.network(CPU))
    assert found[0].checksum() == found[1].checksum()
    total = sum(samples)
    for index, weight in enumerate(found[0].parameters()):
        exact = sum(count * network.parameters()[index].double() for network, count in uploads) / total
        torch.testing.assert_close(weight.double(), exact, rtol=2**-23, atol=1e-12)


def test_the_average_of_one_site_is_its_own_weights():
    spec = NetworkSpec(3, 2, 1, 16, 4)
    network = seeded_network(spec, 1)
    network.parameters()[0][0] = 999.0
    average = WeightedAverage(spec)
    average.add(section_of(network, 10**8))
    assert average.network(CPU).checksum() == network.checksum()


def test_more_samples_than_there_can_be_are_refused():
    average = WeightedAverage(NetworkSpec(2, 1, 1, 8, 2))
    with pytest.raises(RunFailedError, match="claim more than 1073741824 samples together"):
        for _ in range(11):
            average.add(section_of(seeded_network(NetworkSpec(2, 1, 1, 8, 2), 1), 10**8))


def test_counted_bytes_equal_the_formula():
    each = fleet()
    each.run()
    assert len(each.uploads) == 6
    for upload in each.uploads:
        counted = sum(tensor.size_bytes for tensor in upload.sections["model"].values())
        assert counted == upload_bytes(each.settings, each.images)
    sent = each.asked[0]["client-0"].sections["model"]
    assert sum(tensor.size_bytes for tensor in sent.values()) == upload_bytes(each.settings, each.images) - 4
    convnet = gaussians(channels=3, side=32, classes=10, samples_per_class=1).spec
    assert upload_bytes(Settings(), convnet) == 4 * 320_010 + 8


def test_the_formula_is_what_a_run_counts():
    each = fleet(rounds=1, local_epochs=3)
    data = each.data["client-2"]
    task = Task("t", "fedavg", each.settings, 1, 1, first_ask(each).sections)
    computed = counted_job("train", fedavg.client, task, Site("client-2", data, CPU)).run()
    assert computed.operations == client_operations(each.settings, each.images, len(data))


def first_ask(each):
    return fedavg._ask(seeded_network(each.settings.network(each.images), key(1, "initial network")), 0)


def test_a_site_that_holds_no_data_gives_nothing_and_does_not_count():
    dataset = gaussians()
    none = np.array([], dtype=np.int64)
    with_it = fleet(dataset, [np.arange(60), np.arange(60, 120), none])
    without = fleet(dataset, [np.arange(60), np.arange(60, 120)])
    assert result(with_it).checksum() == result(without).checksum()
    assert with_it.uploads[2].sections == {}
    with pytest.raises(RunFailedError, match="no site had anything to give"):
        fleet(dataset, [none, none]).run()


def test_a_site_with_a_single_sample_takes_part():
    dataset = gaussians()
    network = result(fleet(dataset, [np.arange(1), np.arange(1, 120)]))
    assert all(torch.isfinite(weight).all() for weight in network.parameters())


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 1e30])
def test_a_weight_that_is_no_number_or_huge_is_refused_with_its_name(spoilt):
    each = fleet(rounds=1)
    each.run()
    section = dict(each.uploads[0].sections["model"])
    values = np.array(section["block1.shift"].values())
    values[2] = spoilt
    section["block1.shift"] = encode(values)
    expects = first_ask(each).expects
    with pytest.raises(RefusedUploadError, match=r"model\.block1\.shift"):
        check_sections({"model": section}, expects)
    with pytest.raises(RefusedUploadError, match="samples"):
        check_sections({"model": {**each.uploads[0].sections["model"], "samples": encode(np.array([0]))}}, expects)
    assert set(expects["model"]) == {*expected_model(each.settings.network(each.images)), "samples"}


def test_rounds_differ_in_what_they_draw():
    one, two = fleet(rounds=1), fleet(rounds=2, learning_rate=1e-12)
    one.run()
    two.run()
    assert [sorted(ask) for ask in two.asked] == [["client-0", "client-1", "client-2"]] * 2
    rounds = [int(ask["client-0"].sections["model"]["round"].values()[0]) for ask in two.asked]
    assert rounds == [0, 1]


def test_participation_draws_sites_anew_in_each_round():
    chosen = Settings(participation=0.5)
    sites = [f"client-{index}" for index in range(5)]
    rounds = [participants(chosen, sites, 3, number) for number in range(200)]
    assert {len(each) for each in rounds} == {2}  # max(int(0.5 * 5), 1)
    assert all(each == sorted(set(each)) for each in rounds)
    taken = [sum(site in each for each in rounds) for site in sites]
    assert min(taken) > 50
    assert len(participants(Settings(participation=0.01), sites, 3, 0)) == 1
    each = fleet(gaussians(), even_parts(gaussians(), 4), participation=0.5, rounds=5)
    each.run()
    assert {len(asks) for asks in each.asked} == {2}
    assert len({site for asks in each.asked for site in asks}) > 2


TEXT = """\
name: rounds
seed: 3
dataset: {name: gaussians, samples_per_class: 30}
partition: {clients: 4, scheme: dirichlet, beta: 0.5}
method: {name: fedavg, width: 4, depth: 2, rounds: 3, local_epochs: 1, participation: 0.5}
baselines: [{name: fedprox, mu: 0.1, rounds: 2}]
network:
  topology: star
  access: {bandwidth: 2 Mbit/s, latency: 10 ms, jitter: 5 ms}
  server: {bandwidth: 10 Mbit/s, latency: 5 ms}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [model], answers: [model], at_most: 1 MB}]
devices: {client: raspberry-pi-5, server: laptop}
evaluation: {epochs: 3}
"""


def go(tmp_path, *overrides, real=False):
    chosen = scenario.parse(TEXT, "rounds.yaml", overrides)
    with open_run(tmp_path, chosen.name, None) as writer:
        return run.run_scenario(chosen, writer, real=real)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("rounds")
    return go(runs_dir / "simulated" / "runs"), go(runs_dir / "real" / "runs", real=True)


def test_both_worlds_end_in_the_same_network(both, tmp_path):
    """Some sites are not asked in some rounds; they wait, in either world, and are told in the end."""
    simulated, real = both
    for name, row in simulated["methods"].items():
        theirs = real["methods"][name]
        for field in ("result_digest", "accuracy", "yields", "bytes_up_per_client"):
            assert row[field] == theirs[field]
        assert row["yields"] == "network"
        assert list(row["accuracies"]) == ["average"]
    by_size = go(tmp_path / "sized", "network.carriage=sized")
    for name, row in by_size["methods"].items():
        assert {**row, "ledger": None} == {**simulated["methods"][name], "ledger": None}


@pytest.mark.parametrize("world", [0, 1])
def test_a_run_keeps_the_network_that_was_judged(both, world):
    """Digest and accuracy of the summary are those of what lies in the directory."""
    found = find_run(both[world]["run_dir"])
    dataset = run.prepare(scenario.parse(TEXT, "rounds.yaml")).dataset
    for method in found.methods:
        row = found.summary["methods"][method.name]
        (name, network), *others = method.networks.items()
        assert (name, others) == ("average", [])
        assert hashlib.sha256(f"average{network.checksum()}".encode()).hexdigest() == row["result_digest"]
        assert round(evaluation.tested(network, dataset, network.spec, CPU).mean, 6) == row["accuracy"]


def test_the_page_shows_how_to_classify_images_with_it(both, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(Path(both[0]["run_dir"]).parents[1])
    names = {}
    exec(program, names)
    labels = run.prepare(scenario.parse(TEXT, "rounds.yaml")).dataset.test.labels
    correct = (names["classes"].numpy() == labels).mean()
    assert correct == pytest.approx(both[0]["methods"]["fedavg"]["accuracy"], abs=1e-6)


def test_bytes_on_the_wire_are_the_formula_and_an_envelope(both):
    summary = both[0]
    chosen = scenario.parse(TEXT, "rounds.yaml")
    formula = upload_bytes(chosen.method, run.prepare(chosen).dataset.spec)
    method = find_run(summary["run_dir"]).methods[0]
    bodies = [entry for entry in method.ledger if entry.kind == "model" and entry.point == "arriving"]
    up = [entry.size_bytes for entry in bodies if entry.target == "server"]
    down = [entry.size_bytes for entry in bodies if entry.source == "server"]
    assert len(up) == len(down) == 3 * 2
    assert all(formula < size < formula + 1200 for size in up)
    assert all(formula < size < formula + 4000 for size in down)
