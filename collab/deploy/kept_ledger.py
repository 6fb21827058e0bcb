"""The ledger of a server that outlasts it: every entry is told to a store as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simnet.ledger import Ledger, LedgerEntry


class KeptLedger(Ledger):
    """A ledger that begins with the entries that were kept, and of which `keep` is told each that is added."""

    def __init__(self, kept: Iterable[LedgerEntry], keep: Callable[[LedgerEntry], None]) -> None:
        super().__init__()
        for entry in kept:
            super().append(entry)
        self._keep = keep

    def append(self, entry: LedgerEntry) -> None:
        """Add one entry."""
        super().append(entry)
        self._keep(entry)
