from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collab.compute import CPU, counted_job
from collab.data import ImageSpec, Samples, SiteData
from collab.errors import PrivateDataError
from collab.evaluation import EvaluationSettings, evaluate
from collab.methods import Site, Task, fedd3
from collab.methods.fedd3 import Regression, Settings, spread_evenly, support_sizes
from collab.privacy.guard import RawDataGuard
from collab.wire import Content
from simnet.draws import generator
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts
from tests.collab.test_kernels import by_scalars

QUICK = {"images_per_class": 3, "width": 4, "depth": 2, "steps": 6, "least_steps": 0, "target_batch_size": 40}


def fleet(parts=None, **changes):
    dataset = gaussians()
    return LocalFleet(fedd3, Settings(**{**QUICK, **changes}), dataset, parts or even_parts(dataset, 3))


def site_of(counts, channels=1, side=6, pixels=None):
    spec = ImageSpec(len(counts), channels, side, (0.4,) * channels, (0.3,) * channels, ())
    labels = np.repeat(np.arange(len(counts)), counts)
    shape = (len(labels), channels, side, side)
    images = generator(0, "pixels").integers(0, 256, shape, dtype=np.uint8) if pixels is None else pixels
    return Site("client-0", SiteData(Samples(images, labels.astype(np.int64)), spec), CPU)


def distilled(site, share=2, **changes):
    return fedd3.distil_locally(Settings(**{**QUICK, **changes}), site, share, 1)


# -- the equations -------------------------------------------------------------------------------


def regression(support=5, batch=7, pixels=4, classes=3):
    draws = generator(0, "regression")
    labels = torch.arange(support) % classes
    made = Regression(torch.from_numpy(draws.standard_normal((support, pixels))), labels, classes, Settings())
    images = torch.from_numpy(draws.standard_normal((batch, pixels)))
    return made, labels, images, torch.from_numpy(draws.integers(0, classes, batch))


def in_numpy(support, labels, images, truth, classes=3):
    """The loss of section 7, by numpy's solver and the scalar recursion."""
    kernel = np.array([[by_scalars(x, y) for y in support.tolist()] for x in (*support.tolist(), *images.tolist())])
    own, cross = kernel[: len(support)], kernel[len(support) :]
    ridge = 1e-6 * np.trace(own) / len(support)
    weights = np.linalg.solve(own + ridge * np.eye(len(support)), np.eye(classes)[labels] - 1 / classes)
    predicted = cross @ weights
    loss = 0.5 * np.mean((predicted - (np.eye(classes)[truth] - 1 / classes)) ** 2)
    return loss, float(np.mean(predicted.argmax(axis=1) == truth.numpy()))


def test_loss_and_accuracy_are_numpys():
    made, labels, images, truth = regression()
    fit = made.fit(iter(images.split(3)), truth)
    loss, accuracy = in_numpy(made.support, labels, images, truth)
    assert fit.loss == pytest.approx(loss, rel=1e-8)
    assert fit.accuracy == pytest.approx(accuracy)


def test_the_gradient_by_finite_differences():
    made, labels, images, truth = regression()
    gradient = made.fit(iter([images]), truth).gradient
    for index in [(0, 0), (1, 3), (4, 2)]:
        losses = []
        for step in (1e-5, -1e-5):
            moved = made.support.clone()
            moved[index] += step
            losses.append(in_numpy(moved, labels, images, truth)[0])
        assert float(gradient[index]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_chunks_do_not_matter():
    made, _, images, truth = regression(batch=11)
    whole, pieces = made.fit(iter([images]), truth), made.fit(iter(images.split(2)), truth)
    torch.testing.assert_close(whole.gradient, pieces.gradient, rtol=1e-10, atol=1e-14)
    assert whole.loss == pytest.approx(pieces.loss, rel=1e-12)


def test_the_support_may_lie_among_the_batch_and_hold_twins():
    made, labels, _, _ = regression()
    twins = Regression(torch.cat([made.support, made.support]), torch.cat([labels, labels]), 3, Settings())
    fit = twins.fit(iter([made.support]), labels)
    assert torch.isfinite(fit.gradient).all()
    assert fit.accuracy == 1
    assert fit.loss < 1e-9


def test_the_loss_falls():
    made, _, images, truth = regression(batch=40)
    images[:, 0] += 3 * truth
    losses = []
    adam = fedd3.Adam(0.02)
    state = adam.start([made.support])
    for _ in range(40):
        fit = made.fit(iter([images]), truth)
        losses.append(fit.loss)
        (made.support,), state = adam.step([made.support], [fit.gradient], state)
    assert losses[-1] < 0.5 * losses[0]


# -- a site --------------------------------------------------------------------------------------


def test_defaults_are_the_published_ones():
    chosen = Settings()
    assert (chosen.learning_rate, chosen.steps, chosen.stop_at) == (0.004, 3000, 0.999)
    assert (chosen.target_batch_size, chosen.regularisation) == (5000, 1e-6)


def test_steps_move_the_images_by_at_most_the_learning_rate_each():
    site = site_of([9, 9, 9])
    still = distilled(site, steps=0, site_normalisation="none")
    moved = distilled(site, steps=4, least_steps=4, site_normalisation="none")
    distance = (still.images - moved.images).abs().max()
    assert 0.004 < distance < 4.5 * 0.004
    assert torch.equal(moved.images, distilled(site, steps=4, least_steps=4, site_normalisation="none").images)


def test_it_stops_when_the_batch_is_predicted_rightly():
    site = site_of([3, 3])
    kept = distilled(site, share=3, steps=0)
    assert torch.equal(distilled(site, share=3, steps=50).images, kept.images)
    later = distilled(site, share=3, steps=50, least_steps=7)
    assert torch.equal(later.images, distilled(site, share=3, steps=7, least_steps=7).images)
    assert not torch.equal(later.images, kept.images)


def test_images_that_stayed_put_do_not_leave_and_the_default_moves_them():
    """The first batch is predicted rightly at once; without least_steps raw samples would be sent."""
    dataset = gaussians()
    each = fleet(even_parts(dataset, 1), images_per_class=6)
    site = Site("client-0", each.data["client-0"], CPU)
    guard = RawDataGuard(site.data)

    def upload(**changes):
        settings = Settings(**{**QUICK, "steps": 3000, **changes})
        return Content(sections=fedd3.client(Task("t", "fedd3", settings, 1, 4, {}), site))

    with pytest.raises(PrivateDataError, match=r"method\.least_steps"):
        guard.check(upload())
    guard.check(upload(least_steps=Settings().least_steps))


def test_normalisation_is_undone_unless_kept():
    site = site_of([5, 5], channels=3)
    real = {image.tobytes() for label in (0, 1) for image in site.data.of_class(label).numpy()}
    undone, kept, none = (
        distilled(site, steps=0, site_normalisation=how).images.numpy() for how in ("undone", "kept", "none")
    )
    assert {image.tobytes() for image in none} <= real
    np.testing.assert_allclose(undone, none, atol=1e-5)
    everything = np.concatenate([site.data.of_class(label).numpy() for label in (0, 1)]).astype(np.float64)
    mean, deviation = everything.mean((0, 2, 3), keepdims=True), everything.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(kept, (none - mean) / deviation, atol=1e-5)


def test_constant_images_are_no_trouble():
    site = site_of([4, 0, 1], pixels=np.full((5, 1, 6, 6), 17, np.uint8))
    made = distilled(site, least_steps=3)
    assert torch.isfinite(made.images).all()
    assert made.labels.tolist() == [0, 0, 2, 2]


def test_one_sample_suffices_and_an_empty_site_sends_nothing():
    alone = distilled(site_of([0, 1, 0]), share=3, least_steps=3)
    assert alone.labels.tolist() == [1, 1, 1]
    assert torch.isfinite(alone.images).all()
    assert fedd3.client(Task("t", "fedd3", Settings(**QUICK), 1, 2, {}), site_of([0, 0])) == {}


def test_sizes_of_the_support():
    counts = [40, 0, 3, 90]
    assert support_sizes(Settings(), counts, 10) == {0: 10, 2: 10, 3: 10}
    assert support_sizes(Settings(images_per_client=20), counts, 10) == {0: 7, 2: 6, 3: 7}
    assert support_sizes(Settings(images_per_client=2), counts, 10) == {0: 1, 3: 1}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 120))
def test_batches_are_as_even_as_can_be(counts, total):
    taken = spread_evenly(counts, total)
    assert sum(taken) == min(total, sum(counts))
    assert all(0 <= mine <= held for mine, held in zip(taken, counts, strict=True))
    most = max(taken)
    # Whoever gives less than another, by more than the rest of a division, gives all it has.
    assert all(mine == held or mine >= most - 1 for mine, held in zip(taken, counts, strict=True))


# -- the fleet -----------------------------------------------------------------------------------


def test_the_result_is_the_union():
    each = fleet()
    outcome = each.run()
    sent = np.concatenate([upload.sections["synthetic"]["images"].values() for upload in each.uploads])
    assert outcome.synthetic.labels.tolist() == [y for y in range(4) for _ in range(3)]
    assert {image.tobytes() for image in outcome.synthetic.images.numpy()} == {image.tobytes() for image in sent}
    again = fleet()
    again.order.reverse()
    assert torch.equal(again.run().synthetic.images, outcome.synthetic.images)


def test_skewed_sites_and_a_number_of_images_for_each():
    outcome = fleet(skewed_parts(gaussians()), images_per_client=9).run()
    assert len(outcome.synthetic.images) == 27
    assert outcome.synthetic.classes() == [0, 1, 2, 3]
    assert torch.isfinite(outcome.synthetic.images).all()


def test_networks_that_train_on_it_beat_chance():
    dataset = gaussians(samples_per_class=40)
    settings = Settings(images_per_class=2, width=8, depth=2, steps=30)
    outcome = LocalFleet(fedd3, settings, dataset, even_parts(dataset, 2)).run()
    judged = evaluate(
        outcome.synthetic, dataset, settings.network(dataset.spec), EvaluationSettings(epochs=30, augment=False), 1
    )
    assert judged.mean > 0.8


# -- closed formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize("images_per_client", [None, 7])
def test_bytes_and_operations(images_per_client):
    counts = [9, 0, 3, 6]
    site = site_of(counts, channels=3)
    settings = Settings(**{**QUICK, "least_steps": 6, "images_per_client": images_per_client, "target_batch_size": 12})
    job = counted_job("test", fedd3.client, Task("t", "fedd3", settings, 1, 2, {}), site).run()
    sent = sum(tensor.size_bytes for tensor in job.value["synthetic"].values())
    assert sent == fedd3.upload_bytes(settings, site.data.spec, classes=3, share=2)
    assert job.operations == fedd3.client_operations(settings, site.data.spec, counts, 2, steps=6)


def test_the_papers_bytes():
    cifar = ImageSpec(10, 3, 32, (0.5,) * 3, (0.25,) * 3, ())
    assert fedd3.upload_bytes(Settings(), cifar, classes=10, share=10) == 1_228_800 + 100
    assert fedd3.upload_bytes(Settings(images_per_client=600), cifar, classes=10, share=10) == 7_372_800 + 600


def test_operations_by_torchs_counter():
    from torch.utils.flop_counter import FlopCounterMode

    made, _, images, truth = regression()
    with FlopCounterMode(display=False) as counter:
        made.fit(iter([images]), truth)
    # The counter knows matrix products alone, not the Cholesky factor and the two solves by it.
    uncounted = 5**3 // 3 + 2 * 2 * 5**2 * 3
    assert counter.get_total_flops() == fedd3.fit_operations(5, 7, 4, 3) - uncounted
    assert math.isclose(fedd3.fit_operations(100, 5000, 3072, 10) / 6.3e9, 1, rel_tol=0.05)
