"""What a site keeps to itself: 32 bytes from which it derives keys and noise that nobody else may guess.

In a laboratory, where one process plays everybody, the secret follows from the run's seed, so that a run can be
repeated bit for bit: it hides nothing from whoever knows the seed. A site that takes part from elsewhere draws its own
from the operating system and keeps it on its disk until the run is over: after a reboot it still has the same keys, and
in the next run others.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from simnet.disk import Disk

SECRET_BYTES = 32
_PLACE = "secret"


def laboratory_secret(seed: int, site: str) -> bytes:
    """The secret of a site in a run of `seed` that one process plays alone."""
    return hashlib.sha256(f"collab laboratory secret/{seed}/{site}".encode()).digest()


def kept_secret(disk: Disk) -> bytes:
    """The secret on a site's disk; one is drawn if there is none. Raises `OSError`."""
    try:
        secret = disk.read(_PLACE)
    except KeyError:
        secret = b""
    if len(secret) != SECRET_BYTES:  # there is none yet, or none that is whole: nothing can follow from that one
        secret = os.urandom(SECRET_BYTES)
        disk.write(_PLACE, secret)
    return secret


def secret_for(secret: bytes, purpose: str, *parts: str) -> bytes:
    """32 bytes that follow from a site's secret for one purpose, and say nothing about it or about those for others.

    Raises `ValueError` if the secret is none: what follows from it could be guessed.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a site's secret has {SECRET_BYTES} B, found {len(secret)}; give the site one")
    context = "/".join((purpose, *(f"{len(part)}:{part}" for part in parts)))
    return hmac.new(secret, context.encode(), hashlib.sha256).digest()


def forget_secret(disk: Disk) -> None:
    """Delete the secret: what followed from it can never be computed again."""
    disk.delete(_PLACE)
