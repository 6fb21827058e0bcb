"""CollabDM with secure aggregation: the plain result bit for bit, and nothing of a single site at the server."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from collab import methods
from collab.costs import costs_of
from collab.embedding_sums import EmbeddingSums, largest_count
from collab.errors import BoundaryMissingError, RunFailedError, ScenarioError
from collab.methods import Site, Task, collabdm
from collab.methods.collabdm import Settings, answered_once, upload_bytes
from collab.privacy.site_secret import laboratory_secret
from collab.privacy.sum_rounds import SumRounds, SumShape
from tests.collab.fleets import LocalFleet, even_parts, gaussians, skewed_parts
from tests.collab.test_scenario import TEXT, parse

QUICK = {
    "images_per_class": 2, "width": 4, "depth": 2, "iterations": 4, "batch_size": 8, "initial": "noise",
}  # fmt: skip


def fleet(dataset=None, parts=None, kind=LocalFleet, **changes):
    dataset = dataset or gaussians()
    settings = Settings(**{**QUICK, "aggregation": "secure", **changes})
    return kind(collabdm, settings, dataset, parts or even_parts(dataset, 5))


class Dropping(LocalFleet):
    """A fleet of which sites are gone from the round on that `gone` says, counted from 1."""

    gone: dict[str, int]

    async def ask(self, asks):
        here = {site: ask for site, ask in asks.items() if self.gone.get(site, 9) > len(self.asked) + 1}
        async for upload in super().ask(here):
            yield upload


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"embedding_dtype": "int4", "seeds": "master"},
        {"embedding_dtype": "float32", "weighting": "uniform"},
        {"augmentations": 2, "server_epochs": 2, "surplus_networks": 1},
        {"threshold": 5},
    ],
)
def test_the_refined_set_is_the_plain_one_bit_for_bit(changes):
    dataset = gaussians()
    parts = [*skewed_parts(dataset), np.arange(7), np.array([], dtype=np.int64)]
    secure = fleet(dataset, parts, **changes).run()
    plain = fleet(dataset, parts, **{**changes, "aggregation": "plain", "threshold": None}).run()
    assert torch.equal(secure.synthetic.images, plain.synthetic.images)
    assert torch.equal(secure.synthetic.labels, plain.synthetic.labels)
    assert secure.matching_losses == plain.matching_losses


def test_the_server_is_sent_keys_shares_masked_sums_and_shares_again():
    each = fleet()
    each.run()
    assert len(each.asked) == 4
    kinds = [set(upload.sections) for upload in each.uploads]
    assert kinds == [{kind} for kind in ("keys", "shares", "masked", "unmasking") for _ in range(5)]


def test_an_empty_site_cannot_be_told_from_the_others():
    dataset = gaussians()
    each = fleet(dataset, [*even_parts(dataset, 4), np.array([], dtype=np.int64)])
    each.run()
    shapes = [
        {name: (tensor.dtype, tensor.shape) for section in upload.sections.values() for name, tensor in section.items()}
        for upload in each.uploads
    ]
    for first in range(0, 20, 5):
        assert all(shape == shapes[first] for shape in shapes[first : first + 5])


@pytest.mark.parametrize("phase", [1, 2, 3, 4])
def test_of_ten_sites_three_may_drop_out_at_each_exchange(phase):
    dataset = gaussians()
    parts = even_parts(dataset, 10)
    secure = fleet(dataset, parts, Dropping)
    secure.gone = {"client-0": phase, "client-5": phase, "client-9": phase}
    result = secure.run()
    there = [part for site, part in zip(secure.sites, parts, strict=True) if phase == 4 or site not in secure.gone]
    names = [site for site in secure.sites if phase == 4 or site not in secure.gone]
    plain = fleet(dataset, there, aggregation="plain")
    plain.data = dict(zip(names, plain.data.values(), strict=True))
    plain.sites, plain.order = tuple(names), list(names)
    assert torch.equal(result.synthetic.images, plain.run().synthetic.images)


def test_with_fewer_than_the_threshold_the_run_ends():
    each = fleet(gaussians(), even_parts(gaussians(), 10), Dropping)
    each.gone = {f"client-{number}": 3 for number in range(4)}
    with pytest.raises(RunFailedError, match=r"^6 of 10 sites sent masked sums, fewer than the threshold of 7"):
        each.run()


def test_the_masked_sums_of_a_site_do_not_depend_on_what_they_hide():
    """Not in their size, and in value they share nothing with what another secret makes of the same data."""
    first, second = fleet(), fleet()
    first.run()
    second.settings = Settings(**{**QUICK, "aggregation": "secure", "learning_rate": 1.0})  # another run, other masks
    second.run()
    ours, theirs = (each.uploads[10].sections["masked"]["sums"].values() for each in (first, second))
    assert ours.shape == theirs.shape
    assert (ours != theirs).all()


def test_bytes_are_those_of_the_formula():
    each = fleet()
    each.run()
    sent = sum(
        tensor.size_bytes
        for upload in each.uploads
        if upload.site == "client-0"
        for section in upload.sections.values()
        for tensor in section.values()
    )
    size = each.settings.network(each.images).embedding_size
    assert sent == upload_bytes(each.settings, each.images, iterations=4, classes=4, share=1, sites=5)
    assert sent == 8 * (4 * 4 * size + 4) + 64 + 5 * (82 + 33)
    settings = parse(TEXT, "method.initial=noise", "method.aggregation=secure", "baselines=[]", ALLOWED).method
    costs = costs_of(settings, each.images, {f"client-{number}": [6] * 4 for number in range(3)})
    assert costs.bytes_per_client == upload_bytes(settings, each.images, iterations=5, classes=4, share=1, sites=3)


ALLOWED = "boundaries=[{to: cloud, allow: [keys, shares, masked, unmasking], answers: [keys, shares, seeds]}]"


SECURE = ("method.initial=noise", "method.aggregation=secure", "baselines=[]")


def test_a_scenario_needs_boundaries_for_the_four_exchanges():
    assert parse(TEXT, *SECURE, ALLOWED).method.aggregation == "secure"
    with pytest.raises(BoundaryMissingError) as caught:
        parse(TEXT, *SECURE)
    told = "add {to: cloud, allow: [keys, masked, shares, unmasking], answers: [keys, seeds, shares]}"
    assert str(caught.value).endswith(told)


def test_what_would_undo_it_is_refused():
    with pytest.raises(ValidationError, match=r"aggregation is secure, initial random and participation 1"):
        Settings(aggregation="secure")
    with pytest.raises(ValidationError, match=r"initial noise and participation 0\.5: images of each site"):
        Settings(aggregation="secure", initial="noise", participation=0.5)


def test_baselines_that_cannot_sum_securely_do_not():
    kinds = "[keys, shares, masked, unmasking, embeddings, synthetic]"
    wide = f"boundaries=[{{to: cloud, allow: {kinds}, answers: [keys, shares, seeds]}}]"
    changes = (*SECURE, "method.threshold=3", "baselines=[strawman, collabdm-lean]", wide)
    strawman, lean = parse(TEXT, *changes).baselines
    assert (strawman.aggregation, lean.aggregation, lean.threshold) == ("plain", "secure", 3)


# -- what a site answers once --------------------------------------------------------------------


def tasks(each):
    """The four tasks of the first site."""
    each.run()
    sent = [asks["client-0"].sections for asks in each.asked]
    return [Task("task", "collabdm", each.settings, each.seed, each.share, sections) for sections in sent]


def test_every_question_but_that_for_keys_is_answered_once():
    first, *others = [answered_once(task) for task in tasks(fleet())]
    assert first is None
    questions, runs = zip(*(name.split(" in the run ") for name in others), strict=True)
    assert questions == ("shares of its secrets", "masked sums", "shares to unmask")
    assert len(set(runs)) == 1
    plain = fleet(aggregation="plain")
    assert [answered_once(task) for task in tasks(plain)] == [None]


def test_a_site_in_another_run_or_with_other_data_has_other_keys():
    each = fleet()
    task = tasks(each)[0]
    data = each.data

    def keys(task, site="client-0", of="client-0"):
        own = Site(site, data[of], each.device, laboratory_secret(1, site))
        return collabdm.client(task, own)["keys"]["masking"].values().tobytes()

    other = Task("t", "collabdm", each.settings, 2, each.share, {})
    assert keys(task) == keys(task)
    assert len({keys(task), keys(other), keys(task, of="client-1"), keys(task, "client-1")}) == 4


def test_a_site_without_a_secret_takes_no_part():
    each = fleet()
    task = tasks(each)[0]
    alone = Site("client-0", each.data["client-0"], each.device)
    with pytest.raises(ValueError, match="secret has 32 B, found 0"):
        collabdm.client(task, alone)


# -- sums that cannot be -------------------------------------------------------------------------


def sums(settings=None):
    settings = settings or Settings(**QUICK)
    return EmbeddingSums(settings, settings.network(gaussians().spec))


def test_sums_come_through_a_vector():
    ours = sums()
    vector = np.zeros(SumShape(*ours.shape).length, dtype=np.int64)
    vector[-4:] = [3, 0, 1, 2]
    vector[0] = 5 << 24
    ours.add_vector(vector)
    assert ours.vector(5).tolist() == vector.tolist()
    assert ours.classes() == [0, 2, 3]
    assert float(ours.target(0, [0]).means[0, 0]) == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (-1, -1, r"class 3 is impossible \(weight -1\)"),
        (-2, 2**28, "class 2"),
        (0, 1, "class 0"),
        (-9, 3001 << 24, "class 3"),
    ],
)
def test_a_total_that_no_honest_sites_have_is_refused(place, value, told):
    ours = sums()
    vector = np.zeros(SumShape(*ours.shape).length, dtype=np.int64)
    vector[-1] = 1
    vector[place] = value
    with pytest.raises(RunFailedError, match=told):
        ours.add_vector(vector)
    assert not ours.vector(5).any()


def test_more_samples_than_the_sum_can_bear_are_not_sent():
    ours = sums()
    vector = np.zeros(SumShape(*ours.shape).length, dtype=np.int64)
    vector[-1] = largest_count(10) + 1
    ours.add_vector(vector)
    assert ours.vector(9)[-1] == largest_count(10) + 1
    with pytest.raises(RunFailedError, match=r"^there are 13421773 samples of one class here; with 10 sites"):
        ours.vector(10)


def test_a_question_with_half_of_what_it_needs_is_refused():
    each = fleet()
    _, _, masked, unmask = tasks(each)
    site = Site("client-0", each.data["client-0"], each.device, laboratory_secret(1, "client-0"))
    half = {name: tensor for name, tensor in masked.sections["keys"].items() if name != "reached"}
    without = {**masked.sections, "keys": half}
    with pytest.raises(RunFailedError, match="says of 0 sites how far they came, expected 5"):
        collabdm.client(Task("t", "collabdm", each.settings, 1, 1, without), site)
    sealed = {"shares": {"sealed": methods.encode(np.zeros((4, 82), np.uint8))}, "keys": unmask.sections["keys"]}
    with pytest.raises(RunFailedError, match=r"sealed shares are \[4, 82\], expected \[5, 82\]"):
        collabdm.client(Task("t", "collabdm", each.settings, 1, 1, sealed), site)


def test_nobody_answering_is_told():
    rounds = SumRounds(["a", "b"], None, SumShape(1, 1, 1), {})
    exchanges = rounds.exchanges()
    next(exchanges)
    with pytest.raises(RunFailedError, match="at least 2 sites, 0 published keys"):
        next(exchanges)


def test_a_site_with_keys_that_are_none_is_left_out():
    """It cannot stop the others: low-order points, from which everybody knows what is agreed, count as no answer."""

    class Sabotaged(LocalFleet):
        async def ask(self, asks):
            first = not self.asked  # the exchange of keys
            async for upload in super().ask(asks):
                section = {**upload.sections.get("keys", {}), "masking": methods.encode(np.zeros((1, 32), np.uint8))}
                bad = first and upload.site == "client-1"
                yield replace(upload, sections={"keys": section}) if bad else upload

    dataset = gaussians()
    parts = even_parts(dataset, 4)
    sabotaged = fleet(dataset, parts, Sabotaged)
    result = sabotaged.run()
    assert [sorted(asks) for asks in sabotaged.asked[1:]] == [["client-0", "client-2", "client-3"]] * 3
    plain = fleet(dataset, [parts[0], parts[2], parts[3]], aggregation="plain")
    plain.data = dict(zip(("client-0", "client-2", "client-3"), plain.data.values(), strict=True))
    plain.sites = tuple(plain.data)
    plain.order = list(plain.data)
    assert torch.equal(result.synthetic.images, plain.run().synthetic.images)


@pytest.mark.parametrize(("threshold", "told"), [(2, "found 2, expected 3 to 4"), (5, "found 5, expected 3 to 4")])
def test_a_threshold_that_cannot_be_met_is_told_before_the_run(threshold, told):
    wide = "partition.clients=4"
    with pytest.raises(ScenarioError, match=rf"threshold={threshold}: {told}: more than half of 4 clients"):
        parse(TEXT, *SECURE, ALLOWED, wide, f"method.threshold={threshold}")
    assert parse(TEXT, *SECURE, ALLOWED, wide, "method.threshold=3").method.threshold == 3


def test_one_site_alone_has_nobody_to_hide_among():
    alone = "dataset: {name: gaussians}\npartition: {clients: 1, scheme: iid}\nmethod: {name: collabdm}\n"
    alone += "network: {topology: star, access: {bandwidth: 1 Mbit/s, latency: 1 ms}, "
    alone += "server: {bandwidth: 1 Mbit/s, latency: 1 ms}}\n"
    with pytest.raises(ScenarioError, match="secure sums need at least 2 clients, found 1"):
        parse(alone, *SECURE)
