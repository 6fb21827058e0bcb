"""Trained networks as a file: every bit comes back, in whatever order their memory lay, and what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from collab import network_file
from collab.data import ImageSpec
from collab.errors import RunDirectoryError
from collab.nets import Network, NetworkSpec, seeded_network
from collab.network_file import KeptNetwork

IMAGES = ImageSpec(classes=4, channels=3, side=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1 / 3), augmentation=("crop",))
SPEC = NetworkSpec(width=4, depth=2, channels=3, side=16, classes=4)


def kept(seed=1, **changes):
    return KeptNetwork(seeded_network(replace(SPEC, **changes), seed), IMAGES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "networks.safetensors"


def test_networks_come_back_to_the_bit_in_order(path):
    written = {
        "zebra": kept(1),
        "ensemble/client-0": kept(2, architecture="dense", side=32),
        "an AlexNet": kept(3, architecture="alexnet", side=32),
    }
    network_file.write(written, path)
    found = network_file.read(path)
    assert list(found) == list(written)
    for name, each in found.items():
        assert each.network.spec == written[name].network.spec
        assert each.network.checksum() == written[name].network.checksum()
        assert each.network.device.torch.type == "cpu"
        assert (each.images.mean, each.images.std) == (IMAGES.mean, IMAGES.std)
        assert each.images.side == each.network.spec.side


def test_weights_come_back_whatever_the_order_of_their_memory(path):
    """Channels last, slices of a stack: safetensors would write the memory as it lies."""
    plain = seeded_network(SPEC, 1).parameters()
    strange = [
        weight.contiguous(memory_format=torch.channels_last)
        if weight.dim() == 4
        else torch.stack([weight] * 2, -1)[..., 1]
        for weight in plain
    ]
    assert not any(weight.is_contiguous() for weight in strange)
    network_file.write({"strange": KeptNetwork(Network(SPEC, strange), IMAGES)}, path)
    found = network_file.read(path)["strange"].network
    for expected, weight in zip(plain, found.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=0)


def test_others_can_read_it(path):
    network_file.write({"average": kept()}, path)
    arrays = load_file(path)
    assert set(arrays) == {f"average/{name}" for name in kept().network.named()}
    np.testing.assert_array_equal(arrays["average/head.bias"], kept().network.parameters()[-1].numpy())


def test_what_is_read_may_be_trained_on(path):
    network_file.write({"average": kept()}, path)
    found = network_file.read(path)["average"].network
    assert found.reseed(5).checksum() == kept(5).network.checksum()
    assert network_file.read(path)["average"].network.checksum() == kept().network.checksum()


def descriptions(**changes):
    spec = {"width": 4, "depth": 2, "channels": 3, "side": 16, "classes": 4, "architecture": "convnet"}
    network = kept().network
    plain = {"spec": spec, "mean": [0, 0, 0], "std": [1, 1, 1], "sha256": network.checksum()}
    return {"networks": json.dumps({"average": {**plain, **changes}})}


def other_spec(**changes):
    return descriptions(spec={**json.loads(descriptions()["networks"])["average"]["spec"], **changes})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "metadata, networks, all: Invalid JSON"),
        ({"networks": "[]"}, "metadata, networks, all: Input should be"),
        (descriptions(sha256="0" * 64), "average: the weights have the SHA-256 [0-9a-f]{12}, those written had 0{12}"),
        (descriptions(mean=[0.5]), "average: expected a mean and a std for each of 3 channels, found 1 and 3"),
        (descriptions(more=1), r"metadata, networks, average\.more: Extra inputs"),
        (
            other_spec(architecture="os"),
            r"metadata, networks, average\.spec\.architecture.*: Input should be 'convnet'",
        ),
        (other_spec(width=5), r"average/block0\.kernel: expected float32 \[5, 3, 3, 3\], found float32 \[4, 3, 3, 3\]"),
        (other_spec(depth=3), "does not contain tensor average/block2"),
        (other_spec(side=1), "convnet of depth 2 cannot take images of 1x1 pixels"),
    ],
)
def test_what_does_not_fit_is_named(path, metadata, reason):
    arrays = {f"average/{name}": weight.numpy() for name, weight in kept().network.named().items()}
    save_file(arrays, path, metadata=descriptions())
    assert network_file.read(path)["average"].network.checksum() == kept().network.checksum()
    save_file(arrays, path, metadata=metadata)
    with pytest.raises(RunDirectoryError, match=rf"networks\.safetensors is damaged: .*{reason}"):
        network_file.read(path)


def test_a_weight_that_was_changed_is_noticed(path):
    network_file.write({"average": kept()}, path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunDirectoryError, match=r"is damaged: average: the weights have the SHA-256"):
        network_file.read(path)
