"""Every number here can be had by hand from this matrix: rows are true classes, columns predicted ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from collab.errors import RunDirectoryError
from collab.store import MethodRun, detection

MATRIX = np.array(
    [
        [90, 6, 4, 0],  # benign: 10 of 100 raise an alarm
        [5, 40, 5, 0],
        [0, 10, 10, 0],
        [0, 0, 0, 0],  # no test samples of this class, and nothing is taken for it
    ]
)
NOTHING = np.zeros((2, 2), dtype=np.int64)


def test_precision_recall_and_f1_of_each_class():
    assert detection.precisions(MATRIX) == [90 / 95, 40 / 56, 10 / 19, None]
    assert detection.recalls(MATRIX) == [90 / 100, 40 / 50, 10 / 20, None]
    assert detection.f1_scores(MATRIX) == [180 / 195, 80 / 106, 20 / 39, None]
    assert detection.supports(MATRIX) == [100, 50, 20, 0]


def test_a_class_that_is_never_predicted_has_a_recall_and_no_precision():
    never = np.array([[3, 0], [2, 0]])
    assert detection.precisions(never) == [3 / 5, None]
    assert detection.recalls(never) == [1.0, 0.0]
    assert detection.f1_scores(never) == [6 / 8, 0.0]


def test_a_macro_average_is_of_the_known_values():
    assert detection.macro_average(detection.recalls(MATRIX)) == pytest.approx((0.9 + 0.8 + 0.5) / 3)
    assert detection.macro_average([None, None]) is None


def test_false_alarms_are_of_benign_samples_and_detections_of_attacks_whichever():
    assert detection.false_alarms(MATRIX, 0) == (10, 100)
    assert detection.false_alarm_rate(MATRIX, 0) == 0.1
    assert detection.detections(MATRIX, 0) == (65, 70)  # 15 of them were taken for another attack
    assert detection.detection_rate(MATRIX, 0) == 65 / 70
    assert detection.detections_by_class(MATRIX, 0) == [0.1, 0.9, 1.0, None]


def test_the_benign_class_may_be_any():
    turned = MATRIX[::-1, ::-1]
    assert detection.false_alarm_rate(turned, 3) == 0.1
    assert detection.detection_rate(turned, 3) == 65 / 70


def test_what_nothing_is_known_of_is_none():
    assert detection.false_alarm_rate(NOTHING, 0) is None
    assert detection.detection_rate(NOTHING, 0) is None
    assert detection.detection_rate(np.array([[5, 1], [0, 0]]), 0) is None
    assert detection.false_alarm_rate(np.array([[0, 0], [1, 5]]), 0) is None


def test_sites_are_added_up():
    assert detection.summed({"a": MATRIX, "b": MATRIX}).tolist() == (2 * MATRIX).tolist()


def kept(tmp_path, outcome):
    (tmp_path / "outcome.json").write_text(json.dumps(outcome))
    return detection.read_confusions(MethodRun("collabdm", tmp_path))


def test_matrices_are_read_back(tmp_path):
    found = kept(tmp_path, {"confusions": {"convnet": {"BTS_1": MATRIX.tolist(), "BTS_2": MATRIX.tolist()}}})
    assert list(found["convnet"]) == ["BTS_1", "BTS_2"]
    assert found["convnet"]["BTS_2"].tolist() == MATRIX.tolist()


def test_runs_from_before_have_none(tmp_path):
    assert kept(tmp_path, {"accuracies": {}}) == {}


@pytest.mark.parametrize(
    "confusions",
    [
        [],
        {"convnet": []},
        {"convnet": {}},
        {"convnet": {"": []}},
        {"convnet": {"": [[1, 2]]}},
        {"convnet": {"": [[1, -2], [0, 1]]}},
        {"convnet": {"": [[1, 0.5], [0, 1]]}},
        {"convnet": {"": [["1", "0"], ["0", "1"]]}},
        {"convnet": {"a": [[1]], "b": [[1, 0], [0, 1]]}},
    ],
)
def test_what_is_no_matrix_is_an_error(tmp_path, confusions):
    with pytest.raises(RunDirectoryError, match=r"outcome\.json is damaged: expected confusions to hold .*run the"):
        kept(tmp_path, {"confusions": confusions})
