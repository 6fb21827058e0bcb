"""What secure aggregation costs beside plain means: bytes and seconds, at a site and at the server.

    python benchmarks/secure_sums.py [--sites 2,10,100] [--sizes 0.1,1,9] [--json]

A plain upload of so many MB are float16 means [T, 10, 512] and counts; the secure one is what `aggregation: secure`
sends in all of its four exchanges, of 64-bit numbers. Seconds are processor seconds of one core: at the site from the
means at hand to packed bodies, at the server from packed bodies to the sums over all sites; what both have in common,
embedding the data, is left out. `one drops out` is what the server needs in addition if a site is gone after it shared
its secrets.

One site's masked vector is computed and stands for those of all: what it takes does not depend on what it hides. That
the sum is right is checked, with short vectors, for every number of sites.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from collab import wire
from collab.embedding_sums import EmbeddingSums
from collab.methods.collabdm import Settings
from collab.nets import NetworkSpec
from collab.privacy.secure_sums import Collector, Participant, PublicKeys, Roster
from collab.privacy.sum_rounds import SumShape, answer_bytes

T = TypeVar("T")
CLASSES, WIDTH = 10, 32
SPEC = NetworkSpec(WIDTH, 2, 3, 16, CLASSES)  # its embeddings have 512 numbers
_SHORT = 100


@dataclass(frozen=True)
class Cost:
    """Of one number of sites and one size; seconds of one core."""

    sites: int
    plain_bytes: int
    secure_bytes: int
    plain_site_s: float
    secure_site_s: float
    plain_server_s: float
    secure_server_s: float
    one_drops_out_s: float

    @property
    def bytes_x(self) -> float:
        """Bytes that a site sends, in units of the plain upload."""
        return self.secure_bytes / self.plain_bytes


class Cast:
    """All sites of one number, with their keys and shares."""

    def __init__(self, sites: int) -> None:
        self.sites = [Participant(hashlib.sha256(f"benchmark {site}".encode()).digest()) for site in range(sites)]
        each = [site.keys() for site in self.sites]
        keys = PublicKeys(
            np.concatenate([keys.encryption for keys in each]), np.concatenate([keys.masking for keys in each])
        )
        self.roster = Roster(keys)
        self.rows = list(range(sites))
        self.sealed = np.stack([site.shares(self.roster) for site in self.sites])

    def revealed(self, survivors: list[int]) -> dict[int, np.ndarray[Any, np.dtype[np.uint8]]]:
        """The shares that as many survivors as needed reveal."""
        return {
            row: self.sites[row].unmasking(self.roster, self.rows, survivors, self.sealed[:, row])
            for row in survivors[: self.roster.threshold]
        }

    def check(self) -> None:
        """Sum short vectors. Raises `SystemExit` if the sum is wrong."""
        vectors = np.random.default_rng(1).integers(-(2**40), 2**40, (len(self.sites), _SHORT))
        collector = Collector(self.roster, self.rows, _SHORT)
        for row, site in enumerate(self.sites):
            collector.add(row, site.masked(self.roster, self.rows, vectors[row]))
        if (collector.total(self.revealed(self.rows)) != vectors.sum(axis=0)).any():
            raise SystemExit(f"the sum over {len(self.sites)} sites is wrong")


def seconds(work: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds of `work`, and what it returns."""
    started_s = time.process_time()
    result = work()
    return time.process_time() - started_s, result


def measure(cast: Cast, size_mb: float) -> Cost:
    """What a plain upload of about so many MB costs, and the secure one in its place."""
    sites, roster = len(cast.sites), cast.roster
    networks = max(1, round(size_mb * 1e6 / (2 * CLASSES * SPEC.embedding_size)))
    settings = Settings(iterations=networks, width=WIDTH, depth=2)
    means = np.random.default_rng(2).random((networks, CLASSES, SPEC.embedding_size), dtype=np.float32)
    section = {
        "classes": wire.encode(np.arange(CLASSES), "uint8"),
        "counts": wire.encode(np.full(CLASSES, 600), "int64"),
        "means": wire.encode(means, "float16"),
    }
    served = range(networks)
    shape = SumShape(networks, CLASSES, SPEC.embedding_size)

    def packed(kind: str, section: wire.Section) -> bytes:
        return wire.pack(wire.Content({}, {kind: section}))

    def masked() -> bytes:
        own = EmbeddingSums(settings, SPEC)
        own.add(section, served)
        elements = cast.sites[0].masked(roster, cast.rows, own.vector(sites))
        sums, weights = elements[:-CLASSES].reshape(shape), elements[-CLASSES:]
        return packed("masked", {"sums": wire.encode(sums), "weights": wire.encode(weights)})

    def small() -> None:
        packed("keys", {"encryption": wire.encode(cast.sites[0].keys().encryption)})
        packed("shares", {"sealed": wire.encode(cast.sites[0].shares(roster))})
        cast.sites[0].unmasking(roster, cast.rows, cast.rows, cast.sealed[:, 0])

    plain_site_s, plain_body = seconds(lambda: packed("embeddings", section))
    masked_s, secure_body = seconds(masked)
    small_s, _ = seconds(small)

    def add_plain() -> None:
        sums = EmbeddingSums(settings, SPEC)
        for _ in cast.sites:
            sums.add(wire.unpack(plain_body).sections["embeddings"], served)

    def add_masked(rows: list[int]) -> Collector:
        collector = Collector(roster, cast.rows, shape.length)
        for row in rows:
            section = wire.unpack(secure_body).sections["masked"]
            parts = [section[name].values().reshape(-1) for name in ("sums", "weights")]
            collector.add(row, np.concatenate(parts))
        return collector

    plain_server_s, _ = seconds(add_plain)
    shares, shares_but_one = cast.revealed(cast.rows), None if sites < 3 else cast.revealed(cast.rows[1:])
    added_s, collector = seconds(lambda: add_masked(cast.rows))
    total_s, _ = seconds(lambda: collector.total(shares))
    more_s = 0.0
    if shares_but_one is not None and sites - 1 >= roster.threshold:
        short = Collector(roster, cast.rows, shape.length)
        anything = np.zeros(shape.length, dtype=roster.ring.dtype)
        for row in cast.rows[1:]:
            short.add(row, anything)
        more_s = max(0.0, seconds(lambda: short.total(shares_but_one))[0] - total_s)
    return Cost(
        sites, len(plain_body), answer_bytes(shape, sites), plain_site_s, masked_s + small_s, plain_server_s,
        added_s + total_s, more_s,
    )  # fmt: skip


def numbers(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A list of numbers, as an option gives it."""
    return lambda text: [kind(part) for part in text.split(",")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sites", type=numbers(int), default=[2, 10, 100], help="numbers of sites (default: 2,10,100)")
    parser.add_argument("--sizes", type=numbers(float), default=[0.1, 1, 9], help="MB of a plain upload (0.1,1,9)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if min(options.sites) < 2 or min(options.sizes) <= 0:
        parser.error("--sites must be at least 2, --sizes above 0")
    found = []
    for sites in options.sites:
        cast = Cast(sites)
        cast.check()
        found += [measure(cast, size_mb) for size_mb in options.sizes]
    if options.json:
        print(json.dumps({"costs": [{**asdict(cost), "bytes_x": cost.bytes_x} for cost in found]}, indent=2))
        return
    print("| sites | plain upload | bytes x | site, s: plain | secure | server, s: plain | secure | one drops out |")
    print("|---|---|---|---|---|---|---|---|")
    for cost in found:
        print(
            f"| {cost.sites} | {cost.plain_bytes / 1e6:.2f} MB | {cost.bytes_x:.2f} | {cost.plain_site_s:.3f} | "
            f"{cost.secure_site_s:.3f} | {cost.plain_server_s:.3f} | {cost.secure_server_s:.3f} | "
            f"{cost.one_drops_out_s:.3f} |"
        )


if __name__ == "__main__":
    main()
