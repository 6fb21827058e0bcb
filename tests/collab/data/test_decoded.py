from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from collab.data.dataset import Samples
from collab.data.decoded import decoded, fingerprint_of


class Decoder:
    """Counts how often it decodes; what it makes is a function of the source's content."""

    def __init__(self, source: Path) -> None:
        self.source, self.times = source, 0

    def __call__(self):
        self.times += 1
        value = len(self.source.read_bytes())
        images = np.full((4, 3, 8, 8), value, np.uint8)
        return Samples(images, np.arange(4)), Samples(images[:1], np.arange(1))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def source(tmp_path, home):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive").write_bytes(b"12345")
    return tmp_path / "data" / "archive"


def read(source, decode, **more):
    return decoded("set", (source,), source.parent, decode, **more)


def assert_value(parts, value):
    train, test = parts
    assert (train.images == value).all()
    assert train.images.dtype == np.uint8
    assert train.images.flags.writeable
    assert train.labels.tolist() == [0, 1, 2, 3]
    assert train.labels.dtype == np.int64
    assert len(test) == 1


def test_pixels_come_back_in_their_places_whatever_the_order_of_the_axes_in_memory(source):
    """Decoders of images leave the colours last in memory, those of .mat files whatever Fortran does."""
    pixels = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8)

    def decode():
        backwards = np.asfortranarray(pixels.transpose(0, 3, 1, 2))
        return Samples(pixels.transpose(0, 3, 1, 2), np.arange(8)[::2]), Samples(backwards, np.arange(4)[::-1])

    fresh, cached = read(source, decode), read(source, lambda: pytest.fail("it is cached"))
    for first, again in zip(fresh, cached, strict=True):
        np.testing.assert_array_equal(again.images, first.images)
        np.testing.assert_array_equal(again.labels, first.labels)


def test_what_was_decoded_once_is_read_the_next_time(source, home):
    decode = Decoder(source)
    for _ in range(3):
        assert_value(read(source, decode), 5)
    assert decode.times == 1
    cached = list((source.parent / ".decoded").iterdir())
    assert len(cached) == 1
    assert cached[0].stat().st_mode & 0o044 == 0o044  # whoever shares the directory may read it
    assert not home.exists()


def test_another_source_is_decoded_anew(source):
    decode = Decoder(source)
    read(source, decode)
    source.write_bytes(b"1234567")
    assert_value(read(source, decode), 7)
    os.utime(source, ns=(1, 1))
    read(source, decode)
    assert decode.times == 3
    assert len(list((source.parent / ".decoded").iterdir())) == 1


def test_variants_are_told_apart(source):
    decode = Decoder(source)
    for variant in ("a", "b", "a", "b"):
        read(source, decode, variant=variant)
    assert decode.times == 2


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b"", lambda content: b"x" * 5000])
def test_a_damaged_cache_is_made_anew(source, damage, caplog):
    decode = Decoder(source)
    read(source, decode)
    cached = next((source.parent / ".decoded").iterdir())
    cached.write_bytes(damage(cached.read_bytes()))
    assert_value(read(source, decode), 5)
    assert "is damaged and is made anew" in caplog.text
    read(source, decode)
    assert decode.times == 2


def test_a_data_directory_marked_read_only_is_left_alone(source, home):
    source.parent.chmod(0o555)
    decode = Decoder(source)
    for _ in range(2):
        assert_value(read(source, decode), 5)
    assert decode.times == 1
    assert [path.name for path in source.parent.iterdir()] == ["archive"]
    assert len(list((home / ".cache" / "collab" / "decoded").iterdir())) == 1
    source.parent.chmod(0o755)


def test_without_any_place_for_it_there_is_no_cache(source, home, caplog):
    home.write_text("in the way")
    source.parent.chmod(0o555)
    decode = Decoder(source)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_value(read(source, decode), 5)
    assert decode.times == 2
    assert "set will be decoded again next time" in caplog.text
    source.parent.chmod(0o755)


def test_a_decoder_that_fails_leaves_nothing(source):
    def fail():
        raise RuntimeError("spoilt")

    with pytest.raises(RuntimeError, match="spoilt"):
        read(source, fail)
    assert not (source.parent / ".decoded").exists()


def test_the_fingerprint_of_a_folder_sees_every_file(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("1")
    seen = [fingerprint_of(tmp_path)]
    (tmp_path / "a" / "b" / "file").write_text("12")
    seen.append(fingerprint_of(tmp_path))
    (tmp_path / "a" / "b" / "file").rename(tmp_path / "a" / "b" / "other")
    seen.append(fingerprint_of(tmp_path))
    os.utime(tmp_path / "a" / "b" / "other", ns=(1, 1))
    seen.append(fingerprint_of(tmp_path))
    assert len(set(seen)) == 4
    assert fingerprint_of(tmp_path) == seen[-1]
