"""Windows: so many flows in a row as make an image, with what they are and where they come from.

By label, a window holds flows of one kind of attack (or benign ones) of one station, in their order: pure, as the paper
has them, and as no detector meets them, since that would have to know what they are. By time, it holds whatever flows
follow each other in a capture; its class is that of most of its flows, and of an attack rather than of benign traffic
where these are equally many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collab.data.flows.flow_format import FlowFormat
from collab.data.flows.reading import FlowBatch


@dataclass(frozen=True)
class Windows:
    """Some windows: float32 [n, flows, features], and of each its class, the attack that it mostly is, its station,
    the session and the row of its first flow, and which attacks occur in it, bool [n, attacks].
    """

    values: NDArray[np.float32]
    classes: NDArray[np.int64]
    attacks: NDArray[np.int64]
    stations: NDArray[np.int64]
    sessions: NDArray[np.int64]
    rows: NDArray[np.int64]
    held: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)


def windows_of(
    batches: Iterable[FlowBatch],
    form: FlowFormat,
    flows: int,
    by: Literal["label", "time"],
    *,
    across_sessions: bool = True,
) -> Iterator[Windows]:
    """Windows of `flows` flows, as soon as one is full; what is left at the end makes none.

    By label one may reach over several captures of a station, unless `across_sessions` is false: where captures are to
    be kept apart, none may hold flows of two.
    """
    piles: dict[int, _Pile] = {}
    attacks = len(form.attacks)
    for batch in batches:
        places = batch.stations if by == "label" and across_sessions else batch.sessions
        key = places * attacks + batch.attacks if by == "label" else places
        order = np.argsort(key, kind="stable")
        ends = np.flatnonzero(np.diff(key[order])) + 1
        for own in np.split(order, ends):
            if len(own):
                full = piles.setdefault(int(key[own[0]]), _Pile()).add(batch, own, flows)
                if full is not None:
                    yield _labelled(*full, form, flows)


_Piled = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass
class _Pile:
    """Flows that wait for their window to fill: their values, and attack, station, session and row of each."""

    values: list[NDArray[np.float32]] = field(default_factory=list)
    facts: list[NDArray[np.int64]] = field(default_factory=list)
    size: int = 0

    def add(self, batch: FlowBatch, own: NDArray[np.int64], flows: int) -> _Piled | None:
        """Put some on the pile; what fills whole windows is taken off it."""
        facts = (batch.attacks, batch.stations, batch.sessions, batch.rows)
        self.values.append(batch.values[own])
        self.facts.append(np.stack([fact[own] for fact in facts], axis=1))
        self.size += len(own)
        if self.size < flows:
            return None
        values, held = np.concatenate(self.values), np.concatenate(self.facts)
        whole = self.size // flows * flows
        self.values, self.facts, self.size = [values[whole:].copy()], [held[whole:].copy()], self.size - whole
        return values[:whole], held[:whole]


def _labelled(values: NDArray[np.float32], facts: NDArray[np.int64], form: FlowFormat, flows: int) -> Windows:
    count = len(values) // flows
    attacks = facts[:, 0].reshape(count, flows)
    of_attack = _counted(attacks, len(form.attacks))
    class_of_attack = np.array(form.class_of_attack)
    of_class = _counted(class_of_attack[attacks], len(form.class_names))
    # Of classes that are equally many the first wins, benign last.
    rank = of_class * 2 + (np.arange(of_class.shape[1]) != form.benign_class)
    classes = rank.argmax(axis=1)
    mostly = np.where(class_of_attack[None] == classes[:, None], of_attack, -1).argmax(axis=1)
    first = facts[::flows].copy()  # a view would keep all of them
    places = first[:, 1], first[:, 2], first[:, 3]
    return Windows(values.reshape(count, flows, -1), classes, mostly, *places, of_attack > 0)


def _counted(numbers: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """How often each of 0 ... most - 1 is in each row, int64 [rows, most]."""
    rows = np.arange(len(numbers))[:, None] * most
    return np.bincount((rows + numbers).ravel(), minlength=len(numbers) * most).reshape(len(numbers), most)
