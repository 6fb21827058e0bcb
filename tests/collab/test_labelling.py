"""New flow records labelled: every one, by what the detector says of its window, in a memory that is bounded."""

from __future__ import annotations

import csv
import io
import itertools
import weakref
from collections import Counter

import numpy as np
import pytest

from collab.data.flows import reading
from collab.data.flows.flow_format import Station, published_format
from collab.data.flows.loading import load_flows
from collab.data.flows.reading import FlowBatch, read_flows
from collab.data.flows.recipe import EVERYWHERE
from collab.data.flows.settings import FlowCsvSettings
from collab.data.flows.synthetic import write_traffic
from collab.detector import write
from collab.errors import DamagedDataError, DataError
from collab.labelling import label_flows, scale_of, windows_in_order
from tests.collab.detectors import FLOWS, FORMAT, KINDS, NAMES, detector, recipe, write_flows


def labelled(made, path, station=None):
    output = io.StringIO()
    findings = label_flows(made, path, output, station)
    return list(csv.DictReader(io.StringIO(output.getvalue()))), findings


@pytest.fixture(scope="module")
def made():
    return detector(recipe())


def batch(values):
    numbers = np.arange(len(values))
    return FlowBatch(values, numbers % 4, numbers * 0, ("one",), numbers * 0, numbers + 1)


# -- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[10], [3, 3, 4], [1] * 10, [4, 4, 2], [9, 1], [2, 8]])
def test_windows_follow_each_other_wherever_batches_end_and_the_last_one_is_moved_back(sizes):
    flows = np.arange(20, dtype=np.float32).reshape(10, 2)
    parts = np.split(flows, np.cumsum(sizes)[:-1])
    found = list(windows_in_order(map(batch, parts), 4, "flows.csv"))
    values = np.concatenate([each.values for each in found])
    np.testing.assert_array_equal(values, np.stack([flows[0:4], flows[4:8], flows[6:10]]))
    assert np.concatenate([each.labels for each in found]).tolist() == [4, 4, 2]
    known = np.concatenate([part % 4 for part in map(np.arange, sizes)])
    assert np.concatenate([each.attacks for each in found]).tolist() == known.tolist()


def test_windows_that_come_out_even_have_none_moved_back():
    found = list(windows_in_order([batch(np.zeros((8, 2), np.float32))], 4, "flows.csv"))
    assert [each.labels.tolist() for each in found] == [[4, 4]]


@pytest.mark.parametrize(("count", "said"), [(0, "0 flows"), (1, "1 flow"), (3, "3 flows")])
def test_fewer_flows_than_a_window_are_an_error(count, said):
    with pytest.raises(
        DataError, match=rf"flows\.csv has {said}; the detector looks at 4 at a time, and needs as many"
    ):
        list(windows_in_order([batch(np.zeros((count, 2), np.float32))], 4, "flows.csv"))


def test_no_more_than_a_batch_and_two_windows_are_held():
    """However long the file is: what was yielded is let go, and of what waits there is less than a window."""
    alive = []

    def batches():
        for _ in range(200):
            values = np.zeros((50, 2), np.float32)
            alive.append(weakref.ref(values))
            yield batch(values)
            del values

    most = 0
    for portion in windows_in_order(batches(), 7, "flows.csv"):
        most = max(most, sum(len(held) for ref in alive if (held := ref()) is not None))
        assert portion.values.shape[0] * 7 <= 50 + 6
    assert most <= 100


# -- labels --------------------------------------------------------------------------------------


def test_every_flow_gets_what_the_detector_says_of_its_window(made, tmp_path):
    """With 3 windows and a rest of 10: the last window is moved back, and labels those 10 alone."""
    path = write_flows(tmp_path / "flows.csv", 3 * FLOWS + 10)
    rows, findings = labelled(made, path)
    flows = np.concatenate([each.values for each in read_flows([path], FORMAT)])
    windows = [flows[:64], flows[64:128], flows[128:192], flows[-64:]]
    probabilities = made.probabilities(recipe().render(np.stack(windows)))
    assert [int(row["row"]) for row in rows] == list(range(1, 203))
    assert [int(row["window"]) for row in rows] == [1] * 64 + [2] * 64 + [3] * 64 + [4] * 10
    for row in rows:
        found = probabilities[int(row["window"]) - 1]
        assert row["class"] == NAMES[found.argmax()]
        assert row["confidence"] == f"{found.max():.4f}"
    assert findings.windows.sum() == 4
    counted = Counter(row["class"] for row in rows)
    assert findings.flows.tolist() == [counted[name] for name in NAMES]


def test_it_says_what_the_loaders_images_by_time_and_the_network_say(made, tmp_path):
    path = write_flows(tmp_path / "flows.csv", 40 * FLOWS + 5)
    settings = FlowCsvSettings(name="flow-csv", path="x", mapping="x.yaml", windows="time", layout="rows")
    loaded = load_flows([path], FORMAT, settings)
    assert loaded.recipe == made.recipe
    images = np.concatenate([loaded.train.images, loaded.test.images])
    expected = [(NAMES[each.argmax()], f"{each.max():.4f}") for each in made.probabilities(images)]
    rows, _ = labelled(made, path)
    found = [(row["class"], row["confidence"]) for row in rows[: 40 * FLOWS : FLOWS]]
    assert sorted(found) == sorted(expected)
    assert len(set(found)) > 1


def test_nidd_flows_in_windows_of_94(tmp_path):
    """The published format, in a file that has more columns than features, and 94 k + r rows."""
    form = published_format("nidd")
    made_by = recipe(format=form, layout="packed", blank=("Seq", "Offset"),
                     ranges={EVERYWHERE: tuple(feature.known_range for feature in form.features)})  # fmt: skip
    whole = write_traffic(tmp_path / "traffic", share=0.0005).read_text().splitlines(keepends=True)
    path = tmp_path / "flows.csv"
    path.write_text("".join(whole[: 1 + 94 * 5 + 31]))
    made = detector(made_by)
    made = type(made)(made.network, made.images, made.about.model_copy(update={"class_names": form.class_names}))
    rows, findings = labelled(made, path)
    assert len(rows) == 94 * 5 + 31
    assert findings.windows.sum() == 6
    assert findings.matrix.sum() == 94 * 5 + 31


def test_where_portions_end_changes_nothing(made, tmp_path, monkeypatch):
    path = write_flows(tmp_path / "flows.csv", 700)
    whole, findings = labelled(made, path)
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 1000)
    sizes = [len(each) for each in read_flows([path], FORMAT)]
    assert max(sizes) < FLOWS
    again, others = labelled(made, path)
    assert [row["window"] for row in again] == [row["window"] for row in whole]
    assert [row["class"] for row in again] == [row["class"] for row in whole]
    np.testing.assert_array_equal(others.matrix, findings.matrix)


# -- what is in the file -------------------------------------------------------------------------


def test_the_features_alone_suffice_in_any_order(made, tmp_path):
    all_of_it = write_flows(tmp_path / "all.csv", 200)
    bare = write_flows(tmp_path / "bare.csv", 200, columns=("proto", "bytes", "length"))
    assert labelled(made, bare)[0] == labelled(made, all_of_it)[0]
    assert labelled(made, bare)[1].matrix.sum() == 0


def test_labels_in_the_file_are_counted(made, tmp_path):
    path = write_flows(tmp_path / "flows.csv", 300)
    rows, findings = labelled(made, path)
    kinds = [line.rsplit(",", 1)[1] for line in path.read_text().splitlines()[1:]]
    expected = np.zeros((3, 3), np.int64)
    for row, kind in zip(rows, kinds, strict=True):
        expected[min(KINDS.index(kind), 2), NAMES.index(row["class"])] += 1
    np.testing.assert_array_equal(findings.matrix, expected)
    assert (expected.sum(axis=1) > 0).all()


def test_unknown_labels_are_passed_over(made, tmp_path):
    path = write_flows(tmp_path / "flows.csv", 300, kinds=("Calm", "Worm", "", "Host"))
    with pytest.raises(DamagedDataError, match=r"row \d+, column kind"):
        list(read_flows([path], FORMAT))
    rows, findings = labelled(made, path)
    kinds = Counter(line.rsplit(",", 1)[1] for line in path.read_text().splitlines()[1:])
    assert len(rows) == 300
    assert kinds["Worm"] > 0
    assert findings.matrix.sum(axis=1).tolist() == [kinds["Calm"], 0, kinds["Host"]]


@pytest.mark.parametrize(
    ("line", "error", "reason"),
    [
        ("1,many,3,tcp,Calm", DamagedDataError, r'row 201, column length: found "many", expected a number'),
        ("1,2", DamagedDataError, "row 201: found 2 columns, expected 5"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_row(made, tmp_path, line, error, reason):
    path = write_flows(tmp_path / "flows.csv", 200)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(error, match=reason):
        labelled(made, path)


def test_a_missing_file_or_column_is_named(made, tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.csv"):
        labelled(made, tmp_path / "none.csv")
    path = write_flows(tmp_path / "flows.csv", 200, columns=("proto", "length"))
    with pytest.raises(DataError, match='there is no column "bytes", which the mapping small names'):
        labelled(made, path)


def test_a_detector_of_other_images_has_no_use_for_flows(tmp_path):
    with pytest.raises(DataError, match="was trained on MNIST, whose images are not made of flow records"):
        labelled(detector(None, title="MNIST"), write_flows(tmp_path / "flows.csv", 200))


# -- scales --------------------------------------------------------------------------------------


def test_a_station_is_named_where_each_has_its_own_scale(tmp_path):
    path = write_flows(tmp_path / "flows.csv", 200)
    narrow, wide = ((0.0, 1.0), (0.0, 10.0), (0.0, 3.0)), ((0.0, 90.0), (0.0, 10.0**6), (0.0, 3.0))
    by_station = recipe(ranges={"BTS_1": narrow, "BTS_2": wide})
    made = detector(by_station)
    first, second = (labelled(made, path, station)[0] for station in ("BTS_1", "BTS_2"))
    assert [row["confidence"] for row in first] != [row["confidence"] for row in second]
    assert first == labelled(detector(recipe(ranges={EVERYWHERE: narrow})), path)[0]
    with pytest.raises(DataError, match="none is named; name with --station the one that recorded these: BTS_1, BTS_2"):
        labelled(made, path)
    with pytest.raises(DataError, match='there is no "BTS_3"; name with --station'):
        labelled(made, path, "BTS_3")
    assert scale_of(recipe(), None) == EVERYWHERE
    with pytest.raises(DataError, match="scales the flows of all stations alike; leave out --station BTS_1"):
        scale_of(recipe(), "BTS_1")


def test_what_is_no_file_of_flows_is_told_before_anything_is_read(made, tmp_path):
    write(made, tmp_path / "detector")
    np.savez(tmp_path / "set.npz", images=np.zeros(3))
    told = {
        "detector": r"detector is a file of networks, a detector perhaps; .*: collab detect MODEL FLOWS\.csv$",
        "set.npz": "is an archive, or a synthetic set; expected flow records as text",
        ".": "is a directory, expected a file of flow records",
    }
    for name, said in told.items():
        with pytest.raises(DataError, match=said):
            labelled(made, tmp_path / name)


@pytest.mark.parametrize("block_bytes", [1000, 1 << 20])
def test_changes_of_the_station_are_counted_as_the_file_tells_them(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block_bytes)
    head, *lines = write_flows(tmp_path / "flows.csv", 200).read_text().splitlines()
    path = tmp_path / "several.csv"
    path.write_text("\n".join([head, *lines[5:], *lines, *lines[:70]]) + "\n")  # an excerpt, and two that are whole
    assert labelled(detector(recipe()), path)[1].station_changes == 2
    assert labelled(detector(recipe()), tmp_path / "flows.csv")[1].station_changes == 0
    by_name = detector(recipe(format=FORMAT.model_copy(update={"station": Station(column="proto")})))
    words = [line.split(",")[3] for line in lines]
    expected = sum(one != other for one, other in itertools.pairwise(words))
    assert labelled(by_name, tmp_path / "flows.csv")[1].station_changes == expected > 0
