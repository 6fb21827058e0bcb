from __future__ import annotations

import torch

from collab.matching import SyntheticSet
from collab.methods import Outcome
from collab.nets import NetworkSpec, seeded_network
from collab.results import result_digest


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
