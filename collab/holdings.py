"""Who holds what, in numbers: samples of each class at each client, and how skewed that is.

Measures of labels and sizes only. Whether the images of one class look different from client to client (another
scanner, another hand) is not seen here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES: Mapping[str, float] = {
    "minimum": 0.0,
    "5 %": 0.05,
    "25 %": 0.25,
    "median": 0.5,
    "75 %": 0.75,
    "95 %": 0.95,
    "maximum": 1.0,
}


@dataclass(frozen=True)
class Holdings:
    """Samples of each class at each client, int64 [clients, classes]; `sites` are their names in the data.

    `class_names` are empty where classes have numbers only.
    """

    clients: tuple[str, ...]
    counts: NDArray[np.int64]
    sites: tuple[str, ...] | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        parts: Mapping[str, NDArray[np.int64]],
        labels: NDArray[np.int64],
        classes: int,
        sites: Sequence[str] | None = None,
        class_names: Sequence[str] = (),
    ) -> Holdings:
        """From the indices of each client's samples and the labels, each below `classes`, of all samples."""
        sizes = [len(part) for part in parts.values()]
        cells = np.repeat(np.arange(len(sizes)) * classes, sizes) + labels[np.concatenate(list(parts.values()))]
        counts = np.bincount(cells, minlength=len(sizes) * classes).reshape(len(sizes), classes)
        return cls(tuple(parts), counts, None if sites is None else tuple(sites), tuple(class_names))

    @property
    def classes(self) -> tuple[str, ...]:
        """What each class is called: its name, or else its number."""
        return self.class_names or tuple(str(label) for label in range(self.counts.shape[1]))

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each client, int64 [clients]."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """Samples of each class, int64 [classes]."""
        return np.asarray(self.counts.sum(axis=0))

    @property
    def samples(self) -> int:
        """Samples of all clients."""
        return int(self.counts.sum())

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """The share of each class in what a client holds, float64 [clients, classes]; 0 where it holds nothing."""
        return _shares(self.counts)

    @cached_property
    def classes_held(self) -> NDArray[np.int64]:
        """Classes of which each client holds a sample, int64 [clients]."""
        return np.asarray((self.counts > 0).sum(axis=1))

    @cached_property
    def effective_classes(self) -> NDArray[np.float64]:
        """The effective number of classes of each client, float64 [clients]; 0 where it holds nothing.

        exp of the Shannon entropy of its labels (the Hill number of order 1): as many classes of equal size would
        have this entropy.
        """
        return _effective(self.shares)

    @property
    def empty(self) -> int:
        """Clients that hold nothing."""
        return int((self.sizes == 0).sum())

    @property
    def label_skew(self) -> float:
        """How far the mixtures of the clients are from the whole: 0 if all are alike, towards 1 if each has its own.

        The total variation distance of the labels of each client from those of the whole, meaned over the samples:
        the share of its samples that a client would have to swap to hold the mixture of the whole.
        """
        whole = self.totals / max(1, self.samples)
        distances = np.abs(self.shares - whole).sum(axis=1) / 2
        return float(distances @ self.sizes / max(1, self.samples))

    @property
    def label_skew_by_chance(self) -> float:
        """The `label_skew` to be expected if the samples were dealt at random to clients of these sizes.

        Small clients are skewed by chance alone: one sample is of one class. The mean absolute deviation of a
        binomial count (de Moivre's closed form) for every client and class, times sqrt((N - n) / (N - 1)), since the
        samples are dealt without replacement.
        """
        if self.samples < 2:
            return 0.0
        whole = self.totals / self.samples
        sizes, number = np.unique(self.sizes[self.sizes > 0], return_counts=True)
        remaining = np.sqrt((self.samples - sizes) / (self.samples - 1))
        expected = _mean_deviation(sizes[:, None], whole[None]).sum(axis=1) / 2 * remaining
        return float(expected @ number / self.samples)

    @property
    def size_gini(self) -> float:
        """The Gini coefficient of the sizes: 0 if all clients hold equally much, towards 1 if one holds everything."""
        ranks = 2 * np.arange(1, len(self.sizes) + 1) - len(self.sizes) - 1
        return float(ranks @ np.sort(self.sizes) / (len(self.sizes) * max(1, self.samples)))

    @property
    def size_variation(self) -> float:
        """The coefficient of variation of the sizes: their standard deviation over their mean."""
        return float(self.sizes.std() * len(self.sizes) / max(1, self.samples))

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Quantiles over the clients of what each holds: measure -> name of the quantile -> value."""
        measures = {
            "samples": self.sizes,
            "classes_held": self.classes_held,
            "effective_classes": self.effective_classes,
        }
        return {
            measure: dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))
            for measure, values in measures.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Everything, as maps and lists of plain numbers; measures to six decimals."""
        clients: list[dict[str, Any]] = [
            {
                "client": client,
                **({} if self.sites is None else {"site": self.sites[index]}),
                "samples": int(self.sizes[index]),
                "counts": self.counts[index].tolist(),
                "classes_held": int(self.classes_held[index]),
                "effective_classes": round(float(self.effective_classes[index]), 6),
            }
            for index, client in enumerate(self.clients)
        ]
        return {
            "samples": self.samples,
            **({"class_names": list(self.class_names)} if self.class_names else {}),
            "counts": self.totals.tolist(),
            "effective_classes": round(float(_effective(_shares(self.totals[None]))[0]), 6),
            "label_skew": round(self.label_skew, 6),
            "label_skew_by_chance": round(self.label_skew_by_chance, 6),
            "size_gini": round(self.size_gini, 6),
            "size_variation": round(self.size_variation, 6),
            "empty_clients": self.empty,
            "quantiles": {
                measure: {name: round(value, 6) for name, value in of.items()}
                for measure, of in self.quantiles().items()
            },
            "clients": clients,
        }


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))


def _effective(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.where(shares.any(axis=1), np.exp(-(shares * logarithms).sum(axis=1)), 0.0)


def _mean_deviation(trials: NDArray[np.int64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """E |X - n p| of X ~ Binomial(n, p): 2 m C(n, m) p^m (1 - p)^(n - m + 1) with m = floor(n p) + 1 (de Moivre)."""
    logarithms = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, trials.max() + 1)))))  # of the factorials
    most = np.minimum(np.floor(trials * chance).astype(np.int64) + 1, trials)
    open_ended = (chance > 0) & (chance < 1)
    p = np.where(open_ended, chance, 0.5)
    choices = logarithms[trials] - logarithms[most] - logarithms[trials - most]
    exponent = choices + most * np.log(p) + (trials - most + 1) * np.log1p(-p)
    return np.asarray(np.where(open_ended, 2 * most * np.exp(exponent), 0.0))
