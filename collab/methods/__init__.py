"""Learning methods: what every one of them is, and how to find it by name.

A method is a module of this package with a `Settings` model and two functions::

    def client(task: Task, site: Site) -> Sections       # runs at a site; may see its private data
    async def server(fleet: Fleet) -> Outcome            # asks the fleet, once for one-shot methods, then refines

`fleet.ask` sends tasks and yields uploads as they arrive, in an order that must not matter to the result. A new
method is one file here and one test file; nothing else knows their names. `ONE_SITE = True` marks a yardstick
that needs all data at a single site. `PRESETS` gives names to combinations of settings: a preset `lean` of the method
`collabdm` is a method `collabdm-lean`, the same functions with other defaults. Installed packages can add methods, see
`collab.method_plugins`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Annotated, Any, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from torch import Tensor

from collab import method_plugins
from collab.augment import Operation
from collab.compute import Device
from collab.data import ImageSpec, SiteData
from collab.expectations import MAX_ABSOLUTE, Expectations, Expected, Sections, check_sections, expected_numbers
from collab.matching import SyntheticSet
from collab.nets import ArchitectureName, Network, NetworkSpec, full_layout
from collab.privacy.gaussian_mechanism import Release
from collab.quantisation import as_section, numbers
from collab.wire import Section, encode
from simnet.draws import generator

__all__ = [
    "Ask", "Expectations", "Expected", "Fleet", "Method", "MethodSettings", "Outcome", "Predictor", "Sections",
    "Site", "Start", "Task", "Upload", "base_of", "check_sections", "expected_model", "expected_numbers",
    "expected_synthetic", "get", "model_section", "names", "needs_one_site", "preset_settings", "read_model",
    "read_synthetic", "share_of_site", "synthetic_section",
]  # fmt: skip

T = TypeVar("T")


class MethodSettings(BaseModel):
    """What all methods share. A baseline that is not given its own takes the values of the scenario's method."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    images_per_class: int = Field(50, ge=1, le=10_000, description="size of the global synthetic set")
    expand: int = Field(1, ge=1, le=112, description="partition-and-expand: tiles per side of an image; 1 for none")
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

    def images_per_site(self, sites: int) -> int:
        """Images per class that each of `sites` sites is to distil."""
        return share_of_site(self.images_per_class, sites)

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """A lower bound for an upload with content, whatever a site holds: `share` images a class, of a side of `side`.

        A boundary too tight for it is noticed before the run. 0 where nothing is known.
        """
        return 0


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
    """What a client function may see: private data, where to compute, and 32 bytes that only the site knows."""

    name: str
    data: SiteData
    device: Device
    secret: bytes = field(default=b"", repr=False)


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
        privacy: what was promised of each site's samples, and by how much noise; None where nothing was.
        matching_losses: of the set before each step of its refinement, in order; NaN where a step matched nothing.
    """

    synthetic: SyntheticSet | None
    initial: SyntheticSet | None = None
    networks: Mapping[str, Predictor] = field(default_factory=dict)
    start: Start | None = None
    matching_losses: Sequence[float] = ()
    privacy: Release | None = None

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
    """The names of all methods, and those of their presets. Raises `MethodPluginError`."""
    modules = [*_own_names(), *added()]
    return tuple(sorted([*modules, *(f"{name}-{preset}" for name in modules for preset in _presets(name))]))


@lru_cache(maxsize=1)
def added() -> Mapping[str, EntryPoint]:
    """The methods that other packages add, by name. Raises `MethodPluginError` for a name that cannot be."""
    return method_plugins.added(_own_names())


def _own_names() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]


@lru_cache(maxsize=128)
def _module(name: str) -> Any:
    """The module that is a method, none of its presets. Raises `MethodPluginError`."""
    entry = added().get(name)
    return method_plugins.module_of(entry, MethodSettings) if entry else importlib.import_module(f"{__name__}.{name}")


@lru_cache(maxsize=128)
def get(name: str) -> Method:
    """The method called `name`, one of `names()`."""
    base, _, preset = name.partition("-")
    module = _module(base)
    if not preset:
        return cast("Method", module)
    changed: Any = {
        key: _with_default(module.Settings.model_fields[key], value) for key, value in _presets(base)[preset].items()
    }
    settings = create_model(f"{base}_{preset}", __base__=module.Settings, __doc__=module.Settings.__doc__, **changed)
    return cast("Method", SimpleNamespace(**{**vars(module), "Settings": settings}))


def base_of(name: str) -> str:
    """The method of which `name` is a preset; `name` itself if it is none."""
    return name.partition("-")[0]


def preset_settings(name: str) -> Mapping[str, Any]:
    """The settings that make a preset what it is, which it therefore does not take from others; none of a method."""
    base, _, preset = name.partition("-")
    return _presets(base)[preset] if preset else {}


def inherited_settings(name: str, source: str) -> frozenset[str]:
    """What a baseline called `name` takes from the method called `source`: the settings that both have from one class,
    less those that make a preset what it is.

    Others only share a name: a learning rate of images is none of weights.
    """
    ours, theirs = (_origins(get(each).Settings) for each in (name, source))
    return frozenset(key for key, origin in ours.items() if theirs.get(key) is origin) - set(preset_settings(name))


def _origins(settings: type[MethodSettings]) -> Mapping[str, type]:
    """The class that brought each setting in."""
    found: dict[str, type] = {}
    for base in reversed(settings.__mro__):
        if issubclass(base, MethodSettings):
            found |= {key: base for key in base.model_fields if key not in found}
    return found


def _presets(module: str) -> Mapping[str, Mapping[str, Any]]:
    presets: Mapping[str, Mapping[str, Any]]
    presets = getattr(_module(module), "PRESETS", {})
    return presets


def _with_default(field: FieldInfo, default: Any) -> Any:
    """The field of a model again, with another default, as `create_model` takes it."""
    described = Field(description=field.description)
    return Annotated[(field.annotation, described, *field.metadata)], default


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


def synthetic_section(synthetic: SyntheticSet, dtype: str = "float32") -> Section:
    """Synthetic images and their labels, as they are uploaded; `uint8` with a range for each image."""
    images = synthetic.images.detach().cpu().numpy()
    return {**as_section("images", images, dtype, axes=3), "labels": encode(synthetic.labels.cpu().numpy(), "uint8")}


def expected_synthetic(images: ImageSpec, share: int, dtype: str = "float32") -> Mapping[str, Expected]:
    """What `synthetic_section` makes of at most `share` images like these per class."""
    shape = ("images", images.channels, images.side, images.side)
    return {
        **expected_numbers("images", dtype, shape, axes=3, longest=share * images.classes),
        "labels": Expected("uint8", ("images",), 0, images.classes - 1),
    }


def read_synthetic(section: Section) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images and labels of an uploaded section."""
    return numbers(section, "images").astype(np.float32), section["labels"].values().astype(np.int64)


# -- networks on the wire ------------------------------------------------------------------------


def model_section(network: Network) -> Section:
    """All weights of a network by their names, as they travel."""
    return {name: encode(weight.detach().cpu().numpy(), "float32") for name, weight in network.named().items()}


def expected_model(spec: NetworkSpec) -> Mapping[str, Expected]:
    """What `model_section` makes of a network of `spec`."""
    return {
        parameter.name: Expected(
            "float32", parameter.shape, low=0.0 if parameter.name.endswith(".variance") else -MAX_ABSOLUTE
        )
        for parameter in full_layout(spec)
    }


def read_model(section: Section, spec: NetworkSpec, device: Device) -> Network:
    """A network of `spec` with the weights of an uploaded section; whatever else the section says is left out."""
    weights = (np.array(section[parameter.name].values()) for parameter in full_layout(spec))
    return Network(spec, [torch.from_numpy(weight).to(device.torch) for weight in weights], device)
