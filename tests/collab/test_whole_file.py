from __future__ import annotations

import pytest

from collab.errors import RunExistsError
from collab.whole_file import new_file


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "b" / "out.csv"
    with new_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert [each.name for each in path.parent.iterdir()] == ["out.csv"]


def test_nothing_is_left_of_one_that_failed(tmp_path):
    with pytest.raises(KeyError), new_file(tmp_path / "out.csv") as partial:
        partial.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_even_if_it_came_meanwhile(tmp_path):
    path = tmp_path / "out.csv"
    with pytest.raises(RunExistsError, match=r"out\.csv exists already; choose another --out"), new_file(path):
        path.write_text("mine")
    assert path.read_text() == "mine"
    began = False
    with pytest.raises(RunExistsError), new_file(path):
        began = True
    assert not began


def test_two_that_make_the_same_file_do_not_mix_and_the_first_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    with pytest.raises(RunExistsError, match=r"out\.csv exists already"), new_file(path) as slower:
        monkeypatch.setattr("os.getpid", lambda: 1)
        with new_file(path) as faster:
            assert faster != slower
            faster.write_text("faster")
        slower.write_text("slower")
    assert path.read_text() == "faster"
    assert [each.name for each in tmp_path.iterdir()] == ["out.csv"]


def test_a_place_that_takes_no_files_is_noticed_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), new_file(tmp_path / "file" / "out.csv"):
        raise AssertionError
