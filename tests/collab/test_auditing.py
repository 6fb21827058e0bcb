"""The audit of runs, by its functions and by the command."""

from __future__ import annotations

import io
import itertools
import json
import re
import shutil

import pytest
import typer
import yaml
from rich.console import Console

from collab.auditing import audit_run
from collab.commands.audit import _traffic_table, command
from collab.errors import CollabError, RunDirectoryError
from collab.store import Run, find_run, ledger_identity, open_run
from simnet import Boundaries, Message, Rule
from simnet.auditing import Traffic
from simnet.tenancy import Crossing
from simnet.trace import Trace
from tests.collab.test_cli import collab
from tests.collab.test_run import go

LIMITS = (
    "boundaries=[{to: cloud, allow: [embeddings, synthetic], at_most: 1 MB, at_most_count: 4, at_most_rate: 1 MB/s}]",
    "budgets={sites: 1 MB, cloud: 50 kB}",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    summary = go(tmp_path_factory.mktemp("runs"), *LIMITS, "baselines=[localdm]")
    return find_run(summary["run_dir"])


@pytest.fixture
def copied(whole, tmp_path):
    """A run to be tampered with."""
    shutil.copytree(whole.path, tmp_path / "runs" / "tiny")
    return Run(tmp_path / "runs" / "tiny")


def complaints(run):
    return audit_run(Run(run.path), ["collabdm", "localdm"]).complaints


def test_a_run_passes_and_its_traffic_is_summed_up(whole):
    audited = audit_run(whole, ["collabdm", "localdm"])
    assert audited.complaints == []
    assert [one.name for one in audited.methods] == ["collabdm", "localdm"]
    assert all(one.passed for one in audited.methods)
    (collabdm, _) = audited.methods
    rows = {(row.source_tenant, row.kind): row for row in collabdm.findings.traffic}
    uploads = rows["sites", "embeddings+synthetic"]
    assert uploads.messages == 4
    assert uploads.size_bytes == sum(whole.methods[0].outcome["bytes_up"].values())
    assert collabdm.findings.sent_bytes["sites"] == uploads.size_bytes
    assert collabdm.findings.sent_bytes["cloud"] == sum(whole.methods[0].outcome["bytes_down"].values())
    assert audited.boundaries.budgets == {"sites": 1_000_000, "cloud": 50_000}


def test_the_seal_is_in_the_summary_too(whole):
    for method in whole.methods:
        assert whole.summary["methods"][method.name]["ledger"] == {
            "lines": len(method.ledger),
            "head": method.seal.head,
        }


def test_a_run_again_has_the_same_chain(whole, tmp_path):
    go(tmp_path, *LIMITS, "baselines=[localdm]")
    assert [method.seal for method in find_run("latest", tmp_path).methods] == [method.seal for method in whole.methods]


def edit(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b"cloud", b"clout"), *lines[4:]], "line 4 was changed"),
        (lambda lines: [*lines[:3], *lines[4:]], "line 4 does not follow line 3"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1 does not follow the beginning"),
        (lambda lines: lines[:-1], r"line \d+ is missing: the run wrote \d+, the file has \d+"),
        (lambda lines: [*lines, lines[-1]], r"line \d+ was added: the run wrote"),
        (lambda lines: [], "line 1 is missing"),
    ],
)
def test_tampering_with_one_ledger_is_told_and_the_other_is_fine(copied, change, message):
    edit(copied.path / "collabdm" / "ledger.jsonl", change)
    (complaint,) = complaints(copied)
    assert re.search(r"collabdm/ledger\.jsonl: " + message, complaint), complaint


def test_other_ways_to_tamper(copied):
    path = copied.path
    shutil.copy(path / "collabdm" / "ledger.jsonl", path / "localdm" / "ledger.jsonl")
    assert "line 1 does not follow the beginning of this run's ledger" in complaints(copied)[0]
    shutil.copy(path / "collabdm" / "outcome.json", path / "localdm" / "outcome.json")
    assert "it is the ledger of another run or method" in complaints(copied)[0]
    (path / "localdm" / "outcome.json").write_text("{}")
    assert "there is no seal of it in outcome.json" in complaints(copied)[0]
    (path / "collabdm" / "ledger.jsonl").unlink()
    assert "it cannot be read: No such file" in complaints(copied)[0]


def test_a_seal_that_was_made_to_fit_a_shorter_ledger_does_not_fit_the_summary(copied):
    path = copied.path / "collabdm"
    edit(path / "ledger.jsonl", lambda lines: lines[:-1])
    outcome = json.loads((path / "outcome.json").read_text())
    last = json.loads((path / "ledger.jsonl").read_text().splitlines()[-1])
    outcome["ledger"] |= {"lines": outcome["ledger"]["lines"] - 1, "head": last["chain"]}
    (path / "outcome.json").write_text(json.dumps(outcome))
    (complaint,) = complaints(copied)
    assert "summary.json and outcome.json do not agree on how it ends" in complaint


def test_boundaries_that_were_changed_after_the_run_are_told_once(copied):
    path = copied.path / "scenario.yaml"
    path.write_text(path.read_text().replace("at_most: 1 MB", "at_most: 100 B"))
    audited = audit_run(copied, ["collabdm", "localdm"])
    assert len(audited.complaints) == 1
    assert "scenario.yaml: it was changed since the run, and with it perhaps the boundaries" in audited.complaints[0]
    assert all(one.findings.doubts == [] for one in audited.methods)


def test_a_scenario_that_is_no_longer_one_is_damaged(copied):
    (copied.path / "scenario.yaml").write_text("boundaries: 7\n")
    with pytest.raises(RunDirectoryError, match=r"scenario\.yaml is damaged"):
        audit_run(copied, ["collabdm"])


def forged(runs_dir, text):
    """A run whose chain is whole, and in which more crossed than its scenario allows."""
    guard = Boundaries({"client-0": "sites", "server": "cloud"}, [Rule("cloud", frozenset({"synthetic"}))])
    for number in range(3):
        message = Message(bytes([number]) * 400, frozenset({"synthetic"}))
        guard.check(Crossing("client-0", "server", message), "leaving", float(number))
    with open_run(runs_dir, "f", "forged") as writer:
        seal = writer.write_method("m", {}, Trace(), guard.ledger, {}, ledger_identity("f", 1, "m", text))
        row = {"ledger": {"lines": seal.lines, "head": seal.head}}
        writer.write_json("summary.json", {"scenario": "f", "seed": 1, "methods": {"m": row}})
        writer.write_text("scenario.yaml", text)
    return Run(writer.final)


def scenario_text(boundary, budgets):
    tenants = {"sites": ["client-*"], "cloud": ["server"]}
    data = {"partition": {"clients": 1}, "tenants": tenants, "boundaries": [boundary], "budgets": budgets}
    return yaml.safe_dump(data)


@pytest.mark.parametrize(
    ("more", "budgets", "line", "message"),
    [
        ({"at_most": "399 B"}, {}, 1, "has 400 B, more than the rule"),
        ({"at_most_count": 2}, {}, 3, "sites has sent 2 messages"),
        ({}, {"sites": "1 kB"}, 3, "of 1000 B a run 800 B are used"),
        ({"allow": ["embeddings"]}, {}, 1, "synthetic may not cross"),
    ],
)
def test_a_crossing_that_the_scenario_does_not_explain_is_told(tmp_path, more, budgets, line, message):
    text = scenario_text({"to": "cloud", "from": "*", "allow": ["synthetic"], **more}, budgets)
    (complaint,) = audit_run(forged(tmp_path, text), ["m"]).complaints
    assert f"line {line} is not explained by the boundaries" in complaint
    assert message in complaint


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def audit_command(monkeypatch, capsys):
    """Runs the command in this process; returns what it printed and the error with which it ended."""

    def run(run, *, columns=120, method=None, **options):
        monkeypatch.setenv("COLUMNS", str(columns))
        try:
            command(str(run.path), method=method, **options)
        except CollabError as error:
            return capsys.readouterr().out, error
        return capsys.readouterr().out, None

    return run


def test_the_command_prints_what_crossed(whole, audit_command):
    printed, error = audit_command(whole)
    assert error is None
    assert re.search(r"^collabdm · \d+ lines, head [0-9a-f]{16} · chain whole · boundaries kept$", printed, re.M)
    assert re.search(r"sites +cloud +embeddings \+ synthetic +4 +[\d.]+ kB +0 +1", printed)
    assert "budget of sites: " in printed
    limits = "at most 1000000 B, at most 4 messages, at most 1000000 B every 1 s"
    assert f"[1] * > cloud: embeddings, synthetic, {limits}" in printed
    verdict = "chains whole, every crossing has its rule, budgets kept"
    assert re.search(rf"^2 ledgers, \d+ lines: {verdict}$", printed, re.M)


def test_the_command_fits_a_narrow_terminal(whole, audit_command):
    printed, _ = audit_command(whole, columns=40)
    assert max(map(len, printed.splitlines())) <= 40
    assert "sites > cloud, embeddings + synthetic\n  4 messages" in printed


def test_the_command_lists_entries_and_speaks_json(whole, audit_command):
    ledger = whole.methods[1].ledger
    printed, _ = audit_command(whole, method=["localdm"], entries=True)
    assert len(re.findall(r"(?:leaving|arriving) +\S+ > \S+", printed)) == len(ledger)
    data = json.loads(audit_command(whole, entries=True, as_json=True)[0])
    assert data["passed"] is True
    assert data["methods"]["localdm"]["entries"][0] == ledger[0].as_dict()
    assert data["methods"]["localdm"]["chain"] == "whole"
    assert {row["from"] for row in data["methods"]["localdm"]["traffic"]} == {"sites", "cloud"}


def test_a_broken_chain_is_shown_beside_what_is_whole(copied, audit_command):
    edit(copied.path / "collabdm" / "ledger.jsonl", lambda lines: [*lines[:6], *lines[7:]])
    printed, error = audit_command(copied)
    assert error.exit_code == 12
    assert "collabdm · chain broken: line 7 does not follow line 6" in printed
    assert "chain whole · boundaries kept" in printed
    assert "every crossing has its rule" not in printed
    printed, error = audit_command(copied, as_json=True)
    assert error.exit_code == 12
    assert json.loads(printed)["methods"]["collabdm"]["chain"] == "broken"
    assert audit_command(copied, method=["localdm"])[1] is None
    with pytest.raises(typer.BadParameter, match="has no method 'nothing'; it has collabdm, localdm"):
        audit_command(copied, method=["nothing"])


def test_the_exit_code_is_its_own_and_the_sentence_names_the_first_bad_line(copied):
    edit(copied.path / "collabdm" / "ledger.jsonl", lambda lines: [*lines[:6], *lines[7:]])
    done = collab(copied.path.parents[1], "audit", "tiny")
    assert done.returncode == 12
    sentence = "ledger.jsonl: line 7 does not follow line 6: a line was removed, added, moved or replaced here"
    assert done.stderr == f"collab: runs/tiny/collabdm/{sentence}\n"


def test_many_tenants_are_cut_to_the_most_telling():
    traffic = [
        Traffic(f"tenant-{number:04}", "cloud", "synthetic", 1, number, refused=int(number == 7), rules=["r"])
        for number in range(1000)
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_traffic_table(traffic, {}))
    text = console.export_text()
    assert "tenant-0007" in text
    assert "tenant-0999" in text
    assert "tenant-0500" not in text
    assert re.search(r"960 more \(--json\) +960 +\d", text)
    assert re.search(r"in all +1,000 +499.5 kB +1", text)


def test_sites_wait_for_a_rate_and_the_audit_agrees(tmp_path):
    """Four sites of one tenant, one upload every 10 s: the run goes on until all are in."""
    boundary = "boundaries=[{to: cloud, allow: [embeddings, synthetic], at_most_rate: 1 message/10 s}]"
    run = find_run(go(tmp_path, boundary, "baselines=[]")["run_dir"])
    ledger = run.methods[0].ledger
    left_s = [
        entry.at_s
        for entry in ledger
        if entry.kind == "embeddings+synthetic" and (entry.point, entry.verdict) == ("leaving", "crossed")
    ]
    assert len(left_s) == 4
    assert all(round(later - earlier, 6) >= 10.0 for earlier, later in itertools.pairwise(left_s))
    assert left_s[1] - left_s[0] == pytest.approx(10.0)
    assert any("try again in" in entry.reason for entry in ledger if entry.verdict == "refused")
    assert audit_run(run, ["collabdm"]).complaints == []
