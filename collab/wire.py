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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgpack
import numpy as np
from numpy.typing import NDArray

from collab.errors import WireError

SCHEMA = "collab/1"
MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 6
MAX_ITEMS = 100_000  # entries of one list or map
MAX_FIELD_BYTES = 64 * 1024  # all scalars together
MAX_RANK = 8
_MAX_EXTENT = 2**31
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


def unpack(body: bytes, limit_bytes: int = MAX_BODY_BYTES) -> Content:
    """The content of a body.

    Raises `WireError`, with the reason, for a body that is too large, truncated, altered, too deep, of another
    schema, or in any way not as the module describes.
    """
    if len(body) > limit_bytes:
        raise WireError(f"the body has {len(body)} bytes, at most {limit_bytes} are accepted")
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=True,
        max_buffer_size=max(limit_bytes, 1),
        max_str_len=MAX_FIELD_BYTES,
        max_bin_len=limit_bytes,
        max_array_len=MAX_ITEMS,
        max_map_len=MAX_ITEMS,
        max_ext_len=0,
    )
    unpacker.feed(body)
    head = _next_object(unpacker, "the head")
    if not isinstance(head, dict) or "schema" not in head:
        raise WireError("the body does not begin with a map that names its schema")
    if head["schema"] != SCHEMA:
        raise WireError(f"the body has the schema {head['schema']!r}, expected {SCHEMA!r}")
    if set(head) != {"schema", "checksum"}:
        raise WireError(f"the head has the keys {sorted(map(str, head))}, expected checksum and schema")
    start = unpacker.tell()
    if hashlib.sha256(memoryview(body)[start:]).digest() != head["checksum"]:
        raise WireError("the checksum does not match: the body was truncated or altered on its way")
    inner = _next_object(unpacker, "the content")
    if unpacker.tell() != len(body):
        raise WireError(f"{len(body) - unpacker.tell()} bytes follow the content")
    if not isinstance(inner, dict) or set(inner) != {"fields", "sections"}:
        raise WireError("the content is not a map of fields and sections")
    fields, sections = inner["fields"], inner["sections"]
    if not isinstance(fields, dict) or not isinstance(sections, dict):
        raise WireError("fields and sections must be maps")
    _check_fields(fields)
    return Content(fields, {kind: _unpack_section(kind, section) for kind, section in sections.items()})


def _next_object(unpacker: msgpack.Unpacker, what: str) -> Any:
    try:
        return unpacker.unpack()
    except msgpack.OutOfData:
        raise WireError(f"{what} is incomplete: the body was truncated") from None
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(
            f"{what} is not valid msgpack within the limits: {str(error) or type(error).__name__}"
        ) from None


def _check_fields(fields: Mapping[str, Any]) -> None:
    if _depth(fields) > MAX_DEPTH:
        raise WireError(f"the fields are nested more than {MAX_DEPTH} deep")
    size = len(msgpack.packb(fields))
    if size > MAX_FIELD_BYTES:
        raise WireError(f"the fields take {size} bytes, at most {MAX_FIELD_BYTES} are accepted")


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


def _unpack_section(kind: Any, section: Any) -> dict[str, Tensor]:
    if not isinstance(kind, str) or not isinstance(section, dict):
        raise WireError("each section must be a map under the name of its kind")
    return {str(name): _unpack_tensor(f"{kind}.{name}", packed) for name, packed in section.items()}


def _unpack_tensor(name: str, packed: Any) -> Tensor:
    if not isinstance(packed, dict) or set(packed) != {"dtype", "shape", "data"}:
        raise WireError(f"{name} is not a tensor: expected a map of dtype, shape and data")
    dtype, shape, data = packed["dtype"], packed["shape"], packed["data"]
    if not isinstance(dtype, str) or dtype not in _STORED_AS:
        raise WireError(f"{name} has the type {dtype!r}; known are {', '.join(_STORED_AS)}")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(
            isinstance(extent, int) and not isinstance(extent, bool) and 0 <= extent < _MAX_EXTENT for extent in shape
        )
    ):
        raise WireError(f"{name} has no valid shape: {shape!r}")
    numbers = math.prod(shape)
    expected = _size_bytes(dtype, numbers)
    if not isinstance(data, bytes) or len(data) != expected:
        found = len(data) if isinstance(data, bytes) else type(data).__name__
        raise WireError(f"{name} of shape {shape} and type {dtype} needs {expected} bytes, found {found}")
    stored = np.frombuffer(data, _STORED_AS[dtype])
    if dtype == "uint4":
        stored = np.stack([stored & np.uint8(_LARGEST_UINT4), stored >> np.uint8(4)], axis=1).reshape(-1)
        if stored[numbers:].any():
            raise WireError(f"{name} holds {numbers} numbers of 4 bits, but the half byte after them is not 0")
        stored = stored[:numbers]
    return Tensor(dtype, stored.reshape(shape))
