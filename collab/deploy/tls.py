"""TLS 1.3 and nothing older, by Python's own `ssl`.

Dates of clients' certificates are not checked in the handshake, but at every request (`collab.deploy.identity`): a
connection may be open for weeks, and whoever comes with an expired certificate is told so rather than cut off. All
else of a certificate (its chain, its purpose, that the peer has the key) the handshake does check.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from collab.errors import CredentialsError

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which `ssl` has no name for
_OTHERS = 0o077
_ALL_OTHERS = 0o007


def server_context(certificate: Path, key: Path, client_authority: Path | None) -> ssl.SSLContext:
    """What a server listens with. With `client_authority` it asks for certificates; who has none can still connect.

    Raises `CredentialsError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a resumed session would not show its certificate to the handshake's checks again
    _load_own(context, certificate, key)
    if client_authority is not None:
        _trust(context, client_authority)
        context.verify_mode = ssl.CERT_OPTIONAL
        strict, issuers_suffice = ssl.VerifyFlags.VERIFY_X509_STRICT, ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags |= strict | issuers_suffice | ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


def client_context(authority: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """What a site connects with: whom it trusts (the system's authorities if none is named), and its own certificate.

    Raises `CredentialsError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    if authority is None:
        context.load_default_certs()
    else:
        _trust(context, authority)
    if certificate is not None and key is not None:
        _load_own(context, certificate, key)
    return context


def check_private(path: Path) -> None:
    """Refuse a secret that others can read. Raises `CredentialsError`.

    In the folder of credentials that systemd makes for a service, what looks like the group's right is the service's.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CredentialsError(f"{path} cannot be read: {error.strerror}") from error
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    is_credential = credentials is not None and path.resolve().parent == Path(credentials).resolve()
    if mode & (_ALL_OTHERS if is_credential else _OTHERS):
        raise CredentialsError(f"{path} is a secret, but others may read it ({mode & 0o777:03o}): chmod 600 {path}")


def contents_of(path: Path) -> bytes:
    """What is in a file of credentials. Raises `CredentialsError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path} cannot be read: {error.strerror}") from error


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    check_private(key)
    try:
        # A function for the password, so that no key asks for one at a terminal that is not there.
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise CredentialsError(
            f"{certificate} and {key} do not go together, or are no PEM: {error.reason or error}"
        ) from error
    except OSError as error:
        raise CredentialsError(f"{certificate} cannot be read: {error.strerror}") from error
    except _PasswordError as error:
        raise CredentialsError(
            f"{key} has a password; expected a key without one, readable by its owner only"
        ) from error


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise CredentialsError(f"{authority} holds no certificates in PEM: {error.reason or error}") from error
    except OSError as error:
        raise CredentialsError(f"{authority} cannot be read: {error.strerror}") from error


class _PasswordError(Exception):
    """The key has a password."""


def _no_password() -> str:
    raise _PasswordError
