"""The description of the API: every route that is served stands in it, and every answer that a handler can give."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest

import collab.agents.messages as messages
import collab.deploy.identity as identity
import collab.deploy.tokens as tokens
import simnet.bodies as bodies
import simnet.carriage as carriage
import simnet.door as door
import simnet.held_uploads as held_uploads
import simnet.http as http
import simnet.ingress as ingress
import simnet.resumable as resumable
import simnet.services as services
import simnet.tus as tus
from collab.agents.operations import DESCRIBED, OPERATIONS, TAKE_UPLOAD
from collab.agents.server import ServerAgent
from collab.api_description import api_description
from collab.reception import Reception
from collab.scenario import parse
from simnet.operations import COMMON
from tests.collab.test_run import TEXT

CONSTANTS = {name: value for name, value in vars(messages).items() if isinstance(value, str)}
FUNCTIONS = {"not_found": messages.not_found, "no_room": services.no_room, "too_large": services.too_large}


def routes(monkeypatch):
    """The routes of a server with its reception, as it would serve them."""
    served = []

    class ServedError(Exception):
        pass

    class Host:
        async def serve(self, routes, *, body_limit_bytes):
            served.extend(routes)
            raise ServedError

    chosen = parse(TEXT, "tiny.yaml")
    agent = ServerAgent(Host(), chosen.clients, None, "collabdm", chosen.method, 1, None)
    with pytest.raises(ServedError):
        asyncio.run(agent.run(1, Reception(chosen, agent.lose).routes()))
    return served


def tree_of(thing):
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def constant(node):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.JoinedStr):  # unknown-{what}
        return None
    raise AssertionError(f"a status or code that is not constant: {ast.unparse(node)}")


def answers_of(handler, seen=None):
    """(status, code) of every answer in the source of a handler, and of what it calls of its own class."""
    seen = set() if seen is None else seen
    found = set()
    for node in ast.walk(tree_of(handler)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            method = getattr(type(handler.__self__), node.attr, None)
            if inspect.isfunction(method) and node.attr not in seen:
                seen.add(node.attr)
                found |= answers_of(getattr(handler.__self__, node.attr), seen)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "Reply":
            found.add((constant(node.args[0]), ""))
        elif node.func.id == "problem":
            found.add((constant(node.args[0]), constant(node.args[1])))
        elif node.func.id == "not_found":
            found.add((404, f"unknown-{constant(node.args[0])}"))
        elif node.func.id in FUNCTIONS:
            (only,) = answers_of_function(FUNCTIONS[node.func.id])
            found.add(only)
    return found


def answers_of_function(function):
    return {
        (constant(node.args[0]), constant(node.args[1]))
        for node in ast.walk(tree_of(function))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem"
    }


def test_every_route_that_is_served_is_described_and_every_one_that_is_described_served(monkeypatch):
    served = routes(monkeypatch)
    assert all(route.about is not None for route in served)
    assert {(route.method, route.path) for route in served} == {(one.method, one.path) for one in OPERATIONS}
    assert len(served) == len(OPERATIONS)


def test_every_answer_of_a_handler_stands_in_its_description_and_no_other(monkeypatch):
    for route in routes(monkeypatch):
        written = answers_of(route.handler)
        told = {(answer.status, answer.code) for answer in route.about.answers}
        assert written == told, route.about.name


@pytest.mark.parametrize(
    "module", [bodies, carriage, door, http, ingress, services, identity, tokens], ids=lambda one: one.__name__
)
def test_every_refusal_of_the_carriage_is_among_the_common_ones(module):
    common = {(answer.status, answer.code) for answer in COMMON}
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "problem" and isinstance(node.args[0], ast.Constant):
            answer = (node.args[0].value, node.args[1].value)
            assert answer in common or answer == (404, "not-found")
        elif node.func.id == "IdentityError" and isinstance(node.args[0], ast.Constant):
            status = [word.value.value for word in node.keywords if word.arg == "status"]
            status += [argument.value for argument in node.args[2:3]]
            if node.args[0].value != "plain-http":  # raised where a request is sent
                assert ((status or [401])[0], node.args[0].value) in common


def test_every_code_stands_in_the_table_of_the_protocol():
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text().partition("## Refusals")[2]
    told = {
        (int(row[1]), code)
        for row in re.finditer(r"^\| (\d{3}) \| (.+?) \|", page, re.MULTILINE)
        for code in re.findall(r"`([\w-]+)`", row[2])
    }
    assert {(answer.status, answer.code) for answer in COMMON if answer.code} <= told


def test_every_answer_to_a_part_stands_in_its_description():
    parts = DESCRIBED[len(OPERATIONS) :]
    routes = [(route.method, route.path) for route in resumable.routes_of_parts(services.route_of(TAKE_UPLOAD, None))]
    assert routes == [(part.method, part.path) for part in parts]
    bare = resumable.routes_of_parts(services.Route(TAKE_UPLOAD.method, TAKE_UPLOAD.path, None))
    assert sorted((route.method, route.path) for route in bare) == sorted(routes)
    told = {(answer.status, answer.code) for part in parts for answer in part.answers if answer.code}
    told -= {(answer.status, answer.code) for answer in TAKE_UPLOAD.answers}
    written = set()
    trees = [ast.parse(Path(module.__file__).read_text()) for module in (resumable, held_uploads)]
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem":
            written.add(tuple(vars(tus)[one.id] if isinstance(one, ast.Name) else one.value for one in node.args[:2]))
    assert told | {(403, "not-you")} == written


def test_the_description_is_openapi():
    described = api_description()
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) == {operation.path for operation in DESCRIBED}
    upload = described["paths"]["/v1/tasks/{task}/uploads/{site}"]["put"]
    assert {parameter["name"] for parameter in upload["parameters"]} == {
        "task", "site", "Boundary-From", "Boundary-Kind"
    }  # fmt: skip
    place = described["paths"]["/v1/tasks/{task}/uploads/{site}/{upload}"]
    assert set(place) == {"options", "head", "patch", "delete", "post"}
    assert list(place["patch"]["requestBody"]["content"]) == ["application/offset+octet-stream"]
    assert not any("content" in response for response in place["head"]["responses"].values())
    required = {one["name"] for one in place["patch"]["parameters"] if one["required"]}
    assert required == {"task", "site", "upload", "Boundary-From", "Tus-Resumable", "Upload-Offset"}
    assert set(upload["responses"]) >= {"201", "400", "401", "403", "404", "409", "410", "413", "422", "429", "503"}
    schema = upload["responses"]["409"]["content"]["application/problem+json"]["schema"]
    assert schema["allOf"][1] == {"properties": {"type": {"enum": ["urn:problem:already-accepted"]}}}
    whole = {**schema, "components": described["components"]}
    reply = services.problem(409, "already-accepted", "it was accepted")
    jsonschema.Draft202012Validator(whole).validate(json.loads(reply.message.body))


def test_the_command_prints_it_without_torch(tmp_path):
    program = (
        "import sys; sys.argv = ['collab', 'schema', '--api']\n"
        "from collab.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(api_description()))
