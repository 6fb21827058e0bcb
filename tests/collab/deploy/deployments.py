"""Keys and certificates for tests, and a server that asks for them on a real socket."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp

from collab.deploy import tokens
from collab.deploy.certificates import KeyPair, new_authority, server_certificate, site_certificate
from collab.deploy.identity import Identities, TokenCheck, read_authorities
from collab.deploy.revocation import RevocationList
from collab.deploy.tls import client_context, server_context
from simnet import Boundaries, LinkSpec, Message, Reply, Route, Rule, SocketNetwork, star
from simnet.identity import Identity
from simnet.ingress import Ingress

AUDIENCE = "this run"
TENANTS = {"client-0": "north", "client-1": "south", "server": "cloud"}


@dataclass
class Answer:
    """What came back: status, the code of the problem, headers."""

    status: int
    code: str
    headers: dict[str, str]


@dataclass
class Deployment:
    """A folder of secrets, and a server's network that checks them."""

    folder: Path
    served: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.authority = new_authority("test authority")
        self.authority.write(self.folder / "authority.pem", self.folder / "authority.key")
        server_certificate(self.authority, ["127.0.0.1"]).write(self.folder / "server.pem", self.folder / "server.key")
        tokens.new_key(self.folder / "tokens.key", self.folder / "tokens.pub")
        self.revoked = self.folder / "revoked.txt"
        self.revoked.write_text("")

    def certificate(self, site="client-0", tenant="north", *, days=1.0, authority=None) -> KeyPair:
        return site_certificate(authority or self.authority, Identity(site, tenant), days=days)

    def token(self, site="client-0", tenant="north", *, audience=AUDIENCE, hours=1.0, key=None) -> str:
        key = key or tokens.read_private(self.folder / "tokens.key")
        return tokens.issue(key, Identity(site, tenant), audience, timedelta(hours=hours))

    def client(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        if pair is None:
            return client_context(self.folder / "authority.pem")
        name = f"{pair.certificate.serial_number:x}"
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not certificate.exists():
            pair.write(certificate, key)
        return client_context(self.folder / "authority.pem", certificate, key)

    def identities(self, **options) -> Identities:
        return Identities(
            authorities=read_authorities(self.folder / "authority.pem"),
            token_check=TokenCheck(tokens.read_public(self.folder / "tokens.pub"), AUDIENCE),
            revoked=RevocationList(self.revoked),
            **options,
        )

    def ingress(self, **options) -> Ingress:
        files = (self.folder / name for name in ("server.pem", "server.key", "authority.pem"))
        return Ingress(tls=server_context(*files), authenticator=self.identities(), **options)

    def network(self, **options) -> SocketNetwork:
        topology = star(
            ["client-0", "client-1"],
            access=LinkSpec(1e9, 0.01), server=LinkSpec(1e9, 0.01), tenant_of=TENANTS,
        )  # fmt: skip
        boundaries = Boundaries(TENANTS, [Rule("cloud", frozenset({"synthetic"}))])
        options.setdefault("ingress", self.ingress())
        return SocketNetwork(topology, boundaries=boundaries, **options)

    def serve(self, network: SocketNetwork, visit):
        """What `visit(url)` returns while the server serves."""

        async def take(request):
            self.served.append(request.source)
            return Reply(201, Message(b"taken"))

        async def main():
            server = network.host("server")
            await server.start(server.serve([Route("PUT", "/upload", take)]))
            return await visit(network.url_of("server"))

        return network.run(main)


async def put(url, context=None, **headers) -> Answer:
    """Send a small upload with these headers (`_` for `-`)."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent.setdefault("Boundary-Kind", "synthetic")
    options = {} if context is None else {"ssl": context}
    async with (
        aiohttp.ClientSession() as session,
        session.request("PUT", f"{url}/upload", data=b"x", headers=sent, **options) as response,
    ):
        problem = response.content_type == "application/problem+json"
        code = (await response.json(content_type=None))["type"].removeprefix("urn:problem:") if problem else ""
        return Answer(response.status, code, dict(response.headers))
