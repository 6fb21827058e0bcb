"""A scenario as settings: everything that a run is a function of, immutable, each setting valid by itself.

What contradicts what is in `collab.contradictions`, how a file becomes a scenario in `collab.scenario`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args, get_origin

import yaml
from pydantic import Field, create_model, field_validator, model_validator

from collab import methods
from collab.boundary_settings import BoundarySettings, Tenants, tenants_of
from collab.compute import Device as TorchDevice
from collab.compute import DeviceChoice, PrecisionChoice, pick_device
from collab.data import DatasetSettings, PartitionSettings
from collab.device_settings import DeviceMap, RadioMap, devices_of, radios_of
from collab.document import PlacedError, merged
from collab.engines import EngineName
from collab.evaluation_settings import EvaluationSettings
from collab.fault_settings import AnyFault
from collab.limit_settings import RequestLimits
from collab.methods import MethodSettings
from collab.network_settings import NetworkSettings, Settings
from collab.quantities import Duration, Size
from collab.sweep_settings import SweepSettings
from collab.waiting_settings import WaitingSettings
from simnet import Device, Fixed, Measured, Modelled, Radio, Rule, Topology
from simnet.devices import Timing

SERVER = "server"


class ComputeSettings(Settings):
    """Where the work really runs, and what it costs in virtual time."""

    device: DeviceChoice = Field("auto", description="auto takes a GPU if there is one")
    precision: PrecisionChoice = Field(
        "float32",
        description="of embeddings in distribution matching, both ways, and of judging; all else is float32. "
        "auto is bfloat16 on chips that have units for it, and there twice as fast",
    )
    executor: EngineName = Field(
        "inline",
        description="where the sites' computations run: in this process one after another, in processes of this "
        "machine, or on Ray, here or on a cluster",
    )
    workers: int | None = Field(None, ge=1, le=4096, description="how many run at a time; as many as there are cores")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="threads of torch in each process; with workers their share of the cores, else all cores. "
        "The last digits of a result depend on it",
    )
    address: str | None = Field(
        None, min_length=1, description="of a cluster of Ray's: auto, or where its head is; one of this machine if not"
    )
    gpus_per_client: float | None = Field(
        None, ge=0, le=64, description="GPUs that Ray reserves for each computation; 1/workers where device is cuda"
    )
    time: Literal["modelled", "measured", "fixed"] = Field(
        "modelled", description="operations / rate of the device, wall time x factor, or the same for every job"
    )
    factor: float = Field(1.0, gt=0, description="for measured time")
    duration: Duration = Field(1.0, description="for fixed time")

    @model_validator(mode="after")
    def _check_engine(self) -> ComputeSettings:
        if self.executor == "inline" and (self.workers or 1) > 1:
            message = f"there are {self.workers}, but executor is inline, which is one; use processes or ray"
            raise PlacedError(message, "workers")
        for name in ("address", "gpus_per_client"):
            if self.executor != "ray" and getattr(self, name) is not None:
                raise PlacedError(f"only Ray has one, but executor is {self.executor}; use executor: ray", name)
        if self.device == "cpu" and self.gpus_per_client:
            raise PlacedError(
                f"found {self.gpus_per_client:g}, but device is cpu; use cuda, or auto", "gpus_per_client"
            )
        return self

    def torch_device(self) -> TorchDevice:
        """Where torch works. Raises `ScenarioError` for a device that is not there."""
        return pick_device(self.device, self.precision)

    def timing(self) -> Timing:
        """The rule by which simnet charges time."""
        match self.time:
            case "measured":
                return Measured(self.factor)
            case "fixed":
                return Fixed(self.duration)
            case _:
                return Modelled()


def _method_models() -> Any:
    """The settings of all methods as one union, told apart by `name`."""
    models = []
    for name in methods.names():
        settings = methods.get(name).Settings
        fields: Any = {"name": (Literal[name], Field(description=f"the method {name}"))}
        model = create_model(f"{name}_method", __base__=settings, __doc__=settings.__doc__, **fields)
        globals()[model.__name__] = model  # so that pickle finds the class of settings that go to another process
        models.append(model)
    return functools.reduce(operator.or_, models)


def _section_models() -> Any:
    """A map with a section for each method, which has that method's settings."""
    fields: Any = {
        name: (settings, Field(default_factory=settings, description=f"settings of {name}, wherever it runs"))
        for name, settings in ((name, methods.get(name).Settings) for name in methods.names())
    }
    return create_model("methods", __base__=Settings, __doc__="Settings by the name of the method.", **fields)


_NO_SECTIONS: Any = _section_models()
if TYPE_CHECKING:  # these are made at run time, from whatever methods there are
    MethodUnion: TypeAlias = Any
    MethodSections: TypeAlias = Any
else:
    MethodUnion = Annotated[_method_models(), Field(discriminator="name")]
    MethodSections = _NO_SECTIONS


class Scenario(Settings):
    """Everything that a run is a function of."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="of its runs; the file's, without .yaml, if not given"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="what every random draw of a run follows from")
    dataset: DatasetSettings = Field(description="the data, by name; collab data list shows what there is")
    partition: PartitionSettings = Field(description="how the training samples are divided over the clients")
    method: MethodUnion = Field(description="the learning method, by name, and its settings")
    baselines: tuple[MethodUnion, ...] = Field(
        (), description="methods to run beside it on the same data, network and evaluation"
    )
    methods: MethodSections = Field(
        default_factory=_NO_SECTIONS,
        exclude=True,  # once read, it is spelt out in the method and the baselines
        description="method -> what it takes that is not given where it is named, so that method.name can be changed",
    )
    network: NetworkSettings = Field(description="how clients and server are joined, by topology")
    tenants: Tenants | None = Field(
        None, description="tenant -> its hosts, by name or pattern (client-*); all hosts trust each other if not given"
    )
    boundaries: tuple[BoundarySettings, ...] = Field(
        (), description="what may cross from one tenant to another; whatever no boundary allows is refused"
    )
    budgets: Mapping[str, Size] = Field(
        {}, description="tenant -> bytes that it may send across its boundaries in a run of one method, in all"
    )
    devices: DeviceMap = Field(
        {}, description="client, server or a host's name -> a device; hosts without one compute in no time"
    )
    radios: RadioMap = Field(
        {},
        description="client, server or a host's name -> its access to the network; without one, bits cost 0 J",
    )
    wait_for: WaitingSettings | None = Field(
        None, description="the uploads with which the server goes on, if not with all: quorum, deadline, at_least"
    )
    uploads: Literal["single", "resumable"] | None = Field(
        None,
        description="how a site sends its upload: in a single request, or in parts that go on after a break; single if "
        "not given",
    )
    limits: RequestLimits | None = Field(
        None,
        description="what the server does not put up with, on a simulated network or laboratory sockets: too many "
        "requests or connections, heads, bodies and answers that do not come",
    )
    faults: tuple[AnyFault, ...] = Field((), description="what goes wrong; on a simulated network only")
    compute: ComputeSettings = Field(
        ComputeSettings(), description="where the work really runs, and what it costs in virtual time"
    )
    evaluation: EvaluationSettings = Field(
        EvaluationSettings(), description="how a result is judged: a protocol, paper or quick, or settings"
    )
    sweep: SweepSettings | None = Field(
        None,
        exclude=True,  # a run is one cell; what else there is is no part of it
        description="settings by dotted name -> the values that they take, for collab sweep",
    )

    @model_validator(mode="before")
    @classmethod
    def _spell_out_methods(cls, data: Any) -> Any:
        """What the method is not given itself it takes from its section of `methods`; a baseline from its own section,
        then from the method. A group such as `gradient_matching` is no single setting: it is taken key by key.
        """
        if not isinstance(data, dict) or not isinstance(data.get("method"), dict):
            return data
        sections = data.get("methods")
        sections = sections if isinstance(sections, dict) else {}
        method = merged(_section_of(data["method"], sections), data["method"])
        baselines = data.get("baselines")
        if isinstance(baselines, (list, tuple)):
            baselines = [_spelt_out(entry, method, sections) for entry in baselines]
        return {**data, "method": method, **({} if baselines is None else {"baselines": baselines})}

    @field_validator("methods", mode="after")
    @classmethod
    def _forget_sections(cls, sections: Any) -> Any:
        """Two scenarios that run the same are the same, however their settings were given."""
        return type(sections)()

    @property
    def clients(self) -> tuple[str, ...]:
        """Names of the clients."""
        return tuple(f"client-{index}" for index in range(self.partition.clients))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the clients and the server."""
        return (*self.clients, SERVER)

    @property
    def sends_in_parts(self) -> bool:
        """Whether uploads can be resumed where a connection broke."""
        return self.uploads == "resumable"

    def topology(self) -> Topology:
        """The network of all its hosts. Raises `simnet.errors.TopologyError`."""
        return self.network.build(self.clients, self.tenant_of(), self.seed)

    def tenant_of(self) -> dict[str, str]:
        """The tenant of every host."""
        return tenants_of(self.tenants, self.hosts)

    def rules(self) -> list[Rule]:
        """The boundary rules."""
        return [boundary.rule() for boundary in self.boundaries]

    def budget_bytes(self) -> dict[str, int]:
        """Bytes that each tenant with a budget may send across its boundaries in a run of one method."""
        return {tenant: int(size) for tenant, size in self.budgets.items()}

    def device_of(self) -> dict[str, Device]:
        """The device of every host that has one."""
        return devices_of(self.devices, self._role_of())

    def radio_of(self) -> dict[str, Radio]:
        """The radio of every host that has one."""
        return radios_of(self.radios, self._role_of())

    def _role_of(self) -> dict[str, str]:
        return {host: SERVER if host == SERVER else "client" for host in self.hosts}

    def all_methods(self) -> tuple[MethodSettings, ...]:
        """The method and its baselines; each has its `name`."""
        return (self.method, *self.baselines)

    def dump(self) -> str:
        """The scenario as YAML, every default written out."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        method, *baselines = [_as_written(settings) for settings in self.all_methods()]
        data["method"], data["baselines"] = method, baselines
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)


def _as_written(settings: Any) -> dict[str, Any]:
    """A method's settings, its name first. One that is null is left out only where null is the default."""
    found: dict[str, Any] = settings.model_dump(mode="json", by_alias=True, exclude_none=True)
    fields = type(settings).model_fields.items()
    nulls = {key: None for key, field in fields if field.default is not None and getattr(settings, key) is None}
    return {"name": settings.name, **found, **nulls}


def _section_of(entry: Mapping[str, Any], sections: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the section of the method that an entry names says; nothing if there is none that could be used.

    A preset takes from the section of its method what it does not settle itself.
    """
    name = entry.get("name")
    if not isinstance(name, str):
        return {}
    own, shared = sections.get(name), sections.get(methods.base_of(name))
    found = dict(shared) if isinstance(shared, dict) else {}
    if name in methods.names():
        found = {key: value for key, value in found.items() if key not in methods.preset_settings(name)}
    return merged(found, own) if isinstance(own, dict) else found


def _spelt_out(entry: Any, method: Mapping[str, Any], sections: Mapping[str, Any]) -> Any:
    given = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict) or given.get("name") not in methods.names():
        return given
    name, source = given["name"], method.get("name")
    if source not in methods.names():
        return merged(_section_of(given, sections), given)
    shared = methods.inherited_settings(name, source)
    inherited = {
        key: value for key, value in method.items() if key in shared and not _is_foreign(key, value, name, source)
    }
    return merged(inherited, _section_of(given, sections), given)


def _is_foreign(key: str, value: object, name: str, source: str) -> bool:
    """Whether a value is a choice that the method `source` offers and the method `name` does not.

    Sites that distil cannot start from the noise that a server may start from (`initial`); many rounds are not one
    private release (`privacy`).
    """
    ours, theirs = (methods.get(each).Settings.model_fields[key].annotation for each in (name, source))
    if ours is NoneType:  # what the method may have, and the other one never
        return value is not None
    if get_origin(ours) is not Literal or get_origin(theirs) is not Literal:
        return False
    return value in get_args(theirs) and value not in get_args(ours)
