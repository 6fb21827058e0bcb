"""A store loses nothing that it has confirmed, keeps nothing that it has not, and belongs to one run."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from dataclasses import replace

import pytest

from collab.agents.operations import TAKE_UPLOAD
from collab.deploy import schema
from collab.deploy.quota import Quota
from collab.deploy.store import Accepted, Store, place_beside, run_identity
from collab.errors import RunFailedError, StoreError, TooFewUploadsError
from simnet import Message
from simnet.ledger import LedgerEntry
from simnet.partial_bodies import FolderBodies
from simnet.services import route_of
from simnet.spool import SpooledMessage
from simnet.uploads import Upload

IDENTITY = run_identity("tiny", 3, "seed: 3\n")
ENTRY = LedgerEntry(1.5, "arriving", "a", "b", "x", "y", "control", 3, "0" * 64, "crossed", "rule", None)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store", IDENTITY) as made:
        yield made


def accept(store, site, body, task="task-1"):
    asyncio.run(store.accept(task, site, Message(body)))


def crashed(store):
    """The folder as `kill -9` leaves it: what SQLite has committed is there, nothing more."""
    store._database.close()
    import os

    os.close(store._held)
    return store.folder


def test_what_was_accepted_is_there_after_a_crash(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    assert store.open_task("task-1", 3.5).closed == ""
    accept(store, "client-1", b"one" * 1000)
    accept(store, "client-0", b"zero")
    with Store(crashed(store), IDENTITY) as again:
        assert list(again.uploads("task-1")) == ["client-1", "client-0"]
        assert again.uploads("task-1")["client-0"] == Message(b"zero").digest
        assert bytes(again.read("task-1", "client-1")) == b"one" * 1000
        first, second = again.accepted()
        assert first == Accepted("task-1", "client-1", Message(b"one" * 1000).digest, 3000, first.at_s)
        assert 0 <= first.at_s <= second.at_s <= again.elapsed_s()
        assert (again.has_task("task-1"), again.has_task("task-2")) == (True, False)
        assert again.uploads("task-2") == {}
        with pytest.raises(KeyError):
            again.read("task-1", "client-2")


def test_a_task_stays_closed(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    store.close_task("task-1", "deadline")
    with Store(crashed(store), IDENTITY) as again:
        assert again.open_task("task-1", 3.5).closed == "deadline"
        assert again.open_task("task-2", 3.5).closed == ""


def test_payloads_are_named_by_their_content_and_synced_before_the_row(tmp_path, monkeypatch):
    with Store(tmp_path / "store", IDENTITY) as store:
        store.open_task("task-1", 3.5)
        digest = Message(b"body").digest
        path = store.folder / "payloads" / digest[:2] / digest
        seen = []
        commit = store._commit

        def watching(statement="", rows=()):
            if "uploads" in statement:
                seen.append((path.read_bytes(), synced[0], list((store.folder / "incoming").iterdir())))
            commit(statement, rows)

        synced = [0]
        sync = __import__("os").fsync

        def counting(descriptor):
            synced[0] += 1
            sync(descriptor)

        monkeypatch.setattr("os.fsync", counting)
        monkeypatch.setattr(store, "_commit", watching)
        accept(store, "client-0", b"body")
        # The body, and its name in its folder; the folders' own names have been safe since the store was opened.
        assert seen == [(b"body", 2, [])]


def test_a_body_that_came_by_the_spool_is_taken_over_and_not_copied(store):
    store.open_task("task-1", 3.5)
    file = store.spool.open()
    file.write(b"spooled " * 1000)
    message = SpooledMessage(file, frozenset({"control"}), "application/msgpack")
    inode = file.path.stat().st_ino
    asyncio.run(store.accept("task-1", "client-0", message))
    file.discard()
    assert bytes(message.body) == bytes(store.read("task-1", "client-0")) == b"spooled " * 1000
    assert file.path.stat().st_ino == inode
    assert list(store.folder.glob("incoming/*")) == []


def test_what_was_not_confirmed_is_swept_away(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"kept")
    half = store.spool.open()
    half.write(b"half a bo")
    half._file.close()  # as the end of the process does
    orphan = store.folder / "payloads" / "ab" / ("ab" + "0" * 62)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"written, and then came the crash")
    with Store(crashed(store), IDENTITY) as again:
        files = [path.name for path in (again.folder / "payloads").rglob("*") if path.is_file()]
        assert files == [Message(b"kept").digest]
        assert list((again.folder / "incoming").iterdir()) == []


def test_a_folder_that_somebody_has_tidied_away_is_made_again(store):
    store.open_task("task-1", 3.5)
    for folder in (store.folder / "payloads").iterdir():
        folder.rmdir()
    accept(store, "client-0", b"body")
    assert bytes(store.read("task-1", "client-0")) == b"body"


def test_what_is_taken_back_is_forgotten(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"late")
    store.take_back("task-1", "client-0")
    assert store.uploads("task-1") == {}


def test_nothing_is_kept_if_the_medium_fails(store, monkeypatch):
    store.open_task("task-1", 3.5)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        accept(store, "client-0", b"body")
    monkeypatch.undo()
    assert store.uploads("task-1") == {}
    assert list(store.folder.glob("incoming/*")) == []
    accept(store, "client-0", b"body")
    assert list(store.uploads("task-1")) == ["client-0"]


def files_of(store):
    """What lies in the store but for the register: paths in it, sorted."""
    folders = [store.folder / "payloads", store.folder / "incoming"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(store.folder)) for path in files)


def failing_commit(_statement="", _rows=()):
    raise sqlite3.OperationalError("database is locked")


@pytest.mark.parametrize("failing", ["commit", "folder"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_a_body_is_back_where_it_came_if_its_row_cannot_be_written(store, monkeypatch, in_parts, failing):
    """One that came in parts is there for the next attempt, one that came at once is gone."""

    async def attempt():
        if not in_parts:
            return await store.accept("task-1", "client-0", Message(b"body"))
        message = await part.message(frozenset(), "text/plain")
        try:
            return await store.accept("task-1", "client-0", message)
        finally:
            kept.append(part.release())

    def full(_folder):
        raise OSError(28, "No space left on device")

    store.open_task("task-1", 3.5)
    kept = []
    part = FolderBodies(store.spool).new_body("f00", 4)
    asyncio.run(part.open())
    part.write(b"body")
    part.close()
    if failing == "commit":
        monkeypatch.setattr(store, "_commit", failing_commit)
    else:
        asyncio.run(store.accept("task-1", "client-1", Message(b"body")))
        store.take_back("task-1", "client-1")
        next((store.folder / "payloads").glob("*/*")).unlink()  # but its folder is there
        monkeypatch.setattr("collab.deploy.payloads.sync", full)
    with pytest.raises(OSError, match="database is locked" if failing == "commit" else "No space left"):
        asyncio.run(attempt())
    monkeypatch.undo()
    assert (part.path.read_bytes(), files_of(store)) == (b"body", ["incoming/partial/bodies/f00"])
    asyncio.run(attempt())
    digest = Message(b"body").digest
    assert store.uploads("task-1") == {"client-0": digest}
    assert bytes(store.read("task-1", "client-0")) == b"body"
    assert kept == ([True, False] if in_parts else [])
    assert files_of(store) == ([] if in_parts else ["incoming/partial/bodies/f00"]) + [
        f"payloads/{digest[:2]}/{digest}"
    ]


def test_a_body_that_two_sites_sent_stays_if_the_second_row_cannot_be_written(store, monkeypatch):
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"body")
    monkeypatch.setattr(store, "_commit", failing_commit)
    with pytest.raises(OSError, match="database is locked"):
        accept(store, "client-1", b"body")
    monkeypatch.undo()
    assert bytes(store.read("task-1", "client-0")) == b"body"
    accept(store, "client-1", b"body")
    assert bytes(store.read("task-1", "client-1")) == b"body"
    assert len(files_of(store)) == 1


def test_an_upload_is_kept_once(store):
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"body")
    with pytest.raises(OSError, match="the register cannot be written: UNIQUE"):
        accept(store, "client-0", b"another")
    assert store.uploads("task-1") == {"client-0": Message(b"body").digest}


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_payload_that_the_medium_has_lost_is_named(tmp_path, damage):
    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"body")
    digest = Message(b"body").digest
    path = crashed(store) / "payloads" / digest[:2] / digest
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"bod" if damage == "cut" else b"BODY")
    if damage == "changed":
        with Store(store.folder, IDENTITY) as again, pytest.raises(StoreError, match=f"{digest} has changed since"):
            again.read("task-1", "client-0")
    else:
        with pytest.raises(StoreError, match=f"{digest} should have 4 bytes and is missing or cut short"):
            Store(store.folder, IDENTITY)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (run_identity("other", 3, "seed: 3\n"), "its scenario is tiny, this run's is other"),
        (run_identity("tiny", 4, "seed: 4\n"), "its seed is 3, this run's is 4"),
        (run_identity("tiny", 3, "seed: 3\nx: 1\n"), "its text_sha256 is "),
    ],
)
def test_the_store_of_another_run_is_refused(tmp_path, other, told):
    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"body")
    crashed(store)
    with pytest.raises(StoreError, match=told):
        Store(tmp_path / "store", other)
    Store(tmp_path / "store", IDENTITY).close()


def test_two_servers_do_not_share_a_store(store):
    with pytest.raises(StoreError, match="is in use by another server"):
        Store(store.folder, IDENTITY)


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "register.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="cannot be read as a store"):
        Store(tmp_path, IDENTITY)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be the store"):
        Store(tmp_path / "file", IDENTITY)


def test_a_store_in_which_nothing_was_accepted_leaves_no_trace(tmp_path):
    with Store(tmp_path / "store", IDENTITY) as store:
        store.open_task("task-1", 3.5)
    assert list(tmp_path.iterdir()) == []


def test_a_store_goes_when_its_run_is_over_and_nothing_else_does(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "notes.txt").write_text("mine")
    with Store(tmp_path / "store", IDENTITY) as store:
        store.open_task("task-1", 3.5)
        accept(store, "client-0", b"body")
        store.run_is_over()
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["notes.txt"]


def test_what_a_killed_server_was_writing_is_cleared_away(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    (tmp_path / "runs" / ".tiny-001.partial").mkdir(parents=True)
    store.begin_writing(tmp_path / "runs" / ".tiny-001.partial")
    with Store(crashed(store), IDENTITY) as again:
        again.clear_partial()
    assert list((tmp_path / "runs").iterdir()) == []


def test_names_given_away_are_remembered(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    for site, key in (("client-1", "abc"), ("client-0", ""), ("client-1", "def")):
        store.claim(site, key)
    with Store(crashed(store), IDENTITY) as again:
        assert list(again.claimed().items()) == [("client-1", "abc"), ("client-0", "")]


def test_the_ledger_goes_on_where_it_was(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    ledger = store.ledger()
    ledger.append(ENTRY)
    accept(store, "client-0", b"body")
    ledger.append(ENTRY)  # not yet written when the crash comes
    with Store(crashed(store), IDENTITY) as again:
        assert list(again.ledger()) == [ENTRY]
        again.ledger().append(ENTRY)
    with Store(store.folder, IDENTITY) as third:
        assert list(third.ledger()) == [ENTRY, ENTRY]


def test_while_the_register_is_full_the_ledger_waits_and_nothing_fails(tmp_path):
    with Store(tmp_path, IDENTITY) as store:
        store.open_task("task-1", 0.0)
        ledger, entries = store.ledger(), [replace(ENTRY, at_s=float(number)) for number in range(2500)]
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")  # as on a disk that is full
        for entry in entries:
            ledger.append(entry)
        full = f"the register in {tmp_path} cannot be written: database or disk is full"
        assert store.why_unwritable() == full
        with pytest.raises(OSError, match="the register cannot be written: database or disk is full"):
            accept(store, "client-0", b"body")
        assert store.ledger_entries() == []
        store._database.execute("PRAGMA max_page_count = 1000000")
        assert store.why_unwritable() == ""
        assert store.ledger_entries() == entries
        accept(store, "client-0", b"body")


def test_a_ledger_that_waits_for_long_keeps_the_latest_entries(tmp_path, monkeypatch):
    monkeypatch.setattr("collab.deploy.store._MOST_WAITING_ENTRIES", 3)
    with Store(tmp_path, IDENTITY) as store:
        store.open_task("task-1", 0.0)
        for number in range(5):
            store.note(replace(ENTRY, at_s=float(number)))
        accept(store, "client-0", b"body")
        assert [entry.at_s for entry in store.ledger_entries()] == [2.0, 3.0, 4.0]


def test_migrations_are_made_once_each_and_whole(tmp_path):
    database = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)
    schema.migrate(database, ("CREATE TABLE a (x)",))
    schema.migrate(database, ("CREATE TABLE a (x)", "CREATE TABLE b (x)"))
    assert database.execute("PRAGMA user_version").fetchone() == (2,)
    with pytest.raises(sqlite3.Error):
        schema.migrate(database, ("", "", "CREATE TABLE c (x); CREATE TABLE a (x)"))
    database.rollback()
    assert database.execute("PRAGMA user_version").fetchone() == (2,)
    names = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
    assert names == {"a", "b"}
    with pytest.raises(schema.NewerStoreError, match="version 2, this program knows 1"):
        schema.migrate(database, ("CREATE TABLE a (x)",))
    database.close()


def test_the_store_of_a_newer_version_is_refused(tmp_path):
    store = Store(tmp_path / "store", IDENTITY)
    store._database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer version: it has version 99"):
        Store(crashed(store), IDENTITY)


def test_the_default_place_is_the_same_for_the_same_run(tmp_path):
    assert place_beside(tmp_path, IDENTITY) == place_beside(tmp_path, run_identity("tiny", 3, "seed: 3\n"))
    assert place_beside(tmp_path, IDENTITY) != place_beside(tmp_path, run_identity("tiny", 4, "seed: 4\n"))
    assert place_beside(tmp_path, IDENTITY).name.startswith(".tiny-")


@pytest.mark.parametrize("killed_at", ["payloads", "incoming"])
def test_a_kill_while_the_store_of_a_finished_run_is_deleted_is_no_loss(tmp_path, monkeypatch, killed_at):
    class PowerFailureError(BaseException):
        pass

    remove = shutil.rmtree

    def removed_and_killed(path, **options):
        remove(path, **options)
        if path.name == killed_at:
            raise PowerFailureError

    store = Store(tmp_path / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    accept(store, "client-0", b"zero")
    store.run_is_over()
    with monkeypatch.context() as patch, pytest.raises(PowerFailureError):
        patch.setattr("collab.deploy.store.shutil.rmtree", removed_and_killed)
        store.close()
    import os

    os.close(store._held)
    with Store(tmp_path / "store", IDENTITY) as again:
        assert again.accepted() == []


def test_a_site_has_a_share_of_the_disk_and_no_more(tmp_path):
    with Store(tmp_path / "store", IDENTITY, quota=Quota(free_bytes=0, site_bytes=10)) as store:
        for task in ("task-1", "task-2"):
            store.open_task(task, 3.5)
        accept(store, "client-0", b"sixsix")
        with pytest.raises(OSError, match="of client-0 6 B are kept; with 5 B more it would be beyond the 10 B"):
            accept(store, "client-0", b"five5", task="task-2")
        accept(store, "client-1", b"five5", task="task-2")
        accept(store, "client-0", b"four", task="task-2")
        assert list(store.uploads("task-2")) == ["client-1", "client-0"]
        assert list((store.folder / "incoming").iterdir()) == []


def test_what_must_stay_free_of_the_disk_is_not_taken_by_small_uploads_either(tmp_path):
    with Store(tmp_path / "store", IDENTITY, quota=Quota(free_bytes=2**62)) as store:
        store.open_task("task-1", 3.5)
        with pytest.raises(OSError, match="must stay free"):
            accept(store, "client-0", b"small")
        assert store.uploads("task-1") == {}


def test_a_store_says_how_long_its_server_keeps_what_is_unfinished(tmp_path):
    for quota, kept_s in ((None, 24 * 3600.0), (Quota(unfinished_s=60.0), 60.0)):
        with Store(tmp_path / "store", IDENTITY, quota=quota) as store:
            assert route_of(TAKE_UPLOAD, None, spool=store.spool).kept_s == kept_s
    assert route_of(TAKE_UPLOAD, None).kept_s == 24 * 3600.0


def test_nobody_but_its_owner_can_look_into_a_store(tmp_path):
    store = Store(tmp_path / "runs" / "store", IDENTITY)
    store.open_task("task-1", 3.5)
    accept(store, "client-1", b"one" * 1000)
    bodies = FolderBodies(store.spool)
    upload = Upload("f00", "client-0", "/", frozenset(), "", 10, "", 1e12, bodies.new_body("f00", 10))
    asyncio.run(bodies.keep(upload))
    folders = [path for path in store.folder.rglob("*") if path.is_dir()]
    others = [path for path in store.folder.rglob("*") if not path.is_dir()]
    assert {path.name for path in others} >= {"register.sqlite", "register.sqlite-wal", "lock", "f00", "k-f00"}
    assert {str(path): oct(path.stat().st_mode & 0o077) for path in [store.folder, *folders, *others]} == dict.fromkeys(
        map(str, [store.folder, *folders, *others]), "0o0"
    )
    assert store.folder.parent.stat().st_mode & 0o077  # runs are for others to read
    store.close()


def test_what_cannot_end_otherwise_is_not_begun_again(tmp_path):
    with pytest.raises(TooFewUploadsError), Store(tmp_path / "store", IDENTITY) as store:
        store.open_task("task-1", 3.5)
        accept(store, "client-1", b"one")
        raise TooFewUploadsError("1 of 3 uploads were in (deadline)")
    with pytest.raises(StoreError) as refusal:
        Store(tmp_path / "store", IDENTITY)
    assert str(refusal.value) == (
        "this run has failed already: 1 of 3 uploads were in (deadline); "
        f"delete {tmp_path / 'store'} to begin anew, or choose another seed"
    )


def test_another_failure_may_be_mended(tmp_path):
    with pytest.raises(RunFailedError), Store(tmp_path / "store", IDENTITY) as store:
        store.open_task("task-1", 3.5)
        accept(store, "client-1", b"one")
        raise RunFailedError("client-2 has given up")
    with Store(tmp_path / "store", IDENTITY) as again:
        assert list(again.uploads("task-1")) == ["client-1"]
