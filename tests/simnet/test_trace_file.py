from __future__ import annotations

import json
import math

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings

from simnet import trace_file
from simnet.errors import TraceFileError
from simnet.trace import Event, Trace
from tests.simnet.test_trace import EVENTS, made


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("traces") / "trace.parquet"


def rows(path):
    return pyarrow.parquet.read_table(path).to_pylist()


def small() -> Trace:
    trace = Trace()
    trace.record(0.1, "client-0", "request", peer="server", bytes=3)
    trace.record(0.2, "client-0 > server", "link", wire_bps=1.5e6)
    trace.record(0.3, "server", "round", sites=["client-0"], last=True)
    return trace


@settings(deadline=None)  # how long it takes is the machine's affair
@given(EVENTS)
def test_whatever_is_written_is_read_back(path, events):
    trace = made(events)
    trace_file.write(trace, path)
    back = trace_file.read(path)
    assert list(back) == list(trace)
    types = [[{name: type(value) for name, value in event.values.items()} for event in each] for each in (trace, back)]
    assert types[0] == types[1]
    assert back.digest() == trace.digest()


def test_not_a_number_is_a_number_and_not_nothing(path):
    trace = Trace()
    for value in (math.nan, math.inf, -0.0, 5e-324):
        trace.record(0, "h", "k", value=value)
    trace_file.write(trace, path)
    back = [event.values["value"] for event in trace_file.read(path)]
    assert [math.copysign(1, value) for value in back[1:]] == [1, -1, 1]
    assert math.isnan(back[0])
    assert back[1:] == [math.inf, 0.0, 5e-324]


def test_the_columns_are_those_that_one_expects(path):
    trace_file.write(small(), path)
    schema = pyarrow.parquet.read_schema(path)
    words = pa.dictionary(pa.int32(), pa.string())
    assert {field.name: field.type for field in schema} == {
        "at_us": pa.int64(), "host": words, "kind": words, "peer": pa.string(), "bytes": pa.int64(),
        "wire_bps": pa.float64(), "sites": pa.list_(schema.field("sites").type.value_field), "last": pa.bool_(),
        "more": pa.string(),
    }  # fmt: skip
    metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert metadata["simnet.trace.version"] == "1"
    assert metadata["simnet.trace.digest"] == small().digest()
    assert metadata["simnet.trace.events"] == "3"
    assert all(row["more"] is None for row in rows(path))


def test_what_a_column_cannot_hold_is_in_more(path):
    trace = Trace()
    trace.record(0, "h", "k", hold_s=1, size=5, note="a")
    trace.record(0, "h", "k", hold_s=0.5, size=2**70, note=None)
    trace.record(0, "h", "k", hold_s=2.5, size="many", note="\ud800")
    trace_file.write(trace, path)
    found = rows(path)
    assert [row["hold_s"] for row in found] == [1.0, 0.5, 2.5]
    assert [row["size"] for row in found] == [5, None, None]
    assert [row["note"] for row in found] == ["a", None, None]
    assert [json.loads(row["more"]) for row in found] == [
        {"hold_s": 1},
        {"size": 2**70, "note": None},
        {"size": "many", "note": "\ud800"},
    ]
    assert list(trace_file.read(path)) == list(trace)


def test_more_rows_than_are_written_at_once(path):
    trace = Trace()
    for number in range(70_000):
        if number % 3:
            trace.record(number / 1e6, f"host-{number % 100}", "even", number=number)
        else:
            trace.record(number / 1e6, "server", "odd", text=str(number))
    trace_file.write(trace, path)
    back = trace_file.read(path)
    assert back.digest() == trace.digest()
    assert list(back.events(65_530))[:9] == list(trace.events(65_530))[:9]
    assert list(back)[65_536] == Event(65_536, "host-36", "even", {"number": 65_536})
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 2


def test_a_file_that_is_no_trace_is_named(tmp_path):
    with pytest.raises(TraceFileError, match=r"nothing\.parquet is no trace, or is damaged"):
        trace_file.read(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("at_us,host\n")
    with pytest.raises(TraceFileError, match=r"text\.parquet is no trace, or is damaged: .*magic bytes"):
        trace_file.read(tmp_path / "text.parquet")
    pyarrow.parquet.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(TraceFileError, match=r"other\.parquet is no trace of simnet"):
        trace_file.read(tmp_path / "other.parquet")


def rewritten(path, change, **metadata):
    table = change(pyarrow.parquet.read_table(path))
    stored = {**table.schema.metadata, **{f"simnet.trace.{key}".encode(): value for key, value in metadata.items()}}
    pyarrow.parquet.write_table(table.replace_schema_metadata(stored), path)


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (lambda table: table.slice(0, 2), {}, "is damaged: it has 2 events, 3 were written"),
        (lambda table: table.take([1, 0, 2]), {}, r"was changed since it was written: its events have"),
        (lambda table: table.set_column(0, "at_us", pa.array([1, 2, 3])), {}, "was changed since it was written"),
        (lambda table: table.drop_columns(["host"]), {}, 'is damaged: its column "host" should hold dictionary'),
        (lambda table: table.set_column(0, "at_us", pa.array([1.0, 2, 3])), {}, "should hold int64, it holds double"),
        (lambda table: table.append_column("x", pa.array([b"a"] * 3)), {}, 'its column "x" holds binary'),
        (
            lambda table: table.set_column(2, "kind", pa.array(["a", None, "b"]).dictionary_encode()),
            {},
            "is no trace, or is damaged: ",
        ),
        (lambda table: table, {"version": b"2"}, "is a trace of version 2, this program reads version 1"),
    ],
)  # fmt: skip
def test_a_file_that_was_tampered_with_is_noticed(path, change, metadata, message):
    trace_file.write(small(), path)
    rewritten(path, change, **metadata)
    with pytest.raises(TraceFileError, match=message):
        trace_file.read(path)


def test_no_byte_of_the_data_can_be_changed_unnoticed(path):
    trace_file.write(small(), path)
    whole, digest = path.read_bytes(), small().digest()
    footer_bytes = int.from_bytes(whole[-8:-4], "little")
    noticed = 0
    for position in range(4, len(whole) - 8 - footer_bytes, 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        try:
            assert trace_file.read(path).digest() == digest
        except TraceFileError:
            noticed += 1
    assert noticed > 20
