from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from collab.compute import Device, halved
from collab.nets import Embedder, NetworkSpec, embed_in_chunks, half, seeded_network

SPEC = NetworkSpec(8, 2, 1, 16, 4)


def some_images(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_pieces_make_a_whole(monkeypatch):
    monkeypatch.setattr("collab.nets.embedding.chunk_size", lambda spec: 7)
    network, images = seeded_network(SPEC, 1), some_images(20)
    pieces = list(Embedder(network).pieces(images))
    assert [len(piece) for piece in pieces] == [7, 7, 6]
    torch.testing.assert_close(torch.cat(pieces), network.embed(images), atol=1e-5, rtol=1e-4)


def test_the_way_back_to_the_images():
    network, images = seeded_network(SPEC, 1), some_images(5)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    Embedder(network).differentiable(ours).square().sum().backward()
    network.embed(theirs).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3)


@pytest.fixture
def uncompiled(monkeypatch):
    """The functions themselves: compiling takes longer than a test should."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    half._compiled.cache_clear()
    yield
    half._compiled.cache_clear()


def test_bfloat16_is_near_and_comes_out_as_float32(uncompiled):
    """Also of a trained network, whose biases, scales and shifts are not those of a fresh one."""
    network = seeded_network(SPEC, 1, Device(torch.device("cpu"), "bfloat16"))
    draws = torch.Generator().manual_seed(2)
    for weight in network.parameters():
        if weight.dim() == 1:
            weight.add_(torch.rand(weight.shape, generator=draws) - 0.3)
    images = some_images(half.CHUNK + 3)
    found = embed_in_chunks(network, images)
    assert found.dtype == torch.float32
    expected = network.embed(images)
    assert float((found - expected).norm() / expected.norm()) < 0.02


def gradient_of_an_embedding(network, images):
    """By the images, of half the squared length of their mean, as in the matching loss."""
    leaf = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(Embedder(network).differentiable(leaf).mean(dim=0).square().sum() / 2, leaf)
    return found


def cosine(one, other):
    return float((one * other).sum() / one.norm() / other.norm())


def test_gradients_in_bfloat16_are_near_and_come_out_as_float32(uncompiled):
    images = some_images(half.CHUNK + 3)
    found = gradient_of_an_embedding(seeded_network(SPEC, 1, Device(torch.device("cpu"), "bfloat16")), images)
    expected = gradient_of_an_embedding(seeded_network(SPEC, 1), images)
    assert found.dtype == torch.float32
    assert cosine(found, expected) > 0.99


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler imports what torch deprecates
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # and looks there
def test_compiled_bfloat16_is_the_same_function():
    half._compiled.cache_clear()
    network = seeded_network(SPEC, 1, Device(torch.device("cpu"), "bfloat16"))
    images = some_images(60)
    expected = network.embed(images)
    assert float((embed_in_chunks(network, images) - expected).norm() / expected.norm()) < 0.02
    exact = gradient_of_an_embedding(seeded_network(SPEC, 1), images)
    assert cosine(gradient_of_an_embedding(network, images), exact) > 0.99


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler imports what torch deprecates
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # and looks there
def test_networks_of_any_number_of_sizes_are_compiled(monkeypatch):
    """All together they would share one limit, and those beyond it run uncompiled."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    half._compiled.cache_clear()
    before = counters["stats"]["unique_graphs"]
    for width in range(2, 8):
        spec = replace(SPEC, width=width)
        network = seeded_network(spec, 1, Device(torch.device("cpu"), "bfloat16"))
        embed_in_chunks(network, some_images(3))
        gradient_of_an_embedding(network, some_images(3))
    assert counters["stats"]["unique_graphs"] - before == 12  # one for each direction
    half._compiled.cache_clear()


def test_without_memory_the_pieces_are_halved(monkeypatch):
    embedder, images = Embedder(seeded_network(SPEC, 1)), some_images(20)
    whole = embedder._embed

    def short_of_memory(piece):
        if len(piece) > 6:
            raise torch.OutOfMemoryError("too much")
        return whole(piece)

    monkeypatch.setattr(embedder, "_embed", short_of_memory)
    with pytest.warns(UserWarning, match=r"not enough memory for (20|10) images at a time: going on with (10|5)"):
        pieces = list(embedder.pieces(images))
    assert [len(piece) for piece in pieces] == [5, 5, 5, 5]


def test_what_cannot_be_halved_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        try:
            raise torch.OutOfMemoryError("too much")
        except torch.OutOfMemoryError:
            halved(1, "images at a time")
