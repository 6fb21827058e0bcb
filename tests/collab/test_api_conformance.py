"""A server that really runs, asked by its own OpenAPI description: no answer is a failure, none is undescribed."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from collab import scenario
from collab.agents.messages import message
from collab.agents.operations import DESCRIBED
from collab.data import load_dataset
from simnet.tus import PART_TYPE
from tests.fuzzing.requests import SCENARIO, Service
from tests.fuzzing.targets import TARGETS, framed

EXAMPLES = 300
MESSAGES = [framed(seed) for seed in TARGETS["wire"].seeds("wire")]
BODIES = st.binary(max_size=200) | st.sampled_from(MESSAGES) | st.just(message({"reason": "tired"}).body)
SITES = ("client-0", "client-2", "client-9", "server")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The address of a server on a socket, in a thread of its own, and the task that it has given out."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    chosen = scenario.parse(SCENARIO, "fuzzed.yaml")
    spec = load_dataset(chosen.dataset, chosen.seed).spec
    begun, failures = Future(), []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, context: failures.append(context))

    def live():
        served = Service(chosen, spec, tmp_path_factory.mktemp("store"), failures)
        loop.run_until_complete(served.begin())
        begun.set_result(served)
        loop.run_forever()
        loop.run_until_complete(served.end())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    yield begun.result(timeout=60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=60)
    assert not [failure for failure in failures if "failed to answer" in failure["message"]]


def begun_upload(service, site):
    """The name of an upload that has begun, or of none if the site may not begin one."""
    headers = {"Boundary-From": site, "Tus-Resumable": "1.0.0", "Upload-Length": "150"}
    begun = requests.post(f"{service.url}/v1/tasks/{service.task}/uploads/{site}", headers=headers, timeout=10)
    return begun.headers.get("Location", "/none").rsplit("/", 1)[1]


@pytest.mark.slow
@pytest.mark.parametrize("operation", DESCRIBED, ids=lambda one: one.name)
def test_no_request_makes_the_server_fail_or_say_what_it_does_not_describe(service, operation):
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    for content_type in ("application/msgpack", PART_TYPE):
        schemathesis.openapi.media_type(content_type, BODIES)
    schema = schemathesis.openapi.from_url(f"{service.url}/v1/openapi.json")
    asked, seen = schema[operation.path][operation.method.lower()], set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=asked.as_strategy(),
        site=st.sampled_from(SITES) | st.none(),
        kinds=st.sampled_from(["control", None]),
        offset=st.sampled_from(["0", None]),
    )
    def ask(case, site, kinds, offset):
        if site is not None:  # a name by chance is never that of a site
            case.headers["Boundary-From"] = site
            case.path_parameters = {"site": site, "task": service.task} if operation.parameters else {}
            if "upload" in operation.parameters:
                case.path_parameters["upload"] = begun_upload(service, site)
        if offset is not None and "Upload-Offset" in operation.patterns:
            case.headers["Upload-Offset"] = offset
        if kinds is not None and operation.sends:
            case.headers["Boundary-Kind"] = kinds
        answer = case.call()
        seen.add(answer.status_code)
        case.validate_response(
            answer,
            checks=[
                not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ],
        )

    ask()
    reached = {422} if operation.name == "takeUpload" else {one.status for one in operation.answers if not one.code}
    assert seen & reached, "asked so that it never gets to what the operation is there for"
