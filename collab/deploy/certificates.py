"""Certificates of a deployment: an authority of its own, a certificate of the server, one for each site.

The certificate of a site names the site and its tenant in one URI, `collab://TENANT/SITE`, among its alternative names;
nothing else in it is read. An authority that exists already can issue such certificates as well.

Keys are of the curve P-256, which every TLS library knows. Key files can be read by their owner alone.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collab.deploy.tls import contents_of
from collab.errors import CredentialsError
from simnet.identity import Identity

SCHEME = "collab"
_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, certificate: Path, key: Path) -> None:
        """Write both as PEM; the key so that its owner alone can read it. Raises `OSError` if a file exists."""
        write_new(key, private_pem(self.key), mode=0o600)
        write_new(certificate, self.certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> KeyPair:
        """What `write` wrote. Raises `CredentialsError`."""
        try:
            found = x509.load_pem_x509_certificate(contents_of(certificate))
            private = serialization.load_pem_private_key(contents_of(key), password=None)
        except (ValueError, TypeError) as error:
            raise CredentialsError(
                f"{certificate} or {key} is damaged, or the key has a password: expected PEM without one"
            ) from error
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise CredentialsError(f"{key} is of another kind; expected a key of an elliptic curve, such as P-256")
        return cls(found, private)


def new_authority(name: str, *, days: float = 3650) -> KeyPair:
    """An authority that issues certificates, but none to other authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name, None)
    usage = _usage(signs_certificates=True)
    builder = (
        _begun(subject, subject, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return KeyPair(builder.sign(key, hashes.SHA256()), key)


def server_certificate(authority: KeyPair, hosts: Sequence[str], *, days: float = 397) -> KeyPair:
    """A certificate for a server that is reached by `hosts`: names or addresses. Raises `CredentialsError` for none."""
    if not hosts:
        raise CredentialsError("a server's certificate needs a host name or an address by which sites reach it")
    names = [_host_name(host) for host in hosts]
    return _issued(authority, _name(hosts[0], None), names, ExtendedKeyUsageOID.SERVER_AUTH, days)


def site_certificate(authority: KeyPair, identity: Identity, *, days: float = 90) -> KeyPair:
    """A certificate with which a site proves its name and its tenant."""
    uri = x509.UniformResourceIdentifier(identity_uri(identity))
    return _issued(
        authority, _name(identity.host, identity.tenant), [uri], ExtendedKeyUsageOID.CLIENT_AUTH, days
    )  # fmt: skip


def identity_uri(identity: Identity) -> str:
    """The URI that names a site and its tenant."""
    return f"{SCHEME}://{quote(identity.tenant, safe='')}/{quote(identity.host, safe='')}"


def identity_in(certificate: x509.Certificate) -> Identity | None:
    """The site that a certificate names; None if it names none, or more than one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(f"{SCHEME}://")]
    if len(uris) != 1:
        return None
    parts = urlsplit(uris[0])
    tenant, site = unquote(parts.netloc), unquote(parts.path.removeprefix("/"))
    identity = Identity(site, tenant)
    return identity if tenant and site and identity_uri(identity) == uris[0] else None


def serial_of(certificate: x509.Certificate) -> str:
    """The serial number as lists of revoked certificates spell it: hexadecimal digits."""
    return f"{certificate.serial_number:x}"


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate may issue others."""
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def private_pem(key: PrivateKeyTypes) -> bytes:
    """A private key as PEM, without a password: the file's permissions keep it."""
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def file_beside(folder: Path, name: str, suffix: str) -> Path:
    """The file of a site in a folder, never elsewhere. Raises `CredentialsError` for a name that is no file name."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise CredentialsError(f'"{name}" is no plain name of a file; expected one without "/", such as client-3')
    return folder / f"{name}{suffix}"


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet, with its permissions from the start. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _issued(
    authority: KeyPair,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    days: float,
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _begun(subject, issuer.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return KeyPair(builder.sign(authority.key, hashes.SHA256()), key)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(timedelta(), timedelta(days=days)) - _CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str, organisation: str | None) -> x509.Name:
    """The subject, for people to read: programs look at the alternative names. Longer names are cut, as X.509 asks."""
    parts = [] if organisation is None else [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64])]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise CredentialsError(f'"{host}" is no name of a host: {error}') from error


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
