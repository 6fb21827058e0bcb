from __future__ import annotations

import numpy as np
import torch

from collab.pooling import Union
from tests.collab.fleets import gaussians

SPEC = gaussians().spec


def labelled(labels, start=0):
    values = np.arange(start, start + len(labels), dtype=np.float32)
    return values[:, None, None, None] * np.ones((1, 1, 16, 16), np.float32), np.asarray(labels)


def numbers(union):
    return union.synthetic().images[:, 0, 0, 0].tolist()


def test_everything_is_kept_by_class_in_an_order_of_its_own():
    sites = {"a": labelled([2, 0, 2]), "b": labelled([0, 1], 10)}
    first, second = Union(SPEC, None, 1), Union(SPEC, None, 1)
    for site, sent in sites.items():
        first.add(site, *sent)
    for site, sent in reversed(sites.items()):
        second.add(site, *sent)
    assert first.synthetic().labels.tolist() == [0, 0, 1, 2, 2]
    assert sorted(numbers(first)) == [0, 1, 2, 10, 11]
    assert numbers(first) == numbers(second)
    assert first.synthetic().expand == 1


def test_a_budget_leaves_out_at_random():
    left_out = set()
    for seed in range(20):
        union = Union(SPEC, 2, seed)
        union.add("a", *labelled([0, 0, 0, 1]))
        assert union.synthetic().labels.tolist() == [0, 0, 1]
        left_out |= {0.0, 1.0, 2.0} - set(numbers(union))
    assert left_out == {0.0, 1.0, 2.0}


def test_nothing_gives_an_empty_set():
    empty = Union(SPEC, None, 1).synthetic()
    assert empty.images.shape == (0, 1, 16, 16)
    assert empty.images.dtype == torch.float32
    assert empty.labels.dtype == torch.int64
