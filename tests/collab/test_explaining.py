"""What is told of a scenario before it is run is what the run then does: bytes, seconds, warnings, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collab import scenario
from collab.data.flows import sources
from collab.explaining import explain
from collab.run import run_scenario
from collab.store import open_run
from tests.collab.test_run import TEXT

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SHORT = {
    "quickstart": [
        "method.iterations=10", "method.local_steps=2", "baselines.1.steps=6", "evaluation.epochs=1",
        "network.access.jitter=0 ms",
    ],
    "two-tier": ["method.iterations=10", "method.local_steps=2", "evaluation.epochs=1", "network.access.jitter=0 ms"],
}  # fmt: skip


def told(text, *overrides):
    return explain(scenario.parse(text, "tiny.yaml", overrides, default_name="tiny"))


def warned(explanation):
    return {".".join(map(str, one.where)): one.says for one in explanation.warnings}


@pytest.mark.parametrize("name", SHORT)
def test_bytes_and_virtual_seconds_are_those_of_the_run(name, tmp_path):
    chosen = scenario.load(SCENARIOS / f"{name}.yaml", SHORT[name])
    expected = {one.name: one for one in explain(chosen).methods}
    with open_run(tmp_path, name, None) as writer:
        summary = run_scenario(chosen, writer)
    for method, row in summary["methods"].items():
        envelope_bytes = row["bytes_up_per_client"] - expected[method].bytes_up_per_client
        assert 0 < envelope_bytes < 450
        assert expected[method].last_upload_s == pytest.approx(row["last_upload_s"], rel=0.1)
        assert expected[method].result_s == pytest.approx(row["result_s"], rel=0.1)


@pytest.mark.parametrize("waiting", ["{quorum: 3}", "{deadline: 6 s}"])
def test_what_is_not_waited_for_is_foreseen(waiting, tmp_path):
    """client-3, which computes slowly, is left out; the times are those of the others."""
    devices = "devices={client: {rate: 1 GFLOP/s}, client-3: {rate: 0.1 GFLOP/s}, server: laptop}"
    changes = ["faults=[]", "evaluation.epochs=1", "method.local_steps=2", devices, f"wait_for={waiting}"]
    chosen = scenario.load(SCENARIOS / "quorum.yaml", changes)
    (expected,) = explain(chosen).methods
    with open_run(tmp_path, "quorum", None) as writer:
        row = run_scenario(chosen, writer)["methods"]["localdm"]
    assert expected.missing == tuple(row["missing"]) == ("client-3",)
    assert expected.result_s == pytest.approx(row["result_s"], rel=0.1)


@pytest.mark.slow
def test_the_four_exchanges_of_secure_sums_count(tmp_path):
    """Three of them are small, but each takes its round trips; an at_most_count has to let four uploads pass."""
    changes = ["faults=[]", "wait_for=null", "evaluation.epochs=1", "method.server_epochs=1"]
    text = (SCENARIOS / "secure-sums.yaml").read_text()
    (expected,) = explain(scenario.parse(text, "sums.yaml", changes)).methods
    with open_run(tmp_path, "sums", None) as writer:
        row = run_scenario(scenario.parse(text, "sums.yaml", changes), writer)["methods"]["collabdm"]
    assert expected.rounds == 4
    assert 0 < row["bytes_up_per_client"] - expected.bytes_up_per_client < 4 * 300  # envelopes
    assert expected.last_upload_s == pytest.approx(row["last_upload_s"], rel=0.1)
    assert warned(told(text, "boundaries.0.at_most_count=3")) == {
        "boundaries.0.at_most_count": "collabdm: a site sends 4 uploads, but a tenant may send 3"
    }


def test_rounds_count(tmp_path):
    changes = [
        "method={name: fedavg, rounds: 3, width: 4, local_epochs: 1}",
        "baselines=[]",
        "boundaries=[{to: cloud, allow: [model], answers: [model]}]",
    ]
    chosen = scenario.parse(TEXT, "tiny.yaml", changes, default_name="tiny")
    (expected,) = explain(chosen).methods
    with open_run(tmp_path, "tiny", None) as writer:
        row = run_scenario(chosen, writer)["methods"]["fedavg"]
    assert expected.rounds == 3
    assert 0 < row["bytes_up_per_client"] - expected.bytes_up_per_client < 3 * 900  # the names of the weights
    assert expected.last_upload_s == pytest.approx(row["last_upload_s"], rel=0.25)


def test_sentences_say_who_holds_what_and_who_may_send_what_where():
    sections = explain(scenario.load(SCENARIOS / "quickstart.yaml")).sections
    data, crossings = " ".join(sections["The data"]), sections["Who may send what where"]
    assert "5 sites hold digits: 1,297 grey images of 16 x 16 pixels in 10 classes" in data
    assert "A site holds 176 to 369 samples" in data
    assert "Tenant hospital-b has client-2, client-3 and client-4." in crossings
    assert (
        "Every tenant may send embeddings and synthetic to cloud, at most 10 MB each, and may get seeds back."
        in crossings
    )
    assert sections["Judging"][0].startswith("A synthetic set is judged by 2 fresh networks (convnet), trained for 120")


def test_a_scenario_whose_data_is_not_here_is_explained_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path))
    explanation = explain(scenario.load(SCENARIOS / "mnist-star.yaml"))
    assert "The data is not here (collab data fetch mnist)" in explanation.sections["The data"][1]
    assert explanation.methods[0].bytes_up_per_client == pytest.approx(1.087e6, rel=0.01)
    nothing = explain(scenario.load(SCENARIOS / "mnist-star.yaml", ["dataset={name: image-folder, path: nowhere}"]))
    assert "which is not here" in nothing.sections["The data"][0]
    assert nothing.methods == []


@pytest.mark.parametrize(
    ("overrides", "where", "says"),
    [
        (
            [
                "dataset.samples_per_class=20",
                "partition={clients: 9, scheme: dirichlet, beta: 0.02}",
            ],
            "partition",
            "will hold no data and give nothing",
        ),
        (["method.images_per_class=900", "baselines=[]"], "method.images_per_class", "will send no images, holding no"),
        (
            ["boundaries=[{to: cloud, allow: [embeddings, synthetic], at_most: 8 kB}]", "method.iterations=200"],
            "boundaries.0.at_most",
            "is larger than the 8 kB that the boundary lets pass",
        ),
        (["network.access.bandwidth=8 bit/s"], "network", "of virtual time; a faster link or device, or fewer bytes?"),
        (["evaluation.epochs=10000000"], "evaluation", "judging alone will take about"),
        (["budgets={sites: 3 kB}"], "budgets.sites", "to send, but a budget of 3 kB"),
        (
            ["baselines=[]", "wait_for={deadline: 20 ms}"],
            "wait_for.deadline",
            "0 of 4 uploads will be in, and without any the run",
        ),
        (
            ["baselines=[]", "wait_for={deadline: 20 ms, at_least: 3}"],
            "wait_for.deadline",
            "and with fewer than 3 the run fails",
        ),
    ],
)
def test_likely_mistakes_are_told(overrides, where, says):
    assert warned(told(TEXT)) == {}
    assert says in warned(told(TEXT, *overrides))[where]


def test_sites_that_are_asked_for_no_images_are_not_said_to_send_none():
    assert warned(told(TEXT, "method.images_per_class=900", "method.initial=noise", "baselines=[]")) == {}


def test_a_sweep_is_told_with_its_axes_and_cells(tmp_path):
    path = tmp_path / "swept.yaml"
    path.write_text(TEXT + "sweep: {partition.beta: [0.1, 0.5], repeats: 3}\n")
    explanation = explain(scenario.load(path), scenario.load_plan(path))
    assert explanation.cells == 6
    assert explanation.sections["The sweep"][1:3] == ["partition.beta: 0.1, 0.5.", "seed: 3, 4, 5."]


def test_cells_in_which_clients_hold_nothing_are_told(tmp_path):
    path = tmp_path / "swept.yaml"
    path.write_text(TEXT + "sweep: {partition.clients: [4, 30, 500], partition.beta: [0.5, 0.01]}\n")
    warnings = explain(scenario.load(path), scenario.load_plan(path)).warnings
    says = [one.says for one in warnings if one.where == ("sweep",)]
    assert any(
        told.startswith("the cell with clients 500, beta 0.5 will fail: 500 clients cannot share 160") for told in says
    )
    assert any("there are clients that hold no data and give nothing, as with clients" in told for told in says)


def test_json_is_plain():
    explanation = told(TEXT)
    again = json.loads(json.dumps(explanation.as_json()))
    assert again["scenario"] == "tiny"
    assert [row["name"] for row in again["methods"]] == [one.name for one in explanation.methods]
    assert again["warnings"] == []


def test_a_method_without_formulas_is_explained_without_numbers():
    first, *_ = told(TEXT, "method={name: strawman, width: 4}", "baselines=[]").methods
    assert first.says.startswith("collaborative distillation in many rounds")
    assert (first.rounds, first.bytes_up_per_client, first.last_upload_s, first.wall_s) == (None, None, None, None)


def test_data_of_which_a_part_is_missing_is_not_here(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"")
    data = explain(scenario.load(SCENARIOS / "mnist-star.yaml")).sections["The data"]
    assert data[1].startswith("The data is not here")


def test_synthetic_traffic_is_told_of_without_writing_it_and_exactly_once_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    changes = ("dataset={name: 5g-nidd-synthetic, side: 16, share: 0.002}", "partition={clients: 2, scheme: by_column}")
    before = told(TEXT, *changes).sections["The data"]
    assert not list(tmp_path.iterdir())
    assert before[0].startswith("2 sites hold synthetic traffic (5G-NIDD's form): 318 grey images of 16 x 16 pixels in")
    assert before[1].startswith("The data is not here (a run makes it): who holds what is not known")
    settings = scenario.parse(TEXT, "tiny.yaml", changes, default_name="tiny").dataset
    sources.synthetic_file(settings, tmp_path)
    after = told(TEXT, *changes).sections["The data"]
    assert after[0] == before[0]
    assert after[1].startswith("A site holds ")


def test_uploads_in_parts_are_told():
    says = "Uploads go in parts: what is there when a connection breaks need not be sent again."
    told = [
        explain(scenario.load(SCENARIOS / "quickstart.yaml", changes)).sections["The network"]
        for changes in ([], ["uploads=single"], ["uploads=resumable"])
    ]
    assert [says in sentences for sentences in told] == [False, False, True]


def test_limits_are_told():
    chosen = scenario.load(SCENARIOS / "quickstart.yaml", ["limits={requests_per_s: 2, request_burst: 1000}"])
    says = "The server refuses more than 2 requests a second of one site (1,000 after a rest), among other limits."
    assert any(sentence.startswith(says) for sentence in explain(chosen).sections["The network"])
