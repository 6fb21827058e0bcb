from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet.errors import LedgerError
from simnet.ledger import Ledger, LedgerEntry, Seal, genesis, read, verified

IDENTITY = {"scenario": "s", "seed": 7, "method": "m"}
# By sha256sum, of the text without the chain value.
GENESIS = "4ae32da20c33b85bec9d2409f2b4f6925c109cf3dcb4ba53300bbfa50615e812"
HEAD = "be48c0f594eaf0905e138f9378da47a260b584efe69bd3ee038c3a42f6bbc215"


def entry(number, *, reason=None):
    return LedgerEntry(
        at_s=number / 3,
        point="leaving",
        source="client-ü",
        target="server",
        source_tenant="hospital",
        target_tenant="cloud",
        kind="synthetic",
        size_bytes=number,
        digest=f"{number:064x}",
        verdict="crossed" if reason is None else "refused",
        rule="a rule" if reason is None else None,
        reason=reason,
    )


def written(tmp_path, count=5, identity=None):
    ledger = Ledger()
    for number in range(count):
        ledger.append(entry(number, reason="no “rule”" if number == 3 else None))
    seal = ledger.write(tmp_path / "ledger.jsonl", identity or IDENTITY)
    return (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True), seal, list(ledger)


def first_bad_line(lines, seal):
    with pytest.raises(LedgerError) as caught:
        list(verified(lines, seal))
    assert f"line {caught.value.line}" in str(caught.value)
    return caught.value.line


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return written(tmp_path_factory.mktemp("ledger"))


def test_what_is_written_can_be_read_and_verified(sample):
    lines, seal, entries = sample
    assert list(read(lines)) == entries
    assert list(verified(lines, seal)) == entries
    assert seal.lines == 5
    assert Seal.read(json.loads(json.dumps(seal.as_dict()))) == seal


@pytest.mark.parametrize(
    "data", [None, 7, {}, {"identity": {}, "lines": "5", "head": ""}, {"identity": [], "lines": 5, "head": ""}]
)
def test_what_is_no_seal_is_none(data):
    assert Seal.read(data) is None


@pytest.mark.parametrize(
    ("name", "value"), [("at_s", float("nan")), ("at_s", "1"), ("kind", None), ("size_bytes", 1.5), ("answer", "no")]
)
def test_a_line_that_fits_but_says_what_no_run_says_is_refused(tmp_path, name, value):
    ledger = Ledger()
    ledger.append(replace(entry(1), **{name: value}))
    seal = ledger.write(tmp_path / "odd.jsonl", IDENTITY)
    with pytest.raises(LedgerError, match=f"line 1 was changed: {name} is"):
        list(verified((tmp_path / "odd.jsonl").read_bytes().splitlines(keepends=True), seal))


def test_an_empty_ledger_is_bound_to_its_run_too(tmp_path):
    lines, seal, _ = written(tmp_path, 0)
    assert lines == []
    assert seal.head == genesis(IDENTITY)
    assert list(verified(lines, seal)) == []
    with pytest.raises(LedgerError, match="line 1 was added: the run wrote 0"):
        list(verified(written(tmp_path, 1)[0], seal))


def test_the_form_of_a_line_is_fixed(tmp_path):
    """A golden value: whoever reads ledgers in another language relies on it."""
    lines, seal, _ = written(tmp_path, 1)
    assert lines == [
        b'{"answer":false,"at_s":0.0,"chain":"%s","digest":"%s","kind":"synthetic","point":"leaving","previous":"%s",'
        b'"reason":null,"rule":"a rule","size_bytes":0,"source":"client-\\u00fc","source_tenant":"hospital",'
        b'"target":"server","target_tenant":"cloud","verdict":"crossed"}\n'
        % (seal.head.encode(), b"0" * 64, genesis(IDENTITY).encode())
    ]
    assert genesis(IDENTITY) == GENESIS
    assert seal.head == HEAD


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_of_any_byte_is_noticed_at_its_line(sample, data):
    lines, seal, _ = sample
    number = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[number]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[number][at]))
    edited = lines[number][:at] + bytes([byte]) + lines[number][at + 1 :]
    text = b"".join([*lines[:number], edited, *lines[number + 1 :]])
    assert first_bad_line(text.splitlines(keepends=True), seal) == number + 1


@settings(deadline=None)
@given(data=st.data())
def test_lines_removed_repeated_swapped_or_cut_off_are_noticed(sample, data):
    lines, seal, _ = sample
    first = data.draw(st.integers(0, len(lines) - 1))
    second = data.draw(st.integers(0, len(lines) - 1).filter(lambda at: at != first))
    removed = [line for at, line in enumerate(lines) if at != first]
    assert first_bad_line(removed, seal) == first + 1
    repeated = [*lines[: first + 1], lines[first], *lines[first + 1 :]]
    assert first_bad_line(repeated, seal) == first + 2
    swapped = list(lines)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    assert first_bad_line(swapped, seal) == min(first, second) + 1
    assert first_bad_line(lines[:first], seal) == first + 1


@pytest.mark.parametrize("number", range(5))
def test_a_line_whose_own_value_was_computed_anew_breaks_the_chain_after_it(tmp_path, sample, number):
    lines, seal, entries = sample
    forged = Ledger()
    for at, old in enumerate(entries[: number + 1]):
        forged.append(old if at < number else entry(99))
    forged.write(tmp_path / "forged.jsonl", IDENTITY)
    mixed = [*(tmp_path / "forged.jsonl").read_bytes().splitlines(keepends=True), *lines[number + 1 :]]
    assert first_bad_line(mixed, seal) == min(number + 2, 5)


def test_a_ledger_written_anew_does_not_fit_the_seal(tmp_path, sample):
    _, seal, _ = sample
    other = Ledger()
    for number in range(5):
        other.append(entry(number + 1))
    other.write(tmp_path / "other.jsonl", IDENTITY)
    with pytest.raises(LedgerError, match="line 5, the last, is not the one that the run wrote"):
        list(verified((tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True), seal))


def test_the_ledger_of_another_run_is_noticed_at_its_first_line(tmp_path, sample):
    _, seal, _ = sample
    lines, _, _ = written(tmp_path, identity={**IDENTITY, "seed": 8})
    with pytest.raises(LedgerError, match="line 1 does not follow the beginning of this run's ledger"):
        list(verified(lines, seal))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda line: b"\n", "line 2 was changed: it is no JSON object"),
        (lambda line: b"[1]\n", "line 2 was changed: it is no JSON object"),
        (lambda line: b"{}\n", "line 2 was changed"),
        (lambda line: line.replace(b'":', b'": ', 1), "line 2 was changed: it is not written in canonical JSON"),
        (lambda line: line.replace(b"\n", b"\r\n"), "line 2 was changed: it is not written in canonical JSON"),
        (lambda line: line.replace(b"{", b'{"size_bytes":9,'), "line 2 was changed"),
        (lambda line: line.replace(b'"crossed"', b'"refused"'), "line 2 was changed: its content does not give"),
        (lambda line: line.replace(b'"rule":', b'"rules":'), "line 2 was changed: its content does not give"),
        (lambda line: b"[" * 100_000 + b"\n", "line 2 was changed: it is no JSON object"),
    ],
)
def test_what_was_done_to_a_line_is_told(sample, edit, message):
    lines, seal, _ = sample
    with pytest.raises(LedgerError, match=message):
        list(verified([lines[0], edit(lines[1]), *lines[2:]], seal))


def test_reading_what_is_no_ledger_names_the_line(sample):
    lines, _, _ = sample
    with pytest.raises(LedgerError, match=r"line 2 was changed: it lacks, or has too many, members \(.*chain"):
        list(read([lines[0], b'{"at_s": 1}\n']))
