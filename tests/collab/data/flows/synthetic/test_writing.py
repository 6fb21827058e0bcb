"""The stand-in's file: columns, counts, missing values, the same bytes again, and writing that breaks off."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collab.data.flows.synthetic import write_traffic
from collab.data.progress import silence
from collab.errors import DataError

ROOT = Path(__file__).parents[5]
SHARE = 0.01
PUBLISHED = (
    "Unnamed: 0, Seq, Dur, RunTime, Mean, Sum, Min, Max, Proto, sTos, dTos, sDSb, dDSb, sTtl, dTtl, sHops, "
    "dHops, Cause, TotPkts, SrcPkts, DstPkts, TotBytes, SrcBytes, DstBytes, Offset, sMeanPktSz, dMeanPktSz, "
    "Load, SrcLoad, DstLoad, Loss, SrcLoss, DstLoss, pLoss, SrcGap, DstGap, Rate, SrcRate, DstRate, State, "
    "SrcWin, DstWin, sVid, dVid, SrcTCPBase, DstTCPBase, TcpRtt, SynAck, AckDat, Label, Attack Type, Attack "
    "Tool"
)
CLASSES = {
    "Benign": (406_959, 70_778),
    "HTTPFlood": (76_121, 64_691),
    "SlowrateDoS": (36_092, 37_032),
    "UDPFlood": (175_811, 281_529),
    "ICMPFlood": (613, 542),
    "SYNFlood": (4_792, 4_929),
    "SYNScan": (10_019, 10_024),
    "TCPConnectScan": (10_022, 10_030),
    "UDPScan": (7_887, 8_019),
}
MISSING = {
    **dict.fromkeys(("dTos", "dDSb", "dTtl", "dHops"), 943_067),
    **dict.fromkeys(("SrcGap", "DstGap", "SrcTCPBase"), 937_219),
    **dict.fromkeys(("sTos", "sDSb", "sTtl", "sHops"), 214),
    "SrcWin": 973_470,
    "DstWin": 1_038_812,
    "DstTCPBase": 985_843,
    "sVid": 1_101_319,
    "dVid": 1_213_881,
}
ROWS = 1_215_890


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_traffic(tmp_path_factory.mktemp("traffic"), share=SHARE, stations=3)


@pytest.fixture(scope="module")
def flows(written):
    return pd.read_csv(written, low_memory=False)


def station_of(flows):
    return (flows["Unnamed: 0"].diff() < 0).cumsum()


def test_the_columns_are_the_published_ones_in_their_order(written):
    assert written.read_text().split("\n", 1)[0].split(",") == PUBLISHED.split(", ")


def test_each_station_has_the_scaled_number_of_flows_of_each_class(flows):
    found = flows.groupby([station_of(flows), "Attack Type"]).size()
    for name, published in CLASSES.items():
        assert [found[0, name], found[1, name]] == [round(SHARE * count) for count in published]
    assert set(found[2].index) == set(CLASSES)


def test_the_index_restarts_at_each_station(flows):
    for _, part in flows.groupby(station_of(flows)):
        assert (part["Unnamed: 0"] == np.arange(len(part))).all()
    assert station_of(flows).nunique() == 3


def test_a_class_has_at_least_one_flow_however_small_the_share(tmp_path):
    flows = pd.read_csv(write_traffic(tmp_path, share=1e-6))
    assert flows["Attack Type"].value_counts().to_dict() == dict.fromkeys(CLASSES, 2)
    assert flows["Label"].value_counts().to_dict() == {"Malicious": 16, "Benign": 2}


def test_missing_values_are_as_frequent_as_published(flows):
    two = flows[station_of(flows) < 2]
    missing = two.isna().sum()
    for column, published in MISSING.items():
        assert missing[column] == pytest.approx(SHARE * published, rel=0.02, abs=3)
    assert set(missing[missing > 0].index) == set(MISSING)


@pytest.mark.slow
def test_at_a_share_of_one_all_published_numbers_come_out(tmp_path):
    flows = pd.read_csv(write_traffic(tmp_path), engine="pyarrow")
    assert len(flows) == ROWS
    found = flows.groupby([station_of(flows), "Attack Type"]).size()
    assert {name: (found[0, name], found[1, name]) for name in CLASSES} == CLASSES
    missing = flows.isna().sum()
    assert missing[missing > 0].to_dict() == MISSING
    again = flows.drop(columns="Unnamed: 0").duplicated()
    assert flows[again]["Attack Type"].value_counts().to_dict() == {"Benign": 21}


def test_records_written_twice_are_benign(tmp_path):
    flows = pd.read_csv(write_traffic(tmp_path, share=0.06, stations=1))
    again = flows.drop(columns="Unnamed: 0").duplicated()
    assert flows[again]["Attack Type"].tolist() == ["Benign"]


def test_sessions_begin_where_the_position_in_the_capture_falls(flows):
    begins = (flows["Offset"].diff() < 0) | (flows["Seq"].diff() < 0)
    assert ((flows["Offset"].diff() < 0) == (flows["Seq"].diff() < 0)).all()
    tools = flows.groupby(begins.cumsum())["Attack Tool"].unique()
    attacks = flows.groupby(begins.cumsum())["Attack Type"].unique()
    assert [set(kinds) - {"Benign"} for kinds in attacks[:10]] == [
        set(), {"HTTPFlood"}, {"SlowrateDoS"}, {"SlowrateDoS"}, {"UDPFlood"}, {"ICMPFlood"}, {"SYNFlood"}, {"SYNScan"},
        {"TCPConnectScan"}, {"UDPScan"},
    ]  # fmt: skip
    assert [sorted(set(used) - {"Benign"}) for used in tools[:10]] == [
        [], ["Goldeneye"], ["Slowloris"], ["Torshammer"], ["Hping3"], ["Hping3"], ["Hping3"], ["Nmap"], ["Nmap"],
        ["Nmap"],
    ]  # fmt: skip
    assert len(attacks) == 30
    assert all("Benign" in kinds for kinds in attacks)


def test_attack_and_benign_flows_alternate_within_a_session(flows):
    session = (flows["Offset"].diff() < 0).cumsum()
    flood = flows[session == 4]["Label"].to_numpy()
    assert np.sum(flood[1:] != flood[:-1]) > 30


def test_the_same_arguments_give_the_same_bytes_in_another_process(written, tmp_path):
    code = (
        "from pathlib import Path; from collab.data.flows.synthetic import write_traffic;"
        f"write_traffic(Path({str(tmp_path)!r}), share={SHARE}, stations=3)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    for name in ("Combined.csv", "README.txt"):
        here, there = ((folder / name).read_bytes() for folder in (written.parent, tmp_path))
        assert hashlib.sha256(here).digest() == hashlib.sha256(there).digest()


def test_another_seed_gives_other_flows_as_many_of_each_kind(tmp_path, flows):
    other = pd.read_csv(write_traffic(tmp_path, share=SHARE, stations=3, seed=1), low_memory=False)
    assert other["Attack Type"].value_counts().to_dict() == flows["Attack Type"].value_counts().to_dict()
    assert (other["SrcBytes"] != flows["SrcBytes"]).mean() > 0.5


def test_the_readme_says_synthetic_traffic_and_how_it_was_made(written):
    said = (written.parent / "README.txt").read_text()
    assert said.startswith("synthetic traffic\n")
    for line in ("seed: 0", "share: 0.01 of the published", "stations: 3", "version 3", "BTS_3: Benign 1820"):
        assert line in said


def test_what_is_there_already_is_left_alone(tmp_path):
    path = write_traffic(tmp_path, share=1e-4)
    before = path.stat().st_mtime_ns
    assert write_traffic(tmp_path, share=1e-4) == path
    assert path.stat().st_mtime_ns == before
    assert write_traffic(tmp_path, share=2e-4).stat().st_mtime_ns > before
    whole = path.read_text()
    assert whole.endswith("\n")
    assert whole.count("\n") == int((tmp_path / "README.txt").read_text().split("\nrows: ")[1].split()[0]) + 1


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path):
    path = write_traffic(tmp_path, share=1e-4)
    before = path.read_bytes()

    def stop(what, done, total, unit):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_traffic(tmp_path, share=2e-4, progress=stop)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Combined.csv", "README.txt"]


def test_a_file_that_is_not_synthetic_is_never_overwritten(tmp_path):
    (tmp_path / "Combined.csv").write_text("the published one\n")
    with pytest.raises(DataError, match=r"no README\.txt says that it is synthetic traffic; choose another folder"):
        write_traffic(tmp_path, share=1e-4)
    assert (tmp_path / "Combined.csv").read_text() == "the published one\n"


def test_a_file_that_came_in_the_place_of_what_was_written_is_not_overwritten(tmp_path):
    path = write_traffic(tmp_path, share=1e-4)
    path.write_text("the published one\n")
    for share in (1e-4, 2e-4):
        with pytest.raises(
            DataError, match=r"Combined\.csv has 18 bytes, README\.txt .*; move or remove it, or choose"
        ):
            write_traffic(tmp_path, share=share)
    assert path.read_text() == "the published one\n"
    path.unlink()
    assert write_traffic(tmp_path, share=1e-4).stat().st_size > 18


def test_numbers_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(DataError, match="share 0 of 2 stations: expected above 0"):
        write_traffic(tmp_path, share=0)
    with pytest.raises(DataError, match="share 1 of 0 stations"):
        write_traffic(tmp_path, stations=0)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="synthetic traffic cannot be written to"):
        write_traffic(tmp_path / "file" / "folder", share=1e-4, progress=silence)


def test_progress_counts_flows(tmp_path):
    heard = []
    write_traffic(tmp_path, share=1e-4, progress=lambda *said: heard.append(said))
    rows = heard[-1][2]
    assert heard[0] == ("writing synthetic traffic", 0, rows, "flows")
    assert heard[-1] == ("writing synthetic traffic", rows, rows, "flows")


def test_a_long_session_is_made_in_pieces_and_is_still_one(tmp_path, monkeypatch):
    monkeypatch.setattr("collab.data.flows.synthetic.sessions.LARGEST_PIECE", 50)
    flows = pd.read_csv(write_traffic(tmp_path, share=0.002), low_memory=False)
    assert (flows["Offset"].diff() < 0).sum() == 19
    assert (flows["Attack Type"] == "UDPFlood").sum() == round(175_811 * 0.002) + round(281_529 * 0.002)
