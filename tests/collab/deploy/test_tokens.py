"""Signed tokens and the list of revoked ones; what servers do with them is in test_access.py."""

from __future__ import annotations

from datetime import timedelta

import jwt
import pytest

from collab.deploy import tokens
from collab.deploy.revocation import RevocationList, revoke
from collab.errors import CredentialsError
from simnet.errors import IdentityError
from simnet.identity import Identity

CLIENT = Identity("client-0", "hospital-a")
HOUR = timedelta(hours=1)


@pytest.fixture
def keys(tmp_path):
    tokens.new_key(tmp_path / "tokens.key", tmp_path / "tokens.pub")
    return tokens.read_private(tmp_path / "tokens.key"), tokens.read_public(tmp_path / "tokens.pub")


def test_a_token_is_read_back(keys):
    private, public = keys
    token = tokens.issue(private, CLIENT, "mnist", HOUR)
    found = tokens.read(token, public, "mnist")
    assert found.identity == CLIENT
    assert found.ends - found.issued == HOUR
    assert tokens.identifier_in(token) == (found.identifier, "client-0")
    assert tokens.issue(private, CLIENT, "mnist", HOUR) != token


@pytest.mark.parametrize("claim", ["aud", "exp", "iat", "iss", "jti", "sub", "tenant"])
def test_a_token_that_lacks_anything_is_refused(keys, claim):
    private, public = keys
    claims = jwt.decode(tokens.issue(private, CLIENT, "mnist", HOUR), options={"verify_signature": False})
    del claims[claim]
    with pytest.raises(IdentityError) as refusal:
        tokens.read(jwt.encode(claims, private, algorithm="EdDSA"), public, "mnist")
    assert refusal.value.status == 401


@pytest.mark.parametrize("changed", [{"aud": ["mnist", "else"]}, {"tenant": 7}, {"sub": ""}, {"iss": "else"}])
def test_a_token_that_says_anything_else_is_refused(keys, changed):
    private, public = keys
    claims = jwt.decode(tokens.issue(private, CLIENT, "mnist", HOUR), options={"verify_signature": False})
    with pytest.raises(IdentityError):
        tokens.read(jwt.encode(claims | changed, private, algorithm="EdDSA"), public, "mnist")


def test_a_token_that_is_too_long_is_neither_made_nor_read(keys):
    private, public = keys
    with pytest.raises(CredentialsError, match=r"at most 1536 may be: shorten the names"):
        tokens.issue(private, Identity("x" * 2000, "y"), "mnist", HOUR)
    with pytest.raises(IdentityError, match="at most 1536"):
        tokens.read("x" * 2000, public, "mnist")


def test_keys_of_another_kind_are_named(tmp_path, keys):
    with pytest.raises(CredentialsError, match=r"tokens.key holds no public key"):
        tokens.read_public(tmp_path / "tokens.key")
    with pytest.raises(CredentialsError, match=r"tokens.pub is the public key"):
        tokens.read_private(tmp_path / "tokens.pub")
    (tmp_path / "tokens.key").chmod(0o644)
    with pytest.raises(CredentialsError, match=r"others may read it"):
        tokens.read_private(tmp_path / "tokens.key")


def test_revoking_is_said_once_and_seen_at_once(tmp_path):
    path = tmp_path / "deep" / "revoked.txt"
    assert revoke(path, "token", "abc", "client-0\nlost")
    listed = RevocationList(path)
    assert listed.names([("token", "abc")])
    assert not listed.names([("token", "abcd"), ("certificate", "abc")])
    assert not revoke(path, "token", "abc")
    with path.open("a") as file:
        file.write("# by hand\n\ncertificate 5F1C at the end of a line that is not ended")
    assert listed.names([("certificate", "5f1c")])
    with path.open("a") as file:
        file.write("\ncertificate 0A:bC:01\ncertificate 0x0d\n")
    assert listed.names([("certificate", "abc01")])
    assert listed.names([("certificate", "d")])
    assert revoke(path, "site", "client-3")
    assert listed.names([("site", "client-3")])
    assert path.read_text().splitlines()[0] == "token abc client-0 lost"
    path.unlink()
    with pytest.raises(CredentialsError, match=r"revoked.txt cannot be read"):
        listed.names([])
    path.write_text("certificate client-3\n")
    with pytest.raises(CredentialsError, match=r'line 1: found the certificate "client-3", expected its serial number'):
        listed.names([])
