"""Foreign pickles: the published form is read, and nothing in any of them is ever run."""

from __future__ import annotations

import os
import pickle
import random
import struct

import numpy as np
import pytest

from collab.data import cifar_pickle
from collab.data.cifar_pickle import PickleError, read_batch
from tests.collab.data.published_forms import python2_pickle, random_samples

IMAGES, LABELS = random_samples(3)


def test_the_form_that_python_2_wrote():
    content = python2_pickle(IMAGES, LABELS)
    independent = pickle.loads(content, encoding="latin1")  # our own file: is it what we say it is?
    np.testing.assert_array_equal(independent["data"], IMAGES.reshape(3, 3072))
    images, labels = read_batch(content)
    np.testing.assert_array_equal(images, IMAGES.reshape(3, 3072))
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64


def test_the_form_that_python_3_writes():
    batch = {"labels": [int(label) for label in LABELS], "data": IMAGES.reshape(3, 3072)}
    images, labels = read_batch(pickle.dumps(batch, protocol=2))
    np.testing.assert_array_equal(images, IMAGES.reshape(3, 3072))
    np.testing.assert_array_equal(labels, LABELS)


class Touch:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_is_run(tmp_path):
    path = tmp_path / "touched"
    for batch in (Touch(path), {"data": Touch(path), "labels": []}):
        with pytest.raises(PickleError, match=r"names posix\.system, which"):
            read_batch(pickle.dumps(batch, protocol=2))
    assert not path.exists()


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "os\nsystem", "collab.data.cifar_pickle\n_Array"])
def test_no_other_name_means_anything(name):
    with pytest.raises(PickleError, match="which a batch of CIFAR-10 has no use for"):
        read_batch(b"\x80\x02c" + name.encode() + b"\n.")


@pytest.mark.parametrize(
    "name", ["numpy\nndarray", "numpy\ndtype", "numpy.core.multiarray\n_reconstruct", "_codecs\nencode"]
)
def test_the_stand_ins_cannot_be_changed(name):
    # BUILD with the state (None, {"PLANTED": 1}) sets attributes of whatever stands on the stack.
    planted = b"\x80\x02c" + name.encode() + b"\n(N}U\x07PLANTEDK\x01stb."
    with pytest.raises(PickleError):
        read_batch(planted)
    stand_ins = [value for value in vars(cifar_pickle).values() if isinstance(value, type)]
    assert not any(hasattr(stand_in, "PLANTED") for stand_in in stand_ins)


def batch_with(**changes):
    batch = {"labels": [1, 2, 3], "data": IMAGES.reshape(3, 3072), **changes}
    return pickle.dumps({key: value for key, value in batch.items() if value is not None}, protocol=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no readable pickle"),
        (b"GIF89a", "is no readable pickle"),
        (pickle.dumps([1, 2], protocol=2), "holds no dictionary"),
        (batch_with(data=None), 'lacks an array "data"'),
        (batch_with(labels=None), 'or a list "labels"'),
        (batch_with(labels=[1, 2]), r"holds 2 labels and data of the shape \(3, 3072\)"),
        (batch_with(labels=[1, 2, 10]), "has a label that is not 0 to 9"),
        (batch_with(labels=[1, 2, "3"]), "has a label that is not 0 to 9"),
        (batch_with(data=IMAGES), r"data of the shape \(3, 3, 32, 32\)"),
        (batch_with(data=IMAGES.reshape(3, 3072).astype(np.float32)), "an array of something else than bytes"),
        (b"\x80\x02Pelsewhere\n.", "refers to something outside itself"),
    ],
)
def test_what_is_no_batch_is_refused(content, message):
    with pytest.raises(PickleError, match=message):
        read_batch(content)


def test_a_shape_that_the_content_does_not_fill_is_refused():
    content = python2_pickle(IMAGES, LABELS)
    claimed = content.replace(b"J" + struct.pack("<i", 3072) + b"t", b"J" + struct.pack("<i", 2**30) + b"t")
    assert claimed != content
    with pytest.raises(PickleError, match="shape and content differ"):
        read_batch(claimed)


def test_damage_anywhere_is_an_error_or_harmless():
    content = python2_pickle(IMAGES[:1], LABELS[:1])
    draws = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[draws.randrange(min(len(content), 400))] = draws.randrange(256)
        try:
            images, labels = read_batch(bytes(damaged))
        except PickleError:
            continue
        assert images.shape == (len(labels), 3072)
