"""The strawman by meta-learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from collab import methods
from collab.compute import counted_job
from collab.errors import RefusedUploadError, RunFailedError
from collab.gradient_matching import GradientSums, gradient_operations, gradient_sum
from collab.matching import SyntheticSet
from collab.meta_learning import OuterDescent, image_gradient, stepped, unrolled
from collab.methods import check_sections, model_section, read_model, strawman
from collab.methods.strawman import MetaLearningSettings, Settings
from collab.nets import Network, NetworkSpec, draw_parameters, operations_per_image, seeded_network
from collab.unrolling import PASSES_OF_A_STEP, PASSES_OF_A_STEP_BACK
from collab.wire import encode
from simnet.draws import generator, key
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

SPEC = NetworkSpec(3, 1, 1, 8, 3)
QUICK = {"images_per_class": 3, "width": 4, "depth": 2, "local_steps": 1, "batch_size": 8}
UNROLLED = {"steps": 2, "window": 2, "longest": 4, "batch_per_class": 2, "inner_learning_rate": 0.01}


def fleet(dataset=None, parts=None, unrolled=None, **changes):
    dataset = dataset or gaussians()
    chosen = {**UNROLLED, **(unrolled or {})}
    settings = Settings(**{**QUICK, **changes}, instance="meta-learning", meta_learning=chosen)
    return LocalFleet(strawman, settings, dataset, parts or skewed_parts(dataset))


def test_defaults_are_those_of_rat_bptt():
    settings = MetaLearningSettings()
    assert (settings.window, settings.longest, settings.batch_per_class, settings.real_batch_size) == (
        60,
        200,
        10,
        5000,
    )
    assert (settings.inner_learning_rate, settings.outer_learning_rate, settings.clip) == (0.001, 0.001, 2.0)
    with pytest.raises(ValidationError, match="window is 5, longest 4"):
        MetaLearningSettings(window=5, longest=4)


# -- the gradient ---------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2])
def test_the_gradient_of_the_whole_chain_by_finite_differences(factor):
    """Synthetic set -> trained weights -> sums of two sites -> images, in float64, with mosaics and without."""
    draws = generator(0, "chain")
    synthetic = SyntheticSet(torch.from_numpy(draws.standard_normal((6, 1, 8, 8))), torch.arange(6) // 2, factor)
    real = torch.from_numpy(draws.standard_normal((7, 1, 8, 8)))
    labels = torch.tensor([0, 1, 2, 0, 1, 1, 2])
    network = Network(SPEC, [weight.double() for weight in draw_parameters(SPEC, 3)])
    settings = MetaLearningSettings(window=3, longest=3, batch_per_class=4, inner_learning_rate=0.03)

    def attempt(images):
        return unrolled(network, SyntheticSet(images, synthetic.labels, factor), settings, (), 5)

    here = attempt(synthetic.images)
    sums = GradientSums(1, SPEC.weights)
    for part in (slice(0, 2), slice(2, 7)):
        gradient = gradient_sum(here.network, real[part], labels[part]).numpy()
        sums.add(np.zeros(1, np.int64), gradient[None], np.array([len(labels[part])]))
    found = image_gradient(synthetic, here, sums.means()[1][0])
    size = 1e-6
    for index in [(0, 0, 3, 4), (3, 0, 0, 7), (5, 0, 6, 1)]:
        losses = []
        for sign in (1, -1):
            images = synthetic.images.clone()
            images[index] += sign * size
            losses.append(float(functional.cross_entropy(attempt(images).network.scores(real), labels)))
        slope = (losses[0] - losses[1]) / (2 * size)
        assert abs(slope) > 1e-5
        assert float(found[index]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_the_length_is_drawn_between_the_window_and_the_longest():
    synthetic = SyntheticSet(torch.zeros(3, 1, 8, 8), torch.arange(3))
    settings = MetaLearningSettings(window=2, longest=5)
    attempts = [unrolled(seeded_network(SPEC, 1), synthetic, settings, (), seed) for seed in range(40)]
    assert {attempt.forth.state.steps for attempt in attempts} == {2, 3, 4, 5}
    assert {len(attempt.forth.steps) for attempt in attempts} == {2}


def test_a_step_leaves_what_it_began_with():
    synthetic = SyntheticSet(torch.from_numpy(generator(0, "x").standard_normal((3, 1, 8, 8))).float(), torch.arange(3))
    settings = MetaLearningSettings(window=2, longest=2)
    descent = OuterDescent(synthetic, 0.1, 2.0)
    before = synthetic.images.clone()
    attempt = unrolled(seeded_network(SPEC, 1), synthetic, settings, (), 0)
    gradient = torch.from_numpy(generator(0, "g").standard_normal(SPEC.weights)).float()
    once, again = stepped(descent, attempt, gradient), stepped(descent, attempt, gradient)
    assert torch.equal(once.synthetic.images, again.synthetic.images)
    assert torch.equal(descent.synthetic.images, before)
    # The first step of Adam is as long as its rate wherever the gradient is not tiny.
    assert float((once.synthetic.images - before).abs().max()) == pytest.approx(0.1, rel=1e-3)


def test_networks_that_diverge_end_the_run_with_advice():
    synthetic = SyntheticSet(torch.full((3, 1, 8, 8), torch.inf), torch.arange(3))
    settings = MetaLearningSettings(window=1, longest=1)
    with pytest.raises(RunFailedError, match="inner_learning_rate"):
        unrolled(seeded_network(SPEC, 1), synthetic, settings, (), 0)
    good = SyntheticSet(torch.ones(3, 1, 8, 8), torch.arange(3))
    attempt = unrolled(seeded_network(SPEC, 1), good, settings, (), 0)
    with pytest.raises(RunFailedError, match=r"meta_learning\.window"):
        stepped(OuterDescent(good, 0.1, None), attempt, torch.full((SPEC.weights,), torch.inf))


# -- rounds -----------------------------------------------------------------------------------------


def test_one_network_down_and_one_gradient_up_in_a_round():
    each = fleet()
    outcome = each.run()
    assert [sorted(asks["client-0"].sections) for asks in each.asked] == [[], ["model"], ["model"]]
    spec = each.settings.network(each.images)
    for upload in each.uploads[3:]:
        section = upload.sections["gradients"]
        data = each.data[upload.site]
        assert section["sums"].shape == (1, spec.weights)
        assert section["classes"].values().tolist() == data.classes_present
        assert section["counts"].values().tolist() == data.counts[data.classes_present].tolist()
    assert sum(t.size_bytes for t in each.asked[-1]["client-0"].sections["model"].values()) == 4 * spec.weights + 4
    assert torch.equal(outcome.synthetic.labels, outcome.initial.labels)
    assert not torch.equal(outcome.synthetic.images, outcome.initial.images)


def test_what_travels_is_the_trained_network_and_what_a_site_sends_the_sum_of_its_gradients():
    each = fleet(augment=False, unrolled={"steps": 1, "real_batch_size": "all"})
    initial = each.run().initial
    spec = each.settings.network(each.images)
    fresh = seeded_network(spec, key(each.seed, "network", 0))
    attempt = unrolled(fresh, initial, each.settings.meta_learning, (), key(each.seed, "unroll", 0))
    sent = read_model(each.asked[1]["client-0"].sections["model"], spec, each.device)
    assert sent.checksum() == attempt.network.checksum() != fresh.checksum()
    data = each.data["client-0"]
    expected = gradient_sum(sent, data.spec.normalise(data.images), torch.from_numpy(data.labels))
    found = next(u for u in each.uploads[3:] if u.site == "client-0").sections["gradients"]["sums"].values()[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_many_sites_with_full_batches_are_one_site_with_the_union():
    """From the same synthetic set, which local distillation alone makes depend on the split."""
    dataset = gaussians()
    parts = [skewed_parts(dataset), [np.arange(len(dataset.train))]]
    found = []
    start = fleet(dataset, parts[1], unrolled={"steps": 0}).run().synthetic
    for part in parts:
        each = fleet(dataset, part, augment=False, unrolled={"real_batch_size": "all"})
        spec = each.settings.network(each.images)
        attempt = unrolled(seeded_network(spec, 3), start, each.settings.meta_learning, (), 4)
        model = {**model_section(attempt.network), "round": encode(np.zeros(1, np.uint32))}
        sums = GradientSums(1, spec.weights)
        for name, data in each.data.items():
            task = methods.Task("task", "strawman", each.settings, 1, 3, {"model": model})
            section = strawman.client(task, methods.Site(name, data, each.device))["gradients"]
            sums.add(np.zeros(1, np.int64), section["sums"].values(), section["counts"].values().sum(keepdims=True))
        found.append(image_gradient(start, attempt, sums.means()[1][0]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-6)
    assert float(found[0].abs().max()) > 1e-4


def test_the_order_of_arrival_does_not_matter():
    forward, backward = fleet(), fleet()
    backward.order.reverse()
    assert torch.equal(forward.run().synthetic.images, backward.run().synthetic.images)


def test_sites_without_data_or_classes_are_no_trouble():
    dataset = gaussians()
    nothing = np.array([], dtype=np.int64)
    each = fleet(dataset, [np.flatnonzero(dataset.train.labels == 1), nothing], expand=2)
    outcome = each.run()
    assert outcome.synthetic.classes() == [1]
    assert torch.isfinite(outcome.synthetic.images).all()
    assert all(upload.sections == {} for upload in each.uploads if upload.site == "client-1")


def test_a_batch_is_no_larger_than_asked_for():
    each = fleet(unrolled={"real_batch_size": 7})
    each.run()
    assert {int(upload.sections["gradients"]["counts"].values().sum()) for upload in each.uploads[3:]} == {7}


def test_the_loss_of_trained_networks_falls(monkeypatch):
    """From noise, for what the first round yields are nearly real images."""
    dataset = gaussians()
    shape = (8, dataset.spec.channels, dataset.spec.side, dataset.spec.side)
    noise = torch.from_numpy(generator(0, "noise").standard_normal(shape, dtype=np.float32))

    async def union_of(fleet, settings):
        return SyntheticSet(noise, torch.arange(8) // 2)

    monkeypatch.setattr(strawman.localdm, "union_of", union_of)
    chosen = {"steps": 15, "window": 4, "longest": 4, "outer_learning_rate": 0.1, "real_batch_size": "all"}
    each = fleet(dataset, even_parts(dataset, 2), augment=False, unrolled=chosen)
    outcome = each.run()
    images, labels = dataset.spec.normalise(dataset.train.images), torch.from_numpy(dataset.train.labels)
    losses = []
    for synthetic in (outcome.initial, outcome.synthetic):
        fresh = [seeded_network(each.settings.network(dataset.spec), 10_000 + unseen) for unseen in range(4)]
        trained = [unrolled(network, synthetic, each.settings.meta_learning, (), 0).network for network in fresh]
        losses.append(sum(float(functional.cross_entropy(network.scores(images), labels)) for network in trained))
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"sums": np.nan}, "gradients.sums holds numbers that are not finite"),
        ({"sums": 1e9}, "gradients.sums lies in"),
        ({"counts": 0}, "gradients.counts lies in"),
    ],
)
def test_uploads_that_are_wrong_are_refused_by_name(spoilt, reason):
    each = fleet(unrolled={"steps": 1})
    each.run()
    good = dict(each.uploads[-1].sections["gradients"])
    for name, value in spoilt.items():
        good[name] = encode(np.full(good[name].shape, value), good[name].dtype)
    with pytest.raises(RefusedUploadError, match=reason):
        check_sections({"gradients": good}, each.asked[-1]["client-0"].expects)
    good = dict(each.uploads[-1].sections["gradients"])
    good["sums"] = encode(np.zeros((4, each.settings.network(each.images).weights)), "float32")
    with pytest.raises(RefusedUploadError, match=r"gradients\.sums has the shape"):
        check_sections({"gradients": good}, each.asked[-1]["client-0"].expects)


def test_operations_of_a_round_by_the_closed_formula():
    one, two = ({"window": 3, "longest": 3, "steps": steps} for steps in (1, 2))
    spec = fleet().settings.network(gaussians().spec)
    gradient_operations(spec)  # measured once, outside the count
    counted = [counted_job("all", fleet(unrolled=chosen).run).run().operations for chosen in (one, two)]
    batch = 4 * UNROLLED["batch_per_class"]
    at_server = batch * 3 * (PASSES_OF_A_STEP + PASSES_OF_A_STEP_BACK) * operations_per_image(spec).forward
    assert counted[1] - counted[0] == at_server + 120 * gradient_operations(spec)


def test_a_boundary_need_only_let_pass_what_the_instance_sends():
    assert strawman.kinds(fleet().settings) == (frozenset({"gradients", "synthetic"}), frozenset({"model"}))
