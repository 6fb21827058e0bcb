"""The ring: integers there and back, sums that wrap around and come back, masks that are ChaCha20's stream."""

from __future__ import annotations

import numpy as np
import pytest

from collab.privacy.ring import Ring

BOTH = pytest.mark.parametrize("bits", [32, 64])
KEY = bytes(range(32))


@BOTH
def test_integers_come_back(bits):
    ring = Ring(bits)
    largest = 2 ** (bits - 1)
    integers = np.array([-largest, -1, 0, 1, largest - 1], dtype=np.int64)
    elements = ring.elements(integers)
    assert elements.tolist() == [largest, 2**bits - 1, 0, 1, largest - 1]
    assert ring.integers(elements).tolist() == integers.tolist()


def test_integers_that_do_not_fit_are_refused():
    with pytest.raises(OverflowError) as caught:
        Ring(32).elements(np.array([5, 2**31], dtype=np.int64))
    assert str(caught.value) == (
        "integers lie in [5, 2147483648], a ring of 32 bits holds those in [-2147483648, 2147483648); "
        "use more bits, or a coarser step"
    )


@BOTH
def test_a_mask_is_the_published_stream(bits):
    """RFC 8439, appendix A.1, test vector 1: the key, nonce and counter are 0."""
    published = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    words = Ring(bits).mask(bytes(32), 512 // bits)
    assert words.tobytes() == published
    assert words.dtype == np.dtype(f"<u{bits // 8}")


@BOTH
@pytest.mark.parametrize("length", [0, 1, 1000, 2**17, 2**18 + 3])
def test_a_mask_that_is_added_and_taken_away_leaves_nothing(bits, length):
    ring = Ring(bits)
    elements = ring.elements(np.arange(length, dtype=np.int64))
    ring.add_mask(elements, KEY)
    assert (elements == ring.elements(np.arange(length)) + ring.mask(KEY, length)).all()
    ring.add_mask(elements, KEY, -1)
    assert ring.integers(elements).tolist() == list(range(length))


def test_a_longer_mask_begins_like_a_shorter_one():
    ring = Ring(64)
    assert (ring.mask(KEY, 300_000)[:200_000] == ring.mask(KEY, 200_000)).all()


def test_a_mask_longer_than_the_stream_is_refused():
    with pytest.raises(OverflowError, match="longer than the cipher's stream"):
        Ring(64).add_mask(np.broadcast_to(np.uint64(0), (2**35 + 1,)), KEY)
