"""The pickles of CIFAR-10's python form, read without running anything that is in them.

A pickle is a program: it may call whatever it names. Here it may name four things, and gets a harmless stand-in for
each: what numpy's arrays are made of keeps its arguments, and the array is built from them afterwards, by this
module. Any other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDE_PIXELS = 3 * 32 * 32
_FORBIDDEN = "names {}.{}, which a batch of CIFAR-10 has no use for"


class PickleError(ValueError):
    """A pickle is not a batch of CIFAR-10."""


class _Stateless:
    """What has no state to set; without this, a pickle could set attributes of the stand-ins themselves."""

    def __setstate__(self, state: Any) -> None:
        raise PickleError("sets the state of something that has none")


class _ArrayClass(_Stateless):
    """In place of `numpy.ndarray`, which is only named."""


class _DType:
    """In place of `numpy.dtype`: what it was made from."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("ascii", "replace") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like; bytes have none."""


class _Array:
    """In place of an array under construction: what it will be made from."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def values(self) -> NDArray[np.uint8]:
        """The array. Raises `PickleError` if this is none of bytes."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise PickleError("holds an array without content")
        _, shape, dtype, fortran, raw = self.state
        if isinstance(raw, _EncodedBytes):
            raw = raw.content
        if not isinstance(dtype, _DType) or dtype.code not in ("u1", "|u1", "B"):
            raise PickleError("holds an array of something else than bytes")
        plain = isinstance(shape, tuple) and all(type(extent) is int and extent >= 0 for extent in shape)
        if not plain or not isinstance(raw, bytes) or len(raw) != math.prod(shape):
            raise PickleError("holds an array whose shape and content differ")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C").copy()


class _EncodedBytes(_Stateless):
    """In place of what `_codecs.encode` returns, by which Python 3 writes bytes into an old pickle."""

    def __init__(self, text: Any, encoding: Any) -> None:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise PickleError("encodes something else than bytes")
        self.content = text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _EncodedBytes,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; nothing is imported."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise PickleError(_FORBIDDEN.format(module, name)) from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what lies outside the file."""
        raise PickleError("refers to something outside itself")


def read_batch(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images, uint8 [n, 3072], and labels, int64 [n], of one batch. Raises `PickleError` for anything else."""
    try:
        batch = _Reader(io.BytesIO(content), encoding="bytes").load()
    except PickleError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise PickleError(f"is no readable pickle: {error or type(error).__name__}") from error
    if not isinstance(batch, dict):
        raise PickleError("holds no dictionary")
    entries = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = entries.get("data"), entries.get("labels")
    if not isinstance(data, _Array) or not isinstance(labels, list):
        raise PickleError('lacks an array "data" or a list "labels"')
    images = data.values()
    if images.ndim != 2 or images.shape != (len(labels), _SIDE_PIXELS):
        raise PickleError(f"holds {len(labels)} labels and data of the shape {images.shape}")
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise PickleError("has a label that is not 0 to 9")
    return images, np.array(labels, dtype=np.int64)
