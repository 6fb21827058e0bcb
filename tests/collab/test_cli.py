"""The command, as a user meets it: in a process of its own, or at least by its words."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simnet import trace_file
from tests.collab.command_line import collab_here
from tests.collab.test_run import TEXT

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TEXT)
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "collab.cli", *map(str, arguments)]


def environment(**more):
    # One thread each: several torch processes on few cores otherwise wait for each other in circles.
    return {**os.environ, "COLUMNS": "120", "OMP_NUM_THREADS": "1", **more}


def collab(here, *arguments, **env):
    return subprocess.run(command(*arguments), cwd=here, capture_output=True, text=True, env=environment(**env))


def test_a_run_prints_its_table_and_is_listed_and_reported(here):
    assert "no runs in runs yet" in collab_here(here, "list").stderr
    done = collab(here, "run", "tiny.yaml", "--set", "baselines=[localdm]")
    assert done.returncode == 0, done.stderr
    assert re.search(r"collabdm +\d+\.\d", done.stdout)
    assert "written to runs/tiny-001" in done.stdout
    assert done.stderr == ""
    assert (here / "runs/tiny-001/summary.json").is_file()
    assert re.search(r"tiny-001.*tiny.*collabdm", collab_here(here, "list").stdout)
    assert collab_here(here, "report").stdout == "report: runs/tiny-001/report.html\n"
    assert (here / "runs/tiny-001/report.html").stat().st_size < 3_000_000


def test_json_is_all_there_is_on_standard_output_and_the_same_in_the_directory_and_in_every_process(here):
    traces = set()
    for seed in ("0", "7"):
        done = collab(here, "run", "tiny.yaml", "--json", "--runs-dir", f"runs-{seed}", PYTHONHASHSEED=seed)
        summary = json.loads(done.stdout)
        assert summary["run_dir"] == f"runs-{seed}/tiny-001"
        assert summary == json.loads((here / summary["run_dir"] / "summary.json").read_text())
        traces.add(summary["trace_digest"])
    assert len(traces) == 1


def test_the_schema_is_json(here):
    assert json.loads(collab_here(here, "schema").stdout)["title"] == "collab scenario"


def test_a_reader_who_leaves_is_no_error(here):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "collab.cli", "schema"], stdout=nobody, stderr=subprocess.PIPE, cwd=here
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_damaged_run_is_not_passed_over_in_silence(here):
    (here / "runs" / "damaged").mkdir(parents=True)
    (here / "runs" / "damaged" / "summary.json").write_text("{")
    done = collab_here(here, "list")
    assert "not listed: runs/damaged is damaged" in done.stderr


def test_help_needs_no_torch(here):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "collab.cli", "--help"], capture_output=True, text=True, cwd=here
    )
    assert "Run a scenario" in done.stdout
    assert " torch" not in done.stderr


PRIVATE = [
    "--set", "method.initial=noise", "--set", "method.batch_size=all",
    "--set", "method.privacy={epsilon: 1, clip_norm: 4}",
]  # fmt: skip
BAD = [
    # arguments, exit code, what the message must say
    (["run", "missing.yaml"], 3, "missing.yaml cannot be read"),
    (["run", "unknown-key.yaml"], 3, 'unknown-key.yaml:1:1: sede: there is no setting "sede" here; did you mean "see'),
    (["run", "unit.yaml"], 3, 'unit.yaml:10:23: network.access.bandwidth: "2 Mbits/s" has the unknown unit "Mbits/s"'),
    (["run", "tiny.yaml", "--set", "partition.beta=0"], 3, "found 0, expected more than 0"),
    (["run", "no-rule.yaml"], 4, "no boundary rule lets sites"),
    (["run", "tiny.yaml", "--set", "dataset={name: mnist}"], 5, "no file"),
    (["run", "tiny.yaml", "--set", "partition.clients=999"], 6, "999 clients cannot share 160"),
    (["partition", "tiny.yaml", "--set", "partition={clients: 1, scheme: pathological}"], 6, "the rest would be lost"),
    (["partition", "tiny.yaml", "--figure", "nowhere/a.png"], 11, "nowhere/a.png: No such file"),
    (["run", "tiny.yaml", "--name", "taken"], 7, "runs/taken exists already"),
    (["report", "nowhere"], 10, "nowhere is no run directory"),
    (["serve", "tiny.yaml", "--port", "70000"], 2, "--port"),
    (["run", "tiny.yaml", "--name", "../escaped"], 11, "cannot be the name of a run"),
    (["run", "tiny.yaml", "--name", "latest"], 11, "cannot be the name of a run"),
    (["run", "tiny.yaml", "--runs-dir", "tiny.yaml"], 11, "no run can be written in tiny.yaml: File exists"),
    (["report", "damaged"], 11, "runs/damaged is damaged"),
    (["join", "127.0.0.1:8080"], 2, "is no URL of a server"),
    (["join", "http://127.0.0.1:1", "--set", "seed=2"], 2, "name it with --scenario"),
    (["join", "http://127.0.0.1:1", "--scenario", "tiny.yaml", *PRIVATE], 3, "but this site keeps nothing"),
    (["run"], 2, "Missing argument"),
    (["fly"], 2, "No such command"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "message"), BAD)
def test_a_mistake_ends_with_a_message_and_a_code(here, arguments, code, message):
    (here / "unknown-key.yaml").write_text("sede: 3\n" + TEXT.replace("seed: 3\n", ""))
    (here / "unit.yaml").write_text(TEXT.replace("2 Mbit/s", "2 Mbits/s"))
    (here / "no-rule.yaml").write_text("\n".join(line for line in TEXT.splitlines() if "boundaries" not in line))
    (here / "runs" / "taken").mkdir(parents=True)
    (here / "runs" / "damaged").mkdir()
    (here / "runs" / "damaged" / "summary.json").write_text('{"methods": {')
    done = collab_here(here, *arguments, COLLAB_DATA_DIR=str(here / "data"), http_proxy="http://127.0.0.1:9",
                       https_proxy="http://127.0.0.1:9")  # fmt: skip
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["damaged", "taken"]


def test_a_mistake_ends_the_process(here):
    """Of an error of this package's, as those above, and of a command line that cannot be read."""
    done = collab(here, "run", "tiny.yaml", "--set", "partition.clients=999")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("collab: 999 clients cannot share 160")
    done = collab(here, "fly")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = collab_here(here, "serve", "tiny.yaml", "--port", taken.getsockname()[1])
    assert done.returncode == 8
    assert "cannot listen on 127.0.0.1, port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((here / "runs").iterdir())


REAL = ("--real",)


@pytest.mark.parametrize(
    ("real", "ending"),
    [
        pytest.param((), signal.SIGINT, id="simulated-SIGINT"),
        pytest.param((), signal.SIGHUP, id="simulated-SIGHUP"),
        pytest.param(REAL, signal.SIGTERM, id="real-SIGTERM"),
        pytest.param((), signal.SIGTERM, id="simulated-SIGTERM", marks=pytest.mark.slow),
        pytest.param(REAL, signal.SIGINT, id="real-SIGINT", marks=pytest.mark.slow),
        pytest.param(REAL, signal.SIGHUP, id="real-SIGHUP", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_leaves_no_half_written_run(here, real, ending):
    long = ["--set", "method.iterations=100000", "--set", "baselines=[]"]
    running = subprocess.Popen(
        command("run", "tiny.yaml", *long, *real), cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(here.glob("runs/.tiny-001*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    assert running.poll() is None
    running.send_signal(ending)
    stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert stderr.strip().endswith("collab: interrupted; no run was written")
    assert "Traceback" not in stderr
    assert stdout == ""
    assert list((here / "runs").iterdir()) == []


def test_serve_and_join_in_six_processes_end_like_one(here):
    alone = json.loads(collab(here, "run", "tiny.yaml", "--json", "--set", "baselines=[]").stdout)
    server = subprocess.Popen(
        command("serve", "tiny.yaml", "--port", "0", "--json"), cwd=here, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    url = re.search(r"listening on (\S+);", server.stderr.readline())[1]
    joins = [
        subprocess.Popen(command("join", url, *which), cwd=here, env=environment(), stderr=subprocess.PIPE, text=True)
        for which in ((), (), (), ("--site", "client-3", "--scenario", "tiny.yaml", "--trace", "t"))
    ]
    try:
        stdout, stderr = server.communicate(timeout=120)
        assert server.returncode == 0, stderr
        messages = [join.communicate(timeout=60)[1] for join in joins]
    finally:
        for process in (server, *joins):
            process.kill()
    served = json.loads(stdout)
    ours, theirs = alone["methods"]["collabdm"], served["methods"]["collabdm"]
    for field in ("result_digest", "bytes_up_per_client", "bytes_down_per_client"):
        assert ours[field] == theirs[field]
    assert [join.returncode for join in joins] == [0, 0, 0, 0], messages
    kinds = [event.kind for event in trace_file.read(here / "t") if event.kind != "reply"]
    assert kinds == ["request", "compute", "request", "request"]  # for a task, of it, of what came of it, until the end
    assert {re.search(r"(client-\d) takes part in tiny", text)[1] for text in messages} == {
        "client-0", "client-1", "client-2", "client-3",
    }  # fmt: skip


@pytest.mark.slow  # the server waits 30 s for the other sites, to tell them
def test_a_site_that_fails_for_good_ends_the_run(here):
    """Its own boundaries let no upload out: it tells the server, which would else wait for it for ever."""
    (here / "strict.yaml").write_text(TEXT.replace("at_most: 1 MB", "at_most: 3 kB"))
    server = subprocess.Popen(
        command("serve", "tiny.yaml", "--port", "0"), cwd=here, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = re.search(r"listening on (\S+);", server.stderr.readline())[1]
        joined = collab(here, "join", url, "--site", "client-1", "--scenario", "strict.yaml")
        stdout, stderr = server.communicate(timeout=120)
    finally:
        server.kill()
    assert joined.returncode == 9, joined.stderr
    assert (server.returncode, stdout) == (9, "")
    assert "client-1 has given up: " in stderr
    assert "its upload for collabdm-1" in stderr
    assert "Traceback" not in joined.stderr + stderr
    assert not list((here / "runs").iterdir())


def test_joining_nobody_and_joining_what_is_no_server(here):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = collab_here(here, "join", f"http://127.0.0.1:{port}", "--patience", "0")
    assert done.returncode == 9
    assert f"nobody answers at http://127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_hundred_trivial_clients_start_quickly(here):
    """Prints what the README states: seconds and memory of the whole process. Asserts memory alone."""
    (here / "hundred.yaml").write_text((ROOT / "scenarios" / "hundred.yaml").read_text())
    script = (
        "import re, sys, time; from collab.cli import app; began = time.perf_counter()\n"
        "try: app(['run', 'hundred.yaml', '--json'])\n"
        "except SystemExit: pass\n"
        # Not ru_maxrss: on Linux that begins with what the process occupied that started this one.
        "peak_mib = int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) // 1024\n"
        "print(time.perf_counter() - began, peak_mib, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True)
    assert len(json.loads(done.stdout)["methods"]) == 1
    # Some 35 MiB of it are pandas, which pyarrow imports wherever it is installed.
    assert int(done.stderr.split()[-1]) < 420


@pytest.mark.parametrize("width", [80, 120])
def test_devices_are_listed_with_their_numbers_and_sources(here, width):
    from simnet import DEVICES, RADIOS

    done = collab_here(here, "devices", COLUMNS=str(width))
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= width
    text = " ".join(done.stdout.split())
    for profile in (*DEVICES.values(), *RADIOS.values()):
        assert profile.name in text
        assert profile.source in text
    assert "raspberry-pi-5 6.1 GFLOP/s 7 W 3 W" in text
    assert "lte 80.21 nJ/bit 14.55 nJ/bit" in text


def test_the_table_with_energy_fits_eighty_columns(here):
    done = collab_here(here, "run", "tiny.yaml", COLUMNS="80")
    table = done.stdout[: done.stdout.index("virtual seconds")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80
    assert re.search(r"collabdm +\d+\.\d(±\d+\.\d)? +[\d.]+ k?B +[\d.]+ k?B +[\d.]+ m?J +", table)
    assert "client's energy: computing, waiting and radio" in done.stdout
    without = collab_here(here, "run", "tiny.yaml", "--set", "devices={}", "--set", "baselines=[]")
    assert "energy" not in without.stdout
