from __future__ import annotations

import hashlib
import tracemalloc

import msgpack
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from collab import wire
from collab.errors import WireError


def content() -> wire.Content:
    return wire.Content(
        {"task": "collabdm-1", "site": "client-3"},
        {"embeddings": {"means": wire.encode(np.arange(24, dtype=np.float32).reshape(2, 3, 4), "float16")}},
    )


def test_what_is_packed_comes_out():
    unpacked = wire.unpack(wire.pack(content()))
    assert unpacked.fields == {"task": "collabdm-1", "site": "client-3"}
    assert unpacked.kinds == {"embeddings"}
    means = unpacked.sections["embeddings"]["means"]
    assert (means.dtype, means.shape) == ("float16", (2, 3, 4))
    np.testing.assert_array_equal(means.values(), np.arange(24).reshape(2, 3, 4))


def test_the_layout_is_the_documented_one():
    """A stranger reads it with msgpack and hashlib alone."""
    body = wire.pack(content())
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(body)
    head = unpacker.unpack()
    rest = body[unpacker.tell() :]
    assert head == {"schema": "collab/1", "checksum": hashlib.sha256(rest).digest()}
    inner = msgpack.unpackb(rest)
    tensor = inner["sections"]["embeddings"]["means"]
    assert tensor["dtype"] == "float16"
    assert tensor["shape"] == [2, 3, 4]
    assert tensor["data"] == np.arange(24, dtype="<f2").tobytes()


def test_no_tensors_means_control():
    assert wire.unpack(wire.pack(wire.Content({"state": "done"}))).kinds == {"control"}


dtypes = st.sampled_from(["float32", "float16", "uint8", "uint32", "uint64", "int64"])


@given(dtypes.flatmap(lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))))
def test_arrays_of_every_type_and_shape_survive(array):
    packed = wire.pack(wire.Content({}, {"x": {"a": wire.encode(array)}}))
    back = wire.unpack(packed).sections["x"]["a"].values()
    assert back.shape == array.shape
    assert back.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_non_contiguous_arrays_survive():
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    back = wire.unpack(wire.pack(wire.Content({}, {"x": {"a": wire.encode(array)}})))
    np.testing.assert_array_equal(back.sections["x"]["a"].values(), array)


@given(hnp.arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=True, allow_infinity=True)))
def test_bfloat16_rounds_as_torch_does(values):
    ours = wire.encode(values, "bfloat16").values()
    theirs = torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(ours, theirs)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_side=0, max_side=5), elements=st.integers(0, 15)))
def test_numbers_of_four_bits_share_bytes(array):
    tensor = wire.encode(array, "uint4")
    assert tensor.size_bytes == -(-array.size // 2)
    body = wire.pack(wire.Content({}, {"x": {"a": tensor}}))
    back = wire.unpack(body).sections["x"]["a"]
    assert (back.dtype, back.size_bytes) == ("uint4", tensor.size_bytes)
    np.testing.assert_array_equal(back.values(), array)


def test_the_first_of_two_is_in_the_lower_half():
    body = wire.pack(wire.Content({}, {"x": {"a": wire.encode(np.array([[1, 2], [3, 15]]), "uint4")}}))
    assert b"\xc4\x02\x21\xf3" in body


@pytest.mark.parametrize("bad", [-1, 16])
def test_larger_numbers_are_no_uint4(bad):
    with pytest.raises(WireError, match="a uint4 is a number from 0 to 15"):
        wire.encode(np.array([0, bad]), "uint4")


@pytest.mark.parametrize("cut", [0, 1, 10, 50, -1, -100])
def test_truncation_is_noticed(cut):
    with pytest.raises(WireError, match=r"truncated|does not begin"):
        wire.unpack(wire.pack(content())[:cut])


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_every_flipped_bit_is_noticed(position, bit):
    body = bytearray(wire.pack(content()))
    body[position % len(body)] ^= 1 << bit
    with pytest.raises(WireError):
        wire.unpack(bytes(body))


@given(st.binary(max_size=400))
def test_noise_is_refused_and_nothing_else_happens(body):
    with pytest.raises(WireError):
        wire.unpack(body)


def signed(inner: object, schema: str = "collab/1") -> bytes:
    return head_of(msgpack.packb(inner), schema)


def head_of(packed: bytes, schema: str = "collab/1") -> bytes:
    return msgpack.packb({"schema": schema, "checksum": hashlib.sha256(packed).digest()}) + packed


def tensor(**changes: object) -> dict[str, object]:
    return {"dtype": "float32", "shape": [2], "data": b"\0" * 8, **changes}


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (signed({"fields": {}, "sections": {}}, "collab/0"), "schema 'collab/0', expected 'collab/1'"),
        (signed({"fields": {}, "sections": {}}) + b"\x01", "checksum does not match"),
        (signed({"fields": {}}), "not a map of fields and sections"),
        (signed([1, 2]), "the content must be a map"),
        (signed({"fields": [], "sections": {}}), "fields must be a map"),
        (signed({"fields": {}, "sections": {"x": 3}}), "the section x must be a map"),
        (signed({"fields": {}, "sections": {"x": {"a": 3}}}), "x.a must be a map"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(extra=1)}}}), "x.a has 4 entries, at most 3"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(dtype="object")}}}), "x.a has the type 'object'"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(dtype=7)}}}), "the dtype of x.a must be a string"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(shape=[3])}}}), "needs 12 bytes, found 8"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(shape=[-2])}}}), "no valid shape"),
        (
            signed({"fields": {}, "sections": {"x": {"a": tensor(shape=[2**30, 2**30])}}}),
            "multiply to more than a body",
        ),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(shape=[0, 2**63, 2**63], data=b"")}}}), "no valid shape"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(shape=[1] * 9)}}}), "no valid shape"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(data="text")}}}), "the data of x.a must be bytes"),
        (signed({"fields": {}, "sections": {"x": {"a": tensor(dtype="uint4", shape=[3])}}}), "needs 2 bytes, found 8"),
        (
            signed({"fields": {}, "sections": {"x": {"a": tensor(dtype="uint4", shape=[3], data=b"\x21\x13")}}}),
            "x.a holds 3 numbers of 4 bits, but the half byte after them is not 0",
        ),
        (signed({"fields": {"a": deep(20)}, "sections": {}}), "nested more than"),
        (signed({"fields": {"a": "x" * 70_000}, "sections": {}}), "fields takes more than 65536 bytes"),
        (signed({"fields": {"a": ["x" * 1000] * 100}, "sections": {}}), "fields takes more than 65536 bytes"),
        (signed({"fields": {}, "sections": {}, "more": 1}), "the content has 3 entries, at most 2"),
        (signed({"fields": {}, "section": {}}), "not a map of fields and sections"),
        (signed({"fields": {}, "sections": {"x": {"a": {"dtype": "uint8", "shape": []}}}}), "x.a is not a tensor"),
        (
            signed({"fields": {}, "sections": {"x": {"a": tensor(dtype="x" * 300)}}}),
            "the dtype of x.a has 300 characters",
        ),
        (signed({"fields": {}, "sections": {"x" * 300: {}}}), "a key of sections has 300 characters, at most 256"),
        (signed({"fields": {}, "sections": {1: {}}}), "a key of sections must be a string"),
        (signed({"fields": {1: 2}, "sections": {}}), "int is not allowed for map key"),
        (signed({"fields": {}, "sections": {str(n): {} for n in range(17)}}), "sections has 17 entries, at most 16"),
        (
            signed({"fields": {}, "sections": {kind: {str(n): tensor() for n in range(513)} for kind in "ab"}}),
            "the section b has 513 entries, at most 511 are accepted",
        ),
        (
            signed({"fields": {}, "sections": {"x": {"a": tensor(shape=[0] + [2**31 - 1] * 7, data=b"")}}}),
            "multiply to",
        ),
        (head_of(b"\x82\xa6fields\x80\xa6fields\x80"), "the content has 'fields' twice"),
        (head_of(b"\x82\xa6fields\x82\xa1a\x01\xa1a\x02\xa8sections\x80"), "a map has 'a' twice"),
        (head_of(b"\x82\xa6fields\x80\xa8sections\x82\xa1x\x80\xa1x\x80"), "sections has 'x' twice"),
        (head_of(b"\x82\xa6fields\x80\xa8sections"), "truncated"),
        (msgpack.packb({"schema": "collab/1"}), "the head has the keys"),
        (msgpack.packb({"schema": "collab/1", "more": "x" * 300}), "the head takes more than 256 bytes"),
        (b"\x91" * 100_000, "the head takes more than 256 bytes"),
        (b"\xdd\xff\xff\xff\xff", "not valid msgpack|truncated"),
        (b"\xc6\xff\xff\xff\xff", "not valid msgpack|truncated"),
    ],
)
def test_bodies_that_break_the_rules(body, reason):
    with pytest.raises(WireError, match=reason):
        wire.unpack(body)


def test_a_second_content_after_the_first_is_refused():
    inner = msgpack.packb({"fields": {}, "sections": {}}) + msgpack.packb(1)
    body = msgpack.packb({"schema": "collab/1", "checksum": hashlib.sha256(inner).digest()}) + inner
    with pytest.raises(WireError, match="1 bytes follow the content"):
        wire.unpack(body)


def test_size_limits_hold_both_ways(monkeypatch):
    body = wire.pack(content())
    with pytest.raises(WireError, match="at most 10 are accepted"):
        wire.unpack(body, limit_bytes=10)
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 10)
    with pytest.raises(WireError, match="at most 10 are carried"):
        wire.pack(content())


def test_types_without_a_place_are_refused():
    with pytest.raises(WireError, match="type complex64 are not carried"):
        wire.encode(np.zeros(2, np.complex64))


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\x82\xa6fields" + b"\xdd\x00\x01\x86\xa0" * 1000, id="lists-that-claim-to-be-long"),
        pytest.param(b"\x82\xa6fields\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\x80" * 1000) * 1000, id="empty-maps"),
        pytest.param(b"\x82\xa6fields\xdc\x03\xe8" + (b"\xdc\x03\xe8" + b"\xc0" * 1000) * 1000, id="nothings"),
        pytest.param(
            b"\x82\xa6fields\x80\xa8sections\x81\xa1x\x81\xa1a\x81\xa5shape\xdd\x00\x01\x86\xa0" + b"\x90" * 100_000,
            id="a-shape",
        ),
        pytest.param(b"\x81\xdd\x00\x01\x86\xa0" + b"\x90" * 100_000, id="a-key"),
        pytest.param(b"\x82\xa6fields\x80\xa8sections\xdf\x00\x00\xff\xff" + b"\xa1a\x80" * 65_535, id="sections"),
    ],
)
def test_a_body_is_no_larger_in_memory_than_a_few_times_its_length(packed):
    """An empty map takes 64 bytes, a list eight for each of the entries that its head claims."""
    body = head_of(packed)
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            wire.unpack(body)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * len(body) + 100_000


def test_a_map_of_many_keys_is_looked_through_once():
    """Each key compared with each other would be 10^8 comparisons."""
    fields = {f"{number:x}": None for number in range(11_000)}
    assert wire.unpack(signed({"fields": fields, "sections": {}})).fields == fields
