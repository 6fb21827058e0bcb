"""Who sends a request: by a certificate, by a signed token, or by both if they agree.

Dates and the list of what is revoked are looked at with every request, not once a connection.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collab.deploy import tokens
from collab.deploy.certificates import identity_in, serial_of
from collab.deploy.revocation import Kind, RevocationList
from collab.deploy.tls import contents_of
from collab.errors import CredentialsError
from simnet.errors import IdentityError
from simnet.identity import Identity
from simnet.ingress import Credentials

_SCHEME = "bearer"
_REMEMBERED = 4096  # certificates that were read lately: each of a few kB
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenCheck:
    """With which key tokens are checked, and for which deployment they must be."""

    key: Ed25519PublicKey
    audience: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What a certificate says, once read."""

    identity: Identity | None
    serial: str
    begins: datetime
    ends: datetime


class Identities:
    """The authenticator of a deployment.

    `authorities` have issued the certificates of sites, each of them directly; without any, certificates prove nothing.
    Without a `token_check`, tokens do not.
    """

    def __init__(
        self,
        *,
        authorities: Sequence[x509.Certificate] = (),
        token_check: TokenCheck | None = None,
        revoked: RevocationList | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._authorities = tuple(authorities)
        self._token_check = token_check
        self._revoked = revoked or RevocationList(None)
        self._now = now or _now
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    @property
    def challenge(self) -> str:
        """What to bring. HTTP has no word for certificates in TLS, so it is always the token's."""
        realm = "collab" if self._token_check is None else self._token_check.audience
        return f'Bearer realm="{_quoted(realm)}"'

    def identify(self, credentials: Credentials) -> Identity | None:
        """Who it is; None if nothing was brought. Raises `IdentityError`."""
        by_certificate = self._by_certificate(credentials.certificate)
        by_token = self._by_token(credentials.authorization)
        if by_certificate is not None and by_token is not None and by_certificate != by_token:
            raise IdentityError("two-senders", "certificate and token are not of the same site", 403, by_certificate)
        return by_certificate or by_token

    def unable(self) -> str:
        """Why it can prove nobody at present; empty if it can."""
        try:
            self._revoked.names(())
        except CredentialsError as error:
            return f"nobody is let in: {error}"
        return ""

    def _by_certificate(self, der: bytes | None) -> Identity | None:
        if der is None or not self._authorities:
            return None
        known, now = self._read(der), self._now()
        if known.identity is None:
            raise IdentityError(
                "no-site", "the certificate names no site; expected one name such as collab://tenant/site"
            )
        if not known.begins <= now <= known.ends:
            raise IdentityError(
                "expired",
                f"the certificate is valid from {known.begins:%Y-%m-%d %H:%M} to {known.ends:%Y-%m-%d %H:%M} UTC; "
                "ask whoever runs the server for a new one",
                proved=known.identity,
            )
        self._check_not_revoked("certificate", known.serial, known.identity)
        return known.identity

    def _by_token(self, authorization: str | None) -> Identity | None:
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        if self._token_check is None or scheme.lower() != _SCHEME:
            raise IdentityError("bad-token", "this deployment takes no such authorization")
        found = tokens.read(token.strip(), self._token_check.key, self._token_check.audience)
        self._check_not_revoked("token", found.identifier, found.identity)
        return found.identity

    def _check_not_revoked(self, kind: Kind, name: str, identity: Identity) -> None:
        try:
            is_revoked = self._revoked.names([(kind, name), ("site", identity.host)])
        except CredentialsError as error:
            _log.error("nobody is let in: %s", error)
            raise IdentityError(
                "unavailable", "the server cannot tell who is revoked; try again later", 503, identity
            ) from error
        if is_revoked:
            raise IdentityError("revoked", f"the {kind} was revoked; ask whoever runs the server", proved=identity)

    def _read(self, der: bytes) -> _Known:
        """What a certificate says, valid no longer than the one of the authority that has issued it."""
        known = self._known.get(der)
        if known is None:
            certificate = x509.load_der_x509_certificate(der)
            issuer = self._issuer_of(certificate)
            known = _Known(
                identity_in(certificate),
                serial_of(certificate),
                max(certificate.not_valid_before_utc, issuer.not_valid_before_utc),
                min(certificate.not_valid_after_utc, issuer.not_valid_after_utc),
            )
            self._known[der] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _issuer_of(self, certificate: x509.Certificate) -> x509.Certificate:
        for authority in self._authorities:
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return authority
        raise IdentityError("other-authority", "the certificate was not issued by an authority of this deployment")


def read_authorities(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file. Raises `CredentialsError`."""
    try:
        return x509.load_pem_x509_certificates(contents_of(path))
    except ValueError as error:
        raise CredentialsError(f"{path} holds no certificates in PEM") from error


def _quoted(text: str) -> str:
    return "".join(character for character in text if character.isprintable() and character not in '"\\')


def _now() -> datetime:
    return datetime.now(UTC)
