"""The report of a sweep: what it says of cells in every state, and that a browser sorts its table without a network."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest

from analysis import page
from analysis.sweep_report import write_sweep_report
from tests.analysis.made import write_sweep
from tests.analysis.test_commands import invoke
from tests.analysis.test_player import CHROMIUM

POINTS = [{"partition.clients": clients, "partition.beta": beta, "seed": seed}
          for clients in (5, 10) for beta in (0.1, 0.5) for seed in (1, 2)]  # fmt: skip
AXES = {"partition.clients": [5, 10], "partition.beta": [0.1, 0.5], "seed": [1, 2]}


def rows(number):
    return {"collabdm": (0.9 - 0.05 * number, 4000, 2.0), "localdm": (0.5, 1000, 1.0)}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Eight cells: six finished, one failed, one to come."""
    cells = [(point, None if point == POINTS[-1] else rows(number)) for number, point in enumerate(POINTS)]
    path = tmp_path_factory.mktemp("runs") / "k-by-beta"
    return write_sweep(path, AXES, cells, name="k-by-beta", failed=[POINTS[5]])


@pytest.fixture(scope="module")
def report(sweep):
    return write_sweep_report(sweep, sweep.path / "report.html")


def test_it_says_how_far_the_sweep_is(report):
    text = report.read_text()
    assert "K over 5, 10; β over 0.1, 0.5; 2 seeds: 8 cells, 6 finished, 1 cell failed, 1 cell still to come." in text
    states = re.findall(r'<span class="(finished|failed|to-come)" title="([^"]*)">', text)
    assert [state for state, _ in states] == ["finished"] * 5 + ["failed", "finished", "to-come"]
    assert states[5][1] == "K 10, β 0.1, seed 2: failed"


def test_what_failed_stands_there_with_its_error_and_cannot_break_out(report):
    (table,) = re.findall(r'<table id="failures">(.*?)</table>', report.read_text(), re.DOTALL)
    assert '<b class="refused">PartitionError</b> the data cannot be divided &lt;b&gt;so&lt;/b&gt;' in table
    assert "<td>K 10, β 0.1, seed 2</td>" in table
    assert "<td>2</td>" in table


def test_it_has_the_figures_that_apply_with_captions_and_says_why_not_the_others(report):
    text = report.read_text()
    for name in ("accuracy-bytes", "accuracy-seconds", "heat-map", "arrivals"):
        section = text.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert section.count("<svg") == 1
        assert "Scenario made; MNIST; seeds 1, 2, n = 1 to 2" in section
    assert "<code>accuracy-energy</code>: no energy was counted" in text


def test_the_papers_numbers_stand_in_brackets(report):
    assert "<td>87.50 ± 3.54 [97.72]</td>" in report.read_text()


def test_its_table_has_a_line_for_each_method_at_each_point(report):
    body = report.read_text().split('<table class="sortable">')[1].split("<tbody>")[1].split("</tbody>")[0]
    lines = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
    assert [line[:5] for line in lines[:3]] == [
        ["5", "0.1", "collabdm", "87.50 ± 3.54", "2"],
        ["5", "0.1", "localdm", "50.00 ± 0.00", "2"],
        ["5", "0.5", "collabdm", "77.50 ± 3.54", "2"],
    ]
    assert len(lines) == 8


def test_it_is_small_and_asks_nobody(report):
    text = report.read_text()
    assert len(text.encode()) < page.MOST_BYTES
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"|"http://(purl|www\.w3|creativecommons)[^"]*"', "", text)
    assert not re.search(r'(src|href)="(?!data:|#)', without_namespaces)


def test_a_sweep_of_which_nothing_is_finished_has_a_report(tmp_path):
    found = write_sweep(tmp_path / "s", AXES, [(point, None) for point in POINTS])
    text = write_sweep_report(found, tmp_path / "r.html").read_text()
    assert "No cell is finished yet." in text
    assert "0 finished, 8 cells still to come" in text


def test_axes_of_one_last_name_have_heads_of_their_own(tmp_path):
    axes = {"network.station.bandwidth": [1, 2], "network.core.bandwidth": [10, 20]}
    points = [dict(zip(axes, values, strict=True)) for values in ((1, 10), (2, 20))]
    found = write_sweep(tmp_path / "s", axes, [(point, rows(0)) for point in points])
    text = write_sweep_report(found, tmp_path / "r.html").read_text()
    assert re.findall(r"<th>([^<]*bandwidth)</th>", text) == ["station.bandwidth", "core.bandwidth"]
    assert 'title="station.bandwidth 2, core.bandwidth 20: finished"' in text
    assert "station.bandwidth over 1, 2; core.bandwidth over 10, 20: 2 cells, all are finished." in text


def test_versions_that_changed_within_a_sweep_are_all_named(tmp_path):
    found = write_sweep(tmp_path / "s", AXES, [(point, rows(0)) for point in POINTS])
    (found.cells[0].run_path / "environment.json").write_text('{"torch": "2.5"}')
    assert "<dd>2.5 and 2.6</dd>" in write_sweep_report(found, tmp_path / "r.html").read_text()


def test_the_command_makes_it(sweep, tmp_path):
    done = invoke("report", sweep.path.name, "--runs-dir", sweep.path.parent, "-o", tmp_path / "r.html")
    assert done.stdout == f"report: {tmp_path / 'r.html'}\n"
    assert "K over 5, 10" in (tmp_path / "r.html").read_text()


PRESS = """<script>
const press = () => document.querySelectorAll("th button")[3].click();
press(); press();
document.body.dataset.order = [...document.querySelectorAll("table.sortable tbody tr")].map(
  (row) => row.cells[3].textContent.split(" ")[0]).join(" ");
</script></body>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_and_sorts_it_offline_without_complaint(report, tmp_path):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0",
             f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,4000"]  # fmt: skip
    pressed = tmp_path / "pressed.html"
    pressed.write_text(report.read_text().replace("</body>", PRESS))
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", pressed.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "CONSOLE" not in done.stderr
    (order,) = re.findall(r'data-order="([^"]*)"', done.stdout)
    accuracies = [float(word) for word in order.split()]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(accuracies) == 8
    assert 'aria-sort="descending"' in done.stdout
    picture = tmp_path / "page.png"
    subprocess.run([CHROMIUM, *flags, f"--screenshot={picture}", report.as_uri()], capture_output=True, timeout=120)
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200  # figures were drawn
