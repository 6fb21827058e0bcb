"""What parses bytes from outside, each as a function of some bytes that may raise nothing but the declared errors.

An input of the targets `wire`, `upload` and `task` is one byte that says what it is, and the rest: a body as it is (0),
or what follows the head of a body (anything else), to which a head with the right checksum is put; without that, no
search would get past it. The second byte of `upload` says what kind of upload was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgpack

SEEDS = Path(__file__).parent / "seeds"
TASK, SITE = "collabdm-1-0123456789abcdef", "client-0"
Feed = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """`prepare` imports and sets up what is fed. `framed` says how many bytes of an input come before msgpack, 0 if
    none of it is; `share` is the target's part of all bodies.
    """

    prepare: Callable[[], AbstractContextManager[Feed]]
    share: float
    framed: int = 0

    def seeds(self, name: str) -> Iterable[bytes]:
        """The inputs that are kept for it."""
        return (path.read_bytes() for path in sorted((SEEDS / name).iterdir()))


def framed(data: bytes) -> bytes:
    """A body: what comes after the first byte as it is, or after a head with the right checksum."""
    rest = data[1:]
    if data[:1] == b"\0":
        return rest
    return bytes(msgpack.packb({"schema": "collab/1", "checksum": hashlib.sha256(rest).digest()})) + rest


def _wire() -> AbstractContextManager[Feed]:
    from collab import wire
    from collab.errors import WireError
    from collab.privacy.inspection import ContentInspector
    from simnet import Message
    from simnet.errors import InspectionError

    inspector = ContentInspector()

    def feed(data: bytes) -> None:
        body = framed(data)
        try:
            content = wire.unpack(body)
        except WireError:
            return
        again = wire.unpack(wire.pack(content))
        assert again.fields == content.fields or "nan" in repr(content.fields)
        assert again.sections.keys() == content.sections.keys()
        try:
            assert inspector.inspect(SITE, Message(body), "arriving") == content.kinds
        except InspectionError:
            return

    return nullcontext(feed)


def _upload() -> AbstractContextManager[Feed]:
    from collab.agents.messages import read_upload
    from collab.data import ImageSpec
    from collab.errors import RefusedUploadError, WireError
    from collab.expectations import Expected, check_sections, expected_numbers
    from collab.methods import expected_model, expected_synthetic
    from collab.nets import NetworkSpec

    images = ImageSpec(3, 1, 4, (0.5,), (0.5,), ())
    head = {
        "classes": Expected("uint8", ("classes",), 0, 2, unique=True),
        "counts": Expected("int64", ("classes",), 1, 1000),
    }
    dtypes = (("float16", "float32"), ("bfloat16", "uint8"), ("int8", "float16"), ("int4", "uint8"))
    asked: list[Mapping[str, Mapping[str, Expected]]] = [
        {"embeddings": {**head, **expected_numbers("means", dtype, (2, "classes", 3))},
         "synthetic": expected_synthetic(images, 2, image_dtype)}
        for dtype, image_dtype in dtypes
    ]  # fmt: skip
    asked.append({"model": expected_model(NetworkSpec(2, 1, 1, 4, 3))})

    def feed(data: bytes) -> None:
        which = data[1] if len(data) > 1 else 0
        try:
            upload = read_upload(framed(data[:1] + data[2:]), TASK, SITE)
            check_sections(upload.sections, asked[which % len(asked)])
        except (WireError, RefusedUploadError):
            return

    return nullcontext(feed)


def _task() -> AbstractContextManager[Feed]:
    from collab import wire
    from collab.agents.messages import read_task, state_of
    from collab.errors import WireError
    from simnet import Message, Reply

    def feed(data: bytes) -> None:
        body = framed(data)
        try:
            state_of(Reply(200, Message(body)))
            read_task(wire.unpack(body))
        except WireError:
            return

    return nullcontext(feed)


def _scenario() -> AbstractContextManager[Feed]:
    from collab import scenario
    from collab.errors import CollabError

    def feed(data: bytes) -> None:
        try:
            scenario.parse(data.decode("utf-8", "replace"), "http://server/v1/experiment")
        except CollabError:
            return

    return nullcontext(feed)


def _requests() -> AbstractContextManager[Feed]:
    from tests.fuzzing.requests import feeding

    return feeding()


TARGETS: Mapping[str, Target] = {
    "wire": Target(_wire, 0.4, framed=1),
    "upload": Target(_upload, 0.3, framed=2),
    "task": Target(_task, 0.1, framed=1),
    "requests": Target(_requests, 0.15),
    "scenario": Target(_scenario, 0.05),
}
