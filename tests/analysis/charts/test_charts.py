"""What the figures show: the numbers that are drawn, not the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.charts import CHARTS
from analysis.charts.accuracy import pareto_front
from analysis.charts.chart import look, spread
from analysis.charts.rounds import interpolated
from analysis.tables import UnsupportedByRunsError
from collab.store import MethodRun
from tests.analysis.made import observed, write_run


def drawn_text(chart):
    return [text.get_text() for axes in chart.drawing.panels for text in axes.texts]


def test_the_front_has_what_no_other_beats():
    points = {"cheap": (1.0, 50.0), "worse": (2.0, 40.0), "dear": (3.0, 90.0), "dearer": (4.0, 90.0)}
    assert pareto_front(points) == ["cheap", "dear"]
    assert pareto_front({"a": (1.0, 1.0), "b": (1.0, 1.0)}) == ["a", "b"]


def test_series_are_told_apart_without_colours():
    looks = [look(number) for number in range(12)]
    assert len({(each.colour, each.marker, each.line) for each in looks}) == 12
    assert len({(each.marker, each.line) for each in looks[:6]}) == 6


def test_of_many_some_are_shown_from_the_first_to_the_last():
    assert spread(list("abcde"), 9) == list("abcde")
    assert spread(list("abcde"), 3) == ["a", "c", "e"]


BOTH = [
    *(observed(seed=seed, accuracy=0.9 + 0.01 * seed, upload_bytes=4000) for seed in (1, 2)),
    *(observed("localdm", seed=seed, accuracy=0.8, upload_bytes=1000) for seed in (1, 2)),
]


def test_accuracy_against_bytes_draws_means_and_deviations():
    (chart,) = CHARTS["accuracy-bytes"](BOTH)
    points, bars = {}, {}
    for container in chart.drawing.axes.containers:
        line, _, (_, vertical) = container.lines
        points[container.get_label()] = (line.get_xdata()[0], line.get_ydata()[0])
        (segment,) = vertical.get_segments()
        bars[container.get_label()] = segment[1, 1] - segment[0, 1]
    assert points == {"collabdm": (4000, pytest.approx(91.5)), "localdm": (1000, 80)}
    assert bars == {"collabdm": pytest.approx(2 * math.sqrt(0.5)), "localdm": 0}
    assert "(localdm, collabdm)" in chart.caption
    assert "Scenario made; MNIST; seeds 1, 2, n = 2" in chart.caption


def test_other_problems_stand_in_other_panels():
    found = [*BOTH, *(observed(name, settings={"partition.clients": 9}) for name in ("collabdm", "localdm"))]
    (chart,) = CHARTS["accuracy-bytes"](found)
    assert [axes.get_title(loc="left") for axes in chart.drawing.panels] == ["K 5", "K 9"]


def test_points_are_joined_along_one_knob():
    found = [
        observed(upload_bytes=1000 * iterations + images, settings={
            "method.images_per_class": images, "method.iterations": iterations})
        for images in (1, 5) for iterations in (10, 20, 40)
    ]  # fmt: skip
    (chart,) = CHARTS["accuracy-bytes"](found)
    lines = [list(container.lines[0].get_xdata()) for container in chart.drawing.axes.containers]
    assert lines == [[10_001, 20_001, 40_001], [10_005, 20_005, 40_005]]
    assert "Numbers at points: images per class, iterations." in chart.caption


def test_a_heat_map_writes_mean_deviation_and_n_into_each_cell():
    found = [
        observed(seed=seed, accuracy=0.5 + 0.1 * seed, settings={"partition.clients": clients, "partition.beta": beta})
        for clients in (20, 5)
        for beta in (0.1, 0.5)
        for seed in (1, 2)
    ]
    (chart,) = CHARTS["heat-map"](found[:-1])
    axes = chart.drawing.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["5", "20"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.5"]
    # Row by row: K 5 (the last of which lost a seed), then K 20.
    assert drawn_text(chart) == ["65.0", "± 7.1, n 2", "60.0", "n 1", "65.0", "± 7.1, n 2", "65.0", "± 7.1, n 2"]
    assert "n = 1 to 2" in chart.caption


def with_runs(tmp_path, found, uploads):
    """The observation with a run directory that has these uploads."""
    path = write_run(
        tmp_path / str(len(list(tmp_path.iterdir()))), {}, {found.method: (0.9, 1000, 2.0)}, uploads=uploads
    )
    return type(found)(**{**vars(found), "left": MethodRun(found.method, path / found.method)})


def test_arrivals_rise_to_one_at_the_last_site(tmp_path):
    uploads = [("client-0", 1.0), ("client-1", 2.0), ("client-2", 8.0)]
    (chart,) = CHARTS["arrivals"]([with_runs(tmp_path, observed(), uploads)])
    steps = chart.drawing.axes.lines[0]
    assert list(steps.get_xdata()) == [1.0, 1.0, 2.0, 8.0]
    np.testing.assert_allclose(steps.get_ydata(), [0, 1 / 3, 2 / 3, 1])


def test_network_settings_are_fixed_and_not_pooled(tmp_path):
    found = [
        with_runs(tmp_path, observed(settings={"partition.clients": clients, "network.access.latency": latency}),
                  [("client-0", seconds)])
        for clients in (5, 10)
        for latency, seconds in (("1 ms", 1.0), ("9 ms", 9.0), ("90 ms", 90.0))
    ]  # fmt: skip
    (chart,) = CHARTS["arrivals"](found)
    assert {x for line in chart.drawing.axes.lines for x in line.get_xdata()} == {9.0}
    assert "at access latency 9 ms" in chart.caption


def test_curves_are_read_between_their_points():
    curve = [(10.0, 50.0), (1000.0, 70.0)]
    assert interpolated(curve, 100.0) == pytest.approx(60)
    assert interpolated(curve, 5.0) is None
    assert interpolated(curve, 5000.0) == 70.0


def test_one_shot_beside_many_rounds_says_what_is_got_at_equal_cost(tmp_path):
    def fedavg(rounds, accuracy):
        found = observed("fedavg", accuracy=accuracy, upload_bytes=1000 * rounds, result_s=float(rounds),
                         settings={"method.rounds": rounds})  # fmt: skip
        return with_runs(tmp_path, found, [("client-0", float(number + 1)) for number in range(rounds)])

    one_shot = with_runs(tmp_path, observed(accuracy=0.9, upload_bytes=10_000, result_s=0.5), [("client-0", 1.0)])
    (chart,) = CHARTS["one-shot-or-many"]([fedavg(1, 0.2), fedavg(100, 0.8), one_shot])
    assert "at the bytes of collabdm (90.0 %) fedavg 50.0 %" in chart.caption
    assert "at the seconds of collabdm (90.0 %) fedavg has not ended its first round" in chart.caption
    assert drawn_text(chart)[:2] == ["1", "100"]


def test_figure_2_has_the_papers_star_where_the_text_quotes_bytes():
    found = [
        observed(upload_bytes=1e5 * iterations, settings={
            "method.iterations": iterations, "method.expand": 2, "method.images_per_class": 10,
            "dataset.name": "cifar10", "partition.scheme": "iid"})
        for iterations in (10, 20)
    ]  # fmt: skip
    (chart,) = CHARTS["figure2"](found)
    stars = [line for line in chart.drawing.axes.lines if line.get_marker() == "*"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in stars] == [(4.3, 57)]
    assert chart.drawing.axes.get_title(loc="left") == "IPC 10, K 5"
    (curve,) = chart.drawing.axes.containers
    assert list(curve.lines[0].get_xdata()) == [1.0, 2.0]


def test_figure_3_is_over_images_per_class():
    found = [observed(accuracy=0.1 * images, settings={"method.images_per_class": images}) for images in (5, 1)]
    (chart,) = CHARTS["figure3"](found)
    (curve,) = chart.drawing.axes.containers
    assert (list(curve.lines[0].get_xdata()), list(curve.lines[0].get_ydata())) == ([1, 5], [10, 50])
    assert "of other data than ours: 5G network traffic, which is not published" in chart.caption
    assert chart.title == "Figure 3"


@pytest.mark.parametrize(
    ("name", "dataset", "title", "caption", "star"),
    [
        (
            "5g-nidd", "5G-NIDD", "Figure 3", "quotes, of the same data, 5G-NIDD; its images are not published",
            "paper, collabdm-pae",
        ),
        (
            "5g-nidd-synthetic", "synthetic traffic (5G-NIDD's form)", "Figure 3, synthetic traffic",
            "quotes, of real traffic, the published 5G-NIDD; ours is synthetic traffic (5G-NIDD's form)",
            "paper, collabdm-pae, real 5G traffic",
        ),
    ],
)  # fmt: skip
def test_figure_3_says_whose_traffic_it_is(name, dataset, title, caption, star):
    found = [
        observed(dataset=dataset, settings={"method.images_per_class": images, "dataset.name": name})
        for images in (5, 1)
    ]
    (chart,) = CHARTS["figure3"](found)
    assert chart.title == title
    assert caption in chart.caption
    assert f"Scenario made; {dataset};" in chart.caption
    labels = [text.get_text() for legend in chart.drawing.figure.legends for text in legend.get_texts()]
    assert star in labels


def test_runs_on_two_data_sets_are_put_apart_by_their_titles():
    found = [
        observed(dataset=dataset, settings={"method.images_per_class": images, "dataset.name": name})
        for images in (5, 1)
        for name, dataset in (("mnist", "MNIST"), ("5g-nidd-synthetic", "synthetic traffic"))
    ]
    titles = [chart.title for chart in CHARTS["figure3"](found)]
    assert titles == ["Figure 3 (data set MNIST)", "Figure 3 (data set synthetic traffic)"]


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("accuracy-bytes", "all runs are of one method with the same settings"),
        ("accuracy-energy", "no energy was counted"),
        ("heat-map", "needs two settings"),
        ("latency-bandwidth", "fewer than three values of network.access.bandwidth"),
        ("arrivals", "there are none"),
        ("one-shot-or-many", "no method of many rounds"),
        ("figure2", "sweep method.iterations"),
        ("figure3", "sweep method.images_per_class"),
    ],
)
def test_what_the_runs_do_not_support_says_why(name, lacking):
    with pytest.raises(UnsupportedByRunsError, match=lacking):
        CHARTS[name]([observed()])


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_a_figure_is_the_same_each_time_and_its_fonts_are_in_it(tmp_path, ending):
    first, second = (
        (CHARTS["accuracy-bytes"](BOTH)[0].drawing.save(tmp_path / f"{n}.{ending}")).read_bytes() for n in "ab"
    )
    assert first == second
    if ending == "pdf":
        assert b"/FontFile2" in first  # TrueType
        assert b"/Type3" not in first


def test_lines_of_unequally_many_runs_say_so(tmp_path):
    rows = {"collabdm": (0.9, 100, 2.0)}
    cells = [(5, 0.1), (5, 0.5), (9, 0.1)]
    found = [
        observed(settings={"partition.clients": clients, "partition.beta": beta},
                 left=MethodRun("collabdm", write_run(tmp_path / f"{clients}-{beta}", {}, rows) / "collabdm"))
        for clients, beta in cells
    ]  # fmt: skip
    (chart,) = CHARTS["arrivals"](found)
    assert "Lines are of unequally many runs (collabdm: 2 at 5, 1 at 9)" in chart.caption
    (whole,) = CHARTS["arrivals"](found[1:])
    assert "unequally" not in whole.caption


def test_a_heat_map_says_what_its_empty_cells_are():
    found = [observed(settings={"partition.clients": clients, "partition.beta": beta})
             for clients, beta in ((5, 0.1), (5, 0.5), (9, 0.1))]  # fmt: skip
    (chart,) = CHARTS["heat-map"](found)
    assert "Cells without a number have no finished run." in chart.caption


def test_figure_3_has_a_line_for_each_factor_of_expansion():
    found = [observed(settings={"method.expand": factor, "method.images_per_class": images})
             for factor in (2, 3) for images in (1, 5)]  # fmt: skip
    (chart,) = CHARTS["figure3"](found)
    labels = [container.get_label() for container in chart.drawing.axes.containers]
    assert labels == ["collabdm-pae (expand 2)", "collabdm-pae (expand 3)"]
