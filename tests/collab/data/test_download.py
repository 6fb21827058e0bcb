"""Downloading, from a server on this machine that misbehaves on request."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from collab.data import download as downloading
from collab.data.download import PublishedFile, download
from collab.errors import DataError

BODY = bytes(range(256)) * 2000  # 512 kB


class Server(ThreadingHTTPServer):
    """Serves BODY; knows what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.break_after: list[int] = []  # bytes after which the next answers break off
        self.statuses: list[int] = []  # statuses of the next answers
        self.knows_ranges = True
        self.body = BODY

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.knows_ranges else 0
        body = server.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.break_after:
            self.wfile.write(body[: server.break_after.pop(0)])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def published(*urls, body=BODY):
    return PublishedFile("file.bin", len(body), hashlib.sha256(body).hexdigest(), urls)


def get(file, path, **settings):
    download(file, path, **{"pause_s": 0.0, "timeout_s": 5.0, **settings})


def test_a_file_gets_its_name_when_it_is_whole_and_right(server, tmp_path):
    heard = []
    path = tmp_path / "deeper" / "file.bin"
    get(published(server.url()), path, progress=lambda *what: heard.append(what))
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]
    assert heard[-1] == ("downloading file.bin", len(BODY), len(BODY), "B")
    done = [amount for _, amount, _, _ in heard]
    assert done == sorted(done)


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    server.break_after = [100_000, 200_000]
    get(published(server.url()), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=300000-"]


def test_a_later_call_goes_on_where_an_earlier_one_was_interrupted(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY[:12_345])
    get(published(server.url()), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.asked == [("/file.bin", "bytes=12345-")]


def test_what_was_received_stays_after_an_interruption(server, tmp_path):
    def interrupt(what, done, total, unit):
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(published(server.url()), tmp_path / "file.bin", progress=interrupt)
    held = (tmp_path / "file.bin.part").read_bytes()
    assert 100_000 < len(held) < len(BODY)
    assert not (tmp_path / "file.bin").exists()
    get(published(server.url()), tmp_path / "file.bin")
    assert server.asked[-1][1] == f"bytes={len(held)}-"
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.knows_ranges = False
    server.break_after = [100_000]
    get(published(server.url()), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-"]


def test_a_whole_part_is_only_checked(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY)
    get(published(server.url()), tmp_path / "file.bin")
    assert server.asked == []
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize("rest", [b"x" * 1000, b"x" * len(BODY), b"x" * (len(BODY) + 1)])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path, rest):
    (tmp_path / "file.bin.part").write_bytes(rest)
    get(published(server.url()), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_wrong_file_is_refused_and_the_next_mirror_asked(server, tmp_path):
    with Server() as other:
        other.body = BODY[::-1]
        thread = threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        with pytest.raises(DataError, match=r"has the SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
            get(published(other.url()), tmp_path / "file.bin")
        assert list(tmp_path.iterdir()) == []
        assert len(other.asked) == 1
        get(published(other.url(), server.url()), tmp_path / "file.bin")
        other.shutdown()
        thread.join()
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize(("body", "message"), [(BODY[:-1], "offers 511999 bytes, the published file has 512000")])
def test_a_file_of_another_length_is_not_fetched(server, tmp_path, body, message):
    server.body = body
    with pytest.raises(DataError, match=message):
        get(published(server.url()), tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_not_found_is_told_at_once(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(DataError, match=r"file\.bin cannot be downloaded \(http.*file\.bin: answers 404 Not Found\)"):
        get(published(server.url()), tmp_path / "file.bin")
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    get(published(server.url()), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == BODY
    server.statuses = [503] * 10
    with pytest.raises(DataError, match="answers 503"):
        get(published(server.url("again")), tmp_path / "again.bin")
    assert len(server.asked) == 3 + 5


def test_every_mirror_is_named_that_failed(server, tmp_path):
    server.statuses = [404, 403]
    with pytest.raises(DataError, match=r"/a: answers 404.*; .*/b: answers 403"):
        get(published(server.url("a"), server.url("b")), tmp_path / "file.bin")
    with pytest.raises(DataError, match="no address is known"):
        get(published(), tmp_path / "file.bin")


def test_nobody_there(tmp_path):
    with pytest.raises(DataError, match="Connection refused"):
        get(published("http://127.0.0.1:1/file.bin"), tmp_path / "file.bin")


def test_a_silent_server_is_given_up(tmp_path):
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens, and never accepts
    with silent, pytest.raises(DataError, match="timed out"):
        url = f"http://127.0.0.1:{silent.server_address[1]}/file.bin"
        get(published(url), tmp_path / "file.bin", timeout_s=0.05)


def test_a_directory_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/file\.bin cannot be written.*COLLAB_DATA_DIR"):
        get(published(server.url()), tmp_path / "file" / "file.bin")
    assert server.asked == []


def test_of_two_at_once_one_downloads_and_the_other_waits(server, tmp_path):
    begun, heard = threading.Event(), []

    def first(what, done, total, unit):
        begun.set()
        waiting.wait(5)

    waiting = threading.Event()

    def second(what, done, total, unit):
        heard.append(what)
        waiting.set()

    path = tmp_path / "file.bin"
    thread = threading.Thread(target=get, args=(published(server.url()), path), kwargs={"progress": first})
    thread.start()
    assert begun.wait(5)
    get(published(server.url()), path, progress=second)
    thread.join()
    assert heard == ["waiting for another process: file.bin"]
    assert len(server.asked) == 1
    assert path.read_bytes() == BODY


def test_the_published_digest_is_that_of_the_file(tmp_path):
    (tmp_path / "file").write_bytes(BODY)
    assert downloading.sha256_of(tmp_path / "file") == hashlib.sha256(BODY).hexdigest()
