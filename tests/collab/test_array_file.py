from __future__ import annotations

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load, save

from collab.array_file import in_order, packed


def test_every_order_of_axes_comes_back_and_what_is_in_order_is_not_copied():
    plain = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    arrays = {
        "plain": plain,
        "turned": plain.transpose(0, 2, 1),
        "fortran": np.asfortranarray(plain),
        "back": plain[::-1],
    }
    found = load(save(in_order(arrays)))
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
    assert in_order(arrays)["plain"] is plain


def test_a_file_is_the_same_whenever_it_is_made_of_the_same():
    """Safetensors alone orders metadata anew in each call."""
    arrays = {"one": np.arange(3, dtype=np.float32), "two": np.ones((2, 2), np.int64).T, "none": np.zeros((0, 3))}
    metadata = {name: f'{name}: \u00fc " {{}}' for name in "zyxwvutsrqponmlk"}
    turned = [dict(sorted(metadata.items(), reverse=bool(number % 2))) for number in range(16)]
    contents = {packed(arrays, each) for each in turned}
    assert len(contents) == 1
    content = contents.pop()
    for name, values in load(content).items():
        np.testing.assert_array_equal(values, arrays[name])
    assert (int.from_bytes(content[:8], "little") + 8) % 8 == 0


def test_metadata_come_back(tmp_path):
    (tmp_path / "file").write_bytes(packed({"one": np.zeros(2)}, {"b": "\u00fc", "a": '{"x": "y"}'}))
    with safe_open(tmp_path / "file", framework="numpy") as file:
        assert file.metadata() == {"a": '{"x": "y"}', "b": "\u00fc"}
