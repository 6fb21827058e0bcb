"""The books of a run whose server died in the middle are those of a run whose server did not."""

from __future__ import annotations

import threading

import pytest

from collab.deploy.store import Store, run_identity
from collab.run import run_scenario
from collab.run_listener import Silence
from collab.scenario import parse
from collab.standalone import join_run, serve_scenario
from collab.store import find_run, open_run
from tests.collab.test_run import TEXT
from tests.collab.test_serving import port

__all__ = ["port"]  # a fixture

ROUNDS = TEXT.replace("allow: [embeddings, synthetic]", "allow: [model], answers: [model]").replace(
    TEXT[TEXT.index("method:") : TEXT.index("network:")],
    "method: {name: fedavg, width: 6, depth: 2, rounds: 2, local_epochs: 1}\n",
)
ONE_ROUND = TEXT.replace("baselines: [localdm, {name: central, steps: 4}]\n", "")


class PowerFailureError(BaseException):
    """No error that an agent could catch."""


class Mortal(Silence):
    """The server dies when it has folded so many uploads."""

    def __init__(self, uploads):
        self.left = uploads

    def uploaded(self, site, round_number, number, asked):
        self.left -= 1
        if self.left == 0:
            raise PowerFailureError


def books(runs):
    """What a run directory says of uploads: from whom and in which round, how large, and what pictures came."""
    run = find_run("tiny-001", runs)
    rows = [(row.host, row.round, row.value) for row in run.metrics if row.metric == "upload_bytes"]
    pictures = {name: pixels.tobytes() for name, pixels in run.methods[0].images.items()}
    return sorted(rows), pictures


@pytest.mark.slow
@pytest.mark.parametrize(("text", "dies_after"), [(ONE_ROUND, 2), (ROUNDS, 4)])
def test_a_restart_leaves_no_gap_in_what_is_written_down(tmp_path, port, text, dies_after):
    chosen = parse(text, "tiny.yaml")
    with open_run(tmp_path / "alone", chosen.name, None) as writer:
        run_scenario(chosen, writer)
    identity = run_identity(chosen.name, chosen.seed, chosen.dump())
    joins = [
        threading.Thread(target=join_run, args=(f"http://127.0.0.1:{port}",), kwargs={"site": site})
        for site in chosen.clients
    ]

    def serve(listener):
        with (
            Store(tmp_path / "store", identity) as kept,
            open_run(tmp_path / "served", chosen.name, None) as writer,
        ):
            serve_scenario(
                chosen, writer, address="127.0.0.1", port=int(port), on_listening=lambda _: None, listener=listener,
                store=kept,
            )  # fmt: skip

    for join in joins:
        join.start()
    with pytest.raises(PowerFailureError):
        serve(Mortal(dies_after))
    serve(None)
    for join in joins:
        join.join(60)
    assert books(tmp_path / "served") == books(tmp_path / "alone")
