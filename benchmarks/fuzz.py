"""Feed what parses bytes from outside with bad input, guided by coverage (atheris), until so many bodies are through.

    python benchmarks/fuzz.py --bodies 1000000 [--corpus DIR] [--target NAME ...] [--json]
    python benchmarks/fuzz.py --seconds 60

`tests/fuzzing/targets.py` says what is fed and which errors are declared. Everything else is a finding, and so is an
input that takes longer than 20 s, or more memory than 256 MiB beyond what was taken after the imports (a limit of the
system's on the address space of the child process; inputs have at most 64 KiB). A finding is written to
`DIR/TARGET/findings/` and told with its traceback, and the exit code is 1. Whoever mends it keeps it among the seeds,
`tests/fuzzing/seeds/TARGET/`, which the tests feed.

Each target runs in a process of its own. The corpus and how many bodies each target has had are kept in `--corpus`
(default: build/fuzz): an interrupted run goes on there, and one that was finished ends at once, unless `--bodies` is
more. With `--seconds` nothing counts but the time, divided among the targets like the bodies.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fuzzing.mutating import mutated  # noqa: E402
from tests.fuzzing.targets import SEEDS, TARGETS  # noqa: E402

SLOWEST_S = 20
LARGEST_INPUT_BYTES = 64 * 1024
HEADROOM_BYTES = 256 * 1024 * 1024
_INSTRUMENTED = ["collab", "simnet"]
_SAVED_EVERY = 1000
_FINDINGS = 1


def _taken_bytes() -> int:
    """The address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def feed(name: str, place: Path, bodies: int, seconds: float) -> None:
    """The child: feed one target. libFuzzer ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        prepared = TARGETS[name].prepare()
        one = prepared.__enter__()  # for ever: libFuzzer does not come back
    for seed in TARGETS[name].seeds(name):
        one(seed)  # what is made at the first use is no memory of an input
    progress = place / "bodies.txt"
    before = int(progress.read_text()) if progress.exists() else 0
    count = 0

    def counted(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % _SAVED_EVERY == 0:
            progress.write_text(str(before + count))
        one(data)

    framed = TARGETS[name].framed

    def changed(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if framed and chance.random() < 0.6:
            packed = mutated(data[framed:], chance)
            if packed is not None and framed + len(packed) <= most:
                return bytes([1]) + data[1:framed] + packed
        return bytes(atheris.Mutate(data, most))

    limit = _taken_bytes() + HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found = place / "findings"
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        "fuzz", f"-timeout={SLOWEST_S}", f"-max_len={LARGEST_INPUT_BYTES}", f"-artifact_prefix={found}/",
        "-rss_limit_mb=0", "-print_final_stats=1", "-verbosity=0", "-use_value_profile=1",
        *([f"-runs={bodies}"] if bodies else []), *([f"-max_total_time={max(1, round(seconds))}"] if seconds else []),
        str(place / "corpus"), str(SEEDS / name),
    ]  # fmt: skip
    atheris.Setup(arguments, counted, custom_mutator=changed)
    atheris.Fuzz()


def run_target(name: str, place: Path, bodies: int, seconds: float) -> dict[str, Any]:
    """Run one target in a child; what came of it."""
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    progress = place / "bodies.txt"
    had = int(progress.read_text()) if progress.exists() else 0
    left = 0 if seconds else max(0, bodies - had)
    row: dict[str, Any] = {"target": name, "bodies": had, "fed": 0, "seconds": 0.0, "finding": None}
    if not seconds and not left:
        return row
    command = [sys.executable, __file__, "--child", name, str(place), str(left), str(seconds)]
    started_s = time.monotonic()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    row["seconds"] = round(time.monotonic() - started_s, 1)
    fed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    row["fed"] = int(fed[1]) if fed else 0
    row["bodies"] = had + row["fed"]
    progress.write_text(str(row["bodies"]))
    peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", done.stderr)
    row["peak_mb"] = int(peak[1]) if peak else None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if not line.startswith(("INFO:", "WARNING:"))]
        row["finding"] = "\n".join(told)[-6000:]
    return row


def run(names: list[str], corpus: Path, bodies: int, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the targets one after the other; what came of all of them."""
    whole = sum(TARGETS[name].share for name in names)
    rows = []
    for name in names:
        part = TARGETS[name].share / whole
        row = run_target(name, corpus / name, round(bodies * part), seconds * part)
        rows.append(row)
        per_s = row["fed"] / row["seconds"] if row["seconds"] else 0
        now = f"{row['fed']:,} of them now in {row['seconds']:.0f} s, {per_s:.0f} a second"
        tell(f"{name:9} {row['bodies']:9,} bodies, {now}")
        if row["finding"]:
            tell(row["finding"])
            tell(f"a finding in {name}: see {corpus / name / 'findings'}, mend it, and keep it in {SEEDS / name}")
    return {"targets": rows, "bodies": sum(row["bodies"] for row in rows), "limits": _limits()}


def _limits() -> dict[str, int]:
    return {
        "slowest_s": SLOWEST_S,
        "largest_input_bytes": LARGEST_INPUT_BYTES,
        "headroom_bytes": HEADROOM_BYTES,
    }


def main() -> None:
    """Feed, print, and end with 1 if there was a finding."""
    if sys.argv[1:2] == ["--child"]:
        name, place, bodies, seconds = sys.argv[2:]
        feed(name, Path(place), int(bodies), float(seconds))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bodies", type=int, default=0, help="how many in all, those of earlier runs included")
    parser.add_argument("--seconds", type=float, default=0, help="in place of --bodies: how long in all")
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz", help="default: build/fuzz")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if (options.bodies > 0) == (options.seconds > 0):
        parser.error("give --bodies or --seconds, one of them, more than 0")
    try:
        import atheris  # noqa: F401
    except ImportError:
        parser.error("atheris is not installed: pip install -e '.[test]' (wheels for Linux, Python 3.11 to 3.13)")
    names = options.target or list(TARGETS)
    tell = (lambda _: None) if options.json else print
    found = run(names, options.corpus.resolve(), options.bodies, options.seconds, tell)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['bodies']:,} bodies in all")
    sys.stdout.flush()
    os._exit(_FINDINGS if any(row["finding"] for row in found["targets"]) else 0)


if __name__ == "__main__":
    main()
