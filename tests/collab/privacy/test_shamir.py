"""Shares: any t give the secret, t - 1 fit every secret alike, a forged one does not pass unseen for ever."""

from __future__ import annotations

import itertools
import random

import pytest

from collab.privacy.shamir import COEFFICIENT_BYTES, PRIME, SHARE_BYTES, Recovery, split

SECRET = bytes(range(100, 132))


def coefficients(number, seed=0):
    draws = random.Random(seed)
    return [draws.randbytes(COEFFICIENT_BYTES) for _ in range(number)]


def test_the_modulus_is_prime_and_the_smallest_above_2_to_the_256():
    """Miller and Rabin's test with 40 bases; none of the odd numbers between passes that of base 3."""

    def passes(number, base):
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        value = pow(base, odd, number)
        return value in (1, number - 1) or any(pow(value, 2**step, number) == number - 1 for step in range(1, twos))

    draws = random.Random(1)
    assert all(passes(PRIME, draws.randrange(2, PRIME - 1)) for _ in range(40))
    assert not any(passes(number, 3) for number in range(2**256 + 1, PRIME, 2))


def test_any_threshold_of_the_shares_restores_the_secret():
    shares = split(SECRET, 6, coefficients(3))
    assert {len(share) for share in shares} == {SHARE_BYTES}
    for holders in itertools.combinations(range(1, 7), 4):
        assert Recovery(holders).secret({holder: shares[holder - 1] for holder in holders}) == SECRET


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_the_smallest_and_the_largest_secret_come_back(secret):
    shares = split(secret, 3, coefficients(1))
    assert Recovery([3, 1]).secret({1: shares[0], 3: shares[2]}) == secret


def test_fewer_shares_fit_any_secret():
    """With t - 1 shares of one secret there is, for every other secret, a polynomial that gives the same shares."""
    shares = split(SECRET, 3, coefficients(2))
    held = {1: shares[0], 2: shares[1]}
    for other in (bytes(32), bytes(range(32))):
        value = int.from_bytes(other, "little")
        # The third share that makes `other` of the two that are held: f(0) = 3 f(1) - 3 f(2) + f(3).
        third = (value - 3 * int.from_bytes(held[1], "little") + 3 * int.from_bytes(held[2], "little")) % PRIME
        assert Recovery([1, 2, 3]).secret({**held, 3: third.to_bytes(SHARE_BYTES, "little")}) == other


def test_shares_of_another_secret_are_noticed_where_they_give_none():
    shares = split(SECRET, 3, coefficients(1))
    # f(0) = 2 f(1) - f(2): of this f(2) comes p - 1, which is no 32 bytes.
    forged = (2 * int.from_bytes(shares[0], "little") + 1) % PRIME
    with pytest.raises(ValueError, match="do not belong together"):
        Recovery([1, 2]).secret({1: shares[0], 2: forged.to_bytes(SHARE_BYTES, "little")})


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="3 holders can never bring 4 shares together"):
        split(SECRET, 3, coefficients(3))
    with pytest.raises(ValueError, match="a secret has 32 B and a coefficient 48 B"):
        split(SECRET[:31], 3, coefficients(1))
    for holders in ([1, 1], [0, 1], []):
        with pytest.raises(ValueError, match="holders are different numbers from 1 on"):
            Recovery(holders)
