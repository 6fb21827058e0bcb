"""Who sends a request over real sockets, proved rather than said; and the TLS around it.

In virtual time the network knows who sends. On sockets a sender's name is only believed, unless the process has an
`Ingress` with an authenticator: then the name follows from a certificate or a token, and what the sender says about
itself must agree with that.

Certificates and tokens are read elsewhere: the program hands in an `Authenticator`, as it does an inspector.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from simnet.door import Door, Observer
from simnet.errors import IdentityError
from simnet.guards import Limits
from simnet.identity import Identity
from simnet.services import Reply, problem

CHALLENGE_HEADER = "WWW-Authenticate"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought to prove who sends it.

    `certificate` is in DER; TLS has verified its chain and that the sender has the key, and nothing else.
    `authorization` is the header of that name.
    """

    certificate: bytes | None = None
    authorization: str | None = None


class Authenticator(Protocol):
    """Says whom credentials prove. Handed to simnet by the program whose hosts they are."""

    @property
    def challenge(self) -> str:
        """What to bring, as the value of the header WWW-Authenticate."""

    def identify(self, credentials: Credentials) -> Identity | None:
        """Who it is; None if nothing was brought. Raises `simnet.errors.IdentityError`."""

    def unable(self) -> str:
        """Why it can prove nobody at present, whatever is brought; empty if it can. May be asked from any thread."""


@dataclass(frozen=True)
class Ingress:
    """What a request must pass before a service sees it. Without an authenticator names are believed.

    Through a `door` those who come are counted, and told of; it belongs to one network.
    `limits` bound what senders may ask of a service; without them, anything.
    """

    tls: ssl.SSLContext | None = None
    authenticator: Authenticator | None = None
    door: Door | None = None
    limits: Limits | None = None

    def lets_nobody_in(self) -> str:
        """Why nobody can be let in at present; empty if those who prove who they are can. From any thread."""
        return "" if self.authenticator is None else self.authenticator.unable()

    def sender(self, credentials: Credentials, claimed: str | None, tenant_of: Mapping[str, str]) -> str | None:
        """The host that sends: None if it did not say.

        `claimed` is what it says; `tenant_of` holds the tenant of each host that there is. Raises `IdentityError`.
        """
        if self.authenticator is None:
            return claimed
        identity = self.authenticator.identify(credentials)
        if identity is None:
            if claimed is None:
                return None
            raise IdentityError("no-identity", f"whoever says to be {claimed} must prove it; bring what is asked for")
        tenant = tenant_of.get(identity.host)
        if tenant is None:
            raise IdentityError("unknown-host", f"{identity.host} is no host of this run", 403, identity)
        if tenant != identity.tenant:
            raise IdentityError(
                "wrong-tenant",
                f"{identity.host} of {identity.tenant} was proved, but here it belongs to another tenant",
                403,
                identity,
            )
        if claimed is not None and claimed != identity.host:
            raise IdentityError("not-you", f"{identity.host} was proved, it may not send as {claimed}", 403, identity)
        return identity.host

    def refusal(self, error: IdentityError) -> Reply:
        """The answer to a request whose sender is not who it says, or nobody; with 401, what to bring."""
        headers = {}
        if error.status == 401 and self.authenticator is not None:
            headers[CHALLENGE_HEADER] = self.authenticator.challenge
        return problem(error.status, error.code, str(error), headers)


@dataclass(frozen=True)
class Egress:
    """What the requests of a process bring: its certificate within the TLS context, and a token if it has one.

    `authorization` makes the header of that name, anew for each request, so that a token can be replaced. It goes to
    https URLs only. The `observer` hears how each request ended; its operation is method and path, as they were asked.
    """

    tls: ssl.SSLContext | None = None
    authorization: Callable[[], str] | None = None
    observer: Observer | None = None

    def headers(self, url: str) -> dict[str, str]:
        """What a request to `url` has to bring. Raises `simnet.errors.IdentityError` for a token over plain HTTP."""
        if self.authorization is None:
            return {}
        if not url.startswith("https://"):
            raise IdentityError("plain-http", f"a token does not go to {url}: anybody on the way could read it")
        return {"Authorization": self.authorization()}


OPEN_INGRESS = Ingress()
OPEN_EGRESS = Egress()
"""Neither TLS nor proof: for the laboratory."""
