"""Raw images cannot leave: not under their true name, not under another kind's, in neither world."""

from __future__ import annotations

import re

import numpy as np
import pytest

from collab import wire
from collab.agents.messages import message
from collab.compute import CPU
from collab.errors import PrivateDataError
from collab.methods import Site, model_section
from collab.methods.localdm import Settings, distil_locally
from collab.nets import NetworkSpec, seeded_network
from collab.privacy.guard import RawDataGuard
from collab.privacy.inspection import KINDS, ContentInspector
from simnet import Boundaries, LinkSpec, Message, Reply, Route, Rule, SimulatedNetwork, SocketNetwork, star
from simnet.errors import BoundaryError, InspectionError
from tests.collab.fleets import LocalFleet, even_parts, gaussians

both_worlds = pytest.mark.parametrize("world", ["simulated", "real"])


@pytest.fixture(scope="module")
def data():
    dataset = gaussians()
    from collab.methods import localdm

    return LocalFleet(localdm, Settings(), dataset, even_parts(dataset, 3)).data["client-0"]


def sections(images, labels=None, dtype="float32"):
    labels = np.zeros(len(images), np.uint8) if labels is None else labels
    return {"synthetic": {"images": wire.encode(images, dtype), "labels": wire.encode(labels)}}


def disguised(data):
    """Raw images, in every disguise that a careless or curious program might think of."""
    raw = data.images[:3]
    normalised = data.spec.normalise(raw).numpy()
    means = np.zeros((2, 2, 1024), np.float32)
    means.reshape(-1)[: normalised.size] = normalised.reshape(-1)
    embeddings = {
        "classes": wire.encode(np.array([0, 1], np.uint8)),
        "counts": wire.encode(np.array([5, 5], np.int64)),
        "means": wire.encode(means, "float16"),
    }
    noise = np.random.default_rng(0).normal(size=(20, 1, 16, 16))
    head = {
        "head.weight": wire.encode(noise[:4, 0, 0], "float32"),
        "head.bias": wire.encode(noise[:4, 0, 0, 0], "float32"),
    }
    rows = normalised.reshape(3, -1)
    extended = {**sections(noise)["synthetic"], "more": wire.encode(raw)}
    gradients = {name: embeddings[name] for name in ("classes", "counts")} | {"sums": wire.encode(rows)}
    return {
        "under their true name": ("raw", {"raw": {"images": wire.encode(raw)}}),
        "as synthetic": ("synthetic", sections(normalised)),
        "as synthetic, in [0, 1]": ("synthetic", sections(raw / np.float32(255))),
        "as synthetic, inverted": ("synthetic", sections(-normalised)),
        "as synthetic, uint8": ("synthetic", sections(raw, dtype="uint8")),
        "one among many": ("synthetic", sections(np.concatenate([noise, normalised[:1]]))),
        "as synthetic that claims to be embeddings": ("embeddings", sections(normalised)),
        "as embeddings": ("embeddings", {"embeddings": embeddings}),
        "as gradients": ("gradients", {"gradients": gradients}),
        "raw that claims to be synthetic": ("synthetic", {"raw": {"images": wire.encode(raw)}}),
        "as extra tensor of synthetic": ("synthetic", {"synthetic": extended}),
        "as the kernel of a model": ("model", {"model": {**head, "block0.kernel": wire.encode(normalised)}}),
        "as the head of a model": ("model", {"model": {**head, "head.weight": wire.encode(rows)}}),
        "as a vector of a model": ("model", {"model": {**head, "block0.bias": wire.encode(rows.reshape(-1))}}),
        "as a note of a model": ("model", {"model": {**head, "samples": wire.encode(raw.astype(np.int64).ravel())}}),
    }  # fmt: skip


DISGUISES = list(disguised(LocalFleet(None, Settings(), gaussians(), even_parts(gaussians(), 3)).data["client-0"]))


@both_worlds
@pytest.mark.parametrize("disguise", DISGUISES)
def test_raw_images_cannot_leave(world, disguise, data):
    kind, hidden = disguised(data)[disguise]
    smuggled = Message(wire.pack(wire.Content({"task": "t", "site": "client-0"}, hidden)), frozenset({kind}))
    arrived, network = attempt(world, data, smuggled)
    assert not arrived
    (entry,) = network.boundaries.ledger.refused()
    assert (entry.kind, entry.point, entry.source, entry.target) == (kind, "leaving", "client-0", "server")
    assert entry.size_bytes == len(smuggled.body)
    assert entry.reason


@both_worlds
def test_raw_images_among_the_fields_cannot_leave(world, data):
    pixels = [int(value) for value in data.images[0].reshape(-1)]
    arrived, network = attempt(world, data, message({"task": "t", "note": [pixels] * 8}))
    assert not arrived
    (entry,) = network.boundaries.ledger.refused()
    assert "so that no samples hide among them" in entry.reason


def attempt(world, data, smuggled):
    """Send a message from a guarded site over a boundary that lets every known kind pass."""
    arrived = []

    async def take(request):
        arrived.append(request.message)
        return Reply(200)

    tenants = {"client-0": "hospital", "server": "cloud"}
    topology = star(["client-0"], access=LinkSpec(1e9, 0.01), server=LinkSpec(1e9, 0.01), tenant_of=tenants)
    rules = [Rule("cloud", frozenset({*KINDS, "raw"}))]
    boundaries = Boundaries(tenants, rules, ContentInspector({"client-0": RawDataGuard(data)}))
    network = (SimulatedNetwork if world == "simulated" else SocketNetwork)(topology, boundaries=boundaries)

    async def main():
        server, client = network.host("server"), network.host("client-0")
        await server.start(server.serve([Route("PUT", "/", take)]))
        with pytest.raises((BoundaryError, InspectionError)):
            await client.start(client.request("server", "PUT", "/", smuggled))

    network.run(main)
    return arrived, network


def test_distilled_images_may_leave(data):
    guard = RawDataGuard(data)
    site = Site("client-0", data, CPU)
    for expand in (1, 2):
        settings = Settings(images_per_class=3, expand=expand, width=8, depth=2, local_steps=40, local_batch_size=10)
        synthetic = distil_locally(settings, site, 2, 1)
        guard.check(wire.Content({}, sections(synthetic.images.numpy())))


def test_a_model_may_leave_with_its_round_or_its_samples(data):
    network = seeded_network(NetworkSpec(8, 2, 1, 16, 4), 1)
    notes = {"round": wire.encode(np.array([3], np.uint32)), "samples": wire.encode(np.array([30], np.int64))}
    body = message({"task": "t"}, {"model": {**model_section(network), **notes}})
    inspector = ContentInspector({"client-0": RawDataGuard(data)})
    assert inspector.inspect("client-0", body, "leaving") == {"model"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head.bias": None}, "what is called model holds head.weight; model consists of head.bias, head.weight"),
        ({"head.weight": wire.encode(np.zeros((2, 4), np.int64))}, "model.head.weight is int64 with 2 axes"),
        ({"samples": wire.encode(np.array([1, 2]))}, r"model.samples is int64 of shape \[2\]; expected int64 of one"),
        ({"round": wire.encode(np.array([1]))}, "model.round is int64 of shape .* expected uint32 of one number"),
        ({"x.kernel": wire.encode(np.zeros((2, 1, 16, 16), np.float32))}, "model.x.kernel is .* kernels of at most 11"),
        ({"x.kernel": wire.encode(np.zeros((2, 1, 3, 4), np.float32))}, "model.x.kernel is .* kernels of at most 11"),
        ({"x.bias": wire.encode(np.zeros(3, np.uint8))}, "model.x.bias is uint8 .* vectors of bfloat16 or float16"),
    ],
)
def test_what_is_no_model_may_not_be_called_one(changes, reason):
    whole = {
        "head.weight": wire.encode(np.zeros((4, 9), np.float32)),
        "head.bias": wire.encode(np.zeros(4, np.float32)),
    }
    section = {name: tensor for name, tensor in {**whole, **changes}.items() if tensor is not None}
    with pytest.raises(InspectionError, match=reason):
        ContentInspector().inspect("anyone", message({}, {"model": section}), "arriving")


def test_images_that_never_moved_may_not(data):
    site = Site("client-0", data, CPU)
    still = distil_locally(Settings(images_per_class=3, local_steps=0, width=4), site, 1, 1)
    with pytest.raises(PrivateDataError, match=r"copy of a private sample .*raise method\.local_steps"):
        RawDataGuard(data).check(wire.Content({}, sections(still.images.numpy())))


def test_strangers_and_empty_sites_do_not_confuse_it(data):
    guard = RawDataGuard(data)
    noise = np.random.default_rng(1).normal(size=(50, 1, 16, 16)).astype(np.float32)
    guard.check(wire.Content({}, sections(noise)))
    guard.check(wire.Content({}, sections(np.full((2, 1, 16, 16), np.nan, np.float32))))
    guard.check(wire.Content({}, sections(np.ones((2, 1, 16, 16), np.float32))))
    with pytest.raises(PrivateDataError):
        mixed = np.concatenate([np.full((1, 1, 16, 16), np.nan), data.spec.normalise(data.images[:1]).numpy()])
        guard.check(wire.Content({}, sections(mixed.astype(np.float32))))


def test_the_inspector_reports_what_it_finds(data):
    inspector = ContentInspector()
    body = message({"a": 1}, sections(np.zeros((1, 1, 16, 16)))).body
    assert inspector.inspect("anyone", Message(body), "arriving") == {"synthetic"}
    assert inspector.inspect("anyone", message({"a": 1}), "arriving") == {"control"}
    with pytest.raises(InspectionError, match="control is no kind"):
        inspector.inspect("anyone", message({}, {"control": {}}), "arriving")
    with pytest.raises(InspectionError, match="truncated"):
        inspector.inspect("anyone", Message(body[:50]), "arriving")


@pytest.mark.parametrize(
    ("kind", "section", "told"),
    [
        ("keys", {"encryption": np.zeros((3, 33), np.uint8)}, "keys.encryption has rows of 33 B, expected 32"),
        ("shares", {"sealed": np.zeros((2, 784), np.uint8)}, "shares.sealed has rows of 784 B, expected 82"),
        ("unmasking", {"shares": np.zeros((2, 82), np.uint8)}, "unmasking.shares has rows of 82 B, expected 33"),
        ("masked", {"sums": np.zeros((2, 1, 1), np.int64)}, "masked.sums is int64 with 3 axes; expected uint64 with 3"),
        ("masked", {"means": np.zeros((2, 1, 1), np.uint64)}, "masked consists of sums, weights"),
    ],
)
def test_what_secure_sums_send_has_a_form(kind, section, told):
    """Rows of bytes of any other width could be images."""
    right = {
        "keys": {"encryption": np.zeros((3, 32), np.uint8), "masking": np.zeros((3, 32), np.uint8)},
        "shares": {"sealed": np.zeros((2, 82), np.uint8)},
        "unmasking": {"shares": np.zeros((2, 33), np.uint8)},
        "masked": {"sums": np.zeros((2, 1, 1), np.uint64), "weights": np.zeros(1, np.uint64)},
    }[kind]

    def inspected(tensors):
        sections = {kind: {name: wire.encode(values) for name, values in tensors.items()}}
        return ContentInspector().inspect("anyone", message({}, sections), "arriving")

    assert inspected(right) == {kind}
    with pytest.raises(InspectionError, match=re.escape(told)):
        inspected({**right, **section})
