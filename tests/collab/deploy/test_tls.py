"""Contexts of TLS, and the files that they are made of; the handshakes themselves are in test_access.py."""

from __future__ import annotations

import ssl

import pytest
from cryptography.hazmat.primitives import serialization

from collab.deploy.tls import client_context, server_context
from collab.errors import CredentialsError
from tests.collab.deploy.deployments import Deployment


@pytest.fixture
def deployment(tmp_path):
    return Deployment(tmp_path)


def test_both_ends_refuse_what_is_older_than_1_3(deployment):
    server = server_context(deployment.folder / "server.pem", deployment.folder / "server.key", None)
    client = client_context(deployment.folder / "authority.pem")
    assert server.minimum_version == client.minimum_version == ssl.TLSVersion.TLSv1_3
    assert client.check_hostname
    assert client.verify_mode == ssl.CERT_REQUIRED


def test_a_credential_of_a_service_may_show_the_right_of_the_service_as_the_groups(deployment, monkeypatch):
    """So systemd hands them out: 440, of which the group's right is the mask of an access list."""
    certificate, key = deployment.folder / "server.pem", deployment.folder / "server.key"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(deployment.folder))
    key.chmod(0o440)
    server_context(certificate, key, None)
    key.chmod(0o444)
    with pytest.raises(CredentialsError, match=r"others may read it \(444\)"):
        server_context(certificate, key, None)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(deployment.folder / "elsewhere"))
    key.chmod(0o440)
    with pytest.raises(CredentialsError, match=r"others may read it \(440\)"):
        server_context(certificate, key, None)


def test_files_that_do_not_do_are_named(deployment):
    certificate, key = deployment.folder / "server.pem", deployment.folder / "server.key"
    with pytest.raises(CredentialsError, match="do not go together"):
        server_context(deployment.folder / "authority.pem", key, None)
    with pytest.raises(CredentialsError, match=r"none\.pem cannot be read: No such file"):
        client_context(deployment.folder / "none.pem")
    with pytest.raises(CredentialsError, match=r"server\.key holds no certificates"):
        client_context(key)
    key.chmod(0o640)
    with pytest.raises(CredentialsError, match=r"server.key is a secret, but others may read it \(640\): chmod 600"):
        server_context(certificate, key, None)


def test_a_key_with_a_password_asks_nobody_for_it(deployment):
    key = deployment.folder / "server.key"
    encryption = serialization.BestAvailableEncryption(b"secret")
    found = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(found.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    with pytest.raises(CredentialsError, match=r"server\.key has a password"):
        server_context(deployment.folder / "server.pem", key, None)
