"""What kind of file one is, by its first bytes: to say of one that was given in another's place what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["archive", "networks", "text", "unknown"]
_LENGTH_BYTES = 8  # of the header of a safetensors file, at its begin; its upper ones are 0, and a brace follows


def kind_of(path: Path) -> Kind:
    """An archive (a .npz is one), networks in safetensors form, text, or none of these. Raises `OSError`."""
    with path.open("rb") as file:
        begins = file.read(_LENGTH_BYTES + 1)
    if begins.startswith(b"PK\x03\x04"):
        return "archive"
    if begins[5:] == b"\0\0\0{":
        return "networks"
    length = begins[:_LENGTH_BYTES]
    return "text" if len(length) == _LENGTH_BYTES and b"\0" not in length else "unknown"
