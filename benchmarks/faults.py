"""Runs of `collab serve` and `collab join` whose processes are killed and whose links break: nothing may be lost.

    python benchmarks/faults.py [--runs 200] [--seed S] [--jobs N] [--only INDEX] [--keep DIR] [--json]

Each run is a server with a store and sites with disks, all of them processes. Between them is a proxy that resets, cuts
off and stalls connections (`benchmarks/faulty_link.py`). Server and sites are ended by `kill -9`, at moments spread
over the run and at those that matter: while an upload comes in, while it is accepted, right after it was confirmed,
while the server starts, while it ends. They are started again by the same command. What is drawn follows from the seed
and the number of the run; how processes and their kernel interleave does not, so a repeated run is alike, not equal.

A run is judged by what must hold. It ends, and its result is that of a run that nothing befell, bit for bit. Of every
upload that the server has confirmed, as the proxy saw it, the store has row and payload after each kill; none is
confirmed twice, and the run counts as many of each site as undisturbed. The ledger of the finished run passes `collab
audit`. A finding is printed with the number of its run, and the exit code is 1.

The kinds of run take turns: one upload; several rounds (FedAvg); secure sums in four exchanges; and each of them with
uploads that are resumed where a connection broke. Processes are forked
from one that has imported everything, which saves the seconds that torch takes; they are processes all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.fault_trial import FindingError, Quiet, Trial, forking  # noqa: E402
from simnet.draws import generator  # noqa: E402

IN_PARTS = ", in parts"

_COMMON: Mapping[str, Any] = {
    "dataset": {"name": "gaussians", "samples_per_class": 40},
    "network": {
        "topology": "star",
        "access": {"bandwidth": "2 Mbit/s", "latency": "10 ms"},
        "server": {"bandwidth": "10 Mbit/s", "latency": "5 ms"},
    },
    "tenants": {"sites": ["client-*"], "cloud": ["server"]},
    "evaluation": {"epochs": 1, "repeats": 1},
}
_SMALL = {"images_per_class": 2, "width": 32, "depth": 2}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "one upload": {
        "method": {
            "name": "collabdm", **_SMALL, "expand": 2, "iterations": 20, "batch_size": 8, "local_steps": 3,
            "local_batch_size": 8, "embedding_dtype": "float32",
        },
        "boundaries": [{"to": "cloud", "allow": ["embeddings", "synthetic"], "at_most": "1 MB"}],
    },
    "rounds": {
        "method": {"name": "fedavg", "width": 32, "depth": 2, "rounds": 3, "local_epochs": 1},
        "boundaries": [{"to": "cloud", "allow": ["model"], "answers": ["model"], "at_most": "1 MB"}],
    },
    "secure sums": {
        "method": {
            "name": "collabdm", **_SMALL, "iterations": 4, "batch_size": 8, "initial": "noise", "aggregation": "secure",
        },
        "boundaries": [
            {
                "to": "cloud", "allow": ["embeddings", "keys", "shares", "masked", "unmasking"],
                "answers": ["keys", "shares", "seeds"], "at_most": "1 MB",
            }
        ],
    },
}  # fmt: skip


def kind_of(index: int) -> str:
    """What the run of a number is."""
    in_parts = IN_PARTS if index // len(_KINDS) % 2 else ""
    return list(_KINDS)[index % len(_KINDS)] + in_parts


def sites_of(kind: str) -> int:
    """How many sites take part."""
    return 3 if kind.startswith("rounds") else 4


def scenario_text(kind: str) -> str:
    """The scenario of a kind of run."""
    partition = {"clients": sites_of(kind), "scheme": "dirichlet", "beta": 0.5}
    name, whole = kind.replace(",", "").replace(" ", "-"), kind.removesuffix(IN_PARTS)
    uploads = {} if whole == kind else {"uploads": "resumable"}
    told = {"name": name, "seed": 3, "partition": partition, **_COMMON, **uploads, **_KINDS[whole]}
    return yaml.safe_dump(told, sort_keys=False)


@dataclass
class Tally:
    """What has happened in all runs so far."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)


# -- many runs -------------------------------------------------------------------------------------


class Bench:
    """Plays runs, each in a folder in `place`, and keeps the tally."""

    def __init__(self, seed: int, place: Path, *, keep: bool) -> None:
        self.tally = Tally()
        self._seed = seed
        self._place = place
        self._keep = keep
        self._context = forking()
        self._quiet: dict[str, Quiet] = {}

    async def rehearse(self, kinds: set[str]) -> None:
        """Play each kind once with nothing befalling it. Raises `FindingError`."""
        for kind in sorted(kinds):
            self._quiet[kind] = await self._trial(kind, self._place / f"quiet {kind}", "quiet", 0).play()

    async def run(self, index: int) -> None:
        """Play one run; what is found goes to the tally."""
        kind = kind_of(index)
        folder = self._place / f"run-{index}"
        trial = self._trial(kind, folder, "faults", index)
        self.tally.counts["runs"] += 1
        try:
            await trial.play()
        except FindingError as error:
            self.tally.findings.append({"run": index, "kind": kind, "finding": str(error)})
        else:
            if not self._keep:
                shutil.rmtree(folder)
        self.tally.counts.update(trial.counts)

    def _trial(self, kind: str, folder: Path, purpose: str, index: int) -> Trial:
        folder.mkdir(parents=True)
        draws, quiet = generator(self._seed, purpose, index), self._quiet.get(kind)
        return Trial(self._context, scenario_text(kind), sites_of(kind), folder, draws, quiet)


async def play(bench: Bench, indices: list[int], jobs: int, *, tell: bool) -> None:
    """Play these runs."""
    await bench.rehearse({kind_of(index) for index in indices})
    lanes = asyncio.Semaphore(jobs)

    async def one(index: int) -> None:
        async with lanes:
            await bench.run(index)
            for finding in bench.tally.findings if tell else ():
                if finding["run"] == index:
                    print(f"run {index} ({finding['kind']}): {finding['finding']}", flush=True)

    await asyncio.gather(*(one(index) for index in indices))


def main() -> None:
    """Play, print, and end with 1 if there was a finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="default: 200")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: 1)")
    parser.add_argument("--jobs", type=int, default=6, help="runs at a time (default: 6; they mostly wait)")
    parser.add_argument("--only", type=int, help="the number of one run, to repeat it")
    parser.add_argument("--keep", type=Path, help="keep the folder of every run in here, not only those with a finding")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.runs < 1 or options.jobs < 1:
        parser.error("--runs and --jobs must be at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is to end, too
    place = options.keep or Path(tempfile.mkdtemp(prefix="collab-faults-"))
    bench = Bench(options.seed, place, keep=options.keep is not None)
    indices = [options.only] if options.only is not None else list(range(options.runs))
    began_s = time.monotonic()
    asyncio.run(play(bench, indices, options.jobs, tell=not options.json))
    found = {
        "seed": options.seed,
        "seconds": round(time.monotonic() - began_s, 1),
        "counts": dict(sorted(bench.tally.counts.items())),
        "findings": bench.tally.findings,
    }
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(f"{count:6} {name}" for name, count in found["counts"].items()))
        print(f"{len(bench.tally.findings)} findings, in {found['seconds']:g} s; seed {options.seed}")
    if bench.tally.findings:
        print(f"the folders of runs with findings are in {place}", file=sys.stderr)
        raise SystemExit(1)
    if options.keep is None:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
