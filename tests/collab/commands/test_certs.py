"""`collab certs` and `collab tokens`: files that a server and its sites can use."""

from __future__ import annotations

import pytest

from collab.commands.certs import make, revoke, site
from collab.commands.tokens import issue, make_key
from collab.commands.tokens import revoke as revoke_token
from collab.deploy import tokens
from collab.deploy.certificates import identity_in, new_authority, serial_of
from collab.deploy.identity import read_authorities
from collab.deploy.revocation import RevocationList
from collab.deploy.tls import client_context, server_context
from collab.errors import CredentialsError
from simnet.identity import Identity
from tests.collab.test_run import TEXT


def test_a_folder_for_a_scenario(tmp_path, capsys):
    scenario, keys, listed = tmp_path / "tiny.yaml", tmp_path / "keys", tmp_path / "revoked.txt"
    scenario.write_text(TEXT)
    make.command(scenario, keys, ["localhost"])
    server_context(keys / "server.pem", keys / "server.key", keys / "authority.pem")
    client_context(keys / "authority.pem", keys / "client-1.pem", keys / "client-1.key")
    (first,) = read_authorities(keys / "client-1.pem")
    tenant = identity_in(first).tenant
    written = {path.name: path.read_bytes() for path in keys.iterdir()}
    capsys.readouterr()
    make.command(scenario, keys, ["another.example"])
    told = capsys.readouterr().out
    assert f"{keys / 'server.pem'}: is there already, not made anew" in told
    assert f"{keys / 'client-1.pem'}: is there already" in told
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == written
    with pytest.raises(CredentialsError, match="with --replace it is written anew"):
        site.command("client-1", tenant, keys)
    site.command("client-1", tenant, keys, replace=True)
    (second,) = read_authorities(keys / "client-1.pem")
    assert identity_in(second) == Identity("client-1", tenant)
    revoke.command(keys / "client-1.pem", listed, "stolen")
    assert f"{listed}: a new list was made" in capsys.readouterr().out
    with pytest.raises(CredentialsError, match="is of an authority, not of a site"):
        revoke.command(keys / "authority.pem", listed)
    assert RevocationList(listed).names([("certificate", serial_of(second))])
    assert not RevocationList(listed).names([("certificate", serial_of(first))])
    revoke.command(keys / "client-1.pem", listed)
    told = capsys.readouterr().out
    assert "client-1.pem was revoked already" in told
    assert "new list" not in told


def test_a_token_is_issued_and_revoked(tmp_path, capsys):
    make_key.command(tmp_path)
    issue.command("client-1", "south", "mnist", tmp_path / "tokens.key", into=tmp_path / "token")
    text = (tmp_path / "token").read_text().strip()
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    found = tokens.read(text, tokens.read_public(tmp_path / "tokens.pub"), "mnist")
    assert found.identity == Identity("client-1", "south")
    revoke_token.command(tmp_path / "token", tmp_path / "revoked.txt")
    assert RevocationList(tmp_path / "revoked.txt").names([("token", found.identifier)])
    assert text not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../evil", "a/b", "/tmp/evil", "..", ""])
def test_no_file_is_written_outside_the_folder(tmp_path, name):
    keys = tmp_path / "a" / "keys"
    new_authority("test").write(keys / "authority.pem", keys / "authority.key")
    with pytest.raises(CredentialsError, match="is no plain name of a file"):
        site.command(name, "south", keys)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["authority.key", "authority.pem"]


def test_the_public_key_signs_no_tokens(tmp_path):
    make_key.command(tmp_path)
    with pytest.raises(CredentialsError, match=r"tokens\.pub is the public key, with which servers check; expected"):
        issue.command("client-1", "south", "mnist", tmp_path / "tokens.pub", into=tmp_path / "token")
    assert not (tmp_path / "token").exists()
