"""Which files a data set is read from, what it is called, and what is kept of it."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

from collab.data import decoded
from collab.data.checking import check
from collab.data.flows import sources
from collab.data.flows.settings import FlowCsvSettings, NiddSettings, SyntheticNiddSettings
from collab.data.flows.sources import load, locate, own_files, own_format, synthetic_file
from collab.data.listing import entries
from collab.data.loading import load_dataset
from collab.errors import DamagedDataError, DataError
from tests.collab.data.flows.records import write

NIDD = NiddSettings(name="5g-nidd", side=16)


@pytest.fixture
def published(traffic, tmp_path, monkeypatch):
    """A data directory in which the traffic passes for the published file, but for its checksum."""
    folder = tmp_path / "data" / "5g-nidd"
    folder.mkdir(parents=True)
    shutil.copy(traffic, folder)
    monkeypatch.setattr(sources, "PUBLISHED_FLOWS", len(traffic.read_bytes().splitlines()) - 1)
    return folder


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_what_has_the_published_checksum_has_the_published_name(published, monkeypatch):
    data_dir = published.parent
    assert load(NIDD, data_dir).title == "flow records in 5G-NIDD's form (not the published file)"
    monkeypatch.setattr(sources, "COMBINED_SHA256", digest(published / "Combined.csv"))
    (published / "README.txt").write_text("Synthetic traffic, it once said\n")
    shutil.rmtree(data_dir / ".decoded")
    assert load(NIDD, data_dir).title == "5G-NIDD"


def test_synthetic_traffic_is_called_so_wherever_it_lies(published, traffic):
    shutil.copy(traffic.parent / "README.txt", published)
    assert load(NIDD, published.parent).title == "synthetic traffic (5G-NIDD's form)"
    own = FlowCsvSettings(name="flow-csv", path=str(traffic), mapping="nidd", side=16)
    assert load(own, published.parent).title == "synthetic traffic (5G-NIDD's form)"


def test_what_is_said_beside_the_files_counts_from_the_cache_too(published, traffic, tmp_path, monkeypatch):
    own = FlowCsvSettings(name="flow-csv", path=str(tmp_path / "linked"), mapping="nidd", side=16)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "flows.csv").symlink_to(published / "Combined.csv")
    before = load(NIDD, published.parent), load(own, published.parent)
    assert [made.title for made in before] == [
        "flow records in 5G-NIDD's form (not the published file)", "flow records (nidd)",
    ]  # fmt: skip
    monkeypatch.setattr(sources, "load_flows", None)  # from the cache
    shutil.copy(traffic.parent / "README.txt", published)
    for settings in (NIDD, own):
        assert load(settings, published.parent).title == "synthetic traffic (5G-NIDD's form)"
    (published / "README.txt").unlink()
    assert [load(settings, published.parent).title for settings in (NIDD, own)] == [made.title for made in before]


def test_what_is_kept_has_the_stations_and_the_recipe(published, monkeypatch):
    made = load_dataset(NIDD, 0, published.parent)
    monkeypatch.setattr(sources, "load_flows", None)  # from the cache
    again = load_dataset(NIDD, 0, published.parent)
    assert (again.recipe, again.title, again.class_names) == (made.recipe, made.title, made.class_names)
    assert (again.benign, again.spec) == (0, made.spec)
    assert (again.spec.classes, again.spec.side, again.spec.augmentation) == (5, 16, ())
    for ours, theirs in ((again.train, made.train), (again.test, made.test)):
        assert ours.digest() == theirs.digest()
        np.testing.assert_array_equal(ours.sites, theirs.sites)
        assert set(ours.sites.tolist()) == {"BTS_1", "BTS_2"}


def test_other_settings_are_kept_apart_and_a_limit_is_none(published):
    for changes in ({}, {"layout": "packed"}, {"leaking_columns": "blank"}, {"windows": "time"}, {"train_samples": 9}):
        load(NiddSettings(name="5g-nidd", side=16, **changes), published.parent)
    assert len(list((published.parent / ".decoded").iterdir())) == 3
    limited = load_dataset(NiddSettings(name="5g-nidd", side=16, train_samples=9), 0, published.parent)
    assert len(limited.train) == len(limited.train.sites) == 9


def test_what_is_left_out_is_told_from_the_cache_too(published, caplog):
    few = NiddSettings(name="5g-nidd", side=16, most_images=300)
    for _ in range(2):
        caplog.clear()
        load(few, published.parent)
        assert "Combined.csv gives more than 300 images" in caplog.text


def test_a_cache_of_another_form_is_made_anew(published, monkeypatch):
    made = load(NIDD, published.parent)
    monkeypatch.setattr(decoded, "_FORMAT", "other")
    assert load(NIDD, published.parent).parts[0].digest() == made.parts[0].digest()


# -- files of the stations -----------------------------------------------------------------------


def split_by_station(traffic, folder):
    lines = traffic.read_text().splitlines(keepends=True)
    second = next(index for index in range(2, len(lines)) if lines[index].startswith("0,"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "BTS_1.csv").write_text("".join(lines[:second]))
    (folder / "BTS_2.csv").write_text(lines[0] + "".join(lines[second:]))


def test_the_files_of_the_stations_give_the_same_images(published, traffic, tmp_path):
    split_by_station(traffic, tmp_path / "other" / "5g-nidd")
    whole, by_file = load(NIDD, published.parent), load(NIDD, tmp_path / "other")
    assert by_file.title == "5G-NIDD (files of stations, whose checksums are not known)"
    for one, other in zip(whole.parts, by_file.parts, strict=True):
        assert one.digest() == other.digest()
        assert one.sites.tolist() == other.sites.tolist()


def test_one_station_is_not_enough(traffic, tmp_path):
    split_by_station(traffic, tmp_path / "5g-nidd")
    (tmp_path / "5g-nidd" / "BTS_1.csv").unlink()
    assert locate(tmp_path) == (tmp_path / "5g-nidd" / "BTS_2.csv",)
    with pytest.raises(DataError, match=r"BTS_2\.csv is there, but not BTS_1\.csv; put it beside it, or Combined\.csv"):
        load(NIDD, tmp_path)
    assert entry(tmp_path, "5g-nidd").present == "partly"


def test_no_file_at_all(tmp_path):
    with pytest.raises(DataError) as caught:
        load(NIDD, tmp_path)
    assert f"there is no Combined.csv, nor BTS_1.csv and BTS_2.csv in {tmp_path / '5g-nidd'}" in str(caught.value)
    assert "doi:10.21227/xtep-hv36" in str(caught.value)
    assert "dataset.name: 5g-nidd-synthetic" in str(caught.value)


# -- list and check ------------------------------------------------------------------------------


def entry(data_dir, name):
    return next(found for found in entries(data_dir) if found.name == name)


def test_the_sets_are_listed(published):
    found = entry(published.parent, "5g-nidd")
    assert (found.present, found.shape, found.where) == ("yes", "1x64x64", (str(published / "Combined.csv"),))
    assert not found.fetchable
    assert found.size_bytes == (published / "Combined.csv").stat().st_size
    assert entry(published.parent, "5g-nidd-synthetic").present == "always"
    assert entry(published.parent, "flow-csv").present == "by path"


def test_check_tells_the_published_file_from_others_and_from_damage(published, monkeypatch):
    path, data_dir = published / "Combined.csv", published.parent
    assert check("5g-nidd", data_dir.parent).verdict == "missing"
    report = check("5g-nidd", data_dir)
    assert (report.verdict, report.sound) == ("differs", False)
    assert report.note == (
        "readable, in the published form, but flow records in 5G-NIDD's form (not the published file)"
    )
    monkeypatch.setattr(sources, "COMBINED_SHA256", digest(path))
    shutil.rmtree(data_dir / ".decoded")
    assert (check("5g-nidd", data_dir).verdict, report.train_samples > 0) == ("published", True)
    path.write_bytes(path.read_bytes()[:100_000])
    report = check("5g-nidd", data_dir)
    assert report.verdict == "damaged"
    assert "the file is cut off there" in report.note
    assert report.train_samples is None


# -- synthetic traffic ---------------------------------------------------------------------------


def test_synthetic_traffic_is_written_once(tmp_path):
    settings = SyntheticNiddSettings(name="5g-nidd-synthetic", share=0.001)
    path = synthetic_file(settings, tmp_path)
    assert path.is_relative_to(tmp_path / ".decoded")
    before = path.stat().st_mtime_ns
    assert synthetic_file(settings, tmp_path).stat().st_mtime_ns == before
    assert synthetic_file(SyntheticNiddSettings(name="5g-nidd-synthetic", share=0.002), tmp_path) != path
    assert synthetic_file(SyntheticNiddSettings(name="5g-nidd-synthetic", share=0.001, stations=3), tmp_path) != path
    alike = (SyntheticNiddSettings(name="5g-nidd-synthetic", share=share) for share in (0.001, 0.0010000001))
    assert len(set(map(sources.synthetic_folder, alike))) == 2


def test_synthetic_traffic_is_written_elsewhere_if_a_directory_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    data.mkdir()
    (data / ".decoded").write_text("no directory")
    settings = SyntheticNiddSettings(name="5g-nidd-synthetic", share=0.001)
    assert synthetic_file(settings, data).is_relative_to(tmp_path / "home")
    shutil.rmtree(tmp_path / "home")
    (tmp_path / "home").write_text("no directory")
    with pytest.raises(DataError, match=r"cannot be written to .*data.*; .*cannot be written to .*home"):
        synthetic_file(settings, data)


# -- a user's own --------------------------------------------------------------------------------


def test_own_files_are_found_from_here_or_in_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    (data / "logs").mkdir(parents=True)
    for name in ("b.csv", "a.log", "c.TSV", "notes.txt"):
        write(data / "logs" / name, "x")
    assert [path.name for path in own_files("logs", data)] == ["a.log", "b.csv", "c.TSV"]
    assert own_files("logs/b.csv", data) == (data / "logs" / "b.csv",)
    assert own_files(str(data / "logs" / "b.csv"), tmp_path) == (data / "logs" / "b.csv",)
    (tmp_path / "logs").mkdir()
    with pytest.raises(DataError, match=r"flow-csv: .*logs holds no file ending in \.csv, \.log, \.tsv"):
        own_files("logs", data)
    with pytest.raises(DataError, match=r"flow-csv: there is no .*none\.csv nor .*none\.csv; give dataset\.path"):
        own_files("none.csv", data)


def test_a_mapping_is_found_from_here_or_beside_the_flows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    assert own_format("nidd", tmp_path).name == "nidd"
    with pytest.raises(
        DataError, match=r"flow-csv: there is no mapping .*zeek\.yaml nor .*logs/zeek\.yaml; give datas"
    ):
        own_format("zeek.yaml", tmp_path / "logs")
    (tmp_path / "logs" / "zeek.yaml").write_text("name: beside\nfeatures: [{column: a, range: [0, 1]}]\n")
    assert own_format("zeek.yaml", tmp_path / "logs").name == "beside"
    (tmp_path / "zeek.yaml").write_text("name: here\nfeatures: [{column: a, range: [0, 1]}]\n")
    assert own_format("zeek.yaml", tmp_path / "logs").name == "here"


def test_a_changed_file_or_mapping_is_read_anew(tmp_path):
    rows = [f"{index % 9},{kind}" for kind in "ab" for index in range(1280)]
    write(tmp_path / "a.csv", "n,kind", *rows)
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "name: m\nfeatures: [{column: n, range: [0, 9]}]\nlabel: {column: kind, classes: {a: [a], b: [b]}}\n"
    )
    settings = FlowCsvSettings(name="flow-csv", path=str(tmp_path / "a.csv"), mapping=str(mapping), side=16)
    first = load(settings, tmp_path)
    assert first.title == "flow records (m)"
    mapping.write_text(mapping.read_text().replace("[0, 9]", "[0, 90]"))
    second = load(settings, tmp_path)
    assert second.parts[0].digest() != first.parts[0].digest()
    write(tmp_path / "a.csv", "n,kind", *rows, "x,a")
    with pytest.raises(DamagedDataError, match=r"row 2561, column n"):
        load(settings, tmp_path)
