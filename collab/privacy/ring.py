"""Whole numbers modulo 2^32 or 2^64, and masks of such numbers that look uniform to whoever lacks their key.

A signed integer z with |z| < 2^(B-1) is the ring element z mod 2^B; sums in the ring are the sums of the integers as
long as these stay within that range, whatever was added and taken away in between. Real numbers travel as whole
multiples of a step (fixed point), which is the caller's choice.

    mask(k, L) = the first L words of B bits, little-endian, of ChaCha20 (RFC 8439) with key k, nonce 0, counter 0

So a key may make one mask only. ChaCha20 takes the same time whatever the key, on every processor; AES in counter mode
is half as fast again where the processor knows AES, and slow or leaky where it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

RingBits = Literal[32, 64]
KEY_BYTES = 32
_AT_ONCE_BYTES = 1 << 20  # fits a cache; the memory of a mask does not grow with its length
_LARGEST_MASK_BYTES = 64 << 32  # then ChaCha20's counter of blocks is used up


class Ring:
    """The integers modulo 2^`bits`; its elements are numpy arrays of `dtype`, uint32 or uint64."""

    def __init__(self, bits: RingBits = 64) -> None:
        self.bits: int = bits
        self.dtype: np.dtype[Any] = np.dtype(f"<u{bits // 8}")
        self._signed: np.dtype[Any] = np.dtype(f"<i{bits // 8}")

    def elements(self, integers: NDArray[np.int64]) -> NDArray[Any]:
        """Signed integers, of any shape, as elements.

        Raises `OverflowError` for one that is not in [-2^(bits-1), 2^(bits-1)).
        """
        limit = 2 ** (self.bits - 1)
        if integers.size and not (-limit <= int(integers.min()) and int(integers.max()) < limit):
            raise OverflowError(
                f"integers lie in [{integers.min()}, {integers.max()}], a ring of {self.bits} bits holds those in "
                f"[{-limit}, {limit}); use more bits, or a coarser step"
            )
        return integers.astype(self._signed).view(self.dtype)

    def integers(self, elements: NDArray[Any]) -> NDArray[np.int64]:
        """The signed integers in [-2^(bits-1), 2^(bits-1)) that elements stand for."""
        return elements.astype(self.dtype).view(self._signed).astype(np.int64)

    def add_mask(self, elements: NDArray[Any], key: bytes, sign: Literal[1, -1] = 1) -> None:
        """Add the mask of a key to a vector [L] in place, or take it away."""
        start = 0
        for words in self._words(key, len(elements)):
            part = elements[start : start + len(words)]
            (np.add if sign == 1 else np.subtract)(part, words, out=part)
            start += len(words)

    def mask(self, key: bytes, length: int) -> NDArray[Any]:
        """The mask [length] of a key of 32 bytes."""
        elements = np.zeros(length, dtype=self.dtype)
        self.add_mask(elements, key)
        return elements

    def _words(self, key: bytes, length: int) -> Iterator[NDArray[Any]]:
        width = self.dtype.itemsize
        if length * width > _LARGEST_MASK_BYTES:
            raise OverflowError(f"a mask of {length} words of {width} B is longer than the cipher's stream")
        stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
        at_once = min(length, _AT_ONCE_BYTES // width)
        zeros, buffer = bytes(at_once * width), bytearray(at_once * width)
        for start in range(0, length, at_once or 1):
            size = min(at_once, length - start) * width
            stream.update_into(zeros[:size] if size < len(zeros) else zeros, buffer)
            yield np.frombuffer(buffer, dtype=self.dtype, count=size // width)
