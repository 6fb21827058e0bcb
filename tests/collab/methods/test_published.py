"""Where the published code departs from the paper: each difference a setting, all of them a preset; and the traps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from collab import methods
from collab.augment import OPERATIONS, per_sample, siamese
from collab.compute import CPU
from collab.embedding_sums import EmbeddingSums
from collab.matching import SyntheticSet, class_moments, expand, matching_loss
from collab.methods import collabdm, localdm
from collab.methods.collabdm import network_seeds
from collab.methods.localdm import InitialPool
from collab.nets import seeded_network
from collab.scenario import parse
from collab.step_plan import step_order
from simnet.draws import generator
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts

QUICK = {"images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": 8, "local_steps": 2}
LOCAL = {key: value for key, value in QUICK.items() if key in localdm.Settings.model_fields}


def fleet(dataset=None, parts=None, seed=1, clients=3, **changes):
    dataset = dataset or gaussians()
    settings = collabdm.Settings(**{**QUICK, **changes})
    return LocalFleet(collabdm, settings, dataset, parts or even_parts(dataset, clients), seed)


def test_the_presets_hold_what_the_published_code_does():
    published = methods.get("collabdm-published").Settings()
    assert (published.local_steps, published.iterations, published.surplus_networks) == (401, 400, 1)
    assert (published.step, published.share, published.weighting, published.embedding_dtype) == (
        "per-class", "plus-one", "uniform", "float32",
    )  # fmt: skip
    local = methods.get("localdm-published").Settings()
    assert (local.local_steps, local.step, local.share, local.augment_with) == (401, "per-class", "plus-one", "all")
    for preset in ("collabdm-published", "localdm-published"):
        settings = methods.get(preset).Settings
        plain = methods.get(methods.base_of(preset)).Settings
        changed = {key: value for key, value in settings() if value != getattr(plain(), key)}
        assert changed.items() <= dict(methods.preset_settings(preset)).items()
        assert set(methods.preset_settings(preset)) <= set(plain.model_fields)


@pytest.mark.parametrize(
    ("share", "given"), [("ceil", [10, 4, 1, 1]), ("floor", [10, 3, 1, 1]), ("plus-one", [11, 4, 1, 2])]
)
def test_images_of_a_site(share, given):
    budgets = [(50, 5), (10, 3), (1, 5), (1, 1)]
    assert [localdm.Settings(images_per_class=budget, share=share).images_per_site(k) for budget, k in budgets] == given


@pytest.mark.parametrize(("share", "sent"), [("ceil", 6), ("floor", 3), ("plus-one", 6)])
@pytest.mark.parametrize("initial", ["random", "union"])
def test_the_union_is_all_that_came_and_a_drawn_start_is_the_budget(share, sent, initial):
    """Five images per class of three sites: the division leaves a rest."""
    each = fleet(share=share, initial=initial, images_per_class=5, local_steps=0)
    start = each.run().initial
    expected = sent if initial == "union" else 5
    assert start.labels.tolist() == [label for label in range(4) for _ in range(expected)]
    if initial == "union":
        uploaded = np.concatenate([upload.sections["synthetic"]["images"].values() for upload in each.uploads])
        assert {image.tobytes() for image in start.images.numpy()} == {image.tobytes() for image in uploaded}


def test_a_union_of_mosaics_keeps_them():
    pool = InitialPool(gaussians().spec, localdm.Settings(initial="union", expand=2, images_per_class=1), 1)
    pool.add("client-0", np.zeros((3, 1, 16, 16), np.float32), np.array([0, 0, 2]))
    assert (pool.synthetic().expand, pool.synthetic().labels.tolist()) == (2, [0, 0, 2])


def test_a_step_per_class_moves_all_classes_by_the_common_momentum():
    """Against a loop by hand: the gradient of one class, the momentum of all."""
    each = fleet(step="per-class", iterations=2, local_steps=0, momentum=0.5, learning_rate=3.0)
    outcome = each.run()
    settings, images = each.settings, each.images
    sums = EmbeddingSums(settings, settings.network(images))
    for upload in each.uploads:
        sums.add(upload.sections["embeddings"], range(2))
    current = SyntheticSet(outcome.initial.images.clone(), outcome.initial.labels)
    velocity = torch.zeros_like(current.images)
    seeds = network_seeds(1, 2)
    for _, iteration in step_order(seeds, 1):
        network = seeded_network(settings.network(images), seeds[iteration])
        for label in range(4):
            augment = siamese(settings.strategy(images), generator(seeds[iteration], "augment", label))
            current.images.requires_grad_()
            loss = matching_loss(network, current, sums.target(iteration, [label]), [augment])
            (gradient,) = torch.autograd.grad(loss, current.images)
            velocity = 0.5 * velocity + gradient
            current.images = current.images.detach() - 3.0 * velocity
    torch.testing.assert_close(outcome.synthetic.images, current.images, atol=1e-5, rtol=1e-5)
    joint = fleet(iterations=2, local_steps=0, momentum=0.5, learning_rate=3.0).run()
    assert not torch.allclose(joint.synthetic.images, outcome.synthetic.images, atol=1e-3)


@pytest.mark.parametrize("seeds", ["list", "master"])
def test_surplus_networks_are_paid_for_and_never_used(seeds):
    plain, surplus = fleet(), fleet(surplus_networks=1, seeds=seeds)
    assert torch.equal(plain.run().synthetic.images, surplus.run().synthetic.images)
    assert [each.uploads[0].sections["embeddings"]["means"].shape[0] for each in (plain, surplus)] == [4, 5]


def test_all_six_augmentations_flip_digits_too():
    spec = gaussians().spec
    assert localdm.Settings(augment_with="all").strategy(spec) == OPERATIONS
    assert localdm.Settings().strategy(spec) == spec.augmentation
    assert localdm.Settings(augment_with="all", augment=False).strategy(spec) == ()


def test_the_sites_may_leave_standard_deviations_out():
    images = [fleet(expand=2, local_deviations=match).run().initial.images for match in (True, False)]
    assert not torch.equal(*images)
    plain = [fleet(local_deviations=match).run().initial.images for match in (True, False)]
    assert torch.equal(*plain)  # without expand they are not matched anyway


# -- partition-and-expand ------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "factor"), [(28, 2), (28, 4), (28, 7), (27, 3), (15, 5)])
@pytest.mark.parametrize("budget", [1, 2])
def test_any_factor_that_divides_the_side(side, factor, budget):
    outcome = fleet(gaussians(side=side), expand=factor, images_per_class=budget, iterations=1, local_steps=1).run()
    assert outcome.synthetic.images.shape == (4 * budget, 1, side, side)
    assert outcome.synthetic.expanded().images.shape == (4 * budget * factor**2, 1, side, side)
    assert torch.isfinite(outcome.synthetic.images).all()


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_a_tile_of_one_value_is_enlarged_to_an_image_of_it(factor):
    side = 6 * factor
    tiles = torch.arange(factor**2, dtype=torch.float32).reshape(1, 1, factor, factor)
    enlarged = expand(tiles.repeat_interleave(6, 2).repeat_interleave(6, 3), factor)
    assert enlarged.shape == (factor**2, 1, side, side)
    for number, image in enumerate(enlarged):
        torch.testing.assert_close(image, torch.full_like(image, float(number)))


SCENARIO = """
dataset: {{name: gaussians, side: 16}}
partition: {{clients: 2, scheme: iid}}
method: {{name: collabdm, expand: {expand}}}
baselines: [{{name: localdm, expand: {other}}}]
network: {{topology: star, access: {{bandwidth: 1 MB/s, latency: 1 ms}}, server: {{bandwidth: 1 MB/s, latency: 1 ms}}}}
"""


@pytest.mark.parametrize(
    ("numbers", "place"),
    [({"expand": 5, "other": 2}, "method.expand"), ({"expand": 2, "other": 6}, "baselines.0.expand")],
)
def test_a_factor_that_does_not_divide_the_side_is_a_contradiction(numbers, place):
    with pytest.raises(Exception, match=rf"{place}: images of 16 pixels cannot .* possible are 1, 2, 4, 8, 16"):
        parse(SCENARIO.format(**numbers), "test.yaml")


def test_a_preset_takes_from_others_what_it_does_not_settle():
    text = """
dataset: {name: gaussians, side: 16}
partition: {clients: 2, scheme: iid}
method: {name: collabdm, iterations: 9, images_per_class: 3}
baselines: [collabdm-lean, {name: collabdm-published, step: joint}]
methods:
  collabdm: {local_steps: 7, embedding_dtype: int8}
  collabdm-published: {iterations: 5}
network: {topology: star, access: {bandwidth: 1 Mbit/s, latency: 1 ms}, server: {bandwidth: 1 Mbit/s, latency: 1 ms}}
"""
    read = parse(text, "test.yaml")
    method, lean, published = read.all_methods()
    assert (method.iterations, method.local_steps, method.embedding_dtype) == (9, 7, "int8")
    assert (lean.images_per_class, lean.local_steps) == (3, 7)
    assert (lean.iterations, lean.embedding_dtype) == (38, "int4")
    assert (published.iterations, published.step, published.local_steps) == (5, "joint", 401)
    assert parse(read.dump(), "dumped.yaml") == read


# -- traps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expand_by", [1, 2])
@pytest.mark.parametrize("preset", ["collabdm", "collabdm-lean", "collabdm-published"])
def test_sites_without_a_class_with_one_sample_and_with_fewer_than_they_should_send(expand_by, preset):
    """One site has two classes, one a single sample of a class; 7 images per class of 3 sites are 3 of each."""
    method, dataset = methods.get(preset), gaussians()
    few = {"iterations": 2, "batch_size": 25, "local_steps": 2, "images_per_class": 7, "width": 4, "depth": 2}
    settings = method.Settings(**few, expand=expand_by)
    outcome = LocalFleet(method, settings, dataset, skewed_parts(dataset)).run()
    assert outcome.synthetic.labels.tolist() == [label for label in range(4) for _ in range(7)]
    assert torch.isfinite(outcome.synthetic.images).all()


@pytest.mark.parametrize("dtype", ["float16", "int4"])
def test_constant_images_have_finite_embeddings_and_steps(dtype):
    """The norm of a constant channel has variance 0."""
    dataset = gaussians()
    dataset.train.images[dataset.train.labels == 1] = 0
    dataset.train.images[dataset.train.labels == 2] = 255
    outcome = fleet(dataset, embedding_dtype=dtype, image_dtype="uint8", expand=2).run()
    assert torch.isfinite(outcome.synthetic.images).all()


@pytest.mark.parametrize("dtype", ["float16", "int8", "int4"])
def test_small_embeddings_of_alexnet_survive_few_bits(dtype):
    each = fleet(gaussians(side=28), architecture="alexnet", embedding_dtype=dtype, iterations=1, local_steps=0)
    each.run()
    sums = EmbeddingSums(each.settings, each.settings.network(each.images))
    for upload in each.uploads:
        sums.add(upload.sections["embeddings"], [0])
    network = seeded_network(each.settings.network(each.images), network_seeds(1, 1)[0])
    strategy = each.settings.strategy(each.images)
    augmentations = [siamese(strategy, generator(network_seeds(1, 1)[0], "augment", label)) for label in range(4)]
    exact = 0.0
    for name in each.sites:
        data = each.data[name]
        draws = [generator(1, "batch", name, 0, label) for label in range(4)]
        batches = [data.portions(label, 8, draw, "cpu") for label, draw in enumerate(draws)]
        exact = exact + class_moments(network, batches, range(4), augmentations).means / 3
    assert 0 < exact.abs().max() < 0.3
    error = (sums.target(0, range(4)).means - exact).abs().max() / exact.abs().max()
    assert error < {"float16": 1e-3, "int8": 4e-3, "int4": 0.05}[dtype]


def _parameters(device):
    """Images under every operation with parameters drawn from the same generator, computed on a device."""
    images = torch.linspace(-2, 2, 3 * 3 * 16 * 16).reshape(3, 3, 16, 16)
    for number, operation in enumerate(OPERATIONS):
        yield siamese((operation,), generator(number, "siamese"))(images.to(device)).cpu()
        yield per_sample((operation,), generator(number, "each"), 3)(images.to(device)).cpu()


def test_augmentations_draw_from_numpy_alone_and_so_the_same_everywhere(monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a parameter was drawn by torch")

    for name in ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli", "multinomial"):
        monkeypatch.setattr(torch, name, forbidden)
    state = torch.get_rng_state()
    first, again = list(_parameters("cpu")), list(_parameters("cpu"))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_augments_with_the_parameters_of_the_cpu():
    for ours, theirs in zip(_parameters("cuda"), _parameters(CPU.torch), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
