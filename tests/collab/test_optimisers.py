from __future__ import annotations

import torch

from collab.optimisers import Adam, Sgd
from simnet.draws import generator


def start():
    return [torch.from_numpy(generator(0, "adam", i).standard_normal((4, 3))) for i in range(2)]


def loss_of(weights):
    return sum((weight.sin() * (index + 1)).sum() for index, weight in enumerate(weights))


def test_the_steps_are_torchs():
    theirs = [weight.clone().requires_grad_() for weight in start()]
    optimiser = torch.optim.Adam(theirs, lr=0.05)
    ours, adam = start(), Adam(0.05)
    state = adam.start(ours)
    for _ in range(20):
        optimiser.zero_grad()
        loss_of(theirs).backward()
        optimiser.step()
        leaves = [weight.requires_grad_() for weight in ours]
        ours, state = adam.step(leaves, torch.autograd.grad(loss_of(leaves), leaves), state)
        ours = [weight.detach() for weight in ours]
        state = state.detached()
    assert state.steps == 20
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other.detach(), rtol=1e-9, atol=1e-12)


def test_weights_that_nothing_depends_on_stay_and_have_a_derivative():
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradient = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = Adam(0.1)
    (moved,), _ = adam.step([weight], [gradient], adam.start([weight]))
    assert torch.equal(moved, weight)
    assert torch.isfinite(torch.cat(torch.autograd.grad(moved.sum(), [weight, gradient]))).all()


def test_a_step_can_be_differentiated():
    weights, gradients = start()
    adam = Adam(0.05)

    def after_two(weight, gradient):
        first, state = adam.step([weight], [gradient], adam.start([weight]))
        second, _ = adam.step(first, [gradient * first[0]], state)
        return second[0]

    assert torch.autograd.gradcheck(after_two, (weights.requires_grad_(), gradients.requires_grad_()))


def test_sgd_and_scaled_steps():
    weights, gradients = start()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    for optimiser in (Sgd(0.1), Adam(0.1)):
        (once,), _ = optimiser.step([weights], [gradients], optimiser.start([weights]))
        (twice,), state = optimiser.step([weights], [gradients], optimiser.start([weights]), scale)
        torch.testing.assert_close(twice - weights, 2 * (once - weights))
        assert state.steps == 1
        (slope,) = torch.autograd.grad(twice.sum(), scale)
        torch.testing.assert_close(slope, (once - weights).sum())
    torch.testing.assert_close(
        Sgd(0.1).step([weights], [gradients], Sgd(0.1).start([weights]))[0][0], weights - 0.1 * gradients
    )
