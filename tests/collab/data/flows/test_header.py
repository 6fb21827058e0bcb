"""Headers: the columns that a file has, and those that it should have."""

from __future__ import annotations

import pytest

from collab.data.flows.flow_format import published_format
from collab.data.flows.header import read_header
from collab.errors import DamagedDataError, DataError
from tests.collab.data.flows.records import form_of, write

NIDD = published_format("nidd")


def header(path, form=NIDD, labelled=True):
    return read_header(path, form, labelled=labelled)


def test_where_the_rows_begin(tmp_path):
    path = write(tmp_path / "a.csv", "", "# by hand", '"bytes ","a,b",load,proto,kind', "1")
    found = header(path, form_of(comments="#"))
    assert found.columns == ("bytes", "a,b", "load", "proto", "kind")
    assert path.read_bytes()[found.size_bytes :] == b"1\n"


def test_an_index_without_a_name_is_called_as_pandas_calls_it(tmp_path):
    assert header(write(tmp_path / "a.csv", "," + ",".join(NIDD.columns[1:]))).columns == NIDD.columns


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda columns: [*columns[:3], *columns[4:]], 'a.csv:1: column 4 is "Mean", expected "RunTime"; other'),
        (lambda columns: columns[:-2], 'column 51 is missing, expected "Attack Type": the file has 50 columns of 52'),
        (lambda columns: [*columns, "note"], 'column 53 is "note", expected no more than 52 columns'),
        (lambda columns: [columns[0], columns[2], columns[1], *columns[3:]],
         'column 2 is "Dur", expected "Seq": the columns are in another order'),
        (lambda columns: [columns[0], "seq", *columns[2:]], 'column 2 is "seq", expected "Seq"'),
        (lambda columns: [*columns[:5], columns[4], *columns[6:]], 'column 6 is "Mean (2)", expected "Sum"'),
    ],
    ids=["missing", "cut off", "additional", "reordered", "misspelt", "twice"],
)  # fmt: skip
def test_5g_niddd_has_exactly_its_columns(tmp_path, change, told):
    with pytest.raises(DataError) as caught:
        header(write(tmp_path / "a.csv", ",".join(change(list(NIDD.columns))), "1"))
    assert told in str(caught.value)
    assert str(caught.value).endswith("other columns can be read with dataset.name: flow-csv and a mapping")
    assert caught.value.exit_code == 5


def test_a_column_that_is_not_there(tmp_path):
    path = write(tmp_path / "a.csv", "byts,load,proto,kind")
    with pytest.raises(DataError, match='no column "bytes", which the mapping small names; did you mean "byts"'):
        header(path, form_of())
    with pytest.raises(DataError, match='there is no column "start"'):
        header(write(tmp_path / "b.csv", "bytes,load,proto,kind"), form_of(session={"falls": "start"}))


def test_flows_without_labels(tmp_path):
    path = write(tmp_path / "a.csv", "bytes,load,proto,Kind")
    with pytest.raises(
        DataError, match='the flows have no labels: there is no column "kind"; did you mean "Kind"'
    ) as no:
        header(path, form_of())
    assert "collab detect labels flows that have none" in str(no.value)
    with pytest.raises(DataError, match="the mapping small does not say what a flow is; give it a label"):
        header(path, form_of(label=None, benign=None))
    assert header(path, form_of(), labelled=False).columns == ("bytes", "load", "proto", "Kind")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "found no header, expected a first line with the columns' names"),
        (b"\n\n\n", "found no header"),
        ("bytes,größe\n".encode("latin-1"), "a.csv:1: its header is no UTF-8 text"),
        ("bytes,load,proto,kind\n".encode("utf-16"), "a.csv:1: its header is no UTF-8 text"),
        (b"\x1f\x8b\x08\x00packed\n", "a.csv:1: its header is no UTF-8 text"),
        (bytes(range(100)), "a.csv:1: found bytes that are no text; is it packed, or a capture?"),
        (b"a," * 600_000 + b"\n", "a.csv:1: found a line of more than 1 MB, expected the columns' names"),
        (b"a" * 200_000 + b",b\n", "a.csv:1: the header cannot be read: field larger than field limit"),
    ],
    ids=["empty", "empty lines", "Latin-1", "UTF-16", "packed", "capture", "long", "a long field"],
)
def test_files_without_a_header(tmp_path, content, told):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DamagedDataError) as caught:
        header(tmp_path / "a.csv", form_of())
    assert told in str(caught.value)
    assert caught.value.exit_code == 15


def test_zeeks_header_is_a_line_of_its_own(tmp_path):
    form = form_of(header="fields", separator="\t", comments="#")
    found = header(write(tmp_path / "a.log", "#fields\tbytes\tload\tproto\tkind", "#types\tx", "1"), form)
    assert found.columns == ("bytes", "load", "proto", "kind")
    with pytest.raises(DamagedDataError, match="found no header, expected a line that begins with #fields"):
        header(write(tmp_path / "b.log", "1\t2\ttcp\tweb"), form)
