"""What each kind of content consists of, and the inspection of bodies at a boundary.

A body passes as a kind only if its tensors are those of the kind: a section called `embeddings` that holds a
stack of images is no embeddings. There is no kind for raw data. On the way out of a site the guard also looks
for copies of its private samples.

What inspection cannot see: data that a malicious program at the site has encoded on purpose. It bounds
mistakes, not malice; the size limit of the boundary rule bounds malice.
"""

from __future__ import annotations

from collections.abc import Mapping

from collab import wire
from collab.errors import PrivateDataError, WireError
from collab.privacy.guard import RawDataGuard
from collab.privacy.secure_sums import PUBLIC_BYTES, SEALED_BYTES
from collab.privacy.shamir import SHARE_BYTES
from simnet.errors import InspectionError
from simnet.tenancy import CONTROL, Message, Point

_FLOATS = frozenset(wire.FLOAT_DTYPES)
_CODES = frozenset({"uint8", "uint4"})

# kind -> name of tensor -> (types it may have, number of axes)
KINDS: Mapping[str, Mapping[str, tuple[frozenset[str], int]]] = {
    "seeds": {"iterations": (frozenset({"uint32"}), 1), "networks": (frozenset({"uint64"}), 1)},
    "embeddings": {
        "classes": (frozenset({"uint8"}), 1),
        "counts": (frozenset({"int64"}), 1),
        "means": (_FLOATS | _CODES, 3),
    },
    "synthetic": {"images": (frozenset({"float32", "float16", "uint8"}), 4), "labels": (frozenset({"uint8"}), 1)},
    "gradients": {
        "classes": (frozenset({"uint8"}), 1),
        "counts": (frozenset({"int64"}), 1),
        "sums": (_FLOATS, 2),
    },
    # Secure sums, see `collab.privacy.sum_rounds`.
    "keys": {"encryption": (frozenset({"uint8"}), 2), "masking": (frozenset({"uint8"}), 2)},
    "shares": {"sealed": (frozenset({"uint8"}), 2)},
    "masked": {"sums": (frozenset({"uint64"}), 3), "weights": (frozenset({"uint64"}), 1)},
    "unmasking": {"shares": (frozenset({"uint8"}), 2)},
    # The weights of a network; beside its head it has layers, see `_check_layer`.
    "model": {"head.weight": (_FLOATS, 2), "head.bias": (_FLOATS, 1)},
}
_OPTIONAL: Mapping[str, Mapping[str, tuple[frozenset[str], int]]] = {
    "synthetic": {"soft_labels": (_FLOATS, 2), "step_sizes": (_FLOATS, 1)},
    "keys": {"reached": (frozenset({"uint8"}), 1)},
}
"""What a kind may hold beside what it consists of."""

_WIDTHS: Mapping[tuple[str, str], int] = {
    ("keys", "encryption"): PUBLIC_BYTES,
    ("keys", "masking"): PUBLIC_BYTES,
    ("shares", "sealed"): SEALED_BYTES,
    ("unmasking", "shares"): SHARE_BYTES,
}
"""The extent that the last axis of a tensor must have: bytes of any other width could be images."""

_NOTES: Mapping[str, str] = {"samples": "int64", "round": "uint32"}
"""What may be said beside the weights of a model, each a single number."""
_LARGEST_KERNEL = 11

# Embeddings as sums over samples, of every class: what differential privacy puts noise on.
_SUMS: Mapping[str, tuple[frozenset[str], int]] = {
    "counts": (frozenset({"int64"}), 1),
    "sums": (_FLOATS | _CODES, 3),
}
_MASTER = (frozenset({"uint64"}), 1)
# kind -> the tensor that may be quantised, and the axes of its ranges, without which bytes could be raw data
_RANGES: Mapping[str, tuple[str, int]] = {"embeddings": ("means", 2), "synthetic": ("images", 1)}


class ContentInspector:
    """Tells simnet what a body carries. `guards` holds the guard of each site whose data this process sees."""

    def __init__(self, guards: Mapping[str, RawDataGuard] | None = None) -> None:
        self._guards = guards or {}

    def inspect(self, host: str, message: Message, point: Point) -> frozenset[str]:
        """The kinds found in the body. Raises `InspectionError` if it is unreadable, mislabelled or a leak."""
        try:
            content = wire.unpack(message.body, intact=message.intact)
            for kind, section in content.sections.items():
                _check_kind(kind, section)
            guard = self._guards.get(host)
            if guard is not None and point == "leaving":
                guard.check(content)
        except (WireError, PrivateDataError) as error:
            raise InspectionError(str(error)) from error
        return content.kinds


def _check_kind(kind: str, section: wire.Section) -> None:
    if kind == CONTROL or kind not in KINDS:
        raise WireError(f"{kind} is no kind of content that may travel; known are {', '.join(sorted(KINDS))}")
    wanted = _wanted(kind, section)
    if kind == "model":
        for name in set(section) - set(wanted):
            _check_layer(name, section[name])
        section = {name: tensor for name, tensor in section.items() if name in wanted}
    wanted = {**wanted, **{name: shape for name, shape in _OPTIONAL.get(kind, {}).items() if name in section}}
    if set(section) != set(wanted):
        raise WireError(
            f"what is called {kind} holds {', '.join(sorted(section)) or 'nothing'}; "
            f"{kind} consists of {', '.join(sorted(wanted))}"
        )
    for name, tensor in section.items():
        dtypes, axes = wanted[name]
        if tensor.dtype not in dtypes or len(tensor.shape) != axes:
            raise WireError(
                f"{kind}.{name} is {tensor.dtype} with {len(tensor.shape)} axes; "
                f"expected {' or '.join(sorted(dtypes))} with {axes}"
            )
        width = _WIDTHS.get((kind, name), tensor.shape[-1])
        if tensor.shape[-1] != width:
            raise WireError(f"{kind}.{name} has rows of {tensor.shape[-1]} B, expected {width}")


def _check_layer(name: str, tensor: wire.Tensor) -> None:
    """A tensor of a model that does not belong to its head: a kernel, a vector, or a single number beside the weights.

    A stack of images is no kernel: its windows are too large.
    """
    if name in _NOTES:
        if tensor.dtype != _NOTES[name] or tensor.shape != (1,):
            found = f"{tensor.dtype} of shape {list(tensor.shape)}"
            raise WireError(f"model.{name} is {found}; expected {_NOTES[name]} of one number")
        return
    shape = tensor.shape
    is_kernel = len(shape) == 4 and shape[2] == shape[3] <= _LARGEST_KERNEL
    if tensor.dtype not in _FLOATS or not (is_kernel or len(shape) == 1):
        raise WireError(
            f"model.{name} is {tensor.dtype} of shape {list(shape)}; layers of a model are vectors of "
            f"{' or '.join(sorted(_FLOATS))}, or kernels of at most {_LARGEST_KERNEL} x {_LARGEST_KERNEL}"
        )


def _wanted(kind: str, section: wire.Section) -> Mapping[str, tuple[frozenset[str], int]]:
    """What a section of this kind consists of; ranges, too, where its numbers are quantised, and a master in place of
    seeds where it has one, sums in place of means.
    """
    if kind == "seeds" and "master" in section:
        return {**{name: KINDS[kind][name] for name in section if name == "iterations"}, "master": _MASTER}
    consists = _SUMS if kind == "embeddings" and "sums" in section else KINDS[kind]
    name, axes = _RANGES.get(kind, ("", 0))
    name = "sums" if consists is _SUMS else name
    if name not in section or section[name].dtype not in _CODES:
        return consists
    ranges = (frozenset({"float32"}), axes)
    return {**consists, "lows": ranges, "steps": ranges}
