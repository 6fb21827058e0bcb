"""The server's sums: exact up to the bounds of what is taken in, beyond which an upload is refused."""

from __future__ import annotations

import numpy as np
import pytest

from collab.embedding_sums import EmbeddingSums, largest_count
from collab.errors import RefusedUploadError
from collab.expectations import MAX_ABSOLUTE, check_sections
from collab.methods import collabdm
from collab.quantisation import levels
from collab.wire import encode
from tests.collab.fleets import LocalFleet, even_parts, gaussians

SITES = 3
SETTINGS = {"images_per_class": 2, "width": 1, "depth": 2, "iterations": 1}


def asked(**changes):
    """The settings, the network and what a site's embeddings must look like."""
    dataset, settings = gaussians(), collabdm.Settings(**SETTINGS, **changes)
    fleet = LocalFleet(collabdm, settings, dataset, even_parts(dataset, SITES))
    spec = settings.network(dataset.spec)
    return settings, spec, {"embeddings": collabdm.ask_for(fleet, spec, [7], [0]).expects["embeddings"]}


def section(spec, count, value=0.5):
    return {
        "classes": encode(np.array([2], np.uint8)),
        "counts": encode(np.array([count], np.int64)),
        "means": encode(np.full((1, 1, spec.embedding_size), value, np.float16)),
    }


@pytest.mark.parametrize("count", [-1, 0, 2**27 // SITES + 1, 2**62, 2**63 - 1])
def test_a_count_that_no_site_can_have_is_refused(count):
    _, spec, expects = asked()
    with pytest.raises(RefusedUploadError) as caught:
        check_sections({"embeddings": section(spec, count)}, expects)
    assert str(caught.value) == f"embeddings.counts lies in [{count}, {count}], expected within [1, 44739242]"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_means_that_are_not_finite_are_refused(value):
    _, spec, expects = asked()
    with pytest.raises(RefusedUploadError, match=r"^embeddings.means holds numbers that are not finite$"):
        check_sections({"embeddings": section(spec, 1, value)}, expects)


@pytest.mark.parametrize("value", [MAX_ABSOLUTE, -MAX_ABSOLUTE])
def test_the_largest_uploads_of_all_sites_are_summed_exactly(value):
    settings, spec, expects = asked()
    sums = EmbeddingSums(settings, spec)
    largest = section(spec, largest_count(SITES), value)
    check_sections({"embeddings": largest}, expects)
    for _ in range(SITES):
        sums.add(largest, [0])
    assert (sums.target(0, [2]).means == value).all()


def test_so_are_those_restored_from_codes():
    settings, spec, expects = asked(embedding_dtype="int8")
    sums = EmbeddingSums(settings, spec)
    step = np.float32(2 * MAX_ABSOLUTE / levels("int8"))
    step = step if step <= 2 * MAX_ABSOLUTE / levels("int8") else np.nextafter(step, np.float32(0))
    largest = {
        **section(spec, largest_count(SITES)),
        "means": encode(np.full((1, 1, spec.embedding_size), levels("int8"), np.uint8)),
        "lows": encode(np.full((1, 1), MAX_ABSOLUTE, np.float32)),
        "steps": encode(np.full((1, 1), step)),
    }
    check_sections({"embeddings": largest}, expects)
    for _ in range(SITES):
        sums.add(largest, [0])
    np.testing.assert_allclose(sums.target(0, [2]).means, 3 * MAX_ABSOLUTE, rtol=1e-6)
