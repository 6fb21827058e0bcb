"""What the tests of every scheme ask of a division."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

LABELS = np.repeat(np.arange(10), 100)
SEEDS = st.integers(0, 2**63 - 1)
# Classes of any size, some of them without a sample, in any order.
ANY_LABELS = st.builds(
    lambda sizes, seed: np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)),
    st.lists(st.integers(0, 30), min_size=1, max_size=9).filter(any),
    st.integers(0, 100),
)


def assert_complete(parts, labels):
    """Every sample belongs to exactly one client."""
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert all(part.dtype == np.int64 for part in parts)


def class_counts(parts, labels):
    """Samples of each client and class, [clients, classes]."""
    return np.array([np.bincount(labels[part], minlength=labels.max() + 1) for part in parts])


def sizes(parts):
    """Samples of each client."""
    return np.array([len(part) for part in parts])
