r"""Sums over sites of which a server sees the total and no summand, also when sites drop out on the way.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning" (CCS 2017),
doi:10.1145/3133956.3133982: their protocol against an honest but curious server, with double masking. U1 are the sites
that published keys, numbered 1 ... n; U2 those of them that shared secrets, U3 those that sent a masked vector, U4
those that unmasked; t is the threshold. X(a, B) is X25519 (RFC 7748), H is HKDF-SHA256 (RFC 5869), PRG a mask of the
ring Z_R, R = 2^32 or 2^64 (`collab.privacy.ring`), [z]_v site v's share of z (`collab.privacy.shamir`).

    keys     u -> server: C_u = X(c_u, base), S_u = X(s_u, base); c_u, s_u = H(secret_u)
             server -> u: all C_v, S_v; kappa = SHA-256(n, t, R, all C_v, S_v) goes into every H below
    shares   b_u = H(secret_u, kappa); u -> server, for each v: e_uv = AEAD(k_uv; [s_u]_v, [b_u]_v),
             k_uv = H(X(c_u, C_v), u, v), ChaCha20-Poly1305
    masked   u -> server: y_u = x_u + PRG(b_u) + sum_{v in U2, v > u} PRG(m_uv) - sum_{v in U2, v < u} PRG(m_uv)  mod R,
             m_uv = m_vu = H(X(s_u, S_v), min(u, v), max(u, v))
    unmask   u -> server: [b_v]_u of each v in U3, [s_v]_u of each v in U2 \ U3, opened from e_vu; never both of one v
    server   sum_{U3} x_u = sum_{U3} (y_u - PRG(b_u)) - sum_{u in U3, v in U2 \ U3} sign(v - u) PRG(m_uv)  mod R,
             with b_u and s_v restored from t shares

Why two masks: y_u may arrive after the server gave u up and got s_u from the others; then b_u, which nobody will give
it any more, still hides x_u. A site that answered for one set of survivors therefore must not answer for another one:
this module keeps nothing, so whoever calls it has to see to that (`collab.agents.client` does).

Why m_uv names both rows: for each public key there are others with which X gives the same, 1 / S_v for one. Masks of u
against v and against an accomplice with such a copy of v's key would be the same, and cancel if v and the accomplice
stand on different sides of u.

What holds, if sites follow the protocol as far as they are honest, and X25519, the AEAD and ChaCha20 are what they are
believed to be:

- A server that follows the protocol, and fewer than t sites with it, learn of the others' x_u only the sum over those
  of them in U3, and |U3| >= t. Messages to other sites pass the server sealed.
- A server that lies about who dropped out gets no site's both secrets as long as 2 t > n + n_c, n_c of the n sites
  being its accomplices: it would take 2 (t - n_c) answers of the n - n_c honest sites, who give one each. The
  default, floor(2 n / 3) + 1, bears a third. Such a server can still have different sites unmask different sets, and so
  learn a sum over fewer than t, of one site even if t is close to n / 2; the paper's round of signed consistency
  checks, which forbids it, is not here.
- A server that invents sites or swaps keys learns everything: keys are not signed. Nor is it kept from asking for the
  sums of two runs whose sites differ by one. Nothing here hides what the sum itself tells, such as the data of the only
  site that holds a class; that is what differential privacy is for.
- A dishonest site can add any vector to the sum, or spoil it, and goes unnoticed unless the sum is implausible. Keys
  that are none, and shares that cannot be opened, do not stop the others as long as t of them remain. It learns nothing
  of other sites' vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from collab.errors import RunFailedError
from collab.privacy import shamir
from collab.privacy.ring import KEY_BYTES, Ring, RingBits

Bytes = NDArray[np.uint8]
PUBLIC_BYTES = 32
"""Of one public key."""
SEALED_BYTES = 2 * shamir.SHARE_BYTES + 16
"""Of two shares under authenticated encryption."""
_PRIME = 2**255 - 19
"""Of Curve25519. RFC 7748 takes numbers from it on, and any with the highest bit set, for other ways to write a key."""
FEWEST_SITES = 2
_NO_SHARE = bytes(shamir.SHARE_BYTES)
_DOMAIN = b"collab secure sums 2"


def default_threshold(sites: int) -> int:
    """Of so many sites, more than two thirds."""
    return 2 * sites // 3 + 1


@dataclass(frozen=True)
class PublicKeys:
    """The public keys of sites, row u those of site u + 1: each array uint8 [n, 32]."""

    encryption: Bytes
    masking: Bytes


class Roster:
    """What all sites of one sum agree on: everybody's keys, the threshold, the ring."""

    def __init__(self, keys: PublicKeys, threshold: int | None = None, bits: RingBits = 64) -> None:
        """Raises `RunFailedError` for keys that are malformed or not all different, and for a threshold that cannot be
        met or protects nobody.
        """
        self.keys = keys
        self.size = len(keys.masking)
        """n, the sites that published keys."""
        _check_keys(keys)
        if self.size < FEWEST_SITES:
            raise RunFailedError(f"secure sums need at least {FEWEST_SITES} sites, {self.size} published keys")
        self.threshold = default_threshold(self.size) if threshold is None else threshold
        """t, the sites that must stay until the end."""
        if self.threshold > self.size:
            raise RunFailedError(
                f"{self.size} sites published keys, fewer than the threshold of {self.threshold}: too many dropped out"
            )
        if 2 * self.threshold <= self.size:
            raise RunFailedError(
                f"a threshold of {self.threshold} of {self.size} sites lets a server ask two halves of them for one "
                f"secret each of the same site; expected at least {self.size // 2 + 1}"
            )
        self.ring = Ring(bits)
        agreed = f"{self.size} {self.threshold} {bits}|".encode()
        self.context = hashlib.sha256(_DOMAIN + agreed + _packed(keys.encryption) + _packed(keys.masking)).digest()
        """kappa: what every derived key is bound to."""

    def check_members(self, members: Sequence[int], did: str) -> None:
        """Raise `RunFailedError` unless these rows can be the sites that `did` something: at least t of the roster."""
        if len(set(members)) != len(members) or not all(0 <= row < self.size for row in members):
            raise RunFailedError(
                f"the sites that {did} are rows {list(members)}, expected different ones of {self.size}"
            )
        if len(members) < self.threshold:
            raise RunFailedError(
                f"{len(members)} of {self.size} sites {did}, fewer than the threshold of {self.threshold}: the sum "
                "stays hidden. Start anew with the sites that are there, or set a lower threshold"
            )

    def mask_key(self, private: X25519PrivateKey, mine: int, other: int) -> bytes:
        """m_uv, by the masking secret of the site in row `mine` and the public key of the other's row."""
        ends = _two_rows(min(mine, other), max(mine, other))
        return _derived(_agreed(private, self.keys.masking, other), b"pairwise mask", self.context + ends)


class Participant:
    """One site's part of the protocol. It keeps nothing: everything follows from its secret and what it is told."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 bytes that nobody else can guess, for this sum alone: other integers need another secret."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"the secret of a site has {KEY_BYTES} B, found {len(secret)}")
        self._secret = secret
        self._encryption = X25519PrivateKey.from_private_bytes(_derived(secret, b"encryption key", b""))
        self._masking_bytes = _derived(secret, b"masking key", b"")
        self._masking = X25519PrivateKey.from_private_bytes(self._masking_bytes)

    def keys(self) -> PublicKeys:
        """C_u and S_u, each [1, 32]."""
        return PublicKeys(_row(self._encryption.public_key()), _row(self._masking.public_key()))

    def row_in(self, roster: Roster) -> int:
        """The row of this site's own keys. Raises `RunFailedError` if they are not there."""
        own = self.keys()
        rows = np.flatnonzero((roster.keys.masking == own.masking).all(axis=1))
        if len(rows) != 1 or (roster.keys.encryption[rows[0]] != own.encryption[0]).any():
            raise RunFailedError("the server's list of public keys does not hold the keys that this site sent it")
        return int(rows[0])

    def shares(self, roster: Roster) -> Bytes:
        """e_uv for every row v, uint8 [n, 82]; zeros in this site's own row."""
        me = self.row_in(roster)
        masking = self._split(roster, self._masking_bytes, b"coefficient of the masking key")
        self_mask = self._split(roster, self._self_mask(roster), b"coefficient of the self mask")
        sealed = np.zeros((roster.size, SEALED_BYTES), dtype=np.uint8)
        for other in range(roster.size):
            if other != me:
                both = masking[other] + self_mask[other]
                cipher = ChaCha20Poly1305(self._seal_key(roster, other, sender=me, receiver=other))
                sealed[other] = np.frombuffer(cipher.encrypt(bytes(12), both, None), np.uint8)
        return sealed

    def masked(self, roster: Roster, members: Sequence[int], integers: NDArray[np.int64]) -> NDArray[Any]:
        """y_u [L], of this site's own integers [L], masked against the rows `members`, which are U2."""
        me = self._checked(roster, members, "shared their secrets")
        elements = roster.ring.elements(integers)
        roster.ring.add_mask(elements, self._self_mask(roster))
        for other in members:
            if other != me:
                roster.ring.add_mask(elements, roster.mask_key(self._masking, me, other), 1 if me < other else -1)
        return elements

    def unmasking(self, roster: Roster, members: Sequence[int], survivors: Sequence[int], sealed: Bytes) -> Bytes:
        """The shares that this site reveals, uint8 [n, 33]: of b_v for rows v in `survivors` (U3), of s_v for the other
        `members` (U2), zeros for the rest and where e_vu cannot be opened. `sealed` [n, 82] holds e_vu, by row.
        """
        self._checked(roster, members, "shared their secrets")
        me = self._checked(roster, survivors, "sent masked sums")
        if not set(survivors) <= set(members):
            raise RunFailedError("sites are said to have sent masked sums that shared no secrets")
        own = (
            (self._masking_bytes, b"coefficient of the masking key"),
            (self._self_mask(roster), b"coefficient of the self mask"),
        )
        revealed = np.zeros((roster.size, shamir.SHARE_BYTES), dtype=np.uint8)
        for other in members:
            kept = int(other in set(survivors))
            if other == me:
                share = self._split(roster, *own[kept])[me]
            else:
                share = self._opened(roster, other, me, sealed[other].tobytes())[kept]
            revealed[other] = np.frombuffer(share, np.uint8)
        return revealed

    def _checked(self, roster: Roster, members: Sequence[int], did: str) -> int:
        roster.check_members(members, did)
        me = self.row_in(roster)
        if me not in members:
            raise RunFailedError(f"this site is not among those that {did}, yet is asked as if it were")
        return me

    def _self_mask(self, roster: Roster) -> bytes:
        return _derived(self._secret, b"self mask", roster.context)

    def _split(self, roster: Roster, secret: bytes, purpose: bytes) -> list[bytes]:
        coefficients = [
            _derived(self._secret, purpose, roster.context + degree.to_bytes(4, "little"), shamir.COEFFICIENT_BYTES)
            for degree in range(1, roster.threshold)
        ]
        return shamir.split(secret, roster.size, coefficients)

    def _seal_key(self, roster: Roster, other: int, *, sender: int, receiver: int) -> bytes:
        ends = _two_rows(sender, receiver)
        return _derived(_agreed(self._encryption, roster.keys.encryption, other), b"share", roster.context + ends)

    def _opened(self, roster: Roster, sender: int, me: int, sealed: bytes) -> tuple[bytes, bytes]:
        """Shares of both secrets of a sender; zeros if they were altered on their way, or never right."""
        key = self._seal_key(roster, sender, sender=sender, receiver=me)
        try:
            both = ChaCha20Poly1305(key).decrypt(bytes(12), sealed, None)
        except InvalidTag:
            return _NO_SHARE, _NO_SHARE
        return both[: shamir.SHARE_BYTES], both[shamir.SHARE_BYTES :]


class Collector:
    """The server's part: one running sum, however many sites there are."""

    def __init__(self, roster: Roster, members: Sequence[int], length: int) -> None:
        """`members` are the rows of U2, `length` is L."""
        roster.check_members(members, "shared their secrets")
        self.roster = roster
        self.survivors: list[int] = []
        """Rows of U3 so far."""
        self._members = list(members)
        self._sum = np.zeros(length, dtype=roster.ring.dtype)

    def add(self, row: int, masked: NDArray[Any]) -> None:
        """Fold in y_u [L] of the site in a row of U2, once."""
        if row not in self._members or row in self.survivors:
            raise RunFailedError(f"a masked sum of row {row} is not wanted, or was added before")
        self.survivors.append(row)
        self._sum += masked.astype(self.roster.ring.dtype, copy=False)

    def total(self, revealed: Mapping[int, Bytes]) -> NDArray[np.int64]:
        """The sum [L] of the integers of all survivors; `revealed` holds the shares [n, 33] of each row in U4.

        Raises `RunFailedError` if fewer than t are left, or shares do not give the secrets that they should.
        """
        self.roster.check_members(self.survivors, "sent masked sums")
        self.roster.check_members(sorted(revealed), "helped to unmask")
        ring, total = self.roster.ring, self._sum.copy()
        recoveries: dict[tuple[int, ...], shamir.Recovery] = {}
        for row in self._members:
            secret = self._restored(row, revealed, recoveries)
            if row in self.survivors:
                ring.add_mask(total, secret, -1)
            else:
                self._take_away_pairwise(total, row, secret)
        return ring.integers(total)

    def _restored(
        self, row: int, revealed: Mapping[int, Bytes], recoveries: dict[tuple[int, ...], shamir.Recovery]
    ) -> bytes:
        """The secret of a row, by the first t holders that have a share of it; `recoveries` keeps their weights."""
        holders = [holder for holder in sorted(revealed) if revealed[holder][row].any()]
        if len(holders) < self.roster.threshold:
            raise RunFailedError(
                f"{len(holders)} sites have a share of the secret of the site in row {row}, fewer than the threshold "
                f"of {self.roster.threshold}: what it sent the others cannot be opened. Start anew without it"
            )
        chosen = tuple(holder + 1 for holder in holders[: self.roster.threshold])
        if chosen not in recoveries:
            recoveries[chosen] = shamir.Recovery(chosen)
        recovery = recoveries[chosen]
        try:
            return recovery.secret({holder: revealed[holder - 1][row].tobytes() for holder in chosen})
        except ValueError as error:
            raise RunFailedError(f"the secret of the site in row {row} cannot be restored: {error}") from error

    def _take_away_pairwise(self, total: NDArray[Any], dropped: int, secret: bytes) -> None:
        """What the survivors masked against a site that dropped out, with its masking secret."""
        masking = X25519PrivateKey.from_private_bytes(secret)
        if (_row(masking.public_key())[0] != self.roster.keys.masking[dropped]).any():
            raise RunFailedError(f"the shares of row {dropped}'s masking key give another key: a site sent a wrong one")
        for row in self.survivors:
            mask_key = self.roster.mask_key(masking, dropped, row)
            self.roster.ring.add_mask(total, mask_key, -1 if row < dropped else 1)


def usable(keys: PublicKeys, others: Iterable[PublicKeys]) -> bool:
    """Whether one site's keys, each [1, 32], can be agreed with, are written in the one way that is allowed, and are
    nobody else's.
    """
    probe = X25519PrivateKey.from_private_bytes(_DOMAIN.ljust(KEY_BYTES))
    try:
        for key in (keys.encryption[0], keys.masking[0]):
            probe.exchange(X25519PublicKey.from_public_bytes(key.tobytes()))
    except ValueError:
        return False
    taken = {octets for other in others for octets in (*_each(other.encryption), *_each(other.masking))}
    own = {*_each(keys.encryption), *_each(keys.masking)}
    return len(own) == 2 and not own & taken and all(map(_is_canonical, own))


def _check_keys(keys: PublicKeys) -> None:
    for name, rows in (("encryption", keys.encryption), ("masking", keys.masking)):
        if rows.ndim != 2 or rows.shape != (len(keys.masking), PUBLIC_BYTES) or rows.dtype != np.uint8:
            raise RunFailedError(
                f"{name} keys are {rows.dtype} {list(rows.shape)}, expected uint8 [sites, {PUBLIC_BYTES}]"
            )
    everyone = [*_each(keys.encryption), *_each(keys.masking)]
    for key, octets in enumerate(everyone):
        if not _is_canonical(octets):
            raise RunFailedError(
                f"the public key in row {key % len(keys.masking)} is none that a site makes: expected a number below "
                "2^255 - 19, since a greater one is another's key in disguise"
            )
    if len(set(everyone)) != len(everyone):
        raise RunFailedError("two of the public keys are the same: each site has two keys of its own")


def _is_canonical(key: bytes) -> bool:
    """Whether a key is written as X25519 itself would write it."""
    return int.from_bytes(key, "little") < _PRIME


def _two_rows(first: int, second: int) -> bytes:
    return first.to_bytes(4, "little") + second.to_bytes(4, "little")


def _derived(secret: bytes, purpose: bytes, context: bytes, size_bytes: int = KEY_BYTES) -> bytes:
    """H: bytes for one purpose, that say nothing about the secret or about those for another."""
    info = b"|".join((_DOMAIN, purpose, context))
    return HKDF(algorithm=hashes.SHA256(), length=size_bytes, salt=None, info=info).derive(secret)


def _agreed(private: X25519PrivateKey, publics: Bytes, row: int) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(publics[row].tobytes()))
    except ValueError:
        raise RunFailedError(f"the public key in row {row} is none that keys can be agreed with") from None


def _row(public: X25519PublicKey) -> Bytes:
    return np.frombuffer(public.public_bytes_raw(), np.uint8)[None]


def _packed(rows: Bytes) -> bytes:
    return np.ascontiguousarray(rows).tobytes()


def _each(rows: Bytes) -> Iterable[bytes]:
    return (row.tobytes() for row in rows)
