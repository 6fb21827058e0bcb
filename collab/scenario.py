"""A scenario: everything that a run is a function of, read from YAML, validated, immutable.

Errors name the file and the line, what was found, what was expected and the nearest valid spelling.
"""

from __future__ import annotations

import fnmatch
import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from collab import methods
from collab.compute import DeviceChoice
from collab.data import DatasetSettings, PartitionSettings
from collab.document import Document, Where, nearest
from collab.errors import BoundaryMissingError, ScenarioError
from collab.evaluation import EvaluationSettings
from collab.methods import MethodSettings
from collab.quantities import Bandwidth, Duration, OperationRate, Size
from simnet import DEVICES, Device, Fixed, LinkSpec, Measured, Modelled, Rule, Tcp, Topology, star, two_tier
from simnet.devices import Timing

SERVER = "server"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LinkSettings(_Settings):
    """A link: capacity per direction, one-way propagation delay, jitter."""

    bandwidth: Bandwidth = Field(ge=1, le=1e15)
    latency: Duration = Field(le=3600)
    jitter: Duration = Field(0.0, description="each message deviates by up to this much from the latency")

    def spec(self) -> LinkSpec:
        """The link as simnet knows it."""
        return LinkSpec(self.bandwidth, self.latency, self.jitter)


class TcpSettings(_Settings):
    """What of TCP is modelled beside the fluid flow; for lessons, all on by default."""

    headers: bool = Field(True, description="packets carry headers: 1502 bytes on the wire for 1448")
    slow_start: bool = Field(True, description="a connection opens its window round by round")

    def model(self) -> Tcp:
        """The model as simnet knows it."""
        wire_bytes = Tcp().wire_bytes_per_segment if self.headers else Tcp().segment_bytes
        return Tcp(wire_bytes_per_segment=wire_bytes, slow_start=self.slow_start)


class StarSettings(_Settings):
    """Every client on an access link of its own, the server behind one shared link."""

    topology: Literal["star"]
    access: LinkSettings
    server: LinkSettings
    tcp: TcpSettings = TcpSettings()

    def build(self, clients: Sequence[str], tenant_of: Mapping[str, str]) -> Topology:
        """The topology for these clients."""
        return star(clients, access=self.access.spec(), server=self.server.spec(), tenant_of=tenant_of)


class TwoTierSettings(_Settings):
    """Clients on base stations, base stations behind an aggregation link, then the server."""

    topology: Literal["two-tier"]
    stations: int = Field(ge=1, description="number of base stations")
    access: LinkSettings
    station: LinkSettings
    server: LinkSettings
    tcp: TcpSettings = TcpSettings()

    def build(self, clients: Sequence[str], tenant_of: Mapping[str, str]) -> Topology:
        """The topology for these clients."""
        return two_tier(
            clients,
            stations=min(self.stations, len(clients)),
            access=self.access.spec(),
            station=self.station.spec(),
            server=self.server.spec(),
            tenant_of=tenant_of,
        )


NetworkSettings = Annotated[StarSettings | TwoTierSettings, Field(discriminator="topology")]
Kind = Literal["embeddings", "synthetic", "seeds", "stream"]


class BoundarySettings(_Settings):
    """What may cross toward a tenant, and come back as an answer. Everything else is denied."""

    to: str = Field(description="the tenant that is asked")
    source: str = Field("*", alias="from", description="the tenant that asks; * for any")
    allow: tuple[Kind, ...] = Field(description="kinds of content that may cross toward it")
    at_most: Size | None = Field(None, description="size of one message toward it")
    answers: tuple[Kind, ...] = Field(("seeds",), description="kinds of content that may come back")

    def rule(self) -> Rule:
        """The rule as simnet knows it."""
        at_most_bytes = None if self.at_most is None else int(self.at_most)
        return Rule(self.to, frozenset(self.allow), self.source, at_most_bytes, frozenset(self.answers))


class CustomDevice(_Settings):
    """A device of your own: its sustained rate of operations."""

    rate: OperationRate = Field(gt=0)


class ComputeSettings(_Settings):
    """Where the work really runs, and what it costs in virtual time."""

    device: DeviceChoice = Field("auto", description="auto takes a GPU if there is one")
    executor: Literal["inline"] = "inline"
    threads: int | None = Field(None, ge=1, le=1024, description="threads of torch; all cores if not given")
    time: Literal["modelled", "measured", "fixed"] = Field(
        "modelled", description="operations / rate of the device, wall time x factor, or the same for every job"
    )
    factor: float = Field(1.0, gt=0, description="for measured time")
    duration: Duration = Field(1.0, description="for fixed time")

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
        models.append(create_model(f"{name}_method", __base__=settings, __doc__=settings.__doc__, **fields))
    return functools.reduce(operator.or_, models)


if TYPE_CHECKING:  # the union is made at run time, from whatever methods there are
    MethodUnion: TypeAlias = Any
else:
    MethodUnion = Annotated[_method_models(), Field(discriminator="name")]


class Scenario(_Settings):
    """Everything that a run is a function of."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    seed: int = Field(0, ge=0, lt=2**63)
    dataset: DatasetSettings
    partition: PartitionSettings
    method: MethodUnion
    baselines: tuple[MethodUnion, ...] = Field(
        (), description="methods to run beside it on the same data, network and evaluation"
    )
    network: NetworkSettings
    tenants: Mapping[str, tuple[str, ...]] | None = Field(
        None, description="tenant -> its hosts, by name or pattern (client-*); all hosts trust each other if not given"
    )
    boundaries: tuple[BoundarySettings, ...] = ()
    devices: Mapping[str, str | CustomDevice] = Field(
        {}, description="client, server or a host's name -> a device; hosts without one compute in no time"
    )
    compute: ComputeSettings = ComputeSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="before")
    @classmethod
    def _spell_out_baselines(cls, data: Any) -> Any:
        """A baseline takes from the method what it is not given itself."""
        if not isinstance(data, dict) or not isinstance(data.get("method"), dict):
            return data
        baselines = data.get("baselines")
        if not isinstance(baselines, (list, tuple)):
            return data
        return {**data, "baselines": [_spelt_out(entry, data["method"]) for entry in baselines]}

    @property
    def clients(self) -> tuple[str, ...]:
        """Names of the clients."""
        return tuple(f"client-{index}" for index in range(self.partition.clients))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the clients and the server."""
        return (*self.clients, SERVER)

    def tenant_of(self) -> dict[str, str]:
        """The tenant of every host."""
        if self.tenants is None:
            return dict.fromkeys(self.hosts, "lab")
        return {host: tenant for host in self.hosts for tenant in self._tenants_claiming(host)[:1]}

    def _tenants_claiming(self, host: str) -> list[str]:
        """The tenants that name a host; a name in full beats a pattern."""
        tenants = self.tenants or {}
        named = [tenant for tenant, hosts in tenants.items() if host in hosts]
        return named or [
            tenant for tenant, hosts in tenants.items() if any(fnmatch.fnmatchcase(host, pattern) for pattern in hosts)
        ]

    def rules(self) -> list[Rule]:
        """The boundary rules."""
        return [boundary.rule() for boundary in self.boundaries]

    def device_of(self) -> dict[str, Device]:
        """The device of every host that has one."""
        devices = {}
        for host in self.hosts:
            role = SERVER if host == SERVER else "client"
            chosen = self.devices.get(host, self.devices.get(role))
            if isinstance(chosen, str):
                devices[host] = DEVICES[chosen]
            elif chosen is not None:
                devices[host] = Device("custom", chosen.rate, "given in the scenario")
        return devices

    def all_methods(self) -> tuple[MethodSettings, ...]:
        """The method and its baselines; each has its `name`."""
        return (self.method, *self.baselines)

    def dump(self) -> str:
        """The scenario as YAML, every default written out."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        data["method"] = _name_first(data["method"])
        data["baselines"] = [_name_first(baseline) for baseline in data["baselines"]]
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _name_first(settings: dict[str, Any]) -> dict[str, Any]:
    return {"name": settings["name"], **settings}


# -- reading -------------------------------------------------------------------------------------


def load(path: Path | str, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario in a file, with `key=value` overrides (dotted keys) applied. Raises `ScenarioError`."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ScenarioError(f"{path}:{line}: this is no UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse(text, str(path), overrides, default_name=path.stem)


def parse(text: str, source: str, overrides: Sequence[str] = (), *, default_name: str = "scenario") -> Scenario:
    """The scenario in a YAML text that came from `source`. Raises `ScenarioError`, with the line."""
    document = Document.read(text, source, overrides)
    try:
        scenario = Scenario.model_validate({"name": default_name, **document.data})
    except ValidationError as error:
        raise ScenarioError("\n".join(_complaints(error, document))) from None
    for where, message, kind in _contradictions(scenario):
        raise kind(f"{document.place(where)}: {message}")
    return scenario


def _complaints(error: ValidationError, document: Document) -> list[str]:
    said: dict[str, None] = {}
    for where, sentence in document.explain(error, json_schema()):
        origin = ("method", *where[2:])
        inherited = where[:1] == ("baselines",) and not document.has(where) and document.has(origin)
        said[f"{document.place(origin if inherited else where)}: {sentence}"] = None
    return list(said)


def _spelt_out(entry: Any, method: Mapping[str, Any]) -> Any:
    given = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict) or given.get("name") not in methods.names():
        return given
    shared = set(methods.get(given["name"]).Settings.model_fields)
    return {**{key: value for key, value in method.items() if key in shared}, **given}


# -- contradictions between settings -------------------------------------------------------------

Contradiction = tuple[Where, str, type[ScenarioError]]


def _contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    yield from _tenant_contradictions(scenario)
    yield from _device_contradictions(scenario)
    network = scenario.network
    if isinstance(network, TwoTierSettings) and network.stations > scenario.partition.clients:
        message = f"{network.stations} base stations for {scenario.partition.clients} clients; expected no more"
        yield ("network", "stations"), message, ScenarioError
    for name in ("access", "station", "server"):
        link = getattr(network, name, None)
        if link is not None and link.jitter > link.latency:
            message = (
                f"jitter of {link.jitter:g} s exceeds the latency of {link.latency:g} s: "
                "nothing arrives before it is sent"
            )
            yield ("network", name, "jitter"), message, ScenarioError
    side = getattr(scenario.dataset, "side", 28)
    if side % scenario.method.expand:
        message = f"images of {side} pixels cannot be cut into {scenario.method.expand} tiles a side"
        yield ("method", "expand"), message, ScenarioError
    names = [settings.name for settings in (scenario.method, *scenario.baselines)]
    for index, name in enumerate(names[1:]):
        if name in names[: index + 1]:
            yield ("baselines", index), f"{name} is listed twice", ScenarioError


def _tenant_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    tenants = scenario.tenants
    if tenants is None:
        for index, _ in enumerate(scenario.boundaries):
            yield ("boundaries", index), "there are boundaries, but no tenants between which they lie", ScenarioError
        return
    for tenant, patterns in tenants.items():
        for index, pattern in enumerate(patterns):
            if not fnmatch.filter(scenario.hosts, pattern):
                message = f'"{pattern}" is no host{nearest(pattern, scenario.hosts[:8])}'
                yield ("tenants", tenant, index), message, ScenarioError
    for host in scenario.hosts:
        claims = scenario._tenants_claiming(host)
        if len(claims) != 1:
            whom = f"belongs to {' and '.join(claims)}" if claims else "belongs to no tenant"
            yield ("tenants",), f"{host} {whom}; expected exactly one", ScenarioError
    for index, boundary in enumerate(scenario.boundaries):
        for field, tenant in (("to", boundary.to), ("from", boundary.source)):
            if tenant not in tenants and tenant != "*":
                message = f'there is no tenant "{tenant}"{nearest(tenant, list(tenants))}'
                yield ("boundaries", index, field), message, ScenarioError
    yield from _missing_boundaries(scenario)


def _missing_boundaries(scenario: Scenario) -> Iterator[Contradiction]:
    tenant_of, rules = scenario.tenant_of(), scenario.rules()
    for settings in scenario.all_methods():
        name: str = settings.name  # type: ignore[attr-defined]
        method = methods.get(name)
        for client in scenario.clients:
            asking, asked = tenant_of[client], tenant_of[SERVER]
            joining = [rule for rule in rules if rule.joins(asking, asked)]
            if asking == asked or any(
                rule.allow >= method.UPLOADS and rule.answers >= method.TASKS for rule in joining
            ):
                continue
            allow, answers = ", ".join(sorted(method.UPLOADS)), ", ".join(sorted(method.TASKS))
            needed = f"{{to: {asked}, allow: [{allow}]" + (f", answers: [{answers}]}}" if answers else "}")
            yield (
                ("boundaries",) if scenario.boundaries else ("tenants",),
                f"{name} cannot run: no boundary rule lets {asking} ({client}) send its uploads to {asked} "
                f"({SERVER}) and get its task back; add {needed}",
                BoundaryMissingError,
            )
            return


def _device_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    roles = ["client", SERVER, *scenario.clients]
    for host, device in scenario.devices.items():
        if host not in roles:
            yield ("devices", host), f'"{host}" is no host{nearest(host, roles[:8])}', ScenarioError
        if isinstance(device, str) and device not in DEVICES:
            message = f'there is no device "{device}"{nearest(device, list(DEVICES))}'
            yield ("devices", host), message, ScenarioError


@functools.lru_cache(maxsize=1)
def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors."""
    schema = Scenario.model_json_schema()
    schema["title"] = "collab scenario"
    # A file need not give its name, and a baseline may be a bare word.
    schema["required"] = [name for name in schema["required"] if name != "name"]
    items = schema["properties"]["baselines"]["items"]
    schema["properties"]["baselines"]["items"] = {"anyOf": [{"enum": list(methods.names())}, items]}
    return schema
