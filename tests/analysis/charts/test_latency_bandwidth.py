"""The trade-off of bandwidth and latency: the closed formula, its crossing, and the measured one."""

from __future__ import annotations

import itertools

import pytest

from analysis.charts import CHARTS, closed_form
from analysis.charts.closed_form import OneShot
from collab.store import MethodRun
from simnet.tcp import Tcp, transfer_time_s
from tests.analysis.made import observed, write_run


def test_its_constants_are_simnets():
    tcp = Tcp()
    assert (tcp.segment_bytes, tcp.header_factor) == (closed_form.SEGMENT_BYTES, closed_form.HEADER_FACTOR)
    assert (tcp.initial_window_bytes, tcp.host_delay_s) == (closed_form.INITIAL_WINDOW_BYTES, closed_form.HOST_DELAY_S)


@pytest.mark.parametrize(
    ("bps", "latency_s", "payload"), list(itertools.product((1e5, 1e7, 1e9), (0.002, 0.2), (1000, 47_000, 9e6)))
)
def test_it_is_simnets_closed_form_of_a_flow_and_a_round_trip_for_the_task(bps, latency_s, payload):
    ours = OneShot(payload, 0, latency_s)
    theirs = transfer_time_s(payload, bps, latency_s, Tcp())
    assert ours.seconds(bps) == pytest.approx(theirs + ours.round_trip_s, rel=1e-12)


def test_at_the_crossing_bytes_take_half_of_the_time():
    one = OneShot(1e6, 1000, 0.05)
    crossing = one.crossing_bps(1e4, 1e10)
    assert one.seconds(crossing) == pytest.approx(2 * one.bytes_s(crossing), rel=1e-6)
    assert one.crossing_bps(1e4, crossing / 2) is None
    assert one.crossing_bps(2 * crossing, 1e10) is None


def test_a_crowd_gets_its_share_of_the_servers_link():
    assert OneShot(1e6, 0, 0.05, clients=100, server_bps=1e8).rate_bps(2e7) == 1e6
    assert OneShot(1e6, 0, 0.05, clients=4, server_bps=1e8).rate_bps(2e7) == 2e7


def test_a_crossing_is_found_between_measurements():
    one = OneShot(1e6, 0, 0.05)
    points = [(bps, one.seconds(bps)) for bps in (1e5, 1e6, 1e7, 1e8)]
    assert one.measured_crossing_bps(points) == pytest.approx(one.crossing_bps(1e5, 1e8), rel=1e-6)
    assert one.measured_crossing_bps(points[:2]) is None
    # A network whose round trips take twice as long crosses where that of twice the latency does.
    slower = OneShot(1e6, 0, 2 * (0.05 + closed_form.HOST_DELAY_S) - closed_form.HOST_DELAY_S)
    points = [(bps, slower.seconds(bps)) for bps in (1e5, 1e6, 1e7, 1e8)]
    assert one.measured_crossing_bps(points) == pytest.approx(slower.crossing_bps(1e5, 1e8), rel=0.05)


def cell(tmp_path, bandwidth, latency, stretched=1.0):
    """A run whose last upload comes when the formula says, or `stretched` times later."""
    bps, latency_s = float(bandwidth.split()[0]) * 1e6, float(latency.split()[0]) / 1e3
    seconds = stretched * OneShot(47_000, 1000, latency_s + 0.001, 5, 1e10).seconds(bps)
    path = tmp_path / f"{bandwidth} {latency}".replace("/", "-")
    write_run(path, {}, {"collabdm": (0.5, 47_000, seconds)}, uploads=[("client-0", seconds)])
    (path / "collabdm/outcome.json").write_text('{"bytes_up": {"client-0": 47000}, "bytes_down": {"client-0": 1000}}')
    settings = {"network.topology": "star", "network.access.bandwidth": bandwidth, "network.access.latency": latency,
                "network.server.bandwidth": "10 Gbit/s", "network.server.latency": "1 ms"}  # fmt: skip
    return observed(last_upload_s=seconds, settings=settings, left=MethodRun("collabdm", path / "collabdm"))


BANDWIDTHS = ("0.1 Mbit/s", "1 Mbit/s", "2 Mbit/s", "4 Mbit/s", "10 Mbit/s", "100 Mbit/s")


def test_the_figure_marks_both_crossings_where_they_are(tmp_path):
    found = [cell(tmp_path, bandwidth, latency) for bandwidth in BANDWIDTHS for latency in ("10 ms", "30 ms")]
    (chart,) = CHARTS["latency-bandwidth"](found)
    upper = chart.drawing.axes
    rings = [line for line in upper.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata()) == 1]
    expected = [OneShot(47_000, 1000, at + 0.001, 5, 1e10).crossing_bps(1e5, 1e8) for at in (0.01, 0.03)]
    assert [ring.get_xdata()[0] for ring in rings] == pytest.approx(expected)
    dots = [line for line in upper.lines if line.get_markersize() == 4.5]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx(expected, rel=1e-3)
    assert "10 ms: formula" in chart.caption
    assert len(chart.drawing.panels) == 2  # against latency, too


def test_measurements_that_are_slower_cross_elsewhere(tmp_path):
    found = [cell(tmp_path, bandwidth, "10 ms", stretched=1.5) for bandwidth in BANDWIDTHS]
    (chart,) = CHARTS["latency-bandwidth"](found)
    rings = [
        line for line in chart.drawing.axes.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata()) == 1
    ]
    (dot,) = (line for line in chart.drawing.axes.lines if line.get_markersize() == 4.5)
    assert dot.get_xdata()[0] < 0.8 * rings[0].get_xdata()[0]


def test_networks_that_are_no_star_are_drawn_without_a_formula(tmp_path):
    found = [cell(tmp_path, bandwidth, "10 ms") for bandwidth in BANDWIDTHS]
    for one in found:
        one.settings["network"]["topology"] = "two-tier"
    (chart,) = CHARTS["latency-bandwidth"](found)
    assert "No formula is drawn: it is for a star, and network.topology is two-tier." in chart.caption


@pytest.mark.parametrize(
    ("part", "setting", "named"),
    [
        ("tcp", {"headers": True, "slow_start": False}, "network.tcp.slow_start"),
        ("tcp", {"headers": False, "slow_start": True}, "network.tcp.headers"),
        ("access", {"loss": 0.01}, "network.access.loss"),
        ("server", {"loss": {"up": 0.0, "down": 0.01}}, "network.server.loss"),
        ("server", {"schedule": [{"at": "1 s", "bandwidth": "1 Mbit/s"}]}, "network.server.schedule"),
        ("hosts", {"client": {"uplink": "1 Mbit/s"}}, "network.hosts.client.uplink"),
    ],
)
def test_no_formula_is_drawn_of_a_network_that_it_does_not_know(tmp_path, part, setting, named):
    found = [cell(tmp_path, bandwidth, "10 ms") for bandwidth in BANDWIDTHS]
    for one in found:
        one.settings["network"].setdefault(part, {}).update(setting)
    (chart,) = CHARTS["latency-bandwidth"](found)
    assert f"No formula is drawn: it knows nothing of {named}." in chart.caption
    assert "slow start" not in chart.caption
    assert not any(len(line.get_xdata()) == 200 for line in chart.drawing.axes.lines)


def test_settings_as_they_are_by_default_keep_the_formula(tmp_path):
    found = [cell(tmp_path, bandwidth, "10 ms") for bandwidth in BANDWIDTHS]
    for one in found:
        one.settings["network"] |= {"tcp": {"headers": True, "slow_start": True}, "hosts": {}}
        one.settings["network"]["access"] |= {"loss": 0.0, "queue": "droptail", "jitter": "1 ms"}
    (chart,) = CHARTS["latency-bandwidth"](found)
    assert "No formula" not in chart.caption
    assert any(len(line.get_xdata()) == 200 for line in chart.drawing.axes.lines)


def test_a_column_without_a_formula_beside_one_with_it_is_named(tmp_path):
    found = [cell(tmp_path, bandwidth, "10 ms") for bandwidth in BANDWIDTHS]
    lossy = [cell(tmp_path / "lossy", bandwidth, "10 ms") for bandwidth in BANDWIDTHS]
    for one in lossy:
        one.settings["network"]["access"]["loss"] = 0.01
    (chart,) = CHARTS["latency-bandwidth"]([*found, *lossy])
    assert "(collabdm, loss 0.01: it knows nothing of network.access.loss)" in chart.caption
