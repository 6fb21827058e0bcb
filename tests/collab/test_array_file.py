from __future__ import annotations

import numpy as np
from safetensors.numpy import load, save

from collab.array_file import in_order


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
