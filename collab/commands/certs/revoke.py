"""`collab certs revoke CERTIFICATE`: have a certificate accepted no more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    certificate: Annotated[Path, typer.Argument(help="The certificate (PEM).", show_default=False)],
    revoked: Annotated[Path, typer.Option("--list", help="The server's list of what is revoked.")],
    comment: Annotated[str, typer.Option(help="Why, for people who read the list.")] = "",
) -> None:
    """Put a certificate on the list of what is revoked; a running server looks at it with the next request."""
    from collab.deploy.certificates import identity_in, is_authority, serial_of
    from collab.deploy.identity import read_authorities
    from collab.deploy.revocation import revoke
    from collab.errors import CredentialsError

    found = read_authorities(certificate)[0]
    if is_authority(found):
        raise CredentialsError(
            f"{certificate} is of an authority, not of a site; to accept none that it issued, take it out "
            "of tls.client_authority"
        )
    is_new_list = not revoked.exists()
    identity = identity_in(found)
    told = "" if identity is None else f"{identity.host} of {identity.tenant}"
    new = revoke(revoked, "certificate", serial_of(found), f"{told} {comment}")
    print(f"{certificate} {'is revoked' if new else 'was revoked already'}: {serial_of(found)} in {revoked}")
    if is_new_list:
        print(f"{revoked}: a new list was made; is it the one that the server's `revoked:` names?")
