"""Uploads that have begun, on a host's disk: what a crash leaves of them."""

from __future__ import annotations

import asyncio

import pytest

from simnet.disk import FolderDisk, MemoryDisk
from simnet.disk_bodies import DiskBodies
from simnet.spool import SpoolError
from simnet.uploads import Outcome, Upload

KEPT_S = 60.0


@pytest.fixture(params=["memory", "folder"])
def disk(request, tmp_path):
    return MemoryDisk() if request.param == "memory" else FolderDisk(tmp_path / "disk")


def bodies_on(disk, now_s=0.0):
    return DiskBodies(disk, "incoming/a", lambda: now_s)


def begun(disk, *pieces, identity="f00"):
    """An upload with pieces of its body on the disk."""
    bodies = bodies_on(disk)
    body = bodies.new_body(identity, 100)
    for piece in pieces:
        body.write(piece)
    upload = Upload(identity, "client-0", "/a", frozenset({"model"}), "text/plain", 100, "", KEPT_S, body)
    asyncio.run(bodies.keep(upload))
    return upload


def left(disk, now_s=0.0):
    return {upload.identity: upload for upload in bodies_on(disk, now_s).left(KEPT_S)}


def whole(upload):
    return asyncio.run(upload.body.message(frozenset({"model"}), "text/plain")).body


def test_what_was_written_is_there_after_a_crash(disk):
    before = begun(disk, b"first ", b"second ")
    [found] = left(disk, now_s=1000.0).values()
    assert (found.sender, found.path, found.length_bytes) == (before.sender, before.path, 100)
    assert (found.offset, found.expires_unix_s) == (13, 1000.0 + KEPT_S)
    found.body.write(b"third")
    assert whole(found) == b"first second third"


@pytest.mark.parametrize(("ends", "expected"), [(True, b"one two"), (False, b"one ")])
def test_a_part_that_counts_as_a_whole_does_not_count_half_after_a_crash(disk, ends, expected):
    upload = begun(disk, b"one ")
    upload.body.mark(whole=True)
    upload.body.write(b"t")
    upload.body.write(b"wo")
    if ends:
        upload.body.close()
    [found] = left(disk).values()
    assert (found.offset, whole(found)) == (len(expected), expected)


def test_what_is_taken_back_is_not_there(disk):
    upload = begun(disk, b"one ")
    undo = upload.body.mark()
    upload.body.write(b"two")
    undo()
    assert upload.body.size_bytes == 4
    upload.body.write(b"2")
    assert whole(left(disk)["f00"]) == b"one 2"


def test_a_body_is_in_one_piece_once_it_is_a_message(disk):
    """Else it would be twice in memory; and it is the same after a crash."""
    upload = begun(disk, b"one ", b"two ", b"three")
    body = whole(upload)
    [key] = [key for key in disk.keys("") if "/body/" in key]
    assert bytes(disk.read(key)) == body == b"one two three"
    if isinstance(disk, MemoryDisk):
        assert disk.read(key) is body
    assert whole(left(disk)["f00"]) == body


def test_pieces_that_a_crash_has_left_beside_the_whole_are_deleted(disk):
    upload = begun(disk, b"one ", b"two")
    keys = sorted(key for key in disk.keys("") if "/body/" in key)
    disk.write(keys[0], b"one two")  # and then came the crash
    [found] = left(disk).values()
    assert (found.offset, whole(found)) == (7, b"one two")
    upload.body.drop()
    assert [key for key in disk.keys("") if "/body/" in key] == []


def test_what_the_disk_has_lost_is_an_error_of_the_disk(disk):
    upload = begun(disk, b"one ", b"two")
    disk.delete(max(key for key in disk.keys("") if "/body/" in key))
    with pytest.raises(OSError, match="the disk has lost"):
        whole(upload)


def test_how_it_ended_is_kept_without_the_body(disk):
    upload = begun(disk, b"one")
    upload.outcome = Outcome(409, "already-accepted", "it is in")
    asyncio.run(bodies_on(disk).keep(upload))
    upload.body.drop()
    [found] = left(disk).values()
    assert (found.outcome, found.offset) == (upload.outcome, 100)


@pytest.mark.parametrize("record", [b"{", b"[]", b"{}", b'{"sender": "client-0"}'])
def test_what_is_of_no_use_is_deleted(disk, record):
    begun(disk, b"kept", identity="f00")
    disk.write("incoming/a/record/f01", record)
    disk.write("incoming/a/body/f01/000000000000000", b"of an unreadable record")
    disk.write("incoming/a/body/f02/000000000000000", b"of none")
    assert list(left(disk)) == ["f00"]
    assert all("f00" in key for key in disk.keys(""))


def test_a_disk_that_is_off_ends_a_part_in_silence():
    disk = MemoryDisk()
    upload = begun(disk, b"one ")
    undo = upload.body.mark(whole=True)
    upload.body.write(b"two")
    disk.off = True
    undo()
    upload.body.close()
    with pytest.raises(SpoolError):
        upload.body.write(b"three")
    disk.off = False
    assert whole(left(disk)["f00"]) == b"one "
