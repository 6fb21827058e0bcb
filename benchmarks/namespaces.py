"""The same scenario in virtual time and for real, between network namespaces of one machine: how long uploads take.

    sudo python benchmarks/namespaces.py [SCENARIO] [--repeats N] [--json]

Every host and relay of the scenario's network becomes a network namespace, every link a pair of virtual Ethernet
devices whose two ends a token-bucket filter holds to the link's rates, with the queue that the scenario gives it;
relays bridge. `collab serve` runs in the server's namespace, `collab join` in each site's. Compared is how long the
upload of each site is on its way: from the beginning of its request to the answer, in the site's own trace, less what
the server took to answer once it had all of it, in the server's.

Not emulated: delay (not every kernel has netem, so a latency above 1 ms is refused), jitter, loss, schedules,
capacities of hosts. Computing competes for the cores of the machine and is left out of the comparison. Needs Linux,
root, `ip` and `tc`; exits with 77 and says why where these are missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from collab import run, scenario
from collab.scenario import SERVER, Scenario
from collab.store import find_run, open_run
from simnet import Link, Topology, trace_file
from simnet.trace import Event

SKIPPED_EXIT_CODE = 77
SMALLEST_BUCKET_BYTES = 10_000
LONGEST_LATENCY_S = 0.001
_PACKET_BYTES = 1514
_QUEUE_PACKETS = 100
_PORT = 8080
_LONGEST_RUN_S = 600


class NotHereError(Exception):
    """Such networks cannot be made on this machine."""


def shell(*command: str) -> str:
    """What a command prints. Raises `NotHereError` with what it complains of."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise NotHereError(f"there is no command {command[0]}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise NotHereError(f"{' '.join(command)}: {error.stderr.strip()}") from error


class Namespaces:
    """A topology as network namespaces of this machine; `up` makes them and takes them away again."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._prefix = f"collab{os.getpid()}"
        self._nodes = [*(host.name for host in topology.hosts), *topology.relays]

    def name(self, node: str) -> str:
        """The namespace of a host or relay."""
        return f"{self._prefix}-{self._nodes.index(node)}"

    def address(self, host: str) -> str:
        """The address of a host."""
        number = self._nodes.index(host) + 1
        return f"10.77.{number // 250}.{number % 250 + 1}"

    @contextlib.contextmanager
    def up(self) -> Iterator[Namespaces]:
        """All of them, joined. Raises `NotHereError` where that cannot be."""
        if not sys.platform.startswith("linux") or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
            raise NotHereError("network namespaces need Linux, root, and the commands ip and tc (iproute2)")
        try:
            for node in self._nodes:
                self._make(node)
            for number, link in enumerate(self._topology.links):
                self._join(number, link)
            yield self
        finally:
            for node in self._nodes:
                subprocess.run(["ip", "netns", "del", self.name(node)], capture_output=True, check=False)

    def _make(self, node: str) -> None:
        shell("ip", "netns", "add", self.name(node))
        self._ip(node, "link", "set", "lo", "up")
        if node in self._topology.relays:
            self._ip(node, "link", "add", "bridge", "type", "bridge")
            self._ip(node, "link", "set", "bridge", "up")

    def _join(self, number: int, link: Link) -> None:
        ends = {link.a: f"link{number}a", link.b: f"link{number}b"}
        one, other = ends.items()
        shell(
            "ip", "link", "add", one[1], "netns", self.name(one[0]), "type", "veth",
            "peer", "name", other[1], "netns", self.name(other[0]),
        )  # fmt: skip
        rates = {link.a: link.bandwidth_bps, link.b: link.reverse_bps}
        for node, device in ends.items():
            if node in self._topology.relays:
                self._ip(node, "link", "set", device, "master", "bridge")
            else:
                self._ip(node, "address", "add", f"{self.address(node)}/16", "dev", device)
            self._ip(node, "link", "set", device, "up")
            bucket = max(SMALLEST_BUCKET_BYTES, int(rates[node] / 8 / 250))  # what passes between two ticks of a kernel
            queue = (link.queue_packets or _QUEUE_PACKETS) * _PACKET_BYTES + bucket
            shell(
                "ip", "netns", "exec", self.name(node), "tc", "qdisc", "add", "dev", device, "root", "tbf",
                "rate", f"{rates[node]:.0f}bit", "burst", f"{bucket}b", "limit", f"{queue}b",
            )  # fmt: skip

    def _ip(self, node: str, *arguments: str) -> None:
        shell("ip", "-n", self.name(node), *arguments)

    def start(self, node: str, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a namespace."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name(node), *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip


def check_emulated(chosen: Scenario, topology: Topology) -> None:
    """Exit with a message for a network of which these namespaces would not be a copy."""
    wrong = [
        f"{link.a} -- {link.b}: {what}"
        for link in topology.links
        for what, found in (
            (f"a latency above {1000 * LONGEST_LATENCY_S:g} ms", link.latency_s > LONGEST_LATENCY_S),
            ("jitter", link.jitter_s > 0),
            ("loss", link.loss > 0 or (link.reverse_loss or 0) > 0),
            ("a schedule", link.schedule is not None or link.reverse_schedule is not None),
        )
        if found
    ]
    if len(topology.links) >= len(topology.hosts) + len(topology.relays):
        wrong.append("more links than a tree has: bridges would send in circles")
    if chosen.network.hosts:
        wrong.append("network.hosts: capacities of hosts")
    if wrong:
        raise SystemExit("cannot be emulated by namespaces: " + "; ".join(wrong))


def upload_seconds(of_site: Iterable[Event], of_server: Iterable[Event], site: str) -> float:
    """How long the upload of a site was on its way, and its answer on its way back."""
    requests, replies = _puts(of_site, "request", "reply", host=site)
    arrivals, answers = _puts(of_server, "arrival", "answer", peer=site)
    return ((replies[-1] - requests[0]) - (answers[-1] - arrivals[-1])) / 1e6


def _puts(events: Iterable[Event], *kinds: str, host: str = SERVER, peer: str = SERVER) -> list[list[int]]:
    """When the events of each kind were at a host, of messages that were PUT and exchanged with a peer."""
    put = [event for event in events if event.host == host and event.values.get("method") == "PUT"]
    return [[event.at_us for event in put if event.kind == kind and event.values["peer"] == peer] for kind in kinds]


def simulated(chosen: Scenario, folder: Path) -> dict[str, float]:
    """Site -> how long its upload takes in virtual time."""
    with open_run(folder, chosen.name, None) as writer:
        run.run_scenario(chosen, writer, only=[chosen.method.name])
    events = list(find_run(str(writer.final)).methods[0].trace)
    return {site: upload_seconds(events, events, site) for site in chosen.clients}


def real(path: Path, chosen: Scenario, folder: Path) -> dict[str, float]:
    """Site -> how long its upload takes between namespaces."""
    collab = (sys.executable, "-c", "from collab.cli import main; main()")
    options: dict[str, Any] = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    with Namespaces(chosen.topology()).up() as network:
        address = network.address(SERVER)
        server = network.start(
            SERVER, *collab, "serve", str(path), "--host", address, "--port", str(_PORT), "--runs-dir", str(folder),
            "--name", chosen.name, "--set", "baselines=[]", **options,
        )  # fmt: skip
        processes = {SERVER: server}
        try:
            assert server.stderr is not None
            if re.search("listening on", first := server.stderr.readline()) is None:
                raise SystemExit(f"the server did not start: {first}{server.stderr.read()}")
            for site in chosen.clients:
                processes[site] = network.start(
                    site, *collab, "join", f"http://{address}:{_PORT}", "--site", site,
                    "--trace", str(folder / f"{site}.parquet"), **options,
                )  # fmt: skip
            for name, process in processes.items():
                told = process.communicate(timeout=_LONGEST_RUN_S)[1]
                if process.returncode:
                    raise SystemExit(f"{name} failed: {told}")
        finally:
            for process in processes.values():
                process.kill()
    of_server = list(find_run(chosen.name, folder).methods[0].trace)
    return {
        site: upload_seconds(trace_file.read(folder / f"{site}.parquet"), of_server, site) for site in chosen.clients
    }


def compare(path: Path, repeats: int) -> dict[str, Any]:
    """Both, and their ratios."""
    chosen = scenario.load(path)
    check_emulated(chosen, chosen.topology())
    with tempfile.TemporaryDirectory() as name:
        ours = simulated(chosen, Path(name) / "simulated")
        theirs: list[Mapping[str, float]] = []
        for number in range(repeats):
            folder = Path(name) / f"real-{number}"
            folder.mkdir()
            theirs.append(real(path, chosen, folder))
    medians = {site: statistics.median(each[site] for each in theirs) for site in ours}
    return {
        "scenario": chosen.name,
        "repeats": repeats,
        "simulated_s": ours,
        "real_s": {site: [each[site] for each in theirs] for site in ours},
        "ratio": {site: ours[site] / medians[site] for site in ours},
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenario", nargs="?", type=Path, default=Path("scenarios/namespaces.yaml"))
    parser.add_argument("--repeats", type=int, default=3, help="real runs, of which the median counts (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    try:
        found = compare(options.scenario, options.repeats)
    except NotHereError as error:
        print(error, file=sys.stderr)
        raise SystemExit(SKIPPED_EXIT_CODE) from None
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'site':12} {'simulated':>10} {'real, median':>13} {'ratio':>7}")
    for site, ratio in found["ratio"].items():
        real_s = statistics.median(found["real_s"][site])
        print(f"{site:12} {found['simulated_s'][site]:8.3f} s {real_s:11.3f} s {ratio:7.3f}")


if __name__ == "__main__":
    main()
