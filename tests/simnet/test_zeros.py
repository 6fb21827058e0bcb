from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet import Message
from simnet.zeros import digest_of_zeros, zeros

STEP = 4096


@given(st.integers(0, 3_000_000) | st.sampled_from([0, 1, STEP - 1, STEP, STEP + 1, 4096 * STEP, 4096 * STEP + 5]))
def test_the_digest_is_that_of_so_many_zero_bytes(size_bytes):
    assert digest_of_zeros(size_bytes) == hashlib.sha256(bytes(size_bytes)).hexdigest()
    assert Message.of_size(size_bytes).digest == Message(bytes(size_bytes)).digest


def test_a_thousand_large_bodies_share_their_bytes():
    bodies = [zeros(50_000_000 + number) for number in range(1000)]
    assert [len(body) for body in bodies] == list(range(50_000_000, 50_001_000))
    assert all(body.readonly for body in bodies)
    assert len({id(body.obj) for body in bodies}) <= 2  # the buffer is doubled when it is too short
    assert bytes(bodies[-1][:3]) == b"\0\0\0"


def test_no_body_is_shorter_than_nothing():
    with pytest.raises(ValueError, match="-1"):
        Message.of_size(-1)
