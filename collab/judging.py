"""Judging what a method yields: each set on each architecture, and the networks that the method trained itself.

It happens after the run and outside its network: it is the laboratory's look at the result, not part of the system.
Where several sets are asked for, a method is run again with other seeds; which, is said here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from collab.compute import Device
from collab.data import Dataset
from collab.errors import RunFailedError
from collab.evaluation import Accuracy, EvaluationSettings, evaluate, tested
from collab.methods import Outcome
from collab.nets import NetworkSpec
from simnet.draws import key

NEAR_THE_START = "near the start"
"""The name under which networks are judged that start near weights which the method gives."""


def seeds_of_sets(seed: int, sets: int) -> tuple[int, ...]:
    """The seed of each of `sets` runs of a method: that of the scenario, then others that follow from it."""
    return (seed, *(key(seed, "set", number) >> 1 for number in range(1, sets)))


def judge(
    outcome: Outcome, dataset: Dataset, spec: NetworkSpec, settings: EvaluationSettings, seed: int, device: Device
) -> dict[str, Accuracy]:
    """Accuracies by the name of the network: of those trained on the synthetic set, and of those the method trained.

    The first is the method's result. Raises `RunFailedError` for an empty synthetic set.
    """
    found: dict[str, Accuracy] = {}
    if outcome.synthetic is not None:
        if len(outcome.synthetic.images) == 0:
            raise RunFailedError("no site had anything to give: the synthetic set is empty")
        for architecture in settings.networks:
            judged = replace(spec, architecture=architecture, width=settings.width or spec.width)
            found[architecture] = evaluate(outcome.synthetic, dataset, judged, settings, seed, device)
        if outcome.start is not None:
            near = outcome.start.network.spec
            found[NEAR_THE_START] = evaluate(outcome.synthetic, dataset, near, settings, seed, device, outcome.start)
    for name, network in outcome.networks.items():
        found[name] = tested(network, dataset, spec, device)
    return found


def over_sets(judged: Sequence[Mapping[str, Accuracy]]) -> dict[str, Accuracy]:
    """The accuracies of all sets as one; `judged` holds those of each, under the same names."""
    return {name: Accuracy.joined([found[name] for found in judged]) for name in judged[0]}
