"""One line an event, with who, what, status, bytes and seconds; nothing secret, and nobody forges a line."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings

import pytest
from aiohttp.http_exceptions import InvalidURLError

from collab.deploy import logs
from simnet.door import Exchange
from simnet.identity import Identity

UPLOAD = Exchange("takeUpload", "client-3", "10.0.0.7", 201, "", 9_000_000, 40, 1.23456789)
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjbGllbnQtMCJ9.c2lnbmF0dXJl"


def written(write, *, level="info", form="json"):
    stream = io.StringIO()
    with logs.written(level, form, stream):
        write()
    return stream.getvalue()


def lines(write, **how):
    return [json.loads(line) for line in written(write, **how).splitlines()]


def test_a_request_is_one_line_of_json():
    (line,) = lines(lambda: logs.note_request(UPLOAD))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line == {
        "level": "info", "event": "request", "operation": "takeUpload", "site": "client-3", "address": "10.0.0.7",
        "status": 201, "request_bytes": 9_000_000, "answer_bytes": 40, "seconds": 1.234568,
    }  # fmt: skip


def test_of_whoever_is_refused_is_told_what_is_known():
    refused = Exchange("a", None, "10.0.0.7", 403, "not-you", 0, 0, 0.0, Identity("client-1", "south"), "client-0")
    (line,) = lines(lambda: logs.note_request(refused))
    assert (line["level"], line["site"], line["address"]) == ("warning", None, "10.0.0.7")
    assert (line["proved"], line["proved_tenant"], line["claimed"]) == ("client-1", "south", "client-0")


def test_a_request_of_a_site_names_the_server():
    (line,) = lines(lambda: logs.note_asked(Exchange("GET /v1/x", "server", None, None, "", 0, 0, 2.0)))
    assert (line["event"], line["server"], line["status"], line["level"]) == ("asked", "server", None, "warning")
    assert "address" not in line


def test_the_name_of_an_unfinished_upload_is_not_told():
    (line,) = lines(lambda: logs.note_asked(Exchange(f"PATCH /a/{'0af3' * 8}", "server", None, 204, "", 9, 0, 0.0)))
    assert line["operation"] == "PATCH /a/…"


@pytest.mark.parametrize(
    ("status", "code", "size", "level"),
    [
        (201, "", 5, "info"), (200, "", 0, "info"), (204, "", 0, "debug"), (204, "", 9, "info"),
        (None, "", 0, "warning"),
        (401, "expired", 0, "warning"), (403, "not-you", 0, "warning"), (409, "already-accepted", 5, "info"),
        (500, "internal", 5, "error"), (507, "no-room", 5, "error"), (503, "shutting-down", 0, "info"),
        (503, "catching-up", 5, "info"), (503, "unavailable", 0, "error"),
    ],
)  # fmt: skip
def test_how_much_a_request_matters(status, code, size, level):
    (line,) = lines(lambda: logs.note_request(Exchange("a", None, None, status, code, size, 0, 0.0)), level="debug")
    assert line["level"] == level
    assert line.get("code", "") == code


def test_what_is_below_the_level_is_not_written():
    def write():
        for level in ("debug", "info", "warning", "error"):
            logs.note("a", level=level)

    assert [line["level"] for line in lines(write, level="warning")] == ["warning", "error"]


def test_outside_the_block_nothing_is_written_and_all_is_as_before():
    before = (logging.getLogger().handlers[:], logging.getLogger("collab").level, warnings.showwarning)
    stream = io.StringIO()
    with logs.written("info", "json", stream):
        assert logs.is_written()
    logs.note("a")
    assert not logs.is_written()
    assert stream.getvalue() == ""
    assert (logging.getLogger().handlers, logging.getLogger("collab").level, warnings.showwarning) == before


def test_what_other_libraries_say_goes_the_same_way_with_where_it_failed():
    def write():
        logging.getLogger("asyncio").info("not worth a line")
        try:
            raise ValueError("a reason")
        except ValueError:
            logging.getLogger("aiohttp.server").exception("it failed\nbadly")

    (line,) = lines(write)
    assert (line["event"], line["logger"], line["text"]) == ("message", "aiohttp.server", "it failed\nbadly")
    assert line["error"] == "ValueError: a reason"
    assert re.fullmatch(r".*test_logs\.py:\d+ write", line["where"][-1])


def test_warnings_are_lines_too():
    def write():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("look out", UserWarning, stacklevel=1)

    (line,) = lines(write)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "look out" in line["text"]


def test_a_flood_of_refusals_does_not_fill_the_disk(monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(logs, "_refusals", logs._Allowance(3, 2.0))
    refused, failed = (Exchange("a", None, "10.0.0.9", status, "", 0, 0, 0.0) for status in (401, 500))

    def write():
        for _ in range(10):
            logs.note_request(refused)
        logs.note_request(failed)
        logs.note_request(UPLOAD)
        now_s[0] += 0.5  # for one more
        for _ in range(10):
            logs.note_request(refused)
        now_s[0] += 60  # for as many as at once
        for _ in range(10):
            logs.note_request(refused)

    found = [(line["status"], line.get("unwritten")) for line in lines(write)]
    assert found == [
        (401, None), (401, None), (401, None), (500, None), (201, None), (401, 7), (401, 9), (401, None), (401, None)
    ]  # fmt: skip


def test_what_anybody_can_make_the_http_server_say_does_not_fill_the_disk(monkeypatch):
    """Heads that are none: as many lines as of refusals, short, and without where a library has found it out."""
    monkeypatch.setattr(logs.time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(logs, "_refusals", logs._Allowance(2, 2.0))

    def write():
        for _ in range(5):
            try:
                raise InvalidURLError("\\xff" * 3000)
            except InvalidURLError:
                logging.getLogger("aiohttp.server").exception("Error handling request from %s", "192.0.2.7")
        logs._refusals._left = 1
        logs.note_request(Exchange("a", None, "192.0.2.7", 401, "", 0, 0, 0.0))

    *malformed, refused = lines(write)
    assert len(malformed) == 2
    assert [line["level"] for line in malformed] == ["warning"] * 2
    assert malformed[0]["text"] == "Error handling request from 192.0.2.7"
    assert malformed[0]["error"].startswith("InvalidURLError: 400, message")
    assert len(malformed[0]["error"]) == 200 + len("InvalidURLError: ")
    assert "where" not in malformed[0]
    assert (refused["event"], refused["unwritten"]) == ("request", 3)


KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("secret", [f"Authorization: Bearer {TOKEN}", f"x {TOKEN} y", "bearer opaque-word", KEY])
def test_what_looks_like_a_secret_is_blotted_out(form, secret):
    def write():
        logs.note("a", secret, reason=[secret])
        logging.getLogger("x").error("%s", secret, exc_info=ValueError(secret))

    text = written(write, form=form)
    assert text.count("[secret]") == 4
    for part in (TOKEN, "opaque-word", "MC4CAQAwBQ"):
        assert part not in text


def test_long_texts_are_cut():
    (line,) = lines(lambda: logs.note("a", "x" * 5000))
    assert len(line["text"]) == logs.LONGEST_TEXT


@pytest.mark.parametrize("form", ["json", "text"])
def test_nobody_forges_a_line(form):
    name = 'client-0\n2026-01-01T00:00:00.000Z INFO request status=201 "\u2028'
    text = written(lambda: logs.note_request(Exchange("a", name, None, 403, "", 0, 0, 0.0)), form=form)
    assert text.count("\n") == 1
    assert text.isascii()


def test_a_line_for_people():
    text = written(lambda: logs.note("listening", "on http://a, for all", url="http://a", tls=None), form="text")
    assert re.fullmatch(r"\S+Z INFO    listening url=http://a: on http://a, for all\n", text)
