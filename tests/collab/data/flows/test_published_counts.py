"""As many images as the paper has: of flows in the published numbers, by arithmetic and through a file."""

from __future__ import annotations

import numpy as np
import pytest

from collab.data.flows.flow_format import published_format
from collab.data.flows.loading import load_flows
from collab.data.flows.settings import NiddSettings
from collab.data.flows.synthetic import numbers_of_flows, write_traffic

PAPER = {"Benign": 5081, "HTTPFlood": 1497, "SlowrateDoS": 777, "UDPFlood": 4865, "Anomalous": 706}
ROWS = 1_215_890
WHOLE = [5081, 1497, 776, 4864, 705]
"""Whole windows of 94 flows of each kind and station, in the order of the classes."""


def whole_windows(size):
    """Of each class, by kind of traffic and station."""
    stations = numbers_of_flows().values()
    kinds = published_format("nidd").label.classes.values()
    return [sum(flows[attack] // size for flows in stations for attack in attacks) for attacks in kinds]


def test_the_published_numbers_of_flows_make_the_papers_images():
    form = published_format("nidd")
    assert form.class_names == tuple(PAPER)
    assert sum(sum(flows.values()) for flows in numbers_of_flows().values()) == ROWS
    images = whole_windows(form.flows_per_image(64, "packed"))
    assert images == WHOLE
    assert images == pytest.approx(list(PAPER.values()), rel=0.01)


def test_no_other_number_of_flows_comes_as_near():
    differences = {size: np.abs(np.subtract(whole_windows(size), list(PAPER.values()))).sum() for size in range(92, 97)}
    assert min(differences, key=differences.__getitem__) == 94
    assert differences[94] == 3


@pytest.mark.slow
def test_a_file_as_large_as_the_published_one_makes_the_papers_images(tmp_path):
    path = write_traffic(tmp_path)
    made = load_flows([path], published_format("nidd"), NiddSettings(name="5g-nidd"), flows=ROWS)
    images = np.bincount(np.concatenate([made.train.labels, made.test.labels]), minlength=5).tolist()
    assert images == WHOLE
    assert images == pytest.approx(list(PAPER.values()), rel=0.01)
    assert made.left_out == ()
