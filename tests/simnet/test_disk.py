"""Both kinds of disk do the same."""

from __future__ import annotations

import errno

import pytest

from simnet import Host, SocketNetwork
from simnet.disk import FolderDisk, MemoryDisk
from simnet.errors import DiskInUseError


@pytest.fixture(params=["memory", "folder"])
def disk(request, tmp_path):
    return MemoryDisk() if request.param == "memory" else FolderDisk(tmp_path / "client-0")


def test_what_is_written_can_be_read(disk):
    assert disk.keys() == []
    disk.write("upload/b", b"one")
    disk.write("upload/a", bytearray(b"two"))
    disk.write("other ä.part", b"")
    disk.write("upload/b", b"three")
    assert disk.keys() == ["other ä.part", "upload/a", "upload/b"]
    assert disk.keys("upload/") == ["upload/a", "upload/b"]
    assert (disk.read("upload/a"), disk.read("upload/b"), disk.read("other ä.part")) == (b"two", b"three", b"")


def test_what_is_deleted_is_gone(disk):
    disk.write("a", b"1")
    disk.delete("a")
    disk.delete("a")
    assert disk.keys() == []
    with pytest.raises(KeyError, match="a"):
        disk.read("a")


@pytest.mark.parametrize("key", ["..", ".", "../../etc/passwd", "a/b\0c"[:3], "%2E"])
def test_keys_are_names_not_paths(disk, key, tmp_path):
    disk.write(key, b"x")
    assert disk.keys() == [key]
    assert {path.parent.name for path in tmp_path.rglob("*") if path.is_file()} <= {"client-0"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    disk = FolderDisk(tmp_path)
    disk.write("a", b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        disk.write("a", b"new")
    assert disk.keys() == ["a"]
    assert disk.read("a") == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_host_that_starts_anew_deletes_what_a_kill_cut_off(tmp_path, make_network):
    """It may be half of an upload, which nobody would ever look for."""
    FolderDisk(tmp_path / "server").write("a.part", b"kept")
    (tmp_path / "server" / "tmp1234.part").write_bytes(b"half")
    network = SocketNetwork(make_network().topology, disk_folder=tmp_path)
    assert network.disk_of("server").read("a.part") == b"kept"
    assert len(list((tmp_path / "server").iterdir())) == 1


def test_a_folder_can_be_held_by_one_at_a_time(tmp_path):
    disk, other = FolderDisk(tmp_path / "a" / "client-0"), FolderDisk(tmp_path / "a" / "client-0")
    with disk.held():
        modes = [folder.stat().st_mode & 0o777 for folder in (tmp_path / "a", tmp_path / "a" / "client-0")]
        assert modes == [0o700, 0o700]  # names of files tell, too
        with pytest.raises(DiskInUseError, match=r"in use by another program: .*client-0"), other.held():
            pass
        with FolderDisk(tmp_path / "client-1").held():
            disk.write("lock", b"a key as any")
            assert disk.keys() == other.keys() == ["lock"]
        with pytest.raises(DiskInUseError), other.held():
            pass
    with other.held():
        assert other.read("lock") == b"a key as any"
    other.delete("lock")
    assert other.keys() == []


def test_a_disk_without_power():
    disk = MemoryDisk()
    disk.off = True
    for access in (lambda: disk.read("a"), lambda: disk.write("a", b""), lambda: disk.delete("a"), disk.keys):
        with pytest.raises(OSError, match="switched off"):
            access()


def test_hosts_on_sockets_keep_folders_if_there_is_one(make_network, tmp_path):
    topology = make_network().topology

    async def write(host: Host):
        host.disk.write("a", host.name.encode())

    def run(**options):
        network = SocketNetwork(topology, **options)

        async def main():
            for name in ("client-0", "server"):
                host = network.host(name)
                await host.boot(lambda host=host: write(host))
                assert host.disk.keys() == ["a"]

        network.run(main)

    run()
    run(disk_folder=tmp_path)
    assert FolderDisk(tmp_path / "server").read("a") == b"server"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["client-0", "server"]
