"""`collab certs make SCENARIO`: an authority, a certificate of the server, one for each site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collab.options import Overrides, ScenarioPath


def command(
    scenario: ScenarioPath,
    into: Annotated[Path, typer.Option("--into", help="Folder for the files; an authority that is there is used.")],
    host: Annotated[
        list[str], typer.Option("--host", help="Name or address by which sites reach the server; repeatable.")
    ],
    overrides: Overrides = None,
    days: Annotated[float, typer.Option(min=0.001, help="How long the certificates of sites are valid.")] = 90.0,
) -> None:
    """Make an authority, a certificate for the server and one for each site of a scenario.

    Files that are there are left as they are. The authority's key (`authority.key`) belongs on no server.
    """
    from collab import scenario as scenarios
    from collab.deploy.certificates import KeyPair, file_beside, new_authority, server_certificate, site_certificate
    from simnet.identity import Identity

    chosen = scenarios.load(scenario, overrides or [])
    certificate, key = into / "authority.pem", into / "authority.key"
    if certificate.exists():
        authority = KeyPair.read(certificate, key)
    else:
        authority = new_authority(f"{chosen.name} authority")
        authority.write(certificate, key)
        print(f"{certificate}: trust this; {key}: keep this offline")
    if (into / "server.pem").exists():
        print(f"{into / 'server.pem'}: is there already, not made anew; delete it and its key first if it is to be")
    else:
        server_certificate(authority, host).write(into / "server.pem", into / "server.key")
        print(f"{into / 'server.pem'}: for {', '.join(host)}")
    tenant_of = chosen.tenant_of()
    for site in chosen.clients:
        path, secret = file_beside(into, site, ".pem"), file_beside(into, site, ".key")
        if path.exists():
            print(f"{path}: is there already")
        else:
            pair = site_certificate(authority, Identity(site, tenant_of[site]), days=days)
            pair.write(path, secret)
            print(f"{path}: {site} of {tenant_of[site]}, until {pair.certificate.not_valid_after_utc:%Y-%m-%d}")
