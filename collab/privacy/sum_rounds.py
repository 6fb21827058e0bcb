"""The exchanges of a secure sum: what the server asks in each, and what a site answers.

The server asks four times, and each time only those who answered before; whoever is missing has dropped out. A question
says by what it holds which of the four it is:

    holds               asks for                                                  answer, of n sites
    nothing             public keys                                               keys: encryption, masking [1, 32]
    keys                shares of this site's secrets, sealed for each other      shares: sealed [n, 82]
    keys, seeds         the site's own vector, masked                             masked: sums, weights
    keys, shares        shares of the others' secrets, to unmask the total        unmasking: shares [n, 33]

`keys` are those of all sites, row by row, and from the third exchange on `reached` [n], how many exchanges each site
has answered; `seeds` may hold whatever a site needs to know for its vector. A site therefore needs to remember nothing
but its secret, and what it has answered, see `question_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collab.errors import RunFailedError
from collab.expectations import Expectations, Expected, Sections
from collab.privacy.ring import Ring
from collab.privacy.secure_sums import (
    PUBLIC_BYTES,
    SEALED_BYTES,
    Bytes,
    Collector,
    Participant,
    PublicKeys,
    Roster,
    usable,
)
from collab.privacy.shamir import SHARE_BYTES
from collab.wire import Section, encode

EXCHANGES = 4
KINDS_UP = frozenset({"keys", "shares", "masked", "unmasking"})
KINDS_DOWN = frozenset({"keys", "shares", "seeds"})
_KEYS, _SHARES, _MASKED, _UNMASKING = "public keys", "shares of its secrets", "masked sums", "shares to unmask"
_OCTET = 255
_ONE_WORD = Ring(64).dtype


class SumShape(NamedTuple):
    """What a site's vector consists of: sums [rows, classes, size], and weights [classes]."""

    rows: int
    classes: int
    size: int

    @property
    def length(self) -> int:
        """L, the numbers of both together."""
        return self.rows * self.classes * self.size + self.classes


class Question(NamedTuple):
    """What goes to a site in one exchange, and what has to come back."""

    sections: Sections
    expects: Expectations


@dataclass(frozen=True)
class Exchange:
    """One of the four: the question for each site, the same object where it is the same, and where answers go."""

    questions: Mapping[str, Question]
    take: Callable[[str, Sections], None]
    """Takes the answer of a site; one without content is none."""


# -- at a site -----------------------------------------------------------------------------------


def question_of(sections: Sections) -> str | None:
    """What a question asks for, if no two such questions may be answered; None for public keys."""
    asked = _asked(sections)
    return None if asked == _KEYS else asked


def answer(
    participant: Participant,
    sections: Sections,
    threshold: int | None,
    shape: SumShape,
    vector: Callable[[int], NDArray[np.int64]],
) -> Sections:
    """A site's answer to a question. `vector` gives its integers [L] for a sum over so many sites.

    Raises `RunFailedError` for a question that an honest server does not ask.
    """
    asked = _asked(sections)
    if asked == _KEYS:
        keys = participant.keys()
        return {"keys": _key_section(keys)}
    section = sections["keys"]
    roster = Roster(PublicKeys(section["encryption"].values(), section["masking"].values()), threshold)
    if asked == _SHARES:
        return {"shares": {"sealed": encode(participant.shares(roster))}}
    members, survivors = _reached(section, roster.size, 2), _reached(section, roster.size, 3)
    if asked == _MASKED:
        elements = participant.masked(roster, members, vector(roster.size))
        sums, weights = elements[: -shape.classes], elements[-shape.classes :]
        return {"masked": {"sums": encode(sums.reshape(shape)), "weights": encode(weights)}}
    sealed = sections["shares"]["sealed"].values()
    if sealed.shape != (roster.size, SEALED_BYTES):
        raise RunFailedError(f"sealed shares are {list(sealed.shape)}, expected [{roster.size}, {SEALED_BYTES}]")
    return {"unmasking": {"shares": encode(participant.unmasking(roster, members, survivors, sealed))}}


def _asked(sections: Sections) -> str:
    if "shares" in sections:
        return _UNMASKING
    if "seeds" in sections:
        return _MASKED
    return _SHARES if "keys" in sections else _KEYS


def _reached(section: Section, sites: int, exchanges: int) -> list[int]:
    """The rows of the sites that have answered so many exchanges at least."""
    reached = section["reached"].values() if "reached" in section else np.zeros(0, np.uint8)
    if reached.shape != (sites,):
        raise RunFailedError(f"the server says of {len(reached)} sites how far they came, expected {sites}")
    return np.flatnonzero(reached >= exchanges).tolist()


# -- at the server -------------------------------------------------------------------------------


class SumRounds:
    """The server's side of one secure sum over sites."""

    def __init__(self, sites: Sequence[str], threshold: int | None, shape: SumShape, seeds: Section) -> None:
        """`seeds` goes to the sites with the question for their vectors."""
        self._sites = sites
        self._threshold = threshold
        self._shape = shape
        self._seeds = seeds
        self._keys: dict[str, PublicKeys] = {}
        self._shares: dict[str, Bytes] = {}
        self._revealed: dict[int, Bytes] = {}

    def exchanges(self) -> Iterator[Exchange]:
        """The four exchanges, each made of the answers to those before.

        Raises `RunFailedError` as soon as too few sites are left.
        """
        yield self._asking(self._sites, {}, _expected_keys(), self._take_keys)
        there = [site for site in self._sites if site in self._keys]
        self._row = {site: row for row, site in enumerate(there)}
        roster = Roster(_joined([self._keys[site] for site in there]), self._threshold)
        keys = _key_section(roster.keys)
        yield self._asking(
            there, {"keys": keys}, _expected_octets("shares", "sealed", roster.size, SEALED_BYTES), self._take_shares
        )
        members = [site for site in there if site in self._shares]
        self._collector = Collector(roster, [self._row[site] for site in members], self._shape.length)
        reached = np.ones(roster.size, dtype=np.uint8)
        reached[[self._row[site] for site in members]] = 2
        asked = {"keys": {**keys, "reached": encode(reached)}, "seeds": self._seeds}
        yield self._asking(members, asked, _expected_masked(self._shape), self._take_masked)
        survivors = [site for site in members if self._row[site] in self._collector.survivors]
        roster.check_members(self._collector.survivors, "sent masked sums")
        reached[self._collector.survivors] = 3
        keys = {**keys, "reached": encode(reached)}
        expects = _expected_octets("unmasking", "shares", roster.size, SHARE_BYTES)
        questions = {
            site: Question({"keys": keys, "shares": {"sealed": encode(self._sealed_for(site))}}, expects)
            for site in survivors
        }
        yield Exchange(questions, self._take_revealed)

    def total(self) -> NDArray[np.int64]:
        """The sum [L] over the sites whose masked vectors came. Raises `RunFailedError` if too few helped to unmask."""
        return self._collector.total(self._revealed)

    def _asking(
        self, sites: Sequence[str], sections: Sections, expects: Expectations, take: Callable[[str, Sections], None]
    ) -> Exchange:
        return Exchange(dict.fromkeys(sites, Question(sections, expects)), take)

    def _take_keys(self, site: str, sections: Sections) -> None:
        if "keys" in sections:
            section = sections["keys"]
            keys = PublicKeys(section["encryption"].values(), section["masking"].values())
            if usable(keys, self._keys.values()):  # else the site counts as one that has dropped out
                self._keys[site] = keys

    def _take_shares(self, site: str, sections: Sections) -> None:
        if "shares" in sections:
            self._shares[site] = sections["shares"]["sealed"].values()

    def _take_masked(self, site: str, sections: Sections) -> None:
        if "masked" in sections:
            section = sections["masked"]
            parts = [section[name].values().reshape(-1) for name in ("sums", "weights")]
            self._collector.add(self._row[site], np.concatenate(parts))

    def _take_revealed(self, site: str, sections: Sections) -> None:
        if "unmasking" in sections:
            self._revealed[self._row[site]] = sections["unmasking"]["shares"].values()

    def _sealed_for(self, site: str) -> Bytes:
        """What the others have sealed for a site, in their rows."""
        sealed = np.zeros((len(self._row), SEALED_BYTES), dtype=np.uint8)
        for sender, shares in self._shares.items():
            sealed[self._row[sender]] = shares[self._row[site]]
        return sealed


def answer_bytes(shape: SumShape, sites: int) -> int:
    """Closed formula: bytes of the tensors that a site sends in all four exchanges, without envelopes.

    8 L for the masked vector, and 64 + 82 n + 33 n for keys and shares among n sites.
    """
    return _ONE_WORD.itemsize * shape.length + 2 * PUBLIC_BYTES + (SEALED_BYTES + SHARE_BYTES) * sites


def _key_section(keys: PublicKeys) -> Section:
    return {"encryption": encode(keys.encryption), "masking": encode(keys.masking)}


def _joined(each: Sequence[PublicKeys]) -> PublicKeys:
    nobody = np.zeros((0, PUBLIC_BYTES), dtype=np.uint8)
    encryption = np.concatenate([nobody, *(keys.encryption for keys in each)])
    return PublicKeys(encryption, np.concatenate([nobody, *(keys.masking for keys in each)]))


def _expected_keys() -> Expectations:
    key = Expected("uint8", (1, PUBLIC_BYTES), 0, _OCTET)
    return {"keys": {"encryption": key, "masking": key}}


def _expected_octets(kind: str, name: str, rows: int, width: int) -> Expectations:
    return {kind: {name: Expected("uint8", (rows, width), 0, _OCTET)}}


def _expected_masked(shape: SumShape) -> Expectations:
    largest = 2**64 - 1
    return {
        "masked": {
            "sums": Expected("uint64", tuple(shape), 0, largest),
            "weights": Expected("uint64", (shape.classes,), 0, largest),
        }
    }
