from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.holdings import QUANTILES, Holdings

COUNTS = st.integers(1, 6).flatmap(
    lambda classes: st.lists(st.lists(st.integers(0, 50), min_size=classes, max_size=classes), min_size=1, max_size=8)
)


def make(counts, sites=None):
    return Holdings(tuple(f"client-{i}" for i in range(len(counts))), np.array(counts), sites)


def test_counts_come_from_indices_and_labels():
    labels = np.array([0, 2, 2, 0, 1])
    parts = {"a": np.array([4, 1, 0]), "b": np.array([], dtype=np.int64), "c": np.array([2, 3])}
    holdings = Holdings.of(parts, labels, 4, ["x", "y", "z"])
    assert holdings.clients == ("a", "b", "c")
    assert holdings.sites == ("x", "y", "z")
    assert holdings.counts.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
    assert holdings.sizes.tolist() == [3, 0, 2]
    assert holdings.totals.tolist() == [2, 1, 2, 0]
    assert holdings.samples == 5
    assert holdings.empty == 1
    assert holdings.classes_held.tolist() == [3, 0, 2]


def test_the_effective_number_of_classes():
    """Of a halves and b quarters it is 2^(a/2) 4^(b/4)."""
    holdings = make([[7, 0, 0], [5, 5, 0], [2, 1, 1], [0, 0, 0]])
    np.testing.assert_allclose(holdings.effective_classes, [1, 2, math.sqrt(2) * 2, 0])


def test_clients_that_are_alike():
    holdings = make([[1, 3], [2, 6], [10, 30]])
    assert holdings.label_skew == pytest.approx(0)
    assert make([[4, 4]] * 5).size_gini == pytest.approx(0)
    assert make([[4, 4]] * 5).size_variation == pytest.approx(0)


def test_clients_with_a_class_of_their_own():
    holdings = make(np.diag([10] * 8))
    assert holdings.label_skew == pytest.approx(1 - 1 / 8)
    np.testing.assert_allclose(holdings.effective_classes, 1)


def test_skew_by_chance_is_that_of_samples_dealt_at_random():
    sizes, totals = [1, 3, 3, 10, 25, 58, 0], [50, 30, 15, 5, 0]
    labels = np.repeat(np.arange(5), totals)
    draws = np.random.default_rng(0)
    dealt = []
    for _ in range(2000):
        parts = np.split(draws.permutation(100), np.cumsum(sizes)[:-1])
        dealt.append(Holdings.of({str(i): part for i, part in enumerate(parts)}, labels, 5))
    assert dealt[0].label_skew_by_chance == pytest.approx(np.mean([one.label_skew for one in dealt]), rel=0.02)


def test_skew_by_chance_at_its_ends():
    singles = make(np.eye(4, dtype=int)[np.arange(200) % 4])
    assert singles.label_skew_by_chance == pytest.approx(0.75)  # a client of one sample is of one class in four
    assert make([[3, 4]]).label_skew_by_chance == 0
    assert make([[5], [4]]).label_skew_by_chance == 0
    assert make([[1, 0], [0, 0]]).label_skew_by_chance == 0


def test_one_client_holds_everything():
    holdings = make([[0, 0], [3, 5], [0, 0], [0, 0]])
    assert holdings.size_gini == pytest.approx(1 - 1 / 4)
    assert holdings.size_variation == pytest.approx(math.sqrt(3))
    assert holdings.empty == 3


def test_nobody_holds_anything():
    holdings = make([[0, 0], [0, 0]])
    assert (holdings.label_skew, holdings.size_gini, holdings.size_variation) == (0, 0, 0)
    assert holdings.as_json()["effective_classes"] == 0


@given(COUNTS)
def test_measures_against_their_definitions(counts):
    """The Gini coefficient as the mean difference of all pairs, the skew sample by sample, the entropy term by term."""
    holdings = make(counts)
    sizes, total = [sum(row) for row in counts], sum(map(sum, counts))
    if total:
        pairs = sum(abs(a - b) for a in sizes for b in sizes)
        assert holdings.size_gini == pytest.approx(pairs / (2 * len(sizes) * total))
        whole = [sum(column) / total for column in zip(*counts, strict=True)]
        skew = sum(
            size * sum(abs(count / size - share) for count, share in zip(row, whole, strict=True)) / 2
            for row, size in zip(counts, sizes, strict=True)
            if size
        )
        assert holdings.label_skew == pytest.approx(skew / total)
    for row, size, effective in zip(counts, sizes, holdings.effective_classes, strict=True):
        entropy = -sum(count / size * math.log(count / size) for count in row if count)
        assert effective == pytest.approx(math.exp(entropy) if size else 0)
    assert 0 <= holdings.label_skew <= 1
    assert 0 <= holdings.size_gini < 1


def test_quantiles_are_over_clients():
    quantiles = make([[n, 0] for n in range(101)]).quantiles()
    assert list(quantiles) == ["samples", "classes_held", "effective_classes"]
    assert list(quantiles["samples"]) == list(QUANTILES)
    assert list(quantiles["samples"].values()) == pytest.approx([0, 5, 25, 50, 75, 95, 100])
    assert quantiles["classes_held"]["minimum"] == 0
    assert quantiles["classes_held"]["5 %"] == 1


def test_as_json_it_is_plain_numbers():
    found = json.loads(json.dumps(make([[1, 3], [0, 0]], ("north", "south")).as_json()))
    assert found["clients"] == [
        {
            "client": "client-0", "site": "north", "samples": 4, "counts": [1, 3], "classes_held": 2,
            "effective_classes": pytest.approx(1.754765),
        },
        {"client": "client-1", "site": "south", "samples": 0, "counts": [0, 0], "classes_held": 0,
         "effective_classes": 0.0},
    ]  # fmt: skip
    assert (found["samples"], found["counts"], found["empty_clients"]) == (4, [1, 3], 1)
    assert "site" not in make([[1]]).as_json()["clients"][0]
