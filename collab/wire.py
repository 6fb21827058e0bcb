"""Messages and tensors to and from msgpack: schema, limits, checksum.

A body is two msgpack objects, one after the other::

    {"schema": "collab/1", "checksum": <32 bytes>}      checksum: SHA-256 of all that follows
    {"fields": {...}, "sections": {kind: {name: tensor}}}

`fields` holds small scalars and their lists and maps (the kind `control`); `sections` holds tensors, filed under
the kind of content that they are. A tensor is ``{"dtype": str, "shape": [int], "data": bytes}``, row-major and
little-endian. Nothing is ever unpickled, and nothing here needs torch: `docs/protocol.md` is all that a client
in another language needs.

bfloat16, which numpy lacks, is carried as the upper 16 bits of a float32, rounded to nearest even. uint4, numbers from
0 to 15, takes half a byte each: two in a byte, the first in the lower half, rows running on; if their number is odd,
the last half is 0.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgpack
import numpy as np
from numpy.typing import NDArray

from collab.errors import WireError

SCHEMA = "collab/1"
MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 6
MAX_ITEMS = 100_000  # entries of one list or map, while it is skipped
MAX_FIELD_BYTES = 64 * 1024  # all scalars together
MAX_RANK = 8
MAX_SECTIONS = 16
MAX_TENSORS = 1024  # of all sections together: each takes a while, however small it is
_MAX_EXTENT = 2**31
_MAX_NAME_LENGTH = 256
_MAX_HEAD_BYTES = 256
_TENSOR_PARTS = frozenset({"dtype", "shape", "data"})
_MAX_SHAPE_BYTES = 80  # eight extents of nine bytes
# The first byte of an object of msgpack says what it is. -> how many bytes after it hold its length; or, below 0, what
# to add to that byte to have it.
_MAP_HEADERS = {**dict.fromkeys(range(0x80, 0x90), -0x80), 0xDE: 2, 0xDF: 4}
_STR_HEADERS = {**dict.fromkeys(range(0xA0, 0xC0), -0xA0), 0xD9: 1, 0xDA: 2, 0xDB: 4}
_BIN_HEADERS = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_LONGEST_CHARACTER_BYTES = 4  # in UTF-8
_BOUNDS = {"max_array_len": MAX_ITEMS, "max_map_len": MAX_ITEMS, "max_ext_len": 0}
_UNPACKING_ERRORS = (ValueError, msgpack.UnpackException)
_LARGEST_UINT4 = 15

FloatDtype = Literal["float32", "float16", "bfloat16"]
FLOAT_DTYPES: tuple[FloatDtype, ...] = ("float32", "float16", "bfloat16")
_STORED_AS: Mapping[str, str] = {
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "uint8": "|u1",
    "uint4": "|u1",
    "uint32": "<u4",
    "uint64": "<u8",
    "int64": "<i8",
}

Scalar = str | int | float | bool | None
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Tensor:
    """An array with the type that it has on the wire; `stored` has that type's stored form (bfloat16: uint16; uint4:
    a uint8 each, until it is packed).
    """

    dtype: str
    stored: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis."""
        return self.stored.shape

    @property
    def size_bytes(self) -> int:
        """Bytes of the data alone, as packed."""
        return _size_bytes(self.dtype, self.stored.size)

    def values(self) -> NDArray[Any]:
        """The numbers: float32 for bfloat16, else the stored array itself (not a copy)."""
        if self.dtype == "bfloat16":
            return (self.stored.astype("<u4") << np.uint32(16)).view("<f4")
        return self.stored


def encode(values: NDArray[Any], dtype: str | None = None) -> Tensor:
    """`values` as a tensor of `dtype` (their own if not given).

    Raises `WireError` for a type that has no place here, and for numbers that are no uint4.
    """
    name = dtype or values.dtype.name
    if name not in _STORED_AS:
        raise WireError(f"tensors of type {name} are not carried; known are {', '.join(_STORED_AS)}")
    if name == "bfloat16":
        bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        # Rounding would turn some NaNs into infinity; keep every NaN one.
        stored = np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype("<u2")
        return Tensor(name, stored)
    if name == "uint4" and values.size and (values.min() < 0 or values.max() > _LARGEST_UINT4):
        raise WireError(f"a uint4 is a number from 0 to {_LARGEST_UINT4}; found {values.min()} to {values.max()}")
    return Tensor(name, np.ascontiguousarray(values, dtype=_STORED_AS[name]))


def _size_bytes(dtype: str, numbers: int) -> int:
    return -(-numbers // 2) if dtype == "uint4" else numbers * np.dtype(_STORED_AS[dtype]).itemsize


Section = Mapping[str, Tensor]


@dataclass(frozen=True)
class Content:
    """What a body says: small fields, and tensors filed under the kind of content that they are."""

    fields: Fields = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that the body carries; `control` if it has no tensors."""
        return frozenset(self.sections) or frozenset({"control"})


def pack(content: Content) -> bytes:
    """The body for `content`. Raises `WireError` if it breaks the limits."""
    sections = {
        kind: {name: _pack_tensor(tensor) for name, tensor in section.items()}
        for kind, section in content.sections.items()
    }
    packer = msgpack.Packer(use_bin_type=True, autoreset=False)
    packer.pack({"fields": content.fields, "sections": sections})
    inner = packer.getbuffer()
    head = msgpack.packb({"schema": SCHEMA, "checksum": hashlib.sha256(inner).digest()})
    body = b"".join((head, inner))
    if len(body) > MAX_BODY_BYTES:
        raise WireError(f"the body has {len(body)} bytes, at most {MAX_BODY_BYTES} are carried")
    return body


def unpack(body: bytes, limit_bytes: int = MAX_BODY_BYTES, *, intact: bool = False) -> Content:
    """The content of a body. Of one that is known to be `intact`, by another digest, the checksum is not computed.

    Raises `WireError`, with the reason, for a body that is too large, truncated, altered, too deep, of another
    schema, or in any way not as the module describes. What it takes up in memory is a small multiple of the body's
    length, whatever that holds: small things are measured before they are made.
    """
    global _latest  # noqa: PLW0603 (a boundary and then a service look at the same body, one right after the other)
    if len(body) > limit_bytes:
        raise WireError(f"the body has {len(body)} bytes, at most {limit_bytes} are accepted")
    if _latest is not None and _latest[0] is body:
        return _latest[1]
    _latest = None  # before there is another in memory
    content = _unpacked(body, intact)
    # Nobody can have changed what is read-only; of small ones none need be remembered.
    if len(body) >= _WORTH_REMEMBERING_BYTES and memoryview(body).readonly:
        _latest = body, content
    return content


_WORTH_REMEMBERING_BYTES = 64 * 1024
_latest: tuple[bytes, Content] | None = None


def _unpacked(body: bytes, intact: bool) -> Content:
    reader = _Reader(body)
    head = reader.small("the head", _MAX_HEAD_BYTES)
    if not isinstance(head, dict) or "schema" not in head:
        raise WireError("the body does not begin with a map that names its schema")
    if head["schema"] != SCHEMA:
        raise WireError(f"the body has the schema {head['schema']!r}, expected {SCHEMA!r}")
    if set(head) != {"schema", "checksum"}:
        raise WireError(f"the head has the keys {sorted(map(str, head))}, expected checksum and schema")
    if not intact and hashlib.sha256(memoryview(body)[reader.position :]).digest() != head["checksum"]:
        raise WireError("the checksum does not match: the body was truncated or altered on its way")
    content = Content(*_unpack_content(reader))
    if reader.position != len(body):
        raise WireError(f"{len(body) - reader.position} bytes follow the content")
    return content


class _Reader:
    """Goes through a body from its beginning to its end, and makes nothing of it that was not measured before.

    An empty map is one byte in a body and 64 in memory, and a list is as long as its first bytes claim. Headers are
    read by hand, so that the numbers of a tensor can stay where they are: msgpack would copy all of the body first.
    """

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self.position = 0
        """How far it has come, in bytes."""

    def small(self, what: str, limit_bytes: int) -> Any:
        """The next object, of at most so many bytes, all of them in the body."""
        window = self._body[self.position : self.position + limit_bytes]
        size = max(len(window), 1)
        unpacker = msgpack.Unpacker(read_size=size, max_buffer_size=size, max_str_len=size, max_bin_len=size, **_BOUNDS)
        unpacker.feed(window)
        try:
            unpacker.skip()
            window = window[: unpacker.tell()]
            found = msgpack.unpackb(
                window, raw=False, strict_map_key=True, max_ext_len=0, object_pairs_hook=_without_twins
            )
        except msgpack.OutOfData as error:
            if self.position + limit_bytes < len(self._body):
                raise WireError(f"{what} takes more than {limit_bytes} bytes, the most that are accepted") from None
            raise _as_wire_error(what, error) from None
        except _UNPACKING_ERRORS as error:
            raise _as_wire_error(what, error) from None
        self.position += len(window)
        return found

    def keys(self, what: str, most: int) -> Iterator[str]:
        """The keys of the map that comes next, each once; whoever asks for the next one has read the value."""
        size = self._length(what, "a map", _MAP_HEADERS)
        if size > most:
            raise WireError(f"{what} has {size} entries, at most {most} are accepted")
        seen = set()
        for _ in range(size):
            key = self.text(f"a key of {what}", _MAX_NAME_LENGTH)
            if key in seen:
                raise WireError(f"{what} has {key!r} twice")
            seen.add(key)
            yield key

    def text(self, what: str, most: int) -> str:
        """The string that comes next, of at most so many characters."""
        size = self._length(what, "a string", _STR_HEADERS)
        if size > _LONGEST_CHARACTER_BYTES * most:
            raise WireError(f"{what} has {size} bytes, at most {most} characters are accepted")
        try:
            text = str(self._next(what, size), "utf-8")
        except UnicodeDecodeError as error:
            raise _as_wire_error(what, error) from None
        if len(text) > most:
            raise WireError(f"{what} has {len(text)} characters, at most {most} are accepted")
        return text

    def binary(self, what: str) -> memoryview:
        """The bytes that come next, where they are: nothing is copied."""
        return self._next(what, self._length(what, "bytes", _BIN_HEADERS))

    def _length(self, what: str, expected: str, headers: Mapping[int, int]) -> int:
        """The length in the header that comes next; `headers`: marker -> number of bytes after it that hold that."""
        if self.position >= len(self._body):
            raise WireError(f"{what} is missing: the body was truncated")
        marker = self._body[self.position]
        if marker not in headers:
            raise WireError(f"{what} must be {expected}")
        self.position += 1
        wide = headers[marker]
        return int.from_bytes(self._next(what, wide), "big") if wide > 0 else marker + wide

    def _next(self, what: str, size: int) -> memoryview:
        start, self.position = self.position, self.position + size
        if self.position > len(self._body):
            raise WireError(f"{what} is incomplete: the body was truncated")
        return self._body[start : self.position]


def _as_wire_error(what: str, error: Exception) -> WireError:
    if isinstance(error, msgpack.OutOfData):
        return WireError(f"{what} is incomplete: the body was truncated")
    return WireError(f"{what} is not valid msgpack within the limits: {str(error) or type(error).__name__}")


def _without_twins(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Whoever checks one of two values under one key, and whoever uses the other, would not notice."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"a map has {key!r} twice")
        found[key] = value
    return found


def _unpack_content(reader: _Reader) -> tuple[Fields, Mapping[str, Section]]:
    fields: Any = None
    sections: dict[str, Section] | None = None
    for key in reader.keys("the content", 2):
        if key == "fields":
            fields = reader.small("the map of fields", MAX_FIELD_BYTES)
            _check_fields(fields)
        elif key == "sections":
            sections, left = {}, MAX_TENSORS
            for kind in reader.keys("sections", MAX_SECTIONS):
                sections[kind] = _unpack_section(kind, reader, left)
                left -= len(sections[kind])
        else:
            break
    if fields is None or sections is None:
        raise WireError("the content is not a map of fields and sections")
    return fields, sections


def _check_fields(fields: Any) -> None:
    if not isinstance(fields, dict):
        raise WireError("fields must be a map")
    if _depth(fields) > MAX_DEPTH:
        raise WireError(f"the fields are nested more than {MAX_DEPTH} deep")


def _depth(value: Any) -> int:
    level, layer = 0, [value]
    while layer:
        level += 1
        if level > MAX_DEPTH:
            break
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return level


def _pack_tensor(tensor: Tensor) -> dict[str, Any]:
    data = np.ascontiguousarray(tensor.stored)
    if tensor.dtype == "uint4":
        flat4 = np.append(data.reshape(-1), np.zeros(data.size % 2, dtype=np.uint8))
        data = flat4[::2] | (flat4[1::2] << np.uint8(4))
    # msgpack takes any buffer: the numbers are copied once, into the body.
    flat = data.reshape(-1).view(np.uint8).data if data.size else b""
    return {"dtype": tensor.dtype, "shape": list(tensor.shape), "data": flat}


def _unpack_section(kind: str, reader: _Reader, most: int) -> dict[str, Tensor]:
    names = reader.keys(f"the section {kind}", most)
    return {name: _unpack_tensor(f"{kind}.{name}", reader) for name in names}


def _unpack_tensor(name: str, reader: _Reader) -> Tensor:
    parts: dict[str, Any] = {}
    for key in reader.keys(name, len(_TENSOR_PARTS)):
        if key not in _TENSOR_PARTS:
            break
        what = f"the {key} of {name}"
        if key == "dtype":
            parts[key] = reader.text(what, _MAX_NAME_LENGTH)
        else:
            parts[key] = reader.binary(what) if key == "data" else reader.small(what, _MAX_SHAPE_BYTES)
    if set(parts) != _TENSOR_PARTS:
        raise WireError(f"{name} is not a tensor: expected a map of dtype, shape and data")
    dtype, shape, data = parts["dtype"], parts["shape"], parts["data"]
    if dtype not in _STORED_AS:
        raise WireError(f"{name} has the type {dtype!r}; known are {', '.join(_STORED_AS)}")
    _check_shape(name, shape)
    numbers = math.prod(shape)
    expected = _size_bytes(dtype, numbers)
    if len(data) != expected:
        raise WireError(f"{name} of shape {shape} and type {dtype} needs {expected} bytes, found {len(data)}")
    stored = _aligned(np.frombuffer(data, _STORED_AS[dtype]))
    if dtype == "uint4":
        stored = np.stack([stored & np.uint8(_LARGEST_UINT4), stored >> np.uint8(4)], axis=1).reshape(-1)
        if stored[numbers:].any():
            raise WireError(f"{name} holds {numbers} numbers of 4 bits, but the half byte after them is not 0")
        stored = stored[:numbers]
    return Tensor(dtype, stored.reshape(shape))


def _aligned(numbers: NDArray[Any]) -> NDArray[Any]:
    """Numbers where a machine likes them: elsewhere numpy takes other ways through them, with other roundings."""
    if numbers.flags.aligned:
        return numbers
    moved = numbers.copy()
    moved.flags.writeable = False
    return moved


def _check_shape(name: str, shape: Any) -> None:
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(
            isinstance(extent, int) and not isinstance(extent, bool) and 0 <= extent < _MAX_EXTENT for extent in shape
        )
    ):
        raise WireError(f"{name} has no valid shape: {shape!r}")
    # A tensor without numbers needs no data, whatever its other extents claim.
    if math.prod(extent for extent in shape if extent) > MAX_BODY_BYTES * 2:
        raise WireError(f"{name} has the shape {shape}: its extents multiply to more than a body can hold")
