"""The bodies of uploads in the store of a server: one file each, named by its SHA-256."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from collab.errors import StoreError
from simnet.disk import make_private_folder, sync
from simnet.spool import SpoolFile


class Payloads:
    """Files in `folder`, as `ab/abcd…`. What is in them is told by rows elsewhere: `placed` joins the two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._placing = threading.Lock()

    def place(self, digest: str) -> Path:
        """Where the body with this digest is."""
        return self.folder / digest[:2] / digest

    @contextlib.contextmanager
    def placed(self, file: SpoolFile, digest: str) -> Iterator[None]:
        """Have a body in its place, on the medium, for a row that is committed within; for one row at a time.

        If that fails the body is again where it came: whoever sends it in parts need not send it anew. Another row may
        have the same body: then the file that is there stays, whatever happens. Raises `OSError`.
        """
        path = self.place(digest)
        file.sync()
        if not path.parent.is_dir():  # somebody has tidied up
            self.make_folders()
        with self._placing:
            is_first = not path.exists()
            if is_first:
                file.settle(path)
            try:
                sync(path.parent)
                yield
            except BaseException:
                if is_first:
                    file.take_back()
                raise
            if not is_first:
                file.settle(path)

    def make_folders(self) -> None:
        """Make all folders, with names that are safe, before there is a body that waits for one. Raises `OSError`."""
        for first_digits in range(256):
            make_private_folder(self.folder / f"{first_digits:02x}")
        sync(self.folder)
        sync(self.folder.parent)

    def sweep(self, wanted: Mapping[str, int]) -> None:
        """Delete what no row refers to, where rows want these: digest -> bytes.

        Raises `StoreError` if something is missing that a row does refer to.
        """
        found = {path.name: path for path in self.folder.glob("*/*")}
        for digest, size_bytes in wanted.items():
            if digest not in found or found[digest].stat().st_size != size_bytes:
                raise StoreError(
                    f"{self.place(digest)} should have {size_bytes} bytes and is missing or cut short, though the "
                    "upload was confirmed: the medium has lost it; restore the file, or start over with another --store"
                )
        for digest in found.keys() - wanted.keys():
            found[digest].unlink()
