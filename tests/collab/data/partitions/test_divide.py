from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from collab.data import (
    ByColumnSettings,
    DirichletSettings,
    GuaranteedSettings,
    IidSettings,
    PathologicalSettings,
    QuantitySkewSettings,
    divide,
)
from tests.collab.data.partitions.counting import assert_complete, class_counts, sizes

LABELS = np.repeat(np.arange(4), 50)
SITES = np.array(["x", "y", "z"])[np.arange(200) % 3]
DRAWN = [
    IidSettings(scheme="iid", clients=4),
    DirichletSettings(scheme="dirichlet", clients=4, beta=0.5),
    GuaranteedSettings(scheme="dirichlet_guaranteed", clients=4, beta=0.5),
    PathologicalSettings(scheme="pathological", clients=4),
    QuantitySkewSettings(scheme="quantity_skew", clients=4, beta=0.5),
]
DIVIDES = """
import hashlib, sys
import numpy as np
from pydantic import TypeAdapter
from collab.data import PartitionSettings, divide
settings = TypeAdapter(PartitionSettings).validate_json(sys.argv[1])
parts = divide(settings, np.repeat(np.arange(4), 50), 3, 7)
print(hashlib.sha256(b"|".join(part.tobytes() for part in parts)).hexdigest())
"""


@pytest.mark.parametrize("settings", DRAWN, ids=lambda settings: settings.scheme)
def test_a_division_is_a_function_of_settings_and_seed(settings):
    first, again, other = (divide(settings, LABELS, 3, seed) for seed in (1, 1, 2))
    assert len(first) == 4
    assert_complete(first, LABELS)
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert [part.tolist() for part in first] != [part.tolist() for part in other]


def test_the_settings_reach_the_scheme():
    iid, _, guaranteed, pathological, skewed = (divide(settings, LABELS, 3, 1) for settings in DRAWN)
    assert sizes(iid).tolist() == [50] * 4
    assert class_counts(guaranteed, LABELS).min() >= 3  # images_per_class unless told otherwise
    assert ((class_counts(pathological, LABELS) > 0).sum(axis=1) == 2).all()
    assert sizes(skewed).max() > 60
    told = GuaranteedSettings(scheme="dirichlet_guaranteed", clients=4, beta=0.5, guaranteed=8)
    assert (class_counts(divide(told, LABELS, 3, 1), LABELS) >= 8).all()
    told = PathologicalSettings(scheme="pathological", clients=4, classes_per_client=1)
    assert ((class_counts(divide(told, LABELS, 3, 1), LABELS) > 0).sum(axis=1) == 1).all()
    told = QuantitySkewSettings(scheme="quantity_skew", clients=4, beta=0.5, minimum_samples=50)
    assert sizes(divide(told, LABELS, 3, 1)).tolist() == [50] * 4
    parts = divide(ByColumnSettings(scheme="by_column", clients=3), LABELS, 3, 1, sites=SITES)
    assert sizes(parts).tolist() == [67, 67, 66]


@pytest.mark.parametrize("settings", [*DRAWN, DirichletSettings(scheme="dirichlet", clients=4, beta=0.5)])
def test_everybody_holds_something_where_the_settings_say_so(settings):
    certain = settings.everyone_holds_something
    assert certain == (settings.scheme != "dirichlet")
    if certain:
        skewed = settings.model_copy(update={"beta": 0.01} if hasattr(settings, "beta") else {})
        few = skewed.model_copy(update={"guaranteed": 0} if hasattr(settings, "guaranteed") else {})
        for seed in range(5):
            assert sizes(divide(few, np.arange(5) // 2, 0, seed)).min() >= 1


def test_a_quantity_skew_without_a_minimum_may_leave_clients_empty():
    settings = QuantitySkewSettings(scheme="quantity_skew", clients=20, beta=0.05, minimum_samples=0)
    assert not settings.everyone_holds_something
    assert sizes(divide(settings, LABELS, 3, 1)).min() == 0


@pytest.mark.slow
@pytest.mark.parametrize("settings", DRAWN, ids=lambda settings: settings.scheme)
def test_a_division_is_the_same_in_every_process(settings):
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIVIDES, settings.model_dump_json()],
            env={"PYTHONHASHSEED": hash_seed, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }  # fmt: skip
    assert len(digests) == 1
