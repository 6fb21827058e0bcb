"""The rows of a file as a file: without what comes before them, and without comments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.flows import row_bytes
from collab.data.flows.header import Header
from collab.data.flows.row_bytes import RowBytes

LINES = st.lists(st.sampled_from([b"#", b"#close\t1", b"1,2", b" #1", b"1#", b"", b"\t", b"x" * 30]), max_size=12)


def rows(path, size, comments, begin=0):
    """All of it, in pieces of `size`."""
    pieces = []
    with RowBytes(path, Header(("a",), begin), comments) as file:
        while piece := file.read(size):
            pieces.append(piece)
        assert file.tell() == path.stat().st_size
    assert file.closed
    assert all(len(piece) == size for piece in pieces[:-1] if size > 0)
    return b"".join(pieces)


@settings(max_examples=80, deadline=None)
@given(LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.sampled_from([-1, 1, 7, 100]), st.integers(1, 40))
def test_lines_that_are_no_comments_are_left_as_they_are(tmp_path_factory, lines, end, whole, size, block_bytes):
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    content = end.join(lines) + (end if whole else b"")
    path.write_bytes(b"a,b\n" + content)
    kept = [line for line in content.split(b"\n") if not line.startswith(b"#")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(row_bytes, "_BLOCK_BYTES", block_bytes)
        assert rows(path, size, None, 4) == content
        found = rows(path, size, "#", 4)
        assert [line for line in found.split(b"\n") if line] == [line for line in kept if line]
        with RowBytes(path, Header(("a",), 4), "#") as file:
            assert file.is_empty() == (not any(line.strip(b"\r\n") for line in kept))
            assert file.read() == found.lstrip(b"\r\n")


def test_a_line_without_an_end_is_not_held_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(row_bytes, "_BLOCK_BYTES", 10)
    monkeypatch.setattr(row_bytes, "_LONGEST_LINE", 25)
    (tmp_path / "a.csv").write_bytes(b"x" * 100)
    with RowBytes(tmp_path / "a.csv", Header(("a",), 0), "#") as file:
        assert file.read(5) == b"x" * 5
        assert file.tell() == 30
        assert file.read() == b"x" * 95
