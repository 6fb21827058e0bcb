"""What the report says of classes and alarms, by matrices whose rates can be had by hand."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from analysis import detection, figures
from analysis.report import write_report
from collab.errors import RunDirectoryError
from collab.store import Run, find_run
from tests.analysis.markup import assert_well_formed
from tests.collab.traffic import CLASS_NAMES, traffic, traffic_run

UNKNOWN = "\N{EN DASH}"
BTS_1 = [[95, 3, 2, 0], [1, 9, 0, 0], [0, 0, 10, 0], [0, 0, 0, 0]]
BTS_2 = [[93, 7, 0, 0], [4, 15, 1, 0], [0, 5, 5, 0], [0, 0, 0, 0]]


def in_place_of_a_figure(*_) -> Markup:
    return Markup("<svg></svg>")


@pytest.fixture(autouse=True)
def no_pictures_but_of_classes(monkeypatch):
    """Figures take seconds to draw, and of a page's only those with names of classes are looked at here."""
    for name in ("gantt", "link_use_figure", "accuracy_against_costs"):
        monkeypatch.setattr(figures, name, in_place_of_a_figure)


@pytest.fixture
def no_pictures(no_pictures_but_of_classes, monkeypatch):
    monkeypatch.setattr(figures, "label_heat_map", in_place_of_a_figure)
    monkeypatch.setattr(detection, "confusion_figure", in_place_of_a_figure)


words_only = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return traffic_run(tmp_path_factory.mktemp("runs"), "evaluation.epochs=1")


def changed(run: Run, folder: Path, file: str, change) -> Run:
    """A copy of a run with a file changed."""
    copied = Path(shutil.copytree(run.path, folder / "copied"))
    data = json.loads((copied / file).read_text())
    change(data)
    (copied / file).write_text(json.dumps(data))
    return find_run(str(copied))


def with_matrices(run: Run, folder: Path, by_site, networks=2) -> Run:
    """A copy of a run whose first method was judged so."""

    def change(outcome):
        outcome["confusions"] = {"convnet": by_site}
        outcome["accuracies"]["convnet"] = [0.5] * networks

    return changed(run, folder, "collabdm/outcome.json", change)


def page_of(run: Run, folder: Path) -> str:
    return write_report(run, folder / "report.html").read_text()


def section(page: str) -> str:
    return page.split('<section id="detection">')[1].split("</section>", maxsplit=1)[0]


def cells(row: str) -> list[str]:
    return [re.sub(r"\s+", " ", text).strip() for text in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)]


def rows_of(text: str, after: str) -> list[list[str]]:
    table = text.split(after)[1].split("</table>", maxsplit=1)[0]
    return [cells(row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)]


@words_only
def test_alarms_are_said_in_words(made, tmp_path):
    found = detection.of_run(with_matrices(made, tmp_path, {"BTS_1": BTS_1, "BTS_2": BTS_2}))
    (view,) = found.by_method["collabdm"]
    assert view.sentences == [
        "Of 1,000 benign samples 60 raised an alarm (12 of 200).",
        "Of 1,000 samples of attacks 900 raised an alarm (45 of 50).",
        "BTS_2 never saw HTTPFlood in training; there 80.0 % of it raised an alarm, and 75.0 % was recognised as "
        "HTTPFlood.",
    ]
    assert (found.title, found.benign) == ("Detection", "Benign")
    assert view.false_alarm_rate == 0.06
    assert view.detection_rate == 0.9
    assert view.accuracy == 227 / 250


@words_only
def test_the_table_of_classes_counts_samples_once(made, tmp_path):
    page = section(page_of(with_matrices(made, tmp_path, {"BTS_1": BTS_1, "BTS_2": BTS_2}), tmp_path))
    head, *rows, mean = rows_of(page, '<table class="by-class">')
    assert head == ["class", "precision", "recall", "F1", "raised an alarm", "test samples"]
    assert rows[0] == ["Benign", "97.4 %", "94.0 %", "95.7 %", "6.0 %", "100"]  # 188/193, 188/200, 376/393
    assert rows[1] == ["HTTPFlood", "61.5 %", "80.0 %", "69.6 %", "83.3 %", "15"]  # 24/39, 24/30, 48/69, 25/30
    assert rows[3] == ["UDPFlood", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "0"]  # nothing is known of it
    assert mean[0] == "mean of the classes"
    assert mean[2] == "83.0 %"  # of 94, 80 and 75


@words_only
def test_recall_by_station_marks_what_it_never_saw(made, tmp_path):
    page = section(page_of(with_matrices(made, tmp_path, {"BTS_1": BTS_1, "BTS_2": BTS_2}), tmp_path))
    head, *rows = rows_of(page, '<table class="stations">')
    assert head == ["station", *CLASS_NAMES]
    assert rows == [["BTS_1", "95.0 %", "90.0 %", "100.0 %", UNKNOWN], ["BTS_2", "93.0 %", "75.0 %", "50.0 %", UNKNOWN]]
    assert re.findall(r'<td class="unseen" title="([^"]*)">(.*?)</td>', page)[0] == (
        "BTS_2 held no training sample of HTTPFlood",
        "75.0 %",
    )


@words_only
def test_a_station_that_no_client_holds_has_seen_nothing(made, tmp_path):
    run = with_matrices(made, tmp_path, {"BTS_1": BTS_1, "BTS_3": BTS_2})
    (view,) = detection.of_run(run).by_method["collabdm"]
    assert [(row.name, row.unseen) for row in view.stations] == [("BTS_1", [False] * 4), ("BTS_3", [True] * 4)]
    assert view.sentences[2:] == [
        "BTS_3 never saw Benign in training; there 93.0 % of it was recognised.",
        "BTS_3 never saw HTTPFlood in training; there 80.0 % of it raised an alarm, and 75.0 % was recognised as "
        "HTTPFlood.",
        "BTS_3 never saw SlowrateDoS in training; there 100.0 % of it raised an alarm, and 50.0 % was recognised as "
        "SlowrateDoS.",
        "BTS_3 never saw UDPFlood in training, and no test sample of it comes from there.",
    ]
    alone = changed(run, tmp_path / "again", "dataset.json", lambda data: data.update(sites={}))
    (view,) = detection.of_run(alone).by_method["collabdm"]
    assert [any(row.unseen) for row in view.stations] == [False, False]  # who held what is not known


@words_only
def test_a_class_that_a_station_neither_saw_nor_is_tested_on(made, tmp_path):
    nothing = [BTS_2[0], [0, 0, 0, 0], *BTS_2[2:]]
    found = detection.of_run(with_matrices(made, tmp_path, {"BTS_1": BTS_1, "BTS_2": nothing}))
    assert found.by_method["collabdm"][0].sentences[-1] == (
        "BTS_2 never saw HTTPFlood in training, and no test sample of it comes from there."
    )


@words_only
def test_without_benign_or_attack_samples_that_is_said(made, tmp_path):
    found = detection.of_run(with_matrices(made, tmp_path, {"": [[0] * 4, *BTS_1[1:]]}))
    assert found.by_method["collabdm"][0].sentences[0] == "The test data holds no benign samples."
    assert found.by_method["collabdm"][0].false_alarm_rate is None


@words_only
def test_samples_of_flows_are_windows(made, tmp_path):
    run = changed(made, tmp_path, "dataset.json", lambda data: data.update(recipe={"side": 16}))
    assert "benign windows" in section(page_of(run, tmp_path))


def test_a_matrix_has_its_numbers_and_the_page_all_networks(made, tmp_path):
    page = page_of(made, tmp_path)
    found = section(page)
    assert found.count('aria-label="how often a sample') == 2 * 2 * 2  # methods, networks, widths
    assert "collabdm, judged on alexnet" in found
    assert [row[:2] for row in rows_of(found, "<table>")[1:]] == [
        ["collabdm", "convnet"], ["", "alexnet"], ["localdm", "convnet"], ["", "alexnet"],
    ]  # fmt: skip
    drawn = detection.confusion_figure(np.array([[999, 1], [2, 0]]), ("a", "b"))
    assert re.findall(r">([^<>]+)</text>", drawn)[:9] == [
        "a", "b", "predicted", "a", "b", "true", "99.9 %", "999", "0.1 %",
    ]  # fmt: skip
    assert ">client-0, BTS_1</text>" in page
    assert ">HTTPFlood</text>" in page.split('<section id="data">')[1]


@pytest.mark.parametrize(("share", "digits", "text"), [(0.004, 0, "<1"), (0.0004, 1, "<0.1"), (0.006, 0, "1")])
def test_a_small_share_is_not_said_to_be_nothing(share, digits, text):
    assert detection._brief(share, digits) == text


@words_only
def test_names_without_a_benign_class_are_by_class(made, tmp_path):
    run = changed(made, tmp_path, "dataset.json", lambda data: data.update(benign=None))
    found = section(page_of(run, tmp_path))
    assert "<h2>By class</h2>" in found
    assert "alarm" not in found
    assert re.search(r"BTS_2 never saw HTTPFlood in training; there \d+\.\d % of it was recognised\.", found)


def test_numbered_classes_have_a_folded_table(made, tmp_path):
    run = changed(made, tmp_path, "dataset.json", lambda data: data.update(benign=None, class_names=[]))
    found = section(page_of(with_matrices(run, tmp_path / "again", {"": BTS_2}), tmp_path))
    assert "<svg" not in found
    assert found.index("<details>") < found.index('<table class="confusion">')
    head, *rows = rows_of(found, '<table class="confusion">')
    assert head == ["true \\ predicted", "0", "1", "2", "3", "recall"]
    nothing = "\N{MIDDLE DOT}"
    assert rows[1] == ["1", "4", "15", "1", nothing, "75.0 %"]
    assert rows[3] == ["3", nothing, nothing, nothing, nothing, UNKNOWN]
    assert '<td style="--share: 0.750" class="right">15</td>' in found


@pytest.mark.slow
def test_very_many_numbered_classes_have_none(tmp_path):
    many = detection.MOST_CLASSES + 1
    overrides = (f"dataset={{name: gaussians, classes: {many}, samples_per_class: 4}}", "baselines=[]")
    folder = tmp_path / "runs"
    found = traffic_run(folder, *overrides, "partition={clients: 2, scheme: iid}", dataset=gaussians_of(many))
    assert detection.of_run(found) is None
    assert '<section id="detection">' not in page_of(found, tmp_path)


def gaussians_of(classes):
    from collab.data import GaussiansSettings, load_dataset

    return load_dataset(GaussiansSettings(name="gaussians", classes=classes, samples_per_class=4), 0)


@pytest.mark.slow
@words_only
def test_older_runs_have_a_report_all_the_same(made, tmp_path):
    run = changed(made, tmp_path, "collabdm/outcome.json", lambda data: data.pop("confusions"))
    found = section(page_of(run, tmp_path))
    assert "CollabDM" not in found
    assert "LocalDM" in found
    run = changed(run, tmp_path / "older", "localdm/outcome.json", lambda data: data.pop("confusions"))
    (run.path / "dataset.json").unlink()
    page = page_of(find_run(str(run.path)), tmp_path)
    assert '<section id="detection">' not in page
    assert '<section id="data">' in page


@words_only
def test_without_a_description_of_the_data_classes_are_numbers(made, tmp_path):
    copied = Path(shutil.copytree(made.path, tmp_path / "copied"))
    (copied / "dataset.json").unlink()
    found = section(page_of(find_run(str(copied)), tmp_path))
    assert "<h2>By class</h2>" in found
    assert '<table class="confusion">' in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"class_names": ["a"]}, "class_names to be 4 names or none"),
        ({"class_names": [1, 2, 3, 4]}, "class_names to be 4 names or none"),
        ({"benign": 4}, "benign to be a class below 4 or null"),
        ({"benign": "Benign"}, "benign to be a class below 4 or null"),
        ({"sites": {"client-9": "BTS_1"}}, "sites to map clients of partition.json to stations"),
    ],
)
def test_a_damaged_description_is_named(made, tmp_path, change, expected):
    run = changed(made, tmp_path, "dataset.json", lambda data: data.update(change))
    with pytest.raises(RunDirectoryError, match=f"dataset.json is damaged: expected {expected}"):
        write_report(run, tmp_path / "report.html")


@words_only
def test_matrices_of_another_size_are_named(made, tmp_path):
    run = with_matrices(made, tmp_path, {"": [[1, 0], [0, 1]]})
    with pytest.raises(RunDirectoryError, match=r"outcome\.json is damaged: expected confusions to hold .* 4 classes"):
        write_report(run, tmp_path / "report.html")


def test_names_cannot_break_out_of_the_page(tmp_path):
    bad = dataclasses.replace(traffic(), class_names=("<b>", "a&b", "<script>alert(1)</script>", "d"))
    page = page_of(traffic_run(tmp_path / "runs", "baselines=[]", "evaluation.epochs=1", dataset=bad), tmp_path)
    assert "<script>alert" not in page
    assert "<b>,<" not in section(page)


def test_the_section_is_well_formed(made, tmp_path):
    assert_well_formed(section(page_of(made, tmp_path)))
