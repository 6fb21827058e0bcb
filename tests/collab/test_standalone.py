"""What a server of a scenario refuses, and its reception says to sites that give up; the rest is tested with the
command.
"""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from collab.agents.messages import message
from collab.deploy import logs
from collab.errors import ScenarioError
from collab.scenario import parse
from collab.standalone import _Reception, serve_scenario
from collab.store import open_run
from simnet import Message, Request
from tests.collab.test_run import TEXT


@pytest.mark.parametrize(
    ("site", "source", "body", "status"),
    [
        ("client-1", "client-1", message({"reason": "no disk"}), 200),
        ("client-1", "client-2", message({"reason": "no disk"}), 403),
        ("client-9", "client-9", message({"reason": "no disk"}), 404),
        ("client-1", "client-1", message({}), 400),
        ("client-1", "client-1", Message(b"x"), 400),
    ],
)
def test_only_a_site_itself_can_give_up_and_says_why(site, source, body, status):
    lost = []
    desk = _Reception(parse(TEXT, "tiny.yaml"), lambda *told: lost.append(told))
    (route,) = [route for route in desk.routes() if route.method == "DELETE"]
    request = Request(source, "DELETE", f"/v1/sites/{site}", {"site": site}, {}, body)
    assert asyncio.run(route.handler(request)).status == status
    assert lost == ([("client-1", "client-1 has given up: no disk")] if status == 200 else [])


def test_that_a_site_has_given_up_is_a_warning_with_its_reason_once():
    stream = io.StringIO()
    desk = _Reception(parse(TEXT, "tiny.yaml"), lambda *_: None)
    (route,) = [route for route in desk.routes() if route.method == "DELETE"]
    with logs.written("info", "json", stream):
        for reason in ("no disk", "no disk, still"):
            body = message({"reason": reason})
            asked = Request("client-1", "DELETE", "/v1/sites/client-1", {"site": "client-1"}, {}, body)
            asyncio.run(route.handler(asked))
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["level"], line["site"], line["text"]) == ("gave-up", "warning", "client-1", "no disk")


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
