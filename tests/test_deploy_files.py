"""The files in deploy/: what they name exists, and they say what the program does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from collab import errors
from collab.deploy.configuration import PROBE_PORT, load_server
from collab.deploy.health import Health, State
from collab.deploy.metrics import Metrics
from collab.deploy.probes import Probes
from collab.deploy.shutdown import GRACE_S

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = [DEPLOY / "collab-server.service", DEPLOY / "collab-site.service"]
CONTAINER = (DEPLOY / "Containerfile").read_text()
units = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)


def settings(unit):
    """Name -> values of a unit."""
    found = {}
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@units
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_takes_the_unit_and_finds_it_closed(tmp_path, unit):
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/collab/bin/collab", shutil.which("true")))
    verified = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", here],
        capture_output=True, text=True,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout  # exposure at most 2.0 of 10


@units
def test_the_unit_starts_again_what_can_go_on_and_nothing_else(unit):
    found = settings(unit)
    assert found["Restart"] == ["on-failure"]
    assert found["SuccessExitStatus"] == [str(errors.StoppedError.exit_code)]
    prevented = {int(code) for code in found["RestartPreventExitStatus"][0].split()}
    mended_by_people = {2, *(each.exit_code for each in (
        errors.ScenarioError, errors.BoundaryMissingError, errors.DataError, errors.PartitionError, errors.StoreError,
        errors.CredentialsError, errors.MissingExtraError, errors.DamagedDataError, errors.MethodPluginError,
    ))}  # fmt: skip
    failed_runs = {errors.RunFailedError.exit_code, errors.RunExistsError.exit_code}
    assert prevented == (mended_by_people | failed_runs if "server" in unit.name else mended_by_people)


@units
def test_the_unit_leaves_more_time_to_stop_than_the_program_takes(unit):
    assert int(settings(unit)["TimeoutStopSec"][0]) > GRACE_S


@units
def test_the_unit_runs_a_command_that_there_is(unit):
    (command,) = settings(unit)["ExecStart"]
    _, name, *options = command.split()
    shown = subprocess.run(
        [sys.executable, "-m", "collab.cli", name, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert options[0] in shown.stdout


def test_the_settings_that_the_server_unit_shows_are_those_of_a_configuration(tmp_path):
    comment = re.search(r"# In /etc/collab/server.yaml.*?\n#\n(.*?)\n\n", UNITS[0].read_text(), re.DOTALL)[1]
    shown = "".join(f"{line[4:]}\n" for line in comment.splitlines())
    (tmp_path / "server.yaml").write_text(f"scenario: a.yaml\n{shown}")
    said = load_server(tmp_path / "server.yaml")
    (name, _) = settings(UNITS[0])["LoadCredential"][0].split(":")
    assert str(said.tls.key) == f"/run/credentials/{UNITS[0].name}/{name}"
    (folder,) = settings(UNITS[0])["StateDirectory"]
    assert {said.runs_dir.parent, said.store.parent} == {Path("/var/lib") / folder}


def instructions(text):
    """Word and rest of every instruction, lines joined."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def test_the_container_is_built_of_what_is_there_and_runs_as_nobody_in_particular():
    built = instructions(CONTAINER)
    for word, rest in built:
        assert word in {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL",
                        "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    last = dict(built[max(index for index, (word, _) in enumerate(built) if word == "FROM") :])
    user, group = map(int, last["USER"].split(":"))
    assert user > 0 < group
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])[:1] == ["collab", "serve"]


def test_the_container_asks_whether_it_is_well_where_the_server_answers():
    (check,) = (rest for word, rest in instructions(CONTAINER) if word == "HEALTHCHECK")
    python, option, program = json.loads(check[check.index("[") :])
    assert (python, option) == ("python", "-c")
    health = Health()
    with Probes("127.0.0.1", 0, health, Metrics((), health)) as probes:
        assert f":{PROBE_PORT}/" in program
        asked = program.replace(f"http://127.0.0.1:{PROBE_PORT}", probes.url)
        assert subprocess.run([sys.executable, "-c", asked]).returncode == 0
    gone = subprocess.run([sys.executable, "-c", asked], capture_output=True)
    assert gone.returncode != 0


def test_prometheus_is_told_the_port_and_alerts_are_about_metrics_that_there_are():
    scraped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PROBE_PORT}"]}]
    assert (DEPLOY / scraped["rule_files"][0]).exists()
    told = Metrics((), Health(), ROOT).text().decode()
    known = set(re.findall(r"^# TYPE (\w+)", told, re.MULTILINE)) | {"up"}
    (group,) = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        named = set(re.findall(r"\bcollab_\w+|\bup\b", rule["expr"]))
        assert named, rule
        assert named <= known, rule
        for state in re.findall(r'collab_state\{state!?="([\w-]+)"', rule["expr"]):
            assert state in set(State)
