"""Runs and cells of sweeps by what people call them."""

from __future__ import annotations

import pytest

from collab.errors import RunNotFoundError
from collab.store import Sweep, find, find_run
from tests.collab.recordings import REASON, record_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return record_sweep(tmp_path_factory.mktemp("runs"))


def test_a_cell_is_found_by_as_much_of_its_identity_as_is_its_own(sweep):
    whole = sweep / "cells" / "0a1aaaaaaaaa"
    for text in ("k-by-seed/0a1aaaaaaaaa", "k-by-seed/0a1", str(sweep / "0a1"), str(whole)):
        assert find_run(text, sweep.parent).path == whole
    assert find_run("0a1", sweep).path == whole  # the sweep as the directory of runs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "k-by-seed/0a",
            r"2 cells that begin with 0a: 0a1aaaaaaaaa, 0a2bbbbbbbbb; see: collab list --cells .*k-by-seed",
        ),
        ("k-by-seed/9", "has no cell 9"),
        ("k-by-seed/1c1", rf"the cell 1c1ccccccccc of .*k-by-seed failed: {REASON}"),
        ("k-by-seed/1c2", "the cell 1c2ddddddddd of .* is not finished yet"),
        ("k-by-seed", r"is a sweep of 4 cells; name one of them, k-by-seed/CELL"),
        ("nothing", "nothing is no run directory"),
    ],
)
def test_what_is_no_finished_cell_is_told_apart(sweep, text, message):
    with pytest.raises(RunNotFoundError, match=message):
        find_run(text, sweep.parent)


def test_a_name_may_be_of_either(sweep):
    found = find("k-by-seed", sweep.parent)
    assert isinstance(found, Sweep)
    assert found.path == sweep
    assert find("k-by-seed/0a2", sweep.parent).path == sweep / "cells" / "0a2bbbbbbbbb"
