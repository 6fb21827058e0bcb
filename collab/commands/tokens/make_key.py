"""`collab tokens make-key`: the key that signs tokens, and the one that servers check them with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    into: Annotated[Path, typer.Option("--into", help="Folder for tokens.key (secret) and tokens.pub (the server's).")],
) -> None:
    """Make a pair of keys: one signs tokens, the other is for the server."""
    from collab.deploy.tokens import new_key

    private, public = into / "tokens.key", into / "tokens.pub"
    new_key(private, public)
    print(f"{private}: signs tokens, keep it off the server; {public}: name it in the server's configuration")
