"""From a run's trace to what the report plays: messages under way, computations, use of links, refusals, faults.

Everything is in whole microseconds and in positions in the lists of the topology (`collab.topology_file`), so that a
run of a hundred clients stays a few hundred kilobytes. The words in the events are those that simnet and collab's
agents write; `web/src/recording.ts` names what is made here for the browser.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from analysis.timeline import link_use
from simnet.ledger import LedgerEntry
from simnet.trace import Event

MOST_MESSAGES = 8_000
"""Of one page; of more, control messages are left out first, then what came after the first so many."""
_MOST_STEPS = 240  # of the use of one link; more cannot be told apart on a screen
_SHOWN_AFTER_RESULT = 1.03  # the result is not the last frame
Fate = Literal["arrived", "refused", "lost"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message between a host and the server, either way; `sent_us` is when its connection was there."""

    host: str
    up: bool
    asked_us: int
    sent_us: int
    ended_us: int
    size_bytes: int
    kind: str
    fate: Fate

    @property
    def is_control(self) -> bool:
        """Whether it carries nothing but questions and confirmations."""
        return self.kind == "control"


def messages(trace: Iterable[Event], refused: Iterable[LedgerEntry], end_us: int) -> list[Message]:
    """Every message between hosts and the server, in the order in which they set out.

    A request that never arrived ends when a boundary refused it at its end (`refused`), when its host crashed or asked
    for the same again, or at `end_us`. What was refused where it wanted to leave never set out, and is not here.
    """
    found: list[Message] = []
    asked: dict[tuple[str, ...], Event] = {}
    answered: dict[tuple[str, ...], list[Event]] = defaultdict(list)
    connected_us: dict[str, int] = {}
    for event in trace:
        if event.kind == "connect":
            connected_us[event.host] = event.at_us
        elif event.kind == "power" and event.values["what"] == "crash":
            # What others were sending to a host that crashed may still get there, by a new connection.
            for key in [key for key in asked if key[0] == event.host]:
                found.append(_request(asked.pop(key), connected_us, event.at_us, "lost"))
        elif event.kind == "request":
            if (key := _key(event.host, event)) in asked:
                found.append(_request(asked.pop(key), connected_us, event.at_us, "lost"))
            asked[key] = event
        elif event.kind == "arrival":
            if (key := _key(str(event.values["peer"]), event)) in asked:
                found.append(_request(asked.pop(key), connected_us, event.at_us, "arrived"))
        elif event.kind == "answer":
            answered[_key(str(event.values["peer"]), event)].append(event)
        elif event.kind == "reply" and (waiting := answered[_key(event.host, event)]):
            found.append(_answer(event, waiting.pop(0)))
    found += [_request(event, connected_us, end_us, "lost") for event in asked.values()]
    for entry in refused:
        if entry.point == "arriving":
            _mark_refused(found, entry.source, round(entry.at_s * 1e6))
    return sorted(found, key=lambda message: (message.asked_us, message.host))


def _mark_refused(found: list[Message], host: str, at_us: int) -> None:
    """Of what a host sent and lost, the message that was refused at a moment."""
    lost = [
        index
        for index, message in enumerate(found)
        if message.host == host
        and message.up
        and message.fate == "lost"
        and message.asked_us <= at_us <= message.ended_us
    ]
    if lost:
        index = max(lost, key=lambda index: found[index].asked_us)
        found[index] = replace(found[index], ended_us=at_us, sent_us=min(found[index].sent_us, at_us), fate="refused")


def _key(host: str, event: Event) -> tuple[str, ...]:
    return host, str(event.values["method"]), str(event.values["path"])


def _request(event: Event, connected_us: Mapping[str, int], ended_us: int, fate: Fate) -> Message:
    # The last connection before it ended: one that was made anew carried it again from its beginning.
    sent_us = min(max(event.at_us, connected_us.get(event.host, 0)), ended_us)
    kind = str(event.values.get("carries", "control"))
    return Message(event.host, True, event.at_us, sent_us, ended_us, _size(event), kind, fate)


def _answer(reply: Event, answer: Event) -> Message:
    kind = str(answer.values.get("carries", "control"))
    return Message(reply.host, False, answer.at_us, answer.at_us, reply.at_us, _size(answer), kind, "arrived")


def _size(event: Event) -> int:
    return int(str(event.values["bytes"]))


# -- what the browser is given -------------------------------------------------------------------


def network_of(topology: Mapping[str, Any]) -> dict[str, Any]:
    """What all methods of a run share: nodes and links by their positions, tenants, ways to the server."""
    names = [node["name"] for node in topology["nodes"]]
    place = {name: index for index, name in enumerate(names)}
    tenants = list(dict.fromkeys(node["tenant"] for node in topology["nodes"] if node["tenant"] is not None))
    return {
        "server": place[topology["server"]],
        "oneIn": topology["one_in"],
        "tenants": tenants,
        "nodes": [
            {
                "name": node["name"],
                "tenant": -1 if node["tenant"] is None else tenants.index(node["tenant"]),
                "place": node["place"],
                "facing": node["facing"],
            }
            for node in topology["nodes"]
        ],
        "links": [
            {"from": place[link["from"]], "to": place[link["to"]], "bps": link["capacity_bps"]}
            for link in topology["links"]
        ],
        "routes": {str(place[host]): route for host, route in topology["routes"].items()},
    }


def recording_of(
    trace: Sequence[Event],
    ledger: Iterable[LedgerEntry],
    topology: Mapping[str, Any],
    result_us: int,
    most_messages: int = MOST_MESSAGES,
) -> dict[str, Any]:
    """What happened in one method's run until just after its result, for the browser; see `MOST_MESSAGES`."""
    place = {node["name"]: index for index, node in enumerate(topology["nodes"])}
    refused = [entry for entry in ledger if entry.verdict == "refused"]
    end_us = max(1, round(result_us * _SHOWN_AFTER_RESULT))
    sent = [
        message for message in messages(trace, refused, end_us) if message.host in place and message.asked_us < end_us
    ]
    shown, cut_us = _few(sent, most_messages)
    kinds = sorted({message.kind for message in shown})
    return {
        "endUs": end_us,
        "resultUs": result_us,
        "cutUs": cut_us,
        "kinds": kinds,
        "messages": [
            [
                place[message.host], int(message.up), message.asked_us, message.sent_us - message.asked_us,
                message.ended_us - message.sent_us, message.size_bytes, kinds.index(message.kind),
                ("arrived", "refused", "lost").index(message.fate),
            ]
            for message in shown
        ],
        "computations": [
            [place[event.host], int(str(event.values["start_us"])), event.at_us, str(event.values["job"])]
            for event in trace
            if event.kind == "compute" and event.host in place and int(str(event.values["start_us"])) < end_us
        ],
        "uploads": [
            event.at_us
            for event in trace
            if event.kind == "upload" and event.at_us <= end_us and str(event.values["site"]) in place
        ],
        "use": dict(_use(trace, topology, end_us)),
        "refusals": [
            [round(entry.at_s * 1e6), place[entry.source], place[entry.target], int(entry.point == "arriving"),
             entry.kind, entry.reason]
            for entry in refused
            if entry.source in place and entry.target in place
        ],
        "faults": list(_faults(trace, place, end_us)),
    }  # fmt: skip


def _few(sent: Sequence[Message], most: int) -> tuple[Sequence[Message], int | None]:
    """No more messages than a page can hold, and from when on they are missing, if any that matter are."""
    if len(sent) <= most:
        return sent, None
    carrying = [message for message in sent if not message.is_control]
    if len(carrying) <= most:
        return carrying, None
    return carrying[:most], carrying[most].asked_us


def _use(trace: Iterable[Event], topology: Mapping[str, Any], end_us: int) -> Iterator[tuple[str, list[list[int]]]]:
    """Position of each link that carried anything -> its steps: from when on, and the per cent in use.

    Of what the link can carry at that moment: a schedule changes it.
    """
    position = {link["name"]: index for index, link in enumerate(topology["links"])}
    known = [event for event in trace if event.kind == "link" and event.host in position]
    changes = [_changes(schedule, end_us) for schedule in topology["schedules"]]
    for use in link_use(known, dict.fromkeys(position, 1.0), end_us / 1e6):
        link = topology["links"][position[use.name]]
        capacity = [(0, link["capacity_bps"])]
        if link["schedule"] is not None:
            capacity += changes[link["schedule"]]
        steps = _stepped([round(at_s * 1e6) for at_s in use.times_s], use.share, capacity, end_us)
        if any(per_cent for _, per_cent in steps):
            yield str(position[use.name]), [list(step) for step in steps]


def _changes(schedule: Mapping[str, Any], end_us: int) -> list[tuple[int, float]]:
    """What a schedule makes of a link's capacity, in bit/s, from when on."""
    period_us = None if schedule["period_s"] is None else round(schedule["period_s"] * 1e6)
    rounds = 1 if period_us is None else end_us // period_us + 1
    return [
        (round(at_s * 1e6) + turn * (period_us or 0), bandwidth_bps)
        for turn in range(rounds)
        for at_s, bandwidth_bps in schedule["steps"]
    ]


def _stepped(
    times_us: Sequence[int], wire_bps: Sequence[float], capacity: Sequence[tuple[int, float]], end_us: int
) -> list[tuple[int, int]]:
    """Steps without those that change nothing, or that stand at the same moment; means if they are many."""
    starts = [at_us for at_us, _ in capacity]
    steps: list[tuple[int, int]] = []
    for at_us in sorted({*times_us, *starts}):
        if at_us >= end_us:
            break
        now_bps = wire_bps[bisect_right(times_us, at_us) - 1]
        capacity_bps = capacity[bisect_right(starts, at_us) - 1][1]
        per_cent = min(100, round(100 * now_bps / capacity_bps)) if capacity_bps else 0
        if not steps or steps[-1][1] != per_cent:
            steps.append((at_us, per_cent))
    return steps if len(steps) <= _MOST_STEPS else _means(steps, end_us)


def _means(steps: Sequence[tuple[int, int]], end_us: int) -> list[tuple[int, int]]:
    """The mean in each of `_MOST_STEPS` equal times."""
    sums = [0.0] * _MOST_STEPS
    width_us = end_us / _MOST_STEPS
    for (start_us, per_cent), following in zip(steps, [*steps[1:], (end_us, 0)], strict=True):
        first, last = int(start_us / width_us), min(int(following[0] / width_us), _MOST_STEPS - 1)
        for index in range(first, last + 1):
            inside_us = min(following[0], (index + 1) * width_us) - max(start_us, index * width_us)
            sums[index] += per_cent * max(0.0, inside_us)
    return [(round(index * width_us), round(total / width_us)) for index, total in enumerate(sums)]


def _faults(trace: Iterable[Event], place: Mapping[str, int], end_us: int) -> Iterator[list[Any]]:
    """Each fault: from when until when, in words, and the hosts that it is at, none for one of the network."""
    began: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in trace:
        if event.kind == "fault" and event.values.get("phase") == "begins":
            began[event.host, str(event.values["fault"])].append(event)
        elif event.kind == "fault" and event.values.get("phase") == "ends":
            waiting = began[event.host, str(event.values["fault"])]
            if waiting:
                yield _fault(waiting.pop(0), event.at_us, place)
    for waiting in began.values():
        for event in waiting:
            if event.at_us < end_us:
                yield _fault(event, end_us, place)


def _fault(event: Event, until_us: int, place: Mapping[str, int]) -> list[Any]:
    kind = str(event.values["fault"])
    sides = event.values.get("sides")
    where = " | ".join(sides) if isinstance(sides, list) else event.host
    hosts = [place[event.host]] if event.host in place else []
    return [event.at_us, until_us, f"{kind.replace('_', ' ')}: {where}", kind, hosts]
