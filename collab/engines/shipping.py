"""Functions and their arguments as bytes, with every large array left out and named by a reference.

A reference is what the engine's store made of the array: the name of a file, an object of Ray's. The array is stored
when it is first met and found again by its identity, so K tasks over one data set carry it once. The store forgets an
array when the last that holds it does.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LARGE_BYTES = 64 * 1024
"""What is smaller goes with the task: a reference costs a file, or a look-up."""

Bytes = NDArray[np.uint8]


class Store:
    """References to arrays by the identity of what holds them.

    `keep` makes a reference of the bytes of an array; `discard` lets go of it, from whatever thread drops the array.
    """

    def __init__(self, keep: Callable[[Bytes], Any], discard: Callable[[Any], None]) -> None:
        self._keep = keep
        self._discard = discard
        self._known: dict[int, Any] = {}
        self._lock = threading.Lock()

    def reference(self, holder: NDArray[Any] | Tensor, data: Bytes) -> Any:
        """The reference to the data of `holder`, an array or a tensor."""
        identity = id(holder)
        with self._lock:
            if identity not in self._known:
                self._known[identity] = self._keep(data)
                weakref.finalize(holder, self._forget, identity).atexit = False
            return self._known[identity]

    def clear(self) -> None:
        """Let go of all."""
        for identity in list(self._known):
            self._forget(identity)

    def _forget(self, identity: int) -> None:  # without the lock: the collector may call it while it is held
        reference = self._known.pop(identity, None)
        if reference is not None:
            self._discard(reference)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A pickled value without its large arrays, and the references to these, in the order of their numbers in it."""

    body: bytes
    references: tuple[Any, ...]


def packed(value: object, store: Store) -> Parcel:
    """`value` as a parcel. Raises what pickle raises for what cannot be pickled."""
    buffer = io.BytesIO()
    packer = _Packer(buffer, store)
    packer.dump(value)
    return Parcel(buffer.getvalue(), tuple(packer.references))


def unpacked(body: bytes, arrays: Sequence[Bytes]) -> Any:
    """What was packed; `arrays` are the bytes behind its references. They never change with it."""
    return _Unpacker(io.BytesIO(body), arrays).load()


class _Packer(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, store: Store) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self._store = store
        self.references: list[Any] = []

    def persistent_id(self, value: Any) -> tuple[str, int, str, tuple[int, ...]] | None:
        if type(value) is np.ndarray:
            if value.nbytes < LARGE_BYTES or value.dtype.hasobject or not value.flags.c_contiguous:
                return None
            number = self._number(value, value.reshape(-1).view(np.uint8))
            return "array", number, value.dtype.str, value.shape
        torch: Any = sys.modules.get("torch")  # where it was never imported there are no tensors
        if torch is None or type(value) is not torch.Tensor or value.layout is not torch.strided:
            return None
        plain = value.device.type == "cpu" and value.is_contiguous() and not value.requires_grad
        if not plain or value.nbytes < LARGE_BYTES:
            return None
        number = self._number(value, value.reshape(-1).view(torch.uint8).numpy())
        return "tensor", number, str(value.dtype).removeprefix("torch."), tuple(value.shape)

    def _number(self, holder: NDArray[Any] | Tensor, data: Bytes) -> int:
        reference = self._store.reference(holder, data)
        if reference not in self.references:
            self.references.append(reference)
        return self.references.index(reference)


class _Unpacker(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, arrays: Sequence[Bytes]) -> None:
        super().__init__(buffer)
        self._arrays = arrays

    def persistent_load(self, name: tuple[str, int, str, tuple[int, ...]]) -> Any:
        form, number, dtype, shape = name
        data = self._arrays[number]
        if form == "array":
            return data.view(np.dtype(dtype)).reshape(shape)
        import torch

        if not data.flags.writeable:  # a tensor cannot say that it must not be written
            data = data.copy()
        return torch.from_numpy(data).view(getattr(torch, dtype)).reshape(shape)
