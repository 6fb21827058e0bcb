"""What is wrong with a file is told with row and column, in whatever portion of it that is."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.flows import diagnosis, reading, row_bytes
from collab.errors import DamagedDataError, DataError
from tests.collab.data.flows.records import form_of, read, write

HEADER = "bytes,load,proto,kind"
GOOD = "10,0.5,tcp,web"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("few,0,tcp,web", 'column bytes: found "few", expected a number, or nothing'),
        ("1,0x1F,tcp,web", 'column load: found "0x1F", expected a number, or nothing'),
        ("1, ,tcp,web", 'column load: found " ", expected a number, or nothing'),
        ("1,\u0661,tcp,web", 'column load: found "\u0661", expected a number'),
        (f"1,{'9' * 80}a,tcp,web", f'column load: found "{"9" * 57}...", expected a number'),
        ("1,0,tc", ': found 3 columns, expected 4; it ends in column proto ("tc"): the file is cut off there, or'),
        ("1,0,tcp,web,5", ": found 5 columns, expected 4: a separator too many, or it was written by something else"),
        ('1,0,"tcp,web', ", column proto: a quote begins and does not end in this row"),
        (
            "1,0,tcp,wbe",
            ', column kind: "wbe" is in none of the classes of the mapping small; did you mean "web"? (kno',
        ),
        ("1,0,tcp,", ", column kind: found nothing, expected what the flow is"),
        ("1,0,tcp, ", ", column kind: found nothing, expected what the flow is"),
    ],
)
@pytest.mark.parametrize("portions", ["one", "many"])
def test_a_row_that_cannot_be_read(tmp_path, monkeypatch, row, told, portions):
    if portions == "many":
        monkeypatch.setattr(reading, "_BLOCK_BYTES", 100)
    path = write(tmp_path / "a.csv", HEADER, *[GOOD] * 20, "", row, *[GOOD] * 3)
    with pytest.raises(DamagedDataError) as caught:
        read(path, form_of())
    assert re.match(re.escape(f"{path}, row 21"), str(caught.value)), caught.value
    assert told in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(f"{HEADER}\n{GOOD}\n1,0,tcp,".encode() + "Büro".encode("latin-1") + b"\n")
    told = r"row 2, column kind: found the byte 0xfc, which is no UTF-8 text; save the file as UTF-8"
    with pytest.raises(DamagedDataError, match=told):
        read(path, form_of())


def test_rows_of_zeek_are_counted_without_comments(tmp_path):
    form = form_of(header="fields", separator="\t", comments="#")
    path = write(tmp_path / "a.log", "#fields\tbytes\tload\tproto\tkind", "#types", "1\t0\t\tweb", "#x", "?\t0\t\tweb")
    with pytest.raises(DamagedDataError, match=r'row 2, column bytes: found "\?"'):
        read(path, form)


def test_a_file_without_ends_of_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 100)
    with pytest.raises(DamagedDataError, match=r"row 1: found 1 columns, expected 4"):
        read(write(tmp_path / "a.csv", HEADER, "1" * 500), form_of())
    with pytest.raises(DamagedDataError, match=r"a\.csv"):
        read(write(tmp_path / "a.csv", HEADER, f"1,0,{'x' * 500},web"), form_of())


def test_no_more_of_a_line_is_read_than_it_may_have(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(diagnosis, "_LONGEST_LINE", 300)
    path = write(tmp_path / "a.csv", HEADER, *[GOOD] * 20, "", f"1,0,tcp,{'x' * 293}web")
    told = r"row 21: found no end of line within 300 bytes, expected 4 columns; is it text"
    with pytest.raises(DamagedDataError, match=told):
        read(path, form_of())


@pytest.mark.parametrize("block_bytes", [30, 1 << 20])
def test_a_second_header_of_other_columns_is_told_with_the_row(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(row_bytes, "_BLOCK_BYTES", block_bytes)
    form = form_of(header="fields", separator="\t", comments="#")
    first = ("#fields\tbytes\tload\tproto\tkind", "1\t0\ttcp\tweb", "2\t0\ttcp\tweb", "#close")
    same = write(tmp_path / "same.log", *first, *first)
    assert read(same, form).values[:, 0].tolist() == [1, 2, 1, 2]
    other = write(tmp_path / "other.log", *first, "#fields\tload\tbytes\tproto\tkind", "3\t0\ttcp\tweb")
    told = r"other\.log, before row 3: another line #fields names other columns: found load as column 1, expected bytes"
    with pytest.raises(DamagedDataError, match=told):
        read(other, form)
    fewer = write(tmp_path / "fewer.log", *first, "#fields\tbytes\tload\tproto", "3\t0\ttcp")
    with pytest.raises(DamagedDataError, match="found nothing as column 4, expected kind"):
        read(fewer, form)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters='",\n\r'), max_size=6) | st.from_regex(r"[-+0-9.eE]{1,5}")
)
def test_what_cannot_be_read_is_found(tmp_path_factory, text):
    """pyarrow and the diagnosis agree on what a number is: whatever the one refuses the other names."""
    path = write(tmp_path_factory.mktemp("flows") / "a.csv", HEADER, GOOD, f"{text},0,tcp,web")
    told = []
    try:
        read(path, form_of())
    except DamagedDataError as error:
        told.append(str(error))
    assert all(re.search(r"row 2(, column bytes)?: ", message) for message in told), told


def damaged(draw, content):
    """Bytes of which some are lost, doubled or others."""
    for _ in range(draw(st.integers(1, 4))):
        place, size = draw(st.integers(0, len(content))), draw(st.integers(0, 12))
        kind = draw(st.sampled_from(["cut", "insert", "double", "end"]))
        if kind == "cut":
            content = content[:place] + content[place + size :]
        elif kind == "insert":
            some = draw(
                st.sampled_from([b'"', b",", b"\n", b"\r", b"\x00", b"\xff", b"#", b"\t", b"e", b"-", b"99999999"])
            )
            content = content[:place] + some + content[place:]
        elif kind == "double":
            content = content[: place + size] + content[place:]
        else:
            content = content[:place]
    return content


CSV = f"{HEADER},n\n".encode() + b"".join(b'%d,0.5,"tcp",web,%d\n' % (row, row) for row in range(12))
ZEEK = b"#sep\n#fields\tbytes\tload\tproto\tkind\n#types\n" + b"1\t-\ttcp\tweb\n" * 6 + b"#close\n"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flows") / "a.csv"
    zeek = data.draw(st.booleans())
    path.write_bytes(damaged(data.draw, ZEEK if zeek else CSV))
    form = form_of(station={"restarts": "n"}, session={"falls": "bytes"})
    if zeek:
        form = form_of(header="fields", separator="\t", comments="#", missing=["-"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "_BLOCK_BYTES", data.draw(st.sampled_from([40, 1 << 20])))
        with contextlib.suppress(DataError):
            read([path, path], form, labelled=data.draw(st.booleans()))
