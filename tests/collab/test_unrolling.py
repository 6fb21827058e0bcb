from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from collab.augment import per_sample
from collab.compute import counted_job
from collab.nets import Network, NetworkSpec, draw_parameters, operations_per_image
from collab.optimisers import Adam, Sgd
from collab.unrolling import PASSES_OF_A_STEP, PASSES_OF_A_STEP_BACK, Distillate, Step, Training
from simnet.draws import generator

SPEC = NetworkSpec(3, 2, 1, 8, 3)
OPTIMISERS = [Adam(0.05), Sgd(0.3)]


def tiny(*, soft=False, scales=False, spec=SPEC, dtype=torch.float64):
    """A network with weights near the start, a distillate of 6 images, and 5 real images with labels."""
    draws = generator(0, "unrolling")

    def normal(*shape):
        return torch.from_numpy(draws.standard_normal(shape)).to(dtype)

    weights = [weight.to(dtype) for weight in draw_parameters(spec, 3)]
    targets = normal(6, 3).softmax(dim=1) if soft else torch.arange(6) % 3
    data = Distillate(normal(6, 1, 8, 8), targets, normal(2).exp() if scales else None)
    real = normal(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    return Network(spec, weights), weights, data, real


def steps(number):
    return [Step(torch.tensor([i % 6, (i + 1) % 6, (i + 2) % 6]), position=i % 2) for i in range(number)]


def by_one_graph(network, weights, data, all_steps, window, real, optimiser):
    """The same by a single graph, nothing detached but what comes before the window."""
    now = [weight.detach().requires_grad_() for weight in weights]
    state = optimiser.start(now)
    for index, step in enumerate(all_steps):
        if index == len(all_steps) - window:
            now, state = [weight.detach().requires_grad_() for weight in now], state.detached()
        scores = network.scores(step.augment(data.images[step.rows]), now)
        loss = functional.cross_entropy(scores, data.targets[step.rows])
        gradients = torch.autograd.grad(loss, now, create_graph=True)
        scale = 1.0 if data.scales is None else data.scales[step.position]
        now, state = optimiser.step(now, gradients, state, scale)
    return functional.cross_entropy(network.scores(real[0], now), real[1])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("window", [1, 3, 5])
def test_it_is_back_propagation_through_time_cut_at_the_window(optimiser, window):
    """Nothing is detached inside the window; at 5 of 5 steps it is the whole of it."""
    network, weights, data, real = tiny(soft=True, scales=True)
    ours = Training(network, optimiser).unrolled(weights, data, steps(5), window, *real)
    leaves = [variable.requires_grad_() for variable in data.variables()]
    loss = by_one_graph(network, weights, data, steps(5), window, real, optimiser)
    theirs = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    assert ours.loss == pytest.approx(float(loss.detach()))
    for mine, other in zip(ours.gradients, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-13)
        assert mine.abs().max() > 0


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_gradient_by_finite_differences(optimiser):
    """Full length: what is trained before a window would move, too."""
    network, weights, data, real = tiny(soft=True, scales=True)
    training = Training(network, optimiser)
    found = training.unrolled(weights, data, steps(4), 4, *real).gradients
    size = 1e-6
    for number, index in [(0, (1, 0, 3, 4)), (0, (4, 0, 0, 7)), (1, (2, 1)), (2, (1,))]:
        losses = []
        for sign in (1, -1):
            moved = [variable.clone() for variable in data.variables()]
            moved[number][index] += sign * size
            losses.append(training.unrolled(weights, data.holding(moved), steps(4), 0, *real).loss)
        slope = (losses[0] - losses[1]) / (2 * size)
        assert float(found[number][index]) == pytest.approx(slope, rel=2e-5, abs=1e-9)


def test_a_truncated_gradient_by_finite_differences():
    """Only the steps in the window see the change: the others use the images as they are."""
    network, weights, data, real = tiny()
    training = Training(network, OPTIMISERS[0])
    (found,) = training.unrolled(weights, data, steps(6), 2, *real).gradients
    before, state = training.run(weights, data, steps(6)[:4])
    index, size, losses = (5, 0, 2, 2), 1e-6, []
    for sign in (1, -1):
        images = data.images.clone()
        images[index] += sign * size
        after, _ = training.run(before, Distillate(images, data.targets), steps(6)[4:], state)
        losses.append(float(functional.cross_entropy(network.scores(real[0], after), real[1])))
    assert float(found[index]) == pytest.approx((losses[0] - losses[1]) / (2 * size), rel=2e-5)


def test_augmentation_is_differentiated_through():
    network, weights, data, real = tiny(dtype=torch.float32)
    draws = generator(0, "rotation")
    rotated = [Step(torch.arange(6), per_sample(("rotate",), draws, 6)) for _ in range(2)]
    (found,) = Training(network, Sgd(0.3)).unrolled(weights, data, rotated, 2, *real).gradients
    data.images.requires_grad_()
    loss = by_one_graph(network, weights, data, rotated, 2, real, Sgd(0.3))
    torch.testing.assert_close(found, torch.autograd.grad(loss, data.images)[0])


def test_training_moves_nothing_that_it_was_given():
    network, weights, data, real = tiny()
    before = [weight.clone() for weight in weights]
    Training(network, OPTIMISERS[0]).unrolled(weights, data, steps(3), 2, *real)
    assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))
    assert not data.images.requires_grad


def test_operations_are_about_what_torch_counts():
    """The formula takes the first layer for one like the others; torch knows that images may need no gradient."""
    from torch.utils.flop_counter import FlopCounterMode

    spec = NetworkSpec(32, 3, 1, 16, 3)
    network, weights, data, _ = tiny(spec=spec, dtype=torch.float32)
    data = Distillate(torch.zeros(6, 1, 16, 16), data.targets)
    training, rows = Training(network, OPTIMISERS[0]), Step(torch.arange(6))
    nothing = torch.zeros(1, 1, 16, 16), torch.tensor([0])
    forward = operations_per_image(spec).forward
    for job, passes in [
        (lambda: training.run(weights, data, [rows]), 6 * PASSES_OF_A_STEP),
        (
            lambda: training.unrolled(weights, data, [rows], 1, *nothing),
            6 * (PASSES_OF_A_STEP + PASSES_OF_A_STEP_BACK) + PASSES_OF_A_STEP,
        ),
    ]:
        with FlopCounterMode(display=False) as counter:
            counted = counted_job("test", job).run().operations
        assert counted == passes * forward
        assert counter.get_total_flops() == pytest.approx(counted, rel=0.12)
