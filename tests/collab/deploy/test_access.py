"""Who comes without an identity, or with one that does not suffice, gets 401 or 403 and changes nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl
import time

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from collab.deploy import tokens
from collab.deploy.certificates import new_authority, serial_of, server_certificate
from collab.deploy.revocation import revoke
from collab.deploy.tls import server_context
from collab.deploy.watch import Watch
from simnet import Message
from simnet.door import Door
from simnet.errors import IdentityError, UnreachableError, UntrustedError
from simnet.identity import Identity
from simnet.ingress import Egress, Ingress
from tests.collab.deploy.deployments import AUDIENCE, Deployment, put
from tests.collab.deploy.test_health import Agent


@pytest.fixture
def deployment(tmp_path):
    return Deployment(tmp_path)


def bearer(token):
    return f"Bearer {token}"


def forged(algorithm, sign):
    """A token of client-0 that says itself how it is signed."""

    def part(data):
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=")

    claims = {
        "iss": "collab", "sub": "client-0", "tenant": "north", "aud": AUDIENCE, "jti": "1",
        "iat": int(time.time()), "exp": int(time.time()) + 600,
    }  # fmt: skip
    signed = part({"alg": algorithm, "typ": "JWT"}) + b"." + part(claims)
    return (signed + b"." + base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")).decode()


def public_key_as_password(deployment):
    public = (deployment.folder / "tokens.pub").read_bytes()
    return forged("HS256", lambda signed: hmac.digest(public, signed, hashlib.sha256))


def revoked_certificate(deployment):
    pair = deployment.certificate()
    revoke(deployment.revoked, "certificate", serial_of(pair.certificate), "lost")
    return pair


def revoked_token(deployment):
    token = deployment.token()
    revoke(deployment.revoked, "token", tokens.identifier_in(token)[0])
    return token


# What is brought: a function of the deployment that makes a certificate (or None) and headers.
REFUSED = {
    "nothing": (lambda d: (None, {}), 401, "no-identity"),
    "a name alone": (lambda d: (None, {"Boundary_From": "client-0"}), 401, "no-identity"),
    "an expired certificate": (lambda d: (d.certificate(days=-1), {}), 401, "expired"),
    "an expired token": (lambda d: (None, {"Authorization": bearer(d.token(hours=-1))}), 401, "expired"),
    "a revoked certificate": (lambda d: (revoked_certificate(d), {}), 401, "revoked"),
    "a revoked token": (lambda d: (None, {"Authorization": bearer(revoked_token(d))}), 401, "revoked"),
    "a token of another run, replayed": (
        lambda d: (None, {"Authorization": bearer(d.token(audience="last year's run"))}), 401, "other-audience",
    ),
    "a token that somebody else signed": (
        lambda d: (None, {"Authorization": bearer(d.token(key=Ed25519PrivateKey.generate()))}), 401, "bad-token",
    ),
    "a token downgraded to no signature": (
        lambda d: (None, {"Authorization": bearer(forged("none", lambda _: b""))}), 401, "bad-token",
    ),
    "a token downgraded to the public key as password": (
        lambda d: (None, {"Authorization": bearer(public_key_as_password(d))}), 401, "bad-token",
    ),
    "gibberish": (lambda d: (None, {"Authorization": bearer("a.b.c")}), 401, "bad-token"),
    "a password": (lambda d: (None, {"Authorization": "Basic YTpi"}), 401, "bad-token"),
    "another tenant's certificate": (lambda d: (d.certificate("client-0", "south"), {}), 403, "wrong-tenant"),
    "another tenant's token": (
        lambda d: (None, {"Authorization": bearer(d.token("client-0", "south"))}), 403, "wrong-tenant",
    ),
    "another site's name": (
        lambda d: (d.certificate("client-1", "south"), {"Boundary_From": "client-0"}), 403, "not-you",
    ),
    "a site that there is not": (lambda d: (d.certificate("client-7", "north"), {}), 403, "unknown-host"),
    "a certificate and another's token": (
        lambda d: (d.certificate(), {"Authorization": bearer(d.token("client-1", "south"))}), 403, "two-senders",
    ),
    "a certificate that is not of a site": (
        lambda d: (server_certificate(d.authority, ["127.0.0.1"]), {}), None, "",
    ),
    "a certificate of another authority": (
        lambda d: (d.certificate(authority=new_authority("test authority")), {}), None, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_whoever_does_not_prove_who_he_is_changes_nothing(deployment, what):
    bring, status, code = REFUSED[what]
    pair, headers = bring(deployment)
    network = deployment.network()

    async def visit(url):
        before = len(list(network.trace)), len(network.boundaries.ledger)
        if status is None:  # the handshake itself ends it
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await put(url, deployment.client(pair), **headers)
            answer = None
        else:
            answer = await put(url, deployment.client(pair), **headers)
        return answer, before, (len(list(network.trace)), len(network.boundaries.ledger))

    answer, before, after = deployment.serve(network, visit)
    assert deployment.served == []
    assert before == after
    if answer is not None:
        assert (answer.status, answer.code) == (status, code)
        challenge = answer.headers.get("WWW-Authenticate")
        assert challenge == (f'Bearer realm="{AUDIENCE}"' if status == 401 else None)


# What the server knows of whom it has refused: (site, tenant) by certificate or token, and the name that was said.
KNOWN = {
    "nothing": (None, None),
    "a name alone": (None, "client-0"),
    "an expired certificate": (Identity("client-0", "north"), None),
    "an expired token": (Identity("client-0", "north"), None),
    "a revoked certificate": (Identity("client-0", "north"), None),
    "a revoked token": (Identity("client-0", "north"), None),
    "a token that somebody else signed": (None, None),
    "another tenant's certificate": (Identity("client-0", "south"), None),
    "another site's name": (Identity("client-1", "south"), "client-0"),
    "a site that there is not": (Identity("client-7", "north"), None),
    "a certificate and another's token": (Identity("client-0", "north"), None),
}


@pytest.mark.parametrize("what", KNOWN)
def test_the_operator_hears_who_was_refused(deployment, what):
    bring, status, code = REFUSED[what]
    pair, headers = bring(deployment)
    heard = []
    ingress = deployment.ingress(door=Door(heard.append))
    deployment.serve(deployment.network(ingress=ingress), lambda url: put(url, deployment.client(pair), **headers))
    (one,) = heard
    assert (one.status, one.code, one.peer) == (status, code, None)
    assert (one.proved, one.claimed) == KNOWN[what]


@pytest.mark.parametrize("claims_its_name", [True, False])
@pytest.mark.parametrize("brings", ["certificate", "token", "both"])
def test_whoever_proves_it_is_let_in_under_that_name(deployment, brings, claims_its_name):
    headers = {} if brings == "certificate" else {"Authorization": bearer(deployment.token())}
    headers |= {"Boundary_From": "client-0"} if claims_its_name else {}
    context = deployment.client(None if brings == "token" else deployment.certificate())
    answer = deployment.serve(deployment.network(), lambda url: put(url, context, **headers))
    assert answer.status == 201
    assert deployment.served == ["client-0"]


def test_what_is_revoked_meanwhile_ends_an_open_connection(deployment):
    """Also if the site is revoked as a whole, whatever it comes with; a list that cannot be read lets nobody in."""
    context = deployment.client(deployment.certificate())

    async def visit(url):
        answers = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            for line in (None, "site client-1", "site client-0", "nonsense"):
                if line is not None:
                    deployment.revoked.write_text(f"{line}\n")
                async with session.put(url + "/upload", data=b"x", headers={"Boundary-Kind": "synthetic"}) as response:
                    answers.append(response.status)
        return answers

    assert deployment.serve(deployment.network(), visit) == [201, 201, 401, 503]
    assert deployment.served == ["client-0", "client-0"]


def test_a_server_that_cannot_read_what_is_revoked_says_so_to_its_operator(deployment):
    watch = Watch(["client-0"], ingress=Ingress(authenticator=deployment.identities()))
    watch.health.serves(Agent())
    assert watch.health.unready() == ""
    deployment.revoked.write_text("bogus\n")
    assert watch.health.unready() == (
        f'nobody is let in: {deployment.revoked}, line 1: found "bogus", expected one of certificate, token, site '
        "and what is revoked"
    )
    deployment.revoked.rename(deployment.folder / "gone")
    assert watch.health.unready() == f"nobody is let in: {deployment.revoked} cannot be read: No such file or directory"
    deployment.revoked.write_text("")
    assert watch.health.unready() == ""


def test_a_certificate_that_ends_meanwhile_ends_an_open_connection(deployment):
    pair = deployment.certificate(days=1)
    ends = pair.certificate.not_valid_after_utc
    moments = iter([ends, ends.replace(year=ends.year + 1)])
    tls = server_context(*(deployment.folder / name for name in ("server.pem", "server.key", "authority.pem")))
    ingress = Ingress(tls, deployment.identities(now=lambda: next(moments)))

    async def visit(url):
        context = deployment.client(pair)
        return [(await put(url, context)).status, (await put(url, context)).status]

    assert deployment.serve(deployment.network(ingress=ingress), visit) == [201, 401]


def test_nothing_older_than_tls_1_3_and_nothing_in_the_clear(deployment):
    older = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    older.load_verify_locations(deployment.folder / "authority.pem")

    async def visit(url):
        assert (await put(url, older)).status == 401
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", URL(url).port, ssl=older)
        with pytest.raises(aiohttp.ClientError):
            await put(url.replace("https", "http"), Authorization=bearer(deployment.token()))

    deployment.serve(deployment.network(), visit)
    assert deployment.served == []


# -- the other side: what a site of this package brings, and whom it trusts ------------------------


def ask(deployment, url, egress):
    """One request of client-0, from a network of its own, as another process has it."""
    network = deployment.network(ingress=Ingress(), urls={"server": url}, egress=egress)

    async def main():
        host = network.host("client-0")
        return await host.request("server", "PUT", "/upload", Message(b"x", frozenset({"synthetic"})))

    return network, main


async def visit_by(deployment, url, egress):
    network, main = ask(deployment, url, egress)
    try:
        return await main()
    finally:
        await network.host("client-0").close()


def test_a_site_brings_its_certificate_or_its_token(deployment):
    token = deployment.token()
    certain = Egress(deployment.client(deployment.certificate()))
    signed = Egress(deployment.client(), lambda: bearer(token))

    async def visit(url):
        return [(await visit_by(deployment, url, egress)).status for egress in (certain, signed)]

    assert deployment.serve(deployment.network(), visit) == [201, 201]
    assert deployment.served == ["client-0", "client-0"]


def test_a_site_does_not_trust_a_server_of_another_authority_or_name(deployment, tmp_path):
    (tmp_path / "other").mkdir()
    other = Deployment(tmp_path / "other")
    server_certificate(deployment.authority, ["elsewhere.example"]).write(
        deployment.folder / "elsewhere.pem", deployment.folder / "elsewhere.key"
    )
    wrong_name = server_context(deployment.folder / "elsewhere.pem", deployment.folder / "elsewhere.key", None)

    async def visit(url):
        with pytest.raises(UntrustedError, match=r"client-0 does not trust server at https://127\.0\.0\.1"):
            await visit_by(deployment, url, Egress(deployment.client()))

    deployment.serve(other.network(), visit)
    deployment.serve(deployment.network(ingress=Ingress(wrong_name)), visit)


def test_a_token_does_not_travel_in_the_clear(deployment):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        network, main = ask(deployment, url, Egress(None, lambda: heard.append("asked") or "Bearer x"))
        with pytest.raises(IdentityError, match="a token does not go to http://"):
            network.run(main)
    assert heard == []


def test_a_server_whose_handshake_fails_cannot_be_reached(deployment):
    """To a site it looks like a lost connection, which is tried again; it says what OpenSSL said."""
    stranger = deployment.certificate(authority=new_authority("another authority"))

    async def visit(url):
        with pytest.raises(UnreachableError, match="lost its connection to server"):
            await visit_by(deployment, url, Egress(deployment.client(stranger)))

    deployment.serve(deployment.network(), visit)
