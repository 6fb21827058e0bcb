"""The report of a run: one HTML file that opens offline, made from the run directory alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis import detection, figures, page
from analysis.critical_path import Step, critical_path, shares
from analysis.page import both, embedded, number, times
from analysis.playback import MOST_MESSAGES, messages, network_of, recording_of
from analysis.timeline import SERVER, Timeline, link_use, timeline
from collab.errors import RunDirectoryError
from collab.store import SCENARIO, SUMMARY, TOPOLOGY, MethodRun, Run
from collab.store.detection import named_classes, station_of_client
from simnet.tenancy import LedgerEntry

_MOST_REFUSALS = 20
_MOST_ENERGY_ROWS = 12
_MOST_STEPS = 30
_NEEDED_OF_A_RUN = ("scenario", "seed", "world", "run_dir", "trace_digest", "wall_s", "methods")
_NEEDED_OF_A_METHOD = (
    "accuracy", "bytes_up_per_client", "bytes_down_per_client", "last_upload_s", "result_s", "result_digest",
)  # fmt: skip
_MACHINE = ("machine", "device", "precision", "threads")  # of what is in environment.json; the rest are versions
_TIMING = {
    "modelled": "modelled: operations counted ÷ the rate of the device",
    "measured": "measured here, times a factor",
    "fixed": "of a fixed time",
}
_SECTION_NAMES = {
    "collabdm": "CollabDM: distil at the sites, refine at the server toward everybody's class means",
    "localdm": "LocalDM: distil at the sites, take the union",
    "central": "central: one site that holds all data, the upper bound",
    "fedd3": "FedD3: distil at the sites by kernel ridge regression, take the union",
    "dosfl": "DOSFL: distil at the sites through the training of a network, take the union",
    "dense": "DENSE: send trained networks once, distil their ensemble without data",
    "strawman": "strawman: distil together in many rounds",
    "fedavg": "FedAvg: train at the sites, average the weights, many times",
    "fedprox": "FedProx: FedAvg with sites held near the common weights",
}


@dataclass(frozen=True)
class MethodView:
    """One method, as the page shows it."""

    name: str
    title: str
    row: Mapping[str, Any]
    deviation: float
    yields_network: bool
    uploads: int
    accuracies: Mapping[str, Mapping[str, Any]]
    gantt: str
    path: Sequence[Step]
    path_in_words: str
    links: str | None
    sites: Sequence[tuple[str, str]]
    initial: str | None
    energy: Sequence[tuple[str, Mapping[str, Any]]]
    refined: str | None
    is_refined: bool
    shown: Timeline


def write_report(run: Run, path: Path) -> Path:
    """Write the report of `run` to `path`; returns the path.

    Raises `RunDirectoryError` if a file of the run cannot be read, or lacks what the report is made of.
    """
    _check_whole(run)
    return page.write(path, page.render("report.html.j2", _content(run)))


def _check_whole(run: Run) -> None:
    """Make sure that the files, which may have been edited or come from elsewhere, hold what is read below."""
    _need(run.path / SUMMARY, run.summary, _NEEDED_OF_A_RUN)
    _need(run.path / SCENARIO, run.scenario, ("dataset", "partition", "network", "method"))
    _need(run.path / "partition.json", run.partition, ("client-0",))
    for method in run.methods:
        _need(run.path / SUMMARY, run.summary["methods"][method.name], _NEEDED_OF_A_METHOD, f" of {method.name}")
        _need(method.path / "outcome.json", method.outcome, ("accuracies", "capacity_bps"))


def _need(path: Path, found: Any, keys: Sequence[str], whose: str = "") -> None:
    held = found if isinstance(found, Mapping) else {}
    # Links may be none, on real sockets, but something was judged.
    lacking = [key for key in keys if held.get(key) is None or (key == "accuracies" and not held[key])]
    if lacking:
        raise RunDirectoryError(
            f"{path} is damaged: expected {', '.join(lacking)}{whose}, found nothing; run the scenario again"
        )


def _content(run: Run) -> dict[str, Any]:
    summary, scenario = run.summary, run.scenario
    classes = len(next(iter(run.partition.values())))
    names, _ = named_classes(run)
    rows = figures.rows_of_pictures([method.images for method in run.methods], classes)
    methods = [_method_view(run, method, classes, rows) for method in run.methods]
    deviations = {view.name: view.deviation for view in methods}
    seconds = "virtual" if summary["world"] == "simulated" else "real"
    scenario_text = (run.path / SCENARIO).read_text(encoding="utf-8")
    return {
        "run": run,
        "summary": summary,
        "scenario": scenario,
        "versions": {key: value for key, value in run.environment.items() if key not in _MACHINE},
        "machine": {key: value for key, value in run.environment.items() if key in _MACHINE},
        "made": datetime.fromtimestamp((run.path / SUMMARY).stat().st_mtime, UTC),
        "story": _story(run),
        "methods": methods,
        "main": methods[0],
        "best": max(methods, key=lambda view: view.row["accuracy"]).name,
        "seconds": seconds,
        "heat_map": both(partial(figures.label_heat_map, _with_stations(run), names)),
        "classes": classes,
        "class_names": ", ".join(names),
        "detection": detection.of_run(run),
        "images_cut": rows if _most_of_a_class(run) > rows else None,
        "hidden_clients": max(0, len(run.partition) - figures.MOST_CLIENTS),
        "energy_counted": any(view.row.get("energy_j_per_client") is not None for view in methods),
        "judged": list(dict.fromkeys(name for view in methods for name in view.accuracies)),
        "judges": _judges_in_words([found for view in methods for found in view.accuracies.values()]),
        "scatter": both(partial(figures.accuracy_against_costs, summary["methods"], deviations, seconds)),
        "energy_figure": _energy_figure(run),
        "ledger": [(method.name, list(_ledger_rows(method.ledger)), _refusals(method)) for method in run.methods],
        "player": None if run.topology is None else _player(run, run.topology, methods),
        "most_steps": _MOST_STEPS,
        "timing": _TIMING.get(str(scenario.get("compute", {}).get("time")), "by the scenario"),
        "scenario_text": scenario_text,
        "scenario_sha256": hashlib.sha256(scenario_text.encode()).hexdigest(),
    }


def _with_stations(run: Run) -> dict[str, Sequence[int]]:
    """The samples of each class at each client, which is called by its station too, if it has one."""
    station_of = station_of_client(run)
    return {
        f"{client}, {station_of[client]}" if client in station_of else client: counts
        for client, counts in run.partition.items()
    }


def _most_of_a_class(run: Run) -> int:
    """How many images the class has of which some set of the run has most."""
    labels = [array for method in run.methods for name, array in method.images.items() if "labels" in name]
    return max((int(np.bincount(found).max()) for found in labels if len(found)), default=0)


def _energy_figure(run: Run) -> str | None:
    """The energy of each method's clients; nothing if it was not counted for all of them."""
    if any(row.get("energy_j_per_client") is None for row in run.summary["methods"].values()):
        return None
    spent = {method.name: method.outcome["energy"] for method in run.methods}
    clients = {method: len([host for host in hosts if host != SERVER]) for method, hosts in spent.items()}
    return both(partial(figures.energy_figure, spent, clients))


def _player(run: Run, topology: Mapping[str, Any], views: Sequence[MethodView]) -> dict[str, Any]:
    """What the player shows: the recordings of all methods, for the browser, and what is said of them."""
    _need(run.path / TOPOLOGY, topology, ("server", "one_in", "nodes", "links", "schedules", "routes"))
    most = MOST_MESSAGES // len(views)
    recordings = [
        {
            "name": view.name,
            "title": view.title,
            **recording_of(list(method.trace), method.ledger, topology, round(view.row["result_s"] * 1e6), most),
        }
        for method, view in zip(run.methods, views, strict=True)
    ]
    seconds = "virtual" if run.summary["world"] == "simulated" else "real"
    return {
        "data": embedded({"seconds": seconds, "network": network_of(topology), "recordings": recordings}),
        "names": [view.name for view in views],
        "one_in": topology["one_in"],
        "tenants": list(dict.fromkeys(node["tenant"] for node in topology["nodes"] if node["tenant"] is not None)),
        "cut": any(recording["cutUs"] is not None for recording in recordings),
        "refusals": any(recording["refusals"] for recording in recordings),
    }


def _story(run: Run) -> str:
    """What ran, in two sentences."""
    scenario = run.scenario
    partition, network = scenario["partition"], scenario["network"]
    total = int(np.sum(list(run.partition.values())))
    tenants = scenario.get("tenants") or {"lab": []}
    division = division_in_words(partition)
    dataset = run.summary.get("dataset", scenario["dataset"]["name"])  # runs of earlier versions lack the first
    where = _network_in_words(network) if run.summary["world"] == "simulated" else "the sockets of this machine"
    main = run.methods[0]
    most = _uploads_of_a_site(main)
    made = f"made {number(scenario['method']['images_per_class'], 'synthetic image')} per class"
    if run.summary["methods"][main.name].get("yields") == "network":
        made = "trained a network"
    return (
        f"{partition['clients']} sites held {total:,} private samples of {dataset}, {division}, "
        f"in a network of {number(len(tenants), 'tenant')}. Each uploaded {times(most)} over {where}; the "
        f"server {made} of what it got."
    )


def division_in_words(partition: Mapping[str, Any]) -> str:
    """How the samples were divided, as the sentence about them goes on."""
    match partition["scheme"]:
        case "iid":
            return "cut at random"
        case "pathological":
            return f"at most {number(partition['classes_per_client'], 'class', 'classes')} a site"
        case "quantity_skew":
            return f"of sizes skewed by Dirichlet({partition['beta']:g})"
        case "by_column":
            return "each where it was taken"
        case _:
            return f"skewed by Dirichlet({partition['beta']:g})"


def _uploads_of_a_site(method: MethodRun) -> int:
    """How often the site uploaded that did so most often: once in a one-shot method."""
    return max(Counter(event.values["site"] for event in method.trace.of_kind("upload")).values())


def _network_in_words(network: Mapping[str, Any]) -> str:
    access = network.get("access")
    if access is None:  # an explicit list of links
        return f"a network of {number(len(network['links']), 'link')}"
    bandwidth = access["bandwidth"]
    speed = bandwidth if isinstance(bandwidth, str) else f"{bandwidth['up']} up, {bandwidth['down']} down"
    kind = {"two-tier": "two-tier network", "geometric": "geometric edge"}.get(network["topology"], network["topology"])
    return f"a {kind} of {speed}, {access['latency']} access links"


def _method_view(run: Run, method: MethodRun, classes: int, rows: int) -> MethodView:
    trace = list(method.trace)
    shown = timeline(trace)
    sent = messages(trace, [entry for entry in method.ledger if entry.verdict == "refused"], trace[-1].at_us)
    path = critical_path(trace, sent, SERVER, round(shown.result_s * 1e6))
    images, outcome = method.images, method.outcome
    uses = link_use(trace, outcome["capacity_bps"], shown.end_s)
    sites = [
        (name[5:], figures.picture_strip(images[name], images[f"site-labels:{name[5:]}"], classes, rows))
        for name in sorted(images)
        if name.startswith("site:")
    ]

    def strip(name: str) -> str | None:
        return figures.picture_strip(images[name], images["labels"], classes, rows) if name in images else None

    refined = "initial" in images and not np.array_equal(images["initial"], images["images"])
    unit = "virtual" if run.summary["world"] == "simulated" else "real"
    return MethodView(
        name=method.name,
        title=_title_of(method.name),
        row=run.summary["methods"][method.name],
        deviation=float(np.std(next(iter(outcome["accuracies"].values())))),
        yields_network=run.summary["methods"][method.name].get("yields") == "network",
        uploads=_uploads_of_a_site(method),
        accuracies=_accuracies(outcome),
        gantt=both(partial(figures.gantt, shown, path, unit)),
        path=path[:_MOST_STEPS],
        path_in_words=_path_in_words(path),
        links=both(partial(figures.link_use_figure, uses, shown.end_s)) if uses else None,
        sites=sites,
        energy=list(_energy_rows(outcome.get("energy", {}))),
        initial=strip("initial"),
        refined=strip("images"),
        is_refined=refined,
        shown=shown,
    )


def _path_in_words(path: Sequence[Step]) -> str:
    """What the critical path consists of, the largest part first."""
    whole_s = sum(step.duration_s for step in path) or 1.0
    parts = sorted(shares(path).items(), key=lambda part: -part[1])
    return ", ".join(f"{100 * seconds / whole_s:.0f} % {kind} ({seconds:.3f} s)" for kind, seconds in parts)


def _title_of(method: str) -> str:
    """What a method does; a preset is named after its method, `collabdm-lean`."""
    base, _, preset = method.partition("-")
    title = _SECTION_NAMES.get(base, method)
    return f"{title} (preset {preset})" if preset and base in _SECTION_NAMES else title


def _accuracies(outcome: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Mean and deviations of each network that was judged, of how many on how many sets."""
    sets = int(outcome.get("sets", 1))
    return {
        name: {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values)),
            "set_deviation": float(np.std(np.reshape(values, (sets, -1)).mean(axis=1))) if sets > 1 else None,
            "networks": len(values),
            "sets": sets,
        }
        for name, values in outcome["accuracies"].items()
    }


def _judges_in_words(judged: Sequence[Mapping[str, Any]]) -> str:
    """Of how many networks the accuracies are the means; nothing if it is one."""
    most = max(judged, key=lambda found: int(found["networks"]))
    if most["networks"] == 1:
        return ""
    networks = number(most["networks"] // most["sets"], "network")
    on = f" on each of {most['sets']} independent sets" if most["sets"] > 1 else ""
    return f"the mean of {networks}{on} (± their standard deviation)"


def _ledger_rows(ledger: Sequence[LedgerEntry]) -> Iterator[dict[str, Any]]:
    """The ledger, summed by what crossed between whom; each message counts where it left or, if refused, there."""
    sizes: Counter[tuple[str, str, str, str]] = Counter()
    counts: Counter[tuple[str, str, str, str]] = Counter()
    seen_leaving = any(entry.point == "leaving" for entry in ledger)
    for entry in ledger:
        if entry.verdict == "crossed" and entry.point != ("leaving" if seen_leaving else "arriving"):
            continue
        key = (entry.source_tenant, entry.target_tenant, entry.kind, str(entry.verdict))
        sizes[key] += entry.size_bytes
        counts[key] += 1
    for key in sorted(counts):
        source, target, kind, outcome = key
        yield {
            "source": source,
            "target": target,
            "kind": kind.replace("+", " + "),
            "verdict": outcome,
            "messages": counts[key],
            "bytes": sizes[key],
        }


def _energy_rows(energy: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each host spent, those that spent most first; hosts of which nothing is counted are left out."""
    parts = ("compute_j", "idle_j", "transmit_j", "receive_j")
    totals = {host: sum(spent[part] for part in parts) for host, spent in energy.items()}
    for host in sorted(totals, key=lambda host: -totals[host])[:_MOST_ENERGY_ROWS]:
        if energy[host]["device"] is not None or energy[host]["radio"] is not None:
            yield host, {**energy[host], "total_j": totals[host]}


def _refusals(method: MethodRun) -> list[LedgerEntry]:
    return [entry for entry in method.ledger if entry.verdict == "refused"][:_MOST_REFUSALS]
