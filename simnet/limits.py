"""Limits on what may cross a boundary in the course of time: rates, as token buckets.

Exact: everything is whole numbers. Time is counted in microseconds, the resolution of the virtual clock, and tokens in
fractions of which one microsecond brings a whole number, so that no rounding adds up and a run decides alike wherever
it is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simnet.errors import TenancyError

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` bytes (or messages) in every `per_s` seconds, flowing steadily; at most `burst` at once.

    `burst` is `amount` if not given; a message larger than it never passes. Raises `TenancyError` for a rate of
    nothing.
    """

    amount: int
    per_s: float = 1.0
    of: Literal["bytes", "messages"] = "bytes"
    burst: int | None = None

    def __post_init__(self) -> None:
        if self.amount < 1 or self.largest < 1:
            raise TenancyError(f"a rate of {self.amount} {self.of} with a burst of {self.largest} lets nothing pass")
        if not (self.per_s < float("inf") and round(self.per_s * US_PER_S) >= 1):
            raise TenancyError(f"a rate needs a time of at least 1 us, found {self.per_s:g} s")

    @property
    def largest(self) -> int:
        """What may pass at once after a long rest."""
        return self.amount if self.burst is None else self.burst

    @property
    def name(self) -> str:
        """The rate in words."""
        burst = "" if self.largest == self.amount else f", burst {self.in_words(self.largest)}"
        return f"{self.in_words(self.amount)} every {self.per_s:g} s{burst}"

    def in_words(self, tokens: int) -> str:
        """Tokens with what they stand for."""
        return f"{tokens} B" if self.of == "bytes" else messages_in_words(tokens)

    def tokens(self, size_bytes: int) -> int:
        """What one message of this size takes."""
        return size_bytes if self.of == "bytes" else 1


def messages_in_words(number: int) -> str:
    """A number of messages as part of a sentence."""
    return "1 message" if number == 1 else f"{number} messages"


class TokenBucket:
    """A bucket that fills at a rate, starts full, and from which every message takes its tokens."""

    def __init__(self, rate: Rate) -> None:
        self._amount = rate.amount
        self._per_us = round(rate.per_s * US_PER_S)
        # In parts of 1 / per_us token: `amount` of them flow in every microsecond.
        self._capacity = self._level = rate.largest * self._per_us
        self._at_us = 0

    def free(self, at_us: int) -> int:
        """Whole tokens at a time, in microseconds since the start; a time before the last one counts as that one."""
        return self._level_at(at_us) // self._per_us

    def wait_us(self, tokens: int, at_us: int) -> int:
        """Microseconds until `tokens`, no more than the burst, are there; 0 if they are."""
        missing = tokens * self._per_us - self._level_at(at_us)
        return max(0, -(-missing // self._amount))

    def take(self, tokens: int, at_us: int) -> None:
        """Take tokens that are there."""
        self._level = self._level_at(at_us) - tokens * self._per_us
        self._at_us = max(self._at_us, at_us)

    def _level_at(self, at_us: int) -> int:
        return min(self._capacity, self._level + max(0, at_us - self._at_us) * self._amount)
