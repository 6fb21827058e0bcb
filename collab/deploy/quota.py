"""How much of a disk a server's store may use."""

from __future__ import annotations

import errno
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """`free_bytes` of the disk stay free, and of no site more than `site_bytes` are kept; of uploads in parts what is
    unfinished, for `unfinished_s` seconds after its sender was last at it.
    """

    free_bytes: int = 256_000_000
    site_bytes: int = 10_000_000_000
    unfinished_s: float = 24 * 3600.0

    def check(self, site: str, kept_bytes: int, more_bytes: int) -> None:
        """Raises `OSError` if a site of which so much is kept may have no more that large."""
        if kept_bytes + more_bytes > self.site_bytes:
            raise OSError(
                errno.EDQUOT,
                f"of {site} {kept_bytes} B are kept; with {more_bytes} B more it would be beyond the "
                f"{self.site_bytes} B that a site may have",
            )
