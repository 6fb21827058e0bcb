"""`collab tokens revoke TOKEN`: have a token accepted no more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    token: Annotated[Path, typer.Argument(help="The file of the token; - reads standard input.", show_default=False)],
    revoked: Annotated[Path, typer.Option("--list", help="The server's list of what is revoked.")],
    comment: Annotated[str, typer.Option(help="Why, for people who read the list.")] = "",
) -> None:
    """Put a token on the list of what is revoked; a running server looks at it with the next request."""
    import sys

    from collab.deploy import tokens
    from collab.deploy.revocation import revoke

    text = sys.stdin.read() if str(token) == "-" else token.read_text(encoding="utf-8")
    identifier, site = tokens.identifier_in(text.strip())
    new = revoke(revoked, "token", identifier, f"{site} {comment}")
    print(f"the token of {site} {'is revoked' if new else 'was revoked already'}: {identifier} in {revoked}")
