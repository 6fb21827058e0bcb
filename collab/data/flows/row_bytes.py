"""What comes in a file after its header, less comments, as a file that pyarrow can read."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from collab.data.flows.header import FIELDS, Header, columns_of_fields
from collab.errors import DamagedDataError

_BLOCK_BYTES = 4 * 1024 * 1024
_LONGEST_LINE = 16 * 1024 * 1024  # of a file without ends of lines no more than this is held


class RowBytes:
    """The rows of a file, to be read like a file; lines that begin with `comments` are left out.

    With `fields`, the separator of a header that is a line `#fields`, a later one must name the same columns: reading
    raises `DamagedDataError`, with the row, if it does not.
    """

    closed = False

    def __init__(self, path: Path, header: Header, comments: str | None, fields: str | None = None) -> None:
        self._path, self._header, self._fields = path, header, fields
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
        rows = []
        for line in lines.split(b"\n"):
            if not line.startswith(comment):
                rows.append(line)
            elif self._names_others(line):
                self._refuse()
        return b"\n".join(rows)

    def _names_others(self, line: bytes) -> bool:
        """Whether a line is another header, and of other columns: logs are often put one after the other."""
        if self._fields is None or not line.startswith(FIELDS.encode()):
            return False
        return columns_of_fields(line.decode("utf-8", "replace"), self._fields) != self._header.columns

    def _refuse(self) -> None:
        """Raise the error for the first header of other columns; the file is read again to count the rows before."""
        row = 1
        with self._path.open("rb") as file:
            file.seek(self._header.size_bytes)
            while (line := file.readline(_LONGEST_LINE)) and not self._names_others(line):
                row += bool(line.strip(b"\r\n")) and not line.startswith(self._comment or b"")
        found = columns_of_fields(line.decode("utf-8", "replace"), self._fields or "")
        pairs = zip_longest(found, self._header.columns)
        number, (ours, theirs) = next((number, pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1])
        raise DamagedDataError(
            f"{self._path}, before row {row}: another line {FIELDS} names other columns: found {ours or 'nothing'} as "
            f"column {number}, expected {theirs or 'nothing'}; split the file there"
        )
