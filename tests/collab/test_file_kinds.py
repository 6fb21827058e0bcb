from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from collab.file_kinds import kind_of


def test_the_first_bytes_tell_what_a_file_is(tmp_path):
    np.savez(tmp_path / "set.npz", a=np.zeros(2))
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "networks")
    (tmp_path / "flows.csv").write_text("Dur,Proto\n1,tcp\n")
    assert [kind_of(tmp_path / name) for name in ("set.npz", "networks", "flows.csv")] == [
        "archive",
        "networks",
        "text",
    ]


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\x00" * 9, b"\x10\x00\x00\x00\x00\x00\x00\x00["])
def test_what_is_too_short_or_none_of_these_is_not_known(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file") == "unknown"


def test_what_is_not_there_is_for_the_caller_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        kind_of(tmp_path / "file")
