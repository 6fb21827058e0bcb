"""Trained networks as a file (safetensors) that suffices on its own: weights, what network they are of, what it takes.

A tensor `NAME/PARAMETER` (float32, named by `collab.nets.full_layout`) for each weight of each network. The file's
metadata hold under `networks` a JSON object of all networks in order::

    {NAME: {"spec": {the fields of a NetworkSpec}, "mean": [...], "std": [...], "sha256": the network's checksum}}

`mean` and `std`, a number a channel: of pixels in [0, 1] the network takes (pixels - mean) / std.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from collab.array_file import packed
from collab.complaints import first_complaint
from collab.data import ImageSpec
from collab.errors import RunDirectoryError, ScenarioError
from collab.nets import Network, NetworkSpec, full_layout

_METADATA = "networks"


@dataclass(frozen=True)
class KeptNetwork:
    """A network, and what the images are like that it takes: `images.normalise` makes them of uint8 pixels."""

    network: Network
    images: ImageSpec


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: NetworkSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str


_DESCRIPTIONS = TypeAdapter(dict[str, _Description])


def write(networks: Mapping[str, KeptNetwork], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write networks by name to `path`, with more `metadata` if there is any.

    Raises `OSError` or `SafetensorError` if that cannot be.
    """
    arrays: dict[str, NDArray[Any]] = {}
    described: dict[str, _Description] = {}
    for name, kept in networks.items():
        network, images = kept.network, kept.images
        for parameter, weight in network.named().items():
            arrays[f"{name}/{parameter}"] = weight.detach().cpu().numpy().astype(np.float32, copy=False)
        described[name] = _Description(spec=network.spec, mean=images.mean, std=images.std, sha256=network.checksum())
    # Written here: files that safetensors makes may be read by nobody but their owner.
    path.write_bytes(packed(arrays, {**(metadata or {}), _METADATA: _DESCRIPTIONS.dump_json(described).decode()}))


def read(path: Path) -> dict[str, KeptNetwork]:
    """The networks by name, in the order in which they were written, on the CPU.

    Raises `RunDirectoryError` if the file is missing or damaged, or other weights are in it than `write` wrote.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            described = _DESCRIPTIONS.validate_json((file.metadata() or {}).get(_METADATA, ""))
            return {name: _kept(file, name, each) for name, each in described.items()}
    except FileNotFoundError as error:
        raise RunDirectoryError(
            f"{path} cannot be read: there is no such file. The method trained no network as its result, or an older "
            "version wrote the run: run it again"
        ) from error
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise RunDirectoryError(f"{path} is damaged: metadata, {_METADATA}, {first_complaint(error)}") from error
    except (SafetensorError, ScenarioError, _DamagedError) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """All metadata of a file. Raises `RunDirectoryError` if it is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from error


class _DamagedError(Exception):
    """A network is not what its description says."""


def _kept(file: Any, name: str, described: _Description) -> KeptNetwork:
    """One network of an open file. Raises `SafetensorError` and `_DamagedError`."""
    spec = described.spec
    if not len(described.mean) == len(described.std) == spec.channels:
        raise _DamagedError(
            f"{name}: expected a mean and a std for each of {spec.channels} channels, found {len(described.mean)} "
            f"and {len(described.std)}"
        )
    weights: list[Tensor] = []
    for parameter in full_layout(spec):
        values = file.get_tensor(f"{name}/{parameter.name}")
        if values.dtype != np.float32 or values.shape != parameter.shape:
            raise _DamagedError(
                f"{name}/{parameter.name}: expected float32 {list(parameter.shape)}, "
                f"found {values.dtype} {list(values.shape)}"
            )
        weights.append(torch.from_numpy(np.array(values)))  # a copy that belongs to nobody else
    network = Network(spec, weights)
    if network.checksum() != described.sha256:
        raise _DamagedError(
            f"{name}: the weights have the SHA-256 {network.checksum()[:12]}, those written had {described.sha256[:12]}"
        )
    images = ImageSpec(spec.classes, spec.channels, spec.side, described.mean, described.std, augmentation=())
    return KeptNetwork(network, images)
