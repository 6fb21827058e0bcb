"""The tables of a server's store, and how a store of an earlier version becomes one of this.

`PRAGMA user_version` is the number of migrations that a database has had. A migration is never changed once released:
what is to be different is a new one at the end.
"""

from __future__ import annotations

import sqlite3

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE tasks (
        task TEXT PRIMARY KEY,
        opened_unix_s REAL NOT NULL,
        closed_unix_s REAL
    ) STRICT;
    CREATE TABLE sites (
        site TEXT PRIMARY KEY,
        claimed_unix_s REAL NOT NULL
    ) STRICT;
    CREATE TABLE uploads (
        task TEXT NOT NULL REFERENCES tasks (task),
        site TEXT NOT NULL,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        accepted_unix_s REAL NOT NULL,
        PRIMARY KEY (task, site)
    ) STRICT;
    CREATE TABLE ledger (
        line INTEGER PRIMARY KEY,
        entry TEXT NOT NULL
    ) STRICT;
    """,
    "ALTER TABLE tasks ADD COLUMN closed_reason TEXT",
    "ALTER TABLE sites ADD COLUMN claim_key TEXT",
)


class NewerStoreError(Exception):
    """A database has had migrations that are not known here."""


def migrate(database: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring a database to the last version, each migration whole or not at all.

    Raises `NewerStoreError` for one of a later version, and `sqlite3.Error`.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise NewerStoreError(f"it has version {version}, this program knows {len(migrations)}")
    for number, script in enumerate(migrations[version:], version + 1):
        # executescript commits whatever is open before it begins, so the transaction is part of the script.
        database.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
