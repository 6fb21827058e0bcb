"""The log of a server or a site: one line an event, as JSON or for people's eyes; never payloads, tokens or keys.

A line says what happened, who it was, which operation, status, bytes, seconds. What other libraries have to say goes
the same way, as the event `message`. Bodies and headers do not get here at all; what looks like a secret in the words
of an error is blotted out, and long words are cut. Of refusals no more are written than a disk bears for weeks: the
next one that is tells how many were not. So it is with what the HTTP server below says, for anybody can make it speak.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:  # the command starts without the network
    from simnet.door import Exchange

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "text"]
LONGEST_TEXT = 1000
_LONGEST_QUOTE = 200  # of a head that is none
REFUSALS_AT_ONCE, REFUSALS_PER_S = 200, 2.0
_LOGGER = logging.getLogger("collab")
_SERVER = "aiohttp.server"
_FRAMES = 12
_SECRET = re.compile(
    r"(?i:bearer)\s+\S+"  # a token in a header
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*"  # a token anywhere
    r"|-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|$)",  # a key or a certificate
    re.DOTALL,
)
_UPLOAD = re.compile(r"/[0-9a-f]{32}$")  # where the next part of an upload goes: nobody else may guess it
_PLAIN = re.compile(r"[\w.:/@+,-]+", re.ASCII)
_NEEDS_PATIENCE = {"shutting-down", "catching-up"}  # codes of 503 that are as it should be


@contextmanager
def written(level: Level, form: Format, stream: TextIO | None = None) -> Iterator[None]:
    """Write the log of this process to standard error, or to `stream`, from here to the end of the block."""
    begin(level, form, stream)
    try:
        yield
    finally:
        end()


def begin(level: Level, form: Format, stream: TextIO | None = None) -> None:
    """Write the log of this process from now on; what other libraries say, from warnings on."""
    end()
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.addFilter(_is_allowed)
    handler.setFormatter(_Lines(_as_json if form == "json" else _as_text))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(level.upper())
    logging.captureWarnings(True)
    _handlers.append(handler)


def end() -> None:
    """Write the log no more."""
    while _handlers:
        logging.getLogger().removeHandler(_handlers.pop())
        logging.captureWarnings(False)
        _LOGGER.setLevel(logging.NOTSET)


def is_written() -> bool:
    """Whether this process writes a log."""
    return bool(_handlers)


class _Allowance:
    """How many refusals may be written: so many at once, and after that so many a second."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._left, self._at_s = self._burst, time.monotonic()
        self.unwritten = 0
        """How many were not, since the last that was."""

    def takes(self) -> bool:
        """Whether one more may be written."""
        now_s = time.monotonic()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            self.unwritten += 1
            return False
        self._left -= 1
        return True

    def told(self) -> dict[str, object]:
        """How many were not written, for the one that is, if there were any; they count anew from now on."""
        unwritten, self.unwritten = self.unwritten, 0
        return {"unwritten": unwritten} if unwritten else {}


_handlers: list[logging.Handler] = []
_refusals = _Allowance(REFUSALS_AT_ONCE, REFUSALS_PER_S)


def note(event: str, text: str = "", *, level: Level = "info", **facts: object) -> None:
    """Write that something happened: `event` for programs, `text` for people, and facts by name."""
    _write(event, text, level, facts)


def say(text: str, event: str = "told", *, level: Level = "info", **facts: object) -> None:
    """One line on standard error, of the log where one is written."""
    if is_written():
        note(event, text, level=level, **facts)
    else:
        print(text, file=sys.stderr, flush=True)


def note_handshake(address: str | None, reason: str) -> None:
    """Write that a connection was ended because its TLS handshake failed, and why; not more often than refusals."""
    if _handlers and _refusals.takes():
        _write("no-tls", "the TLS handshake failed", "warning", {"address": address, "reason": reason})


def _write(event: str, text: str, level: Level, facts: Mapping[str, object]) -> None:
    if _handlers:
        number = logging.getLevelNamesMapping()[level.upper()]
        _LOGGER.log(number, "%s", text, extra={"event": event, "facts": facts})


def note_request(exchange: Exchange) -> None:
    """Write how a request to this server ended."""
    who: dict[str, object] = {"site": exchange.peer, "address": exchange.address}
    if exchange.proved is not None:
        who |= {"proved": exchange.proved.host, "proved_tenant": exchange.proved.tenant}
    if exchange.claimed is not None:
        who["claimed"] = exchange.claimed
    _note_exchange("request", exchange, who)


def note_asked(exchange: Exchange) -> None:
    """Write how a request of this site ended."""
    _note_exchange("asked", exchange, {"server": exchange.peer})


def _note_exchange(event: str, exchange: Exchange, who: Mapping[str, object]) -> None:
    if not _handlers:
        return
    level = _level_of(exchange)
    is_refusal = exchange.status is None or (exchange.status >= 400 and level != "error")
    if is_refusal and not _refusals.takes():
        return
    facts = {
        "operation": _UPLOAD.sub("/…", exchange.operation),
        **who,
        "status": exchange.status,
        **({"code": exchange.code} if exchange.code else {}),
        "request_bytes": exchange.request_bytes,
        "answer_bytes": exchange.answer_bytes,
        "seconds": round(exchange.duration_s, 6),
        **(_refusals.told() if is_refusal else {}),
    }
    _write(event, "", level, facts)


def _level_of(exchange: Exchange) -> Level:
    status = exchange.status
    if status is None or status in (401, 403):
        return "warning"
    if status >= 500 and exchange.code not in _NEEDS_PATIENCE:
        return "error"
    nothing_new = status == 204 and exchange.request_bytes == 0  # whoever waits asks again every minute
    return "debug" if nothing_new else "info"


def _is_allowed(record: logging.LogRecord) -> bool:
    """Whether a record may be written: what the HTTP server says, as often as refusals."""
    if record.name == _SERVER:
        if not _refusals.takes():
            return False
        record.facts = {"logger": record.name, **_refusals.told()}
    return True


class _Lines(logging.Formatter):
    """Makes a line of a record."""

    def __init__(self, line_of: Callable[[Mapping[str, object]], str]) -> None:
        super().__init__()
        self._line_of = line_of

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts: dict[str, object] = {
            "at": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
        }
        facts |= getattr(record, "facts", {"logger": record.name})
        if text := record.getMessage():
            facts["text"] = text
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            if record.name == _SERVER and _is_malformed(error):  # that is theirs to know, and no failure of this server
                quote = str(error)[:_LONGEST_QUOTE]
                facts |= {"level": "warning", "error": f"{type(error).__name__}: {quote}"}
            else:
                facts |= _told(error)
        return self._line_of({name: _clean(value) for name, value in facts.items()})


def _is_malformed(error: BaseException) -> bool:
    """Whether somebody has sent what is no request."""
    from aiohttp.http_exceptions import HttpProcessingError  # whose server has spoken, and so is loaded

    return isinstance(error, HttpProcessingError)


def _told(error: BaseException) -> dict[str, object]:
    """An error in its own words, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "error": f"{type(error).__name__}: {error}",
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _clean(value: Any) -> object:
    """The value without what looks like a secret, and not longer than a line of a log should be."""
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = _SECRET.sub("[secret]", str(value))
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _as_json(facts: Mapping[str, object]) -> str:
    return json.dumps(facts)


def _as_text(facts: Mapping[str, object]) -> str:
    """`MOMENT LEVEL EVENT name=value …: text`; what is no plain word is quoted, so that nobody can forge a line."""
    named = [
        f"{name}={_word(value)}"
        for name, value in facts.items()
        if name not in ("at", "level", "event", "text") and value is not None
    ]
    words = [str(facts["at"]), f"{str(facts['level']).upper():7}", str(facts["event"]), *named]
    text = facts.get("text")
    return " ".join(words) + ("" if text is None else f": {json.dumps(text, ensure_ascii=True)[1:-1]}")


def _word(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(value)
