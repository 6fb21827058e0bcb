"""Columns agree with each other as a monitor computes them; classes differ by how they work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collab.data.flows.synthetic import write_traffic
from collab.data.flows.synthetic.sessions import divided
from collab.data.flows.synthetic.stations import station


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    return pd.read_csv(write_traffic(tmp_path_factory.mktemp("traffic"), share=0.02, stations=3), low_memory=False)


@pytest.fixture(scope="module")
def tcp(flows):
    return flows[flows["Proto"] == "tcp"]


def of(flows, *kinds):
    return flows[flows["Attack Type"].isin(kinds)]


def median(flows, kind, column):
    return of(flows, kind)[column].median()


def test_totals_are_the_sums_of_both_directions(flows):
    for total in ("Pkts", "Bytes"):
        assert (flows[f"Tot{total}"] == flows[f"Src{total}"] + flows[f"Dst{total}"]).all()
    assert (flows["Loss"] == flows["SrcLoss"] + flows["DstLoss"]).all()
    assert np.allclose(flows["pLoss"], 100 * flows["Loss"] / (flows["TotPkts"] + flows["Loss"]), atol=1e-5)
    assert (flows["SrcPkts"] >= 1).all()
    assert (flows["SrcLoss"] < flows["SrcPkts"]).all()


def test_rates_and_loads_follow_from_packets_bytes_and_time(flows):
    lasting = flows[flows["Dur"] > 0]
    for prefix, volume in (("", "Tot"), ("Src", "Src"), ("Dst", "Dst")):
        packets, size = lasting[f"{volume}Pkts"], lasting[f"{volume}Bytes"]
        later = (packets - 1).clip(lower=0)
        assert np.allclose(lasting[f"{prefix}Rate"], later / lasting["Dur"], atol=1e-5)
        assert np.allclose(
            lasting[f"{prefix}Load"], 8 * size * (later / packets.clip(lower=1)) / lasting["Dur"], rtol=1e-9, atol=1e-5
        )
    assert not flows[flows["Dur"] == 0][["Rate", "SrcRate", "DstRate", "Load", "SrcLoad", "DstLoad"]].any(axis=None)


def test_a_record_is_of_one_flow_and_of_five_seconds_at_most(flows):
    for column in ("RunTime", "Mean", "Sum", "Min", "Max"):
        assert (flows[column] == flows["Dur"]).all()
    assert flows["Dur"].between(0, 5).all()
    assert (flows[flows["TotPkts"] == 1]["Dur"] == 0).all()


def test_mean_packet_sizes(flows):
    assert np.allclose(flows["sMeanPktSz"], flows["SrcBytes"] / flows["SrcPkts"], atol=1e-5)
    answered = flows[flows["DstPkts"] > 0]
    assert np.allclose(answered["dMeanPktSz"], answered["DstBytes"] / answered["DstPkts"], atol=1e-5)
    assert (flows[flows["DstPkts"] == 0][["DstBytes", "dMeanPktSz"]] == 0).all(axis=None)
    assert flows[["sMeanPktSz", "dMeanPktSz"]].max(axis=None) <= 1518


def test_headers_are_missing_where_there_are_none(flows):
    without_ip = flows["Proto"].isin(["arp", "llc", "lldp"])
    answered = flows["DstPkts"] > 0
    is_tcp = flows["Proto"] == "tcp"
    for end, there in (("s", ~without_ip), ("d", ~without_ip & answered)):
        for column in ("Tos", "DSb", "Ttl", "Hops"):
            assert (flows[f"{end}{column}"].notna() == there).all()
    for column in ("SrcGap", "DstGap", "SrcTCPBase"):
        assert (flows[column].notna() == is_tcp).all()
    assert not (flows[["DstWin", "DstTCPBase"]].notna().any(axis=1) & ~(is_tcp & answered)).any()
    assert (flows["dVid"].notna() == flows["sVid"].notna() & answered).all()


def test_hops_and_service_bytes_say_what_ttl_and_tos_say(flows):
    initial = np.array([32, 64, 128, 255])
    names = {0: "cs0", 16: "4", 40: "af11", 48: "af12", 128: "cs4", 136: "af41", 184: "ef", 192: "cs6", 216: "54"}
    for end in ("s", "d"):
        known = flows[flows[f"{end}Ttl"].notna()]
        ttl = known[f"{end}Ttl"].to_numpy()
        assert (known[f"{end}Hops"] == initial[np.searchsorted(initial, ttl)] - ttl).all()
        assert (known[f"{end}DSb"] == known[f"{end}Tos"].map(names)).all()


def test_handshakes(flows, tcp):
    assert np.allclose(flows["TcpRtt"], flows["SynAck"] + flows["AckDat"], atol=2e-6)
    assert not flows[flows["Proto"] != "tcp"]["TcpRtt"].any()
    assert not tcp[tcp["DstPkts"] == 0]["TcpRtt"].any()
    assert not tcp[tcp["Cause"] == "Status"]["TcpRtt"].any()
    begun = of(tcp, "Benign", "HTTPFlood").query("Cause == 'Start' and State in ('CON', 'FIN')")
    assert (begun["TcpRtt"] > 0).all()
    assert (begun["Dur"] >= begun["TcpRtt"] - 2e-6).all()


def test_states_belong_to_their_protocols(flows):
    found = flows.groupby("Proto")["State"].unique()
    allowed = {
        "tcp": {"ACC", "CON", "FIN", "REQ", "RST"}, "udp": {"INT", "CON"}, "icmp": {"ECO", "URP", "TST"},
        "sctp": {"CON"}, "arp": {"RSP"}, "llc": {"INT"}, "lldp": {"INT"}, "ipv6-icmp": {"NRS"},
    }  # fmt: skip
    assert set(found.index) == set(allowed)
    for proto, states in found.items():
        assert set(states) <= allowed[proto]
    assert (flows[flows["State"] == "CON"]["DstPkts"] > 0).all()
    assert (flows[flows["State"].isin(["INT", "REQ"])]["DstPkts"] == 0).all()
    assert set(flows["Cause"]) == {"Start", "Status", "Shutdown"}


def test_a_reset_ends_with_no_window(tcp):
    shut = tcp[tcp["SrcWin"].isna() | (tcp["DstWin"].isna() & (tcp["DstPkts"] > 0))]
    assert set(shut["State"]) == {"RST"}


def test_floods_are_never_answered(flows):
    for kind, proto, state in (("UDPFlood", "udp", "INT"), ("SYNFlood", "tcp", "REQ"), ("ICMPFlood", "icmp", "ECO")):
        found = of(flows, kind)
        assert set(found["Proto"]) == {proto}
        assert set(found["State"]) == {state}
        assert not found[["DstPkts", "DstBytes", "TcpRtt"]].any(axis=None)
        sizes = found["sMeanPktSz"].unique()
        assert len(sizes) < 20
        assert (sizes % 1 == 0).all()
    assert median(flows, "ICMPFlood", "TotPkts") > 10_000


def test_slow_rate_attacks_last_and_carry_little(flows):
    assert median(flows, "SlowrateDoS", "Dur") > 2 * median(flows, "HTTPFlood", "Dur")
    assert median(flows, "SlowrateDoS", "TotBytes") < median(flows, "HTTPFlood", "TotBytes") / 8
    assert of(flows, "SlowrateDoS")["State"].value_counts(normalize=True)["CON"] > 0.4


def test_scans_are_of_single_packets_that_closed_ports_reset(flows):
    scans = of(flows, "SYNScan", "TCPConnectScan")
    assert set(scans["State"]) == {"RST"}
    assert (scans["DstPkts"] == 1).all()
    assert (scans["SrcPkts"] == 1).mean() > 0.9
    assert set(of(scans, "SYNScan")["SrcWin"].dropna()) == {1024}
    assert of(scans, "SYNScan")["SrcTCPBase"].nunique() < 20  # one for a whole run, as the tool makes its own packets
    assert of(scans, "TCPConnectScan")["SrcTCPBase"].is_unique


def test_unreachable_ports_are_said_by_icmp(flows):
    scan = of(flows, "UDPScan")
    assert set(zip(scan["Proto"], scan["State"], strict=True)) == {("udp", "INT"), ("icmp", "URP")}
    assert (scan["SrcPkts"] <= 2).all()
    assert not scan["DstPkts"].any()


def test_stations_lie_at_different_distances(flows):
    number = (flows["Unnamed: 0"].diff() < 0).cumsum()
    https = flows[(flows["Attack Type"] == "HTTPFlood") & (flows["AckDat"] > 0)]
    radio_rtt_s = https.groupby(number)["AckDat"].median()
    assert radio_rtt_s[2] < 0.75 * radio_rtt_s[0]
    assert radio_rtt_s[1] > 1.3 * radio_rtt_s[0]
    phones = flows[(flows["Attack Type"] == "SYNFlood")].groupby(number)["sTtl"].unique()
    assert [list(ttl) for ttl in phones] == [[63], [62], [64]]


def test_the_third_station_is_a_plant(flows):
    number = (flows["Unnamed: 0"].diff() < 0).cumsum()
    benign = flows[flows["Attack Type"] == "Benign"].groupby(number)
    assert list(benign["Proto"].apply(lambda proto: (proto == "tcp").mean() > 0.3)) == [False, False, True]
    assert 120 in set(benign.get_group(2)["sVid"].dropna())


def test_further_stations_repeat_the_first_three_on_other_paths():
    assert station(4, seed=0).flows == station(1, seed=0).flows
    assert station(4, seed=0).path != station(1, seed=0).path
    assert station(4, seed=0) == station(4, seed=0)
    assert station(4, seed=0).path != station(7, seed=0).path


@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_a_station_has_adds_up(number):
    made = station(number, seed=0)
    assert sum(made.applications.values()) == made.flows["Benign"]


def test_whole_parts_add_up_and_are_exact_where_they_can_be():
    assert divided(10, (1, 1, 1)) == [4, 3, 3]
    assert divided(12, {"a": 3, "b": 9}) == [3, 9]
    assert divided(0, (1, 2)) == [0, 0]
    assert divided(1, (0.2, 0.5, 0.3)) == [0, 1, 0]
