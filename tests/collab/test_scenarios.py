"""Every scenario that comes with the project is run, shortened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from collab import run, scenario
from collab.store import open_run
from tests.collab.data.flows.zeek import write_logs

FILES = sorted((Path(__file__).parents[2] / "scenarios").rglob("*.yaml"))
FILES = [path for path in FILES if path.parent.name != "mappings"]

QUICK = next(path for path in FILES if path.stem == "methods-quick")
METHODS = list(yaml.safe_load(QUICK.read_text())["methods"])

_DISTILS = {"local_steps": 1, "local_batch_size": 4, "expand": 2, "width": 4}
SHORT = {
    "central": {"steps": 1, "batch_size": 4, "expand": 2, "width": 4},
    "central-fair": {"steps": 1, "expand": 2, "width": 4},
    "collabdm": {"iterations": 2, "batch_size": 4, **_DISTILS},
    "collabdm-lean": {"iterations": 2, "server_epochs": 2, **_DISTILS},
    "dense": {"local_epochs": 1, "epochs": 2, "generator_steps": 2, "synthesis_batch_size": 8, "width": 4},
    "dosfl": {"outer_steps": 2, "window": 1, "longest": 2, "real_batch_size": 16, "batch_per_class": 1, "width": 4},
    "fedavg": {"rounds": 2, "local_epochs": 1, "width": 4},
    "fedd3": {"steps": 100, "target_batch_size": 20, "learning_rate": 0.05, "width": 4},
    "fedprox": {"rounds": 2, "local_epochs": 1, "width": 4},
    "localdm": _DISTILS,
    "strawman": {"iterations": 2, "batch_size": 4, **_DISTILS},
}
INSTANCES = {
    "gradient-matching": "gradient_matching={restarts: 1, outer_loops: 2, inner_loops: 1, batch_size: 4}",
    "meta-learning": "meta_learning={steps: 2, window: 1, longest: 2, batch_per_class: 1, real_batch_size: 16}",
}


def test_the_scenarios_that_were_promised_are_there():
    nidd = {f"nidd-{name}" for name in ("two-stations", "three-stations", "figure-3", "table-3", "variants")}
    assert nidd | {"quickstart", "mnist-star", "two-tier", "methods-quick"} <= {path.stem for path in FILES}
    assert [path.stem[0] for path in FILES if path.parent.name == "lessons"] == list("123456")


def run_shortened(path, tmp_path, overrides=()):
    """A scenario with less of everything, on data that needs no network unless there is a data directory."""
    chosen = scenario.load(path, overrides)
    if chosen.dataset.name == "gaussians":
        less = []
    elif chosen.dataset.name == "flow-csv":
        less = [f"dataset.path={write_logs(tmp_path / 'zeek')}"]
    elif chosen.dataset.name in ("mnist", "fashion-mnist") and "COLLAB_DATA_DIR" not in os.environ:
        less = ["dataset={name: digits, side: 28, train_samples: 600, test_samples: 100}"]
    else:
        less = ["dataset.train_samples=600", "dataset.test_samples=100"]
    if chosen.dataset.name == "5g-nidd-synthetic":
        less += ["dataset.share=0.02"]
    shorter = SHORT[chosen.method.name]
    if getattr(chosen.method, "privacy", None) is not None:  # noise hides a sample in sums over all of them
        shorter = {key: value for key, value in shorter.items() if key != "batch_size"}
    less += [f"method.{key}={value}" for key, value in shorter.items()]
    for index, baseline in enumerate(chosen.baselines):
        less.append(f"baselines.{index}={{name: {baseline.name}}}")
        less += [f"baselines.{index}.{key}={value}" for key, value in SHORT[baseline.name].items() if key != "expand"]
    less += ["evaluation.epochs=1", "evaluation.repeats=1", "evaluation.sets=1", "evaluation.networks=[convnet]"]
    less += ["compute.executor=inline"]  # the engines have tests of their own
    short = scenario.load(path, [*less, *overrides])
    with open_run(tmp_path, short.name, None) as writer:
        summary = run.run_scenario(short, writer)
    assert list(summary["methods"]) == [settings.name for settings in chosen.all_methods()]
    assert all(row["result_s"] > 0 for row in summary["methods"].values())


@pytest.mark.parametrize("path", [path for path in FILES if path != QUICK], ids=lambda path: path.stem)
def test_a_scenario_runs(path, tmp_path, tmp_path_factory, monkeypatch):
    if path.stem.startswith("nidd"):  # the traffic that they make belongs into no user's cache
        monkeypatch.setenv("COLLAB_DATA_DIR", str(tmp_path_factory.getbasetemp()))
    run_shortened(path, tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_any_method_runs_in_the_quick_scenario(name, tmp_path):
    run_shortened(QUICK, tmp_path, [f"method.name={name}", "method.images_per_class=5"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_the_strawman_runs_by_gradients_too(instance, tmp_path):
    chosen = [f"method.instance={instance}", f"method.{INSTANCES[instance]}"]
    run_shortened(QUICK, tmp_path, ["method.name=strawman", "method.images_per_class=5", *chosen])


@pytest.mark.data
@pytest.mark.skipif("COLLAB_DATA_DIR" not in os.environ, reason="needs COLLAB_DATA_DIR, where data sets are")
@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist", "cifar10-jpeg"])
def test_the_quick_scenario_runs_on_real_data(dataset, tmp_path):
    run_shortened(QUICK, tmp_path, [f"dataset.name={dataset}", "method.images_per_class=5"])


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "lessons"], ids=lambda path: path.stem)
def test_a_lesson_asks_first_and_has_its_page(path):
    comment = path.read_text().partition("\nname:")[0]
    assert all(line.startswith("# ") for line in comment.splitlines())
    assert "Question: " in comment
    assert "Write down your prediction: " in comment
    page = (path.parents[2] / "docs" / "lessons" / f"{path.stem}.md").read_text()
    assert "**Write down your prediction**" in page
    assert f"figures/{path.stem}.png" in page
    assert f"scenarios/lessons/{path.name}" in page
    assert scenario.load(path).compute.threads == 1  # or the numbers of the page would depend on the reader's cores


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_says_what_it_is_for(path):
    assert path.read_text().startswith("# ")
