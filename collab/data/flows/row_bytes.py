"""What comes in a file after its header, less comments, as a file that pyarrow can read."""

from __future__ import annotations

from pathlib import Path

from collab.data.flows.header import Header

_BLOCK_BYTES = 4 * 1024 * 1024
_LONGEST_LINE = 16 * 1024 * 1024  # of a file without ends of lines no more than this is held


class RowBytes:
    """The rows of a file, to be read like a file; lines that begin with `comments` are left out."""

    closed = False

    def __init__(self, path: Path, header: Header, comments: str | None) -> None:
        self._file = path.open("rb")
        self._file.seek(header.size_bytes)
        self._comment = None if comments is None else comments.encode()
        self._rest = b""  # read, without comments, and not yet handed out
        self._line = b""  # the beginning of a line whose end is not yet read

    def __enter__(self) -> RowBytes:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes; fewer at the end, all that are left if it is negative."""
        more = True
        while more and (size < 0 or len(self._rest) < size):
            more = self._fill()
        size = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def tell(self) -> int:
        """How much of the file is read, in bytes from its beginning."""
        return self._file.tell()

    def close(self) -> None:
        """Let go of the file."""
        self.closed = True
        self._file.close()

    def is_empty(self) -> bool:
        """Whether nothing but empty lines is left; those before the first row are passed over."""
        self._rest = self._rest.lstrip(b"\r\n")
        while not self._rest and self._fill():
            self._rest = self._rest.lstrip(b"\r\n")
        return not self._rest

    def _fill(self) -> bool:
        """Read a block; False at the end of the file."""
        block = self._file.read(_BLOCK_BYTES)
        if self._comment is None:
            self._rest += block
            return bool(block)
        lines, end, self._line = (self._line + block).rpartition(b"\n")
        if not block or len(self._line) > _LONGEST_LINE:
            lines, end, self._line = lines + end + self._line, b"", b""
        self._rest += self._without_comments(lines) + end
        return bool(block)

    def _without_comments(self, lines: bytes) -> bytes:
        comment = self._comment or b""
        if not lines.startswith(comment) and b"\n" + comment not in lines:
            return lines
        return b"\n".join(line for line in lines.split(b"\n") if not line.startswith(comment))
