"""What a network takes for what: the counts of the test data by site, true class and predicted class.

Accuracy, precision, recall and the rates of a detector are all made of these counts, see `collab.store.detection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collab.data.sites import site_names

MOST_CLASSES = 100
"""Of data with more classes nothing is counted: nobody reads a table of more than 10,000 cells for every network."""
MOST_SITES = 64
"""More sites than these are counted as one."""
ALL_SITES = ""
"""The name of the only site where the data set knows none, or too many."""


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """How often a sample of a class was taken for one of another.

    Attributes:
        sites: where samples were taken, in the order of `counts`; one, `ALL_SITES`, if that is not known.
        counts: int64 [sites, classes, classes]: rows are true classes, columns predicted ones.
    """

    sites: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int64],
        predicted: NDArray[np.int64],
        classes: int,
        sites: NDArray[np.str_] | None = None,
    ) -> Confusion:
        """The counts of samples by their label [n], what was predicted of each [n], and their site, text [n]."""
        names = (ALL_SITES,) if sites is None else tuple(site_names(sites))
        numbers = np.zeros(len(labels), dtype=np.int64)
        if sites is None or len(names) > MOST_SITES:
            names = (ALL_SITES,)
        else:
            number_of = {name: number for number, name in enumerate(names)}
            numbers = np.array([number_of[site] for site in sites.tolist()], dtype=np.int64)
        places = (numbers * classes + labels) * classes + predicted
        counts = np.bincount(places, minlength=len(names) * classes**2).astype(np.int64)
        return cls(names, counts.reshape(len(names), classes, classes))

    @classmethod
    def summed(cls, confusions: Sequence[Confusion]) -> Confusion:
        """The counts of several networks, at least one, tested on the same data, added up."""
        return cls(confusions[0].sites, np.sum([each.counts for each in confusions], axis=0))

    @property
    def whole(self) -> NDArray[np.int64]:
        """The counts of all sites together, [classes, classes]."""
        whole: NDArray[np.int64] = self.counts.sum(axis=0)
        return whole

    def by_site(self) -> dict[str, list[list[int]]]:
        """The counts by the name of the site, as plain lists."""
        return dict(zip(self.sites, self.counts.tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Confusion):
            return NotImplemented
        return self.sites == other.sites and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.sites, self.counts.tobytes()))
