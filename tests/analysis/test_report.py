"""The report of a run: what it says. How it moves: test_player.py."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from markupsafe import Markup

from analysis import figures
from analysis.report import _title_of, division_in_words, write_report
from collab import methods, run, scenario
from collab.errors import RunDirectoryError
from collab.store import find_run, open_run
from tests.analysis.markup import assert_well_formed
from tests.collab.test_run import TEXT


def make(tmp_path, *overrides, real=False):
    chosen = scenario.parse(TEXT, "tiny.yaml", overrides)
    with open_run(tmp_path, chosen.name, None) as writer:
        run.run_scenario(chosen, writer, real=real)
    return find_run(str(writer.final))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    found = make(folder)
    return write_report(found, found.path / "report.html")


FIGURES = ("gantt", "link_use_figure", "accuracy_against_costs", "energy_figure", "label_heat_map")


def draw_only(monkeypatch, *kept):
    """Leave out the other figures of reports, which take seconds to draw, where nothing in them is looked at."""
    for name in set(FIGURES) - set(kept):
        monkeypatch.setattr(figures, name, lambda *_: Markup("<svg></svg>"))


@pytest.fixture
def no_pictures(report, monkeypatch):
    draw_only(monkeypatch)


words_only = pytest.mark.usefixtures("no_pictures")


def test_it_has_every_section(report):
    page = report.read_text()
    for section in ("player", "methods", "data", "time", "links", "energy", "images", "ledger", "provenance"):
        assert f'<section id="{section}"' in page
    for phrase in (
        "160 private samples of gaussians",
        "skewed by Dirichlet(0.5)",
        "embeddings + synthetic",
        "sites",
        "cloud",
    ):
        assert phrase in page


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        ("scheme: iid", "cut at random"),
        ("scheme: dirichlet_guaranteed, beta: 0.3", "skewed by Dirichlet(0.3)"),
        ("scheme: pathological, classes_per_client: 1", "at most 1 class a site"),
        ("scheme: pathological, classes_per_client: 3", "at most 3 classes a site"),
        ("scheme: quantity_skew, beta: 2.0", "of sizes skewed by Dirichlet(2)"),
        ("scheme: by_column", "each where it was taken"),
    ],
)
def test_it_says_how_the_samples_were_divided(partition, words):
    assert division_in_words(yaml.safe_load(f"{{{partition}}}")) == words


@words_only
def test_it_says_what_energy_was_counted_and_leaves_it_out_where_none_was(report, tmp_path):
    page = report.read_text()
    assert "<th>energy per client</th>" in page
    assert "All of it is modelled" in page
    assert re.search(r'<td>client-\d</td><td class="left">raspberry-pi-5</td>', page)
    found = make(tmp_path, "baselines=[]", "devices={}")
    page = write_report(found, tmp_path / "r.html").read_text()
    assert '<section id="energy">' not in page
    assert "energy per client" not in page


@words_only
def test_a_run_from_before_energy_was_counted_can_still_be_shown(tmp_path):
    found = make(tmp_path, "baselines=[]")
    for path, change in (
        (found.path / "summary.json", lambda data: data["methods"]["collabdm"].pop("energy_j_per_client")),
        (found.path / "collabdm/outcome.json", lambda data: data.pop("energy")),
    ):
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
    page = write_report(find_run(str(found.path)), tmp_path / "r.html").read_text()
    assert '<section id="energy">' not in page


@pytest.mark.parametrize(
    ("name", "content", "lacking"),
    [
        ("collabdm/outcome.json", "{}", "accuracies, capacity_bps"),
        ("collabdm/outcome.json", '{"accuracies": {}, "capacity_bps": {}}', "accuracies"),
        ("scenario.yaml", "{dataset: {name: x}}", "partition, network, method"),
        ("partition.json", "{}", "client-0"),
        (
            "summary.json",
            '{"methods": {"collabdm": {}}}',
            "scenario, seed, world, run_dir, trace_digest, wall_s",
        ),
        (
            "summary.json",
            '{"scenario": "x", "seed": 1, "world": "simulated", "run_dir": "x", "trace_digest": "x", "wall_s": 1,'
            '"methods": {"collabdm": {"accuracy": 0.5, "result_s": 1, "result_digest": "x"}}}',
            "bytes_up_per_client, bytes_down_per_client, last_upload_s of collabdm",
        ),
    ],
)
def test_a_file_that_lacks_what_it_should_hold_is_named(report, tmp_path, name, content, lacking):
    copied = Path(shutil.copytree(report.parent, tmp_path / "copied"))
    (copied / name).write_text(content)
    message = f"{copied / name} is damaged: expected {lacking}, found nothing; run the scenario again"
    with pytest.raises(RunDirectoryError, match=f"^{re.escape(message)}$"):
        write_report(find_run(str(copied)), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_it_is_light_and_complete_in_itself(report):
    page = report.read_text()
    assert len(page) < 1_000_000
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"|"http://(purl|www\.w3|creativecommons)[^"]*"', "", page)
    assert not re.search(r'(src|href)="(?!data:|#)', without_namespaces)
    assert "@import" not in page


def test_it_is_well_formed(report):
    assert_well_formed(report.read_text(), void={"meta", "link", "img", "br", "input", "hr"})


@words_only
def test_a_real_run_has_no_links_to_show(tmp_path):
    found = make(tmp_path, "baselines=[]", real=True)
    page = write_report(found, tmp_path / "r.html").read_text()
    assert '<section id="links">' not in page
    assert "the sockets of this machine" in page


def test_many_clients_are_cut_down_to_the_slowest(tmp_path, monkeypatch):
    draw_only(monkeypatch, "gantt")
    small = ("method.iterations=1", "method.local_steps=1")
    found = make(tmp_path, "baselines=[]", "partition={clients: 60, scheme: iid}", *small)
    page = write_report(found, tmp_path / "r.html").read_text()
    gantt = page.split('<section id="time">')[1].split("</svg>")[0]
    assert len(re.findall(r">client-\d+</text>", gantt)) == figures.MOST_ROWS


def test_nothing_from_a_run_can_break_out_of_the_page(tmp_path):
    found = make(tmp_path, "baselines=[]")
    summary = json.loads((found.path / "summary.json").read_text())
    summary["scenario"] = "<script>alert(1)</script>"
    (found.path / "summary.json").write_text(json.dumps(summary))
    assert "<script>alert" not in write_report(find_run(str(found.path)), tmp_path / "r.html").read_text()


def test_pictures_have_a_column_a_class_and_gaps_where_there_is_none():
    import base64
    import io

    from PIL import Image

    strip = figures.picture_strip(np.random.rand(3, 1, 14, 14).astype(np.float32), np.array([0, 2, 2]), 4, 9)
    picture = Image.open(io.BytesIO(base64.b64decode(strip.split(",")[1])))
    assert picture.size == (4 * 15 - 1, 2 * 15 - 1)
    alpha = np.asarray(picture)[:, :, 3]
    assert alpha[:14, :14].min() == 255
    assert alpha[:, 15:29].max() == 0  # no image of class 1
    assert alpha[15:, 30:44].min() == 255  # the second of class 2


@words_only
def test_of_more_images_than_a_page_has_room_for_the_first_are_shown(report, monkeypatch):
    run = find_run(str(report.parent))
    assert "Of each class the first" not in report.read_text()
    monkeypatch.setattr(figures, "MOST_PICTURE_BYTES", 1)
    page = write_report(run, report.parent / "cut.html").read_text()
    assert "Of each class the first 1 are shown" in page


def test_room_for_pictures_is_shared_by_all():
    kept = [{"images": np.zeros((20, 3, 10, 10)), "labels": np.zeros(20)}, {"initial": np.zeros((20, 3, 10, 10))}]
    assert figures.rows_of_pictures(kept, 10) == figures.MOST_PICTURE_BYTES // 6000
    assert figures.rows_of_pictures([{}], 10) == figures.MOST_PICTURE_BYTES


@words_only
def test_a_run_from_before_its_network_was_kept_has_nothing_to_play(report, tmp_path):
    copied = Path(shutil.copytree(report.parent, tmp_path / "copied"))
    (copied / "topology.json").unlink()
    page = write_report(find_run(str(copied)), tmp_path / "r.html").read_text()
    assert '<section id="player"' not in page
    assert '<section id="time"' in page


def test_one_network_needs_no_table_of_networks(report):
    assert '<table id="accuracies">' not in report.read_text()
    assert "± " not in report.read_text().split("Accuracy against what it cost")[0]


def test_methods_against_networks_and_what_yields_one(tmp_path, monkeypatch):
    draw_only(monkeypatch, "accuracy_against_costs")
    found = make(
        tmp_path,
        "method={name: fedavg, width: 4, depth: 2, rounds: 2, images_per_class: 2}",
        "boundaries=[{to: cloud, allow: [model, synthetic], answers: [model]}]",
        "baselines=[{name: localdm, local_steps: 3, expand: 2}]",
        "evaluation={epochs: 1, sets: 2, repeats: 2}",
    )
    page = write_report(found, tmp_path / "r.html").read_text()
    assert page.count("<td>fedavg <small>a network</small></td>") == 2  # in both tables
    assert page.count("<td>localdm</td>") == 2
    assert "the mean of 2 networks on each of 2 independent sets (± their standard deviation)" in page
    assert "Each uploaded 2 times over" in page
    assert "the server trained a network of what it got" in page
    assert "accuracy of the network that fedavg trained" in page
    assert "<td>network of fedavg</td>" in page
    assert "<td>synthetic set of localdm</td>" in page
    fedavg, localdm = re.findall(r"<tr><td>(?:fedavg|localdm).*?</tr>", page.split('id="accuracies"')[1], re.DOTALL)
    (trained,), (judged,) = (method.outcome["accuracies"].values() for method in found.methods)
    nothing = "\N{EN DASH}"
    assert re.findall(r"<td>(.*?)</td>", fedavg)[1:] == [cell(trained, trained), nothing]
    assert re.findall(r"<td>(.*?)</td>", localdm)[1:] == [
        nothing,
        cell(judged, [np.mean(judged[:2]), np.mean(judged[2:])]),
    ]


def cell(values, means):
    """A cell of the table of networks: mean and deviation of `values`, and the deviation of the `means` of sets."""
    mean, deviation, between = (100 * float(number) for number in (np.mean(values), np.std(values), np.std(means)))
    return f"{mean:.1f} ± {deviation:.1f}<br><small>sets ± {between:.1f}</small>"


def test_every_method_and_preset_is_said_in_words():
    """All that a scenario can choose: a new method is to be named in the report, too."""
    for name in methods.names():
        base, _, preset = name.partition("-")
        title = _title_of(name)
        assert ": " in title
        assert (f"(preset {preset})" in title) == bool(preset)
        assert title.startswith(_title_of(base))
