"""Certificates of an authority of one's own."""

from __future__ import annotations

import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collab.deploy.certificates import KeyPair, identity_in, new_authority, server_certificate, site_certificate
from collab.errors import CredentialsError
from simnet.identity import Identity


@pytest.fixture(scope="module")
def authority():
    return new_authority("test")


@pytest.mark.parametrize(
    "identity",
    [Identity("client-0", "hospital-a"), Identity("a/b", "x?#y"), Identity("Zürich 1", "c" * 100)],
)
def test_a_site_is_read_back(authority, identity):
    certificate = site_certificate(authority, identity).certificate
    assert identity_in(certificate) == identity
    certificate.verify_directly_issued_by(authority.certificate)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def with_names(*uris):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client-0")])
    soon = new_authority("x").certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(soon.not_valid_before_utc)
        .not_valid_after(soon.not_valid_after_utc)
    )
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(
    "uris",
    [
        (),
        ("https://north/client-0",),
        ("collab://north/client-0", "collab://south/client-0"),
        ("collab://north/client-0/more",),
        ("collab://north/client-0?as=other",),
        ("collab://north/",),
        ("collab:///client-0",),
        ("collab://north/%63lient-0",),
    ],
)
def test_what_names_no_site_or_two_or_one_in_another_spelling(uris):
    """The common name is not looked at."""
    assert identity_in(with_names(*uris)) is None


def test_a_server_has_names_and_addresses(authority):
    certificate = server_certificate(authority, ["collab.example", "10.0.0.7", "::1"]).certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["collab.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "::1"]
    assert identity_in(certificate) is None
    with pytest.raises(CredentialsError, match="needs a host name or an address"):
        server_certificate(authority, [])


def test_keys_are_for_their_owner_and_nothing_is_overwritten(authority, tmp_path):
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"
    authority.write(certificate, key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert KeyPair.read(certificate, key).certificate == authority.certificate
    with pytest.raises(FileExistsError):
        authority.write(certificate, key)


def test_what_cannot_be_read_is_named(authority, tmp_path):
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"
    with pytest.raises(CredentialsError, match=r"a.pem cannot be read: No such file"):
        KeyPair.read(certificate, key)
    authority.write(certificate, key)
    locked = authority.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    key.write_bytes(locked)
    with pytest.raises(CredentialsError, match="is damaged, or the key has a password"):
        KeyPair.read(certificate, key)
