"""From flows to the columns of the published file: what Argus computes of packets, bytes and times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collab.data.flows.synthetic.flow import ATTACKS, CAUSES, PROTOCOLS, STATES, TOOLS, WITHOUT_IP, Flows

COLUMNS = (
    "Unnamed: 0", "Seq", "Dur", "RunTime", "Mean", "Sum", "Min", "Max", "Proto", "sTos", "dTos", "sDSb", "dDSb", "sTtl",
    "dTtl", "sHops", "dHops", "Cause", "TotPkts", "SrcPkts", "DstPkts", "TotBytes", "SrcBytes", "DstBytes", "Offset",
    "sMeanPktSz", "dMeanPktSz", "Load", "SrcLoad", "DstLoad", "Loss", "SrcLoss", "DstLoss", "pLoss", "SrcGap", "DstGap",
    "Rate", "SrcRate", "DstRate", "State", "SrcWin", "DstWin", "sVid", "dVid", "SrcTCPBase", "DstTCPBase", "TcpRtt",
    "SynAck", "AckDat", "Label", "Attack Type", "Attack Tool",
)  # fmt: skip
_CLASS_SELECTOR = {0: "cs0", 40: "af11", 48: "af12", 128: "cs4", 136: "af41", 184: "ef", 192: "cs6", 224: "cs7"}
_DSCP_NAMES = tuple(_CLASS_SELECTOR.get(code << 2, str(code)) for code in range(64))
_INITIAL_TTLS = np.array([32, 64, 128, 255])


def table(flows: Flows, index: NDArray[np.int64], seq: NDArray[np.int64], offset: NDArray[np.int64]) -> pa.Table:
    """All columns of flows, with nulls where a monitor has nothing to say.

    - `TotPkts`, `TotBytes`, `Loss` are the sums of both directions, `TcpRtt` is SynAck + AckDat.
    - `Rate` and its like are (packets - 1) / Dur, `Load` and its like the bits of all packets but one of the mean size,
      over Dur: the first packet opens the time, and what it carries was sent before. 0 where Dur is.
    - `Dur`, `RunTime`, `Mean`, `Sum`, `Min`, `Max` are the same: a record is of one flow, not of several together.
    - `pLoss` is 100 Loss / (TotPkts + Loss); a mean size is 0 where there are no packets.
    - What is said of the destination needs an answer, ToS and TTL need IP, windows, gaps and bases TCP; a window or a
      base of 0 (after a reset, or where none was seen) is left out, as is a VLAN of 0.
    """
    columns: dict[str, Any] = {"Unnamed: 0": index, "Seq": seq, "Offset": offset}
    tcp = flows["proto"] == PROTOCOLS.index("tcp")
    ip = ~np.isin(flows["proto"], [PROTOCOLS.index(name) for name in WITHOUT_IP])
    answered = flows["dst_packets"] > 0
    duration_s = np.round(flows["duration_s"], 6)
    for name in ("Dur", "RunTime", "Mean", "Sum", "Min", "Max"):
        columns[name] = duration_s
    for name, of, there in (("s", "src", ip), ("d", "dst", ip & answered)):
        _header(columns, flows, name, of, there)
    _volumes(columns, flows, duration_s)
    for name, of, there in (("Src", "src", tcp), ("Dst", "dst", tcp & answered)):
        columns[f"{name}Gap"] = _where(tcp, flows[f"{of}_gap_bytes"])
        columns[f"{name}Win"] = _where(there & (flows[f"{of}_window"] > 0), flows[f"{of}_window"])
        columns[f"{name}TCPBase"] = _where(there & (flows[f"{of}_base"] > 0), flows[f"{of}_base"])
    columns["sVid"] = _where(flows["vlan"] > 0, flows["vlan"])
    columns["dVid"] = _where((flows["vlan"] > 0) & answered, flows["vlan"])
    columns["SynAck"], columns["AckDat"] = np.round(flows["syn_ack_s"], 6), np.round(flows["ack_data_s"], 6)
    columns["TcpRtt"] = np.round(columns["SynAck"] + columns["AckDat"], 6)
    columns["Proto"] = _words(PROTOCOLS, flows["proto"])
    columns["State"] = _words(STATES, flows["state"])
    columns["Cause"] = _words(CAUSES, flows["cause"])
    columns["Label"] = _words(("Benign", *["Malicious"] * (len(ATTACKS) - 1)), flows["attack"])
    columns["Attack Type"] = _words(ATTACKS, flows["attack"])
    columns["Attack Tool"] = _words(TOOLS, flows["tool"])
    return pa.table({name: columns[name] for name in COLUMNS})


def _header(columns: dict[str, Any], flows: Flows, name: str, of: str, there: NDArray[np.bool_]) -> None:
    """What one end wrote into its IP headers; the hops are counted from the next usual first TTL above."""
    tos, ttl = flows[f"{of}_tos"], flows[f"{of}_ttl"]
    columns[f"{name}Tos"] = _where(there, tos)
    columns[f"{name}DSb"] = _words(_DSCP_NAMES, (tos & 0xFF) >> 2, ~there)
    columns[f"{name}Ttl"] = _where(there, ttl)
    columns[f"{name}Hops"] = _where(there, _INITIAL_TTLS[np.searchsorted(_INITIAL_TTLS, ttl)] - ttl)


def _volumes(columns: dict[str, Any], flows: Flows, duration_s: NDArray[np.float64]) -> None:
    packets = {"Src": flows["src_packets"], "Dst": flows["dst_packets"]}
    size_bytes = {"Src": flows["src_bytes"], "Dst": flows["dst_bytes"]}
    packets["Tot"], size_bytes["Tot"] = packets["Src"] + packets["Dst"], size_bytes["Src"] + size_bytes["Dst"]
    for name, prefix in (("Src", "Src"), ("Dst", "Dst"), ("Tot", "")):
        columns[f"{name}Pkts"], columns[f"{name}Bytes"] = packets[name], size_bytes[name]
        later = np.maximum(packets[name] - 1, 0)
        columns[f"{prefix}Rate"] = np.round(_ratio(later, duration_s), 6)
        bits = 8 * size_bytes[name] * _ratio(later, packets[name])
        columns[f"{prefix}Load"] = np.round(_ratio(bits, duration_s), 6)
    for name, of in (("s", "Src"), ("d", "Dst")):
        columns[f"{name}MeanPktSz"] = np.round(_ratio(size_bytes[of], packets[of]), 6)
    columns["SrcLoss"], columns["DstLoss"] = flows["src_loss"], flows["dst_loss"]
    columns["Loss"] = flows["src_loss"] + flows["dst_loss"]
    columns["pLoss"] = np.round(100 * _ratio(columns["Loss"], packets["Tot"] + columns["Loss"]), 6)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return ratio


def _where(there: NDArray[np.bool_], values: NDArray[Any]) -> pa.Array:
    return pa.array(values, mask=~there)


def _words(words: tuple[str, ...], codes: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> pa.Array:
    indices = pa.array(codes.astype(np.int8), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words)).cast(pa.string())
