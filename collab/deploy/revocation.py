"""The list of what is not accepted any more: certificates, tokens, and whole sites.

A text file, one entry a line; what follows the first two words is for people::

    certificate 5f1c0a... client-3, laptop lost
    token 9b1de2c4... client-4
    site client-7

It is read again whenever it has changed, and a server that cannot read it lets nobody in. Any thread may ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from collab.errors import CredentialsError

Kind = Literal["certificate", "token", "site"]
_KINDS = get_args(Kind)


class RevocationList:
    """What a file says is revoked. Without a file nothing is."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # One value, replaced at once: what was seen of the file, and what it said then.
        self._read: tuple[tuple[int, ...], frozenset[tuple[str, str]]] = ((), frozenset())
        self.names(())

    def names(self, entries: Iterable[tuple[Kind, str]]) -> bool:
        """Whether any of the entries is on the list as it is now. Raises `CredentialsError` if it cannot be read."""
        return not self._now().isdisjoint(entries)

    def _now(self) -> frozenset[tuple[str, str]]:
        """What is revoked now."""
        if self._path is None:
            return frozenset()
        read = self._read
        try:
            with self._path.open("rb") as file:
                known = os.fstat(file.fileno())
                seen = (known.st_mtime_ns, known.st_size, known.st_ino)
                if seen == read[0]:
                    return read[1]
                text = file.read().decode("utf-8")
        except OSError as error:
            raise CredentialsError(f"{self._path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise CredentialsError(f"{self._path} is no text in UTF-8: {error}") from error
        self._read = (seen, frozenset(_entries(text, self._path)))
        return self._read[1]


def revoke(path: Path, kind: Kind, name: str, comment: str = "") -> bool:
    """Add an entry to the list in a file, which is made if need be; False if it was there. Raises `OSError`."""
    entry = (kind, name)
    if path.exists() and RevocationList(path).names([entry]):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    line = " ".join(part for part in (kind, name, " ".join(comment.split())) if part)
    with path.open("a+b") as file:
        whole = file.tell() == 0 or _ends_in_a_line(path)
        file.write(f"{'' if whole else os.linesep}{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    return True


def _ends_in_a_line(path: Path) -> bool:
    return path.read_bytes().endswith(b"\n")


def _entries(text: str, path: Path) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0] not in _KINDS or len(words) < 2:
            raise CredentialsError(
                f'{path}, line {number}: found "{line[:60]}", expected one of {", ".join(_KINDS)} and what is revoked'
            )
        yield words[0], _serial(words[1], f"{path}, line {number}") if words[0] == "certificate" else words[1]


def _serial(text: str, place: str) -> str:
    """The number of a certificate as `collab certs` writes it, however openssl did: with colons, capitals, or a 0."""
    try:
        return f"{int(text.replace(':', ''), 16):x}"
    except ValueError:
        raise CredentialsError(
            f'{place}: found the certificate "{text[:60]}", expected its serial number in hex'
        ) from None
