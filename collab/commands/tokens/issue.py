"""`collab tokens issue SITE`: a token for a site."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer


def command(
    site: Annotated[str, typer.Argument(help="Name of the site, e.g. client-3.", show_default=False)],
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant for which it acts.", show_default=False)],
    audience: Annotated[
        str, typer.Option("--audience", help="The deployment that the token is for.", show_default=False)
    ],
    key: Annotated[Path, typer.Option("--key", help="The key that signs.")] = Path("tokens.key"),
    hours: Annotated[float, typer.Option(min=0.001, help="How long the token is valid.")] = 24.0,
    into: Annotated[
        Path | None, typer.Option("--into", help="File for the token; printed if not given.", show_default=False)
    ] = None,
) -> None:
    """Issue a token with which a site proves its name and tenant to one deployment."""
    from collab.deploy import tokens
    from collab.deploy.certificates import write_new
    from simnet.identity import Identity

    token = tokens.issue(tokens.read_private(key), Identity(site, tenant), audience, timedelta(hours=hours))
    if into is None:
        print(token)
    else:
        write_new(into, f"{token}\n".encode(), mode=0o600)
        print(f"{into}: {site} of {tenant}, for {audience}, {hours:g} hours")
