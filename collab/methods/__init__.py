"""Learning methods: what every one of them is, and how to find it by name.

A method is a module of this package with a `Settings` model and two functions::

    def client(task: Task, site: Site) -> Sections       # runs at a site; may see its private data
    async def server(fleet: Fleet) -> Outcome            # asks the fleet, once for one-shot methods, then refines

`fleet.ask` sends tasks and yields uploads as they arrive, in an order that must not matter to the result. A new
method is one file here and one test file; nothing else knows their names. `ONE_SITE = True` marks a yardstick
that needs all data at a single site. A method may have `smallest_upload_bytes(share, side)`, a lower bound for an
upload with content, so that a boundary too tight for it is noticed before the run.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from collab.augment import Operation
from collab.compute import Device
from collab.data import ImageSpec, SiteData
from collab.errors import RefusedUploadError
from collab.matching import SyntheticSet
from collab.nets import ArchitectureName, Network, NetworkSpec, full_layout
from collab.wire import Section, encode
from collab.wire import Tensor as WireTensor
from simnet.draws import generator

T = TypeVar("T")
Sections = Mapping[str, Section]
_MAX_ABSOLUTE = 1e3  # no embedding of a network with norms, and no useful image, has a larger entry


class MethodSettings(BaseModel):
    """What all methods share. A baseline that is not given its own takes the values of the scenario's method."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images_per_class: int = Field(50, ge=1, le=10_000, description="size of the global synthetic set")
    expand: int = Field(1, ge=1, le=4, description="partition-and-expand: tiles per side of an image; 1 for none")
    architecture: ArchitectureName = Field("convnet", description="the network that embeds or learns")
    width: int = Field(128, ge=1, le=4096, description="filters per block of a ConvNet")
    depth: int = Field(3, ge=1, le=5, description="blocks of the ConvNet")
    augment: bool = Field(True, description="match under siamese augmentation by the data set's strategy")

    def network(self, images: ImageSpec) -> NetworkSpec:
        """The network that embeds such images."""
        return NetworkSpec(self.width, self.depth, images.channels, images.side, images.classes, self.architecture)

    def strategy(self, images: ImageSpec) -> tuple[Operation, ...]:
        """The augmentations in use."""
        return images.augmentation if self.augment else ()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tensor of an upload must look like.

    `shape` holds extents, or names that stand for the same extent throughout a section, at most `longest` of it.
    `among` is another tensor of the upload, as (kind, name), in which every value must occur.
    """

    dtype: str
    shape: tuple[int | str, ...]
    low: float = -_MAX_ABSOLUTE
    high: float = _MAX_ABSOLUTE
    longest: int | None = None
    unique: bool = False
    among: tuple[str, str] | None = None

    def check(self, name: str, tensor: WireTensor, extents: dict[str, int]) -> None:
        """Raise `RefusedUploadError`, with the tensor's name, if `tensor` is not like that or not finite.

        `extents` holds the named extents seen so far in the section.
        """
        if tensor.dtype != self.dtype:
            raise RefusedUploadError(f"{name} has the type {tensor.dtype}, expected {self.dtype}")
        wanted = tuple(
            extents.setdefault(extent, found) if isinstance(extent, str) else extent
            for extent, found in zip(self.shape, tensor.shape, strict=False)
        )
        if len(tensor.shape) != len(self.shape) or wanted != tensor.shape:
            shape = ", ".join(
                f"{extent} = {extents[extent]}" if isinstance(extent, str) and extent in extents else str(extent)
                for extent in self.shape
            )
            raise RefusedUploadError(f"{name} has the shape {list(tensor.shape)}, expected [{shape}]")
        if self.longest is not None and tensor.shape[0] > self.longest:
            raise RefusedUploadError(f"{name} has {tensor.shape[0]} rows, the task allows {self.longest}")
        values = tensor.values()
        if values.size == 0:
            return
        if not np.isfinite(values).all():
            raise RefusedUploadError(f"{name} holds numbers that are not finite")
        low, high = values.min(), values.max()
        if not (self.low <= low and high <= self.high):
            raise RefusedUploadError(
                f"{name} lies in [{low:g}, {high:g}], expected within [{self.low:g}, {self.high:g}]"
            )
        if self.unique and len(set(values.ravel().tolist())) != values.size:
            raise RefusedUploadError(f"{name} names something twice")

    def described(self) -> dict[str, Any]:
        """The form in which a task tells a site what it expects."""
        described: dict[str, Any] = {"dtype": self.dtype, "shape": list(self.shape), "low": self.low, "high": self.high}
        if self.longest is not None:
            described["longest"] = self.longest
        if self.unique:
            described["unique"] = True
        if self.among is not None:
            described["among"] = ".".join(self.among)
        return described


Expectations = Mapping[str, Mapping[str, Expected]]


def check_sections(sections: Sections, expected: Expectations) -> None:
    """Raise `RefusedUploadError` unless the upload holds every section that is expected, each whole, or none at all.

    A site that holds no data has nothing to give; one that leaves out a part has made a mistake.
    """
    for kind in sections:
        if kind not in expected:
            raise RefusedUploadError(f"the task did not ask for {kind}, only for {', '.join(sorted(expected))}")
    if sections and (left_out := set(expected) - set(sections)):
        raise RefusedUploadError(f"{', '.join(sorted(left_out))} is missing; send all that was asked for, or nothing")
    for kind, section in sections.items():
        if set(section) != set(expected[kind]):
            raise RefusedUploadError(
                f"{kind} holds {', '.join(sorted(section)) or 'nothing'}; expected {', '.join(sorted(expected[kind]))}"
            )
        extents: dict[str, int] = {}
        for name, expectation in expected[kind].items():
            expectation.check(f"{kind}.{name}", section[name], extents)
    for kind, section in sections.items():
        for name, expectation in expected[kind].items():
            if expectation.among is not None:
                _check_among(f"{kind}.{name}", section[name], sections, *expectation.among)


def _check_among(name: str, tensor: WireTensor, sections: Sections, kind: str, other: str) -> None:
    strangers = set(tensor.values().ravel().tolist()) - set(sections[kind][other].values().ravel().tolist())
    if strangers:
        raise RefusedUploadError(f"{name} names {min(strangers)}, which {kind}.{other} does not hold")


@dataclass(frozen=True)
class Ask:
    """What a server function asks of one site: tensors to send along, and what it expects back."""

    sections: Sections = field(default_factory=dict)
    expects: Expectations = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What a site is asked to do. `share` is the number of images per class that it is to distil."""

    identity: str
    method: str
    settings: Any
    seed: int
    share: int
    sections: Sections


@dataclass(frozen=True)
class Upload:
    """What a site sent back; an empty `sections` means that it has nothing to give."""

    site: str
    sections: Sections


@dataclass(frozen=True)
class Site:
    """What a client function may see: the private data of one site, and where to compute."""

    name: str
    data: SiteData
    device: Device


class Predictor(Protocol):
    """Whatever scores images: a network, or several that vote."""

    def scores(self, images: Tensor) -> Tensor:
        """Class scores [n, classes] of images [n, channels, side, side]."""

    def checksum(self) -> str:
        """SHA-256 of all weights."""


@dataclass(frozen=True)
class Start:
    """Weights near which a network is to start that trains on a synthetic set: those of `network`, and on each tensor
    normal noise of `spread` times its own standard deviation (the soft reset of DOSFL).
    """

    network: Network
    spread: float

    @torch.no_grad()
    def network_near(self, seed: int, device: Device) -> Network:
        """One such network. The noise is drawn on the CPU."""
        weights = []
        for index, weight in enumerate(self.network.parameters()):
            mean = weight.detach().cpu()
            noise = torch.from_numpy(generator(seed, "near", index).standard_normal(mean.shape, dtype=np.float32))
            # Tensors that are constant, such as the scales of a norm, stay as they are.
            width = float(mean.std()) if mean.numel() > 1 else 0.0
            weights.append((mean + self.spread * width * noise).to(device.torch))
        return Network(self.network.spec, weights, device)


@dataclass(frozen=True)
class Outcome:
    """What a method yields: a global synthetic set, or trained networks, or both.

    Attributes:
        synthetic: the global synthetic set; None from a method that yields a network.
        initial: the set that it was refined from, where there is one.
        networks: trained networks by name, the method's result first; judged as they are.
        start: where networks should start that train on the set; they are judged beside freshly drawn ones.
    """

    synthetic: SyntheticSet | None
    initial: SyntheticSet | None = None
    networks: Mapping[str, Predictor] = field(default_factory=dict)
    start: Start | None = None

    def __post_init__(self) -> None:
        if self.synthetic is None and not self.networks:
            raise ValueError("an outcome holds a synthetic set or a network")


class Fleet(Protocol):
    """All sites, as a server function sees them."""

    @property
    def sites(self) -> Sequence[str]:
        """Names of the sites that take part."""

    @property
    def images(self) -> ImageSpec:
        """What the images are like."""

    @property
    def settings(self) -> Any:
        """The method's settings."""

    @property
    def seed(self) -> int:
        """The seed of the run."""

    @property
    def share(self) -> int:
        """Images per class that each site is to distil."""

    @property
    def device(self) -> Device:
        """Where the server computes."""

    def ask(self, asks: Mapping[str, Ask]) -> AsyncIterator[Upload]:
        """Send each site its task; yield the uploads as they arrive, one a site."""

    async def compute(self, name: str, function: Callable[..., T], *args: Any) -> T:
        """Compute at the server, in the time that its device needs."""


class Method(Protocol):
    """The interface of a method's module."""

    Settings: type[MethodSettings]
    UPLOADS: frozenset[str]
    """The kinds of content that its sites send."""
    TASKS: frozenset[str]
    """The kinds of content that the server sends them, beside control."""

    def client(self, task: Task, site: Site) -> Sections:
        """What the site uploads."""

    async def server(self, fleet: Fleet) -> Outcome:
        """The result."""


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The names of all methods."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get(name: str) -> Method:
    """The method called `name`, one of `names()`."""
    return cast("Method", importlib.import_module(f"{__name__}.{name}"))


def needs_one_site(method: Method) -> bool:
    """Whether the method is a yardstick that holds all data at a single site."""
    return bool(getattr(method, "ONE_SITE", False))


def kinds(settings: Any) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds of content that the sites of a method send with these settings, and that the server sends them.

    They are `UPLOADS` and `TASKS`, unless the method has a function `kinds(settings)` that says it more narrowly.
    """
    method = get(settings.name)
    narrower: Callable[[Any], tuple[frozenset[str], frozenset[str]]] | None = getattr(method, "kinds", None)
    return (method.UPLOADS, method.TASKS) if narrower is None else narrower(settings)


def share_of_site(images_per_class: int, sites: int) -> int:
    """Images per class that each of `sites` sites distils: images_per_class / sites, rounded up.

    The paper rounds down, the published code adds one. Where the division leaves no rest all but the latter
    agree, and where it does, only rounding up gives the server enough.
    """
    return -(-images_per_class // sites)


# -- synthetic images on the wire ----------------------------------------------------------------


def synthetic_section(synthetic: SyntheticSet) -> Section:
    """Synthetic images and their labels, as they are uploaded."""
    return {
        "images": encode(synthetic.images.detach().cpu().numpy(), "float32"),
        "labels": encode(synthetic.labels.cpu().numpy(), "uint8"),
    }


def expected_synthetic(images: ImageSpec, share: int) -> Mapping[str, Expected]:
    """What `synthetic_section` makes of at most `share` images like these per class."""
    shape = ("images", images.channels, images.side, images.side)
    return {
        "images": Expected("float32", shape, longest=share * images.classes),
        "labels": Expected("uint8", ("images",), 0, images.classes - 1),
    }


def read_synthetic(section: Section) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images and labels of an uploaded section."""
    return section["images"].values(), section["labels"].values().astype(np.int64)


# -- networks on the wire ------------------------------------------------------------------------


def model_section(network: Network) -> Section:
    """All weights of a network by their names, as they travel."""
    return {name: encode(weight.detach().cpu().numpy(), "float32") for name, weight in network.named().items()}


def expected_model(spec: NetworkSpec) -> Mapping[str, Expected]:
    """What `model_section` makes of a network of `spec`."""
    return {
        parameter.name: Expected(
            "float32", parameter.shape, low=0.0 if parameter.name.endswith(".variance") else -_MAX_ABSOLUTE
        )
        for parameter in full_layout(spec)
    }


def read_model(section: Section, spec: NetworkSpec, device: Device) -> Network:
    """A network of `spec` with the weights of an uploaded section; whatever else the section says is left out."""
    weights = (np.array(section[parameter.name].values()) for parameter in full_layout(spec))
    return Network(spec, [torch.from_numpy(weight).to(device.torch) for weight in weights], device)
