"""What a server of a scenario refuses; the rest is tested with the command."""

from __future__ import annotations

import pytest

from collab.errors import ScenarioError
from collab.scenario import parse
from collab.standalone import serve_scenario
from collab.store import open_run
from tests.collab.test_run import TEXT


def test_sites_that_join_make_one_set(tmp_path):
    """They run the method once: five sets would silently be one."""
    chosen = parse(TEXT, "tiny.yaml", ["evaluation={protocol: paper, repeats: 1}"])
    with (
        pytest.raises(ScenarioError, match=r"evaluation.sets is 5, .* use --set evaluation.sets=1, or collab run"),
        open_run(tmp_path, "tiny", None) as writer,
    ):
        serve_scenario(chosen, writer, address="127.0.0.1", port=0, on_listening=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_no_site_that_joins_has_all_data(tmp_path):
    """Served to several sites the upper bound would be LocalDM under another name."""
    chosen = parse(TEXT, "tiny.yaml", ["method={name: central-fair, images_per_class: 2, width: 8}", "baselines=[]"])
    with (
        pytest.raises(ScenarioError, match=r"method.name is central-fair, which holds all data at one site"),
        open_run(tmp_path, "tiny", None) as writer,
    ):
        serve_scenario(chosen, writer, address="127.0.0.1", port=0, on_listening=lambda _: None)
    assert not list(tmp_path.iterdir())
