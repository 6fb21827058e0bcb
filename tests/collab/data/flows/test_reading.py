"""Reading files of flow records: values, words, labels, and whatever else a file may look like."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.flows import reading
from collab.data.flows.flow_format import published_format
from collab.data.flows.reading import read_flows
from collab.errors import DamagedDataError, DataError
from tests.collab.data.flows.records import ARRAYS, SMALL, form_of, read, write

NAN = math.nan
HEADER = "bytes,load,proto,kind"
ROWS = ("10,0.5,tcp,web", "20,,udp,flood", ",-1e3,sctp,mail", "inf,nan,,web")
VALUES = [[10, 0.5, 1], [20, NAN, 2], [NAN, -1000, 3], [math.inf, NAN, NAN]]


def test_values_words_and_labels(tmp_path):
    found = read(write(tmp_path / "a.csv", HEADER, *ROWS), form_of())
    np.testing.assert_array_equal(found.values, np.array(VALUES, np.float32))
    assert found.values.dtype == np.float32
    assert found.attacks.tolist() == [0, 2, 1, 0]  # web, flood, mail, web
    assert found.station_names == ("station-1",)
    assert found.stations.tolist() == found.sessions.tolist() == [0, 0, 0, 0]
    assert found.rows.tolist() == [1, 2, 3, 4]


def test_a_word_that_nobody_knows_is_one_more_value(tmp_path):
    path = write(tmp_path / "a.csv", HEADER, "1,1,TCP,web", "1,1, tcp ,web", "1,1,dccp,web", "1,1,gre,web")
    assert read(path, form_of()).values[:, 2].tolist() == [3, 1, 3, 3]


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("bytes", '"bytes"').replace("tcp", '"tcp"'),
        lambda text: text.replace("web", " web ").replace(",load", ", load "),
        lambda text: text.rstrip("\n"),
        lambda text: "\n\n" + text.replace("\n", "\n\n"),
    ],
    ids=["CRLF", "BOM", "quoted", "blanks", "no end of line", "empty lines"],
)
def test_files_may_be_written_in_several_ways(tmp_path, written):
    path = tmp_path / "a.csv"
    path.write_bytes(written("\n".join((HEADER, *ROWS)) + "\n").encode())
    found = read(path, form_of())
    np.testing.assert_array_equal(found.values, np.array(VALUES, np.float32))
    assert found.attacks.tolist() == [0, 2, 1, 0]


def test_columns_may_stand_in_any_order_and_others_beside_them(tmp_path):
    path = write(tmp_path / "a.csv", "note,kind,load,bytes,proto", '"a, b",web,0.5,10,tcp', "\ufffd,mail,1,2,udp")
    found = read(path, form_of())
    assert found.values.tolist() == [[10, 0.5, 1], [2, 1, 2]]


def test_texts_that_mean_that_a_value_is_missing(tmp_path):
    path = write(tmp_path / "a.csv", HEADER, "-,(empty),-,web", '"-",0,tcp,web')
    found = read(path, form_of(missing=["-", "(empty)"]))
    np.testing.assert_array_equal(found.values, np.array([[NAN] * 3, [NAN, 0, 1]], np.float32))


def test_columns_of_one_name_are_numbered(tmp_path):
    path = write(tmp_path / "a.csv", "bytes,load,proto,kind,bytes,bytes (2),bytes,", "1,1,tcp,web,2,3,4,5")
    columns = ("bytes", "bytes (2)", "bytes (2) (2)", "bytes (3)", "Unnamed: 7")
    form = form_of(features=[{"column": column, "range": [0, 9]} for column in columns])
    assert read(path, form).values.tolist() == [[1, 2, 3, 4, 5]]


def test_labels_are_read_only_where_they_are_asked_for(tmp_path):
    path = write(tmp_path / "a.csv", "bytes,load,proto", "1,1,tcp")
    assert read(path, form_of(), labelled=False).attacks.tolist() == [-1]
    with pytest.raises(DataError, match=r'a\.csv: the flows have no labels: there is no column "kind"'):
        read(path, form_of())
    other = write(tmp_path / "b.csv", HEADER, "1,1,tcp,web", "1,1,tcp,worm", "1,1,tcp,")
    assert read(other, form_of(), unknown_labels="pass").attacks.tolist() == [0, -1, -1]


def test_the_first_rule_that_fits_says_what_a_flow_is(tmp_path):
    label = {
        "rules": [
            {"when": {"port": ["22"], "proto": ["tcp", "udp"]}, "label": "mail"},
            {"when": {"port": [22, 23]}, "label": "flood"},
            {"when": {"bytes": ["7"]}, "label": "flood"},  # a number that is asked for as text, too
        ],
        "otherwise": "web",
        "classes": {"benign": ["web", "mail"], "attack": ["flood"]},
    }
    features = [{**each, "leaks": each["column"] != "load"} for each in SMALL["features"]]
    form = form_of(label=label, features=features)
    path = write(tmp_path / "a.csv", "bytes,load,proto,port", "1,0,tcp,22", "1,0,icmp,22", "1,0,icmp,80", "7,0,tcp,")
    found = read(path, form)
    assert found.attacks.tolist() == [1, 2, 0, 2]
    assert found.values[:, 0].tolist() == [1, 1, 1, 7]
    wrong = write(tmp_path / "b.csv", "bytes,load,proto,port", "1,0,tcp,22", "few,0,icmp,22")
    with pytest.raises(DamagedDataError, match=r'row 2, column bytes: found "few", expected a number, or nothing'):
        read(wrong, form)


def zeek(*rows, fields="ts\tbytes\tload\tproto\tkind"):
    return ("#separator \\x09", "#set_separator\t,", "#path\tconn", f"#fields\t{fields}", "#types\ttime\tx", *rows)


def test_zeeks_header_and_comments(tmp_path):
    form = form_of(header="fields", separator="\t", comments="#", missing=["-", "(empty)"])
    rows = ("1.5\t10\t-\ttcp\tweb", "#close\t2024-01-01", '2.5\t"3\t0.5\tud"p\tflood', "#open\t2024\ta\tb\tc", "#close")
    rows = (rows[0], rows[1], rows[2].replace('"3', "3"), *rows[3:])
    found = read(write(tmp_path / "conn.log", *zeek(*rows)), form)
    np.testing.assert_array_equal(found.values, np.array([[10, NAN, 1], [3, 0.5, 3]], np.float32))
    assert found.attacks.tolist() == [0, 2]
    assert found.rows.tolist() == [1, 2]


def test_a_file_of_comments_only_holds_no_flows(tmp_path):
    form = form_of(header="fields", separator="\t", comments="#")
    assert list(read_flows([write(tmp_path / "conn.log", *zeek("#close\t2024"))], form)) == []
    assert list(read_flows([write(tmp_path / "a.csv", HEADER, "", "")], form_of())) == []


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_comment_of_two_columns_in_a_file_of_two(tmp_path, end):
    form = form_of(features=[{"column": "bytes", "range": [0, 9]}], comments="#")
    path = tmp_path / "a.csv"
    path.write_text("#x,y\nbytes,kind\n#1,web\n1,web\n#2,web" + end)
    assert read(path, form).values.tolist() == [[1]]


def test_the_end_of_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.csv"):
        read(tmp_path / "none.csv", form_of())
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        read(tmp_path, form_of())


def test_as_many_flows_as_there_must_be(tmp_path):
    path = write(tmp_path / "a.csv", HEADER, *ROWS)
    assert len(read(path, form_of(), flows=4)) == 4
    with pytest.raises(DamagedDataError, match=r"a\.csv: found 4 flows, expected 5: the file ends too early, at row 4"):
        read(path, form_of(), flows=5)
    with pytest.raises(DamagedDataError, match=r"expected 3: the file goes on for too long, at row 4"):
        read(path, form_of(), flows=3)


def test_progress_is_told_in_bytes(tmp_path):
    told = []
    path = write(tmp_path / "a.csv", HEADER, *ROWS)
    read(path, form_of(), progress=lambda *what: told.append(what))
    size = path.stat().st_size
    assert told == [("reading a.csv", size, size, "B")]


WORDS = st.sampled_from(["tcp", "udp", "icmp", "a b", "x,y", 'q"q', "#1", ""])
NUMBERS = st.one_of(
    st.none(),
    st.integers(-(2**40), 2**40),
    st.floats(width=32, allow_nan=False),
    st.sampled_from(["1e-50", ".5", "+3"]),
)
FLOWS = st.lists(
    st.tuples(NUMBERS, NUMBERS, WORDS, st.sampled_from(["web", "mail", "flood"]), st.sampled_from(["a", "b", ""]),
              st.one_of(st.none(), st.integers(0, 5))),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(FLOWS, st.integers(60, 200), st.sampled_from(["\n", "\r\n"]), st.integers(1, 30))
def test_what_is_read_does_not_depend_on_the_portions(tmp_path_factory, flows, block_bytes, end, cut):
    """Against the standard library's reader, in two files and in portions of a few rows."""
    folder = tmp_path_factory.mktemp("flows")
    form = form_of(station={"column": "sensor"}, session={"falls": "start"})
    paths = []
    for number, part in enumerate((flows[:cut], flows[cut:])):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator=end)
        writer.writerow(["bytes", "load", "proto", "kind", "sensor", "start"])
        writer.writerows(part)
        paths.append(folder / f"{number}.csv")
        paths[-1].write_bytes(text.getvalue().encode())
    whole = read(paths, form)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "_BLOCK_BYTES", block_bytes)
        pieces = read(paths, form)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name), err_msg=name)
    assert pieces.station_names == whole.station_names == tuple(dict.fromkeys(flow[4] or "unknown" for flow in flows))
    for row, (size, load, proto, kind, sensor, _) in enumerate(flows):
        known = ["tcp", "udp"]
        code = NAN if not proto else known.index(proto) + 1 if proto in known else 3
        expected = [NAN if value is None else float(value) for value in (size, load)] + [code]
        np.testing.assert_array_equal(whole.values[row], np.array(expected, np.float32))
        assert whole.attacks[row] == ["web", "mail", "flood"].index(kind)
        assert whole.station_names[whole.stations[row]] == (sensor or "unknown")
    assert whole.sessions.tolist() == sessions_of(flows, cut)


def sessions_of(flows, cut):
    """By the letter: of each station another session where the number falls, and where a file begins."""
    found, last, capture = [], {}, {}
    for row, (*_, sensor, start) in enumerate(flows):
        if row == cut:
            last, capture = {}, {name: number + 1 for name, number in capture.items()}
        if start is not None:
            if start < last.get(sensor, -math.inf):
                capture[sensor] += 1
            last[sensor] = start
        found.append((sensor, capture.setdefault(sensor, 0), row >= cut))
    order = list(dict.fromkeys(found))
    return [order.index(key) for key in found]


def test_5g_nidd_by_hand(tmp_path):
    form = published_format("nidd")
    rows = []
    for index, seq in ((0, 5), (1, 6), (2, 3), (0, 9), (1, 10)):
        row = {
            "Unnamed: 0": index,
            "Seq": seq,
            "Offset": seq * 100,
            "Proto": "tcp",
            "sTtl": 64,
            "Attack Type": "SYNScan ",
        }
        rows.append(",".join(str(row.get(column, "")) for column in form.columns))
    found = read(write(tmp_path / "Combined.csv", ",".join(form.columns), *rows), form)
    assert found.station_names == ("BTS_1", "BTS_2")
    assert found.stations.tolist() == [0, 0, 0, 1, 1]
    assert found.sessions.tolist() == [0, 0, 1, 2, 2]
    assert {form.attacks[number] for number in found.attacks} == {"SYNScan"}
    names = [feature.column for feature in form.features]
    assert found.values[:, names.index("Seq")].tolist() == [5, 6, 3, 9, 10]
    assert found.values[:, names.index("Proto")].tolist() == [7] * 5
    assert np.isnan(found.values[:, names.index("TcpRtt")]).all()
