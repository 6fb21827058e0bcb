"""Who recorded each flow, and in which capture."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.flows import places, reading
from collab.errors import DamagedDataError, DataError
from tests.collab.data.flows.records import form_of, read, write


def table(path, columns, rows):
    return write(path, f"bytes,load,proto,kind,{columns}", *(f"1,0,tcp,web,{row}" for row in rows))


def test_all_flows_are_of_one_station_if_nothing_is_said(tmp_path):
    paths = [table(tmp_path / name, "n", [1, 2]) for name in ("a.csv", "b.csv")]
    found = read(paths, form_of())
    assert (found.station_names, found.stations.tolist()) == (("station-1",), [0] * 4)
    assert found.sessions.tolist() == [0, 0, 1, 1]  # a file is a capture
    assert found.rows.tolist() == [1, 2, 3, 4]


def test_a_file_may_be_a_station(tmp_path):
    paths = [table(tmp_path / f"{name}.csv", "n", [1, 2]) for name in ("north", "south")]
    found = read(paths, form_of(station={"file": True}))
    assert (found.station_names, found.stations.tolist()) == (("north", "south"), [0, 0, 1, 1])


def test_a_column_may_name_the_station(tmp_path):
    path = table(tmp_path / "a.csv", "s", ["b", " a", "b ", "", "a", " "])
    found = read(path, form_of(station={"column": "s"}))
    assert (found.station_names, found.stations.tolist()) == (("b", "a", "unknown"), [0, 1, 0, 2, 1, 2])


def test_a_column_may_name_the_session(tmp_path):
    path = table(tmp_path / "a.csv", "s,day", ["a,1", "b,1", "a,2", "a,1", "b,"])
    found = read(path, form_of(station={"column": "s"}, session={"column": "day"}))
    assert found.sessions.tolist() == [0, 1, 2, 0, 3]


@pytest.mark.parametrize("block_bytes", [60, 1 << 20])
def test_a_station_begins_where_the_count_of_rows_does(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block_bytes)
    form = form_of(station={"restarts": "n", "prefix": "BTS_"})
    found = read([table(tmp_path / "a.csv", "n", [0, 1, 2, 0, 1, 0]), table(tmp_path / "b.csv", "n", [0, 1])], form)
    assert found.station_names == ("BTS_1", "BTS_2", "BTS_3", "BTS_4")
    assert found.stations.tolist() == [0, 0, 0, 1, 1, 2, 3, 3]


def test_a_fall_of_seconds_since_1970_is_seen_though_they_are_a_feature_too(tmp_path):
    path = table(tmp_path / "a.csv", "ts", [1700000050, 1700000010, 1700000011, "1700000010.75"])
    features = [{"column": "ts", "range": [0, 2e9]}]
    for form in (form_of(session={"falls": "ts"}), form_of(session={"falls": "ts"}, features=features)):
        assert read(path, form).sessions.tolist() == [0, 1, 1, 2]
    np.testing.assert_array_equal(
        read(path, form).values[:, 0], np.float32([1700000050, 1700000010, 1700000011, 1700000010.75])
    )


def test_a_count_of_rows_that_is_a_feature_too_may_go_beyond_what_float32_counts(tmp_path):
    column = pa.array([2**24, 2**24 + 1, 2**40 + 1, None])
    assert places.as_numbers(column, pa.float32()).to_pylist() == [2.0**24, 2.0**24, 2.0**40, None]
    form = form_of(station={"restarts": "n"}, features=[{"column": "n", "range": [0, 1e9]}])
    assert read(table(tmp_path / "a.csv", "n", [0, 1, 0]), form).values[:, 0].tolist() == [0, 1, 0]


LOST = (
    "expected {}, one more than in the row before, or 0 where a station begins: rows are missing, or in another order"
)
MOVED = "rows are in another order, or the first ones are missing"


def test_a_second_file_does_not_go_on_with_the_count_of_the_first(tmp_path):
    paths = [table(tmp_path / "a.csv", "n", [0, 1]), table(tmp_path / "b.csv", "n", [2, 3])]
    with pytest.raises(DamagedDataError, match=r"b\.csv, row 1, column n: found 2, expected 0, with which"):
        read(paths, form_of(station={"restarts": "n"}))


@pytest.mark.parametrize("block_bytes", [60, 1 << 20])
@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([0, 1, 3, 4], f"row 3, column n: found 3, {LOST.format(2)}"),
        ([0, 1, 3, 2], f"row 3, column n: found 3, {LOST.format(2)}"),
        ([0, 1, 2, 1], f"row 4, column n: found 1, expected 3, one more than in the row before, .*: {MOVED}"),
        ([0, 1, 1], f"row 3, column n: found 1, .*: {MOVED}"),
        ([2, 3], f"row 1, column n: found 2, expected 0, with which every station begins: {MOVED}"),
        (["", 1], f"row 1, column n: found nothing, expected 0, with which every station begins: {MOVED}"),
        ([0, "", 2], "row 2, column n: found nothing, expected 1"),
        ([0, "1.5"], 'row 2, column n: found "1.5", expected a whole number, or nothing'),
        ([0, "9" * 30], "row 2, column n: found .* expected a whole number, or nothing"),
    ],
)
def test_rows_that_are_lost_or_moved(tmp_path, monkeypatch, block_bytes, counts, told):
    monkeypatch.setattr(reading, "_BLOCK_BYTES", block_bytes)
    with pytest.raises(DamagedDataError, match=rf"a\.csv, {told}"):
        read(table(tmp_path / "a.csv", "n", counts), form_of(station={"restarts": "n"}))


def test_gaps_of_the_count_matter_only_if_flows_are_missing(tmp_path):
    """The published file may have lost rows before it was published; its number of flows is known."""
    path, form = table(tmp_path / "a.csv", "n", [0, 1, 5, 6, 0]), form_of(station={"restarts": "n"})
    assert read(path, form, flows=5).stations.tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(DamagedDataError) as caught:
        read(path, form, flows=8)
    assert "found 5 flows, expected 8" in str(caught.value)
    assert re.search("a.csv, row 3, column n: found 5, expected 2", str(caught.value))
    with pytest.raises(DamagedDataError, match="row 4, column n: found 4"):
        read(table(tmp_path / "b.csv", "n", [0, 1, 5, 4, 0]), form, flows=5)


def test_a_column_that_names_no_station(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_MOST_STATIONS", 3)
    form = form_of(station={"column": "s"})
    assert len(read(table(tmp_path / "a.csv", "s", "abc"), form).station_names) == 3
    with pytest.raises(DataError, match=r"more than 3 stations; does the mapping's station.column \(s\) name who"):
        read(table(tmp_path / "b.csv", "s", "abcd"), form)


def test_a_column_that_names_no_session(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_MOST_SESSIONS", 3)
    with pytest.raises(DataError, match=r"more than 3 capture sessions; does the mapping's session \(s\) say"):
        read(table(tmp_path / "a.csv", "s", "abcd"), form_of(session={"column": "s"}))
    with pytest.raises(DataError, match="more than 3 capture sessions"):
        read(table(tmp_path / "b.csv", "s", "4321"), form_of(session={"falls": "s"}))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(60, 200))
def test_stations_by_restarts_are_those_that_were_written(tmp_path_factory, sizes, block_bytes):
    path = table(tmp_path_factory.mktemp("flows") / "a.csv", "n", [n for size in sizes for n in range(size)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "_BLOCK_BYTES", block_bytes)
        found = read(path, form_of(station={"restarts": "n"}))
    assert found.stations.tolist() == [station for station, size in enumerate(sizes) for _ in range(size)]
