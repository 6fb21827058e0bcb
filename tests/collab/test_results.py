from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from collab import content_cache
from collab.content_cache import ContentCache
from collab.matching import SyntheticSet
from collab.methods import Outcome
from collab.nets import NetworkSpec, seeded_network
from collab.results import result_digest
from collab.store import detection
from tests.collab.traffic import CLASS_NAMES, UNSEEN, traffic, traffic_run


@pytest.fixture(scope="module")
def stations(tmp_path_factory):
    return traffic_run(tmp_path_factory.mktemp("runs"))


def confusions(run):
    return {method.name: detection.read_confusions(method) for method in run.methods}


def test_the_digest_is_of_the_set_and_of_the_networks():
    """A method may yield both: then it says of both whether they are the same."""
    synthetic = SyntheticSet(torch.zeros(2, 1, 8, 8), torch.arange(2))
    spec = NetworkSpec(width=2, depth=1, channels=1, side=8, classes=2)
    first, second = (seeded_network(spec, seed) for seed in (1, 2))
    found = {
        result_digest(outcome)
        for outcome in (
            Outcome(synthetic),
            Outcome(synthetic, networks={"student": first}),
            Outcome(synthetic, networks={"student": second}),
            Outcome(None, networks={"student": first}),
            Outcome(None, networks={"teacher": first}),
        )
    }
    assert len(found) == 5
    assert result_digest(Outcome(synthetic)) == result_digest(Outcome(synthetic))


def test_confusions_are_counted_for_each_network_and_station(stations):
    test = traffic().test
    for method in stations.methods:
        found = detection.read_confusions(method)
        assert list(found) == ["convnet", "alexnet"]
        for name, by_site in found.items():
            assert list(by_site) == ["BTS_1", "BTS_2"]
            for site, matrix in by_site.items():
                held = np.bincount(test.labels[test.sites == site], minlength=4)
                assert detection.supports(matrix) == (2 * held).tolist()  # two networks
            whole = detection.summed(by_site)
            accuracies = method.outcome["accuracies"][name]
            assert whole.trace() == pytest.approx(sum(accuracies) * len(test))


def test_rates_of_a_detector_are_measured_for_each_network(stations):
    for rate in ("false_alarm_rate", "detection_rate"):
        rows = [metric for metric in stations.metrics if metric.metric == rate]
        places = [(row.method, row.network, row.set, row.repeat) for row in rows]
        assert places == [
            (row.method, row.network, row.set, row.repeat) for row in stations.metrics if row.metric == "accuracy"
        ]
    for method, found in confusions(stations).items():
        for name, by_site in found.items():
            whole = detection.summed(by_site)
            for rate, expected in (
                ("false_alarm_rate", detection.false_alarm_rate(whole, 0)),
                ("detection_rate", detection.detection_rate(whole, 0)),
            ):
                # Each network was tested on the same samples: the rate of the sum is the mean of the rates.
                values = [
                    row.value
                    for row in stations.metrics
                    if (row.method, row.metric, row.network) == (method, rate, name)
                ]
                assert np.mean(values) == pytest.approx(expected)


def test_the_run_says_which_station_a_client_is(stations):
    assert stations.dataset["sites"] == {"client-0": "BTS_1", "client-1": "BTS_2"}
    assert stations.dataset["class_names"] == list(CLASS_NAMES)
    assert stations.dataset["benign"] == 0
    assert stations.partition["client-1"][UNSEEN] == 0 < stations.partition["client-0"][UNSEEN]


@pytest.mark.slow
def test_confusions_do_not_depend_on_engine_or_world(stations, tmp_path):
    for folder, overrides, real in (
        ("processes", ["compute={executor: processes, workers: 2}"], False),
        ("real", [], True),
    ):
        run = traffic_run(tmp_path / folder, *overrides, real=real)
        assert [method.outcome["confusions"] for method in run.methods] == [
            method.outcome["confusions"] for method in stations.methods
        ]


def test_sets_are_summed(stations, tmp_path):
    three = confusions(traffic_run(tmp_path, "evaluation.sets=3", "baselines=[]"))["collabdm"]["convnet"]
    once = confusions(stations)["collabdm"]["convnet"]
    for site, matrix in three.items():
        assert detection.supports(matrix) == [3 * held for held in detection.supports(once[site])]


def test_data_without_a_benign_class_or_sites_has_confusions_all_the_same(stations, tmp_path):
    made = traffic()
    plain = dataclasses.replace(made, test=dataclasses.replace(made.test, sites=None), benign=None, class_names=())
    run = traffic_run(tmp_path, "partition={clients: 2, scheme: iid}", "baselines=[]", dataset=plain)
    by_site = confusions(run)["collabdm"]["convnet"]
    assert list(by_site) == [""]
    assert detection.supports(by_site[""]) == [2 * held for held in np.bincount(made.test.labels).tolist()]
    assert not [metric for metric in run.metrics if metric.metric in ("false_alarm_rate", "detection_rate")]
    assert run.dataset["sites"] is None


@pytest.mark.slow
def test_what_is_kept_of_a_judgement_is_of_these_stations(stations, tmp_path):
    """The stations of the test data change no accuracy, but which matrix is whose."""
    made = traffic()
    turned = np.where(made.test.sites == "BTS_1", "BTS_2", "BTS_1")
    other = dataclasses.replace(made, test=dataclasses.replace(made.test, sites=turned))
    cache = ContentCache(tmp_path / "cache")
    with content_cache.using(cache):
        first, again, second = (
            confusions(traffic_run(tmp_path / name, dataset=dataset))["collabdm"]["convnet"]
            for name, dataset in (("first", made), ("again", made), ("second", other))
        )
    assert cache.hits > 0
    for site, swapped in (("BTS_1", "BTS_2"), ("BTS_2", "BTS_1")):
        assert again[site].tolist() == first[site].tolist() == second[swapped].tolist()
