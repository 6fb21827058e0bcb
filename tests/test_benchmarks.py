"""The benchmarks run from a clean clone, and fidelity holds the bounds that the project promises."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from collab.data import digits, svhn

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


@pytest.mark.slow
def test_flows_counts_images_in_processes_of_their_own():
    result = benchmark("flows", "--share", "0.01", "--copies", "2", "--set", "most_images=200")
    assert result["paper"] == [5081, 1497, 777, 4865, 706]
    assert set(result["settings"]) == {"default", "scaling: training"}
    for row in result["settings"].values():
        assert row["images"] == result["settings"]["default"]["images"]
        assert 100 < sum(row["images"]) <= 200
        assert row["seconds"] > 0
        assert row["peak_mb"] > 100


# -- distillation ---------------------------------------------------------------------------------

SMALL = [
    f"--set={setting}"
    for setting in (
        "dataset={name: gaussians, samples_per_class: 40}",
        "method.width=4",
        "method.images_per_class=5",
        "method.local_steps=1",
        "evaluation.epochs=1",
        "evaluation.augment=false",
    )
]


@pytest.fixture
def run_benchmark(capsys):
    """Runs a benchmark in this process, and returns what it prints."""

    def run(name, *arguments):
        source = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
        module = importlib.util.module_from_spec(source)
        source.loader.exec_module(module)
        module.main(arguments)
        return capsys.readouterr().out

    return run


def test_table_2_goes_on_where_it_was_interrupted(tmp_path, run_benchmark):
    some = [*SMALL, f"--results={tmp_path}", "--methods=localdm,localdm-pae", "--betas=0.5", "--datasets=mnist"]
    assert "| MNIST, β = 0.5 |" in run_benchmark("table2", *some, "--minutes=0")  # no time for any cell
    assert len(list(tmp_path.glob("*.json"))) == 0
    assert run_benchmark("table2", *some).count(" % in ") == 2
    again = run_benchmark("table2", *some)
    assert " % in " not in again
    assert [line.split(" | ")[0] for line in again.splitlines()[2:4]] == ["| localdm", "| localdm-pae"]
    other = run_benchmark("table2", *some, "--set=evaluation.batch_size=7")
    assert other.count(" % in ") == 2  # other settings are other cells


def test_the_curve_counts_what_went_over_the_wire(tmp_path, run_benchmark):
    some = [*SMALL, f"--results={tmp_path}", "--datasets=mnist", "--seeds=1", "--networks=2,3", "--lean=2"]
    run_benchmark("bytes_curve", *some, f"--figure={tmp_path / 'curve.png'}")
    rows = {(row["method"], row["networks"]): row for row in map(_json, sorted(tmp_path.glob("*.json")))}
    assert set(rows) == {("collabdm", 2), ("collabdm", 3), ("collabdm-lean", 2)}
    means = {place: row["embedding_bytes"] for place, row in rows.items()}
    assert means["collabdm", 2] == 2 * 2 * 4 * 4 * 4  # networks, bytes, classes, width, positions
    assert means["collabdm", 3] == 3 * 2 * 4 * 4 * 4
    assert means["collabdm-lean", 2] == 2 * 4 * (16 // 2 + 8)  # two numbers a byte, and a range for each vector
    assert (tmp_path / "curve.png").stat().st_size > 1000


def _json(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_distil_measures_all_three_parts():
    found = benchmark("distil", "--width", "8", "--repeats", "1", "--threads", "1")
    assert set(found["ratios"]) == {"embeddings", "server", "evaluation"}
    assert all(ratio > 0 for ratio in found["ratios"].values())
    few, many = found["client_peak_mb"].values()
    assert many < few + 20  # the memory of a client does not grow with its networks


def test_digits_in_the_form_of_svhn_can_be_read_as_svhn(tmp_path):
    command = [sys.executable, "benchmarks/svhn_form.py", str(tmp_path), "--digits", "digits", "--test", "20"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    train, test = svhn.load(tmp_path)
    grey, _ = digits.load(28)
    np.testing.assert_array_equal(train.labels, grey.labels)
    assert len(test) == 20
    for painted, image in zip(train.images[:50], grey.images[:50], strict=True):
        middle = painted[:, 2:30, 2:30].reshape(3, -1)
        correlations = np.corrcoef(np.vstack([image.reshape(1, -1), middle]))[0, 1:]
        assert correlations.min() > 0.99


def test_secure_sums_cost_what_the_formula_says():
    rows = benchmark("secure_sums", "--sites", "2,5", "--sizes", "0.02")["costs"]
    assert [row["sites"] for row in rows] == [2, 5]
    for row in rows:
        assert row["secure_bytes"] == 8 * (2 * 10 * 512 + 10) + 64 + 115 * row["sites"]
        assert row["bytes_x"] == row["secure_bytes"] / row["plain_bytes"]
        assert min(row[f"{way}_{where}_s"] for way in ("plain", "secure") for where in ("site", "server")) >= 0


@pytest.mark.slow
def test_serving_takes_uploads_beside_a_bare_handler_and_lets_sites_wait():
    """Small, and without its goals: those are for a machine of one's own."""
    found = benchmark(
        "serving", "--sites", "3", "--size", "1000000", "--pollers", "5", "--seconds", "0.2", "--repeats", "1"
    )
    assert found["body_bytes"] == pytest.approx(1e6, rel=0.05)
    assert found["ratios"] == [found["ratio"]]
    assert found["ratio"] > 0
    assert found["idle_mb"] < found["peak_mb"] < 400
    assert 0 <= found["core_share"] < 1


def test_the_curve_of_privacy_is_read_from_a_sweep(tmp_path):
    """Two epsilons and two seeds of a sweep that was run elsewhere, and one run without noise."""
    from collab.store.sweeps import write_definition

    cells = [(f"cell{index}", {"method.privacy.epsilon": epsilon, "seed": seed})
             for index, (epsilon, seed) in enumerate([(1, 1), (1, 2), (10, 1), (10, 2)])]  # fmt: skip
    sweep = write_definition(tmp_path / "curve", "curve", {}, cells, "")
    for (name, point), accuracy in zip(cells, (0.5, 0.7, 0.9, 0.9), strict=True):
        noise = {"epsilon": point["method.privacy.epsilon"], "delta": 1e-6, "noise_multiplier": 2.0,
                 "sum_deviation": 5.0, "count_deviation": 8.0}  # fmt: skip
        write_summary(sweep.path / "cells" / name, {"accuracy": accuracy, "privacy": noise})
    write_summary(tmp_path / "plain", {"accuracy": 0.95})
    found = benchmark("privacy_curve", str(sweep.path), "--plain", str(tmp_path / "plain"), "--figure",
                      str(tmp_path / "curve.png"))  # fmt: skip
    assert [(row["epsilon"], row["mean"], row["deviation"]) for row in found["points"]] == [
        (1, pytest.approx(60), pytest.approx(10)),
        (10, pytest.approx(90), 0),
    ]
    assert found["plain"]["mean"] == pytest.approx(95)
    assert (tmp_path / "curve.png").stat().st_size > 1000


def write_summary(path, row):
    path.mkdir(parents=True)
    (path / "summary.json").write_text(json.dumps({"methods": {"collabdm": row}}))


@pytest.mark.slow
def test_uploads_between_network_namespaces_take_what_the_simulated_run_says():
    command = [sys.executable, "benchmarks/namespaces.py", "--repeats", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    for site, ratio in json.loads(done.stdout)["ratio"].items():
        assert ratio == pytest.approx(1, abs=0.05), site


def test_namespaces_refuse_what_they_cannot_emulate():
    command = [sys.executable, "benchmarks/namespaces.py", "scenarios/two-tier.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be emulated by namespaces: " in done.stderr
    assert "a latency above 1 ms" in done.stderr
