from __future__ import annotations

import numpy as np
import pytest

from collab.confusion import ALL_SITES, MOST_SITES, Confusion

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 2, 1, 0, 2])
SITES = np.array(["BTS_10", "BTS_2", "BTS_2", "BTS_10", "BTS_10", "BTS_2"])


def test_samples_are_counted_by_true_class_and_predicted_class():
    found = Confusion.of(LABELS, PREDICTED, 4)
    assert found.by_site() == {ALL_SITES: [[2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]}
    assert found.counts.dtype == np.int64


def test_sites_are_counted_apart_in_their_order():
    found = Confusion.of(LABELS, PREDICTED, 3, SITES)
    assert found.by_site() == {
        "BTS_2": [[1, 0, 1], [0, 0, 0], [0, 0, 1]],
        "BTS_10": [[1, 0, 0], [1, 1, 0], [0, 0, 0]],
    }
    assert found.sites == ("BTS_2", "BTS_10")
    assert found.whole.tolist() == Confusion.of(LABELS, PREDICTED, 3).whole.tolist()


@pytest.mark.parametrize(("sites", "kept"), [(MOST_SITES, MOST_SITES), (MOST_SITES + 1, 1)])
def test_very_many_sites_are_counted_as_one(sites, kept):
    labels = np.arange(sites) % 3
    found = Confusion.of(labels, labels, 3, np.array([f"writer-{number}" for number in range(sites)]))
    assert len(found.sites) == kept
    assert found.whole.trace() == sites


def test_confusions_add_up_and_compare_by_their_counts():
    one = Confusion.of(LABELS, PREDICTED, 3, SITES)
    assert Confusion.summed([one, one]).by_site()["BTS_2"] == [[2, 0, 2], [0, 0, 0], [0, 0, 2]]
    assert one == Confusion.of(LABELS, PREDICTED, 3, SITES)
    assert hash(one) == hash(Confusion.of(LABELS, PREDICTED, 3, SITES))
    assert one != Confusion.of(LABELS, LABELS, 3, SITES)
    assert one != Confusion.of(LABELS, PREDICTED, 3)
