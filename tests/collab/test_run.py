"""Whole runs: both worlds, repeated, interrupted."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.report import write_report
from collab import run, scenario
from collab.console import print_summary
from collab.errors import PartitionError, RunFailedError
from collab.store import find_run, open_run

TEXT = """\
name: tiny
seed: 3
dataset: {name: gaussians, samples_per_class: 40}
partition: {clients: 4, scheme: dirichlet, beta: 0.5}
method: {name: collabdm, images_per_class: 2, expand: 2, width: 6, depth: 2, iterations: 6, batch_size: 8,
         local_steps: 3, local_batch_size: 8}
baselines: [localdm, {name: central, steps: 4}]
network:
  topology: star
  access: {bandwidth: 2 Mbit/s, latency: 10 ms, jitter: 5 ms}
  server: {bandwidth: 10 Mbit/s, latency: 5 ms}
tenants: {sites: ["client-*"], cloud: [server]}
boundaries: [{to: cloud, allow: [embeddings, synthetic], at_most: 1 MB}]
devices: {client: raspberry-pi-5, server: laptop}
evaluation: {epochs: 3}
"""


def go(tmp_path, *overrides, real=False, text=TEXT):
    chosen = scenario.parse(text, "tiny.yaml", overrides)
    with open_run(tmp_path, chosen.name, None) as writer:
        return run.run_scenario(chosen, writer, real=real)


def digests(summary):
    return {name: row["result_digest"] for name, row in summary["methods"].items()}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return go(tmp_path_factory.mktemp("runs"))


def test_the_summary_says_what_was_asked_for(simulated):
    assert simulated["scenario"] == "tiny"
    assert simulated["seed"] == 3
    assert simulated["dataset"] == "gaussians"
    assert len(simulated["trace_digest"]) == 64
    assert list(simulated["methods"]) == ["collabdm", "localdm", "central"]
    row = simulated["methods"]["collabdm"]
    assert set(row) == {
        "accuracy",
        "accuracies",
        "yields",
        "bytes_up_per_client",
        "bytes_down_per_client",
        "energy_j_per_client",
        "last_upload_s",
        "ledger",
        "result_s",
        "result_digest",
    }
    assert 0 <= row["accuracy"] <= 1
    assert 0 < row["last_upload_s"] < row["result_s"]


def test_both_worlds_end_in_the_same_bits_and_bytes(simulated, tmp_path):
    real = go(tmp_path, real=True)
    assert digests(real) == digests(simulated)
    for name, row in real["methods"].items():
        theirs = simulated["methods"][name]
        for field in ("bytes_up_per_client", "bytes_down_per_client", "accuracy"):
            assert row[field] == theirs[field]
    assert (real["world"], simulated["world"]) == ("real", "simulated")


def test_both_carriages_tell_the_same_story(simulated, tmp_path):
    """Without a byte on the way: the same moments, the same ledger, the same energy, the same synthetic set."""
    sized = go(tmp_path, "network.carriage=sized")
    for name, row in sized["methods"].items():
        theirs = simulated["methods"][name]
        # The chain of a ledger begins with the scenario, which is another one.
        assert {**row, "ledger": row["ledger"]["lines"]} == {**theirs, "ledger": theirs["ledger"]["lines"]}
    for by_size, by_bytes in zip(
        find_run(sized["run_dir"]).methods, find_run(simulated["run_dir"]).methods, strict=True
    ):
        assert list(by_size.ledger) == list(by_bytes.ledger)
        assert [event for event in by_size.trace if event.kind != "link"] == [
            event for event in by_bytes.trace if event.kind != "link"
        ]


def test_a_scenario_for_many_clients_runs_over_sockets_too(tmp_path, simulated):
    real = go(tmp_path, "network.carriage=sized", real=True)
    assert digests(real) == digests(simulated)


def test_the_same_seed_repeats_everything_and_another_nothing(simulated, tmp_path):
    again, other = go(tmp_path), go(tmp_path, "seed=4")
    assert again["trace_digest"] == simulated["trace_digest"]
    assert {**again, "wall_s": 0, "run_dir": ""} == {**simulated, "wall_s": 0, "run_dir": ""}
    assert other["trace_digest"] != simulated["trace_digest"]
    assert digests(other) != digests(simulated)


def test_bytes_are_what_went_over_the_wire(simulated, tmp_path):
    """The figure in the summary is the mean length of the uploaded bodies, and the closed formula is within it."""
    from collab.methods.collabdm import upload_bytes

    found = find_run(simulated["run_dir"])
    method = found.methods[0]
    bodies = {e.source: e.size_bytes for e in method.ledger if e.point == "arriving" and "embeddings" in e.kind}
    assert method.outcome["bytes_up"] == bodies
    assert simulated["methods"]["collabdm"]["bytes_up_per_client"] == pytest.approx(
        np.mean(list(bodies.values())), abs=0.05
    )
    settings, images = scenario.parse(TEXT, "t").method, run.prepare(scenario.parse(TEXT, "t")).dataset.spec
    for site, size in bodies.items():
        classes = sum(count > 0 for count in found.partition[site])
        pictured = sum(count > 1 for count in found.partition[site])  # of fewer, the image would be the sample itself
        formula = upload_bytes(settings, images, iterations=6, classes=classes, share=1, pictured=pictured)
        assert formula < size < formula + 600


def test_the_ledger_shows_every_crossing(simulated):
    ledger = find_run(simulated["run_dir"]).methods[0].ledger
    assert {entry.verdict for entry in ledger} == {"crossed"}
    uploads = [entry for entry in ledger if entry.kind == "embeddings+synthetic"]
    assert [entry.point for entry in uploads].count("leaving") == 4
    assert [entry.point for entry in uploads].count("arriving") == 4
    left, arrived = ({e.digest for e in uploads if e.point == point} for point in ("leaving", "arriving"))
    assert left == arrived
    assert all(entry.rule == "* > cloud: embeddings, synthetic, at most 1000000 B" for entry in uploads)
    assert {(e.source, e.target) for e in ledger if e.kind == "seeds"} == {("server", f"client-{i}") for i in range(4)}


def test_localdm_is_what_collabdm_starts_from(simulated):
    collabdm, localdm, _ = find_run(simulated["run_dir"]).methods
    np.testing.assert_array_equal(collabdm.images["initial"], localdm.images["images"])
    assert not np.array_equal(collabdm.images["images"], collabdm.images["initial"])


def test_computation_costs_what_the_device_needs(tmp_path):
    slow = go(tmp_path, "devices={client: {rate: 1 GFLOP/s}}", "baselines=[]")["methods"]["collabdm"]
    fast = go(tmp_path, "devices={client: {rate: 1000 GFLOP/s}}", "baselines=[]")["methods"]["collabdm"]
    free = go(tmp_path, "devices={}", "baselines=[]")["methods"]["collabdm"]
    assert slow["last_upload_s"] > fast["last_upload_s"] > free["last_upload_s"]
    assert slow["result_digest"] == fast["result_digest"] == free["result_digest"]


def test_energy_is_that_of_the_parts_of_every_host(tmp_path):
    """By hand: power x seconds of the jobs in the trace, idle power x the rest, bits on the wire x energy per bit."""
    devices = "devices={client: {rate: 1 GFLOP/s, power: 10 W, idle_power: 2 W}}"
    summary = go(tmp_path, devices, "radios={client: lte}", "baselines=[]")
    method = find_run(summary["run_dir"]).methods[0]
    energy = method.outcome["energy"]
    assert set(energy) == {"server", *(f"client-{index}" for index in range(4))}
    for event in method.trace:
        if event.kind == "compute" and event.host != "server":
            spent = energy[event.host]
            seconds = (event.at_us - event.values["start_us"]) / 1e6
            assert spent["busy_s"] == pytest.approx(seconds, rel=1e-6)
            assert spent["compute_j"] == pytest.approx(10 * seconds, rel=1e-6)
            assert spent["idle_j"] == pytest.approx(2 * spent["idle_s"], rel=1e-6)
            assert spent["transmit_j"] == pytest.approx(8 * spent["sent_bytes"] * 80.21e-9, rel=1e-6)
            assert spent["receive_j"] == pytest.approx(8 * spent["received_bytes"] * 14.55e-9, rel=1e-6)
            assert method.outcome["bytes_up"][event.host] < spent["sent_bytes"] < summary["methods"]["collabdm"][
                "bytes_up_per_client"] * 3  # fmt: skip
            # A client's part ends when it knows that all is over, soon after the result.
            span_s = spent["busy_s"] + spent["idle_s"]
            assert 0 < span_s - summary["methods"]["collabdm"]["result_s"] < 0.2
    assert (energy["server"]["device"], energy["server"]["compute_j"]) == (None, 0)
    totals = [
        sum(energy[f"client-{i}"][part] for part in ("compute_j", "idle_j", "transmit_j", "receive_j"))
        for i in range(4)
    ]
    assert summary["methods"]["collabdm"]["energy_j_per_client"] == pytest.approx(np.mean(totals), rel=1e-6)


def test_without_a_power_or_a_radio_there_is_no_figure_of_energy(tmp_path):
    summary = go(tmp_path, "devices={client: {rate: 1 GFLOP/s}}", "baselines=[]")
    assert summary["methods"]["collabdm"]["energy_j_per_client"] is None
    radios = go(tmp_path, "devices={}", "radios={client-1: wifi}", "baselines=[]")
    method = find_run(radios["run_dir"]).methods[0]
    only = method.outcome["energy"]["client-1"]
    assert radios["methods"]["collabdm"]["energy_j_per_client"] == pytest.approx(
        only["transmit_j"] + only["receive_j"], rel=1e-6
    )


def test_a_slower_link_delays_the_upload_by_its_bytes(tmp_path):
    plain = "network.tcp={headers: false, slow_start: false}"
    quiet = ["baselines=[]", plain, "network.access.jitter=0", "partition.clients=1", "devices={}"]
    times = {}
    for megabits in (1, 2):
        summary = go(
            tmp_path, *quiet, f"network.access.bandwidth={megabits} Mbit/s", "network.server.bandwidth=1 Gbit/s"
        )
        row = summary["methods"]["collabdm"]
        times[megabits] = row["last_upload_s"]
    bytes_up, bytes_down = row["bytes_up_per_client"], row["bytes_down_per_client"]
    # Half the rate: every byte of task, upload and headers takes another 4 us.
    assert times[1] - times[2] == pytest.approx((bytes_up + bytes_down + 900) * 4e-6, rel=0.03)


def test_sites_without_data_take_part_all_the_same(tmp_path):
    summary = go(tmp_path, "partition={clients: 30, scheme: dirichlet, beta: 0.02}", "baselines=[localdm]", "seed=1")
    found = find_run(summary["run_dir"])
    assert min(sum(counts) for counts in found.partition.values()) == 0
    assert len(found.methods[0].outcome["sites"]) == 30


def test_partial_participation(tmp_path):
    summary = go(tmp_path, "method.participation=0.5", "baselines=[]")
    whole = go(tmp_path, "baselines=[]")
    assert summary["methods"]["collabdm"]["bytes_up_per_client"] < whole["methods"]["collabdm"]["bytes_up_per_client"]


def test_more_clients_than_samples(tmp_path):
    with pytest.raises(PartitionError, match="161 clients cannot share 160 training samples"):
        go(tmp_path, "partition={clients: 161, scheme: iid}")
    assert list(tmp_path.iterdir()) == []


def test_copies_of_private_samples_stop_the_run(tmp_path):
    with pytest.raises(RunFailedError, match="contains a copy of a private sample"):
        go(tmp_path, "method.local_steps=0", "method.expand=1")
    assert list(tmp_path.iterdir()) == []


def test_an_upload_larger_than_the_boundary_allows_stops_the_run(tmp_path):
    with pytest.raises(RunFailedError, match=r"more than the rule \* > cloud"):
        go(tmp_path, "boundaries=[{to: cloud, allow: [embeddings, synthetic], at_most: 2 kB}]", "baselines=[]")


def test_a_listener_hears_how_it_goes(tmp_path):
    heard = []

    class Ear(run.Silence):
        def method_began(self, name, sites, network):
            heard.append((name, sites))

        def uploaded(self, site, round_number, number, asked):
            heard.append(site)

        def progress(self, what, done, total):
            heard.append(what)

    chosen = scenario.parse(TEXT, "tiny.yaml", ["baselines=[]"])
    with open_run(tmp_path, "tiny", None) as writer:
        run.run_scenario(chosen, writer, listener=Ear())
    assert heard[0] == ("collabdm", 4)
    assert {f"client-{i}" for i in range(4)} <= set(heard)
    assert {"client-0 distils", "client-0 embeds", "server refines", "judging"} <= set(heard)


def test_a_method_of_one_site_runs_on_the_network_of_all():
    """Else a ring, or a tree, of one client would be another network for it than for the method beside it."""
    link = "{bandwidth: 1 Mbit/s, latency: 1 ms}"
    ring = f"network={{topology: ring, access: {link}, trunk: {link}, server: {link}}}"
    chosen = scenario.parse(TEXT, "test.yaml", [ring, "partition.clients=6"])
    network = run.make_network(chosen, {}, real=False)
    assert network.topology == chosen.topology()
    assert len(network.topology.relays) == 6


def test_the_report_knows_the_most_that_a_link_carries_by_its_schedule(tmp_path):
    """Else a link would be used to more than all of it."""
    schedule = "{steps: [{at: 0 s, bandwidth: 20 Mbit/s}, {at: 1 s, bandwidth: 1 Mbit/s}], every: 2 s}"
    go(tmp_path, f"network.server.schedule={schedule}", "network.hosts={server: {downlink: 7 Mbit/s}}", "baselines=[]")
    capacity_bps = find_run("latest", tmp_path).methods[0].outcome["capacity_bps"]
    assert capacity_bps["hub > server"] == capacity_bps["server > hub"] == 20e6
    assert capacity_bps["client-0 > hub"] == 2e6
    assert capacity_bps["server (receiving)"] == 7e6


@pytest.mark.slow
def test_further_sets_leave_the_recorded_one_as_it_is(simulated, tmp_path):
    """Each set is a run of the method with another seed on the same data; the first is the run that is recorded."""
    three = go(tmp_path, "evaluation.sets=3", "evaluation.repeats=2")
    assert three["trace_digest"] == simulated["trace_digest"]
    assert digests(three) == digests(simulated)
    for name, row in three["methods"].items():
        found, alone = row["accuracies"]["convnet"], simulated["methods"][name]
        assert (found["networks"], found["sets"], alone["accuracies"]["convnet"]["sets"]) == (6, 3, 1)
        assert alone["accuracies"]["convnet"]["set_deviation"] is None
        assert row["accuracy"] == found["mean"]
        for cost in ("bytes_up_per_client", "bytes_down_per_client", "last_upload_s", "result_s"):
            assert row[cost] == alone[cost]
        outcome = find_run(three["run_dir"]).methods[list(three["methods"]).index(name)].outcome
        values = np.reshape(outcome["accuracies"]["convnet"], (3, 2))
        assert outcome["sets"] == 3
        assert values[0, 0] == pytest.approx(alone["accuracy"], abs=1e-6)
        assert found["mean"] == pytest.approx(values.mean(), abs=1e-6)
        assert found["set_deviation"] == pytest.approx(values.mean(axis=1).std(), abs=1e-6)
        assert found["deviation"] == pytest.approx(values.std(), abs=1e-6)


def test_sets_differ_and_are_the_same_in_both_worlds(tmp_path):
    seen = []
    judge = run.judge

    def watching(outcome, *others):
        seen.append(run.result_digest(outcome))
        return judge(outcome, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "judge", watching)
        for folder, real in (("simulated", False), ("real", True)):
            go(tmp_path / folder, "evaluation={sets: 3, epochs: 1}", "baselines=[]", real=real)
    assert len(set(seen[:3])) == 3
    assert seen[3:] == seen[:3]


def test_a_listener_hears_of_each_round_how_many_uploads_it_has(tmp_path):
    heard = []

    class Ear(run.Silence):
        def uploaded(self, site, round_number, number, asked):
            heard.append((round_number, number, asked))

    allowed = "boundaries=[{to: cloud, allow: [model], answers: [model]}]"
    fedavg = "method={name: fedavg, rounds: 3, local_epochs: 1, width: 4, depth: 1, participation: 0.5}"
    chosen = scenario.parse(TEXT, "tiny.yaml", ["baselines=[]", "evaluation.epochs=1", allowed, fedavg])
    with open_run(tmp_path, "tiny", None) as writer:
        run.run_scenario(chosen, writer, listener=Ear())
    assert heard == [(1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 2, 2), (3, 1, 2), (3, 2, 2)]


def test_a_listener_hears_which_set_is_made(tmp_path):
    heard = []

    class Ear(run.Silence):
        def method_began(self, name, sites, network):
            heard.append(name)

        def uploaded(self, site, round_number, number, asked):
            heard.append(site)

        def progress(self, what, done, total):
            heard.append(what)

    chosen = scenario.parse(TEXT, "tiny.yaml", ["baselines=[]", "evaluation.sets=2"])
    with open_run(tmp_path, "tiny", None) as writer:
        run.run_scenario(chosen, writer, listener=Ear())
    assert heard.count("collabdm") == 1
    assert heard.count("client-0") == 1
    assert {"judging", "client-0 distils", "set 2 of 2: judging", "set 2 of 2: client-0 distils"} <= set(heard)


def test_who_was_missing_is_said_wherever_the_result_is(tmp_path, capsys):
    """A quorum of three: in the summary, the log, the terminal and the report; baselines have a round of their own."""
    faults = "faults=[{at: 0 s, for: 100 s, fault: crash, host: client-2}]"
    summary = go(tmp_path, "wait_for={quorum: 3}", "baselines=[{name: central, steps: 4}]", faults)
    row = summary["methods"]["collabdm"]
    assert row["missing"] == {"client-2": ["quorum"]}
    assert set(row) - {"missing"} == set(summary["methods"]["central"])  # one site was asked, and answered
    found = find_run(summary["run_dir"])
    assert "result at" in (log := (found.path / "log.txt").read_text())
    assert "; without client-2 (quorum)" in log
    print_summary(summary)
    assert "collabdm went on without client-2 (quorum)" in capsys.readouterr().out
    assert "collabdm went on without client-2 (quorum)." in write_report(found, tmp_path / "report.html").read_text()
    assert "wait_for: {quorum: 3, at_least: 1}" in (found.path / "scenario.yaml").read_text()


def test_over_sockets_the_deadline_is_one_of_real_time(tmp_path):
    """All are there long before it, and nobody is missing."""
    summary = go(tmp_path, "wait_for={deadline: 1 h, at_least: 4}", "baselines=[]", real=True)
    assert "missing" not in summary["methods"]["collabdm"]


@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_uploads_in_parts_bring_the_same_bytes_and_the_same_result(tmp_path, simulated, carriage):
    summary = go(tmp_path, "uploads=resumable", f"network.carriage={carriage}")
    assert digests(summary) == digests(simulated)
    ours, theirs = summary["methods"]["collabdm"], simulated["methods"]["collabdm"]
    assert ours["bytes_up_per_client"] == theirs["bytes_up_per_client"]
    assert summary["trace_digest"] != simulated["trace_digest"]
    chosen = (find_run(summary["run_dir"]).path / "scenario.yaml").read_text()
    assert "uploads: resumable" in chosen


def test_uploads_in_a_single_request_are_what_they_were(tmp_path, simulated):
    assert go(tmp_path, "uploads=single")["trace_digest"] == simulated["trace_digest"]
