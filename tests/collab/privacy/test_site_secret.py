"""Secrets of sites: drawn once and kept, or a function of the seed."""

from __future__ import annotations

import pytest

from collab.compute import CPU
from collab.methods import Site
from collab.privacy.site_secret import SECRET_BYTES, forget_secret, kept_secret, laboratory_secret, secret_for
from simnet.disk import FolderDisk, MemoryDisk


def test_a_secret_is_drawn_once_and_survives_a_reboot(tmp_path):
    first = kept_secret(FolderDisk(tmp_path / "client-0"))
    assert len(first) == SECRET_BYTES == 32
    assert kept_secret(FolderDisk(tmp_path / "client-0")) == first
    assert kept_secret(FolderDisk(tmp_path / "client-1")) != first
    forget_secret(FolderDisk(tmp_path / "client-0"))
    assert kept_secret(FolderDisk(tmp_path / "client-0")) != first


def test_a_damaged_secret_is_drawn_anew():
    disk = MemoryDisk()
    disk.write("secret", b"half")
    assert len(kept_secret(disk)) == 32
    assert kept_secret(disk) == kept_secret(disk)


def test_in_the_laboratory_it_follows_from_the_seed_and_the_name():
    assert laboratory_secret(1, "client-0") == laboratory_secret(1, "client-0")
    assert len({laboratory_secret(seed, f"client-{k}") for seed in (1, 2) for k in (0, 1)} | {bytes(32)}) == 5


def test_a_site_does_not_show_its_secret():
    assert "secret" not in repr(Site("client-0", None, CPU, secret=b"x" * 32))


def test_what_follows_from_it_differs_by_purpose_and_parts():
    secret = bytes(32)
    others = [("noise",), ("sums",), ("sums", "a"), ("sums", "a", "b"), ("sums", "a/1:b"), ("sums", "ab")]
    derived = [secret_for(secret, *parts) for parts in others]
    assert len(set(derived)) == len(others)
    assert {len(each) for each in derived} == {32}
    assert secret_for(secret, "sums") == derived[1] != secret_for(b"1" * 32, "sums")


def test_nothing_follows_from_a_secret_that_is_none():
    with pytest.raises(ValueError, match=r"^a site's secret has 32 B, found 0; give the site one$"):
        secret_for(b"", "sums")
