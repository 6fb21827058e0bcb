"""The published networks of DENSE, with batch norm, against torch's own modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from collab.compute import counted_job
from collab.errors import ScenarioError
from collab.nets import full_layout, seeded_network
from collab.nets.dense import spec_for
from collab.nets.training import has_statistics, observed_scores, running, trained, training_operations, training_scores
from collab.training import classification_gradients
from tests.collab.nets.test_architectures import some_images

GREY, COLOUR = spec_for(1, 28, 10), spec_for(3, 32, 10)


def test_sizes_are_the_published_ones():
    """29,034 weights and 96 running statistics, 0.117 MB; 319,242 weights, 1.277 MB."""
    grey, colour = (seeded_network(spec, 1) for spec in (GREY, COLOUR))
    assert sum(weight.numel() for weight in trained(grey)) == 29_034
    assert sum(weight.numel() for weight in grey.parameters()) == 29_034 + 96
    assert sum(weight.numel() for weight in colour.parameters()) == 319_242
    assert has_statistics(GREY)
    assert not has_statistics(COLOUR)
    assert GREY.embedding_size == 1568
    assert COLOUR.embedding_size == 2048


def modules(network):
    """The same network out of torch's modules, sharing its weights and running statistics."""
    weights = network.named()
    layers: list[nn.Module] = []
    block = 0
    while f"block{block}.kernel" in weights:
        kernel = weights[f"block{block}.kernel"]
        layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding=2 if kernel.shape[2] == 5 else 0)
        layer.weight.data, layer.bias.data = kernel.clone(), weights[f"block{block}.bias"].clone()
        layers.append(layer)
        if f"block{block}.mean" in weights:
            norm = nn.BatchNorm2d(kernel.shape[0])
            norm.weight.data = weights[f"block{block}.scale"].clone()
            norm.bias.data = weights[f"block{block}.shift"].clone()
            layers.append(norm)
        layers.append(nn.ReLU())
        if block < 2:
            layers.append(nn.MaxPool2d(2))
        block += 1
    head = nn.Linear(network.spec.embedding_size, network.spec.classes)
    head.weight.data, head.bias.data = weights["head.weight"].clone(), weights["head.bias"].clone()
    return nn.Sequential(*layers, nn.Flatten(), head)


@pytest.mark.parametrize("spec", [GREY, COLOUR, spec_for(1, 16, 3), spec_for(3, 18, 3)])
def test_in_training_and_in_use_it_is_torchs(spec):
    network = seeded_network(spec, 3)
    for weight in trained(network):  # scales and shifts that are not 1 and 0
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) * 0.05)
    expected = modules(network)
    batches = [some_images(spec, 6) + shift for shift in (0.0, 0.5)]
    for batch in batches:
        torch.testing.assert_close(training_scores(network, batch), expected.train()(batch), rtol=1e-4, atol=1e-5)
    norms = [layer for layer in expected if isinstance(layer, nn.BatchNorm2d)]
    for held, norm in zip(running(network), norms, strict=True):
        torch.testing.assert_close(held.mean, norm.running_mean)
        torch.testing.assert_close(held.variance, norm.running_var)
    torch.testing.assert_close(network.scores(batches[0]), expected.eval()(batches[0]), rtol=1e-4, atol=1e-5)


def test_what_is_observed_is_what_goes_into_the_norms():
    network = seeded_network(GREY, 1)
    images = some_images(GREY, 4)
    scores, (first, second) = observed_scores(network, images)
    assert torch.equal(scores, network.scores(images))
    weights = network.named()
    into = nn.functional.conv2d(
        images.double(), weights["block0.kernel"].double(), weights["block0.bias"].double(), padding=2
    )
    flat = into.transpose(0, 1).flatten(1)
    torch.testing.assert_close(first.mean.double(), flat.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first.variance.double(), ((flat - flat.mean(1, keepdim=True)) ** 2).mean(1))
    assert first.count == 4 * 28 * 28
    assert second.mean.shape == (32,)
    assert observed_scores(seeded_network(COLOUR, 1), some_images(COLOUR))[1] == []


def test_gradients_change_no_statistic_and_scores_do_not_depend_on_the_batch_in_use():
    network = seeded_network(GREY, 1)
    images = some_images(GREY, 4)
    gradients = classification_gradients(network, images, torch.tensor([0, 1, 2, 3]))
    assert len(gradients) == len(trained(network)) == len(full_layout(GREY)) - 4
    torch.testing.assert_close(network.scores(images)[:1], network.scores(images[:1]))
    before = [held.mean.clone() for held in running(network)]
    network.scores(images)
    assert all(torch.equal(held.mean, mean) for held, mean in zip(running(network), before, strict=True))


def test_a_single_image_trains_it():
    network = seeded_network(GREY, 1)
    gradients = classification_gradients(network, some_images(GREY, 1), torch.tensor([0]))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert all(torch.isfinite(held.variance).all() for held in running(network))


def test_constant_images_leave_the_variance_finite():
    network = seeded_network(GREY, 1)
    scores = training_scores(network, torch.zeros(3, 1, 28, 28))
    assert torch.isfinite(scores).all()
    assert all((held.variance >= 0).all() for held in running(network))


@pytest.mark.parametrize("spec", [GREY, COLOUR])
def test_operations_are_those_that_torch_counts(spec):
    from torch.utils.flop_counter import FlopCounterMode

    network, images = seeded_network(spec, 1), some_images(spec, 2)
    cost = training_operations(spec)
    with FlopCounterMode(display=False) as counter:
        job = counted_job("x", classification_gradients, network, images, torch.tensor([0, 1])).run()
    assert counter.get_total_flops() == job.operations == 2 * (cost.forward + cost.to_weights)


def test_images_too_small_are_refused():
    with pytest.raises(ScenarioError, match=r"dense cannot take images of 16x16 pixels and 3 .* at least 18x18"):
        spec_for(3, 16, 10)
