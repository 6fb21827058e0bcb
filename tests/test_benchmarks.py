"""The benchmarks run from a clean clone, and fidelity holds the bounds that the project promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CASES = json.loads((ROOT / "tests" / "reference" / "network_cases.json").read_text())["cases"]


def benchmark(name, *arguments):
    command = [sys.executable, f"benchmarks/{name}.py", *arguments, "--json"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def linux(case, key, which="last_s"):
    return CASES[case]["linux"][key][which]


def few_cases(tmp_path, *names):
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": {name: CASES[name] for name in names}}))
    return str(path)


def test_fidelity_takes_any_file_of_cases(tmp_path):
    names = ("A_10M25ms_1000000", "A_100M25ms_100000", "B_K1", "D_stagger")
    ours = benchmark("fidelity", "--cases", few_cases(tmp_path, *names), "--seeds", "2")["cases"]
    assert list(ours) == list(names)
    for name in names:
        for queue, bound in (("droptail", 0.02), ("fq_codel", 0.08)):
            assert set(ours[name][queue]) >= {"first_s", "median_s", "last_s"}
            assert ours[name][queue]["last_s"] == pytest.approx(linux(name, f"cubic_{queue}")["mean"], rel=bound)


def test_fidelity_says_what_is_wrong_with_a_file(tmp_path):
    (tmp_path / "cases.json").write_text("{}")
    command = [sys.executable, "benchmarks/fidelity.py", "--cases", str(tmp_path / "cases.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is no file of network cases" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_public_case_is_within_its_bound():
    ours = benchmark("fidelity", "--seeds", "20")["cases"]
    for name, case in ours.items():
        kind = name[0]
        for setting, times in case.items():
            congestion, queue = setting.split("_", 1) if setting.startswith(("reno", "bbr")) else ("cubic", setting)
            key = f"{congestion}_{queue}"
            if key not in CASES[name]["linux"]:
                continue
            truth, last_s = linux(name, key), times["last_s"]
            if name in ("G_loss0.001", "G_loss0.01"):
                assert last_s == pytest.approx(truth["mean"], rel=0.4), (name, key)
            elif congestion == "cubic" and queue == "droptail":
                if kind in "AD" or name in ("B_K1", "G_loss0.0"):
                    bound = 0.02 if CASES[name]["flows"][0]["bytes"] >= 1_000_000 else 0.05
                    assert last_s == pytest.approx(truth["mean"], rel=bound), (name, key)
                else:
                    assert last_s == pytest.approx(truth["mean"], rel=0.1), (name, key)
                    assert times["last_min_s"] <= truth["min"], (name, key)
                    assert truth["max"] <= times["last_max_s"], (name, key)
            elif (
                congestion == "cubic" and name != "A_1G5ms_9000000"
            ):  # two of three runs of Linux at 0.15 s, one at 0.35
                bound = 0.05 if name in ("B_K10", "B_K20") else 0.2 if kind == "E" else 0.08
                assert last_s == pytest.approx(truth["mean"], rel=bound), (name, key)
                if name in ("B_K10", "B_K20"):
                    median_s = linux(name, key, "median_s")["mean"]
                    assert times["median_s"] == pytest.approx(median_s, rel=bound), (name, key)


def test_scale_prints_what_it_promises():
    result = benchmark("scale", "--clients", "1000")
    assert result["clients"] == 1000
    assert [run["clients"] for run in result["runs"]] == [100, 1000]
    assert set(result) >= {"wall_s", "peak_mb", "events_per_s", "exponent", "simgrid_s"}
    assert result["last_arrival_s"] > 10
