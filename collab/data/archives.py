"""Files in tar archives, read in their order and never unpacked to the disk."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from collab.errors import DamagedDataError

_UNREADABLE = (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error)


def members(path: Path, largest_bytes: int) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Name and content of each plain file in an archive, compressed or not.

    Raises `DamagedDataError` if the archive cannot be read to its end, or for a file above `largest_bytes`.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                if member.size > largest_bytes:
                    raise DamagedDataError(
                        f"{path}: {member.name} has {member.size} bytes, expected at most {largest_bytes}"
                    )
                file = archive.extractfile(member)
                if file is not None:
                    yield PurePosixPath(member.name), file.read()
    except _UNREADABLE as error:
        raise DamagedDataError(f"{path} cannot be read: {error}") from error
