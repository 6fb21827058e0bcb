"""What happened in a run, in words and with the time of day: the log.txt of its directory, line by line as it goes on.

While a run goes on its directory has the name `.NAME.partial`; whoever waits can follow the log in there.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from typing import TextIO

from collab.data.progress import Unit
from collab.results import Material, MethodResult
from collab.run_listener import Listener
from collab.settings import Scenario
from collab.store import LOG, RunWriter
from collab.store.missing import missing_in_words
from collab.store.privacy import privacy_in_words
from simnet import Network
from simnet.units import format_size

_OF_A_SITE = re.compile(r"(.*: )?client-\d+ ")


class Logbook:
    """A listener that writes down what it hears, and passes it on to another."""

    def __init__(self, writer: RunWriter, listener: Listener, now: Callable[[], datetime] | None = None) -> None:
        self._writer = writer
        self._listener = listener
        self._now = now or _now
        self._opened_s = self._began_s = time.perf_counter()
        self._method = ""
        self._network: Network | None = None
        self._heard: set[str] = set()
        """What was told of already: of everything that goes on for long, only the beginning is written down."""

    def note(self, text: str) -> None:
        """Write down one thing that happened."""
        moment = self._now().astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")
        self._writer.append_text(LOG, "".join(f"{moment}  {line}\n" for line in text.splitlines()))

    @contextmanager
    def open(self, scenario: Scenario, *, real: bool) -> Iterator[None]:
        """Begin and, unless an error goes through, end the log; meanwhile warnings are written down, too."""
        world = "real" if real else "simulated"
        version = metadata.version("collab-edge")
        self.note(f"collab {version}: {scenario.name}, seed {scenario.seed}, {world} network")
        shown = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            self.note(f"warning: {message} ({category.__name__}, {filename}:{lineno})")
            shown(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        try:
            yield
        finally:
            warnings.showwarning = shown
        took_s = time.perf_counter() - self._opened_s
        self.note(f"done, after {took_s:.3f} s in all; written to {self._writer.final}")

    def loaded(self, material: Material, device: str, threads: int) -> None:
        """The data is loaded and divided."""
        dataset = material.dataset
        held = sum(len(part) for part in material.holdings.values())
        empty = sum(len(part) == 0 for part in material.holdings.values())
        self.note(
            f"data loaded: {dataset.name}, {held:,} training samples at {_count(len(material.holdings), 'site')}"
            f"{f', {empty} of them empty' if empty else ''}, {len(dataset.test.labels):,} test samples "
            f"({self._seconds():.3f} s); computing on {device} with {_count(threads, 'thread')}"
        )

    # -- what is heard ---------------------------------------------------------------------------

    def preparing(self, what: str, done: int, total: int, unit: Unit) -> None:
        """Data is being downloaded or read."""
        self._once(what)
        self._listener.preparing(what, done, total, unit)

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """A method starts on a network of its own."""
        self._method, self._network = name, network
        self._began_s = time.perf_counter()
        self._heard = set()
        self.note(f"{name} began with {_count(sites, 'site')}")
        self._listener.method_began(name, sites, network)

    def progress(self, what: str, done: int, total: int) -> None:
        """A computation got on; those of sites are not written down, there may be thousands."""
        if not _OF_A_SITE.match(what):
            self._once(f"{self._method}: {what}")
        self._listener.progress(what, done, total)

    def uploaded(self, site: str, round_number: int, number: int, asked: int) -> None:
        """An upload was accepted."""
        if number == asked and self._network is not None:
            at_s = self._network.now()
            self.note(
                f"{self._method}: round {round_number}, {_count(asked, 'upload')}, the last of {site} at {at_s:.6f} s"
            )
        self._listener.uploaded(site, round_number, number, asked)

    def method_ended(self, result: MethodResult) -> None:
        """A method was run and judged."""
        row = result.summary
        judged = ", ".join(f"{name} {100 * found.mean:.2f} %" for name, found in result.accuracies.items())
        refused = len(result.network.boundaries.ledger.refused())
        self.note(
            f"{result.name} ended after {self._seconds():.3f} s: {judged}; "
            f"{format_size(row['bytes_up_per_client'])} up and {format_size(row['bytes_down_per_client'])} down per "
            f"client, last upload at {row['last_upload_s']:.6f} s, result at {row['result_s']:.6f} s"
            + (f"; {missing_in_words(result.missing)}" if result.missing else "")
            + (f"; {privacy_in_words(row['privacy'])}" if "privacy" in row else "")
            + (f"; {_count(refused, 'message')} refused at a boundary" if refused else "")
        )
        self._listener.method_ended(result)

    def _once(self, what: str) -> None:
        if what not in self._heard:
            self._heard.add(what)
            self.note(f"{what} ...")

    def _seconds(self) -> float:
        return time.perf_counter() - self._began_s


def _now() -> datetime:
    return datetime.now(UTC)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
