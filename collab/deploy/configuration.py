"""The configuration files of `collab serve` and `collab join`: YAML, checked whole before anything begins.

Paths in a file are relative to its folder. Secrets are never in it, only the files that hold them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from collab.complaints import explain
from collab.deploy import tokens
from collab.deploy.identity import Identities, TokenCheck, read_authorities
from collab.deploy.limit_settings import LABORATORY_LIMITS, LimitSettings
from collab.deploy.logs import Format, Level
from collab.deploy.quota import Quota
from collab.deploy.revocation import RevocationList
from collab.deploy.shutdown import GRACE_S
from collab.deploy.tls import check_private, client_context, server_context
from collab.document import Document, PlacedError
from collab.errors import CredentialsError, ScenarioError
from collab.extending import read_text
from simnet.ingress import OPEN_EGRESS, Egress, Ingress

LOOPBACK = "127.0.0.1"
LABORATORY_PORT = 8080
PROBE_PORT = 9464
PATIENCE_S = 60.0
RUNS_DIR = Path("runs")
LABORATORY_INGRESS = Ingress(limits=LABORATORY_LIMITS)
"""Neither TLS nor proof, but limits."""
LABORATORY_QUOTA = Quota()
Number = TypeVar("Number", int, float)
Configuration = TypeVar("Configuration", bound=BaseModel)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path


Place = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path, relative to the folder of the file that names it."""
Port = Annotated[int, Field(ge=0, le=65535)]
Grace = Annotated[float, Field(ge=0, le=3600)]
"""Seconds that what is under way may take to end after SIGTERM."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Address(_Settings):
    """Where to listen; port 0 is any free one."""

    host: str = LOOPBACK
    port: Port = 8443


class ProbeSettings(Address):
    """Where a server answers to whoever operates it: /healthz, /readyz, /metrics."""

    port: Port = PROBE_PORT


class LogSettings(_Settings):
    """What is written to standard error, and how."""

    level: Level = "info"
    format: Format = "json"


class ServerTls(_Settings):
    """The server's certificate with what leads up to its authority, its key, and who issues those of sites."""

    certificate: Place
    key: Place
    client_authority: Place | None = None


class TokenSettings(_Settings):
    """The key with which tokens are checked, and for what they must be made: a name of this deployment alone."""

    public_key: Place
    audience: str = Field(min_length=1)


class ServerConfiguration(_Settings):
    """What `collab serve --config` reads."""

    scenario: Place
    listen: Address = Address()
    tls: ServerTls
    tokens: TokenSettings | None = None
    revoked: Place | None = None
    runs_dir: Place = Field(RUNS_DIR, validate_default=True)
    store: Place | None = None
    limits: LimitSettings = LimitSettings()
    metrics: ProbeSettings | None = ProbeSettings()
    log: LogSettings = LogSettings()
    grace_s: Grace = GRACE_S

    @model_validator(mode="after")
    def _somebody_is_let_in(self) -> ServerConfiguration:
        if self.tls.client_authority is None and self.tokens is None:
            raise PlacedError(
                "nothing would prove who a site is: name tls.client_authority, for certificates, or tokens", "tls"
            )
        return self

    def ingress(self) -> Ingress:
        """What senders must prove. Raises `CredentialsError` for files that do not do."""
        tls, check = self.tls, None
        if self.tokens is not None:
            check = TokenCheck(tokens.read_public(self.tokens.public_key), self.tokens.audience)
        revoked = RevocationList(self.revoked)
        revoked.names(())  # now rather than with the first request
        authorities = [] if tls.client_authority is None else read_authorities(tls.client_authority)
        return Ingress(
            server_context(tls.certificate, tls.key, tls.client_authority),
            Identities(authorities=authorities, token_check=check, revoked=revoked),
            limits=self.limits.limits(),
        )


class SiteConfiguration(_Settings):
    """What `collab join --config` reads. Without an `authority` those of the system are trusted."""

    server: str = Field(pattern=r"^https://[^/]+/?$")
    site: str | None = None
    authority: Place | None = None
    certificate: Place | None = None
    key: Place | None = None
    token: Place | None = None
    scenario: Place | None = None
    patience_s: float = Field(PATIENCE_S, ge=0)
    disk: Place | None = None
    log: LogSettings = LogSettings()
    grace_s: Grace = GRACE_S

    @model_validator(mode="after")
    def _something_is_proved(self) -> SiteConfiguration:
        if (self.certificate is None) != (self.key is None):
            given = "key" if self.certificate is None else "certificate"
            raise PlacedError("a certificate and its key go together; give both or neither", given)
        if self.certificate is None and self.token is None:
            raise ValueError("nothing proves who this site is: give certificate and key, or token")
        return self

    def egress(self) -> Egress:
        """What this site proves itself by. Raises `CredentialsError` for files that do not do."""
        tls = client_context(self.authority, self.certificate, self.key)
        token = self.token
        if token is None:
            return Egress(tls)
        _bearer(token)  # now rather than with the first request
        return Egress(tls, lambda: _bearer(token))


@dataclass(frozen=True)
class Serving:
    """How to serve: by a configuration, or in the laboratory, where everybody's word is believed."""

    scenario: Path
    address: str
    port: int
    store: Path | None
    runs_dir: Path
    ingress: Ingress = LABORATORY_INGRESS
    joined_by: str = ""
    """What to put after `collab join`; the server's URL if it is empty."""
    metrics: Address | None = None
    log: LogSettings | None = None
    grace_s: float = GRACE_S
    quota: Quota = LABORATORY_QUOTA


@dataclass(frozen=True)
class Joining:
    """How to take part: by a configuration, or in the laboratory."""

    url: str
    site: str | None
    scenario: Path | None
    patience_s: float
    egress: Egress = OPEN_EGRESS
    disk: Path | None = None
    log: LogSettings | None = None
    grace_s: float = GRACE_S


def serving(
    scenario: Path | None,
    config: Path | None,
    *,
    address: str | None,
    port: int | None,
    store: Path | None,
    runs_dir: Path | None,
    metrics_port: int | None = None,
) -> Serving:
    """How to serve; of `scenario` and `config` exactly one is given, and whatever else is given wins over the latter.

    Raises `ScenarioError` and `CredentialsError`.
    """
    if config is None:
        if scenario is None:
            raise AssertionError("a scenario or a configuration is given")
        metrics = None if metrics_port is None else Address(port=metrics_port)
        where = (address or LOOPBACK, _or(port, LABORATORY_PORT))
        return Serving(scenario, *where, store, runs_dir or RUNS_DIR, metrics=metrics)
    said = load_server(config)
    metrics = said.metrics
    if metrics_port is not None:
        metrics = (metrics or ProbeSettings()).model_copy(update={"port": metrics_port})
    return Serving(
        said.scenario,
        address or said.listen.host,
        _or(port, said.listen.port),
        store or said.store,
        runs_dir or said.runs_dir,
        said.ingress(),
        "--config FILE",
        metrics,
        said.log,
        said.grace_s,
        said.limits.quota(),
    )


def joining(
    url: str | None,
    config: Path | None,
    *,
    site: str | None,
    scenario: Path | None,
    patience_s: float | None,
    disk: Path | None = None,
) -> Joining:
    """How to take part; of `url` and `config` exactly one is given, and whatever else is given wins over the latter.

    Raises `ScenarioError` and `CredentialsError`.
    """
    if config is None:
        if url is None:
            raise AssertionError("a URL or a configuration is given")
        return Joining(url, site, scenario, _or(patience_s, PATIENCE_S), disk=disk)
    said = load_site(config)
    return Joining(
        said.server,
        site or said.site,
        scenario or said.scenario,
        _or(patience_s, said.patience_s),
        said.egress(),
        disk or said.disk,
        said.log,
        said.grace_s,
    )


def _or(given: Number | None, otherwise: Number) -> Number:
    return otherwise if given is None else given


def load_server(path: Path, overrides: Sequence[str] = ()) -> ServerConfiguration:
    """The configuration of a server. Raises `ScenarioError`, with line and column."""
    return _load(ServerConfiguration, path, overrides)


def load_site(path: Path, overrides: Sequence[str] = ()) -> SiteConfiguration:
    """The configuration of a site. Raises `ScenarioError`, with line and column."""
    return _load(SiteConfiguration, path, overrides)


def _load(kind: type[Configuration], path: Path, overrides: Sequence[str]) -> Configuration:
    document = Document.read(read_text(path), str(path), overrides)
    try:
        return kind.model_validate(document.data, context={"folder": path.parent})
    except ValidationError as error:
        schema: dict[str, Any] = kind.model_json_schema()
        told = [f"{document.place(where)}: {sentence}" for where, sentence in explain(error, schema)]
        raise ScenarioError("\n".join(told)) from None


def _bearer(path: Path) -> str:
    """The header of a token in a file, read anew each time: whoever renews it need not start the site again."""
    check_private(path)
    token = path.read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialsError(f"{path} holds no token; expected one line, as collab tokens issue writes it")
    return f"Bearer {token}"
