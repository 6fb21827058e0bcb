"""`collab certs site NAME`: a certificate for one more site, or a new one for a site that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    site: Annotated[str, typer.Argument(help="Name of the site, e.g. client-3.", show_default=False)],
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant for which it acts.", show_default=False)],
    into: Annotated[Path, typer.Option("--into", help="Folder of the authority, and for the new files.")],
    days: Annotated[float, typer.Option(min=0.001, help="How long the certificate is valid.")] = 90.0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the files of an earlier certificate.")] = False,
) -> None:
    """Make a certificate for one site. An earlier one stays valid until it ends or is revoked."""
    from collab.deploy.certificates import KeyPair, file_beside, site_certificate
    from collab.errors import CredentialsError
    from simnet.identity import Identity

    authority = KeyPair.read(into / "authority.pem", into / "authority.key")
    certificate, key = file_beside(into, site, ".pem"), file_beside(into, site, ".key")
    if certificate.exists() and not replace:
        raise CredentialsError(f"{certificate} is there already; with --replace it is written anew")
    pair = site_certificate(authority, Identity(site, tenant), days=days)
    for old in (certificate, key):
        old.unlink(missing_ok=True)
    pair.write(certificate, key)
    print(f"{certificate}: {site} of {tenant}, until {pair.certificate.not_valid_after_utc:%Y-%m-%d}")
