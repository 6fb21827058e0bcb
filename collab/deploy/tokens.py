"""Signed tokens: JSON Web Tokens (RFC 7519) signed with Ed25519, for sites that cannot have certificates.

A token names a site, its tenant, the deployment that it is for (its audience) and when it ends. Whoever has it is taken
for the site, so it travels within TLS only, and is short-lived. A certificate is better: its key never travels.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from collab.deploy.certificates import private_pem, write_new
from collab.deploy.tls import check_private, contents_of
from collab.errors import CredentialsError
from simnet.errors import IdentityError
from simnet.identity import Identity

ALGORITHM = "EdDSA"
ISSUER = "collab"
LONGEST_TOKEN = 1536
"""Characters; a token goes along with every request."""
_CLOCKS_DIFFER_S = 30
_CLAIMS = ["aud", "exp", "iat", "iss", "jti", "sub", "tenant"]


@dataclass(frozen=True, slots=True)
class Token:
    """What a genuine token says; `identifier` is what a list of revoked tokens calls it."""

    identity: Identity
    identifier: str
    issued: datetime
    ends: datetime


def new_key(private: Path, public: Path) -> None:
    """Make a key that signs tokens, and the public one that servers check them with. Raises `OSError`."""
    key = Ed25519PrivateKey.generate()
    write_new(private, private_pem(key), mode=0o600)
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    write_new(public, key.public_key().public_bytes(encoding, form), mode=0o644)


def read_private(path: Path) -> Ed25519PrivateKey:
    """The key that signs. Raises `CredentialsError`, also if others can read it."""
    if b"BEGIN PUBLIC KEY" in contents_of(path):
        raise CredentialsError(f"{path} is the public key, with which servers check; expected the private one")
    check_private(path)
    try:
        key = serialization.load_pem_private_key(contents_of(path), password=None)
    except (ValueError, TypeError) as error:
        raise CredentialsError(f"{path} holds no private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialsError(f"{path} holds a key of another kind; expected Ed25519, as collab tokens make-key makes")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """The key that checks. Raises `CredentialsError`."""
    try:
        key = serialization.load_pem_public_key(contents_of(path))
    except ValueError as error:
        raise CredentialsError(f"{path} holds no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise CredentialsError(f"{path} holds a key of another kind; expected Ed25519, as collab tokens make-key makes")
    return key


def issue(key: Ed25519PrivateKey, identity: Identity, audience: str, lifetime: timedelta) -> str:
    """A token for a site, from now on for `lifetime`. Raises `CredentialsError` if it would be too long."""
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "sub": identity.host,
        "tenant": identity.tenant,
        "aud": audience,
        "iat": min(now, now + lifetime),
        "exp": now + lifetime,
        "jti": secrets.token_hex(16),
    }
    token = jwt.encode(claims, key, algorithm=ALGORITHM)
    if len(token) > LONGEST_TOKEN:
        raise CredentialsError(
            f"the token would have {len(token)} characters, at most {LONGEST_TOKEN} may be: shorten the names"
        )
    return token


def read(token: str, key: Ed25519PublicKey, audience: str) -> Token:
    """What a token says, if this key's owner has signed it for this audience and it has not ended.

    Raises `simnet.errors.IdentityError`.
    """
    if len(token) > LONGEST_TOKEN:
        raise IdentityError("bad-token", f"a token has at most {LONGEST_TOKEN} characters")
    try:
        # The algorithm is ours, never the token's: else "none" would do, or the public key as a password.
        claims = jwt.decode(
            token, key, algorithms=[ALGORITHM], audience=audience, issuer=ISSUER, leeway=_CLOCKS_DIFFER_S,
            options={"require": _CLAIMS, "strict_aud": True},
        )  # fmt: skip
    except jwt.ExpiredSignatureError:
        raise IdentityError(
            "expired", "the token has ended; ask whoever runs the server for a new one", proved=_signed_for(token, key)
        ) from None
    except jwt.InvalidAudienceError:
        raise IdentityError("other-audience", f"the token is for another deployment than {audience}") from None
    except jwt.InvalidTokenError as error:
        raise IdentityError("bad-token", f"the token is none of this deployment: {_why(error)}") from None
    identity, identifier = _identity_in(claims), claims["jti"]
    if identity is None or not isinstance(identifier, str) or not identifier:
        raise IdentityError("bad-token", "the token names no site and tenant")
    return Token(
        identity,
        identifier,
        datetime.fromtimestamp(claims["iat"], UTC),
        datetime.fromtimestamp(claims["exp"], UTC),
    )


def _signed_for(token: str, key: Ed25519PublicKey) -> Identity | None:
    """Whom a token names that this key's owner has signed, ended or not."""
    claims = jwt.decode(
        token, key, algorithms=[ALGORITHM],
        options={
            "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False, "verify_iss": False,
            "verify_sub": False, "verify_jti": False,
        },
    )  # fmt: skip
    return _identity_in(claims)


def _identity_in(claims: Mapping[str, object]) -> Identity | None:
    site, tenant = claims.get("sub"), claims.get("tenant")
    return Identity(site, tenant) if isinstance(site, str) and isinstance(tenant, str) and site and tenant else None


def identifier_in(token: str) -> tuple[str, str]:
    """Identifier and site of a token, believed: to revoke one needs no key. Raises `CredentialsError`."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return str(claims["jti"]), str(claims["sub"])
    except (jwt.InvalidTokenError, KeyError) as error:
        raise CredentialsError(f"this is no token: {error}") from error


def _why(error: jwt.InvalidTokenError) -> str:
    """The reason in a few words, and nothing of the token itself."""
    match error:
        case jwt.InvalidAlgorithmError():
            return f"it is not signed with {ALGORITHM}"
        case jwt.InvalidSignatureError():
            return "another key has signed it"
        case jwt.ImmatureSignatureError():
            return "it begins in the future; are both clocks right?"
        case jwt.MissingRequiredClaimError():
            return f"it lacks {error.claim}"
        case _:
            return "it cannot be read"
