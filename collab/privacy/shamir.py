"""Secrets in shares: any t of n shares give the secret back, fewer say nothing about it.

Shamir, "How to share a secret" (CACM 22(11), 1979), doi:10.1145/359168.359176. Over the field of integers modulo the
prime p = 2^256 + 297, the smallest above 2^256, so that any 32 bytes are an element:

    f(x) = s + a_1 x + ... + a_(t-1) x^(t-1)  mod p       share of holder x is f(x), x = 1 ... n
    s = f(0) = sum_{x in X} f(x) prod_{w in X, w != x} w / (w - x)  mod p       for any set X of t holders

The coefficients a must be unpredictable and uniform. Shares are not authenticated: with a forged one another secret
comes out, so whoever can should check it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
COEFFICIENT_BYTES = 48
"""Reduced modulo p these are uniform up to 2^-127."""


def split(secret: bytes, holders: int, coefficients: Sequence[bytes]) -> list[bytes]:
    """Shares of 33 bytes for holders 1 ... `holders`, of which one more than there are coefficients restore the secret.

    The secret has 32 bytes, a coefficient 48 uniform ones. Raises `ValueError` for other lengths, and for fewer
    holders than the threshold.
    """
    if len(secret) != SECRET_BYTES or any(len(each) != COEFFICIENT_BYTES for each in coefficients):
        raise ValueError(f"a secret has {SECRET_BYTES} B and a coefficient {COEFFICIENT_BYTES} B")
    if holders <= len(coefficients):
        raise ValueError(f"{holders} holders can never bring {len(coefficients) + 1} shares together")
    terms = [int.from_bytes(each, "little") % PRIME for each in reversed(coefficients)]
    constant = int.from_bytes(secret, "little")
    shares = []
    for holder in range(1, holders + 1):
        value = 0
        for term in (*terms, constant):
            value = (value * holder + term) % PRIME
        shares.append(value.to_bytes(SHARE_BYTES, "little"))
    return shares


class Recovery:
    """Restores secrets of which the same holders have a share; the weights of the shares are computed once."""

    def __init__(self, holders: Sequence[int]) -> None:
        """`holders` are as many different ones, from 1 on, as the threshold says. Raises `ValueError` otherwise."""
        if len(set(holders)) != len(holders) or min(holders, default=0) < 1:
            raise ValueError(f"holders are different numbers from 1 on, found {list(holders)}")
        self._weights = {holder: _weight(holder, holders) for holder in holders}

    def secret(self, shares: Mapping[int, bytes]) -> bytes:
        """The secret of 32 bytes, of the shares by holder.

        Raises `ValueError` if these are no shares of such a secret: one was forged, or belongs to another.
        """
        total = sum(int.from_bytes(shares[holder], "little") * weight for holder, weight in self._weights.items())
        value = total % PRIME
        if value >= 2 ** (8 * SECRET_BYTES):
            raise ValueError("the shares do not belong together: what they give is no secret of 32 B")
        return value.to_bytes(SECRET_BYTES, "little")


def _weight(holder: int, holders: Sequence[int]) -> int:
    above = below = 1
    for other in holders:
        if other != holder:
            above = above * other % PRIME
            below = below * (other - holder) % PRIME
    return above * pow(below, -1, PRIME) % PRIME
