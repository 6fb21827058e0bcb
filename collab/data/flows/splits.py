"""Which windows judge, of those that a file gives.

Flows of one capture resemble their neighbours, so a random split, the paper's, puts windows that are all but copies of
each other on both sides, and its accuracy is that of a detector which has seen this very attack. `blocks` judges by the
end of each capture; `sessions` by whole captures: the same kind of attack, on another day or at another station. For
both, windows hold flows of one capture only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collab.errors import DataError
from simnet.draws import generator


@dataclass(frozen=True)
class Origins:
    """Of each window: its class, the attack that it mostly is, its station, its session, the row of its first flow."""

    classes: NDArray[np.int64]
    attacks: NDArray[np.int64]
    stations: NDArray[np.int64]
    sessions: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)


def judging(
    origins: Origins, split: Literal["random", "blocks", "sessions"], share: float, seed: int, source: str
) -> NDArray[np.bool_]:
    """Whether each window judges; about `share` of all do. Raises `DataError` if one side would be empty."""
    match split:
        case "random":
            chosen = np.zeros(len(origins), bool)
            order = generator(seed, "flows", "split").permutation(len(origins))
            chosen[order[: round(share * len(origins))]] = True
        case "blocks":
            chosen = _ends(origins, share)
        case "sessions":
            chosen = _whole_sessions(origins, share, seed, source)
    if chosen.all() or not chosen.any():
        raise DataError(
            f"{source}: of {len(origins)} images {chosen.sum()} would judge; give it more flows, or another "
            "dataset.test_share or dataset.split"
        )
    return chosen


def _ends(origins: Origins, share: float) -> NDArray[np.bool_]:
    """Of each attack in each session the last windows: `share` of them, rounded, but not all."""
    chosen = np.zeros(len(origins), bool)
    keys = np.stack([origins.stations, origins.sessions, origins.attacks], axis=1)
    _, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    for part in range(int(which.max()) + 1 if len(which) else 0):
        own = np.flatnonzero(which == part)
        own = own[np.argsort(origins.rows[own], kind="stable")]
        size = min(round(share * len(own)), len(own) - 1)
        chosen[own[len(own) - size :]] = True
    return chosen


def _whole_sessions(origins: Origins, share: float, seed: int, source: str) -> NDArray[np.bool_]:
    """Whole sessions: in a drawn order one that has each class, the rarest first, then others as long as they fit into
    `share`; none that leaves a class nothing to learn from. One of each class may be more than `share`.
    """
    sessions = np.unique(origins.sessions)
    if len(sessions) < 2:
        raise DataError(
            f"{source}: all flows are of one capture session, so none can be kept back; use dataset.split: blocks, or "
            "say in the mapping what a session is"
        )
    classes = int(origins.classes.max()) + 1
    held = {
        session: np.bincount(origins.classes[origins.sessions == session], minlength=classes)
        for session in generator(seed, "flows", "sessions").permutation(sessions).tolist()
    }
    left = np.bincount(origins.classes)
    rarest_first = np.argsort(left, kind="stable").tolist()
    kept_back: set[int] = set()

    def keep_back(session: int) -> None:
        kept_back.add(session)
        left[:] -= held[session]

    def can_be_spared(session: int) -> bool:
        """Whether training keeps something of each class that the session has."""
        return bool((left > held[session])[held[session] > 0].all())

    for label in rarest_first:
        with_it = [session for session in held if held[session][label]]
        if kept_back.isdisjoint(with_it) and (first := next(filter(can_be_spared, with_it), None)) is not None:
            keep_back(first)
    most = share * len(origins)
    for session in [session for session in held if session not in kept_back]:
        if len(origins) - left.sum() + held[session].sum() <= most and can_be_spared(session):
            keep_back(session)
    chosen = np.isin(origins.sessions, list(kept_back))
    if not chosen.any():
        raise DataError(
            f"{source}: there is no capture session without which every class is left something to learn from; use "
            "dataset.split: blocks"
        )
    return chosen
