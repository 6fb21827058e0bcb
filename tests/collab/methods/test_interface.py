"""What every method must offer, and what uploads are checked for."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from collab import methods
from collab.compute import CPU
from collab.errors import RefusedUploadError
from collab.methods import Expected, MethodSettings, check_sections
from collab.nets import NetworkSpec, seeded_network
from collab.privacy.inspection import KINDS
from collab.wire import encode


@pytest.mark.parametrize("name", methods.names())
def test_a_method_is_two_functions(name):
    method = methods.get(name)
    assert issubclass(method.Settings, MethodSettings)
    assert list(inspect.signature(method.client).parameters) == ["task", "site"]
    assert inspect.iscoroutinefunction(method.server)
    assert set(method.UPLOADS) | set(method.TASKS) <= set(KINDS)
    assert method.__doc__


def test_every_method_has_a_test_file():
    from pathlib import Path

    here = Path(__file__).parent
    assert {f"test_{methods.base_of(name)}.py" for name in methods.names()} <= {path.name for path in here.iterdir()}


def test_shares_are_rounded_up():
    assert [methods.share_of_site(50, 5), methods.share_of_site(10, 3), methods.share_of_site(1, 5)] == [10, 4, 1]


EXPECTED = {
    "embeddings": {
        "classes": Expected("uint8", ("classes",), 0, 9, unique=True),
        "means": Expected("float32", (2, "classes", 3), longest=2),
    }
}


def section(classes=(1, 4), means=None, dtype="float32"):
    means = np.zeros((2, len(classes), 3)) if means is None else means
    return {"embeddings": {"classes": encode(np.array(classes, np.uint8)), "means": encode(means, dtype)}}


def test_what_was_asked_for_passes():
    check_sections(section(), EXPECTED)
    check_sections({}, EXPECTED)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"model": {}}, "did not ask for model, only for embeddings"),
        ({"embeddings": {}}, "embeddings holds nothing; expected classes, means"),
        (section(dtype="float16"), "embeddings.means has the type float16, expected float32"),
        (section(means=np.zeros((2, 3, 3))), r"has the shape \[2, 3, 3\], expected \[2, classes = 2, 3\]"),
        (section(means=np.zeros((2, 2))), "has the shape"),
        (section(means=np.full((2, 2, 3), np.nan)), "embeddings.means holds numbers that are not finite"),
        (section(means=np.full((2, 2, 3), 1e6)), "lies in"),
        (section(classes=(1, 10)), r"embeddings.classes lies in \[1, 10\], expected within \[0, 9\]"),
        (section(classes=(4, 4)), "embeddings.classes names something twice"),
    ],
)
def test_what_was_not_asked_for_is_refused_by_name(sections, reason):
    with pytest.raises(RefusedUploadError, match=reason):
        check_sections(sections, EXPECTED)


def test_all_that_was_asked_for_is_sent_or_nothing():
    images = {"labels": Expected("uint8", ("images",), 0, 9, among=("embeddings", "classes"))}
    both = {**EXPECTED, "synthetic": images}
    labels = {"synthetic": {"labels": encode(np.array([4, 1, 4], np.uint8))}}
    check_sections({**section(), **labels}, both)
    check_sections({}, both)
    with pytest.raises(RefusedUploadError, match="synthetic is missing; send all that was asked for, or nothing"):
        check_sections(section(), both)
    with pytest.raises(RefusedUploadError, match="embeddings is missing"):
        check_sections(labels, both)
    with pytest.raises(RefusedUploadError, match=r"synthetic.labels names 4, which embeddings.classes does not hold"):
        check_sections({**section(classes=(1, 5)), **labels}, both)


def test_too_many_rows_are_refused():
    expected = {"synthetic": {"labels": Expected("uint8", ("images",), 0, 9, longest=3)}}
    with pytest.raises(RefusedUploadError, match="has 4 rows, the task allows 3"):
        check_sections({"synthetic": {"labels": encode(np.zeros(4, np.uint8))}}, expected)


def test_a_network_travels_whole_and_is_checked_by_name():
    spec = NetworkSpec(4, 2, 1, 12, 3)
    network = seeded_network(spec, 5)
    section = methods.model_section(network)
    expected = {"model": methods.expected_model(spec)}
    check_sections({"model": section}, expected)
    assert methods.read_model(section, spec, CPU).checksum() == network.checksum()
    for spoilt, reason in ((np.nan, "holds numbers that are not finite"), (1e9, "lies in .*, expected within")):
        values = np.array(section["block1.kernel"].values())
        values[0, 0, 0, 0] = spoilt
        with pytest.raises(RefusedUploadError, match=rf"model\.block1\.kernel {reason}"):
            check_sections({"model": {**section, "block1.kernel": encode(values)}}, expected)
    with pytest.raises(RefusedUploadError, match=r"model\.head\.bias has the shape"):
        check_sections({"model": {**section, "head.bias": encode(np.zeros(4, np.float32))}}, expected)
