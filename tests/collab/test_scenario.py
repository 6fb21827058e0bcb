from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from collab import scenario
from collab.data import DirichletSettings, GuaranteedSettings
from collab.errors import BoundaryMissingError, ScenarioError
from simnet import DEVICES, RADIOS, Fixed, Measured, Modelled

QUICKSTART = (Path(__file__).parents[2] / "scenarios" / "quickstart.yaml").read_text()

TEXT = """\
seed: 7
dataset: {name: gaussians}
partition: {clients: 3, scheme: dirichlet, beta: 0.3}
method: {name: collabdm, images_per_class: 2, iterations: 5, expand: 2, width: 8}
baselines:
  - localdm
  - {name: central, steps: 9}
network:
  topology: star
  access: {bandwidth: 20 Mbit/s, latency: 10 ms, jitter: 2 ms}
  server: {bandwidth: 100 Mbit/s, latency: 5 ms}
tenants:
  hospital: [client-0]
  clinic: [client-*]
  cloud: [server]
boundaries:
  - {to: cloud, allow: [embeddings, synthetic], at_most: 10 MB}
devices:
  client: jetson-orin-nano
  client-2: {rate: 3 GFLOP/s}
  server: {rate: 1 TFLOP/s, power: 20 W, idle_power: 500 mW}
radios:
  client: lte
  client-1: {transmit: 80 nJ/bit, receive: 15 pJ/bit}
"""


def parse(text=TEXT, *overrides):
    return scenario.parse(text, "test.yaml", overrides, default_name="test")


def test_a_scenario_is_read():
    read = parse()
    assert (read.name, read.seed) == ("test", 7)
    assert read.partition == DirichletSettings(scheme="dirichlet", clients=3, beta=0.3)
    assert read.network.access.bandwidth == 20e6
    assert read.network.access.latency == 0.01
    assert read.clients == ("client-0", "client-1", "client-2")
    assert read.hosts[-1] == "server"


def test_the_papers_settings_are_the_defaults():
    method = parse("\n".join(line for line in TEXT.splitlines() if not line.startswith("method"))
                   + "\nmethod: {name: collabdm}\n").method  # fmt: skip
    assert (method.images_per_class, method.iterations, method.batch_size) == (50, 200, 512)
    assert (method.learning_rate, method.local_steps, method.width, method.participation) == (10.0, 1000, 128, 1.0)
    assert (method.embedding_dtype, method.weighting, method.expand) == ("float16", "counts", 1)


def test_names_in_full_beat_patterns():
    assert parse().tenant_of() == {
        "client-0": "hospital",
        "client-1": "clinic",
        "client-2": "clinic",
        "server": "cloud",
    }


def test_without_tenants_all_hosts_trust_each_other():
    text = TEXT[: TEXT.index("tenants:")]
    assert set(parse(text).tenant_of().values()) == {"lab"}
    assert parse(text).rules() == []


def test_rules_and_devices():
    read = parse()
    (rule,) = read.rules()
    assert (rule.to, rule.source, rule.at_most_bytes) == ("cloud", "*", 10_000_000)
    assert rule.answers == {"seeds"}
    devices = read.device_of()
    assert devices["client-1"] is DEVICES["jetson-orin-nano"]
    assert (devices["client-2"].operations_per_s, devices["client-2"].busy_w) == (3e9, 0)
    assert (devices["server"].operations_per_s, devices["server"].busy_w, devices["server"].idle_w) == (1e12, 20, 0.5)
    radios = read.radio_of()
    assert radios["client-0"] is RADIOS["lte"]
    assert (radios["client-1"].transmit_j_per_bit, radios["client-1"].receive_j_per_bit) == (80e-9, 15e-12)
    assert "server" not in radios
    without = parse(TEXT[: TEXT.index("devices:")])
    assert (without.device_of(), without.radio_of()) == ({}, {})


@pytest.mark.parametrize(
    ("override", "timing"),
    [
        ("compute.time=modelled", Modelled()),
        ("compute={time: measured, factor: 2}", Measured(2.0)),
        ("compute={time: fixed, duration: 50 ms}", Fixed(0.05)),
    ],
)
def test_timing(override, timing):
    assert parse(TEXT, override).compute.timing() == timing


def test_overrides_are_yaml_under_dotted_keys():
    read = parse(
        TEXT,
        "partition.clients=4",
        "seed=9",
        "baselines.1.steps=3",
        "evaluation.epochs=5",
        "baselines.0=central",
        "baselines.1=localdm",
    )
    assert (read.partition.clients, read.seed, read.evaluation.epochs) == (4, 9, 5)
    assert [baseline.name for baseline in read.baselines] == ["central", "localdm"]


def test_two_tiers_and_other_partitions():
    read = parse(
        TEXT,
        "network={topology: two-tier, stations: 2, access: {bandwidth: 1 Mbit/s, latency: 1 ms}, "
        "station: {bandwidth: 1 Mbit/s, latency: 1 ms}, server: {bandwidth: 1 Mbit/s, latency: 1 ms}}",
        "partition={clients: 3, scheme: dirichlet_guaranteed, beta: 0.5}",
    )
    topology = read.network.build(read.clients, read.tenant_of())
    assert topology.relays == ("station-0", "station-1", "aggregation")
    assert isinstance(read.partition, GuaranteedSettings)


def test_a_dump_reads_back_the_same():
    read = scenario.parse(QUICKSTART, "quickstart.yaml")
    again = scenario.parse(read.dump(), "dump.yaml")
    assert again == read
    assert "20 Mbit/s" in parse().dump()
    assert yaml.safe_load(read.dump())["method"]["name"] == "collabdm"


def test_scenarios_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        parse().seed = 3


BAD = [
    # what to replace, with what, line, what the message must say
    ("iterations: 5", "iteration: 5", 4, 'no setting "iteration" here; did you mean "iterations"?'),
    ("seed: 7", "sede: 7", 1, 'no setting "sede" here; did you mean "seed"?'),
    ("20 Mbit/s", "20 Mbits/s", 10, 'unknown unit "Mbits/s"; did you mean "Mbit/s"?'),
    ("10 MB}", "10 Mbyte}", 17, "at_most: "),
    ("latency: 5 ms", "latency: 5", 11, "5 has no unit; a duration is written with one"),
    ("latency: 5 ms", "latency: -5 ms", 11, "must be finite and not negative"),
    ("20 Mbit/s", "0 Mbit/s", 10, "expected at least 1"),
    ("beta: 0.3", "beta: 0", 3, "partition.beta: found 0, expected more than 0"),
    ("beta: 0.3", "alpha: 0.3", 3, 'the setting "beta" is missing'),
    ("clients: 3", "clients: none", 3, 'partition.clients: found "none", expected a whole number'),
    ("dirichlet,", "dirichlett,", 3, 'scheme is "dirichlett"; did you mean "dirichlet"?'),
    ("scheme: dirichlet, ", "", 3, "scheme is missing; it says which kind this is"),
    ("name: collabdm", "name: colabdm", 4, 'name is "colabdm"; did you mean "collabdm"?'),
    ("{name: gaussians}", "{name: mnits}", 2, 'name is "mnits"; did you mean "mnist"?'),
    ("{name: gaussians}", "mnist", 2, 'found "mnist", expected a map of settings'),
    ("expand: 2", "expand: 3", 4, "images of 16 pixels cannot be cut into 3 tiles a side; possible are 1, 2, 4, 8, 16"),
    ("- localdm", "- localdmm", 6, 'name is "localdmm"; did you mean "localdm"?'),
    ("steps: 9", "stepz: 9", 7, 'no setting "stepz" here; did you mean "steps"?'),
    ("- localdm", "- central", 7, "central is listed twice"),
    ("topology: star", "topology: start", 9, 'topology is "start"; did you mean "star"?'),
    ("jitter: 2 ms", "jitter: 20 ms", 10, "nothing arrives before it is sent"),
    ("[client-0]", "[client-9]", 13, '"client-9" is no host'),
    ("[client-*]", "[client-1]", 12, "client-2 belongs to no tenant; expected exactly one"),
    ("[server]", "[server, client-0]", 12, "client-0 belongs to hospital and cloud; expected exactly one"),
    ("to: cloud", "to: clud", 17, 'there is no tenant "clud"; did you mean "cloud"?'),
    ("[embeddings, synthetic]", "[embeddings, raw]", 17, 'found "raw" (known: embeddings, synthetic, seeds, '),
    ("jetson-orin-nano", "jetson-orin-nanno", 19, 'no device "jetson-orin-nanno"; did you mean "jetson-orin-nano"?'),
    ("client-2: {", "client-7: {", 20, '"client-7" is no host'),
    ("rate: 3 GFLOP/s", "rate: 3", 20, "3 has no unit"),
    ("rate: 1 TFLOP/s", "rte: 1 TFLOP/s", 21, 'no setting "rte" here; did you mean "rate"?'),
    ("power: 20 W", "power: 20 Watt", 21, 'unknown unit "Watt" (known: mW, W, kW)'),
    ("power: 20 W", "power: 0 W", 21, 'power: found "0 W", expected more than 0'),
    (
        "idle_power: 500 mW",
        "idle_power: 30 W",
        21,
        "idle it draws 30 W, busy 20 W; expected less when idle",
    ),
    ("power: 20 W, ", "", 21, "there is an idle_power, but no power"),
    ("client: lte", "client: lte-a", 23, 'there is no radio "lte-a"; did you mean "lte"?'),
    ("client: lte", "clients: lte", 23, '"clients" is no host; did you mean "client"?'),
    ("80 nJ/bit", "80 nJ", 24, 'unknown unit "nJ"; did you mean "nJ/bit"?'),
    ("transmit: 80 nJ/bit, ", "", 24, 'the setting "transmit" is missing'),
    ("seed: 7", "seed: 7\nseed: 8", 2, "seed is set twice, first in line 1; keep one"),
    ("seed: 7", "seed: -7", 1, "expected at least 0"),
    ("  topology: star", "\ttopology: star", 9, "not valid YAML"),
    ("seed: 7", "seed: [7", 2, "not valid YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), BAD)
def test_a_mistake_is_answered_with_file_line_and_remedy(old, new, line, message):
    assert old in TEXT
    with pytest.raises(ScenarioError) as caught:
        parse(TEXT.replace(old, new, 1))
    text = str(caught.value)
    assert re.match(rf"test\.yaml:{line}:\d+: ", text), text
    assert message in text
    assert "\n\n" not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("boundaries:\n  - {to: cloud, allow: [embeddings, synthetic], at_most: 10 MB}\n", ""),
        ("[embeddings, synthetic]", "[synthetic]"),
        ("at_most: 10 MB", "answers: []"),
        ("to: cloud,", "to: cloud, from: clinic,"),
    ],
)
def test_a_server_that_no_site_may_reach_is_noticed_at_once(old, new):
    with pytest.raises(BoundaryMissingError, match=r"collabdm cannot run: no boundary rule lets hospital") as caught:
        parse(TEXT.replace(old, new))
    assert "add {to: cloud, allow: [embeddings, synthetic], answers: [seeds]}" in str(caught.value)
    assert caught.value.exit_code != ScenarioError.exit_code


def test_boundaries_without_tenants_make_no_sense():
    text = TEXT.replace("tenants:\n  hospital: [client-0]\n  clinic: [client-*]\n  cloud: [server]\n", "")
    with pytest.raises(ScenarioError, match="no tenants between which they lie"):
        parse(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("partition.beta=0", "--set partition.beta=0: found 0"),
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("seed.x=3", "seed is no group of settings"),
        ("baselines.7=x", "the list has the elements 0 to 1"),
        ("method.foo=1", '--set method.foo=1: there is no setting "foo" here'),
        ("seed=[1", "the value is not valid YAML"),
        ("seed=2001-13-45", "the value is not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(ScenarioError) as caught:
        parse(TEXT, override)
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ScenarioError) as caught:
        parse(TEXT.replace("seed: 7", "sede: 7").replace("beta: 0.3", "beta: -1"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"), [("", "the file is empty"), ("- a\n", "found a list"), ("x: &a [*a]", 'no setting "x"')]
)
def test_documents_that_are_no_scenario(text, message):
    with pytest.raises(ScenarioError, match=message):
        parse(text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        scenario.load(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match=r"binary\.yaml:1:1: this is no UTF-8 text"):
        scenario.load(tmp_path / "binary.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 5000)
    with pytest.raises(ScenarioError, match="nested too deeply"):
        scenario.load(tmp_path / "deep.yaml")


@pytest.mark.parametrize(
    "override",
    [
        "partition.beta=.inf", "partition.clients=1000000000", "method.width=1000000000000", "compute.threads=100000",
        "method.batch_size=0", "method.learning_rate=.nan", "network.access.bandwidth=1e-300 bit/s",
        "network.access.latency=1e9 s", "boundaries.².allow=[synthetic]", "name=" + "x" * 300,
    ],
)  # fmt: skip
def test_absurd_values_are_refused_where_they_stand(tmp_path, override):
    (tmp_path / "test.yaml").write_text(TEXT)
    with pytest.raises(ScenarioError, match="--set") as caught:
        scenario.load(tmp_path / "test.yaml", [override])
    assert len(str(caught.value)) < 500


def test_the_name_comes_from_the_file(tmp_path):
    (tmp_path / "my-lesson.yaml").write_text(TEXT)
    assert scenario.load(tmp_path / "my-lesson.yaml").name == "my-lesson"


def test_the_schema_is_json_and_knows_every_method():
    schema = json.loads(json.dumps(scenario.json_schema()))
    text = json.dumps(schema)
    for name in ("collabdm", "localdm", "central", "two-tier", "jetson", "images_per_class"):
        assert name in text or name == "jetson"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("power: 20 W", "power: 0 W"),  # not also: the device is no text
        ("  topology: star", "  topology: links\n  links: [{between: [a, a], bandwidth: 1 Mbit/s, latency: 1 ms}]"),
    ],
)
def test_a_complaint_that_only_follows_from_another_is_not_told(old, new):
    assert old in TEXT
    with pytest.raises(ScenarioError) as caught:
        parse(TEXT.replace(old, new, 1))
    assert "expected a text" not in str(caught.value)
    assert "at least 1 element" not in str(caught.value)
